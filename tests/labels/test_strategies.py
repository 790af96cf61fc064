from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sublabel as sl
from tests.labels.oracle import expected_classes

SIMPLE = [sl.WeakOnly(), sl.TeacherOnly(), sl.AgreementFilter(), sl.SPLB()]
RAW = [sl.RawSPL(min_count=count, rare=rare) for count in (1, 2, 4) for rare in ("disagreed", "weak", "drop")]


@st.composite
def cases(draw):
    """Rectangular vocabularies, a many-to-many alignment, samples to fit on and others to assign."""
    width, height = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    pair = st.tuples(st.integers(-1, width - 1), st.integers(-1, height - 1))
    cell = st.tuples(st.integers(0, width - 1), st.integers(0, height - 1))
    agrees = draw(st.sets(cell, min_size=1, max_size=width * height))
    return width, height, agrees, draw(st.lists(pair, max_size=60)), draw(st.lists(pair, max_size=20))


def pairs_of(pairs, case):
    array = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return sl.Pairs(array[:, 0], array[:, 1], weak_vocabulary=case[0], teacher_vocabulary=case[1])


def fit(strategy, case):
    width, height, agrees, fitted, _ = case
    return strategy.fit(sl.count(pairs_of(fitted, case)), sl.Alignment(width, height, sorted(agrees)))


@pytest.mark.parametrize("strategy", SIMPLE + RAW, ids=str)
@given(case=cases())
def test_assign_equals_brute_force(strategy, case):
    width, height, agrees, fitted, others = case
    space = fit(strategy, case)
    counts = Counter(pair for pair in fitted if min(pair) >= 0)
    options = strategy.to_dict()
    pairs = fitted + others
    expected = expected_classes(options.pop("kind"), pairs, counts, agrees, width, height, **options)

    labels = space.assign(pairs_of(pairs, case))

    assert labels.dtype == np.int64
    assert [label < 0 for label in labels] == [entry is None for entry in expected]
    mapping = {entry: label for entry, label in zip(expected, labels, strict=True) if entry is not None}
    assert [mapping.get(entry, -1) for entry in expected] == labels.tolist()
    assert len(set(mapping.values())) == len(mapping)


@pytest.mark.parametrize("strategy", SIMPLE + RAW, ids=str)
@given(case=cases())
def test_ids_are_dense_and_sizes_are_counts(strategy, case):
    space = fit(strategy, case)
    labels = space.assign(pairs_of(case[3], case))
    counted = np.bincount(labels[labels >= 0], minlength=space.num_classes)
    assert counted.tolist() == space.sizes.tolist()
    assert len(space.names) == len(space.kinds) == len(space) == space.num_classes
    if strategy.kind not in ("weak_only", "teacher_only"):
        assert (space.sizes > 0).all()


@pytest.mark.parametrize("strategy", RAW, ids=str)
@given(case=cases())
def test_raw_classes_come_row_by_row_with_other_last(strategy, case):
    space = fit(strategy, case)
    described = [space.describe(label) for label in range(len(space))]
    order = [(int(entry.weak), entry.teacher is None, int(entry.teacher or 0)) for entry in described]
    assert order == sorted(order)


def test_the_papers_example_has_16_and_8_classes():
    weak, teacher = np.divmod(np.arange(16), 4)
    for strategy, classes in (
        (sl.RawSPL(), 16),
        (sl.SPLB(), 8),
        (sl.WeakOnly(), 4),
        (sl.AgreementFilter(), 4),
    ):
        pairs = sl.Pairs(weak, teacher, weak_vocabulary=4)
        assert sl.relabel(pairs, strategy).space.num_classes == classes


def test_names_say_what_a_class_holds():
    weak, teacher = ["baking cookies", "abseiling"], ["baking cookies", "whisking eggs"]
    pairs = sl.Pairs([0, 0, 0, 1], [0, 1, 1, 1], weak_vocabulary=weak, teacher_vocabulary=teacher)
    raw = sl.relabel(pairs)
    assert raw.space.names == (
        "baking cookies",
        "baking cookies × whisking eggs",
        "abseiling × whisking eggs",
    )
    assert raw.space.kinds == ("agreed", "disagreed", "disagreed")
    half = sl.relabel(pairs, sl.SPLB())
    assert half.space.names == ("baking cookies", "baking cookies × (disagreed)", "abseiling × (disagreed)")
    rare = sl.relabel(pairs, sl.RawSPL(min_count=2))
    assert rare.space.names == (
        "baking cookies × whisking eggs",
        "baking cookies × (other)",
        "abseiling × (other)",
    )


def test_a_row_that_agrees_with_several_classes_names_each():
    alignment = {"bake": ["baking cookies", "making a cake"]}
    teacher = ["baking cookies", "making a cake", "abseiling"]
    space = sl.relabel(sl.Pairs(["bake"] * 3, teacher, teacher_vocabulary=teacher), alignment=alignment).space
    assert space.names == ("bake = baking cookies", "bake = making a cake", "bake × abseiling")


@pytest.mark.parametrize("strategy", [sl.AgreementFilter(), sl.SPLB()], ids=str)
def test_vocabularies_without_a_common_name_need_an_alignment(strategy):
    confusion = sl.ConfusionMatrix(["bake"], ["baking"])
    with pytest.raises(sl.LabelError, match="give an alignment"):
        strategy.fit(confusion)
    assert strategy.fit(confusion, {"bake": "baking"}).num_classes == 0


def test_options_are_frozen_and_checked():
    with pytest.raises(ValueError, match="frozen"):
        sl.RawSPL().min_count = 2
    with pytest.raises(ValueError, match="greater than 0"):
        sl.RawSPL(min_count=0)
    with pytest.raises(ValueError, match="Extra inputs"):
        sl.SPLB(min_count=3)
    assert set(sl.strategies()) == {
        "weak_only", "teacher_only", "agreement_filter", "raw_spl", "spl_b", "matched_control",
        "densest_spl", "merged_spl", "confident_spl", "top_k_spl", "denoised_spl", "two_head",
    }  # fmt: skip
