"""Which clips to cut from a video, in exact seconds, and a manifest of clips from a manifest of videos."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from math import isfinite
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from sublabel.errors import ConfigError, MediaError, TableError
from sublabel.tables import MANIFEST_SCHEMA, Manifest, TableWriter, read_metadata
from sublabel_video._media import absolute_uri
from sublabel_video.reading import probe, span_failure

# Videos whose headers are read at the same time.
BATCH_ROWS = 1024
# Changes with whatever changes the rows that are cut beside the manifest and the options.
FORMAT_VERSION = 1
ALWAYS_WRITTEN = ("sample_id", "uri", "start", "end", "source_id")
# Seconds (ours). No camera is meant that is faster, and a reader's times are exact to a microsecond.
SHORTEST_STEP = Fraction(1, 1000)


class ClipOptions(BaseModel):
    """The frames of a clip: `frames` × `stride`, as 8×8 at 30 fps (2.13 s), or as many in `clip_seconds`.

    The paper does not state its clip shape; the default is the 8×8 of Slow-only networks (Feichtenhofer et
    al., ICCV 2019). Times follow from the options alone, whatever a file's own frame rate is.

    Example:
        >>> [str(ClipOptions(frames=4, **how).step) for how in ({"stride": 6}, {"clip_seconds": 2})]
        ['1/5', '1/2']
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: PositiveInt = Field(8, description="T, frames of a clip")
    stride: PositiveInt = Field(
        8, description="from one frame of a clip to the next, at `fps`; not used with `clip_seconds`"
    )
    fps: PositiveFloat = Field(
        30.0, description="nominal frames a second, whatever the file's own; not used with `clip_seconds`"
    )
    clip_seconds: PositiveFloat | None = Field(
        None, description="length of a clip, instead of `stride` and `fps`: the step is this / `frames`"
    )

    @model_validator(mode="after")
    def _check(self) -> ClipOptions:
        seconds = self.fps if self.clip_seconds is None else self.clip_seconds
        if not isfinite(seconds) or self.step < SHORTEST_STEP:
            raise ConfigError(
                f"got frames={self.frames}, stride={self.stride}, fps={self.fps} and "
                f"clip_seconds={self.clip_seconds}; expected finite values that put the frames of a clip at "
                "least a millisecond apart"
            )
        return self

    @property
    def step(self) -> Fraction:
        """Seconds from one frame of a clip to the next, exact."""
        if self.clip_seconds is not None:
            return Fraction(str(self.clip_seconds)) / self.frames
        return self.stride / Fraction(str(self.fps))

    @property
    def seconds(self) -> Fraction:
        """Length of a clip in seconds, exact: each of its frames stands for one step."""
        return self.frames * self.step


