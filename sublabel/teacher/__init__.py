"""The teacher and its pass over the weak data."""

from sublabel.torchvision_cure import ensure_torchvision

ensure_torchvision()

from sublabel.teacher.base import (  # noqa: E402
    FeatureTeacher,
    ModuleTeacher,
    Teacher,
    TeacherPrediction,
    checked_prediction,
)
from sublabel.teacher.ensemble import Ensemble, fit_temperature, log_mean_probabilities  # noqa: E402
from sublabel.teacher.passes import predict_manifest  # noqa: E402
from sublabel.teacher.predict import as_teacher, predict, see  # noqa: E402

__all__ = [
    "Ensemble",
    "FeatureTeacher",
    "ModuleTeacher",
    "Teacher",
    "TeacherPrediction",
    "as_teacher",
    "checked_prediction",
    "fit_temperature",
    "log_mean_probabilities",
    "predict",
    "predict_manifest",
    "see",
]
