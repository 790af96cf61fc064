"""Presets of `image_noisy.py`: what each compares, how it trains, how it runs, and what makes its data.

All hyper-parameters are ours: the paper's are not published.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from sublabel.errors import ConfigError
from sublabel.labels import RawSPL
from sublabel.options import RunOptions, TrainOptions
from sublabel.study import StudyOptions, default_strategies
from sublabel.tables import write_folder_manifest
from sublabel_image.demo import (
    co_occurrence,
    load_cifar10,
    load_digits,
    page_queries,
    page_sources,
    write_manifest,
)

Preset = Literal["digits", "cifar10n", "cifar10_pages", "manifest", "folder"]


class DataOptions(BaseModel):
    """What a preset makes its data from; each uses what concerns it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str | None = Field(None, description="the preset's data")
    out: str | None = Field(
        None, description="folder for all artefacts, default runs/PRESET; a stopped run goes on there"
    )
    image_size: PositiveInt | None = Field(None, description="input pixels; default: the backbone's own")
    noisy_column: str = Field("worse_label", description="cifar10n: the column of noisy labels")
    clean_images: PositiveInt = Field(
        4000, description="clean target images, the same number of each class; all others are weak"
    )
    shown: float = Field(0.45, ge=0, le=1, description="pages: probability that a crop shows the query")
    co_occurring: float = Field(
        0.35, ge=0, le=1, description="pages: probability of a class that co-occurs with the query"
    )
    data_seed: int = Field(0, description="of the draws that make the data; the same for all training seeds")


FAST: dict[str, Any] = {
    "optimizer": "adamw",
    "learning_rate": 4e-3,
    "weight_decay": 0.05,
    "schedule": "one_cycle",
}
DIGITS = StudyOptions(
    backbone="small_resnet7",
    strategies=default_strategies(RawSPL(min_count=3)),
    seeds=3,
    pretrain=TrainOptions(epochs=8, batch_size=64, augmentation="shift", **FAST),
    finetune=TrainOptions(epochs=30, batch_size=10, augmentation="shift", **FAST),
)
CIFAR10 = StudyOptions(
    backbone="small_resnet7",
    pretrain=TrainOptions(epochs=3, batch_size=64, augmentation="shift_flip", **FAST),
    finetune=TrainOptions(epochs=25, batch_size=64, augmentation="shift_flip", **FAST),
)
YOURS = StudyOptions(
    backbone="resnet18",
    pretrain=TrainOptions(epochs=30),
    finetune=TrainOptions(epochs=30, learning_rate=0.02),
)
TWO_JOBS = RunOptions(jobs=2)
PRESETS: dict[Preset, tuple[StudyOptions, RunOptions, DataOptions]] = {
    "digits": (DIGITS, TWO_JOBS, DataOptions(clean_images=50, image_size=8)),
    "cifar10n": (CIFAR10, TWO_JOBS, DataOptions(image_size=32)),
    "cifar10_pages": (CIFAR10, TWO_JOBS, DataOptions(image_size=32)),
    "manifest": (YOURS, RunOptions(num_workers=2), DataOptions()),
    "folder": (YOURS, RunOptions(num_workers=2), DataOptions()),
}


def make_manifest(preset: Preset, options: DataOptions, path: Path) -> Path:
    """Write the preset's manifest to `path`, or take the user's."""
    if preset != "digits" and not options.data:
        raise ConfigError(f"the preset {preset} needs --data; the top of recipes/image_noisy.py says what")
    data = Path(options.data or "")
    if preset == "manifest":
        return data
    if preset == "folder":
        write_folder_manifest(path, data)
        return path
    images = load_digits() if preset == "digits" else load_cifar10(data)
    sources = None
    if preset == "cifar10n":
        if options.noisy_column not in images.noisy_labels:
            there = ", ".join(images.noisy_labels)
            raise ConfigError(f"there is no noisy column {options.noisy_column!r}; there are {there}")
        weak: np.ndarray = images.noisy_labels[options.noisy_column]
    else:
        matrix = co_occurrence(len(images.vocabulary))
        noise = {"shown": options.shown, "co_occurring": options.co_occurring}
        weak = page_queries(images.train_labels, matrix, **noise, seed=options.data_seed)
        sources = page_sources(weak)
    write_manifest(
        path, images, weak, clean_images=options.clean_images, sources=sources, seed=options.data_seed
    )
    return path
