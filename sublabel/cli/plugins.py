"""Console scripts of plug-in packages, which end in one line where the package itself cannot be imported.

A package `acme_audio` with a function `main() -> int` in `acme_audio.cli` declares its script as

    [project.scripts]
    acme-audio = "sublabel.cli.plugins:acme_audio"
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from sublabel.cli.rendering import console
from sublabel.extras import MissingExtraError


def run_script(package: str) -> int:
    """Run `main` of a package's module `cli`; a missing extra ends with one message and exit code 2.

    Args:
        package: The import name of the plug-in package.
    """
    try:
        commands = import_module(f"{package}.cli")
    except MissingExtraError as error:
        console(stderr=True).print(f"{Path(sys.argv[0]).name}: error: {error}", soft_wrap=True)
        return 2
    code: int = commands.main()
    return code


def __getattr__(package: str) -> Callable[[], int]:
    """Make the script of an installed package, known by its import name (PEP 562)."""
    if package.startswith("_") or find_spec(package) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {package!r}")
    return partial(run_script, package)
