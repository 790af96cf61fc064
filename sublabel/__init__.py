"""From (weak label, teacher prediction) pairs to pre-training classes, Sub-Pseudo Labels (SPL) among them.

The names below are the label algebra and need numpy and scipy alone. Everything else is imported from its
module: `sublabel.tables`, `sublabel.sources`, `sublabel.teacher`, `sublabel.training`, `sublabel.evaluation`,
`sublabel.study`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sublabel.errors import ArtifactError, ConfigError, LabelError, MediaError, SublabelError, TableError
    from sublabel.labels import (
        SPLB,
        AgreementFilter,
        Alignment,
        ConfidentCounts,
        ConfidentSPL,
        ConfusionBuilder,
        ConfusionMatrix,
        DensestSPL,
        HardCounts,
        LabelSpace,
        MatchedControl,
        MergedSPL,
        ProbabilityMass,
        RawSPL,
        Relabeling,
        Strategy,
        TeacherOnly,
        TopKSPL,
        TwoHead,
        Vocabulary,
        WeakOnly,
        build_confusion,
        relabel,
    )

__version__ = "0.1.0"
__all__ = [
    "SPLB",
    "AgreementFilter",
    "Alignment",
    "ArtifactError",
    "ConfidentCounts",
    "ConfidentSPL",
    "ConfigError",
    "ConfusionBuilder",
    "ConfusionMatrix",
    "DensestSPL",
    "HardCounts",
    "LabelError",
    "LabelSpace",
    "MatchedControl",
    "MediaError",
    "MergedSPL",
    "ProbabilityMass",
    "RawSPL",
    "Relabeling",
    "Strategy",
    "SublabelError",
    "TableError",
    "TeacherOnly",
    "TopKSPL",
    "TwoHead",
    "Vocabulary",
    "WeakOnly",
    "build_confusion",
    "relabel",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562), so that `import sublabel` itself costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("sublabel.errors" if name.endswith("Error") else "sublabel.labels"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
