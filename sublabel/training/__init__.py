"""Pre-training and fine-tuning: stages, Lightning modules for any loop, data, model cards, warm starts."""

from sublabel.torchvision_cure import ensure_torchvision

ensure_torchvision()

from sublabel.options import ProbeOptions, RunOptions, TrainOptions  # noqa: E402
from sublabel.training.checkpoint import (  # noqa: E402
    LoadedModel,
    ModelCard,
    WarmStartReport,
    card_domain,
    load_model,
    load_weights,
    read_card,
    save_model,
    state_fingerprint,
    warm_start,
)
from sublabel.training.classifier import Classifier, best_precision  # noqa: E402
from sublabel.training.data import (  # noqa: E402
    EvaluationSampler,
    LabelDataModule,
    LabeledDataset,
    MediaInputs,
    as_targets,
)
from sublabel.training.features import LabeledFeatures, extract_features, outputs_of  # noqa: E402
from sublabel.training.fit import TrainedModel, finetune, pretrain  # noqa: E402
from sublabel.training.heads import FactorisedHead, HeadFactory, head_factory  # noqa: E402
from sublabel.training.lookup import LabelLookup  # noqa: E402
from sublabel.training.losses import (  # noqa: E402
    CrossEntropy,
    Objective,
    SampledCrossEntropy,
    soft_cross_entropy,
)
from sublabel.training.measure import Measurement, test  # noqa: E402
from sublabel.training.modules import (  # noqa: E402
    METRICS,
    OPTIMIZERS,
    FinetuneModule,
    OptimizerFactory,
    PretrainModule,
    adamw,
    sgd,
)
from sublabel.training.probe import fit_probe, probe  # noqa: E402
from sublabel.training.trainer import make_trainer, refuse_several_devices, start_processes  # noqa: E402

__all__ = [
    "METRICS",
    "OPTIMIZERS",
    "Classifier",
    "CrossEntropy",
    "EvaluationSampler",
    "FactorisedHead",
    "FinetuneModule",
    "HeadFactory",
    "LabelDataModule",
    "LabelLookup",
    "LabeledDataset",
    "LabeledFeatures",
    "LoadedModel",
    "Measurement",
    "MediaInputs",
    "ModelCard",
    "Objective",
    "OptimizerFactory",
    "PretrainModule",
    "ProbeOptions",
    "RunOptions",
    "SampledCrossEntropy",
    "TrainOptions",
    "TrainedModel",
    "WarmStartReport",
    "adamw",
    "as_targets",
    "best_precision",
    "card_domain",
    "extract_features",
    "finetune",
    "fit_probe",
    "head_factory",
    "load_model",
    "load_weights",
    "make_trainer",
    "outputs_of",
    "pretrain",
    "probe",
    "read_card",
    "refuse_several_devices",
    "save_model",
    "sgd",
    "soft_cross_entropy",
    "start_processes",
    "state_fingerprint",
    "test",
    "warm_start",
]
