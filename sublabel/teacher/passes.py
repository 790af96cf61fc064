"""The teacher pass: a manifest in, shards of predictions out, and a row for every sample, readable or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from sublabel.errors import ConfigError, MediaError, TableError
from sublabel.labels import Vocabulary
from sublabel.tables import (
    PREDICTIONS_SCHEMA,
    Manifest,
    PredictionsMetadata,
    TableWriter,
    iter_batches,
    read_metadata,
)
from sublabel.teacher.base import Teacher

OK = "ok"


@dataclass(frozen=True)
class TeacherPassSummary:
    """What became of the rows of a manifest."""

    rows: int
    statuses: Mapping[str, int]
    """Status → number of rows, most frequent first; `ok` where the teacher made a prediction."""

    @property
    def failed(self) -> int:
        """Rows without a prediction."""
        return self.rows - self.statuses.get(OK, 0)

    def __str__(self) -> str:
        reasons = "".join(f"; {count} × {status}" for status, count in self.statuses.items() if status != OK)
        return f"{self.rows} samples, {self.failed} without a prediction{reasons}"


def predict_manifest(
    manifest: Manifest,
    teacher: Teacher,
    out: str | Path,
    *,
    read: Callable[[Mapping[str, Any]], Tensor],
    transform: Callable[[Tensor], Tensor],
    weak_vocabulary: Vocabulary | None = None,
    batch_size: int = 256,
    num_workers: int = 0,
    shard_batches: int = 256,
) -> TeacherPassSummary:
    """Let a teacher look at every sample of a manifest.

    A shard holds `shard_batches × batch_size` rows and appears only when it is complete, so that a pass that
    was killed goes on after its last shard and ends with the same table. Rows keep the manifest's order.

    Args:
        manifest: The samples, with `weak_label`.
        teacher: Classifies batches.
        out: Folder for the shards `part-00000.parquet`, …
        read: Decodes one row, as `Domain.read`; what it cannot read becomes a row with the reason as its
            status.
        transform: From decoded media to an input; all inputs of one shape.
        weak_vocabulary: The weak classes; default: the sorted names in the manifest (one more pass over it).
        batch_size: Samples a batch.
        num_workers: Processes that read and decode; 0 does so in this one.
        shard_batches: Batches a shard.

    Returns:
        The number of rows by status, those of earlier shards included.

    Raises:
        TableError: The manifest has no `weak_label`, or `out` holds predictions of another teacher or
            vocabulary.
    """
    if batch_size < 1 or shard_batches < 1:
        raise ConfigError(
            f"batch_size is {batch_size} and shard_batches {shard_batches}; both must be at least 1"
        )
    manifest.require("weak_label")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    vocabulary = weak_vocabulary or manifest.vocabulary("weak_label")
    metadata = PredictionsMetadata(
        weak_vocabulary=vocabulary,
        teacher_vocabulary=teacher.vocabulary,
        teacher_fingerprint=teacher.fingerprint,
    )
    statuses: Counter[str] = Counter()
    rows_per_shard = batch_size * shard_batches
    strings = {**metadata.to_strings(), "rows_per_shard": str(rows_per_shard)}
    done = _complete_shards(out, strings, statuses)
    if sum(statuses.values()) < done * rows_per_shard:
        # A shorter last shard means that the manifest had ended.
        return _summary(statuses)
    dataset = _MediaBatches(manifest, read, transform, batch_size, skip=done * shard_batches)
    loader = DataLoader(dataset, batch_size=None, num_workers=num_workers)
    shards = _groups(iter(loader), shard_batches)
    for number, batches in enumerate(shards, start=done):
        with TableWriter(out / f"part-{number:05d}.parquet", PREDICTIONS_SCHEMA, strings) as writer:
            for batch in batches:
                statuses.update(batch.statuses)
                writer.write(_prediction_rows(batch, teacher, vocabulary))
    return _summary(statuses)


class _MediaBatch(NamedTuple):
    sample_ids: list[str]
    weak_labels: list[str | None]
    statuses: list[str]
    inputs: Tensor | None
    """The readable samples only, in order."""


class _MediaBatches(IterableDataset[_MediaBatch]):
    """Decoded batches of a manifest; worker w of n decodes w, w + n, …, and the loader keeps their order."""

    def __init__(
        self,
        manifest: Manifest,
        read: Callable[[Mapping[str, Any]], Tensor],
        transform: Callable[[Tensor], Tensor],
        batch_size: int,
        skip: int,
    ) -> None:
        self.manifest = manifest
        self.read = read
        self.transform = transform
        self.batch_size = batch_size
        self.skip = skip

    def __iter__(self) -> Iterator[_MediaBatch]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for number, rows in enumerate(_exact_batches(self.manifest.batches(), self.batch_size)):
            if number >= self.skip and (number - self.skip) % step == first:
                yield self._decode(rows.to_pylist())

    def _decode(self, rows: list[dict[str, Any]]) -> _MediaBatch:
        statuses, inputs = [], []
        for row in rows:
            try:
                inputs.append(self.transform(self.read(row)))
                statuses.append(OK)
            except MediaError as error:
                statuses.append(error.reason)
        return _MediaBatch(
            [row["sample_id"] for row in rows],
            [row["weak_label"] for row in rows],
            statuses,
            torch.stack(inputs) if inputs else None,
        )


def _prediction_rows(batch: _MediaBatch, teacher: Teacher, vocabulary: Vocabulary) -> pa.RecordBatch:
    vocabulary.encode(batch.weak_labels)
    predicted = iter([]) if batch.inputs is None else zip(*teacher.predict(batch.inputs), strict=True)
    pairs = [next(predicted) if status == OK else (None, None) for status in batch.statuses]
    return pa.RecordBatch.from_arrays(
        [
            pa.array(batch.sample_ids, pa.string()),
            pa.array(batch.weak_labels, pa.string()),
            pa.array([ids for ids, _ in pairs], pa.list_(pa.int32())),
            pa.array([probabilities for _, probabilities in pairs], pa.list_(pa.float32())),
            pa.array(batch.statuses, pa.string()),
        ],
        schema=PREDICTIONS_SCHEMA,
    )


def _complete_shards(out: Path, strings: Mapping[str, str], statuses: Counter[str]) -> int:
    """Count the shards that an earlier pass has ended, and their statuses."""
    shards = sorted(out.glob("part-*.parquet"))
    for shard in shards:
        theirs = read_metadata(shard)
        changed = [key for key in strings.keys() - {"versions"} if theirs.get(key) != strings[key]]
        if changed:
            raise TableError(
                f"{shard} was written by a pass with another {', '.join(sorted(changed))}: choose another "
                f"folder, or delete {out} to start over"
            )
        for batch in iter_batches(shard, columns=["status"]):
            statuses.update(batch.column(0).to_pylist())
    return len(shards)


def _exact_batches(batches: Iterator[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """Cut a stream of any chunking into tables of `size` rows: a row's position alone decides its batch."""
    kept: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        kept.append(batch)
        rows += batch.num_rows
        if rows < size:
            continue
        table = pa.Table.from_batches(kept)
        whole = rows - rows % size
        yield from (table.slice(start, size) for start in range(0, whole, size))
        kept = table.slice(whole).to_batches()
        rows -= whole
    if rows:
        yield pa.Table.from_batches(kept)


def _groups(items: Iterator[_MediaBatch], size: int) -> Iterator[Iterator[_MediaBatch]]:
    """Consecutive groups of at most `size` items, none empty; each must be used up before the next."""
    for first in items:

        def group(first: _MediaBatch = first) -> Iterator[_MediaBatch]:
            yield first
            for _, item in zip(range(size - 1), items, strict=False):
                yield item

        yield group()


def _summary(statuses: Counter[str]) -> TeacherPassSummary:
    return TeacherPassSummary(sum(statuses.values()), dict(statuses.most_common()))
