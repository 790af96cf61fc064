"""A confusion matrix as the arrays that every part of an inspection looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sublabel.labels import Alignment, Cells, ConfusionMatrix


@dataclass(frozen=True)
class View:
    """The occupied cells (C,), the rows (W,) and the columns (T,) of a matrix as arrays."""

    counts: Any
    """Sparse, int64 (W, T)."""
    cells: Cells
    """The occupied cells."""
    is_rare: np.ndarray
    """bool (C,), whether a cell has few samples."""
    samples: np.ndarray
    """int64 (W,), samples of each weak class."""
    predicted: np.ndarray
    """int64 (T,), samples of each teacher class."""
    has_counterpart: np.ndarray
    """bool (W,), whether a teacher class agrees with a weak class."""

    @classmethod
    def of(cls, confusion: ConfusionMatrix, aligned: Alignment, rare: int) -> View:
        """The arrays of a matrix.

        Args:
            confusion: The counts.
            aligned: Which classes agree.
            rare: Cells with fewer samples are rare.
        """
        cells = confusion.cells(aligned)
        return cls(
            counts=confusion.counts,
            cells=cells,
            is_rare=cells.count < rare,
            samples=np.asarray(confusion.counts.sum(axis=1)).ravel(),
            predicted=np.asarray(confusion.counts.sum(axis=0)).ravel(),
            has_counterpart=np.isin(np.arange(confusion.shape[0]), aligned.pairs[:, 0]),
        )

    def by_row(self, chosen: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Cells, or the sum of their weights, in each row, int64 (W,).

        Args:
            chosen: Which cells, bool (C,).
            weights: Of each cell, int64 (C,); None counts the cells.
        """
        chosen_weights = None if weights is None else weights[chosen]
        return np.bincount(self.cells.weak[chosen], chosen_weights, len(self.samples)).astype(np.int64)
