"""Results that were once wrong or lost, each with its whole kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sublabel as sl
from tests.labels.samples import EVERY, OWN, cases, pairs_of, relabeled

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")

OURS = [type(strategy) for strategy in EVERY]
REFINED = [sl.MatchedControl, sl.MergedSPL, sl.ConfidentSPL, sl.TopKSPL]


@pytest.mark.parametrize("base", sorted(set(OURS), key=lambda model: model.kind))
def test_a_subclass_is_never_stored_as_its_parent(base):
    own = type("Own", (base,), {"__annotations__": {"more": int}, "more": 0, "__module__": __name__})
    strategy = own(more=7)
    assert strategy.kind != base.kind
    for stored in (strategy.to_dict(), strategy.model_dump(), strategy.model_dump(mode="json")):
        assert (stored["kind"], stored["more"]) == (own.kind, 7)
        assert sl.Strategy.parse(stored) == strategy
        assert type(sl.Strategy.parse(stored)) is own
    assert strategy != base()
    pairs = sl.Pairs([0, 1, 0], ([0, 1, 1], [0.9, 0.9, 0.5]), sample_ids=[1, 2, 3])
    space, plain = sl.relabel(pairs, strategy).space, sl.relabel(pairs, base()).space
    assert space.strategy == strategy.to_dict()
    assert space.fingerprint != plain.fingerprint
    assert sl.LabelSpace.from_json(space.to_json()).strategy == strategy.to_dict()


@pytest.mark.parametrize("outer", REFINED)
@pytest.mark.parametrize("own", OWN, ids=str)
def test_a_strategy_of_ones_own_is_taken_and_kept_by_every_of(outer, own):
    strategy = outer(of=own)
    assert strategy.of == own
    assert sl.Strategy.parse(strategy.to_dict()) == strategy
    assert outer(of=own.to_dict()) == strategy
    pairs = sl.Pairs([0, 1, 0], ([0, 1, 1], [0.9, 0.9, 0.5]), sample_ids=[1, 2, 3])
    assert sl.relabel(pairs, strategy).space.strategy["of"] == own.to_dict()


@pytest.mark.parametrize("strategy", EVERY, ids=str)
@given(case=cases())
def test_labels_are_all_that_a_strategy_says_or_they_are_refused(strategy, case):
    result = relabeled(strategy, case)
    if result.space.answers_with_one_label:
        assert result.labels.tolist() == result.targets.labels.tolist()
        assert all(
            list(result.targets.classes(row)) == [label]
            for row, label in enumerate(result.labels)
            if label >= 0
        )
        return
    with pytest.raises(
        sl.LabelError, match=f"{strategy.kind} gives a sample more than one label.*`.targets`"
    ):
        _ = result.labels
    assert len(result.targets) == len(result.pairs)


def test_raw_spl_is_not_trained_three_times():
    generator = np.random.default_rng(0)
    scores = generator.dirichlet(np.ones(5), 2000)
    pairs = sl.Pairs(generator.integers(0, 5, 2000), scores, weak_vocabulary=5)
    for strategy in (sl.TopKSPL(k=5), sl.TwoHead()):
        with pytest.raises(sl.LabelError, match="train on `.targets`"):
            _ = sl.relabel(pairs, strategy).labels
    raw = sl.relabel(pairs).targets.torch()
    assert sl.relabel(pairs, sl.TopKSPL(k=5)).targets.torch().shape != raw.shape
    assert sl.relabel(pairs, sl.TwoHead()).targets.torch().shape == (2000, 2)


@given(
    classes=st.integers(2, 6),
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=12),
    dtype=st.sampled_from(["int8", "uint8", "int32", "int64", "bool"]),
    form=st.sampled_from(["array", "list", "tensor", "frame"]),
)
def test_a_one_hot_matrix_is_never_read_as_ranked_classes(classes, labels, dtype, form):
    one_hot = np.eye(classes, dtype=dtype)[np.array(labels) % classes]
    if form == "list":
        one_hot = one_hot.tolist()
    elif form == "tensor":
        one_hot = pytest.importorskip("torch").from_numpy(one_hot)
    elif form == "frame":
        one_hot = pd.DataFrame(one_hot, columns=[str(label) for label in range(classes)])
    with pytest.raises(sl.LabelError, match="one-hot"):
        sl.Pairs([0] * len(labels), one_hot, weak_vocabulary=classes)


@given(classes=st.integers(2, 6), labels=st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_a_one_hot_matrix_of_floats_is_what_it_says(classes, labels):
    chosen = np.array(labels) % classes
    pairs = sl.Pairs(chosen, np.eye(classes)[chosen], weak_vocabulary=classes)
    assert pairs.teacher.tolist() == chosen.tolist()
    assert (pairs.top_probs[:, 0] == 1).all()


@given(case=cases(), k=st.integers(2, 5))
def test_a_teacher_in_rising_order_is_never_taken(case, k):
    alignment, weak, ids, probs = case
    k = min(k, ids.shape[1])
    rising = ids[:, :k][:, ::-1], probs[:, :k][:, ::-1]
    known = ids[:, 0] >= 0
    vocabularies = {
        "weak_vocabulary": alignment.weak_vocabulary,
        "teacher_vocabulary": alignment.teacher_vocabulary,
    }
    # Equal but for rounding is no order.
    rises = (probs[known, k - 1] + 1e-3 < probs[known, 0]).any()
    falling = sl.Pairs(weak, (ids[:, :k], probs[:, :k]), **vocabularies)
    assert falling.teacher.tolist() == ids[:, 0].tolist()
    if rises:
        with pytest.raises(sl.LabelError, match="expected the most probable class first"):
            sl.Pairs(weak, rising, **vocabularies)


NAMES = st.lists(st.one_of(st.none(), st.sampled_from(["bake", "fold", "whisk"])), min_size=1, max_size=20)
LIBRARIES = {
    "list": list,
    "objects": lambda values: np.array(values, dtype=object),
    "pandas": pd.Series,
    "pandas categories": lambda values: pd.Series(values, dtype="category"),
    "pandas nullable": lambda values: pd.Series(values, dtype="string"),
    "Polars": lambda values: pl.Series(values, dtype=pl.String),
    "Polars categories": lambda values: pl.Series(values, dtype=pl.Categorical),
    "Arrow": lambda values: pa.array(values, pa.string()),
    "Arrow dictionary": lambda values: pa.array(values, pa.string()).dictionary_encode(),
}


@pytest.mark.parametrize("library", LIBRARIES)
@given(weak=NAMES, seed=st.integers(0, 99))
def test_names_and_nulls_of_every_library_are_relabeled_alike(library, weak, seed):
    teacher = [weak[i] for i in np.random.default_rng(seed).permutation(len(weak))]
    names = ["whisk", "fold", "bake"]
    made = LIBRARIES[library]
    found = sl.relabel(sl.Pairs(made(weak), made(teacher), weak_vocabulary=names))
    ids = [[-1 if name is None else names.index(name) for name in column] for column in (weak, teacher)]
    expected = sl.relabel(sl.Pairs(*ids, weak_vocabulary=names))
    assert found.labels.tolist() == expected.labels.tolist()
    assert found.space == expected.space


@pytest.mark.parametrize("dtype", ["int64", "Int64", "Int8", "category", "string", "object", "float64"])
@given(order=st.permutations(range(4)))
def test_series_of_other_samples_are_never_joined_by_position(dtype, order):
    weak = pd.Series([0, 1, 2, 0], index=list("abcd")).astype(dtype)
    teacher = weak.iloc[list(order)]
    if list(order) == [0, 1, 2, 3]:
        assert len(sl.Pairs(weak, teacher)) == 4
        return
    with pytest.raises(sl.LabelError, match="indexes of weak labels and teacher predictions differ"):
        sl.Pairs(weak, teacher)
    joined = sl.Pairs(weak, teacher.reindex(weak.index))
    assert joined.weak.tolist() == joined.teacher.tolist()


@given(case=cases())
def test_a_missing_label_never_becomes_a_class(case):
    pairs = pairs_of(case)
    for strategy in (sl.RawSPL(), sl.SPLB(), sl.WeakOnly(), sl.TeacherOnly(), sl.ConfidentSPL()):
        labels = sl.relabel(pairs, strategy, case[0]).labels
        assert (labels[(pairs.weak < 0) | (pairs.teacher < 0)] == -1).all()
