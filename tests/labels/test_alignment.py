from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sublabel as sl
from tests.labels.regime import regime


@given(pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4))))
def test_agrees_exactly_on_its_pairs(pairs):
    alignment = sl.Alignment(4, 5, pairs)
    weak, teacher = np.repeat(np.arange(4), 5), np.tile(np.arange(5), 4)
    expected = [pair in set(pairs) for pair in zip(weak.tolist(), teacher.tolist(), strict=True)]
    assert alignment.aligned(weak, teacher).tolist() == expected
    with regime("sparse"):
        assert sl.Alignment(4, 5, pairs).aligned(weak, teacher).tolist() == expected
    assert [tuple(pair) for pair in alignment.pairs.tolist()] == sorted(set(pairs))


def test_equal_names_agree():
    assert sl.Alignment.by_name(["a", "b", "c"], ["c", "x", "a"]).pairs.tolist() == [[0, 2], [2, 0]]
    assert len(sl.Alignment.by_name(["a"], ["b"])) == 0


def test_a_mapping_may_be_many_to_many():
    alignment = sl.Alignment.from_mapping({"a": ["x", "y"], "b": "y"}, ["a", "b"], ["x", "y"])
    assert alignment.pairs.tolist() == [[0, 0], [0, 1], [1, 1]]


@pytest.mark.parametrize("mapping", [{"nope": "x"}, {"a": "nope"}])
def test_unknown_names_are_refused(mapping):
    with pytest.raises(sl.LabelError, match="'nope' is not in the vocabulary"):
        sl.Alignment.from_mapping(mapping, ["a"], ["x"])


def test_another_vocabulary_is_refused():
    with pytest.raises(sl.LabelError, match="build it from the same vocabularies"):
        sl.RawSPL().fit(sl.ConfusionMatrix(["a"], ["x"]), sl.Alignment(["a"], ["y"], [(0, 0)]))


@pytest.mark.parametrize("pairs", [[(0, 9)], [(-1, 0)], [(0, 0, 0)]])
def test_bad_pairs_are_refused(pairs):
    with pytest.raises(sl.LabelError):
        sl.Alignment(2, 2, pairs)


def test_ragged_pairs_are_refused():
    with pytest.raises(sl.LabelError, match="pairs of an alignment"):
        sl.Alignment(3, 3, [(0, 1), (1,)])


@pytest.mark.parametrize("alignment", ["abc", [(0, 1)], 3])
def test_what_is_no_alignment_is_refused(alignment):
    with pytest.raises(sl.LabelError, match="expected an Alignment, a mapping"):
        sl.SPLB().fit(sl.ConfusionMatrix(["a", "b", "c"]), alignment)
