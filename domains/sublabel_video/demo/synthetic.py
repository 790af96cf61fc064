"""Generated untrimmed videos whose temporal noise is known, to try the method without a download (ours).

Every video is an MP4 file of an object that moves. Its actions come in opposite pairs that only motion tells
apart: a single frame has the same distribution under all of them, and where nothing happens. An untrimmed
video has a query, the action that it would be found for. A part of it shows the query, and the rest shows
other target actions, sub-concepts, which are actions outside the target that come with certain queries, and
background. A JSON file beside each video says what it shows when.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from sublabel.errors import ConfigError
from sublabel.files import write_atomically
from sublabel.provenance import claim_folder
from sublabel.tables import MANIFEST_SCHEMA, TableWriter, versions
from sublabel_image.demo import co_occurrence, share_out
from sublabel_video.demo.contact_sheet import contact_sheet
from sublabel_video.demo.drawing import MOTIONS, OTHER_MOTIONS, draw_scene, encode_video
from sublabel_video.demo.truth import Segment, Truth, action_at, load_truth, write_truth

__all__ = [
    "ACTIONS",
    "SEGMENTS_SCHEMA",
    "SUB_CONCEPTS",
    "Segment",
    "SyntheticOptions",
    "Truth",
    "action_at",
    "contact_sheet",
    "load_truth",
    "make_videos",
]

_log = logging.getLogger(__name__)

ACTIONS = tuple(MOTIONS)
"""The names of the actions that may be target classes; opposites are neighbours."""
SUB_CONCEPTS = tuple(OTHER_MOTIONS)
"""The names of the actions that come with queries, and are none."""

SEGMENTS_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("query", pa.string()),
        ("action", pa.string()),
        ("start", pa.float64()),
        ("end", pa.float64()),
    ]
)
"""Columns of `truth.parquet`, which has a row for each segment of each video.

