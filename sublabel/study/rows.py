"""The rows of a comparison: what is run, and in which order."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from sublabel.errors import ConfigError
from sublabel.study.options import StudyOptions
from sublabel.study.strategies import ORACLE


class Row(NamedTuple):
    """One run of the comparison: a row of the table, or a point of its curve, with one seed."""

    strategy: str | None
    """The row's name; None: without weak pre-training, which is the first row, and the teacher."""
    seed: int
    clips_per_video: int | None = None
    """At most so many weak samples of each source; None uses all."""

    @property
    def needed_strategy(self) -> str:
        """The row's name, for what makes labels by its strategy.

        Raises:
            ConfigError: The row is without weak pre-training.
        """
        if self.strategy is None:
            raise ConfigError(
                "the row without weak pre-training has no strategy: there is nothing to relabel"
            )
        return self.strategy


def rows_of(options: StudyOptions) -> tuple[list[Row], list[Row]]:
    """Rows without weak pre-training, one a seed; those of strategies and oracle, then of the curve.

    Args:
        options: What is compared.
    """
    seeds = range(options.seeds)
    named = [*options.strategies, *([ORACLE] if options.oracle else [])]
    table = itertools.starmap(Row, itertools.product(named, seeds))
    curve = itertools.product(options.curve, seeds, options.clips_per_video)
    others = [*table, *itertools.starmap(Row, curve)]
    # The table before the curve, and both seed by seed.
    others.sort(key=lambda row: (row.clips_per_video is not None, row.seed))
    return [Row(None, seed) for seed in seeds], others
