"""Advice says what its own worth is known to be."""

from __future__ import annotations

from sublabel.advice import Validation
from sublabel.advice.validation import known_validation
from sublabel.evaluation import Interval


def test_without_evidence_it_says_that_its_worth_is_unknown():
    assert "unknown" in str(Validation())
    assert not Validation().predicts


def test_an_interval_that_holds_zero_says_that_the_ranking_foretells_nothing_and_what_does():
    validation = Validation(pooled=Interval(0.2, -0.1, 0.5), facts={"teacher's accuracy": 0.8})
    assert str(validation).startswith("This ranking does not predict full runs")
    assert "teacher's accuracy (0.80)" in str(validation)


def test_an_interval_above_zero_is_given_as_it_is():
    text = str(Validation(pooled=Interval(0.6, 0.3, 0.8)))
    assert "0.60 (95% interval 0.30 to 0.80)" in text
    assert "does not predict" not in text


def test_what_is_shipped_can_be_read():
    assert Validation.model_validate_json(known_validation().model_dump_json()) == known_validation()
