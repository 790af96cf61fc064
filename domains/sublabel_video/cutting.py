"""A manifest of clips from a manifest of videos."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from sublabel.errors import MediaError, TableError
from sublabel.provenance import differences, refuse_others
from sublabel.tables import MANIFEST_SCHEMA, Manifest, TableWriter, read_metadata
from sublabel_video.clips import Clip, ClipOptions, ClipSampling, sample_clips
from sublabel_video.decoding import absolute_uri, probe, span_failure

# Videos whose headers are read at the same time.
BATCH_ROWS = 1024
# Changes with whatever changes the rows that are cut beside the manifest and the options.
FORMAT_VERSION = 1
ALWAYS_WRITTEN = ("sample_id", "uri", "start", "end", "source_id")


@dataclass
class CutSummary:
    """What `cut_clips` did with the videos that it was to cut."""

    videos: int = 0
    clips: int = 0
    """Clips of all videos that can be read."""
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
    true_label: Callable[[Mapping[str, Any]], str] | None = None,
    replace_others: bool = True,
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
        true_label: Says what a clip truly shows by its row, where that is known.
        replace_others: Write over a file that was made from other rows or options, instead of refusing to.

    Raises:
        TableError: The manifest is damaged, or has no `uri`; or `out` is another file, and must stay.
        ConfigError: `out` was made from other rows or options, and must stay.
    """
    manifest.require("sample_id", "uri")
    rows_digest, schema = _survey(manifest)
    made_from = {
        "format": FORMAT_VERSION,
        "clip": {"frames": clip.frames, "step": str(clip.step)},
        "sampling": sampling.model_dump(mode="json"),
        "rows": rows_digest,
    }
    if true_label is not None:
        made_from["true labels"] = True
        schema = pa.schema([each for each in MANIFEST_SCHEMA if each.name in {*schema.names, "true_label"}])
    stored = _stored(out)
    if stored is not None:
        if not differences(stored.made_from, made_from):
            return replace(stored.summary, kept=True)
        if not replace_others:
            refuse_others(out, stored.made_from, made_from)
    elif not replace_others and Path(out).exists():
        raise TableError(
            f"{out} is there and was not cut from videos, or is damaged; give another path, or delete it"
        )
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
    metadata = {"made_from": json.dumps(made_from), "summary": json.dumps(asdict(summary))}
    remaining = iter(durations)
    with TableWriter(out, schema, metadata) as writer:
        for rows in _batches(manifest, schema.names):
            written: list[dict[str, Any]] = []
            for row in rows:
                written += _rows(row, next(remaining), clip, sampling) if _is_cut(row) else [row]
            if true_label is not None:
                written = [{**row, "true_label": true_label(row)} if _is_cut(row) else row for row in written]
            writer.write(pa.Table.from_pylist(written, schema=schema))
    return summary


def _batches(manifest: Manifest, columns: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    for batch in manifest.batches(columns, batch_size=BATCH_ROWS):
        yield [{**row, "uri": row["uri"] and absolute_uri(row["uri"])} for row in batch.to_pylist()]


def _is_cut(row: dict[str, Any]) -> bool:
    return row["uri"] is not None and row.get("split") in (None, "weak")


def _survey(manifest: Manifest) -> tuple[str, pa.Schema]:
    """A digest of the rows, and the columns to write."""
    digest = hashlib.sha256()
    filled = set(ALWAYS_WRITTEN)
    for rows in _batches(manifest, manifest.columns):
        for row in rows:
            values = {name: value for name, value in row.items() if value is not None}
            filled.update(values)
            digest.update(repr(values).encode())
    return digest.hexdigest(), pa.schema([each for each in MANIFEST_SCHEMA if each.name in filled])


class _Stored(NamedTuple):
    """What a file that was cut before says of itself."""

    made_from: dict[str, Any]
    summary: CutSummary


def _stored(out: str | Path) -> _Stored | None:
    """None where there is no file that `cut_clips` wrote."""
    if not Path(out).exists():
        return None
    try:
        metadata = read_metadata(out)
        return _Stored(json.loads(metadata["made_from"]), CutSummary(**json.loads(metadata["summary"])))
    except (TableError, KeyError, json.JSONDecodeError):
        return None


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
