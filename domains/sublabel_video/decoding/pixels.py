"""Decoded frames as upright RGB arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

# FFmpeg widens the filter when it scales down, so that textures do not alias.
SCALING = Interpolation.BICUBIC


class RGBConverter:
    """Convert decoded frames to upright RGB, uint8 (H, W, 3), and scale them in the same step.

    Args:
        short_side: Shorter side in pixels, which are taken as square; the longer side is truncated to whole
            pixels as torchvision's `Resize` does. None keeps the size.
        even: Round both sides to even numbers and never enlarge, as a 4:2:0 encoder wants.
    """

    def __init__(self, short_side: int | None, *, even: bool = False) -> None:
        self.short_side = short_side
        self.even = even
        # One keeps its scaling tables from frame to frame.
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        """Convert one frame to uint8 (H, W, 3)."""
        width, height = self._size(frame.width, frame.height)
        rgb = self._reformatter.reformat(
            frame, width, height, format="rgb24", interpolation=SCALING, threads=1
        )
        return _upright(rgb.to_ndarray(), frame)

    def _size(self, width: int, height: int) -> tuple[int, int]:
        short = min(width, height)
        wanted = short if self.short_side is None else self.short_side
        if self.even:
            wanted = min(wanted, short)
            return tuple(max(2, 2 * round(side * wanted / short / 2)) for side in (width, height))  # type: ignore[return-value]
        return width * wanted // short, height * wanted // short


def _upright(pixels: np.ndarray, frame: VideoFrame) -> np.ndarray:
    """Apply the display matrix, which maps (x, y) to (a x + c y, b x + d y), in right angles."""
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    if abs(b) > abs(a):
        pixels, across, down = pixels.transpose(1, 0, 2), c, b
    else:
        across, down = a, d
    return pixels[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]
