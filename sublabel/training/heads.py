"""Heads for many classes: cells that share the weights of their rows and columns (ours)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from sublabel.errors import ConfigError
from sublabel.labels import LabelSpace
from sublabel.options import HeadKind

HeadFactory = Callable[[int], nn.Module]
"""Makes a head, (B, D) features → (B, K) logits, from D."""


class FactorisedHead(nn.Module):
    """A linear head whose weights are shared by the cells of a row and of a column (ours).

    The weight of class c is a(row of c) + b(column of c) + V u(c): what its weak label looks like, what the
    teacher sees in it, and a remainder of low rank, at first zero, for what only the two together show. So
    (R + C + r) D + K r weights stand for K D, and no D × K matrix is ever made. Without the remainder, and
    with every cell of a grid a class, its cross-entropy would be the sum of those of the two heads that
    `TwoHead` has.

    Args:
        num_features: D.
        row_of_class: int64 (K,), each in 0..R-1.
        column_of_class: int64 (K,), each in 0..C-1.
        rank: r ≥ 1, of the remainder.

    Raises:
        ConfigError: The two are not of the same length, or `rank` is below 1.

    Example:
        >>> cells = torch.arange(200 * 200)
        >>> head = FactorisedHead(512, cells // 200, cells % 200, rank=32)
        >>> sum(parameter.numel() for parameter in head.parameters()), 40_000 * (512 + 1)
        (1541184, 20520000)
        >>> head(torch.zeros(2, 512)).shape
        torch.Size([2, 40000])
    """

    row_of_class: Tensor
    column_of_class: Tensor

    def __init__(
        self, num_features: int, row_of_class: Tensor, column_of_class: Tensor, rank: int = 32
    ) -> None:
        super().__init__()
        if row_of_class.shape != column_of_class.shape or row_of_class.ndim != 1 or len(row_of_class) < 1:
            raise ConfigError(
                f"row_of_class has shape {tuple(row_of_class.shape)}, column_of_class "
                f"{tuple(column_of_class.shape)}; expected (K,) for both, one entry for each class"
            )
        if rank < 1:
            raise ConfigError(f"rank is {rank}; the remainder of a factorised head needs at least rank 1")
        self.row = nn.Linear(num_features, int(row_of_class.max()) + 1, bias=False)
        self.column = nn.Linear(num_features, int(column_of_class.max()) + 1, bias=False)
        self.down = nn.Linear(num_features, rank, bias=False)
        self.up = nn.Linear(rank, len(row_of_class))
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.register_buffer("row_of_class", row_of_class.long())
        self.register_buffer("column_of_class", column_of_class.long())

    @classmethod
    def of_space(cls, space: LabelSpace, num_features: int, rank: int = 32) -> FactorisedHead:
        """The head of a label space: weak classes are its rows, the teacher's its columns.

        A class that is not one cell, such as a row's rare cells or merged ones, has a column of its own;
        those of no single row share one.

        Raises:
            ConfigError: The space has several heads, whose classes share no weights.
        """
        factors = space.factors()
        if factors is None:
            raise ConfigError(
                f"the label space has heads of {space.heads} classes, which share no weights: use a "
                "linear head"
            )
        rows, columns = factors
        return cls(num_features, torch.from_numpy(rows), torch.from_numpy(columns), rank)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, K) of features (B, D)."""
        logits: Tensor = self.up(self.down(features))
        # In place, as K is large and none of the sums is needed backwards.
        logits += self.row(features).index_select(1, self.row_of_class)
        logits += self.column(features).index_select(1, self.column_of_class)
        return logits

    def chosen(self, features: Tensor, classes: Tensor) -> Tensor:
        """Logits (B, S) of some classes, int64 (S,)."""
        logits = nn.functional.linear(self.down(features), self.up.weight[classes], self.up.bias[classes])
        logits += self.row(features).index_select(1, self.row_of_class[classes])
        logits += self.column(features).index_select(1, self.column_of_class[classes])
        return logits


def chosen_logits(head: nn.Module, features: Tensor, classes: Tensor) -> Tensor:
    """What a head says of some classes only: logits (B, S).

    Args:
        head: An `nn.Linear`, or a module with `chosen(features, classes)` such as `FactorisedHead`.
        features: (B, D).
        classes: int64 (S,).

    Raises:
        ConfigError: The head is neither.
    """
    if isinstance(head, nn.Linear):
        bias: Tensor | None = head.bias
        return nn.functional.linear(features, head.weight[classes], None if bias is None else bias[classes])
    if not callable(chosen := getattr(head, "chosen", None)):
        raise ConfigError(
            f"the head {type(head).__name__} has no `chosen(features, classes)`, which sampled softmax "
            "needs: give it one, or leave sampled_classes out"
        )
    logits: Tensor = chosen(features, classes)
    return logits


def head_factory(space: LabelSpace, kind: HeadKind = "linear", rank: int = 32) -> HeadFactory:
    """What makes the head of a label space, or the heads of a two-head one side by side.

    A factorised head is made where it has fewer parameters than a linear one. Where it has not, as for the
    classes of weak labels alone, it would be a linear one in disguise.

    Args:
        space: The classes.
        kind: `linear` or `factorised`.
        rank: Of the factorised head's remainder.
    """

    def make(num_features: int) -> nn.Module:
        factors = None if kind == "linear" else space.factors()
        if factors is None:
            return nn.Linear(num_features, len(space))
        shared = sum(int(axis.max()) + 1 for axis in factors) + rank
        if shared * num_features + len(space) * rank >= len(space) * num_features:
            return nn.Linear(num_features, len(space))
        return FactorisedHead.of_space(space, num_features, rank)

    return make


def head_from_state(state: Mapping[str, Tensor]) -> HeadFactory | None:
    """What makes the head whose tensors a classifier's state dict holds; None for the plain linear one."""
    if "head.row_of_class" not in state:
        return None
    rows, columns, up = (state[f"head.{name}"] for name in ("row_of_class", "column_of_class", "up.weight"))
    return partial(FactorisedHead, row_of_class=rows, column_of_class=columns, rank=up.shape[1])
