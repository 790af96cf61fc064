"""Noisy images: does pre-training on Sub-Pseudo Labels (SPL) beat the weak labels? The whole comparison.

    python recipes/image_noisy.py                                        # scikit-learn's digits, no download
    python recipes/image_noisy.py --preset cifar10n --data DIR           # real human label noise
    python recipes/image_noisy.py --preset cifar10_pages --data DIR      # the noise of untrimmed videos, on
    images python recipes/image_noisy.py --preset manifest --data MANIFEST      # yours: Parquet, CSV or JSON
    Lines python recipes/image_noisy.py --preset folder --data DIR             # yours:
    DIR/{weak,target_train,target_test}/CLASS/*

A preset sets defaults and every option overrides them (`--help`, `--print_config`, `--config run.yaml`). What
is trained in which order is in `sublabel.study`. All hyper-parameters are ours: the paper's are not
published.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jsonargparse import ArgumentParser
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from rich.console import Console
from rich.logging import RichHandler

from sublabel.errors import ConfigError, SublabelError
from sublabel.evaluation import Comparison
from sublabel.labels import RawSPL
from sublabel.study import Study, StudyOptions, TrainOptions, default_strategies
from sublabel.tables import MANIFEST_SCHEMA, TableWriter, open_manifest
from sublabel_image import ImageDomain
from sublabel_image.pages import co_occurrence, image_bytes, page_queries, page_sources

Preset = Literal["digits", "cifar10n", "cifar10_pages", "manifest", "folder"]

FAST: dict[str, Any] = {
    "optimizer": "adamw",
    "learning_rate": 4e-3,
    "weight_decay": 0.05,
    "schedule": "one_cycle",
}
SMALL = StudyOptions(
    backbone="small_resnet9",
    pretrain=TrainOptions(epochs=4, batch_size=128, **FAST),
    finetune=TrainOptions(epochs=25, batch_size=64, **FAST),
)
DIGITS = StudyOptions(
    backbone="small_resnet9",
    strategies=default_strategies(RawSPL(min_count=3)),
    seeds=3,
    pretrain=TrainOptions(epochs=10, batch_size=32, augmentation="shift", **FAST),
    finetune=TrainOptions(epochs=30, batch_size=20, augmentation="shift", **FAST),
)
LARGE = StudyOptions(
    backbone="resnet18",
    pretrain=TrainOptions(epochs=30, augmentation="resized_crop_flip"),
    finetune=TrainOptions(epochs=30, learning_rate=0.02, augmentation="resized_crop_flip"),
    num_workers=2,
)


class DataOptions(BaseModel):
    """What a preset makes its data from; each uses what concerns it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str | None = Field(None, description="the preset's data: see the top of this file")
    out: str | None = Field(
        None, description="folder for all artefacts; default runs/PRESET; a stopped run goes on there"
    )
    image_size: PositiveInt | None = Field(
        None, description="input pixels; default: what the backbone was made for"
    )
    noisy_column: str = Field("worse_label", description="cifar10n: the column with the noisy labels")
    clean_images: PositiveInt = Field(
        4000, description="clean target images, the same for each class; the rest is weak"
    )
    shown: float = Field(
        0.45, ge=0, le=1, description="pages: probability that a crop shows the page's query"
    )
    co_occurring: float = Field(
        0.35, ge=0, le=1, description="pages: probability of a class that co-occurs with it"
    )
    data_seed: int = Field(0, description="of the draws that make the data, the same for all training seeds")


PRESETS: dict[Preset, tuple[StudyOptions, DataOptions]] = {
    "digits": (DIGITS, DataOptions(clean_images=100, image_size=16)),
    "cifar10n": (SMALL, DataOptions(image_size=32)),
    "cifar10_pages": (SMALL, DataOptions(image_size=32)),
    "manifest": (LARGE, DataOptions()),
    "folder": (LARGE, DataOptions()),
}


class Images(NamedTuple):
    """A labelled image set: training and test images, integer classes, class names."""

    train: list[bytes]
    train_labels: np.ndarray
    test: list[bytes]
    test_labels: np.ndarray
    names: list[str]


