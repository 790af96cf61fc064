"""Transcode videos once, small and with short groups of pictures, so that many epochs read them cheaply."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import av
import fsspec
import numpy as np
import pyarrow as pa
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from sublabel.errors import ConfigError, MediaError
from sublabel.files import local_path, remove_all_abandoned, write_atomically
from sublabel.jobs import job_map
from sublabel.provenance import digest
from sublabel.tables import MANIFEST_SCHEMA, Manifest, TableWriter
from sublabel_video.decoding import (
    DAMAGED,
    RESIZED,
    RGBConverter,
    absolute_uri,
    open_video,
    shown_frames,
    time_base,
)
from sublabel_video.encoding import add_h264_stream

MANIFEST_NAME = "manifest.parquet"
# Changes with whatever changes the bytes of a prepared file beside the options.
FORMAT_VERSION = 2
DIGEST_CHARACTERS = 16


@dataclass(frozen=True)
class PrepareSummary:
    """What `prepare_videos` did with the videos of a manifest."""

    made: int
    kept: int
    """Videos that an earlier run had prepared in the same way."""
    failed: dict[str, int] = field(default_factory=dict)
    """Videos that stay as they are, by reason."""

    def __str__(self) -> str:
        reasons = "".join(f"; {count} × {reason}" for reason, count in self.failed.items())
        failed = sum(self.failed.values())
        return f"{self.made:,} videos prepared, {self.kept:,} were already, {failed:,} failed{reasons}"


def prepare_videos(
    manifest: Manifest,
    out_dir: str | Path,
    *,
    short_side: int = 128,
    gop: int = 12,
    crf: int = 23,
    num_workers: int = 0,
) -> PrepareSummary:
    """Transcode every video of a manifest to H.264 in MP4, and write the manifest of the prepared videos.

    Frames keep their times exactly, counted from the first displayed one, so that the `start` and `end` of
    rows, and clips that are cut later, show the same frames as in the original. Rotation is applied, audio
    dropped. No frame is predicted from a later one and the in-loop filter and arithmetic coding are off,
    which costs some bytes and saves half of the decoding time (all settings are ours).

    A prepared file is made again only if the options or the size or time of the source have changed; what
    was prepared from the same source otherwise is then deleted. Each file appears whole or not at all.

    Args:
        manifest: Its distinct `uri`s are transcoded.
        out_dir: The folder for the videos and their `manifest.parquet`, which has the same rows with uris
            relative to it, so that the folder can be moved. A video that cannot be read to its end keeps its
            own uri: the teacher pass reports the reason.
        short_side: Pixels, even; smaller videos keep their size, to even numbers.
        gop: Frames from one keyframe to the next.
        crf: x264's constant rate factor, 0–51, lower is better; 23 is its own default.
        num_workers: Processes of one thread each; 0 transcodes in this process. They are spawned: a script
            that asks for some needs the usual `if __name__ == "__main__":`.

    Raises:
        ConfigError: An option is out of range, or `out_dir` is a URL.
        TableError: The manifest is damaged, or has no `uri`.
    """
    if short_side < 2 or short_side % 2 or gop < 1 or not 0 <= crf <= 51 or num_workers < 0:
        raise ConfigError(
            f"got short_side={short_side}, gop={gop}, crf={crf}, num_workers={num_workers}; expected an even "
            "short_side from 2, gop from 1, crf from 0 to 51 and num_workers from 0"
        )
    manifest.require("sample_id", "uri")
    folder = local_path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    remove_all_abandoned(folder)
    uris = list(dict.fromkeys(_uris(manifest)))
    prepare = partial(_prepare_one, folder=folder, short_side=short_side, gop=gop, crf=crf)
    there: dict[str, list[Path]] = defaultdict(list)
    for path in folder.glob("*-*.mp4"):
        there[path.name.partition("-")[0]].append(path)
    prepared: dict[str, str] = {}
    made, kept, failed = 0, 0, Counter[str]()
    with job_map(max(1, num_workers)) as run:
        for uri, outcome in zip(uris, run(prepare, uris), strict=True):
            if outcome.reason is not None:
                failed[outcome.reason] += 1
                continue
            prepared[uri] = outcome.name
            made += outcome.is_new
            kept += not outcome.is_new
            for outdated in there.pop(outcome.name.partition("-")[0], []):
                if outdated.name != outcome.name:
                    outdated.unlink()
    _write_manifest(manifest, folder / MANIFEST_NAME, prepared)
    return PrepareSummary(made, kept, dict(sorted(failed.items())))


@dataclass(frozen=True)
class _Outcome:
    name: str
    is_new: bool = False
    reason: str | None = None


def _uris(manifest: Manifest) -> Iterator[str]:
    for batch in manifest.batches(["uri"]):
        yield from (uri for uri in batch["uri"].to_pylist() if uri is not None)


def _write_manifest(manifest: Manifest, path: Path, prepared: dict[str, str]) -> None:
    schema = pa.schema([MANIFEST_SCHEMA.field(name) for name in manifest.columns])
    with TableWriter(path, schema) as writer:
        for batch in manifest.batches(schema.names):
            uris = [uri and (prepared.get(uri) or absolute_uri(uri)) for uri in batch["uri"].to_pylist()]
            column = batch.schema.get_field_index("uri")
            writer.write(batch.set_column(column, "uri", pa.array(uris, pa.string())))


def _prepare_one(uri: str, *, folder: Path, short_side: int, gop: int, crf: int) -> _Outcome:
    try:
        made_from = [_state(uri), short_side, gop, crf, FORMAT_VERSION]
        digests = (digest(part)[:DIGEST_CHARACTERS] for part in ([absolute_uri(uri)], made_from))
        name = f"{'-'.join(digests)}.mp4"
        if (folder / name).exists():
            return _Outcome(name)
        _transcode(uri, folder / name, short_side=short_side, gop=gop, crf=crf)
    except MediaError as error:
        return _Outcome("", reason=error.reason)
    except av.FFmpegError as error:
        return _Outcome("", reason=f"cannot be encoded: {type(error).__name__}")
    return _Outcome(name, is_new=True)


def _state(uri: str) -> list[str]:
    """What tells a changed source: its size, and its time or its store's checksum."""
    try:
        files, path = fsspec.core.url_to_fs(uri)
        info = files.info(path)
    except (OSError, ValueError, ImportError):
        return []  # Opening it gives the reason.
    return [str(info.get(key)) for key in ("size", "mtime", "LastModified", "last_modified", "ETag", "etag")]


