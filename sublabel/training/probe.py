"""A linear probe: what a frozen backbone's features already tell of the target classes.

The design is ours; the paper trains its teacher as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sublabel.errors import LabelError
from sublabel.media.domain import Preprocessing
from sublabel.options import ProbeOptions, RunOptions
from sublabel.training.classifier import Classifier, default_device
from sublabel.training.features import LabeledFeatures, extract_features
from sublabel.training.fit import TrainedModel, class_names

MOST_ITERATIONS = 500
# Largest entry of the gradient: of the head that is kept, and of those that only choose the penalty.
TOLERANCE = 1e-6
CHOOSING_TOLERANCE = 1e-4
# Features that hardly vary are left as they are, not blown up.
LEAST_DEVIATION = 1e-6


class Logistic(NamedTuple):
    """A multinomial logistic regression: logits are `features @ weight.T + bias`."""

    weight: Tensor
    """float64 (K, D)."""
    bias: Tensor
    """float64 (K,)."""


def probe(
    backbone: nn.Module,
    dataset: Any,
    options: ProbeOptions | None = None,
    *,
    classes: Sequence[str] | None = None,
    val: Any = None,
    preprocessing: Preprocessing | None = None,
    precision: str = "auto",
    run: RunOptions | None = None,
) -> TrainedModel:
    """Fit a linear head to the frozen features of the clean target set (ours), in place of `finetune`.

    The head takes the features as they are: their standardisation is folded into its weights. Nothing is
    drawn, so that the same samples give the same model.

    Args:
        backbone: Maps inputs to features (B, D) and has `num_features` = D; its weights are not changed.
        dataset: A map-style data set of (input, label), labels in 0..K-1; not augmented, as each sample is
            looked at once.
        options: How it is fitted.
        classes: The K names; default: `dataset.classes`.
        val: Such a data set whose loss chooses the penalty; default: cross-validation on `dataset`.
        preprocessing: As for `pretrain`.
        precision: As for `pretrain`, of the features.
        run: How it is run.

    Returns:
        The model, ready for `test`, and for `predict` as a teacher.

    Raises:
        ConfigError: The classes are not known, or there is no sample.
        LabelError: A label has no name.
    """
    options = options or ProbeOptions()
    names = class_names(classes, dataset)
    mean, std = (None, None) if preprocessing is None else (preprocessing.mean, preprocessing.std)
    classifier = Classifier(backbone, len(names), mean=mean, std=std)
    train = extract_features(classifier, dataset, precision=precision, run=run)
    held_out = None if val is None else extract_features(classifier, val, precision=precision, run=run)
    head, losses = fit_probe(train, len(names), options, val=held_out)
    with torch.no_grad():
        classifier.head.weight.copy_(head.weight)  # type: ignore[operator]
        classifier.head.bias.copy_(head.bias)  # type: ignore[operator]
    log = tuple({"l2": l2, "val/loss": loss} for l2, loss in losses.items())
    return TrainedModel(classifier, names, options, 0, log, preprocessing)


def fit_probe(
    train: LabeledFeatures,
    num_classes: int,
    options: ProbeOptions | None = None,
    *,
    val: LabeledFeatures | None = None,
) -> tuple[Logistic, dict[float, float]]:
    """Fit multinomial logistic regression to features, with the penalty that held-out samples like best.

    Args:
        train: N samples; their mean and deviation standardise the features.
        num_classes: K.
        options: Penalties and folds.
        val: Samples that choose the penalty; default: cross-validation on `train`, by the mean loss of all
            held-out samples.

    Returns:
        The regression on the features as they are, and the held-out loss of each penalty, falling; of a
        single one it is not measured.

    Raises:
        LabelError: A label is outside 0..K-1.

    Example:
        >>> train = LabeledFeatures(np.float32([[0], [1], [2], [3]] * 5), np.array([0, 0, 1, 1] * 5))
        >>> head, losses = fit_probe(train, 2)
        >>> (train.features @ head.weight.numpy().T + head.bias.numpy()).argmax(1)[:4].tolist()
        [0, 0, 1, 1]
    """
    options = options or ProbeOptions()
    for labels in (train.labels, *(() if val is None else (val.labels,))):
        outside = labels[(labels < 0) | (labels >= num_classes)]
        if len(outside):
            raise LabelError(f"a sample has the label {outside[0]}, and there are {num_classes} classes")
    penalties = sorted(options.l2, reverse=True)
    splits = [(train, val)] if val is not None else list(_folds(train, options.folds))
    if len(penalties) == 1:
        # There is nothing to choose.
        [head] = _path(train, num_classes, penalties, TOLERANCE)
        return head, {}
    held_out = sum(len(held.labels) for _, held in splits)
    totals = np.sum([_held_out_losses(part, held, num_classes, penalties) for part, held in splits], axis=0)
    # Without any held-out sample, as with one of each class, the strongest penalty is the careful choice.
    losses = totals / max(1, held_out) if splits else np.zeros(len(penalties))
    chosen = int(np.argmin(losses))
    [head] = _path(train, num_classes, [penalties[chosen]], TOLERANCE)
    return head, dict(zip(penalties, losses.tolist(), strict=True))


def _folds(data: LabeledFeatures, folds: int) -> Iterator[tuple[LabeledFeatures, LabeledFeatures]]:
    """Each fold's other samples, and its own; every class has samples in each of the first parts."""
    order = np.argsort(data.labels, kind="stable")
    first = np.searchsorted(data.labels[order], data.labels[order])
    # fold[n]: position among the samples of its class, modulo the number of folds, (N,)
    fold = np.empty(len(order), dtype=np.int64)
    fold[order] = (np.arange(len(order)) - first) % folds
    # What is alone in its class is never held out: nothing else teaches that class.
    fold[np.bincount(data.labels)[data.labels] == 1] = -1
    for number in range(folds):
        held = fold == number
        if held.any():
            yield (
                LabeledFeatures(data.features[~held], data.labels[~held]),
                LabeledFeatures(data.features[held], data.labels[held]),
            )


