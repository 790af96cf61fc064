"""The label algebra: weak labels × teacher predictions → pre-training classes, in numpy and scipy alone."""

from sublabel.labels.alignment import Alignment
from sublabel.labels.builders import ConfusionBuilder, build_confusion
from sublabel.labels.classes import KINDS, Classes
from sublabel.labels.confusion import Confidence, ConfusionMatrix
from sublabel.labels.counting import ConfidentCounts, Counting, HardCounts, ProbabilityMass
from sublabel.labels.relabeling import Relabeling, relabel
from sublabel.labels.space import ClassDescription, LabelSpace
from sublabel.labels.strategies import (
    SPLB,
    STRATEGIES,
    AgreementFilter,
    ConfidentSPL,
    DensestSPL,
    MatchedControl,
    MergedSPL,
    RawSPL,
    Strategy,
    TeacherOnly,
    TopKSPL,
    TwoHead,
    WeakOnly,
)
from sublabel.labels.vocabulary import Vocabulary

__all__ = [
    "KINDS",
    "SPLB",
    "STRATEGIES",
    "AgreementFilter",
    "Alignment",
    "ClassDescription",
    "Classes",
    "Confidence",
    "ConfidentCounts",
    "ConfidentSPL",
    "ConfusionBuilder",
    "ConfusionMatrix",
    "Counting",
    "DensestSPL",
    "HardCounts",
    "LabelSpace",
    "MatchedControl",
    "MergedSPL",
    "ProbabilityMass",
    "RawSPL",
    "Relabeling",
    "Strategy",
    "TeacherOnly",
    "TopKSPL",
    "TwoHead",
    "Vocabulary",
    "WeakOnly",
    "build_confusion",
    "relabel",
]
