from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sublabel as sl
from sublabel.labels.strategies._shuffle import Shuffle


@cache
def noisy_pairs(samples=20_000, classes=6, seed=0):
    generator = np.random.default_rng(seed)
    weak = generator.integers(0, classes, samples)
    teacher = np.where(
        generator.random(samples) < 0.5, weak, generator.integers(0, classes, samples) ** 2 % classes
    )
    ids = np.array([f"clip-{index}" for index in range(samples)])
    return sl.Pairs(weak, teacher, weak_vocabulary=classes, sample_ids=ids)


def spaces(strategy=None, seed=0):
    raw = strategy or sl.RawSPL()
    pairs = noisy_pairs()
    return sl.relabel(pairs, raw), sl.relabel(pairs, sl.MatchedControl(of=raw, seed=seed))


@pytest.mark.parametrize("strategy", [sl.RawSPL(), sl.RawSPL(min_count=700)], ids=str)
def test_the_space_is_the_same_and_the_row_and_agreement_of_a_sample_stay(strategy):
    plain, control = spaces(strategy)
    assert control.space.names == plain.space.names
    assert control.space.sizes.tolist() == plain.space.sizes.tolist()
    kinds = np.array(plain.space.kinds)
    agreed = kinds[plain.labels] == "agreed"
    assert (control.labels[agreed] == plain.labels[agreed]).all()
    assert (kinds[control.labels[~agreed]] != "agreed").all()
    rows = np.array([plain.space.describe(label).weak for label in range(len(plain.space))])
    assert (rows[control.labels] == rows[plain.labels]).all()


def test_fitted_on_counts_alone_classes_keep_their_sizes_on_average():
    space = sl.MatchedControl().fit(sl.count(noisy_pairs()))
    counted = np.bincount(space.assign(noisy_pairs()), minlength=len(space))
    assert (np.abs(counted - space.sizes) < 5 * np.sqrt(space.sizes) + 1).all()
    assert (counted != space.sizes).any()


@pytest.mark.parametrize("rare", ["disagreed", "weak", "drop"])
@pytest.mark.parametrize("min_count", [1, 3])
def test_with_the_samples_at_hand_every_class_has_its_size_in_a_long_tail_too(min_count, rare):
    generator = np.random.default_rng(0)
    weak = generator.integers(0, 300, 5000)
    teacher = np.minimum(generator.zipf(1.5, 5000), 400) - 1
    raw = sl.RawSPL(min_count=min_count, rare=rare)
    ids = np.arange(5000)
    pairs = sl.Pairs(weak, teacher, weak_vocabulary=300, teacher_vocabulary=400, sample_ids=ids)
    plain, control = sl.relabel(pairs, raw), sl.relabel(pairs, sl.MatchedControl(of=raw))
    sizes = np.bincount(control.labels[control.labels >= 0], minlength=len(plain.space))
    assert (plain.space.sizes == 1).any() or min_count > 1
    assert sizes.tolist() == plain.space.sizes.tolist()
    assert (control.labels != plain.labels).mean() > 0.1


shuffled = cache(spaces)


@given(held=st.integers(1, 12_000), cuts=st.lists(st.integers(0, 20_000), max_size=3))
def test_passes_over_a_few_rows_each_find_the_same_cuts(held, cuts):
    plain, control = shuffled()
    pairs = noisy_pairs()
    shuffle = Shuffle.of(control.space.classes, 6, seed=0)
    moved = shuffle.moved(plain.labels)
    keys = shuffle.keys(pairs.weak[moved], pairs.sample_ids[moved])
    found = shuffle.exact_cuts(lambda: np.split(keys, sorted(cuts)), held)
    assert found.tolist() == control.space.cuts.tolist()


def test_other_samples_than_those_counted_are_refused():
    pairs = noisy_pairs()
    space = sl.MatchedControl().fit(sl.count(pairs))
    for rows in (slice(1, None), slice(0, 0), np.arange(20_001) % 20_000):
        with pytest.raises(sl.LabelError, match="not those that the label space was fitted on"):
            space.match_sizes(lambda rows=rows: [pairs[rows]])
    flipped = sl.Pairs(5 - pairs.weak, 5 - pairs.teacher, weak_vocabulary=6, sample_ids=pairs.sample_ids)
    with pytest.raises(sl.LabelError, match="not those that the label space was fitted on"):
        space.match_sizes(lambda: [flipped])
    raw = sl.RawSPL().fit(sl.count(pairs))
    assert raw.match_sizes(lambda: []) is raw


def test_the_teachers_distinction_is_gone():
    plain, control = spaces()
    disagreed = np.array(plain.space.kinds)[plain.labels] == "disagreed"
    same = (plain.labels == control.labels)[disagreed].mean()
    rows = np.array([plain.space.describe(label).weak for label in range(len(plain.space))])
    inner = np.array(plain.space.kinds) == "disagreed"
    share = [
        plain.space.sizes[k] / plain.space.sizes[inner & (rows == rows[k])].sum() for k in range(len(rows))
    ]
    by_chance = np.mean(np.array(share)[plain.labels[disagreed]])
    assert same == pytest.approx(by_chance, abs=0.02)


