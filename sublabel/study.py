"""The comparison: teacher, predictions, labels, pre-training, fine-tuning, for every strategy and seed.

The loop reads as the paper's method, Sub-Pseudo Labels (SPL): a teacher is trained on the clean target set
and looks at every weak sample; each strategy turns (weak label, teacher prediction) into classes; a backbone
is pre-trained on them, fine-tuned on the target set and tested there. The numbers of epochs, rates and
schedules are ours: the paper's are not published.

Everything lies under one folder, and a stage that has ended is not run again:

    study.json                       the resolved options, and the manifest's fingerprint
    comparison.json, comparison.md   the table
    seed0/teacher/                   the model without weak pre-training, and the teacher
    seed0/predictions/               the teacher's pass over the weak split
    seed0/<strategy>/                relabeled.parquet, pretrained/, finetuned/ with metrics.json
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import time
from pathlib import Path
from typing import Any, Literal

from sublabel._torchvision import ensure_torchvision

ensure_torchvision()

import lightning as L  # noqa: E402
import numpy as np  # noqa: E402
from lightning.pytorch.utilities import rank_zero_only  # noqa: E402
from pydantic import BaseModel, ConfigDict, Field, PositiveInt  # noqa: E402
from torch import nn  # noqa: E402

from sublabel._files import write_atomically  # noqa: E402
from sublabel._jobs import job_map  # noqa: E402
from sublabel.domain import Domain, Preprocessing  # noqa: E402
from sublabel.errors import ConfigError  # noqa: E402
from sublabel.evaluation import Comparison, RunMetrics  # noqa: E402
from sublabel.labels import (  # noqa: E402
    SPLB,
    AgreementFilter,
    MatchedControl,
    RawSPL,
    Strategy,
    TeacherOnly,
    Vocabulary,
    WeakOnly,
)
from sublabel.tables import open_manifest, read_relabeled, relabel_table  # noqa: E402
from sublabel.teacher import ModuleTeacher, predict_manifest  # noqa: E402
from sublabel.training import (  # noqa: E402
    OPTIMIZERS,
    FinetuneModule,
    LabelDataModule,
    LabeledDataset,
    MediaTable,
    ModelCard,
    PretrainModule,
    Schedule,
    best_precision,
    load_model,
    save_model,
    warm_start,
)

_log = logging.getLogger(__name__)

BASELINE = "weak-only"


def is_first_process() -> bool:
    """Whether this is the one process to print: Lightning starts a script once for each device."""
    return bool(getattr(rank_zero_only, "rank", 0) == 0)


def default_strategies(raw: RawSPL | None = None) -> dict[str, Strategy]:
    """The rows of METHOD's table in its order, then the matched-cardinality control of raw SPL."""
    raw = raw or RawSPL()
    return {
        BASELINE: WeakOnly(),
        "teacher-only": TeacherOnly(),
        "agreement": AgreementFilter(),
        "raw SPL": raw,
        "SPL-B": SPLB(),
        "matched control": MatchedControl(of=raw),
    }


class TrainOptions(BaseModel):
    """One training run. All defaults are ours."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: PositiveInt = Field(default=4, description="passes over the data")
    batch_size: PositiveInt = Field(default=128, description="samples a batch and device")
    optimizer: Literal["sgd", "adamw"] = Field(
        default="sgd", description="SGD with Nesterov momentum, or AdamW"
    )
    learning_rate: float = Field(default=0.1, gt=0, description="peak learning rate")
    weight_decay: float = Field(
        default=5e-4, ge=0, description="L2 penalty on weights, not on biases and norms"
    )
    schedule: Schedule = Field(default="cosine", description="learning rate over the steps")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="as in PyTorch's cross-entropy")
    augmentation: str | None = Field(
        default=None, description="a training augmentation of the domain; default: its first"
    )


class StudyOptions(BaseModel):
    """What is compared, and how it is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str = Field(description="a backbone's name in the domain")
    pretrained: bool = Field(default=False, description="start from the backbone's published weights")
    weights: str | None = Field(default=None, description="start from a local weights file")
    strategies: dict[str, Strategy] = Field(
        default_factory=default_strategies, description="row name → strategy"
    )
    seeds: PositiveInt = Field(default=1, description="runs of everything, with seeds 0 to N-1")
    pretrain: TrainOptions = TrainOptions()
    finetune: TrainOptions = TrainOptions(epochs=25)
    precision: Literal["auto"] | str = Field(default="auto", description="Lightning's precision flag")
    jobs: PositiveInt = Field(
        default=1,
        description="strategies that run at the same time, each in a process with its share of cores and one "
        "device; several devices need 1",
    )
    num_workers: int = Field(default=0, ge=0, description="loader processes")
    cache_bytes: int = Field(default=2_000_000_000, ge=0, description="memory for decoded media of one split")
    trainer: dict[str, Any] = Field(
        default_factory=dict, description="further arguments of lightning.Trainer"
    )


