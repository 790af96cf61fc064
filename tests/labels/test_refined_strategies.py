from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage

import sublabel as sl
from tests.labels.regime import REGIMES, regime

EVERY = [
    sl.WeakOnly(),
    sl.TeacherOnly(),
    sl.AgreementFilter(),
    sl.RawSPL(),
    sl.RawSPL(min_count=3, rare="weak"),
    sl.SPLB(),
    sl.MatchedControl(of=sl.RawSPL(min_count=2)),
    sl.DensestSPL(max_classes=30),
    sl.DensestSPL(max_classes=30, rare="drop"),
    sl.DensestSPL(max_classes=30, rare="weak"),
    sl.MergedSPL(),
    sl.MergedSPL(threshold=0.8, within="all", linkage="complete", of=sl.RawSPL(min_count=2)),
    sl.ConfidentSPL(),
    sl.ConfidentSPL(of=sl.SPLB(), thresholds=0.6),
    sl.ConfidentSPL(of=sl.DensestSPL(max_classes=30, rare="drop"), thresholds=0.4),
    sl.TopKSPL(k=2),
    sl.TwoHead(),
]
SOFT = {"top_k_spl"}


@st.composite
def cases(draw):
    """Vocabularies, an alignment, and samples with the probabilities of all classes."""
    width, height = draw(st.integers(1, 5)), draw(st.integers(2, 5))
    cell = st.tuples(st.integers(0, width - 1), st.integers(0, height - 1))
    agrees = draw(st.sets(cell, min_size=1, max_size=6))
    generator = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    size = draw(st.integers(0, 60))
    weak = generator.integers(-1, width, size)
    probs = generator.dirichlet(np.full(height, 0.3), size).reshape(size, height)
    ids = np.argsort(-probs, axis=1, kind="stable")
    probs = np.take_along_axis(probs, ids, axis=1).astype(np.float32)
    ids[generator.random(size) < 0.1] = -1
    return sl.Alignment(width, height, sorted(agrees)), weak, ids, probs


def relabeled(strategy, case):
    alignment, weak, ids, probs = case
    return sl.relabel(
        weak,
        ids,
        strategy=strategy,
        weak_vocabulary=alignment.weak_vocabulary,
        teacher_vocabulary=alignment.teacher_vocabulary,
        alignment=alignment,
        sample_ids=np.arange(len(weak)),
        probabilities=probs,
    )


def policy_drops(strategy, result, case):
    """Whether each sample has no class, as the strategy's own words say."""
    alignment, weak, ids, _ = case
    teacher = ids[:, 0]
    missing = (weak < 0) | (teacher < 0)
    options = strategy.model_dump()
    inner = options.get("of") or options
    if strategy.kind in ("matched_control", "merged_spl", "confident_spl", "top_k_spl"):
        strategy = strategy.of
    agreed = alignment.agrees(weak, teacher)
    dropped = missing.copy()
    if strategy.kind == "agreement_filter":
        dropped |= ~agreed
    elif inner.get("rare") in ("drop", "weak"):
        # A row without an agreed cell has no class for rare ones; those that are classes are listed.
        entries = set(
            zip(result.space.classes.weak.tolist(), result.space.classes.teacher.tolist(), strict=True)
        )
        has_agreed = {
            w for w, k in zip(result.space.classes.weak, result.space.kinds, strict=True) if k == "agreed"
        }
        for i, pair in enumerate(zip(weak.tolist(), teacher.tolist(), strict=True)):
            rescued = inner["rare"] == "weak" and pair[0] in has_agreed
            dropped[i] |= pair not in entries and not rescued
    return dropped


@pytest.mark.parametrize("name", REGIMES)
@pytest.mark.parametrize("strategy", EVERY, ids=str)
@given(case=cases())
def test_every_sample_has_a_class_or_the_policy_drops_it(strategy, name, case):
    with regime(name):
        result = relabeled(strategy, case)
    labels, space = result.labels, result.space
    assert labels.dtype == np.int64
    assert labels.min(initial=0) >= -1
    assert labels.max(initial=-1) < len(space)
    if strategy.kind in ("confident_spl",):
        unsure = space.classes.is_kind("unsure")
        sure = np.array([label < 0 or not unsure[label] for label in labels], dtype=bool)
        assert (labels < 0)[sure].tolist() == policy_drops(strategy, result, case)[sure].tolist()
    elif strategy.kind == "top_k_spl":
        assert (labels < 0)[(case[1] < 0) | (case[2][:, 0] < 0)].all()
    elif strategy.kind != "merged_spl" or strategy.of.rare == "disagreed":
        assert (labels < 0).tolist() == policy_drops(strategy, result, case).tolist()


