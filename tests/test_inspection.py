from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as numpy_arrays

import sublabel as sl
from sublabel.inspection import inspect_confusion
from sublabel.labels import HardCounts, Strategy

KEYS = {
    *("format", "version", "weak_classes", "teacher_classes", "samples", "abstained", "cells", "rare"),
    *(
        "rare_cells",
        "rare_samples",
        "agreed",
        "agreed_cells",
        "rare_disagreed_cells",
        "rare_disagreed_samples",
    ),
    *(
        "chance_agreement",
        "agreement",
        "kappa",
        "occupancy",
        "classes",
        "without_samples",
        "without_counterpart",
    ),
    *("never_predicted", "similar", "largest_cells", "feature_width", "strategies", "warnings"),
}


def pairs_of(counts, weak=None, teacher=None):
    """As many samples of each cell as the counts say."""
    counts = np.asarray(counts)
    rows, columns = (np.repeat(index.ravel(), counts.ravel()) for index in np.indices(counts.shape))
    return sl.Pairs(
        rows,
        columns,
        weak_vocabulary=weak or counts.shape[0],
        teacher_vocabulary=teacher or counts.shape[1],
        sample_ids=np.arange(len(rows)),
    )


def confusion_of(counts, weak=None, teacher=None):
    return sl.count(pairs_of(counts, weak, teacher))


def healthy():
    """Eight classes; two thirds agree, the rest lies in one cell of each row."""
    return np.diag([200] * 8) + np.roll(np.diag([100] * 8), 3, axis=1)


def codes(found):
    return {warning.code for warning in found.warnings}


def kinds(found):
    return {(pair.kind, pair.first, pair.second) for pair in found.similar}


matrices = st.integers(1, 5).flatmap(
    lambda size: numpy_arrays(np.int64, (size, size), elements=st.integers(0, 30))
)


@given(matrices, st.integers(1, 20))
def test_every_number_equals_one_counted_cell_by_cell(counts, rare):
    found = inspect_confusion(confusion_of(counts), rare=rare)
    cells = [(w, t, int(n)) for (w, t), n in np.ndenumerate(counts) if n]
    total = sum(n for *_, n in cells)
    assert found.samples == total
    assert found.cells == len(cells)
    assert found.occupancy == len(cells) / counts.size
    assert found.agreed == sum(n for w, t, n in cells if w == t)
    assert found.rare_cells == sum(n < rare for *_, n in cells)
    assert found.rare_samples == sum(n for *_, n in cells if n < rare)
    assert found.rare_disagreed_samples == sum(n for w, t, n in cells if n < rare and w != t)
    assert found.never_predicted == tuple(str(t) for t in range(len(counts)) if not counts[:, t].any())
    assert found.without_samples == tuple(str(w) for w in range(len(counts)) if not counts[w].any())
    chance = sum(counts[k].sum() * counts[:, k].sum() for k in range(len(counts))) / max(total, 1) ** 2
    assert found.chance_agreement == pytest.approx(chance)
    assert {entry.name for entry in found.classes} | set(found.without_samples) == set(
        map(str, range(len(counts)))
    )
    for entry in found.classes:
        row = [(t, n) for w, t, n in cells if str(w) == entry.name]
        assert entry.agreement == sum(n for t, n in row if str(t) == entry.name) / sum(n for _, n in row)
        assert (entry.cells, entry.rare_cells) == (len(row), sum(n < rare for _, n in row))
        assert entry.rare_samples == sum(n for _, n in row if n < rare)
    shares = [entry.agreement for entry in found.classes]
    assert shares == sorted(shares)
    tails = [entry.rare_cells for entry in found.longest_tails(3)]
    assert tails == sorted((e.rare_cells for e in found.classes if e.rare_cells), reverse=True)[:3]
    largest = [cell.samples for cell in found.largest_cells]
    assert largest == sorted((n for w, t, n in cells if w != t), reverse=True)[:10]


