"""Frozen features of weak and clean samples: checked, standardised and made narrow."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sublabel.errors import LabelError
from sublabel.training.classifier import default_device

# Features that do not vary over the weak samples stay as they are.
LEAST_DEVIATION = 1e-6


class Features(NamedTuple):
    """What one backbone sees in the samples."""

    weak: Tensor
    """float32 (N, D)."""
    clean: Tensor
    """float32 (M, D)."""


def checked_features(weak: Any, clean: Any, samples: tuple[int, int], what: str) -> tuple[np.ndarray, ...]:
    """Refuse features that are not a finite row of the same width for each sample.

    Args:
        weak: Floats (N, D).
        clean: Floats (M, D).
        samples: N and M.
        what: Whose they are, in messages, such as "the student's".

    Returns:
        Both as arrays, in the types that they had.

    Raises:
        LabelError: Shape, type or a value is wrong.
    """
    arrays = tuple(map(np.asarray, (weak, clean)))
    for array, name, expected in zip(arrays, ("weak", "clean"), samples, strict=True):
        if array.ndim != 2 or array.dtype.kind != "f" or len(array) != expected or not array.shape[1]:
            raise LabelError(
                f"{what} features of the {name} samples have shape {array.shape} and dtype {array.dtype}; "
                f"expected floats ({expected}, D), a row for each sample in the order of its labels"
            )
        unfinished = np.flatnonzero(~np.isfinite(array).all(axis=1))
        if len(unfinished):
            raise LabelError(
                f"{what} features of the {name} samples are not finite in {len(unfinished)} rows, first in "
                f"row {unfinished[0]}: leave these samples out, or compute their features again"
            )
    if arrays[0].shape[1] != arrays[1].shape[1]:
        raise LabelError(
            f"{what} features are {arrays[0].shape[1]} wide for the weak samples and {arrays[1].shape[1]} "
            "for the clean ones; expected those of one backbone"
        )
    return arrays


def standardised(weak: np.ndarray, clean: np.ndarray) -> Features:
    """Standardise features by the weak samples, on the device that networks are trained on.

    Args:
        weak: Floats (N, D).
        clean: Floats (M, D).
    """
    device = default_device()
    seen, target = (torch.from_numpy(np.asarray(array, np.float32)).to(device) for array in (weak, clean))
    mean, deviation = seen.mean(0), seen.std(0, correction=0)
    deviation[deviation < LEAST_DEVIATION] = 1
    return Features((seen - mean) / deviation, (target - mean) / deviation)


def reduced(features: Features, components: int) -> Features:
    """Reduce wide features to the principal components of the weak samples.

    Args:
        features: Standardised.
        components: How many stay, at most; together they have variance 1 on average.
    """
    if features.weak.shape[1] <= components:
        return features
    # eigh sorts by rising variance.
    directions = torch.linalg.eigh(features.weak.T @ features.weak).eigenvectors[:, -components:]
    weak, clean = (part @ directions for part in features)
    scale = weak.square().mean().sqrt().clamp(min=LEAST_DEVIATION)
    return Features(weak / scale, clean / scale)
