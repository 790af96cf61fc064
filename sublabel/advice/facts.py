"""Figures that say how much the labels can know, without training any student (ours)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import entropy

from sublabel.advice.trials import Trials, probe_probabilities
from sublabel.labels import Alignment, count


@dataclass(frozen=True)
class Facts:
    """What the pairs and the teacher's features show; shares are 0–1, information is in bits."""

    samples: int
    """Weak samples with a weak label and a prediction."""
    agreement: float
    """Share of them in which the teacher agrees."""
    label_information: float
    """Mutual information of weak label and teacher's prediction: 0, where they know nothing of each other."""
    row_entropy: float
    """Entropy of the teacher's prediction where the weak label is known: how far rows spread over cells."""
    probe_accuracy: float
    """Top-1 of linear probes on the teacher's features, on clean samples that they have not seen."""
    probe_agreement: float
    """Share of the weak samples in which such a probe says what the teacher said."""
    steadiness: float
    """Probability that probes on two halves of the clean samples put a weak sample into the same cell."""
    chance_steadiness: float
    """What that would be if the two were independent: high, where they nearly always say one class."""
    disagreed_steadiness: float | None
    """The same of the samples that the first probe puts into a cell in which the labels disagree;
    None without any."""


def facts_of(trials: Trials) -> Facts:
    """Look at the pairs, and at linear probes on the teacher's features.

    Args:
        trials: The pairs, features and clean samples.
    """
    pairs = trials.pairs
    cells = count(pairs).cells(trials.alignment)
    of_cells = entropy(cells.count, base=2)
    of_weak, of_teacher = (
        entropy(np.bincount(side, cells.count), base=2) for side in (cells.weak, cells.teacher)
    )
    total = int(cells.count.sum())
    paired = (pairs.weak >= 0) & (pairs.teacher >= 0)
    accuracy, agreement = _looks_of_probes(trials, paired)
    first, second = _half_taught(trials)
    same = first == second
    aligned = Alignment.of(trials.alignment, pairs.weak_vocabulary, pairs.teacher_vocabulary)
    disagreed = paired & ~aligned.aligned(pairs.weak, first)
    shares = [np.bincount(said[paired], minlength=cells.shape[1]) / total for said in (first, second)]
    return Facts(
        samples=total,
        agreement=int(cells.count[cells.agreed].sum()) / total,
        label_information=float(of_weak + of_teacher - of_cells),
        row_entropy=float(of_cells - of_weak),
        probe_accuracy=accuracy,
        probe_agreement=agreement,
        steadiness=float(same[paired].mean()),
        chance_steadiness=float(shares[0] @ shares[1]),
        disagreed_steadiness=float(same[disagreed].mean()) if disagreed.any() else None,
    )


def _looks_of_probes(trials: Trials, paired: np.ndarray) -> tuple[float, float]:
    """How often cross-fitted probes are right on clean samples, and agree with the teacher on weak ones."""
    right, same = [], []
    for split in trials.clean.all_splits(trials.options.folds, trials.options.seed):
        probe = trials.probe(split.train)
        said = probe_probabilities(probe, trials.teacher.clean[split.test]).argmax(axis=1)
        right.append(said == trials.clean.labels[split.test])
        same.append((trials.predicted_by(probe).teacher == trials.pairs.teacher)[paired].mean())
    return float(np.concatenate(right).mean()), float(np.mean(same))


def _half_taught(trials: Trials) -> list[np.ndarray]:
    """What probes on two halves of the clean samples say of the weak ones, int64 (N,) each."""
    halves = trials.clean.all_splits(2, trials.options.seed)
    return [trials.predicted_by(trials.probe(half.train)).teacher for half in halves]
