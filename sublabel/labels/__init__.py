"""The label algebra: weak labels × teacher predictions → pre-training classes, in numpy and scipy alone."""

from sublabel.labels.alignment import Alignment
from sublabel.labels.confusion import ConfusionMatrix
from sublabel.labels.relabeling import Relabeling, relabel
from sublabel.labels.space import ClassDescription, LabelSpace
from sublabel.labels.strategies import (
    SPLB,
    STRATEGIES,
    AgreementFilter,
    MatchedControl,
    RawSPL,
    Strategy,
    TeacherOnly,
    WeakOnly,
)
from sublabel.labels.vocabulary import Vocabulary

__all__ = [
    "SPLB",
    "STRATEGIES",
    "AgreementFilter",
    "Alignment",
    "ClassDescription",
    "ConfusionMatrix",
    "LabelSpace",
    "MatchedControl",
    "RawSPL",
    "Relabeling",
    "Strategy",
    "TeacherOnly",
    "Vocabulary",
    "WeakOnly",
    "relabel",
]