`start` and `end` are seconds from the start of the video, and `action` is null for background."""

Share = Annotated[float, Field(ge=0, le=1)]


class SyntheticOptions(BaseModel):
    """How many videos `make_videos` makes, and what they show; all defaults are ours."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    actions: tuple[str, ...] = Field(ACTIONS[:10], min_length=1, description="the actions, out of `ACTIONS`")
    videos: PositiveInt = Field(120, description="untrimmed videos; each action is the query of as many")
    seconds: PositiveFloat = Field(20.0, description="length of an untrimmed video")
    shown: Share = Field(0.4, description="share of an untrimmed video's time that shows its query")
    sub_concepts: Share = Field(
        0.4, description="share of the time that shows the sub-concepts of the query, each as often"
    )
    co_occurring: Share = Field(
        0.1,
        description="share of the time that shows actions drawn from `co_occurrence`; the rest is background",
    )
    sub_concept_actions: tuple[str, ...] = Field(
        SUB_CONCEPTS, description="the sub-concepts, out of `SUB_CONCEPTS` and actions that are no target"
    )
    queries_each: PositiveInt = Field(2, description="queries that each sub-concept comes with")
    co_occurrence: tuple[tuple[float, ...], ...] | None = Field(
        None,
        description="row q: how often the videos of the q-th action show which other, summing to 1; default: "
        "a ring, the next action 60% and the one after it 40%",
    )
    segment_seconds: PositiveFloat = Field(
        2.5, description="average length of a segment; each has about 0.5 to 1.5 times as much"
    )
    label_noise: Share = Field(
        0.0,
        description="share of the untrimmed videos whose weak label is some other action than their query",
    )
    target_train: PositiveInt = Field(20, description="clean trimmed clips of each action to train on")
    target_test: PositiveInt = Field(25, description="clean trimmed clips of each action to test on")
    target_seconds: PositiveFloat = Field(1.6, description="length of a trimmed clip")
    speeds: tuple[PositiveFloat, PositiveFloat] = Field(
        (0.4, 0.75), description="range of an action's speed, in turns, or crossings of the frame, a second"
    )
    side_motion: Share = Field(
        0.3,
        description="other motion, background included, goes up to this share of the action's speed: more is "
        "harder",
    )
    camera_noise: float = Field(
        4.0, ge=0, description="standard deviation of a pixel's brightness, where white is 255"
    )
    size: int = Field(48, ge=16, multiple_of=2, description="height and width in pixels")
    fps: PositiveInt = Field(15, description="frames a second")
    seed: int = Field(0, ge=0, description="seed of all draws")

    @model_validator(mode="after")
    def _check(self) -> SyntheticOptions:
        self._check_names()
        if sum(self.shares()) > 1 + 1e-9:
            raise ConfigError(
                f"shown is {self.shown}, sub_concepts {self.sub_concepts} and co_occurring "
                f"{self.co_occurring}; they must sum to at most 1"
            )
        if self.speeds[0] > self.speeds[1]:
            raise ConfigError(f"speeds are {self.speeds}; expected the lower one first")
        if self.label_noise > 0 and len(self.actions) < 2:
            raise ConfigError(
                f"label_noise is {self.label_noise} with the one action {self.actions[0]!r}; expected a "
                "second action, for the wrong labels"
            )
        matrix = self.matrix() if self.co_occurring > 0 else None
        if matrix is not None and ((matrix < 0).any() or not np.allclose(matrix.sum(1), 1)):
            raise ConfigError("co_occurrence has a row with a negative value or a sum other than 1")
        alone = [query for query, concepts in self.concepts_of().items() if not concepts]
        if self.sub_concepts > 0 and alone:
            raise ConfigError(
                f"{alone[0]!r} has none of the {len(self.sub_concept_actions)} sub-concepts: take more of "
                "them, or more queries_each"
            )
        return self

    def _check_names(self) -> None:
        names = (*self.actions, *self.sub_concept_actions)
        if set(self.actions) - set(ACTIONS) or len(set(self.actions)) < len(self.actions):
            raise ConfigError(
                f"actions are {self.actions}; expected names without repetition of: {', '.join(ACTIONS)}"
            )
        if set(names) - {*ACTIONS, *SUB_CONCEPTS} or len(set(names)) < len(names):
            raise ConfigError(
                f"sub_concept_actions are {self.sub_concept_actions}; expected names without repetition that "
                f"are no target actions, of: {', '.join((*ACTIONS, *SUB_CONCEPTS))}"
            )

    def shares(self) -> tuple[float, float, float]:
        """Shares of the time that shows the query, its sub-concepts, and what co-occurs with it."""
        return self.shown, self.sub_concepts, self.co_occurring

    def concepts_of(self) -> dict[str, tuple[str, ...]]:
        """Query → the sub-concepts that come with it, drawn by the seed.

        Raises:
            ConfigError: There are fewer queries than each sub-concept is to come with.
        """
        if self.sub_concepts == 0:
            return dict.fromkeys(self.actions, ())
        # No video's generator, and no split's.
        generator = np.random.default_rng([self.seed, 3])
        queries = share_out(len(self.sub_concept_actions), len(self.actions), self.queries_each, generator)
        return {
            query: tuple(
                name for name, own in zip(self.sub_concept_actions, queries, strict=True) if place in own
            )
            for place, query in enumerate(self.actions)
        }

    def matrix(self) -> np.ndarray:
        """Make the co-occurrence matrix of the K actions: float64 (K, K), rows are queries and sum to one.

        Raises:
            ConfigError: It has another shape than (K, K).
        """
        classes = len(self.actions)
        if self.co_occurrence is None:
            return co_occurrence(classes)
        lengths = {len(row) for row in self.co_occurrence}
        if lengths != {classes} or len(self.co_occurrence) != classes:
            raise ConfigError(
                f"co_occurrence has {len(self.co_occurrence)} rows of {sorted(lengths)} values; expected "
                f"{classes} of {classes}, for the actions in their order"
            )
        return np.array(self.co_occurrence)


def make_videos(folder: str | Path, options: SyntheticOptions | None = None) -> Path:
    """Make untrimmed videos with weak labels, and trimmed clips with clean ones.

    The folder gets `weak/*.mp4`, `target_train/*.mp4` and `target_test/*.mp4`; `NAME.json` beside each video,
    with its query, its segments and the action of each second; `truth.parquet` with all segments
    (`SEGMENTS_SCHEMA`); and `manifest.parquet` with a row for each video, whose uri is relative. There, the
    untrimmed videos are whole, to be cut into clips. The same options give the same bytes on the same
    machine. A run that was stopped goes on where it was, and a finished folder stays as it is.

    Args:
        folder: Where the videos go; it is made if it does not exist.
        options: How many videos, and what they show; None takes the defaults.

    Returns:
        The path of the manifest.

    Raises:
        ConfigError: The folder holds videos of other options.
    """
    folder, options = Path(folder), options or SyntheticOptions()
    manifest = folder / "manifest.parquet"
    claim_folder(folder, options.model_dump(mode="json"))
    if manifest.exists():
        return manifest
    rows: list[dict[str, Any]] = []
    segments: list[dict[str, Any]] = []
    for sample_id, query, weak_label, generator in _plan(options):
        video = folder / f"{sample_id}.mp4"
        if not video.with_suffix(".json").exists():
            _make_video(video, query, weak_label is None, options, generator)
        truth = load_truth(video)
        rows.append(
            {
                "sample_id": sample_id,
                "uri": f"{sample_id}.mp4",
                "source_id": sample_id,
                "weak_label": weak_label,
                "label": query if weak_label is None else None,
                "split": video.parent.name,
            }
        )
        segments += [{"sample_id": sample_id, "query": query, **asdict(part)} for part in truth.segments]
    made_by = {"options": options.model_dump_json(), "versions": json.dumps(versions("av"))}
    for path, schema, table in (
        (folder / "truth.parquet", SEGMENTS_SCHEMA, segments),
        (manifest, MANIFEST_SCHEMA, rows),
    ):
        with TableWriter(path, schema, made_by) as writer:
            writer.write(pa.Table.from_pylist(table, schema=schema))
    _log.info("%d untrimmed videos and %d clips in %s", options.videos, len(rows) - options.videos, folder)
    return manifest


