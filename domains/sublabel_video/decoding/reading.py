"""Frames of a video at exact times: every clip of a video from one pass that decodes no more than it must.

The frame at a time is the last one whose presentation timestamp is not after it, whatever the frame rate is
or does; times count in seconds from the first displayed frame. The same times give the same frames, bit for
bit, whichever else is read with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor, isfinite
from typing import TypeAlias

import av
import numpy as np
import torch
from torch import Tensor

from sublabel.errors import MediaError
from sublabel_video.clips import ClipOptions
from sublabel_video.decoding.container import (
    DAMAGED,
    NO_FRAMES,
    RESIZED,
    TRUNCATED,
    header_duration,
    open_video,
)
from sublabel_video.decoding.fetching import fetch_frames
from sublabel_video.decoding.packets import TOLERANCE, Timeline
from sublabel_video.decoding.pixels import RGBConverter

SHORT = "shorter than a clip"
PAST_THE_END = "the video ends before that time"
NOT_A_TIME = "start or end is not a time"
TOO_EARLY = "starts before the video"
MAX_FRAMES = 1024

Span: TypeAlias = tuple[float | Fraction | None, float | Fraction | None]
"""Start and end in seconds from the first displayed frame; None is the video's own."""


@dataclass(frozen=True)
class VideoInfo:
    """A video's header and its first frame, read by `probe`."""

    duration: Fraction
    """Seconds from the first displayed frame to the end of the last."""
    width: int
    """Pixels, upright."""
    height: int
    fps: Fraction | None
    """Average frames a second; None where it is not known."""
    codec: str
    """FFmpeg's name, such as `h264`."""
    rotation: int
    """Degrees, counterclockwise, by which players turn the stored frames; already in width and height."""


def read_clips(
    uri: str,
    spans: Sequence[Span],
    clip: ClipOptions,
    *,
    short_side: int | None = None,
    max_frames: int = MAX_FRAMES,
) -> list[Tensor | MediaError]:
    """Read pieces of a video in one pass over the file, each as a strip of frames at the clip's step.

    A strip has the frames on display at start, start + step, …, as many as there are whole steps in the
    span: a span of exactly `clip.seconds` gives `clip.frames`, a longer one gives more, for a transform to
    crop. A span that ends after the video gives the frames up to the video's end. A frame that several spans
    share is decoded once.

    Args:
        uri: Local path, or any URL that fsspec opens.
        spans: Start and end of each piece, in seconds from the first displayed frame.
        clip: The step between frames, and the number of them that a piece must have.
        short_side: Scale during conversion to this shorter side, in pixels (bicubic; the longer side is
            truncated to whole pixels, as torchvision's `Resize` does it); None keeps the size.
        max_frames: Longest strip (ours); longer spans must be cut into clips.

    Returns:
        For each span, in their order, its strip, uint8 RGB (N, 3, H, W), upright, or why it cannot be read.
        Where the whole video cannot be read, every span has that reason.
    """

    def wanted(timeline: Timeline) -> list[int]:
        return [tick for span in spans for tick in timeline.shown(_ticks(span, clip, timeline, max_frames))]

    try:
        frames, timeline = fetch_frames(uri, wanted, _until(spans), short_side)
    except MediaError as error:
        return [error] * len(spans)
    strips: list[Tensor | MediaError] = []
    for span in spans:
        shown = _strip_ticks(span, clip, timeline, max_frames)
        strips.append(shown if isinstance(shown, MediaError) else _strip([frames[tick] for tick in shown]))
    return strips


def check_clip(uri: str, span: Span, clip: ClipOptions, *, max_frames: int = MAX_FRAMES) -> None:
    """Find out whether `read_clips` can read a span, from the packets up to its end and its first frame.

    Damage within a later packet shows only when the packet is decoded.

    Args:
        uri: Local path, or any URL that fsspec opens.
        span: Start and end in seconds from the first displayed frame.
        clip: The step between frames, and the number of them that the span must have.
        max_frames: Longest strip of frames.

    Raises:
        MediaError: The span cannot be read, with the reason that `read_clips` would give.
    """

    def first(timeline: Timeline) -> list[int]:
        return timeline.shown(_ticks(span, clip, timeline, max_frames)[:1])

    # A seek would pass over packets.
    frames, timeline = fetch_frames(uri, first, _until([span]), None, seeks=False)
    shown = _strip_ticks(span, clip, timeline, max_frames)
    strip = shown if isinstance(shown, MediaError) else _strip(list(frames.values()))
    if isinstance(strip, MediaError):
        raise strip


