from __future__ import annotations

import numpy as np
import pytest

from sublabel.errors import ConfigError
from sublabel.evaluation import Outcomes, RunKey

NAMES = ("weak-only", "seed/of <b>\n all", "none (scratch)")


def outcomes(data=("",), samples=7, seeds=2):
    generator = np.random.default_rng(0)
    ids = {name: [f"{name}{number}" for number in range(samples)] for name in data}
    keys = [RunKey(name, row, seed) for name in data for row in NAMES for seed in range(seeds)]
    return Outcomes(ids, {key: generator.random(samples) < 0.5 for key in keys})


@pytest.mark.parametrize("data", [("",), ("draw 0", "draw 1")])
def test_what_is_written_is_read_back(tmp_path, data):
    made = outcomes(data)
    made.save(tmp_path / "o.parquet")
    assert Outcomes.load(tmp_path / "o.parquet") == made
    assert made != outcomes(data, samples=6)


def test_a_sample_of_two_data_sets_has_one_number():
    made = Outcomes({"a": ["x", "y"], "b": ["z", "x"]}, {})
    assert made.positions["a"][0] == made.positions["b"][1]
    assert len({*made.positions["a"], *made.positions["b"]}) == 3


def test_outcomes_of_several_data_sets_are_joined_under_their_names():
    one, other = outcomes().renamed("a"), outcomes(seeds=1).renamed("b")
    both = Outcomes.joined([one, other])
    assert list(both.sample_ids) == ["a", "b"]
    assert both.correct.keys() == one.correct.keys() | other.correct.keys()


def test_outcomes_of_other_samples_are_refused():
    with pytest.raises(ConfigError, match="'raw SPL', seed 3, has 2 outcomes; expected one for each of"):
        Outcomes({"": ["x"]}, {RunKey("", "raw SPL", 3): np.array([True, False])})
