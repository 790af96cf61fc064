"""The relabeled table: what a student is trained towards, or why a sample is not used, for every sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sublabel.errors import LabelError, TableError
from sublabel.files import remove_abandoned
from sublabel.labels import (
    REASONS,
    ConfusionMatrix,
    Counting,
    HardCounts,
    Labels,
    LabelSpace,
    Pairs,
    Strategy,
    Targets,
)
from sublabel.labels.alignment import AlignmentLike
from sublabel.labels.strategies.base import fitted_space
from sublabel.tables._chunks import CHUNK_ROWS, LARGEST_ROW_GROUP, Chunk, iter_chunks, ordered_map
from sublabel.tables._decode import FEW_VALUES, as_dictionary, cast_column
from sublabel.tables._opened import LISTED_STATUSES, CountedPairs, OpenPredictions, Progress
from sublabel.tables._store import ROW_GROUP_ROWS, PairStore, RowGroups, sorted_dictionary
from sublabel.tables._target_columns import from_arrow, target_fields, to_arrow
from sublabel.tables.io import Location, TableWriter, iter_batches, output_of, parquet_output, read_metadata
from sublabel.tables.schema import RELABELED_SCHEMA

KEPT, _, NO_PREDICTION, DROPPED = REASONS
NO_STATUS = "no status"
"""What stands for the predictions' status where that is null."""
FEW_LABELS = ("pretrain_label", "status")
"""Columns with few distinct values, which are stored as dictionaries."""


@dataclass(frozen=True)
class RelabelSummary:
    """What became of the samples of a predictions table."""

    statuses: Mapping[str, int]
    """Status of the relabeled table → samples, the most frequent first."""
    space: LabelSpace

    @property
    def rows(self) -> int:
        """All samples."""
        return sum(self.statuses.values())

    @property
    def kept(self) -> int:
        """Samples with a target."""
        return self.statuses.get(KEPT, 0)

    @property
    def dropped(self) -> int:
        """Samples that the strategy does not use, though both labels were there."""
        return self.statuses.get(DROPPED, 0)

    @property
    def abstained(self) -> int:
        """Samples without a weak label or a prediction."""
        return self.rows - self.kept - self.dropped

    def __str__(self) -> str:
        others = [f"{count:,} {status}" for status, count in self.statuses.items() if status != KEPT]
        shown = [f"{self.kept:,} kept in {self.space.num_classes:,} classes", *others[:LISTED_STATUSES]]
        if len(others) > LISTED_STATUSES:
            shown.append(f"and {len(others) - LISTED_STATUSES:,} more statuses")
        return f"{self.rows:,} samples: {', '.join(shown)}"


class Relabeled(NamedTuple):
    """A relabeled table in memory."""

    sample_ids: pa.Array
    """string (N,), distinct."""
    targets: Targets
    """What each of the N samples is trained towards; their `reasons` are the statuses of the table."""
    space: LabelSpace


