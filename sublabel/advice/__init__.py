"""What to expect of each strategy before anything large is trained, from frozen features in minutes (ours).

Its options and outcome need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sublabel.advice.advising import advise
    from sublabel.advice.facts import Facts
    from sublabel.advice.options import AdviceOptions
    from sublabel.advice.outcome import Advice, Prospect
    from sublabel.advice.reading import FeatureTable, read_features
    from sublabel.advice.validation import StudyValidation, Validation

_MODULES = {
    "advising": ("advise",),
    "facts": ("Facts",),
    "options": ("AdviceOptions",),
    "outcome": ("Advice", "Prospect"),
    "reading": ("FeatureTable", "read_features"),
    "validation": ("StudyValidation", "Validation"),
}

__all__ = [
    "Advice",
    "AdviceOptions",
    "Facts",
    "FeatureTable",
    "Prospect",
    "StudyValidation",
    "Validation",
    "advise",
    "read_features",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
