from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import sublabel as sl
from sublabel.errors import ConfigError
from sublabel.training import Classifier, FactorisedHead, head_factory
from sublabel.training.heads import chosen_logits, head_from_state


class Features(nn.Module):
    num_features = 6

    def forward(self, inputs):
        return inputs


def some_head(rows=3, columns=4, classes=9, rank=2, seed=0):
    """A head of some cells of a grid whose remainder has been trained."""
    torch.manual_seed(seed)
    cells = torch.randperm(rows * columns)[:classes]
    head = FactorisedHead(6, cells // columns, cells % columns, rank)
    nn.init.normal_(head.up.weight)
    nn.init.normal_(head.up.bias)
    return head


def composed_weight(head):
    """The D × K weight that the head stands for, class by class."""
    return torch.stack(
        [
            head.row.weight[row] + head.column.weight[column] + head.up.weight[label] @ head.down.weight
            for label, (row, column) in enumerate(zip(head.row_of_class, head.column_of_class, strict=True))
        ]
    )


def test_the_logits_are_those_of_the_composed_weights():
    head = some_head()
    features = torch.randn(5, 6)
    expected = features @ composed_weight(head).T + head.up.bias
    assert torch.allclose(head(features), expected, atol=1e-6)


def test_the_gradients_are_those_of_the_composed_weights():
    head, features, labels = some_head(), torch.randn(5, 6), torch.tensor([0, 8, 3, 3, 1])
    names, parameters = zip(*head.named_parameters(), strict=True)
    ours = torch.autograd.grad(cross_entropy(head(features), labels), parameters)
    composed = cross_entropy(features @ composed_weight(head).T + head.up.bias, labels)
    for name, mine, theirs in zip(names, ours, torch.autograd.grad(composed, parameters), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6), name


def test_without_a_remainder_a_full_grid_is_two_heads():
    torch.manual_seed(0)
    cells = torch.arange(12)
    head = FactorisedHead(6, cells // 4, cells % 4)
    features, weak, teacher = torch.randn(7, 6), torch.randint(0, 3, (7,)), torch.randint(0, 4, (7,))
    apart = cross_entropy(head.row(features), weak) + cross_entropy(head.column(features), teacher)
    assert torch.allclose(cross_entropy(head(features), weak * 4 + teacher), apart)


@pytest.mark.parametrize("head", [some_head(), nn.Linear(6, 9), nn.Linear(6, 9, bias=False)], ids=repr)
def test_some_logits_are_those_among_all(head):
    features, classes = torch.randn(5, 6), torch.tensor([7, 0, 3])
    assert torch.allclose(chosen_logits(head, features, classes), head(features)[:, classes], atol=1e-6)


def test_a_head_that_cannot_choose_is_refused():
    with pytest.raises(ConfigError, match="Sequential has no `chosen"):
        chosen_logits(nn.Sequential(nn.Linear(6, 9)), torch.randn(5, 6), torch.tensor([1]))


def confusion(width=12, height=10, seed=0):
    generator = np.random.default_rng(seed)
    weak, teacher = generator.integers(0, width, 4000), generator.integers(0, height, 4000) ** 2 // height
    return sl.count(sl.Pairs(weak, teacher, weak_vocabulary=width, teacher_vocabulary=height))


@pytest.mark.parametrize(
    "strategy",
    [sl.RawSPL(min_count=40), sl.MergedSPL(threshold=0.05), sl.DensestSPL(max_classes=60)],
    ids=str,
)
def test_cells_share_their_row_and_column_and_no_other_class_does(strategy):
    space = strategy.fit(confusion())
    head = FactorisedHead.of_space(space, 6)
    rows, columns = head.row_of_class.tolist(), head.column_of_class.tolist()
    for one in range(len(space)):
        for other in range(one):
            classes = space.classes
            assert (rows[one] == rows[other]) == (classes.weak[one] == classes.weak[other])
            same_cell_column = classes.teacher[one] == classes.teacher[other] >= 0
            assert (columns[one] == columns[other]) == same_cell_column
    assert max(rows) + 1 == len(set(rows))
    assert max(columns) + 1 == len(set(columns))


@pytest.mark.parametrize(
    ("strategy", "factorised"),
    [
        (sl.RawSPL(), True),
        (sl.WeakOnly(), False),
        (sl.TeacherOnly(), False),
        (sl.SPLB(), False),
        (sl.TwoHead(), False),
    ],
    ids=str,
)
def test_a_factorised_head_is_made_where_it_is_smaller(strategy, factorised):
    space = strategy.fit(confusion())
    head = head_factory(space, "factorised", rank=4)(64)
    assert isinstance(head, FactorisedHead) == factorised
    linear = head_factory(space)(64)
    assert isinstance(linear, nn.Linear)
    size, plain = (sum(tensor.numel() for tensor in module.parameters()) for module in (head, linear))
    assert size < plain if factorised else size == plain
    assert head(torch.zeros(2, 64)).shape == (2, sum(space.heads))


def test_a_state_dict_says_which_head_it_has():
    classifier = Classifier(Features(), 9, head=lambda _: some_head())
    state = classifier.state_dict()
    assert all(name.startswith("head.") for name in state)
    again = Classifier(Features(), 9, head=head_from_state(state))
    again.load_state_dict(state)
    inputs = torch.randn(4, 6)
    assert torch.equal(again(inputs), classifier(inputs))
    assert head_from_state(Classifier(Features(), 9).state_dict()) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((6, torch.zeros(3).long(), torch.zeros(2).long()), r"row_of_class has shape \(3,\)"),
        ((6, torch.zeros(0).long(), torch.zeros(0).long()), r"row_of_class has shape \(0,\)"),
        ((6, torch.zeros(3).long(), torch.zeros(3).long(), 0), "rank is 0"),
    ],
)
def test_a_head_that_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        FactorisedHead(*arguments)
