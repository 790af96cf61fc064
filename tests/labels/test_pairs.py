from __future__ import annotations

import dataclasses
import datetime
import json
from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

import sublabel as sl
from tests.labels.regime import regime

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")
torch = pytest.importorskip("torch")

NAMES = ["whisk", "bake", None, "fold", "bake", "whisk"]
SORTED = ["bake", "fold", "whisk"]
IDS = [2, 0, -1, 1, 0, 2]
NAN = float("nan")


def encode(values, names):
    """An independent reading of names: the position in a list, -1 for whatever is no string."""
    return [names.index(value) if isinstance(value, str) else -1 for value in values]


def dictionary(*chunks):
    """A chunked Arrow dictionary, each chunk with a dictionary of its own."""
    return pa.chunked_array([pa.array(chunk).dictionary_encode() for chunk in chunks])


NAME_FORMS = {
    "list": list(NAMES),
    "tuple": tuple(NAMES),
    "list with NaN": [NAN if name is None else name for name in NAMES],
    "list with NA": [pd.NA if name is None else name for name in NAMES],
    "list with NaT": [pd.NaT if name is None else name for name in NAMES],
    "list of NumPy strings": [None if name is None else np.str_(name) for name in NAMES],
    "NumPy objects": np.array(NAMES, dtype=object),
    "NumPy objects with NaN": np.array([NAN if n is None else n for n in NAMES], dtype=object),
    "NumPy masked": np.ma.masked_array(
        ["none" if name is None else name for name in NAMES], [name is None for name in NAMES]
    ),
    "pandas": pd.Series(NAMES),
    "pandas objects": pd.Series(NAMES, dtype=object),
    "pandas string": pd.Series(NAMES, dtype="string"),
    "pandas string in Python": pd.Series(NAMES, dtype=pd.StringDtype("python")),
    "pandas Arrow": pd.Series(NAMES, dtype=pd.ArrowDtype(pa.string())),
    "pandas Arrow dictionary": pd.Series(
        pd.arrays.ArrowExtensionArray(pa.chunked_array([pa.array(NAMES).dictionary_encode()]))
    ),
    "pandas Categorical": pd.Categorical(NAMES),
    "pandas categorical": pd.Series(NAMES, dtype="category"),
    "pandas categories without samples": pd.Categorical(NAMES, categories=["x", *SORTED, "y"]),
    "pandas Index": pd.Index(NAMES),
    "pandas CategoricalIndex": pd.CategoricalIndex(NAMES),
    "Polars": pl.Series(NAMES),
    "Polars Categorical": pl.Series(NAMES, dtype=pl.Categorical),
    "Polars Enum": pl.Series(NAMES, dtype=pl.Enum(["x", *SORTED])),
    "Arrow": pa.array(NAMES),
    "Arrow large": pa.array(NAMES, type=pa.large_string()),
    "Arrow view": pa.array(NAMES, type=pa.string_view()),
    "Arrow chunks": pa.chunked_array([NAMES[:2], NAMES[2:2], NAMES[2:]]),
    "Arrow sliced": pa.array(["x", *NAMES, "y"]).slice(1, len(NAMES)),
    "Arrow dictionary": pa.array(NAMES).dictionary_encode(),
    "Arrow chunked dictionaries": dictionary(NAMES[:2], NAMES[2:4], NAMES[4:]),
    "Arrow dictionary of views": pa.DictionaryArray.from_arrays(
        pa.array([2, 0, None, 1, 0, 2], pa.int8()), pa.array(SORTED).cast(pa.string_view())
    ),
    "Arrow dictionary with null inside": pa.DictionaryArray.from_arrays(
        pa.array([2, 0, 3, 1, 0, 2], pa.int8()), pa.array([*SORTED, None])
    ),
}


@pytest.mark.parametrize("form", NAME_FORMS)
def test_names_of_any_library_are_read_as_a_loop_reads_them(form):
    values = NAME_FORMS[form]
    pairs = sl.Pairs(values, values)
    assert pairs.weak.tolist() == pairs.teacher.tolist() == encode(NAMES, SORTED)
    assert list(pairs.weak_vocabulary) == list(pairs.teacher_vocabulary) == SORTED
    assert all(type(name) is str for name in pairs.weak_vocabulary)
    given_names = ["fold", "knead", "whisk", "bake"]
    pairs = sl.Pairs(values, values, weak_vocabulary=given_names)
    assert pairs.weak.tolist() == pairs.teacher.tolist() == encode(NAMES, given_names)
    assert list(pairs.teacher_vocabulary) == given_names


# NumPy 2 has strings of any width.
STRING_DTYPES = ["U", "U9", *([np.dtypes.StringDType()] if hasattr(np.dtypes, "StringDType") else [])]


@pytest.mark.parametrize("dtype", STRING_DTYPES)
def test_numpy_strings_are_names(dtype):
    known = [name for name in NAMES if name is not None]
    assert sl.Pairs(np.array(known, dtype=dtype), known).weak.tolist() == encode(known, SORTED)


