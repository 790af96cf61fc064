"""How sure a mean difference of paired runs is, over trainings and test samples together (ours).

A run answers the same test samples as the run that it is paired with, and all runs of a data set answer the
same ones. So the mean difference varies for two reasons that are crossed, not nested: other trainings, and
other test samples.

- *Test samples* are many: they are drawn with replacement, whole, so that their answers by all runs stay
  together. What of their spread the trainings have shown already is taken off. A bootstrap that draws
  trainings and samples at once counts it twice (McCullagh, "Resampling and exchangeable arrays", Bernoulli 6,
  2000; Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1, 2007).
- *Trainings* are few, and drawing three seeds out of three is too narrow, by a factor of sqrt(2 / 3) and by
  the tails (Hesterberg, "What teachers should know about the bootstrap", American Statistician 69, 2015).
  They are drawn from Student's t.

The two together are a confidence distribution (Xie and Singh, International Statistical Review 81, 2013), as
Fisher's for two means whose variances differ. Simulated, its 95% intervals hold 94 to 97% of the time at 2 to
10 seeds, whatever the shares of the two; Satterthwaite's t falls to 89% at 2 and 3 seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, Self

import numpy as np
from scipy import optimize, special

from sublabel.errors import ConfigError
from sublabel.evaluation.statistics import CONFIDENCE, Interval

MANY_DATA_SETS = 5
"""From so many on, intervals are about other data sets too; fewer say little about how much these vary."""
RESAMPLES = 10_000
# So many draws, sorted and side by side, are one: Student's t smooths over them anyway.
DRAWS_A_SHIFT = 10
POWER = 0.8
"""How often a difference that a run could have shown would be shown."""
MOST_REPLICATES = 100
# Differences that agree to the last bit have no spread; a share of a sample that no test set shows.
LEAST_SPREAD = 1e-12


@dataclass(frozen=True, eq=False)
class PairedMean:
    """A mean difference over paired runs, and its confidence distribution.

    `paired_mean` makes it.
    """

    mean: float
    """Over data sets, seeds and test samples."""
    variance: float
    """Of the mean, as far as other trainings would change it."""
    unit: Literal["seed", "data set"]
    """What is replicated. Seeds are, within each data set, where there are fewer than `MANY_DATA_SETS` data
    sets and several seeds: then the distribution is about these data sets."""
    replicates: int
    """How many there are; seeds of each data set, or data sets."""
    groups: int
    """Data sets of which each has so many replicates; 1 where data sets are the replicates."""
    shifts: np.ndarray = field(repr=False)
    """float64 (R,), what other test samples would add to the mean."""

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the variance."""
        return self.groups * (self.replicates - 1)

    @cached_property
    def standard_error(self) -> float:
        """Of the mean, over trainings and test samples."""
        return float(np.sqrt(self.variance + np.mean(self.shifts**2)))

    def probability_below(self, value: float) -> float:
        """How sure it is that the true difference is below a value, 0–1."""
        scale = max(np.sqrt(self.variance), LEAST_SPREAD)
        below = special.stdtr(self.freedom, (value - self.mean - self.shifts) / scale)
        return float(np.mean(below))

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """The two-sided confidence interval.

        Args:
            confidence: Its coverage, in (0, 1).
        """
        low, high = (self._quantile(tail) for tail in ((1 - confidence) / 2, (1 + confidence) / 2))
        return Interval(self.mean, low, high)

    @cached_property
    def p_value(self) -> float:
        """Two-sided, of no difference: below 1 - C just where the interval of confidence C leaves out 0."""
        below = self.probability_below(0.0)
        return min(1.0, 2 * min(below, 1 - below))

    def detectable(self, confidence: float = CONFIDENCE, power: float = POWER) -> float:
        """The smallest difference that runs of this spread would show.

        Args:
            confidence: Of the interval that must leave out 0.
            power: How often it must, 0.5–1.
        """
        _, low, high = self.interval(confidence)
        return (high - low) / 2 + self._quantile(power) - self.mean

    def replicates_to_show(
        self, difference: float, confidence: float = CONFIDENCE, power: float = POWER
    ) -> int | None:
        """How many replicates would show a difference on the same test samples.

        Args:
            difference: Above 0.
            confidence: As for `detectable`.
            power: As for `detectable`.

        Returns:
            At least as many as there are; None where `MOST_REPLICATES` are not enough.
        """

        def shows(replicates: int) -> bool:
            return self.with_replicates(replicates).detectable(confidence, power) <= difference

        low, high = self.replicates, max(MOST_REPLICATES, self.replicates)
        if shows(low):
            return low
        if not shows(high):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if shows(middle) else (middle, high)
        return high

    def with_replicates(self, replicates: int) -> Self:
        """The same difference, had there been another number of replicates with the same spread."""
        return replace(self, replicates=replicates, variance=self.variance * self.replicates / replicates)

    def _quantile(self, probability: float) -> float:
        scale = max(np.sqrt(self.variance), LEAST_SPREAD)
        centre = self.mean + scale * float(special.stdtrit(self.freedom, probability))
        # A mixture's quantile lies between the least and the largest of its parts'.
        low, high = (centre + float(bound) for bound in (self.shifts.min(), self.shifts.max()))
        if high - low < LEAST_SPREAD:
            return float(low)
        found: float = optimize.brentq(
            lambda value: self.probability_below(value) - probability, low, high, xtol=1e-7
        )
        return found


