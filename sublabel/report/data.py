"""What a report shows, collected from a run: plain frozen data, without a word about how it looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from sublabel.errors import ConfigError
from sublabel.evaluation import Comparison
from sublabel.explain.listing import Explanation
from sublabel.labels import Alignment, Cells, ConfusionMatrix, LabelSpace
from sublabel.report.matrix import Order, OrderName, orders
from sublabel.report.outcome import Outcome


@dataclass(frozen=True, eq=False)
class StrategySpace:
    """A strategy's label space, and what became of the samples under it."""

    name: str
    space: LabelSpace
    outcome: Outcome

    @cached_property
    def has_cells(self) -> bool:
        """Whether a cell has one class, whatever sample lies in it."""
        none = np.empty(0, dtype=np.int64)
        return self.space.cell_classes(none, none) is not None

    @cached_property
    def has_unsure(self) -> bool:
        """Whether samples that the teacher is not sure of are in classes of their own."""
        return bool(self.space.classes.is_kind("unsure").any())

    @property
    def has_several_heads(self) -> bool:
        """Whether a sample has a class in each of several heads."""
        return len(self.space.heads) > 1

    @property
    def has_weights(self) -> bool:
        """Whether a sample is in several classes of one head, each with a weight."""
        return not (self.space.answers_with_one_label or self.has_several_heads)

    def cell_classes(self, weak: np.ndarray, teacher: np.ndarray) -> np.ndarray:
        """The class of each cell, -1 where it is dropped.

        Args:
            weak: int64 (C,).
            teacher: int64 (C,).

        Raises:
            ConfigError: Its cells have no classes of their own.
        """
        classes = self.space.cell_classes(weak, teacher)
        if classes is None:
            raise ConfigError(f"the cells of {self.name!r} have no classes of their own, and cannot be drawn")
        return classes


@dataclass(frozen=True, eq=False)
class ClassColumns:
    """The K classes of a strategy as columns."""

    size: np.ndarray
    """int64 (K,), samples."""
    out_of: np.ndarray
    """int64 (K,), the samples of its weak class, or all samples where it is not of one row."""
    weak: np.ndarray
    """int64 (K,), its weak class, -1 where it is not of one row."""

    @classmethod
    def of_strategy(cls, strategy: StrategySpace, confusion: ConfusionMatrix) -> ClassColumns:
        """The classes of a strategy in the order of its labels.

        Args:
            strategy: The strategy.
            confusion: The counts that it was fitted to.
        """
        rows = np.asarray(confusion.counts.sum(axis=1)).ravel()
        if confusion.confidence is not None:
            # Such a count holds the sure samples only.
            rows = rows + confusion.confidence.unsure
        weak = strategy.space.classes.weak
        return cls(strategy.outcome.size, np.append(rows, rows.sum())[weak], weak)

    @property
    def share(self) -> np.ndarray:
        """float64 (K,), `size` of `out_of`, 0–1."""
        share: np.ndarray = self.size / np.maximum(1, self.out_of)
        return share


@dataclass(frozen=True)
class Picture:
    """One sample of a class, as a picture or as the reason why there is none."""

    sample_id: str
    jpeg: bytes | None
    confidence: float | None
    """The teacher's, in its prediction, 0–1."""
    status: str = "ok"


@dataclass(frozen=True)
class ExampleClass:
    """A class with the samples that the teacher is surest of."""

    label: int
    group: Literal["largest", "most confused"]
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class ExplainedExample:
    """A sample with the Grad-CAM of its classes: the picture that `sublabel explain` made of it."""

    explanation: Explanation
    jpeg: bytes


@dataclass(frozen=True, eq=False)
class ReportData:
    """All that a report shows, made by `collect` or `from_confusion`."""

    title: str
    confusion: ConfusionMatrix
    alignment: Alignment
    spaces: tuple[StrategySpace, ...]
    chosen: str
    """The strategy whose classes are shown one by one."""
    comparison: Comparison | None = None
    facts: tuple[tuple[str, str], ...] = ()
    """What was run: (what, value)."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The resolved options of the study."""
    statuses: Mapping[str, int] = field(default_factory=dict)
    """Samples by the status of the teacher's pass, `ok` among them."""
    confidence: np.ndarray | None = None
    """float64 (K,) of the chosen space: the teacher's mean confidence in a class's samples, NaN without."""
    examples: tuple[ExampleClass, ...] = ()
    explained: tuple[ExplainedExample, ...] = ()
    notes: tuple[str, ...] = ()
    """What could not be shown, and why."""

    @cached_property
    def cells(self) -> Cells:
        """The occupied cells of the confusion matrix."""
        return self.confusion.cells(self.alignment)

    @cached_property
    def orders(self) -> dict[OrderName, Order]:
        """The orders in which the matrix can be drawn, the most telling first."""
        return orders(self.confusion, self.alignment)

    @cached_property
    def classes(self) -> ClassColumns:
        """The classes of the chosen strategy."""
        return ClassColumns.of_strategy(self.chosen_space, self.confusion)

    @property
    def chosen_space(self) -> StrategySpace:
        """The strategy whose classes are shown one by one."""
        return self.space(self.chosen)

    def space(self, name: str) -> StrategySpace:
        """A strategy of the report.

        Args:
            name: Its row's.

        Raises:
            ConfigError: There is none of this name.
        """
        for entry in self.spaces:
            if entry.name == name:
                return entry
        raise ConfigError(
            f"there is no strategy {name!r} in this report: it has {', '.join(e.name for e in self.spaces)}"
        )
