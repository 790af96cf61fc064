"""Video files opened with PyAV: their packets, their times, and their frames in the order of display."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import NamedTuple

import av
import fsspec
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from sublabel.errors import MediaError

MISSING = "missing: no such file"
NOT_A_VIDEO = "unreadable: not a video, or cut off before its header"
NO_VIDEO_STREAM = "no video stream"
NO_DECODER = "unreadable: no decoder for its codec"
NO_FRAMES = "no frames"
DAMAGED = "unreadable: a frame is damaged"
RESIZED = "unreadable: its frames change their size"
TRUNCATED = "truncated: the file ends before its header says"

# A header may round its duration; a file that is cut off lacks more than this, as a rule.
HEADER_SLACK = Fraction(1, 2)
# Containers that store packets in decoding order and nothing more; and the codecs for which FFmpeg then does
# not work out the order of display before they are decoded.
WITHOUT_DISPLAY_TIMES = ("avi",)
NOT_REORDERED_BY_FFMPEG = ("h264", "hevc")
# Fewer, larger reads from a file that may lie on a server.
REMOTE_BUFFER_BYTES = 1 << 20


@contextmanager
def open_video(uri: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video, for decoding its first video stream in one thread.

    Args:
        uri: Local path, or any URL that fsspec opens.

    Raises:
        MediaError: There is no such file, it is no video, or it has no video stream that can be decoded.
    """
    with ExitStack() as stack:
        try:
            container = stack.enter_context(_open_container(uri, stack))
        except FileNotFoundError as error:
            raise MediaError(MISSING) from error
        except av.error.InvalidDataError as error:
            raise MediaError(NOT_A_VIDEO) from error
        except (OSError, ValueError, ImportError, av.FFmpegError) as error:
            raise MediaError(f"missing: {type(error).__name__} on opening the uri") from error
        name = container.format.name
        if name.endswith("_pipe") or name in ("image2", "tty"):
            # FFmpeg would show a single image or a text file as a video.
            raise MediaError(NOT_A_VIDEO)
        streams = [stream for stream in container.streams.video if not _is_cover(stream)]
        if not streams:
            raise MediaError(NO_VIDEO_STREAM)
        if getattr(streams[0], "codec_context", None) is None:
            raise MediaError(NO_DECODER)
        streams[0].thread_count = 1
        yield container, streams[0]


def _open_container(uri: str, stack: ExitStack) -> InputContainer:
    # Tags in an unknown encoding are no reason to fail.
    if "://" not in uri:
        return av.open(f"file:{uri}", "r", metadata_errors="replace")
    file = stack.enter_context(fsspec.open(uri, "rb"))
    container: InputContainer = av.open(file, "r", metadata_errors="replace", buffer_size=REMOTE_BUFFER_BYTES)
    return container


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def absolute_uri(uri: str) -> str:
    """Make a local path absolute; URLs stay as they are."""
    return uri if "://" in uri else str(Path(uri).absolute())


def time_base(stream: VideoStream) -> Fraction:
    """Seconds that a tick of the stream's timestamps lasts.

    Raises:
        MediaError: The stream does not say.
    """
    if not stream.time_base:
        raise MediaError(NOT_A_VIDEO)
    return stream.time_base


def frame_ticks(stream: VideoStream) -> int:
    """Ticks that a frame lasts at the stream's average rate, for packets that do not say; at least 1."""
    rate = stream.average_rate or stream.guessed_rate
    return max(1, round(1 / (rate * time_base(stream)))) if rate else 1


