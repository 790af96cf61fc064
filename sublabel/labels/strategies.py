"""How cells become classes: the paper's spaces, Sub-Pseudo Labels (SPL) among them, and a control of ours.

Every strategy is a frozen options model; `fit` turns counts into a `LabelSpace`. Classes come in the order of
the weak vocabulary and, within a weak class, as each strategy says; so ids are dense and the same on every
machine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from sublabel.errors import LabelError
from sublabel.labels.alignment import Alignment, AlignmentLike
from sublabel.labels.confusion import ConfusionMatrix
from sublabel.labels.space import LabelSpace, SubLabel


class _Strategy(BaseModel, ABC):
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

    def _space(
        self,
        confusion: ConfusionMatrix,
        classes: list[SubLabel],
        *,
        row_default: np.ndarray | None = None,
        column_default: np.ndarray | None = None,
        cells: dict[int, int] | None = None,
    ) -> LabelSpace:
        width, height = confusion.shape
        listed = sorted((cells or {}).items())
        return LabelSpace(
            weak_vocabulary=confusion.weak_vocabulary,
            teacher_vocabulary=confusion.teacher_vocabulary,
            classes=tuple(classes),
            row_default=np.full(width, -1, dtype=np.int64) if row_default is None else row_default,
            column_default=np.full(height, -1, dtype=np.int64) if column_default is None else column_default,
            cells=np.array([cell for cell, _ in listed], dtype=np.int64),
            cell_labels=np.array([label for _, label in listed], dtype=np.int64),
            strategy=self.model_dump(mode="json"),
        )


class WeakOnly(_Strategy):
    """The weak label as it is: W classes, every sample that has one and a prediction (METHOD: weak-only).

    The label is the weak id, also for weak classes without samples.
    """

    kind: Literal["weak_only"] = "weak_only"

    def fit(self, confusion: ConfusionMatrix, alignment: AlignmentLike = None) -> LabelSpace:
        """One class for each weak name. The alignment plays no part."""
        sizes: np.ndarray = confusion.counts.sum(axis=1)
        classes = [
            SubLabel(name, "weak", int(sizes[label]), weak=label)
            for label, name in enumerate(confusion.weak_vocabulary)
        ]
        return self._space(confusion, classes, row_default=np.arange(len(classes)))


class TeacherOnly(_Strategy):
    """The teacher's prediction as it is: T classes, every sample (METHOD: teacher-only).

    The label is the teacher's id, also for classes it never predicts.
    """

    kind: Literal["teacher_only"] = "teacher_only"

    def fit(self, confusion: ConfusionMatrix, alignment: AlignmentLike = None) -> LabelSpace:
        """One class for each teacher name. The alignment plays no part."""
        sizes: np.ndarray = confusion.counts.sum(axis=0)
        classes = [
            SubLabel(name, "teacher", int(sizes[label]), teacher=label)
            for label, name in enumerate(confusion.teacher_vocabulary)
        ]
        return self._space(confusion, classes, column_default=np.arange(len(classes)))


class AgreementFilter(_Strategy):
    """The weak label where the teacher agrees, all else dropped (METHOD: agreement filtering).

    Classes are the weak classes with at least one agreed sample, in their order.
    """

    kind: Literal["agreement_filter"] = "agreement_filter"

    def fit(self, confusion: ConfusionMatrix, alignment: AlignmentLike = None) -> LabelSpace:
        """One class for each weak name that the teacher ever agrees with."""
        aligned = _need_pairs(confusion, alignment)
        agreed, _ = _row_sizes(confusion, aligned)
        classes: list[SubLabel] = []
        label_of_row: dict[int, int] = {}
        for row in np.flatnonzero(agreed).tolist():
            label_of_row[row] = len(classes)
            classes.append(SubLabel(confusion.weak_vocabulary[row], "agreed", int(agreed[row]), weak=row))
        return self._space(confusion, classes, cells=_agreed_cells(confusion, aligned, label_of_row))


class SPLB(_Strategy):
    """SPL-B: each weak class splits in two, its agreed and its disagreed samples (at most 2 W classes).

    In the order of the weak classes, agreed before disagreed; a half without samples is no class. A cell that
    was empty in `fit` belongs to its half if that is a class, else it is dropped.
    """

    kind: Literal["spl_b"] = "spl_b"

    def fit(self, confusion: ConfusionMatrix, alignment: AlignmentLike = None) -> LabelSpace:
        """An agreed and a disagreed class for each weak name that has such samples."""
        aligned = _need_pairs(confusion, alignment)
        agreed, disagreed = _row_sizes(confusion, aligned)
        classes: list[SubLabel] = []
        label_of_row = dict.fromkeys(range(len(agreed)), -1)
        row_default = np.full(len(agreed), -1, dtype=np.int64)
        for row, name in enumerate(confusion.weak_vocabulary):
            if agreed[row]:
                label_of_row[row] = len(classes)
                classes.append(SubLabel(name, "agreed", int(agreed[row]), weak=row))
            if disagreed[row]:
                row_default[row] = len(classes)
                classes.append(SubLabel(f"{name} × (disagreed)", "disagreed", int(disagreed[row]), weak=row))
        cells = _agreed_cells(confusion, aligned, label_of_row)
        return self._space(confusion, classes, row_default=row_default, cells=cells)


class RawSPL(_Strategy):
    """Raw SPL: every non-empty cell of the confusion matrix is a class (METHOD: at most W × T classes).

    Row by row, cells in the order of the teacher's classes, the row's class for rare cells last. The policy
    for rare cells is ours; with `min_count=1` nothing is rare and only cells that were empty in `fit` meet
    it.
    """

    kind: Literal["raw_spl"] = "raw_spl"
    min_count: PositiveInt = Field(
        default=1,
        description="cells with fewer samples are rare, agreed ones too (ours; the paper's is not published)",
    )
    rare: Literal["disagreed", "weak", "drop"] = Field(
        default="disagreed",
        description="rare cells join their row's class of other disagreed samples, or its agreed class "
        "(the most frequent agreed cell, whatever its count), or are dropped, as they are where that class "
        "does not exist (ours)",
    )

    def fit(self, confusion: ConfusionMatrix, alignment: AlignmentLike = None) -> LabelSpace:
        """A class for each cell of at least `min_count` samples, and what `rare` adds."""
        aligned = Alignment.of(alignment, confusion.weak_vocabulary, confusion.teacher_vocabulary)
        counts, width = confusion.counts, confusion.shape[1]
        agreed_of_row = _pairs_by_row(aligned)
        classes: list[SubLabel] = []
        cells: dict[int, int] = {}
        row_default = np.full(confusion.shape[0], -1, dtype=np.int64)
        for row in range(confusion.shape[0]):
            begin, end = counts.indptr[row], counts.indptr[row + 1]
            samples = dict(
                zip(counts.indices[begin:end].tolist(), counts.data[begin:end].tolist(), strict=True)
            )
            agreed = agreed_of_row[row] & samples.keys()
            kept, rare = self._split_row(samples, agreed)
            first = len(classes)
            classes += self._row_classes(confusion, row, {column: samples[column] for column in kept}, agreed)
            cells.update({row * width + column: first + position for position, column in enumerate(kept)})
            folded = sum(samples[column] for column in rare)
            if self.rare == "disagreed" and rare:
                row_default[row] = len(classes)
                classes.append(
                    SubLabel(f"{confusion.weak_vocabulary[row]} × (other)", "other", folded, weak=row)
                )
            elif self.rare == "weak" and agreed:
                catch_all = first + kept.index(_most_frequent(samples, agreed))
                row_default[row] = catch_all
                classes[catch_all] = replace(classes[catch_all], size=classes[catch_all].size + folded)
        return self._space(confusion, classes, row_default=row_default, cells=cells)

    def _split_row(self, samples: dict[int, int], agreed: set[int]) -> tuple[list[int], list[int]]:
        """The row's columns that are classes of their own, and the rare ones, both in order."""
        kept = {column for column, count in samples.items() if count >= self.min_count}
        if self.rare == "weak" and agreed:
            kept.add(_most_frequent(samples, agreed))
        return sorted(kept), sorted(samples.keys() - kept)

    def _row_classes(
        self, confusion: ConfusionMatrix, row: int, kept: dict[int, int], agreed: set[int]
    ) -> list[SubLabel]:
        weak = confusion.weak_vocabulary[row]
        several = len(agreed & kept.keys()) > 1
        classes = []
        for column, count in kept.items():
            teacher = confusion.teacher_vocabulary[column]
            if column not in agreed:
                classes.append(SubLabel(f"{weak} × {teacher}", "disagreed", count, row, column))
            else:
                classes.append(
                    SubLabel(f"{weak} = {teacher}" if several else weak, "agreed", count, row, column)
                )
        return classes


