"""The teacher of a study: where its things lie, its training, its pass, and how often it is right.

It is the model without weak pre-training, as in the paper; or one with a backbone of its own (ours), or a
given one. What does not differ between seeds lies in the study's folder, else in the seed's.
"""

from __future__ import annotations

# First, as it makes torchvision importable beside every torch.
import sublabel.training  # noqa: F401  # isort: skip

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from sublabel.errors import ConfigError
from sublabel.files import write_json
from sublabel.media.domain import Preprocessing
from sublabel.options import TeacherOptions
from sublabel.study.classes import StudyClasses, weak_sample_ids
from sublabel.study.folder import ACCURACY_FILE, TEACHER_FOLDER, TEMPERATURE_FILE, seed_folder
from sublabel.study.media import StudyMedia
from sublabel.study.models import StudyModels, saying_how_to_go_on
from sublabel.study.options import StudyOptions
from sublabel.tables import select_predictions
from sublabel.teacher import (
    Ensemble,
    Teacher,
    fit_temperature,
    log_mean_probabilities,
    predict,
    predict_manifest,
    see,
)
from sublabel.training import (
    Classifier,
    LabeledDataset,
    LabeledFeatures,
    MediaInputs,
    TrainedModel,
    finetune,
    load_model,
    outputs_of,
    probe,
)
from sublabel.training.classifier import default_device

