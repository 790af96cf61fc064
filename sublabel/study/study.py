"""The comparison: teacher, predictions, labels, pre-training, fine-tuning, for every strategy and seed.

The loop reads as the paper's method, Sub-Pseudo Labels (SPL): a teacher is trained on the clean target set
and looks at every weak sample; each strategy turns (weak label, teacher prediction) into classes; a backbone
is pre-trained on them, fine-tuned on the target set and tested there.

Everything lies under one folder, and a stage that has ended is not run again:

    study.json                       the resolved options, and the manifest's fingerprint
    comparison.json, comparison.md   the table, and the curve over clips per video
    media/<split>/                   with `decode_once`: the decoded media
    <split>-<manifest>.json          target samples that cannot be read, and why
    seed0/teacher/                   the model without weak pre-training, and the teacher
    seed0/predictions/               the teacher's pass over the weak split
    seed0/<strategy>/                relabeled.parquet, pretrained/, finetuned/ with metrics.json
    seed0/clips<N>/                  the same with at most N samples of each source: predictions.parquet, …
"""

from __future__ import annotations

# Before Lightning, as it makes torchvision importable.
import sublabel.training  # noqa: F401  # isort: skip

import hashlib
import itertools
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sublabel._outputs import output_names
from sublabel.errors import ConfigError, TableError
from sublabel.evaluation import Comparison, RunMetrics
from sublabel.files import remove_all_abandoned, write_atomically
from sublabel.jobs import job_map
from sublabel.labels import Alignment, LabelSpace, Vocabulary
from sublabel.media.domain import Domain
from sublabel.study.folder import COMPARISON_FILE, STUDY_FILE, holds_study, seed_folder, slug
from sublabel.study.options import StudyOptions, TrainOptions
from sublabel.study.runner import Runner, classes_that_touch
from sublabel.study.splits import Splits
from sublabel.study.strategies import BASELINE
from sublabel.tables import (
    Relabeled,
    open_manifest,
    read_relabeled,
    relabel_table,
    select_predictions,
    source_ranks,
)
from sublabel.teacher import ModuleTeacher, predict_manifest
from sublabel.training import FinetuneModule, Targets, join_targets, load_model, read_card, warm_start

_log = logging.getLogger(__name__)


