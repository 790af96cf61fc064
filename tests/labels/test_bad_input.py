from __future__ import annotations

import json

import numpy as np
import pytest

import sublabel as sl


@pytest.fixture(params=["plain", "confident"])
def confusion(request):
    if request.param == "confident":
        builder = sl.ConfidentCounts(thresholds=0.5).start(["a", "b", "c"])
        builder.update([0, 1, 2, 0, -1], [0, 0, 1, 0, 1], [0.9, 0.8, 0.7, 0.1, 0.9])
        return builder.build()
    return sl.ConfusionMatrix.from_labels([0, 1, 2, -1], [0, 0, 1, 1], weak_vocabulary=["a", "b", "c"])


@pytest.fixture
def control():
    return sl.relabel(
        [0, 0, 0], [0, 1, 2], strategy=sl.MatchedControl(), weak_vocabulary=3, sample_ids=[1, 2, 3]
    ).space


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


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        # What pandas makes of integer ids with a gap: "1.0" would hash unlike "1", and move the label.
        ([1.0, 2.0], "sample ids have dtype float64"),
        ([None, "a"], "sample id None at position 0"),
        (np.array(["a", float("nan")], dtype=object), "sample id nan at position 1"),
        ([b"a", b"b"], "expected strings or integers"),
        ([True, False], "dtype bool"),
        ([["a"], ["b"]], r"sample ids have shape \(2, 1\)"),
        ("ab", r"sample ids have shape \(\)"),
    ],
)
def test_sample_ids_that_do_not_name_samples_are_refused(control, ids, message):
    with pytest.raises(sl.LabelError, match=message):
        control.assign([0, 0], [1, 2], ids)


def test_sample_ids_of_python_objects_hash_as_strings(control):
    weak, teacher = np.zeros(20, dtype=int), np.ones(20, dtype=int)
    expected = control.assign(weak, teacher, [str(i) for i in range(20)])
    objects = np.array([i if i % 2 else str(i) for i in range(20)], dtype=object)
    assert (control.assign(weak, teacher, objects) == expected).all()


@pytest.mark.parametrize("name", ["row_default", "column_default", "cells", "cell_labels"])
def test_a_space_cannot_be_written_to(name, control):
    with pytest.raises(ValueError, match="read-only"):
        getattr(control, name)[...] = 0


def test_ragged_labels_are_refused():
    with pytest.raises(sl.LabelError, match="weak labels are not an array of integers"):
        sl.ConfusionMatrix.from_labels([[1], [1, 2]], [0, 1], weak_vocabulary=3)


def test_ragged_pairs_are_refused():
    with pytest.raises(sl.LabelError, match="pairs of an alignment"):
        sl.Alignment(3, 3, [(0, 1), (1,)])


@pytest.mark.parametrize("alignment", ["abc", [(0, 1)], 3])
def test_what_is_no_alignment_is_refused(confusion, alignment):
    with pytest.raises(sl.LabelError, match="expected an Alignment, a mapping"):
        sl.SPLB().fit(confusion, alignment)


def test_numpy_names_read_as_plain_ones():
    assert repr(sl.Vocabulary(np.array(["x", "y"]))) == "Vocabulary(2: 'x', 'y')"


def test_a_name_that_is_an_array_is_refused():
    with pytest.raises(sl.LabelError, match="names are non-empty strings"):
        sl.Vocabulary([np.array([1, 2])])
