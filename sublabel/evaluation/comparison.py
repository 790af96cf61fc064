"""The table that compares pre-trainings, as the paper's, and what it says."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Self

from rich.console import Group
from rich.text import Text

from sublabel.errors import ConfigError
from sublabel.evaluation.columns import NOTHING, columns_of, count, percent
from sublabel.evaluation.compared import ComparedRuns
from sublabel.evaluation.notes import UNDERTRAINED, notes_of
from sublabel.evaluation.outcomes import Outcomes
from sublabel.evaluation.text_table import TextTable
from sublabel.evaluation.verdict import Verdict, judge, points
from sublabel.extras import needs_extra
from sublabel.files import write_atomically, write_json
from sublabel.provenance import differences

COMPARISON_FILE, OUTCOMES_FILE = "comparison.json", "outcomes.parquet"
FORMAT, VERSION = "sublabel.Comparison", 1
CURVE_CAPTION = "top-1 by clips per video"


class Comparison(ComparedRuns):
    """The runs of a study, or of several, as a table, and what they show.

    The table shows the runs on all weak samples, the curve those on some clips of each video beside them.
    """

    def verdict(self) -> Verdict:
        """What the runs show, in one sentence, and what a reader must know before believing it.

        Raises:
            ConfigError: A row was run on other seeds than the baseline.
        """
        return judge(self)

    def table(self) -> TextTable:
        """The table as text: means in percent, and the corrected difference in top-1 to the baseline.

        Raises:
            ConfigError: A row was run on other seeds than the baseline.
        """
        columns = columns_of(run for run in self.runs if run.clips_per_video is None)
        untrained, rows = self.undertrained(), []
        for name in self.names():
            runs, found = self.runs_of(name), self.corrected.get(name)
            shown = f"{name} {UNDERTRAINED}" if name in untrained else name
            rows.append((shown, *(column.text(runs, found) for column in columns)))
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
        return list(notes_of(self))

    def to_markdown(self) -> str:
        """The verdict, the table, the curve and their notes in Markdown."""
        verdict, curve = self.verdict(), self.curve()
        parts = [f"**{verdict.sentence}**", _bullets(verdict.remarks), self.table().to_markdown()]
        if curve is not None:
            parts += [f"{CURVE_CAPTION.capitalize()}:", curve.to_markdown()]
        return "\n\n".join(filter(None, [*parts, _bullets(self.notes())])) + "\n"

    def to_rich(self) -> Group:
        """The verdict, the table, the curve and their notes for the terminal."""
        verdict, curve = self.verdict(), self.curve()
        points = () if curve is None else (Text(f"\n {CURVE_CAPTION}"), curve.to_rich())
        remarks = () if not verdict.remarks else (Text(_bullets(verdict.remarks)),)
        notes = Text("\n".join(self.notes()), style="dim italic")
        return Group(Text(verdict.sentence, style="bold"), *remarks, self.table().to_rich(), *points, notes)

    def _repr_html_(self) -> str:
        """The verdict, the table, the curve and their notes for notebooks."""
        verdict, curve = self.verdict(), self.curve()
        points = "" if curve is None else curve.to_html(CURVE_CAPTION)
        remarks, notes = (
            f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>" if lines else ""
            for lines in (verdict.remarks, self.notes())
        )
        sentence = f"<p><strong>{escape(verdict.sentence)}</strong></p>"
        return f"{sentence}{remarks}{self.table().to_html()}{points}{notes}"

    def to_latex(self) -> str:
        """The table as LaTeX, for the package booktabs."""
        return self.table().to_latex()

    def records(self) -> list[dict[str, Any]]:
        """Each row of the table as figures: shares in 0–1, None where there is none."""
        return [self._record(name) for name in self.names()]

    def to_pandas(self) -> Any:
        """The figures of `records` as a `pandas.DataFrame`, a row for each row of the table.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        with needs_extra("a DataFrame", "pandas"):
            import pandas as pd
        return pd.DataFrame(self.records()).set_index("row")

    def to_dict(self) -> dict[str, Any]:
        """Every run, the verdict, and the tables as figures and as shown, JSON-able."""
        curve = self.curve()
        return {
            "format": FORMAT,
            "version": VERSION,
            "verdict": self.verdict()._asdict(),
            **self.model_dump(mode="json"),
            "rows": self.records(),
            "table": self.table().records(),
            "curve": [] if curve is None else curve.records(),
            "notes": self.notes(),
        }

    @classmethod
    def from_dict(cls, content: Any, outcomes: Outcomes | None = None) -> Self:
        """Read what `to_dict` made.

        Args:
            content: The dictionary, as JSON gives it back; what is shown of the runs is not looked at.
            outcomes: Of its runs, which the dictionary does not hold.

        Raises:
            ConfigError: It is no such dictionary, or of another format or version.
            pydantic.ValidationError: A run is damaged.
        """
        if not isinstance(content, Mapping):
            raise ConfigError(f"got a {type(content).__name__}; expected a dictionary of the format {FORMAT}")
        found = content.get("format"), content.get("version")
        if found != (FORMAT, VERSION):
            raise ConfigError(f"got the format and version {found}; expected {(FORMAT, VERSION)}")
        known = {name: content[name] for name in cls.model_fields if name in content}
        return cls.model_validate({**known, "outcomes": outcomes})

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote.

        Args:
            folder: That of a study that has ended, or of a pool.

        Raises:
            ConfigError: There is no such dictionary in it, or the outcomes are of other runs.
            OSError: There is nothing to read.
        """
        folder = Path(folder)
        content = json.loads((folder / COMPARISON_FILE).read_text(encoding="utf-8"))
        outcomes = folder / OUTCOMES_FILE
        return cls.from_dict(content, Outcomes.load(outcomes) if outcomes.exists() else None)

    def save(self, folder: str | Path) -> None:
        """Write `comparison.json`, `comparison.md`, and `outcomes.parquet` where outcomes are known.

        Args:
            folder: Made if it does not exist.
        """
        folder = Path(folder)
        # First, as it may have those of fewer runs, which the other file then would not fit.
        if self.outcomes is not None:
            self.outcomes.save(folder / OUTCOMES_FILE)
        write_json(folder / COMPARISON_FILE, self.to_dict())
        with write_atomically(folder / "comparison.md") as file:
            file.write(self.to_markdown().encode())

    @classmethod
    def pool(cls, comparisons: Mapping[str, Self]) -> Self:
        """Make one comparison of several studies that differ in their data only; data sets count alike.

        Args:
            comparisons: Name of the data set → its comparison.

        Raises:
            ConfigError: They have other rows, seeds or baselines, or one is pooled already.
        """
        first, *others = comparisons.items()
        for name, other in others:
            _refuse_other_runs(first, (name, other))
        pooled = [data for data, each in comparisons.items() if each.data_sets() != [""]]
        if pooled:
            raise ConfigError(f"{pooled[0]} is pooled already: give the studies that it was made of")
        every = comparisons.values()
        outcomes = [each.outcomes.renamed(data) for data, each in comparisons.items() if each.outcomes]
        chances = [each.chance for each in every if each.chance is not None]
        accuracy: dict[str, tuple[float, ...]] = {}
        for each in every:
            for split, shares in each.teacher_accuracy.items():
                accuracy[split] = (*accuracy.get(split, ()), *shares)
        return cls(
            runs=tuple(
                run.model_copy(update={"data": data})
                for data, each in comparisons.items()
                for run in each.runs
            ),
            baseline=first[1].baseline,
            test_samples=round(statistics.fmean(each.test_samples for each in every)),
            outcomes=Outcomes.joined(outcomes) if len(outcomes) == len(comparisons) else None,
            oracle=first[1].oracle,
            controls=first[1].controls,
            chance=statistics.fmean(chances) if len(chances) == len(comparisons) else None,
            teacher_accuracy=accuracy,
        )

    def _record(self, name: str) -> dict[str, Any]:
        runs, found = self.runs_of(name), self.corrected.get(name)
        interval = found.interval if found else None
        closed = self.closed[name]._asdict() if name in self.closed else {}
        metrics = dict.fromkeys(metric for run in runs for metric in run.metrics)
        return {
            "row": name,
            "runs": len(runs),
            **{metric: statistics.fmean(run.metrics[metric] for run in runs) for metric in metrics},
            "difference": found.difference.mean if found else None,
            "low": interval.low if interval else None,
            "high": interval.high if interval else None,
            "confidence": found.confidence if interval and found else None,
            "p": found.difference.p_value if found else None,
            "p_holm": found.p_value if found else None,
            **{f"closed_{part}": share for part, share in closed.items()},
        }

    def _point(self, name: str, clips_per_video: int | None) -> str:
        values = [run.primary for run in self.runs_of(name, clips_per_video)]
        if not values:
            return NOTHING
        baseline = [run.primary for run in self.runs_of(self.baseline, clips_per_video)]
        if name == self.baseline or not baseline:
            return percent(values)
        return f"{percent(values)} ({points(statistics.fmean(values) - statistics.fmean(baseline))})"

    def _pool(self, clips_per_video: int | None) -> str:
        pools = [run.pool for run in self.runs if run.clips_per_video == clips_per_video]
        known = [pool for pool in pools if pool is not None]
        return count(known) if known else NOTHING


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _refuse_other_runs(first: tuple[str, Comparison], other: tuple[str, Comparison]) -> None:
    """Refuse to pool comparisons that are not of the same rows and seeds."""
    facts = [
        {
            "rows": each.names(),
            "seeds": sorted({run.seed for run in each.runs}),
            "curve": [each.points(), each.names(of_curve=True)],
            "baseline": each.baseline,
            "oracle": each.oracle,
            "controls": each.controls,
        }
        for _, each in (first, other)
    ]
    found = differences(*facts)
    if found:
        raise ConfigError(
            f"{first[0]} and {other[0]} cannot be pooled, as they differ: {', '.join(map(str, found))}; run "
            "the same rows and seeds on both"
        )
