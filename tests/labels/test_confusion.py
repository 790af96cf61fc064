from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

import sublabel as sl

CLASSES = 4
labels = st.lists(st.tuples(st.integers(-1, CLASSES - 1), st.integers(-1, CLASSES - 1)), max_size=80)


def split(pairs):
    array = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def count(pairs, vocabulary=CLASSES):
    return sl.ConfusionMatrix.from_labels(*split(pairs), weak_vocabulary=vocabulary)


@given(pairs=labels)
def test_counts_equal_scikit_learns(pairs):
    weak, teacher = split(pairs)
    voted = (weak >= 0) & (teacher >= 0)
    confusion = count(pairs)
    expected = np.zeros((CLASSES, CLASSES))
    if voted.any():
        expected = confusion_matrix(weak[voted], teacher[voted], labels=range(CLASSES))
    assert (confusion.counts.toarray() == expected).all()
    assert confusion.counts.dtype == np.int64
    assert (confusion.total, confusion.abstained) == (voted.sum(), (~voted).sum())


@given(pairs=labels, cuts=st.lists(st.integers(0, 80), max_size=4))
def test_any_chunking_counts_the_same(pairs, cuts):
    confusion = sl.ConfusionMatrix(CLASSES)
    for start, stop in pairwise([0, *sorted(cuts), len(pairs)]):
        confusion.update(*split(pairs[start:stop]))
    assert confusion == count(pairs)


@given(a=labels, b=labels, c=labels)
def test_merge_is_associative_and_commutative(a, b, c):
    one, two, three = count(a), count(b), count(c)
    assert one.merge(two).merge(three) == one.merge(two.merge(three)) == three.merge(one).merge(two)
    assert one.merge(two) == count(a + b)
    assert one == count(a)


def test_large_vocabularies_stay_sparse_and_count_the_same():
    generator = np.random.default_rng(0)
    weak, teacher = generator.integers(0, 20_000, (2, 5_000))
    confusion = sl.ConfusionMatrix.from_labels(
        weak, teacher, weak_vocabulary=20_000, teacher_vocabulary=30_000
    )
    cells, counts = np.unique(np.stack([weak, teacher]), axis=1, return_counts=True)
    assert confusion.counts.nnz == len(counts)
    assert (confusion.counts[cells[0], cells[1]] == counts).all()


@given(pairs=labels)
def test_save_and_load_are_exact(pairs, tmp_path_factory):
    path = tmp_path_factory.mktemp("confusion") / "c.npz"
    confusion = sl.ConfusionMatrix.from_labels(
        *split(pairs), weak_vocabulary=["a", "b", "c", "ö"], teacher_vocabulary=CLASSES
    )
    confusion.save(path)
    assert sl.ConfusionMatrix.load(path) == confusion
    assert [entry.name for entry in path.parent.iterdir()] == ["c.npz"]


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "c.npz"
    count([(0, 1)]).save(path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(sl.LabelError, match="c.npz is not a confusion matrix"):
        sl.ConfusionMatrix.load(path)


def test_other_vocabularies_are_not_merged():
    with pytest.raises(sl.LabelError, match="different weak vocabularies"):
        sl.ConfusionMatrix(["a", "b"], ["x"]).merge(sl.ConfusionMatrix(["b", "a"], ["x"]))


def test_the_axis_order_is_in_the_repr():
    assert "[weak, teacher] = 2 × 3" in repr(sl.ConfusionMatrix(2, 3))


@pytest.mark.parametrize(
    ("weak", "teacher", "message"),
    [
        ([0, 7], [0, 0], r"weak label 7 at position 1 is outside the vocabulary of 4 classes \(0–3"),
        ([0, 0], [-2, 0], "teacher label -2 at position 0"),
        ([0, 1, 2], [0, 1], "got 3 weak labels and 2 teacher predictions"),
        ([0.0, 1.0], [0, 1], "weak labels have dtype float64; expected integers"),
        ([True, False], [0, 1], "dtype bool"),
        ([[0, 1]], [0, 1], r"weak labels have shape \(1, 2\)"),
        (["a", "b"], [0, 1], "expected integers"),
    ],
)
def test_bad_labels_are_refused_and_nothing_is_counted(weak, teacher, message):
    confusion = sl.ConfusionMatrix(CLASSES)
    with pytest.raises(sl.LabelError, match=message):
        confusion.update(weak, teacher)
    assert confusion == sl.ConfusionMatrix(CLASSES)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64])
def test_every_integer_dtype_counts(dtype):
    assert sl.ConfusionMatrix.from_labels(
        np.array([0, 3], dtype), np.array([1, 1], dtype), weak_vocabulary=CLASSES
    ).total == 2  # fmt: skip


def test_torch_tensors_count():
    torch = pytest.importorskip("torch")
    assert (
        sl.ConfusionMatrix.from_labels(torch.tensor([0, 3]), torch.tensor([1, -1]), weak_vocabulary=4).total
        == 1
    )


def test_fewer_than_no_abstained_samples_are_refused():
    with pytest.raises(sl.LabelError, match="got -5 samples that abstained"):
        sl.ConfusionMatrix.from_counts([[1]], weak_vocabulary=1, abstained=-5)
