from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from sublabel.errors import ConfigError
from sublabel.evaluation import mean_interval, paired_difference, wilson_interval

figures = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8)


def students_interval(values):
    """From its definition: the mean, and the quantile of t times the standard error on both sides."""
    spread = np.sqrt(np.sum((values - values.mean()) ** 2) / (len(values) - 1) / len(values))
    margin = stats.t.ppf(0.975, len(values) - 1) * spread
    return values.mean(), values.mean() - margin, values.mean() + margin


@given(pairs=figures)
def test_the_paired_interval_is_that_of_the_mean_difference(pairs):
    ours, baseline = np.array(pairs).T
    assert paired_difference(ours, baseline) == pytest.approx(students_interval(ours - baseline), abs=1e-9)


@given(values=st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_the_interval_of_a_mean_is_students(values):
    assert mean_interval(values) == pytest.approx(students_interval(np.array(values)), abs=1e-9)


def test_equal_differences_have_an_interval_without_width():
    assert paired_difference([0.75, 0.5], [0.5, 0.25]) == (0.25, 0.25, 0.25)
    assert paired_difference([0.5, 0.5], [0.5, 0.5]) == (0, 0, 0)


def test_one_seed_has_no_interval():
    assert paired_difference([0.5], [0.4]) is None
    assert mean_interval([0.5]) is None


def test_different_seeds_are_not_paired():
    with pytest.raises(ConfigError, match="got 2 and 1 figures"):
        paired_difference([0.5, 0.6], [0.4])


@given(
    trials=st.integers(1, 10_000), share=st.floats(0, 1), confidence=st.sampled_from([0.5, 0.9, 0.95, 0.99])
)
def test_wilsons_interval_equals_scipys(trials, share, confidence):
    successes = round(share * trials)
    expected = stats.binomtest(successes, trials).proportion_ci(confidence, "wilson")
    assume(np.isfinite(expected.low))
    assert wilson_interval(successes, trials, confidence=confidence) == pytest.approx(expected, abs=1e-9)
