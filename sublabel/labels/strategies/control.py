"""The control of Sub-Pseudo Labels (SPL): as many classes, as large, without sub-concepts (ours)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
from pydantic import Field

from sublabel.labels.alignment import AlignmentLike
from sublabel.labels.assigned import Labels
from sublabel.labels.cell_space import CellSpace
from sublabel.labels.confusion import ConfusionMatrix
from sublabel.labels.pairs import Pairs
from sublabel.labels.space import LabelSpace, Need
from sublabel.labels.strategies._shuffle import Shuffle
from sublabel.labels.strategies.base import Strategy, cells_needed
from sublabel.labels.strategies.spl import RawSPL


class MatchedControl(Strategy):
    """The matched-cardinality control (ours): as many classes, as large, without the teacher's distinctions.

    The classes are those of `of`, but the disagreed samples of each row are shuffled among its disagreed
    classes, by a seeded hash of their ids. What raw SPL gains over it, the sub-concepts gain, and not the
    number of classes. The classes have exactly their sizes where the space has seen its samples
    (`LabelSpace.match_sizes`, as `relabel` and `relabel_table` do it), else on average.
    """

    kind: ClassVar[str] = "matched_control"
    of: Strategy = Field(default=RawSPL(), description="the strategy that it controls for")
    seed: int = Field(default=0, description="of the hash of the sample ids")

    def fit(self, confusion: ConfusionMatrix, alignment: AlignmentLike = None) -> LabelSpace:
        """The space of `of`, whose `assign` then also needs `sample_ids`."""
        space = cells_needed(self.of.fit(confusion, alignment), self.kind)
        return ControlSpace.refining(space, strategy=self.to_dict(), seed=self.seed, cuts=np.empty(0))


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ControlSpace(CellSpace):
    """A cell space whose disagreed samples are drawn, row by row, by the hash of their ids (ours)."""

    kind: ClassVar[str] = "control"
    ARRAYS: ClassVar[Mapping[str, type]] = {**CellSpace.ARRAYS, "cuts": np.int64}
    needs: ClassVar[frozenset[Need]] = frozenset({"sample_ids"})

    seed: int
    cuts: np.ndarray
    """int64, one for each class that is drawn, where `match_sizes` found which draws make it; else empty."""

    def assign(self, pairs: Pairs) -> Labels:
        """The class of each sample: of an agreed one its cell's, of others a disagreed one of its row.

        Raises:
            LabelError: The pairs have no sample ids, or are over other vocabularies.
        """
        self.check(pairs)
        labels = self.look_up(pairs.weak, pairs.teacher)
        self._shuffle.assign(labels, pairs.need_sample_ids(), pairs.weak, self._cuts)
        return Labels.of(labels, pairs.weak, pairs.teacher)

    def match_sizes(self, samples: Callable[[], Iterable[Pairs]]) -> LabelSpace:
        """The control that gives its own samples classes of exactly `sizes` (ours).

        As it is fitted on counts alone, it draws each sample for itself: sizes hold on average, and small
        classes may stay empty. With the samples at hand, those of a row are shuffled: they are put in the
        order of the hashes of their ids, and cut at the sizes.

        Args:
            samples: Called once for each pass (a pass holds 64 million keys of 8 bytes); gives the pairs that
                the space was fitted on, in chunks.

        Raises:
            LabelError: They are not the samples that the space was fitted on, or do not fit.

        Example:
            >>> from sublabel import count
            >>> pairs = Pairs([0] * 4, [1, 1, 2, 3], weak_vocabulary=4, sample_ids=["a", "b", "c", "d"])
            >>> space = MatchedControl().fit(count(pairs)).match_sizes(lambda: [pairs])
            >>> np.bincount(space.assign(pairs)) == space.sizes
            array([ True,  True,  True])
        """

        def keys() -> Iterator[np.ndarray]:
            for pairs in samples():
                self.check(pairs)
                moved = self._shuffle.moved(self.look_up(pairs.weak, pairs.teacher))
                yield self._shuffle.keys(pairs.weak[moved].astype(np.int64), pairs.need_sample_ids()[moved])

        return replace(self, cuts=self._shuffle.exact_cuts(keys))

    def cell_classes(self, weak: np.ndarray, teacher: np.ndarray) -> np.ndarray | None:
        """None: which class a disagreed sample gets, its id decides."""
        return None

    @cached_property
    def _shuffle(self) -> Shuffle:
        return Shuffle.of(self.classes, len(self.weak_vocabulary), self.seed)

    @cached_property
    def _cuts(self) -> np.ndarray:
        return self.cuts if len(self.cuts) else self._shuffle.average_cuts()

    def _refuse_damage(self) -> None:
        super()._refuse_damage()
        if len(self.cuts) not in (0, len(self._shuffle.members)):
            raise ValueError("its cuts are not one for each class that is drawn")
