"""An index of a video's packets by their timestamps, which tells what to decode for some frames."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor, lcm

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from sublabel.errors import MediaError
from sublabel_video.decoding.container import (
    HEADER_SLACK,
    NO_FRAMES,
    TRUNCATED,
    CutOffError,
    end_of_frame,
    frame_ticks,
    header_duration,
    lacks_display_times,
    time_base,
    whole_packets,
)

# Seconds; a time that went through float64 must not fall to the frame before.
TOLERANCE = Fraction(1, 1_000_000)
# Packets up to this size in all are kept from the indexing, so that small files are read once.
KEPT_BYTES = 64 << 20
# Seconds that a seek aims before the first wanted frame, as some demuxers aim at decoding times.
SEEK_MARGIN = Fraction(1)
# Containers that store the display time of every packet, so that it is the same after a seek.
SEEKABLE = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
# Matroska gives the first packets no decoding time.
UNKNOWN = -(1 << 62)
# Decoders whose non-reference frames leave no trace in later ones. In HEVC they may still serve higher
# temporal layers, and in VP9 they may carry on the entropy coder's state.
SKIPS_NON_REFERENCE = ("h264", "mpeg4", "mpeg2video", "mpeg1video")


class NoIndexError(Exception):
    """The packets do not tell which of them a frame needs: decode the video from end to end."""


@dataclass(frozen=True)
class Timeline:
    """How a video's time runs, in ticks after its first displayed frame."""

    time_base: Fraction
    """Seconds that a tick lasts."""
    end: int | None = None
    """Tick at which the last frame goes off; None while it is only known to be after all that is asked."""
    failure: str | None = None
    """Why the frames end there, where the header promises more."""

    def ticks(self, begin: Fraction, step: Fraction, count: int) -> list[int]:
        """Find the last ticks at or before `count` times: begin, begin + step, … in seconds."""
        first, stride = (begin + TOLERANCE) / self.time_base, step / self.time_base
        scale = lcm(first.denominator, stride.denominator)
        first_scaled, stride_scaled = int(first * scale), int(stride * scale)
        return [(first_scaled + i * stride_scaled) // scale for i in range(count)]

    def shown(self, ticks: Iterable[int]) -> list[int]:
        """Keep the ticks at which the video is still on."""
        return [tick for tick in ticks if self.end is None or tick < self.end]


@dataclass(frozen=True)
class PacketIndex:
    """The P packets of a stream in decoding order; times are the file's own ticks."""

    pts: np.ndarray
    """int64 (P,), when the frame is displayed."""
    dts: np.ndarray
    """int64 (P,), when the packet is decoded, or UNKNOWN."""
    is_keyframe: np.ndarray
    """bool (P,)."""
    is_shown: np.ndarray
    """bool (P,), False where an edit list hides the frame."""
    packets: list[Packet[VideoStream]] | None
    """The packets themselves; None where they are too big to be kept."""
    timeline: Timeline
    origin: int
    """Tick of the file at which the first frame of the video is displayed."""

    def at(self, ticks: Collection[int]) -> np.ndarray:
        """Find the packets whose frames are on display, int64 (len(ticks),).

        Args:
            ticks: After the first displayed frame.
        """
        shown = np.flatnonzero(self.is_shown)
        shown = shown[np.argsort(self.pts[shown])]
        times = self.pts[shown] - self.origin
        positions = np.searchsorted(times, np.asarray(ticks, dtype=np.int64), side="right") - 1
        return shown[np.maximum(positions, 0)]

    def runs(self, needed: np.ndarray) -> list[tuple[int, int]]:
        """Choose ranges [start, stop) of packets to decode for some frames, each from a keyframe on.

        A frame that is displayed before the keyframe that it follows needs the keyframe before that one.

        Args:
            needed: Positions of the frames' packets, sorted.
        """
        keyframes = np.flatnonzero(self.is_keyframe)
        runs: list[tuple[int, int]] = []
        starts = []
        for position in needed.tolist():
            nearest = int(np.searchsorted(keyframes, position, side="right")) - 1
            while nearest > 0 and self.pts[keyframes[nearest]] > self.pts[position]:
                nearest -= 1
            starts.append(int(keyframes[nearest]))
        for start, position in sorted(zip(starts, needed.tolist(), strict=True)):
            if runs and start <= runs[-1][1]:
                runs[-1] = (runs[-1][0], max(runs[-1][1], position + 1))
            else:
                runs.append((start, position + 1))
        return runs


def index_packets(container: InputContainer, stream: VideoStream, until: Fraction | None) -> PacketIndex:
    """Read the packets of a stream without decoding them.

    Args:
        container: A file that was just opened.
        stream: Its video stream.
        until: Stop behind this time, in seconds after the first frame; None reads all packets.

    Raises:
        NoIndexError: Timestamps are missing or out of order, or are no times of display.
        MediaError: There is no packet.
    """
    if lacks_display_times(container, stream):
        raise NoIndexError
    last = None if until is None else floor((until + TOLERANCE) / time_base(stream))
    read = _read_packets(container, stream, None, last)
    if not read.rows:
        promised = header_duration(container, stream)
        raise MediaError(TRUNCATED if read.is_cut or promised else NO_FRAMES)
    pts, dts, keyframes, shown, _ = read.columns()
    # A frame before the first packet's would need a keyframe that is not there.
    if not _is_orderly(pts, dts, keyframes, shown) or pts[shown].min() < pts[0]:
        raise NoIndexError
    return read.index(container, stream, int(pts[shown].min()))


def index_packets_from(
    container: InputContainer, stream: VideoStream, origin: int, first: int, last: int
) -> PacketIndex:
    """Read the packets of a part of a stream without decoding them, from a keyframe at or before it.

    Args:
        container: A file of one of the formats `SEEKABLE`.
        stream: Its video stream.
        origin: When the video's first frame is displayed, in the file's own ticks.
        first: First wanted tick after the origin.
        last: Last wanted tick after the origin.

    Raises:
        NoIndexError: The file cannot be read from there, or timestamps are missing or out of order.
        MediaError: The file's server failed.
    """
    margin = floor(SEEK_MARGIN / time_base(stream))
    try:
        container.seek(origin + max(0, first - margin), stream=stream)
    except av.FFmpegError as error:
        raise NoIndexError from error
    read = _read_packets(container, stream, origin, last)
    if not read.rows:
        raise NoIndexError
    pts, dts, keyframes, shown, _ = read.columns()
    known = dts != UNKNOWN
    # Of what is displayed before the keyframe, some may lie before it in the file.
    has_landed = (shown & (pts >= pts[0]) & (pts <= origin + first)).any()
    if not has_landed or (pts[known] < dts[known]).any() or not _is_orderly(pts, dts, keyframes, shown):
        raise NoIndexError
    return read.index(container, stream, origin)


@dataclass
class _Read:
    """Packets as they come."""

    rows: list[tuple[int, int, bool, bool, int]] = field(default_factory=list)
    packets: list[Packet[VideoStream]] = field(default_factory=list)
    size: int = 0
    """Bytes of all packets; not all may be kept."""
    is_complete: bool = True
    is_cut: bool = False

    def columns(self) -> tuple[np.ndarray, ...]:
        """Presentation and decoding time, whether it is a keyframe and shown, and duration of each."""
        return tuple(np.asarray(column) for column in zip(*self.rows, strict=True))

    def index(self, container: InputContainer, stream: VideoStream, origin: int) -> PacketIndex:
        base, promised = time_base(stream), header_duration(container, stream)
        pts, dts, keyframes, shown, durations = self.columns()
        timeline = Timeline(base)
        if self.is_complete:
            final = np.argmax(np.where(shown, pts, pts.min() - 1))
            lasts = int(durations[final]) or frame_ticks(stream)
            end = end_of_frame(int(pts[final]) - origin, lasts, promised, base)
            lacks = promised is not None and promised - end * base > HEADER_SLACK
            timeline = Timeline(base, end, TRUNCATED if self.is_cut or lacks else None)
        packets = self.packets if self.size <= KEPT_BYTES else None
        return PacketIndex(pts, dts, keyframes, shown, packets, timeline, origin)


def _read_packets(
    container: InputContainer, stream: VideoStream, origin: int | None, last: int | None
) -> _Read:
    """Read on until no later packet can be shown at or before `last` ticks after the origin."""
    read = _Read()
    try:
        for packet in whole_packets(container, stream):
            start, is_shown = packet.pts, not packet.is_discard
            decoded_at = UNKNOWN if packet.dts is None else packet.dts
            if start is None:
                raise NoIndexError
            read.rows.append((start, decoded_at, packet.is_keyframe, is_shown, packet.duration or 0))
            read.size += packet.size
            read.packets.append(packet)
            if read.size > KEPT_BYTES:
                read.packets.clear()
            if is_shown:
                origin = start if origin is None else origin
                if last is not None and decoded_at > origin + last:
                    read.is_complete = False
                    break
    except CutOffError:
        read.is_cut = True
    return read


def _is_orderly(pts: np.ndarray, dts: np.ndarray, keyframes: np.ndarray, shown: np.ndarray) -> bool:
    known = dts[dts != UNKNOWN]
    return bool(
        keyframes[0]
        and shown.any()
        and 2 * len(known) > len(dts)
        and (np.diff(known) > 0).all()
        and len(np.unique(pts)) == len(pts)
    )


def decode(
    container: InputContainer,
    stream: VideoStream,
    index: PacketIndex,
    needed: np.ndarray,
    take: Callable[[int, VideoFrame], None],
) -> None:
    """Decode the frames of some packets, bit for bit as a full pass would, and few others.

    Packets between the needed groups of pictures are passed over; within a group the decoder stops after the
    last needed frame and drops non-reference frames that are not needed.

    Args:
        container: The indexed file, which is read again where the index did not keep the packets.
        stream: Its video stream.
        index: Its packets.
        needed: Positions of packets in the index, sorted.
        take: Called with the timestamp and frame of each needed packet.

    Raises:
        NoIndexError: A frame did not come out: the index misled.
    """
    context = stream.codec_context
    skips = context.name in SKIPS_NON_REFERENCE
    positions = set(needed.tolist())
    missing = set(index.pts[needed].tolist())

    def receive(frames: list[VideoFrame]) -> None:
        for frame in frames:
            pts = frame.pts
            if pts is not None and pts in missing:
                missing.remove(pts)
                take(pts, frame)

    skipping = "DEFAULT"
    try:
        for start, stop in index.runs(needed):
            for position, packet in enumerate(_packets(container, stream, index, start, stop), start):
                wanted = "NONREF" if skips and position not in positions else "DEFAULT"
                if wanted != skipping:
                    context.skip_frame = skipping = wanted  # type: ignore[assignment]
                receive(context.decode(packet))
            receive(context.decode(None))
            context.flush_buffers()
    except av.FFmpegError as error:
        raise NoIndexError from error
    finally:
        context.skip_frame = "DEFAULT"
    if missing:
        raise NoIndexError


def _packets(
    container: InputContainer, stream: VideoStream, index: PacketIndex, start: int, stop: int
) -> Iterator[Packet[VideoStream]]:
    if index.packets is not None:
        yield from index.packets[start:stop]
        return
    decoded_at = index.dts[start]
    container.seek(int(index.pts[start] if decoded_at == UNKNOWN else decoded_at), stream=stream)
    position = None
    for packet in container.demux(stream):
        if position is None and packet.pts == index.pts[start]:
            position = start
        if position is not None and packet.size:
            if packet.pts != index.pts[position]:
                raise NoIndexError
            yield packet
            position += 1
            if position == stop:
                return
    raise NoIndexError
