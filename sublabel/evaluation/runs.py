"""The result of one run: a model that was pre-trained, fine-tuned and tested."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict

PRIMARY_METRIC = "top1"
"""The metric that differences, the curve and the charts are about."""

CLEARLY_ABOVE = 2.0
"""Standard errors above what chance gives, from which on something was learned."""


class RunMetrics(BaseModel):
    """One fine-tuned model on the test split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: str | None
    """The row's name of the strategy that made the pre-training classes; None without weak pre-training."""
    seed: int
    data: str = ""
    """The data set that it is of, where a comparison has several."""
    metrics: dict[str, float]
    """Metric → value, `top1` and whatever else the test measured; shares are 0–1."""
    validation: dict[str, float] | None = None
    """The same metrics on clean samples that are for choosing, `target_val`; None where there are none."""
    start: Literal["scratch", "initialised"] = "scratch"
    """What the backbone had before any training: random weights, or published or the user's ones."""
    classes: int | None = None
    """Pre-training classes; None without weak pre-training."""
    samples: int | None = None
    """Weak samples that were pre-trained on, of `pool`."""
    pool: int | None = None
    """Weak samples that there were."""
    steps: int | None = None
    """Optimiser steps of pre-training."""
    pretrain_loss: float | None = None
    """Mean loss of the last epoch of pre-training."""
    pretrain_accuracy: float | None = None
    """Share of its own labels that the model was right on in the last epoch of pre-training, 0–1."""
    largest_class: float | None = None
    """Share of the largest pre-training class, 0–1: what a model that has learned nothing is right on."""
    clips_per_video: int | None = None
    """A point of the curve: at most so many weak samples of each video; None for all, which is the table."""

    @property
    def row(self) -> str:
        """The pre-training as a table names it."""
        return f"none ({self.start})" if self.strategy is None else self.strategy

    @property
    def has_learned(self) -> bool | None:
        """Whether pre-training learned its labels better than to name the largest class; None: not known.

        What is right by chance as often as the largest class alone has learned nothing (ours).
        """
        if self.pretrain_accuracy is None or self.largest_class is None or not self.samples:
            return None
        error = math.sqrt(self.largest_class * (1 - self.largest_class) / self.samples)
        return self.pretrain_accuracy > self.largest_class + CLEARLY_ABOVE * error

    @property
    def primary(self) -> float:
        """The value of the primary metric, top-1, 0–1."""
        return self.metrics[PRIMARY_METRIC]
