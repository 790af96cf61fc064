"""What every strategy would make of a confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

from sublabel.errors import LabelError, SublabelError
from sublabel.inspection.findings import StrategyCost
from sublabel.labels import (
    STRATEGIES,
    Alignment,
    ConfusionMatrix,
    Counting,
    HardCounts,
    LabelSpace,
    MergedSPL,
    RawSPL,
)

MERGED_CELLS = 100_000
"""Cells are not compared with each other where there are more."""
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
    for model in STRATEGIES.values():
        yield _cost(confusion, counted, aligned, model(), feature_width)
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
    confusion: ConfusionMatrix, counted: Recount, aligned: Alignment, strategy: Any, feature_width: int
) -> StrategyCost:
    options = strategy.model_dump(mode="json")
    if isinstance(strategy, MergedSPL) and confusion.counts.nnz > MERGED_CELLS:
        problem = f"not tried on more than {MERGED_CELLS:,} cells"
        return StrategyCost(options, None, None, None, None, problem)
    try:
        matrix = counted(strategy.counting)
    except SublabelError as error:
        return StrategyCost(options, None, None, None, None, str(error))
    try:
        space = strategy.fit(matrix, aligned)
    except LabelError as error:
        problem = str(error).split(":", maxsplit=1)[0]
        return StrategyCost(options, None, None, None, None, problem)
    used = _used(space, confusion) if space.top_k else int(space.sizes.sum())
    outputs = sum(space.heads)
    return StrategyCost(
        options, space.num_classes, used, confusion.total - used, outputs * (feature_width + 1)
    )


def _used(space: LabelSpace, confusion: ConfusionMatrix) -> int:
    """Samples with a class, each in the cell of its prediction; sizes of soft classes are only expected."""
    cells = confusion.counts.tocoo()
    return int(cells.data[space.assign(cells.row, cells.col) >= 0].sum())
