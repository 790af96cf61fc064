from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

import sublabel as sl
from sublabel.labels.row_model import HeldOutLosses, RidgeSums, folds_of
from sublabel.testing import check_strategy

LOOKS, QUERIES = 6, 4


def found_by_queries(samples=3000, seed=0):
    """Samples of six looks: of four that a query is for, and of two that come with two queries each."""
    generator = np.random.default_rng(seed)
    look = generator.integers(0, LOOKS, samples)
    other = np.where(look == 4, generator.integers(0, 2, samples), 2 + generator.integers(0, 2, samples))
    query = np.where(look < QUERIES, look, other)
    query = np.where(generator.random(samples) < 0.2, generator.integers(0, QUERIES, samples), query)
    features = (3 * np.eye(LOOKS)[look] + generator.normal(size=(samples, LOOKS))).astype(np.float16)
    scores = np.exp(features[:, :QUERIES].astype(float))
    pairs = sl.Pairs(
        query,
        scores / scores.sum(1, keepdims=True),
        weak_vocabulary=list("abcd"),
        teacher_vocabulary=list("abcd"),
        features=features,
    )
    return look, pairs


@pytest.mark.parametrize("strategy", [sl.DenoisedSPL(), sl.DenoisedSPL(of=sl.SPLB(), k=2, folds=2)], ids=str)
def test_it_holds_what_every_strategy_must(strategy):
    check_strategy(strategy)


@pytest.mark.parametrize("penalty", [0.1, 1.0])
def test_each_fold_has_the_ridge_regression_of_the_other_samples(penalty):
    _, pairs = found_by_queries(400)
    sums = RidgeSums(3, LOOKS, QUERIES)
    sums.add(pairs.features, pairs.weak)
    fold = folds_of(pairs.features, 3)
    for number, weights in enumerate(sums.solve(penalty)):
        seen, weak = pairs.features[fold != number].astype(float), pairs.weak[fold != number]
        mean, deviation = seen.mean(0), seen.std(0)
        theirs = Ridge(alpha=penalty * len(seen)).fit((seen - mean) / deviation, np.eye(QUERIES)[weak])
        expected = theirs.predict((pairs.features - mean) / deviation)
        assert np.abs(pairs.features @ weights[:-1] + weights[-1] - expected).max() < 1e-4


def test_sums_of_parts_are_the_sums_of_all():
    _, pairs = found_by_queries(500)
    whole, *parts = (RidgeSums(4, LOOKS, QUERIES) for _ in range(3))
    whole.add(pairs.features, pairs.weak)
    for part, rows in zip(parts, (slice(0, 200), slice(200, None)), strict=True):
        part.add(pairs.features[rows], pairs.weak[rows])
    assert np.allclose(parts[0].merge(parts[1]).solve(0.3), whole.solve(0.3), atol=1e-6)


def test_the_model_that_is_chosen_says_the_labels_of_unseen_samples_best():
    _, pairs = found_by_queries()
    sums = RidgeSums(5, LOOKS, QUERIES)
    sums.add(pairs.features, pairs.weak)
    losses = HeldOutLosses(sums)
    losses.add(pairs.features, pairs.weak)
    found = losses.best().probabilities(pairs.features)
    loss = -np.log(found[np.arange(len(found)), pairs.weak]).sum()
    assert loss == pytest.approx(losses.losses.min(), rel=1e-4)
    share = np.bincount(pairs.weak) / len(pairs)
    assert loss < 0.7 * -np.log(share[pairs.weak]).sum()


def test_a_sample_gets_the_queries_that_find_what_it_shows():
    look, pairs = found_by_queries()
    result = sl.relabel(pairs, sl.DenoisedSPL(of=sl.WeakOnly()))
    found = result.targets.rows.toarray()
    for shown, queries in ((4, [0, 1]), (5, [2, 3])):
        mean = found[look == shown].mean(0)
        assert set(np.argsort(-mean)[:2].tolist()) == set(queries)
        assert abs(mean[queries[0]] - mean[queries[1]]) < 0.1
    # Of a look that a query is for, also where another query found the sample.
    wrong = (look < QUERIES) & (pairs.weak != look)
    assert (found[wrong].argmax(1) == look[wrong]).mean() > 0.8


def test_a_sample_without_features_keeps_its_weak_label():
    _, pairs = found_by_queries(200)
    features = pairs.features.copy()
    features[:50] = np.nan
    blind = sl.Pairs(
        pairs.weak,
        (pairs.top_ids, pairs.top_probs),
        weak_vocabulary=list("abcd"),
        teacher_vocabulary=list("abcd"),
        features=features,
    )
    found = sl.relabel(blind, sl.DenoisedSPL(of=sl.WeakOnly(), folds=2)).targets.rows.toarray()
    assert np.allclose(found[:50], np.eye(4)[pairs.weak[:50]])
    assert (found[50:].max(1) < 1).all()


def test_a_count_without_features_is_refused():
    with pytest.raises(sl.LabelError, match="a count that looks at features"):
        sl.DenoisedSPL().fit(sl.count(sl.Pairs(["a"], ["a"])))
    with pytest.raises(sl.LabelError, match="needs features, and these 1 pairs have none"):
        sl.relabel(sl.Pairs(["a"], ["a"]), sl.DenoisedSPL())


def test_features_of_another_network_are_refused():
    _, pairs = found_by_queries(200)
    space = sl.relabel(pairs, sl.DenoisedSPL()).space
    other = sl.Pairs(
        pairs.weak,
        (pairs.top_ids, pairs.top_probs),
        weak_vocabulary=list("abcd"),
        teacher_vocabulary=list("abcd"),
        features=pairs.features[:, :3],
    )
    with pytest.raises(sl.LabelError, match="have 3 numbers a sample, and this space was fitted on 6"):
        space.targets(other)


def test_copies_of_a_sample_are_never_in_two_folds():
    _, pairs = found_by_queries(100)
    once, again = folds_of(pairs.features, 5), folds_of(np.repeat(pairs.features, 2, axis=0), 5)
    assert again.tolist() == np.repeat(once, 2).tolist()
    assert np.bincount(once, minlength=5).min() > 5
