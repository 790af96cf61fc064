"""Exact integer sums over the cells of a weak × teacher matrix, dense where it is small."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from sublabel.labels._arrays import CHUNK, DENSE_CELLS, iter_cells

BLOCK = 12_582_912
"""Samples that a sparse count gathers before it sorts them: at most 300 MB for the sort and what it makes."""


class CellCounter:
    """Sums of integers for each (weak, teacher) cell; what is added in any order gives the same sums.

    A matrix of at most `DENSE_CELLS` cells is a table of int64. A larger one is a few sorted runs, each a CSR
    matrix: samples are gathered as flat positions, sorted, counted as runs of equal ones, and runs of similar
    size are merged; so the work for a sample does not grow with the number of cells.

    Args:
        shape: (W, T).
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._table: np.ndarray | None = None
        self._runs: list[Any] = []
        self._keys: np.ndarray | None = None
        self._filled = 0
        self._sparse_abstained = 0

    @property
    def is_dense(self) -> bool:
        """Whether the sums are held in a table."""
        return self.shape[0] * self.shape[1] <= DENSE_CELLS

    @property
    def abstained(self) -> int:
        """Samples that were added with -1 on either side."""
        if self._table is None:
            return self._sparse_abstained
        square = self._square(self._table)
        return int(square[-1].sum() + square[:-1, -1].sum())

    def add(self, weak: np.ndarray, teacher: np.ndarray) -> None:
        """Count samples.

        Args:
            weak: Integers (N,), each in -1..W-1; not checked here.
            teacher: Integers (N,), each in -1..T-1; not checked here.
        """
        if self.is_dense:
            table = self._open_table()
            for _, cells in iter_cells(weak, teacher, self.shape[1] + 1):
                np.add.at(table, cells, 1)
            return
        for start in range(0, len(weak), CHUNK):
            self._gather(weak[start : start + CHUNK], teacher[start : start + CHUNK])

    def add_weighted(self, weak: np.ndarray, teacher: np.ndarray, weights: np.ndarray) -> None:
        """Add an integer to the cell of each sample.

        Args:
            weak: Integers (N,), each in 0..W-1.
            teacher: Integers (N,), each in 0..T-1.
            weights: int64 (N,).
        """
        if not self.is_dense:
            entries: Any = (weights, (weak, teacher))
            self._push(sparse.coo_array(entries, shape=self.shape).tocsr())
            return
        table = self._open_table()
        for chunk, cells in iter_cells(weak, teacher, self.shape[1] + 1):
            np.add.at(table, cells, weights[chunk])

    def add_matrix(self, matrix: Any) -> None:
        """Add a `scipy.sparse.csr_array` int64 (W, T)."""
        if not self.is_dense:
            self._push(matrix)
        elif matrix.nnz:
            entries = matrix.tocoo()
            np.add.at(self._square(self._open_table()), (entries.row, entries.col), entries.data)

    def total(self) -> Any:
        """The sums: `scipy.sparse.csr_array` int64 (W, T), sorted, without zeros."""
        if self._table is not None:
            return sparse.csr_array(self._square(self._table)[:-1, :-1])
        self._sort_gathered()
        while len(self._runs) > 1:
            self._merge_last()
        return self._runs[0] if self._runs else sparse.csr_array(self.shape, dtype=np.int64)

    def _open_table(self) -> np.ndarray:
        if self._table is None:
            self._table = np.zeros((self.shape[0] + 1) * (self.shape[1] + 1), dtype=np.int64)
        return self._table

    def _square(self, table: np.ndarray) -> np.ndarray:
        return table.reshape(self.shape[0] + 1, self.shape[1] + 1)

    def _gather(self, weak: np.ndarray, teacher: np.ndarray) -> None:
        voted = (weak >= 0) & (teacher >= 0)
        if not voted.all():
            self._sparse_abstained += len(voted) - int(np.count_nonzero(voted))
            weak, teacher = weak[voted], teacher[voted]
        if self._filled + len(weak) > BLOCK:
            self._sort_gathered()
        if self._keys is None:
            # Half the width sorts twice as fast; 65,536 × 65,536 cells fit.
            wide = self.shape[0] * self.shape[1] > 1 << 32
            self._keys = np.empty(BLOCK, dtype=np.uint64 if wide else np.uint32)
        keys = self._keys[self._filled : self._filled + len(weak)]
        width = keys.dtype.type(self.shape[1])
        np.multiply(weak, width, out=keys, dtype=keys.dtype, casting="unsafe")
        np.add(keys, teacher, out=keys, dtype=keys.dtype, casting="unsafe")
        self._filled += len(weak)

    def _sort_gathered(self) -> None:
        if self._keys is None:
            return
        keys = self._keys[: self._filled]
        self._keys, self._filled = None, 0
        keys.sort()
        first = np.ones(len(keys) + 1, dtype=bool)
        np.not_equal(keys[1:], keys[:-1], out=first[1:-1])
        keys = keys[first[:-1]]
        counts = np.diff(np.flatnonzero(first))
        del first
        width = self.shape[1]
        starts = np.searchsorted(keys, np.arange(self.shape[0], dtype=keys.dtype) * keys.dtype.type(width))
        index = np.int32 if max(len(keys), *self.shape) <= np.iinfo(np.int32).max else np.int64
        keys %= keys.dtype.type(width)
        # Of the same width: uint32 as int32 without a copy.
        columns = keys.view(np.int32) if keys.dtype == np.uint32 else keys.view(np.int64)
        entries: Any = (counts, columns.astype(index, copy=False), np.append(starts, len(keys)).astype(index))
        self._push(sparse.csr_array(entries, shape=self.shape))

    def _push(self, run: Any) -> None:
        self._runs.append(run)
        while len(self._runs) > 1 and self._runs[-2].nnz <= 2 * self._runs[-1].nnz:
            self._merge_last()

    def _merge_last(self) -> None:
        last, before = self._runs.pop(), self._runs.pop()
        self._runs.append(sparse.csr_array(before + last))