def header_duration(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """Seconds that the header gives for the video stream; None where it does not say."""
    if stream.duration:
        return stream.duration * time_base(stream)
    duration = _tag_seconds(stream.metadata.get("DURATION", ""))
    if duration is None and container.duration and len(container.streams) == 1:
        duration = Fraction(container.duration, av.time_base)
    if duration is None:
        return None
    # Both count from the file's zero, not from the first frame.
    shown = duration - (stream.start_time or 0) * time_base(stream)
    return shown if shown > 0 else None


def _tag_seconds(tag: str) -> Fraction | None:
    """Seconds of Matroska's 00:01:02.345000000."""
    try:
        hours, minutes, seconds = map(Fraction, tag.split(":"))
    except ValueError:  # no such tag
        return None
    return hours * 3600 + minutes * 60 + seconds or None


def end_of_frame(start: int, lasts: int, promised: Fraction | None, base: Fraction) -> int:
    """Tick at which a frame goes off: where the header ends the video, if that is while the frame lasts.

    In MP4 a frame's own duration is the time to the next one in decoding order, which need not be the next
    one on display.

    Args:
        start: When the frame comes up, in ticks after the first frame of the video.
        lasts: Duration of the frame in ticks.
        promised: Seconds that `header_duration` gives for the video.
        base: Seconds that a tick lasts.
    """
    header_end = start if promised is None else floor(promised / base)
    return header_end if start < header_end < start + lasts else start + lasts


def lacks_display_times(container: InputContainer, stream: VideoStream) -> bool:
    """Tell whether packets say when they are decoded but not when they are shown, though the two differ."""
    context = stream.codec_context
    return (
        container.format.name in WITHOUT_DISPLAY_TIMES
        and context.name in NOT_REORDERED_BY_FFMPEG
        and context.has_b_frames
    )


class ShownFrame(NamedTuple):
    """A decoded frame and when it is on display, in ticks after the first frame of the video came up."""

    start: int
    end: int
    frame: VideoFrame


def shown_frames(container: InputContainer, stream: VideoStream) -> Iterator[ShownFrame]:
    """Decode a stream from the beginning, in the order of display.

    A frame without a timestamp follows the one before it at the stream's frame rate. Where the container does
    not say when frames are shown, the k-th frame takes the time of the k-th packet.

    Raises:
        MediaError: There is no frame; or, after the last one that can be decoded, the file is damaged or ends
            before its header says.
    """
    base, promised = time_base(stream), header_duration(container, stream)
    ticks, following, end, origin = frame_ticks(stream), 0, 0, None
    failure = None
    try:
        for frame in _decoded(container, stream):
            pts = following if frame.pts is None else frame.pts
            origin = pts if origin is None else origin
            lasts = frame.duration or ticks
            following, end = pts + lasts, end_of_frame(pts - origin, lasts, promised, base)
            yield ShownFrame(pts - origin, end, frame)
    except av.FFmpegError:
        failure = DAMAGED
    except CutOffError:
        failure = TRUNCATED
    if promised is not None and promised - end * base > HEADER_SLACK:
        failure = TRUNCATED
    if failure or origin is None:
        raise MediaError(failure or NO_FRAMES)


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    context, failure = stream.codec_context, None
    lacks_times = lacks_display_times(container, stream)
    # The k-th frame on display comes up when the k-th packet does.
    times: deque[int | None] = deque()

    def decode(packet: Packet[VideoStream] | None) -> Iterator[VideoFrame]:
        if lacks_times and packet is not None:
            times.append(packet.dts)
        for frame in context.decode(packet):
            if lacks_times:
                frame.pts = times.popleft() if times else None
            yield frame

    try:
        for packet in whole_packets(container, stream):
            yield from decode(packet)
    except CutOffError as error:
        failure = error
    yield from decode(None)
    if failure:
        raise failure


class CutOffError(Exception):
    """The file ends within a packet."""


def whole_packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """Read the packets of a stream that hold data.

    Raises:
        CutOffError: The file is cut off or damaged there.
        MediaError: The file's server failed.
    """
    has_begun = False
    try:
        for packet in container.demux(stream):
            if packet.is_corrupt and has_begun:
                raise CutOffError
            # A recording of a broadcast may begin within a packet.
            if packet.size and not packet.is_corrupt:
                has_begun = True
                yield packet
    except av.FFmpegError as error:
        raise CutOffError from error
    except OSError as error:  # of the server that an fsspec file lies on
        raise MediaError(f"unreadable: {type(error).__name__} while reading") from error
