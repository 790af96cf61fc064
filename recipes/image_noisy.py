"""Noisy images: does pre-training on Sub-Pseudo Labels (SPL) beat the weak labels? The whole comparison.

    python recipes/image_noisy.py                                       # scikit-learn's digits, no download
    python recipes/image_noisy.py --preset cifar10n --data DIR          # real human label noise
    python recipes/image_noisy.py --preset cifar10_pages --data DIR     # the noise of untrimmed videos
    python recipes/image_noisy.py --preset manifest --data MANIFEST     # yours: Parquet, CSV, JSON Lines
    python recipes/image_noisy.py --preset folder --data DIR            # yours: DIR/SPLIT/CLASS/*.jpg

The splits are weak, target_train and target_test. A preset sets defaults and every option overrides them
(`--help`, `--print_config`, `--config run.yaml`). What is trained in which order stands in `sublabel.study`.
All hyper-parameters are ours: the paper's are not published.
"""

from __future__ import annotations

import filecmp
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from rich.console import Console

from sublabel.distributed import is_first_process
from sublabel.errors import ConfigError
from sublabel.evaluation import Comparison
from sublabel.labels import RawSPL
from sublabel.report.command import report_of_study
from sublabel.study import (
    Study,
    StudyOptions,
    TrainOptions,
    default_strategies,
    holds_study,
    parse_preset,
    run_as_script,
)
from sublabel.tables import write_folder_manifest
from sublabel_image import ImageDomain
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
    jobs=2,
    pretrain=TrainOptions(epochs=8, batch_size=64, augmentation="shift", **FAST),
    finetune=TrainOptions(epochs=30, batch_size=10, augmentation="shift", **FAST),
)
CIFAR10 = StudyOptions(
    backbone="small_resnet7",
    jobs=2,
    pretrain=TrainOptions(epochs=3, batch_size=64, augmentation="shift_flip", **FAST),
    finetune=TrainOptions(epochs=25, batch_size=64, augmentation="shift_flip", **FAST),
)
YOURS = StudyOptions(
    backbone="resnet18",
    pretrain=TrainOptions(epochs=30),
    finetune=TrainOptions(epochs=30, learning_rate=0.02),
    num_workers=2,
)
PRESETS: dict[Preset, tuple[StudyOptions, DataOptions]] = {
    "digits": (DIGITS, DataOptions(clean_images=50, image_size=8)),
    "cifar10n": (CIFAR10, DataOptions(image_size=32)),
    "cifar10_pages": (CIFAR10, DataOptions(image_size=32)),
    "manifest": (YOURS, DataOptions()),
    "folder": (YOURS, DataOptions()),
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


def study_manifest(preset: Preset, options: DataOptions, out: Path) -> Path:
    """Make the manifest; that of a study which was begun in `out` is never changed."""
    path = out / "manifest.parquet"
    if not (holds_study(out) and path.exists()):
        return make_manifest(preset, options, path)
    with TemporaryDirectory() as scratch:
        made = make_manifest(preset, options, Path(scratch) / path.name)
        if made.parent != Path(scratch):
            return made
        if not filecmp.cmp(made, path, shallow=False):
            raise ConfigError(
                f"{out} holds a study of another manifest: choose another --out, delete it, or give the data "
                "and options that it was begun with"
            )
    return path


def parse(arguments: list[str] | None) -> tuple[Preset, StudyOptions, DataOptions]:
    """The preset gives the defaults, the command line and YAML files the rest."""
    preset, (study, data) = parse_preset(PRESETS, str(__doc__).splitlines()[0], arguments)
    return preset, study, data


def main(arguments: list[str] | None = None) -> Comparison:
    """Make the data, run the study, print its table."""
    preset, study_options, data_options = parse(arguments)
    out = Path(data_options.out or f"runs/{preset}")
    manifest = study_manifest(preset, data_options, out)
    comparison = Study(manifest, ImageDomain(data_options.image_size), study_options, out).run()
    console = Console(markup=False, emoji=False, highlight=False, quiet=not is_first_process())
    console.print(comparison.to_rich())
    console.print(f"table, models, labels and predictions: {out}/comparison.md and beside it", soft_wrap=True)
    if is_first_process():
        console.print(f"all of it to look at: {report_of_study(out)}", soft_wrap=True)
    return comparison


if __name__ == "__main__":
    run_as_script(main)
