"""Frames of a video at exact times: every clip of a video from one pass that decodes no more than it must.

The frame at a time is the last one whose presentation timestamp is not after it, whatever the frame rate is
or does; times count in seconds from the first displayed frame. The same times give the same frames, bit for
bit, whichever else is read with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from math import floor, isfinite
from typing import TypeAlias

import av
import numpy as np
import torch
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from sublabel.errors import MediaError
from sublabel_video._index import (
    SEEKABLE,
    TOLERANCE,
    NoIndexError,
    PacketIndex,
    Timeline,
    decode,
    index_packets,
    index_packets_from,
)
from sublabel_video._media import (
    DAMAGED,
    NO_FRAMES,
    RESIZED,
    TRUNCATED,
    RGBConverter,
    ShownFrame,
    header_duration,
    open_video,
    shown_frames,
    time_base,
)
from sublabel_video.clips import ClipOptions

SHORT = "shorter than a clip"
PAST_THE_END = "the video ends before that time"
NOT_A_TIME = "start or end is not a time"
TOO_EARLY = "starts before the video"
MAX_FRAMES = 1024
# Seconds between wanted frames that are worth a seek rather than to be read over (ours).
WORTH_A_SEEK = Fraction(20)
# Seconds at the beginning of a file that show its time zero, though some first packets have no decoding time.
HEAD = Fraction(1)

Span: TypeAlias = tuple[float | Fraction | None, float | Fraction | None]
"""Start and end in seconds from the first displayed frame; None is the video's own."""
Frames: TypeAlias = dict[int, np.ndarray | None]
"""uint8 (H, W, 3) by tick; None where the decoder found the frame damaged."""
Wanted: TypeAlias = Callable[[Timeline], list[int]]


