"""Fewer classes than raw Sub-Pseudo Labels (SPL) has: the densest cells, or cells merged (ours)."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from sublabel.errors import LabelError
from sublabel.labels.alignment import AlignmentLike
from sublabel.labels.cell_space import CellSpace
from sublabel.labels.classes import CODES, Classes
from sublabel.labels.confusion import ConfusionMatrix
from sublabel.labels.space import LabelSpace
from sublabel.labels.strategies._merging import Linkage, merge_similar, profile_kernel
from sublabel.labels.strategies.base import Strategy, cells_needed
from sublabel.labels.strategies.spl import Rare, RawSPL, kept_cells_space

SHOWN = 2


class DensestSPL(Strategy):
    """The agreed cells and the densest others, as many as `max_classes` allows (ours).

    Every agreed cell that has samples is a class. The others follow from the densest down, equal ones in the
    order of the vocabularies, as long as they and the classes that `rare` makes of the rest are few enough.
    """

    kind: ClassVar[str] = "densest_spl"
    max_classes: PositiveInt = Field(
        default=1000, description="how many classes there are at most, all kinds"
    )
    rare: Rare = Field(
        default="disagreed",
        description="the other cells join their row's class of other disagreed samples, or its agreed class "
        "(the most frequent agreed cell), or are dropped, as they are where that class does not exist",
    )

    def fit(self, confusion: ConfusionMatrix, alignment: AlignmentLike = None) -> LabelSpace:
        """The classes of the densest cells.

        Raises:
            LabelError: The agreed cells alone, with what `rare` makes of the rest, are more classes.
        """
        cells = confusion.cells(alignment)
        others = np.flatnonzero(~cells.agreed)
        others = others[np.argsort(-cells.count[others], kind="stable")]
        classes = len(cells.agreed) - len(others) + np.arange(len(others) + 1)
        if self.rare == "disagreed":
            # The first n of them are kept: the rows of those that are not have one class more.
            last = np.zeros(confusion.shape[0], dtype=np.int64)
            np.maximum.at(last, cells.weak[others], np.arange(1, len(others) + 1))
            ended = np.cumsum(np.bincount(last[last > 0], minlength=len(others) + 1))
            classes = classes + np.count_nonzero(last) - ended
        if classes[0] > self.max_classes:
            raise LabelError(
                f"the agreed cells and the classes for all others (rare={self.rare!r}) are {classes[0]} "
                f"classes, and max_classes is {self.max_classes}: raise it, or drop the others "
                "(rare='drop'), or use spl_b"
            )
        kept = cells.agreed.copy()
        kept[others[: np.searchsorted(classes, self.max_classes, side="right") - 1]] = True
        return kept_cells_space(self, confusion, cells, kept, self.rare)


class MergedSPL(Strategy):
    """Disagreed cells of raw SPL merged where the teacher's classes meet the same weak ones (ours).

    A cell's profile is the distribution of its teacher class over the weak classes and, with `within="all"`,
    also that of its weak class over the teacher's. Cells are merged by agglomerative clustering of the
    Hellinger distance of their profiles, which is in 0–1: the closest first, over all rows alike. Agreed
    cells and the classes of rare ones stay as they are.
    """

    kind: ClassVar[str] = "merged_spl"
    quick_cells: ClassVar[int | None] = 100_000
    of: Strategy = Field(default=RawSPL(), description="the space whose cells are merged")
    num_classes: PositiveInt | None = Field(
        default=None, description="how many classes there are at most, with those that are not merged"
    )
    threshold: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="clusters no further apart are merged; 0.5 if neither this nor num_classes is given",
    )
    linkage: Linkage = Field(
        default="average", description="the distance of clusters, as scipy.cluster.hierarchy defines it"
    )
    within: Literal["row", "all"] = Field(default="row", description="merge the cells of a row, or any cells")

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if self.num_classes is not None and self.threshold is not None:
            raise ValueError("give num_classes or threshold, not both")
        return self

    def fit(self, confusion: ConfusionMatrix, alignment: AlignmentLike = None) -> LabelSpace:
        """Merge until there are few enough classes, or none are close enough.

        Raises:
            LabelError: There are too many cells to compare all pairs, or more classes than `num_classes` are
                left when all is merged.
        """
        space = cells_needed(self.of.fit(confusion, alignment), self.kind)
        classes = space.classes
        # A disagreed class of several cells, as SPL-B has them, is no cell and has no profile.
        merged = np.flatnonzero(classes.is_kind("disagreed") & (classes.teacher >= 0))
        rows, columns = classes.weak[merged], classes.teacher[merged]
        groups = rows if self.within == "row" else np.zeros_like(rows)
        kernel = profile_kernel(confusion.counts, rows, columns, both=self.within == "all")
        limit = None if self.num_classes is None else len(classes) - self.num_classes
        threshold = 0.5 if self.threshold is None else self.threshold
        first = np.arange(len(classes))
        first[merged] = merged[merge_similar(groups, kernel, self.linkage, merges=limit, threshold=threshold)]
        return self._joined(space, first)

    def _joined(self, space: CellSpace, first: np.ndarray) -> LabelSpace:
        """The space in which each class is joined to the first one of its cluster, int64 (K,)."""
        old = space.classes
        leaders, new_of_old = np.unique(first, return_inverse=True)
        members = np.bincount(new_of_old)
        size = np.zeros(len(leaders), dtype=np.int64)
        np.add.at(size, new_of_old, old.size)
        several = members > 1
        one_row = np.ones(len(leaders), dtype=bool)
        one_row[new_of_old[old.weak != old.weak[first]]] = False
        classes = Classes(
            np.where(several, CODES["merged"], old.kind[leaders]),
            size,
            np.where(one_row, old.weak[leaders], -1),
            np.where(several, -1, old.teacher[leaders]),
            {int(new_of_old[label]): name for label, name in old.given_names.items()}
            | _merged_names(space, new_of_old, several),
        )
        renumber = np.append(new_of_old, -1)
        return replace(
            space,
            classes=classes,
            row_default=renumber[space.row_default],
            column_default=renumber[space.column_default],
            cell_labels=renumber[space.cell_labels],
            strategy=self.to_dict(),
        )


def _merged_names(space: LabelSpace, new_of_old: np.ndarray, several: np.ndarray) -> dict[int, str]:
    """`baking cookies × (whisking eggs, mixing batter, +3)`: the largest members of a class first."""
    old = space.classes
    chosen = np.flatnonzero(several[new_of_old])
    chosen = chosen[np.lexsort((chosen, -old.size[chosen], new_of_old[chosen]))]
    labels, starts = np.unique(new_of_old[chosen], return_index=True)
    names = {}
    for label, members in zip(labels.tolist(), np.split(chosen, starts[1:]), strict=bool(len(labels))):
        weak = old.weak[members]
        if (weak == weak[0]).all():
            parts = [space.teacher_vocabulary[column] for column in old.teacher[members[:SHOWN]]]
            prefix = f"{space.weak_vocabulary[weak[0]]} × "
        else:
            parts, prefix = [space.name_of(int(member)) for member in members[:SHOWN]], ""
        more = [f"+{len(members) - SHOWN}"] if len(members) > SHOWN else []
        names[label] = f"{prefix}({', '.join(parts + more)})"
    return names
