"""Untrimmed videos made of trimmed ones, so that real footage has a temporal noise that is known (ours).

Each untrimmed video has a query class. Its segments are whole trimmed videos: some show the query, some a
class that co-occurs with it, and the others any class.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from sublabel.errors import ConfigError, MediaError
from sublabel.files import write_atomically
from sublabel.provenance import claim_folder
from sublabel.tables import MANIFEST_SCHEMA, TableWriter, open_manifest
from sublabel_image.demo import co_occurrence
from sublabel_video.clips import ClipOptions
from sublabel_video.decoding import read_clips
from sublabel_video.demo.drawing import encode_video
from sublabel_video.demo.truth import Segment, Truth, write_truth

_log = logging.getLogger(__name__)


class CollageOptions(BaseModel):
    """How many videos `make_collages` makes, and what they show; all defaults are ours."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    videos: PositiveInt = Field(70, description="untrimmed videos; each class is the query of as many")
    segments: PositiveInt = Field(8, description="trimmed videos in each untrimmed one")
    shown: float = Field(0.45, ge=0, le=1, description="probability that a segment shows the query")
    co_occurring: float = Field(
        0.35, ge=0, le=1, description="probability that it shows a class that co-occurs with it"
    )
    target_train: PositiveInt = Field(12, description="trimmed videos of each class to train on, as they are")
    target_test: PositiveInt = Field(16, description="trimmed videos of each class to test on, as they are")
    size: PositiveInt = Field(
        160, multiple_of=2, description="height and width in pixels of the shown square"
    )
    fps: PositiveInt = Field(30, description="frames a second")
    seed: int = Field(0, ge=0, description="seed of all draws")


def make_collages(trimmed: str | Path, folder: str | Path, options: CollageOptions | None = None) -> Path:
    """Make untrimmed videos with weak labels out of trimmed ones with true labels.

    The videos of a class are shared out by the numbers in their names. The first ones are the test set:
    neighbours often show one scene, and a random choice would test on scenes that were trained on. A random
    part of the others is the training set, and the rest is material for the untrimmed videos. There, each is
    shown upright, at its own speed and from its first frame to its last, scaled to the short side and cut to
    the square in its middle.

    The same options and videos give the same bytes on the same machine. A finished folder stays as it is.

    Args:
        trimmed: Folder with a folder of videos for each class.
        folder: Where `weak/*.mp4` go with the truth beside each as JSON, `manifest.parquet`, and
            `options.json`.
        options: How many videos, and what they show; None takes the defaults.

    Returns:
        The path of the manifest.

    Raises:
        ConfigError: There are fewer than 3 classes, one has too few videos or one that cannot be read, or the
            probabilities sum to more than 1; or the folder holds collages of other options, or of other
            trimmed videos.
        TableError: There are no videos in class folders.
    """
    folder, options = Path(folder), options or CollageOptions()
    if options.shown + options.co_occurring > 1:
        raise ConfigError(
            f"shown is {options.shown} and co_occurring {options.co_occurring}; they must sum to at most 1"
        )
    generator = np.random.default_rng(options.seed)
    rows, material = _share_out(_by_class(Path(trimmed)), options, generator)
    matrix = co_occurrence(len(material))
    # Last of the checks: a folder is not to be claimed by options that nothing can be made with.
    claim_folder(folder, {"trimmed": str(Path(trimmed).absolute()), **options.model_dump(mode="json")})
    manifest = folder / "manifest.parquet"
    if manifest.exists():
        return manifest
    rows += _make_weak(material, matrix, folder, options, generator)
    filled = {name for row in rows for name in row}
    schema = pa.schema([each for each in MANIFEST_SCHEMA if each.name in filled])
    with TableWriter(manifest, schema, {"options": options.model_dump_json()}) as writer:
        writer.write(pa.Table.from_pylist(rows, schema=schema))
    _log.info(
        "%d untrimmed videos and %d trimmed ones in %s", options.videos, len(rows) - options.videos, folder
    )
    return manifest


