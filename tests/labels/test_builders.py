from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sublabel as sl
from sublabel.labels import count_chunks
from sublabel.labels.builders import UNIT, ConfidentBuilder, MassBuilder
from tests.labels.regime import REGIMES, regime

WIDTH, HEIGHT = 3, 4
OPTIONS = [
    sl.HardCounts(),
    sl.ProbabilityMass(),
    sl.ProbabilityMass(rest="other"),
    sl.ProbabilityMass(k=1),
    sl.ConfidentCounts(),
    sl.ConfidentCounts(candidates="top_k"),
    sl.ConfidentCounts(thresholds=0.5),
    sl.ConfidentCounts(thresholds=(0.1, 0.9, 0.5, 0.0)),
]
ALIGNED = sl.Alignment(WIDTH, HEIGHT, [(0, 0), (1, 1), (1, 2)])


@st.composite
def samples(draw, max_size=40):
    """Weak labels, the two most probable of the teacher's classes, and their probabilities, as arrays."""
    size = draw(st.integers(0, max_size))
    generator = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    weak = generator.integers(-1, WIDTH, size)
    probs = generator.dirichlet(np.full(HEIGHT, draw(st.sampled_from([0.1, 1.0]))), size).reshape(
        size, HEIGHT
    )
    ids = np.argsort(-probs, axis=1, kind="stable")[:, :2]
    probs = np.take_along_axis(probs, ids, axis=1).astype(np.float32)
    ids[generator.random(size) < 0.1] = -1
    return weak, ids, probs


def pairs_of(chunk):
    weak, ids, probs = chunk
    return sl.Pairs(weak, (ids, probs), weak_vocabulary=WIDTH, teacher_vocabulary=HEIGHT)


def started(options):
    return options.start(WIDTH, HEIGHT, ALIGNED)


def build(options, chunk):
    return sl.count(pairs_of(chunk), options, ALIGNED)


def cut(chunk, cuts):
    stops = [0, *sorted(min(c, len(chunk[0])) for c in cuts), len(chunk[0])]
    return [tuple(part[a:b] for part in chunk) for a, b in pairwise(stops)]


@pytest.mark.parametrize("name", REGIMES)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@given(chunk=samples(), cuts=st.lists(st.integers(0, 40), max_size=4), seed=st.integers(0, 9))
def test_any_split_order_and_merge_tree_build_the_same(options, name, chunk, cuts, seed):
    expected = build(options, chunk)
    generator = np.random.default_rng(seed)
    with regime(name):
        order = generator.permutation(len(chunk[0]))
        parts = cut(tuple(part[order] for part in chunk), cuts)
        builders = [started(options) for _ in parts]
        for number in range(builders[0].passes):
            if number:
                whole = merge_in_any_tree(builders, generator)
                whole.next_pass()
                # Every worker goes on from the thresholds of all.
                builders = [whole, *(fresh(whole) for _ in parts[1:])]
            for builder, part in zip(builders, parts, strict=True):
                builder.update(pairs_of(part))
        assert merge_in_any_tree(builders, generator).build() == expected
        whole = pairs_of(chunk)
        vocabularies = whole.weak_vocabulary, whole.teacher_vocabulary
        assert count_chunks(lambda: map(pairs_of, parts), *vocabularies, options, ALIGNED) == expected


def merge_in_any_tree(builders, generator):
    pool = list(builders)
    while len(pool) > 1:
        left = pool.pop(generator.integers(len(pool)))
        right = pool.pop(generator.integers(len(pool)))
        pool.append(left.merge(right))
    return pool[0]


def fresh(builder):
    vocabularies = builder.weak_vocabulary, builder.teacher_vocabulary
    other = ConfidentBuilder(*vocabularies, ALIGNED, candidates=builder.candidates)
    other.thresholds = builder.thresholds
    return other


@given(chunk=samples())
def test_hard_counts_are_those_of_the_first_class(chunk):
    weak, ids, _ = chunk
    counts = np.zeros((WIDTH, HEIGHT), dtype=int)
    for pair in zip(weak, ids[:, 0], strict=True):
        counts[pair] += min(pair) >= 0
    first = sl.Pairs(weak, ids[:, 0], weak_vocabulary=WIDTH, teacher_vocabulary=HEIGHT)
    for confusion in (build(sl.HardCounts(), chunk), sl.count(first), sl.count(pairs_of(chunk))):
        assert confusion.counts.toarray().tolist() == counts.tolist()
        assert confusion.abstained == len(weak) - counts.sum()