@pytest.mark.parametrize("name", REGIMES)
@pytest.mark.parametrize("strategy", EVERY, ids=str)
@given(case=cases())
def test_ids_are_dense_sizes_are_counts_and_files_are_exact(strategy, name, case):
    with regime(name):
        result = relabeled(strategy, case)
        space = result.space
        loaded = sl.LabelSpace.from_json(space.to_json())
        _, weak, ids, probs = case
        arguments = weak, ids[:, 0], np.arange(len(weak)), probs[:, 0]
        assert (loaded.assign(*arguments) == result.labels).all()
    assert loaded == space
    assert loaded.fingerprint == space.fingerprint
    assert loaded.names == space.names
    assert loaded.kinds == space.kinds
    assert loaded.heads == space.heads
    assert loaded.strategy == strategy.model_dump(mode="json")
    assert len(set(space.names)) == len(space)
    assert [space.describe(k).name for k in range(len(space))] == list(space.names)
    if strategy.kind not in SOFT:
        counted = np.bincount(result.labels[result.labels >= 0], minlength=len(space))
        assert counted.tolist() == space.sizes.tolist()


@pytest.mark.parametrize("strategy", EVERY, ids=str)
@given(case=cases(), seed=st.integers(0, 9))
def test_the_order_of_samples_moves_no_label(strategy, case, seed):
    alignment, weak, ids, probs = case
    order = np.random.default_rng(seed).permutation(len(weak))
    first = relabeled(strategy, case)
    with regime("sparse"):
        again = relabeled(strategy, (alignment, weak[order], ids[order], probs[order]))
    if first.space.needs_sample_ids:
        # Their ids are others now, and so is the draw.
        assert again.space.names == first.space.names
        assert again.space.sizes.tolist() == first.space.sizes.tolist()
    else:
        assert again.space == first.space
        assert (again.labels == first.labels[order]).all()


@given(case=cases(), max_classes=st.integers(1, 20), rare=st.sampled_from(["disagreed", "weak", "drop"]))
def test_densest_keeps_the_agreed_and_as_many_of_the_densest_as_fit(case, max_classes, rare):
    alignment, weak, ids, _ = case
    pairs = [p for p in zip(weak.tolist(), ids[:, 0].tolist(), strict=True) if min(p) >= 0]
    counts = Counter(pairs)
    agreed = {p for p in counts if p in {tuple(q) for q in alignment.pairs.tolist()}}
    others = sorted(counts.keys() - agreed, key=lambda p: (-counts[p], p))

    def classes(kept):
        left = {w for w, t in others[kept:]} if rare == "disagreed" else set()
        return len(agreed) + kept + len(left)

    fitting = [kept for kept in range(len(others) + 1) if classes(kept) <= max_classes]
    strategy = sl.DensestSPL(max_classes=max_classes, rare=rare)
    if not fitting:
        with pytest.raises(
            sl.LabelError, match=f"are {classes(0)} classes, and max_classes is {max_classes}"
        ):
            relabeled(strategy, case)
        return
    space = relabeled(strategy, case).space
    entries = zip(space.classes.weak.tolist(), space.classes.teacher.tolist(), strict=True)
    assert {p for p in entries if p[1] >= 0} == agreed | set(others[: max(fitting)])
    assert len(space) == classes(max(fitting)) <= max_classes


def merged_case(seed=0, width=6, height=12, size=4000):
    """Teacher classes 2j and 2j + 1 meet the weak classes alike."""
    generator = np.random.default_rng(seed)
    weak = generator.integers(0, width, size)
    teacher = (weak * 2 + generator.integers(0, 5, size) * 2 + generator.integers(0, 2, size)) % height
    return weak, teacher


@pytest.mark.parametrize("method", ["average", "complete", "single", "ward"])
def test_merging_within_rows_equals_scipys_clusters(method):
    weak, teacher = merged_case()
    confusion = sl.ConfusionMatrix.from_labels(weak, teacher, weak_vocabulary=6, teacher_vocabulary=12)
    alignment = sl.Alignment(6, 12, [])
    threshold = 0.3
    space = sl.MergedSPL(threshold=threshold, linkage=method).fit(confusion, alignment)
    raw = sl.RawSPL().fit(confusion, alignment)
    counts = confusion.counts.toarray()
    profiles = np.sqrt(counts / counts.sum(axis=0))
    for w in range(6):
        columns = np.flatnonzero(counts[w])
        points = profiles[:, columns].T
        distance = np.array(
            [np.linalg.norm(points[i] - points[j]) / np.sqrt(2)
             for i in range(len(points)) for j in range(i + 1, len(points))]
        )  # fmt: skip
        clusters = fcluster(linkage(distance, method), threshold, criterion="distance")
        ours = space.assign(np.full(len(columns), w), columns)
        assert {tuple(np.flatnonzero(ours == k)) for k in set(ours.tolist())} == {
            tuple(np.flatnonzero(clusters == k)) for k in set(clusters.tolist())
        }
    assert len(space) < len(raw)
    assert "merged" in space.kinds
    assert space.sizes.sum() == raw.sizes.sum()


