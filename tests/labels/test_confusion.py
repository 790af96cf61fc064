from __future__ import annotations

import json
from collections import Counter
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
    return sl.count(sl.Pairs(*split(pairs), weak_vocabulary=vocabulary))


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
        confusion.update(sl.Pairs(*split(pairs[start:stop]), weak_vocabulary=CLASSES))
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
    confusion = sl.count(sl.Pairs(weak, teacher, weak_vocabulary=20_000, teacher_vocabulary=30_000))
    cells, counts = np.unique(np.stack([weak, teacher]), axis=1, return_counts=True)
    assert confusion.counts.nnz == len(counts)
    assert (confusion.counts[cells[0], cells[1]] == counts).all()


@given(pairs=labels)
def test_save_and_load_are_exact(pairs, tmp_path_factory):
    path = tmp_path_factory.mktemp("confusion") / "c.npz"
    confusion = sl.count(
        sl.Pairs(*split(pairs), weak_vocabulary=["a", "b", "c", "ö"], teacher_vocabulary=CLASSES)
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


def test_pairs_of_other_vocabularies_are_refused_and_nothing_is_counted():
    confusion = sl.ConfusionMatrix(["a", "b"], ["x"])
    for weak, teacher, axis in ((["b", "a"], ["x"], "weak"), (["a", "b"], ["y"], "teacher")):
        pairs = sl.Pairs([0], [0], weak_vocabulary=weak, teacher_vocabulary=teacher)
        with pytest.raises(sl.LabelError, match=f"this confusion matrix is over the {axis} vocabulary"):
            confusion.update(pairs)
    assert confusion == sl.ConfusionMatrix(["a", "b"], ["x"])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64])
def test_every_integer_dtype_counts(dtype):
    pairs = sl.Pairs(np.array([0, 3], dtype), np.array([1, 1], dtype), weak_vocabulary=CLASSES)
    assert sl.count(pairs).total == 2


def test_torch_tensors_count():
    torch = pytest.importorskip("torch")
    assert sl.count(sl.Pairs(torch.tensor([0, 3]), torch.tensor([1, -1]), weak_vocabulary=4)).total == 1


@given(pairs=labels)
def test_cells_are_the_counts_that_are_not_zero_row_by_row(pairs):
    names = ["a", "b", "c", "d"]
    cells = count(pairs, names).cells({"a": ["b", "c"], "d": "d"})
    counted = Counter(pair for pair in pairs if min(pair) >= 0)
    agreed = {("a", "b"), ("a", "c"), ("d", "d")}
    assert [(cell.weak, cell.teacher, cell.count, cell.agreed) for cell in cells] == [
        (names[w], names[t], n, (names[w], names[t]) in agreed) for (w, t), n in sorted(counted.items())
    ]
    assert len(cells) == len(counted)
    for chosen in (True, False):
        sums = [0] * 4
        for (w, t), n in counted.items():
            sums[w] += n if ((names[w], names[t]) in agreed) == chosen else 0
        assert cells.row_sums(cells.agreed == chosen).tolist() == sums


def test_fewer_than_no_abstained_samples_are_refused():
    with pytest.raises(sl.LabelError, match="got -5 samples that abstained"):
        sl.ConfusionMatrix.from_counts([[1]], weak_vocabulary=1, abstained=-5)


@pytest.fixture(params=["plain", "confident"])
def confusion(request):
    names = ["a", "b", "c"]
    if request.param == "confident":
        teacher = [0, 0, 1, 0, 1], [0.9, 0.8, 0.7, 0.1, 0.9]
        pairs = sl.Pairs([0, 1, 2, 0, -1], teacher, weak_vocabulary=names)
        return sl.count(pairs, sl.ConfidentCounts(thresholds=0.5))
    return sl.count(sl.Pairs([0, 1, 2, -1], [0, 0, 1, 1], weak_vocabulary=names))


def rewrite(confusion, path, header=None, **arrays):
    """Save it with some of its content replaced."""
    confusion.save(path)
    with np.load(path) as stored:
        content = {name: stored[name] for name in stored.files} | arrays
    edited = json.loads(content["header"].tobytes()) | (header or {})
    content["header"] = np.frombuffer(json.dumps(edited).encode(), dtype=np.uint8)
    np.savez(path, **content)


def test_no_flipped_or_missing_byte_of_a_confusion_matrix_goes_unnoticed(confusion, tmp_path):
    path = tmp_path / "c.npz"
    confusion.save(path)
    whole = path.read_bytes()
    for position in range(len(whole)):
        flipped = whole[:position] + bytes([whole[position] ^ 0x5A]) + whole[position + 1 :]
        for damaged in (whole[:position], flipped):
            path.write_bytes(damaged)
            try:
                loaded = sl.ConfusionMatrix.load(path)
            except sl.LabelError:
                continue
            # Some bytes of a zip archive, such as its dates, carry nothing.
            assert loaded == confusion, position


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"header": {"version": 9}}, "version 9; this release reads"),
        ({"header": {"format": "another"}}, "it is 'another'"),
        ({"header": {"abstained": "many"}}, "c.npz is not a confusion matrix"),
        ({"header": {"abstained": -1}}, "not positive integers"),
        ({"count": np.array([-5, 1, 1])}, "not positive integers"),
        ({"count": np.array([1.5, 1, 1])}, "not positive integers"),
        ({"weak": np.array([0, 1, 7])}, "weak label 7 at position 2"),
        ({"weak": np.array([0, 1, -1])}, "c.npz is not a confusion matrix"),
        ({"weak": np.array([0, 1])}, "got 2 weak labels and 3 teacher predictions"),
    ],
)
def test_an_edited_confusion_matrix_is_refused(confusion, change, message, tmp_path):
    rewrite(confusion, tmp_path / "c.npz", **change)
    with pytest.raises(sl.LabelError, match=message):
        sl.ConfusionMatrix.load(tmp_path / "c.npz")


def test_an_array_file_is_no_confusion_matrix(tmp_path):
    np.save(tmp_path / "c.npy", np.arange(3))
    with pytest.raises(sl.LabelError, match=r"c\.npy is not a confusion matrix"):
        sl.ConfusionMatrix.load(tmp_path / "c.npy")


def test_an_absent_confusion_matrix_is_not_called_damaged(tmp_path):
    with pytest.raises(FileNotFoundError):
        sl.ConfusionMatrix.load(tmp_path / "absent.npz")
