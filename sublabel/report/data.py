"""What a report shows, collected from a run: plain frozen data, without a word about how it looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from sublabel._outputs import output_names
from sublabel.errors import ConfigError
from sublabel.evaluation import Comparison
from sublabel.explain.listing import Explanation
from sublabel.labels import Alignment, ConfusionMatrix, LabelSpace
from sublabel.labels.classes import Kind
from sublabel.report.matrix import Order, OrderName, orders
from sublabel.report.outcome import Outcome


@dataclass(frozen=True, eq=False)
class CountedCells:
    """The occupied cells of a confusion matrix, N of them, as columns."""

    weak: np.ndarray
    """int64 (N,), the cell's row."""
    teacher: np.ndarray
    """int64 (N,), the cell's column."""
    count: np.ndarray
    """int64 (N,), samples, at least 1."""
    agreed: np.ndarray
    """bool (N,), whether the two classes agree."""

    @classmethod
    def of(cls, confusion: ConfusionMatrix, alignment: Alignment) -> CountedCells:
        """The occupied cells row by row, in the order of the vocabularies.

        Args:
            confusion: The counts.
            alignment: Which classes agree.
        """
        entries = confusion.counts.tocoo()
        weak, teacher = entries.row.astype(np.int64), entries.col.astype(np.int64)
        return cls(weak, teacher, entries.data, alignment.agrees(weak, teacher))


@dataclass(frozen=True, eq=False)
class StrategySpace:
    """A strategy's label space, and what became of the samples under it."""

    name: str
    space: LabelSpace
    outcome: Outcome

    @property
    def has_cells(self) -> bool:
        """Whether a cell has one class: not where it is drawn by chance, or one of each head."""
        return not (self.space.needs_sample_ids or self.space.two_heads)

    @property
    def num_classes(self) -> int:
        """K, the width of the student's head, or of both heads."""
        return sum(self.space.heads)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the K classes; of two heads `weak: NAME` and `teacher: NAME`."""
        return output_names(self.space)

    @cached_property
    def kinds(self) -> tuple[Kind, ...]:
        """Kinds of the K classes."""
        if not self.space.two_heads:
            return self.space.kinds
        sides: tuple[Kind, Kind] = ("weak", "teacher")
        return tuple(side for side, width in zip(sides, self.space.heads, strict=True) for _ in range(width))

    @cached_property
    def weak(self) -> np.ndarray:
        """int64 (K,), the weak class in whose row a class lies, -1 where it is not of one row."""
        if not self.space.two_heads:
            return self.space.classes.weak
        rows, columns = self.space.heads
        return np.concatenate([np.arange(rows), np.full(columns, -1)])


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
        return cls(strategy.outcome.size, np.append(rows, rows.sum())[strategy.weak], strategy.weak)

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
    def cells(self) -> CountedCells:
        """The occupied cells of the confusion matrix."""
        return CountedCells.of(self.confusion, self.alignment)

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
