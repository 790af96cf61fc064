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
        ConfusionMatrix,
        LabelSpace,
        MatchedControl,
        RawSPL,
        Relabeling,
        Strategy,
        TeacherOnly,
        Vocabulary,
        WeakOnly,
        relabel,
    )

__version__ = "0.1.0"
__all__ = [
    "SPLB",
    "AgreementFilter",
    "Alignment",
    "ArtifactError",
    "ConfigError",
    "ConfusionMatrix",
    "LabelError",
    "LabelSpace",
    "MatchedControl",
    "MediaError",
    "RawSPL",
    "Relabeling",
    "Strategy",
    "SublabelError",
    "TableError",
    "TeacherOnly",
    "Vocabulary",
    "WeakOnly",
    "relabel",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562), so that `import sublabel` itself costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("sublabel.errors" if name.endswith("Error") else "sublabel.labels"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
