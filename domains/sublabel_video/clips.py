"""Which clips to cut from a video, in exact seconds, and a manifest of clips from a manifest of videos."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt

from sublabel.errors import MediaError
from sublabel.tables import MANIFEST_SCHEMA, Manifest, TableWriter
from sublabel_video._media import absolute_uri
from sublabel_video.reading import probe

# Videos whose headers are read at the same time stay in memory until their rows are written.
BATCH_ROWS = 1024


class ClipOptions(BaseModel):
    """The frames of a clip: 8×8 at 30 fps is `frames` × `stride`, 2.13 seconds.

    The paper does not state its clip shape; the default is the 8×8 of Slow-only networks (Feichtenhofer et
    al., ICCV 2019).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: PositiveInt = 8
    """T, frames of a clip."""
    stride: PositiveInt = 8
    """From one frame of a clip to the next, in frames at `fps`."""
    fps: PositiveFloat = 30.0
    """Nominal frames a second. Times follow from it alone, whatever the file's own rate is."""

    @property
    def step(self) -> Fraction:
        """Seconds from one frame of a clip to the next, exact."""
        return self.stride / Fraction(str(self.fps))

    @property
    def seconds(self) -> Fraction:
        """Length of a clip in seconds, exact: each of its frames stands for one step."""
        return self.frames * self.step


class ClipSampling(BaseModel):
    """How many clips of a video, and where."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["uniform", "random", "all"] = "uniform"
    """Spread evenly; drawn by chance; or every non-overlapping clip."""
    clips_per_video: PositiveInt = 10
    """Not used by `all`."""
    seed: int = 0
    """Of `random`."""


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
        The clips by start. A video that is shorter than a clip gives the one clip [0, duration], whose
        reading then says so.

    Example:
        >>> sampling, clip = ClipSampling(clips_per_video=3), ClipOptions(frames=4, stride=15)
        >>> [(str(start), str(end)) for start, end in sample_clips(Fraction(9), sampling, clip, video_id="v")]
        [('0', '2'), ('7/2', '11/2'), ('7', '9')]
    """
    free = duration - clip.seconds
    if free < 0:
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
    """Videos that were left whole, by reason."""

    def __str__(self) -> str:
        reasons = "".join(f"; {count} × {reason}" for reason, count in self.unreadable.items())
        unreadable = sum(self.unreadable.values())
        return f"{self.videos:,} videos: {self.clips:,} clips, {unreadable:,} could not be opened{reasons}"


def cut_clips(
    manifest: Manifest,
    out: str | Path,
    clip: ClipOptions,
    sampling: ClipSampling,
    *,
    num_workers: int = 0,
) -> CutSummary:
    """Write the manifest of the clips of untrimmed videos.

    Each row of the split `weak` (every row, where the manifest has no splits) becomes its clips: `sample_id`
    is the row's with `#000`, `#001`, … behind it, `start` and `end` lie within the row's own, `source_id` is
    the row's or else its `sample_id`, and the labels are inherited. Rows of other splits pass as they are.
    The order is that of the manifest, with absolute uris.

    A video that cannot be opened keeps its one row, without `start` and `end`: the teacher pass then reports
    it with its reason as the status.

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
    has_splits = "split" in manifest.columns
    summary, reasons = CutSummary(), Counter[str]()
    with TableWriter(out, MANIFEST_SCHEMA) as writer, _thread_map(num_workers) as thread_map:
        for batch in manifest.batches(batch_size=BATCH_ROWS):
            rows = [{**row, "uri": row["uri"] and absolute_uri(row["uri"])} for row in batch.to_pylist()]
            is_cut = [row["uri"] is not None and (not has_splits or row["split"] == "weak") for row in rows]
            videos = [row["uri"] for row, cut in zip(rows, is_cut, strict=True) if cut]
            durations = iter(list(thread_map(_duration, videos)))
            written: list[dict[str, Any]] = []
            for row, cut in zip(rows, is_cut, strict=True):
                duration = next(durations) if cut else None
                if duration is None:
                    written.append(row)
                    continue
                summary.videos += 1
                if isinstance(duration, MediaError):
                    reasons[duration.reason] += 1
                    written.append({**row, "start": None, "end": None})
                    continue
                pieces = _clip_rows(row, duration, clip, sampling)
                summary.clips += len(pieces)
                written += pieces
            writer.write(pa.Table.from_pylist(written, schema=MANIFEST_SCHEMA))
    summary.unreadable = dict(sorted(reasons.items()))
    return summary


def _clip_rows(
    row: dict[str, Any], duration: Fraction, clip: ClipOptions, sampling: ClipSampling
) -> list[dict[str, Any]]:
    """The clips of one row, within its own start and end."""
    begin = Fraction(row["start"] or 0)
    end = duration if row["end"] is None else min(Fraction(row["end"]), duration)
    clips = sample_clips(end - begin, sampling, clip, video_id=row["sample_id"])
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
