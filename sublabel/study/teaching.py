"""The teacher of a study: where its things lie, its training, its pass, and how often it is right.

It is the model without weak pre-training, as in the paper; or one with a backbone of its own (ours), or a
given one. What does not differ between seeds lies in the study's folder, else in the seed's.
"""

from __future__ import annotations

# First, as it makes torchvision importable beside every torch.
import sublabel.training  # noqa: F401  # isort: skip

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sublabel.errors import ConfigError
from sublabel.files import write_json
from sublabel.media.domain import Preprocessing
from sublabel.options import TeacherOptions
from sublabel.study.classes import StudyClasses, weak_sample_ids
from sublabel.study.folder import ACCURACY_FILE, TEACHER_FOLDER, seed_folder
from sublabel.study.media import StudyMedia
from sublabel.study.models import StudyModels, saying_how_to_go_on
from sublabel.tables import select_predictions
from sublabel.teacher import Teacher, predict, predict_manifest
from sublabel.training import TrainedModel, finetune, load_model, probe

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StudyTeaching:
    """The teacher of a study.

    Args:
        models: How the study's models begin and are saved.
        media: Of its splits.
        classes: Its vocabularies.
        out: Its folder.
        given: A teacher that was given.
        predictions: Finished predictions that were given.
    """

    models: StudyModels
    media: StudyMedia
    classes: StudyClasses
    out: Path
    given: Teacher | None = None
    predictions: str | Path | None = None

    @property
    def options(self) -> TeacherOptions:
        """Of a teacher with a backbone of its own."""
        return self.models.options.teacher

    @property
    def is_given(self) -> bool:
        """Whether the study trains no teacher."""
        return self.given is not None or self.predictions is not None

    @property
    def has_own_backbone(self) -> bool:
        """Whether a teacher is trained beside the model without weak pre-training."""
        return self.options.backbone is not None

    @property
    def is_shared(self) -> bool:
        """Whether all seeds have the same teacher: a given one, or a probe, in which nothing is drawn."""
        return self.is_given or (self.has_own_backbone and self.options.training == "probe")

    def folder(self, seed: int) -> Path:
        """Where the predictions of a seed's teacher lie, and its model where it has a backbone of its own."""
        return self.out if self.is_shared else seed_folder(self.out, seed)

    def model_folder(self, seed: int) -> Path | None:
        """The folder of a seed's teacher; None of a given one."""
        if self.is_given:
            return None
        own = self.folder(seed) / TEACHER_FOLDER
        return own if self.has_own_backbone else seed_folder(self.out, seed) / "teacher"

    def predict(self, seed: int) -> Path:
        """What the teacher of a seed said of every weak sample: a folder of shards."""
        out, weak = self.folder(seed) / "predictions", self.media.manifest.filter(split="weak")
        if self.predictions is not None:
            shard = out / "part-00000.parquet"
            if not shard.exists():
                select_predictions(self.predictions, shard, weak_sample_ids(self.media.manifest))
            return out
        run, domain = self.models.run, self.models.domain
        teacher, preprocessing = self._teacher(seed)
        summary = predict_manifest(
            weak,
            teacher,
            out,
            reader=self.media.table("weak").reader if run.decode_once else domain,
            transform=domain.evaluation_transform(preprocessing),
            weak_vocabulary=self.classes.weak,
            batch_size=run.eval_batch_size,
            num_workers=run.num_workers,
        )
        _log.info("%s: %s", out, summary)
        return out

    def accuracy(self, seed: int) -> dict[str, float]:
        """How often the teacher of a seed is right on the target samples that it was not trained on.

        It looks at them as at the weak ones.

        Returns:
            Split → share, 0–1; empty where finished predictions were given, or the teacher lacks a target
            class.
        """
        stored = self.folder(seed) / ACCURACY_FILE
        if stored.exists():
            found: dict[str, float] = json.loads(stored.read_text(encoding="utf-8"))
            return found
        if self.predictions is not None or not set(self.classes.target) <= set(self.classes.teacher):
            return {}
        teacher, preprocessing = self._teacher(seed)
        # class_of[t]: the target class of the teacher's class t, -1 where there is none, (T,)
        target = {name: label for label, name in enumerate(self.classes.target)}
        class_of = np.array([target.get(name, -1) for name in self.classes.teacher])
        found = {}
        for split in self.media.target_splits:
            if split != "target_train":
                seen = self.models.seen_by_teacher(self.media, preprocessing, split)
                run = self.models.run
                ids = predict(teacher, seen, batch_size=run.eval_batch_size, num_workers=run.num_workers).ids[
                    :, 0
                ]
                found[split] = float(np.mean(class_of[ids] == self.media.target_labels(split)[seen.kept]))
        _log.info("%s: the teacher's top-1 is %s", stored.parent, found)
        write_json(stored, found)
        return found

    def accuracies(self, seeds: Sequence[int]) -> dict[str, tuple[float, ...]]:
        """The `accuracy` of each seed's teacher by split; of a shared teacher once.

        Args:
            seeds: Of the study.
        """
        found = [self.accuracy(seed) for seed in (seeds[:1] if self.is_shared else seeds)]
        return {split: tuple(of_seed[split] for of_seed in found) for split in found[0]}

    def _teacher(self, seed: int) -> tuple[Teacher, Preprocessing]:
        if self.given is not None:
            return self.given, self.models.new_backbone(seed)[1]
        folder = self.model_folder(seed)
        if folder is None:
            raise ConfigError("the study was given finished predictions, and so has no teacher")
        if self.has_own_backbone and not (folder / "card.json").exists():
            self._train(seed, folder)
        model = load_model(folder, domain=self.models.domain)
        return self.models.teacher(model), model.preprocessing

    def _train(self, seed: int, folder: Path) -> None:
        backbone, preprocessing = self.models.new_teacher_backbone(seed)
        train = self._probe if self.options.training == "probe" else self._finetune
        with saying_how_to_go_on():
            model = train(backbone, preprocessing, folder)
        prints = {"manifest": self.media.fingerprint}
        self.models.save(folder, model, seed, prints, self.options.backbone)

    def _probe(self, backbone: Any, preprocessing: Preprocessing, folder: Path) -> TrainedModel:
        has_val = "target_val" in self.media.target_splits
        return probe(
            backbone,
            self.models.seen_by_teacher(self.media, preprocessing, "target_train"),
            self.options.probe,
            classes=self.classes.target.names,
            val=self.models.seen_by_teacher(self.media, preprocessing, "target_val") if has_val else None,
            preprocessing=preprocessing,
            precision=self.models.precision,
            run=self.models.run,
        )

    def _finetune(self, backbone: Any, preprocessing: Preprocessing, folder: Path) -> TrainedModel:
        return finetune(
            backbone,
            self.models.target_training(self.media, preprocessing, self.options.finetune),
            self.options.finetune,
            classes=self.classes.target.names,
            **self.models.stage(folder, preprocessing),
        )


def refuse_two_teachers(
    options: TeacherOptions, teacher: object | None, predictions: str | Path | None
) -> None:
    """Refuse more than one of a teacher's options, a given teacher, and finished predictions.

    Raises:
        ConfigError: There are two.
    """
    named = {
        "a teacher": teacher is not None,
        "finished predictions": predictions is not None,
        f"the teacher backbone {options.backbone!r}": options.backbone is not None,
    }
    given = [name for name, is_given in named.items() if is_given]
    if len(given) > 1:
        raise ConfigError(f"the study got {' and '.join(given)}: give one of them")