INTEGER_DTYPES = ["int8", "int16", "int32", "int64", ">i2", ">i4", ">i8"]
UNSIGNED = ["uint8", "uint16", "uint32", "uint64"]
ID_FORMS = {
    "list": list(IDS),
    "list with None": [None if i < 0 else i for i in IDS],
    "list with NaN": [NAN if i < 0 else i for i in IDS],
    "list with NA": [pd.NA if i < 0 else i for i in IDS],
    "list of NumPy integers": [np.int16(i) for i in IDS],
    **{dtype: np.array(IDS, dtype=dtype) for dtype in INTEGER_DTYPES},
    "float64": np.array([NAN if i < 0 else i for i in IDS]),
    "float32": np.array(IDS, dtype=np.float32),
    "float16": np.array(IDS, dtype=np.float16),
    "objects": np.array([None if i < 0 else i for i in IDS], dtype=object),
    "masked": np.ma.masked_equal(IDS, -1),
    "masked beyond the range": np.ma.masked_array([2, 0, 99, 1, 0, 2], [0, 0, 1, 0, 0, 0]),
    "strided": np.repeat(IDS, 3)[::3],
    "read-only": np.frombuffer(np.array(IDS, dtype=np.int32).tobytes(), dtype=np.int32),
    "pandas": pd.Series(IDS),
    "pandas with NaN": pd.Series([NAN if i < 0 else i for i in IDS]),
    "pandas Int64": pd.Series([pd.NA if i < 0 else i for i in IDS], dtype="Int64"),
    "pandas Int8": pd.Series([pd.NA if i < 0 else i for i in IDS], dtype="Int8"),
    "pandas UInt16": pd.Series([pd.NA if i < 0 else i for i in IDS], dtype="UInt16"),
    "pandas Float64": pd.Series([pd.NA if i < 0 else i for i in IDS], dtype="Float64"),
    "pandas Arrow": pd.Series([None if i < 0 else i for i in IDS], dtype="int32[pyarrow]"),
    "pandas Arrow unsigned": pd.Series([None if i < 0 else i for i in IDS], dtype="uint8[pyarrow]"),
    "pandas Categorical of ids": pd.Categorical([None if i < 0 else i for i in IDS]),
    "pandas Index": pd.Index(IDS),
    "pandas RangeIndex": pd.RangeIndex(3)[:0].append(pd.Index(IDS)),
    "Polars": pl.Series([None if i < 0 else i for i in IDS]),
    "Polars UInt8": pl.Series([None if i < 0 else i for i in IDS], dtype=pl.UInt8),
    "Polars Float32": pl.Series([None if i < 0 else i for i in IDS], dtype=pl.Float32),
    "Arrow": pa.array([None if i < 0 else i for i in IDS]),
    "Arrow int8": pa.array([None if i < 0 else i for i in IDS], pa.int8()),
    "Arrow uint64": pa.array([None if i < 0 else i for i in IDS], pa.uint64()),
    "Arrow double": pa.array([None if i < 0 else i for i in IDS], pa.float64()),
    "Arrow chunks": pa.chunked_array([IDS[:2], IDS[2:]]),
    "Arrow dictionary of ids": pa.array([None if i < 0 else i for i in IDS]).dictionary_encode(),
    "torch int64": torch.tensor(IDS),
    "torch int32": torch.tensor(IDS, dtype=torch.int32),
    "torch int8": torch.tensor(IDS, dtype=torch.int8),
    "torch float": torch.tensor(IDS, dtype=torch.float32, requires_grad=True),
    "list of torch scalars": list(torch.tensor(IDS)),
}


@pytest.mark.parametrize("form", ID_FORMS)
def test_ids_of_any_library_are_read_as_they_are(form):
    values = ID_FORMS[form]
    pairs = sl.Pairs(values, values, weak_vocabulary=SORTED)
    assert pairs.weak.tolist() == pairs.teacher.tolist() == IDS
    assert pairs.weak.dtype.kind == pairs.teacher.dtype.kind == "i"
    assert pairs.abstained == 1
    assert len(sl.Pairs(values, values).weak_vocabulary) == 3


@pytest.mark.parametrize("dtype", UNSIGNED)
def test_unsigned_ids_are_read_as_they_are(dtype):
    values = np.array([0, 2, 1], dtype=dtype)
    pairs = sl.Pairs(values, values, weak_vocabulary=3)
    assert pairs.weak.tolist() == [0, 2, 1]
    result = sl.relabel(pairs)
    assert result.labels.tolist() == [0, 2, 1]


@pytest.mark.parametrize("dtype", [*INTEGER_DTYPES, "float32"])
def test_every_dtype_counts_and_assigns_the_same(dtype):
    expected = sl.relabel(sl.Pairs(IDS, IDS[::-1], weak_vocabulary=3))
    found = sl.relabel(sl.Pairs(np.array(IDS, dtype), np.array(IDS[::-1], dtype), weak_vocabulary=3))
    assert found.confusion == expected.confusion
    assert found.labels.tolist() == expected.labels.tolist()


def test_jax_arrays_are_read():
    jnp = pytest.importorskip("jax.numpy")
    pairs = sl.Pairs(jnp.array(IDS), jnp.array(IDS), weak_vocabulary=3)
    assert pairs.weak.tolist() == pairs.teacher.tolist() == IDS
    scores = jnp.array([[0.25, 0.75]], dtype=jnp.bfloat16)
    assert sl.Pairs([0], scores, weak_vocabulary=2).teacher.tolist() == [1]


@pytest.mark.parametrize(
    "nothing",
    [
        [None, None], [NAN, NAN], [pd.NA, NAN], [-1, -1], np.array([NAN, NAN]), pd.Series([None, None]),
        pd.Series([pd.NA, pd.NA], dtype="Int64"), pd.Series([None, None], dtype="string"),
        pd.Categorical([None, None]), pl.Series([None, None]), pl.Series([None, None], dtype=pl.String),
        pl.Series([None, None], dtype=pl.Categorical), pa.nulls(2), pa.nulls(2, pa.string()),
        pa.nulls(2, pa.int32()), pa.chunked_array([pa.nulls(1), pa.nulls(1)]),
        pa.nulls(2, pa.dictionary(pa.int8(), pa.string())), np.ma.masked_all(2, dtype=int),
    ],
    ids=repr,
)  # fmt: skip
def test_samples_without_any_label_all_abstain(nothing):
    pairs = sl.Pairs(nothing, [0, 1], weak_vocabulary=["a", "b"])
    assert pairs.weak.tolist() == [-1, -1]
    assert sl.Pairs([0, 1], nothing, weak_vocabulary=["a", "b"]).teacher.tolist() == [-1, -1]
    assert sl.relabel(pairs).labels.tolist() == [-1, -1]
    assert sl.relabel(pairs).labels.reasons.tolist() == ["no weak label"] * 2


@pytest.mark.parametrize(
    "empty",
    [
        [], (), np.array([]), np.array([], dtype=int), np.array([], dtype="U1"), pd.Series([], dtype=object),
        pd.Series([], dtype="string"), pd.Categorical([]), pl.Series([]), pl.Series([], dtype=pl.String),
        pa.array([], pa.string()), pa.chunked_array([], pa.string()), pa.array([], pa.int8()),
        pa.chunked_array([], pa.dictionary(pa.int8(), pa.string())), torch.tensor([], dtype=torch.int64),
    ],
    ids=repr,
)  # fmt: skip
def test_no_samples_are_no_pairs(empty):
    pairs = sl.Pairs(empty, empty, weak_vocabulary=["a", "b"])
    assert (len(pairs), pairs.abstained) == (0, 0)
    assert sl.count(pairs).total == 0
    assert len(sl.relabel(pairs).labels) == 0


@given(
    weak=st.lists(st.one_of(st.none(), st.sampled_from("abcd")), min_size=1, max_size=30),
    seed=st.integers(0, 99),
)
def test_names_and_their_ids_are_the_same_pairs(weak, seed):
    teacher = [weak[i] for i in np.random.default_rng(seed).permutation(len(weak))]
    names = ["d", "b", "a", "c"]
    by_name = sl.Pairs(weak, teacher, weak_vocabulary=names)
    by_id = sl.Pairs(encode(weak, names), encode(teacher, names), weak_vocabulary=names)
    for array in ("weak", "teacher"):
        assert getattr(by_name, array).tolist() == getattr(by_id, array).tolist()
    assert sl.count(by_name) == sl.count(by_id)


