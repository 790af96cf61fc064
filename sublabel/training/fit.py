"""The stages of the method that train: plain objects in, an artefact out.

A stage takes a backbone of yours or a model that another stage returned, any map-style data set of PyTorch,
and options; it makes Lightning's trainer, or takes yours. `sublabel.study.Study` calls these functions and
adds folders, resumption, seeds and statistics.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from torch import Tensor, nn

from sublabel.errors import ConfigError
from sublabel.labels import Targets, Vocabulary
from sublabel.media.domain import Domain, Preprocessing
from sublabel.options import ProbeOptions, RunOptions, TrainOptions
from sublabel.training.checkpoint import LoadedModel, ModelCard, WarmStartReport, save_model, warm_start
from sublabel.training.classifier import Classifier
from sublabel.training.data import LabelDataModule, LabeledDataset, as_targets
from sublabel.training.heads import HeadFactory
from sublabel.training.modules import OPTIMIZERS, FinetuneModule, PretrainModule
from sublabel.training.trainer import (
    logged_epochs,
    make_trainer,
    refuse_damaged,
    refuse_other_processes,
    refuse_used,
)


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """What a stage made of a backbone, and how."""

    classifier: Classifier
    """Backbone and head; in evaluation mode."""
    classes: tuple[str, ...]
    """A name for each output."""
    options: TrainOptions | ProbeOptions
    steps: int
    """Optimiser steps; 0 of a probe."""
    log: tuple[Mapping[str, float], ...] = ()
    """An entry an epoch: `epoch`, `step`, `train/loss`, `train/top1`, …; of a probe one for each `l2` with
    `val/loss`."""
    preprocessing: Preprocessing | None = None
    """What the backbone wants as input, where it is known."""
    warm_start: WarmStartReport | None = None
    """What was loaded from the model that it started from, if it started from one."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes, in the order of the outputs."""
        return Vocabulary(self.classes)

    def save(
        self,
        folder: str | Path,
        *,
        domain: Domain,
        backbone: str,
        fingerprints: Mapping[str, str] | None = None,
        made_by: Mapping[str, Any] | None = None,
    ) -> ModelCard:
        """Write `model.safetensors` and `card.json`, from which `load_model` builds the classifier again.

        Args:
            folder: Made if it does not exist.
            domain: Builds the backbone again; the card has its name and options.
            backbone: The backbone's name in the domain.
            fingerprints: Of what the model was made from.
            made_by: Further facts for the card.

        Raises:
            ConfigError: The preprocessing is not known.
        """
        card = ModelCard(
            domain=domain.name,
            domain_options=domain.options(),
            backbone=backbone,
            classes=self.classes,
            preprocessing=need_preprocessing(self),
            fingerprints=dict(fingerprints or {}),
            made_by={
                **(made_by or {}),
                "steps": self.steps,
                "warm_start": None if self.warm_start is None else str(self.warm_start),
                "head": type(self.classifier.head).__name__,
                "training": self.options.model_dump(mode="json"),
            },
        )
        return save_model(folder, self.classifier, card)


def need_preprocessing(model: TrainedModel) -> Preprocessing:
    """What a model's backbone wants as input.

    Raises:
        ConfigError: Nobody said.
    """
    if model.preprocessing is None:
        raise ConfigError(
            "the model does not know what its backbone wants as input, which its card must say: give the "
            "stage that trained it `preprocessing=`"
        )
    return model.preprocessing