class MatchedControl(_Strategy):
    """The matched-cardinality control (ours): as many classes, as large, without the teacher's distinctions.

    The space is that of `of`, but each disagreed sample gets one of its row's disagreed classes by a seeded
    hash of its sample id, in proportion to the sizes of the classes. What raw SPL gains over it, the
    sub-concepts gain, and not the number of classes.
    """

    kind: Literal["matched_control"] = "matched_control"
    of: RawSPL = Field(default=RawSPL(), description="the strategy that it controls for")
    seed: int = Field(default=0, description="of the hash of the sample ids")

    def fit(self, confusion: ConfusionMatrix, alignment: AlignmentLike = None) -> LabelSpace:
        """The space of `of`, whose `assign` then also needs `sample_ids`."""
        space = self.of.fit(confusion, alignment)
        return replace(space, strategy=self.model_dump(mode="json"), control_seed=self.seed, _cache={})


Strategy = Annotated[
    WeakOnly | TeacherOnly | AgreementFilter | RawSPL | SPLB | MatchedControl, Field(discriminator="kind")
]
STRATEGIES: dict[str, type[_Strategy]] = {
    model.model_fields["kind"].default: model
    for model in (WeakOnly, TeacherOnly, AgreementFilter, RawSPL, SPLB, MatchedControl)
}


