"""Where weak labels come from: a column, a folder name, the text of a query or title, or any function.

A source has a vocabulary and says which of its classes a record belongs to, or -1 to abstain. Keywords in the
text that an image or video was found with are the weak labels of the paper; the other sources are ours.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from sublabel.errors import LabelError, TableError
from sublabel.labels import Vocabulary
from sublabel.tables import Manifest, TableWriter, open_manifest
from sublabel.tables.io import Location

ABSTAIN = -1


class WeakLabelSource(Protocol):
    """Anything that gives a record a weak label."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The weak classes."""
        ...

    def label(self, record: Mapping[str, Any]) -> int:
        """The class of one record, by its columns; -1 to abstain."""
        ...


class Column:
    """The name that stands in a column; null or empty abstains.

    Args:
        column: The column's name.
        vocabulary: The names that may stand in it; another one is refused.
    """

    def __init__(self, column: str, vocabulary: Vocabulary | Iterable[str]) -> None:
        self.column = column
        self.vocabulary = Vocabulary.of(vocabulary)

    def label(self, record: Mapping[str, Any]) -> int:
        """The label of the record's name.

        Raises:
            TableError: The record has no such column.
            LabelError: The name is not in the vocabulary.
        """
        name = _field(record, self.column)
        return self.vocabulary.index(str(name)) if name not in (None, "") else ABSTAIN


class FolderName:
    """The name of a folder that the media lie in; one that is not in the vocabulary abstains.

    Args:
        vocabulary: The folder names that are classes.
        level: Which folder: 1 is the one that the file lies in, 2 the one above it, and so on.
        column: The column with the path or URL.

    Example:
        >>> FolderName(["abseiling"]).label({"uri": "videos/abseiling/7.mp4"})
        0
    """

    def __init__(
        self, vocabulary: Vocabulary | Iterable[str], *, level: int = 1, column: str = "uri"
    ) -> None:
        if level < 1:
            raise LabelError(f"level is {level}; 1 is the folder that the file lies in, 2 the one above it")
        self.vocabulary = Vocabulary.of(vocabulary)
        self.level = level
        self.column = column

    def label(self, record: Mapping[str, Any]) -> int:
        """The label of the folder's name.

        Raises:
            TableError: The record has no such column.
        """
        parts = PurePosixPath(str(_field(record, self.column) or "").replace("\\", "/")).parts
        name = parts[-1 - self.level] if len(parts) > self.level else None
        return self.vocabulary.index(name) if name in self.vocabulary and name is not None else ABSTAIN


class FromCallable:
    """A function from a record to a class name, or None to abstain.

    Args:
        function: The function.
        vocabulary: The names that it may return; another one is refused.
    """

    def __init__(
        self, function: Callable[[Mapping[str, Any]], str | None], vocabulary: Vocabulary | Iterable[str]
    ) -> None:
        self.function = function
        self.vocabulary = Vocabulary.of(vocabulary)

    def label(self, record: Mapping[str, Any]) -> int:
        """The label of the name that the function returns.

        Raises:
            LabelError: The name is not in the vocabulary.
        """
        name = self.function(record)
        return ABSTAIN if name is None else self.vocabulary.index(name)


class Keywords:
    """Keywords in a text: the class whose keyword occurs, and none where no class's or several classes' do.

    Args:
        keywords: Class → its keywords (whole words, any case, any white space between them) or compiled
            regular expressions (searched as they are). The classes are the vocabulary, in this order.
        column: The column with the text; null abstains.

    Raises:
        LabelError: A class has no keyword, or one is empty.

    Example:
        >>> source = Keywords({"cat": ["cat", "kitten"], "dog": ["dog"]}, column="title")
        >>> [source.label({"title": text}) for text in ("My kitten!", "concatenate", "cat and dog")]
        [0, -1, -1]
    """

    def __init__(
        self, keywords: Mapping[str, str | re.Pattern[str] | Iterable[str | re.Pattern[str]]], *, column: str
    ) -> None:
        self.vocabulary = Vocabulary(list(keywords))
        self.column = column
        self._patterns = [
            [
                _pattern(keyword, name)
                for keyword in ([words] if isinstance(words, (str, re.Pattern)) else words)
            ]
            for name, words in keywords.items()
        ]
        for name, patterns in zip(self.vocabulary, self._patterns, strict=True):
            if not patterns:
                raise LabelError(
                    f"the class {name!r} has no keyword: give it at least one, or leave the class out"
                )

    def label(self, record: Mapping[str, Any]) -> int:
        """The one class with a keyword in the text.

        Raises:
            TableError: The record has no such column.
        """
        text = str(_field(record, self.column) or "")
        found = [
            label
            for label, patterns in enumerate(self._patterns)
            if any(pattern.search(text) for pattern in patterns)
        ]
        return found[0] if len(found) == 1 else ABSTAIN


