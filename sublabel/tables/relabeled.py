"""The relabeled table: a pre-training class for every sample, and the label space in its metadata."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sublabel.errors import LabelError, TableError
from sublabel.files import remove_abandoned
from sublabel.labels import ConfusionMatrix, Counting, HardCounts, LabelSpace, Strategy
from sublabel.labels.alignment import AlignmentLike
from sublabel.tables._chunks import (
    CHUNK_ROWS,
    LARGEST_ROW_GROUP,
    Chunk,
    Part,
    choose_threads,
    count_rows,
    iter_chunks,
    open_parts,
    ordered_map,
    refuse_missing_ids,
)
from sublabel.tables._decode import (
    DICTIONARIES,
    LABEL_COLUMNS,
    cast_column,
    decode_pairs,
    decode_top,
    first_elements,
)
from sublabel.tables._store import PairStore, RowGroups
from sublabel.tables.io import Location, TableWriter, iter_batches, output_of, read_metadata
from sublabel.tables.predictions import PredictionsMetadata, read_predictions_metadata

LISTED_STATUSES = 5
RELABELED_SCHEMA = pa.schema([("sample_id", pa.string()), ("label", pa.int64())])
Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the stage, the rows it is done with, and the rows in all."""


class RelabelSummary(NamedTuple):
    """What became of the samples of a predictions table."""

    rows: int
    labeled: int
    dropped: int
    """By the strategy: both labels were there."""
    abstained: int
    """No weak label, or no prediction."""
    space: LabelSpace

    def __str__(self) -> str:
        return (
            f"{self.rows:,} samples: {self.labeled:,} in {self.space.num_classes:,} classes, "
            f"{self.dropped:,} dropped by the strategy, "
            f"{self.abstained:,} without a weak label or a prediction"
        )


class Relabeled(NamedTuple):
    """A relabeled table in memory."""

    sample_ids: pa.Array
    labels: np.ndarray
    """int64 (N,), -1 where the sample is dropped."""
    space: LabelSpace


