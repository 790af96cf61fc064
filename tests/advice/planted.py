"""Weak and clean samples of which it is known what the labels and the features know."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import sublabel as sl
from sublabel.advice import AdviceOptions

CLASSES = ("a", "b", "c", "d")
QUICK = AdviceOptions(
    seeds=2,
    folds=3,
    steps=120,
    width=32,
    batch_size=64,
    finetune_epochs=6,
    finetune_batch_size=32,
    learning_rate=0.01,
)
BRIEF = QUICK.model_copy(update={"folds": 2, "steps": 10, "finetune_epochs": 1})
"""For what does not depend on what is learned."""


class Planted(NamedTuple):
    pairs: sl.Pairs
    weak: np.ndarray
    clean: np.ndarray
    labels: np.ndarray
    teacher: tuple[np.ndarray, np.ndarray]
    """What the teacher looks at."""

    @property
    def arguments(self):
        return self.pairs, self.weak, self.clean, self.labels


def plant(*, weak_knows, teacher_knows, samples=1500, clean=200, seed=0):
    """Four concepts under noise in 24 features, which few clean samples alone cannot tell apart well.

    Args:
        weak_knows: Probability that a weak label is the concept's. Else it is a query that brings all
            concepts alike, which are its sub-concepts.
        teacher_knows: Whether the teacher's own features show the concepts.
        samples: Weak ones.
        clean: Clean ones.
        seed: Of all that is drawn.
    """
    generator = np.random.default_rng(seed)
    concept = generator.integers(len(CLASSES), size=samples + clean)
    centres = generator.normal(size=(len(CLASSES), 24))
    seen = centres[concept] + 2.5 * generator.normal(size=(len(concept), 24))
    clear = teacher_knows * 8 * np.eye(len(CLASSES))[concept] + generator.normal(size=(len(concept), 4))
    known = generator.random(samples) < weak_knows
    weak = np.where(known, concept[:samples], generator.integers(len(CLASSES), size=samples))
    said = concept if teacher_knows else generator.integers(len(CLASSES), size=len(concept))
    names = list(CLASSES)
    pairs = sl.Pairs(weak, said[:samples], weak_vocabulary=names, teacher_vocabulary=names)
    seen, clear = seen.astype(np.float32), clear.astype(np.float32)
    return Planted(
        pairs, seen[:samples], seen[samples:], concept[samples:], (clear[:samples], clear[samples:])
    )
