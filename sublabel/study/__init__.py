"""The comparison of strategies: an ablation with every stage stored and resumable."""

from sublabel.torchvision_cure import ensure_torchvision

ensure_torchvision()

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
    "StudyOptions",
    "StudyPlan",
    "TrainOptions",
    "default_strategies",
    "holds_study",
    "parse_preset",
    "plan_study",
    "run_as_script",
]