def read_digits() -> Images:
    """scikit-learn's 1,797 handwritten digits of 8×8 pixels, 500 of them to test."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = [image_bytes(image) for image in (pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)]
    order = np.random.default_rng(0).permutation(len(images))
    test, train = order[:500], order[500:]
    names = [str(digit) for digit in range(10)]
    return Images([images[i] for i in train], labels[train], [images[i] for i in test], labels[test], names)


def read_cifar10(folder: Path) -> tuple[Images, pa.Table]:
    """CIFAR-10 from `train.parquet` and `test.parquet`: `image` (bytes), `clean_label`, and noisy columns."""
    train, test = pq.read_table(folder / "train.parquet"), pq.read_table(folder / "test.parquet")
    names = train.schema.metadata[b"class_names"].decode().split("|")
    columns = [side[name] for side in (train, test) for name in ("image", "clean_label")]
    images, labels, test_images, test_labels = columns
    return Images(
        images.to_pylist(), labels.to_numpy(), test_images.to_pylist(), test_labels.to_numpy(), names
    ), train


def write_manifest(
    path: Path, images: Images, weak: np.ndarray, options: DataOptions, sources: list[str] | None
) -> None:
    """Give `clean_images` training images to the target, class-balanced, and all others to the weak pool.

    The pool keeps its true `label` beside the weak one, for analysis; the study reads it on the target splits
    alone.
    """
    generator, labels = np.random.default_rng(options.data_seed), images.train_labels
    each = options.clean_images // len(images.names)
    clean = np.zeros(len(labels), dtype=bool)
    for label in range(len(images.names)):
        clean[generator.permutation(np.flatnonzero(labels == label))[:each]] = True
    rows = [
        {
            "sample_id": f"train-{i}",
            "image": images.train[i],
            "source_id": sources[i] if sources else None,
            "weak_label": None if clean[i] else images.names[weak[i]],
            "label": images.names[labels[i]],
            "split": "target_train" if clean[i] else "weak",
        }
        for i in range(len(labels))
    ] + [
        {"sample_id": f"test-{i}", "image": image, "label": images.names[label], "split": "target_test"}
        for i, (image, label) in enumerate(zip(images.test, images.test_labels, strict=True))
    ]
    with TableWriter(path, MANIFEST_SCHEMA, {}) as writer:
        writer.write(pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA))
    pool = ~clean
    right = (weak[pool] == labels[pool]).mean()
    logging.info(
        "%d clean images, %d weak ones (%.0f%% of their labels right)", clean.sum(), pool.sum(), 100 * right
    )


def prepare_manifest(preset: Preset, options: DataOptions, path: Path) -> Path:
    """Make the preset's manifest, or take the user's."""
    if preset != "digits" and options.data is None:
        raise ConfigError(f"the preset {preset} needs --data: {__doc__}")
    data = Path(options.data or "")
    if preset == "manifest":
        return data
    if preset == "folder":
        collect_folders(data, path)
        return path
    if preset == "digits":
        images = read_digits()
    else:
        images, table = read_cifar10(data)
    if preset == "cifar10n":
        if options.noisy_column not in table.column_names:
            raise ConfigError(
                f"no column {options.noisy_column!r}; there are {', '.join(table.column_names)}"
            )
        write_manifest(path, images, table[options.noisy_column].to_numpy(), options, None)
    else:
        queries = page_queries(
            images.train_labels,
            co_occurrence(len(images.names)),
            shown=options.shown,
            co_occurring=options.co_occurring,
            seed=options.data_seed,
        )
        write_manifest(path, images, queries, options, page_sources(queries))
    return path


def collect_folders(data: Path, path: Path) -> None:
    """One manifest of the folders weak/, target_train/ and target_test/, each with a folder a class."""
    with TableWriter(path, MANIFEST_SCHEMA, {}) as writer:
        for split, column in (("weak", "weak_label"), ("target_train", "label"), ("target_test", "label")):
            for batch in open_manifest(data / split, split=split, label_column=column).batches():
                writer.write(batch)


def parse(arguments: list[str] | None) -> tuple[Preset, StudyOptions, DataOptions]:
    """The preset gives the defaults, the command line and YAML files the rest."""
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--preset", default="digits", choices=get_args(Preset))
    preset: Preset = first.parse_known_args(arguments)[0].preset
    parser = ArgumentParser(description=__doc__, prog="image_noisy.py")
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_argument("--preset", type=Preset, default=preset, help="sets the defaults of all that follows")
    study, data = PRESETS[preset]
    for options in (data, study):
        parser.add_class_arguments(type(options), as_group=True)
        parser.set_defaults(options.model_dump())
    chosen = parser.parse_args(arguments)
    values = {key: value for key, value in chosen.as_dict().items() if key not in ("config", "preset")}
    split = {model: {key: values[key] for key in model.model_fields} for model in (StudyOptions, DataOptions)}
    return preset, StudyOptions(**split[StudyOptions]), DataOptions(**split[DataOptions])


def main(arguments: list[str] | None = None) -> Comparison:
    """Make the data, run the study, print its table."""
    preset, study_options, data_options = parse(arguments)
    out = Path(data_options.out or f"runs/{preset}")
    out.mkdir(parents=True, exist_ok=True)
    manifest = prepare_manifest(preset, data_options, out / "manifest.parquet")
    study = Study(manifest, ImageDomain(data_options.image_size), study_options, out)
    comparison = study.run()
    Console().print(comparison.to_rich())
    Console().print(f"table, models, labels and predictions: {out}/comparison.md and beside it")
    return comparison


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[RichHandler(show_path=False)])
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    try:
        main()
    except SublabelError as error:
        sys.exit(f"error: {error}")
