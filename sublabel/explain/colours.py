"""Heat as colour, and its blend over a picture."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from sublabel.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

COLOURS = "plasma"
"""Matplotlib's map from blue-violet through red to yellow, its lightness rising in even steps: equal steps of
heat look equal, also in print without colour and to colour-blind readers."""


def heat_colours(heat: np.ndarray) -> np.ndarray:
    """Colours of heat, from blue-violet (cold) to yellow (hot).

    Args:
        heat: Floats in [0, 1], of any shape.

    Returns:
        RGB, uint8 (…, 3).

    Raises:
        ConfigError: Matplotlib is not installed.

    Example:
        >>> heat_colours(np.array([0.0, 1.0])).shape
        (2, 3)
    """
    # A single value comes back as a tuple.
    return np.asarray(_colormap()(np.clip(heat, 0, 1), bytes=True), dtype=np.uint8)[..., :3]


def overlay(pixels: np.ndarray, heat: np.ndarray, *, strength: float = 0.7) -> np.ndarray:
    """Blend heat over a picture; where it is cold, the picture stays as it is.

    Args:
        pixels: RGB, uint8 (…, H, W, 3).
        heat: Floats in [0, 1], (…, H, W).
        strength: Share of the colour where the heat is 1, in [0, 1].

    Returns:
        RGB, uint8 (…, H, W, 3).

    Raises:
        ConfigError: Matplotlib is not installed.
    """
    opacity = (strength * np.clip(heat, 0, 1))[..., None]
    blended = (1 - opacity) * pixels + opacity * heat_colours(heat)
    rounded: np.ndarray = np.round(blended).astype(np.uint8)
    return rounded


@cache
def _colormap() -> Colormap:
    try:
        from matplotlib import colormaps
    except ImportError as error:
        raise ConfigError(f"colours need Matplotlib ({error}): `pip install sublabel[explain]`") from error
    return colormaps[COLOURS]
