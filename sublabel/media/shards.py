"""Media of a manifest read once, in order, by worker processes, in shards that can be made one by one.

Rows are read in runs that end where the next row has another `uri`, so that a domain can cut all clips of a
video from one pass over it (`Reader.read_many`). What cannot be read stays a row, with the reason as its
status.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from sublabel.errors import MediaError
from sublabel.media.reader import Reader
from sublabel.tables import Manifest
from sublabel.tables.schema import OK

# A run of clips of one long video is cut there, so that memory stays bounded.
LONGEST_RUN = 4

Pack = Callable[[list[Tensor]], Sequence[Any] | Tensor]


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


def iter_shards(
    manifest: Manifest,
    reader: Reader,
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
        reader: Reads the media.
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
    dataset = _Reads(manifest, reader, pack, frozenset(shards), rows_per_shard, rows_per_read)
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
        reader: Reader,
        pack: Pack,
        shards: frozenset[int],
        rows_per_shard: int,
        rows_per_read: int,
    ) -> None:
        self.manifest = manifest
        self.reader = reader
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
        media = self.reader.read_many(rows)
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


def shard_path(folder: Path, number: int, suffix: str) -> Path:
    """The file of a shard: `part-00003.arrow` for the number 3 and the suffix `arrow`."""
    return folder / f"part-{number:05d}.{suffix}"


def shard_numbers(rows: int, rows_per_shard: int) -> range:
    """The numbers of all shards of so many rows."""
    return range(-(-rows // rows_per_shard))


def missing_shards(folder: Path, suffix: str, numbers: Iterable[int]) -> list[int]:
    """The shards among these that have no file yet."""
    return [number for number in numbers if not shard_path(folder, number, suffix).exists()]
