"""What every strategy would make of a confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeAlias

from sublabel.errors import LabelError, SublabelError
from sublabel.inspection._kept import KeptCounts
from sublabel.inspection.findings import StrategyCost
from sublabel.labels import (
    Alignment,
    ConfusionMatrix,
    Counting,
    HardCounts,
    LabelSpace,
    RawSPL,
    Strategy,
    strategies,
)

Recount: TypeAlias = Callable[[Counting], ConfusionMatrix]
"""Counts the samples of a confusion matrix another way."""


def strategy_costs(
    confusion: ConfusionMatrix,
    aligned: Alignment,
    rare: int,
    feature_width: int,
    count: Recount | None,
    further: Iterable[Any] = (),
) -> Iterator[StrategyCost]:
    """The costs of every strategy with its defaults, of raw SPL without rare cells, and of further ones.

    Args:
        confusion: Counts over all samples, one for each.
        aligned: Which classes agree.
        rare: Cells with fewer samples are rare.
        feature_width: Features that the pre-training head sees.
        count: Counts the same samples another way; None where that cannot be done.
        further: Strategies, or what `Strategy.parse` takes for one.

    Raises:
        LabelError: A further strategy is none.
    """
    counted = partial(_counted, {HardCounts(): confusion}, count)
    for kind, model in strategies().items():
        try:
            strategy = Strategy.parse(model)
        except LabelError as error:
            # One of a user's own may have options without defaults.
            yield _unknown({"kind": kind}, str(error))
            continue
        yield _cost(confusion, counted, aligned, strategy, feature_width)
        if model is RawSPL and rare > 1:
            yield _cost(confusion, counted, aligned, RawSPL(min_count=rare), feature_width)
    for given in further:
        yield _cost(confusion, counted, aligned, Strategy.parse(given), feature_width)


def _counted(
    matrices: dict[Counting, ConfusionMatrix], count: Recount | None, counting: Counting
) -> ConfusionMatrix:
    """The samples as a strategy counts them; those of one counting are counted once."""
    if counting not in matrices:
        if count is None:
            raise LabelError(
                "it depends on the teacher's probabilities, which counts do not hold; give `count` to "
                "inspect_confusion"
            )
        matrices[counting] = count(counting)
    return matrices[counting]


def _cost(
    confusion: ConfusionMatrix, counted: Recount, aligned: Alignment, strategy: Strategy, feature_width: int
) -> StrategyCost:
    options = strategy.to_dict()
    if strategy.quick_cells is not None and confusion.counts.nnz > strategy.quick_cells:
        problem = f"not tried on more than {strategy.quick_cells:,} cells"
        return _unknown(options, problem)
    try:
        space = _fit(strategy, counted(strategy.counting), aligned)
        used = _used(space, counted)
    except SublabelError as error:
        return _unknown(options, str(error))
    head = space.num_classes * (feature_width + 1)
    return StrategyCost(options, space.num_classes, used, confusion.total - used, head)


def _fit(strategy: Strategy, confusion: ConfusionMatrix, aligned: Alignment) -> LabelSpace:
    try:
        return strategy.fit(confusion, aligned)
    except LabelError as error:
        # What to do about it is of no use beside strategies that can be fitted.
        raise LabelError(str(error).split(":", maxsplit=1)[0]) from error


def _unknown(options: dict[str, Any], problem: str) -> StrategyCost:
    return StrategyCost(options, None, None, None, None, problem)


def _used(space: LabelSpace, counted: Recount) -> int:
    """Samples with a target."""
    if space.answers_with_one_label or len(space.heads) > 1:
        return int(space.sizes.sum()) // len(space.heads)
    # Soft classes have the sizes that are expected, and a sample may be kept for its less probable ones.
    return counted(KeptCounts(space=space)).total
