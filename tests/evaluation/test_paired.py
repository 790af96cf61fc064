from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sublabel.errors import ConfigError
from sublabel.evaluation import paired, paired_mean, ratio_interval


def answers(generator, seeds, samples, *, gain=0.0, by_seed=0.0, by_sample=0.0, hardness=1.0):
    """What one row has more than another: models whose skill varies with the seed, gain with the sample."""
    ease = generator.normal(0.5, hardness, samples)
    own = generator.normal(0, by_sample, samples)
    right = []
    for sign in (1, -1):
        skill = generator.normal(0, by_seed / np.sqrt(2), (seeds, 1))
        score = ease + sign * (gain + own) / 2 + skill
        right.append(score + generator.normal(0, 1, (seeds, samples)) > 0)
    return right[0].astype(np.int8) - right[1]


def one_block(differences, random_seed=0):
    return paired_mean([differences], [np.arange(differences.shape[1])], random_seed=random_seed)


def variance_by_anova(table):
    """Of the grand mean of a table of seeds × samples, both drawn: from its textbook mean squares."""
    seeds, samples = table.shape
    rows, columns, grand = table.mean(1), table.mean(0), table.mean()
    of_rows = samples * np.sum((rows - grand) ** 2) / (seeds - 1)
    of_columns = seeds * np.sum((columns - grand) ** 2) / (samples - 1)
    left = table - rows[:, None] - columns[None] + grand
    of_both = np.sum(left**2) / ((seeds - 1) * (samples - 1))
    return (of_rows + of_columns - of_both) / (seeds * samples)


@pytest.mark.parametrize("seeds", [2, 5])
def test_the_variance_is_that_of_two_crossed_factors(seeds):
    table = answers(np.random.default_rng(1), seeds, 2000, by_seed=0.2, by_sample=1.0).astype(float)
    found = one_block(table)
    assert found.standard_error**2 == pytest.approx(variance_by_anova(table), rel=0.03)
    assert found.mean == pytest.approx(table.mean())


@given(pairs=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8))
def test_without_single_answers_it_is_the_paired_t_test(pairs):
    ours, theirs = np.array(pairs).T
    differences = ours - theirs
    if np.ptp(differences) < 1e-3:
        return
    found, expected = one_block(differences[:, None]), stats.ttest_rel(ours, theirs)
    assert found.interval()[1:] == pytest.approx(tuple(expected.confidence_interval()), abs=1e-9)
    assert found.p_value == pytest.approx(expected.pvalue, abs=1e-9)


def test_equal_differences_have_an_interval_without_width():
    found = one_block(np.full((2, 1), 0.25))
    assert found.interval() == pytest.approx((0.25, 0.25, 0.25), abs=1e-9)


def brute_force(blocks, samples, draws, generator):
    """Draws seeds within each data set and samples of all, one by one, with replacement."""
    numbers = np.unique(np.concatenate(samples))
    found = []
    for _ in range(draws):
        often = np.bincount(generator.choice(numbers, len(numbers)), minlength=numbers.max() + 1)
        of_data = []
        for block, own in zip(blocks, samples, strict=True):
            rows = block[generator.integers(0, len(block), len(block))]
            of_data.append(np.average(rows.mean(0), weights=often[own]))
        found.append(np.mean(of_data))
    return np.array(found)


@pytest.mark.parametrize("overlap", [0, 150, 300])
def test_it_is_a_bootstrap_of_seeds_and_samples_where_there_are_many_of_both(overlap):
    generator = np.random.default_rng(2)
    samples = [np.arange(300), np.arange(300) + 300 - overlap]
    # Without an interaction of the two, which a bootstrap of both counts twice.
    of_sample = generator.normal(0, 0.3, 600)
    blocks = [0.02 + generator.normal(0, 0.1, (40, 1)) + of_sample[own] for own in samples]
    drawn = brute_force(blocks, samples, 2500, generator)
    found = paired_mean(blocks, samples)
    assert found.standard_error == pytest.approx(drawn.std(), rel=0.06)
    expected = np.quantile(drawn, [0.025, 0.975])
    assert found.interval()[1:] == pytest.approx(expected, abs=0.1 * np.ptp(expected))


