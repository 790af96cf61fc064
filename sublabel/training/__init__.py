"""Pre-training and fine-tuning: Lightning modules for any loop, data, model cards, warm starts."""

from sublabel.torchvision_cure import ensure_torchvision

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
from sublabel.training.data import EvaluationSampler, LabelDataModule, LabeledDataset  # noqa: E402
from sublabel.training.heads import FactorisedHead, HeadFactory, HeadKind, head_factory  # noqa: E402
from sublabel.training.lookup import LabelLookup  # noqa: E402
from sublabel.training.losses import (  # noqa: E402
    CrossEntropy,
    Objective,
    SampledCrossEntropy,
    SoftLabels,
    soft_cross_entropy,
)
from sublabel.training.modules import (  # noqa: E402
    OPTIMIZERS,
    FinetuneModule,
    OptimizerFactory,
    PretrainModule,
    Schedule,
    adamw,
    sgd,
)
from sublabel.training.targets import (  # noqa: E402
    HardTargets,
    HeadTargets,
    SoftTargets,
    Targets,
    join_targets,
    read_soft_targets,
)

__all__ = [
    "OPTIMIZERS",
    "Classifier",
    "CrossEntropy",
    "EvaluationSampler",
    "FactorisedHead",
    "FinetuneModule",
    "HardTargets",
    "HeadFactory",
    "HeadKind",
    "HeadTargets",
    "LabelDataModule",
    "LabelLookup",
    "LabeledDataset",
    "LoadedModel",
    "ModelCard",
    "Objective",
    "OptimizerFactory",
    "PretrainModule",
    "SampledCrossEntropy",
    "Schedule",
    "SoftLabels",
    "SoftTargets",
    "Targets",
    "WarmStartReport",
    "adamw",
    "best_precision",
    "head_factory",
    "join_targets",
    "load_model",
    "load_weights",
    "read_card",
    "read_soft_targets",
    "save_model",
    "sgd",
    "soft_cross_entropy",
    "state_fingerprint",
    "warm_start",
]
