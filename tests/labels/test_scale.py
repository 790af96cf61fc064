from __future__ import annotations

import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sublabel as sl
from sublabel.labels import _sums
from tests.labels.regime import REGIMES, regime

WIDTH, HEIGHT = 5, 3
labels = st.lists(st.tuples(st.integers(-1, WIDTH - 1), st.integers(-1, HEIGHT - 1)), max_size=80)


def count(pairs, dtype=np.int64):
    array = np.array(pairs, dtype=dtype).reshape(-1, 2)
    return sl.count(pairs_of(array[:, 0], array[:, 1]))


def pairs_of(weak, teacher):
    return sl.Pairs(weak, teacher, weak_vocabulary=WIDTH, teacher_vocabulary=HEIGHT)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, ">i4"])
@pytest.mark.parametrize("name", REGIMES)
@given(pairs=labels)
def test_both_regimes_count_as_a_loop_does(name, dtype, pairs):
    with regime(name):
        confusion = count(pairs, dtype)
        expected = Counter(pair for pair in pairs if min(pair) >= 0)
        entries = confusion.counts.tocoo()
        found = zip(entries.row.tolist(), entries.col.tolist(), strict=True)
        assert dict(zip(found, entries.data.tolist(), strict=True)) == dict(expected)
        assert confusion.counts.has_canonical_format
        assert (confusion.total, confusion.abstained) == (expected.total(), len(pairs) - expected.total())
        assert confusion.counts.dtype == np.int64


@pytest.mark.parametrize("name", REGIMES)
@given(pairs=labels, seed=st.integers(0, 99), parts=st.integers(1, 6))
def test_any_order_split_and_merge_tree_count_the_same(name, pairs, seed, parts):
    generator = np.random.default_rng(seed)
    shuffled = [pairs[i] for i in generator.permutation(len(pairs))]
    with regime(name):
        pool = [sl.ConfusionMatrix(WIDTH, HEIGHT) for _ in range(parts)]
        for pair in shuffled:
            pool[generator.integers(parts)].update(pairs_of([pair[0]], [pair[1]]))
        while len(pool) > 1:
            left = pool.pop(generator.integers(len(pool)))
            pool.append(left.merge(pool.pop(generator.integers(len(pool)))))
        assert pool[0] == count(pairs)


@pytest.mark.parametrize("name", REGIMES)
def test_counting_goes_on_after_the_counts_were_read(name):
    with regime(name):
        confusion = count([(0, 0)] * 20)
        before = confusion.counts
        confusion.update(pairs_of([1, 0, -1], [1, 0, 0]))
        assert confusion.counts.toarray()[:2, :2].tolist() == [[21, 0], [0, 1]]
        assert before.toarray()[0, 0] == 20
        assert confusion.abstained == 1


def test_keys_wider_than_32_bits_count_the_same():
    with regime("sparse"):
        counter = _sums.CellCounter((1 << 40, 1 << 22))
        assert not counter.is_dense
        counter.shape = (70_000, 70_000)
        counter.add(np.array([69_999, 69_999, 0]), np.array([69_999, 69_999, 1]))
        total = counter.total()
        assert (total[69_999, 69_999], total[0, 1], total.nnz) == (2, 1, 2)


@pytest.mark.parametrize("strategy", [sl.RawSPL(), sl.RawSPL(min_count=2), sl.DensestSPL(max_classes=60_000),
                                      sl.SPLB(), sl.TwoHead(), sl.WeakOnly()], ids=str)  # fmt: skip
def test_fifty_thousand_names_need_no_dense_table(strategy):
    generator = np.random.default_rng(0)
    names, size = sl.Vocabulary.of(50_000), 100_000
    weak = generator.integers(0, len(names), size, dtype=np.int32)
    teacher = (weak + generator.integers(0, 4, size, dtype=np.int32)) % len(names)
    tracemalloc.start()
    try:
        result = sl.relabel(sl.Pairs(weak, teacher, weak_vocabulary=names), strategy)
        labels = result.space.assign(result.pairs)
        loaded = sl.LabelSpace.from_json(result.space.to_json())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 150e6
    assert loaded == result.space
    assert (loaded.assign(result.pairs) == labels).all()
    counted = np.bincount(labels[labels >= 0], minlength=len(loaded))
    assert (counted == loaded.sizes).all()


def test_a_million_cells_are_a_few_megabytes_of_json():
    generator = np.random.default_rng(0)
    weak, teacher = generator.integers(0, 20_000, (2, 1_000_000), dtype=np.int32)
    space = sl.RawSPL().fit(sl.count(sl.Pairs(weak, teacher, weak_vocabulary=20_000)))
    assert len(space) > 990_000
    text = space.to_json()
    assert len(text) < 6e6
    loaded = sl.LabelSpace.from_json(text)
    assert loaded == space
    assert (loaded.cells == space.cells).all()


@given(values=st.lists(st.integers(-(1 << 62), 1 << 62)), times=st.sampled_from([1, 2000]))
def test_packed_arrays_come_back_exactly(values, times):
    from sublabel.labels._codec import decode_array, encode_array

    for dtype in (np.int64, np.float64):
        array = np.array(values * times, dtype=dtype)
        again = decode_array(encode_array(array), dtype)
        assert again.dtype == dtype
        assert (again == array).all()


def test_counts_made_elsewhere_are_taken_and_checked():
    given_counts = np.array([[1, 0], [2, 3]])
    confusion = sl.ConfusionMatrix.from_counts(given_counts, weak_vocabulary=2, abstained=4)
    assert confusion.counts.toarray().tolist() == given_counts.tolist()
    assert (confusion.counts.nnz, confusion.abstained) == (3, 4)
    for bad in (given_counts[:1], given_counts * 1.0, -given_counts):
        with pytest.raises(sl.LabelError, match="expected integers of shape"):
            sl.ConfusionMatrix.from_counts(bad, weak_vocabulary=2)
