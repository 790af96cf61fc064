"""The columns of the comparison, declared once: a new one is one entry of `COLUMNS`."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sublabel.evaluation.compared import CorrectedDifference
from sublabel.evaluation.runs import RunMetrics
from sublabel.evaluation.verdict import p_text, points

NOTHING = "–"

Show = Callable[[Sequence[float]], str]
"""Text of the values of a row's runs, (S,)."""


@dataclass(frozen=True)
class TableColumn:
    """A column of the comparison.

    Args:
        heading: Its name in every rendering, JSON included.
        value: What it shows of one run; None where the run has no such figure.
        show: The values of all seeds of a row as text.
        metric: The metric that it shows, where it shows one.
    """

    heading: str
    value: Callable[[RunMetrics], float | None]
    show: Show
    metric: str | None = None

    def text(self, runs: Sequence[RunMetrics], found: CorrectedDifference | None = None) -> str:
        """A row's cell in this column.

        Args:
            runs: The row's, one for each seed and data set.
            found: Its difference to the baseline; None of the baseline itself.
        """
        values = [value for run in runs if (value := self.value(run)) is not None]
        return self.show(values) if values else NOTHING


@dataclass(frozen=True)
class DifferenceColumn:
    """A column about the difference to the baseline.

    Args:
        heading: Its name in every rendering.
        show: The difference as text.
    """

    heading: str
    show: Callable[[CorrectedDifference], str]
    metric: str | None = None

    def text(self, runs: Sequence[RunMetrics], found: CorrectedDifference | None = None) -> str:
        """A row's cell in this column.

        Args:
            runs: Not looked at.
            found: The row's difference to the baseline; None of the baseline itself.
        """
        return NOTHING if found is None else self.show(found)


def count(values: Sequence[float]) -> str:
    """Mean of counts, as a whole number.

    Args:
        values: One for each seed, (S,).
    """
    return f"{round(statistics.fmean(values)):,}"


def number(values: Sequence[float]) -> str:
    """Mean of any figures, and over several seeds the standard deviation.

    Args:
        values: One for each seed, (S,).
    """
    mean = f"{statistics.fmean(values):.3g}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.2g}"


def percent(values: Sequence[float]) -> str:
    """Mean of shares in percent, and over several seeds the standard deviation.

    Args:
        values: One for each seed, 0–1, (S,).

    Example:
        >>> percent([0.70, 0.71])
        '70.5 ± 0.7'
    """
    mean = f"{100 * statistics.fmean(values):.1f}"
    return mean if len(values) < 2 else f"{mean} ± {100 * statistics.stdev(values):.1f}"


def mean_percent(values: Sequence[float]) -> str:
    """Mean of shares in percent.

    Args:
        values: One for each seed, 0–1, (S,).
    """
    return f"{100 * statistics.fmean(values):.1f}"


def difference(found: CorrectedDifference) -> str:
    """A mean difference in points, and over several runs its corrected interval.

    Args:
        found: To the baseline.
    """
    mean, interval = points(found.difference.mean), found.interval
    return mean if interval is None else f"{mean} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def corrected_p(found: CorrectedDifference) -> str:
    """The corrected p value of a difference.

    Args:
        found: To the baseline.
    """
    return NOTHING if found.p_value is None else p_text(found.p_value)


def metric_column(metric: str, heading: str, show: Show) -> TableColumn:
    """A column that shows one metric of the tests.

    Args:
        metric: Its name in `RunMetrics.metrics`.
        heading: Its name in the table.
        show: The values of all seeds of a row as text.
    """
    return TableColumn(heading, lambda run: run.metrics.get(metric), show, metric)


COLUMNS = (
    TableColumn("classes", lambda run: run.classes, count),
    TableColumn("samples", lambda run: run.samples, count),
    metric_column("top1", "top-1", percent),
    metric_column("top5", "top-5", mean_percent),
    DifferenceColumn("Δ top-1", difference),
    DifferenceColumn("p", corrected_p),
)


def columns_of(runs: Iterable[RunMetrics]) -> tuple[TableColumn | DifferenceColumn, ...]:
    """The columns of a table: `COLUMNS`, then each further metric of its runs as a plain number.

    Args:
        runs: All runs of the table.
    """
    declared = {column.metric for column in COLUMNS}
    further = dict.fromkeys(name for run in runs for name in run.metrics if name not in declared)
    return (*COLUMNS, *(metric_column(name, name, number) for name in further))