@pytest.mark.parametrize("within", ["row", "all"])
@pytest.mark.parametrize("wanted", [10, 15, 24, 500])
def test_merging_reaches_the_number_of_classes(within, wanted):
    weak, teacher = merged_case()
    confusion = sl.ConfusionMatrix.from_labels(weak, teacher, weak_vocabulary=6, teacher_vocabulary=12)
    raw = sl.RawSPL().fit(confusion)
    space = sl.MergedSPL(num_classes=wanted, within=within).fit(confusion)
    assert len(space) == min(wanted, len(raw))
    grid = np.divmod(np.arange(72), 12)
    old, new = raw.assign(*grid), space.assign(*grid)
    assert ((old < 0) == (new < 0)).all()
    for label in range(len(raw)):
        assert len(set(new[old == label].tolist())) == 1
    agreed = raw.classes.is_kind("agreed")
    assert [space.names[new[old == k][0]] for k in np.flatnonzero(agreed)] == [
        raw.names[k] for k in np.flatnonzero(agreed)
    ]
    rows = [set(grid[0][new == k].tolist()) for k in range(len(space))]
    assert within == "all" or all(len(row) == 1 for row in rows)


def test_a_merged_class_names_its_largest_members():
    weak = np.zeros(15, dtype=int)
    teacher = np.repeat([0, 1, 2, 3, 4], [2, 4, 3, 1, 5])
    result = sl.relabel(
        weak,
        teacher,
        strategy=sl.MergedSPL(threshold=0.0),
        weak_vocabulary=["baking cookies"],
        teacher_vocabulary=["folding", "whisking eggs", "mixing batter", "icing", "baking cookies"],
    )
    assert result.space.names == ("baking cookies × (whisking eggs, mixing batter, +2)", "baking cookies")
    assert result.space.describe(0).kind == "merged"
    assert result.space.describe(0).size == 10
    everywhere = sl.relabel(
        [0, 0, 1, 1], [1, 2, 1, 2], strategy=sl.MergedSPL(num_classes=1, within="all"),
        weak_vocabulary=["a", "b"], teacher_vocabulary=["x", "y", "z"],
    )  # fmt: skip
    assert everywhere.space.names == ("(a × y, a × z, +2)",)
    assert everywhere.space.describe(0).weak is None


def test_merging_too_much_is_refused():
    weak, teacher = merged_case()
    with pytest.raises(sl.LabelError, match="raise num_classes by"):
        sl.relabel(
            weak, teacher, strategy=sl.MergedSPL(num_classes=3), weak_vocabulary=6, teacher_vocabulary=12
        )
    wide = np.arange(5000)
    with pytest.raises(sl.LabelError, match="5000 disagreed cells would be compared.*of.min_count"):
        sl.relabel(wide * 0, wide, strategy=sl.MergedSPL(), weak_vocabulary=["w"], teacher_vocabulary=5000)
    with pytest.raises(ValueError, match="not both"):
        sl.MergedSPL(num_classes=3, threshold=0.2)


@given(case=cases())
def test_a_sample_below_its_threshold_is_unsure(case):
    alignment, weak, ids, probs = case
    for strategy in (sl.ConfidentSPL(), sl.ConfidentSPL(thresholds=0.7)):
        result = relabeled(strategy, case)
        thresholds = result.space.thresholds
        for w, t, p, label in zip(weak, ids[:, 0], probs[:, 0], result.labels, strict=True):
            if w < 0 or t < 0:
                assert label == -1
                continue
            entry = result.space.describe(label)
            assert (entry.kind == "unsure") == (float(p) < thresholds[t])
            assert entry.weak == alignment.weak_vocabulary[w]
            if entry.kind == "unsure":
                assert entry.name == f"{alignment.weak_vocabulary[w]} × (unsure)"
        # Rows stay together, and the unsure class is the last of its row.
        rows = result.space.classes.weak
        assert (np.diff(rows) >= 0).all()
        last = np.append(np.diff(rows) > 0, True)
        assert last[result.space.classes.is_kind("unsure")].all()


