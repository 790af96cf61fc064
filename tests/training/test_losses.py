from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from sublabel.errors import ConfigError
from sublabel.labels import SoftLabels
from sublabel.training import CrossEntropy, SampledCrossEntropy, soft_cross_entropy
from sublabel.training.losses import draw_absent


def some_case(samples=7, features=5, classes=40, seed=0):
    torch.manual_seed(seed)
    return nn.Linear(features, classes), torch.randn(samples, features), torch.randint(0, classes, (samples,))


def some_soft(samples=7, classes=40, width=4, seed=0):
    """Soft labels with padding and repeated classes, and the same as dense rows."""
    generator = np.random.default_rng(seed)
    ids = torch.from_numpy(generator.integers(0, classes, (samples, width)))
    weights = generator.random((samples, width)) * (generator.random((samples, width)) < 0.7)
    weights[:, 0] += 0.1
    weights = torch.from_numpy(weights / weights.sum(1, keepdims=True)).float()
    return SoftLabels(ids, weights), torch.zeros(samples, classes).scatter_add_(1, ids, weights)


@given(seed=st.integers(0, 1000), smoothing=st.sampled_from([0.0, 0.1, 0.9]))
def test_soft_labels_cost_what_dense_targets_cost(seed, smoothing):
    head, features, _ = some_case(seed=seed)
    soft, dense = some_soft(seed=seed)
    logits = head(features)
    ours = soft_cross_entropy(logits, soft, label_smoothing=smoothing)
    theirs = cross_entropy(logits, dense, label_smoothing=smoothing)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    mine, expected = (torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (ours, theirs))
    assert torch.allclose(mine, expected, atol=1e-6)


def test_hard_labels_cost_exactly_what_pytorch_says():
    head, features, labels = some_case()
    expected = cross_entropy(head(features), labels, label_smoothing=0.1)
    assert torch.equal(CrossEntropy((40,), 0.1)(head, features, labels), expected)


def test_one_sure_entry_is_a_hard_label():
    head, features, labels = some_case()
    soft = SoftLabels(labels[:, None], torch.ones(7, 1))
    assert CrossEntropy((40,))(head, features, soft).item() == pytest.approx(
        CrossEntropy((40,))(head, features, labels).item(), rel=1e-6
    )


def test_several_heads_cost_the_sum_of_theirs():
    head, features, _ = some_case()
    labels = torch.stack([torch.arange(7) % 15, torch.arange(7) % 25], 1)
    logits = head(features)
    expected = cross_entropy(logits[:, :15], labels[:, 0]) + cross_entropy(logits[:, 15:], labels[:, 1])
    assert CrossEntropy((15, 25))(head, features, labels).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("heads", "targets"),
    [
        ((15, 25), torch.zeros(7).long()),
        ((15, 25), torch.zeros(7, 3).long()),
        ((15, 25), some_soft()[0]),
        ((40,), torch.zeros(7, 2).long()),
    ],
)
def test_targets_of_another_number_of_heads_are_refused(heads, targets):
    head, features, _ = some_case()
    with pytest.raises(ConfigError, match="the labels of a batch have shape .* heads of"):
        CrossEntropy(heads)(head, features, targets)


@pytest.mark.parametrize("dropped", [[], [0], [1, 4, 6], [*range(7)]], ids=str)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_samples_without_a_target_are_left_out(dropped, smoothing):
    head, features, labels = some_case()
    soft, _ = some_soft()
    kept = torch.tensor([row for row in range(7) if row not in dropped], dtype=torch.int64)
    labels[dropped], soft.weights[dropped] = -1, 0.0
    pairs = torch.stack([labels.clamp(max=14), labels.clamp(max=24)], dim=1)
    kept_soft = SoftLabels(soft.ids[kept], soft.weights[kept])
    one, two = CrossEntropy((40,), smoothing), CrossEntropy((15, 25), smoothing)
    cases = [(one, labels, labels[kept]), (one, soft, kept_soft), (two, pairs, pairs[kept])]
    if not smoothing:
        everything = SampledCrossEntropy(40, 40)
        cases += [(everything, labels, labels[kept]), (everything, soft, kept_soft)]
    for objective, targets, kept_targets in cases:
        loss = objective(head, features, targets)
        loss.backward()
        assert torch.isfinite(head.weight.grad).all()
        expected = objective(head, features[kept], kept_targets).item() if len(kept) else 0.0
        assert loss.item() == pytest.approx(expected, rel=1e-6)


@given(
    classes=st.integers(1, 60), number=st.integers(1, 70), present=st.sets(st.integers(0, 59)), data=st.data()
)
def test_drawn_classes_are_absent_distinct_and_stand_for_all_others(classes, number, present, data):
    torch.manual_seed(data.draw(st.integers(0, 100)))
    here = torch.tensor(sorted(label for label in present if label < classes)).long()
    drawn, sizes = draw_absent(here, classes, number)
    absent = set(range(classes)) - set(here.tolist())
    assert len(drawn) == len(set(drawn.tolist())) == min(number, len(absent))
    assert set(drawn.tolist()) <= absent
    assert int(sizes.sum()) == len(absent)
    assert drawn.tolist() == sorted(drawn.tolist())


def test_every_absent_class_is_drawn_as_often_as_its_stratum_says():
    torch.manual_seed(0)
    present = torch.tensor([2, 3, 11])
    stands_for = torch.zeros(20)
    for _ in range(4000):
        drawn, sizes = draw_absent(present, 20, 5)
        stands_for[drawn] += sizes / 4000
    assert stands_for[present].sum() == 0
    # Each absent class stands for one in the mean; a stratum of s has a standard error of √(s - 1) / √4000.
    absent = [label for label in range(20) if label not in (2, 3, 11)]
    assert (stands_for[absent] - 1).abs().max() < 5 * math.sqrt(3 / 4000)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("sampled", [39, 1000])
def test_all_classes_sampled_is_the_full_loss(soft, sampled):
    head, features, labels = some_case()
    targets = some_soft()[0] if soft else labels
    full, ours = CrossEntropy((40,)), SampledCrossEntropy(40, sampled)
    losses = [objective(head, features, targets) for objective in (full, ours)]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-6)
    expected, mine = (torch.autograd.grad(loss, list(head.parameters())) for loss in losses)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(expected, mine, strict=True))


def test_the_sampled_partition_function_is_unbiased():
    head, features, labels = some_case(samples=1)
    logits = head(features)[0].double()
    objective = SampledCrossEntropy(40, 6)
    draws = torch.stack([objective(head, features, labels) for _ in range(3000)]).double().detach()
    # loss = log Z − logit of the label, so this is Z.
    partition = (draws + logits[labels]).exp()
    error = partition.std() / math.sqrt(len(partition))
    assert partition.std() > 0.01
    assert abs(partition.mean() - logits.exp().sum()) < 4 * error
    # Its logarithm, the loss, is biased downwards (Jensen), and a little only.
    full = cross_entropy(logits[None], labels)
    assert full - 0.2 < draws.mean() < full