def paired_mean(
    differences: Sequence[np.ndarray], samples: Sequence[np.ndarray], *, random_seed: int = 0
) -> PairedMean:
    """The mean of paired differences over data sets, seeds and test samples; data sets count alike.

    Args:
        differences: Of each data set, what one row has more than the other, float or int (S, N): 1, 0 or -1
            where N test samples were answered; (S, 1) where only the accuracies are known.
        samples: Of each data set, which sample each column is, int64 (N,). A number that stands in several
            data sets is one sample: when it is drawn, it is drawn in all of them.
        random_seed: Of the resampling.

    Raises:
        ConfigError: There is one run only, or not equally many of each data set.

    Example:
        >>> generator = np.random.default_rng(0)
        >>> answers = (generator.random((2, 5, 1000)) < np.array([0.75, 0.7])[:, None, None]).astype(int)
        >>> found = paired_mean([answers[0] - answers[1]], [np.arange(1000)])
        >>> round(found.mean, 3), found.p_value < 0.01
        (0.045, True)
    """
    parts = _Parts.of(differences, samples)
    drawn = np.sort(_shifts([parts], np.random.default_rng(random_seed))[0])
    return PairedMean(
        mean=parts.mean,
        variance=parts.variance,
        unit=parts.unit,
        replicates=parts.replicates,
        groups=parts.groups,
        shifts=drawn.reshape(-1, DRAWS_A_SHIFT).mean(1),
    )


def ratio_interval(
    part: Sequence[np.ndarray],
    whole: Sequence[np.ndarray],
    samples: Sequence[np.ndarray],
    *,
    confidence: float = CONFIDENCE,
    random_seed: int = 0,
) -> Interval:
    """What share of one mean difference another one is, over the same runs and test samples.

    Args:
        part: As the differences of `paired_mean`.
        whole: Likewise, of the same runs; its mean must be clearly above 0.
        samples: As for `paired_mean`.
        confidence: Coverage of the interval, in (0, 1).
        random_seed: Of the resampling.
    """
    generator = np.random.default_rng(random_seed)
    both = [_Parts.of(differences, samples) for differences in (part, whole)]
    freedom = both[0].groups * (both[0].replicates - 1)
    deviations = np.stack([parts.deviations for parts in both])
    covariance = deviations @ deviations.T / (freedom * deviations.shape[1])
    trainings = generator.multivariate_normal([0.0, 0.0], covariance, RESAMPLES, method="svd").T
    trainings *= np.sqrt(freedom / generator.chisquare(freedom, RESAMPLES))
    means = np.array([[parts.mean] for parts in both])
    drawn = means + trainings + _shifts(both, generator)
    tails = ((1 - confidence) / 2, (1 + confidence) / 2)
    low, high = np.quantile(drawn[0] / drawn[1], tails).tolist()
    return Interval(both[0].mean / both[1].mean, low, high)


