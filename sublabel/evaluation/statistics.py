"""Intervals over seeds and over test samples (ours, not the paper's: see METHOD's controls)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from sublabel.errors import ConfigError

CONFIDENCE = 0.95
"""Coverage of every interval, two-sided."""


class Interval(NamedTuple):
    """A mean and the two-sided confidence interval around it."""

    mean: float
    low: float
    high: float


def mean_interval(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval | None:
    """Mean over seeds with its interval by Student's t.

    Args:
        values: One figure for each seed, (S,).
        confidence: Coverage of the interval, in (0, 1).

    Returns:
        Mean and interval; None for a single seed, which says nothing about the spread.

    Example:
        >>> mean_interval([0.70, 0.72, 0.74])
        Interval(mean=0.72..., low=0.670..., high=0.769...)
    """
    if len(values) < 2:
        return None
    with _figures_may_be_equal():
        low, high = stats.ttest_1samp(values, 0.0).confidence_interval(confidence)
    return Interval(float(np.mean(values)), float(low), float(high))


def paired_difference(
    ours: Sequence[float], baseline: Sequence[float], *, confidence: float = CONFIDENCE
) -> Interval | None:
    """Mean difference of two methods over the same seeds, with its interval by a paired Student's t.

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
    with _figures_may_be_equal():
        low, high = stats.ttest_rel(ours, baseline).confidence_interval(confidence)
    return Interval(float(np.mean(np.subtract(ours, baseline))), float(low), float(high))


def wilson_interval(
    successes: Any, trials: Any, *, confidence: float = CONFIDENCE
) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval of a share, which has a width also where nothing or everything succeeded.

    Args:
        successes: Numbers (N,) or one, not above the trials.
        trials: Numbers (N,) or one, above 0.
        confidence: Coverage of the interval, in (0, 1).

    Returns:
        Lower and upper ends, float64 (N,), 0–1.

    source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22, 1927.

    Example:
        >>> low, high = wilson_interval([1, 50], [1, 100])
        >>> low.round(2), high.round(2)
        (array([0.21, 0.4 ]), array([1. , 0.6]))
    """
    # scipy's `binomtest(...).proportion_ci(method="wilson")` takes one share at a time, and its exact test
    # first: 0.1 to 0.3 ms each, half a minute for the 100,000 classes of a large matrix.
    trials = np.asarray(trials, dtype=np.float64)
    quantile = stats.norm.ppf((1 + confidence) / 2)
    share, squared = np.asarray(successes) / trials, quantile**2
    centre = share + squared / (2 * trials)
    margin = quantile * np.sqrt(share * (1 - share) / trials + squared / (4 * trials**2))
    low, high = ((centre + side * margin) / (1 + squared / trials) for side in (-1, 1))
    return np.clip(low, 0, 1), np.clip(high, 0, 1)


@contextmanager
def _figures_may_be_equal() -> Iterator[None]:
    """Without scipy's warning of t values: equal figures have none, but an interval of width 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield
