"""From (weak label, teacher prediction) pairs to pre-training classes, Sub-Pseudo Labels (SPL) among them.

The names below are the label algebra and need numpy and scipy alone. Everything else is imported from its
module: `sublabel.tables`, `sublabel.sources`, `sublabel.teacher`, `sublabel.training`, `sublabel.evaluation`,
`sublabel.study`; `sublabel.testing` checks plug-ins.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sublabel.errors import ArtifactError, ConfigError, LabelError, MediaError, SublabelError, TableError
    from sublabel.labels import (
        SPLB,
        AgreementFilter,
        Alignment,
        Cell,
        Cells,
        ConfidentCounts,
        ConfidentSPL,
        ConfusionMatrix,
        Counting,
        DenoisedSPL,
        DensestSPL,
        FeatureCounts,
        HardCounts,
        LabelSpace,
        MatchedControl,
        MergedSPL,
        Pairs,
        ProbabilityMass,
        RawSPL,
        Relabeling,
        Strategy,
        Targets,
        TeacherOnly,
        TopKSPL,
        TwoHead,
        Vocabulary,
        WeakOnly,
        count,
        relabel,
        strategies,
    )

__version__ = "0.1.0"
__all__ = [
    "SPLB",
    "AgreementFilter",
    "Alignment",
    "ArtifactError",
    "Cell",
    "Cells",
    "ConfidentCounts",
    "ConfidentSPL",
    "ConfigError",
    "ConfusionMatrix",
    "Counting",
    "DenoisedSPL",
    "DensestSPL",
    "FeatureCounts",
    "HardCounts",
    "LabelError",
    "LabelSpace",
    "MatchedControl",
    "MediaError",
    "MergedSPL",
    "Pairs",
    "ProbabilityMass",
    "RawSPL",
    "Relabeling",
    "Strategy",
    "SublabelError",
    "TableError",
    "Targets",
    "TeacherOnly",
    "TopKSPL",
    "TwoHead",
    "Vocabulary",
    "WeakOnly",
    "count",
    "relabel",
    "strategies",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562), so that `import sublabel` itself costs nothing."""
    if name == "testing":
        return import_module("sublabel.testing")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("sublabel.errors" if name.endswith("Error") else "sublabel.labels"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
