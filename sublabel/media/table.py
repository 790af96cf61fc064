"""Rows of a manifest with random access to their media."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from sublabel import distributed
from sublabel.errors import MediaError, TableError
from sublabel.files import write_atomically
from sublabel.labels import Vocabulary
from sublabel.media.reader import Reader
from sublabel.tables import Manifest

# They wait for disks and networks more than they decode.
CHECKING_THREADS = 8
OTHER_COLUMNS = ("source_id", "weak_label", "label")


class MediaTable:
    """Rows of a manifest with random access to their decoded media.

    It pickles, so that worker processes can have it: with its rows, or with the name of the file that they
    are mapped from.

    Args:
        rows: Arrow table with `sample_id`, what the reader looks at (`uri`, `image`, …) and label columns.
        reader: Reads the media: a domain, or a `CachedReader` or `DecodedMedia` where it would decode the
            same again and again.
        spool: The Arrow file that `rows` is mapped from, if it is; worker processes then map it too.
    """

    def __init__(self, rows: pa.Table, reader: Reader, *, spool: Path | None = None) -> None:
        self.rows = rows
        self.reader = reader
        self.spool = spool

    @classmethod
    def from_manifest(
        cls, manifest: Manifest, reader: Reader, *, spool: str | Path | None = None
    ) -> MediaTable:
        """Collect the rows of a manifest (filter it by split first).

        Args:
            manifest: The manifest; of its columns those that the reader looks at, and the labels.
            reader: As for the class.
            spool: A file to stream the rows to and memory-map, for manifests with image bytes that exceed
                memory. One that exists is taken as it is.

        Raises:
            TableError: The manifest has no rows.
        """
        columns = [name for name in (*reader.columns, *OTHER_COLUMNS) if name in manifest.columns]
        batches = manifest.batches(columns)
        first = next(batches, None)
        if first is None:
            raise TableError(
                f"{manifest} has no rows: nothing to train or evaluate on; is its `split` column right?"
            )
        if spool is None:
            return cls(pa.Table.from_batches([first, *batches]).combine_chunks(), reader)
        spool = Path(spool)
        if not spool.exists():
            with write_atomically(spool) as sink, pa.ipc.new_file(sink, first.schema) as writer:
                for batch in itertools.chain([first], batches):
                    writer.write_batch(batch)
        return cls(_mapped(spool), reader, spool=spool)

    def __len__(self) -> int:
        rows: int = self.rows.num_rows
        return rows

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "rows": None if self.spool else self.rows}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.spool:
            self.rows = _mapped(self.spool)

    def labels(self, column: str, vocabulary: Vocabulary) -> np.ndarray:
        """Encode a label column by name, int64 (N,), -1 where it is null.

        Raises:
            TableError: There is no such column.
            LabelError: A name is not in the vocabulary.
        """
        if column not in self.rows.column_names:
            raise TableError(
                f"the manifest has no column {column!r}; it has {', '.join(self.rows.column_names)}"
            )
        return vocabulary.encode(self.rows[column].to_pylist())

    def positions_of(self, sample_ids: pa.Array, *, subset: bool = False) -> np.ndarray:
        """Where each row's sample stands in a list of ids: what brings their targets into this table's order.

        Args:
            sample_ids: string (M,), distinct.
            subset: Let samples that are not in the list have -1.

        Returns:
            int64 (N,), each in -1..M-1.

        Raises:
            TableError: The two do not hold exactly the same samples; with `subset`, an id has no sample.
        """
        missing = pc.index_in(sample_ids, value_set=self.rows["sample_id"].combine_chunks()).null_count
        positions = pc.index_in(self.rows["sample_id"], value_set=sample_ids)
        if missing or (positions.null_count and not subset):
            raise TableError(
                f"the labels do not belong to this manifest: {positions.null_count} of its {len(self)} "
                f"samples have no label and {missing} of {len(sample_ids)} labels have no sample; run the "
                "teacher pass on this manifest"
            )
        found: np.ndarray = pc.fill_null(positions, -1).to_numpy().astype(np.int64)
        return found

    def read(self, index: int) -> Tensor:
        """The decoded media of one row, uint8.

        Raises:
            MediaError: The media cannot be read.
        """
        return self.reader.read(_Row(self.rows, index))

    def failures(self, *, thorough: bool = False, among: Collection[str] | None = None) -> dict[str, str]:
        """`sample_id` → reason of the rows that cannot be read; processes that train together share the look.

        Args:
            thorough: Read every sample to its end, and not only what `Reader.check` looks at.
            among: Look at these `sample_id`s only.
        """
        look = self.reader.read if thorough else self.reader.check
        ids = self.rows["sample_id"].to_pylist()
        wanted = [index for index, sample_id in enumerate(ids) if among is None or sample_id in among]

        def reason(index: int) -> str | None:
            try:
                look(_Row(self.rows, index))
            except MediaError as error:
                return error.reason
            return None

        ours = distributed.share_of(wanted)
        with ThreadPoolExecutor(CHECKING_THREADS) as pool:
            found = [(index, why) for index, why in zip(ours, pool.map(reason, ours), strict=True) if why]
        return {ids[index]: why for index, why in sorted(itertools.chain(*distributed.gather(found)))}


class _Row(Mapping[str, Any]):
    """One row; a value is taken out when it is asked for: a reader that has the media needs the id only."""

    def __init__(self, rows: pa.Table, index: int) -> None:
        self.rows = rows
        self.index = index

    def __getitem__(self, name: str) -> Any:
        return self.rows[name][self.index].as_py()

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows.column_names)

    def __len__(self) -> int:
        columns: int = self.rows.num_columns
        return columns


def _mapped(spool: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(spool))).read_all()
