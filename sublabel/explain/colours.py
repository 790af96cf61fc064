"""Heat as colour: a perceptually uniform map of our own, and its blend over a picture."""

from __future__ import annotations

from functools import cache

import numpy as np

LIGHTNESS = (0.16, 0.97)
HUE_DEGREES = (285, 465)
"""From blue-violet through red and orange to yellow."""
CHROMA = (0.09, 0.19)
"""At both ends, and in the middle."""
COLOURS = 256
# From OKLab to cone responses, and from these to linear sRGB (Ottosson 2020).
TO_CONES = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
TO_LINEAR = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


@cache
def heat_table() -> np.ndarray:
    """The colours from cold to hot, uint8 (256, 3), RGB.

    Ours: lightness rises evenly in OKLab (Ottosson 2020), so that equal steps of heat look equal, also in
    print without colour and to colour-blind readers.

    source: https://bottosson.github.io/posts/oklab
    """
    position = np.linspace(0, 1, COLOURS)
    lightness = np.interp(position, [0, 1], LIGHTNESS)
    hue = np.radians(np.interp(position, [0, 1], HUE_DEGREES))
    chroma = CHROMA[0] + (CHROMA[1] - CHROMA[0]) * np.sin(np.pi * position)
    # sRGB does not hold every colour: the grey share grows until it does.
    shares = np.linspace(1, 0, 101)
    linear = _linear_rgb(lightness, hue, chroma * shares[:, None])
    fits = ((linear >= -1e-4) & (linear <= 1 + 1e-4)).all(-1)
    chosen = linear[fits.argmax(0), np.arange(COLOURS)].clip(0, 1)
    encoded = np.where(chosen <= 0.0031308, 12.92 * chosen, 1.055 * chosen ** (1 / 2.4) - 0.055)
    table: np.ndarray = np.round(255 * encoded).astype(np.uint8)
    table.setflags(write=False)
    return table


def heat_colours(heat: np.ndarray) -> np.ndarray:
    """Colours of heat.

    Args:
        heat: Floats in [0, 1], of any shape.

    Returns:
        RGB, uint8 (…, 3).

    Example:
        >>> heat_colours(np.array([0.0, 1.0])).shape
        (2, 3)
    """
    colours: np.ndarray = heat_table()[np.round(np.clip(heat, 0, 1) * (COLOURS - 1)).astype(np.intp)]
    return colours


def overlay(pixels: np.ndarray, heat: np.ndarray, *, strength: float = 0.7) -> np.ndarray:
    """Blend heat over a picture; where it is cold, the picture stays as it is.

    Args:
        pixels: RGB, uint8 (…, H, W, 3).
        heat: Floats in [0, 1], (…, H, W).
        strength: Share of the colour where the heat is 1, in [0, 1].

    Returns:
        RGB, uint8 (…, H, W, 3).
    """
    opacity = (strength * np.clip(heat, 0, 1))[..., None]
    blended = (1 - opacity) * pixels + opacity * heat_colours(heat)
    rounded: np.ndarray = np.round(blended).astype(np.uint8)
    return rounded


def _linear_rgb(lightness: np.ndarray, hue: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    lab = np.stack(
        [np.broadcast_to(lightness, chroma.shape), chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1
    )
    linear: np.ndarray = (lab @ TO_CONES.T) ** 3 @ TO_LINEAR.T
    return linear
