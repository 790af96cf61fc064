"""The table that compares pre-trainings, as the paper's: one row each, top-1 and top-5 after fine-tuning."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from html import escape
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from sublabel.errors import ConfigError
from sublabel.evaluation.statistics import paired_difference
from sublabel.html import html_table


class RunMetrics(BaseModel):
    """One fine-tuned model on the test split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    row: str
    """The pre-training, as the table names it."""
    seed: int
    top1: float
    """Share of test samples, 0–1."""
    top5: float
    classes: int | None = None
    """Pre-training classes; None without weak pre-training."""
    samples: int | None = None
    """Weak samples that were pre-trained on, of `pool`."""
    pool: int | None = None
    steps: int | None = None
    """Optimiser steps of pre-training."""
    clips_per_video: int | None = None
    """Of the curve: at most so many weak samples of each source; None for all, which is the table."""


class ComparisonRow(NamedTuple):
    """One row as text: what every rendering of the table shows."""

    pretraining: str
    classes: str
    samples: str
    top1: str
    top5: str
    versus: str


class Comparison(BaseModel):
    """All runs of a study; rows keep the order in which they first appear.

    The table shows the runs on all weak samples, the curve those on some clips of each video beside them.

    Args:
        runs: One entry for each row and seed.
        baseline: The row that differences are taken to.
        test_samples: Size of the test split, for the standard error.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    runs: tuple[RunMetrics, ...]
    baseline: str
    test_samples: int

    def rows(self) -> list[ComparisonRow]:
        """The rows: means over seeds in percent, and the paired difference in top-1 to the baseline."""
        names = dict.fromkeys(run.row for run in self.runs if run.clips_per_video is None)
        return [self._row(name) for name in names]

    def curve(self) -> list[tuple[str, ...]]:
        """The clips-per-video curve as text, headings first; empty where the study has none.

        A cell holds the mean top-1 over seeds in percent, and the difference to the baseline's.
        """
        points = sorted({run.clips_per_video for run in self.runs if run.clips_per_video is not None})
        if not points:
            return []
        curve = [("clips per video", *map(str, points), "all")]
        curve.append(("weak samples", *(self._pool(point) for point in (*points, None))))
        names = dict.fromkeys(run.row for run in self.runs if run.clips_per_video is not None)
        curve += [(name, *(self._point(name, point) for point in (*points, None))) for name in names]
        return curve

    def headings(self) -> ComparisonRow:
        """The table's column names."""
        return ComparisonRow("pre-training", "classes", "samples", "top-1", "top-5", "Δ top-1")

    def notes(self) -> list[str]:
        """What a reader must know to read the figures."""
        seeds = len({run.seed for run in self.runs})
        best = max((run.top1 for run in self.runs), default=0.0)
        error = 100 * (best * (1 - best) / max(1, self.test_samples)) ** 0.5
        spread = (
            "± is the standard deviation over seeds, [ ] the 95% confidence interval of the difference, "
            "paired by seed (Student's t)"
            if seeds > 1
            else "one seed says nothing about the spread: run more before believing a difference"
        )
        notes = [
            f"{seeds} seed{'s' if seeds > 1 else ''}, {self.test_samples} test samples; "
            f"the binomial standard error of one top-1 is about {error:.1f} points",
            f"Δ is the difference to {self.baseline} in points; {spread}",
        ]
        steps = sorted(run.steps for run in self.runs if run.steps is not None)
        if steps and steps[0] < steps[-1]:
            notes.append(
                f"pre-training took from {steps[0]:,} to {steps[-1]:,} steps: the same epochs on fewer "
                "samples are fewer steps (--pretrain.steps trains all equally long)"
            )
        return notes

    def to_markdown(self) -> str:
        """A Markdown table with its notes."""
        lines = ["| " + " | ".join(self.headings()) + " |", "|---|" + "---:|" * 5]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows()]
        for number, row in enumerate(self.curve()):
            lines += ["", "Top-1 by clips per video:", ""] if number == 0 else []
            lines.append("| " + " | ".join(row) + " |")
            lines += ["|---|" + "---:|" * (len(row) - 1)] if number == 0 else []
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes())]) + "\n"

    def to_rich(self) -> Group:
        """The tables for the terminal."""
        curve = self.curve()
        tables: list[Table | Text] = [_table(self.headings(), self.rows())]
        if curve:
            tables += [Text("\n top-1 by clips per video"), _table(curve[0], curve[1:])]
        return Group(*tables, Text("\n".join(self.notes()), style="dim italic"))

    def _repr_html_(self) -> str:
        """For notebooks: the table, the curve and their notes."""
        curve = self.curve()
        points = html_table(curve[0], curve[1:], "top-1 by clips per video") if curve else ""
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes())
        return f"{html_table(self.headings(), self.rows())}{points}<ul>{notes}</ul>"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: every run, and the rows as shown."""
        return {
            **self.model_dump(mode="json"),
            "table": [row._asdict() for row in self.rows()],
            "curve": [list(row) for row in self.curve()],
            "notes": self.notes(),
        }

    def _row(self, name: str) -> ComparisonRow:
        runs = self._by_seed(name, None)
        return ComparisonRow(
            pretraining=name,
            classes=_mean_count(run.classes for run in runs),
            samples=_mean_count(run.samples for run in runs),
            top1=_percent([run.top1 for run in runs]),
            top5=_percent([run.top5 for run in runs]),
            versus=self._versus_baseline(name, None) or "–",
        )

    def _point(self, name: str, clips_per_video: int | None) -> str:
        top1 = _percent([run.top1 for run in self._by_seed(name, clips_per_video)])
        versus = self._versus_baseline(name, clips_per_video, interval=False)
        return f"{top1} ({versus})" if versus else top1

    def _pool(self, clips_per_video: int | None) -> str:
        return _mean_count(run.pool for run in self.runs if run.clips_per_video == clips_per_video)

    def _versus_baseline(
        self, name: str, clips_per_video: int | None, *, interval: bool = True
    ) -> str | None:
        runs, baseline = (self._by_seed(row, clips_per_video) for row in (name, self.baseline))
        if name == self.baseline or not baseline:
            return None
        if [run.seed for run in runs] != [run.seed for run in baseline]:
            raise ConfigError(
                f"{name!r} and {self.baseline!r} were run on different seeds; run both on the same ones"
            )
        return _difference([run.top1 for run in runs], [run.top1 for run in baseline], interval=interval)

    def _by_seed(self, name: str, clips_per_video: int | None) -> list[RunMetrics]:
        chosen = (run for run in self.runs if run.row == name and run.clips_per_video == clips_per_video)
        return sorted(chosen, key=lambda run: run.seed)


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index == 0 else "right", no_wrap=index > 0)
    for row in rows:
        table.add_row(*row)
    return table


def _percent(values: list[float]) -> str:
    mean = f"{100 * statistics.fmean(values):.1f}"
    return mean if len(values) < 2 else f"{mean} ± {100 * statistics.stdev(values):.1f}"


def _difference(ours: list[float], baseline: list[float], *, interval: bool) -> str:
    paired = paired_difference(ours, baseline)
    if paired is None or not interval:
        return f"{100 * (statistics.fmean(ours) - statistics.fmean(baseline)):+.1f}"
    return f"{100 * paired.mean:+.1f} [{100 * paired.low:+.1f}, {100 * paired.high:+.1f}]"


def _mean_count(counts: Iterable[int | None]) -> str:
    known = [count for count in counts if count is not None]
    return f"{round(statistics.fmean(known)):,}" if known else "–"
