"""Sub-Pseudo Labels (SPL) where the teacher is sure, and a class for the rest of each row (ours)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from sublabel.errors import LabelError
from sublabel.labels.alignment import AlignmentLike
from sublabel.labels.assigned import Labels
from sublabel.labels.cell_space import CellSpace
from sublabel.labels.classes import Classes
from sublabel.labels.confusion import ConfusionMatrix
from sublabel.labels.counting import ConfidentCounts, Counting, Thresholds
from sublabel.labels.pairs import Pairs
from sublabel.labels.space import LabelSpace, Need, check_inside
from sublabel.labels.strategies.base import Strategy, cells_needed
from sublabel.labels.strategies.spl import RawSPL


class ConfidentSPL(Strategy):
    """SPL where the teacher is sure; all other samples are their weak label's "unsure" class (ours).

    A sample is sure where the teacher's probability of its prediction reaches the threshold of that class. A
    row's unsure class comes after its others; a row in which no sample was unsure has none, and drops them.
    """

    kind: ClassVar[str] = "confident_spl"
    of: Strategy = Field(default=RawSPL(), description="the strategy for the samples that are sure")
    thresholds: Thresholds = Field(
        default="self_confidence",
        description="each teacher class's mean probability over the samples that agree with it, as in "
        "confident learning; or one number, or one for each class",
    )

    @property
    def counting(self) -> Counting:
        """Confident counts, of the teacher's predictions only."""
        return ConfidentCounts(thresholds=self.thresholds)

    def fit(self, confusion: ConfusionMatrix, alignment: AlignmentLike = None) -> LabelSpace:
        """The space of `of` over the sure samples, with an unsure class for each row that needs one.

        Raises:
            LabelError: The matrix is not a count of confident samples.
        """
        if confusion.confidence is None:
            raise LabelError(
                "confident_spl needs a count of confident samples, and this confusion matrix counts all: "
                "make it with count(pairs, strategy.counting), or call relabel; it refines others and is no "
                "other strategy's `of`"
            )
        space, unsure = (
            cells_needed(self.of.fit(confusion, alignment), self.kind),
            confusion.confidence.unsure,
        )
        rows = np.flatnonzero(unsure)
        classes, label = space.classes.insert(Classes.of_kind("unsure", unsure[rows], weak=rows))
        # sure_label[c]: the new label of class c of `of`; the last entry, of what is dropped, is -1, (K + 1,)
        sure_label = np.append(label[: len(space)], -1)
        unsure_labels = np.full(len(unsure), -1)
        unsure_labels[rows] = label[len(space) :]
        return ConfidentSpace.refining(
            space,
            classes=classes,
            strategy=self.to_dict(),
            row_default=sure_label[space.row_default],
            column_default=sure_label[space.column_default],
            cell_labels=sure_label[space.cell_labels],
            thresholds=confusion.confidence.thresholds,
            unsure_labels=unsure_labels,
        )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ConfidentSpace(CellSpace):
    """A cell space for the samples that the teacher is sure of; others are in their row's unsure class."""

    kind: ClassVar[str] = "confident"
    ARRAYS: ClassVar[Mapping[str, type]] = {
        **CellSpace.ARRAYS,
        "thresholds": np.float64,
        "unsure_labels": np.int64,
    }
    needs: ClassVar[frozenset[Need]] = frozenset({"probabilities"})

    thresholds: np.ndarray
    """float64 (T,): a sample is sure where the teacher's probability of its class is at least this."""
    unsure_labels: np.ndarray
    """int64 (W,), the class of a row's unsure samples, -1 where it has none."""

    def assign(self, pairs: Pairs) -> Labels:
        """The class of each sample: its cell's where the teacher is sure, else its row's unsure class.

        Raises:
            LabelError: The pairs have no probabilities, or are over other vocabularies.
        """
        self.check(pairs)
        labels = self.look_up(pairs.weak, pairs.teacher)
        _, probs = pairs.need_probabilities()
        predicted = pairs.teacher >= 0
        sure = probs[:, 0] >= self.thresholds[np.where(predicted, pairs.teacher, 0)]
        unsure = predicted & (pairs.weak >= 0) & ~sure
        labels[unsure] = self.unsure_labels[pairs.weak[unsure]]
        return Labels.of(labels, pairs.weak, pairs.teacher)

    def _refuse_damage(self) -> None:
        super()._refuse_damage()
        lengths: Any = (len(self.thresholds), len(self.unsure_labels))
        if lengths != (len(self.teacher_vocabulary), len(self.weak_vocabulary)):
            raise ValueError("its thresholds and unsure classes are not one for each class")
        check_inside(len(self), self.unsure_labels)
