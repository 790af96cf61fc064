from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import sublabel as sl
from sublabel.errors import ArtifactError, LabelError
from sublabel.labels import SoftLabels
from sublabel.training import LabelLookup

EVERY = [
    sl.WeakOnly(),
    sl.TeacherOnly(),
    sl.AgreementFilter(),
    sl.RawSPL(),
    sl.RawSPL(min_count=3, rare="weak"),
    sl.RawSPL(min_count=3, rare="drop"),
    sl.SPLB(),
    sl.DensestSPL(max_classes=30),
    sl.MergedSPL(),
    sl.MergedSPL(threshold=0.8, within="all", of=sl.RawSPL(min_count=2)),
    sl.ConfidentSPL(),
    sl.ConfidentSPL(of=sl.SPLB(), thresholds=0.6),
    sl.TopKSPL(k=2),
    sl.TopKSPL(k=3, of=sl.RawSPL(min_count=3, rare="drop")),
    sl.TwoHead(),
]
DENSE_CELLS = {"dense": 1000, "sparse": 0}


def samples(generator, width, height, size):
    """Pairs with probabilities, some without a weak label or a prediction."""
    weak = generator.integers(-1, width, size)
    probs = generator.dirichlet(np.full(height, 0.3), size).reshape(size, height)
    ids = np.argsort(-probs, axis=1, kind="stable")
    probs = np.take_along_axis(probs, ids, axis=1).astype(np.float32)
    abstains = generator.random(size) < 0.1
    ids[abstains], probs[abstains] = -1, 0
    return sl.Pairs(weak, (ids, probs), weak_vocabulary=int(width), teacher_vocabulary=int(height))


def fitted(strategy, generator):
    width, height = generator.integers(2, 6, 2)
    pairs = samples(generator, width, height, int(generator.integers(1, 60)))
    cells = [(0, 0), *zip(*generator.integers(0, [[width], [height]], (2, 3)).tolist(), strict=True)]
    alignment = sl.Alignment(int(width), int(height), sorted(set(cells)))
    return sl.relabel(pairs, strategy, alignment).space


def plain(weak, teacher, strategy=None, probabilities=None, **vocabularies):
    pairs = sl.Pairs(weak, teacher, probabilities=probabilities, **vocabularies)
    return sl.relabel(pairs, strategy).space


def batch_of(pairs):
    return [torch.from_numpy(np.array(array)) for array in (pairs.weak, pairs.top_ids, pairs.top_probs)]


def dense(found, classes):
    """Labels as one-hot rows, soft labels as the rows that they stand for, (N, K)."""
    if isinstance(found, SoftLabels):
        # A space without classes has weights of 0 for class 0.
        rows = torch.zeros(len(found.ids), max(1, classes))
        return rows.scatter_add_(1, found.ids, found.weights)[:, :classes]
    return found


@pytest.mark.parametrize("cells", DENSE_CELLS.values(), ids=DENSE_CELLS)
@pytest.mark.parametrize("strategy", EVERY, ids=str)
@given(seed=st.integers(0, 1 << 30))
def test_the_lookup_is_the_space(strategy, cells, seed):
    generator = np.random.default_rng(seed)
    space = fitted(strategy, generator)
    # Other samples than those of the fit, so that cells are met that were empty then.
    pairs = samples(generator, len(space.weak_vocabulary), len(space.teacher_vocabulary), 50)
    expected = space.targets(pairs)
    found = LabelLookup.of(space, dense_cells=cells)(*batch_of(pairs))
    if isinstance(found, SoftLabels):
        assert ((found.weights.sum(-1) > 0).numpy() == expected.keep).all()
    else:
        assert found.dtype == torch.int64
    assert torch.allclose(dense(found, len(space)), expected.torch(ignore_index=-1), atol=1e-6)


@pytest.mark.parametrize("strategy", [sl.RawSPL(), sl.SPLB(), sl.TwoHead()], ids=str)
def test_predictions_alone_are_enough_where_nobody_looks_at_probabilities(strategy):
    generator = np.random.default_rng(0)
    space = fitted(strategy, generator)
    pairs = samples(generator, len(space.weak_vocabulary), len(space.teacher_vocabulary), 50)
    weak, ids, probs = batch_of(pairs)
    lookup = LabelLookup.of(space)
    assert torch.equal(lookup(weak, ids[:, 0]), lookup(weak, ids, probs))


@pytest.mark.parametrize("threshold", [0.1, 0.7])
def test_thresholds_are_exact_to_the_last_bit(threshold):
    # Just below, at and just above the closest float32, which is above 0.1, and below 0.7.
    strategy = sl.ConfidentSPL(thresholds=threshold)
    space = plain([0, 0, 1], [0, 1, 1], strategy, np.array([0.9, 0.05, 0.9]), weak_vocabulary=2)
    at = np.float32(threshold)
    probs = np.array([np.nextafter(at, np.float32(0)), at, np.nextafter(at, np.float32(1))])
    weak = teacher = np.zeros(3, dtype=np.int64)
    expected = space.assign(sl.Pairs(weak, teacher, probabilities=probs, weak_vocabulary=2)).tolist()
    assert len(set(expected)) == 2
    for lookup in (LabelLookup.of(space), LabelLookup.of(space).half(), LabelLookup.of(space).bfloat16()):
        found = lookup(torch.from_numpy(weak), torch.from_numpy(teacher), torch.from_numpy(probs))
        assert found.tolist() == expected


