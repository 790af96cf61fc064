"""Labelled image sets as manifests: a few images stay clean for the target, all others become weak (ours)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from sublabel.errors import ConfigError, TableError
from sublabel.extras import needs_extra
from sublabel.labels import Vocabulary
from sublabel.tables import MANIFEST_SCHEMA, TableWriter, iter_batches
from sublabel.tables.io import parquet_schema
from sublabel_image.reading import image_bytes

_log = logging.getLogger(__name__)

CLASS_NAMES_KEY = b"class_names"


@dataclass(frozen=True)
class LabelledImages:
    """A labelled image set in memory."""

    vocabulary: Vocabulary
    train: Sequence[bytes]
    """N encoded images, such as PNG files."""
    train_labels: np.ndarray
    """True class of each training image, int64 (N,)."""
    test: Sequence[bytes]
    """M encoded images."""
    test_labels: np.ndarray
    """True class of each test image, int64 (M,)."""
    noisy_labels: dict[str, np.ndarray] = field(default_factory=dict)
    """Further labels of the training images by name, int64 (N,)."""


def load_digits(*, test: int = 500, seed: int = 0) -> LabelledImages:
    """Load the 1,797 handwritten digits of 8×8 pixels that ship with scikit-learn.

    Args:
        test: How many of them to test on.
        seed: Seed of the split.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    with needs_extra("the digits", "sublabel[image]"):
        from sklearn import datasets

    pixels, labels = datasets.load_digits(return_X_y=True)
    images = [image_bytes(image) for image in (pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)]
    order = np.random.default_rng(seed).permutation(len(images))
    return LabelledImages(
        Vocabulary.of(10),
        train=[images[i] for i in order[test:]],
        train_labels=labels[order[test:]],
        test=[images[i] for i in order[:test]],
        test_labels=labels[order[:test]],
    )


def load_cifar10(folder: str | Path) -> LabelledImages:
    """Load CIFAR-10 (Krizhevsky, 2009) with the human labels of CIFAR-10N (Wei et al., ICLR 2022).

    Args:
        folder: Folder of `train.parquet` and `test.parquet` with the columns `image` (encoded bytes),
            `clean_label` (0–9) and, in the training file, further integer columns of noisy labels; their
            metadata have the class names under `class_names`, joined by "|".

    Raises:
        TableError: A file is missing or damaged, or has another layout.
    """
    paths = {side: Path(folder) / f"{side}.parquet" for side in ("train", "test")}
    names = (parquet_schema(paths["train"]).metadata or {}).get(CLASS_NAMES_KEY)
    if names is None:
        raise TableError(
            f"{paths['train']} has no class names in its metadata; expected the key "
            f"{CLASS_NAMES_KEY.decode()!r} with names joined by '|'"
        )
    tables = {}
    for side, path in paths.items():
        integers = [column.name for column in parquet_schema(path) if pa.types.is_integer(column.type)]
        columns = ["image", "clean_label", *(name for name in integers if name != "clean_label")]
        tables[side] = pa.Table.from_batches(iter_batches(path, columns))
    train, test = tables["train"], tables["test"]
    return LabelledImages(
        Vocabulary(names.decode().split("|")),
        train=train["image"].to_pylist(),
        train_labels=train["clean_label"].to_numpy().astype(np.int64),
        test=test["image"].to_pylist(),
        test_labels=test["clean_label"].to_numpy().astype(np.int64),
        noisy_labels={name: train[name].to_numpy().astype(np.int64) for name in train.column_names[2:]},
    )


def write_manifest(
    path: str | Path,
    images: LabelledImages,
    weak_labels: np.ndarray,
    *,
    clean_images: int,
    sources: Sequence[str] | None = None,
    seed: int = 0,
) -> None:
    """Write the manifest of a study: target splits with clean labels, and the weak pool.

    The rows of the pool keep their true `label` beside the weak one, for analysis; a study reads `label` on
    the target splits alone.

    Args:
        path: The Parquet file to write.
        images: The image set.
        weak_labels: Weak label of each training image, int (N,).
        clean_images: How many training images the target gets, the same number of each class (rounded down);
            the pool gets all others.
        sources: Page of each training image, (N,).
        seed: Seed of the draw of the clean images.

    Raises:
        ConfigError: A class has fewer images than the target needs of it, or the target would have none.
    """
    names, labels = images.vocabulary.names, images.train_labels
    generator = np.random.default_rng(seed)
    each = clean_images // len(names)
    clean = np.zeros(len(labels), dtype=bool)
    for label, name in enumerate(names):
        members = np.flatnonzero(labels == label)
        if not 1 <= each < len(members):
            raise ConfigError(
                f"{clean_images} clean images are {each} of each of the {len(names)} classes, and {name!r} "
                f"has {len(members)}: choose a number that leaves some of each for the target and the pool"
            )
        clean[generator.permutation(members)[:each]] = True
    rows = [
        {
            "sample_id": f"train-{i}",
            "image": images.train[i],
            "source_id": sources[i] if sources else None,
            "weak_label": None if clean[i] else names[weak_labels[i]],
            "label": names[labels[i]],
            "split": "target_train" if clean[i] else "weak",
        }
        for i in range(len(labels))
    ] + [
        {"sample_id": f"test-{i}", "image": image, "label": names[label], "split": "target_test"}
        for i, (image, label) in enumerate(zip(images.test, images.test_labels, strict=True))
    ]
    with TableWriter(path, MANIFEST_SCHEMA) as writer:
        writer.write(pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA))
    right = (weak_labels == labels)[~clean].mean()
    _log.info("%d clean images, %d weak ones (%.0f%% right)", clean.sum(), (~clean).sum(), 100 * right)
