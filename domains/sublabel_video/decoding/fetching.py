"""The frames at given times of a video, decoded in one pass that reads and decodes no more than it must.

A video's packets are indexed first; only those that the wanted frames need are decoded, and long parts of a
file between them are passed over by a seek. Where the packets do not tell enough, all frames are decoded in
order.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from sublabel.errors import MediaError
from sublabel_video.decoding.container import ShownFrame, open_video, shown_frames, time_base
from sublabel_video.decoding.packets import (
    SEEKABLE,
    NoIndexError,
    PacketIndex,
    Timeline,
    decode,
    index_packets,
    index_packets_from,
)
from sublabel_video.decoding.pixels import RGBConverter

# Seconds between wanted frames that are worth a seek rather than to be read over (ours).
WORTH_A_SEEK = Fraction(20)
# Seconds at the beginning of a file that show its time zero, though some first packets have no decoding time.
HEAD = Fraction(1)

Frames: TypeAlias = dict[int, np.ndarray | None]
"""RGB, uint8 (H, W, 3), by tick; None where the decoder found the frame damaged."""
Wanted: TypeAlias = Callable[[Timeline], list[int]]


def fetch_frames(
    uri: str, wanted: Wanted, until: Fraction | None, short_side: int | None, *, seeks: bool = True
) -> tuple[Frames, Timeline]:
    """Decode the frames on display at the wanted ticks.

    Args:
        uri: Local path, or any URL that fsspec opens.
        wanted: From the timeline, as far as it is known, to the wanted ticks after the first displayed frame.
        until: Seconds after which nothing is wanted; None where the video's end must be known.
        short_side: Shorter side of the frames in pixels; None keeps their size.
        seeks: Pass over long parts of the file in which nothing is wanted.

    Returns:
        The frames by tick, and the timeline that the ticks belong to.

    Raises:
        MediaError: The video cannot be read at all.
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
    """Group the wanted ticks by parts of the file far from each other; None where no seek is worth it."""
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
    """Decode the frames of each part; the first part begins with the video, which tells its time zero.

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
    """Decode all frames in order, for files whose packets have no usable timestamps."""
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