# Between the seeds of two members: a study has fewer seeds of its own.
SEEDS_OF_A_MEMBER = 10_000

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

    Raises:
        ConfigError: More than one kind of teacher is given, or there is no `target_val` to calibrate on.
    """

    models: StudyModels
    media: StudyMedia
    classes: StudyClasses
    out: Path
    given: Teacher | None = None
    predictions: str | Path | None = None

    def __post_init__(self) -> None:
        """Refuse what can never be done."""
        if self.options.calibrate and "target_val" not in self.media.tested:
            raise ConfigError(
                "the teacher is to be calibrated, and the manifest has no split target_val: hold out some of "
                "target_train, or leave calibrate out"
            )

    @property
    def options(self) -> TeacherOptions:
        """How it is made, and how it looks."""
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

    def model_folders(self, seed: int) -> list[Path]:
        """The folder of each member of a seed's teacher; none of a given one."""
        if self.is_given:
            return []
        if not self.has_own_backbone:
            return [seed_folder(self.out, seed) / "teacher"]
        whole, members = self.folder(seed) / TEACHER_FOLDER, self.options.members
        return [whole] if members == 1 else [whole / str(member) for member in range(members)]

    @property
    def flips(self) -> bool:
        """Whether each view is also looked at flipped from left to right."""
        return self.options.views and not self.models.options.no_flip

    @property
    def looks(self) -> int:
        """Passes through a backbone for each sample: members × views × flips."""
        return self.options.members * (self._views or 1) * (1 + self.flips)

    @property
    def _views(self) -> int | None:
        return self.models.domain.num_views if self.options.views else None

    def _transform(self, preprocessing: Preprocessing) -> Callable[[Tensor], Tensor]:
        domain = self.models.domain
        return (domain.test_transform if self.options.views else domain.evaluation_transform)(preprocessing)

    def seen(
        self, split: str, preprocessing: Preprocessing, transform: Callable[[Tensor], Tensor] | None = None
    ) -> LabeledDataset:
        """A target split as the teacher looks at it.

        Args:
            split: Its name.
            preprocessing: What the teacher's backbone wants.
            transform: Looks in another way.
        """
        inputs = MediaInputs(self.media.table(split), transform or self._transform(preprocessing))
        return LabeledDataset(inputs, self.media.target_labels(split))

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
            transform=self._transform(preprocessing),
            weak_vocabulary=self.classes.weak,
            features=self.options.features,
            **self._loading(),
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
        for split in self.media.tested:
            seen = self.seen(split, preprocessing)
            ids = predict(teacher, seen, **self._loading()).ids[:, 0]
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

    def features(self, seed: int, split: str) -> LabeledFeatures:
        """What the teacher of a seed sees in a target split, as its pass keeps it of the weak one.

        Args:
            seed: Of the study.
            split: `target_train`, `target_val` or `target_test`.

        Raises:
            ConfigError: The teacher has no features, or there is none, as predictions were given.
        """
        teacher, preprocessing = self._teacher(seed)
        return see(teacher, self.seen(split, preprocessing), **self._loading())

    def _loading(self) -> dict[str, int]:
        run = self.models.run
        batch_size = max(1, run.eval_batch_size // (self._views or 1))
        return {"batch_size": batch_size, "num_workers": run.num_workers}

    def _teacher(self, seed: int) -> tuple[Teacher, Preprocessing]:
        if self.given is not None:
            return self.given, self.models.new_backbone(seed)[1]
        if self.predictions is not None:
            raise ConfigError("the study was given finished predictions, and so has no teacher")
        models = []
        for member, folder in enumerate(self.model_folders(seed)):
            if self.has_own_backbone and not (folder / "card.json").exists():
                self._train(seed + SEEDS_OF_A_MEMBER * member, folder)
            models.append(load_model(folder, domain=self.models.domain))
        first = models[0]
        if self.looks == 1 and not self.options.calibrate:
            return self.models.teacher(first), first.preprocessing
        members = [model.classifier for model in models]
        temperature = self._temperature(seed, members, first.preprocessing)
        whole = Ensemble(members, views=self._views, flip=self.flips, temperature=temperature)
        return self.models.teacher(whole, first.vocabulary), first.preprocessing

    def _temperature(self, seed: int, members: list[Classifier], preprocessing: Preprocessing) -> float:
        """What divides the logits of all looks; 1 where nothing is calibrated."""
        if not self.options.calibrate:
            return 1.0
        stored = self.folder(seed) / TEMPERATURE_FILE
        if not stored.exists():
            logits, labels = outputs_of(
                Ensemble(members, views=self._views, flip=self.flips).eval().to(default_device()).all_logits,
                self.seen("target_val", preprocessing),
                views=self._views or 1,
                precision=self.models.precision,
                run=self.models.run,
            )
            fitted = fit_temperature(logits, labels)
            losses = [
                float(F.nll_loss(log_mean_probabilities(logits, temperature), labels))
                for temperature in (1.0, fitted)
            ]
            write_json(stored, {"temperature": fitted, "val/loss": {"before": losses[0], "after": losses[1]}})
        return float(json.loads(stored.read_text(encoding="utf-8"))["temperature"])

    def _train(self, seed: int, folder: Path) -> None:
        backbone, preprocessing = self.models.new_teacher_backbone(seed)
        train = self._probe if self.options.training == "probe" else self._finetune
        with saying_how_to_go_on():
            model = train(backbone, preprocessing, folder)
        prints = {"manifest": self.media.fingerprint}
        self.models.save(folder, model, seed, prints, self.options.backbone)

    def _probe(self, backbone: Any, preprocessing: Preprocessing, folder: Path) -> TrainedModel:
        # One view each: that is what the features of a test-time view are like.
        transform = self.models.domain.evaluation_transform(preprocessing)
        has_val = "target_val" in self.media.tested
        return probe(
            backbone,
            self.seen("target_train", preprocessing, transform),
            self.options.probe,
            classes=self.classes.target.names,
            val=self.seen("target_val", preprocessing, transform) if has_val else None,
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


def refuse_missing_features(options: StudyOptions, predictions: str | Path | None) -> None:
    """Refuse a strategy that looks at features which the teacher's pass will not keep.

    Args:
        options: Of the study.
        predictions: Finished ones, which may have features, or have not.

    Raises:
        ConfigError: There is one.
    """
    needy = [name for name, chosen in options.strategies.items() if "features" in chosen.counting.needs]
    if needy and not options.teacher.features and predictions is None:
        raise ConfigError(
            f"{needy[0]!r} looks at the teacher's features, which its pass keeps with teacher.features only: "
            "set it to true, in a folder of its own where one was begun"
        )


def refuse_two_teachers(
    options: TeacherOptions, teacher: object | None, predictions: str | Path | None
) -> None:
    """Refuse more than one of a teacher's options, a given teacher, and finished predictions.

    Raises:
        ConfigError: There are two, or a given one is to look in another way.
    """
    looking = [name for name in ("views", "calibrate") if getattr(options, name)]
    if looking and (teacher is not None or predictions is not None):
        raise ConfigError(
            f"the study got a teacher or predictions, and {' and '.join(looking)} for one that it trains "
            "itself: leave these out, or let the teacher that you give look so"
        )
    named = {
        "a teacher": teacher is not None,
        "finished predictions": predictions is not None,
        f"the teacher backbone {options.backbone!r}": options.backbone is not None,
    }
    given = [name for name, is_given in named.items() if is_given]
    if len(given) > 1:
        raise ConfigError(f"the study got {' and '.join(given)}: give one of them")
