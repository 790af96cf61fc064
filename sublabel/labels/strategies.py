"""How cells become classes: every strategy, the union of their options, and their registry.

Every strategy is a frozen options model; `fit` turns counts into a `LabelSpace`. Classes come in the order of
the weak vocabulary and, within a weak class, as each strategy says; so ids are dense and the same on every
machine.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sublabel.labels._strategy import BaseStrategy
from sublabel.labels.baselines import AgreementFilter, TeacherOnly, WeakOnly
from sublabel.labels.reductions import DensestSPL, MergedSPL
from sublabel.labels.refinements import ConfidentSPL, TopKSPL, TwoHead
from sublabel.labels.spl import SPLB, MatchedControl, RawSPL

__all__ = [
    "SPLB",
    "STRATEGIES",
    "AgreementFilter",
    "ConfidentSPL",
    "DensestSPL",
    "MatchedControl",
    "MergedSPL",
    "RawSPL",
    "Strategy",
    "TeacherOnly",
    "TopKSPL",
    "TwoHead",
    "WeakOnly",
]

Strategy = Annotated[
    WeakOnly
    | TeacherOnly
    | AgreementFilter
    | RawSPL
    | SPLB
    | MatchedControl
    | DensestSPL
    | MergedSPL
    | ConfidentSPL
    | TopKSPL
    | TwoHead,
    Field(discriminator="kind"),
]
STRATEGIES: dict[str, type[BaseStrategy]] = {
    model.model_fields["kind"].default: model
    for model in (
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
        TwoHead,
    )
}
