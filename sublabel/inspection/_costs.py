"""What every strategy would make of a confusion matrix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sublabel.errors import LabelError
from sublabel.inspection.findings import StrategyCost
from sublabel.labels import STRATEGIES, Alignment, ConfusionMatrix, RawSPL

MERGED_CELLS = 100_000
"""Cells are not compared with each other where there are more."""


def strategy_costs(
    confusion: ConfusionMatrix, aligned: Alignment, rare: int, feature_width: int
) -> Iterator[StrategyCost]:
    """Every strategy with its defaults, and raw SPL without rare cells."""
    for kind, model in STRATEGIES.items():
        yield _cost(confusion, aligned, model(), feature_width)
        if kind == "raw_spl" and rare > 1:
            yield _cost(confusion, aligned, RawSPL(min_count=rare), feature_width)


def _cost(confusion: ConfusionMatrix, aligned: Alignment, strategy: Any, feature_width: int) -> StrategyCost:
    options = strategy.model_dump(mode="json")
    if problem := _obstacle(confusion, strategy):
        return StrategyCost(options, None, None, None, None, problem)
    try:
        space = strategy.fit(confusion, aligned)
    except LabelError as error:
        problem = str(error).split(":", maxsplit=1)[0]
        return StrategyCost(options, None, None, None, None, problem)
    used = int(space.sizes.sum())
    outputs = sum(space.heads)
    return StrategyCost(
        options, space.num_classes, used, confusion.total - used, outputs * (feature_width + 1)
    )


def _obstacle(confusion: ConfusionMatrix, strategy: Any) -> str | None:
    """Why it is not tried."""
    if strategy.counting.kind == "confident":
        return "depends on the probabilities of the samples, which counts do not hold"
    if strategy.kind == "merged_spl" and confusion.counts.nnz > MERGED_CELLS:
        return f"not tried on more than {MERGED_CELLS:,} cells"
    return None
