from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare

from sublabel.errors import ConfigError
from sublabel_image.demo import SubConceptOptions, share_out, sub_concept_queries

CLASSES, QUERIES, EACH = 25, 5, 4_000
LABELS = np.repeat(np.arange(CLASSES), EACH)
ALL = np.ones(len(LABELS), dtype=bool)
IS_TARGET = np.arange(CLASSES) % 5 == 1
"""Classes 1, 6, 11, 16 and 21 are target classes; the other 20 are sub-concepts."""


def table_of(queries, labels=LABELS):
    """How many images of each class carry each query, (C, Q)."""
    counts = np.zeros((CLASSES, QUERIES), dtype=int)
    chosen = queries >= 0
    np.add.at(counts, (labels[chosen], queries[chosen]), 1)
    return counts


@pytest.mark.parametrize("each", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_every_sub_concept_has_so_many_queries_and_every_query_as_many_sub_concepts(each, seed):
    given = share_out(80, 20, min(4 * each, 20), np.random.default_rng(seed))
    assert all(len(set(row)) == min(4 * each, 20) for row in given.tolist())
    # Each draw is a partition into equal rows.
    assert all((np.bincount(column, minlength=20) == 4).all() for column in given.T)


def test_queries_that_do_not_divide_the_sub_concepts_are_shared_out_as_evenly_as_can_be():
    given = share_out(7, 3, 2, np.random.default_rng(0))
    assert all(a != b for a, b in given.tolist())
    assert all(np.bincount(column, minlength=3).max() == 3 for column in given.T)


def test_every_pair_of_queries_is_as_likely_as_any_other():
    pairs = np.concatenate([share_out(20, 5, 2, np.random.default_rng(seed)) for seed in range(400)])
    counts = np.bincount(pairs[:, 0] * 5 + pairs[:, 1], minlength=25).reshape(5, 5)
    assert (np.diag(counts) == 0).all()
    assert counts[~np.eye(5, dtype=bool)] == pytest.approx(8_000 / 20, rel=0.2)


def test_images_carry_their_queries_as_often_as_the_options_say():
    options = SubConceptOptions(share=0.8, queries_each=2, own_query=0.7, concept_query=0.9)
    counts = table_of(sub_concept_queries(LABELS, ALL, IS_TARGET, len(LABELS), options))
    assert (counts.sum(1) == EACH).all()
    for place, label in enumerate(np.flatnonzero(IS_TARGET)):
        expected = np.full(QUERIES, 0.3 / QUERIES)
        expected[place] += 0.7
        assert chisquare(counts[label], EACH * expected).pvalue > 1e-4
    members = np.zeros(QUERIES, dtype=int)
    for label in np.flatnonzero(~IS_TARGET):
        own = np.argsort(counts[label])[-2:]
        members[own] += 1
        expected = np.full(QUERIES, 0.1 / QUERIES)
        expected[own] += 0.9 / 2
        assert chisquare(counts[label], EACH * expected).pvalue > 1e-4
    # 20 sub-concepts with two of five queries: eight a query.
    assert members.tolist() == [8] * QUERIES


@pytest.mark.parametrize("share", [0.0, 0.55, 0.8])
def test_sub_concepts_are_exactly_that_share_of_the_weak_set(share):
    queries = sub_concept_queries(LABELS, ALL, IS_TARGET, 10_000, SubConceptOptions(share=share))
    counts = table_of(queries)
    assert counts.sum() == 10_000
    assert counts[~IS_TARGET].sum() == round(share * 10_000)


def test_only_candidates_are_chosen():
    candidates = np.random.default_rng(0).random(len(LABELS)) < 0.5
    queries = sub_concept_queries(LABELS, candidates, IS_TARGET, 10_000)
    assert candidates[queries >= 0].all()


def test_a_smaller_weak_set_is_a_part_of_a_larger_one():
    few, many = (sub_concept_queries(LABELS, ALL, IS_TARGET, size) for size in (5_000, 20_000))
    assert (few == many)[few >= 0].all()
    assert (many >= 0).sum() == 20_000


def test_seeds_change_the_images_and_the_queries_and_the_same_seed_changes_nothing():
    first, again, other = (
        sub_concept_queries(LABELS, ALL, IS_TARGET, 10_000, seed=seed) for seed in (0, 0, 1)
    )
    assert (first == again).all()
    assert ((first >= 0) != (other >= 0)).any()
    both = (first >= 0) & (other >= 0) & ~IS_TARGET[LABELS]
    # Other sub-concepts belong to other queries: what agrees is little more than chance.
    assert (first == other)[both].mean() < 0.5


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ConfigError, match="need 11000 of sub-concepts, and there are 10000: .*fewer weak"):
        labels = np.repeat(np.arange(CLASSES), 500)
        sub_concept_queries(labels, labels >= 0, IS_TARGET, 20_000)
    with pytest.raises(ConfigError, match="6 queries, and there are 5"):
        sub_concept_queries(LABELS, ALL, IS_TARGET, 100, SubConceptOptions(queries_each=6))
