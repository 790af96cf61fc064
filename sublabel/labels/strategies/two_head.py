"""The rival of Sub-Pseudo Labels (SPL) with one head for each of the two labels (ours)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from sublabel.errors import LabelError
from sublabel.labels.alignment import AlignmentLike
from sublabel.labels.assigned import Labels
from sublabel.labels.cell_space import named
from sublabel.labels.classes import CODES, Classes
from sublabel.labels.confusion import ConfusionMatrix
from sublabel.labels.pairs import Pairs
from sublabel.labels.space import LabelSpace
from sublabel.labels.strategies.base import Strategy
from sublabel.labels.targets import HeadTargets, Reasons, Targets


class TwoHead(Strategy):
    """Weak and teacher label as the targets of two heads: the natural rival of SPL (ours).

    The student sees the same pairs of labels as raw SPL's does, but no class for each pair: its W + T outputs
    are the weak classes, then the teacher's.
    """

    kind: ClassVar[str] = "two_head"

    def fit(self, confusion: ConfusionMatrix, alignment: AlignmentLike = None) -> LabelSpace:
        """A class for each weak and for each teacher name. The alignment plays no part."""
        height, width = confusion.shape
        sizes = [np.asarray(confusion.counts.sum(axis=axis)).ravel() for axis in (1, 0)]
        # rows[c], columns[c]: the weak or the teacher's class that output c stands for, (W + T,)
        rows = np.append(np.arange(height), np.full(width, -1))
        columns = np.append(np.full(height, -1), np.arange(width))
        kinds = np.repeat([CODES["weak"], CODES["teacher"]], [height, width])
        weak, teacher = confusion.weak_vocabulary, confusion.teacher_vocabulary
        names = [*(f"weak: {name}" for name in weak), *(f"teacher: {name}" for name in teacher)]
        return TwoHeadSpace(
            weak_vocabulary=weak,
            teacher_vocabulary=teacher,
            classes=Classes(kinds, np.concatenate(sizes), rows, columns, dict(enumerate(names))),
            strategy=self.to_dict(),
        )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class TwoHeadSpace(LabelSpace):
    """The outputs of a student with two heads: W weak classes, then T of the teacher's (ours).

    Every sample that has both labels has both targets, also where its cell was empty when the space was
    fitted.
    """

    kind: ClassVar[str] = "two_heads"
    answers_with_one_label: ClassVar[bool] = False

    @property
    def heads(self) -> tuple[int, ...]:
        """(W, T)."""
        return len(self.weak_vocabulary), len(self.teacher_vocabulary)

    def assign(self, pairs: Pairs) -> Labels:
        """The two outputs that each sample belongs to, int64 (N, 2), positions in `names`."""
        labels = self._ids(pairs)
        labels[labels[:, 1] >= 0, 1] += len(self.weak_vocabulary)
        return Labels.of(labels, pairs.weak, pairs.teacher)

    def targets(self, pairs: Pairs) -> Targets:
        """The label of each head, int64 (N, 2), both counted from 0."""
        ids = self._ids(pairs)
        return HeadTargets(ids, self.heads, Labels.of(ids, pairs.weak, pairs.teacher))

    def read_targets(self, columns: Mapping[str, Any], reasons: Reasons = None) -> Targets:
        """The labels of both heads that stand in a table.

        Raises:
            LabelError: They are not (N, 2), or one is outside its head.
        """
        labels = np.asarray(columns["pretrain_label"])
        if labels.ndim != 2 or labels.shape[1] != len(self.heads) or (labels >= self.heads).any():
            raise LabelError(
                f"pre-training labels of shape {labels.shape} are not those of two heads of {self.heads} "
                "classes: were they made by another label space?"
            )
        return HeadTargets(labels.astype(np.int64), self.heads, reasons)

    def classes_touching(self, names: Iterable[str]) -> list[int]:
        """The outputs of these names."""
        wanted = frozenset(names)
        touched = [
            named(vocabulary, wanted)[:-1] for vocabulary in (self.weak_vocabulary, self.teacher_vocabulary)
        ]
        touching: list[int] = np.flatnonzero(np.concatenate(touched)).tolist()
        return touching

    def factors(self) -> None:
        """None: the two heads share no classes."""

    def _ids(self, pairs: Pairs) -> np.ndarray:
        self.check(pairs)
        ids = np.stack([pairs.weak, pairs.teacher], axis=1).astype(np.int64)
        ids[(ids < 0).any(axis=1)] = -1
        return ids
