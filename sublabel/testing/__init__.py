"""What every plug-in must hold, as properties that a user's own tests check in one line.

from sublabel.testing import check_strategy

def test_mine():
    check_strategy(Mine())
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sublabel.testing.domain import check_domain
    from sublabel.testing.properties import BrokenPropertyError
    from sublabel.testing.strategy import check_strategy
    from sublabel.testing.teacher import check_teacher

_MODULES = {
    "BrokenPropertyError": "properties",
    "check_domain": "domain",
    "check_strategy": "strategy",
    "check_teacher": "teacher",
}
__all__ = ["BrokenPropertyError", "check_domain", "check_strategy", "check_teacher"]


def __getattr__(name: str) -> Any:
    """Load a check on first use: each needs the libraries of its own plug-ins only."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
