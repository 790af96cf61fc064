"""What every strategy would make of a confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

from sublabel.errors import LabelError, SublabelError
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
    confusion: ConfusionMatrix, aligned: Alignment, rare: int, feature_width: int, count: Recount | None
) -> Iterator[StrategyCost]:
    """The costs of every strategy with its defaults, and of raw SPL without rare cells.

    Args:
        confusion: Counts over all samples, one for each.
        aligned: Which classes agree.
        rare: Cells with fewer samples are rare.
        feature_width: Features that the pre-training head sees.
        count: Counts the same samples another way; None where that cannot be done.
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
        matrix = counted(strategy.counting)
    except SublabelError as error:
        return _unknown(options, str(error))
    try:
        space = strategy.fit(matrix, aligned)
    except LabelError as error:
        problem = str(error).split(":", maxsplit=1)[0]
        return _unknown(options, problem)
    used = _used(space, confusion)
    head = space.num_classes * (feature_width + 1)
    return StrategyCost(options, space.num_classes, used, confusion.total - used, head)


def _unknown(options: dict[str, Any], problem: str) -> StrategyCost:
    return StrategyCost(options, None, None, None, None, problem)


def _used(space: LabelSpace, confusion: ConfusionMatrix) -> int:
    """Samples that a student trains on; of soft targets, which counts do not hold, those of kept cells."""
    if space.answers_with_one_label or len(space.heads) > 1:
        return int(space.sizes.sum()) // len(space.heads)
    cells = confusion.counts.tocoo()
    classes = space.cell_classes(cells.row, cells.col)
    return confusion.total if classes is None else int(cells.data[classes >= 0].sum())