def test_a_confident_space_needs_what_it_looks_at():
    with pytest.raises(sl.LabelError, match="needs a count of confident samples"):
        sl.ConfidentSPL().fit(sl.ConfusionMatrix(2))
    space = sl.relabel(
        [0, 0], [0, 1], strategy=sl.ConfidentSPL(thresholds=0.5), weak_vocabulary=2, probabilities=[0.9, 0.1]
    ).space
    assert space.needs_confidence
    assert space.names == ("0", "0 × (unsure)")
    assert space.assign([0, 0, 1, -1], [0, 0, 0, -1], confidence=[0.5, 0.49, 0.1, np.nan]).tolist() == [
        0,
        1,
        -1,
        -1,
    ]
    with pytest.raises(sl.LabelError, match="got no confidence for 1 samples"):
        space.assign([0], [0])
    with pytest.raises(sl.LabelError, match="outside 0–1"):
        space.assign([0], [0], confidence=[7.0])
    with pytest.raises(sl.LabelError, match=r"shape \(2,\)"):
        space.assign([0], [0], confidence=[0.1, 0.2])


@pytest.mark.parametrize("strategy", [s for s in EVERY if s.kind != "matched_control"], ids=str)
@given(case=cases())
def test_soft_targets_equal_brute_force(strategy, case):
    _, weak, ids, probs = case
    space = relabeled(strategy, case).space
    with regime("sparse"):
        soft = space.soft_targets(weak, ids, probs)
    assert soft.shape == (len(weak), len(space))
    assert soft.dtype == np.float32
    assert soft.has_canonical_format
    expected = np.zeros(soft.shape)
    k = space.top_k or ids.shape[1]
    for i in range(len(weak)):
        first = {"confidence": probs[i, :1]} if space.needs_confidence else {}
        hard = int(space.assign(weak[i : i + 1], ids[i, :1], **first)[0])
        if hard >= 0 and space.kinds[hard] == "unsure":
            expected[i, hard] = 1
            continue
        if space.needs_confidence and ids[i, 0] >= 0 and probs[i, 0] < space.thresholds[ids[i, 0]]:
            continue
        sure = {"confidence": np.ones(1)} if space.needs_confidence else {}
        for t, p in zip(ids[i, :k], probs[i, :k], strict=True):
            label = int(space.assign(weak[i : i + 1], [t], **sure)[0])
            if label >= 0:
                expected[i, label] += p
        if expected[i].sum() > 0:
            expected[i] /= expected[i].sum()
    assert np.abs(soft.toarray() - expected).max(initial=0) < 1e-6
    sums = np.asarray(soft.sum(axis=1))
    assert (np.isclose(sums, 1, atol=1e-6) | (sums == 0)).all()


@given(case=cases())
def test_expected_sizes_are_the_sums_of_soft_targets(case):
    _, weak, ids, _ = case
    result = relabeled(sl.TopKSPL(k=3), case)
    voted = (weak >= 0) & (ids[:, 0] >= 0)
    assert result.space.sizes.sum() == voted.sum()
    assert (result.space.sizes > 0).all()


def test_a_matched_control_has_no_soft_targets():
    space = sl.relabel([0], [1], strategy=sl.MatchedControl(), weak_vocabulary=2, sample_ids=["a"]).space
    with pytest.raises(sl.LabelError, match="no soft targets"):
        space.soft_targets([0], [[1]], [[1.0]])


@given(case=cases())
def test_two_heads_have_both_labels_as_targets(case):
    alignment, weak, ids, _ = case
    teacher = ids[:, 0]
    result = relabeled(sl.TwoHead(), case)
    raw = relabeled(sl.RawSPL(), case)
    both = (weak >= 0) & (teacher >= 0)
    expected = np.where(both[:, None], np.stack([weak, teacher], axis=1), -1)
    assert result.space.heads == (len(alignment.weak_vocabulary), len(alignment.teacher_vocabulary))
    assert (result.space.assign_heads(weak, teacher) == expected).all()
    assert (result.space.head_targets(result.labels) == expected).all()
    assert (result.labels == raw.labels).all()
    assert raw.space.heads == (len(raw.space),)
    assert (raw.space.assign_heads(weak, teacher)[:, 0] == raw.labels).all()
    assert (raw.space.head_targets(raw.labels)[:, 0] == raw.labels).all()


def test_labels_of_another_space_have_no_targets():
    space = sl.relabel([0], [1], strategy=sl.TwoHead(), weak_vocabulary=2).space
    assert space.assign_heads([1], [1]).tolist() == [[1, 1]]
    with pytest.raises(sl.LabelError, match="outside this space of 1 classes"):
        space.head_targets(np.array([1]))