def _share_out(
    by_class: Mapping[str, Sequence[Path]], options: CollageOptions, generator: np.random.Generator
) -> tuple[list[dict[str, Any]], dict[str, list[Path]]]:
    """Choose the target's videos: their rows, and the videos of each class that are left over."""
    tested, trained = options.target_test, options.target_test + options.target_train
    rows: list[dict[str, Any]] = []
    material: dict[str, list[Path]] = {}
    for name, numbered in by_class.items():
        if len(numbered) <= trained:
            raise ConfigError(
                f"{name!r} has {len(numbered)} videos; expected more than the {trained} of the target, as "
                "some must be left over: lower target_train or target_test"
            )
        drawn = [numbered[tested + i] for i in generator.permutation(len(numbered) - tested)]
        chosen = {"target_test": numbered[:tested], "target_train": drawn[: options.target_train]}
        rows += [
            {"sample_id": f"{split}/{name}/{path.name}", "uri": str(path), "label": name, "split": split}
            for split, paths in chosen.items()
            for path in paths
        ]
        material[name] = drawn[options.target_train :]
    return rows, material


def _by_class(trimmed: Path) -> dict[str, list[Path]]:
    by_class: dict[str, list[Path]] = {}
    for batch in open_manifest(trimmed).batches(["uri", "weak_label"]):
        for row in batch.to_pylist():
            by_class.setdefault(row["weak_label"], []).append(Path(row["uri"]))
    return {name: sorted(videos, key=_number) for name, videos in by_class.items()}


def _number(path: Path) -> tuple[int, str]:
    digits = re.findall(r"\d+", path.stem)
    return (int(digits[-1]) if digits else 0), path.name


def _make_weak(
    material: Mapping[str, Sequence[Path]],
    matrix: np.ndarray,
    folder: Path,
    options: CollageOptions,
    generator: np.random.Generator,
) -> Iterator[dict[str, Any]]:
    """Write the untrimmed videos; no video of a class is shown again before all others of it were."""
    names = list(material)
    queues: dict[int, list[Path]] = {label: [] for label in range(len(names))}
    kinds = (options.shown, options.co_occurring, 1 - options.shown - options.co_occurring)
    for number in range(options.videos):
        query = number % len(names)
        parts: list[tuple[str, Path]] = []
        for kind in generator.choice(3, options.segments, p=kinds):
            chances = (np.eye(len(names))[query], matrix[query], None)[kind]
            label = int(generator.choice(len(names), p=chances))
            if not queues[label]:
                queues[label] = [
                    material[names[label]][i] for i in generator.permutation(len(material[names[label]]))
                ]
            parts.append((names[label], queues[label].pop()))
        path = folder / "weak" / f"{number:05d}.mp4"
        _concatenate(path, names[query], parts, options)
        sample_id = f"weak/{path.name}"
        yield {
            "sample_id": sample_id,
            "uri": str(path.absolute()),
            "source_id": sample_id,
            "weak_label": names[query],
            "split": "weak",
        }


def _concatenate(path: Path, query: str, parts: list[tuple[str, Path]], options: CollageOptions) -> None:
    frames: list[np.ndarray] = []
    segments: list[Segment] = []
    for label, part in parts:
        start = len(frames)
        frames += _frames(part, options)
        segments.append(Segment(label, start / options.fps, len(frames) / options.fps))
    with write_atomically(path) as file:
        encode_video(file, frames, size=options.size, fps=options.fps)
    write_truth(path, Truth(query, tuple(segments)))


def _frames(path: Path, options: CollageOptions) -> list[np.ndarray]:
    """Read a video at the collage's rate: frames of uint8 (size, size, 3)."""
    tick = ClipOptions(frames=1, stride=1, fps=options.fps)
    [strip] = read_clips(str(path), [(None, None)], tick, short_side=options.size)
    if isinstance(strip, MediaError):
        raise ConfigError(f"{path} cannot be used ({strip.reason}): take it out of its folder") from strip
    top, left = ((side - options.size) // 2 for side in strip.shape[2:])
    square = strip[:, :, top : top + options.size, left : left + options.size]
    return list(square.permute(0, 2, 3, 1).contiguous().numpy())
