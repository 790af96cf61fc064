"""Losses that are not finite are found without a wait for the device at every step."""

from __future__ import annotations

import torch
from torch import Tensor

from sublabel.errors import SublabelError

LOOKS = 100
"""Steps between two looks at what a device found: each look waits for it."""
WAITLESS = ("cpu",)
"""Kinds of devices that are looked at after every step."""


class LossWatch:
    """Remembers, on the device, the first step whose loss was not finite."""

    def __init__(self) -> None:
        self._first: Tensor | None = None

    def update(self, loss: Tensor, step: int, precision: str) -> None:
        """Note one loss.

        Args:
            loss: A scalar.
            step: Of the training, from 0.
            precision: Of the training, for the message.

        Raises:
            SublabelError: As `check`, where this step looks.
        """
        bad = ~loss.detach().isfinite()
        first = torch.full_like(bad, -1, dtype=torch.int64) if self._first is None else self._first
        self._first = torch.where((first < 0) & bad, step, first)
        if loss.device.type in WAITLESS or step % LOOKS == LOOKS - 1:
            self.check(precision)

    def check(self, precision: str) -> None:
        """Look at what was noted.

        Raises:
            SublabelError: A loss was not finite.
        """
        if self._first is None or (step := int(self._first)) < 0:
            return
        self._first = None
        raise SublabelError(
            f"the loss of step {step} is not finite (precision {precision!r}): nothing that was trained "
            "since is of use. Try precision '32-true' (some CPUs compute bfloat16 wrongly), then a "
            "lower learning rate"
        )
