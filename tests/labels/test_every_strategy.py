from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sublabel as sl
from tests.labels.regime import REGIMES, regime
from tests.labels.samples import EVERY, cases, pairs_of, relabeled


def policy_drops(strategy, space, case):
    """Whether each sample has no class, as the strategy's own words say."""
    alignment, weak, ids, _ = case
    teacher = ids[:, 0]
    missing = (weak < 0) | (teacher < 0)
    options = strategy.to_dict()
    inner = options.get("of") or options
    if strategy.kind in ("matched_control", "merged_spl", "confident_spl", "top_k_spl"):
        strategy = strategy.of
    agreed = alignment.aligned(weak, teacher)
    dropped = missing.copy()
    if strategy.kind == "agreement_filter":
        dropped |= ~agreed
    elif inner.get("rare") in ("drop", "weak"):
        # A row without an agreed cell has no class for rare ones; those that are classes are listed.
        entries = set(zip(space.classes.weak.tolist(), space.classes.teacher.tolist(), strict=True))
        has_agreed = {w for w, k in zip(space.classes.weak, space.kinds, strict=True) if k == "agreed"}
        for i, pair in enumerate(zip(weak.tolist(), teacher.tolist(), strict=True)):
            rescued = inner["rare"] == "weak" and pair[0] in has_agreed
            dropped[i] |= pair not in entries and not rescued
    return dropped


@pytest.mark.parametrize("name", REGIMES)
@pytest.mark.parametrize("strategy", EVERY, ids=str)
@given(case=cases())
def test_every_sample_has_a_class_or_the_policy_drops_it(strategy, name, case):
    with regime(name):
        result = relabeled(strategy, case)
        space, labels = result.space, result.space.assign(result.pairs)
    assert labels.dtype == np.int64
    assert labels.min(initial=0) >= -1
    assert labels.max(initial=-1) < len(space)
    dropped = ~labels.keep
    if strategy.kind in ("confident_spl",):
        unsure = space.classes.is_kind("unsure")
        sure = np.array([label < 0 or not unsure[label] for label in labels], dtype=bool)
        assert dropped[sure].tolist() == policy_drops(strategy, space, case)[sure].tolist()
    elif strategy.kind == "top_k_spl":
        assert dropped[(case[1] < 0) | (case[2][:, 0] < 0)].all()
    elif strategy.kind != "merged_spl" or strategy.of.rare == "disagreed":
        assert dropped.tolist() == policy_drops(strategy, space, case).tolist()


@pytest.mark.parametrize("name", REGIMES)
@pytest.mark.parametrize("strategy", EVERY, ids=str)
@given(case=cases())
def test_ids_are_dense_sizes_are_counts_and_files_are_exact(strategy, name, case):
    with regime(name):
        result = relabeled(strategy, case)
        space = result.space
        labels = space.assign(result.pairs)
        loaded = sl.LabelSpace.from_json(space.to_json())
        assert (loaded.assign(result.pairs) == labels).all()
    assert loaded == space
    assert type(loaded) is type(space)
    assert loaded.fingerprint == space.fingerprint
    assert loaded.names == space.names
    assert loaded.kinds == space.kinds
    assert loaded.heads == space.heads
    assert loaded.strategy == strategy.to_dict()
    assert sl.Strategy.parse(loaded.strategy) == strategy
    assert len(set(space.names)) == len(space)
    assert [space.describe(k).name for k in range(len(space))] == list(space.names)
    if strategy.kind != "top_k_spl":
        counted = np.bincount(labels[labels >= 0], minlength=len(space))
        assert counted.tolist() == space.sizes.tolist()


@pytest.mark.parametrize("strategy", EVERY, ids=str)
@given(case=cases(), seed=st.integers(0, 9))
def test_the_order_of_samples_moves_no_label(strategy, case, seed):
    alignment, weak, ids, probs = case
    order = np.random.default_rng(seed).permutation(len(weak))
    first = relabeled(strategy, case)
    labels = first.space.assign(first.pairs)
    moved = alignment, weak[order], ids[order], probs[order]
    with regime("sparse"):
        again = sl.relabel(pairs_of(moved, sample_ids=order), strategy, alignment)
        assert again.space == first.space
        assert (again.space.assign(again.pairs) == labels[order]).all()


@pytest.mark.parametrize("strategy", EVERY, ids=str)
@given(case=cases())
def test_targets_and_labels_say_the_same(strategy, case):
    result = relabeled(strategy, case)
    labels, targets = result.space.assign(result.pairs), result.targets
    assert targets.keep.tolist() == labels.keep.tolist()
    assert targets.reasons.tolist() == labels.reasons.tolist()
    for weak, teacher, kept, reason in zip(
        result.pairs.weak, result.pairs.teacher, labels.keep, labels.reasons, strict=True
    ):
        missing = (
            "no weak label" if weak < 0 else "no prediction" if teacher < 0 else "dropped by the strategy"
        )
        assert reason == ("kept" if kept else missing)
    for row in np.flatnonzero(targets.keep):
        assert set(np.atleast_1d(labels[row])) <= set(targets.classes(row))


@pytest.mark.parametrize("strategy", EVERY, ids=str)
def test_pairs_of_other_vocabularies_are_refused(strategy):
    ids = np.arange(4) % 2
    pairs = sl.Pairs(ids, (ids, ids * 0 + 0.5), weak_vocabulary=2, teacher_vocabulary=2, sample_ids=range(4))
    space = sl.relabel(pairs, strategy).space
    other = sl.Pairs(ids, (ids, ids * 0 + 0.5), weak_vocabulary=2, teacher_vocabulary=3, sample_ids=range(4))
    for refused in (space.assign, space.targets):
        with pytest.raises(
            sl.LabelError, match=r"this label space is over the teacher vocabulary.*\n?.*make both"
        ):
            refused(other)


@pytest.mark.parametrize("strategy", EVERY, ids=str)
@given(case=cases())
def test_factors_are_the_rows_and_columns_of_classes(strategy, case):
    space = relabeled(strategy, case).space
    factors = space.factors()
    if len(space.heads) > 1:
        assert factors is None
        return
    rows, columns = factors
    assert len(rows) == len(columns) == len(space)
    for axis in (rows, columns):
        assert set(axis.tolist()) == set(range(axis.max(initial=-1) + 1))
    for label in range(len(space)):
        for other in range(label):
            weak, teacher = space.classes.weak, space.classes.teacher
            assert (rows[label] == rows[other]) == (weak[label] == weak[other])
            assert (columns[label] == columns[other]) == (teacher[label] == teacher[other] >= 0)
