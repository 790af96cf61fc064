"""From pairs to pre-training targets in one call."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sublabel.errors import LabelError
from sublabel.labels.alignment import AlignmentLike
from sublabel.labels.assigned import Labels
from sublabel.labels.confusion import ConfusionMatrix
from sublabel.labels.counting import count
from sublabel.labels.pairs import Pairs, need_pairs
from sublabel.labels.space import LabelSpace
from sublabel.labels.strategies import RawSPL, Strategy
from sublabel.labels.strategies.base import fitted_space
from sublabel.labels.targets import Targets


@dataclass(frozen=True, eq=False)
class Relabeling:
    """Pre-training classes of pairs, and how they came about."""

    pairs: Pairs
    space: LabelSpace
    confusion: ConfusionMatrix

    @cached_property
    def targets(self) -> Targets:
        """What a loss takes: one label a sample, or whatever else the strategy answers with."""
        return self.space.targets(self.pairs)

    @cached_property
    def labels(self) -> Labels:
        """The class of each sample, int64 (N,), -1 where it is not used; `.reasons` says why.

        Raises:
            LabelError: The strategy's answer is more than one label a sample.
        """
        if not self.space.answers_with_one_label:
            raise LabelError(
                f"{self.space.strategy['kind']} gives a sample more than one label, and one of them alone "
                "would be another strategy's: train on `.targets`"
            )
        return self.space.assign(self.pairs)


def relabel(pairs: Pairs, strategy: Any = None, alignment: AlignmentLike = None) -> Relabeling:
    """Count, fit and assign: pairs in, pre-training classes out.

    Args:
        pairs: Weak labels and teacher predictions; `MatchedControl` needs their sample ids, `ConfidentSPL`
            and `TopKSPL` their probabilities.
        strategy: A strategy, or what `Strategy.parse` takes for one. Default: `RawSPL()`, Sub-Pseudo Labels
            (SPL) as the paper describes them.
        alignment: Which classes agree; default: equal names.

    Returns:
        Labels and targets of the N samples, the label space, and the confusion matrix.

    Raises:
        LabelError: The pairs lack what the strategy needs, or the alignment does not fit.

    Example:
        >>> result = relabel(Pairs(["bake", "bake", "whisk"], ["bake", "whisk", "whisk"]))
        >>> result.labels.tolist(), result.space.names
        ([0, 1, 2], ('bake', 'bake × whisk', 'whisk'))
    """
    need_pairs(pairs, "relabel")
    chosen = RawSPL() if strategy is None else Strategy.parse(strategy)
    confusion = count(pairs, chosen.counting, alignment)
    space = fitted_space(chosen, confusion, alignment).match_sizes(lambda: [pairs])
    return Relabeling(pairs, space, confusion)