SPREADS = {
    "seeds hardly differ": {"by_seed": 0.0, "by_sample": 0.0},
    "seeds differ": {"by_seed": 0.25, "by_sample": 0.2},
    "samples differ": {"by_seed": 0.03, "by_sample": 1.0},
}


@pytest.mark.parametrize("spread", SPREADS.values(), ids=SPREADS)
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_95_percent_intervals_hold_the_truth_95_times_of_100(seeds, spread, monkeypatch):
    monkeypatch.setattr(paired, "RESAMPLES", 300)
    generator, trials = np.random.default_rng(seeds), 400
    holds = [one_block(answers(generator, seeds, 300, **spread)).p_value >= 0.05 for _ in range(trials)]
    assert 0.92 <= np.mean(holds) <= 0.98


@pytest.mark.parametrize(
    ("data_sets", "seeds", "is_one_test_set"), [(2, 5, False), (2, 5, True), (5, 1, True), (6, 2, False)]
)
def test_so_they_do_over_several_data_sets(data_sets, seeds, is_one_test_set, monkeypatch):
    monkeypatch.setattr(paired, "RESAMPLES", 300)
    generator, trials, holds = np.random.default_rng(0), 300, 0
    for _ in range(trials):
        own = generator.normal(0, 1.0, 200) if is_one_test_set else None
        blocks, samples = [], []
        for number in range(data_sets):
            each = generator.normal(0, 1.0, 200) if own is None else own
            score = [
                generator.normal(0.5 + sign * each / 2 + generator.normal(0, 0.1, (seeds, 1)), 1) > 0
                for sign in (1, -1)
            ]
            blocks.append(score[0].astype(np.int8) - score[1])
            samples.append(np.arange(200) + (0 if is_one_test_set else 200 * number))
        holds += paired_mean(blocks, samples).p_value >= 0.05
    assert 0.92 <= holds / trials <= 0.98


def test_data_sets_are_replicates_where_there_are_many_or_one_seed():
    generator = np.random.default_rng(0)

    def made(data_sets, seeds):
        blocks = [answers(generator, seeds, 50) for _ in range(data_sets)]
        found = paired_mean(blocks, [np.arange(50)] * data_sets)
        return found.unit, found.replicates, found.freedom

    assert made(1, 4) == ("seed", 4, 3)
    assert made(4, 3) == ("seed", 3, 8)
    assert made(5, 3) == ("data set", 5, 4)
    assert made(3, 1) == ("data set", 3, 2)


blocks = st.integers(0, 2**32 - 1).map(
    lambda seed: answers(np.random.default_rng(seed), 4, 40, gain=0.3, by_seed=0.2, by_sample=0.5)
)


