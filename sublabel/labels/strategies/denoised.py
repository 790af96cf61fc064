"""Sub-Pseudo Labels (SPL) whose weak label, too, is a prediction: soft targets over the cells (ours)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from pydantic import Field, PositiveInt

from sublabel.errors import LabelError
from sublabel.labels.alignment import AlignmentLike
from sublabel.labels.confusion import ConfusionMatrix
from sublabel.labels.counting import Counting, FeatureCounts
from sublabel.labels.pairs import Pairs
from sublabel.labels.row_model import RowModel
from sublabel.labels.space import LabelSpace, Need
from sublabel.labels.strategies.base import Strategy, cells_needed
from sublabel.labels.strategies.soft import SoftSpace
from sublabel.labels.strategies.spl import RawSPL


class DenoisedSPL(Strategy):
    """SPL with soft targets on both sides: what a sample shows, and which queries find such samples (ours).

    The weak label of one sample is often wrong for it. The teacher's features tell which weak labels samples
    that look alike have: a linear model, which never saw the sample itself, gives the probabilities of the
    weak classes. Times the teacher's probabilities they are a distribution over the cells of the matrix. A
    sample without features keeps its weak label. Sizes of classes are those of plain counts.
    """

    kind: ClassVar[str] = "denoised_spl"
    of: Strategy = Field(default=RawSPL(), description="the strategy that makes classes of the cells")
    k: PositiveInt = Field(
        default=10, description="how many of the weak classes, and of the teacher's, count; the most probable"
    )
    folds: int = Field(
        default=5, ge=2, description="parts of the samples, each judged by a model of the others"
    )

    @property
    def counting(self) -> Counting:
        """Plain counts, and a model of the weak labels given the features."""
        return FeatureCounts(folds=self.folds)

    @property
    def teacher_classes(self) -> int:
        """The k most probable."""
        return self.k

    def fit(self, confusion: ConfusionMatrix, alignment: AlignmentLike = None) -> LabelSpace:
        """The space of `of`, with the model of its rows.

        Raises:
            LabelError: The matrix was counted without features.
        """
        if confusion.row_model is None:
            raise LabelError(
                f"{self.kind} needs a count that looks at features: make it with count(pairs, "
                "strategy.counting), or call relabel"
            )
        space = cells_needed(self.of.fit(confusion, alignment), self.kind)
        weights = confusion.row_model.weights
        return DenoisedSpace.refining(
            space, strategy=self.to_dict(), k=self.k, folds=len(weights), row_weights=weights.ravel()
        )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class DenoisedSpace(SoftSpace):
    """A soft space whose rows, too, are distributions: those of a model of the weak labels (ours)."""

    kind: ClassVar[str] = "denoised"
    ARRAYS: ClassVar[Mapping[str, type]] = {**SoftSpace.ARRAYS, "row_weights": np.float32}
    needs: ClassVar[frozenset[Need]] = frozenset({"probabilities", "features"})

    folds: int
    """F."""
    row_weights: np.ndarray
    """float32 (F × (D + 1) × W,), as `RowModel` has them."""

    @property
    def num_features(self) -> int:
        """D."""
        return len(self.row_weights) // (self.folds * len(self.weak_vocabulary)) - 1

    @cached_property
    def _row_model(self) -> RowModel:
        shape = self.folds, self.num_features + 1, len(self.weak_vocabulary)
        return RowModel(self.row_weights.reshape(shape))

    def _weak_classes(self, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
        features = pairs.need_features()
        if features.shape[1] != self.num_features:
            raise LabelError(
                f"the features have {features.shape[1]} numbers a sample, and this space was fitted on "
                f"{self.num_features}: give those of the same network"
            )
        width = min(self.k, len(self.weak_vocabulary))
        ids = np.full((len(pairs), width), -1, dtype=np.int64)
        probs = np.zeros((len(pairs), width))
        ids[:, 0], probs[:, 0] = pairs.weak, 1
        seen = np.flatnonzero((pairs.weak >= 0) & np.isfinite(features).all(axis=1))
        found = self._row_model.probabilities(features[seen])
        ids[seen] = np.argsort(-found, axis=1, kind="stable")[:, :width]
        probs[seen] = np.take_along_axis(found, ids[seen], axis=1)
        return ids, probs

    def _refuse_damage(self) -> None:
        super()._refuse_damage()
        rows = len(self.weak_vocabulary) * self.folds
        if self.folds < 2 or rows == 0 or len(self.row_weights) % rows or self.num_features < 0:
            raise ValueError("its model of rows is of another size than its vocabulary")
