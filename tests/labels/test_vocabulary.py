from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sublabel as sl


@given(names=st.lists(st.text(min_size=1), min_size=1, unique=True))
def test_index_inverts_iteration(names):
    vocabulary = sl.Vocabulary(names)
    assert list(vocabulary) == names
    assert [vocabulary.index(name) for name in vocabulary] == list(range(len(vocabulary)))
    assert vocabulary.encode([*names, None]).tolist() == [*range(len(names)), -1]


def test_the_fingerprint_tells_order_and_boundaries_apart():
    prints = {sl.Vocabulary(names).fingerprint for names in (["a", "b"], ["b", "a"], ["ab"], ["a", "b", "c"])}
    assert len(prints) == 4
    assert sl.Vocabulary(["a", "b"]) == sl.Vocabulary(("a", "b"))


def test_a_number_names_its_classes():
    assert sl.Vocabulary.of(3).names == ("0", "1", "2")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cat", "dog", "cat"], "'cat' stands at positions 0 and 2"),
        ([], "needs at least one name"),
        (["cat", ""], "name 1 of the vocabulary is ''"),
        (["cat", 3], "name 1 of the vocabulary is 3"),
        ("cat", "got the one string 'cat'"),
        ({"cat", "dog"}, "got a set of 2: its order differs from run to run"),
    ],
)
def test_bad_names_are_refused(names, message):
    with pytest.raises(sl.LabelError, match=message):
        sl.Vocabulary(names)


@pytest.mark.parametrize("value", [0, -1, True, None, 1.5])
def test_what_is_no_vocabulary_is_refused(value):
    with pytest.raises(sl.LabelError, match="vocabulary|Vocabulary"):
        sl.Vocabulary.of(value)


def test_an_unknown_name_is_answered_with_the_closest():
    vocabulary = sl.Vocabulary(["baking cookies", "abseiling"])
    with pytest.raises(sl.LabelError, match="did you mean 'baking cookies'"):
        vocabulary.index("baking cookie")
    with pytest.raises(sl.LabelError, match="'zumba' at position 1"):
        vocabulary.encode(["abseiling", "zumba"])


def test_what_yaml_or_pandas_made_of_a_name_is_refused_in_words():
    animals = sl.Vocabulary(["1", "no"])
    with pytest.raises(sl.LabelError, match="names are strings, and None is no label"):
        animals.index(True)
    for names, message in (
        (["no", True], "types bool, str"),
        ([1, 1], "are integers, and names were expected"),
    ):
        with pytest.raises(sl.LabelError, match=message):
            animals.encode(names)
    assert animals.encode(["no", float("nan"), None]).tolist() == [1, -1, -1]
    for mapping in ({False: "1"}, {"no": 1}, {0: [0]}):
        with pytest.raises(sl.LabelError, match="names are strings"):
            sl.Alignment.from_mapping(mapping, animals, animals)


def test_numpy_names_read_as_plain_ones():
    assert repr(sl.Vocabulary(np.array(["x", "y"]))) == "Vocabulary(2: 'x', 'y')"


def test_a_name_that_is_an_array_is_refused():
    with pytest.raises(sl.LabelError, match="names are non-empty strings"):
        sl.Vocabulary([np.array([1, 2])])


@given(names=st.lists(st.text(min_size=1), min_size=1, unique=True), seed=st.integers(0, 99))
def test_a_mapping_of_ids_is_the_list_in_their_order(names, seed):
    order = np.random.default_rng(seed).permutation(len(names)).tolist()
    expected = sl.Vocabulary(names)
    # Names that are all digits in another order read as ids themselves.
    by_id = {position: names[position] for position in order}
    assert sl.Vocabulary(by_id) == expected
    assert sl.Vocabulary(json.loads(json.dumps(by_id))) == expected


@pytest.mark.parametrize(
    "mapping", [{0: "a", 2: "b"}, {"a": 1, "b": 2}, {0: "a", "x": "b"}, {"a": 0, "b": 0}, {"a": True, "b": 0}]
)
def test_a_mapping_needs_each_id_once(mapping):
    with pytest.raises(sl.LabelError, match="ids 0 to 1, each once"):
        sl.Vocabulary(mapping)


def test_the_headings_of_a_table_are_no_names():
    with pytest.raises(sl.LabelError, match="got a DataFrame: give the one column"):
        sl.Vocabulary(pd.DataFrame({"name": ["a", "b"]}))
