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
    sl.TwoHead(),
]
DENSE_CELLS = {"dense": 1000, "sparse": 0}


def samples(generator, width, height, size):
    """Weak labels, and the teacher's classes and probabilities, best first, some missing."""
    weak = generator.integers(-1, width, size)
    probs = generator.dirichlet(np.full(height, 0.3), size).reshape(size, height)
    ids = np.argsort(-probs, axis=1, kind="stable")
    probs = np.take_along_axis(probs, ids, axis=1).astype(np.float32)
    ids[generator.random(size) < 0.1] = -1
    probs[ids[:, 0] < 0] = 0
    return weak, ids, probs


def fitted(strategy, generator):
    width, height = generator.integers(2, 6, 2)
    weak, ids, probs = samples(generator, width, height, int(generator.integers(1, 60)))
    pairs = [(0, 0), *zip(*generator.integers(0, [[width], [height]], (2, 3)).tolist(), strict=True)]
    alignment = sl.Alignment(int(width), int(height), sorted(set(pairs)))
    return sl.relabel(paired(weak, ids, probs, width, height), strategy, alignment).space


def paired(weak, ids, probs, width, height):
    return sl.Pairs(weak, (ids, probs), weak_vocabulary=int(width), teacher_vocabulary=int(height))


@pytest.mark.parametrize("cells", DENSE_CELLS.values(), ids=DENSE_CELLS)
@pytest.mark.parametrize("strategy", EVERY, ids=str)
@given(seed=st.integers(0, 1 << 30))
def test_the_lookup_is_the_space(strategy, cells, seed):
    generator = np.random.default_rng(seed)
    space = fitted(strategy, generator)
    # Other samples than those of the fit, so that cells are met that were empty then.
    weak, ids, probs = samples(generator, len(space.weak_vocabulary), len(space.teacher_vocabulary), 50)
    lookup = LabelLookup.of(space, dense_cells=cells)
    pairs = paired(weak, ids, probs, len(space.weak_vocabulary), len(space.teacher_vocabulary))
    expected = space.targets(pairs)
    found = lookup(*map(torch.from_numpy, (weak, ids, probs)))
    if space.answers_with_one_label or len(space.heads) > 1:
        assert found.dtype == torch.int64
        assert torch.equal(found, expected.torch(ignore_index=-1))
    else:
        dense = torch.zeros(50, len(space)).scatter_add_(1, found.ids, found.weights) if len(space) else None
        assert ((found.weights.sum(1) > 0).numpy() == expected.keep).all()
        assert dense is None or np.allclose(dense.numpy(), expected.rows.toarray(), atol=1e-6)


@pytest.mark.parametrize("threshold", [0.1, 0.7])
def test_thresholds_are_exact_to_the_last_bit(threshold):
    # Just below, at and just above the closest float32, which is above 0.1, and below 0.7.
    strategy = sl.ConfidentSPL(thresholds=threshold)
    samples = sl.Pairs([0, 0, 1], [0, 1, 1], probabilities=np.array([0.9, 0.05, 0.9]), weak_vocabulary=2)
    space = sl.relabel(samples, strategy).space
    at = np.float32(threshold)
    probs = np.array([np.nextafter(at, np.float32(0)), at, np.nextafter(at, np.float32(1))])
    weak = teacher = np.zeros(3, dtype=np.int64)
    expected = space.assign(sl.Pairs(weak, teacher, probabilities=probs, weak_vocabulary=2)).tolist()
    assert len(set(expected)) == 2
    for lookup in (LabelLookup.of(space), LabelLookup.of(space).half(), LabelLookup.of(space).bfloat16()):
        found = lookup(torch.from_numpy(weak), torch.from_numpy(teacher), torch.from_numpy(probs))
        assert found.tolist() == expected


@pytest.mark.parametrize("cells", DENSE_CELLS.values(), ids=DENSE_CELLS)
@pytest.mark.parametrize("strategy", [sl.RawSPL(min_count=2), sl.ConfidentSPL(), sl.TwoHead()], ids=str)
def test_it_compiles_without_graph_breaks(strategy, cells):
    generator = np.random.default_rng(0)
    space = fitted(strategy, generator)
    lookup = LabelLookup.of(space, dense_cells=cells)
    torch.compiler.reset()
    compiled = torch.compile(lookup, backend="aot_eager", fullgraph=True)
    weak, ids, probs = samples(generator, len(space.weak_vocabulary), len(space.teacher_vocabulary), 30)
    batch = [torch.from_numpy(array) for array in (weak, ids[:, 0], probs[:, 0])]
    assert torch.equal(compiled(*batch), lookup(*batch))


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


