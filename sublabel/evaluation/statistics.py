"""Paired statistics over seeds (ours, not the paper's: see METHOD's controls)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from sublabel.errors import ConfigError

# Two-sided 95%.
NORMAL_QUANTILE = 1.96


class PairedDifference(NamedTuple):
    """Mean of the per-seed differences, and its two-sided confidence interval by Student's t."""

    mean: float
    low: float
    high: float


def paired_difference(
    ours: Sequence[float], baseline: Sequence[float], *, confidence: float = 0.95
) -> PairedDifference | None:
    """Compare two methods over the same seeds.

    Args:
        ours: One figure for each seed, (S,).
        baseline: The baseline's figures for the same seeds in the same order, (S,).
        confidence: Coverage of the interval, in (0, 1).

    Returns:
        Mean and interval of `ours - baseline`; None for a single seed, which says nothing about the spread.

    Raises:
        ConfigError: The two are not of the same length.

    Example:
        >>> paired_difference([0.75, 0.77, 0.76], [0.74, 0.75, 0.75]).mean
        0.0133...
    """
    if len(ours) != len(baseline):
        raise ConfigError(
            f"got {len(ours)} and {len(baseline)} figures; a paired difference needs the same seeds in both"
        )
    if len(ours) < 2:
        return None
    differences = np.asarray(ours, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    mean = float(differences.mean())
    margin = float(stats.t.ppf((1 + confidence) / 2, len(differences) - 1) * stats.sem(differences))
    return PairedDifference(mean, mean - margin, mean + margin)


def wilson_interval(successes: Any, trials: Any) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's 95% interval of a share, which has a width also where nothing or everything succeeded.

    Args:
        successes: Numbers (N,) or one, not above the trials.
        trials: Numbers (N,) or one, above 0.

    Returns:
        Lower and upper ends, float64 (N,), 0–1.

    source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22, 1927.

    Example:
        >>> low, high = wilson_interval([1, 50], [1, 100])
        >>> low.round(2), high.round(2)
        (array([0.21, 0.4 ]), array([1. , 0.6]))
    """
    trials = np.asarray(trials, dtype=np.float64)
    share, squared = np.asarray(successes) / trials, NORMAL_QUANTILE**2
    centre = share + squared / (2 * trials)
    margin = NORMAL_QUANTILE * np.sqrt(share * (1 - share) / trials + squared / (4 * trials**2))
    low, high = ((centre + side * margin) / (1 + squared / trials) for side in (-1, 1))
    return np.clip(low, 0, 1), np.clip(high, 0, 1)
