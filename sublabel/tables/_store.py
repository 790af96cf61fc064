"""What waits on disk or in memory between reading predictions and writing the relabeled table."""

from __future__ import annotations

import tempfile
from pathlib import Path
from threading import Lock
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sublabel.labels import Pairs
from sublabel.tables.io import TableWriter
from sublabel.tables.predictions import PredictionsMetadata

ROW_GROUP_ROWS = 1_048_576


class PairStore:
    """The labels of a table's pairs by row, in a temporary file without a name: it goes with the process.

    Reading them again costs a tenth of decoding them from Parquet again. Threads may share it.

    Args:
        folder: Where the file lies.
        metadata: Has the vocabularies, whose sizes choose the integers.
    """

    def __init__(self, folder: Path, metadata: PredictionsMetadata) -> None:
        self._metadata = metadata
        largest = max(len(metadata.weak_vocabulary), len(metadata.teacher_vocabulary))
        self._dtype = np.min_scalar_type(-largest)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 -- closed at the end of the block
        self._lock = Lock()

    def put(self, first: int, pairs: Pairs) -> None:
        """Keep the labels of consecutive rows from `first` on."""
        labels = np.stack([pairs.weak, pairs.teacher], axis=1).astype(self._dtype)
        with self._lock:
            self._file.seek(first * 2 * self._dtype.itemsize)
            self._file.write(labels.data)

    def get(self, first: int, rows: int) -> Pairs:
        """The pairs of consecutive rows, without sample ids and probabilities."""
        labels = np.empty((rows, 2), dtype=self._dtype)
        with self._lock:
            self._file.seek(first * 2 * self._dtype.itemsize)
            self._file.readinto(labels.data)
        return Pairs.trusted(
            labels[:, 0], labels[:, 1], self._metadata.weak_vocabulary, self._metadata.teacher_vocabulary
        )

    def __enter__(self) -> PairStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


class RowGroups:
    """Row groups of one size for a writer, whatever the sizes of the tables that it is given.

    Args:
        writer: Writes the file.
        rows: How many each row group has, but for the last.
    """

    def __init__(self, writer: TableWriter, rows: int = ROW_GROUP_ROWS) -> None:
        self._writer = writer
        self._size = rows
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def write(self, rows: pa.Table) -> None:
        """Take rows, and write what fills row groups."""
        self._waiting.append(rows)
        self._rows += len(rows)
        while self._rows >= self._size:
            self._write(self._size)

    def flush(self) -> None:
        """Write what is left."""
        if self._rows:
            self._write(self._rows)

    def _write(self, rows: int) -> None:
        waiting = pa.concat_tables(self._waiting)
        # In one piece: where Parquet's pages end must not tell how the rows arrived.
        group = waiting.slice(0, rows).combine_chunks()
        for place, field in enumerate(group.schema):
            if pa.types.is_dictionary(field.type):
                group = group.set_column(place, field, sorted_dictionary(group.column(place).chunk(0)))
        self._writer.write(group)
        self._waiting = [waiting.slice(rows)]
        self._rows -= rows


def sorted_dictionary(values: pa.DictionaryArray) -> pa.DictionaryArray:
    """The same values by a sorted dictionary of those that occur: a writer stores it as it is.

    Args:
        values: Strings (N,), none of them null.
    """
    names, indices = values.dictionary, values.indices.to_numpy()
    is_used = np.zeros(len(names), dtype=bool)
    is_used[indices] = True
    used = np.flatnonzero(is_used)
    order = used[pc.sort_indices(names.take(pa.array(used))).to_numpy()]
    if np.array_equal(order, np.arange(len(names))):
        return values
    # place[i]: where entry i of the old dictionary stands in the new one
    place = np.zeros(len(names), dtype=np.int32)
    place[order] = np.arange(len(order))
    return pa.DictionaryArray.from_arrays(pa.array(place[indices]), names.take(pa.array(order)))
