from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from sublabel.options import RunOptions, TrainOptions

MODELS = [TrainOptions, RunOptions]


@pytest.mark.parametrize("model", MODELS)
def test_every_option_says_what_it_is(model):
    assert [name for name, field in model.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("model", MODELS)
def test_options_are_frozen_and_unknown_ones_refused(model):
    with pytest.raises(ValidationError, match="frozen"):
        setattr(model(), next(iter(model.model_fields)), 1)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        model(learning_rates=0.1)


def test_what_decides_a_result_is_no_option_of_how_it_is_run():
    assert not TrainOptions.model_fields.keys() & RunOptions.model_fields.keys()


@pytest.mark.parametrize(
    "values", [{"warmup": 1.0}, {"gradient_clip": 0.0}, {"steps": 0}, {"momentum": 1.0}, {"schedule": "step"}]
)
def test_values_out_of_range_are_refused(values):
    with pytest.raises(ValidationError, match=next(iter(values))):
        TrainOptions(**values)


def test_options_are_made_without_torch():
    code = "import sys, sublabel.options; print([n for n in ('torch', 'lightning') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
