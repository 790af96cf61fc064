"""Media of a manifest read once, in order, by worker processes; and decoded media kept on disk.

Rows are read in runs that end where the next row has another `uri`, so that a domain can cut all clips of a
video from one pass over it (`Domain.read_many`). What cannot be read stays a row, with the reason as its
status.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from sublabel.domain import Domain, read_each
from sublabel.errors import MediaError, TableError
from sublabel.files import local_path, write_atomically
from sublabel.tables import Manifest

OK = "ok"
# A run of clips of one long video is cut there, so that memory stays bounded.
LONGEST_RUN = 4
BATCH_BYTES = 1 << 24
DECODED_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("status", pa.string()),
        ("shape", pa.list_(pa.int32())),
        ("media", pa.large_binary()),
    ]
)

# One process may have far more to read than another.
PATIENCE = timedelta(days=30)

Pack = Callable[[list[Tensor]], Sequence[Any] | Tensor]
ReadMany = Callable[[Sequence[Mapping[str, Any]]], list[Tensor | MediaError]]
Value = TypeVar("Value")


@dataclass(frozen=True)
class PassSummary:
    """What became of the rows of a manifest."""

    rows: int
    statuses: Mapping[str, int]
    """Status → number of rows, most frequent first; `ok` where the media were read."""

    @classmethod
    def of(cls, statuses: Counter[str]) -> PassSummary:
        """Summarise counted statuses."""
        return cls(sum(statuses.values()), dict(statuses.most_common()))

    @property
    def failed(self) -> int:
        """Rows that could not be read."""
        return self.rows - self.statuses.get(OK, 0)

    def __str__(self) -> str:
        reasons = "".join(f"; {count} × {status}" for status, count in self.statuses.items() if status != OK)
        return f"{self.rows:,} samples, {self.failed:,} could not be read{reasons}"


class MediaRow(NamedTuple):
    """One row of a manifest and what was read of it."""

    sample_id: str
    weak_label: str | None
    status: str
    media: Any
    """What `pack` made of the media; None where `status` is not `ok`."""


class Share(NamedTuple):
    """Which process of how many this one is; they share work by number."""

    rank: int
    world_size: int

    @classmethod
    def of_process(cls) -> Share:
        """This process among those that train together, or alone."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return cls(torch.distributed.get_rank(), torch.distributed.get_world_size())
        return cls(0, 1)

    def gather(self, value: Value) -> list[Value]:
        """The values of all processes by rank, when all have come here, however far they are apart."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        torch.distributed.all_gather_object(values, value, group=_patient_group())
        return values

    def wait_for_all(self) -> None:
        """Return when all processes have come here."""
        self.gather(None)


ALONE = Share(0, 1)


@cache
def _patient_group() -> Any:
    """All processes on CPU: training's own group gives up after half an hour, and reading may take longer."""
    return torch.distributed.new_group(backend="gloo", timeout=PATIENCE)


def iter_shards(
    manifest: Manifest,
    read_many: ReadMany,
    pack: Pack,
    shards: Sequence[int],
    *,
    rows_per_shard: int,
    rows_per_read: int,
    num_workers: int = 0,
) -> Iterator[tuple[int, Iterator[MediaRow]]]:
    """Read some shards of a manifest; shard s holds the rows from s × `rows_per_shard` on.

    Args:
        manifest: The samples.
        read_many: As `Domain.read_many`.
        pack: Makes of the readable media of one read what travels between the processes, one item for each.
        shards: Numbers of the shards to read, ascending.
        rows_per_shard: Rows a shard.
        rows_per_read: Rows that a worker reads at once, about: a read ends where the `uri` changes, or after
            `LONGEST_RUN` times as many.
        num_workers: Processes that read; 0 reads in this one.

    Yields:
        The shard's number and its rows in the manifest's order. Use them up before the next shard.
    """
    if not shards:
        return
    dataset = _Reads(manifest, read_many, pack, frozenset(shards), rows_per_shard, rows_per_read)
    loader = DataLoader(dataset, batch_size=None, num_workers=num_workers)
    reads = iter(loader)
    for first in reads:
        yield first.shard, itertools.chain.from_iterable(map(_media_rows, _rest_of_shard(first, reads)))


