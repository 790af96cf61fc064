"""Presets of `image_noisy.py`: what each compares, how it trains, how it runs, and what makes its data.

All hyper-parameters are ours: the paper's are not published.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from sublabel.errors import ConfigError
from sublabel.labels import DenoisedSPL, RawSPL, TeacherOnly, TopKSPL, Vocabulary
from sublabel.options import RunOptions, TeacherOptions, TrainOptions
from sublabel.study import StudyOptions, default_strategies
from sublabel.tables import open_manifest, write_folder_manifest
from sublabel_image.demo import (
    LabelledImages,
    SubConceptOptions,
    co_occurrence,
    draw_splits,
    load_cifar10,
    load_cifar100,
    load_digits,
    page_queries,
    page_sources,
    sub_concept_queries,
    write_manifest,
)

Preset = Literal[
    "digits", "cifar10n", "cifar10_pages", "cifar100_pages", "cifar100_queries", "manifest", "folder"
]


class DataOptions(BaseModel):
    """What a preset makes its data from; each uses what concerns it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str | None = Field(None, description="the preset's data")
    out: str | None = Field(
        None, description="folder for all artefacts, default runs/PRESET; a stopped run goes on there"
    )
    image_size: PositiveInt | None = Field(None, description="input pixels; default: the backbone's own")
    noisy_column: str = Field("worse_label", description="cifar10n: the column of noisy labels")
    clean_images: PositiveInt = Field(4000, description="clean target images, the same number of each class")
    validation: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the clean images for target_val, which is for choosing and never trained on",
    )
    weak_images: PositiveInt | None = Field(None, description="weak images; default: all that are not clean")
    shown: float = Field(0.45, ge=0, le=1, description="pages: probability that a crop shows the query")
    co_occurring: float = Field(
        0.35, ge=0, le=1, description="pages: probability of a class that co-occurs with the query"
    )
    sub_concepts: SubConceptOptions = Field(
        SubConceptOptions(), description="cifar100_pages: classes outside the target, and their queries"
    )
    target: Literal["superclasses", "classes"] = Field(
        "superclasses", description="cifar100_queries: what the clean images are labelled with"
    )
    data_seed: int = Field(
        0, ge=0, description="of the draws that make the data; the same for all training seeds"
    )
    data_seeds: PositiveInt = Field(
        1,
        description="studies of data drawn anew, with data_seed and those after it, in OUT/data0, …",
    )


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
    oracle=True,
    pretrain=TrainOptions(epochs=3, batch_size=64, augmentation="shift_flip", **FAST),
    finetune=TrainOptions(epochs=25, batch_size=64, augmentation="shift_flip", **FAST),
)
SOFT_TEACHER = TopKSPL(of=TeacherOnly(), k=20)
CIFAR100 = CIFAR10.model_copy(
    update={
        "strategies": {
            **default_strategies(),
            "soft teacher": SOFT_TEACHER,
            "denoised SPL": DenoisedSPL(k=20),
        },
        # A teacher decides whether its labels help: this one knows more than the student starts with.
        "teacher": TeacherOptions(
            backbone="tf_efficientnet_lite0", pretrained=True, image_size=96, features=True
        ),
        "teacher_top_k": 20,
        # The same length for the few samples of agreement filtering as for all others.
        "pretrain": CIFAR10.pretrain.model_copy(update={"epochs": 6, "steps": 2500}),
        "finetune": CIFAR10.finetune.model_copy(update={"epochs": 30}),
    }
)
# Without SPL-B: few of the words agree with any class.
CIFAR100_QUERIES = CIFAR100.model_copy(
    update={
        "strategies": {
            **{name: chosen for name, chosen in default_strategies().items() if name != "SPL-B"},
            "soft teacher": SOFT_TEACHER,
            "denoised SPL": DenoisedSPL(),
        }
    }
)
YOURS = StudyOptions(
    backbone="resnet18",
    pretrain=TrainOptions(epochs=30),
    finetune=TrainOptions(epochs=30, learning_rate=0.02),
)
TWO_JOBS = RunOptions(jobs=2)
FEW_CLEAN: dict[str, Any] = {
    "clean_images": 1000,
    "validation": 0.2,
    "weak_images": 20_000,
    "image_size": 16,
}
PRESETS: dict[Preset, tuple[StudyOptions, RunOptions, DataOptions]] = {
    "digits": (DIGITS, TWO_JOBS, DataOptions(clean_images=50, image_size=8)),
    "cifar10n": (CIFAR10, TWO_JOBS, DataOptions(image_size=32)),
    "cifar10_pages": (CIFAR10, TWO_JOBS, DataOptions(image_size=32)),
    "cifar100_pages": (CIFAR100, TWO_JOBS, DataOptions(**FEW_CLEAN)),
    "cifar100_queries": (CIFAR100_QUERIES, TWO_JOBS, DataOptions(**FEW_CLEAN)),
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
    images = _load(preset, data)
    targets = _targets(preset, options, images)
    vocabulary = Vocabulary(list(dict.fromkeys(name for name in targets if name is not None)))
    places = np.array([-1 if name is None else vocabulary.names.index(name) for name in targets])
    splits = draw_splits(
        places[images.train_labels],
        vocabulary,
        options.clean_images,
        validation=options.validation,
        seed=options.data_seed,
    )
    weak, sources = _weak_labels(preset, options, images, places >= 0, splits == "weak")
    write_manifest(path, images, weak, splits, targets=targets, sources=sources)
    return path


def _load(preset: Preset, data: Path) -> LabelledImages:
    if preset == "digits":
        return load_digits()
    return load_cifar100(data) if preset.startswith("cifar100") else load_cifar10(data)


def _targets(preset: Preset, options: DataOptions, images: LabelledImages) -> tuple[str | None, ...]:
    """The target class of each class of the images; None outside the target."""
    names = images.vocabulary.names
    if preset == "cifar100_queries" and options.target == "superclasses":
        return images.superclasses
    if preset != "cifar100_pages":
        return names
    member = options.sub_concepts.target_member
    chosen = set()
    for superclass in set(images.superclasses):
        members = sorted(
            name for name, own in zip(names, images.superclasses, strict=True) if own == superclass
        )
        if member >= len(members):
            raise ConfigError(
                f"sub_concepts.target_member is {member}, and {superclass} has {len(members)} classes: "
                f"choose one of 0 to {len(members) - 1}"
            )
        chosen.add(members[member])
    return tuple(name if name in chosen else None for name in names)


class _Weak(NamedTuple):
    labels: np.ndarray
    """Names, object (N,), None for images that are not in the pool."""
    sources: np.ndarray | None = None
    """The page of each image, object (N,)."""


def _weak_labels(
    preset: Preset, options: DataOptions, images: LabelledImages, is_target: np.ndarray, pool: np.ndarray
) -> _Weak:
    """Draw or take the weak labels of a preset.

    Args:
        preset: The preset.
        options: How its data are made.
        images: N training images of C classes.
        is_target: Which classes are target classes, bool (C,).
        pool: Which training images may be weak ones, bool (N,).
    """
    names, seed = np.array(images.vocabulary.names, dtype=object), options.data_seed
    if preset == "cifar100_pages":
        size = options.weak_images or int(pool.sum())
        queries = sub_concept_queries(
            images.train_labels, pool, is_target, size, options.sub_concepts, seed=seed
        )
        return _Weak(np.array([*names[is_target], None], dtype=object)[queries], _pages(queries))
    pool = _some_of(pool, options.weak_images, seed)
    if preset in ("cifar10n", "cifar100_queries"):
        column = options.noisy_column if preset == "cifar10n" else "query"
        if column not in images.weak_labels:
            there = ", ".join(images.weak_labels)
            raise ConfigError(f"there is no noisy column {column!r}; there are {there}")
        return _Weak(_only(pool, images.weak_labels[column]))
    noise = {"shown": options.shown, "co_occurring": options.co_occurring}
    queries = page_queries(images.train_labels, co_occurrence(len(names)), **noise, seed=seed)
    return _Weak(_only(pool, names[queries]), _pages(np.where(pool, queries, -1)))


def _only(chosen: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values of the chosen ones, None for all others, object (N,)."""
    kept = np.full(len(values), None, dtype=object)
    kept[chosen] = values[chosen]
    return kept


def _pages(queries: np.ndarray) -> np.ndarray:
    """The pages of images by their queries, where they have one, object (N,)."""
    pages = np.full(len(queries), None, dtype=object)
    pages[queries >= 0] = page_sources(queries[queries >= 0])
    return pages


def _some_of(pool: np.ndarray, number: int | None, seed: int) -> np.ndarray:
    """So many of the pool at random, or all of it, bool (N,); fewer are a part of more."""
    members = np.flatnonzero(pool)
    if number is None or number == len(members):
        return pool
    if number > len(members):
        raise ConfigError(f"weak_images is {number}, and {len(members)} images are not clean: choose fewer")
    chosen = np.zeros(len(pool), dtype=bool)
    chosen[np.random.default_rng([seed, 1]).permutation(members)[:number]] = True
    return chosen


def with_alignment(preset: Preset, study: StudyOptions, data: DataOptions, manifest: Path) -> StudyOptions:
    """Let each search word of `cifar100_queries` agree with the target that its own name says, if any does.

    A word agrees with a superclass where it is its name, or that of one of its classes. What an image shows
    plays no part. An alignment that was given stays as it is, and so do all other presets.

    Args:
        preset: The preset.
        study: Its options.
        data: Where the names of classes and superclasses are.
        manifest: Whose weak labels are the words.
    """
    if preset != "cifar100_queries" or study.alignment is not None:
        return study
    images = load_cifar100(data.data or "")
    targets = _targets(preset, data, images)
    target_of = {_plain(name): name for name in targets if name is not None}
    for name, target in zip(images.vocabulary.names, targets, strict=True):
        target_of[_plain(name)] = target or name
    words = open_manifest(manifest).filter(split="weak").vocabulary("weak_label")
    alignment: dict[str, str | list[str]] = {
        word: target_of[_plain(word)] for word in words if _plain(word) in target_of
    }
    return study.model_copy(update={"alignment": alignment})


def _plain(name: str) -> str:
    """A name without what only writing distinguishes."""
    return " ".join(re.findall("[a-z0-9]+", name.lower()))