def test_kappa_is_that_of_scikit_learn():
    from sklearn.metrics import cohen_kappa_score

    weak, teacher = np.random.default_rng(0).integers(0, 4, (2, 300))
    teacher[:100] = weak[:100]
    confusion = sl.count(sl.Pairs(weak, teacher, weak_vocabulary=4))
    assert inspect_confusion(confusion).kappa == pytest.approx(cohen_kappa_score(weak, teacher))


@pytest.mark.parametrize("rare", [1, 10])
def test_costs_are_those_of_the_fitted_spaces(rare):
    samples = pairs_of(healthy() + np.arange(64).reshape(8, 8) % 13)
    confusion = sl.count(samples)
    costs = inspect_confusion(confusion, rare=rare, feature_width=7).strategies
    assert {cost.strategy["kind"] for cost in costs} == set(sl.strategies())
    assert {"kind": "raw_spl", "min_count": rare, "rare": "disagreed"} in [cost.strategy for cost in costs]
    for cost in costs:
        if cost.problem is not None:
            assert cost.strategy["kind"] in ("confident_spl", "top_k_spl", "denoised_spl")
            assert "depends on the teacher's probabilities" in cost.problem
            assert (cost.classes, cost.dropped, cost.head_parameters) == (None, None, None)
            continue
        strategy = Strategy.parse(cost.strategy)
        space = strategy.fit(confusion)
        assert (cost.classes, cost.head_parameters) == (space.num_classes, 8 * sum(space.heads))
        assert cost.used == space.targets(samples).keep.sum()
        assert cost.used + cost.dropped == confusion.total
    dropped = next(cost.dropped for cost in costs if cost.strategy["kind"] == "agreement_filter")
    assert dropped == confusion.total - np.trace(confusion.counts.toarray())


@pytest.mark.parametrize("seed", range(5))
def test_costs_of_strategies_that_look_at_probabilities_are_those_of_relabel(seed):
    generator = np.random.default_rng(seed)
    weak, teacher = generator.integers(-1, 30, (2, 600))
    top_ids = np.stack([teacher, (teacher + 1) % 30, (teacher + 5) % 30], axis=1)
    top_ids[teacher < 0] = -1
    probs = np.sort(generator.dirichlet(np.ones(4), 600)[:, :3])[:, ::-1]
    features = generator.normal(size=(600, 3))
    pairs = sl.Pairs(weak, (top_ids, probs), weak_vocabulary=30, sample_ids=np.arange(600), features=features)
    counted = []

    def count(counting):
        counted.append(counting)
        return sl.count(pairs, counting)

    # It keeps samples whose first class is dropped and whose second agrees.
    soft = sl.TopKSPL(of=sl.AgreementFilter(), k=2)
    found = inspect_confusion(count(HardCounts()), feature_width=7, count=count, further_strategies=[soft])
    # Probability mass is counted for 5 classes and for 2, then features, and what three soft spaces keep.
    assert len(counted) == len(set(counted)) == 2 + 3 + 3
    lost = set()
    for cost in found.strategies:
        expected = sl.relabel(pairs, cost.strategy)
        assert cost.problem is None
        assert cost.classes == expected.space.num_classes
        assert cost.head_parameters == 8 * sum(expected.space.heads)
        assert cost.used + cost.dropped == found.samples
        assert cost.used == expected.targets.keep.sum()
        lost |= {cost.strategy["kind"]} if cost.dropped else set()
    # A cell of a few improbable samples rounds to none.
    assert lost == {"agreement_filter", "top_k_spl"}
    agreed = next(cost for cost in found.strategies if cost.strategy["kind"] == "agreement_filter")
    assert agreed.used < found.strategies[-1].used < found.samples


class OneClass(Strategy):
    """All samples are of one class."""

    def class_of(self, cell):
        return "all"


class Unfinished(Strategy):
    """A strategy whose option has no default."""

    least: int


def test_a_users_own_strategies_have_their_costs_beside_ours(monkeypatch):
    own = sl.strategies() | {"one_class": OneClass, "unfinished": Unfinished}
    monkeypatch.setattr("sublabel.inspection._costs.strategies", lambda: own)
    *_, one_class, unfinished = inspect_confusion(confusion_of(healthy()), feature_width=7).strategies
    assert one_class.strategy == {"kind": f"{__name__}:OneClass"}
    assert (one_class.classes, one_class.used, one_class.dropped) == (1, 2400, 0)
    assert one_class.head_parameters == 8
    assert unfinished.strategy == {"kind": "unfinished"}
    assert unfinished.classes is None
    assert "least: Field required" in unfinished.problem


