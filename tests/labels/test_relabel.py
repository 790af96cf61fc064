from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sublabel as sl

POLICIES = ("disagreed", "weak", "drop")


def raw_row(row, agreed, weak, names, min_count, rare):
    """Classes (name, kind, size) of one row of raw SPL, and the position among them of each column, or -1."""
    best = max(agreed, key=lambda t: (row[t], -t), default=None)
    own = [t for t, n in enumerate(row) if n >= min_count or (rare == "weak" and t == best)]
    several = sum(t in agreed for t in own) > 1
    classes = []
    for t in own:
        if t in agreed:
            classes.append([f"{weak} = {names[t]}" if several else weak, "agreed", row[t]])
        else:
            classes.append([f"{weak} × {names[t]}", "disagreed", row[t]])
    folded = sum(n for t, n in enumerate(row) if t not in own)
    rest = -1
    if rare == "disagreed" and folded:
        rest = len(classes)
        classes.append([f"{weak} × (other)", "other", folded])
    elif rare == "weak" and best is not None:
        rest = own.index(best)
        classes[rest][2] += folded
    return classes, [own.index(t) if t in own else rest for t in range(len(row))]


def half_row(row, aligned, agreed, weak):
    """The same for SPL-B."""
    sizes = sum(row[t] for t in agreed), sum(row) - sum(row[t] for t in agreed)
    kinds = ((weak, "agreed"), (f"{weak} × (disagreed)", "disagreed"))
    classes = [[*kind, size] for kind, size in zip(kinds, sizes, strict=True) if size]
    position = {kind: index for index, (_, kind, _) in enumerate(classes)}
    halves = ["agreed" if t in aligned else "disagreed" for t in range(len(row))]
    return classes, [position.get(half, -1) for half in halves]


@st.composite
def cases(draw):
    width, height = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    pairs = st.tuples(st.integers(-1, width - 1), st.integers(-1, height - 1))
    cells = st.tuples(st.integers(0, width - 1), st.integers(0, height - 1))
    return width, height, draw(st.sets(cells, min_size=1)), draw(st.lists(pairs, max_size=60))


def check_whole_space(strategy, case, classes_of_row):
    """Names, kinds, sizes, their order, and the label of every cell, seen or not."""
    width, height, aligned, fitted = case
    weak_names, teacher_names = [f"w{i}" for i in range(width)], [f"t{i}" for i in range(height)]
    array = np.array(fitted, dtype=np.int64).reshape(-1, 2)
    vocabularies = {"weak_vocabulary": weak_names, "teacher_vocabulary": teacher_names}
    pairs = sl.Pairs(array[:, 0], array[:, 1], **vocabularies)
    result = sl.relabel(pairs, strategy, sl.Alignment(weak_names, teacher_names, sorted(aligned)))
    expected, label = [], {}
    for w in range(width):
        row = [fitted.count((w, t)) for t in range(height)]
        aligned_columns = {t for t in range(height) if (w, t) in aligned}
        agreed = {t for t in aligned_columns if row[t]}
        classes, positions = classes_of_row(row, aligned_columns, agreed, weak_names[w], teacher_names)
        label |= {(w, t): p + len(expected) if p >= 0 else -1 for t, p in enumerate(positions)}
        expected += classes
    space = result.space
    assert list(map(list, zip(space.names, space.kinds, space.sizes.tolist(), strict=True))) == expected
    cells = sl.Pairs([w for w, _ in label], [t for _, t in label], **vocabularies)
    assert space.assign(cells).tolist() == list(label.values())
    assert space.cell_classes(cells.weak, cells.teacher).tolist() == list(label.values())
    assert result.labels.tolist() == [label.get(pair, -1) for pair in fitted]


@pytest.mark.parametrize("rare", POLICIES)
@given(case=cases(), min_count=st.integers(1, 4))
def test_raw_spl_equals_brute_force_class_for_class(rare, case, min_count):
    check_whole_space(
        sl.RawSPL(min_count=min_count, rare=rare),
        case,
        lambda row, _, agreed, weak, names: raw_row(row, agreed, weak, names, min_count, rare),
    )


@given(case=cases())
def test_spl_b_equals_brute_force_class_for_class(case):
    check_whole_space(
        sl.SPLB(), case, lambda row, aligned, agreed, weak, _: half_row(row, aligned, agreed, weak)
    )


def test_the_default_is_raw_spl_over_equal_names():
    result = sl.relabel(sl.Pairs([0, 0, 1, -1], [0, 1, 1, 1], weak_vocabulary=["a", "b"]))
    assert result.labels.tolist() == [0, 1, 2, -1]
    assert result.labels.reasons.tolist() == ["kept", "kept", "kept", "no weak label"]
    assert result.space.strategy == sl.RawSPL().to_dict()
    assert (result.confusion.total, result.confusion.abstained) == (3, 1)


def test_it_equals_its_three_steps():
    weak, teacher = np.random.default_rng(0).integers(-1, 6, (2, 500))
    pairs = sl.Pairs(weak, teacher, weak_vocabulary=6)
    space = sl.RawSPL(min_count=9).fit(sl.count(pairs))
    result = sl.relabel(pairs, sl.RawSPL(min_count=9))
    assert result.pairs is pairs
    assert result.confusion == sl.count(pairs)
    assert result.space == space
    assert (result.labels == space.assign(pairs)).all()
    assert (result.targets.labels == result.labels).all()


@pytest.mark.parametrize("strategy", [sl.RawSPL(min_count=2), {"kind": "raw_spl", "min_count": 2}], ids=str)
def test_a_strategy_may_be_given_as_it_is_stored(strategy):
    pairs = sl.Pairs([0, 0, 0, 1], [0, 0, 1, 1])
    assert sl.relabel(pairs, strategy).space.strategy == sl.RawSPL(min_count=2).to_dict()
    assert sl.relabel(pairs, "spl_b").space == sl.relabel(pairs, sl.SPLB).space


def test_no_samples_make_no_labels():
    result = sl.relabel(sl.Pairs([], [], weak_vocabulary=3, teacher_vocabulary=2))
    assert result.labels.dtype == np.int64
    assert (len(result.labels), result.space.num_classes) == (0, 0)


@pytest.mark.parametrize("pairs", [([0], [0]), [0, 1], None, np.zeros((3, 2), int)], ids=repr)
def test_arrays_are_no_pairs(pairs):
    with pytest.raises(
        sl.LabelError, match=r"relabel takes Pairs and got \w+: make them with sublabel.Pairs"
    ):
        sl.relabel(pairs)


@pytest.mark.parametrize("strategy", [sl.ConfidentSPL(), sl.TopKSPL(), sl.MatchedControl()], ids=str)
def test_what_a_strategy_needs_and_the_pairs_lack_is_said(strategy):
    message = "sample id" if isinstance(strategy, sl.MatchedControl) else "needs the teacher's probabilities"
    with pytest.raises(sl.LabelError, match=message):
        sl.relabel(sl.Pairs([0, 0], [0, 1]), strategy)
