"""The sums of a count that looks at features (ours)."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from sublabel.errors import LabelError
from sublabel.labels.builders import ConfusionBuilder
from sublabel.labels.confusion import ConfusionMatrix
from sublabel.labels.pairs import Pairs
from sublabel.labels.row_model import HeldOutLosses, RidgeSums, RowModel
from sublabel.labels.vocabulary import Vocabulary

ROWS = 8192
"""Samples whose features are held in double precision at the same time."""


class FeatureBuilder(ConfusionBuilder):
    """The sums of `FeatureCounts`, in floating point: merged in another order they differ by rounding."""

    passes = 2

    def __init__(self, weak_vocabulary: Vocabulary, teacher_vocabulary: Vocabulary, *, folds: int) -> None:
        super().__init__(weak_vocabulary, teacher_vocabulary)
        self.folds = folds
        self._confusion = ConfusionMatrix(weak_vocabulary, teacher_vocabulary)
        self._sums: RidgeSums | None = None
        self._losses: HeldOutLosses | None = None
        self._is_second_pass = False

    def _settings(self) -> dict[str, Any]:
        return super()._settings() | {"folds": self.folds, "second pass": self._is_second_pass}

    def update(self, pairs: Pairs) -> None:
        """Count samples and add to the sums; in the second pass add to the losses."""
        self._check(pairs)
        features = pairs.need_features()
        sums = self._sums_of(features.shape[1])
        if not self._is_second_pass:
            self._confusion.update(pairs)
        for start in range(0, len(pairs), ROWS):
            weak, seen = pairs.weak[start : start + ROWS], features[start : start + ROWS]
            used = (weak >= 0) & np.isfinite(seen).all(axis=1)
            if not self._is_second_pass:
                sums.add(seen[used], weak[used])
            elif self._losses is not None:
                self._losses.add(seen[used], weak[used])

    def _sums_of(self, width: int) -> RidgeSums:
        if self._sums is None:
            self._sums = RidgeSums(self.folds, width, len(self.weak_vocabulary))
        if self._sums.features.shape[1] != width:
            raise LabelError(
                f"some samples have {self._sums.features.shape[1]} features and others {width}; expected "
                "those of one network"
            )
        return self._sums

    def next_pass(self) -> None:
        """Solve the regressions, among which the second pass chooses."""
        if self._is_second_pass:
            super().next_pass()
        self._is_second_pass = True
        if self._sums is not None and self._sums.samples.sum() > 0:
            self._losses = HeldOutLosses(self._sums)

    def merge(self, other: Self) -> Self:
        """A new builder with the samples of both, which are in the first pass.

        Raises:
            LabelError: The other one has other vocabularies or options, or one is in the second pass.
        """
        self._check_other(other)
        if self._is_second_pass:
            raise LabelError("counts with features are merged in their first pass: end it after the merge")
        merged = type(self)(self.weak_vocabulary, self.teacher_vocabulary, folds=self.folds)
        merged._confusion = self._confusion.merge(other._confusion)
        sums = [part._sums for part in (self, other) if part._sums is not None]
        merged._sums = sums[0].merge(sums[1]) if len(sums) == 2 else sums[0] if sums else None
        return merged

    def build(self) -> ConfusionMatrix:
        """The counts, with the model; without any sample one that knows nothing."""
        if not self._is_second_pass:
            raise LabelError(
                "the model of the weak labels is chosen in a second pass over all samples: call "
                "next_pass, and update with the same samples again"
            )
        width = 0 if self._sums is None else self._sums.features.shape[1]
        nothing = np.zeros((self.folds, width + 1, len(self.weak_vocabulary)), dtype=np.float32)
        self._confusion.row_model = RowModel(nothing) if self._losses is None else self._losses.best()
        return self._confusion
