"""The relabeled table: a pre-training class for every sample, and the label space in its metadata."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from sublabel.errors import LabelError, TableError
from sublabel.labels import ConfusionMatrix, LabelSpace, Strategy
from sublabel.labels.alignment import AlignmentLike
from sublabel.tables.io import TableWriter, iter_batches, read_metadata
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
            f"{self.dropped:,} dropped by "
            f"the strategy, {self.abstained:,} without a weak label or a prediction"
        )


class Relabeled(NamedTuple):
    """A relabeled table in memory."""

    sample_ids: pa.Array
    labels: np.ndarray
    """int64 (N,), -1 where the sample is dropped."""
    space: LabelSpace


def count_pairs(predictions: str | Path) -> ConfusionMatrix:
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
    predictions: str | Path, out: str | Path, strategy: Strategy, *, alignment: AlignmentLike = None
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


def read_relabeled(path: str | Path) -> Relabeled:
    """Read a relabeled table.

    Raises:
        TableError: The file is damaged, or not a relabeled table.
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
    return Relabeled(table["sample_id"].combine_chunks(), table["label"].to_numpy(), space)
