"""The stage that measures a model on clean samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np

from sublabel.errors import ConfigError
from sublabel.options import RunOptions
from sublabel.training.checkpoint import LoadedModel
from sublabel.training.classifier import Classifier
from sublabel.training.data import LabelDataModule
from sublabel.training.fit import TrainedModel
from sublabel.training.modules import METRICS, FinetuneModule
from sublabel.training.trainer import make_trainer, refuse_other_processes


@dataclass(frozen=True, eq=False)
class Measurement:
    """What a test measured of M samples, on the whole and sample by sample."""

    metrics: dict[str, float]
    """Metric → value; accuracies are shares in 0–1."""
    samples: np.ndarray
    """int64 (M,), rising positions in the data set; all of it, unless a trainer of yours tests fewer."""
    predicted: np.ndarray
    """int64 (M,), the most probable class of each."""
    correct: np.ndarray
    """bool (M,), whether that is its label."""


def test(
    model: TrainedModel | LoadedModel | Classifier,
    dataset: Any,
    *,
    metrics: Sequence[str] = METRICS,
    views: int | None = None,
    precision: str = "auto",
    run: RunOptions | None = None,
    trainer: L.Trainer | None = None,
) -> Measurement:
    """Measure a model on the clean test set; on several devices each sample counts once.

    Args:
        model: What `finetune` or `load_model` returned, or its classifier.
        dataset: A map-style data set of (input, label).
        metrics: As `FinetuneModule` takes them.
        views: Test-time views V of each input, (V, C, …), whose probabilities are averaged; None: no view
            axis.
        precision: As for `pretrain`.
        run: How it is run; `eval_batch_size` inputs a batch.
        trainer: Your own.

    Returns:
        The metrics, and what was predicted for each sample, on every device that of all.

    Raises:
        ConfigError: There is no such metric, or no sample, or the trainer forks or spawns its processes.
        LabelError: The model has no class of a label.
    """
    classifier = model if isinstance(model, Classifier) else model.classifier
    run = run or RunOptions()
    if len(dataset) == 0:
        raise ConfigError("the data set to test on has no samples: expected at least one")
    module = FinetuneModule(classifier.backbone, classifier.num_classes, views=views, metrics=metrics)
    module.classifier = classifier
    data = LabelDataModule(
        test=dataset,
        batch_size=max(1, run.eval_batch_size // (views or 1)),
        num_workers=run.num_workers,
        heads=(classifier.num_classes,),
    )
    trainer = trainer or make_trainer(None, run, precision=precision)
    refuse_other_processes(trainer)
    [scores] = trainer.test(module, datamodule=data, verbose=False)
    # Device r of n has the samples r, r + n, …
    shares = [np.arange(len(dataset))[r :: len(module.tested)] for r in range(len(module.tested))]
    samples = np.concatenate([share[: len(part)] for share, part in zip(shares, module.tested, strict=True)])
    order = np.argsort(samples)
    predicted, labels = np.concatenate(module.tested)[order].T
    return Measurement(
        {name: scores[f"test/{name}"] for name in metrics}, samples[order], predicted, predicted == labels
    )


# A test module of a user that imports the stage must not run it as a test of its own.
test.__test__ = False  # type: ignore[attr-defined]
