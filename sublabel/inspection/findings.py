"""What an inspection finds, as frozen data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

VERSION = 1


@dataclass(frozen=True)
class WeakClass:
    """One row of the matrix."""

    name: str
    samples: int
    agreed: int | None
    """Samples in which the teacher agrees; None where no teacher class is its counterpart."""
    cells: int
    rare_cells: int
    rare_samples: int

    @property
    def agreement(self) -> float | None:
        """Share of its samples in which the teacher agrees, 0–1."""
        return None if self.agreed is None else self.agreed / self.samples


@dataclass(frozen=True)
class SimilarPair:
    """Two classes that look like one.

    `same_profile`: the teacher says the same of two weak classes. `mutual`: each of two weak classes is often
    taken for the other. `weak_teacher`: a weak class without a counterpart mostly is one teacher class, which
    is worth an entry in the alignment.
    """

    kind: Literal["same_profile", "mutual", "weak_teacher"]
    first: str
    second: str
    score: float
    """Cosine similarity (at least), the smaller of the two shares, or the share; 0–1."""


@dataclass(frozen=True)
class DisagreedCell:
    """A cell in which weak label and teacher disagree: a sub-concept of raw SPL."""

    weak: str
    teacher: str
    samples: int


@dataclass(frozen=True)
class StrategyCost:
    """What a strategy with these options makes of the matrix."""

    strategy: dict[str, Any]
    classes: int | None
    """None where it could not be fitted; `problem` says why."""
    used: int | None
    """Samples that `relabel` gives a target; of soft targets those whose first cell is kept, the least."""
    dropped: int | None
    head_parameters: int | None
    """Weights and biases of linear heads on the features, of all heads together."""
    problem: str | None = None


@dataclass(frozen=True)
class Advice:
    """A reason to expect little of SPL here.

    The codes: `no_samples`, `no_alignment`, `permuted_vocabulary`, `teacher_at_chance`,
    `near_total_agreement`, `rare_cells`.
    """

    code: str
    message: str


@dataclass(frozen=True)
class Inspection:
    """What `inspect_confusion` found; names in the order of their vocabulary unless said otherwise."""

    weak_classes: int
    teacher_classes: int
    samples: int
    abstained: int
    cells: int
    """Cells with samples."""
    rare: int
    """Cells with fewer samples are rare."""
    rare_cells: int
    rare_samples: int
    agreed: int
    agreed_cells: int
    rare_disagreed_cells: int
    rare_disagreed_samples: int
    chance_agreement: float
    """What independent labels of the same frequencies would agree in, 0–1."""
    classes: tuple[WeakClass, ...]
    """Weak classes with samples, worst agreement first, without a counterpart last."""
    without_samples: tuple[str, ...]
    """Weak classes that no sample has."""
    without_counterpart: tuple[str, ...]
    """Weak classes that no teacher class agrees with."""
    never_predicted: tuple[str, ...]
    """Teacher classes that no sample has."""
    similar: tuple[SimilarPair, ...]
    """Most similar first, by kind."""
    largest_cells: tuple[DisagreedCell, ...]
    """Cells in which the labels disagree, largest first."""
    feature_width: int
    strategies: tuple[StrategyCost, ...]
    warnings: tuple[Advice, ...] = ()

    @property
    def agreement(self) -> float:
        """Share of the samples in which weak label and teacher agree, 0–1."""
        return self.agreed / self.samples if self.samples else 0.0

    @property
    def kappa(self) -> float:
        """Cohen's kappa: 0 where the agreement is that of chance, 1 where it is total."""
        room = 1 - self.chance_agreement
        return (self.agreement - self.chance_agreement) / room if room > 0 else 1.0

    @property
    def occupancy(self) -> float:
        """Share of the cells that hold samples, 0–1."""
        return self.cells / (self.weak_classes * self.teacher_classes)

    def longest_tails(self, number: int) -> tuple[WeakClass, ...]:
        """The weak classes with most rare cells, the longest first.

        Args:
            number: How many at most.
        """
        tails = sorted(self.classes, key=lambda entry: (-entry.rare_cells, -entry.rare_samples))
        return tuple(entry for entry in tails[:number] if entry.rare_cells)

    def to_dict(self) -> dict[str, Any]:
        """The findings for JSON; keys stay the same while `version` does."""
        return {
            "format": "sublabel.Inspection",
            "version": VERSION,
            **asdict(self),
            "agreement": self.agreement,
            "kappa": self.kappa,
            "occupancy": self.occupancy,
        }
