"""What a network makes of every sample of a data set, in its order and in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from sublabel.errors import ConfigError
from sublabel.options import RunOptions
from sublabel.training.classifier import (
    HALF_PRECISIONS,
    Classifier,
    best_precision,
    default_device,
    memory_format,
)


class LabeledFeatures(NamedTuple):
    """A backbone's features of labelled samples."""

    features: np.ndarray
    """float32 (N, D)."""
    labels: np.ndarray
    """int64 (N,)."""


def extract_features(
    classifier: Classifier, dataset: Any, *, precision: str = "auto", run: RunOptions | None = None
) -> LabeledFeatures:
    """A backbone's features of a data set; all of them in memory.

    Args:
        classifier: Whose backbone looks; put in evaluation mode.
        dataset: A map-style data set of (input, label).
        precision: As for `pretrain`.
        run: How it is run; `eval_batch_size` inputs a batch.

    Raises:
        ConfigError: There is no sample.
    """
    classifier.eval().to(default_device())
    features, labels = outputs_of(classifier.features, dataset, precision=precision, run=run)
    return LabeledFeatures(features.numpy(), labels.numpy())


def outputs_of(
    function: Callable[[Tensor], Tensor],
    dataset: Any,
    *,
    views: int = 1,
    precision: str = "auto",
    run: RunOptions | None = None,
) -> tuple[Tensor, Tensor]:
    """What a module on `default_device` makes of every sample of a data set, without gradients.

    Args:
        function: Maps inputs (B, …) to outputs (B, …).
        dataset: A map-style data set of N (input, label).
        views: Inputs of a sample, which share the batch.
        precision: As for `pretrain`.
        run: How it is run; `eval_batch_size` inputs a batch.

    Returns:
        Outputs float32 (N, …) and labels int64 (N,), on the CPU.

    Raises:
        ConfigError: There is no sample.
    """
    if len(dataset) == 0:
        raise ConfigError("the data set to look at has no samples: expected at least one")
    run, device = run or RunOptions(), default_device()
    half = HALF_PRECISIONS.get(best_precision() if precision == "auto" else precision)
    loader = DataLoader(dataset, batch_size=max(1, run.eval_batch_size // views), num_workers=run.num_workers)
    found, labels = [], []
    with torch.inference_mode(), torch.autocast(device.type, half, enabled=half is not None):
        for inputs, batch_labels in loader:
            inputs = inputs.to(device).contiguous(memory_format=memory_format(inputs))
            found.append(function(inputs).float().cpu())
            labels.append(torch.as_tensor(batch_labels).long())
    return torch.cat(found), torch.cat(labels)
