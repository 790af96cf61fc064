"""Losses of pre-training: cross-entropy of labels, of soft labels, of several heads, over sampled classes.

An objective is called with the head and its inputs, so that one which needs few logits makes only those.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sublabel.errors import ConfigError
from sublabel.labels import SoftLabels
from sublabel.training.heads import chosen_logits

Objective = Callable[[nn.Module, Tensor, "Tensor | SoftLabels"], Tensor]
"""Head, features (B, D), targets of the batch → mean loss."""


def soft_cross_entropy(logits: Tensor, targets: SoftLabels, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy to soft labels; no dense (B, K) target is made.

    Args:
        logits: (B, K).
        targets: Tensors (B, M) each; samples without any weight are left out.
        label_smoothing: As in `torch.nn.functional.cross_entropy`.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0, 1.0]])
        >>> soft = SoftLabels(torch.tensor([[0, 2]]), torch.tensor([[0.75, 0.25]]))
        >>> dense = torch.tensor([[0.75, 0.0, 0.25]])
        >>> bool(soft_cross_entropy(logits, soft).isclose(cross_entropy(logits, dense)))
        True
    """
    # Half precision is too coarse for a sum over classes; PyTorch's own loss autocasts likewise.
    log_probs = logits.float().log_softmax(-1)
    likelihood = (targets.weights * log_probs.gather(-1, targets.ids)).sum(-1)
    if label_smoothing:
        likelihood = (1 - label_smoothing) * likelihood + label_smoothing * log_probs.mean(-1)
    used = targets.weights.sum(-1) > 0
    return -_mean_of_used(likelihood, used)


def _mean_of_used(values: Tensor, used: Tensor) -> Tensor:
    """The mean over the samples of a batch that have a target, 0 where none has."""
    return values.where(used, 0.0).sum() / used.sum().clamp(min=1)


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy over all classes; of several heads, the sum of theirs.

    Targets are labels int64 (B,), `SoftLabels`, or, of H > 1 heads, labels int64 (B, H). Samples of -1 are
    left out. The sum over two heads is the cross-entropy of the pair of labels, were the two independent
    given the input: its scale is that of raw Sub-Pseudo Labels (SPL) (ours).
    """

    heads: tuple[int, ...]
    """The widths of the heads, whose logits lie side by side; (K,) of one."""
    label_smoothing: float = 0.0

    def __call__(self, head: nn.Module, features: Tensor, targets: Tensor | SoftLabels) -> Tensor:
        """The mean over the batch.

        Raises:
            ConfigError: The targets are not those of so many heads.
        """
        logits: Tensor = head(features)
        if isinstance(targets, SoftLabels):
            self._check(targets.ids[:, 0])
            return soft_cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
        self._check(targets)
        if len(self.heads) == 1:
            return self._cross_entropy(logits, targets)
        parts = zip(logits.split(self.heads, -1), targets.unbind(-1), strict=True)
        return torch.stack([self._cross_entropy(part, labels) for part, labels in parts]).sum()

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        losses = cross_entropy(
            logits, labels, ignore_index=-1, label_smoothing=self.label_smoothing, reduction="none"
        )
        return _mean_of_used(losses, labels >= 0)

    def _check(self, labels: Tensor) -> None:
        expected = () if len(self.heads) == 1 else (len(self.heads),)
        if labels.shape[1:] != expected:
            raise ConfigError(
                f"the labels of a batch have shape {tuple(labels.shape)}, and the module has heads of "
                f"{self.heads} classes: give labels {('B', *expected)}, or the module the `heads` of the "
                "label space"
            )


@dataclass(frozen=True)
class SampledCrossEntropy:
    """Sampled softmax: cross-entropy over the classes of the batch and some others, drawn anew each step.

    Of the classes that the batch has not, one is drawn from each of `sampled_classes` strata of side by side
    ids, and stands for its whole stratum: the log of the stratum's size is added to its logit (log-Q
    correction). So the partition function is unbiased, and where all are drawn the loss is the full one. Its
    logarithm, the loss, is biased downwards a little. Sampled softmax is Bengio and Senécal's (2008) and Jean
    et al.'s (2015), the strata are ours. Finding the batch's classes waits for the device.

    Targets are labels int64 (B,), of which -1 is left out, or `SoftLabels`.
    """

    num_classes: int
    """K."""
    sampled_classes: int
    """How many classes are drawn beside those of the batch."""

    def __call__(self, head: nn.Module, features: Tensor, targets: Tensor | SoftLabels) -> Tensor:
        """The mean over the batch.

        Raises:
            ConfigError: The head cannot give the logits of some classes only.
        """
        if not isinstance(targets, SoftLabels):
            used = targets >= 0
            features, targets = features[used], targets[used]
        ids = targets.ids if isinstance(targets, SoftLabels) else targets
        present, places = ids.unique(return_inverse=True)
        drawn, sizes = draw_absent(present, self.num_classes, self.sampled_classes)
        logits = chosen_logits(head, features, torch.cat([present, drawn])).float()
        logits = logits + torch.cat([torch.zeros_like(present), sizes.log()])
        if isinstance(targets, SoftLabels):
            return soft_cross_entropy(logits, SoftLabels(places, targets.weights))
        return _mean_of_used(cross_entropy(logits, places, reduction="none"), places >= 0)


def draw_absent(present: Tensor, num_classes: int, number: int) -> tuple[Tensor, Tensor]:
    """One class of each of some strata of the classes that are not present.

    Args:
        present: int64 (P,), distinct and in order, each in 0..K-1.
        num_classes: K.
        number: How many to draw; all are drawn where there are no more.

    Returns:
        The classes, int64 (S,), distinct, and how many classes each stands for, int64 (S,).
    """
    absent = num_classes - len(present)
    edges = torch.arange(min(number, absent) + 1, device=present.device) * absent
    edges = edges.div(max(1, len(edges) - 1), rounding_mode="floor")
    sizes = edges.diff()
    # Rounding must not carry a draw into the next stratum.
    offsets = torch.minimum((torch.rand(len(sizes), device=present.device) * sizes).long(), sizes - 1)
    rank = edges[:-1] + offsets
    # The n-th absent class is n plus the number of present ones before it.
    absent_before = present - torch.arange(len(present), device=present.device)
    return rank + torch.searchsorted(absent_before, rank, right=True), sizes