@given(cuts=st.lists(st.integers(0, 20_000), max_size=4), seed=st.integers(0, 3))
def test_any_order_and_any_chunking_give_the_same_labels(cuts, seed):
    pairs = noisy_pairs()
    control = shuffled(seed=1)[1]
    order = np.random.default_rng(seed).permutation(len(pairs))
    labels = np.full(len(pairs), -2)
    for rows in np.split(order, sorted(cuts)):
        # A list makes NumPy pad each chunk to its own longest id.
        chunk = sl.Pairs(
            pairs.weak[rows],
            pairs.teacher[rows],
            weak_vocabulary=6,
            sample_ids=pairs.sample_ids[rows].tolist(),
        )
        labels[rows] = control.space.assign(chunk)
    assert (labels == control.labels).all()


def test_seeds_differ_and_repeat():
    first, again, other = (spaces(seed=seed)[1].labels for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_integer_ids_hash_as_their_digits():
    space = spaces()[1].space
    numbers = np.arange(50) * 7_919
    texts = [str(n) for n in numbers]
    objects = np.array([n if n % 2 else str(n) for n in numbers.tolist()], dtype=object)
    expected = space.assign(of_one_cell(numbers))
    assert len(set(expected.tolist())) > 1
    for ids in (texts, numbers.astype(np.uint32), objects, np.array(texts, dtype=object)):
        assert (space.assign(of_one_cell(ids)) == expected).all()


def of_one_cell(ids):
    return sl.Pairs([0] * len(ids), [1] * len(ids), weak_vocabulary=6, sample_ids=ids)


def test_hashed_numbers_are_fixed_for_good():
    from sublabel.labels.hashing import uniform_from_ids

    numbers = uniform_from_ids(np.array(["a", "b", "clip-10"]), seed=0)
    assert numbers.tolist() == pytest.approx(RECORDED, abs=1e-15)


def reference_uniform(sample_id, seed):
    mask = (1 << 64) - 1

    def mix(state):
        state = (state + 0x9E3779B97F4A7C15) & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        return state ^ (state >> 31)

    state = mix(seed & mask)
    for character in sample_id:
        state = mix(state ^ ord(character))
    return (state >> 11) * 2.0**-53


RECORDED = [reference_uniform(sample_id, 0) for sample_id in ("a", "b", "clip-10")]


@pytest.mark.parametrize("raw", [sl.RawSPL(min_count=3, rare="drop"), sl.RawSPL()], ids=str)
def test_it_serves_a_space_without_classes(raw):
    weak, teacher = ([0, 1], [1, 0]) if raw.min_count > 1 else ([-1, 0], [0, -1])
    pairs = sl.Pairs(weak, teacher, weak_vocabulary=2, sample_ids=["a", "b"])
    control = sl.relabel(pairs, sl.MatchedControl(of=raw))
    assert control.space.num_classes == 0
    assert control.labels.tolist() == [-1, -1]


def test_it_needs_sample_ids():
    space = spaces()[1].space
    assert space.needs == {"sample_ids"}
    for refused in (space.assign, space.targets, lambda pairs: sl.relabel(pairs, sl.MatchedControl())):
        with pytest.raises(sl.LabelError, match="these 2 pairs have none: give Pairs its sample_ids"):
            refused(sl.Pairs([0, 1], [1, 1], weak_vocabulary=6))
    assert space.assign(sl.Pairs([], [], weak_vocabulary=6, sample_ids=[])).tolist() == []


def test_it_survives_a_round_trip():
    control = spaces()[1]
    loaded = sl.LabelSpace.from_json(control.space.to_json())
    assert loaded.needs == {"sample_ids"}
    assert (loaded.assign(noisy_pairs()) == control.labels).all()


@pytest.mark.parametrize("name", ["row_default", "column_default", "cells", "cell_labels", "cuts"])
def test_a_space_cannot_be_written_to(name):
    with pytest.raises(ValueError, match="read-only"):
        getattr(spaces()[1].space, name)[...] = 0


def test_it_controls_for_a_strategy_of_ones_own_too():
    class Halves(sl.Strategy):
        def class_of(self, cell):
            return cell.weak if cell.agreed else f"{cell.weak}, {int(cell.teacher) % 2}"

    plain, control = spaces(Halves())
    kinds = np.array(plain.space.kinds)
    assert set(kinds) == {"agreed", "disagreed"}
    assert np.bincount(control.labels).tolist() == plain.space.sizes.tolist()
    disagreed = kinds[plain.labels] == "disagreed"
    assert (control.labels[~disagreed] == plain.labels[~disagreed]).all()
    assert 0.2 < (control.labels != plain.labels)[disagreed].mean() < 0.8
