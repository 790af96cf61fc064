"""The relabeled table: a pre-training class for every sample, and the label space in its metadata."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sublabel.errors import LabelError, TableError
from sublabel.labels import ConfusionMatrix, LabelSpace, Strategy
from sublabel.labels.alignment import AlignmentLike
from sublabel.tables.io import Location, TableWriter, iter_batches, read_metadata
from sublabel.tables.predictions import iter_pairs, read_predictions_metadata

RELABELED_SCHEMA = pa.schema([("sample_id", pa.string()), ("label", pa.int64())])


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


def count_pairs(predictions: Location) -> ConfusionMatrix:
    """The confusion matrix of a predictions table, in one pass over it.

    Raises:
        TableError: The table is damaged, or not one of predictions.
    """
    metadata = read_predictions_metadata(predictions)
    confusion = ConfusionMatrix(metadata.weak_vocabulary, metadata.teacher_vocabulary)
    for pairs in iter_pairs(predictions):
        confusion.update(pairs.weak, pairs.teacher)
    return confusion


def relabel_table(
    predictions: Location, out: str | Path, strategy: Strategy, *, alignment: AlignmentLike = None
) -> RelabelSummary:
    """Predictions in, relabeled table out, in two passes and constant memory; rows keep their order.

    Args:
        predictions: A predictions file, or a folder of shards.
        out: The Parquet file to write.
        strategy: How cells become classes.
        alignment: Which classes agree; default: those of equal names.

    Raises:
        TableError: The table is damaged, or not one of predictions.
        LabelError: The alignment does not fit, or a label is not in its vocabulary.

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
    confusion = count_pairs(predictions)
    space = strategy.fit(confusion, alignment)
    metadata = {
        "label_space": space.to_json(),
        "teacher_fingerprint": read_predictions_metadata(predictions).teacher_fingerprint,
    }
    rows = labeled = 0
    with TableWriter(out, RELABELED_SCHEMA, metadata) as writer:
        for pairs in iter_pairs(predictions):
            ids = pairs.sample_ids.to_numpy(zero_copy_only=False) if space.needs_sample_ids else None
            labels = space.assign(pairs.weak, pairs.teacher, ids)
            writer.write(
                pa.RecordBatch.from_arrays([pairs.sample_ids, pa.array(labels)], schema=RELABELED_SCHEMA)
            )
            rows += len(labels)
            labeled += int(np.count_nonzero(labels >= 0))
    return RelabelSummary(rows, labeled, confusion.total - labeled, confusion.abstained, space)


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
