"""What waits on disk or in memory between reading predictions and writing the relabeled table."""

from __future__ import annotations

import tempfile
from pathlib import Path
from threading import Lock
from types import TracebackType

import numpy as np
import pyarrow as pa

from sublabel.tables.io import TableWriter
from sublabel.tables.predictions import PredictionsMetadata

ROW_GROUP_ROWS = 1_048_576


class PairStore:
    """The label pairs of a table by row, in a temporary file without a name: it goes with the process.

    Reading them again costs a tenth of decoding them from Parquet again. Threads may share it.

    Args:
        folder: Where the file lies.
        metadata: The sizes of the vocabularies choose the integers.
    """

    def __init__(self, folder: Path, metadata: PredictionsMetadata) -> None:
        largest = max(len(metadata.weak_vocabulary), len(metadata.teacher_vocabulary))
        self._dtype = np.min_scalar_type(-largest)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 -- closed at the end of the block
        self._lock = Lock()

    def put(self, first: int, weak: np.ndarray, teacher: np.ndarray) -> None:
        """Keep the pairs of consecutive rows from `first` on."""
        pairs = np.stack([weak, teacher], axis=1).astype(self._dtype)
        with self._lock:
            self._file.seek(first * 2 * self._dtype.itemsize)
            self._file.write(pairs.data)

    def get(self, first: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """The weak and the teacher's labels of consecutive rows."""
        pairs = np.empty((rows, 2), dtype=self._dtype)
        with self._lock:
            self._file.seek(first * 2 * self._dtype.itemsize)
            self._file.readinto(pairs.data)
        return pairs[:, 0], pairs[:, 1]

    def __enter__(self) -> PairStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


class RowGroups:
    """Row groups of one size for a writer, whatever the sizes of the tables that it is given."""

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
        self._writer.write(waiting.slice(0, rows).combine_chunks())
        self._waiting = [waiting.slice(rows)]
        self._rows -= rows