def _plan(options: SyntheticOptions) -> Iterator[tuple[str, str, str | None, np.random.Generator]]:
    """Give each video a sample id, a query, a weak label (None for a clean clip) and a random generator.

    The generator is the video's own, so that it is the same whether or not others were made before it.
    """
    actions = options.actions
    counts = {
        "weak": options.videos,
        "target_train": options.target_train * len(actions),
        "target_test": options.target_test * len(actions),
    }
    for split_index, (split, count) in enumerate(counts.items()):
        noise = np.random.default_rng([options.seed, split_index])
        wrong = np.zeros(count, dtype=bool)
        wrong[noise.permutation(count)[: round(options.label_noise * count)]] = True
        steps = noise.integers(1, max(2, len(actions)), count)
        for number in range(count):
            query = actions[number % len(actions)]
            weak_label = actions[(number + wrong[number] * steps[number]) % len(actions)]
            # From 1: numpy takes a seed that ends in zero for the one without it, which `noise` has.
            generator = np.random.default_rng([options.seed, split_index, number + 1])
            yield f"{split}/{number:05d}", query, weak_label if split == "weak" else None, generator


def _make_video(
    path: Path, query: str, trimmed: bool, options: SyntheticOptions, generator: np.random.Generator
) -> None:
    """Write a video and then its truth, so that a truth always has its video."""
    fps = options.fps
    if trimmed:
        scenes: list[tuple[str | None, int]] = [(query, max(1, round(options.target_seconds * fps)))]
    else:
        scenes = _untrimmed_scenes(query, options, generator)
    edges = np.cumsum([0, *(frames for _, frames in scenes)]) / fps
    drawn = (
        frame
        for action, frames in scenes
        for frame in draw_scene(
            action,
            frames,
            size=options.size,
            fps=fps,
            speeds=options.speeds,
            side_motion=options.side_motion,
            camera_noise=options.camera_noise,
            generator=generator,
        )
    )
    with write_atomically(path) as file:
        encode_video(file, drawn, size=options.size, fps=fps)
    segments = tuple(
        Segment(action, float(start), float(end))
        for (action, _), start, end in zip(scenes, edges[:-1], edges[1:], strict=True)
    )
    write_truth(path, Truth(query, segments))


def _untrimmed_scenes(
    query: str, options: SyntheticOptions, generator: np.random.Generator
) -> list[tuple[str | None, int]]:
    """Draw the actions of an untrimmed video and their numbers of frames, in the shares of the options."""
    total = max(1, round(options.seconds * options.fps))
    edges = [round(min(1, share) * total) for share in (0, *np.cumsum(options.shares()), 1)]
    shown, concepts, co_occurring, background = (
        _cut(int(frames), options, generator) for frames in np.diff(edges)
    )
    scenes: list[tuple[str | None, int]] = [(query, frames) for frames in shown]
    if concepts:
        drawn = generator.choice(options.concepts_of()[query], size=len(concepts))
        scenes += zip(drawn.tolist(), concepts, strict=True)
    if co_occurring:
        row = options.matrix()[options.actions.index(query)]
        others = generator.choice(len(row), size=len(co_occurring), p=row / row.sum())
        scenes += [
            (options.actions[other], frames) for other, frames in zip(others, co_occurring, strict=True)
        ]
    scenes += [(None, frames) for frames in background]
    return [scenes[index] for index in generator.permutation(len(scenes))]


def _cut(frames: int, options: SyntheticOptions, generator: np.random.Generator) -> list[int]:
    """Cut a number of frames into segments of about the wanted length."""
    pieces = min(max(1, round(frames / (options.segment_seconds * options.fps))), frames)
    if pieces == 0:
        return []
    inner = np.arange(1, pieces) + generator.uniform(-0.25, 0.25, pieces - 1)
    edges = np.round(np.array([0, *inner, pieces]) * frames / pieces).astype(int)
    return [int(length) for length in np.diff(edges) if length > 0]