class Study:
    """A comparison of strategies on one manifest.

    Args:
        manifest: A manifest file with the splits `weak`, `target_train` and `target_test`, `weak_label` on
            the first, `label` on the others; `source_id` where the study has a curve over clips per video.
        domain: The medium.
        options: What to compare.
        out: Folder for all artefacts; an earlier run in it goes on where it stopped.

    Raises:
        ConfigError: `out` holds a study with other options or another manifest, the domain has no such
            backbone or augmentation, a class of `no_flip` does not exist, or several jobs are to train on
            several devices each.
        TableError: The manifest lacks a split or column.
    """

    def __init__(self, manifest: str | Path, domain: Domain, options: StudyOptions, out: str | Path) -> None:
        self.domain = domain
        self.options = options
        self.out = Path(out)
        self.manifest = open_manifest(manifest)
        self.manifest_path = Path(manifest).resolve()
        self.manifest.check()
        self.manifest.require("weak_label")
        self.manifest.require("label")
        if options.clips_per_video:
            self.manifest.require("source_id")
        self.target_vocabulary = self.manifest.filter(split="target_train").vocabulary("label")
        self.weak_vocabulary = self.manifest.filter(split="weak").vocabulary("weak_label")
        self._refuse_unknown_classes()
        self.alignment = self._full_alignment()
        self.runner = Runner(domain, options)
        self.manifest_fingerprint = _fingerprint(Path(manifest))
        self._refuse_another_study()
        self.splits = Splits(
            self.manifest,
            self.manifest_fingerprint,
            self.target_vocabulary,
            domain,
            options,
            self.out,
            is_settled=holds_study(self.out),
        )

    def run(self) -> Comparison:
        """Run all that has not been run yet, and write the table.

        Returns:
            The comparison, also in `comparison.json` and `comparison.md`.
        """
        remove_all_abandoned(self.out)
        self.runner.start_processes()
        tested = self.splits.target_labels("target_test")
        self.splits.target_labels("target_train")
        # Not before: who takes samples out of the manifest because of a refusal has another one.
        self._claim_folder()
        # Read and, if so wanted, decoded before the jobs start, which then all have it.
        self.splits.media("weak")
        seeds = range(self.options.seeds)
        with job_map(self.options.jobs) as run_all:
            # A single teacher has all the cores.
            runs = list((run_all if len(seeds) > 1 else map)(self.run_teacher, seeds))
            for arguments in self.strategy_runs():
                # What leaves nothing to train on must not wait until its turn comes.
                self.relabel(*arguments)
            runs += run_all(self.run_strategy, *zip(*self.strategy_runs(), strict=True))
        comparison = Comparison(
            runs=tuple(runs), baseline=BASELINE, test_samples=int(np.count_nonzero(tested >= 0))
        )
        _write_json(self.out / COMPARISON_FILE, comparison.to_dict())
        with write_atomically(self.out / "comparison.md") as file:
            file.write(comparison.to_markdown().encode())
        return comparison

    def strategy_runs(self) -> list[tuple[int, str, int | None]]:
        """The arguments of `run_strategy` for the table, then for the curve."""
        options, seeds = self.options, range(self.options.seeds)
        table = itertools.product(seeds, options.strategies, [None])
        curve = itertools.product(seeds, options.curve, options.clips_per_video)
        return [*table, *curve]

    def run_teacher(self, seed: int) -> RunMetrics:
        """Train on the target set without weak pre-training, which is the table's first row and the teacher.

        The teacher then looks at the weak split.
        """
        folder = self.folder(seed)
        metrics = self._finetune(folder / "teacher", None, seed, pretrained=None)
        classifier, card = load_model(folder / "teacher", domain=self.domain)
        summary = predict_manifest(
            self.manifest.filter(split="weak"),
            ModuleTeacher(
                classifier,
                Vocabulary(card.classes),
                top_k=self.options.teacher_top_k,
                precision=self.runner.precision,
            ),
            folder / "predictions",
            reader=self.splits.media("weak").reader,
            transform=self.domain.evaluation_transform(card.preprocessing),
            weak_vocabulary=self.weak_vocabulary,
            batch_size=self.options.eval_batch_size,
            num_workers=self.options.num_workers,
        )
        _log.info("%s: %s", folder / "predictions", summary)
        return metrics

    def run_strategy(self, seed: int, name: str, clips_per_video: int | None = None) -> RunMetrics:
        """Pre-train on the labels of one strategy, fine-tune and test.

        Args:
            seed: Of the teacher and of all training.
            name: Of the strategy in the options.
            clips_per_video: Use so many samples of each source at most; None uses all.
        """
        folder = self.folder(seed, clips_per_video) / slug(name)
        table = self.relabel(seed, name, clips_per_video)
        targets = join_targets(
            self.splits.media("weak"),
            table,
            self._predictions(seed, clips_per_video),
            subset=clips_per_video is not None,
        )
        self._pretrain(folder / "pretrained", targets, table.space, seed)
        metrics = self._finetune(folder / "finetuned", name, seed, pretrained=folder / "pretrained")
        return metrics.model_copy(
            update={
                # Of a two-head student the outputs of both: its cells are no classes.
                "classes": sum(table.space.heads),
                "steps": read_card(folder / "pretrained").made_by.get("steps"),
                "samples": len(targets.kept),
                "pool": len(table.sample_ids),
                "clips_per_video": clips_per_video,
            }
        )

    def relabel(self, seed: int, name: str, clips_per_video: int | None = None) -> Relabeled:
        """Relabel what the teacher saw with one strategy, or read what was relabeled.

        Raises:
            ConfigError: The strategy drops every sample, or the folder holds labels of other options of it.
        """
        strategy = self.options.strategies[name]
        path = self.folder(seed, clips_per_video) / slug(name) / "relabeled.parquet"
        if not path.exists():
            predictions = self._predictions(seed, clips_per_video)
            relabel_table(predictions, path, strategy, alignment=self.alignment)
        table = read_relabeled(path)
        if table.space.strategy != strategy.model_dump(mode="json"):
            raise ConfigError(
                f"{path} was made by {table.space.strategy}, and {name!r} is now {strategy!r}: choose "
                f"another folder, or delete {path.parent}"
            )
        if table.space.num_classes == 0:
            raise ConfigError(
                f"{name!r} drops all {len(table.labels)} weak samples, so there is nothing to pre-train on: "
                f"`sublabel inspect {self.folder(seed)}/predictions` shows what the teacher said of them; "
                "train it longer, or leave this strategy out"
            )
        return table

    def folder(self, seed: int, clips_per_video: int | None = None) -> Path:
        """Where the artefacts of a seed lie, or those of a point of its curve."""
        return seed_folder(self.out, seed, clips_per_video)

    def _predictions(self, seed: int, clips_per_video: int | None) -> Path:
        whole = self.folder(seed) / "predictions"
        if clips_per_video is None:
            return whole
        chosen = self.folder(seed, clips_per_video) / "predictions.parquet"
        if not chosen.exists():
            rows = self.splits.media("weak").rows
            # The same samples for all training seeds, and more of the same with every further point.
            kept = source_ranks(rows["source_id"], rows["sample_id"]) < clips_per_video
            select_predictions(whole, chosen, rows["sample_id"].filter(pa.array(kept)))
        return chosen

    def _pretrain(self, folder: Path, targets: Targets, space: LabelSpace, seed: int) -> None:
        if (folder / "card.json").exists():
            return
        options = self.options.pretrain
        backbone, preprocessing = self.runner.new_backbone(seed)
        module = self.runner.pretraining_module(backbone, space, preprocessing)
        unflipped = classes_that_touch(space, self.options.no_flip)
        weak = self.splits.media("weak")
        steps = self.runner.fit(module, weak, targets, options, preprocessing, unflipped, folder)
        fingerprints = {"label_space": space.fingerprint, "manifest": self.manifest_fingerprint}
        self.runner.save(
            folder,
            module,
            output_names(space),
            preprocessing,
            options,
            fingerprints=fingerprints,
            made_by={"seed": seed, "steps": steps},
        )

    def _finetune(self, folder: Path, strategy: str | None, seed: int, pretrained: Path | None) -> RunMetrics:
        stored = folder / "metrics.json"
        if stored.exists():
            return RunMetrics.model_validate_json(stored.read_text(encoding="utf-8"))
        options, names = self.options.finetune, self.target_vocabulary.names
        backbone, preprocessing = self.runner.new_backbone(seed)
        report = None if pretrained is None else str(warm_start(backbone, pretrained))
        module = FinetuneModule(
            backbone,
            len(names),
            views=self.domain.num_views,
            **self.runner.module_options(options, preprocessing),
        )
        if (folder / "card.json").exists():
            # It was stopped while it was tested.
            module.classifier.load_state_dict(load_model(folder, domain=self.domain).classifier.state_dict())
        else:
            train, labels = self.splits.media("target_train"), self.splits.target_labels("target_train")
            unflipped = [label for label, name in enumerate(names) if name in self.options.no_flip]
            self.runner.fit(module, train, labels, options, preprocessing, unflipped, folder)
            self.runner.save(
                folder,
                module,
                names,
                preprocessing,
                options,
                fingerprints={"manifest": self.manifest_fingerprint},
                made_by={"seed": seed, "warm_start": report},
            )
        labels = self.splits.target_labels("target_test")
        top1, top5 = self.runner.test(module, self.splits.media("target_test"), labels, preprocessing)
        metrics = RunMetrics(
            strategy=strategy,
            seed=seed,
            metrics={"top1": top1, "top5": top5},
            start="initialised" if self.options.pretrained or self.options.weights else "scratch",
        )
        _log.info("%s: top-1 %.4f", folder, top1)
        _write_json(stored, metrics.model_dump(mode="json"))
        return metrics

    def _refuse_unknown_classes(self) -> None:
        tested = self.manifest.filter(split="target_test").vocabulary("label")
        untrained = sorted({*tested.names} - {*self.target_vocabulary.names})
        if untrained:
            raise TableError(
                f"target_test has the class {untrained[0]!r}, and target_train has not: every class that is "
                "tested needs training samples"
            )
        known = {*self.weak_vocabulary.names, *self.target_vocabulary.names}
        unknown = [name for name in self.options.no_flip if name not in known]
        if unknown:
            raise ConfigError(
                f"no_flip names {', '.join(map(repr, unknown))}, which is neither a weak label nor a target "
                "class of this manifest: check the spelling"
            )

    def _full_alignment(self) -> dict[str, str | list[str]] | None:
        """The classes that agree by the options, and those of equal names that the options do not list.

        Raises:
            LabelError: The options name a class that does not exist.
        """
        if self.options.alignment is None:
            return None
        weak, target = self.weak_vocabulary, self.target_vocabulary
        alignment = {**{name: name for name in weak if name in target}, **self.options.alignment}
        # A wrong name must not wait until the teacher is trained.
        Alignment.of(alignment, weak, target)
        return alignment

    def _used_options(self) -> dict[str, Any]:
        """The options as they are used, JSON-able: the alignment with the equal names."""
        return {**self.options.model_dump(mode="json"), "alignment": self.alignment}

    def _sameness(self) -> dict[str, Any]:
        """What must not change within a folder; seeds, strategies and points of the curve may be added."""
        freely = {
            "seeds", "strategies", "curve", "clips_per_video", "trainer", "num_workers", "jobs",
            "decode_once", "cache_bytes", "checkpoints", "eval_batch_size", "leave_out_unreadable",
        }  # fmt: skip
        return {
            **{key: value for key, value in self._used_options().items() if key not in freely},
            "manifest": self.manifest_fingerprint,
            "domain": self.domain.options(),
            "number of devices": self.runner.devices_a_step(),
        }

    def _refuse_another_study(self) -> None:
        if not holds_study(self.out):
            return
        stored = (self.out / STUDY_FILE).read_text(encoding="utf-8")
        mine, theirs = self._sameness(), json.loads(stored)["same"]
        # An option that came later has its default in the older study.
        defaults = {name: field.default for name, field in StudyOptions.model_fields.items()}
        for stage in ("pretrain", "finetune"):
            theirs[stage] = TrainOptions.model_validate(theirs[stage]).model_dump(mode="json")
        changed = [key for key in mine if mine[key] != theirs.get(key, defaults.get(key))]
        if changed:
            raise ConfigError(
                f"{self.out} holds a study with another {', '.join(changed)}: choose another --out, or "
                "delete it"
            )

    def _claim_folder(self) -> None:
        out = self.out.resolve()
        # Relative where it lies within, so that the folder can be moved.
        manifest = (
            self.manifest_path.relative_to(out)
            if self.manifest_path.is_relative_to(out)
            else self.manifest_path
        )
        record = {
            "same": self._sameness(),
            "options": self._used_options(),
            "domain": self.domain.name,
            "manifest": str(manifest),
        }
        _write_json(self.out / STUDY_FILE, record)


def _fingerprint(manifest: Path) -> str:
    digest = hashlib.sha256()
    for path in [manifest] if manifest.is_file() else sorted(manifest.rglob("*")):
        if path.is_file():
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _write_json(path: Path, content: Any) -> None:
    with write_atomically(path) as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False).encode())