def _held_out_losses(
    train: LabeledFeatures, held: LabeledFeatures, num_classes: int, penalties: Sequence[float]
) -> list[float]:
    """The summed loss of the held-out samples for each penalty, (P,)."""
    features, labels = (torch.from_numpy(array).to(default_device()) for array in held)
    return [
        float(F.cross_entropy(features.double() @ head.weight.T + head.bias, labels, reduction="sum"))
        for head in _path(train, num_classes, penalties, CHOOSING_TOLERANCE)
    ]


def _path(
    train: LabeledFeatures, num_classes: int, penalties: Sequence[float], tolerance: float
) -> Iterator[Logistic]:
    """The regression for each penalty, each found from the one before."""
    features, labels = (torch.from_numpy(array).to(default_device()) for array in train)
    features = features.double()
    mean, deviation = features.mean(0), features.std(0, correction=0)
    deviation[deviation < LEAST_DEVIATION] = 1
    standardised = (features - mean) / deviation
    head = torch.zeros(num_classes, features.shape[1] + 1, dtype=torch.float64, device=features.device)
    for l2 in penalties:
        _minimise(head, standardised, labels, l2, tolerance)
        weight = head[:, :-1] / deviation
        yield Logistic(weight, head[:, -1] - weight @ mean)


def _minimise(head: Tensor, features: Tensor, labels: Tensor, l2: float, tolerance: float) -> None:
    """Minimise the mean loss plus l2/2·‖W‖² in place, by L-BFGS; the last column is the free bias."""
    head.requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        [head],
        max_iter=MOST_ITERATIONS,
        tolerance_grad=tolerance,
        tolerance_change=0,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        weight, bias = head[:, :-1], head[:, -1]
        found = F.cross_entropy(features @ weight.T + bias, labels) + l2 / 2 * weight.square().sum()
        found.backward()
        return found

    optimizer.step(loss)
    head.requires_grad_(False)
