"""A dry run: every path, vocabulary and shape of a study is checked, and what it would do is listed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import torch
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sublabel.errors import ConfigError, MediaError
from sublabel.labels import Alignment
from sublabel.media.domain import Preprocessing
from sublabel.media.shards import missing_shards, shard_numbers
from sublabel.options import TrainOptions
from sublabel.study.outcomes import is_tested
from sublabel.study.study import Study
from sublabel.tables import Manifest, source_ranks
from sublabel.tables.io import is_remote
from sublabel.teacher.passes import shard_rows

# A training step is a forward pass and two of its size backwards.
PASSES_OF_A_STEP = 3


class Stage(NamedTuple):
    """One stage of a study."""

    name: str
    done: bool
    samples: int
    """At most: a strategy may drop some."""
    epochs: int
    """0 where the options give steps, and where nothing is trained."""
    steps: int
    flops: float
    """At most, of the backbone."""


class Split(NamedTuple):
    """What a dry run found in one split."""

    name: str
    samples: int
    sources: int | None
    missing: tuple[str, ...]
    """Local files that are not there."""
    remote: int
    """Files behind URLs, which are not looked for."""
    media_shape: tuple[int, ...]
    """The shape of the first sample, decoded."""
    input_shape: tuple[int, ...]


@dataclass(frozen=True)
class StudyPlan:
    """What a study would do."""

    splits: tuple[Split, ...]
    vocabularies: str
    backbone: str
    stages: tuple[Stage, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Local files that the manifest names and that are not there."""
        return tuple(path for split in self.splits for path in split.missing)

    def to_rich(self) -> Group:
        """Tables for the terminal."""
        splits = _table("split", "samples", "sources", "missing files", "decoded", "input")
        for split in self.splits:
            sources = "–" if not split.sources else f"{split.sources:,}"
            shapes = ("×".join(map(str, shape)) for shape in (split.media_shape, split.input_shape))
            splits.add_row(split.name, f"{split.samples:,}", sources, f"{len(split.missing):,}", *shapes)
        stages = _table("stage", "state", "samples", "epochs", "steps", "PFLOP")
        for stage in self.stages:
            state = "done" if stage.done else "to do"
            counts = (
                f"{stage.samples:,}",
                str(stage.epochs or "–"),
                f"{stage.steps:,}" if stage.steps else "–",
            )
            stages.add_row(stage.name, state, *counts, f"{stage.flops / 1e15:,.2g}")
        left = sum(stage.flops for stage in self.stages if not stage.done)
        notes = [
            f"to do: {left / 1e15:,.3g} PFLOP at most (forward, and twice that backward, without decoding)"
        ]
        remote = sum(split.remote for split in self.splits)
        if remote:
            notes.append(f"{remote:,} files behind URLs were not looked for")
        if self.missing:
            notes.append(f"{len(self.missing)} files are missing, such as {', '.join(self.missing[:3])}")
        return Group(Text(self.vocabularies), Text(self.backbone), splits, stages, Text("\n".join(notes)))


def plan_study(study: Study) -> StudyPlan:
    """Check a study without training: files, vocabularies, the first sample of each split, the backbone.

    Args:
        study: Not changed; nothing is written.

    Raises:
        ConfigError: The backbone does not take the inputs that the domain makes.
        MediaError: The first sample of a split cannot be read.
        TableError: A split has no rows.
    """
    backbone, preprocessing = study.models.new_backbone(seed=0)
    names = ("weak", "target_train", *study.media.tested)
    splits = tuple(_check_split(study, split, preprocessing) for split in names)
    features, flops = _features(backbone, splits[0].input_shape)
    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    described = (
        f"backbone {study.options.backbone}: {parameters / 1e6:.1f} M parameters, {features} features, "
        f"{flops / 1e9:.3g} GFLOP an input of {'×'.join(map(str, splits[0].input_shape))}"
    )
    return StudyPlan(splits, _vocabularies(study), described, tuple(_stages(study, splits, flops)))


def _check_split(study: Study, name: str, preprocessing: Preprocessing) -> Split:
    manifest = study.manifest.filter(split=name)
    has_views = name in study.media.tested
    transform = study.domain.test_transform if has_views else study.domain.evaluation_transform
    row = next(batch.slice(0, 1).to_pylist()[0] for batch in manifest.batches() if batch.num_rows)
    try:
        media = study.domain.read(row)
    except MediaError as error:
        raise MediaError(f"{error.reason} (the first sample of {name}, {row['sample_id']!r})") from error
    shape = tuple(transform(preprocessing)(media).shape)
    sources: set[str] | None = set() if "source_id" in manifest.columns else None
    samples, uris = 0, set()
    for batch in manifest.batches(["uri", "source_id"]):
        samples += batch.num_rows
        uris.update(pc.unique(batch.column("uri")).to_pylist())
        if sources is not None:
            sources.update(pc.unique(batch.column("source_id").drop_null()).to_pylist())
    count = None if sources is None else len(sources)
    files = sorted(uri for uri in uris if uri is not None)
    remote = sum(map(is_remote, files))
    missing = tuple(uri for uri in files if not is_remote(uri) and not Path(uri).exists())
    return Split(name, samples, count, missing, remote, tuple(media.shape), shape)