def test_further_strategies_have_their_costs_after_all_others():
    confusion = confusion_of(healthy())
    further = [Unfinished(least=2), {"kind": "raw_spl", "min_count": 150}, OneClass]
    *listed, own, raw, one_class = inspect_confusion(confusion, further_strategies=further).strategies
    assert tuple(listed) == inspect_confusion(confusion).strategies
    # One without a class_of of its own is raw SPL.
    assert (own.strategy, own.classes) == (Unfinished(least=2).to_dict(), 16)
    assert (raw.strategy["min_count"], raw.classes) == (150, 16)
    assert (one_class.classes, one_class.dropped) == (1, 0)
    with pytest.raises(sl.LabelError, match="no strategy is called 'spl'"):
        inspect_confusion(confusion, further_strategies=["spl"])


def test_what_cannot_be_counted_is_said_in_full():
    def count(counting):
        raise sl.TableError(f"p.parquet: no {counting.kind}")

    found = inspect_confusion(confusion_of(healthy()), count=count)
    problems = {cost.strategy["kind"]: cost.problem for cost in found.strategies if cost.problem}
    assert problems == {
        "confident_spl": "p.parquet: no confident",
        "top_k_spl": "p.parquet: no probability_mass",
        "denoised_spl": "p.parquet: no features",
    }


def test_a_healthy_matrix_is_neither_warned_of_nor_paired():
    found = inspect_confusion(confusion_of(healthy()))
    assert codes(found) == set()
    assert kinds(found) == set()


def test_a_teacher_at_chance_is_warned_of():
    found = inspect_confusion(confusion_of(np.full((8, 8), 40)))
    assert codes(found) == {"teacher_at_chance"}
    assert "12.5%" in found.warnings[0].message


def test_a_teacher_that_always_says_the_same_is_at_chance():
    counts = np.zeros((8, 8), dtype=int)
    counts[:, 2] = 100
    assert "teacher_at_chance" in codes(inspect_confusion(confusion_of(counts)))


@pytest.mark.parametrize("size", [2, 8, 60])
def test_names_in_another_order_are_told_from_a_teacher_at_chance(size):
    order = np.roll(np.arange(size), 1)
    counts = (np.diag([200] * size) + 2)[order]
    found = inspect_confusion(confusion_of(counts), rare=1)
    assert codes(found) == {"permuted_vocabulary"}
    assert "in another order" in found.warnings[0].message
    alignment = {str(row): str(column) for row, column in enumerate(order)}
    assert "permuted_vocabulary" not in codes(inspect_confusion(confusion_of(counts), alignment))


@pytest.mark.parametrize("seed", range(10))
def test_independent_labels_are_at_chance_and_not_in_another_order(seed):
    weak, teacher = np.random.default_rng(seed).integers(0, 6, (2, 300))
    confusion = sl.count(sl.Pairs(weak, teacher, weak_vocabulary=6))
    assert "permuted_vocabulary" not in codes(inspect_confusion(confusion))


@pytest.mark.parametrize(("agreed", "warned"), [(96, True), (94, False)])
def test_near_total_agreement_is_warned_of(agreed, warned):
    counts = 10 * (np.diag([agreed] * 8) + np.roll(np.diag([100 - agreed] * 8), 3, axis=1))
    assert codes(inspect_confusion(confusion_of(counts))) == ({"near_total_agreement"} if warned else set())


def test_rare_cells_are_warned_of_where_they_hold_the_disagreement():
    counts = np.diag([200] * 40) + 1
    assert codes(inspect_confusion(confusion_of(counts), rare=10)) == {"rare_cells"}
    assert codes(inspect_confusion(confusion_of(counts), rare=1)) == set()
    # As many rare cells, and the samples lie elsewhere: sub-concepts to learn.
    assert codes(inspect_confusion(confusion_of(counts + np.roll(np.diag([200] * 40), 3, axis=1)))) == set()


