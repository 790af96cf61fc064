"""The teacher and its pass over the weak data."""

from sublabel.torchvision_cure import ensure_torchvision

ensure_torchvision()

from sublabel.teacher.base import Ensemble, ModuleTeacher, Teacher, TeacherPrediction  # noqa: E402
from sublabel.teacher.passes import predict_manifest  # noqa: E402

__all__ = ["Ensemble", "ModuleTeacher", "Teacher", "TeacherPrediction", "predict_manifest"]
