"""Labelled image sets as manifests: a few images stay clean for the target, all others become weak (ours)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
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
    weak_labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Real weak labels of the training images by their column: names, object (N,)."""
    superclasses: tuple[str, ...] = ()
    """The superclass of each class, where there are any."""


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
    paths = _paths(folder)
    names = _names(paths["train"], "class_names")
    integers = [column.name for column in parquet_schema(paths["train"]) if pa.types.is_integer(column.type)]
    noisy = [name for name in integers if name != "clean_label"]
    train = _read(paths["train"], "image", "clean_label", *noisy)
    test = _read(paths["test"], "image", "clean_label")
    return LabelledImages(
        Vocabulary(names),
        train=train["image"].to_pylist(),
        train_labels=train["clean_label"].to_numpy().astype(np.int64),
        test=test["image"].to_pylist(),
        test_labels=test["clean_label"].to_numpy().astype(np.int64),
        weak_labels={name: np.array(names, dtype=object)[train[name].to_numpy()] for name in noisy},
    )


def load_cifar100(folder: str | Path) -> LabelledImages:
    """Load CIFAR-100 (Krizhevsky, 2009) with the words that its images were searched by, as `query`.

    Args:
        folder: Folder of `train.parquet` and `test.parquet` with the columns `image` (encoded bytes),
            `fine_label` (0–99), `coarse_label` (0–19) and, in the training file, `query`; their metadata have
            the names of the classes and superclasses under `fine_names` and `coarse_names`, joined by "|".

    Raises:
        TableError: A file is missing or damaged, or has another layout.
    """
    paths = _paths(folder)
    names, coarse_names = (_names(paths["train"], key) for key in ("fine_names", "coarse_names"))
    train = _read(paths["train"], "image", "fine_label", "coarse_label", "query")
    test = _read(paths["test"], "image", "fine_label")
    superclass_of = dict(zip(train["fine_label"].to_pylist(), train["coarse_label"].to_pylist(), strict=True))
    return LabelledImages(
        Vocabulary(names),
        train=train["image"].to_pylist(),
        train_labels=train["fine_label"].to_numpy().astype(np.int64),
        test=test["image"].to_pylist(),
        test_labels=test["fine_label"].to_numpy().astype(np.int64),
        weak_labels={"query": np.array(train["query"].to_pylist(), dtype=object)},
        superclasses=tuple(coarse_names[superclass_of[label]] for label in range(len(names))),
    )


def _paths(folder: str | Path) -> dict[str, Path]:
    return {side: Path(folder) / f"{side}.parquet" for side in ("train", "test")}


def _names(path: Path, key: str) -> list[str]:
    names = (parquet_schema(path).metadata or {}).get(key.encode())
    if names is None:
        raise TableError(
            f"{path} has no class names in its metadata; expected the key {key!r} with names joined by '|'"
        )
    return [str(name) for name in names.decode().split("|")]


def _read(path: Path, *columns: str) -> pa.Table:
    return pa.Table.from_batches(iter_batches(path, columns))


def draw_splits(
    labels: np.ndarray,
    vocabulary: Vocabulary,
    clean_images: int,
    *,
    validation: float = 0.0,
    seed: int = 0,
) -> np.ndarray:
    """Draw which training images are the clean ones of the target, the same number of each class.

    Args:
        labels: The target class of each training image, int (N,); -1 outside the target.
        vocabulary: The target classes.
        clean_images: How many training images the target gets, the same number of each class (rounded down).
        validation: Share of them in [0, 1) that is for choosing, and never trained on (rounded).
        seed: Seed of the draw.

    Returns:
        str (N,): `target_train`, `target_val` or, of all others, `weak`.

    Raises:
        ConfigError: A class has fewer images than the target needs of it, or the target would have none.
    """
    generator = np.random.default_rng(seed)
    each = clean_images // len(vocabulary)
    held_out = round(validation * each)
    splits = np.full(len(labels), "weak", dtype=object)
    for label, name in enumerate(vocabulary.names):
        members = np.flatnonzero(labels == label)
        if not held_out < each < len(members):
            raise ConfigError(
                f"{clean_images} clean images are {each} of each of the {len(vocabulary)} classes, "
                f"{held_out} of them for validation, and {name!r} has {len(members)}: choose numbers that "
                "leave some of each for the target and the pool"
            )
        clean = generator.permutation(members)[:each]
        splits[clean] = "target_train"
        splits[clean[each - held_out :]] = "target_val"
    return splits


def write_manifest(
    path: str | Path,
    images: LabelledImages,
    weak_labels: np.ndarray,
    splits: np.ndarray,
    *,
    targets: Sequence[str | None] | None = None,
    sources: np.ndarray | None = None,
) -> None:
    """Write the manifest of a study: target splits with clean labels, and the weak pool with its truth.

    Args:
        path: The Parquet file to write.
        images: The image set.
        weak_labels: Weak label of each training image, names, object (N,); an image of the pool without one,
            which is None, is left out.
        splits: What each training image is for, as `draw_splits` says it, (N,).
        targets: The target class of each class of the images, None outside the target, whose images are not
            tested; default: the classes themselves.
        sources: Page of each training image, (N,).
    """
    names = images.vocabulary.names
    targets = names if targets is None else targets
    is_weak = splits == "weak"
    rows = [
        {
            "sample_id": f"train-{i}",
            "image": images.train[i],
            "source_id": None if sources is None else sources[i],
            "weak_label": weak_labels[i] if is_weak[i] else None,
            "label": None if is_weak[i] else targets[label],
            "true_label": names[label] if is_weak[i] else None,
            "split": splits[i],
        }
        for i, label in enumerate(images.train_labels.tolist())
        if not is_weak[i] or weak_labels[i] is not None
    ] + [
        {"sample_id": f"test-{i}", "image": image, "label": targets[label], "split": "target_test"}
        for i, (image, label) in enumerate(zip(images.test, images.test_labels.tolist(), strict=True))
        if targets[label] is not None
    ]
    with TableWriter(path, MANIFEST_SCHEMA) as writer:
        writer.write(pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA))
    right = [row["weak_label"] == row["true_label"] for row in rows if row["split"] == "weak"]
    counts = Counter(row["split"] for row in rows)
    _log.info("%s; %.0f%% of the weak labels are right", dict(counts), 100 * np.mean(right))
