"""The models of a study: how their backbones begin, what their trainings share, how they are saved."""

from __future__ import annotations

# First, as it makes torchvision importable beside every torch.
import sublabel.training  # noqa: F401  # isort: skip

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from torch import nn

from sublabel.errors import MediaError
from sublabel.files import write_atomically
from sublabel.labels import Vocabulary
from sublabel.media import MediaTable
from sublabel.media.domain import Domain, Preprocessing
from sublabel.options import RunOptions, TrainOptions
from sublabel.study.media import StudyMedia
from sublabel.study.options import StudyOptions
from sublabel.tables import Relabeled
from sublabel.teacher import Teacher, as_teacher
from sublabel.training import (
    LabeledDataset,
    LoadedModel,
    MediaInputs,
    TrainedModel,
    best_precision,
    make_trainer,
    read_card,
    refuse_several_devices,
)
from sublabel.training.modules import make_metric

CHECKPOINT, LOG_FILE = "last.ckpt", "training.jsonl"


@dataclass(frozen=True)
class StudyModels:
    """What all models of a study have in common.

    Args:
        domain: Builds the backbones.
        options: What is compared.
        run: How it is run.
    """

    domain: Domain
    options: StudyOptions
    run: RunOptions

    @cached_property
    def precision(self) -> str:
        """Lightning's flag, of every stage."""
        return best_precision() if self.options.precision == "auto" else self.options.precision

    def refuse_impossible_training(self, num_classes: int) -> None:
        """Refuse names that do not exist before anything is trained.

        Args:
            num_classes: Target classes.

        Raises:
            ConfigError: There is no such backbone, augmentation or metric, or several jobs are to train on
                several devices each.
        """
        refuse_several_devices(self.run)
        for metric in self.options.metrics:
            make_metric(metric, num_classes)
        _, preprocessing = self.new_backbone(seed=0)
        for stage in (self.options.pretrain, self.options.finetune):
            self.domain.training_transform(preprocessing, stage.augmentation)
        if self.options.teacher.backbone is not None:
            _, preprocessing = self.new_teacher_backbone(seed=0)
            self.domain.training_transform(preprocessing, self.options.teacher.finetune.augmentation)

    def new_backbone(self, seed: int) -> tuple[nn.Module, Preprocessing]:
        """The same start for every strategy of a seed.

        The order of batches after it differs with the width of the head, whose weights are drawn first.

        Args:
            seed: Of all that is drawn from now on.
        """
        return self._begin(seed, self.options.backbone, self.options.pretrained, self.options.weights)

    def new_teacher_backbone(self, seed: int) -> tuple[nn.Module, Preprocessing]:
        """The start of a teacher of its own; without one, the same as the students'.

        Args:
            seed: Of all that is drawn from now on.
        """
        options = self.options.teacher
        if options.backbone is None:
            return self.new_backbone(seed)
        backbone, own = self._begin(seed, options.backbone, options.pretrained, options.weights)
        return backbone, own.resized(options.image_size)

    def _begin(
        self, seed: int, name: str, pretrained: bool, weights: str | None
    ) -> tuple[nn.Module, Preprocessing]:
        L.seed_everything(seed, workers=True, verbose=False)
        backbone = self.domain.create_backbone(name, pretrained=pretrained, weights=weights)
        return backbone, self.domain.preprocessing(backbone)

    def trainer(self) -> L.Trainer:
        """A trainer as the stages have it, to be asked for its devices."""
        return make_trainer(None, self.run, precision=self.precision)

    @property
    def devices_a_step(self) -> int:
        """How many batches make a step: devices of all nodes × accumulated batches."""
        trainer = self.trainer()
        return int(trainer.world_size * trainer.accumulate_grad_batches)

    def teacher(
        self,
        model: Teacher | TrainedModel | LoadedModel | nn.Module,
        vocabulary: Vocabulary | None = None,
    ) -> Teacher:
        """A model as a teacher that keeps as many classes as the options say.

        Args:
            model: As `as_teacher` takes it.
            vocabulary: The classes of a module.
        """
        return as_teacher(model, vocabulary, top_k=self.options.teacher_top_k, precision=self.precision)

    def training_inputs(
        self, media: MediaTable, preprocessing: Preprocessing, options: TrainOptions, unflipped: np.ndarray
    ) -> MediaInputs:
        """The augmented inputs of a training.

        Args:
            media: N samples.
            preprocessing: What the backbone wants.
            options: Whose augmentation is made.
            unflipped: bool (N,), samples of classes whose left and right matter.
        """
        transform, as_shown = (
            self.domain.training_transform(preprocessing, options.augmentation, flip=flip)
            for flip in (True, False)
        )
        return MediaInputs(media, transform, exceptions=unflipped, exceptional_transform=as_shown)

    def target_training(
        self, media: StudyMedia, preprocessing: Preprocessing, options: TrainOptions
    ) -> LabeledDataset:
        """The augmented target set.

        Args:
            media: The study's.
            preprocessing: What the backbone wants.
            options: Whose augmentation is made.
        """
        labels, names = media.target_labels("target_train"), media.vocabulary.names
        unflipped = [label for label, name in enumerate(names) if name in self.options.no_flip]
        table = media.table("target_train")
        inputs = self.training_inputs(table, preprocessing, options, np.isin(labels, unflipped))
        return LabeledDataset(inputs, labels)

    def stage(self, folder: Path, preprocessing: Preprocessing) -> dict[str, Any]:
        """The arguments that every training of the study has.

        Args:
            folder: Of the model.
            preprocessing: What the backbone wants.
        """
        return {
            "preprocessing": preprocessing,
            "precision": self.precision,
            "run": self.run,
            "checkpoint": folder / CHECKPOINT,
        }

    def save(
        self,
        folder: Path,
        model: TrainedModel,
        seed: int,
        fingerprints: dict[str, str],
        backbone: str | None = None,
    ) -> None:
        """Save a model with its card and its log, in place of its checkpoint.

        Args:
            folder: Of the model.
            model: What a stage made.
            seed: Of its training.
            fingerprints: Of what it was made from.
            backbone: Its backbone's name; default: the students'.
        """
        lines = "".join(f"{json.dumps(dict(entry))}\n" for entry in model.log)
        with write_atomically(folder / LOG_FILE) as file:
            file.write(lines.encode())
        model.save(
            folder,
            domain=self.domain,
            backbone=backbone or self.options.backbone,
            fingerprints=fingerprints,
            made_by={"seed": seed, "precision": self.precision},
        )
        (folder / CHECKPOINT).unlink(missing_ok=True)


