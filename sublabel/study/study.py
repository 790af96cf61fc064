"""The comparison: teacher, predictions, labels, pre-training, fine-tuning, for every strategy and seed.

A study calls the public stages (`predict_manifest`, `relabel_table`, `pretrain`, `finetune`, `test`) and adds
folders, resumption, seeds and statistics. Everything lies under one folder, and a stage that has ended is not
run again:

    study.json                       the resolved options, and the manifest's fingerprint
    comparison.json, comparison.md   the verdict, the table, and the curve over clips per video
    outcomes.parquet                 which test samples all runs of the table were right on
    media/<split>/                   with `decode_once`: the decoded media
    <split>-<manifest>.json          target samples that cannot be read, and why
    seed0/teacher/                   the model without weak pre-training, and the teacher if none is said
    seed0/teacher_model/             a teacher of its own, or its members
    seed0/predictions/               the teacher's pass over the weak split
    seed0/teacher_accuracy.json      how often it is right on the target splits
    teacher_model/, predictions/, …  the same of a teacher that does not differ between seeds
    seed0/<strategy>/                relabeled.parquet, pretrained/, finetuned/ with metrics.json and
                                     outcomes.parquet: which clean samples were answered right
    seed0/oracle/                    the same, and predictions.parquet, which are the true classes
    seed0/clips<N>/                  the same with at most N samples of each source: predictions.parquet, …
"""

from __future__ import annotations

# First, as it makes torchvision importable beside every torch.
import sublabel.training  # noqa: F401  # isort: skip

import itertools
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sublabel.errors import ConfigError
from sublabel.evaluation import Comparison, RunMetrics
from sublabel.files import remove_all_abandoned, write_json
from sublabel.jobs import job_map
from sublabel.media.domain import Domain
from sublabel.options import RunOptions
from sublabel.provenance import fingerprint, refuse_others
from sublabel.study.classes import StudyClasses
from sublabel.study.folder import STUDY_FILE, holds_study, seed_folder, slug
from sublabel.study.media import StudyMedia
from sublabel.study.models import StudyModels, pretraining_facts, saying_how_to_go_on
from sublabel.study.options import StudyOptions
from sublabel.study.oracle import true_predictions
from sublabel.study.outcomes import METRICS_FILE, OUTCOMES_FILE, collect_outcomes, is_tested, write_outcomes
from sublabel.study.rows import Row, rows_of
from sublabel.study.strategies import BASELINE, ORACLE, controls_of
from sublabel.study.teaching import StudyTeaching, refuse_missing_features, refuse_two_teachers
from sublabel.tables import (
    Relabeled,
    open_manifest,
    read_label_space,
    read_relabeled,
    relabel_table,
    select_predictions,
    source_ranks,
)
from sublabel.teacher import Teacher
from sublabel.training import (
    LabeledDataset,
    LoadedModel,
    Measurement,
    MediaInputs,
    TrainedModel,
    finetune,
    head_factory,
    load_model,
    pretrain,
    start_processes,
    test,
    warm_start,
)

_log = logging.getLogger(__name__)


