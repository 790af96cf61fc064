"""A confusion matrix as the arrays that every part of an inspection looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sublabel.labels import Alignment, ConfusionMatrix


@dataclass(frozen=True)
class View:
    """The non-empty cells (C,), the rows (W,) and the columns (T,) as arrays."""

    counts: Any
    row: np.ndarray
    column: np.ndarray
    count: np.ndarray
    agrees: np.ndarray
    is_rare: np.ndarray
    samples: np.ndarray
    predicted: np.ndarray
    has_counterpart: np.ndarray

    @classmethod
    def of(cls, confusion: ConfusionMatrix, aligned: Alignment, rare: int) -> View:
        entries = confusion.counts.tocoo()
        return cls(
            counts=confusion.counts,
            row=entries.row,
            column=entries.col,
            count=entries.data,
            agrees=aligned.agrees(entries.row, entries.col),
            is_rare=entries.data < rare,
            samples=np.asarray(confusion.counts.sum(axis=1)).ravel(),
            predicted=np.asarray(confusion.counts.sum(axis=0)).ravel(),
            has_counterpart=np.isin(np.arange(confusion.shape[0]), aligned.pairs[:, 0]),
        )

    def by_row(self, chosen: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Cells, or the sum of their weights, in each row, int64 (W,)."""
        chosen_weights = None if weights is None else weights[chosen]
        return np.bincount(self.row[chosen], chosen_weights, len(self.samples)).astype(np.int64)
