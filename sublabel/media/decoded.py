"""Media decoded once, kept in uncompressed files and mapped into memory."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from sublabel import distributed
from sublabel.errors import MediaError, TableError
from sublabel.files import local_path, write_atomically
from sublabel.media.reader import Reader
from sublabel.media.shards import (
    MediaRow,
    PassSummary,
    iter_shards,
    missing_shards,
    shard_numbers,
    shard_path,
)
from sublabel.provenance import differences, refuse_others
from sublabel.tables import Manifest
from sublabel.tables.schema import OK

BATCH_BYTES = 1 << 24
RECORD_KEY = "sublabel.decoded"
DECODED_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("status", pa.string()),
        ("shape", pa.list_(pa.int32())),
        ("media", pa.large_binary()),
    ]
)


def decode_manifest(
    manifest: Manifest,
    reader: Reader,
    out: str | Path,
    *,
    made_by: Mapping[str, Any] | None = None,
    num_workers: int = 0,
    rows_per_shard: int = 256,
    replace: bool = False,
) -> PassSummary:
    """Decode every sample once, to uncompressed uint8 files that `DecodedMedia` maps into memory.

    A shard appears only when it is complete; a run that was killed goes on with the missing ones. Several
    processes of one training share the shards.

    Args:
        manifest: The samples.
        reader: Decodes the media.
        out: Folder for the shards `part-00000.arrow`, …
        made_by: JSON-able; what the media depend on (the domain's options). Another one is refused.
        num_workers: Processes that read and decode; 0 does so in this one.
        rows_per_shard: Rows a file.
        replace: Delete media that were made by something else, instead of refusing them.

    Returns:
        The number of rows by status.

    Raises:
        ConfigError: `out` holds media that were made by something else, or is a URL.
        TableError: A file in it is damaged.
    """
    out = local_path(out)
    out.mkdir(parents=True, exist_ok=True)
    record = {"made_by": made_by or {}, "rows_per_shard": rows_per_shard}
    if replace and distributed.rank() == 0:
        _delete_others(out, record)
    distributed.wait_for_all()
    for shard in sorted(out.glob("part-*.arrow")):
        refuse_others(shard, _made_by(shard), record)
    ours = distributed.share_of(shard_numbers(manifest.count(), rows_per_shard))
    shards = iter_shards(
        manifest,
        reader,
        _pack_bytes,
        missing_shards(out, "arrow", ours),
        rows_per_shard=rows_per_shard,
        rows_per_read=32,
        num_workers=num_workers,
    )
    schema = DECODED_SCHEMA.with_metadata({RECORD_KEY: json.dumps(record, sort_keys=True)})
    for number, rows in shards:
        path = shard_path(out, number, "arrow")
        with write_atomically(path) as file, pa.ipc.new_file(file, schema) as writer:
            for batch in _decoded_batches(rows):
                writer.write_batch(batch)
    distributed.wait_for_all()
    return DecodedMedia(out).summary()


class DecodedMedia(Reader):
    """What `decode_manifest` wrote, mapped into memory; pickles as its folder.

    Args:
        folder: The folder of shards.

    Raises:
        TableError: There are no shards, or one is damaged.
    """

    columns = ("sample_id",)

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        shards = sorted(self.folder.glob("part-*.arrow"))
        if not shards:
            raise TableError(f"{folder} holds no decoded media (part-00000.arrow, …): run decode_manifest")
        self._batches = [batch for shard in shards for batch in _map(shard)]
        self._position = {
            sample_id: (batch, row)
            for batch, columns in enumerate(self._batches)
            for row, sample_id in enumerate(columns["sample_id"].to_pylist())
        }

    def __len__(self) -> int:
        return len(self._position)

    def __reduce__(self) -> tuple[type[DecodedMedia], tuple[Path]]:
        return DecodedMedia, (self.folder,)

    def read(self, row: Mapping[str, Any]) -> Tensor:
        """The media of a manifest row, uint8.

        Raises:
            MediaError: It could not be read when it was decoded, or is not among these.
        """
        batch, index = self._find(row)
        # A copy: a write through a tensor over the mapped file would crash the process.
        pixels = np.frombuffer(batch["media"][index].as_buffer(), np.uint8).copy()
        return torch.from_numpy(pixels).view(batch["shape"][index].as_py())

    def check(self, row: Mapping[str, Any]) -> None:
        """Look at the status of a manifest row.

        Raises:
            MediaError: As for `read`.
        """
        self._find(row)

    def summary(self) -> PassSummary:
        """The number of rows by status."""
        return PassSummary.of(Counter(status for _, status in self._statuses()))

    def failures(self) -> dict[str, str]:
        """`sample_id` → status of what could not be read."""
        return {sample_id: status for sample_id, status in self._statuses() if status != OK}

    def forget(self, sample_ids: Collection[str]) -> None:
        """Delete the files that hold these samples: `decode_manifest` then reads them again."""
        for shard in self.folder.glob("part-*.arrow"):
            held = (sample_id for batch in _map(shard) for sample_id in batch["sample_id"].to_pylist())
            if not frozenset(sample_ids).isdisjoint(held):
                shard.unlink()

    def _find(self, row: Mapping[str, Any]) -> tuple[pa.RecordBatch, int]:
        """The batch of a readable sample, and its position there."""
        position = self._position.get(row["sample_id"])
        if position is None:
            raise MediaError(f"missing: not among the decoded media of {self.folder}")
        batch, index = self._batches[position[0]], position[1]
        status = batch["status"][index].as_py()
        if status != OK:
            raise MediaError(status)
        return batch, index

    def _statuses(self) -> Iterator[tuple[str, str]]:
        for batch in self._batches:
            yield from zip(batch["sample_id"].to_pylist(), batch["status"].to_pylist(), strict=True)


def _pack_bytes(media: list[Tensor]) -> list[tuple[tuple[int, ...], bytes]]:
    return [(tuple(entry.shape), entry.contiguous().numpy().tobytes()) for entry in media]


def _decoded_batches(rows: Iterator[MediaRow]) -> Iterator[pa.RecordBatch]:
    """Rows in batches of some megabytes: a batch a row would take memory and time to open."""
    kept: list[MediaRow] = []
    size = 0
    for row in rows:
        kept.append(row)
        size += 0 if row.media is None else len(row.media[1])
        if size >= BATCH_BYTES:
            yield _decoded_batch(kept)
            kept, size = [], 0
    if kept:
        yield _decoded_batch(kept)


def _decoded_batch(rows: list[MediaRow]) -> pa.RecordBatch:
    media = [(None, None) if row.media is None else row.media for row in rows]
    columns = [
        [row.sample_id for row in rows],
        [row.status for row in rows],
        [shape for shape, _ in media],
        [pixels for _, pixels in media],
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, DECODED_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=DECODED_SCHEMA)


def _map(shard: Path) -> list[pa.RecordBatch]:
    try:
        reader = pa.ipc.open_file(pa.memory_map(os.fspath(shard)))
        return [reader.get_batch(number) for number in range(reader.num_record_batches)]
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{shard} is damaged ({error}): delete it and decode again") from error


def _made_by(shard: Path) -> dict[str, Any]:
    """The record of a shard; empty where it has none."""
    metadata = _map(shard)[0].schema.metadata or {}
    record: dict[str, Any] = json.loads(metadata.get(RECORD_KEY.encode(), b"{}"))
    return record


def _delete_others(folder: Path, record: Mapping[str, Any]) -> None:
    for shard in folder.glob("part-*.arrow"):
        if differences(_made_by(shard), record):
            shard.unlink()