class _Read(NamedTuple):
    shard: int
    ends_shard: bool
    sample_ids: list[str]
    weak_labels: list[str | None]
    statuses: list[str]
    packed: Sequence[Any] | Tensor


class _Reads(IterableDataset[_Read]):
    """Worker w of n makes the reads w, w + n, …, and the loader keeps their order."""

    def __init__(
        self,
        manifest: Manifest,
        read_many: ReadMany,
        pack: Pack,
        shards: frozenset[int],
        rows_per_shard: int,
        rows_per_read: int,
    ) -> None:
        self.manifest = manifest
        self.read_many = read_many
        self.pack = pack
        self.shards = shards
        self.rows_per_shard = rows_per_shard
        self.rows_per_read = rows_per_read

    def __iter__(self) -> Iterator[_Read]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        runs = _runs(self.manifest.batches(), self.rows_per_read, self.rows_per_shard)
        wanted = (run for run in runs if run.shard in self.shards)
        for run in itertools.islice(wanted, first, None, step):
            yield self._read(run)

    def _read(self, run: _Run) -> _Read:
        rows = run.rows.to_pylist()
        media = self.read_many(rows)
        return _Read(
            run.shard,
            run.ends_shard,
            [row["sample_id"] for row in rows],
            [row["weak_label"] for row in rows],
            [entry.reason if isinstance(entry, MediaError) else OK for entry in media],
            self.pack([entry for entry in media if not isinstance(entry, MediaError)]),
        )


def _media_rows(read: _Read) -> Iterator[MediaRow]:
    packed = iter(read.packed)
    for sample_id, weak_label, status in zip(read.sample_ids, read.weak_labels, read.statuses, strict=True):
        yield MediaRow(sample_id, weak_label, status, next(packed) if status == OK else None)


def _rest_of_shard(read: _Read, reads: Iterator[_Read]) -> Iterator[_Read]:
    """A read and those after it in its shard, without touching the next shard."""
    yield read
    while not read.ends_shard:
        read = next(reads)
        yield read


class _Run(NamedTuple):
    shard: int
    ends_shard: bool
    rows: pa.Table


def _runs(batches: Iterator[pa.RecordBatch], size: int, rows_per_shard: int) -> Iterator[_Run]:
    """Cut a stream into about `size` rows each, of one shard, where the `uri` changes."""
    shard, pending = 0, None
    for number, rows in _chunks(batches, size, rows_per_shard):
        if pending is None:
            shard, pending = number, rows
            continue
        same = _rows_of_uri(rows["uri"], pending["uri"][-1].as_py()) if number == shard else 0
        if same == rows.num_rows and pending.num_rows + same <= LONGEST_RUN * size:
            pending = pa.concat_tables([pending, rows])
            continue
        # A run is never empty: a video that is longer than a run may be is cut before these rows.
        same %= rows.num_rows
        yield _Run(shard, number != shard, pa.concat_tables([pending, rows.slice(0, same)]))
        shard, pending = number, rows.slice(same)
    if pending is not None:
        yield _Run(shard, True, pending)


def _rows_of_uri(uris: pa.ChunkedArray, uri: str | None) -> int:
    """How many rows at the beginning have this `uri`."""
    return 0 if uri is None else sum(1 for _ in itertools.takewhile(uri.__eq__, uris.to_pylist()))


def _chunks(
    batches: Iterator[pa.RecordBatch], size: int, rows_per_shard: int
) -> Iterator[tuple[int, pa.Table]]:
    """Cut a stream of any chunking into at most `size` rows of one shard: a row's position alone decides."""
    kept: list[pa.RecordBatch] = []
    position = rows = 0
    for batch in itertools.chain(batches, [None]):
        if batch is not None:
            kept.append(batch)
            rows += batch.num_rows
        if rows == 0 or (batch is not None and rows < size):
            continue
        table, start = pa.Table.from_batches(kept), 0
        while start < rows:
            length = min(size, rows_per_shard - position % rows_per_shard, rows - start)
            if batch is not None and start + size > rows:
                break
            yield position // rows_per_shard, table.slice(start, length)
            start += length
            position += length
        kept, rows = table.slice(start).to_batches(), rows - start


