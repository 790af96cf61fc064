"""The comparison of strategies: an ablation with every stage stored and resumable.

from sublabel.torchvision_cure import ensure_torchvision

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sublabel.study.options import (  # noqa: E402
    BASELINE,
    StudyOptions,
    TrainOptions,
    default_strategies,
)
from sublabel.study.plan import StudyPlan, plan_study  # noqa: E402
from sublabel.study.recipe import parse_preset, run_as_script  # noqa: E402
from sublabel.study.study import Study, holds_study  # noqa: E402

__all__ = [
    "BASELINE",
    "Study",
    "StudyFolder",
    "StudyOptions",
    "StudyPlan",
    "TrainOptions",
    "default_strategies",
    "holds_study",
    "parse_preset",
    "plan_study",
    "run_as_script",
    "slug",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
