"""Explanations as pictures: the picture beside its overlays, the frames of a clip above theirs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sublabel.errors import ConfigError
from sublabel.explain.colours import overlay
from sublabel.extras import needs_extra
from sublabel.files import write_atomically

LEAST_SIDE = 160
"""Pixels of the shorter side of a shown picture; smaller ones are enlarged."""
GAP = 4
FILM_STRIP_FRAMES = 8


def shown_pixels(media: Tensor) -> np.ndarray:
    """The pixels of an input as people see them.

    Args:
        media: uint8 (C, H, W) or (C, T, H, W), with C = 3, or 1 for grey.

    Returns:
        RGB, uint8 (H, W, 3) or (T, H, W, 3).

    Raises:
        ConfigError: It has another dtype, or another number of channels.
    """
    if media.dtype != torch.uint8 or media.ndim not in (3, 4) or media.shape[0] not in (1, 3):
        raise ConfigError(
            f"the input is {media.dtype} {tuple(media.shape)}; pictures are made of uint8 (3, H, W) or "
            "(3, T, H, W)"
        )
    pixels: np.ndarray = media.expand(3, *media.shape[1:]).movedim(0, -1).cpu().numpy()
    return pixels


def enlarge(
    pixels: np.ndarray, heat: np.ndarray, *, least_side: int = LEAST_SIDE
) -> tuple[np.ndarray, np.ndarray]:
    """Enlarge a small picture by a whole factor, pixels as squares and heat smoothly.

    Args:
        pixels: uint8 (…, H, W, 3), up to one leading axis.
        heat: float32 (…, H, W), likewise.
        least_side: What the smaller one of H and W becomes at least, pixels.

    Returns:
        Pixels, uint8 (…, H', W', 3), and heat, float32 (…, H', W').
    """
    height, width = heat.shape[-2:]
    factor = -(-least_side // min(height, width))
    if factor <= 1:
        return pixels, heat
    size = (height * factor, width * factor)
    smooth = F.interpolate(
        torch.from_numpy(heat).reshape(-1, 1, height, width), size, mode="bilinear", align_corners=False
    )
    squares = pixels.repeat(factor, axis=-3).repeat(factor, axis=-2)
    return squares, smooth.reshape(*heat.shape[:-2], *size).numpy()


def side_by_side(pixels: np.ndarray, heats: Sequence[np.ndarray]) -> np.ndarray:
    """The picture, then its overlay with each heat map, from left to right; of a clip, frame by frame.

    Args:
        pixels: RGB, uint8 (H, W, 3) or (T, H, W, 3).
        heats: One for each class or model, float32 (H, W) or (T, H, W), in [0, 1].

    Returns:
        uint8 (H', W', 3) or (T, H', W', 3).

    Raises:
        ConfigError: Matplotlib is not installed.
    """
    return _join(_panels(pixels, heats), axis=-2)


def film_strip(
    pixels: np.ndarray, heats: Sequence[np.ndarray], *, frames: int = FILM_STRIP_FRAMES
) -> np.ndarray:
    """Frames of a clip from left to right, and below them their overlays, a row for each heat map.

    Args:
        pixels: RGB, uint8 (T, H, W, 3).
        heats: One for each class or model, float32 (T, H, W), in [0, 1].
        frames: At most so many, spread evenly over the clip.

    Returns:
        uint8 (H', W', 3).

    Raises:
        ConfigError: Matplotlib is not installed.
    """
    chosen = np.unique(np.linspace(0, len(pixels) - 1, min(frames, len(pixels))).round().astype(int))
    panels = _panels(pixels[chosen], [heat[chosen] for heat in heats])
    return _join([_join(list(panel), axis=-2) for panel in panels], axis=-3)


def write_png(path: str | Path, pixels: np.ndarray) -> None:
    """Write a picture.

    Args:
        path: The PNG file.
        pixels: RGB, uint8 (H, W, 3).

    Raises:
        ConfigError: Pillow is not installed.
    """
    with needs_extra("a picture", "sublabel[explain]"):
        from PIL import Image
    with write_atomically(path) as file:
        Image.fromarray(pixels).save(file, format="PNG")


def _panels(pixels: np.ndarray, heats: Sequence[np.ndarray]) -> list[np.ndarray]:
    enlarged = [enlarge(pixels, heat) for heat in heats]
    return [enlarged[0][0], *(overlay(*pair) for pair in enlarged)]


def _join(panels: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """Panels in a row or column, with white between them."""
    shape = list(panels[0].shape)
    shape[axis] = GAP
    gap = np.full(shape, 255, dtype=np.uint8)
    parts = [part for panel in panels for part in (gap, panel)][1:]
    return np.concatenate(parts, axis=axis)