# --- the teacher's predictions

TOP = np.array([[1, 0], [2, 1], [-1, -1], [0, -1]])
TOP_PROBS = np.array([[0.75, 0.25], [0.5, 0.25], [0.0, 0.0], [1.0, 0.0]])
TopK = namedtuple("TopK", ["values", "indices"])
Prediction = namedtuple("Prediction", ["ids", "probs"])


def names_of(rows):
    return [[None if i < 0 else SORTED[i] for i in row] for row in rows]


TOP_FORMS = {
    "array": TOP,
    "int32": TOP.astype(np.int32),
    "lists": TOP.tolist(),
    "list of arrays": list(TOP),
    "ragged lists": [[1, 0], [2, 1], [], [0]],
    "ragged lists with None": [[1, 0], [2, 1], None, [0]],
    "names": names_of(TOP),
    "array of names": np.array(names_of(TOP), dtype=object),
    "ragged names": [["fold", "bake"], ["whisk", "fold"], [], ["bake"]],
    "torch": torch.tensor(TOP),
    "torch int32": torch.tensor(TOP, dtype=torch.int32),
    "list of tensors": list(torch.tensor(TOP)),
    "Arrow lists": pa.array([[1, 0], [2, 1], None, [0]]),
    "Arrow fixed lists": pa.array(TOP.tolist(), pa.list_(pa.int32(), 2)),
    "Arrow lists of names": pa.array([["fold", "bake"], ["whisk", "fold"], None, ["bake"]]),
    "Arrow chunks of lists": pa.chunked_array([[[1, 0], [2, 1]], [None, [0]]]),
    "Polars lists": pl.Series([[1, 0], [2, 1], None, [0]]),
    "Polars arrays": pl.Series(TOP.tolist(), dtype=pl.Array(pl.Int64, 2)),
    "Polars lists of names": pl.Series([["fold", "bake"], ["whisk", "fold"], None, ["bake"]]),
    "pandas lists": pd.Series([[1, 0], [2, 1], None, [0]]),
    "pandas lists of names": pd.Series([["fold", "bake"], ["whisk", "fold"], None, ["bake"]]),
    "NumPy objects": np.array([[1, 0], [2, 1], None, [0]], dtype=object),
    "masked": np.ma.masked_array(np.abs(TOP), TOP < 0),
    "pandas arrays": pd.Series(list(TOP)),
    "pandas Arrow lists": pd.Series([[1, 0], [2, 1], None, [0]], dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
}


@pytest.mark.parametrize("form", TOP_FORMS)
def test_the_k_most_probable_classes_are_read(form):
    pairs = sl.Pairs([0, 1, 2, 0], TOP_FORMS[form], weak_vocabulary=SORTED)
    assert pairs.teacher.tolist() == [1, 2, -1, 0]
    assert pairs.top_ids.tolist() == TOP.tolist()
    assert pairs.top_probs is None


PROBABILITY_FORMS = {
    "array": TOP_PROBS,
    "float32": TOP_PROBS.astype(np.float32),
    "float16": TOP_PROBS.astype(np.float16),
    "lists": TOP_PROBS.tolist(),
    "beside nothing anything": np.where(TOP < 0, NAN, TOP_PROBS),
    "torch": torch.tensor(TOP_PROBS, requires_grad=True),
    "torch bfloat16": torch.tensor(TOP_PROBS, dtype=torch.bfloat16),
    "torch float16": torch.tensor(TOP_PROBS, dtype=torch.float16),
    "list of tensors": list(torch.tensor(TOP_PROBS)),
    "Arrow": pa.array(TOP_PROBS.tolist()),
    "Arrow ragged": pa.array([[0.75, 0.25], [0.5, 0.25], None, [1.0]]),
    "Polars": pl.Series(TOP_PROBS.tolist()),
    "pandas": pd.Series(TOP_PROBS.tolist()),
    "ragged": [[0.75, 0.25], [0.5, 0.25], [], [1.0]],
    "lists with None": [[0.75, 0.25], [0.5, 0.25], [None, None], [1.0, None]],
}


@pytest.mark.parametrize("form", PROBABILITY_FORMS)
def test_classes_with_their_probabilities_are_read(form):
    probs = PROBABILITY_FORMS[form]
    for pairs in (
        sl.Pairs([0, 1, 2, 0], (TOP, probs), weak_vocabulary=SORTED),
        sl.Pairs([0, 1, 2, 0], TOP, probabilities=probs, weak_vocabulary=SORTED),
        sl.Pairs([0, 1, 2, 0], Prediction(names_of(TOP), probs), weak_vocabulary=SORTED),
    ):
        assert pairs.teacher.tolist() == [1, 2, -1, 0]
        assert pairs.top_ids.tolist() == TOP.tolist()
        assert pairs.top_probs.tolist() == TOP_PROBS.tolist()


@pytest.mark.parametrize(
    "teacher",
    [
        ([1, 2, -1, 0], [0.75, 0.5, 0.0, 1.0]),
        (["fold", "whisk", None, "bake"], [0.75, 0.5, NAN, 1.0]),
        (["fold", "whisk", None, "bake"], [0.75, 0.5, None, 1.0]),
        (["fold", "whisk", None, "bake"], np.array([0.75, 0.5, None, 1.0], dtype=object)),
        (pd.Series(["fold", "whisk", None, "bake"]), pd.Series([0.75, 0.5, None, 1.0])),
        (pd.Series([1, 2, None, 0], dtype="Int64"), pd.Series([0.75, 0.5, None, 1.0], dtype="Float64")),
        (pl.Series([1, 2, None, 0]), pl.Series([0.75, 0.5, None, 1.0])),
        (pa.array([1, 2, None, 0]), pa.array([0.75, 0.5, None, 1.0])),
        (pa.chunked_array([[1, 2], [None, 0]]), pa.chunked_array([[0.75, 0.5], [None, 1.0]])),
        (torch.tensor([1, 2, -1, 0]), torch.tensor([0.75, 0.5, 0.0, 1.0])),
    ],
    ids=lambda teacher: type(teacher[0]).__module__,
)
def test_one_class_with_its_probability_is_read(teacher):
    pairs = sl.Pairs([0, 1, 2, 0], teacher, weak_vocabulary=SORTED)
    assert pairs.teacher.tolist() == [1, 2, -1, 0]
    assert pairs.top_ids.tolist() == [[1], [2], [-1], [0]]
    assert pairs.top_probs.tolist() == [[0.75], [0.5], [0.0], [1.0]]


def test_what_torch_topk_returns_is_taken_in_either_order():
    scores = torch.rand(20, 5, requires_grad=True).softmax(1)
    found = scores.topk(3)
    for teacher in ((found.indices, found.values), found):
        pairs = sl.Pairs(torch.zeros(20, dtype=torch.int64), teacher, weak_vocabulary=5)
        assert pairs.top_ids.tolist() == found.indices.tolist()
        assert pairs.top_probs.tolist() == found.values.tolist()


SCORES = np.array([[0.125, 0.625, 0.25], [0.5, 0.25, 0.25], [NAN, NAN, NAN], [0.25, 0.25, 0.5]])
SCORE_FORMS = {
    "array": SCORES,
    "float32": SCORES.astype(np.float32),
    "float16": SCORES.astype(np.float16),
    "Fortran order": np.asfortranarray(SCORES),
    "lists": SCORES.tolist(),
    "list of arrays": list(SCORES),
    "torch": torch.tensor(SCORES, requires_grad=True),
    "torch bfloat16": torch.tensor(SCORES, dtype=torch.bfloat16),
    "Arrow lists": pa.array(SCORES.tolist()),
    "Polars lists": pl.Series(SCORES.tolist()),
    "pandas lists": pd.Series(SCORES.tolist()),
    "pandas frame": pd.DataFrame(SCORES, columns=SORTED),
    "pandas frame in another order": pd.DataFrame(SCORES[:, ::-1], columns=SORTED[::-1]),
    "pandas frame without names": pd.DataFrame(SCORES),
    "pandas nullable frame": pd.DataFrame(SCORES, columns=SORTED).convert_dtypes(),
    "Polars frame": pl.DataFrame(SCORES, schema=SORTED),
    "Polars frame of nulls": pl.DataFrame(SCORES, schema=SORTED).fill_nan(None),
    "Arrow table": pa.table(dict(zip(SORTED, SCORES.T, strict=True))),
    "Arrow table of nulls": pa.Table.from_pandas(pd.DataFrame(SCORES, columns=SORTED)),
}


@pytest.mark.parametrize("form", SCORE_FORMS)
def test_the_probabilities_of_all_classes_are_read(form):
    pairs = sl.Pairs([0, 1, 2, 0], SCORE_FORMS[form], weak_vocabulary=SORTED)
    # Of equal ones the first class comes first.
    assert pairs.teacher.tolist() == [1, 0, -1, 2]
    assert pairs.top_ids.tolist() == [[1, 2, 0], [0, 1, 2], [-1, -1, -1], [2, 0, 1]]
    assert pairs.top_probs[[0, 1, 3]].tolist() == [[0.625, 0.25, 0.125], [0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]
    assert list(pairs.teacher_vocabulary) == SORTED


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_the_columns_of_a_frame_are_the_teachers_classes(frame):
    scores = frame({"whisk": [0.9, 0.2], "bake": [0.1, 0.8]})
    pairs = sl.Pairs(["bake", "fold"], scores)
    assert list(pairs.teacher_vocabulary) == ["whisk", "bake"]
    assert list(pairs.weak_vocabulary) == ["bake", "fold"]
    assert pairs.teacher.tolist() == [0, 1]
    again = sl.Pairs(["bake", "fold"], scores, teacher_vocabulary=["bake", "whisk"])
    assert again.teacher.tolist() == [1, 0]
    with pytest.raises(
        sl.LabelError, match=r"columns.*\['whisk', 'bake'\].*expected a column for each class"
    ):
        sl.Pairs(["bake", "fold"], scores, teacher_vocabulary=["bake", "fold"])


@given(seed=st.integers(0, 1 << 30), samples=st.integers(1, 20), classes=st.integers(2, 6))
def test_scores_and_their_ranking_are_the_same_pairs(seed, samples, classes):
    generator = np.random.default_rng(seed)
    scores = generator.dirichlet(np.full(classes, 0.5), samples)
    weak = generator.integers(-1, classes, samples)
    from_scores = sl.Pairs(weak, scores, weak_vocabulary=classes)
    for row, ids, probs in zip(scores, from_scores.top_ids, from_scores.top_probs, strict=True):
        assert ids.tolist() == sorted(range(classes), key=lambda c: (-row[c], c))
        assert probs.tolist() == sorted(row, reverse=True)
    ranked = sl.Pairs(weak, (from_scores.top_ids, from_scores.top_probs), weak_vocabulary=classes)
    assert ranked.teacher.tolist() == from_scores.teacher.tolist() == scores.argmax(axis=1).tolist()


# --- vocabularies

VOCABULARY_FORMS = {
    "list": SORTED,
    "tuple": tuple(SORTED),
    "generator": lambda: (name for name in SORTED),
    "Vocabulary": sl.Vocabulary(SORTED),
    "NumPy": np.array(SORTED),
    "NumPy objects": np.array(SORTED, dtype=object),
    "pandas": pd.Series(SORTED),
    "pandas with another index": pd.Series(SORTED, index=[7, 8, 9]),
    "pandas Index": pd.Index(SORTED),
    "pandas categories": pd.Categorical(SORTED).categories,
    "Polars": pl.Series(SORTED),
    "Arrow": pa.array(SORTED),
    "Arrow chunks": pa.chunked_array([SORTED[:1], SORTED[1:]]),
    "Arrow dictionary": pa.array(SORTED).dictionary_encode(),
    "{id: name}": {2: "whisk", 0: "bake", 1: "fold"},
    "dictionary of ids from NumPy names": {np.str_(name): np.int64(i) for i, name in enumerate(SORTED)},
    "{name: id}": {"whisk": 2, "bake": 0, "fold": 1},
    "{NumPy id: name}": {np.int64(i): name for i, name in enumerate(SORTED)},
    "JSON": json.loads(json.dumps(dict(enumerate(SORTED)))),
    "dict keys": dict.fromkeys(SORTED).keys(),
}


@pytest.mark.parametrize("form", VOCABULARY_FORMS)
def test_vocabularies_are_what_people_have(form):
    value = VOCABULARY_FORMS[form]
    weak = [name for name in NAMES if name]
    made = value() if callable(value) and form == "generator" else value
    pairs = sl.Pairs(weak, weak, weak_vocabulary=made)
    assert list(pairs.weak_vocabulary) == list(pairs.teacher_vocabulary) == SORTED


def test_without_vocabularies_names_and_ids_tell_them():
    names = sl.Pairs(["b", "a"], ["z", None])
    assert (list(names.weak_vocabulary), list(names.teacher_vocabulary)) == (["a", "b"], ["z"])
    ids = sl.Pairs([0, 1], [4, 0])
    assert len(ids.weak_vocabulary) == len(ids.teacher_vocabulary) == 5
    mixed = sl.Pairs(["b", "a"], [4, 0])
    assert (len(mixed.weak_vocabulary), len(mixed.teacher_vocabulary)) == (2, 5)
    turned = sl.Pairs(pd.Series([4, 0], dtype="category"), ["b", "a"])
    assert (len(turned.weak_vocabulary), list(turned.teacher_vocabulary)) == (5, ["a", "b"])
    number = sl.Pairs([0], [0], weak_vocabulary=2, teacher_vocabulary=3)
    assert (list(number.weak_vocabulary), list(number.teacher_vocabulary)) == (["0", "1"], ["0", "1", "2"])
    digits = sl.Pairs(["10", "9"], [0, 0], weak_vocabulary={"0": "10", "1": "9"})
    assert digits.weak.tolist() == [0, 1]


# --- what is refused

ONE_HOT = np.eye(3)
REFUSED: dict[str, tuple[Any, ...]] = {
    "fewer weak labels": ([0], [0, 1], {}, "got 1 weak labels and 2 teacher predictions.*join them"),
    "weak label out of range": ([0, 7], [0, 0], {}, r"weak label 7 at position 1.*3 classes \(0–2"),
    "weak label below -1": ([0, -2], [0, 0], {}, "weak label -2 at position 1"),
    "teacher out of range": ([0, 0], [-2, 0], {}, "teacher label -2 at position 0"),
    "uint64 out of range": ([0], np.uint64([1 << 63]), {}, "teacher prediction 9223372036854775808"),
    "an id that no int64 holds": ([1 << 63], [0], {}, "9223372036854775808 at position 0 is beyond"),
    "an id that no int64 holds, with None": ([1 << 64, None], [0, 0], {}, "no int64 holds"),
    "unknown name": (["fold", "knead"], [0, 0], {}, "weak label 'knead' at position 1 is not in.*3 classes"),
    "unknown teacher name": ([0, 1], ["fold", "whsk"], {}, "'whsk' at position 1.*did you mean 'whisk'"),
    "empty name": (["fold", ""], [0, 0], {}, "weak label '' at position 1"),
    "fractions": ([0.5, 1], [0, 1], {}, "weak label 0.5 at position 0 is no whole number.*are they scores"),
    "fractions of the teacher": ([0, 1], [0, 1.25], {}, "teacher prediction 1.25 at position 1"),
    "infinity": ([float("inf")], [0], {}, "weak label inf at position 0"),
    "booleans": ([True, False], [0, 1], {}, "bool.*expected"),
    "booleans of NumPy": (np.array([True, False]), [0, 1], {}, "dtype bool"),
    "booleans of pandas": (pd.Series([True, None], dtype="boolean"), [0, 1], {}, "bool"),
    "booleans of Polars": (pl.Series([True, None]), [0, 1], {}, "bool"),
    "names and ids": (["fold", 1], [0, 1], {}, "types int, str.*all of one type"),
    "names and ids, as objects": (np.array([1, "a"], dtype=object), [0, 1], {}, "types int, str"),
    "bytes": ([b"fold"], [0], {}, "bytes"),
    "NumPy bytes": (np.array([b"fold"]), [0], {}, "cast bytes"),
    "Arrow bytes": (pa.array([b"fold"]), [0], {}, "Arrow array of binary"),
    "a set": ({0, 1}, [0, 1], {}, "set.*expected a list or an array"),
    "a mapping": ({0: 1}, [0], {}, "dict.*expected a list or an array"),
    "one string": ("fold", [0], {}, "str 'fold'.*expected a list or an array"),
    "one number": (3, [0], {}, r"shape \(\).*expected \(N,\)"),
    "nothing": (None, [0], {}, "NoneType None.*expected a list or an array"),
    "weak labels in two dimensions": ([[0, 1]], [0, 1], {}, r"weak labels have shape \(1, 2\)"),
    "ragged weak labels": ([[1], [1, 2]], [0, 1], {}, "weak labels"),
    "complex": (np.array([1j]), [0], {}, "dtype complex128"),
    "dates": (pd.Series([pd.Timestamp(0)]), [0], {}, "datetime"),
    "dates of Python": ([datetime.date(2020, 1, 1)], [0], {}, "date"),
    "Arrow dates": (pa.array([datetime.date(2020, 1, 1)]), [0], {}, "Arrow array of date32"),
    "a frame": (pd.DataFrame({"a": [0]}), [0], {}, "DataFrame; expected one column"),
    "a Polars frame": (pl.DataFrame({"a": [0]}), [0], {}, "DataFrame; expected a Series"),
    "an Arrow table": (pa.table({"a": [0]}), [0], {}, "Table; expected one column"),
    "three dimensions": ([0], np.zeros((1, 2, 2)), {}, r"shape \(1, 2, 2\); expected \(N,\)"),
    "no classes": ([0, 0], np.zeros((2, 0)), {}, r"shape \(2, 0\)"),
    "a class twice": ([0], [[1, 1]], {}, "position 0 are 1, 1; expected each class once"),
    "a class twice, later": ([0, 0], [[0, 1, 2], [2, 0, 2]], {}, "position 1 are 2, 0, 2"),
    "a class twice by name": ([0], [["fold", "fold"]], {}, "expected each class once"),
    "a class after none": ([0], [[-1, 1]], {}, "position 0 are -1, 1; expected -1 only after"),
    "one-hot ints": ([0, 1, 2], ONE_HOT.astype(int), {}, "position 0 are 1, 0, 0.*argmax"),
    "one-hot uint8": ([0, 1, 2], ONE_HOT.astype(np.uint8), {}, "argmax"),
    "one-hot lists": ([0, 1, 2], ONE_HOT.astype(int).tolist(), {}, "argmax"),
    "one-hot booleans": ([0, 1, 2], ONE_HOT.astype(bool), {}, r"booleans of shape \(3, 3\).*argmax"),
    "one-hot tensors": ([0, 1, 2], torch.eye(3, dtype=torch.int64), {}, "argmax"),
    "one-hot dummies": ([0, 1, 2], pd.get_dummies(pd.Series(SORTED)), {}, "columns of bool.*idxmax"),
    "one-hot Polars frame": ([0, 1], pl.DataFrame({"bake": [1, 0], "fold": [0, 1]}), {}, "one-hot"),
    "one-hot Arrow table": ([0, 1], pa.table({"bake": [1, 0], "fold": [0, 1]}), {}, "one-hot"),
    "ids behind their probabilities": ([0], ([[0.5, 0.25]], [[1, 0]]), {}, "top_ids, top_probs.*order"),
    "one-hot of two": ([0, 1], np.eye(2, dtype=int), {"weak_vocabulary": 2}, "one-hot.*argmax"),
    "one-hot frame": (
        [0, 1, 2], pd.DataFrame(np.eye(3, dtype=int), columns=SORTED), {}, "columns of int64.*one-hot",
    ),
    "rising": ([0], ([[0, 1]], [[0.2, 0.8]]), {}, "0.2, 0.8.*most probable class first.*torch.topk"),
    "rising later": ([0, 0], ([[0, 1], [1, 2]], [[0.5, 0.2], [0.3, 0.4]]), {}, "position 1.*first"),
    "negative probability": ([0], ([[0, 1]], [[0.2, -0.8]]), {}, "-0.8 at position 0 is outside 0–1"),
    "probability above 1": ([0], ([0], [1.5]), {}, "1.5 at position 0 is outside 0–1; are they logits"),
    "NaN beside a class": ([0], ([0], [NAN]), {}, "nan at position 0 is outside 0–1"),
    "logits of k": ([0], ([[0, 1]], [[5.0, -2.0]]), {}, "outside 0–1; are they logits"),
    "logits of all": ([0], [[5.0, -2.0, 1.0]], {}, "outside 0–1; are they logits"),
    "sigmoids": ([0], [[0.9, 0.8, 0.7]], {}, "position 0 sum to 2.4; expected 1 over all 3 classes"),
    "too little in all": ([0], [[0.1, 0.1, 0.1]], {}, "sum to 0.3; expected 1"),
    "too much in k": ([0], ([[0, 1]], [[0.9, 0.9]]), {}, "position 0 sum to 1.8; expected at most 1"),
    "some NaN in all": ([0], [[0.5, NAN, 0.5]], {}, "nan at position 0"),
    "fewer columns than classes": ([0], [[0.5, 0.5]], {}, r"shape \(1, 2\) for a vocabulary of 3 classes"),
    "fewer probabilities": ([0, 0], ([0, 1], [0.5]), {}, r"shape \(1,\).*classes \(2,\)"),
    "probabilities of another shape": ([0], ([[0, 1]], [0.5]), {}, r"shape \(1,\).*\(1, 2\)"),
    "all probabilities beside classes": (
        [0, 0], [0, 1], {"probabilities": [[0.5, 0.25, 0.25]] * 2}, "given as `teacher`, alone",
    ),
    "probabilities of words": ([0], ([0], ["a"]), {}, "dtype.*expected floats"),
    "two rows as a tuple": ([0, 1], ([0, 1], [1, 0]), {}, "dtype int64; expected floats.*tuple is"),
    "probabilities twice": ([0], ([0], [0.5]), {"probabilities": [0.5]}, "given twice"),
    "scores and probabilities": ([0], [[0.5, 0.5]], {"probabilities": [0.5]}, "give one of them"),
    "ragged scores": ([0, 0], [[0.5, 0.5], [1.0]], {}, "several lengths"),
    "a frame of words": (
        [0], pd.DataFrame({"a": ["x"]}), {}, "columns of (str|object); expected a column of probabilities",
    ),
    "mixed rows": ([0, 0], [[0, 1], 2], {}, "prediction at position 1 is 2, and others are lists"),
    "names twice": ([0], [0], {"weak_vocabulary": ["a", "a"]}, "'a' stands at positions 0 and 1"),
    "no names": ([0], [0], {"weak_vocabulary": []}, "at least one name"),
    "a set of names": ([0], [0], {"weak_vocabulary": {"a", "b"}}, "set of 2: its order differs"),
    "a mapping with a gap": ([0], [0], {"weak_vocabulary": {0: "a", 2: "b"}}, "ids 0 to 1, each once"),
    "a mapping with an id twice": ([0], [0], {"weak_vocabulary": {"a": 0, "b": 0}}, "ids 0 to 1"),
    "nothing to tell names": ([None], [None], {"weak_vocabulary": None}, "give the weak_vocabulary"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_bad_pairs_are_refused_in_words(case):
    weak, teacher, options, message = REFUSED[case]
    with pytest.raises(sl.LabelError, match=f"(?s){message}"):
        sl.Pairs(weak, teacher, **{"weak_vocabulary": SORTED, **options})


def test_other_indexes_are_never_joined_by_position():
    weak = pd.Series([0, 1], index=["a", "b"])
    shuffled = pd.Series([0, 1], index=["b", "a"])
    for other in (shuffled, shuffled.astype("Int64"), shuffled.astype("category")):
        with pytest.raises(
            sl.LabelError, match=r"indexes of weak labels and teacher predictions differ.*join"
        ):
            sl.Pairs(weak, other)
    with pytest.raises(sl.LabelError, match="weak labels and sample_ids differ"):
        sl.Pairs(weak, [0, 1], sample_ids=shuffled)
    with pytest.raises(sl.LabelError, match="indexes of teacher predictions and probabilities differ"):
        sl.Pairs([0, 1], weak, probabilities=shuffled)
    with pytest.raises(sl.LabelError, match="indexes"):
        sl.Pairs([0, 1], (weak, shuffled), weak_vocabulary=2)
    with pytest.raises(sl.LabelError, match="indexes"):
        sl.Pairs(weak, pd.DataFrame(np.eye(2), index=["b", "a"]))
    with pytest.raises(sl.LabelError, match="reset_index"):
        sl.Pairs(pd.Series([0, 1], index=[0, 1]), pd.Series([0, 1], index=[1, 2]))
    assert sl.Pairs(weak, weak.sort_index(), sample_ids=weak.index).sample_ids.tolist() == ["a", "b"]
    assert sl.Pairs(weak.to_numpy(), shuffled).teacher.tolist() == [0, 1]


# --- sample ids


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["a", "b"], ["a", "b"]),
        ([3, 1], [3, 1]),
        (np.array(["a", "b"]), ["a", "b"]),
        *((np.array(["a", "b"], dtype=dtype), ["a", "b"]) for dtype in STRING_DTYPES),
        (np.array([1 << 63, 1], dtype=np.uint64), [1 << 63, 1]),
        (["a", 1], ["a", 1]),
        ([1 << 70, 1], [1 << 70, 1]),
        (pd.Series(["a", "b"]), ["a", "b"]),
        (pd.Series(["a", "b"], dtype="string"), ["a", "b"]),
        (pd.Series(["a", "b"], dtype="category"), ["a", "b"]),
        (pd.Series([1, 2], dtype="Int64"), [1, 2]),
        (pd.Index(["a", "b"]), ["a", "b"]),
        (pl.Series(["a", "b"]), ["a", "b"]),
        (pa.array(["a", "b"]), ["a", "b"]),
        (pa.chunked_array([["a"], ["b"]]), ["a", "b"]),
        (torch.tensor([5, 6]), [5, 6]),
        ((i for i in "ab"), ["a", "b"]),
    ],
    ids=repr,
)
def test_sample_ids_are_strings_or_integers(ids, expected):
    found = sl.Pairs([0, 1], [0, 1], sample_ids=ids).sample_ids
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        # What pandas makes of integer ids with a gap: "1.0" would hash unlike "1", and move the label.
        ([1.0, 2.0], "sample_ids have dtype float64"),
        ([None, "a"], "sample id None at position 0"),
        (np.array(["a", NAN], dtype=object), "sample id nan at position 1"),
        (pd.Series(["a", None]), "at position 1"),
        (pd.Series([1, None], dtype="Int64"), "at position 1"),
        (pl.Series(["a", None]), "sample id None at position 1"),
        (pl.Series([1, None]), "sample id None at position 1"),
        (pa.array(["a", None]), "sample id None at position 1"),
        (np.ma.masked_array([1, 2], [False, True]), "at position 1"),
        ([b"a", b"b"], "expected strings or integers"),
        ([True, False], "dtype bool"),
        ([["a"], ["b"]], r"sample_ids have shape \(2, 1\)"),
        (["a"], r"shape \(1,\) for 2 samples"),
        ("ab", "str 'ab'.*one id for each"),
        ({"a", "b"}, "sample_ids are set"),
        ([1.0, "a"], "sample id 1.0 at position 0"),
        (["a", "a"], "'a' stands at positions 0 and 1.*make them unique"),
        ([7, 7], "7 stands at positions 0 and 1"),
        ([7, "7"], "'7' stands at positions 0 and 1"),
    ],
    ids=repr,
)
def test_sample_ids_that_do_not_name_samples_are_refused(ids, message):
    with pytest.raises(sl.LabelError, match=message):
        sl.Pairs([0, 1], [0, 1], sample_ids=ids)