def pretrain(
    backbone: nn.Module,
    media: Any,
    targets: Targets | np.ndarray,
    options: TrainOptions | None = None,
    *,
    classes: Sequence[str] | None = None,
    head: HeadFactory | None = None,
    sampled_classes: int | None = None,
    preprocessing: Preprocessing | None = None,
    precision: str = "auto",
    run: RunOptions | None = None,
    trainer: L.Trainer | None = None,
    checkpoint: Path | None = None,
    seed: int | None = None,
) -> TrainedModel:
    """Pre-train a backbone on the weak media with re-assigned labels (METHOD's third step).

    Args:
        backbone: Maps inputs to features (B, D) and has `num_features` = D; trained in place.
        media: A map-style data set of N inputs (uint8 or normalised float tensors), or of tuples that begin
            with one, such as a data set with labels of its own.
        targets: Of each input, as `LabelSpace.targets` gives them, or labels int64 (N,), -1 where there is
            none; inputs without one are left out.
        options: How to train.
        classes: A name for each output; default: numbers. `LabelSpace.names` has them.
        head: Makes another head than the linear one, as `head_factory(space, "factorised")`.
        sampled_classes: Train with sampled softmax over a batch's classes and so many others, where there are
            more; several heads are trained in full all the same.
        preprocessing: What the backbone wants, if uint8 inputs are to be normalised by it.
        precision: Lightning's flag; `auto`: what suits this machine.
        run: How it is run.
        trainer: Your own, unused; its length, clipping, precision and checkpoints then hold, and not those
            that are said here.
        checkpoint: Go on from this file where it exists, and keep the state there if `run.checkpoints`.
        seed: Seeds all that is drawn, the head's weights first; None draws on.

    Returns:
        The model; `finetune` drops its head.

    Raises:
        ConfigError: There is no sample with a target, not one target for each sample, not one name for each
            output, no step was made, or the trainer has been used.
        LabelError: A plain label is no integer, or has no name.
        ArtifactError: The checkpoint is damaged.
        SublabelError: The loss is not finite.
    """
    options, run = options or TrainOptions(), run or RunOptions()
    dataset = LabeledDataset(media, as_targets(targets, None if classes is None else len(classes)))
    heads = dataset.targets.heads
    data = _loaders(dataset, None, heads, options, run)
    # Before hours of training, not after them.
    names = _output_names(classes, sum(heads))
    _seed(seed)
    module = PretrainModule(
        backbone,
        heads,
        head=head,
        sampled_classes=sampled_classes if len(heads) == 1 else None,
        **_module_options(options, preprocessing),
    )
    steps, log = _fit(module, data, options, precision, run, trainer, checkpoint)
    return TrainedModel(module.classifier.eval(), names, options, steps, log, preprocessing)


def finetune(
    model: nn.Module | TrainedModel | LoadedModel,
    dataset: Any,
    options: TrainOptions | None = None,
    *,
    classes: Sequence[str] | None = None,
    val: Any = None,
    preprocessing: Preprocessing | None = None,
    precision: str = "auto",
    run: RunOptions | None = None,
    trainer: L.Trainer | None = None,
    checkpoint: Path | None = None,
    seed: int | None = None,
) -> TrainedModel:
    """Train on the clean target set: a fresh backbone (the teacher), or one that was pre-trained.

    Args:
        model: A backbone as for `pretrain`, trained in place; or the model that `pretrain` or `load_model`
            returned, or its classifier, whose backbone is copied and whose head is dropped, as the method
            says.
        dataset: A map-style data set of (input, label), labels in 0..K-1.
        options: How to train.
        classes: The K names; default: `dataset.classes`, as torchvision's data sets have it.
        val: Such a data set that is evaluated after every epoch; its metrics are in the model's `log`.
        preprocessing: As for `pretrain`; default: what the model was trained with.
        precision: As for `pretrain`.
        run: As for `pretrain`.
        trainer: As for `pretrain`.
        checkpoint: As for `pretrain`.
        seed: As for `pretrain`.

    Returns:
        The model, ready for `test`, and for `predict` as a teacher.

    Raises:
        ConfigError: The classes are not known, there is no sample, no step was made, or the trainer has been
            used.
        LabelError: A label has no name.
        ArtifactError: The checkpoint is damaged.
        SublabelError: The loss is not finite.
    """
    options, run = options or TrainOptions(), run or RunOptions()
    names = class_names(classes, dataset)
    data = _loaders(dataset, val, (len(names),), options, run)
    if isinstance(model, TrainedModel | LoadedModel):
        preprocessing = preprocessing or model.preprocessing
        model = model.classifier
    arguments = _module_options(options, preprocessing)
    backbone, report = model, None
    if isinstance(model, Classifier):
        # The stage before left it in evaluation mode, in which Lightning would let it train.
        backbone = copy.deepcopy(model.backbone).train()
        report = warm_start(backbone, model.state_dict())
        if preprocessing is None:
            arguments |= {"mean": _as_tuple(model.mean), "std": _as_tuple(model.std)}
    _seed(seed)
    module = FinetuneModule(backbone, len(names), **arguments)
    steps, log = _fit(module, data, options, precision, run, trainer, checkpoint)
    return TrainedModel(module.classifier.eval(), names, options, steps, log, preprocessing, report)