def _transcode(uri: str, path: Path, *, short_side: int, gop: int, crf: int) -> None:
    convert = RGBConverter(short_side, even=True)
    with (
        open_video(uri) as (container, stream),
        write_atomically(path) as file,
        # By its name: the header moves to the front in a second pass.
        av.open(file.name, "w", format="mp4", options={"movflags": "faststart"}) as output,
    ):
        frames = shown_frames(container, stream)
        first = next(frames)
        encoder = _Encoder(output, stream, convert(first.frame).shape, gop=gop, crf=crf)
        for start, end, frame in chain([first], frames):
            if frame.is_corrupt:
                raise MediaError(DAMAGED)
            encoder.add(convert(frame), start, end)
        encoder.finish()


class _Held(NamedTuple):
    start: int
    end: int
    pixels: np.ndarray


class _Encoder:
    """Encodes frames that keep their times; of two frames at the same time the later one stays."""

    def __init__(
        self, output: OutputContainer, source: VideoStream, shape: tuple[int, ...], *, gop: int, crf: int
    ) -> None:
        self.output = output
        self.time_base = time_base(source)
        self.shape = shape
        self.held: _Held | None = None
        self.durations: dict[int, int] = {}
        options = {"preset": "fast", "tune": "fastdecode", "crf": str(crf)}
        options |= {"g": str(gop), "bf": "0", "sc_threshold": "0"}
        rate = source.average_rate or 30
        self.stream = add_h264_stream(output, *shape[:2], rate=rate, options=options)
        self.stream.codec_context.time_base = self.stream.time_base = self.time_base

    def add(self, pixels: np.ndarray, start: int, end: int) -> None:
        if pixels.shape != self.shape:
            raise MediaError(RESIZED)
        if self.held is not None and start > self.held.start:
            self._encode(self.held.start, self.held.pixels, until=start)
        self.held = _Held(start if self.held is None else max(start, self.held.start), end, pixels)

    def finish(self) -> None:
        if self.held is not None:
            start, end, pixels = self.held
            self._encode(start, pixels, until=max(end, start + 1))
        self._mux(self.stream.encode())

    def _encode(self, start: int, pixels: np.ndarray, *, until: int) -> None:
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame.pts, frame.time_base = start, self.time_base
        self.durations[start] = until - start
        self._mux(self.stream.encode(frame))

    def _mux(self, packets: list[Packet[VideoStream]]) -> None:
        for packet in packets:
            if packet.pts is not None:
                # The file ends when its last frame goes off, as the original does.
                packet.duration = self.durations.pop(packet.pts)
            self.output.mux(packet)