def _vocabularies(study: Study) -> str:
    weak, target = study.classes.weak, study.classes.teacher
    alignment = Alignment.of(study.classes.alignment, weak, target)
    agreeing = len({weak_name for weak_name, _ in alignment.pairs.tolist()})
    return (
        f"{len(weak):,} weak classes × {len(target):,} target classes; {agreeing:,} weak classes agree with "
        "one"
    )


def _features(backbone: nn.Module, input_shape: tuple[int, ...]) -> tuple[int, float]:
    """Width of the features, and floating-point operations of one input."""
    inputs = torch.zeros(1, *input_shape)
    try:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            features = backbone.eval()(inputs)
    except RuntimeError as error:
        raise ConfigError(f"the backbone does not take inputs of shape {input_shape}: {error}") from error
    return features.shape[-1], float(counter.get_total_flops())


def _stages(study: Study, splits: tuple[Split, ...], flops: float) -> Iterator[Stage]:
    weak, train, *tests = splits
    views = study.domain.num_views or 1
    options, devices = study.options, study.models.devices_a_step
    processes = study.models.trainer().world_size
    first, others = study.rows()

    def finetuning(label: str, folder: Path) -> Stage:
        return _training(label, folder, options.finetune, train.samples, flops, devices)

    for row in first:
        folder = study.folder(row)
        yield finetuning(f"{folder.parent.name}/teacher", folder)
    look = _teacher_flops(study, flops)
    for seed in dict.fromkeys(0 if study.teaching.is_shared else row.seed for row in first):
        folder = study.teaching.folder(seed)
        place = "" if study.teaching.is_shared else f"{folder.name}/"
        for model in study.teaching.model_folders(seed) if study.teaching.has_own_backbone else ():
            yield _own_teacher(study, model, train.samples, look)
        shards = folder / "predictions"
        rows = shard_rows(shards, weak.samples, processes)
        numbers = shard_numbers(weak.samples, rows if study.given_predictions is None else weak.samples)
        done = not missing_shards(shards, "parquet", numbers)
        looks = study.teaching.looks * weak.samples
        yield Stage(f"{place}predictions", done, weak.samples, 0, 0, look * looks)
    for row in others:
        folder, clips = study.folder(row), row.clips_per_video
        samples = weak.samples if clips is None else _clips(study.manifest, clips)
        label = str(folder.relative_to(study.out))
        yield _training(
            f"{label}/pretrained", folder / "pretrained", options.pretrain, samples, flops, devices
        )
        yield finetuning(f"{label}/finetuned", folder / "finetuned")
    tested = [study.folder(row) for row in first] + [study.folder(row) / "finetuned" for row in others]
    left = sum(not is_tested(folder) for folder in tested)
    label = f"tests ({left} of {len(tested)}, {views} views)"
    samples = sum(split.samples for split in tests)
    yield Stage(label, left == 0, samples, 0, 0, flops * samples * views * left)


def _teacher_flops(study: Study, flops: float) -> float:
    """Operations of a teacher's look at one input; what is given costs what nobody here knows, or nothing."""
    if study.teaching.is_given:
        return 0.0
    if not study.teaching.has_own_backbone:
        return flops
    backbone, preprocessing = study.models.new_teacher_backbone(seed=0)
    return _features(backbone, preprocessing.input_size)[1]


def _own_teacher(study: Study, folder: Path, samples: int, flops: float) -> Stage:
    label, options = str(folder.relative_to(study.out)), study.options.teacher
    if options.training == "finetune":
        return _training(label, folder, options.finetune, samples, flops, study.models.devices_a_step)
    return Stage(label, (folder / "card.json").exists(), samples, 0, 0, flops * samples)


def _training(
    label: str, folder: Path, options: TrainOptions, samples: int, flops: float, devices: int
) -> Stage:
    an_epoch = max(1, -(-samples // devices) // options.batch_size)
    steps = options.steps or options.epochs * an_epoch
    seen = samples * options.epochs if options.steps is None else steps * options.batch_size * devices
    done = (folder / "card.json").exists()
    epochs = 0 if options.steps else options.epochs
    return Stage(label, done, samples, epochs, steps, PASSES_OF_A_STEP * flops * seen)


def _clips(manifest: Manifest, clips_per_video: int) -> int:
    rows = manifest.filter(split="weak").batches(["source_id", "sample_id"])
    table = pa.Table.from_batches(rows)
    return int((source_ranks(table["source_id"], table["sample_id"]) < clips_per_video).sum())


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index == 0 else "right")
    return table
