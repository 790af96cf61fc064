"""Several looks at a sample as one teacher: members, test-time views, and a temperature for all (ours)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.nn import functional as F

from sublabel.errors import ConfigError

HOTTEST = 20.0
"""Of the temperatures that are tried; the coldest is its inverse."""


class Ensemble(nn.Module):
    """Classifiers of the same classes as one module: `ModuleTeacher(Ensemble(modules), vocabulary)`.

    Args:
        modules: Each maps inputs (B, …) to logits (B, T).
        views: Test-time views V of inputs (B, V, …); None: no view axis.
        flip: Look at each input also flipped from left to right.
        temperature: Divides the logits of every member and view, as `fit_temperature` finds it.

    Raises:
        ConfigError: There is no module, or the temperature is not positive.
    """

    temperature: Tensor

    def __init__(
        self,
        modules: Iterable[nn.Module],
        *,
        views: int | None = None,
        flip: bool = False,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(modules)
        if not self.members:
            raise ConfigError("an ensemble needs at least one module, and got none")
        if not temperature > 0:
            raise ConfigError(f"the temperature is {temperature}; expected a number above 0")
        self.views = views
        self.flip = flip
        # In the state, and so in the fingerprint of a teacher.
        self.register_buffer("temperature", torch.tensor(temperature))
        self.register_buffer("looks", torch.tensor([views or 0, int(flip)]))

    def forward(self, inputs: Tensor) -> Tensor:
        """The log of the mean of all members' probabilities over all views, float32 (B, T)."""
        return log_mean_probabilities(self.all_logits(inputs), self.temperature)

    def all_logits(self, inputs: Tensor) -> Tensor:
        """The logits of each member for each view, float32 (B, S, T)."""
        looks = self._looks(inputs)
        return torch.stack([member(seen).float() for seen in looks for member in self.members], 1)

    @property
    def num_features(self) -> int | None:
        """Width of the first member's features; None where it has none."""
        return getattr(self.members[0], "num_features", None)

    def logits_and_features(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` gives, and the first member's features, their mean over all views (B, D).

        The members' features are other ones, of which no mean can be taken.
        """
        first, *others = self.members
        logits, features = [], []
        for seen in self._looks(inputs):
            of_first, shown = first.logits_and_features(seen)  # type: ignore[operator]
            logits += [of_first.float(), *(member(seen).float() for member in others)]
            features.append(shown.float())
        means = log_mean_probabilities(torch.stack(logits, 1), self.temperature)
        return means, torch.stack(features).mean(0)

    def _looks(self, inputs: Tensor) -> Iterator[Tensor]:
        """The batch in each of its views, (B, …)."""
        for seen in (inputs,) if self.views is None else inputs.unbind(1):
            yield seen
            if self.flip:
                yield seen.flip(-1)


def log_mean_probabilities(logits: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
    """The log of the mean probabilities of several looks.

    Args:
        logits: (B, S, T) of S looks at each sample.
        temperature: Divides them.

    Returns:
        (B, T).
    """
    return (logits / temperature).log_softmax(-1).logsumexp(1) - math.log(logits.shape[1])


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature under which the mean probabilities of held-out samples are likeliest.

    From Guo et al., On Calibration of Modern Neural Networks (2017); one temperature for all looks is ours.

    Args:
        logits: (N, S, T) of S looks at each sample, such as `Ensemble.all_logits` gives.
        labels: int64 (N,).

    Returns:
        Between 1/20 and 20; above 1 where the classifier is too sure.

    Example:
        >>> sure = torch.tensor([[[9.0, 0.0]], [[9.0, 0.0]], [[9.0, 0.0]]])
        >>> fit_temperature(sure, torch.tensor([0, 0, 1])) > 10
        True
    """
    logits = logits.double()

    def loss(log_temperature: float) -> float:
        return float(F.nll_loss(log_mean_probabilities(logits, math.exp(log_temperature)), labels))

    widest = math.log(HOTTEST)
    found = minimize_scalar(loss, bounds=(-widest, widest), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))