class Study:
    """A comparison of strategies on one manifest.

    Args:
        manifest: A manifest file with the splits `weak`, `target_train` and `target_test`, `weak_label` on
            the first, `label` on the others.
        domain: The medium.
        options: What to compare.
        out: Folder for all artefacts; an earlier run in it goes on where it stopped.

    Raises:
        ConfigError: `out` holds a study with other options or another manifest, the domain has no such
            backbone or augmentation, or several jobs are to train on several devices each.
        TableError: The manifest lacks a split or column.
    """

    def __init__(self, manifest: str | Path, domain: Domain, options: StudyOptions, out: str | Path) -> None:
        self.domain = domain
        self.options = options
        self.out = Path(out)
        if options.jobs > 1:
            self._refuse_several_devices()
        self.manifest = open_manifest(manifest)
        self.manifest.check()
        self.manifest.require("weak_label")
        self.manifest.require("label")
        self.target_vocabulary = self.manifest.filter(split="target_train").vocabulary("label")
        self.weak_vocabulary = self.manifest.filter(split="weak").vocabulary("weak_label")
        # A wrong name must not wait until its turn comes, nor claim the folder.
        preprocessing = self._new_backbone(seed=0)[1]
        for stage in (options.pretrain, options.finetune):
            domain.training_transform(preprocessing, stage.augmentation)
        self._claim_folder(Path(manifest))
        self._media = {split: self._open_split(split) for split in ("weak", "target_train", "target_test")}
        self.precision = best_precision() if options.precision == "auto" else options.precision

    def run(self) -> Comparison:
        """Run all that has not been run yet, and write the table.

        Returns:
            The comparison, also in `comparison.json` and `comparison.md`.
        """
        seeds = range(self.options.seeds)
        with job_map(self.options.jobs) as run_all:
            # A single teacher has all the cores.
            runs = list((run_all if len(seeds) > 1 else map)(self.run_teacher, seeds))
            pairs = list(itertools.product(seeds, self.options.strategies))
            runs += run_all(self.run_strategy, [seed for seed, _ in pairs], [name for _, name in pairs])
        comparison = Comparison(
            runs=tuple(runs), baseline=BASELINE, test_samples=len(self._media["target_test"])
        )
        _write_json(self.out / "comparison.json", comparison.to_dict())
        with write_atomically(self.out / "comparison.md") as file:
            file.write(comparison.to_markdown().encode())
        return comparison

    def run_teacher(self, seed: int) -> RunMetrics:
        """Train on the target set without weak pre-training, which is the table's first row and the teacher.

        The teacher then looks at the weak split.
        """
        folder = self._folder(seed)
        start = "scratch" if not (self.options.pretrained or self.options.weights) else "initialised"
        metrics = self._finetune(folder / "teacher", f"none ({start})", seed, pretrained=None)
        classifier, card = load_model(folder / "teacher", domain=self.domain)
        summary = predict_manifest(
            self.manifest.filter(split="weak"),
            ModuleTeacher(classifier, Vocabulary(card.classes)),
            folder / "predictions",
            read=self.domain.read,
            transform=self.domain.evaluation_transform(card.preprocessing),
            weak_vocabulary=self.weak_vocabulary,
            num_workers=self.options.num_workers,
        )
        _log.info("%s: %s", folder / "predictions", summary)
        return metrics

    def run_strategy(self, seed: int, name: str) -> RunMetrics:
        """Relabel what the teacher saw, pre-train, fine-tune and test with one strategy."""
        strategy = self.options.strategies[name]
        folder = self._folder(seed) / _slug(name)
        folder.mkdir(parents=True, exist_ok=True)
        relabeled = folder / "relabeled.parquet"
        if not relabeled.exists():
            relabel_table(self._folder(seed) / "predictions", relabeled, strategy)
        sample_ids, labels, space = read_relabeled(relabeled)
        if space.strategy != strategy.model_dump(mode="json"):
            raise ConfigError(
                f"{relabeled} was made by {space.strategy}, and {name!r} is now {strategy!r}: choose "
                f"another folder, or delete {folder}"
            )
        labels = self._media["weak"].join(sample_ids, labels)
        self._pretrain(folder / "pretrained", labels, space.names, space.fingerprint, seed)
        metrics = self._finetune(folder / "finetuned", name, seed, pretrained=folder / "pretrained")
        used = int(np.count_nonzero(labels >= 0))
        return metrics.model_copy(update={"classes": space.num_classes, "samples": used, "pool": len(labels)})

    def _pretrain(
        self, folder: Path, labels: np.ndarray, names: tuple[str, ...], space: str, seed: int
    ) -> None:
        if (folder / "card.json").exists():
            return
        backbone, preprocessing = self._new_backbone(seed)
        module = PretrainModule(
            backbone, len(names), **self._module_options(self.options.pretrain, preprocessing)
        )
        self._fit(module, "weak", labels, self.options.pretrain, preprocessing, folder)
        self._save(
            folder,
            module,
            names,
            preprocessing,
            {"label_space": space},
            self.options.pretrain,
            {"seed": seed},
        )

    def _finetune(self, folder: Path, row: str, seed: int, pretrained: Path | None) -> RunMetrics:
        stored = folder / "metrics.json"
        if stored.exists():
            return RunMetrics.model_validate_json(stored.read_text(encoding="utf-8"))
        backbone, preprocessing = self._new_backbone(seed)
        report = None if pretrained is None else str(warm_start(backbone, pretrained))
        names = self.target_vocabulary.names
        module = FinetuneModule(
            backbone, len(names), **self._module_options(self.options.finetune, preprocessing)
        )
        train = self._media["target_train"].labels("label", self.target_vocabulary)
        self._fit(module, "target_train", train, self.options.finetune, preprocessing, folder)
        made_by = {"seed": seed, "warm_start": report}
        self._save(folder, module, names, preprocessing, {}, self.options.finetune, made_by)
        metrics = self._test(module, preprocessing, row, seed)
        _log.info("%s: top-1 %.4f", folder, metrics.top1)
        _write_json(stored, metrics.model_dump(mode="json"))
        return metrics

    def _folder(self, seed: int) -> Path:
        return self.out / f"seed{seed}"

    def _new_backbone(self, seed: int) -> tuple[nn.Module, Preprocessing]:
        """The same start for every strategy of a seed, and the same order of batches after it."""
        L.seed_everything(seed, workers=True, verbose=False)
        options = self.options
        backbone = self.domain.create_backbone(
            options.backbone, pretrained=options.pretrained, weights=options.weights
        )
        return backbone, self.domain.preprocessing(backbone)

    def _module_options(self, options: TrainOptions, preprocessing: Preprocessing) -> dict[str, Any]:
        return {
            "optimizer": OPTIMIZERS[options.optimizer](
                options.learning_rate, weight_decay=options.weight_decay
            ),
            "schedule": options.schedule,
            "label_smoothing": options.label_smoothing,
            "mean": preprocessing.mean,
            "std": preprocessing.std,
        }

    def _fit(
        self,
        module: PretrainModule,
        split: str,
        labels: np.ndarray,
        options: TrainOptions,
        preprocessing: Preprocessing,
        folder: Path,
    ) -> None:
        transform = self.domain.training_transform(preprocessing, options.augmentation)
        data = LabelDataModule(
            LabeledDataset(self._media[split], labels, transform),
            batch_size=options.batch_size,
            num_workers=self.options.num_workers,
        )
        started = time.perf_counter()
        trainer = self._trainer(max_epochs=options.epochs, limit_val_batches=0)
        trainer.fit(module, datamodule=data)
        if trainer.world_size > 1:
            # Each device has its own batch statistics: what is saved and tested are the first one's.
            module.load_state_dict(trainer.strategy.broadcast(module.state_dict()))
        _log.info("%s: %d epochs in %.0f s", folder, options.epochs, time.perf_counter() - started)

    def _test(self, module: FinetuneModule, preprocessing: Preprocessing, row: str, seed: int) -> RunMetrics:
        media = self._media["target_test"]
        labels = media.labels("label", self.target_vocabulary)
        data = LabelDataModule(
            test=LabeledDataset(media, labels, self.domain.evaluation_transform(preprocessing)),
            batch_size=max(256, self.options.finetune.batch_size),
            num_workers=self.options.num_workers,
        )
        trainer = self._trainer()
        if trainer.world_size > 1:
            # Several devices would each get as many samples, some of them twice.
            trainer = self._trainer(devices=1, num_nodes=1, strategy="auto")
        [scores] = trainer.test(module, datamodule=data, verbose=False)
        return RunMetrics(row=row, seed=seed, top1=scores["test/top1"], top5=scores["test/top5"])

    def _trainer(self, **options: Any) -> L.Trainer:
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

    def _save(
        self,
        folder: Path,
        module: PretrainModule,
        names: tuple[str, ...],
        preprocessing: Preprocessing,
        fingerprints: dict[str, str],
        options: TrainOptions,
        made_by: dict[str, Any],
    ) -> None:
        card = ModelCard(
            domain=self.domain.name,
            backbone=self.options.backbone,
            classes=names,
            preprocessing=preprocessing,
            fingerprints={**fingerprints, "manifest": self.manifest_fingerprint},
            made_by={**made_by, "training": options.model_dump(mode="json"), "precision": self.precision},
        )
        save_model(folder, module.classifier, card)

    def _open_split(self, split: str) -> MediaTable:
        spool = self.out / f"{split}.arrow" if "image" in self.manifest.columns else None
        return MediaTable.from_manifest(
            self.manifest.filter(split=split), self.domain, spool=spool, cache_bytes=self.options.cache_bytes
        )

    def _claim_folder(self, manifest: Path) -> None:
        """Refuse a folder that holds another study; more seeds or strategies may be added to the same one."""
        self.manifest_fingerprint = _fingerprint(manifest)
        mine = self.options.model_dump(
            mode="json", exclude={"seeds", "strategies", "trainer", "num_workers", "jobs"}
        )
        mine["manifest"] = self.manifest_fingerprint
        path = self.out / "study.json"
        if path.exists():
            theirs = json.loads(path.read_text(encoding="utf-8"))["same"]
            changed = [key for key in mine if mine[key] != theirs.get(key)]
            if changed:
                raise ConfigError(
                    f"{self.out} holds a study with another {', '.join(changed)}: choose another --out, or "
                    "delete it"
                )
        self.out.mkdir(parents=True, exist_ok=True)
        _write_json(path, {"same": mine, "options": self.options.model_dump(mode="json")})


def _fingerprint(manifest: Path) -> str:
    digest = hashlib.sha256()
    for path in [manifest] if manifest.is_file() else sorted(manifest.rglob("*")):
        if path.is_file():
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _slug(name: str) -> str:
    return name.lower().replace(" ", "_").replace("-", "_")


def _write_json(path: Path, content: Any) -> None:
    with write_atomically(path) as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False).encode())
