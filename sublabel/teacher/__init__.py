"""The teacher and its pass over the weak data."""

from sublabel.torchvision_cure import ensure_torchvision

ensure_torchvision()

from sublabel.teacher.base import (  # noqa: E402
    Ensemble,
    ModuleTeacher,
    Teacher,
    TeacherPrediction,
    checked_prediction,
)
from sublabel.teacher.passes import predict_manifest  # noqa: E402
from sublabel.teacher.predict import as_teacher, predict  # noqa: E402

__all__ = [
    "Ensemble",
    "ModuleTeacher",
    "Teacher",
    "TeacherPrediction",
    "as_teacher",
    "checked_prediction",
    "predict",
    "predict_manifest",
]