def read_frames(uri: str, times: Sequence[Fraction], *, short_side: int | None = None) -> list[Tensor]:
    """Read the single frames that are on display at some times.

    Args:
        uri: Local path, or any URL that fsspec opens.
        times: Seconds from the first displayed frame, in any order.
        short_side: Scale to this shorter side, in pixels; None keeps the size.

    Returns:
        For each time its frame, uint8 RGB (3, H, W), upright.

    Raises:
        MediaError: The video cannot be read, or ends before one of the times.
    """

    def ticks(timeline: Timeline) -> list[int]:
        return [timeline.ticks(time, Fraction(0), 1)[0] for time in times]

    frames, timeline = fetch_frames(
        uri, lambda timeline: timeline.shown(ticks(timeline)), max(times, default=Fraction(0)), short_side
    )
    tensors = []
    for tick in ticks(timeline):
        if not timeline.shown([tick]):
            raise MediaError(timeline.failure or PAST_THE_END)
        strip = _strip([frames[tick]])
        if isinstance(strip, MediaError):
            raise strip
        tensors.append(strip[0])
    return tensors


def probe(uri: str) -> VideoInfo:
    """Read a video's header and its first frame, and all packets only where the header has no duration.

    Args:
        uri: Local path, or any URL that fsspec opens.

    Raises:
        MediaError: The file is missing, is no video, or has no frame.
    """
    with open_video(uri) as (container, stream):
        duration = header_duration(container, stream)
        try:
            frame = next(container.decode(stream), None)
        except (av.FFmpegError, OSError) as error:
            raise MediaError(DAMAGED) from error
        if frame is None:
            raise MediaError(TRUNCATED if duration else NO_FRAMES)
        height, width = RGBConverter(None)(frame).shape[:2]
        fps, codec, rotation = stream.average_rate, stream.codec_context.codec.canonical_name, frame.rotation
    if duration is None:
        _, timeline = fetch_frames(uri, lambda _: [0], None, None)
        duration = (timeline.end or 1) * timeline.time_base
    return VideoInfo(duration, width, height, fps, codec, rotation)


def span_failure(start: float | Fraction | None, end: float | Fraction | None) -> str | None:
    """Say why no video has a span from `start` to `end` seconds; None where a video may have it."""
    if not all(time is None or isfinite(time) for time in (start, end)):
        return NOT_A_TIME
    return TOO_EARLY if start is not None and start < -TOLERANCE else None


def _until(spans: Sequence[Span]) -> Fraction | None:
    """When the last of these spans ends; None where that is the video's own end."""
    ends = [None if end is None else Fraction(end) for start, end in spans if not span_failure(start, end)]
    known = [end for end in ends if end is not None]
    return max(known, default=Fraction(0)) if len(known) == len(ends) else None


def _strip_ticks(
    span: Span, clip: ClipOptions, timeline: Timeline, max_frames: int
) -> list[int] | MediaError:
    """The ticks of a span's frames, or why it gives no strip as far as the timeline tells."""
    failure = span_failure(*span)
    if failure is not None:
        return MediaError(failure)
    ticks = _ticks(span, clip, timeline, max_frames)
    shown = timeline.shown(ticks)
    if timeline.failure and (span[1] is None or len(shown) < len(ticks)):
        return MediaError(timeline.failure)
    if len(shown) < clip.frames:
        return MediaError(SHORT)
    if len(shown) > max_frames:
        return MediaError(f"longer than {max_frames} sampled frames: cut it into clips")
    return shown


def _ticks(span: Span, clip: ClipOptions, timeline: Timeline, max_frames: int) -> list[int]:
    """The ticks of a span's frames, up to `max_frames` + 1: so many also where no end is known."""
    start, end = span
    if span_failure(start, end) is not None:
        return []
    begin, count = Fraction(start or 0), max_frames + 1
    if end is not None:
        count = floor((Fraction(end) - begin + TOLERANCE) / clip.step)
    elif timeline.end is not None:
        # A video's own end is no more exact than its time base.
        count = floor(((timeline.end + 1) * timeline.time_base - begin) / clip.step)
    return timeline.ticks(begin, clip.step, min(count, max_frames + 1))


def _strip(frames: list[np.ndarray | None]) -> Tensor | MediaError:
    whole = [frame for frame in frames if frame is not None]
    if len(whole) < len(frames):
        return MediaError(DAMAGED)
    if len({frame.shape for frame in whole}) > 1:
        return MediaError(RESIZED)
    return torch.from_numpy(np.stack(whole)).permute(0, 3, 1, 2).contiguous()
