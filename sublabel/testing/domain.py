"""What every domain must hold: how media are read, transformed, shown, and fed to a backbone."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import dumps
from typing import Any

import torch
from torch import Tensor, nn

from sublabel.errors import ConfigError, MediaError
from sublabel.media.domain import Domain, Preprocessing
from sublabel.testing.properties import Properties

SAMPLES = 3
ABSENT = {"sample_id": "absent", "uri": "no/such/file", "start": None, "end": None, "image": None}


def check_domain(
    domain: Domain, rows: Sequence[Mapping[str, Any]] | None = None, *, backbone: str | None = None
) -> None:
    """Check what every domain must hold, on a few samples and one small backbone.

    Args:
        domain: With its options.
        rows: Of a manifest, all readable; default: what the domain generates.
        backbone: A backbone's name; default: the domain's small one.

    Raises:
        BrokenPropertyError: It does not hold a property; the message names it, and what was found.
    """
    properties = Properties(f"{type(domain).__name__} {getattr(domain, 'name', '')!r}")
    _check_options(domain, properties)
    with tempfile.TemporaryDirectory() as folder:
        if rows is None:
            with properties.works("it generates samples"):
                rows = domain.generate(Path(folder), SAMPLES)
            properties.require(len(rows) == SAMPLES, "it generates as many samples as asked for", len(rows))
        media = _check_reading(domain, rows, properties)
    with properties.works("it builds its small backbone"):
        built = domain.create_backbone(backbone or domain.small_backbone)
        preprocessing = domain.preprocessing(built)
    inputs = _check_transforms(domain, preprocessing, media, properties)
    _check_backbone(built, inputs, properties)
    _refuse_unknown_names(domain, preprocessing, properties)


def _check_options(domain: Domain, properties: Properties) -> None:
    name: Any = getattr(domain, "name", None)
    properties.require(isinstance(name, str) and name, "it has a name", repr(name))
    with properties.works("its options can be held by JSON, and make the same domain again"):
        options = json.loads(json.dumps(domain.options()))
        again = type(domain).from_options(options)
    properties.require(
        again.options() == domain.options(),
        "from_options makes the same domain",
        f"{again.options()} of {options}",
    )
    with properties.works("it pickles, so that worker processes can have it"):
        dumps(domain)


def _check_reading(domain: Domain, rows: Sequence[Mapping[str, Any]], properties: Properties) -> list[Tensor]:
    """Read each sample alone and all together."""
    with properties.works("it reads its samples"):
        media = [domain.read(row) for row in rows]
        together = domain.read_many(rows)
        for row in rows:
            domain.check(row)
    for alone, other, row in zip(media, together, rows, strict=True):
        properties.require(
            getattr(alone, "dtype", None) == torch.uint8 and alone.ndim >= 2,
            "media are uint8 tensors",
            f"{row['sample_id']!r} is {getattr(alone, 'dtype', type(alone))}",
        )
        same = isinstance(other, Tensor) and torch.equal(alone, other)
        properties.require(same, "samples that are read together are as those that are read alone", row)
        with properties.works("it makes a thumbnail"):
            shown = domain.thumbnail(alone)
        properties.require(
            shown.dtype == torch.uint8 and shown.ndim == 3 and shown.shape[0] in (1, 3),
            "a thumbnail is a picture, uint8 (C, H, W)",
            f"{shown.dtype} {tuple(shown.shape)}",
        )
    for method in (domain.read, domain.check):
        with properties.works("what cannot be read is a MediaError", (MediaError,)):
            refused = _raises(method, ABSENT)
        properties.require(refused, "what cannot be read is a MediaError", "nothing was raised")
    mixed = domain.read_many([ABSENT, *rows])
    properties.require(
        isinstance(mixed[0], MediaError) and all(isinstance(entry, Tensor) for entry in mixed[1:]),
        "a sample that cannot be read leaves the others of a call alone",
        [type(entry).__name__ for entry in mixed],
    )
    return media


def _raises(method: Any, row: Mapping[str, Any]) -> bool:
    try:
        method(row)
    except MediaError:
        return True
    return False


def _check_transforms(
    domain: Domain, preprocessing: Preprocessing, media: Sequence[Tensor], properties: Properties
) -> Tensor:
    """Make inputs of all kinds; returns those that a teacher looks at, (B, C, …)."""
    size = preprocessing.input_size
    views = () if domain.num_views is None else (domain.num_views,)
    transforms = {
        "a training input": (domain.training_transform(preprocessing), size),
        "a training input that is not flipped": (domain.training_transform(preprocessing, flip=False), size),
        "an evaluation input": (domain.evaluation_transform(preprocessing), size),
        "a test input": (domain.test_transform(preprocessing), (*views, *size)),
    }
    for what, (transform, expected) in transforms.items():
        for entry in media:
            with properties.works(f"{what} can be made"):
                made = transform(entry)
            properties.require(
                made.dtype == torch.uint8 and tuple(made.shape) == expected,
                f"{what} is uint8 {expected}",
                f"{made.dtype} {tuple(made.shape)} of media {tuple(entry.shape)}",
            )
    look = domain.evaluation_transform(preprocessing)
    inputs = torch.stack([look(entry) for entry in media])
    again = torch.stack([look(entry) for entry in media])
    properties.require(torch.equal(inputs, again), "evaluation inputs are the same every time", "they differ")
    return inputs


def _check_backbone(backbone: nn.Module, inputs: Tensor, properties: Properties) -> None:
    width: Any = getattr(backbone, "num_features", None)
    properties.require(isinstance(width, int), "a backbone has an integer num_features", repr(width))
    with properties.works("the backbone takes the domain's inputs"), torch.inference_mode():
        features = backbone.eval()(inputs.float() / 255)
    properties.require(
        tuple(features.shape) == (len(inputs), width) and features.is_floating_point(),
        f"the backbone makes float features (B, {width})",
        f"{features.dtype} {tuple(features.shape)} of {len(inputs)} inputs",
    )
    properties.require(bool(features.isfinite().all()), "features are finite", "some are not")


def _refuse_unknown_names(domain: Domain, preprocessing: Preprocessing, properties: Properties) -> None:
    unknown = "no such name"
    for what, call in (
        ("backbone", lambda: domain.create_backbone(unknown)),
        ("augmentation", lambda: domain.training_transform(preprocessing, unknown)),
    ):
        name = f"an unknown {what} is a ConfigError"
        with properties.works(name):
            refused = False
            try:
                call()
            except ConfigError:
                refused = True
        properties.require(refused, name, "nothing was raised")
