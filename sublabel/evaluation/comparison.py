"""The table that compares pre-trainings, as the paper's: one row each, top-1 and top-5 after fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pydantic import BaseModel, ConfigDict
from rich.console import Group
from rich.text import Text

from sublabel.errors import ConfigError
from sublabel.evaluation.columns import NOTHING, columns_of, count, mean_difference, percent
from sublabel.evaluation.runs import RunMetrics
from sublabel.evaluation.text_table import TextTable

FORMAT, VERSION = "sublabel.Comparison", 1
CURVE_CAPTION = "top-1 by clips per video"


class Comparison(BaseModel):
    """All runs of a study; rows keep the order in which they first appear.

    The table shows the runs on all weak samples, the curve those on some clips of each video beside them.

    Args:
        runs: One entry for each row and seed.
        baseline: The strategy that differences are taken to, by its row's name.
        test_samples: Size of the test split, for the standard error.
        teacher_accuracy: Target split → how often the teacher is right, 0–1, one for each seed where they
            have other teachers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    runs: tuple[RunMetrics, ...]
    baseline: str
    test_samples: int
    teacher_accuracy: dict[str, tuple[float, ...]] = {}

    def names(self, *, of_curve: bool = False) -> list[str]:
        """The names of the rows in their order.

        Args:
            of_curve: The rows of the curve, not of the table.
        """
        return list(dict.fromkeys(run.row for run in self.runs if (run.clips_per_video is None) != of_curve))

    def points(self) -> list[int]:
        """The clips per video of the curve, rising; empty where the study has no curve."""
        return sorted({run.clips_per_video for run in self.runs if run.clips_per_video is not None})

    def runs_of(self, row: str, clips_per_video: int | None = None) -> list[RunMetrics]:
        """The runs of a row by seed.

        Args:
            row: Its name.
            clips_per_video: A point of the curve; None for the table.
        """
        chosen = (run for run in self.runs if run.row == row and run.clips_per_video == clips_per_video)
        return sorted(chosen, key=lambda run: run.seed)

    def without_pretraining(self) -> list[RunMetrics]:
        """The runs without weak pre-training."""
        return [run for run in self.runs if run.strategy is None]

    def table(self) -> TextTable:
        """The table as text: means over seeds in percent, and the paired difference in top-1 to the baseline.

        Raises:
            ConfigError: A row was run on other seeds than the baseline.
        """
        columns = columns_of(run for run in self.runs if run.clips_per_video is None)
        rows = []
        for name in self.names():
            runs, baseline = self.runs_of(name), self._baseline_of(name)
            rows.append((name, *(column.text(runs, baseline) for column in columns)))
        return TextTable(("pre-training", *(column.heading for column in columns)), tuple(rows))

    def curve(self) -> TextTable | None:
        """The curve over clips per video as text; None where the study has none.

        A cell holds the mean top-1 over seeds in percent, and the difference to the baseline's.
        """
        if not self.points():
            return None
        steps = (*self.points(), None)
        headings = ("clips per video", *("all" if step is None else str(step) for step in steps))
        pools = ("weak samples", *(self._pool(step) for step in steps))
        rows = [(name, *(self._point(name, step) for step in steps)) for name in self.names(of_curve=True)]
        return TextTable(headings, (pools, *rows))

    def notes(self) -> list[str]:
        """What a reader must know to read the figures."""
        seeds = len({run.seed for run in self.runs})
        best = max((run.primary for run in self.runs), default=0.0)
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
        if self.teacher_accuracy:
            notes.append(f"the teacher is right on {teacher_accuracy_text(self.teacher_accuracy)}")
        steps = sorted(run.steps for run in self.runs if run.steps is not None)
        if steps and steps[0] < steps[-1]:
            notes.append(
                f"pre-training took from {steps[0]:,} to {steps[-1]:,} steps: the same epochs on fewer "
                "samples are fewer steps (give steps instead of epochs to train all equally long)"
            )
        return notes

    def to_markdown(self) -> str:
        """The table, the curve and their notes in Markdown."""
        parts, curve = [self.table().to_markdown()], self.curve()
        if curve is not None:
            parts += [f"{CURVE_CAPTION.capitalize()}:", curve.to_markdown()]
        notes = "\n".join(f"- {note}" for note in self.notes())
        return "\n\n".join([*parts, notes]) + "\n"

    def to_rich(self) -> Group:
        """The table, the curve and their notes for the terminal."""
        curve = self.curve()
        points = () if curve is None else (Text(f"\n {CURVE_CAPTION}"), curve.to_rich())
        return Group(self.table().to_rich(), *points, Text("\n".join(self.notes()), style="dim italic"))

    def _repr_html_(self) -> str:
        """The table, the curve and their notes for notebooks."""
        curve = self.curve()
        points = "" if curve is None else curve.to_html(CURVE_CAPTION)
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes())
        return f"{self.table().to_html()}{points}<ul>{notes}</ul>"

    def to_dict(self) -> dict[str, Any]:
        """Every run, and the tables as shown, JSON-able."""
        curve = self.curve()
        return {
            "format": FORMAT,
            "version": VERSION,
            **self.model_dump(mode="json"),
            "table": self.table().records(),
            "curve": [] if curve is None else curve.records(),
            "notes": self.notes(),
        }

    @classmethod
    def from_dict(cls, content: Any) -> Comparison:
        """Read what `to_dict` made.

        Args:
            content: The dictionary, as JSON gives it back; what is shown of the runs is not looked at.

        Raises:
            ConfigError: It is no such dictionary, or of another format or version.
            pydantic.ValidationError: A run is damaged.
        """
        if not isinstance(content, Mapping):
            raise ConfigError(f"got a {type(content).__name__}; expected a dictionary of the format {FORMAT}")
        found = content.get("format"), content.get("version")
        if found != (FORMAT, VERSION):
            raise ConfigError(f"got the format and version {found}; expected {(FORMAT, VERSION)}")
        return cls.model_validate({name: content[name] for name in cls.model_fields if name in content})

    def _point(self, name: str, clips_per_video: int | None) -> str:
        values = [run.primary for run in self.runs_of(name, clips_per_video)]
        if not values:
            return NOTHING
        baseline = [run.primary for run in self._baseline_of(name, clips_per_video)]
        return f"{percent(values)} ({mean_difference(values, baseline)})" if baseline else percent(values)

    def _pool(self, clips_per_video: int | None) -> str:
        pools = [run.pool for run in self.runs if run.clips_per_video == clips_per_video]
        known = [pool for pool in pools if pool is not None]
        return count(known) if known else NOTHING

    def _baseline_of(self, name: str, clips_per_video: int | None = None) -> Sequence[RunMetrics]:
        """The baseline's runs of the same seeds as a row's; none for itself, or where it was not run."""
        baseline = self.runs_of(self.baseline, clips_per_video)
        if name == self.baseline or not baseline:
            return []
        seeds = [[run.seed for run in runs] for runs in (self.runs_of(name, clips_per_video), baseline)]
        if seeds[0] != seeds[1]:
            raise ConfigError(
                f"{name!r} was run on the seeds {seeds[0]}, and {self.baseline!r} on {seeds[1]}; expected "
                "the same ones: run both on them"
            )
        return baseline


def teacher_accuracy_text(accuracy: Mapping[str, Sequence[float]]) -> str:
    """How often a teacher is right, in words.

    Args:
        accuracy: Target split → shares, 0–1, one for each seed where they have other teachers.

    Example:
        >>> teacher_accuracy_text({"target_test": (0.81, 0.80), "target_val": (0.79, 0.83)})
        '80.5 ± 0.7% of target_test and 81.0 ± 2.8% of target_val'
    """
    return " and ".join(f"{percent(shares)}% of {split}" for split, shares in accuracy.items())
