"""What a class looks at: Grad-CAM of any class of a pre-trained or fine-tuned model, and pictures of it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sublabel.explain.colours import heat_colours, overlay
    from sublabel.explain.gradcam import grad_cam
    from sublabel.explain.pictures import film_strip, side_by_side
    from sublabel.explain.query import ExplainQuery
    from sublabel.explain.study import explain_study

_MODULES = {
    "ExplainQuery": "query",
    "explain_study": "study",
    "film_strip": "pictures",
    "grad_cam": "gradcam",
    "heat_colours": "colours",
    "overlay": "colours",
    "side_by_side": "pictures",
}
__all__ = [
    "ExplainQuery",
    "explain_study",
    "film_strip",
    "grad_cam",
    "heat_colours",
    "overlay",
    "side_by_side",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use, as the command line lists its options without torch."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