@dataclass(frozen=True)
class VideoInfo:
    """What a video's header and its first frame say."""

    duration: Fraction
    """Seconds from the first displayed frame to the end of the last."""
    width: int
    """Pixels, upright."""
    height: int
    fps: Fraction | None
    """Average frames a second, where it is known."""
    codec: str
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
    span: a span of exactly `clip.seconds` gives `clip.frames`, a longer one more (for a transform to crop).
    A span that ends after the video gives the frames there are. Which packets are decoded is chosen for all
    spans together; a frame that several need is decoded once.

    Args:
        uri: Local path, or any URL that fsspec opens.
        spans: Start and end of each piece.
        clip: The step between frames, and the number of them that a piece must have.
        short_side: Scale during conversion to this shorter side, in pixels (bicubic; the longer side is
            truncated to whole pixels, as torchvision's `Resize` does it); None keeps the size.
        max_frames: Longest strip (ours); longer spans must be cut into clips.

    Returns:
        For each span, in their order, its strip, uint8 RGB (N, 3, H, W), upright, or why it cannot be read.
        What makes the whole video unreadable stands in the place of every span.
    """
    limit = max_frames + 1

    def wanted(timeline: Timeline) -> list[int]:
        return [tick for span in spans for tick in timeline.shown(_ticks(span, clip, timeline, limit))]

    try:
        frames, timeline = _fetch(uri, wanted, _until(spans), short_side)
    except MediaError as error:
        return [error] * len(spans)
    strips: list[Tensor | MediaError] = []
    for span in spans:
        failure = _strip_failure(span, clip, timeline, max_frames)
        shown = [] if failure else timeline.shown(_ticks(span, clip, timeline, limit))
        strips.append(MediaError(failure) if failure else _strip([frames[tick] for tick in shown]))
    return strips


def check_clip(uri: str, span: Span, clip: ClipOptions, *, max_frames: int = MAX_FRAMES) -> None:
    """Find out whether `read_clips` can read a span, from the packets up to its end and its first frame.

    What is wrong within a later packet shows only when it is decoded.

    Args:
        uri: As for `read_clips`.
        span: As for `read_clips`.
        clip: As for `read_clips`.
        max_frames: As for `read_clips`.

    Raises:
        MediaError: It cannot, for the reason that `read_clips` would give.
    """

    def first(timeline: Timeline) -> list[int]:
        return timeline.shown(_ticks(span, clip, timeline, max_frames + 1)[:1])

    # A seek would pass over packets.
    frames, timeline = _fetch(uri, first, _until([span]), None, seeks=False)
    failure = _strip_failure(span, clip, timeline, max_frames)
    if failure is not None:
        raise MediaError(failure)
    strip = _strip(list(frames.values()))
    if isinstance(strip, MediaError):
        raise strip


def read_frames(uri: str, times: Sequence[Fraction], *, short_side: int | None = None) -> list[Tensor]:
    """Read single frames.

    Args:
        uri: Local path, or any URL that fsspec opens.
        times: Seconds from the first displayed frame, in any order.
        short_side: As for `read_clips`.

    Returns:
        For each time uint8 RGB (3, H, W), upright.

    Raises:
        MediaError: The video cannot be read, or ends before one of the times.
    """

    def ticks(timeline: Timeline) -> list[int]:
        return [timeline.ticks(time, Fraction(0), 1)[0] for time in times]

    frames, timeline = _fetch(
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
        _, timeline = _fetch(uri, lambda _: [0], None, None)
        duration = (timeline.end or 1) * timeline.time_base
    return VideoInfo(duration, width, height, fps, codec, rotation)


def span_failure(start: float | Fraction | None, end: float | Fraction | None) -> str | None:
    """Why no video has such a span; None where one may."""
    if not all(time is None or isfinite(time) for time in (start, end)):
        return NOT_A_TIME
    return TOO_EARLY if start is not None and start < -TOLERANCE else None


def _until(spans: Sequence[Span]) -> Fraction | None:
    """When the last of these spans ends; None where that is the video's own end."""
    ends = [end for start, end in spans if span_failure(start, end) is None]
    return (
        None if None in ends else max((Fraction(end) for end in ends if end is not None), default=Fraction(0))
    )


def _strip_failure(span: Span, clip: ClipOptions, timeline: Timeline, max_frames: int) -> str | None:
    """Why a span gives no strip, as far as a video's timeline tells; None where it gives one."""
    failure = span_failure(*span)
    if failure is not None:
        return failure
    ticks = _ticks(span, clip, timeline, max_frames + 1)
    shown = timeline.shown(ticks)
    if timeline.failure and (span[1] is None or len(shown) < len(ticks)):
        return timeline.failure
    if len(shown) < clip.frames:
        return SHORT
    if len(shown) > max_frames:
        return f"longer than {max_frames} sampled frames: cut it into clips"
    return None


def _ticks(span: Span, clip: ClipOptions, timeline: Timeline, limit: int) -> list[int]:
    """When the frames of a strip are on display; while the video's end is not known, as many as may be."""
    start, end = span
    if span_failure(start, end) is not None:
        return []
    begin, count = Fraction(start or 0), limit
    if end is not None:
        count = floor((Fraction(end) - begin + TOLERANCE) / clip.step)
    elif timeline.end is not None:
        # A video's own end is no more exact than its time base.
        count = floor(((timeline.end + 1) * timeline.time_base - begin) / clip.step)
    return timeline.ticks(begin, clip.step, min(count, limit))


def _strip(frames: list[np.ndarray | None]) -> Tensor | MediaError:
    whole = [frame for frame in frames if frame is not None]
    if len(whole) < len(frames):
        return MediaError(DAMAGED)
    if len({frame.shape for frame in whole}) > 1:
        return MediaError(RESIZED)
    return torch.from_numpy(np.stack(whole)).permute(0, 3, 1, 2).contiguous()


def _fetch(
    uri: str, wanted: Wanted, until: Fraction | None, short_side: int | None, *, seeks: bool = True
) -> tuple[Frames, Timeline]:
    """The frames on display at the wanted ticks, and the timeline that the ticks belong to.

    Args:
        uri: The video.
        wanted: Gives the ticks once the timeline is known, as far as it is.
        until: Seconds after which nothing is wanted; None where the video's end must be known.
        short_side: As for `read_clips`.
        seeks: Leave out parts of the file that are long and not wanted.
    """
    convert = RGBConverter(short_side)
    with open_video(uri) as (container, stream), suppress(NoIndexError):
        parts = _parts(container, stream, wanted, until) if seeks else None
        if parts is None:
            return _fetch_needed(container, stream, wanted, until, convert)
        with suppress(NoIndexError):
            return _fetch_parts(container, stream, parts, convert)
        with open_video(uri) as (again, its_stream):
            return _fetch_needed(again, its_stream, wanted, until, convert)
    with open_video(uri) as (container, stream):
        return _fetch_in_order(container, stream, wanted, until, convert)


def _parts(
    container: InputContainer, stream: VideoStream, wanted: Wanted, until: Fraction | None
) -> list[list[int]] | None:
    """The wanted ticks by parts of the file that are far from each other; None if it is not worth a seek."""
    if until is None or container.format.name not in SEEKABLE:
        return None
    base = time_base(stream)
    parts: list[list[int]] = [[]]
    before = 0
    for tick in sorted(set(wanted(Timeline(base)))):
        if (tick - before) * base > WORTH_A_SEEK:
            parts.append([])
        parts[-1].append(tick)
        before = tick
    return parts if len(parts) > 1 else None


def _fetch_parts(
    container: InputContainer, stream: VideoStream, parts: list[list[int]], convert: RGBConverter
) -> tuple[Frames, Timeline]:
    """The frames of each part; the first one begins with the video, which tells its time zero.

    Raises:
        NoIndexError: A part cannot be read by itself.
    """
    # As far as some containers need to make out the order of their packets.
    head = max([HEAD, *(tick * time_base(stream) for tick in parts[0][-1:])])
    index = index_packets(container, stream, head)
    frames: Frames = {}
    for part in parts:
        if part is not parts[0] and index.timeline.end is None:
            index = index_packets_from(container, stream, index.origin, part[0], part[-1])
        frames |= _decode_ticks(container, stream, index, index.timeline.shown(part), convert)
    return frames, index.timeline


def _fetch_needed(
    container: InputContainer,
    stream: VideoStream,
    wanted: Wanted,
    until: Fraction | None,
    convert: RGBConverter,
) -> tuple[Frames, Timeline]:
    index = index_packets(container, stream, until)
    ticks = sorted(set(wanted(index.timeline)))
    return _decode_ticks(container, stream, index, ticks, convert), index.timeline


def _decode_ticks(
    container: InputContainer,
    stream: VideoStream,
    index: PacketIndex,
    ticks: list[int],
    convert: RGBConverter,
) -> Frames:
    packets = index.at(ticks)
    frames: Frames = {}

    def take(pts: int, frame: VideoFrame) -> None:
        frames[pts] = _pixels(frame, convert)

    decode(container, stream, index, np.unique(packets), take)
    times = index.pts[packets].tolist()
    return {tick: frames[pts] for tick, pts in zip(ticks, times, strict=True)}


def _fetch_in_order(
    container: InputContainer,
    stream: VideoStream,
    wanted: Wanted,
    until: Fraction | None,
    convert: RGBConverter,
) -> tuple[Frames, Timeline]:
    """The same by decoding all frames, for files whose packets have no usable timestamps."""
    base = time_base(stream)
    ticks = sorted(set(wanted(Timeline(base))), reverse=True)
    frames: Frames = {}
    last: ShownFrame | None = None
    failure = None

    def assign(before: int) -> None:
        """Give the last frame to the ticks that come before the next one."""
        pixels = _pixels(last.frame, convert) if last and ticks and ticks[-1] < before else None
        while last and ticks and ticks[-1] < before:
            frames[ticks.pop()] = pixels

    try:
        for shown in shown_frames(container, stream):
            assign(before=shown.start)
            last = shown
            if until is not None and not ticks:
                return frames, Timeline(base)
    except MediaError as error:
        if last is None:
            raise
        failure = error.reason
    end = last.end if last else 0
    assign(before=end)
    return frames, Timeline(base, end, failure)


def _pixels(frame: VideoFrame, convert: RGBConverter) -> np.ndarray | None:
    return None if frame.is_corrupt else convert(frame)
