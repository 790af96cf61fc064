"""Every sentence that a comparison may end in is true of the runs that it is about."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.made import NONE, compared

EQUAL = {"weak-only": 0.7, "teacher-only": 0.7, "raw SPL": 0.7}
BETTER = {"weak-only": 0.7, "teacher-only": 0.701, "raw SPL": 0.75}


def remarks(found):
    return "\n".join(found.verdict().remarks)


def test_a_strategy_that_helped_is_named_with_its_interval():
    found = compared(BETTER)
    sentence = found.verdict().sentence
    pattern = (
        r"raw SPL \+(\d\.\d) over weak-only, 95% interval (\S+) to (\S+) \(Holm-corrected\), "
        "5 seeds: it helped here"
    )
    mean, low, high = map(float, re.fullmatch(pattern, sentence).groups())
    interval = found.corrected["raw SPL"].interval
    assert (mean, low, high) == pytest.approx([100 * value for value in interval], abs=0.05)
    assert "raw SPL is the best of 2 on the test samples themselves" in remarks(found)
    assert "raw SPL is also shown to be better than teacher-only" in remarks(found)


def test_the_difference_of_any_two_rows_can_be_asked_for():
    found = compared(BETTER)
    difference = found.difference("raw SPL", "teacher-only")
    assert difference.mean == pytest.approx(found.top1("raw SPL") - found.top1("teacher-only"))
    assert difference.interval().low > 0
    assert found.difference("raw SPL", "raw SPL").interval() == pytest.approx((0, 0, 0), abs=1e-9)
    assert found.difference("raw SPL", "raw SPL").p_value == 1


def test_where_nothing_is_shown_it_is_said_what_would_show_it():
    found = compared(EQUAL, seeds=3, samples=4000)
    sentence = found.verdict().sentence
    assert sentence.startswith("no gain over weak-only that 3 seeds can show (the best, ")
    assert sentence.endswith(("would show 1 point", "would have been shown"))
    assert "helped" not in sentence
    few = compared(EQUAL, seeds=3, samples=40)
    assert few.verdict().sentence.endswith("; even 100 seeds would not show 1 point on these test samples")


def test_what_hurts_is_said_to_hurt():
    one = compared({"weak-only": 0.75, "raw SPL": 0.7})
    assert re.search(r"raw SPL -\d\.\d over weak-only, .*5 seeds: it hurt here$", one.verdict().sentence)
    both = compared({"weak-only": 0.75, "raw SPL": 0.7, "SPL-B": 0.65})
    assert both.verdict().sentence.endswith("all 2 strategies hurt here, it the least")
    mixed = compared({"weak-only": 0.75, "raw SPL": 0.75, "SPL-B": 0.65})
    assert mixed.verdict().sentence.startswith("no gain over weak-only")
    assert re.search(r"shown to be worse than weak-only: SPL-B -\d", remarks(mixed))


def test_one_seed_says_only_how_two_models_differ():
    better, equal = compared(BETTER, seeds=1), compared(EQUAL, seeds=1)
    assert re.match(
        r"the model of raw SPL is right more often than that of weak-only, \+\d\.\d .*McNemar's p <0\.001",
        better.verdict().sentence,
    )
    assert equal.verdict().sentence.startswith(
        "no model is shown to be right more often than that of weak-only"
    )
    for found in (better, equal, compared(BETTER, seeds=1, known=False)):
        assert "one seed cannot show more" in found.verdict().sentence
        assert "helped" not in str(found.verdict())
        assert found.difference("raw SPL", "weak-only").interval() is None
    assert "McNemar" not in str(compared(BETTER, seeds=1, known=False).verdict())


def test_without_another_row_or_a_baseline_nothing_is_compared():
    alone = compared({None: 0.6, "weak-only": 0.7})
    assert alone.verdict().sentence == "only weak-only was run: no strategy was compared with it"
    assert compared({"raw SPL": 0.7}).verdict().sentence.startswith("weak-only was not run")


@pytest.mark.parametrize(
    ("none", "said"),
    [
        (0.6, None),
        (0.7, "weak-only itself is not shown to be better than no weak pre-training"),
        (0.8, "no weak pre-training at all is better than weak-only"),
    ],
)
def test_weak_labels_that_are_of_no_use_are_named(none, said):
    found = remarks(compared({None: none, **BETTER}))
    assert ("pre-training" in found) == (said is not None)
    assert said is None or said in found
    assert NONE not in compared({None: 0.9, **BETTER}).verdict().sentence


@pytest.mark.parametrize(
    ("control", "said"),
    [
        (0.70, "its gain is not that of so many classes alone"),
        (0.75, "as many classes with shuffled samples may do as well"),
        (0.80, "as many classes with shuffled samples do better"),
    ],
)
def test_a_control_says_whether_it_is_the_number_of_classes(control, said):
    found = compared({**BETTER, "matched control": control}, controls={"matched control": "raw SPL"})
    assert found.verdict().sentence.startswith("raw SPL")
    assert said in remarks(found)


def test_rivals_that_the_best_does_not_beat_are_named():
    found = compared({**BETTER, "agreement": 0.7495}, controls={})
    best = found.verdict().sentence.split(" +")[0]
    other = ({"raw SPL", "agreement"} - {best}).pop()
    assert f"{best} is not shown to be better than {other}" in remarks(found)


def test_the_oracle_is_the_ceiling_and_never_wins():
    found = compared({**BETTER, "oracle": 0.8}, oracle="oracle")
    assert found.verdict().sentence.startswith("raw SPL")
    assert re.search(
        r"oracle, .* is \+\S+ over weak-only; raw SPL closes \d\d% \(\d\d to \d\d\)", remarks(found)
    )
    closed = found.closed["raw SPL"]
    gains = [found.top1(row) - found.top1("weak-only") for row in ("raw SPL", "oracle")]
    assert closed.mean == pytest.approx(gains[0] / gains[1])
    assert closed.low < 0.5 < closed.high
    assert list(found.closed) == ["teacher-only", "raw SPL"]
    assert found.to_pandas().loc["raw SPL", "closed_low"] == closed.low
    assert any(
        re.search(r"to oracle, .*: teacher-only -?\d+% .*, raw SPL \d\d% \(", note) for note in found.notes()
    )
    # It is not one of the rows that are corrected for.
    assert found.corrected["raw SPL"].p_value == compared(BETTER).corrected["raw SPL"].p_value
    without = compared({**BETTER, "oracle": 0.7}, oracle="oracle")
    assert "which is not shown to be above it" in remarks(without)
    assert without.closed == compared(BETTER).closed == {}


def test_what_validation_chooses_is_said_with_its_difference_on_the_test():
    chosen = {"weak-only": 0.6, "teacher-only": 0.8, "raw SPL": 0.7}
    found = compared(BETTER, validation=chosen)
    assert re.search(
        r"target_val chooses teacher-only: \S+ over weak-only on the test samples, .*not corrected",
        remarks(found),
    )
    assert "the best of" not in remarks(found)
    itself = compared(BETTER, validation={**chosen, "weak-only": 0.9})
    assert "target_val chooses weak-only itself" in remarks(itself)
    assert any("top-1 on target_val" in note and "teacher-only 80.0" in note for note in found.notes())


def untrained(accuracy, largest=0.1, samples=10_000):
    return {"pretrain_accuracy": accuracy, "largest_class": largest, "samples": samples}


def test_a_row_that_did_not_learn_its_own_labels_is_marked():
    facts = {"raw SPL": untrained(0.103), "weak-only": untrained(0.5)}
    found = compared(BETTER, facts=facts)
    assert "raw SPL has not learned the labels that it was pre-trained on" in remarks(found)
    assert found.verdict().sentence.endswith("– but raw SPL did not learn the pre-training labels, see below")
    assert "raw SPL †" in found.to_markdown()
    assert "†" not in compared(BETTER, facts={"raw SPL": untrained(0.2)}).to_markdown()


def test_a_baseline_at_chance_is_no_baseline():
    found = compared({"weak-only": 0.3, "raw SPL": 0.5}, chance=0.3)
    assert found.verdict().sentence.startswith("weak-only is at chance after fine-tuning")
    assert "helped" not in str(found.verdict())
    assert compared({"weak-only": 0.4, "raw SPL": 0.5}, chance=0.3).verdict().sentence.endswith("helped here")


def test_data_sets_are_said_one_by_one_and_what_the_interval_is_about():
    few = compared(BETTER, data=("a", "b"))
    assert "2 data sets × 5 seeds: it helped here" in few.verdict().sentence
    assert re.search(
        r"raw SPL by data set: \S+ on a, \S+ on b; intervals are about these 2 data sets", remarks(few)
    )
    many = compared(BETTER, data="abcde", seeds=2)
    assert "intervals are about other data sets of their kind too" in remarks(many)


@given(
    skills=st.lists(st.sampled_from([0.65, 0.69, 0.7, 0.71, 0.75]), min_size=1, max_size=4),
    seeds=st.integers(1, 4),
    random_seed=st.integers(0, 10_000),
    known=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_nothing_is_claimed_where_the_interval_holds_0(skills, seeds, random_seed, known):
    rows = {"weak-only": 0.7, **{f"row {number}": skill for number, skill in enumerate(skills)}}
    found = compared(rows, seeds, 300, random_seed=random_seed, known=known)
    sentence = found.verdict().sentence
    if "helped" in sentence:
        best = found.corrected[re.match(r"row \d", sentence).group()]
        assert best.interval.low > 0
        assert best.p_value < 0.05
    else:
        assert not any(each.is_above for each in found.corrected.values())
    if "hurt" in sentence:
        assert all(each.is_below for each in found.corrected.values())


@given(order=st.permutations(list(BETTER)))
@settings(max_examples=6, deadline=None)
def test_the_order_of_runs_does_not_matter(order):
    found = compared(BETTER)
    runs = sorted(found.runs, key=lambda run: order.index(run.row), reverse=True)
    again = found.model_copy(update={"runs": tuple(runs)})
    assert again.verdict().sentence == found.verdict().sentence
