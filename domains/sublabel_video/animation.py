"""Moving pictures for people to look at: MP4 and animated WebP."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from PIL import Image

from sublabel.errors import ConfigError
from sublabel.files import write_atomically
from sublabel_video._media import add_h264_stream

DEFAULT_RATE = 4.0
FORMATS = (".mp4", ".webp")


def save_animation(frames: np.ndarray, path: str | Path, *, frames_per_second: float | None = None) -> None:
    """Write frames as H.264 in MP4, or as an animated WebP that repeats without end.

    The same frames give the same bytes.

    Args:
        frames: RGB, uint8 (T, H, W, 3), T ≥ 1. For MP4 an odd height or width loses its last line.
        path: Ends in `.mp4` or `.webp`.
        frames_per_second: Default 4.

    Raises:
        ConfigError: Another suffix, shape, dtype or rate.
    """
    path = Path(path)
    rate = DEFAULT_RATE if frames_per_second is None else frames_per_second
    if path.suffix not in FORMATS:
        raise ConfigError(f"{path} ends in {path.suffix!r}; an animation ends in {' or '.join(FORMATS)}")
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) == 0:
        raise ConfigError(f"frames are {frames.dtype} {frames.shape}; expected uint8 (T, H, W, 3), T ≥ 1")
    if rate <= 0:
        raise ConfigError(f"frames_per_second is {rate}; it must be positive")
    with write_atomically(path) as file:
        if path.suffix == ".mp4":
            _encode_mp4(file, frames, Fraction(rate).limit_denominator(1001))
            return
        first, *others = map(Image.fromarray, frames)
        duration = round(1000 / rate)
        first.save(file, "WEBP", save_all=True, append_images=others, duration=duration, loop=0, quality=90)


def _encode_mp4(file: BinaryIO, frames: np.ndarray, rate: Fraction) -> None:
    height, width = (size - size % 2 for size in frames.shape[1:3])
    with av.open(file, "w", format="mp4", options={"movflags": "faststart"}) as container:
        options = {"crf": "16", "preset": "fast"}
        stream = add_h264_stream(container, height, width, rate=rate, options=options)
        for frame in np.ascontiguousarray(frames[:, :height, :width]):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
