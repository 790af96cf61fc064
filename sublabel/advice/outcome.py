"""What `advise` found, in a sentence, in tables and for machines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

from rich.console import Group
from rich.text import Text

from sublabel.advice.facts import Facts
from sublabel.advice.validation import Validation, known_validation
from sublabel.evaluation import Interval, TextTable

FORMAT, VERSION = "sublabel.Advice", 1
NOTHING = "–"


@dataclass(frozen=True)
class Prospect:
    """What to expect of one strategy."""

    name: str
    accuracy: float
    """Top-1 of the small networks on the clean samples that were tested, mean over seeds, 0–1."""
    gain: Interval | None
    """Difference to the baseline, 0–1, with its corrected 95% interval; None of the baseline."""
    classes: int | None = None
    """Pre-training classes of all predictions; None without pre-training."""
    samples: int | None = None
    """Weak samples with a target."""
    dropped: int | None = None
    """Weak samples without one."""


@dataclass(frozen=True)
class Advice:
    """The expected gain of each strategy over weak labels alone, by networks on frozen features (ours)."""

    prospects: tuple[Prospect, ...]
    """The highest accuracy first."""
    baseline: str
    facts: Facts
    tested: int
    """Clean samples that were tested on."""
    seeds: int
    stand_ins: bool
    """Whether linear probes stood in for the teacher, whose predictions have seen what is tested on."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Strategy → why it could not be tried."""
    validation: Validation = field(default_factory=known_validation)

    @property
    def verdict(self) -> str:
        """What to do, in one sentence."""
        strategies = [prospect for prospect in self.prospects if prospect.gain and prospect.classes]
        best = strategies[0] if strategies else None
        if best is None or best.gain is None:
            return f"There is no strategy to set beside {self.baseline}."
        said = f"{best.name} {_points(best.gain.mean)} over {self.baseline}, {_interval(best.gain)}"
        if best.gain.low > 0:
            return f"{said}: it is the strategy to try first."
        return (
            f"No strategy gains on {self.baseline} by more than {self.tested:,} clean samples can show "
            f"(the best: {said})."
        )

    def table(self) -> TextTable:
        """The strategies, the best first."""
        headings = (
            "pre-training",
            "classes",
            "samples",
            "dropped",
            "top-1",
            f"Δ {self.baseline}",
            "95% interval",
        )
        return TextTable(headings, tuple(map(_row, self.prospects)))

    def facts_table(self) -> TextTable:
        """The facts, each with what it says."""
        facts, unsteady = self.facts, self.facts.disagreed_steadiness
        rows = (
            ("weak label and teacher agree", f"{facts.agreement:.1%}"),
            ("information that they share", f"{facts.label_information:.2f} bits"),
            ("entropy of the teacher's class within a weak class", f"{facts.row_entropy:.2f} bits"),
            ("linear probe on the clean samples, right on unseen ones", f"{facts.probe_accuracy:.1%}"),
            ("linear probe and teacher say the same", f"{facts.probe_agreement:.1%}"),
            ("two half-taught probes choose the same cell", f"{facts.steadiness:.1%}"),
            ("the same, were they independent", f"{facts.chance_steadiness:.1%}"),
            ("the same where the labels disagree", NOTHING if unsteady is None else f"{unsteady:.1%}"),
        )
        return TextTable((f"of {facts.samples:,} weak samples", "value"), rows)

    def notes(self) -> list[str]:
        """What a reader must know to read the figures."""
        return list(self._notes())

    def _notes(self) -> Iterator[str]:
        yield str(self.validation)
        yield (
            f"top-1 of small networks on frozen features, tested on {self.tested:,} clean samples with "
            f"{self.seeds} seeds; intervals are over seeds and tested samples, corrected for the number of "
            "strategies (Holm)"
        )
        if self.stand_ins:
            yield (
                "the teacher has learned from the tested samples, so that its own predictions would flatter "
                "whatever follows it: linear probes that have not seen them stood in for it"
            )
        for name, reason in self.left_out.items():
            yield f"{name} was not tried: {reason}"

    def to_markdown(self) -> str:
        """All of it in Markdown."""
        notes = "\n".join(f"- {note}" for note in self.notes())
        parts = (self.verdict, self.table().to_markdown(), self.facts_table().to_markdown(), notes)
        return "\n\n".join(parts) + "\n"

    def to_rich(self) -> Group:
        """All of it for the terminal."""
        return Group(
            Text(self.verdict, style="bold"),
            self.table().to_rich(),
            self.facts_table().to_rich(),
            Text("\n".join(self.notes()), style="dim italic"),
        )

    def _repr_html_(self) -> str:
        """All of it for notebooks."""
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes())
        tables = f"{self.table().to_html()}{self.facts_table().to_html()}"
        return f"<p><b>{escape(self.verdict)}</b></p>{tables}<ul>{notes}</ul>"

    def to_dict(self) -> dict[str, Any]:
        """All of it, JSON-able."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "verdict": self.verdict,
            "baseline": self.baseline,
            "prospects": [
                {**asdict(prospect), "gain": None if prospect.gain is None else prospect.gain._asdict()}
                for prospect in self.prospects
            ],
            "facts": asdict(self.facts),
            "tested": self.tested,
            "seeds": self.seeds,
            "stand_ins": self.stand_ins,
            "left_out": self.left_out,
            "notes": self.notes(),
        }


def _row(prospect: Prospect) -> tuple[str, ...]:
    numbers = (prospect.classes, prospect.samples, prospect.dropped)
    counted = (NOTHING if number is None else f"{number:,}" for number in numbers)
    gain = prospect.gain
    difference = (
        (NOTHING, "")
        if gain is None
        else (_points(gain.mean), f"{_points(gain.low)} to {_points(gain.high)}")
    )
    return (prospect.name, *counted, f"{100 * prospect.accuracy:.1f}", *difference)


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _interval(gain: Interval) -> str:
    return f"95% interval {_points(gain.low)} to {_points(gain.high)}"