@dataclass(frozen=True, eq=False)
class _Parts:
    """A mean difference, taken apart into what trainings and what test samples do to it."""

    mean: float
    unit: Literal["seed", "data set"]
    replicates: int
    groups: int
    deviations: np.ndarray
    """float64 (n,), of each replicate from the mean of its group."""
    effects: np.ndarray
    """float64 (U,), what each sample adds to the mean beyond an average one; they sum to 0."""
    shared: float
    """Variance of the mean by the samples, as far as all replicates have it in common."""
    own: float
    """The same, as far as it differs between replicates."""

    @property
    def variance(self) -> float:
        """Of the mean by the replicates; two that agree by chance are still not surer than their samples."""
        freedom, runs = self.groups * (self.replicates - 1), self.groups * self.replicates
        found = float(np.sum(self.deviations**2) / (freedom * runs))
        return max(found, self.own) if freedom == 1 else found

    @classmethod
    def of(cls, differences: Sequence[np.ndarray], samples: Sequence[np.ndarray]) -> Self:
        data_sets, seeds = len(differences), len(differences[0])
        if any(len(block) != seeds for block in differences) or data_sets * seeds < 2:
            raise ConfigError(
                f"got {', '.join(str(len(block)) for block in differences)} paired runs of {data_sets} data "
                "sets; an interval needs two runs, and equally many of each data set"
            )
        is_over_data = data_sets >= MANY_DATA_SETS or seeds == 1
        # From here on a block holds the replicates of a group, or is one of them.
        blocks = [block.mean(0, keepdims=True) if is_over_data else block for block in differences]
        means = np.array([block.mean(1) for block in blocks])  # (groups or replicates, S or 1)
        deviations = means - (means.mean() if is_over_data else means.mean(1, keepdims=True))
        effects, own = np.zeros(1 + max(int(positions.max()) for positions in samples)), 0.0
        for block, positions in zip(blocks, samples, strict=True):
            added = (block - block.mean(1, keepdims=True)) / (means.size * block.shape[1])
            np.add.at(effects, positions, added.sum(0))
            own += float(np.sum(added**2))
        return cls(
            mean=float(means.mean()),
            unit="data set" if is_over_data else "seed",
            replicates=data_sets if is_over_data else seeds,
            groups=1 if is_over_data else data_sets,
            deviations=deviations.ravel(),
            effects=effects,
            # The products of two replicates' shares in a sample: their own squares are in `variance`.
            shared=max(0.0, float(np.sum(effects**2)) - own),
            own=own,
        )


def _shifts(parts: Sequence[_Parts], generator: np.random.Generator) -> np.ndarray:
    """What drawing the samples anew adds to each of C means, float64 (C, R); each draw is for all of them."""
    effects = np.stack([part.effects for part in parts])
    scale = np.maximum(np.abs(effects).max(axis=1, keepdims=True), LEAST_SPREAD)
    # Few effects differ, so that drawing how often each of these comes is quick.
    found, counts = np.unique(np.round(effects / scale, 9), axis=1, return_counts=True)
    drawn = generator.multinomial(effects.shape[1], counts / counts.sum(), RESAMPLES)
    total = np.maximum(np.sum(effects**2, axis=1, keepdims=True), LEAST_SPREAD**2)
    shared = np.array([[part.shared] for part in parts])
    shifts: np.ndarray = (found * scale) @ drawn.T * np.sqrt(shared / total)
    return shifts
