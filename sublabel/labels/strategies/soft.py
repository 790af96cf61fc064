"""Sub-Pseudo Labels (SPL) as distributions over the cells of the teacher's most probable classes (ours)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, PositiveInt
from scipy import sparse

from sublabel.labels.alignment import AlignmentLike
from sublabel.labels.assigned import Labels
from sublabel.labels.cell_space import CellSpace
from sublabel.labels.confusion import ConfusionMatrix
from sublabel.labels.counting import Counting, ProbabilityMass
from sublabel.labels.pairs import Pairs
from sublabel.labels.space import LabelSpace, Need
from sublabel.labels.strategies.base import Strategy, cells_needed
from sublabel.labels.strategies.spl import RawSPL
from sublabel.labels.targets import Reasons, SoftTargets, Targets


class TopKSPL(Strategy):
    """SPL with soft targets: a sample belongs to the cells of the teacher's k most probable classes (ours).

    Each of these classes moves the sample to its own cell of the weak label's row; the probabilities of the
    cells that are kept are scaled to sum to 1. Counted as probability mass, the sizes of classes are the
    samples expected in them.
    """

    kind: ClassVar[str] = "top_k_spl"
    of: Strategy = Field(default=RawSPL(), description="the strategy that makes classes of the cells")
    k: PositiveInt = Field(default=5, description="how many of the teacher's classes count, of those given")

    @property
    def counting(self) -> Counting:
        """The probability mass of the k classes, scaled to one for each sample."""
        return ProbabilityMass(k=self.k)

    @property
    def teacher_classes(self) -> int:
        """The k most probable."""
        return self.k

    def fit(self, confusion: ConfusionMatrix, alignment: AlignmentLike = None) -> LabelSpace:
        """The space of `of`, whose targets look at k classes."""
        space = cells_needed(self.of.fit(confusion, alignment), self.kind)
        return SoftSpace.refining(space, strategy=self.to_dict(), k=self.k)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SoftSpace(CellSpace):
    """A cell space whose targets are distributions: the cells of the teacher's k best classes (ours)."""

    kind: ClassVar[str] = "soft"
    needs: ClassVar[frozenset[Need]] = frozenset({"probabilities"})
    answers_with_one_label: ClassVar[bool] = False

    k: int
    """How many of the teacher's classes count."""

    def assign(self, pairs: Pairs) -> Labels:
        """The class with the greatest weight in each sample's target, int64 (N,); of equal ones the first.

        Raises:
            LabelError: The pairs have no probabilities, or are over other vocabularies.
        """
        rows = self._rows(pairs)
        labels = np.full(len(pairs), -1)
        lengths = np.diff(rows.indptr)
        kept = np.flatnonzero(lengths)
        if len(kept):
            greatest = np.maximum.reduceat(rows.data, rows.indptr[kept])
            # best[b]: an entry of the matrix with its row's greatest weight, (B,), one or more for each row
            best = np.flatnonzero(rows.data == np.repeat(greatest, lengths[kept]))
            # Written from the last to the first, so that the first of equal ones stays.
            labels[np.repeat(kept, lengths[kept])[best][::-1]] = rows.indices[best][::-1]
        return Labels.of(labels, pairs.weak, pairs.teacher)

    def targets(self, pairs: Pairs) -> Targets:
        """A distribution over the classes for each sample, float32, sparse.

        Raises:
            LabelError: The pairs have no probabilities, or are over other vocabularies.

        Example:
            >>> from sublabel import relabel
            >>> pairs = Pairs([0, 0], ([[0, 1], [1, 0]], [[0.8, 0.2], [0.6, 0.2]]), weak_vocabulary=2)
            >>> relabel(pairs, TopKSPL()).targets.rows.toarray()
            array([[0.8 , 0.2 ],
                   [0.25, 0.75]], dtype=float32)
        """
        rows = self._rows(pairs)
        kept = np.where(np.diff(rows.indptr) > 0, 0, -1)
        return SoftTargets(rows, Labels.of(kept, pairs.weak, pairs.teacher))

    def _rows(self, pairs: Pairs) -> Any:
        """The distributions as a CSR matrix float32 (N, K), sorted, each class once."""
        self.check(pairs)
        ids, probs = pairs.need_probabilities()
        ids, probs = ids[:, : self.k], probs[:, : self.k].astype(np.float64)
        weak_ids, weak_probs = self._weak_classes(pairs)
        shape = len(pairs), weak_ids.shape[1], ids.shape[1]
        # labels[n, j]: the class of the cell of one of the sample's rows and one of its predictions, (N, C)
        weak, teacher = (
            np.broadcast_to(axis, shape).ravel() for axis in (weak_ids[:, :, None], ids[:, None])
        )
        labels = self.look_up(weak, teacher).reshape(len(pairs), shape[1] * shape[2])
        products = (weak_probs[:, :, None] * probs[:, None]).reshape(labels.shape)
        weights = np.where(labels >= 0, products, 0.0)
        sums = weights.sum(axis=1, keepdims=True)
        weights = np.divide(weights, sums, out=np.zeros_like(weights), where=sums > 0).astype(np.float32)
        kept = weights > 0
        starts = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
        entries: Any = (weights[kept], labels[kept], starts)
        rows = sparse.csr_array(entries, shape=(len(pairs), len(self)))
        rows.sum_duplicates()
        return rows

    def _weak_classes(self, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
        """The rows of each sample and their weights, (N, R) both: its weak label, for sure."""
        return pairs.weak[:, None], np.ones((len(pairs), 1))

    def read_targets(self, columns: Mapping[str, Any], reasons: Reasons = None) -> Targets:
        """The distributions that stand in a table."""
        return SoftTargets.from_columns(columns, len(self), reasons)
