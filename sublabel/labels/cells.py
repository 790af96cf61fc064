"""The cells of a confusion matrix that hold samples, as arrays: what strategies make classes of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sublabel.labels.alignment import Alignment

if TYPE_CHECKING:
    from sublabel.labels.vocabulary import Vocabulary


@dataclass(frozen=True)
class Cell:
    """One cell in words, for a strategy that looks at each by itself."""

    weak: str
    """Name of the weak class."""
    teacher: str
    """Name of the teacher's class."""
    count: int
    """Samples in it."""
    agreed: bool
    """Whether the alignment says that the two classes agree."""


@dataclass(frozen=True, eq=False)
class Cells:
    """The C cells of a confusion matrix that are not empty, row by row, in a row by the teacher's classes.

    `ConfusionMatrix.cells` makes them.
    """

    weak: np.ndarray
    """int64 (C,), the row of each cell."""
    teacher: np.ndarray
    """int64 (C,), its column."""
    count: np.ndarray
    """int64 (C,), its samples."""
    agreed: np.ndarray
    """bool (C,), whether its two classes agree."""
    weak_vocabulary: Vocabulary
    teacher_vocabulary: Vocabulary

    @classmethod
    def of(cls, counts: Any, alignment: Alignment) -> Cells:
        """The cells of a CSR matrix of counts int64 (W, T), agreed where the alignment says so."""
        shape = counts.shape
        weak = np.repeat(np.arange(shape[0]), np.diff(counts.indptr))
        teacher = counts.indices.astype(np.int64)
        agreed = np.zeros(len(weak), dtype=bool)
        if len(weak):
            # keys[c], pairs[p]: weak × T + teacher of each cell (C,) and aligned pair (P,), both sorted
            keys = weak * shape[1] + teacher
            pairs = alignment.pairs[:, 0] * shape[1] + alignment.pairs[:, 1]
            position = np.minimum(np.searchsorted(keys, pairs), len(keys) - 1)
            agreed[position[keys[position] == pairs]] = True
        return cls(
            weak, teacher, counts.data, agreed, alignment.weak_vocabulary, alignment.teacher_vocabulary
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(W, T) of the matrix."""
        return len(self.weak_vocabulary), len(self.teacher_vocabulary)

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
        # Row by row, the most frequent first, equal ones in the teacher's order.
        order = agreed[np.lexsort((self.teacher[agreed], -self.count[agreed], self.weak[agreed]))]
        rows, first = np.unique(self.weak[order], return_index=True)
        best = np.full(self.shape[0], -1)
        best[rows] = order[first]
        return best

    def __len__(self) -> int:
        return len(self.weak)

    def __iter__(self) -> Iterator[Cell]:
        for weak, teacher, count, agreed in zip(
            self.weak.tolist(), self.teacher.tolist(), self.count.tolist(), self.agreed.tolist(), strict=True
        ):
            yield Cell(self.weak_vocabulary[weak], self.teacher_vocabulary[teacher], count, agreed)
