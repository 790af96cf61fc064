"""The cure for a torchvision whose compiled library cannot load, as beside a CPU-only torch.

PyPI's Linux torchvision is built for CUDA. Beside a CPU-only torch its library `_C` finds no CUDA and does
not load. torchvision goes on without it and then dies with `operator torchvision::nms does not exist`,
because it describes two of the operators that the library would have defined. timm needs torchvision, and
Lightning and torchmetrics import it wherever it is installed, so they die with it. Every package of ours
that needs torch therefore starts with::

    from sublabel.torchvision_cure import ensure_torchvision

    ensure_torchvision()

A worker process imports those packages again when it unpickles its data set, and so passes through here too.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.library import Library

logger = logging.getLogger(__name__)

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

# torch forgets a definition when the Library that made it is collected.
_definitions: list[Library] = []


def ensure_torchvision() -> None:
    """Make `import torchvision` work where its compiled library cannot load; do nothing anywhere else.

    Only the schemas of `torchvision::nms` and `torchvision::qnms` are defined. The compiled operators stay
    missing: transforms, models and data sets work, and a call of `torchvision.ops.nms` is refused with
    torchvision's own message. Safe to call again, after a failed `import torchvision`, and where torchvision
    is absent, imported already, or healthy.

    Example:
        >>> ensure_torchvision()
        >>> from torchvision.transforms import v2
    """
    if "torchvision" in sys.modules:
        return
    library = _compiled_library()
    if library is None:
        return

    import torch

    if hasattr(torch.ops.torchvision, "nms"):
        return
    try:
        with _dll_directory(library.parent):
            torch.ops.load_library(library)
    except OSError as error:
        definitions = torch.library.Library("torchvision", "FRAGMENT")
        for schema in SCHEMAS:
            definitions.define(schema)
        _definitions.append(definitions)
        logger.debug("torchvision runs without its compiled operators: %s", error)


def _compiled_library() -> Path | None:
    """Path of the compiled library, found as torchvision finds it but without importing torchvision."""
    package = find_spec("torchvision")
    for folder in (package and package.submodule_search_locations) or ():
        library = FileFinder(folder, (ExtensionFileLoader, EXTENSION_SUFFIXES)).find_spec("_C")
        if library is not None and library.origin is not None:
            return Path(library.origin)
    return None


def _dll_directory(folder: Path) -> AbstractContextManager[object]:
    """Let Windows find the libraries beside the compiled one, as torchvision does before it loads it."""
    if sys.platform == "win32":
        return os.add_dll_directory(str(folder))
    return nullcontext()
