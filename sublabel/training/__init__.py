"""Pre-training and fine-tuning: Lightning modules for any loop, data, model cards, warm starts."""

from sublabel._torchvision import ensure_torchvision

ensure_torchvision()

from sublabel.training.checkpoint import (  # noqa: E402
    LoadedModel,
    ModelCard,
    WarmStartReport,
    load_model,
    load_weights,
    read_card,
    save_model,
    state_fingerprint,
    warm_start,
)
from sublabel.training.classifier import Classifier, best_precision  # noqa: E402
from sublabel.training.data import LabelDataModule, LabeledDataset, MediaTable  # noqa: E402
from sublabel.training.modules import (  # noqa: E402
    OPTIMIZERS,
    FinetuneModule,
    OptimizerFactory,
    PretrainModule,
    Schedule,
    adamw,
    sgd,
)

__all__ = [
    "OPTIMIZERS",
    "Classifier",
    "FinetuneModule",
    "LabelDataModule",
    "LabeledDataset",
    "LoadedModel",
    "MediaTable",
    "ModelCard",
    "OptimizerFactory",
    "PretrainModule",
    "Schedule",
    "WarmStartReport",
    "adamw",
    "best_precision",
    "load_model",
    "load_weights",
    "read_card",
    "save_model",
    "sgd",
    "state_fingerprint",
    "warm_start",
]