def decode_manifest(
    manifest: Manifest,
    domain: Domain,
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
        domain: Reads the media.
        out: Folder for the shards `part-00000.arrow`, …
        made_by: JSON-able; what the media depend on (the domain's options). Another one is refused.
        num_workers: Processes that read and decode; 0 does so in this one.
        rows_per_shard: Rows a file.
        replace: Delete media that were made by something else, instead of refusing them.

    Returns:
        The number of rows by status.

    Raises:
        TableError: `out` holds media that were made by something else.
        ConfigError: `out` is a URL.
    """
    out = local_path(out)
    out.mkdir(parents=True, exist_ok=True)
    record = json.dumps({"made_by": made_by or {}, "rows_per_shard": rows_per_shard}, sort_keys=True)
    share = Share.of_process()
    if replace and share.rank == 0:
        _delete_others(out, record)
    share.wait_for_all()
    for shard in sorted(out.glob("part-*.arrow")):
        _refuse_others(shard, record)
    missing = missing_shards(out, "arrow", manifest.count(), rows_per_shard, share)
    shards = iter_shards(
        manifest,
        domain.read_many,
        _pack_bytes,
        missing,
        rows_per_shard=rows_per_shard,
        rows_per_read=32,
        num_workers=num_workers,
    )
    schema = DECODED_SCHEMA.with_metadata({"sublabel.decoded": record})
    for number, rows in shards:
        path = out / f"part-{number:05d}.arrow"
        with write_atomically(path) as file, pa.ipc.new_file(file, schema) as writer:
            for batch in _decoded_batches(rows):
                writer.write_batch(batch)
    share.wait_for_all()
    return DecodedMedia(out).summary()


def missing_shards(out: Path, suffix: str, rows: int, rows_per_shard: int, share: Share = ALONE) -> list[int]:
    """The shards of a process's share that are not there yet."""
    return [
        number
        for number in range(share.rank, -(-rows // rows_per_shard), share.world_size)
        if not (out / f"part-{number:05d}.{suffix}").exists()
    ]


class DecodedMedia:
    """What `decode_manifest` wrote, mapped into memory; pickles as its folder.

    Args:
        folder: The folder of shards.

    Raises:
        TableError: There are no shards, or one is damaged.
    """

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
        position = self._position.get(row["sample_id"])
        if position is None:
            raise MediaError(f"missing: not among the decoded media of {self.folder}")
        batch, index = self._batches[position[0]], position[1]
        status = batch["status"][index].as_py()
        if status != OK:
            raise MediaError(status)
        # A copy: a write through a tensor over the mapped file would crash the process.
        pixels = np.frombuffer(batch["media"][index].as_buffer(), np.uint8).copy()
        return torch.from_numpy(pixels).view(batch["shape"][index].as_py())

    def read_many(self, rows: Sequence[Mapping[str, Any]]) -> list[Tensor | MediaError]:
        """As `Domain.read_many`."""
        return read_each(self.read, rows)

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


def _made_by(shard: Path) -> str:
    metadata = _map(shard)[0].schema.metadata or {}
    return str(metadata.get(b"sublabel.decoded", b"").decode())


def _delete_others(folder: Path, record: str) -> None:
    for shard in folder.glob("part-*.arrow"):
        if _made_by(shard) != record:
            shard.unlink()


def _refuse_others(shard: Path, record: str) -> None:
    theirs = _made_by(shard)
    if theirs != record:
        raise TableError(
            f"{shard} was made by {theirs or 'something else'}, and this is {record}: choose another folder, "
            "or delete it"
        )
