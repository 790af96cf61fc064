"""Untrimmed videos made of trimmed ones, so that real footage has a temporal noise that is known (ours).

Each untrimmed video has a query class. Its segments are whole trimmed videos: of the query for a part of the
time, else of classes that co-occur with it, else of any class.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
from av.video.reformatter import VideoReformatter
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from sublabel._files import write_atomically
from sublabel.errors import ConfigError
from sublabel.tables import MANIFEST_SCHEMA, TableWriter, open_manifest
from sublabel_image.pages import co_occurrence
from sublabel_video._drawing import encode_video
from sublabel_video._truth import Segment, Truth, write_truth

_log = logging.getLogger(__name__)


class CollageOptions(BaseModel):
    """What `make_collages` makes. All defaults are ours."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    videos: PositiveInt = Field(70, description="untrimmed videos; each class is the query of as many")
    segments: PositiveInt = Field(8, description="trimmed videos in each")
    shown: float = Field(0.45, ge=0, le=1, description="probability that a segment shows the query")
    co_occurring: float = Field(0.35, ge=0, le=1, description="probability of a class that co-occurs with it")
    target_train: PositiveInt = Field(12, description="trimmed videos of each class to train on, as they are")
    target_test: PositiveInt = Field(16, description="trimmed videos of each class to test on, as they are")
    size: PositiveInt = Field(160, multiple_of=2, description="height and width in pixels")
    fps: PositiveInt = Field(30, description="frames a second")
    seed: int = Field(0, ge=0, description="of all draws")


def make_collages(trimmed: str | Path, folder: str | Path, options: CollageOptions | None = None) -> Path:
    """Make untrimmed videos with weak labels out of trimmed ones with true labels.

    The first videos of a class by the numbers in their names are tested on: neighbours are often of one
    scene, and a random choice would test on scenes that were trained on. Of the others, some drawn ones are
    trained on and the rest are material for the untrimmed videos.

    Args:
        trimmed: Holds a folder of videos for each class.
        folder: Gets `weak/*.mp4` with the truth beside each as JSON, and `manifest.parquet`, which is not
            made again where it exists.
        options: None takes the defaults.

    Returns:
        The path of the manifest.

    Raises:
        ConfigError: A class has too few videos, or the probabilities sum to more than 1.
        TableError: There are no videos in class folders.
    """
    folder, options = Path(folder), options or CollageOptions()
    manifest = folder / "manifest.parquet"
    if manifest.exists():
        return manifest
    if options.shown + options.co_occurring > 1:
        raise ConfigError(
            f"shown is {options.shown} and co_occurring {options.co_occurring}; they must sum to at most 1"
        )
    by_class = _by_class(Path(trimmed))
    tested, trained = options.target_test, options.target_test + options.target_train
    generator = np.random.default_rng(options.seed)
    for videos in by_class.values():
        videos[tested:] = [videos[tested + i] for i in generator.permutation(len(videos[tested:]))]
    rows: list[dict[str, Any]] = []
    for name, videos in by_class.items():
        if len(videos) <= trained:
            raise ConfigError(
                f"{name!r} has {len(videos)} videos; {trained} are for the target, and some must be left over"
            )
        for split, chosen in (("target_test", videos[:tested]), ("target_train", videos[tested:trained])):
            rows += [
                {"sample_id": f"{split}/{name}/{path.name}", "uri": str(path), "label": name, "split": split}
                for path in chosen
            ]
    material = {name: videos[trained:] for name, videos in by_class.items()}
    rows += _make_weak(material, folder, options, generator)
    with TableWriter(manifest, MANIFEST_SCHEMA, {"options": options.model_dump_json()}) as writer:
        writer.write(pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA))
    _log.info(
        "%d untrimmed videos and %d trimmed ones in %s", options.videos, len(rows) - options.videos, folder
    )
    return manifest


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
    folder: Path,
    options: CollageOptions,
    generator: np.random.Generator,
) -> Iterator[dict[str, Any]]:
    """Write the untrimmed videos, each video of the material as often as any other of its class, nearly."""
    names = list(material)
    matrix = co_occurrence(len(names))
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


def _frames(path: Path, options: CollageOptions) -> Iterator[np.ndarray]:
    """A frame for each tick of the collage's rate, uint8 (size, size, 3)."""
    with av.open(str(path)) as container:
        converter = VideoReformatter()
        shown = 0
        first: float | None = None
        for frame in container.decode(video=0):
            time = frame.time or 0.0
            first = time if first is None else first
            scaled = converter.reformat(frame, options.size, options.size, "rgb24").to_ndarray()
            while shown <= (time - first) * options.fps + 1e-6:
                yield scaled
                shown += 1