def pretraining_facts(labels: Relabeled, folder: Path) -> dict[str, Any]:
    """What was pre-trained on, and how far, as `RunMetrics` names it.

    Args:
        labels: Of the row.
        folder: Of the pre-trained model; where there is none, as in a method of a user's own, nothing is
            said of it.
    """
    kept = labels.targets.main_classes[labels.targets.keep]
    facts = {
        "classes": labels.space.num_classes,
        "samples": len(kept),
        "pool": len(labels.targets),
        # Of several heads, their mean.
        "largest_class": float(np.mean([np.bincount(head).max() / len(head) for head in kept.T])),
    }
    if not (folder / "card.json").exists():
        return facts
    log = folder / LOG_FILE
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    last = json.loads(lines[-1]) if lines else {}
    return {
        **facts,
        "steps": read_card(folder).made_by.get("steps"),
        "pretrain_loss": last.get("train/loss"),
        "pretrain_accuracy": last.get("train/top1"),
    }


@contextmanager
def saying_how_to_go_on() -> Iterator[None]:
    """Let a sample that only training found to be unreadable say what a study can do about it."""
    try:
        yield
    except MediaError as error:
        raise MediaError(
            f"{error}. Run the study again with --leave_out_unreadable true: it decodes all target samples "
            "once and goes on without those that fail"
        ) from error
