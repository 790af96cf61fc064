"""Advice finds what was planted, refuses what does not belong together, and is the same each time."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import sublabel as sl
from sublabel.advice import advise
from sublabel.advice.features import reduced, standardised
from tests.advice.planted import BRIEF, CLASSES, QUICK, plant

RIVALS = {"teacher-only": sl.TeacherOnly(), "raw SPL": sl.RawSPL()}


@pytest.fixture(scope="module")
def knowing():
    """Queries that bring all concepts alike, and a teacher that tells them apart."""
    planted = plant(weak_knows=0.0, teacher_knows=True)
    return planted, advise(
        *planted.arguments, teacher_features=planted.teacher, strategies=RIVALS, options=QUICK
    )


def gains(advice):
    return {prospect.name: prospect.gain for prospect in advice.prospects if prospect.gain}


def test_spl_is_ranked_above_queries_whose_sub_concepts_the_teacher_tells_apart(knowing):
    _, advice = knowing
    order = [prospect.name for prospect in advice.prospects]
    assert order.index("raw SPL") < order.index("weak-only")
    assert gains(advice)["raw SPL"].low > 0
    assert "the strategy to try first" in advice.verdict


def test_nothing_is_promised_where_the_weak_labels_know_all_and_the_teacher_nothing():
    planted = plant(weak_knows=1.0, teacher_knows=False)
    advice = advise(*planted.arguments, teacher_features=planted.teacher, strategies=RIVALS, options=QUICK)
    assert gains(advice)["teacher-only"].high < 0
    assert gains(advice)["raw SPL"].low < 0
    assert "No strategy gains on weak-only" in advice.verdict


def test_a_teacher_that_learned_the_tested_samples_by_heart_does_not_flatter_itself():
    # The labels have nothing to do with the features: whoever is right has been told.
    planted = plant(weak_knows=0.0, teacher_knows=False)
    generator = np.random.default_rng(1)
    labels = generator.permutation(planted.labels)
    shown = generator.integers(len(labels), size=len(planted.pairs))
    weak = planted.clean[shown] + generator.normal(size=planted.weak.shape).astype(np.float32) / 10
    names = list(CLASSES)
    pairs = sl.Pairs(planted.pairs.weak, labels[shown], weak_vocabulary=names, teacher_vocabulary=names)
    told, honest = (
        advise(pairs, weak, planted.clean, labels, strategies=RIVALS, options=QUICK, unseen=tested)
        for tested in (np.ones(len(labels), dtype=bool), None)
    )
    assert gains(told)["teacher-only"].low > 0
    assert gains(honest)["teacher-only"].low < 0
    assert honest.stand_ins
    assert any("flatter" in note for note in honest.notes())


def test_only_samples_that_the_teacher_has_not_seen_are_tested_where_they_are_named(knowing):
    planted, _ = knowing
    unseen = np.arange(len(planted.labels)) < 30
    advice = advise(*planted.arguments, unseen=unseen, strategies=RIVALS, options=BRIEF)
    assert (advice.tested, advice.stand_ins) == (30, False)
    assert not any("flatter" in note for note in advice.notes())


def test_the_same_seed_gives_the_same_advice_and_leaves_the_callers_draws_alone(knowing):
    planted, _ = knowing
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, again, other = (
        advise(*planted.arguments, strategies=RIVALS, options=BRIEF.model_copy(update={"seed": seed}))
        for seed in (0, 0, 1)
    )
    assert torch.equal(torch.rand(3), expected)
    assert again.to_dict() == first.to_dict()
    assert other.to_dict() != first.to_dict()


def test_facts_agree_with_what_was_planted(knowing):
    planted, advice = knowing
    facts, pairs = advice.facts, planted.pairs
    table = np.zeros((4, 4))
    np.add.at(table, (pairs.weak, pairs.teacher), 1 / len(pairs))
    independent = np.outer(table.sum(1), table.sum(0))
    assert facts.agreement == pytest.approx(np.trace(table))
    assert facts.label_information == pytest.approx((table * np.log2(table / independent)).sum(), abs=1e-9)
    assert facts.row_entropy == pytest.approx(2, abs=0.01)
    assert min(facts.probe_accuracy, facts.probe_agreement, facts.steadiness) > 0.99
    assert facts.chance_steadiness == pytest.approx((table.sum(0) ** 2).sum(), abs=0.01)


def test_probes_that_know_nothing_are_no_steadier_than_chance():
    planted = plant(weak_knows=1.0, teacher_knows=False)
    advice = advise(*planted.arguments, teacher_features=planted.teacher, strategies={}, options=BRIEF)
    facts = advice.facts
    assert facts.steadiness == pytest.approx(facts.chance_steadiness, abs=0.1)
    assert facts.probe_accuracy < 0.5
    assert "There is no strategy" in advice.verdict


def test_every_kind_of_target_is_tried_and_what_cannot_be_tried_says_why(knowing):
    planted, _ = knowing
    rows = {
        "two heads": sl.TwoHead(),
        "agreement": sl.AgreementFilter(),
        "control": sl.MatchedControl(of=sl.RawSPL()),
        "top-k": sl.TopKSPL(),
    }
    advice = advise(*planted.arguments, strategies=rows, options=BRIEF)
    # The teacher's predictions came without probabilities.
    assert list(advice.left_out) == ["top-k"]
    assert "probabilities" in advice.left_out["top-k"]
    found = {prospect.name: prospect for prospect in advice.prospects}
    assert set(found) == {"none", "weak-only", "two heads", "agreement", "control"}
    agreed = int((planted.pairs.weak == planted.pairs.teacher).sum())
    assert (found["agreement"].samples, found["agreement"].dropped) == (agreed, len(planted.pairs) - agreed)
    assert found["two heads"].classes == 8
    assert found["none"].classes is None


def test_probabilities_go_with_the_stand_ins():
    planted = plant(weak_knows=0.5, teacher_knows=True)
    probabilities = np.eye(4)[planted.pairs.teacher] * 0.9 + 0.025
    pairs = sl.Pairs(
        planted.pairs.weak, probabilities, weak_vocabulary=list(CLASSES), teacher_vocabulary=list(CLASSES)
    )
    advice = advise(pairs, *planted.arguments[1:], strategies={"top-k": sl.TopKSPL(k=2)}, options=BRIEF)
    assert not advice.left_out
    assert "top-k" in gains(advice)


def test_no_more_samples_are_looked_at_than_asked_for(knowing):
    planted, _ = knowing
    few = BRIEF.model_copy(update={"samples": 300})
    advice = advise(*planted.arguments, strategies=RIVALS, options=few)
    assert advice.facts.samples == 300


def test_names_are_taken_for_the_clean_labels(knowing):
    planted, _ = knowing
    names = [CLASSES[label] for label in planted.labels]
    named, numbered = (
        advise(*planted.arguments[:3], labels, strategies=RIVALS, options=BRIEF)
        for labels in (names, planted.labels)
    )
    assert named.to_dict() == numbered.to_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weak, clean: (weak[1:], clean), r"weak samples have shape \(1499, 24\).*\(1500, D\)"),
        (lambda weak, clean: (weak, clean[:, 1:]), "24 wide for the weak samples and 23"),
        (lambda weak, clean: (weak.astype(int), clean), "dtype int64"),
        (lambda weak, clean: (weak[:, 0], clean), r"shape \(1500,\)"),
        (lambda weak, clean: (weak, _with_nan(clean)), "not finite in 1 rows, first in row 5"),
    ],
)
def test_features_that_do_not_belong_to_the_samples_are_refused(knowing, change, message):
    planted, _ = knowing
    weak, clean = change(planted.weak, planted.clean)
    with pytest.raises(sl.LabelError, match=message):
        advise(planted.pairs, weak, clean, planted.labels)
    with pytest.raises(sl.LabelError, match=f"the teacher's.*{message}"):
        advise(*planted.arguments, teacher_features=(weak, clean))


def _with_nan(features):
    features = features.copy()
    features[5, 3] = np.nan
    return features


def test_labels_that_are_missing_or_unknown_are_refused(knowing):
    planted, _ = knowing
    with pytest.raises(sl.LabelError, match="position 2 has no label"):
        advise(*planted.arguments[:3], np.where(np.arange(200) == 2, -1, planted.labels))
    with pytest.raises(sl.LabelError, match="'e'"):
        advise(*planted.arguments[:3], ["e"] * 200)
    with pytest.raises(sl.LabelError, match=r"unseen has shape \(3,\)"):
        advise(*planted.arguments, unseen=np.ones(3, dtype=bool))
    with pytest.raises(sl.ConfigError, match="2 clean samples"):
        advise(*planted.arguments, unseen=np.arange(200) < 2)
    with pytest.raises(sl.LabelError, match="takes Pairs"):
        advise([1], *planted.arguments[1:])


def test_principal_components_keep_the_largest_differences():
    generator = np.random.default_rng(0)
    hidden = generator.normal(size=(400, 3))
    wide = (hidden @ generator.normal(size=(3, 50))).astype(np.float32)
    features = reduced(standardised(wide, wide[:10]), 3)
    assert features.weak.shape == (400, 3)
    assert float(features.weak.square().mean()) == pytest.approx(1, rel=1e-4)
    assert torch.allclose(features.weak[:10], features.clean, atol=1e-4)
    # Nothing is lost of three hidden dimensions: distances stay in proportion.
    whole = standardised(wide, wide[:10]).weak
    ratio = torch.cdist(features.weak, features.weak) / torch.cdist(whole, whole).clamp(min=1e-6)
    off = ~torch.eye(400, dtype=torch.bool)
    assert float(ratio[off].std() / ratio[off].mean()) < 0.01


def test_advice_reads_the_same_in_every_form(knowing):
    _, advice = knowing
    assert json.loads(json.dumps(advice.to_dict()))["verdict"] == advice.verdict
    markdown, html = advice.to_markdown(), advice._repr_html_()
    assert markdown.startswith(advice.verdict)
    for prospect in advice.prospects:
        assert prospect.name in markdown
        assert prospect.name in html
    escaped = replace(advice, left_out={"<b>": "no"})._repr_html_()
    assert "<b> was" not in escaped
