"""The shuffle of a matched control: disagreed samples among the disagreed classes of their row, by sample id.

A sample has a key: its row, then the hash of its id. The classes of a row share its keys, each up to its cut.
Where the cuts are found in the samples themselves, every class gets as many as it had before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Self

import numpy as np

from sublabel.errors import LabelError
from sublabel.labels.classes import Classes
from sublabel.labels.hashing import hash_ids

HELD_KEYS = 1 << 26
"""Samples whose keys are sorted at the same time (512 MiB)."""
OTHER_SAMPLES = (
    "these samples are not those that the label space was fitted on: a row has another number of disagreed "
    "ones; give the same weak labels and predictions"
)


class Shuffle(NamedTuple):
    """The classes that are shuffled, row by row."""

    members: np.ndarray
    """int64 (M,), labels."""
    rows: np.ndarray
    """int64 (M,), the row of each."""
    ends: np.ndarray
    """int64 (M,), samples of all members up to and with each."""
    is_member: np.ndarray
    """bool (K,)."""
    seed: int
    bits: int
    """How many bits of a key are the hash; the row stands above them."""

    @classmethod
    def of(cls, classes: Classes, height: int, seed: int) -> Self:
        """The shuffle over the disagreed classes of a space.

        Args:
            classes: The classes of the space.
            height: W, its rows.
            seed: The seed of the hash.
        """
        is_member = classes.is_kind("disagreed", "other") & (classes.weak >= 0)
        members = np.flatnonzero(is_member)
        members = members[np.argsort(classes.weak[members], kind="stable")]
        ends = np.cumsum(classes.size[members])
        return cls(members, classes.weak[members], ends, is_member, seed, 63 - height.bit_length())

    def keys(self, rows: np.ndarray, sample_ids: np.ndarray) -> np.ndarray:
        """The key of each sample, int64 (N,)."""
        low = (hash_ids(sample_ids, self.seed) >> np.uint64(64 - self.bits)).astype(np.int64)
        return np.asarray((rows << self.bits) | low)

    def average_cuts(self) -> np.ndarray:
        """Cuts in proportion to the sizes, int64 (M,), for samples that are not known."""
        first = np.searchsorted(self.rows, self.rows, side="left")
        before = np.where(first > 0, self.ends[first - 1], 0)
        last = np.searchsorted(self.rows, self.rows, side="right") - 1
        share = (self.ends - before) / (self.ends[last] - before)
        return self._closed((self.rows << self.bits) + (share * 2.0**self.bits).astype(np.int64) - 1)

    def exact_cuts(self, keys: Callable[[], Iterable[np.ndarray]], held: int = HELD_KEYS) -> np.ndarray:
        """Cuts that give every member its size, but for equal hashes; int64 (M,).

        Args:
            keys: Called once for each pass; gives the keys of all disagreed samples in chunks.
            held: Keys that are sorted at the same time; where there are more, further passes are made.

        Raises:
            LabelError: Rows have another number of samples than their members.
        """
        cuts = np.empty(len(self.members), dtype=np.int64)
        for group in self._groups(held):
            start = self.ends[group.start - 1] if group.start else 0
            found = np.empty(self.ends[group.stop - 1] - start, dtype=np.int64)
            low, high = self.rows[group.start], self.rows[group.stop - 1]
            filled = 0
            for chunk in keys():
                rows = chunk >> self.bits
                chosen = chunk[(rows >= low) & (rows <= high)]
                if filled + len(chosen) > len(found):
                    raise LabelError(OTHER_SAMPLES)
                found[filled : filled + len(chosen)] = chosen
                filled += len(chosen)
            if filled < len(found):
                raise LabelError(OTHER_SAMPLES)
            found.sort()
            cuts[group] = found[self.ends[group] - start - 1]
        if (cuts >> self.bits != self.rows).any():
            raise LabelError(OTHER_SAMPLES)
        return self._closed(cuts)

    def assign(self, labels: np.ndarray, sample_ids: np.ndarray, rows: np.ndarray, cuts: np.ndarray) -> None:
        """Give each disagreed sample, in place, the class whose share of the row its key lies in.

        Args:
            labels: int64 (N,), -1 where a sample is dropped.
            sample_ids: Strings or integers (N,).
            rows: Integers (N,), weak labels.
            cuts: int64 (M,).
        """
        moved = self.moved(labels)
        keys = self.keys(rows[moved].astype(np.int64), sample_ids[moved])
        labels[moved] = self.members[np.searchsorted(cuts, keys)]

    def moved(self, labels: np.ndarray) -> np.ndarray:
        """Positions of the samples that are shuffled, int64 (M',)."""
        kept = np.flatnonzero(labels >= 0)
        return np.asarray(kept[self.is_member[labels[kept]]])

    def _closed(self, cuts: np.ndarray) -> np.ndarray:
        """The last member of a row takes all keys that are left, also of samples that come later."""
        return np.where(self._is_last(), ((self.rows + 1) << self.bits) - 1, cuts)

    def _is_last(self) -> np.ndarray:
        """Whether each member is the last of its row, bool (M,)."""
        return np.append(self.rows[1:] != self.rows[:-1], True)[: len(self.rows)]

    def _groups(self, held: int) -> Iterator[slice]:
        """Members of whole rows, with at most `held` samples where a row has no more."""
        row_ends = np.flatnonzero(self._is_last()) + 1
        start = 0
        for position, stop in enumerate(row_ends.tolist()):
            following = row_ends[position + 1] if position + 1 < len(row_ends) else None
            before = self.ends[start - 1] if start else 0
            if following is None or self.ends[following - 1] - before > held:
                yield slice(start, stop)
                start = stop
