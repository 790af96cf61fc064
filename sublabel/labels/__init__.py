"""The label algebra: weak labels × teacher predictions → pre-training classes, in numpy and scipy alone."""

from sublabel.labels.alignment import Alignment
from sublabel.labels.assigned import REASONS, Labels
from sublabel.labels.builders import ConfusionBuilder
from sublabel.labels.cell_space import CellSpace
from sublabel.labels.cells import Cell, Cells
from sublabel.labels.classes import KINDS, Classes
from sublabel.labels.confusion import Confidence, ConfusionMatrix
from sublabel.labels.counting import (
    ConfidentCounts,
    Counting,
    FeatureCounts,
    HardCounts,
    ProbabilityMass,
    count,
    count_chunks,
)
from sublabel.labels.pairs import Pairs
from sublabel.labels.relabel import Relabeling, relabel
from sublabel.labels.space import ClassDescription, LabelSpace
from sublabel.labels.strategies import (
    SPLB,
    AgreementFilter,
    ConfidentSPL,
    DenoisedSPL,
    DensestSPL,
    MatchedControl,
    MergedSPL,
    RawSPL,
    Strategy,
    TeacherOnly,
    TopKSPL,
    TwoHead,
    WeakOnly,
    strategies,
)
from sublabel.labels.targets import HardTargets, HeadTargets, Ragged, SoftLabels, SoftTargets, Targets
from sublabel.labels.vocabulary import Vocabulary

__all__ = [
    "KINDS",
    "REASONS",
    "SPLB",
    "AgreementFilter",
    "Alignment",
    "Cell",
    "CellSpace",
    "Cells",
    "ClassDescription",
    "Classes",
    "Confidence",
    "ConfidentCounts",
    "ConfidentSPL",
    "ConfusionBuilder",
    "ConfusionMatrix",
    "Counting",
    "DenoisedSPL",
    "DensestSPL",
    "FeatureCounts",
    "HardCounts",
    "HardTargets",
    "HeadTargets",
    "LabelSpace",
    "Labels",
    "MatchedControl",
    "MergedSPL",
    "Pairs",
    "ProbabilityMass",
    "Ragged",
    "RawSPL",
    "Relabeling",
    "SoftLabels",
    "SoftTargets",
    "Strategy",
    "Targets",
    "TeacherOnly",
    "TopKSPL",
    "TwoHead",
    "Vocabulary",
    "WeakOnly",
    "count",
    "count_chunks",
    "relabel",
    "strategies",
]