def count_pairs(
    predictions: Location,
    counting: Counting | None = None,
    *,
    alignment: AlignmentLike = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> ConfusionMatrix:
    """The confusion matrix of a predictions table, in constant memory.

    Args:
        predictions: A predictions file, or a folder of shards.
        counting: How; default: every sample counts one, in the cell of its most probable class.
        alignment: Which classes agree; only confident counts look at it.
        threads: How many read; default: one for each core, up to 16.
        progress: Called as `progress("count", rows done, rows in all)`, in this thread.

    Raises:
        TableError: The table is damaged, not one of predictions, or lacks the probabilities that are counted.
        LabelError: A label is not in its vocabulary.
        ConfigError: `threads` is below 1.
    """
    counting = counting or HardCounts()
    source = _Source.open(predictions, counting, choose_threads(threads), progress or _ignore)
    return _count(source, counting, alignment).confusion


def relabel_table(
    predictions: Location,
    out: str | Path,
    strategy: Strategy,
    *,
    alignment: AlignmentLike = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> RelabelSummary:
    """Predictions in, relabeled table out, in constant memory; rows keep their order.

    The output takes its name when it is whole. A run that was interrupted is started again from the
    beginning, and also removes what a killed one left beside `out`. While it runs, an unnamed temporary file
    in the folder of `out` holds the label pairs (2 to 8 bytes a row). The bytes of the output depend neither
    on `threads` nor on the shards and row groups of the input.

    Args:
        predictions: A predictions file, or a folder of shards.
        out: The Parquet file to write.
        strategy: How cells become classes.
        alignment: Which classes agree; default: those of equal names.
        threads: How many read, beside the one that writes; default: one for each core, up to 16.
        progress: Called as `progress(stage, rows done, rows in all)`, in this thread; the stages are
            "count", then "relabel"; of a matched control "match" between them.

    Raises:
        TableError: The table is damaged, not one of predictions, or lacks probabilities that the strategy
            looks at.
        LabelError: The alignment does not fit, or a label is not in its vocabulary.
        ConfigError: `threads` is below 1, or `out` is a URL, a folder, one of the predictions' files, or in
            their folder.

    Example:
        >>> import tempfile
        >>> from sublabel import SPLB, Vocabulary
        >>> from sublabel.tables import PREDICTIONS_SCHEMA, PredictionsMetadata
        >>> classes = Vocabulary(["cat", "dog"])
        >>> columns = [["a", "b"], ["cat", "cat"], [[0], [1]], [[0.9], [0.8]], ["ok", "ok"]]
        >>> metadata = PredictionsMetadata(classes, classes, "my-teacher-v1").to_strings()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with TableWriter(f"{folder}/p.parquet", PREDICTIONS_SCHEMA, metadata) as writer:
        ...         writer.write(pa.table(columns, schema=PREDICTIONS_SCHEMA))
        ...     print(relabel_table(f"{folder}/p.parquet", f"{folder}/r.parquet", SPLB()))
        ...     sample_ids, labels, space = read_relabeled(f"{folder}/r.parquet")
        2 samples: 2 in 2 classes, 0 dropped by the strategy, 0 without a weak label or a prediction
        >>> [space.names[label] for label in labels]
        ['cat', 'cat × (disagreed)']
    """
    out = output_of(predictions, out)
    source = _Source.open(predictions, strategy.counting, choose_threads(threads), progress or _ignore)
    out.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(out)
    with PairStore(out.parent, source.metadata) as store:
        counted = _count(source, strategy.counting, alignment, store)
        space = strategy.fit(counted.confusion, alignment).match_sizes(partial(_with_ids, source, store))
        labeled = _write(source, out, space, store)
    abstained = source.rows - counted.voted
    return RelabelSummary(source.rows, labeled, counted.voted - labeled, abstained, space)


class _Source(NamedTuple):
    """A predictions table that was opened and looks whole, and how it is to be read."""

    predictions: Location
    parts: list[Part]
    rows: int
    metadata: PredictionsMetadata
    threads: int
    report: Progress

    @classmethod
    def open(cls, predictions: Location, counting: Counting, threads: int, report: Progress) -> _Source:
        metadata = read_predictions_metadata(predictions)
        parts = open_parts(predictions, ["sample_id", *LABEL_COLUMNS])
        refuse_missing_ids(parts)
        if not isinstance(counting, HardCounts):
            _refuse_missing_probabilities(parts)
        return cls(predictions, parts, count_rows(parts), metadata, threads, report)

    def sample_id(self, first: int, row: int) -> str:
        """Of a row of the whole table, counted from the row `first`."""
        row += first
        chunks = iter_chunks(self.parts, ["sample_id"])
        chunk = next(chunk for chunk in chunks if row < chunk.first + chunk.rows)
        ids = pa.chunked_array([batch.column(0) for batch in chunk.batches()])
        return str(ids[row - chunk.first].as_py())


def _refuse_missing_probabilities(parts: Iterable[Part]) -> None:
    for part in parts:
        if "top_probs" not in part.footer.schema.to_arrow_schema().names:
            raise TableError(
                f"{part.location} has no column top_probs, the teacher's probabilities of its top_ids, which "
                "confident_spl and top_k_spl look at: write the predictions with them, or choose a strategy "
                "that needs none"
            )


class _Counted(NamedTuple):
    confusion: ConfusionMatrix
    voted: int
    """Samples with a weak label and a prediction."""


def _count(
    source: _Source, counting: Counting, alignment: AlignmentLike, store: PairStore | None = None
) -> _Counted:
    """Count all rows, as often as the counting needs to see them, and keep their label pairs in the store."""
    metadata = source.metadata
    builder = counting.start(metadata.weak_vocabulary, metadata.teacher_vocabulary, alignment)
    done = voted = 0
    total = source.rows * builder.passes
    source.report("count", done, total)
    for number in range(builder.passes):
        if number:
            builder.next_pass()
        for decoded in _decoded(source, hard=isinstance(counting, HardCounts)):
            for first, weak, top_ids, top_probs in decoded:
                with _located(f"rows from {first:,} on"):
                    builder.update(weak, top_ids, top_probs)
                if number == 0:
                    teacher = top_ids if top_ids.ndim == 1 else top_ids[:, 0]
                    voted += int(np.count_nonzero((weak >= 0) & (teacher >= 0)))
                    if store is not None:
                        store.put(first, weak, teacher)
                done += len(weak)
            source.report("count", done, total)
    if voted == 0:
        _refuse_failures(source)
    return _Counted(builder.build(), voted)


def _refuse_failures(source: _Source) -> None:
    """A table of rows that all failed has nothing to say, or says `ok` in another way."""
    seen: Counter[str | None] = Counter()
    for part in source.parts:
        for batch in iter_batches(part.location, ["status"]):
            counts = batch.column(0).cast(pa.string()).value_counts()
            seen.update(dict(zip(*(counts.field(index).to_pylist() for index in (0, 1)), strict=True)))
    if not seen or "ok" in seen:
        return
    shown = ", ".join(
        f"{'null' if status is None else repr(status)} {count:,}"
        for status, count in seen.most_common(LISTED_STATUSES)
    )
    more = f" and {len(seen) - LISTED_STATUSES:,} more" if len(seen) > LISTED_STATUSES else ""
    raise TableError(
        f"no sample of {source.predictions} has the status 'ok', and only those have predictions: "
        f"it has {shown}{more}"
    )


_Decoded = tuple[int, np.ndarray, np.ndarray, np.ndarray | None]


def _decoded(source: _Source, *, hard: bool) -> Iterator[list[_Decoded]]:
    """Chunks of the table as arrays: the first row, weak labels, the teacher's classes and probabilities."""
    vocabulary = source.metadata.weak_vocabulary

    def decode(chunk: Chunk) -> list[_Decoded]:
        found: list[_Decoded] = []
        first = chunk.first
        for batch in chunk.batches():
            name = partial(source.sample_id, first)
            if hard:
                found.append((first, *decode_pairs(chunk.location, batch, vocabulary, name), None))
            else:
                found.append((first, *decode_top(chunk.location, batch, vocabulary, name)))
            first += batch.num_rows
        return found

    # A row of probabilities is many times wider than a label.
    columns, largest = (
        (LABEL_COLUMNS, LARGEST_ROW_GROUP) if hard else ((*LABEL_COLUMNS, "top_probs"), CHUNK_ROWS)
    )
    with ordered_map(source.threads) as run:
        yield from run(decode, iter_chunks(source.parts, columns, DICTIONARIES, largest=largest))


@contextmanager
def _located(where: str) -> Iterator[None]:
    try:
        yield
    except LabelError as error:
        raise LabelError(f"{where}: {error}") from error


def _with_ids(source: _Source, store: PairStore) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Weak labels, predictions and ids of all rows, in chunks."""
    for chunk in iter_chunks(source.parts, ["sample_id"], largest=CHUNK_ROWS):
        ids = [cast_column(chunk.location, "sample_id", batch.column(0)) for batch in chunk.batches()]
        yield *store.get(chunk.first, chunk.rows), pa.chunked_array(ids, pa.string()).to_numpy()
        source.report("match", chunk.first + chunk.rows, source.rows)


def _write(source: _Source, out: Path, space: LabelSpace, store: PairStore) -> int:
    """Write the relabeled table; returns the number of samples that have a class."""

    def assign(chunk: Chunk) -> pa.Table:
        ids, confidence = [], []
        for batch in chunk.batches():
            ids.append(cast_column(chunk.location, "sample_id", batch.column(0)))
            if space.needs_confidence:
                lists = cast_column(chunk.location, "top_probs", batch.column(1))
                confidence.append(first_elements(lists, 0.0)[0])
        sample_ids = pa.chunked_array(ids, pa.string())
        labels = space.assign(
            *store.get(chunk.first, chunk.rows),
            sample_ids.to_numpy() if space.needs_sample_ids else None,
            np.concatenate(confidence) if space.needs_confidence else None,
        )
        return pa.table([sample_ids, pa.array(labels)], schema=RELABELED_SCHEMA)

    # In one batch, ids need not be joined; lists of probabilities are better read a few at a time.
    columns, rows = (
        (["sample_id", "top_probs"], CHUNK_ROWS)
        if space.needs_confidence
        else (["sample_id"], LARGEST_ROW_GROUP)
    )
    # Ids that are hashed are Python's strings for a while.
    largest = CHUNK_ROWS if space.needs_sample_ids else LARGEST_ROW_GROUP
    metadata = {
        "label_space": space.to_json(),
        "teacher_fingerprint": source.metadata.teacher_fingerprint,
    }
    done = labeled = 0
    source.report("relabel", done, source.rows)
    with (
        TableWriter(out, RELABELED_SCHEMA, metadata, dictionary=["label"]) as writer,
        ordered_map(source.threads) as run,
    ):
        regrouped = RowGroups(writer)
        for table in run(assign, iter_chunks(source.parts, columns, batch_rows=rows, largest=largest)):
            regrouped.write(table)
            labeled += pc.sum(pc.greater_equal(table["label"], 0)).as_py() or 0
            done += len(table)
            source.report("relabel", done, source.rows)
        regrouped.flush()
    return labeled


def _ignore(stage: str, done: int, rows: int) -> None:
    pass


def read_relabeled(path: Location) -> Relabeled:
    """Read a relabeled table.

    Raises:
        TableError: The file is damaged, not a relabeled table, or a `sample_id` is null or stands in it
            twice.
        LabelError: Its label space was changed.
    """
    text = read_metadata(path).get("label_space")
    if text is None:
        raise TableError(
            f"{path} is not a relabeled table: its metadata has no label space; `sublabel relabel` writes it"
        )
    try:
        space = LabelSpace.from_json(text)
    except LabelError as error:
        raise LabelError(f"{path}: {error}") from error
    batches = list(iter_batches(path, ["sample_id", "label"]))
    table = pa.Table.from_batches(batches, RELABELED_SCHEMA) if batches else RELABELED_SCHEMA.empty_table()
    sample_ids = table["sample_id"].combine_chunks()
    _refuse_repeated(path, sample_ids)
    return Relabeled(sample_ids, table["label"].to_numpy(), space)


def _refuse_repeated(path: Location, sample_ids: pa.Array) -> None:
    """A join on repeated ids would take one of their labels without a word."""
    if sample_ids.null_count == 0 and pc.count_distinct(sample_ids).as_py() == len(sample_ids):
        return
    counts = sample_ids.value_counts()
    worst = counts[pc.index(counts.field("counts"), pc.max(counts.field("counts"))).as_py()]
    found = "a row without sample_id" if sample_ids.null_count else f"sample_id {worst['values'].as_py()!r}"
    times = sample_ids.null_count or worst["counts"].as_py()
    raise TableError(
        f"{path} has {found} ({times} times); labels are joined on it: make the ids of the manifest unique "
        "(Manifest.check names them) and run the teacher pass again"
    )
