"""Training, testing and saving of one model of a study, with Lightning."""

from __future__ import annotations

# Before Lightning, as it makes torchvision importable.
import sublabel.training  # noqa: F401  # isort: skip

import logging
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from sublabel.errors import ArtifactError, ConfigError
from sublabel.labels import LabelSpace
from sublabel.media import MediaTable
from sublabel.media.domain import Domain, Preprocessing
from sublabel.study.options import StudyOptions, TrainOptions
from sublabel.training import (
    OPTIMIZERS,
    FinetuneModule,
    LabelDataModule,
    LabeledDataset,
    ModelCard,
    PretrainModule,
    Targets,
    best_precision,
    head_factory,
    save_model,
)

_log = logging.getLogger(__name__)


class Runner:
    """What every training of a study shares: domain, options, precision and the manifest's fingerprint.

    Args:
        domain: The medium.
        options: The study's.

    Raises:
        ConfigError: The domain has no such backbone or augmentation, or several jobs are to train on several
            devices each.
    """

    def __init__(self, domain: Domain, options: StudyOptions) -> None:
        self.domain = domain
        self.options = options
        self.precision = best_precision() if options.precision == "auto" else options.precision
        if options.jobs > 1:
            self._refuse_several_devices()
        # A wrong name must not wait until its turn comes.
        _, preprocessing = self.new_backbone(seed=0)
        for stage in (options.pretrain, options.finetune):
            domain.training_transform(preprocessing, stage.augmentation)

    def start_processes(self) -> None:
        """With several devices: start the process of each now, so that they share all that follows."""
        trainer = self.trainer()
        if trainer.world_size == 1:
            return
        if trainer.strategy.launcher is None:
            trainer.strategy.setup_environment()
        else:
            trainer.strategy.launcher.launch(trainer.strategy.setup_environment)

    def devices_a_step(self) -> int:
        """How many batches make a step: devices of all nodes × accumulated batches."""
        trainer = self.trainer()
        return int(trainer.world_size * trainer.accumulate_grad_batches)

    def new_backbone(self, seed: int) -> tuple[nn.Module, Preprocessing]:
        """The same start for every strategy of a seed.

        The order of batches after it differs with the width of the head, whose weights are drawn first.
        """
        L.seed_everything(seed, workers=True, verbose=False)
        options = self.options
        backbone = self.domain.create_backbone(
            options.backbone, pretrained=options.pretrained, weights=options.weights
        )
        return backbone, self.domain.preprocessing(backbone)

    def module_options(self, options: TrainOptions, preprocessing: Preprocessing) -> dict[str, Any]:
        """The arguments of a Lightning module."""
        return {
            "optimizer": OPTIMIZERS[options.optimizer](
                options.learning_rate, weight_decay=options.weight_decay
            ),
            "schedule": options.schedule,
            "label_smoothing": options.label_smoothing,
            "mean": preprocessing.mean,
            "std": preprocessing.std,
        }

    def pretraining_module(
        self, backbone: nn.Module, space: LabelSpace, preprocessing: Preprocessing
    ) -> PretrainModule:
        """The student of a label space, with its head or heads."""
        options = self.options
        return PretrainModule(
            backbone,
            space.heads,
            head=head_factory(space, options.head, options.head_rank),
            sampled_classes=None if space.two_heads else options.sampled_classes,
            **self.module_options(options.pretrain, preprocessing),
        )

    def fit(
        self,
        module: PretrainModule,
        media: MediaTable,
        targets: np.ndarray | Targets,
        options: TrainOptions,
        preprocessing: Preprocessing,
        unflipped: Collection[int],
        folder: Path,
    ) -> int:
        """Train a module in place.

        Args:
            module: With the head for the labels.
            media: The samples.
            targets: Labels int64 (N,), -1 for samples that are not used; or other targets.
            options: Of this stage.
            preprocessing: What the backbone wants.
            unflipped: Classes whose samples must not be flipped.
            folder: Where checkpoints go, and its name in the log.

        Returns:
            The number of optimiser steps.

        Raises:
            ArtifactError: The checkpoint of a training that was stopped is damaged.
            ConfigError: There was no step.
        """
        transform = self.domain.training_transform(preprocessing, options.augmentation)
        as_shown = self.domain.training_transform(preprocessing, options.augmentation, flip=False)
        data = LabelDataModule(
            LabeledDataset(media, targets, transform, dict.fromkeys(unflipped, as_shown)),
            batch_size=options.batch_size,
            num_workers=self.options.num_workers,
        )
        started = time.perf_counter()
        checkpoint = folder / "last.ckpt"
        length = {"max_epochs": options.epochs}
        if options.steps is not None:
            length = {"max_epochs": -1, "max_steps": options.steps}
        trainer = self.trainer(**length, limit_val_batches=0, **self._checkpointing(checkpoint))
        goes_on = checkpoint if checkpoint.exists() else None
        if goes_on is not None:
            _refuse_damaged(goes_on)
        trainer.fit(module, datamodule=data, ckpt_path=goes_on, weights_only=True)
        if trainer.world_size > 1:
            # Each device has its own batch statistics: what is saved and tested are the first one's.
            module.load_state_dict(trainer.strategy.broadcast(module.state_dict()))
        if trainer.global_step == 0:
            raise ConfigError(
                f"{folder}: the training made no step, with {len(data.train or ())} samples in batches of "
                f"{options.batch_size} on {trainer.world_size} devices: are all limits of --trainer meant?"
            )
        _log.info("%s: %d steps in %.0f s", folder, trainer.global_step, time.perf_counter() - started)
        return trainer.global_step

    def test(
        self, module: FinetuneModule, media: MediaTable, labels: np.ndarray, preprocessing: Preprocessing
    ) -> tuple[float, float]:
        """Top-1 and top-5 of a module, over all test-time views of each sample."""
        transform = self.domain.test_transform(preprocessing)
        data = LabelDataModule(
            test=LabeledDataset(media, labels, transform),
            batch_size=max(1, self.options.eval_batch_size // (self.domain.num_views or 1)),
            num_workers=self.options.num_workers,
        )
        [scores] = self.trainer().test(module, datamodule=data, verbose=False)
        return scores["test/top1"], scores["test/top5"]

    def save(
        self,
        folder: Path,
        module: PretrainModule,
        names: Sequence[str],
        preprocessing: Preprocessing,
        options: TrainOptions,
        *,
        fingerprints: dict[str, str],
        made_by: dict[str, Any],
    ) -> None:
        """Save a trained module with its card, in place of its checkpoint."""
        card = ModelCard(
            domain=self.domain.name,
            backbone=self.options.backbone,
            classes=tuple(names),
            preprocessing=preprocessing,
            fingerprints=fingerprints,
            made_by={
                **made_by,
                "head": type(module.classifier.head).__name__,
                "training": options.model_dump(mode="json"),
                "precision": self.precision,
            },
        )
        save_model(folder, module.classifier, card)
        (folder / "last.ckpt").unlink(missing_ok=True)

    def _checkpointing(self, path: Path) -> dict[str, Any]:
        if not self.options.checkpoints:
            return {}
        keep = ModelCheckpoint(path.parent, filename=path.stem, enable_version_counter=False)
        callbacks = [*self.options.trainer.get("callbacks", []), keep]
        return {"enable_checkpointing": True, "callbacks": callbacks}

    def trainer(self, **options: Any) -> L.Trainer:
        """Lightning's trainer: quiet, with the study's arguments, then these."""
        quiet = {
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
        }
        # By default Lightning takes all GPUs, with a process for each, and so would every job.
        devices = {"devices": 1} if self.options.jobs > 1 else {}
        return L.Trainer(
            **{**quiet, "precision": self.precision, **devices, **self.options.trainer, **options}
        )

    def _refuse_several_devices(self) -> None:
        devices = self.options.trainer.get("devices", 1)
        nodes = self.options.trainer.get("num_nodes", 1)
        if (len(devices) if isinstance(devices, list) else devices) != 1 or nodes != 1:
            raise ConfigError(
                f"jobs is {self.options.jobs} and the trainer asks for devices={devices}, num_nodes={nodes}; "
                "each of several jobs trains on one device: choose 1 job, or 1 device"
            )


def _refuse_damaged(checkpoint: Path) -> None:
    try:
        torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, EOFError, OSError, UnpicklingError) as error:
        raise ArtifactError(
            f"{checkpoint} is damaged ({type(error).__name__}): delete it, and this training begins anew"
        ) from error


def classes_that_touch(space: LabelSpace, names: Collection[str]) -> list[int]:
    """The classes of a weak or teacher class of these names; a merged class if a cell of it is."""
    # The entry at the end is that of -1.
    in_row, in_column = (
        np.array([name in names for name in vocabulary] + [False])
        for vocabulary in (space.weak_vocabulary, space.teacher_vocabulary)
    )
    touched = in_row[space.classes.weak] | in_column[space.classes.teacher]
    rows, columns = np.divmod(space.cells, len(space.teacher_vocabulary))
    members = space.cell_labels[in_row[rows] | in_column[columns]]
    touched[members[space.classes.is_kind("merged")[members]]] = True
    classes: list[int] = np.flatnonzero(touched).tolist()
    return classes
