from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

import sublabel as sl
from tests.labels.regime import REGIMES, regime
from tests.labels.samples import SOFT, cases, relabeled


def distributions_by_hand(strategy, space, case):
    """A loop over samples and their classes; the class of a cell is looked up one by one."""
    _, weak, ids, probs = case
    expected = np.zeros((len(weak), len(space)))
    for i in range(len(weak)):
        for t, p in zip(ids[i, : strategy.k], probs[i, : strategy.k], strict=True):
            if weak[i] >= 0 and t >= 0:
                label = int(space.cell_classes(weak[i : i + 1], np.array([t]))[0])
                if label >= 0:
                    expected[i, label] += p
        if expected[i].sum() > 0:
            expected[i] /= expected[i].sum()
    return expected


@pytest.mark.parametrize("name", REGIMES)
@pytest.mark.parametrize("strategy", SOFT, ids=str)
@given(case=cases())
def test_soft_targets_equal_brute_force(strategy, name, case):
    with regime(name):
        result = relabeled(strategy, case)
        soft = result.targets.rows
        expected = distributions_by_hand(strategy, result.space, case)
    assert soft.shape == (len(case[1]), len(result.space))
    assert soft.dtype == np.float32
    assert soft.has_canonical_format
    assert np.abs(soft.toarray() - expected).max(initial=0) < 1e-6
    sums = np.asarray(soft.sum(axis=1))
    assert (np.isclose(sums, 1, atol=1e-6) | (sums == 0)).all()
    assert result.targets.keep.tolist() == (expected.sum(axis=1) > 0).tolist()


@pytest.mark.parametrize("strategy", SOFT, ids=str)
@given(case=cases())
def test_the_one_label_of_a_sample_is_its_heaviest_class(strategy, case):
    result = relabeled(strategy, case)
    labels, dense = result.space.assign(result.pairs), result.targets.rows.toarray()
    for label, row in zip(labels, dense, strict=True):
        assert label == (-1 if row.sum() == 0 else row.argmax())


@given(case=cases())
def test_expected_sizes_are_the_sums_of_soft_targets(case):
    _, weak, ids, _ = case
    result = relabeled(sl.TopKSPL(k=3), case)
    voted = (weak >= 0) & (ids[:, 0] >= 0)
    assert result.space.sizes.sum() == voted.sum()
    assert (result.space.sizes > 0).all()


def test_a_strategy_whose_cells_have_no_classes_cannot_be_made_soft():
    pairs = sl.Pairs([0], ([1], [0.5]), weak_vocabulary=2, sample_ids=["a"])
    for of in (sl.MatchedControl(), sl.TwoHead()):
        with pytest.raises(sl.LabelError, match=f"top_k_spl refines a strategy.*and {of.kind} does not"):
            sl.relabel(pairs, sl.TopKSPL(of=of))


def test_probabilities_are_needed():
    strategy = sl.TopKSPL()
    bare = sl.Pairs([0], [1], weak_vocabulary=2)
    with pytest.raises(sl.LabelError, match="needs the teacher's probabilities, and these 1 pairs have none"):
        sl.relabel(bare, strategy)
    space = sl.relabel(sl.Pairs([0], ([1], [0.5]), weak_vocabulary=2), strategy).space
    assert space.needs == {"probabilities"}
    for refused in (space.assign, space.targets):
        with pytest.raises(sl.LabelError, match="needs the teacher's probabilities"):
            refused(bare)


def test_all_forms_of_predictions_give_the_same_targets():
    torch = pytest.importorskip("torch")
    scores = np.random.default_rng(0).dirichlet(np.ones(6), 50)
    weak = np.arange(50) % 6
    ids = np.argsort(-scores, axis=1)
    top = torch.tensor(scores).topk(6)
    forms = [scores, (ids, np.take_along_axis(scores, ids, axis=1)), (top.indices, top.values), top]
    found = [
        sl.relabel(sl.Pairs(weak, teacher, weak_vocabulary=6), sl.TopKSPL(k=3)).targets.rows.toarray()
        for teacher in forms
    ]
    assert (found[0].sum(axis=1) > 0.99).all()
    for rows in found[1:]:
        assert rows == pytest.approx(found[0], abs=1e-6)
