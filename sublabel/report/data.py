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
from sublabel.labels import Alignment, ConfusionMatrix, LabelSpace
from sublabel.report.matrix import Order, OrderName, orders


@dataclass(frozen=True, eq=False)
class Cells:
    """The occupied cells of a confusion matrix, N of them, as columns."""

    weak: np.ndarray
    """int64 (N,)."""
    teacher: np.ndarray
    """int64 (N,)."""
    count: np.ndarray
    """int64 (N,), samples, at least 1."""
    agreed: np.ndarray
    """bool (N,)."""

    @classmethod
    def of(cls, confusion: ConfusionMatrix, alignment: Alignment) -> Cells:
        """Row by row, in the order of the vocabularies."""
        entries = confusion.counts.tocoo()
        weak, teacher = entries.row.astype(np.int64), entries.col.astype(np.int64)
        return cls(weak, teacher, entries.data, alignment.agrees(weak, teacher))


@dataclass(frozen=True, eq=False)
class StrategySpace:
    """A strategy's label space, and what it does with each occupied cell."""

    name: str
    space: LabelSpace
    labels: np.ndarray
    """int64 (N,), the class of each of the report's cells, -1 where it is dropped. A matched control draws
    classes by sample: of its labels only which are -1 means something."""

    @property
    def is_control(self) -> bool:
        """Whether it draws classes by chance, so that its cells have no class of their own."""
        return self.space.needs_sample_ids


@dataclass(frozen=True, eq=False)
class ClassColumns:
    """The K classes of a space as columns."""

    size: np.ndarray
    """int64 (K,), samples."""
    share: np.ndarray
    """float64 (K,), of the samples of its weak class, of all samples where it lies in several rows; 0–1."""
    weak: np.ndarray
    """int64 (K,), the weak class that all its samples have, -1 where there are several or none."""
    teacher: np.ndarray
    """int64 (K,), likewise."""

    @classmethod
    def of(cls, strategy: StrategySpace, confusion: ConfusionMatrix, cells: Cells) -> ClassColumns:
        """Of the classes of a strategy, in the order of their labels."""
        kept = strategy.labels >= 0
        labels, count = strategy.labels[kept], cells.count[kept]
        size = np.zeros(len(strategy.space), dtype=np.int64)
        np.add.at(size, labels, count)
        weak = _only_value(labels, cells.weak[kept], len(size))
        row_totals = np.append(np.asarray(confusion.counts.sum(axis=1)).ravel(), confusion.total)
        share = size / np.maximum(1, row_totals[weak])
        return cls(size, share, weak, _only_value(labels, cells.teacher[kept], len(size)))


def _only_value(labels: np.ndarray, values: np.ndarray, classes: int) -> np.ndarray:
    """The value that all entries of a class have, int64 (K,), -1 where there are several or none."""
    low, high = np.full(classes, np.iinfo(np.int64).max), np.full(classes, -1)
    np.minimum.at(low, labels, values)
    np.maximum.at(high, labels, values)
    return np.where(low == high, low, -1)


@dataclass(frozen=True)
class Picture:
    """One sample of a class, as a picture or as the reason why there is none."""

    sample_id: str
    jpeg: bytes | None
    confidence: float | None
    """Of the teacher in its prediction, 0–1."""
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
    """All that a report shows. Made by `collect` or `from_confusion`."""

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
        return Cells.of(self.confusion, self.alignment)

    @cached_property
    def orders(self) -> dict[OrderName, Order]:
        """In which orders the matrix can be drawn, the most telling first."""
        return orders(self.confusion, self.alignment)

    @cached_property
    def classes(self) -> ClassColumns:
        """The classes of the chosen strategy."""
        return ClassColumns.of(self.chosen_space, self.confusion, self.cells)

    @property
    def chosen_space(self) -> StrategySpace:
        """The strategy whose classes are shown one by one."""
        return self.space(self.chosen)

    def space(self, name: str) -> StrategySpace:
        """A strategy of the report.

        Raises:
            ConfigError: There is none of this name.
        """
        for entry in self.spaces:
            if entry.name == name:
                return entry
        raise ConfigError(
            f"there is no strategy {name!r} in this report: it has {', '.join(e.name for e in self.spaces)}"
        )


def cell_labels(space: LabelSpace, cells: Cells) -> np.ndarray:
    """The class of each cell, int64 (N,), -1 where it is dropped.

    A matched control draws the classes of disagreed samples by their ids; which cells it drops, and how many
    samples it keeps, does not depend on them. A space with thresholds shows what it makes of sure samples.
    """
    ids = np.arange(len(cells.weak)) if space.needs_sample_ids else None
    sure = np.ones(len(cells.weak)) if space.needs_confidence else None
    return space.assign(cells.weak, cells.teacher, ids, sure)
