"""What Sub-Pseudo Labels are compared with: one of the two labels, or both where they agree."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from sublabel.labels.alignment import AlignmentLike
from sublabel.labels.classes import Classes
from sublabel.labels.confusion import ConfusionMatrix
from sublabel.labels.space import LabelSpace
from sublabel.labels.strategies.base import Strategy, cell_space, needed_alignment


class WeakOnly(Strategy):
    """The weak label as it is: W classes, every sample that has one and a prediction (METHOD: weak-only).

    The label is the weak id, also for weak classes without samples.
    """

    kind: ClassVar[str] = "weak_only"

    def fit(self, confusion: ConfusionMatrix, alignment: AlignmentLike = None) -> LabelSpace:
        """One class for each weak name. The alignment plays no part."""
        labels = np.arange(confusion.shape[0])
        classes = Classes.of_kind("weak", confusion.counts.sum(axis=1), weak=labels)
        return cell_space(self, confusion, classes, row_default=labels)


class TeacherOnly(Strategy):
    """The teacher's prediction as it is: T classes, every sample (METHOD: teacher-only).

    The label is the teacher's id, also for classes it never predicts.
    """

    kind: ClassVar[str] = "teacher_only"

    def fit(self, confusion: ConfusionMatrix, alignment: AlignmentLike = None) -> LabelSpace:
        """One class for each teacher name. The alignment plays no part."""
        labels = np.arange(confusion.shape[1])
        classes = Classes.of_kind("teacher", confusion.counts.sum(axis=0), teacher=labels)
        return cell_space(self, confusion, classes, column_default=labels)


class AgreementFilter(Strategy):
    """The weak label where the teacher agrees, all else dropped (METHOD: agreement filtering).

    Classes are the weak classes with at least one agreed sample, in their order.
    """

    kind: ClassVar[str] = "agreement_filter"

    def fit(self, confusion: ConfusionMatrix, alignment: AlignmentLike = None) -> LabelSpace:
        """One class for each weak name that has agreed samples."""
        aligned = needed_alignment(confusion, alignment)
        cells = confusion.cells(aligned)
        sizes = cells.row_sums(cells.agreed)
        rows = np.flatnonzero(sizes)
        label_of_row = np.full(len(sizes), -1)
        label_of_row[rows] = np.arange(len(rows))
        weak, teacher = aligned.pairs[label_of_row[aligned.pairs[:, 0]] >= 0].T
        return cell_space(
            self,
            confusion,
            Classes.of_kind("agreed", sizes[rows], weak=rows),
            cells=weak * confusion.shape[1] + teacher,
            cell_labels=label_of_row[weak],
        )