def test_what_it_cannot_do_is_refused():
    one = torch.zeros(1).long()
    for strategy in (sl.ConfidentSPL(), sl.TopKSPL()):
        space = fitted(strategy, np.random.default_rng(0))
        with pytest.raises(LabelError, match="looks at the teacher's probabilities, and got none"):
            LabelLookup.of(space)(one, one)
    pairs = sl.Pairs([0], [0], weak_vocabulary=1, sample_ids=["a"])
    with pytest.raises(LabelError, match="matched_control cannot be looked up on a device"):
        LabelLookup.of(sl.relabel(pairs, sl.MatchedControl()).space)


@pytest.mark.parametrize("cells", DENSE_CELLS.values(), ids=DENSE_CELLS)
@pytest.mark.parametrize(("weak", "teacher"), [(5, 0), (0, 9)])
def test_a_label_outside_its_vocabulary_is_no_other_label(cells, weak, teacher):
    space = sl.relabel(sl.Pairs([0, 1], [1, 2], weak_vocabulary=5, teacher_vocabulary=9)).space
    with pytest.raises(IndexError):
        LabelLookup.of(space, dense_cells=cells)(torch.tensor([weak]), torch.tensor([teacher]))


def test_a_probability_that_is_no_number_is_no_probability():
    pairs = sl.Pairs([0, 0], [0, 0], weak_vocabulary=2, probabilities=[0.9, 0.1])
    lookup = LabelLookup.of(sl.relabel(pairs, sl.ConfidentSPL(thresholds=0.5)).space)
    labels = lookup(*map(torch.tensor, ([0, 0, 0], [0, 0, 0], [0.9, 0.1, float("nan")])))
    assert labels.tolist() == [0, 1, 1]
    pairs = sl.Pairs([0, 0], ([[0, 1], [1, 0]], [[0.9, 0.1], [0.6, 0.4]]), weak_vocabulary=2)
    soft = LabelLookup.of(sl.relabel(pairs, sl.TopKSPL()).space)
    probs = torch.tensor([[float("nan"), float("nan")], [0.5, float("nan")]])
    found = soft(torch.tensor([0, 0]), torch.tensor([[0, 1], [0, 1]]), probs)
    assert found.weights.tolist() == [[0.0, 0.0], [1.0, 0.0]]


@pytest.mark.parametrize("strategy", [sl.RawSPL(), sl.TwoHead()], ids=str)
def test_labels_that_do_not_fit_are_refused(strategy):
    space = sl.relabel(sl.Pairs([0, 1], [0, 1], weak_vocabulary=2), strategy).space
    lookup = LabelLookup.of(space)
    two, four = torch.tensor([0, 1]), torch.tensor([0, 1, 0, 1])
    cubes = torch.zeros(2, 1, 1).long()
    for weak, teacher in ((two, four), (two, cubes), (two[:1], two), (two / 2, two), (two, two / 2)):
        with pytest.raises(LabelError, match="expected integer labels, one weak label"):
            lookup(weak, teacher)
    for weak, teacher in ((two + 1, two), (two, two + 1)):
        with pytest.raises(IndexError):
            lookup(weak, teacher)


@pytest.mark.parametrize("strategy", [sl.RawSPL(), sl.SPLB(), sl.TwoHead()], ids=str)
def test_predictions_alone_are_enough_where_nobody_looks_at_probabilities(strategy):
    lookup = LabelLookup.of(fitted(strategy, np.random.default_rng(0)))
    weak, ids = torch.tensor([0, 1, -1]), torch.tensor([[0, 1], [1, 0], [1, 0]])
    assert torch.equal(lookup(weak, ids[:, 0]), lookup(weak, ids, torch.tensor([[0.7, 0.3]] * 3)))


def test_a_space_of_a_kind_that_nobody_looks_up_is_refused(monkeypatch):
    space = fitted(sl.RawSPL(), np.random.default_rng(0))
    monkeypatch.setattr(type(space), "kind", "mine")
    with pytest.raises(LabelError, match="raw_spl cannot be looked up .* no LabelLookup is of the kind"):
        LabelLookup.of(space)