def count_table(
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
    table = OpenPredictions.open(predictions, threads, progress)
    return table.count(counting or HardCounts(), alignment)


def relabel_table(
    predictions: Location,
    out: str | Path,
    strategy: Any,
    *,
    alignment: AlignmentLike = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> RelabelSummary:
    """Predictions in, relabeled table out, in constant memory; rows keep their order.

    The table has the columns `sample_id`, `pretrain_label` (int64; of two heads a list of two, of soft
    targets a list of classes, whose weights stand in `pretrain_weight`) and `status`: `kept`, `no weak
    label`, `no prediction: ` with the status of the predictions, or `dropped by the strategy`. Its metadata
    hold the label space and the teacher's fingerprint: alone, it is enough to train on.

    The output takes its name when it is whole. A run that was interrupted is started again from the
    beginning, and also removes what a killed one left beside `out`. While it runs, an unnamed temporary file
    in the folder of `out` holds the label pairs (2 to 8 bytes a row). The bytes of the output depend neither
    on `threads` nor on the shards and row groups of the input.

    Args:
        predictions: A predictions file, or a folder of shards.
        out: The Parquet file to write.
        strategy: How cells become classes: any strategy, or what `Strategy.parse` takes for one.
        alignment: Which classes agree; default: those of equal names.
        threads: How many read, beside the one that writes; default: one for each core, up to 16.
        progress: Called as `progress(stage, rows done, rows in all)`, in this thread; the stages are
            "count", then "relabel"; of a matched control "match" between them.

    Returns:
        How many samples got which status, and the label space.

    Raises:
        TableError: The table is damaged, not one of predictions, or lacks probabilities that the strategy
            looks at.
        LabelError: The strategy or the alignment does not fit, or a label is not in its vocabulary.
        ConfigError: `threads` is below 1, or `out` is a URL, a folder, one of the predictions' files or in
            their folder, or is named as another format.

    Example:
        >>> import tempfile
        >>> from sublabel.tables import write_predictions
        >>> pairs = Pairs(["cat", "cat", "cat"], ["cat", "dog", None], sample_ids=["a", "b", "c"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_predictions(f"{folder}/p.parquet", pairs)
        ...     print(relabel_table(f"{folder}/p.parquet", f"{folder}/r.parquet", "spl_b"))
        ...     sample_ids, targets, space = read_relabeled(f"{folder}/r.parquet")
        3 samples: 2 kept in 2 classes, 1 no prediction: none given
        >>> [space.names[targets[row]] if targets.keep[row] else None for row in range(3)]
        ['cat', 'cat × (disagreed)', None]
    """
    chosen, out = Strategy.parse(strategy), parquet_output(output_of(predictions, out))
    table = OpenPredictions.open(predictions, threads, progress)
    out.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(out)
    with PairStore(out.parent, table.metadata) as store:
        confusion = table.count(chosen.counting, alignment, store)
        pairs = CountedPairs(table, store, chosen.counting.needs)
        space = fitted_space(chosen, confusion, alignment)
        space = space.match_sizes(partial(pairs.all, frozenset(space.needs), "match"))
        statuses = _write(pairs, out, space)
    return RelabelSummary(dict(statuses.most_common()), space)


def _write(counted: CountedPairs, out: Path, space: LabelSpace) -> Counter[str]:
    """Write the relabeled table; returns how many samples got which status."""
    table, needs = counted.table, frozenset(space.needs)
    table.require(needs)
    schema = pa.schema(
        [RELABELED_SCHEMA.field("sample_id"), *target_fields(space), RELABELED_SCHEMA.field("status")]
    )
    is_nested = pa.types.is_nested(schema.field("pretrain_label").type)
    # In one batch, rows need not be joined; what is wider than a label is better read a few rows at a time.
    rows = CHUNK_ROWS if needs or is_nested else LARGEST_ROW_GROUP
    chunks = iter_chunks(table.parts, counted.columns(needs), FEW_VALUES, batch_rows=rows, largest=rows)
    metadata = {
        "label_space": space.to_json(),
        "teacher_fingerprint": table.metadata.teacher_fingerprint,
    }
    done, statuses = 0, Counter[str]()
    table.report("relabel", done, table.rows)
    with (
        TableWriter(out, schema, metadata, dictionary=FEW_LABELS, statistics=False) as writer,
        ordered_map(table.threads) as run,
    ):
        regrouped = RowGroups(writer, CHUNK_ROWS if is_nested else ROW_GROUP_ROWS)
        for assigned, counts in run(partial(_assign, counted, space, schema), chunks):
            regrouped.write(assigned)
            statuses.update(counts)
            done += len(assigned)
            table.report("relabel", done, table.rows)
        regrouped.flush()
    return statuses


def _assign(
    counted: CountedPairs, space: LabelSpace, schema: pa.Schema, chunk: Chunk
) -> tuple[pa.Table, Counter[str]]:
    """The rows of the relabeled table of a chunk of predictions, and how many got which status."""
    parts, seen = [], Counter[str]()
    for batch, pairs in counted.read(chunk, frozenset(space.needs)):
        targets = space.targets(pairs)
        statuses, counts = _statuses(pairs, targets, as_dictionary(chunk.location, batch, "status"))
        columns = {
            "sample_id": cast_column(chunk.location, "sample_id", batch.column("sample_id")),
            **to_arrow(targets.columns()),
            "status": statuses,
        }
        parts.append(pa.RecordBatch.from_pydict(columns, schema))
        seen.update(counts)
    return pa.Table.from_batches(parts, schema), seen


def _statuses(
    pairs: Pairs, targets: Targets, predicted: pa.DictionaryArray
) -> tuple[pa.DictionaryArray, dict[str, int]]:
    """Why each sample has a target or none, and how many samples there are of each status.

    Args:
        pairs: N samples.
        targets: What a space made of them.
        predicted: The status of their predictions, (N,).
    """
    unused = np.flatnonzero(~targets.keep)
    without = Labels.of(np.full(len(unused), -1), pairs.weak[unused], pairs.teacher[unused]).codes
    # codes[n]: position of the status of sample n in `names`, (N,)
    codes = np.zeros(len(pairs), dtype=np.int32)
    codes[unused] = without
    names = list(REASONS)
    unpredicted = unused[without == REASONS.index(NO_PREDICTION)]
    if len(unpredicted):
        found = predicted.dictionary.to_pylist()
        places = pc.fill_null(predicted.indices.take(pa.array(unpredicted)), len(found)).to_numpy()
        codes[unpredicted] = len(REASONS) + places
        names += [f"{NO_PREDICTION}: {NO_STATUS if why is None else why}" for why in [*found, None]]
    counts = np.bincount(codes[unused], minlength=len(names))
    counts[0] = len(pairs) - len(unused)
    seen = {names[place]: int(counts[place]) for place in np.flatnonzero(counts).tolist()}
    # Sorted here, by several threads, so that little is left to sort where row groups are written.
    return sorted_dictionary(pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(names))), seen


def read_label_space(path: Location) -> LabelSpace:
    """Read the label space of a relabeled table, without its rows.

    Raises:
        TableError: The file is damaged, or not a relabeled table.
        LabelError: The space was changed.
    """
    text = read_metadata(path).get("label_space")
    if text is None:
        raise TableError(
            f"{path} is not a relabeled table: its metadata has no label space; `sublabel relabel` writes it"
        )
    try:
        return LabelSpace.from_json(text)
    except LabelError as error:
        raise LabelError(f"{path}: {error}") from error


def read_relabeled(path: Location) -> Relabeled:
    """Read a relabeled table.

    Raises:
        TableError: The file is damaged, not a relabeled table, or a `sample_id` is null or stands in it
            twice.
        LabelError: Its label space was changed, or its labels are those of another one.
    """
    space = read_label_space(path)
    try:
        fields = target_fields(space)
        names = [field.name for field in fields]
        table = _read_columns(path, pa.schema([RELABELED_SCHEMA.field("sample_id"), *fields]))
        statuses = _read_columns(path, pa.schema([RELABELED_SCHEMA.field("status")]))["status"]
        targets = space.read_targets(from_arrow(table.select(names)), partial(_as_strings, statuses))
    except LabelError as error:
        raise LabelError(f"{path}: {error}") from error
    sample_ids = table["sample_id"].combine_chunks()
    _refuse_repeated(path, sample_ids)
    return Relabeled(sample_ids, targets, space)


def _read_columns(path: Location, schema: pa.Schema) -> pa.Table:
    """Columns of a table in the types of a schema."""
    batches = list(iter_batches(path, schema.names))
    if not batches:
        return schema.empty_table()
    table = pa.Table.from_batches(batches)
    try:
        return table.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TableError(
            f"{path} has columns of the types {', '.join(map(str, table.schema.types))}, and its label space "
            f"{', '.join(map(str, schema.types))}: {error}"
        ) from error


def _as_strings(statuses: pa.ChunkedArray) -> np.ndarray:
    """Statuses as NumPy's strings (N,)."""
    return np.asarray(statuses.cast(pa.string()).to_numpy()).astype(np.str_)


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
