"""How well earlier advice foretold full comparisons: what `python benchmarks/advice.py` measured."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict

from sublabel.evaluation import Interval


class StudyValidation(BaseModel):
    """One finished comparison, and what advice said of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """The setting."""
    advised: dict[str, float]
    """Row name → expected gain over weak-only, as a share 0–1."""
    measured: dict[str, float]
    """Row name → the gain in the full comparison, as a share 0–1."""
    spearman: float
    """Rank correlation of the two."""


class Validation(BaseModel):
    """All comparisons that were set against their advice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    studies: tuple[StudyValidation, ...] = ()
    pooled: Interval | None = None
    """Rank correlation within the studies, with its bootstrap interval; None without any study."""
    facts: dict[str, float] = {}
    """Fact → its rank correlation over the studies with what the best strategy gained, best first."""

    @property
    def predicts(self) -> bool:
        """Whether the ranking foretells full comparisons by more than chance."""
        return self.pooled is not None and self.pooled.low > 0

    def __str__(self) -> str:
        """What a reader of advice must know of its worth, in a sentence or two."""
        if self.pooled is None:
            return (
                "How far to trust this: unknown. No full comparison has been set against such advice yet; "
                "`python benchmarks/advice.py` does it."
            )
        mean, low, high = self.pooled
        measured = (
            f"over {len(self.studies)} full comparisons the rank correlation of advised and measured gains "
            f"was {mean:.2f} (95% interval {low:.2f} to {high:.2f})"
        )
        if self.predicts:
            return f"How far to trust this: {measured}."
        best = next(iter(self.facts.items()), None)
        better = "" if best is None else f" What foretold gains best is the {best[0]} ({best[1]:.2f})."
        return f"This ranking does not predict full runs: {measured}, which chance explains.{better}"


@cache
def known_validation() -> Validation:
    """The validation that this release was shipped with."""
    return Validation.model_validate(
        json.loads(files("sublabel.advice").joinpath("validation.json").read_text(encoding="utf-8"))
    )
