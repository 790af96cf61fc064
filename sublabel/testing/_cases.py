"""Small random samples for the properties of strategies, from the smallest on, and smaller ones of these."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from sublabel.labels import Alignment, Pairs, Vocabulary
from sublabel.labels.hashing import uniform_from_ids

NEEDS = frozenset({"sample_ids", "probabilities", "features"})
"""What a strategy may look at beside the labels."""
FEATURES = 3


@dataclass(frozen=True, eq=False)
class Case:
    """Samples over rectangular vocabularies, with all that a strategy may look at."""

    weak: np.ndarray
    """int64 (N,), -1 where there is no weak label."""
    top_ids: np.ndarray
    """int64 (N, k), -1 where there is no prediction."""
    top_probs: np.ndarray
    """float64 (N, k)."""
    sample_ids: np.ndarray
    """int64 (N,)."""
    weak_vocabulary: Vocabulary
    teacher_vocabulary: Vocabulary
    alignment: Alignment | None
    """None: equal names agree."""

    @property
    def agreement(self) -> Alignment:
        """Which classes agree, also where that follows from their names."""
        return Alignment.of(self.alignment, self.weak_vocabulary, self.teacher_vocabulary)

    def pairs(self, needs: frozenset[str] = NEEDS) -> Pairs:
        """The samples with what is needed, and nothing else.

        Args:
            needs: Of `NEEDS`.
        """
        has_probabilities = "probabilities" in needs
        return Pairs(
            self.weak,
            (self.top_ids, self.top_probs) if has_probabilities else self.top_ids[:, 0],
            weak_vocabulary=self.weak_vocabulary,
            teacher_vocabulary=self.teacher_vocabulary,
            sample_ids=self.sample_ids if "sample_ids" in needs else None,
            features=_features(self.sample_ids) if "features" in needs else None,
        )

    def grid(self) -> Pairs:
        """One sample of every cell, seen or not, with and without labels; complete."""
        height, width = len(self.weak_vocabulary), len(self.teacher_vocabulary)
        weak, teacher = np.repeat(np.arange(-1, height), width + 1), np.tile(np.arange(-1, width), height + 1)
        sample_ids = np.arange(len(weak)) + 1_000_000
        return Pairs(
            weak,
            (teacher[:, None], np.full((len(teacher), 1), 0.75)),
            weak_vocabulary=self.weak_vocabulary,
            teacher_vocabulary=self.teacher_vocabulary,
            sample_ids=sample_ids,
            features=_features(sample_ids),
        )

    def take(self, rows: np.ndarray) -> Case:
        """The case with some of its samples."""
        return replace(
            self,
            weak=self.weak[rows],
            top_ids=self.top_ids[rows],
            top_probs=self.top_probs[rows],
            sample_ids=self.sample_ids[rows],
        )

    def smaller(self) -> Iterator[Case]:
        """The case without some of its samples: half of them, a quarter, … one."""
        samples = np.arange(len(self.weak))
        step = len(samples)
        while step > 1:
            step = (step + 1) // 2
            for start in range(0, len(samples), step):
                yield self.take(np.delete(samples, slice(start, start + step)))
        if len(samples) == 1:
            yield self.take(samples[:0])

    def __str__(self) -> str:
        named = [
            [None if i < 0 else vocabulary[i] for i in ids.tolist()]
            for ids, vocabulary in (
                (self.weak, self.weak_vocabulary),
                (self.top_ids[:, 0], self.teacher_vocabulary),
            )
        ]
        agreeing = [
            (self.weak_vocabulary[weak], self.teacher_vocabulary[teacher])
            for weak, teacher in self.agreement.pairs.tolist()
        ]
        return (
            f"The smallest samples found that show it:\n  weak = {named[0]}\n  teacher = {named[1]}\n"
            f"  weak_vocabulary = {list(self.weak_vocabulary)}\n"
            f"  teacher_vocabulary = {list(self.teacher_vocabulary)}\n  agreed = {agreeing}\n"
            f"  top_ids = {self.top_ids.tolist()}\n  top_probs = {self.top_probs.round(4).tolist()}\n"
            f"  sample_ids = {self.sample_ids.tolist()}"
        )


def _features(sample_ids: np.ndarray) -> np.ndarray:
    """Three numbers that each sample keeps, whichever others are with it, float32 (N, 3); few lack them."""
    seen = np.column_stack([uniform_from_ids(sample_ids, seed) for seed in range(FEATURES)])
    seen[seen[:, 0] < 0.05] = np.nan
    return seen.astype(np.float32)


def cases(number: int, seed: int) -> Iterator[Case]:
    """Random cases, the first without samples, the others of more and more.

    Args:
        number: How many.
        seed: Of all of them.
    """
    for index in range(number):
        yield _case(np.random.default_rng([seed, index]), samples=index * 3 // 2)


def _case(generator: np.random.Generator, samples: int) -> Case:
    height, width = generator.integers(1, 6), generator.integers(1, 7)
    # Class 0 has the same name in both, so that something always agrees.
    weak_names = Vocabulary(["both 0", *(f"weak {i}" for i in range(1, height))])
    teacher_names = Vocabulary(["both 0", *(f"teacher {i}" for i in range(1, width))])
    weak = generator.integers(0, height, samples)
    weak[generator.random(samples) < 0.1] = -1
    scores = generator.dirichlet(np.full(width, 0.4), samples).reshape(samples, width)
    top_ids = np.argsort(-scores, axis=1, kind="stable")
    top_probs = np.take_along_axis(scores, top_ids, axis=1)
    missing = generator.random(samples) < 0.1
    top_ids[missing], top_probs[missing] = -1, 0
    alignment = None
    if generator.random() < 0.5:
        agreed = generator.integers(0, [height, width], (generator.integers(1, 6), 2))
        alignment = Alignment(weak_names, teacher_names, agreed)
    ids = generator.permutation(10 * samples + 1)[:samples]
    return Case(weak, top_ids, top_probs, ids, weak_names, teacher_names, alignment)
