from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sublabel.errors import ConfigError
from sublabel.evaluation import Comparison, RunMetrics, paired_difference

figures = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8)


@given(pairs=figures)
def test_the_interval_equals_scipys_paired_t(pairs):
    ours, baseline = np.array(pairs).T
    result = paired_difference(ours, baseline)
    assert result.mean == pytest.approx((ours - baseline).mean())
    if np.std(ours - baseline) > 1e-6:
        interval = stats.ttest_rel(ours, baseline).confidence_interval(0.95)
        assert (result.low, result.high) == pytest.approx((interval.low, interval.high))


def test_one_seed_has_no_interval():
    assert paired_difference([0.5], [0.4]) is None


def test_different_seeds_are_not_paired():
    with pytest.raises(ConfigError, match="got 2 and 1 figures"):
        paired_difference([0.5, 0.6], [0.4])


def comparison(seeds=2, **changes):
    runs = [
        RunMetrics(
            row=row, seed=seed, top1=top1 + 0.01 * seed, top5=0.9, classes=classes, samples=1000, pool=1000
        )
        for seed in range(seeds)
        for row, top1, classes in (("weak-only", 0.70, 10), ("raw SPL", 0.72, 97))
    ]
    return Comparison(**{"runs": tuple(runs), "baseline": "weak-only", "test_samples": 5000, **changes})


def test_rows_are_means_over_seeds_with_paired_differences():
    weak, raw = comparison().rows()
    assert weak == ("weak-only", "10", "1,000", "70.5 ± 0.7", "90.0 ± 0.0", "–")
    assert raw[:4] == ("raw SPL", "97", "1,000", "72.5 ± 0.7")
    assert raw.versus == "+2.0 [+2.0, +2.0]"


def test_one_seed_is_called_what_it_is():
    single = comparison(seeds=1)
    assert single.rows()[1].versus == "+2.0"
    assert "one seed says nothing" in single.to_markdown()
    assert "standard error of one top-1 is about 0.6 points" in single.to_markdown()


def test_rows_on_other_seeds_are_refused():
    runs = comparison().runs[:-1]
    with pytest.raises(ConfigError, match="were run on different seeds"):
        comparison(runs=runs).rows()


def test_markdown_and_json_hold_every_row():
    made = comparison()
    lines = made.to_markdown().splitlines()
    assert lines[2] == "| " + " | ".join(made.rows()[0]) + " |"
    assert len({line.count("|") for line in lines[:4]}) == 1
    assert [row["pretraining"] for row in made.to_dict()["table"]] == ["weak-only", "raw SPL"]