def exact_mass(chunk, rest):
    """Expected samples of each cell, in fractions."""
    mass = [[Fraction(0)] * (HEIGHT + 1) for _ in range(WIDTH)]
    for w, ids, probs in zip(*chunk, strict=True):
        if w < 0 or ids[0] < 0:
            continue
        shares = [Fraction(float(p)) for p in probs]
        total = sum(shares) if rest == "renormalise" else max(sum(shares), Fraction(1))
        for t, share in zip(ids, shares, strict=True):
            mass[w][t] += share / total
        mass[w][HEIGHT] += 1 - sum(shares) / total
    return np.array(mass, dtype=float)


@pytest.mark.parametrize("rest", ["renormalise", "other"])
@given(chunk=samples())
def test_probability_mass_equals_fractions(rest, chunk):
    builder = started(sl.ProbabilityMass(rest=rest))
    assert isinstance(builder, MassBuilder)
    builder.update(pairs_of(chunk))
    mass = builder.mass.toarray()
    expected = exact_mass(chunk, rest)[:, : mass.shape[1]]
    assert np.abs(mass - expected).max() <= 3 * len(chunk[0]) / UNIT
    counts = builder.build().counts.toarray()
    assert np.abs(counts - mass).max() < 1 + 1e-9
    voted = (chunk[0] >= 0) & (chunk[1][:, 0] >= 0)
    rows = np.bincount(chunk[0][voted], minlength=WIDTH)
    assert counts.sum(axis=1).tolist() == mass.sum(axis=1).tolist() == rows.tolist()
    assert builder.build().abstained == (~voted).sum()


def test_the_rest_has_a_class_of_its_own():
    confusion = build(sl.ProbabilityMass(rest="other"), ([0] * 4, [[1]] * 4, [[0.75]] * 4))
    assert confusion.teacher_vocabulary.names == ("0", "1", "2", "3", "(other)")
    assert confusion.counts.toarray()[0].tolist() == [0, 3, 0, 0, 1]


def confident_by_hand(chunk, thresholds, candidates):
    counts, unsure = np.zeros((WIDTH, HEIGHT), dtype=int), np.zeros(WIDTH, dtype=int)
    for w, ids, probs in zip(*chunk, strict=True):
        if w < 0 or ids[0] < 0:
            continue
        pairs = list(zip(ids, probs, strict=True))[: 1 if candidates == "top_1" else None]
        passing = [(p, t) for t, p in pairs if float(p) >= thresholds[t]]
        if passing:
            counts[w, max(passing, key=lambda pair: pair[0])[1]] += 1
        else:
            unsure[w] += 1
    return counts, unsure


def thresholds_by_hand(chunk):
    agreed = {(0, 0), (1, 1), (1, 2)}
    found = []
    voted = [row for row in zip(*chunk, strict=True) if row[0] >= 0 and row[1][0] >= 0]
    for t in range(HEIGHT):
        own = [
            sum(Fraction(float(p)) for i, p in zip(ids, probs, strict=True) if i == t)
            for w, ids, probs in voted
            if (w, t) in agreed
        ]
        predicted = [Fraction(float(probs[0])) for _, ids, probs in voted if ids[0] == t]
        chosen = own or predicted or [Fraction(1)]
        found.append(float(sum(chosen) / len(chosen)))
    return np.array(found)


@pytest.mark.parametrize("candidates", ["top_1", "top_k"])
@given(chunk=samples())
def test_confident_counts_equal_brute_force(candidates, chunk):
    confusion = build(sl.ConfidentCounts(candidates=candidates), chunk)
    thresholds = confusion.confidence.thresholds
    by_hand = thresholds_by_hand(chunk)
    assert (thresholds <= by_hand + 1e-12).all()
    assert np.abs(thresholds - by_hand).max() < 3 / UNIT
    counts, unsure = confident_by_hand(chunk, thresholds, candidates)
    assert (confusion.counts.toarray() == counts).all()
    assert (confusion.confidence.unsure == unsure).all()
    assert confusion.total + unsure.sum() + confusion.abstained == len(chunk[0])


@pytest.mark.parametrize("probability", [1 / 3, 0.1, 0.7, 1e-6, 1.0])
def test_samples_of_one_probability_all_reach_their_mean(probability):
    probs = np.full((101, 1), probability, dtype=np.float32)
    confusion = build(sl.ConfidentCounts(), (np.zeros(101, int), np.zeros((101, 1), int), probs))
    assert confusion.total == 101


