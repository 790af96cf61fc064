from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

import sublabel as sl
from tests.labels.samples import cases, relabeled


@given(case=cases())
def test_a_sample_below_its_threshold_is_unsure(case):
    alignment, weak, ids, probs = case
    for strategy in (sl.ConfidentSPL(), sl.ConfidentSPL(thresholds=0.7)):
        result = relabeled(strategy, case)
        thresholds = result.space.thresholds
        for w, t, p, label in zip(weak, ids[:, 0], probs[:, 0], result.labels, strict=True):
            if w < 0 or t < 0:
                assert label == -1
                continue
            entry = result.space.describe(label)
            assert (entry.kind == "unsure") == (float(p) < thresholds[t])
            assert entry.weak == alignment.weak_vocabulary[w]
            if entry.kind == "unsure":
                assert entry.name == f"{alignment.weak_vocabulary[w]} × (unsure)"
        # Rows stay together, and the unsure class is the last of its row.
        rows = result.space.classes.weak
        assert (np.diff(rows) >= 0).all()
        last = np.append(np.diff(rows) > 0, True)
        assert last[result.space.classes.is_kind("unsure")].all()


def test_a_confident_space_needs_what_it_looks_at():
    with pytest.raises(sl.LabelError, match="needs a count of confident samples"):
        sl.ConfidentSPL().fit(sl.ConfusionMatrix(2))
    teacher = [0, 1], [0.9, 0.1]
    space = sl.relabel(sl.Pairs([0, 0], teacher, weak_vocabulary=2), sl.ConfidentSPL(thresholds=0.5)).space
    assert space.needs == {"probabilities"}
    assert space.names == ("0", "0 × (unsure)")
    pairs = sl.Pairs([0, 0, 1, -1], ([0, 0, 0, -1], [0.5, 0.49, 0.1, np.nan]), weak_vocabulary=2)
    assert space.assign(pairs).tolist() == [0, 1, -1, -1]
    assert space.assign(pairs).reasons.tolist()[2:] == ["dropped by the strategy", "no weak label"]
    for refused in (space.assign, space.targets):
        with pytest.raises(
            sl.LabelError, match="needs the teacher's probabilities, and these 1 pairs have none"
        ):
            refused(sl.Pairs([0], [0], weak_vocabulary=2))


@pytest.mark.parametrize("strategy", [sl.ConfidentSPL(), sl.TopKSPL()], ids=str)
def test_what_stands_beside_a_missing_prediction_does_not_matter(strategy):
    known, unknown = (
        sl.relabel(sl.Pairs([0, 1, 0], ([0, -1, 0], [0.9, beside, 0.8]), weak_vocabulary=2), strategy)
        for beside in (0.0, np.nan)
    )
    assert unknown.space == known.space
    assert unknown.space.assign(unknown.pairs).tolist() == known.space.assign(known.pairs).tolist()


def test_tensors_of_a_training_loop_are_taken_as_they_are():
    torch = pytest.importorskip("torch")
    logits = torch.randn(500, 30, requires_grad=True)
    top = logits.bfloat16().softmax(1).topk(30)
    weak = torch.randint(0, 30, (500,))
    found = sl.relabel(sl.Pairs(weak, (top.indices, top.values), weak_vocabulary=30), sl.ConfidentSPL())
    plain = top.indices.numpy(), top.values.detach().float().numpy()
    expected = sl.relabel(sl.Pairs(weak.numpy(), plain, weak_vocabulary=30), sl.ConfidentSPL())
    assert found.space == expected.space
    assert found.labels.tolist() == expected.labels.tolist()


def test_a_mean_that_was_rounded_above_one_is_one():
    spaces = [
        sl.relabel(sl.Pairs([0, 0], ([0, 0], probs), weak_vocabulary=2), sl.ConfidentSPL()).space
        for probs in (np.float32([1.0000001, 0.5]), [1.0, 0.5])
    ]
    assert spaces[0] == spaces[1]