def _fit(
    module: PretrainModule,
    data: LabelDataModule,
    options: TrainOptions,
    precision: str,
    run: RunOptions,
    trainer: L.Trainer | None,
    checkpoint: Path | None,
) -> tuple[int, tuple[Mapping[str, float], ...]]:
    """Train a module in place; returns the steps, and what was logged."""
    if trainer is None:
        limits = {"limit_val_batches": 0} if data.val is None else {}
        trainer = make_trainer(options, run, precision=precision, checkpoint=checkpoint, **limits)
    refuse_used(trainer)
    refuse_other_processes(trainer)
    goes_on = checkpoint if checkpoint is not None and checkpoint.exists() else None
    if goes_on is not None:
        refuse_damaged(goes_on)
    with logged_epochs(trainer) as log:
        trainer.fit(module, datamodule=data, ckpt_path=goes_on, weights_only=True)
    if trainer.world_size > 1:
        # Each device has its own batch statistics: what is saved and tested are the first one's.
        module.load_state_dict(trainer.strategy.broadcast(module.state_dict()))
    if trainer.global_step == 0:
        raise ConfigError(
            f"the training made no step, with {len(data.train)} samples in batches of {data.batch_size} on "
            f"{trainer.world_size} devices: are all limits of the trainer meant?"
        )
    return trainer.global_step, tuple(log)


def _loaders(
    dataset: Any, val: Any, heads: tuple[int, ...], options: TrainOptions, run: RunOptions
) -> LabelDataModule:
    return LabelDataModule(
        dataset, val=val, batch_size=options.batch_size, num_workers=run.num_workers, heads=heads
    )


def _module_options(options: TrainOptions, preprocessing: Preprocessing | None) -> dict[str, Any]:
    momentum = {"momentum": options.momentum} if options.optimizer == "sgd" else {}
    return {
        "optimizer": OPTIMIZERS[options.optimizer](
            options.learning_rate, weight_decay=options.weight_decay, **momentum
        ),
        "schedule": options.schedule,
        "warmup": options.warmup,
        "label_smoothing": options.label_smoothing,
        "mean": None if preprocessing is None else preprocessing.mean,
        "std": None if preprocessing is None else preprocessing.std,
    }


def _as_tuple(values: Tensor | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(values.tolist())


def _seed(seed: int | None) -> None:
    if seed is not None:
        L.seed_everything(seed, workers=True, verbose=False)


def class_names(classes: Sequence[str] | None, dataset: Any) -> tuple[str, ...]:
    """The names of a data set's classes.

    Args:
        classes: They themselves; None: what the data set says.
        dataset: With an attribute `classes`, where they are not given.

    Raises:
        ConfigError: They are not known.
    """
    names = getattr(dataset, "classes", None) if classes is None else classes
    if names is None:
        raise ConfigError(
            f"the classes of the labels are not known: {type(dataset).__name__} has no attribute `classes`, "
            "as torchvision's data sets have it; give their names as `classes=`"
        )
    return Vocabulary(names).names


def _output_names(classes: Sequence[str] | None, outputs: int) -> tuple[str, ...]:
    if classes is None:
        return Vocabulary.of(outputs).names
    if len(classes) != outputs:
        raise ConfigError(
            f"got {len(classes)} names of classes for targets of {outputs} classes; expected one for each: "
            "`LabelSpace.names` has them"
        )
    return Vocabulary(classes).names