@given(
    ids=st.lists(st.text(alphabet="ab\x00é", max_size=3), min_size=2, max_size=12),
    form=st.sampled_from(["list", "array", "objects", "swapped"]),
)
def test_ids_that_stand_twice_are_found_whatever_they_are(ids, form):
    # NumPy itself does not tell trailing zeros from the end of a string.
    array = np.array(ids)
    given_ids = {
        "list": ids, "array": array, "objects": np.array(ids, dtype=object),
        "swapped": array.astype(array.dtype.newbyteorder()),
    }[form]  # fmt: skip
    listed = ids if form == "objects" else array.tolist()
    columns = [0] * len(ids), [0] * len(ids)
    if len(set(listed)) == len(listed):
        assert sl.Pairs(*columns, sample_ids=given_ids).sample_ids.tolist() == listed
    else:
        with pytest.raises(sl.LabelError, match="make them unique"):
            sl.Pairs(*columns, sample_ids=given_ids)


# --- frozen, and what is made of them


def test_a_list_that_begins_without_a_prediction_is_read_too():
    for rows in ([None, [1, 0]], pd.Series([None, [1, 0]]), pa.array([None, [1, 0]])):
        assert sl.Pairs([0, 1], rows, weak_vocabulary=2, teacher_vocabulary=3).teacher.tolist() == [-1, 1]