def test_thresholds_and_counts_equal_cleanlabs():
    cleanlab_count = pytest.importorskip("cleanlab.count")
    generator = np.random.default_rng(0)
    classes, size = 8, 3000
    labels = generator.integers(0, classes, size)
    probs = generator.dirichlet(np.full(classes, 3.0), size)
    # One class has a far higher threshold than the others, and is often the most probable below it.
    probs[np.arange(size), labels] += np.where(labels == 0, 2.0, 0.02)
    probs = probs / probs.sum(axis=1, keepdims=True)
    thresholds = cleanlab_count.get_confident_thresholds(labels, probs)
    # cleanlab counts the most probable class where several pass, also where that one itself does not.
    passing = probs >= thresholds
    usual = passing[np.arange(size), probs.argmax(axis=1)] | (passing.sum(axis=1) < 2)
    assert 0.5 < usual.mean() < 1
    pairs = sl.Pairs(labels, probs, weak_vocabulary=classes)
    builder = sl.ConfidentCounts(candidates="top_k").start(classes)
    builder.update(pairs)
    builder.next_pass()
    assert builder.thresholds == pytest.approx(thresholds, abs=1e-8)
    builder.update(pairs[usual])
    expected = cleanlab_count.compute_confident_joint(
        labels[usual], probs[usual], thresholds=thresholds, calibrate=False
    )
    assert (builder.build().counts.toarray() == expected).all()


@given(chunk=samples())
def test_a_confident_matrix_survives_a_round_trip(chunk, tmp_path_factory):
    path = tmp_path_factory.mktemp("confident") / "c.npz"
    confusion = build(sl.ConfidentCounts(), chunk)
    confusion.save(path)
    loaded = sl.ConfusionMatrix.load(path)
    assert loaded == confusion
    assert loaded.confidence == confusion.confidence


def test_matrices_of_other_thresholds_are_not_merged():
    chunk = [0], [[0]], [[0.5]]
    one, other = (build(sl.ConfidentCounts(thresholds=value), chunk) for value in (0.1, 0.2))
    with pytest.raises(sl.LabelError, match="different confidence thresholds"):
        one.merge(other)
    with pytest.raises(sl.LabelError, match="with one of all samples"):
        one.merge(build(sl.HardCounts(), chunk))
    assert one.merge(one).total == 2
    assert one != build(sl.HardCounts(), chunk)


def test_passes_are_kept_in_order():
    builder = started(sl.ConfidentCounts())
    assert builder.passes == 2
    with pytest.raises(sl.LabelError, match="call next_pass"):
        builder.build()
    builder.next_pass()
    with pytest.raises(sl.LabelError, match="call build"):
        builder.next_pass()
    with pytest.raises(sl.LabelError, match=r"reads the samples 1 time\(s\)"):
        started(sl.HardCounts()).next_pass()
    with pytest.raises(sl.LabelError, match="different thresholds"):
        builder.merge(started(sl.ConfidentCounts()))
    with pytest.raises(sl.LabelError, match="different rest"):
        started(sl.ProbabilityMass()).merge(started(sl.ProbabilityMass(rest="other")))
    with pytest.raises(sl.LabelError, match="different class"):
        started(sl.ProbabilityMass()).merge(started(sl.HardCounts()))


@pytest.mark.parametrize("options", [sl.ProbabilityMass(), sl.ConfidentCounts()], ids=str)
def test_pairs_that_do_not_fit_are_refused_and_nothing_is_counted(options):
    builder, untouched = started(options), started(options)
    without = sl.Pairs([0, 0], [[0], [0]], weak_vocabulary=WIDTH, teacher_vocabulary=HEIGHT)
    other = sl.Pairs([0, 0], ([0, 0], [0.5, 0.5]), weak_vocabulary=WIDTH, teacher_vocabulary=HEIGHT + 1)
    for pairs, message in (
        (without, "needs the teacher's probabilities"),
        (other, "this count is over the teacher vocabulary"),
    ):
        with pytest.raises(sl.LabelError, match=message):
            builder.update(pairs)
    for either in (builder, untouched):
        for _ in range(either.passes - 1):
            either.next_pass()
    assert builder.build() == untouched.build()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_counting_looks_only_at_what_it_needs(options):
    pairs = sl.Pairs([0, 1], ([1, 2], [0.5, 0.25]), weak_vocabulary=WIDTH, teacher_vocabulary=HEIGHT)
    bare = sl.Pairs([0, 1], [1, 2], weak_vocabulary=WIDTH, teacher_vocabulary=HEIGHT)
    assert options.needs <= {"probabilities"}
    if options.needs:
        with pytest.raises(sl.LabelError, match="needs the teacher's probabilities"):
            sl.count(bare, options, ALIGNED)
    else:
        assert sl.count(bare, options, ALIGNED) == sl.count(pairs, options, ALIGNED)


def test_thresholds_must_be_one_for_each_class():
    with pytest.raises(sl.LabelError, match="got 2 confidence thresholds for 4 teacher classes"):
        started(sl.ConfidentCounts(thresholds=(0.1, 0.2)))
    with pytest.raises(ValueError, match="less than or equal to 1"):
        sl.ConfidentCounts(thresholds=2.0)
