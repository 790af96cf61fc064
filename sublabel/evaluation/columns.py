"""The columns of the comparison, declared once: a new one is one entry of `COLUMNS`."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sublabel.evaluation.runs import PRIMARY_METRIC, RunMetrics
from sublabel.evaluation.statistics import paired_difference

NOTHING = "–"

Show = Callable[[Sequence[float], Sequence[float]], str]
"""Text of the values of a row's seeds, (S,), given the baseline's of the same seeds, (S,) or none."""


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

    def text(self, runs: Sequence[RunMetrics], baseline: Sequence[RunMetrics]) -> str:
        """A row's cell in this column.

        Args:
            runs: The row's, one for each seed.
            baseline: The baseline's of the same seeds; none for the baseline itself.
        """
        values = self._values(runs)
        return self.show(values, self._values(baseline)) if values else NOTHING

    def _values(self, runs: Iterable[RunMetrics]) -> list[float]:
        return [value for run in runs if (value := self.value(run)) is not None]


def count(values: Sequence[float], baseline: Sequence[float] = ()) -> str:
    """Mean of counts, as a whole number.

    Args:
        values: One for each seed, (S,).
        baseline: Not looked at.
    """
    return f"{round(statistics.fmean(values)):,}"


def number(values: Sequence[float], baseline: Sequence[float] = ()) -> str:
    """Mean of any figures, and over several seeds the standard deviation.

    Args:
        values: One for each seed, (S,).
        baseline: Not looked at.
    """
    mean = f"{statistics.fmean(values):.3g}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.2g}"


def percent(values: Sequence[float], baseline: Sequence[float] = ()) -> str:
    """Mean of shares in percent, and over several seeds the standard deviation.

    Args:
        values: One for each seed, 0–1, (S,).
        baseline: Not looked at.

    Example:
        >>> percent([0.70, 0.71])
        '70.5 ± 0.7'
    """
    mean = f"{100 * statistics.fmean(values):.1f}"
    return mean if len(values) < 2 else f"{mean} ± {100 * statistics.stdev(values):.1f}"


def mean_difference(values: Sequence[float], baseline: Sequence[float]) -> str:
    """Mean difference to the baseline in points, without an interval.

    Args:
        values: One for each seed, 0–1, (S,).
        baseline: The baseline's of the same seeds, (S,), or none.
    """
    if not baseline:
        return NOTHING
    return f"{100 * (statistics.fmean(values) - statistics.fmean(baseline)):+.1f}"


def difference(values: Sequence[float], baseline: Sequence[float]) -> str:
    """Mean difference to the baseline in points, and over several seeds its 95% interval, paired by seed.

    Args:
        values: One for each seed, 0–1, (S,).
        baseline: The baseline's of the same seeds, (S,), or none.

    Example:
        >>> difference([0.72, 0.73], [0.70, 0.71])
        '+2.0 [+2.0, +2.0]'
    """
    shown = mean_difference(values, baseline)
    paired = paired_difference(values, baseline) if baseline else None
    return shown if paired is None else f"{shown} [{100 * paired.low:+.1f}, {100 * paired.high:+.1f}]"


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
    metric_column("top5", "top-5", percent),
    metric_column(PRIMARY_METRIC, "Δ top-1", difference),
)


def columns_of(runs: Iterable[RunMetrics]) -> tuple[TableColumn, ...]:
    """The columns of a table: `COLUMNS`, then each further metric of its runs as a plain number.

    Args:
        runs: All runs of the table.
    """
    declared = {column.metric for column in COLUMNS}
    further = dict.fromkeys(name for run in runs for name in run.metrics if name not in declared)
    return (*COLUMNS, *(metric_column(name, name, number) for name in further))
