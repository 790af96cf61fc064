from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage

import sublabel as sl
from tests.labels.samples import cases, relabeled


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


def of_rectangle(weak, teacher):
    return sl.Pairs(weak, teacher, weak_vocabulary=6, teacher_vocabulary=12)


def merged_case(seed=0, width=6, height=12, size=4000):
    """Teacher classes 2j and 2j + 1 meet the weak classes alike."""
    generator = np.random.default_rng(seed)
    weak = generator.integers(0, width, size)
    teacher = (weak * 2 + generator.integers(0, 5, size) * 2 + generator.integers(0, 2, size)) % height
    return weak, teacher


@pytest.mark.parametrize("method", ["average", "complete", "single", "ward"])
def test_merging_within_rows_equals_scipys_clusters(method):
    weak, teacher = merged_case()
    confusion = sl.count(of_rectangle(weak, teacher))
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
        ours = space.cell_classes(np.full(len(columns), w), columns)
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
    confusion = sl.count(of_rectangle(weak, teacher))
    raw = sl.RawSPL().fit(confusion)
    space = sl.MergedSPL(num_classes=wanted, within=within).fit(confusion)
    assert len(space) == min(wanted, len(raw))
    grid = np.divmod(np.arange(72), 12)
    old, new = raw.cell_classes(*grid), space.cell_classes(*grid)
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
    names = ["folding", "whisking eggs", "mixing batter", "icing", "baking cookies"]
    pairs = sl.Pairs(weak, teacher, weak_vocabulary=["baking cookies"], teacher_vocabulary=names)
    result = sl.relabel(pairs, sl.MergedSPL(threshold=0.0))
    assert result.space.names == ("baking cookies × (whisking eggs, mixing batter, +2)", "baking cookies")
    assert result.space.describe(0).kind == "merged"
    assert result.space.describe(0).size == 10
    pairs = sl.Pairs(
        [0, 0, 1, 1], [1, 2, 1, 2], weak_vocabulary=["a", "b"], teacher_vocabulary=["x", "y", "z"]
    )
    everywhere = sl.relabel(pairs, sl.MergedSPL(num_classes=1, within="all"))
    assert everywhere.space.names == ("(a × y, a × z, +2)",)
    assert everywhere.space.describe(0).weak is None


def test_merging_too_much_is_refused():
    weak, teacher = merged_case()
    with pytest.raises(sl.LabelError, match="raise num_classes by"):
        sl.relabel(of_rectangle(weak, teacher), sl.MergedSPL(num_classes=3))
    wide = np.arange(5000)
    with pytest.raises(sl.LabelError, match="5000 disagreed cells would be compared.*of.min_count"):
        sl.relabel(sl.Pairs(wide * 0, wide, weak_vocabulary=["w"], teacher_vocabulary=5000), sl.MergedSPL())
    with pytest.raises(ValueError, match="not both"):
        sl.MergedSPL(num_classes=3, threshold=0.2)


def test_classes_that_are_no_cells_are_not_merged_and_keep_their_names():
    class Halves(sl.Strategy):
        def class_of(self, cell):
            return f"own {cell.weak}" if cell.teacher in "01" else f"cell {cell.weak} {cell.teacher}"

    weak, teacher = merged_case()
    pairs = of_rectangle(weak, teacher)
    for of in (sl.SPLB(), Halves()):
        plain = sl.relabel(pairs, of).space
        merged = sl.relabel(pairs, sl.MergedSPL(of=of, threshold=1.0)).space
        kept = [name for name, kind in zip(merged.names, merged.kinds, strict=True) if kind != "merged"]
        assert set(kept) <= set(plain.names)
        whole = plain.classes.is_kind("disagreed") & (plain.classes.teacher < 0)
        assert {plain.names[label] for label in np.flatnonzero(whole)} <= set(kept)
        assert merged.sizes.sum() == plain.sizes.sum()