class Study:
    """A comparison of strategies on one manifest.

    Args:
        manifest: A manifest file with the splits `weak`, `target_train` and `target_test`, `weak_label` on
            the first, `label` on the others; `source_id` where the study has a curve over clips per video.
        domain: The medium.
        options: What to compare.
        out: Folder for all artefacts; an earlier run in it goes on where it stopped.
        run: How to run it; may change in a begun folder.
        teacher: Looks at the weak samples in place of the model that is trained on the target set alone: one
            of yours, or what `finetune` returned.
        predictions: A finished predictions table, in place of a teacher's pass.

    Raises:
        ConfigError: `out` holds a study with other options or another manifest, the domain has no such
            backbone or augmentation, a class of `no_flip` does not exist, both a teacher and predictions are
            given, or several jobs are to train on several devices each.
        TableError: The manifest lacks a split or column, or the predictions a weak sample.
    """

    def __init__(
        self,
        manifest: str | Path,
        domain: Domain,
        options: StudyOptions,
        out: str | Path,
        *,
        run: RunOptions | None = None,
        teacher: Teacher | TrainedModel | None = None,
        predictions: str | Path | None = None,
    ) -> None:
        refuse_two_teachers(options.teacher, teacher, predictions)
        refuse_missing_features(options, predictions)
        self.domain = domain
        self.options = options
        self.out = Path(out)
        self.run_options = run or RunOptions()
        self.models = StudyModels(domain, options, self.run_options)
        self.teacher = None if teacher is None else self.models.teacher(teacher)
        self.given_predictions = predictions
        self.manifest_path = Path(manifest).resolve()
        self.manifest = open_manifest(manifest)
        self.manifest.check()
        self.manifest.require("weak_label", "label")
        self.manifest.require(*(["source_id"] if options.clips_per_video else []))
        self.manifest.require(*(["true_label"] if options.oracle else []))
        self.classes = StudyClasses.of(self.manifest, options, self.teacher, predictions)
        self.models.refuse_impossible_training(len(self.classes.target))
        self.fingerprint = fingerprint(manifest)
        self._has_begun = False
        self._refuse_another_study()
        self.media = StudyMedia(
            self.manifest,
            self.fingerprint,
            self.classes.target,
            domain,
            self.run_options,
            self.out,
            is_settled=holds_study(self.out),
        )
        self.teaching = StudyTeaching(
            self.models, self.media, self.classes, self.out, self.teacher, predictions
        )

    def run(self, method: Callable[[Study, Row], RunMetrics] | None = None) -> Comparison:
        """Run all that has not been run yet, and write the table.

        Args:
            method: What is done for one row of the table, by calls of the stages below; default: `train_row`,
                the paper's. With several jobs it must be a function of a module, which other processes find.

        Returns:
            The comparison, also in the folder of the study, as `Comparison.save` leaves it.
        """
        method = method or train_row
        remove_all_abandoned(self.out)
        start_processes(self.models.trainer())
        self._begin()
        # Read and, if so wanted, decoded before the jobs start, which then all have it.
        self.media.table("weak")
        first, others = self.rows()
        with job_map(self.run_options.jobs) as run_all:
            # What there is one of has all the cores.
            runs = list((run_all if len(first) > 1 else map)(method, itertools.repeat(self), first))
            taught = first[:1] if self.teaching.is_shared else first
            list((run_all if len(taught) > 1 else map)(_teach, itertools.repeat(self), taught))
            for row in others:
                # What leaves nothing to train on must not wait until its turn comes.
                self.relabel(row)
            runs += run_all(method, itertools.repeat(self), others)
        labels = self.media.target_labels("target_test")
        tested = labels[labels >= 0]
        models = [self.finetuned_folder(row) for row in (*first, *others)]
        comparison = Comparison(
            runs=tuple(runs),
            baseline=BASELINE,
            test_samples=len(tested),
            outcomes=collect_outcomes(runs, models),
            oracle=ORACLE if self.options.oracle else None,
            controls=controls_of(self.options.strategies),
            chance=float(np.bincount(tested).max() / len(tested)),
            teacher_accuracy=self.teaching.accuracies([row.seed for row in first]),
        )
        comparison.save(self.out)
        return comparison

    def rows(self) -> tuple[list[Row], list[Row]]:
        """Rows without weak pre-training, one a seed; those of strategies and oracle, then of the curve."""
        return rows_of(self.options)

    def folder(self, row: Row) -> Path:
        """Where the artefacts of a row lie."""
        return seed_folder(self.out, row.seed, row.clips_per_video) / (
            "teacher" if row.strategy is None else slug(row.strategy)
        )

    def finetuned_folder(self, row: Row) -> Path:
        """Where the fine-tuned model of a row lies, and what its test measured."""
        return self.folder(row) if row.strategy is None else self.folder(row) / "finetuned"

    def predict(self, seed: int) -> Path:
        """What the teacher of a seed said of every weak sample: a folder of shards.

        The teacher is the one that was given or that the options describe, or else the model of the first
        row; or what was given are finished predictions, of which the study keeps those of its weak samples.
        """
        self._begin()
        return self.teaching.predict(seed)

    def relabel(self, row: Row) -> Relabeled:
        """Turn a row's (weak label, teacher prediction) pairs into pre-training targets by its strategy.

        Raises:
            ConfigError: The strategy drops every sample.
        """
        self._begin()
        strategy = self.options.strategy_of(row.needed_strategy)
        path = self.folder(row) / "relabeled.parquet"
        if not path.exists():
            # An alignment is about the teacher's classes, not about the true ones.
            alignment = None if row.strategy == ORACLE else self.classes.alignment
            relabel_table(self._predictions(row), path, strategy, alignment=alignment)
        table = read_relabeled(path)
        if not table.targets.keep.any():
            raise ConfigError(
                f"{row.strategy!r} drops all {len(table.targets)} weak samples, so there is nothing to "
                f"pre-train on: `sublabel inspect {self._predictions(row)}` shows what the teacher said of "
                "them; train it longer, or leave this strategy out"
            )
        return table

    def pretrain(self, row: Row, labels: Relabeled) -> Path:
        """Pre-train a fresh backbone on a row's targets; returns the folder of the model."""
        folder = self.folder(row) / "pretrained"
        if (folder / "card.json").exists():
            return folder
        options, space = self.options, labels.space
        media = self.media.table("weak")
        is_subset = row.clips_per_video is not None
        targets = labels.targets.take(media.positions_of(labels.sample_ids, subset=is_subset))
        backbone, preprocessing = self.models.new_backbone(row.seed)
        touching = frozenset(space.classes_touching(options.no_flip))
        unflipped = np.zeros(len(media), dtype=bool)
        if touching:
            kept = np.flatnonzero(targets.keep)
            unflipped[kept] = [not touching.isdisjoint(targets.classes(sample)) for sample in kept.tolist()]
        with saying_how_to_go_on():
            model = pretrain(
                backbone,
                self.models.training_inputs(media, preprocessing, options.pretrain, unflipped),
                targets,
                options.pretrain,
                classes=space.names,
                head=head_factory(space, options.head, options.head_rank),
                sampled_classes=options.sampled_classes,
                **self.models.stage(folder, preprocessing),
            )
        prints = {"label_space": space.fingerprint, "manifest": self.fingerprint}
        self.models.save(folder, model, row.seed, prints)
        return folder

    def finetune(self, row: Row, pretrained: Path | None) -> Path:
        """Train on the target set, from a model that was pre-trained or from a fresh backbone.

        Args:
            row: The row.
            pretrained: The folder of a model, whose head is dropped; None for a fresh backbone.

        Returns:
            The folder of the fine-tuned model.
        """
        self._begin()
        folder = self.finetuned_folder(row)
        if (folder / "card.json").exists():
            return folder
        options = self.options.finetune
        backbone, preprocessing = self.models.new_backbone(row.seed)
        report = None if pretrained is None else warm_start(backbone, pretrained)
        with saying_how_to_go_on():
            model = finetune(
                backbone,
                self.models.target_training(self.media, preprocessing, options),
                options,
                classes=self.classes.target.names,
                **self.models.stage(folder, preprocessing),
            )
        prints = {"manifest": self.fingerprint}
        self.models.save(folder, replace(model, warm_start=report), row.seed, prints)
        return folder

    def test(self, row: Row, finetuned: Path) -> RunMetrics:
        """Measure a fine-tuned model on the test split, and on `target_val` where there is one.

        Every sample is measured over all its test-time views.
        """
        stored = finetuned / METRICS_FILE
        if is_tested(finetuned):
            return RunMetrics.model_validate_json(stored.read_text(encoding="utf-8"))
        pretraining = {}
        if row.strategy is not None:
            pretraining = pretraining_facts(self.relabel(row), self.folder(row) / "pretrained")
        model = load_model(finetuned, domain=self.domain)
        measured = {split: self._measure(model, split) for split in self.media.tested}
        metrics = RunMetrics(
            strategy=row.strategy,
            seed=row.seed,
            metrics=measured["target_test"].metrics,
            validation=measured["target_val"].metrics if "target_val" in measured else None,
            start="initialised" if self.options.pretrained or self.options.weights else "scratch",
            clips_per_video=row.clips_per_video,
            **pretraining,
        )
        _log.info("%s: top-1 %.4f", finetuned, metrics.primary)
        outcomes = {
            split: (self.media.labeled_ids(split).take(found.samples), found.correct)
            for split, found in measured.items()
        }
        write_outcomes(finetuned / OUTCOMES_FILE, outcomes)
        write_json(stored, metrics.model_dump(mode="json"))
        return metrics

    def _measure(self, model: LoadedModel, split: str) -> Measurement:
        inputs = MediaInputs(self.media.table(split), self.domain.test_transform(model.preprocessing))
        return test(
            model,
            LabeledDataset(inputs, self.media.target_labels(split)),
            metrics=self.options.metrics,
            views=self.domain.num_views,
            precision=self.models.precision,
            run=self.run_options,
        )

    def _predictions(self, row: Row) -> Path:
        whole = self.teaching.folder(row.seed) / "predictions"
        if row.strategy == ORACLE:
            return true_predictions(whole, self.manifest, self.folder(row) / "predictions.parquet")
        if row.clips_per_video is None:
            return whole
        chosen = seed_folder(self.out, row.seed, row.clips_per_video) / "predictions.parquet"
        if not chosen.exists():
            rows = self.media.table("weak").rows
            # The same samples for all training seeds, and more of the same with every further point.
            kept = source_ranks(rows["source_id"], rows["sample_id"]) < row.clips_per_video
            select_predictions(whole, chosen, rows["sample_id"].filter(pa.array(kept)))
        return chosen

    @cached_property
    def _sameness(self) -> dict[str, Any]:
        """What must not change within a folder; seeds, strategies and points of the curve may be added."""
        given = self.given_predictions
        return {
            **self.options.fixed(),
            "alignment": self.classes.alignment,
            "manifest": self.fingerprint,
            "domain": self.domain.options(),
            "number of devices": self.models.devices_a_step,
            **({} if self.teacher is None else {"teacher": self.teacher.fingerprint}),
            "predictions": None if given is None else fingerprint(given),
        }

    def _refuse_another_study(self) -> None:
        if holds_study(self.out):
            stored = json.loads((self.out / STUDY_FILE).read_text(encoding="utf-8"))
            refuse_others(
                f"the study in {self.out}", stored["same"], self._sameness, defaults=StudyOptions.defaults()
            )
        for row in self.rows()[1]:
            labels = self.folder(row) / "relabeled.parquet"
            if labels.exists():
                made_by = self.options.strategy_of(row.needed_strategy).to_dict()
                refuse_others(labels, dict(read_label_space(labels).strategy), made_by)

    def _begin(self) -> None:
        """Look at the target samples, and claim the folder, before the first stage that leaves something."""
        if self._has_begun:
            return
        for split in (*self.media.tested, "target_train"):
            self.media.target_labels(split)
        # Not before: a manifest from which unreadable samples were taken after a refusal is another one.
        self._has_begun = True
        out = self.out.resolve()
        # Relative where it lies within, so that the folder can be moved.
        is_inside = self.manifest_path.is_relative_to(out)
        manifest = self.manifest_path.relative_to(out) if is_inside else self.manifest_path
        record = {
            "same": self._sameness,
            "options": {**self.options.model_dump(mode="json"), "alignment": self.classes.alignment},
            "domain": self.domain.name,
            "manifest": str(manifest),
        }
        write_json(self.out / STUDY_FILE, record)


def _teach(study: Study, row: Row) -> None:
    """Let the teacher of a row's seed look at the weak samples, and at held-out target samples."""
    study.predict(row.seed)
    study.teaching.accuracy(row.seed)


def train_row(study: Study, row: Row) -> RunMetrics:
    """The paper's method for one row of the table, stage by stage; what has ended is read from its folder."""
    pretrained = None
    if row.strategy is not None:
        labels = study.relabel(row)
        pretrained = study.pretrain(row, labels)
    finetuned = study.finetune(row, pretrained)
    return study.test(row, finetuned)
