"""The sums that chunks of pairs are added to, behind one streaming interface (ours).

Everything is summed in integers, probabilities in units of 2^-30: chunks of any size, in any order, merged in
any tree, give the same matrix. The options, and what they mean, stand in `counting`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal, Self

import numpy as np

from sublabel.errors import LabelError
from sublabel.labels._arrays import iter_rows
from sublabel.labels._sums import CellCounter
from sublabel.labels.alignment import Alignment
from sublabel.labels.confusion import Confidence, ConfusionMatrix
from sublabel.labels.pairs import Pairs, check_pairs
from sublabel.labels.vocabulary import Vocabulary

UNIT_BITS = 30
UNIT = 1 << UNIT_BITS
"""A probability of 1: int64 holds the sum of eight billion samples."""
OTHER = "(other)"


class ConfusionBuilder(ABC):
    """Sums of a stream of samples, which become a confusion matrix.

    Attributes:
        passes: How many times the stream is read: `next_pass` ends each pass but the last.
    """

    passes = 1

    def __init__(self, weak_vocabulary: Vocabulary, teacher_vocabulary: Vocabulary) -> None:
        self.weak_vocabulary = weak_vocabulary
        self.teacher_vocabulary = teacher_vocabulary

    @abstractmethod
    def update(self, pairs: Pairs) -> None:
        """Add samples.

        Args:
            pairs: Over the vocabularies of the builder, with probabilities where these are counted.

        Raises:
            LabelError: They are over others, or lack probabilities; nothing is added then.
        """

    def next_pass(self) -> None:
        """End a pass; the next `update` begins another one over the same samples.

        Raises:
            LabelError: It was the last.
        """
        raise LabelError(f"this builder reads the samples {self.passes} time(s), and has: call build")

    @abstractmethod
    def merge(self, other: Self) -> Self:
        """A new builder with the samples of both, which are in the same pass.

        Raises:
            LabelError: The other one has other vocabularies or options, or is in another pass.
        """

    @abstractmethod
    def build(self) -> ConfusionMatrix:
        """The confusion matrix of all samples.

        Raises:
            LabelError: A pass is missing.
        """

    def _check(self, pairs: Pairs) -> None:
        check_pairs(pairs, self.weak_vocabulary, self.teacher_vocabulary, "this count")

    def _settings(self) -> dict[str, Any]:
        """What two builders must have in common to be merged."""
        return {
            "class": type(self).__name__,
            "weak vocabulary": self.weak_vocabulary,
            "teacher vocabulary": self.teacher_vocabulary,
        }

    def _check_other(self, other: ConfusionBuilder) -> None:
        theirs = other._settings()
        for name, mine in self._settings().items():
            if mine != theirs.get(name):
                raise LabelError(
                    f"cannot merge builders of different {name} ({mine!r} and {theirs.get(name)!r}): start "
                    "both the same way, and end a pass only when the builders of all samples are merged"
                )


class HardBuilder(ConfusionBuilder):
    """The sums of `HardCounts`."""

    def __init__(self, weak_vocabulary: Vocabulary, teacher_vocabulary: Vocabulary) -> None:
        super().__init__(weak_vocabulary, teacher_vocabulary)
        self._confusion = ConfusionMatrix(self.weak_vocabulary, self.teacher_vocabulary)

    def update(self, pairs: Pairs) -> None:
        """Count samples."""
        self._confusion.update(pairs)

    def merge(self, other: Self) -> Self:
        """A new builder with the samples of both."""
        self._check_other(other)
        merged = type(self)(self.weak_vocabulary, self.teacher_vocabulary)
        merged._confusion = self._confusion.merge(other._confusion)
        return merged

    def build(self) -> ConfusionMatrix:
        """The counts."""
        return self._confusion


class MassBuilder(ConfusionBuilder):
    """The sums of `ProbabilityMass`."""

    def __init__(
        self,
        weak_vocabulary: Vocabulary,
        teacher_vocabulary: Vocabulary,
        *,
        rest: Literal["renormalise", "other"],
        k: int | None,
    ) -> None:
        super().__init__(weak_vocabulary, teacher_vocabulary)
        self.rest, self.k = rest, k
        self._columns = self.teacher_vocabulary
        if rest == "other":
            self._columns = Vocabulary([*self.teacher_vocabulary, OTHER])
        self._units = CellCounter((len(self.weak_vocabulary), len(self._columns)))
        self._abstained = 0

    @property
    def mass(self) -> Any:
        """Expected samples of each cell: `scipy.sparse.csr_array` float64 (W, T), with `other` (W, T + 1)."""
        return self._units.total() * (1.0 / UNIT)

    def _settings(self) -> dict[str, Any]:
        return super()._settings() | {"rest": self.rest, "k": self.k}

    def update(self, pairs: Pairs) -> None:
        """Spread samples over the cells of their rows."""
        self._check(pairs)
        ids, probs = (array[:, : self.k] for array in pairs.need_probabilities())
        # Sums that are held as sorted runs take all samples at once, a table those that fit into the cache.
        for rows in iter_rows(ids) if self._units.is_dense else (slice(None),):
            self._spread(pairs.weak[rows], ids[rows], probs[rows])

    def _spread(self, weak: np.ndarray, ids: np.ndarray, probs: np.ndarray) -> None:
        ids = ids.astype(np.int64)
        probs = np.ascontiguousarray(probs, dtype=np.float64)
        voted = (weak >= 0) & (ids[:, 0] >= 0)
        weak, ids, probs = weak[voted], ids[voted], probs[voted]
        self._abstained += len(voted) - len(weak)
        sums = probs.sum(axis=1, keepdims=True)
        scaled = self.rest == "renormalise"
        divisor = sums if scaled else np.maximum(sums, 1.0)
        shares = np.divide(probs, divisor, out=np.zeros_like(probs), where=divisor > 0)
        units = np.floor(shares * UNIT).astype(np.int64)
        left = UNIT - units.sum(axis=1)
        if scaled:
            # What rounding leaves goes to the prediction, so that every sample counts exactly one.
            units[:, 0] += left
        else:
            ids = np.column_stack([ids, np.full(len(ids), len(self.teacher_vocabulary))])
            units = np.column_stack([units, left])
        kept = units > 0
        rows = np.broadcast_to(weak[:, None], ids.shape)
        self._units.add_weighted(rows[kept], ids[kept], units[kept])

    def merge(self, other: Self) -> Self:
        """A new builder with the samples of both."""
        self._check_other(other)
        merged = type(self)(self.weak_vocabulary, self.teacher_vocabulary, rest=self.rest, k=self.k)
        for part in (self, other):
            merged._units.add_matrix(part._units.total())
            merged._abstained += part._abstained
        return merged

    def build(self) -> ConfusionMatrix:
        """The expected counts in whole samples; row totals are exact."""
        units: Any = self._units.total()
        counts = units.copy()
        counts.data = units.data >> UNIT_BITS
        remainder = units.data & (UNIT - 1)
        rows = np.repeat(np.arange(units.shape[0]), np.diff(units.indptr))
        missing = np.zeros(units.shape[0], dtype=np.int64)
        np.add.at(missing, rows, remainder)
        missing >>= UNIT_BITS
        order = np.argsort(rows * UNIT + (UNIT - 1 - remainder), kind="stable")
        rank = np.arange(len(order)) - units.indptr[:-1][rows]
        counts.data[order[rank < missing[rows]]] += 1
        return ConfusionMatrix.from_counts(
            counts,
            weak_vocabulary=self.weak_vocabulary,
            teacher_vocabulary=self._columns,
            abstained=self._abstained,
        )


class ConfidentBuilder(ConfusionBuilder):
    """The sums of `ConfidentCounts`.

    Attributes:
        thresholds: float64 (T,); None until the first of two passes has ended.
    """

    def __init__(
        self,
        weak_vocabulary: Vocabulary,
        teacher_vocabulary: Vocabulary,
        alignment: Alignment,
        *,
        thresholds: Literal["self_confidence"] | float | tuple[float, ...] = "self_confidence",
        candidates: Literal["top_1", "top_k"] = "top_1",
    ) -> None:
        super().__init__(weak_vocabulary, teacher_vocabulary)
        self.candidates = candidates
        self.alignment = alignment
        rows, columns = len(self.weak_vocabulary), len(self.teacher_vocabulary)
        self.thresholds: np.ndarray | None = None
        self.passes = 2
        if thresholds != "self_confidence":
            self.passes = 1
            self.thresholds = _given_thresholds(thresholds, columns)
        # Of the first pass: samples of each weak class, the units of each teacher class's probability over
        # the samples that agree with it, and over and in its own predictions.
        self._sums = [np.zeros(size, dtype=np.int64) for size in (rows, columns, columns, columns)]
        self._confusion = ConfusionMatrix(self.weak_vocabulary, self.teacher_vocabulary)
        self._unsure = np.zeros(rows, dtype=np.int64)

    def _settings(self) -> dict[str, Any]:
        return super()._settings() | {
            "passes": self.passes,
            "candidates": self.candidates,
            "alignment": self.alignment.pairs.tolist(),
            "thresholds": None if self.thresholds is None else self.thresholds.tolist(),
        }

    def update(self, pairs: Pairs) -> None:
        """Add samples to the thresholds or, when they are known, to the counts."""
        self._check(pairs)
        top_ids, top_probs = pairs.need_probabilities()
        for rows in iter_rows(top_ids):
            ids = top_ids[rows].astype(np.int64, copy=False)
            probs = top_probs[rows].astype(np.float64, copy=False)
            weak = np.where(ids[:, 0] >= 0, pairs.weak[rows], -1).astype(np.int64, copy=False)
            if self.thresholds is None:
                self._add_confidence(weak, ids, probs)
            else:
                width = 1 if self.candidates == "top_1" else None
                self._add_counts(weak, ids[:, :width], probs[:, :width], self.thresholds)

    def _add_counts(
        self, weak: np.ndarray, ids: np.ndarray, probs: np.ndarray, thresholds: np.ndarray
    ) -> None:
        passes = (ids >= 0) & (probs >= thresholds[np.maximum(ids, 0)])
        best = np.where(passes, probs, -1.0).argmax(axis=1)
        unsure = (weak >= 0) & ~passes.any(axis=1)
        self._unsure += np.bincount(weak[unsure], minlength=len(self._unsure))
        guess = np.take_along_axis(ids, best[:, None], axis=1).ravel()
        counted = (weak[~unsure], guess[~unsure])
        self._confusion.update(Pairs.trusted(*counted, self.weak_vocabulary, self.teacher_vocabulary))

    def _add_confidence(self, weak: np.ndarray, ids: np.ndarray, probs: np.ndarray) -> None:
        seen, own, predicted, predictions = self._sums
        voted = weak >= 0
        weak, ids = weak[voted], ids[voted]
        # Rounded down, so that samples of one and the same probability reach their own mean.
        units = np.floor(probs[voted] * UNIT).astype(np.int64)
        seen += np.bincount(weak, minlength=len(seen))
        agrees = self.alignment.aligned(weak[:, None], ids) & (ids >= 0)
        np.add.at(own, ids[agrees], units[agrees])
        np.add.at(predicted, ids[:, 0], units[:, 0])
        predictions += np.bincount(ids[:, 0], minlength=len(predictions))

    def next_pass(self) -> None:
        """Turn what the first pass saw into thresholds."""
        if self.thresholds is not None:
            super().next_pass()
        seen, own, predicted, predictions = self._sums
        agreeing = np.zeros(len(own), dtype=np.int64)
        weak, teacher = self.alignment.pairs.T
        np.add.at(agreeing, teacher, seen[weak])
        fallback = np.where(predictions > 0, predicted // np.maximum(predictions, 1), UNIT)
        self.thresholds = np.where(agreeing > 0, own // np.maximum(agreeing, 1), fallback) / UNIT

    def merge(self, other: Self) -> Self:
        """A new builder with the samples of both; in the second pass their thresholds must be the same."""
        self._check_other(other)
        merged = type(self)(
            self.weak_vocabulary, self.teacher_vocabulary, self.alignment, candidates=self.candidates
        )
        merged.passes = self.passes
        merged.thresholds = self.thresholds
        merged._sums = [mine + theirs for mine, theirs in zip(self._sums, other._sums, strict=True)]
        merged._confusion = self._confusion.merge(other._confusion)
        merged._unsure = self._unsure + other._unsure
        return merged

    def build(self) -> ConfusionMatrix:
        """The confident samples; thresholds and unsure samples are in its `confidence`."""
        if self.thresholds is None:
            raise LabelError(
                "the confidence thresholds come from a first pass over all samples: call next_pass, and "
                "update with the same samples again"
            )
        return ConfusionMatrix.from_counts(
            self._confusion.counts,
            weak_vocabulary=self.weak_vocabulary,
            teacher_vocabulary=self.teacher_vocabulary,
            abstained=self._confusion.abstained,
            confidence=Confidence(self.thresholds, self._unsure.copy()),
        )


def _given_thresholds(value: float | tuple[float, ...], classes: int) -> np.ndarray:
    if isinstance(value, tuple) and len(value) != classes:
        raise LabelError(
            f"got {len(value)} confidence thresholds for {classes} teacher classes; give one for each, or "
            "one number"
        )
    return np.full(classes, value) if isinstance(value, float) else np.array(value, dtype=np.float64)