class SourceSummary(NamedTuple):
    """How many rows got which label."""

    rows: int
    abstained: int
    counts: dict[str, int]
    """Class → rows, for classes that have any, most frequent first."""


def apply_source(manifest: Manifest | Location, source: WeakLabelSource, out: str | Path) -> SourceSummary:
    r"""Write a manifest anew with its `weak_label` from a source, in a stream; all other columns stay.

    Relative uris become absolute when the new manifest lies in another folder, where they would mean others.

    Args:
        manifest: A manifest or what `open_manifest` takes, with the columns that the source looks at; they
            need not be those of a manifest (a title, a query). In CSV and JSON Lines they are text.
        source: Gives each row its label; -1 becomes null.
        out: The Parquet file to write.

    Raises:
        TableError: The table is damaged, or lacks a column that the source looks at.
        LabelError: The source returned a label outside its vocabulary.
        ConfigError: `out` is a URL, a folder, or a place that the manifest is read from.

    Example:
        >>> import tempfile
        >>> source = Keywords({"cat": ["cat", "kitten"], "dog": "dog"}, column="title")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = Path(folder) / "found.csv"
        ...     _ = table.write_text("sample_id,uri,title\n1,1.jpg,My kitten!\n2,2.jpg,A parrot\n")
        ...     apply_source(table, source, Path(folder) / "manifest.parquet")
        SourceSummary(rows=2, abstained=1, counts={'cat': 1})
    """
    manifest = manifest if isinstance(manifest, Manifest) else open_manifest(manifest)
    out = manifest.output(out)
    kept = [field for field in manifest.stored if field.name != "weak_label"]
    resolves = manifest.base is not None and out.parent.absolute() != Path(manifest.base)
    counts: Counter[int] = Counter()
    with TableWriter(out, pa.schema([*kept, pa.field("weak_label", pa.string())])) as writer:
        for batch in manifest.stored_batches(batch_size=4_096):
            columns = [
                manifest.resolve(batch.column(field.name).cast(pa.string())).cast(field.type)
                if resolves and field.name == "uri"
                else batch.column(field.name)
                for field in kept
            ]
            names = [_name(source, record, counts) for record in _records(batch)]
            columns.append(pa.array(names, pa.string()))
            writer.write(pa.table(columns, names=[*(field.name for field in kept), "weak_label"]))
    abstained = counts.pop(ABSTAIN, 0)
    by_name = {source.vocabulary[label]: count for label, count in counts.most_common()}
    return SourceSummary(abstained + counts.total(), abstained, by_name)


def _records(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Rows as mappings, without image bytes: no source looks at them, and they would be copied."""
    columns = [name for name in batch.schema.names if name != "image"]
    yield from batch.select(columns).to_pylist()


def _name(source: WeakLabelSource, record: Mapping[str, Any], counts: Counter[int]) -> str | None:
    label = source.label(record)
    if not -1 <= label < len(source.vocabulary):
        raise LabelError(
            f"the source gave label {label} to sample {record.get('sample_id')!r}; its vocabulary has "
            f"{len(source.vocabulary)} classes (0–{len(source.vocabulary) - 1}; -1 abstains)"
        )
    counts[label] += 1
    return None if label == ABSTAIN else source.vocabulary[label]


def _pattern(keyword: str | re.Pattern[str], name: str) -> re.Pattern[str]:
    if isinstance(keyword, re.Pattern):
        return keyword
    words = keyword.split()
    if not words:
        raise LabelError(f"a keyword of the class {name!r} is empty; it would occur in every text")
    spaced = r"\s+".join(re.escape(word) for word in words)
    return re.compile(rf"(?<!\w){spaced}(?!\w)", re.IGNORECASE)


def _field(record: Mapping[str, Any], column: str) -> Any:
    if column not in record:
        raise TableError(f"the record has no column {column!r}; it has {', '.join(map(str, record))}")
    return record[column]