def _need_pairs(confusion: ConfusionMatrix, alignment: AlignmentLike) -> Alignment:
    aligned = Alignment.of(alignment, confusion.weak_vocabulary, confusion.teacher_vocabulary)
    if len(aligned) == 0:
        raise LabelError(
            f"no weak class agrees with a teacher class ({confusion.weak_vocabulary!r} and "
            f"{confusion.teacher_vocabulary!r}): the strategy needs agreement, so give an alignment such as "
            "{weak name: teacher name}"
        )
    return aligned


def _pairs_by_row(aligned: Alignment) -> defaultdict[int, set[int]]:
    by_row: defaultdict[int, set[int]] = defaultdict(set)
    for row, column in aligned.pairs.tolist():
        by_row[row].add(column)
    return by_row


def _row_sizes(confusion: ConfusionMatrix, aligned: Alignment) -> tuple[np.ndarray, np.ndarray]:
    """Agreed and disagreed samples of each row, int64 (W,)."""
    agreed = np.zeros(confusion.shape[0], dtype=np.int64)
    if len(aligned):
        weak, teacher = aligned.pairs.T
        np.add.at(agreed, weak, np.asarray(confusion.counts[weak, teacher]).ravel())
    return agreed, np.asarray(confusion.counts.sum(axis=1)).ravel() - agreed


def _agreed_cells(
    confusion: ConfusionMatrix, aligned: Alignment, label_of_row: dict[int, int]
) -> dict[int, int]:
    width = confusion.shape[1]
    return {
        row * width + column: label_of_row[row]
        for row, column in aligned.pairs.tolist()
        if row in label_of_row
    }


def _most_frequent(samples: dict[int, int], columns: set[int]) -> int:
    return min(columns, key=lambda column: (-samples[column], column))
