"""What every strategy shares: frozen options, `fit`, and the cells of a confusion matrix as arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from sublabel.errors import LabelError
from sublabel.labels.alignment import Alignment, AlignmentLike
from sublabel.labels.classes import Classes
from sublabel.labels.confusion import ConfusionMatrix
from sublabel.labels.counting import Counting, HardCounts
from sublabel.labels.space import LabelSpace


class BaseStrategy(BaseModel, ABC):
    """Frozen options; `fit` turns counts into a label space."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def fit(self, confusion: ConfusionMatrix, alignment: AlignmentLike = None) -> LabelSpace:
        """Make the label space of this strategy.

        Args:
            confusion: Counts over all samples.
            alignment: Which weak class agrees with which teacher class: an `Alignment`, a mapping of names,
                or None for equal names.

        Returns:
            The space; cells that were empty in `confusion` follow the policy of the strategy.

        Raises:
            LabelError: The alignment does not fit the vocabularies.
        """

    @property
    def counting(self) -> Counting:
        """How the samples must be counted for `fit`: one for each sample, unless the strategy says else."""
        return HardCounts()

    def _space(
        self,
        confusion: ConfusionMatrix,
        classes: Classes,
        *,
        row_default: np.ndarray | None = None,
        column_default: np.ndarray | None = None,
        cells: np.ndarray | None = None,
        cell_labels: np.ndarray | None = None,
    ) -> LabelSpace:
        height, width = confusion.shape
        empty = np.empty(0, dtype=np.int64)
        return LabelSpace(
            weak_vocabulary=confusion.weak_vocabulary,
            teacher_vocabulary=confusion.teacher_vocabulary,
            classes=classes,
            row_default=np.full(height, -1) if row_default is None else row_default,
            column_default=np.full(width, -1) if column_default is None else column_default,
            cells=empty if cells is None else cells,
            cell_labels=empty if cell_labels is None else cell_labels,
            strategy=self.model_dump(mode="json"),
        )


@dataclass(frozen=True, eq=False)
class Cells:
    """The non-empty cells of a confusion matrix, row by row."""

    weak: np.ndarray
    """int64 (C,)."""
    teacher: np.ndarray
    """int64 (C,)."""
    count: np.ndarray
    """int64 (C,)."""
    agreed: np.ndarray
    """bool (C,)."""
    shape: tuple[int, int]

    @classmethod
    def of(cls, confusion: ConfusionMatrix, aligned: Alignment) -> Cells:
        """Those of a matrix, agreed where the alignment says so."""
        counts: Any = confusion.counts
        weak = np.repeat(np.arange(confusion.shape[0]), np.diff(counts.indptr))
        teacher = counts.indices.astype(np.int64)
        agreed = np.zeros(len(weak), dtype=bool)
        if len(weak):
            keys = weak * confusion.shape[1] + teacher
            pairs = aligned.pairs[:, 0] * confusion.shape[1] + aligned.pairs[:, 1]
            position = np.minimum(np.searchsorted(keys, pairs), len(keys) - 1)
            agreed[position[keys[position] == pairs]] = True
        return cls(weak, teacher, counts.data, agreed, confusion.shape)

    @property
    def keys(self) -> np.ndarray:
        """int64 (C,), weak × T + teacher, sorted."""
        return np.asarray(self.weak * self.shape[1] + self.teacher)

    def row_sums(self, chosen: np.ndarray) -> np.ndarray:
        """Samples of each row in the chosen cells (bool (C,)), int64 (W,)."""
        sums = np.zeros(self.shape[0], dtype=np.int64)
        np.add.at(sums, self.weak[chosen], self.count[chosen])
        return sums

    def best_agreed(self) -> np.ndarray:
        """The position of each row's most frequent agreed cell (the first of equals), int64 (W,), or -1."""
        agreed = np.flatnonzero(self.agreed)
        order = agreed[np.lexsort((self.teacher[agreed], -self.count[agreed], self.weak[agreed]))]
        rows, first = np.unique(self.weak[order], return_index=True)
        best = np.full(self.shape[0], -1)
        best[rows] = order[first]
        return best


def need_pairs(confusion: ConfusionMatrix, alignment: AlignmentLike) -> Alignment:
    """The alignment, for a strategy that makes no sense without one.

    Raises:
        LabelError: No pair of classes agrees.
    """
    aligned = Alignment.of(alignment, confusion.weak_vocabulary, confusion.teacher_vocabulary)
    if len(aligned) == 0:
        raise LabelError(
            f"no weak class agrees with a teacher class ({confusion.weak_vocabulary!r} and "
            f"{confusion.teacher_vocabulary!r}): the strategy needs agreement, so give an alignment such as "
            "{weak name: teacher name}"
        )
    return aligned