@pytest.mark.parametrize("cells", DENSE_CELLS.values(), ids=DENSE_CELLS)
@pytest.mark.parametrize(
    "strategy", [sl.RawSPL(min_count=2), sl.ConfidentSPL(), sl.TopKSPL(), sl.TwoHead()], ids=str
)
def test_it_compiles_without_graph_breaks(strategy, cells):
    generator = np.random.default_rng(0)
    space = fitted(strategy, generator)
    lookup = LabelLookup.of(space, dense_cells=cells)
    torch.compiler.reset()
    compiled = torch.compile(lookup, backend="aot_eager", fullgraph=True)
    batch = batch_of(samples(generator, len(space.weak_vocabulary), len(space.teacher_vocabulary), 30))
    assert torch.equal(dense(compiled(*batch), len(space)), dense(lookup(*batch), len(space)))


def test_a_state_dict_brings_the_space_back_and_no_other():
    one, other = (fitted(sl.RawSPL(), np.random.default_rng(seed)) for seed in (1, 2))
    state = LabelLookup.of(one).state_dict()
    lookup = LabelLookup.of(one, dense_cells=0)
    assert str(lookup.load_state_dict(copy.deepcopy(state))) == "<All keys matched successfully>"
    with pytest.raises(ArtifactError, match=f"{one.fingerprint[:12]}….*{other.fingerprint[:12]}…"):
        LabelLookup.of(other).load_state_dict(state)
    inside = nn.ModuleDict({"labels": LabelLookup.of(other)})
    with pytest.raises(ArtifactError, match="another|that of"):
        inside.load_state_dict({f"labels.{name}": tensor for name, tensor in state.items()})


def test_it_has_buffers_only_and_trains_under_ddp(tmp_path):
    lookup = LabelLookup.of(fitted(sl.RawSPL(), np.random.default_rng(0)))
    assert list(lookup.parameters()) == []
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        module = nn.ModuleDict({"labels": lookup, "head": nn.Linear(2, 2)})
        module.forward = lambda weak: module["head"](torch.ones(2)) + module["labels"](weak, weak).sum()
        wrapped = nn.parallel.DistributedDataParallel(module)
        wrapped(torch.tensor([0, 1])).sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    assert module["head"].weight.grad is not None


@pytest.mark.parametrize("strategy", [sl.ConfidentSPL(), sl.TopKSPL()], ids=str)
def test_probabilities_that_are_missing_are_asked_for(strategy):
    lookup = LabelLookup.of(fitted(strategy, np.random.default_rng(0)))
    one = torch.zeros(1).long()
    with pytest.raises(LabelError, match="looks at the teacher's probabilities, and got none"):
        lookup(one, one)
    with pytest.raises(LabelError, match=r"got them of shape \(1,\) for predictions of shape \(1, 2\)"):
        lookup(one, torch.tensor([[0, 1]]), torch.ones(1))


def test_a_matched_control_is_refused():
    pairs = sl.Pairs([0], [0], weak_vocabulary=1, sample_ids=["a"])
    with pytest.raises(LabelError, match="draws its classes by sample id.*take what `space.targets` gives"):
        LabelLookup.of(sl.relabel(pairs, sl.MatchedControl()).space)


@pytest.mark.parametrize("cells", DENSE_CELLS.values(), ids=DENSE_CELLS)
@pytest.mark.parametrize(("weak", "teacher"), [(5, 0), (0, 9)])
def test_a_label_outside_its_vocabulary_is_no_other_label(cells, weak, teacher):
    space = plain([0, 1], [1, 2], weak_vocabulary=5, teacher_vocabulary=9)
    with pytest.raises(IndexError):
        LabelLookup.of(space, dense_cells=cells)(torch.tensor([weak]), torch.tensor([teacher]))


def test_a_probability_that_is_no_number_is_no_probability():
    nan, zeros = float("nan"), torch.zeros(2).long()
    unsure = plain([0, 0], [0, 0], sl.ConfidentSPL(thresholds=0.5), [0.9, 0.1], weak_vocabulary=2)
    labels = LabelLookup.of(unsure)(*map(torch.tensor, ([0, 0, 0], [0, 0, 0], [0.9, 0.1, nan])))
    assert labels.tolist() == [0, 1, 1]
    soft = plain([0, 0], ([[0, 1], [0, 1]], [[0.8, 0.2], [0.7, 0.3]]), sl.TopKSPL(), weak_vocabulary=2)
    found = LabelLookup.of(soft)(
        zeros, torch.tensor([[0, 1], [0, 1]]), torch.tensor([[nan, nan], [0.5, nan]])
    )
    assert found.weights.tolist() == [[0.0, 0.0], [1.0, 0.0]]


@pytest.mark.parametrize("strategy", [sl.RawSPL(), sl.TwoHead()], ids=str)
def test_labels_that_do_not_fit_are_refused(strategy):
    lookup = LabelLookup.of(plain([0, 1], [0, 1], strategy, weak_vocabulary=2))
    two, four = torch.tensor([0, 1]), torch.tensor([0, 1, 0, 1])
    for weak, teacher in ((two, four), (two[:, None], two), (two[:1], two), (two / 2, two), (two, two / 2)):
        with pytest.raises(LabelError, match="expected integer labels, one weak label"):
            lookup(weak, teacher)
    for weak, teacher in ((two + 1, two), (two, two + 1)):
        with pytest.raises(IndexError):
            lookup(weak, teacher)
