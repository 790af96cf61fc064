"""The runs of a comparison, and what they show: differences between rows, corrected for their number."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from sublabel.errors import ConfigError
from sublabel.evaluation.outcomes import Outcomes, RunKey
from sublabel.evaluation.paired import PairedMean, paired_mean, ratio_interval
from sublabel.evaluation.runs import CLEARLY_ABOVE, RunMetrics
from sublabel.evaluation.statistics import CONFIDENCE, Interval, holm, mcnemar


@dataclass(frozen=True, eq=False)
class Difference:
    """What one row has in top-1 beyond another one, over the same data sets, seeds and test samples."""

    row: str
    other: str
    mean: float
    """Shares: 0.01 is a point."""
    spread: PairedMean | None
    """How sure it is; None of one run, which cannot say."""
    mcnemar: float | None = None
    """Of one run: the exact p value that these two models are right equally often."""

    def interval(self, confidence: float = CONFIDENCE) -> Interval | None:
        """Its confidence interval; None of one run.

        Args:
            confidence: In (0, 1).
        """
        return None if self.spread is None else self.spread.interval(confidence)

    @property
    def p_value(self) -> float | None:
        """Two-sided, of no difference; of one run McNemar's; None where nothing is known."""
        return self.mcnemar if self.spread is None else self.spread.p_value


@dataclass(frozen=True, eq=False)
class CorrectedDifference:
    """A difference as one of several that were looked at together."""

    difference: Difference
    p_value: float | None
    """By Holm's correction."""
    confidence: float
    """Of `interval`: what Holm's correction asks for, so that it leaves out 0 where `p_value` < 0.05."""

    @cached_property
    def interval(self) -> Interval | None:
        """The corrected interval; None of one run."""
        return self.difference.interval(self.confidence)

    @property
    def is_above(self) -> bool:
        """Whether the row is shown to be better: the corrected interval is above 0."""
        return self.interval is not None and self.interval.low > 0

    @property
    def is_below(self) -> bool:
        """Whether the row is shown to be worse."""
        return self.interval is not None and self.interval.high < 0


def correct(differences: Sequence[Difference]) -> list[CorrectedDifference]:
    """Correct differences for their number, by Holm's method.

    Args:
        differences: All that are looked at together.
    """
    known = [difference.p_value for difference in differences]
    p_values, confidences = holm([1.0 if p is None else p for p in known])
    return [
        CorrectedDifference(difference, None if p is None else p_value, confidence)
        for difference, p, p_value, confidence in zip(differences, known, p_values, confidences, strict=True)
    ]


