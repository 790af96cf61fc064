"""Strategies: how the cells of a confusion matrix become pre-training classes.

Every strategy is a frozen options model; `fit` turns counts into a label space. Classes come in the order of
the weak vocabulary and, within a weak class, as each strategy says; so ids are dense and the same on every
machine. A new one is a subclass of `Strategy`; one of ours is also listed in `BUILT_IN`.
"""

from sublabel.labels.strategies.base import Strategy, strategies
from sublabel.labels.strategies.baselines import AgreementFilter, TeacherOnly, WeakOnly
from sublabel.labels.strategies.confident import ConfidentSPL
from sublabel.labels.strategies.control import MatchedControl
from sublabel.labels.strategies.denoised import DenoisedSPL
from sublabel.labels.strategies.reductions import DensestSPL, MergedSPL
from sublabel.labels.strategies.soft import TopKSPL
from sublabel.labels.strategies.spl import SPLB, RawSPL
from sublabel.labels.strategies.two_head import TwoHead

BUILT_IN: tuple[type[Strategy], ...] = (
    WeakOnly,
    TeacherOnly,
    AgreementFilter,
    RawSPL,
    SPLB,
    MatchedControl,
    DensestSPL,
    MergedSPL,
    ConfidentSPL,
    TopKSPL,
    DenoisedSPL,
    TwoHead,
)

__all__ = [
    "BUILT_IN",
    "SPLB",
    "AgreementFilter",
    "ConfidentSPL",
    "DenoisedSPL",
    "DensestSPL",
    "MatchedControl",
    "MergedSPL",
    "RawSPL",
    "Strategy",
    "TeacherOnly",
    "TopKSPL",
    "TwoHead",
    "WeakOnly",
    "strategies",
]
