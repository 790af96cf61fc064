"""Intervals over seeds and over test samples (ours, not the paper's: see METHOD's controls)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

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


def mcnemar(ours: Any, theirs: Any) -> float:
    """McNemar's exact test of two models on the same samples: the p value of being right equally often.

    It is about these two models only: what other trainings of either would do, it does not know.

    Args:
        ours: Whether the one model is right, bool (N,).
        theirs: Whether the other one is, bool (N,).

    source: McNemar, "Note on the sampling error of the difference between correlated proportions",
        Psychometrika 12, 1947.

    Example:
        >>> mcnemar([True, True, True, True, True, False], [False, False, False, False, False, False])
        0.0625
    """
    ours, theirs = np.asarray(ours, dtype=bool), np.asarray(theirs, dtype=bool)
    only_ours, only_theirs = int(np.sum(ours & ~theirs)), int(np.sum(theirs & ~ours))
    if only_ours + only_theirs == 0:
        return 1.0
    return float(stats.binomtest(only_ours, only_ours + only_theirs).pvalue)


def holm(p_values: Sequence[float], *, confidence: float = CONFIDENCE) -> tuple[list[float], list[float]]:
    """Holm's correction of several tests: no wrong claim among all of them, 95 times of 100.

    Args:
        p_values: One of each test, (M,).
        confidence: Of all claims together, in (0, 1).

    Returns:
        The corrected p values, (M,), and the confidence that an interval of each test must have, (M,), so
        that it leaves out no difference just where the test is passed.

    source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
        Statistics 6, 1979; of intervals: Serlin, "Confidence intervals and the scientific method: a case for
        Holm on the range", Journal of Experimental Education 61, 1993.

    Example:
        >>> holm([0.01, 0.04])
        ([0.02, 0.04], [0.975, 0.95])
    """
    tests = len(p_values)
    corrected, needed = [1.0] * tests, [confidence] * tests
    highest, passed = 0.0, 0
    for rank, place in enumerate(np.argsort(p_values, kind="stable").tolist()):
        highest = max(highest, min(1.0, (tests - rank) * p_values[place]))
        corrected[place] = highest
        needed[place] = 1 - (1 - confidence) / (tests - passed)
        # The first test that is not passed ends the steps: all after it are held to its level.
        passed += highest < 1 - confidence
    return corrected, needed


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