class ComparedRuns(BaseModel):
    """All runs of a study, or of several; rows keep the order in which they first appear.

    Args:
        runs: One entry for each row, seed and data set.
        baseline: The strategy that differences are taken to, by its row's name.
        test_samples: Size of the test split, on average over data sets.
        outcomes: Which test samples the runs of the table were right on; without them intervals are over
            seeds only.
        oracle: The row that is pre-trained on the true classes of the weak samples: no method, but the
            ceiling of all that make better labels.
        controls: Row of a matched control → the row that it controls.
        chance: Share of the largest class among the test samples, 0–1.
        teacher_accuracy: Target split → how often the teacher is right, 0–1, one for each seed where they
            have other teachers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    runs: tuple[RunMetrics, ...]
    baseline: str
    test_samples: int
    outcomes: Outcomes | None = Field(default=None, exclude=True, repr=False)
    oracle: str | None = None
    controls: dict[str, str] = {}
    chance: float | None = None
    teacher_accuracy: dict[str, tuple[float, ...]] = {}

    @model_validator(mode="after")
    def _outcomes_are_of_the_runs(self) -> Self:
        if self.outcomes is not None:
            for run in self.runs:
                right = self.outcomes.correct.get(RunKey(run.data, run.row, run.seed))
                if run.clips_per_video is None and (
                    right is None or abs(float(np.mean(right)) - run.primary) > 1e-3
                ):
                    raise ValueError(f"the outcomes are not those of {run.row!r}, seed {run.seed}")
        return self

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
        """The runs of a row by data set and seed.

        Args:
            row: Its name.
            clips_per_video: A point of the curve; None for the table.
        """
        chosen = (run for run in self.runs if run.row == row and run.clips_per_video == clips_per_video)
        return sorted(chosen, key=lambda run: (run.data, run.seed))

    def without_pretraining(self) -> list[RunMetrics]:
        """The runs without weak pre-training."""
        return [run for run in self.runs if run.strategy is None]

    def data_sets(self) -> list[str]:
        """The names of the data sets; that of a single study is empty."""
        return list(dict.fromkeys(run.data for run in self.runs))

    def seeds(self) -> int:
        """How many seeds there are of each data set."""
        return len({run.seed for run in self.runs})

    def top1(self, row: str) -> float:
        """Mean top-1 of a row of the table, 0–1."""
        return float(np.mean([run.primary for run in self.runs_of(row)]))

    def difference(self, row: str, other: str) -> Difference:
        """How much better one row is than another one, and how sure that is.

        Its interval is not corrected: that is for who looks at one difference, chosen before its result.

        Args:
            row: A row's name.
            other: Another row's.

        Raises:
            ConfigError: A row does not exist, or the two were run on other seeds.
        """
        blocks = self._blocks(row, other)
        mean = float(np.mean([block.mean() for block in blocks]))
        if sum(map(len, blocks)) > 1:
            return Difference(row, other, mean, paired_mean(blocks, self._positions()))
        if self.outcomes is None:
            return Difference(row, other, mean, None)
        answers = [self.outcomes.correct[_key(self.runs_of(name)[0])] for name in (row, other)]
        return Difference(row, other, mean, None, mcnemar(*answers))

    @cached_property
    def corrected(self) -> dict[str, CorrectedDifference]:
        """The difference of every row to the baseline, corrected for their number; by row.

        The oracle is no method, and not one of them: its interval is of one look.

        Raises:
            ConfigError: A row was run on other seeds than the baseline.
        """
        names = self.names()
        if self.baseline not in names:
            return {}
        rows = [name for name in names if name not in (self.baseline, self.oracle)]
        found = correct([self.difference(name, self.baseline) for name in rows])
        looked_at = dict(zip(rows, found, strict=True))
        if self.oracle in names and self.oracle is not None:
            looked_at[self.oracle] = correct([self.difference(self.oracle, self.baseline)])[0]
        return looked_at

    @cached_property
    def closed(self) -> dict[str, Interval]:
        """The share of the distance from the baseline to the oracle that each row closes, with its interval.

        1.0 is all of it. Empty where the oracle was not run, or is not shown to be better than the baseline.
        """
        ceiling = self.corrected.get(self.oracle or "")
        if self.oracle is None or ceiling is None or not ceiling.is_above:
            return {}
        whole, positions = self._blocks(self.oracle, self.baseline), self._positions()
        return {
            row: ratio_interval(self._blocks(row, self.baseline), whole, positions)
            for row in self.corrected
            if row != self.oracle
        }

    def of_each_data_set(self, row: str) -> dict[str, float]:
        """The difference of a row to the baseline by data set.

        Args:
            row: Its name.
        """
        means = (float(block.mean()) for block in self._blocks(row, self.baseline))
        return dict(zip(sorted(self.data_sets()), means, strict=True))

    def undertrained(self) -> dict[str, RunMetrics]:
        """The rows that have not learned their own labels, with a run that shows it."""
        found = {}
        for name in self.names():
            runs = [run for run in self.runs_of(name) if run.has_learned is False]
            if runs:
                found[name] = runs[0]
        return found

    def is_at_chance(self, row: str) -> bool:
        """Whether a row is right no more often than the largest class alone would be."""
        if self.chance is None:
            return False
        error = math.sqrt(self.chance * (1 - self.chance) / max(1, self.test_samples))
        return self.top1(row) <= self.chance + CLEARLY_ABOVE * error

    def chosen_by_validation(self) -> str | None:
        """The row, of those that are methods, with the best mean top-1 on `target_val`; None without it."""
        means = {}
        for name in self.names():
            measured = [run.validation for run in self.runs_of(name)]
            if name != self.oracle and all(measured):
                means[name] = float(np.mean([found["top1"] for found in measured if found]))
        return max(means, key=means.__getitem__) if means else None

    def _blocks(self, row: str, other: str) -> list[np.ndarray]:
        """What one row has more than another, by data set: of each answer, (S, N), else of top-1, (S, 1)."""
        runs, others = self.runs_of(row), self.runs_of(other)
        places = [[_place(run) for run in found] for found in (runs, others)]
        if not runs or places[0] != places[1]:
            raise ConfigError(
                f"{row!r} was run on {_listed(runs)}, and {other!r} on {_listed(others)}; expected the same "
                "ones: run both on them"
            )
        value = self._value()
        rows = zip(runs, others, strict=True)
        by_data: dict[str, list[np.ndarray]] = {}
        for run, paired in rows:
            by_data.setdefault(run.data, []).append(value(run) - value(paired))
        return [np.stack(block) for block in by_data.values()]

    def _value(self) -> Callable[[RunMetrics], np.ndarray]:
        outcomes = self.outcomes
        if outcomes is None:
            return lambda run: np.array([run.primary])
        return lambda run: outcomes.correct[_key(run)].astype(np.int8)

    def _positions(self) -> list[np.ndarray]:
        """Which sample each column of `_blocks` is."""
        data_sets = sorted(self.data_sets())
        if self.outcomes is None:
            return [np.zeros(1, dtype=np.int64) for _ in data_sets]
        return [self.outcomes.positions[data] for data in data_sets]


def _key(run: RunMetrics) -> RunKey:
    return RunKey(run.data, run.row, run.seed)


def _place(run: RunMetrics) -> tuple[str, int]:
    return run.data, run.seed


def _listed(runs: Sequence[RunMetrics]) -> str:
    by_data: dict[str, list[int]] = {}
    for run in runs:
        by_data.setdefault(run.data, []).append(run.seed)
    seeds = (f"the seeds {found}{f' of {data}' if data else ''}" for data, found in by_data.items())
    return " and ".join(seeds) or "no seed"
