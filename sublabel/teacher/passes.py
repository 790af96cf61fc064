"""The teacher pass: a manifest in, shards of predictions out, and a row for every sample, readable or not."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from sublabel import distributed
from sublabel.errors import ConfigError, LabelError
from sublabel.files import local_path
from sublabel.labels import Vocabulary
from sublabel.media.reader import Reader
from sublabel.media.shards import (
    MediaRow,
    PassSummary,
    iter_shards,
    missing_shards,
    shard_numbers,
    shard_path,
)
from sublabel.provenance import refuse_others
from sublabel.tables import (
    Manifest,
    PredictionsMetadata,
    TableWriter,
    feature_array,
    iter_batches,
    predictions_schema,
    read_metadata,
)
from sublabel.tables.schema import OK
from sublabel.teacher.base import Teacher, TeacherPrediction, as_feature_teacher, checked_prediction

# Of a worker; whole videos where they have more.
ROWS_PER_READ = 32
ROWS_PER_SHARD = 8192
# Of each of several processes, so that none waits long for another.
SHARDS_PER_PROCESS = 4


def predict_manifest(
    manifest: Manifest,
    teacher: Teacher,
    out: str | Path,
    *,
    reader: Reader,
    transform: Callable[[Tensor], Tensor],
    weak_vocabulary: Vocabulary | None = None,
    batch_size: int = 256,
    num_workers: int = 0,
    rows_per_shard: int | None = None,
    features: bool = False,
) -> PassSummary:
    """Let a teacher look at every sample of a manifest.

    A shard appears only when it is complete, so that a pass that was killed goes on with the missing ones and
    ends with the same table. Rows keep the manifest's order. Several processes of one training share the
    shards.

    Args:
        manifest: The samples, with `weak_label`.
        teacher: Classifies batches.
        out: Folder for the shards `part-00000.parquet`, …
        reader: Reads the media, as a domain does; what it cannot read becomes a row with the reason as its
            status.
        transform: From decoded media to an input; all inputs of one shape.
        weak_vocabulary: The weak classes; default: the sorted names in the manifest (one more pass over it).
        batch_size: Samples a batch, at most.
        num_workers: Processes that read and decode; 0 does so in this one.
        rows_per_shard: Rows a shard; default: `shard_rows`.
        features: Keep also what the teacher saw in each sample, in halves; it must say it, as a trained model
            does (`FeatureTeacher`).

    Returns:
        The number of rows by status, those of earlier shards included.

    Raises:
        TableError: The manifest has no `weak_label`.
        LabelError: A weak label is not in the vocabulary.
        ConfigError: `out` holds predictions of another teacher or vocabulary, or with features where none
            are wanted, or is a URL; or a number is below 1, or the teacher has no features to keep.
    """
    out, count = local_path(out), manifest.count()
    if rows_per_shard is None:
        rows_per_shard = shard_rows(out, count, distributed.world_size())
    if batch_size < 1 or rows_per_shard < 1:
        raise ConfigError(
            f"batch_size is {batch_size} and rows_per_shard {rows_per_shard}; both must be at least 1"
        )
    manifest.require("weak_label")
    out.mkdir(parents=True, exist_ok=True)
    vocabulary = weak_vocabulary or manifest.vocabulary("weak_label")
    metadata = PredictionsMetadata(
        weak_vocabulary=vocabulary,
        teacher_vocabulary=teacher.vocabulary,
        teacher_fingerprint=teacher.fingerprint,
    )
    width = as_feature_teacher(teacher)[1] if features else None
    strings = {**metadata.to_strings(), "rows_per_shard": str(rows_per_shard), "features": str(width or 0)}
    for shard in sorted(out.glob("part-*.parquet")):
        # Predictions of another pass must not be mixed with this one's.
        theirs = read_metadata(shard)
        record = {key: theirs.get(key) for key in strings} | {"features": theirs.get("features", "0")}
        refuse_others(shard, record, strings, free={"versions"})
    ours = distributed.share_of(shard_numbers(count, rows_per_shard))
    shards = iter_shards(
        manifest,
        reader,
        partial(_pack, transform),
        missing_shards(out, "parquet", ours),
        rows_per_shard=rows_per_shard,
        rows_per_read=ROWS_PER_READ,
        num_workers=num_workers,
    )
    for number, rows in shards:
        schema = predictions_schema(width)
        with TableWriter(shard_path(out, number, "parquet"), schema, strings) as writer:
            for batch in _batched(rows, batch_size):
                _refuse_unknown(batch, vocabulary, manifest)
                writer.write(_prediction_rows(batch, teacher, width))
    distributed.wait_for_all()
    return PassSummary.of(Counter(_statuses(out)))


def shard_rows(out: Path, rows: int, processes: int) -> int:
    """How many rows a shard of a pass has: as the shards that are there, else a number that all can share.

    Args:
        out: Folder of the shards.
        rows: Of the manifest.
        processes: That share the pass.
    """
    for shard in sorted(out.glob("part-*.parquet"))[:1]:
        return int(read_metadata(shard).get("rows_per_shard", ROWS_PER_SHARD))
    if processes == 1:
        return ROWS_PER_SHARD
    return min(ROWS_PER_SHARD, max(1, -(-rows // (SHARDS_PER_PROCESS * processes))))


def _pack(transform: Callable[[Tensor], Tensor], media: list[Tensor]) -> Tensor:
    # One tensor for each read: a worker hands each over as an open file.
    return torch.stack([transform(entry) for entry in media]) if media else torch.empty(0)


def _batched(rows: Iterable[MediaRow], size: int) -> Iterator[list[MediaRow]]:
    rows = iter(rows)
    while batch := list(itertools.islice(rows, size)):
        yield batch


def _refuse_unknown(batch: list[MediaRow], vocabulary: Vocabulary, manifest: Manifest) -> None:
    for row in batch:
        try:
            if row.weak_label is not None:
                vocabulary.index(row.weak_label)
        except LabelError as error:
            raise LabelError(f"{manifest}: the weak_label of sample {row.sample_id!r}: {error}") from error


def _prediction_rows(batch: list[MediaRow], teacher: Teacher, width: int | None) -> pa.RecordBatch:
    """The rows of a batch; with features of a width where that is given."""
    weak_labels = [row.weak_label for row in batch]
    inputs = [row.media for row in batch if row.status == OK]
    predicted: Iterator[Any] = iter([])
    features = np.full((len(batch), width or 0), np.nan, dtype=np.float32)
    if inputs:
        answer, seen = _look(teacher, torch.stack(inputs), width)
        predicted = zip(*answer, strict=True)
        features[[row.status == OK for row in batch]] = seen
    pairs = [next(predicted) if row.status == OK else (None, None) for row in batch]
    columns = [
        pa.array([row.sample_id for row in batch], pa.string()),
        pa.array(weak_labels, pa.string()),
        pa.array([ids for ids, _ in pairs], pa.list_(pa.int32())),
        pa.array([probabilities for _, probabilities in pairs], pa.list_(pa.float32())),
        pa.array([row.status for row in batch], pa.string()),
        *([] if width is None else [feature_array(features)]),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=predictions_schema(width))


def _look(teacher: Teacher, inputs: Tensor, width: int | None) -> tuple[TeacherPrediction, np.ndarray]:
    """What a teacher says of inputs (B, …), checked, and what it saw, floats (B, width), or (B, 0)."""
    if width is None:
        answer, seen = teacher.predict(inputs), np.empty((len(inputs), 0))
    else:
        looked, seen = as_feature_teacher(teacher)[0].look(inputs)
        answer, seen = looked, np.asarray(seen)
        if seen.shape != (len(inputs), width):
            raise ConfigError(
                f"the teacher's features of {len(inputs)} samples have shape {seen.shape}; expected "
                f"({len(inputs)}, {width}), as its `num_features` says"
            )
    return checked_prediction(answer, len(inputs), teacher.vocabulary), seen


def _statuses(out: Path) -> Iterator[str]:
    for batch in iter_batches(out, columns=["status"]):
        yield from batch.column(0).to_pylist()
