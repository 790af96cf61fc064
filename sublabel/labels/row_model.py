"""What the features of a sample say of its weak label: a linear model that never saw that sample (ours).

A weak label is noisy for one sample, and the same noise repeats over many that look alike. A ridge regression
from the teacher's features to the weak labels averages over these, and its softmax says which queries find
what a sample shows. Samples are cut into folds, and each gets the answer of the model of all other folds.
Everything that is fitted is sums over the samples, so that they are streamed twice and never held.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import linalg, special

from sublabel.errors import LabelError

PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)
"""Of standardised features, in shares of the number of samples; the folds that are left out choose one."""
SCALES = (2.0, 4.0, 6.0, 8.0, 10.0, 14.0, 20.0)
"""What a regression's answers are multiplied by before the softmax; likewise."""
LEAST_DEVIATION = 1e-6


@dataclass(frozen=True, eq=False)
class RowModel:
    """The probabilities of the weak classes, given features.

    Args:
        weights: float32 (F, D + 1, W), for each fold the model of the others; the last of D + 1 is constant.
    """

    weights: np.ndarray

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Of each weak class, float32 (N, W), rows that sum to 1.

        Args:
            features: float32 (N, D), finite.
        """
        fold = folds_of(features, len(self.weights))
        answers = np.empty((len(features), self.weights.shape[2]), dtype=np.float32)
        for number, weights in enumerate(self.weights):
            answers[fold == number] = features[fold == number] @ weights[:-1] + weights[-1]
        return np.asarray(special.softmax(answers, axis=1))


def folds_of(features: np.ndarray, folds: int) -> np.ndarray:
    """The fold of each sample, int64 (N,): by its features alone, so that copies are never apart.

    Args:
        features: float32 (N, D).
        folds: F.
    """
    # As tables hold them: in memory and from a table a sample is in the same fold.
    halves = np.ascontiguousarray(features, dtype=np.float16)
    return np.fromiter((zlib.crc32(row) % folds for row in halves), dtype=np.int64, count=len(halves))


class RidgeSums:
    """Sums over samples that ridge regressions from features to weak labels follow from, by fold.

    Args:
        folds: F.
        width: D, of the features.
        classes: W.
    """

    def __init__(self, folds: int, width: int, classes: int) -> None:
        self.samples = np.zeros(folds)
        self.features = np.zeros((folds, width))
        self.squares = np.zeros((folds, width, width))
        self.labels = np.zeros((folds, classes))
        self.products = np.zeros((folds, width, classes))

    def add(self, features: np.ndarray, weak: np.ndarray) -> None:
        """Add samples.

        Args:
            features: float32 (N, D).
            weak: int (N,), in 0..W-1.
        """
        fold = folds_of(features, len(self.samples))
        for number in np.unique(fold).tolist():
            chosen = features[fold == number].astype(np.float64)
            one_hot = np.eye(self.labels.shape[1])[weak[fold == number]]
            self.samples[number] += len(chosen)
            self.features[number] += chosen.sum(0)
            self.squares[number] += chosen.T @ chosen
            self.labels[number] += one_hot.sum(0)
            self.products[number] += chosen.T @ one_hot

    def merge(self, other: Self) -> Self:
        """The sums over the samples of both."""
        merged = type(self)(*self.features.shape, self.labels.shape[1])
        for name, mine in vars(self).items():
            setattr(merged, name, mine + getattr(other, name))
        return merged

    def solve(self, penalty: float) -> np.ndarray:
        """The regressions of one penalty, float32 (F, D + 1, W), each on the samples of all other folds.

        Args:
            penalty: Above 0, in shares of the number of samples.
        """
        return np.stack([self._solve(number, penalty) for number in range(len(self.samples))])

    def _solve(self, left_out: int, penalty: float) -> np.ndarray:
        samples, features, squares, labels, products = (
            total.sum(0) - total[left_out]
            for total in (self.samples, self.features, self.squares, self.labels, self.products)
        )
        if samples < 1:
            raise LabelError(
                "the features of one sample say nothing of the others' weak labels: expected samples that "
                "look different"
            )
        mean, share = features / samples, labels / samples
        covariance = squares / samples - np.outer(mean, mean)
        deviation = np.sqrt(np.maximum(covariance.diagonal(), 0))
        deviation[deviation < LEAST_DEVIATION] = 1
        matrix = covariance / np.outer(deviation, deviation)
        matrix[np.diag_indices_from(matrix)] += penalty
        right = (products / samples - np.outer(mean, share)) / deviation[:, None]
        weights = linalg.solve(matrix, right, assume_a="pos") / deviation[:, None]
        return np.vstack([weights, share - mean @ weights]).astype(np.float32)


class HeldOutLosses:
    """How well each regression and scale says the weak labels of the samples that it never saw.

    Args:
        sums: Of all samples.
    """

    def __init__(self, sums: RidgeSums) -> None:
        self.models = np.stack([sums.solve(penalty) for penalty in PENALTIES])
        self.losses = np.zeros((len(PENALTIES), len(SCALES)))

    def add(self, features: np.ndarray, weak: np.ndarray) -> None:
        """Add the losses of samples, as `RidgeSums.add` took them."""
        fold = folds_of(features, self.models.shape[1])
        for number in np.unique(fold).tolist():
            chosen, own = features[fold == number], weak[fold == number][:, None]
            for place, weights in enumerate(self.models[:, number]):
                answers = chosen @ weights[:-1] + weights[-1]
                for column, scale in enumerate(SCALES):
                    logs = special.log_softmax(answers * scale, axis=1)
                    self.losses[place, column] -= np.take_along_axis(logs, own, axis=1).sum()

    def best(self) -> RowModel:
        """The model with the least loss."""
        place, column = np.unravel_index(np.argmin(self.losses), self.losses.shape)
        return RowModel(self.models[place] * np.float32(SCALES[column]))
