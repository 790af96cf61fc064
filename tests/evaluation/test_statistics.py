from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from sublabel.evaluation import holm, mcnemar, mean_interval, wilson_interval


def students_interval(values):
    """From its definition: the mean, and the quantile of t times the standard error on both sides."""
    spread = np.sqrt(np.sum((values - values.mean()) ** 2) / (len(values) - 1) / len(values))
    margin = stats.t.ppf(0.975, len(values) - 1) * spread
    return values.mean(), values.mean() - margin, values.mean() + margin


@given(values=st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_the_interval_of_a_mean_is_students(values):
    assert mean_interval(values) == pytest.approx(students_interval(np.array(values)), abs=1e-9)


def test_one_seed_has_no_interval():
    assert mean_interval([0.5]) is None


def binomial_tail(only_ours, only_theirs):
    """Twice the smaller tail of as many tosses of a fair coin, summed one by one."""
    tosses = only_ours + only_theirs
    tail = sum(math.comb(tosses, heads) for heads in range(min(only_ours, only_theirs) + 1)) / 2**tosses
    return min(1.0, 2 * tail)


@given(answers=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_mcnemars_test_is_tosses_of_a_coin_where_two_models_differ(answers):
    ours, theirs = np.array(answers).T
    expected = binomial_tail(int(np.sum(ours & ~theirs)), int(np.sum(theirs & ~ours)))
    assert mcnemar(ours, theirs) == pytest.approx(expected)
    assert mcnemar(theirs, ours) == pytest.approx(expected)


def closed_tests(p_values):
    """Holm's p values as what they are: the largest Bonferroni p of all sets of tests that hold the test."""
    tests = range(len(p_values))
    sets = [chosen for size in tests for chosen in itertools.combinations(tests, size + 1)]
    return [
        max(
            min(1.0, len(chosen) * min(p_values[place] for place in chosen))
            for chosen in sets
            if test in chosen
        )
        for test in tests
    ]


@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holms_correction_is_the_closed_test_of_bonferronis(p_values):
    corrected, needed = holm(p_values)
    assert corrected == pytest.approx(closed_tests(p_values))
    # An interval of that confidence leaves out 0 where the plain p value is below what is left of it.
    for p, p_corrected, confidence in zip(p_values, corrected, needed, strict=True):
        assume(abs(p_corrected - 0.05) > 1e-9)
        assert (p < 1 - confidence) == (p_corrected < 0.05)


@given(
    trials=st.integers(1, 10_000), share=st.floats(0, 1), confidence=st.sampled_from([0.5, 0.9, 0.95, 0.99])
)
def test_wilsons_interval_equals_scipys(trials, share, confidence):
    successes = round(share * trials)
    expected = stats.binomtest(successes, trials).proportion_ci(confidence, "wilson")
    assume(np.isfinite(expected.low))
    assert wilson_interval(successes, trials, confidence=confidence) == pytest.approx(expected, abs=1e-9)
