"""Lightning modules for pre-training on a label space and fine-tuning on the target set.

Sub-Pseudo Labels (SPL) change the labels and the width of the head, nothing else, so one module serves every
strategy, and nothing here is SPL's own: any backbone, any labels, and an optimiser factory go in.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import Metric, classification
from torchmetrics.classification import MulticlassAccuracy

from sublabel import distributed
from sublabel.errors import ConfigError
from sublabel.labels import SoftLabels
from sublabel.options import Schedule
from sublabel.training._watch import LossWatch
from sublabel.training.classifier import Classifier, lay_out_channels_last, memory_format
from sublabel.training.heads import HeadFactory
from sublabel.training.losses import CrossEntropy, Objective, SampledCrossEntropy

METRICS = ("top1", "top5")
OptimizerFactory = Callable[[Iterable[dict[str, Any]]], torch.optim.Optimizer]


def sgd(learning_rate: float = 0.1, *, momentum: float = 0.9, weight_decay: float = 5e-4) -> OptimizerFactory:
    """A factory of SGD with Nesterov momentum, the default optimiser (ours; the paper's is not published)."""

    def make(parameter_groups: Iterable[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            parameter_groups,
            lr=learning_rate,
            momentum=momentum,
            weight_decay=weight_decay,
            nesterov=momentum > 0,
        )

    return make


def adamw(learning_rate: float = 4e-3, *, weight_decay: float = 0.05) -> OptimizerFactory:
    """A factory of AdamW, which fits small networks in fewer steps than SGD (ours)."""

    def make(parameter_groups: Iterable[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameter_groups, lr=learning_rate, weight_decay=weight_decay)

    return make


OPTIMIZERS: dict[str, Callable[..., OptimizerFactory]] = {"sgd": sgd, "adamw": adamw}


def parameter_groups(module: nn.Module) -> list[dict[str, Any]]:
    """The trainable parameters in two groups: weights, and biases and norms, which do not decay."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trainable if parameter.ndim > 1]},
        {"params": [parameter for parameter in trainable if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


class PretrainModule(L.LightningModule):
    """Supervised training of `Classifier(backbone, num_classes)` with cross-entropy.

    A batch is `(inputs, targets)`: inputs (B, C, …) uint8 or normalised float; targets are labels (B,) int64
    in 0..K-1, `SoftLabels`, or labels (B, H) for H > 1 heads. Samples of -1 are left out of the loss.

    A loss that is not finite ends the training with a `SublabelError`. It is looked for at every step on CPU,
    and elsewhere, where each look waits for the device, every 100 steps and at the end of every epoch.

    Args:
        backbone: As `Classifier` takes it. It is trained in place; after the fit it is the result.
        num_classes: Number of pre-training classes K, or the widths of the heads, as `LabelSpace.heads`: the
            logits of several lie side by side, and their losses are summed (ours).
        head: Makes another head than the linear one, as `Classifier` takes it.
        sampled_classes: Train with sampled softmax over the batch's classes and so many others, where there
            are more; for spaces of 100,000 classes and up.
        optimizer: Makes the optimiser from parameter groups; default `sgd()`.
        schedule: `cosine` (linear warm-up, then half a cosine to zero), `one_cycle`, or `constant`; per step.
        warmup: Share of all steps that the cosine's warm-up takes, in [0, 1).
        label_smoothing: As in `torch.nn.functional.cross_entropy`.
        channels_last: Put inputs and weights in the channels-last layout.
        mean: Per channel mean for uint8 inputs.
        std: Per channel standard deviation, likewise.

    Raises:
        ConfigError: An option is out of its range.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int | Sequence[int],
        *,
        head: HeadFactory | None = None,
        sampled_classes: int | None = None,
        optimizer: OptimizerFactory | None = None,
        schedule: Schedule = "cosine",
        warmup: float = 0.05,
        label_smoothing: float = 0.0,
        channels_last: bool = True,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if schedule not in ("cosine", "one_cycle", "constant"):
            raise ConfigError(f"schedule is {schedule!r}; it must be 'cosine', 'one_cycle' or 'constant'")
        if not 0 <= warmup < 1:
            raise ConfigError(f"warmup is {warmup}; it must be in [0, 1)")
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing is {label_smoothing}; it must be in [0, 1)")
        self.heads = (num_classes,) if isinstance(num_classes, int) else tuple(num_classes)
        self.classifier = Classifier(backbone, sum(self.heads), head=head, mean=mean, std=std)
        self.objective = _objective(self.heads, sampled_classes, label_smoothing)
        self.optimizer_factory = optimizer or sgd()
        self.schedule = schedule
        self.warmup = warmup
        self.channels_last = channels_last
        self._loss_watch = LossWatch()

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (B, K)."""
        logits: Tensor = self.classifier(self._laid_out(inputs))
        return logits

    def training_step(self, batch: tuple[Tensor, Any], batch_index: int) -> Tensor:
        """Mean loss of one batch; the share of its labels that the head is right on is logged beside it."""
        with _outputs_of(self.classifier.head) as outputs:
            loss = self._loss(self.objective, batch)
        logged = {"train/loss": loss}
        # Sampled softmax has no logits of all classes.
        if outputs:
            logged["train/top1"] = top1_share(outputs[0], batch[1], self.heads)
        self.log_dict(logged, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch[0]))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_index: int) -> None:
        """Look for a loss that is not finite."""
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if loss is not None:
            self._loss_watch.update(loss, self.trainer.fit_loop.total_batch_idx, self.trainer.precision)

    def on_train_epoch_end(self) -> None:
        """Look for a loss that is not finite before anything is saved."""
        self._loss_watch.check(self.trainer.precision)

    def validation_step(self, batch: tuple[Tensor, Any], batch_index: int) -> None:
        """Mean cross-entropy of one batch, over all classes and without label smoothing."""
        loss = self._loss(CrossEntropy(self.heads), batch)
        self.log("val/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch[0]))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser over `parameter_groups`, and the schedule over the trainer's number of steps."""
        optimizer = self.optimizer_factory(parameter_groups(self.classifier))
        if self.schedule == "constant":
            return {"optimizer": optimizer}
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        scheduler: torch.optim.lr_scheduler.LRScheduler
        if self.schedule == "one_cycle":
            peaks = [group["lr"] for group in optimizer.param_groups]
            scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=peaks, total_steps=steps)
        else:
            scheduler = _warmup_cosine(optimizer, steps, self.warmup)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_model(self) -> None:
        """Lay the weights out before the strategy wraps the module."""
        if self.channels_last:
            lay_out_channels_last(self.classifier)

    def _loss(self, objective: Objective, batch: tuple[Tensor, Any]) -> Tensor:
        inputs, targets = batch
        return objective(self.classifier.head, self.classifier.features(self._laid_out(inputs)), targets)

    def _laid_out(self, inputs: Tensor) -> Tensor:
        return inputs.contiguous(memory_format=memory_format(inputs)) if self.channels_last else inputs


class FinetuneModule(PretrainModule):
    """Training on the target set, with accuracies on its validation and test splits.

    Evaluation inputs may carry test-time views, (B, V, C, …): the probabilities of the V views are averaged.
    Which of the two it is follows from `views`.

    Args:
        backbone: Fresh, or warm-started with `warm_start`.
        num_classes: Number of target classes K.
        views: Number of views V in evaluation batches; None when they have no view axis.
        metrics: What is measured: `top1`, `top5` or another `topN`, or a class of torchmetrics by name, such
            as `MulticlassCalibrationError`.
        **options: As for `PretrainModule`.

    Raises:
        ConfigError: There is no such metric, or an option is out of its range.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        *,
        views: int | None = None,
        metrics: Sequence[str] = METRICS,
        **options: Any,
    ) -> None:
        super().__init__(backbone, num_classes, **options)
        self.views = views
        self.metrics = nn.ModuleDict({name: make_metric(name, num_classes) for name in metrics})
        self.tested: list[np.ndarray] = []
        """After a test, for each device what it predicted and what was right, int64 (M, 2), in its order."""

    def probabilities(self, inputs: Tensor) -> Tensor:
        """Class probabilities (B, K) float32, averaged over views where there are any.

        Raises:
            ConfigError: The inputs have another number of views.
        """
        if self.views is None:
            return self.forward(inputs).float().softmax(-1)
        if inputs.shape[1] != self.views:
            raise ConfigError(
                f"the inputs have shape {tuple(inputs.shape)}; expected (B, {self.views}, C, …), as views is "
                f"{self.views}: give views=None for inputs without a view axis"
            )
        flat = self.forward(inputs.flatten(0, 1)).float().softmax(-1)
        averaged: Tensor = flat.unflatten(0, inputs.shape[:2]).mean(1)
        return averaged

    def validation_step(self, batch: tuple[Tensor, Any], batch_index: int) -> None:
        """Update the metrics with one batch."""
        self._evaluate(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        """Update the metrics with one batch, and keep its predictions."""
        probabilities = self._evaluate(batch, "test")
        self._predicted.append(torch.stack([probabilities.argmax(-1), batch[1]], dim=-1))

    def on_test_epoch_start(self) -> None:
        """Begin a list of predictions."""
        self._predicted: list[Tensor] = []

    def on_test_epoch_end(self) -> None:
        """Gather the predictions of all devices."""
        ours = torch.cat(self._predicted).cpu().numpy() if self._predicted else np.empty((0, 2), np.int64)
        self.tested = distributed.gather(ours)

    def _evaluate(self, batch: tuple[Tensor, Tensor], split: str) -> Tensor:
        inputs, labels = batch
        probabilities = self.probabilities(inputs)
        for name, module in self.metrics.items():
            metric = cast(Metric, module)
            metric.update(probabilities, labels)
            self.log(f"{split}/{name}", metric, on_step=False, on_epoch=True, batch_size=len(labels))
        return probabilities


def top1_share(logits: Tensor, targets: Tensor | SoftLabels, heads: Sequence[int]) -> Tensor:
    """The share of a batch's labels that have the largest logit of their head.

    Args:
        logits: (B, K), of several heads side by side.
        targets: Labels (B,), of H > 1 heads (B, H), -1 where there is none; of soft labels the heaviest.
        heads: Widths of the heads.

    Returns:
        A scalar, 0 where the batch has no label.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 1.0]])
        >>> float(top1_share(logits, torch.tensor([0, 2]), heads=(3,)))
        0.5
    """
    if isinstance(targets, SoftLabels):
        heaviest = targets.ids.gather(-1, targets.weights.argmax(-1, keepdim=True)).squeeze(-1)
        labels = heaviest.masked_fill(targets.weights.sum(-1) <= 0, -1)
    else:
        labels = targets
    # (B, H), as the labels are once those of one head have an axis for it.
    found = torch.stack([part.argmax(-1) for part in logits.detach().split(list(heads), -1)], dim=-1)
    right = found == labels.reshape(found.shape)
    share: Tensor = right.sum() / (labels >= 0).sum().clamp(min=1)
    return share


@contextmanager
def _outputs_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """What a module returns within the block."""
    outputs: list[Tensor] = []
    handle = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


def make_metric(name: str, num_classes: int) -> Metric:
    """Make a metric of class probabilities (B, K) and labels (B,).

    Args:
        name: `top1`, `top5` or another `topN`; or a class of `torchmetrics.classification`.
        num_classes: K.

    Raises:
        ConfigError: There is no such metric.
    """
    if name.startswith("top") and name[3:].isdecimal() and int(name[3:]):
        # "micro" keeps counts only; "macro" would allocate K² for large K.
        return MulticlassAccuracy(num_classes, top_k=min(int(name[3:]), num_classes), average="micro")
    found = getattr(classification, name, None) if name.startswith("Multiclass") else None
    if found is None:
        raise ConfigError(
            f"there is no metric {name!r}: give topN, such as top1 or top5, or a class of "
            "torchmetrics.classification that begins with Multiclass"
        )
    try:
        metric: Metric = found(num_classes=num_classes)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the metric {name!r} cannot be made for {num_classes} classes: {error}") from error
    if not _is_one_number(metric, num_classes):
        raise ConfigError(
            f"the metric {name!r} is more than one number, which no table has a place for: give one that is "
            "a number, such as MulticlassCalibrationError"
        )
    return metric


def _is_one_number(metric: Metric, num_classes: int) -> bool:
    with warnings.catch_warnings():
        # Of what one sample cannot tell, such as a curve of classes that are not there.
        warnings.simplefilter("ignore")
        value = metric(torch.full((1, num_classes), 1 / num_classes), torch.zeros(1, dtype=torch.int64))
    metric.reset()
    return isinstance(value, Tensor) and value.numel() == 1


def _objective(heads: tuple[int, ...], sampled_classes: int | None, label_smoothing: float) -> Objective:
    if sampled_classes is None or sum(heads) <= sampled_classes:
        return CrossEntropy(heads, label_smoothing)
    if sampled_classes < 1 or len(heads) > 1:
        raise ConfigError(
            f"sampled_classes is {sampled_classes} with heads of {heads} classes; sampled softmax draws at "
            "least one class, and is for one head"
        )
    if label_smoothing:
        raise ConfigError(
            f"label_smoothing is {label_smoothing} and sampled_classes {sampled_classes}; smoothing needs "
            "the logits of all classes: use one of the two"
        )
    return SampledCrossEntropy(heads[0], sampled_classes)


def _warmup_cosine(
    optimizer: torch.optim.Optimizer, steps: int, warmup: float
) -> torch.optim.lr_scheduler.LRScheduler:
    warmup = int(steps * warmup)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(1, steps - warmup))
    if warmup == 0:
        return cosine
    linear = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return torch.optim.lr_scheduler.SequentialLR(optimizer, [linear, cosine], milestones=[warmup])
