"""Videos written as H.264 in MP4, and moving pictures for people to look at."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream
from PIL import Image

from sublabel.errors import ConfigError
from sublabel.files import write_atomically

DEFAULT_RATE = 4.0
FORMATS = (".mp4", ".webp")


def add_h264_stream(
    container: OutputContainer, height: int, width: int, *, rate: Fraction | int, options: dict[str, str]
) -> VideoStream:
    """Add a stream that writes the same bytes for the same frames, on any processor: in one thread.

    Args:
        container: The file that is written.
        height: Pixels, even.
        width: Pixels, even.
        rate: Frames a second.
        options: x264's, by FFmpeg's names.
    """
    # x264's code for AVX-512 estimates costs that vary from run to run.
    stream = container.add_stream("libx264", rate, options={**options, "x264-params": "cpu-independent=1"})
    stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
    stream.thread_count = 1
    return stream


def write_mp4(
    file: BinaryIO,
    frames: Iterable[np.ndarray],
    size: tuple[int, int],
    *,
    rate: Fraction | int,
    options: dict[str, str],
    faststart: bool = False,
) -> None:
    """Encode frames as H.264 in MP4; the same frames give the same bytes.

    Args:
        file: Where the video is written.
        frames: RGB, uint8 (H, W, 3) each.
        size: H and W in pixels, even.
        rate: Frames a second.
        options: x264's, by FFmpeg's names.
        faststart: Move the header to the front, so that a browser plays the file while it loads.
    """
    flags = {"movflags": "faststart"} if faststart else {}
    with av.open(file, "w", format="mp4", options=flags) as container:
        stream = add_h264_stream(container, *size, rate=rate, options=options)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


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
            height, width = (side - side % 2 for side in frames.shape[1:3])
            write_mp4(
                file,
                np.ascontiguousarray(frames[:, :height, :width]),
                (height, width),
                rate=Fraction(rate).limit_denominator(1001),
                options={"crf": "16", "preset": "fast"},
                faststart=True,
            )
            return
        first, *others = map(Image.fromarray, frames)
        duration = round(1000 / rate)
        first.save(file, "WEBP", save_all=True, append_images=others, duration=duration, loop=0, quality=90)