def test_pairs_are_frozen():
    pairs = sl.Pairs([0, 1], ([0, 1], [0.5, 0.5]), sample_ids=["a", "b"])
    for name in ("weak", "teacher", "top_ids", "top_probs", "sample_ids"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(pairs, name)[0] = getattr(pairs, name)[1]
    with pytest.raises(dataclasses.FrozenInstanceError):
        pairs.weak = np.array([1, 1])


def test_arrays_of_integers_are_not_copied():
    weak, teacher = np.zeros(1000, np.int32), np.zeros(1000, np.int32)
    ids = np.arange(1000)
    pairs = sl.Pairs(weak, teacher, weak_vocabulary=1, sample_ids=ids)
    assert np.shares_memory(pairs.weak, weak)
    assert np.shares_memory(pairs.teacher, teacher)
    assert np.shares_memory(pairs.sample_ids, ids)
    weak[0] = 0  # The caller's array stays writable.
    top, probs = np.zeros((1000, 1), np.int32), np.ones((1000, 1), np.float32)
    pairs = sl.Pairs(weak, (top, probs), weak_vocabulary=1)
    assert np.shares_memory(pairs.top_ids, top)
    assert np.shares_memory(pairs.top_probs, probs)


ROWS = [
    slice(1, 3),
    slice(None, None, -1),
    np.array([True, False, True, False]),
    np.array([3, 0, 0]),
    slice(0, 0),
]


@pytest.mark.parametrize("rows", ROWS, ids=repr)
def test_a_part_of_the_pairs_is_of_the_same_samples(rows):
    pairs = sl.Pairs([0, 1, 2, 0], (TOP, TOP_PROBS), weak_vocabulary=SORTED, sample_ids=list("abcd"))
    part = pairs[rows]
    for name in ("weak", "teacher", "top_ids", "top_probs", "sample_ids"):
        assert getattr(part, name).tolist() == getattr(pairs, name)[rows].tolist()
    assert part.weak_vocabulary is pairs.weak_vocabulary
    bare = sl.Pairs([0, 1, 2, 0], [0, 1, 2, 0])[rows]
    assert bare.sample_ids is bare.top_ids is bare.top_probs is None


def test_trusted_pairs_are_those_that_were_checked():
    pairs = sl.Pairs([0, 1, 2, 0], (TOP, TOP_PROBS), weak_vocabulary=SORTED, sample_ids=list("abcd"))
    names = ("weak", "teacher", "top_ids", "top_probs", "sample_ids")
    values = {name: getattr(pairs, name) for name in names}
    same = sl.Pairs.trusted(
        weak_vocabulary=pairs.weak_vocabulary, teacher_vocabulary=pairs.teacher_vocabulary, **values
    )
    for name in names:
        assert getattr(same, name).tolist() == values[name].tolist()
    assert sl.relabel(same).labels.tolist() == sl.relabel(pairs).labels.tolist()


def test_pairs_say_what_they_hold():
    pairs = sl.Pairs([0, 1, -1], [0, 1, 2], weak_vocabulary=3)
    assert repr(pairs) == "Pairs(3 samples, 3 weak × 3 teacher classes, 1 abstained)"


@pytest.mark.parametrize(
    ("need", "message"),
    [
        ("need_sample_ids", "give Pairs its sample_ids"),
        ("need_probabilities", "needs the teacher's probabilities"),
    ],
)
def test_what_pairs_lack_is_said(need, message):
    with pytest.raises(sl.LabelError, match=message):
        getattr(sl.Pairs([0], [0]), need)()


def test_probabilities_are_as_wide_as_they_came_and_at_most_one():
    narrow = sl.Pairs([0], ([0], np.float32([1.0000001])), weak_vocabulary=1)
    assert narrow.top_probs.dtype == np.float32
    assert narrow.top_probs.tolist() == [[1.0]]
    assert sl.Pairs([0], ([0], [1.0000001])).top_probs.tolist() == [[1.0]]


@pytest.mark.parametrize("classes", [24, 40, 1000])
@given(seed=st.integers(0, 1 << 30), k=st.integers(1, 24), samples=st.integers(1, 20))
def test_a_class_that_stands_twice_is_found_at_any_width(classes, seed, k, samples):
    generator = np.random.default_rng(seed)
    ids = np.stack([generator.permutation(classes)[:k] for _ in range(samples)])
    ids[np.arange(k) >= generator.integers(0, k + 1, samples)[:, None]] = -1
    options = {"weak_vocabulary": classes}
    with regime("sparse"):
        assert sl.Pairs([0] * samples, ids, **options).top_ids.tolist() == ids.tolist()
        spoiled = np.flatnonzero((ids >= 0).sum(axis=1) > 1)
        if len(spoiled):
            row = generator.choice(spoiled)
            first, second = generator.choice((ids[row] >= 0).sum(), 2, replace=False)
            ids[row, second] = ids[row, first]
            with pytest.raises(sl.LabelError, match=f"position {row} are .*; expected each class once"):
                sl.Pairs([0] * samples, ids, **options)


@pytest.mark.parametrize("value", [np.array([0, 1]), ["a", "b"], None])
def test_what_takes_pairs_says_so_to_anything_else(value):
    space = sl.relabel(sl.Pairs([0, 1], [0, 1]), sl.RawSPL()).space
    for takes in (sl.relabel, sl.count, space.assign, space.targets):
        with pytest.raises(sl.LabelError, match=r"takes? Pairs and got .*sublabel\.Pairs\(weak, teacher\)"):
            takes(value)


def test_numbered_columns_are_classes_by_number_and_not_by_position():
    scores = pd.DataFrame([[0.1, 0.2, 0.7], [0.2, 0.5, 0.3]], columns=[2, 0, 1])
    assert sl.Pairs(["a", "b"], scores, teacher_vocabulary=["a", "b", "c"]).teacher.tolist() == [1, 0]
    pairs = sl.Pairs(["a", "b"], scores)
    assert list(pairs.teacher_vocabulary) == ["0", "1", "2"]
    assert pairs.top_ids.tolist() == [[1, 0, 2], [0, 1, 2]]


@pytest.mark.parametrize(
    ("headings", "message"),
    [
        ([10, 9, 0], r"headings \[10, 9, 0\].*each of 0 to 2 once"),
        (pd.MultiIndex.from_product([["x"], ["a", "b", "c"]]), r"headings \[\('x', 'a'\)"),
        (["a", "b", "a"], "two columns 'a'"),
    ],
)
def test_headings_that_name_no_classes_are_refused(headings, message):
    with pytest.raises(sl.LabelError, match=message):
        sl.Pairs(["a"], pd.DataFrame([[0.1, 0.2, 0.7]], columns=headings))


def test_a_column_that_is_no_class_is_named():
    frame = pd.DataFrame({"a": [0.4], "b": [0.6], "path": ["x.jpg"]})
    with pytest.raises(sl.LabelError, match="column 'path' holds no probabilities"):
        sl.Pairs(["a"], frame)
    with pytest.raises(sl.LabelError, match="LazyFrame.*collect"):
        sl.Pairs(["a"], pl.LazyFrame({"a": [0.4], "b": [0.6]}))


def test_whole_numbers_among_fractions_are_probabilities():
    scores = sl.Pairs(["a", "b"], [[1, 0, 0], [0.2, 0.5, 0.3]], teacher_vocabulary=3)
    assert scores.top_ids.tolist() == [[0, 1, 2], [1, 2, 0]]
    beside = sl.Pairs(["a", "b"], [["a", "b"], ["b", "c"]], probabilities=[[1, 0], [0.5, 0.4]])
    assert beside.top_probs.tolist() == [[1, 0], [0.5, 0.4]]


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ([[[0, 1], [1, 0]], [[0.6, 0.3], [0.5, 0.4]]], r"lists within lists.*tuple \(top_ids, top_probs\)"),
        (scipy.sparse.csr_matrix(np.eye(2)), "sparse csr_matrix.*toarray"),
        (torch.eye(2).to_sparse(), "tensor cannot be read"),
    ],
)
def test_forms_that_cannot_be_read_say_which_can(teacher, message):
    with pytest.raises(sl.LabelError, match=message):
        sl.Pairs(["a", "b"], teacher, teacher_vocabulary=["a", "b"])


def test_ids_on_one_side_and_names_on_the_other_need_no_vocabulary():
    pairs = sl.Pairs([0, 2], ["a", "b"])
    assert (list(pairs.weak_vocabulary), list(pairs.teacher_vocabulary)) == (["0", "1", "2"], ["a", "b"])


def test_numbers_that_cannot_be_class_ids_make_no_classes():
    with pytest.raises(sl.LabelError, match="largest weak label is 30000000.*labels as strings"):
        sl.Pairs([30_000_000], ["a"])
    with pytest.raises(sl.LabelError, match="largest teacher label is 30000000"):
        sl.Pairs(["a"], [30_000_000])


def test_an_empty_name_is_said_to_be_a_label():
    with pytest.raises(sl.LabelError, match="weak label is the empty string.*None"):
        sl.Pairs(["", "a"], ["a", "a"])


@pytest.mark.parametrize("rows", [0, [7], np.array([True]), "weak"])
def test_what_selects_no_pairs_is_refused(rows):
    with pytest.raises(sl.LabelError, match=r"Pairs\(2 samples.*takes a slice, a mask"):
        sl.Pairs(["a", "b"], ["a", "b"])[rows]
