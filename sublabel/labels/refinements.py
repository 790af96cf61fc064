"""What the teacher's confidence adds to Sub-Pseudo Labels (SPL), and the student that rivals them (ours)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field, PositiveInt

from sublabel.errors import LabelError
from sublabel.labels._strategy import BaseStrategy
from sublabel.labels.alignment import AlignmentLike
from sublabel.labels.classes import CODES, Classes
from sublabel.labels.confusion import ConfusionMatrix
from sublabel.labels.counting import ConfidentCounts, Counting, ProbabilityMass, Thresholds
from sublabel.labels.reductions import DensestSPL
from sublabel.labels.space import LabelSpace
from sublabel.labels.spl import SPLB, RawSPL

Base = RawSPL | SPLB | DensestSPL


class ConfidentSPL(BaseStrategy):
    """SPL where the teacher is sure; all other samples are their weak label's "unsure" class (ours).

    A sample is sure where the teacher's probability of its prediction reaches the threshold of that class. A
    row's unsure class comes after its others; a row in which no sample was unsure has none, and drops them.
    """

    kind: Literal["confident_spl"] = "confident_spl"
    of: Base = Field(default=RawSPL(), description="the strategy for the samples that are sure")
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
                "make it with strategy.counting.start(...) and build_confusion, or call relabel with "
                "probabilities"
            )
        space, unsure = self.of.fit(confusion, alignment), confusion.confidence.unsure
        rows = np.flatnonzero(unsure)
        sure, height = space.classes, len(unsure)
        weak = np.concatenate([sure.weak, rows])
        order = np.argsort(weak, kind="stable")
        label = np.empty(len(order) + 1, dtype=np.int64)
        label[order], label[-1] = np.arange(len(order)), -1
        unsure_labels = np.full(height, -1)
        unsure_labels[rows] = label[len(sure) : -1]
        classes = Classes(
            np.concatenate([sure.kind, np.full(len(rows), CODES["unsure"])]),
            np.concatenate([sure.size, unsure[rows]]),
            weak,
            np.concatenate([sure.teacher, np.full(len(rows), -1)]),
        )
        # The -1 of what is dropped indexes the last entry, which is -1.
        sure_label = np.append(label[: len(sure)], -1)
        return replace(
            space,
            classes=classes.take(order),
            row_default=sure_label[space.row_default],
            cell_labels=sure_label[space.cell_labels],
            strategy=self.model_dump(mode="json"),
            thresholds=confusion.confidence.thresholds,
            unsure_labels=unsure_labels,
            _cache={},
        )


class TopKSPL(BaseStrategy):
    """SPL with soft targets: a sample belongs to the cells of the teacher's k most probable classes (ours).

    `LabelSpace.soft_targets` gives its distribution over the classes, `assign` the class of the most probable
    one. Counted as probability mass, the sizes of classes are the samples expected in them.
    """

    kind: Literal["top_k_spl"] = "top_k_spl"
    of: Base = Field(default=RawSPL(), description="the strategy that makes classes of the cells")
    k: PositiveInt = Field(default=5, description="how many of the teacher's classes count, of those given")

    @property
    def counting(self) -> Counting:
        """The probability mass of the k classes, scaled to one for each sample."""
        return ProbabilityMass(k=self.k)

    def fit(self, confusion: ConfusionMatrix, alignment: AlignmentLike = None) -> LabelSpace:
        """The space of `of`, whose `soft_targets` look at k classes."""
        space = self.of.fit(confusion, alignment)
        return replace(space, strategy=self.model_dump(mode="json"), top_k=self.k, _cache={})


class TwoHead(BaseStrategy):
    """Weak and teacher label as the targets of two heads: the natural rival of SPL (ours).

    The student sees the same pairs of labels as raw SPL's does, but no class for each pair. `assign` gives
    the pair's cell, as raw SPL would, for tables of one label a sample; `LabelSpace.head_targets` turns it
    into the two targets, whose heads are as wide as the vocabularies.
    """

    kind: Literal["two_head"] = "two_head"

    def fit(self, confusion: ConfusionMatrix, alignment: AlignmentLike = None) -> LabelSpace:
        """The cells of raw SPL, each with two targets."""
        space = RawSPL().fit(confusion, alignment)
        return replace(space, strategy=self.model_dump(mode="json"), two_heads=True, _cache={})
