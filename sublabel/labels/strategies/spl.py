"""Sub-Pseudo Labels (SPL): cells of the confusion matrix as classes."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, PositiveInt

from sublabel.labels.alignment import AlignmentLike
from sublabel.labels.cell_space import CellSpace
from sublabel.labels.cells import Cells
from sublabel.labels.classes import CODES, Classes
from sublabel.labels.confusion import ConfusionMatrix
from sublabel.labels.space import LabelSpace
from sublabel.labels.strategies.base import Strategy, cell_space, needed_alignment

Rare = Literal["disagreed", "weak", "drop"]


class SPLB(Strategy):
    """SPL-B: each weak class split into its agreed and its disagreed samples (at most 2 W classes).

    In the order of the weak classes, agreed before disagreed; a half without samples is no class. A cell that
    was empty in `fit` belongs to its half if that is a class, else it is dropped.
    """

    kind: ClassVar[str] = "spl_b"

    def fit(self, confusion: ConfusionMatrix, alignment: AlignmentLike = None) -> LabelSpace:
        """An agreed and a disagreed class for each weak name that has such samples."""
        aligned = needed_alignment(confusion, alignment)
        cells = confusion.cells(aligned)
        halves = np.stack([cells.row_sums(cells.agreed), cells.row_sums(~cells.agreed)], axis=1)
        rows, half = np.nonzero(halves)
        label = np.full(halves.shape, -1)
        label[rows, half] = np.arange(len(rows))
        kinds = np.array([CODES["agreed"], CODES["disagreed"]])
        weak, teacher = aligned.pairs.T
        return cell_space(
            self,
            confusion,
            Classes(kinds[half], halves[rows, half], rows, np.full(len(rows), -1)),
            row_default=label[:, 1],
            cells=weak * confusion.shape[1] + teacher,
            cell_labels=label[weak, 0],
        )


def kept_cells_space(
    strategy: Strategy, confusion: ConfusionMatrix, cells: Cells, kept: np.ndarray, rare: Rare
) -> CellSpace:
    """The space in which some cells are classes of their own, and the samples of the others follow a policy.

    Row by row, the kept cells come in the teacher's order, then the row's class of all others.

    Args:
        strategy: The one that makes it.
        confusion: The counts.
        cells: Its cells.
        kept: bool (C,), the cells that are classes.
        rare: What becomes of the others.
    """
    kept = kept.copy()
    best = cells.best_agreed()
    if rare == "weak":
        kept[best[best >= 0]] = True
    # folded[w]: samples of row w in cells that are no classes, (W,)
    folded = cells.row_sums(~kept)
    has_other = (folded > 0) & (rare == "disagreed")
    kept_in_row = np.bincount(cells.weak[kept], minlength=len(folded))
    # ends[w]: first label after row w's classes, (W,)
    ends = np.cumsum(kept_in_row + has_other)
    # A row's other class comes last, so a kept cell is moved by the other classes of earlier rows only.
    others_before: np.ndarray = np.cumsum(has_other) - has_other
    # labels[c]: the class of cell c, -1 where it is none, (C,)
    labels = np.full(len(kept), -1)
    labels[kept] = np.arange(np.count_nonzero(kept)) + others_before[cells.weak[kept]]
    kind, size, weak, teacher = np.full((4, int(ends[-1])), -1)
    own = labels[kept]
    kind[own] = np.where(cells.agreed[kept], CODES["agreed"], CODES["disagreed"])
    size[own], weak[own], teacher[own] = cells.count[kept], cells.weak[kept], cells.teacher[kept]
    row_default = np.where(has_other, ends - 1, -1)
    other, rows = row_default[has_other], np.flatnonzero(has_other)
    kind[other], size[other], weak[other] = CODES["other"], folded[rows], rows
    if rare == "weak":
        rows = np.flatnonzero(best >= 0)
        row_default[rows] = labels[best[rows]]
        size[row_default[rows]] += folded[rows]
    return cell_space(
        strategy,
        confusion,
        Classes(kind, size, weak, teacher),
        row_default=row_default,
        cells=cells.keys[kept],
        cell_labels=own,
    )


class RawSPL(Strategy):
    """Raw SPL: every non-empty cell of the confusion matrix is a class (METHOD: at most W × T classes).

    Row by row, cells in the order of the teacher's classes, the row's class for rare cells last. The policy
    for rare cells is ours; with `min_count=1` nothing is rare and only cells that were empty in `fit` meet
    it.
    """

    kind: ClassVar[str] = "raw_spl"
    min_count: PositiveInt = Field(
        default=1,
        description="cells with fewer samples are rare, agreed ones too (ours; the paper's is not published)",
    )
    rare: Rare = Field(
        default="disagreed",
        description="rare cells join their row's class of other disagreed samples, or its agreed class "
        "(the most frequent agreed cell, whatever its count), or are dropped, as they are where that class "
        "does not exist (ours)",
    )

    def fit(self, confusion: ConfusionMatrix, alignment: AlignmentLike = None) -> LabelSpace:
        """A class for each cell of at least `min_count` samples, and what `rare` adds."""
        cells = confusion.cells(alignment)
        return kept_cells_space(self, confusion, cells, cells.count >= self.min_count, self.rare)