class ClipSampling(BaseModel):
    """How many clips of a video, and where."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["uniform", "random", "all"] = Field(
        "uniform", description="spread evenly; drawn by chance; or every non-overlapping clip"
    )
    clips_per_video: PositiveInt = Field(10, description="not used by `all`")
    seed: int = Field(0, description="of `random`")


class Clip(NamedTuple):
    """A piece of a video, in exact seconds from its first displayed frame."""

    start: Fraction
    end: Fraction


def sample_clips(
    duration: Fraction, sampling: ClipSampling, clip: ClipOptions, *, video_id: str
) -> list[Clip]:
    """Choose clips of a video.

    `random` depends on the seed and the video's id only, not on the order of videos or on the process; the
    draws are nested: 5 clips are the first 5 draws of 10.

    Args:
        duration: Of the video, in seconds.
        sampling: How many clips and where.
        clip: Their length.
        video_id: Of the video, for `random`.

    Returns:
        The clips by start. A video that is no longer than a clip by a whole step between frames has one
        clip to choose from, and gives [0, duration]; where it is shorter than a clip, reading then says so.

    Example:
        >>> sampling, clip = ClipSampling(clips_per_video=3), ClipOptions(frames=4, stride=15)
        >>> [(str(start), str(end)) for start, end in sample_clips(Fraction(9), sampling, clip, video_id="v")]
        [('0', '2'), ('7/2', '11/2'), ('7', '9')]
    """
    free = duration - clip.seconds
    if free < clip.step:
        return [Clip(Fraction(0), duration)]
    if sampling.mode == "all":
        starts = [i * clip.seconds for i in range(duration // clip.seconds)]
    elif sampling.mode == "random":
        draws = _generator(sampling.seed, video_id).random(sampling.clips_per_video)
        starts = sorted(free * Fraction(draw) for draw in draws.tolist())
    elif sampling.clips_per_video == 1:
        starts = [free / 2]
    else:
        starts = [free * i / (sampling.clips_per_video - 1) for i in range(sampling.clips_per_video)]
    return [Clip(start, start + clip.seconds) for start in starts]


def _generator(seed: int, video_id: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}\0{video_id}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


@dataclass
class CutSummary:
    """What `cut_clips` did with the videos that it was to cut."""

    videos: int = 0
    clips: int = 0
    """Of all videos that can be read."""
    unreadable: dict[str, int] = field(default_factory=dict)
    """Rows that were left whole, by reason."""
    kept: bool = False
    """The file was there from an earlier run with the same manifest and options, and stays as it is."""

    def __str__(self) -> str:
        reasons = "".join(f"; {count} × {reason}" for reason, count in self.unreadable.items())
        unreadable = sum(self.unreadable.values())
        kept = " (kept from an earlier run)" if self.kept else ""
        return f"{self.videos:,} videos: {self.clips:,} clips, {unreadable:,} could not be cut{reasons}{kept}"


def cut_clips(
    manifest: Manifest,
    out: str | Path,
    clip: ClipOptions,
    sampling: ClipSampling,
    *,
    num_workers: int = 0,
) -> CutSummary:
    """Write the manifest of the clips of untrimmed videos.

    Each row of the split `weak`, or of none, becomes its clips: `sample_id` is the row's with `#000`, `#001`,
    … behind it, `start` and `end` lie within the row's own, `source_id` is the row's or else its `sample_id`,
    and the labels are inherited. A row that is no longer than a clip by a step passes as it is, so that
    clips are not cut again; so do the rows of other splits. The order is that of the manifest, with absolute
    uris. Columns in which the manifest has no value are left out, but for those that cutting adds.

    A video that cannot be opened keeps its one row, without `start` and `end`, and a row whose times are none
    stays as it is: the teacher pass then reports it with its reason as the status.

    The file stores what it was made from. Where `out` was made from the same rows and options, no video is
    opened again and the file stays as it is; delete it after the videos themselves have changed.

    Args:
        manifest: All rows of it (do not filter it by split first).
        out: The Parquet file to write.
        clip: Length of the clips.
        sampling: How many and where.
        num_workers: Threads that read headers; 0 reads them one by one.

    Raises:
        TableError: The manifest is damaged, or has no `uri`.
    """
    manifest.require("sample_id", "uri")
    made_from, schema = _survey(manifest, clip, sampling)
    kept = _kept(out, made_from)
    if kept is not None:
        return kept
    durations: list[Fraction | MediaError] = []
    summary, reasons = CutSummary(), Counter[str]()
    with _thread_map(num_workers) as thread_map:
        for rows in _batches(manifest, schema.names):
            cut = [row for row in rows if _is_cut(row)]
            found = list(thread_map(_duration, [row["uri"] for row in cut]))
            for row, duration in zip(cut, found, strict=True):
                pieces = _pieces(row, duration, clip, sampling)
                reasons.update([pieces.reason] if isinstance(pieces, MediaError) else [])
                summary.clips += 0 if isinstance(pieces, MediaError) else len(pieces)
            durations += found
    summary.videos, summary.unreadable = len(durations), dict(sorted(reasons.items()))
    # A second pass, since the file begins with the summary of all of it.
    metadata = {"made_from": made_from, "summary": json.dumps(asdict(summary))}
    remaining = iter(durations)
    with TableWriter(out, schema, metadata) as writer:
        for rows in _batches(manifest, schema.names):
            written: list[dict[str, Any]] = []
            for row in rows:
                written += _rows(row, next(remaining), clip, sampling) if _is_cut(row) else [row]
            writer.write(pa.Table.from_pylist(written, schema=schema))
    return summary


def _batches(manifest: Manifest, columns: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    for batch in manifest.batches(columns, batch_size=BATCH_ROWS):
        yield [{**row, "uri": row["uri"] and absolute_uri(row["uri"])} for row in batch.to_pylist()]


def _is_cut(row: dict[str, Any]) -> bool:
    return row["uri"] is not None and row.get("split") in (None, "weak")


def _survey(manifest: Manifest, clip: ClipOptions, sampling: ClipSampling) -> tuple[str, pa.Schema]:
    """A digest of all that decides what is cut, but for the videos themselves; and the columns to write."""
    options = [FORMAT_VERSION, clip.frames, str(clip.step), sampling.model_dump(mode="json")]
    digest = hashlib.sha256(json.dumps(options).encode())
    filled = set(ALWAYS_WRITTEN)
    for rows in _batches(manifest, manifest.columns):
        for row in rows:
            values = {name: value for name, value in row.items() if value is not None}
            filled.update(values)
            digest.update(repr(values).encode())
    return digest.hexdigest(), pa.schema([each for each in MANIFEST_SCHEMA if each.name in filled])


def _kept(out: str | Path, made_from: str) -> CutSummary | None:
    """The summary of a file that is already what it should be."""
    if not Path(out).exists():
        return None
    try:
        stored = read_metadata(out)
    except TableError:
        return None
    if stored.get("made_from") != made_from:
        return None
    return replace(CutSummary(**json.loads(stored["summary"])), kept=True)


def _rows(
    row: dict[str, Any], duration: Fraction | MediaError, clip: ClipOptions, sampling: ClipSampling
) -> list[dict[str, Any]]:
    if isinstance(duration, MediaError):
        return [{**row, "start": None, "end": None}]
    pieces = _pieces(row, duration, clip, sampling)
    return [row] if isinstance(pieces, MediaError) else pieces


def _pieces(
    row: dict[str, Any], duration: Fraction | MediaError, clip: ClipOptions, sampling: ClipSampling
) -> list[dict[str, Any]] | MediaError:
    """The clips of one row, within its own start and end, or why there are none."""
    if isinstance(duration, MediaError):
        return duration
    failure = span_failure(row["start"], row["end"])
    if failure is not None:
        return MediaError(failure)
    begin = max(Fraction(row["start"] or 0), Fraction(0))
    length = (duration if row["end"] is None else min(Fraction(row["end"]), duration)) - begin
    clips = sample_clips(length, sampling, clip, video_id=row["sample_id"])
    if clips == [Clip(Fraction(0), length)]:
        return [row]
    digits = max(3, len(str(len(clips) - 1)))
    return [
        {
            **row,
            "sample_id": f"{row['sample_id']}#{k:0{digits}d}",
            "start": float(begin + start),
            "end": float(begin + stop),
            "source_id": row["source_id"] or row["sample_id"],
        }
        for k, (start, stop) in enumerate(clips)
    ]


def _duration(uri: str) -> Fraction | MediaError:
    try:
        return probe(uri).duration
    except MediaError as error:
        return error


@contextmanager
def _thread_map(num_workers: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """`map` with a pool of threads: FFmpeg reads and decodes without Python's lock."""
    if num_workers == 0:
        yield map
        return
    with ThreadPoolExecutor(num_workers) as pool:
        yield pool.map
