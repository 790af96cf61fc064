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
    result = sl.relabel(
        array[:, 0],
        array[:, 1],
        strategy=strategy,
        weak_vocabulary=weak_names,
        teacher_vocabulary=teacher_names,
        alignment=sl.Alignment(weak_names, teacher_names, sorted(aligned)),
    )
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
    cells = list(label)
    assert space.assign([w for w, _ in cells], [t for _, t in cells]).tolist() == list(label.values())
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
    labels, space, confusion = sl.relabel([0, 0, 1, -1], [0, 1, 1, 1], weak_vocabulary=["a", "b"])
    assert labels.tolist() == [0, 1, 2, -1]
    assert space.strategy == sl.RawSPL().model_dump(mode="json")
    assert (confusion.total, confusion.abstained) == (3, 1)


def test_it_equals_its_three_steps():
    weak, teacher = np.random.default_rng(0).integers(-1, 6, (2, 500))
    confusion = sl.ConfusionMatrix.from_labels(weak, teacher, weak_vocabulary=6)
    space = sl.RawSPL(min_count=9).fit(confusion)
    result = sl.relabel(weak, teacher, strategy=sl.RawSPL(min_count=9), weak_vocabulary=6)
    assert result.confusion == confusion
    assert result.space == space
    assert (result.labels == space.assign(weak, teacher)).all()


def test_no_samples_make_no_labels():
    result = sl.relabel([], [], weak_vocabulary=3, teacher_vocabulary=2)
    assert result.labels.dtype == np.int64
    assert (len(result.labels), result.space.num_classes) == (0, 0)


@pytest.mark.parametrize(
    ("weak", "teacher", "vocabulary", "message"),
    [
        ([4], [0], 3, "weak label 4 at position 0 is outside the vocabulary of 3 classes"),
        ([0], [0, 1], 3, "got 1 weak labels and 2 teacher predictions"),
        ([0.5], [0], 3, "dtype float64"),
        ([0], [0], ["a", "a"], "'a' stands at positions 0 and 1"),
        ([0], [0], None, "and got None"),
    ],
)
def test_bad_input_is_refused(weak, teacher, vocabulary, message):
    with pytest.raises(sl.LabelError, match=message):
        sl.relabel(weak, teacher, weak_vocabulary=vocabulary)


@pytest.mark.parametrize("strategy", [sl.RawSPL(), sl.ConfidentSPL(), sl.TopKSPL()], ids=str)
def test_probabilities_that_rise_are_refused(strategy):
    probs = np.random.default_rng(0).dirichlet([1.0] * 4, 9)
    ids = np.argsort(probs, axis=1)[:, -3:]
    rising = np.take_along_axis(probs, ids, axis=1)
    options = {"strategy": strategy, "weak_vocabulary": 4}
    with pytest.raises(sl.LabelError, match="expected the most probable class first"):
        sl.relabel(ids[:, 0], ids, probabilities=rising, **options)
    falling = sl.relabel(ids[:, 0], ids[:, ::-1], probabilities=rising[:, ::-1], **options)
    assert len(falling.labels) == 9


def test_what_stands_beside_a_missing_prediction_does_not_matter():
    for strategy in (sl.ConfidentSPL(), sl.TopKSPL()):
        options = {"strategy": strategy, "weak_vocabulary": 2}
        known = sl.relabel([0, 1, 0], [0, -1, 0], probabilities=[0.9, 0.0, 0.8], **options)
        unknown = sl.relabel([0, 1, 0], [0, -1, 0], probabilities=[0.9, np.nan, 0.8], **options)
        assert unknown.space == known.space
        assert unknown.labels.tolist() == known.labels.tolist()
        with pytest.raises(sl.LabelError, match="outside 0–1"):
            sl.relabel([0, 1, 0], [0, 1, 0], probabilities=[0.9, np.nan, 0.8], **options)


def test_tensors_of_a_training_loop_are_taken_as_they_are():
    torch = pytest.importorskip("torch")
    logits = torch.randn(500, 30, requires_grad=True)
    top = logits.bfloat16().softmax(1).topk(30)
    weak = torch.randint(0, 30, (500,))
    options = {"strategy": sl.ConfidentSPL(), "weak_vocabulary": 30}
    found = sl.relabel(weak, top.indices, probabilities=top.values, **options)
    plain = top.values.detach().float().numpy()
    expected = sl.relabel(weak.numpy(), top.indices.numpy(), probabilities=plain, **options)
    assert found.space == expected.space
    assert found.labels.tolist() == expected.labels.tolist()


def test_a_mean_that_was_rounded_above_one_is_one():
    options = {"strategy": sl.ConfidentSPL(), "weak_vocabulary": 2}
    above = sl.relabel([0, 0], [0, 0], probabilities=np.float32([1.0000001, 0.5]), **options)
    assert above.space == sl.relabel([0, 0], [0, 0], probabilities=[1.0, 0.5], **options).space
    with pytest.raises(sl.LabelError, match="outside 0–1"):
        sl.relabel([0, 0], [0, 0], probabilities=[1.1, 0.5], **options)
