from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublabel.labels import Alignment, Pairs, count
from sublabel.report import matrix
from sublabel.report.matrix import Order, blocks, busiest, orders


def random_confusion(rows, columns, samples, seed=0):
    generator = np.random.default_rng(seed)
    weak, teacher = generator.integers(0, rows, samples), generator.integers(0, columns, samples)
    return count(Pairs(weak, teacher, weak_vocabulary=rows, teacher_vocabulary=columns))


@given(rows=st.integers(1, 12), columns=st.integers(1, 12), most=st.integers(1, 14), seed=st.integers(0, 5))
def test_blocks_hold_the_samples_of_their_members(rows, columns, most, seed):
    confusion = random_confusion(rows, columns, 60, seed)
    generator = np.random.default_rng(seed)
    order = Order(generator.permutation(rows), generator.permutation(columns))
    dense = confusion.counts.toarray()[order.rows][:, order.columns]
    height, width = min(rows, most), min(columns, most)
    expected = np.zeros((height, width), dtype=np.int64)
    for row in range(rows):
        for column in range(columns):
            expected[row * height // rows, column * width // columns] += dense[row, column]
    np.testing.assert_array_equal(blocks(confusion, order, most), expected)


@pytest.mark.parametrize(("rows", "columns"), [(30, 30), (20, 7), (3, 50), (1, 4), (450, 420)])
def test_every_order_has_each_class_once(rows, columns):
    confusion = random_confusion(rows, columns, 200)
    for order in orders(confusion, Alignment.of(None, *vocabularies(confusion))).values():
        assert sorted(order.rows.tolist()) == list(range(rows))
        assert sorted(order.columns.tolist()) == list(range(columns))


def vocabularies(confusion):
    return confusion.weak_vocabulary, confusion.teacher_vocabulary


def test_clusters_put_classes_side_by_side_that_are_confused_with_one_another():
    group = np.arange(12) % 3
    weak, teacher = np.meshgrid(np.arange(12), np.arange(12), indexing="ij")
    pairs = np.repeat(np.stack([weak.ravel(), teacher.ravel()]), 5, axis=1)
    same = group[pairs[0]] == group[pairs[1]]
    confusion = count(Pairs(pairs[0][same], pairs[1][same], weak_vocabulary=12))
    order = orders(confusion, Alignment.of(None, *vocabularies(confusion)))["clusters"]
    assert np.count_nonzero(np.diff(group[order.rows])) == 2
    np.testing.assert_array_equal(order.rows, order.columns)


def test_agreement_puts_the_best_agreed_first_and_its_teacher_class_beside_it():
    confusion = count(Pairs([0, 0, 1, 1, 2, 2], [1, 1, 1, 1, 2, 0], weak_vocabulary=["a", "b", "c"]))
    order = orders(confusion, Alignment.of(None, *vocabularies(confusion)))["agreement"]
    assert order.rows.tolist() == order.columns.tolist() == [1, 2, 0]


def test_a_matrix_too_large_to_cluster_keeps_the_other_orders(monkeypatch):
    monkeypatch.setattr(matrix, "CLUSTERED", 10)
    confusion = random_confusion(11, 11, 50)
    assert list(orders(confusion, Alignment.of(None, *vocabularies(confusion)))) == [
        "agreement",
        "vocabulary",
    ]


def test_the_order_of_clusters_is_the_same_every_time():
    confusion = random_confusion(450, 430, 3000)
    aligned = Alignment.of(None, *vocabularies(confusion))
    first, second = (orders(confusion, aligned)["clusters"] for _ in range(2))
    np.testing.assert_array_equal(first.rows, second.rows)


def test_the_busiest_rows_come_with_the_columns_that_agree_with_them():
    confusion = random_confusion(30, 30, 400)
    aligned = Alignment.of(None, *vocabularies(confusion))
    shown = busiest(confusion, aligned, orders(confusion, aligned)["vocabulary"], most=5)
    totals = confusion.counts.toarray().sum(axis=1)
    assert sorted(totals[shown.rows]) == sorted(totals)[-5:]
    assert set(shown.columns.tolist()) == set(shown.rows.tolist())