@given(table=blocks, order=st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_neither_the_order_of_seeds_nor_that_of_samples_matters(table, order):
    rows, columns = list(range(table.shape[0])), list(range(table.shape[1]))
    order.shuffle(rows)
    order.shuffle(columns)
    again = one_block(table[np.ix_(rows, columns)])
    assert again.interval() == pytest.approx(one_block(table).interval(), abs=1e-5)


@given(table=blocks, confidence=st.sampled_from([0.5, 0.9, 0.95, 0.99]))
@settings(max_examples=25, deadline=None)
def test_an_interval_leaves_out_0_just_where_p_is_small(table, confidence):
    found = one_block(table)
    _, low, high = found.interval(confidence)
    assert low <= found.mean <= high
    if abs(found.p_value - (1 - confidence)) > 1e-4:
        assert (low > 0 or high < 0) == (found.p_value < 1 - confidence)


@given(table=blocks)
@settings(max_examples=25, deadline=None)
def test_turned_round_it_is_the_same_difference(table):
    found, turned = one_block(table), one_block(-table)
    assert turned.mean == pytest.approx(-found.mean)
    width = np.ptp(found.interval()[1:])
    assert turned.interval()[1:] == pytest.approx(
        (-found.interval()[2], -found.interval()[1]), abs=width / 20
    )


def test_a_row_against_itself_differs_by_nothing():
    found = one_block(np.zeros((3, 50)))
    assert found.interval() == pytest.approx((0, 0, 0), abs=1e-9)
    assert found.p_value == 1


def test_a_detectable_difference_is_shown_four_times_of_five(monkeypatch):
    monkeypatch.setattr(paired, "RESAMPLES", 300)
    generator = np.random.default_rng(0)
    spread = {"by_seed": 0.2, "by_sample": 0.5}
    found = [one_block(answers(generator, 10, 300, **spread)) for _ in range(300)]
    least = np.mean([each.detectable() for each in found[:100]])
    shown = [replace(each, mean=each.mean + least).p_value < 0.05 for each in found]
    assert 0.75 < np.mean(shown) < 0.85


def test_as_many_seeds_show_a_difference_as_are_said_and_no_fewer():
    found = one_block(answers(np.random.default_rng(3), 3, 4000, by_seed=0.1))
    needed = found.replicates_to_show(0.02)
    assert needed > 3
    assert found.with_replicates(needed).detectable() <= 0.02
    assert found.with_replicates(needed - 1).detectable() > 0.02
    assert found.replicates_to_show(1.0) == 3
    few = one_block(answers(np.random.default_rng(3), 3, 50, by_sample=2.0))
    assert few.replicates_to_show(0.01) is None


def test_the_share_of_a_distance_is_held_95_times_of_100(monkeypatch):
    monkeypatch.setattr(paired, "RESAMPLES", 400)
    generator, holds, trials = np.random.default_rng(5), 0, 300
    for _ in range(trials):
        ease = generator.normal(0, 1, 400)
        base, part, whole = (
            (ease + gain + generator.normal(0, 0.1, (4, 1)) + generator.normal(0, 1, (4, 400))) > 0
            for gain in (0, 0.25, 0.5)
        )
        truth = (stats.norm.cdf(0.25 / np.sqrt(2.01)) - 0.5) / (stats.norm.cdf(0.5 / np.sqrt(2.01)) - 0.5)
        found = ratio_interval([part * 1 - base * 1], [whole * 1 - base * 1], [np.arange(400)])
        holds += found.low <= truth <= found.high
    assert 0.92 <= holds / trials <= 0.98


def test_the_whole_of_a_distance_is_all_of_it():
    table = answers(np.random.default_rng(0), 3, 400, gain=1.0)
    assert ratio_interval([table], [table], [np.arange(400)]) == pytest.approx((1, 1, 1))


def test_what_is_not_two_runs_of_each_data_set_is_refused():
    with pytest.raises(ConfigError, match="got 1 paired runs of 1 data sets; an interval needs two runs"):
        paired_mean([np.zeros((1, 5))], [np.arange(5)])
    with pytest.raises(ConfigError, match="got 2, 3 paired runs of 2 data sets; .*equally many"):
        paired_mean([np.zeros((2, 5)), np.zeros((3, 5))], [np.arange(5)] * 2)


def test_runs_that_agree_by_chance_are_not_sure():
    """Two data sets of one seed: both gain five of a thousand samples, by other ones."""
    difference = np.zeros((2, 1, 1000), dtype=int)
    for block, (wins, losses) in zip(
        difference, ((slice(0, 30), slice(30, 55)), (slice(200, 230), slice(230, 255))), strict=True
    ):
        block[0, wins], block[0, losses] = 1, -1
    found = paired_mean(list(difference), [np.arange(1000)] * 2)
    assert found.mean == pytest.approx(0.005)
    assert found.interval().low < 0 < found.interval().high
