"""The comparison of strategies: an ablation with every stage stored and resumable.

Its options and the reading of its folder (`sublabel.study.folder`) need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sublabel.study.folder import StudyFolder, holds_study, slug
    from sublabel.study.options import StudyOptions
    from sublabel.study.plan import StudyPlan, plan_study
    from sublabel.study.pool import pool_studies
    from sublabel.study.recipe import for_data_seeds, parse_preset, recipe_console, run_as_script
    from sublabel.study.rows import Row
    from sublabel.study.strategies import BASELINE, ORACLE, default_strategies, paper_strategies
    from sublabel.study.study import Study, train_row

_MODULES = {
    "folder": ("StudyFolder", "holds_study", "slug"),
    "options": ("StudyOptions",),
    "plan": ("StudyPlan", "plan_study"),
    "pool": ("pool_studies",),
    "recipe": ("for_data_seeds", "parse_preset", "recipe_console", "run_as_script"),
    "rows": ("Row",),
    "strategies": ("BASELINE", "ORACLE", "default_strategies", "paper_strategies"),
    "study": ("Study", "train_row"),
}

__all__ = [
    "BASELINE",
    "ORACLE",
    "Row",
    "Study",
    "StudyFolder",
    "StudyOptions",
    "StudyPlan",
    "default_strategies",
    "for_data_seeds",
    "holds_study",
    "paper_strategies",
    "parse_preset",
    "plan_study",
    "pool_studies",
    "recipe_console",
    "run_as_script",
    "slug",
    "train_row",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
