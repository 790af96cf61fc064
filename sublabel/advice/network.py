"""Small networks on frozen features, trained in memory: seconds where a stage on media takes an hour.

A plain loop over tensors takes a third of the time of Lightning's trainer and data loader here.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from sublabel.advice.options import AdviceOptions
from sublabel.labels import SoftLabels, Targets
from sublabel.training import Classifier, adamw, best_precision
from sublabel.training.classifier import HALF_PRECISIONS
from sublabel.training.losses import CrossEntropy
from sublabel.training.modules import parameter_groups

EVALUATED_AT_ONCE = 8192


class HiddenLayers(nn.Sequential):
    """Two hidden layers on frozen features: the backbone of the small network.

    Args:
        inputs: D, features that go in.
        width: Of each layer.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.num_features = width


class Data(NamedTuple):
    """Samples with a target, in memory."""

    inputs: Tensor
    """float32 (N, D)."""
    targets: Tensor | SoftLabels
    """int64 (N,), (N, H) of H heads, or soft labels (N, k)."""
    heads: tuple[int, ...]
    """The widths of the heads."""

    @classmethod
    def of(cls, inputs: Tensor, targets: Targets) -> Data:
        """The samples that have a target.

        Args:
            inputs: float32 (N, D).
            targets: Of all N.
        """
        kept = np.flatnonzero(targets.keep)
        return cls(inputs[kept], default_collate([targets[row] for row in kept.tolist()]), targets.heads)

    def batch(self, rows: Tensor) -> tuple[Tensor, Any]:
        """Inputs and targets of some rows."""
        if isinstance(self.targets, SoftLabels):
            return self.inputs[rows], SoftLabels(*(part[rows] for part in self.targets))
        return self.inputs[rows], self.targets[rows]


def train(backbone: nn.Module, data: Data, steps: int, batch_size: int, learning_rate: float) -> Classifier:
    """Train a copy of a backbone and a new linear head, by AdamW and a one-cycle schedule.

    Args:
        backbone: Maps features to features, and has `num_features`.
        data: What to train on.
        steps: Optimiser steps.
        batch_size: Samples a step, at most.
        learning_rate: At its peak.
    """
    model = Classifier(copy.deepcopy(backbone), sum(data.heads)).to(data.inputs.device)
    objective = CrossEntropy(data.heads)
    optimizer = adamw(learning_rate, weight_decay=0.01)(parameter_groups(model))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    device, half = data.inputs.device, HALF_PRECISIONS.get(best_precision())
    for rows in _batches(len(data.inputs), batch_size, steps):
        inputs, targets = data.batch(rows)
        with torch.autocast(device.type, half, enabled=half is not None):
            loss = objective(model.head, model.features(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def _batches(samples: int, batch_size: int, steps: int) -> Sequence[Tensor]:
    """Rows of each step, drawn epoch by epoch; the last incomplete batch of an epoch is left out."""
    batch_size = min(batch_size, samples)
    an_epoch = samples // batch_size
    epochs = -(-steps // an_epoch)
    drawn = [torch.randperm(samples)[: an_epoch * batch_size].split(batch_size) for _ in range(epochs)]
    return [rows for epoch in drawn for rows in epoch][:steps]


def probabilities(model: Classifier, inputs: Tensor) -> np.ndarray:
    """What a trained network says of samples with one head.

    Args:
        model: Of K classes.
        inputs: float32 (N, D).

    Returns:
        float32 (N, K).
    """
    with torch.inference_mode():
        parts = [model(part).softmax(-1) for part in inputs.split(EVALUATED_AT_ONCE)]
    return torch.cat(parts).cpu().numpy()


def finetune(backbone: nn.Module, data: Data, options: AdviceOptions) -> Classifier:
    """Train a copy of a backbone with a new head on clean samples.

    Args:
        backbone: Fresh, or pre-trained.
        data: The clean samples.
        options: For how long.
    """
    a_pass = max(1, len(data.inputs) // options.finetune_batch_size)
    return train(
        backbone,
        data,
        steps=options.finetune_epochs * a_pass,
        batch_size=options.finetune_batch_size,
        learning_rate=options.learning_rate,
    )