def test_vocabularies_without_a_common_name_are_warned_of():
    confusion = confusion_of(healthy(), weak=list("abcdefgh"), teacher=list("ABCDEFGH"))
    assert codes(inspect_confusion(confusion)) == {"no_alignment"}
    alignment = {name: name.upper() for name in "abcdefgh"}
    assert codes(inspect_confusion(confusion, alignment)) == set()


def test_a_matrix_without_samples_is_warned_of_and_nothing_else_fails():
    found = inspect_confusion(sl.ConfusionMatrix(3))
    assert codes(found) == {"no_samples"}
    assert (found.agreement, found.occupancy, found.classes) == (0, 0, ())


def test_two_weak_classes_that_the_teacher_sees_alike_are_paired():
    counts = healthy()
    counts[[2, 5]] = 0
    counts[2, [0, 1]], counts[5, [0, 1]] = (200, 100), (40, 20)
    assert kinds(inspect_confusion(confusion_of(counts))) == {("same_profile", "2", "5")}


def test_classes_taken_for_each_other_are_paired():
    counts = healthy()
    counts[1, 6], counts[6, 1] = 150, 250
    pairs = inspect_confusion(confusion_of(counts)).similar
    mutual = [pair for pair in pairs if pair.kind == "mutual"]
    assert [(pair.first, pair.second) for pair in mutual] == [("1", "6")]
    assert mutual[0].score == pytest.approx(min(150 / 450, 250 / 550))


def test_a_weak_class_without_a_counterpart_is_paired_with_its_teacher_class():
    weak = ["bake a cake", *map(str, range(1, 8))]
    confusion = confusion_of(healthy(), weak=weak, teacher=["baking", *weak[1:]])
    found = inspect_confusion(confusion)
    assert found.without_counterpart == ("bake a cake",)
    assert kinds(found) == {("weak_teacher", "bake a cake", "baking")}
    assert (
        kinds(inspect_confusion(confusion, {name: name for name in weak[1:]} | {"bake a cake": "baking"}))
        == set()
    )


def test_classes_of_few_samples_are_not_paired():
    counts = healthy()
    counts[[2, 5]] = 0
    counts[[2, 5], 3] = 19
    assert not any(pair.kind == "same_profile" for pair in inspect_confusion(confusion_of(counts)).similar)


@given(numpy_arrays(np.int64, (6, 6), elements=st.integers(0, 200)))
def test_paired_profiles_really_are_that_similar(counts):
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for pair in inspect_confusion(confusion_of(counts)).similar:
        if pair.kind == "same_profile":
            first, second = shares[int(pair.first)], shares[int(pair.second)]
            cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
            assert cosine >= pair.score - 1e-9 >= 0.9 - 1e-9


def test_json_has_its_keys_and_says_the_same_again():
    found = inspect_confusion(confusion_of(healthy()))
    assert set(found.to_dict()) == KEYS
    assert json.loads(json.dumps(found.to_dict()))["classes"][0]["agreed"] == 200
    assert inspect_confusion(confusion_of(healthy())) == found


@pytest.mark.parametrize("options", [{"rare": 0}, {"feature_width": 0}])
def test_numbers_below_one_are_refused(options):
    with pytest.raises(sl.ConfigError, match="expected 1 or more"):
        inspect_confusion(confusion_of(healthy()), **options)


def test_a_matrix_of_20_000_squared_is_never_dense():
    generator = np.random.default_rng(0)
    weak = generator.integers(0, 20_000, 200_000)
    teacher = np.where(generator.random(200_000) < 0.5, weak, generator.integers(0, 20_000, 200_000))
    # The same teacher class in every row is the worst case of comparing rows.
    teacher[::4] = 7
    confusion = sl.count(sl.Pairs(weak, teacher, weak_vocabulary=20_000))
    confusion.counts.sum()
    tracemalloc.start()
    found = inspect_confusion(confusion)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400e6
    assert found.samples == 200_000
    assert len(found.similar) <= 100
