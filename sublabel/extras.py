"""Libraries of the extras: one that is not installed is refused in one line that says how to get it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint

from sublabel.errors import ConfigError


class MissingExtraError(ConfigError, ModuleNotFoundError):
    """A library that an optional part needs and that is not installed; `name` is the missing module.

    Args:
        message: What needs it, and how to install it.
        name: The missing module.
    """

    def __init__(self, message: str, *, name: str | None = None) -> None:
        ModuleNotFoundError.__init__(self, message, name=name)


@contextmanager
def needs_extra(what: str, requirement: str) -> Iterator[None]:
    """Say for the imports of a block what to install where a library is missing.

    Of nested blocks the outermost one speaks: it names what the user asked for.

    Args:
        what: What needs the libraries, such as "the report".
        requirement: What brings them, as pip takes it: `sublabel[report]`.

    Raises:
        MissingExtraError: A library is not installed.

    Example:
        >>> with needs_extra("the choir", "sublabel[choir]"):
        ...     import choirbook
        Traceback (most recent call last):
            ...
        sublabel.extras.MissingExtraError: the choir needs choirbook, which is not installed: pip install
        'sublabel[choir]'
    """
    try:
        yield
    except ModuleNotFoundError as error:
        library, _, submodule = (error.name or "").partition(".")
        # A submodule of what is there is missing for another reason than that.
        if not library or (submodule and sys.modules.get(library)):
            raise
        raise MissingExtraError(
            f"{what} needs {library}, which is not installed: pip install '{requirement}'", name=error.name
        ) from error


def requirement_of(entry: EntryPoint) -> str:
    """What to install so that an entry point loads, as pip takes it.

    Args:
        entry: Of an installed distribution.

    Returns:
        The distribution, with its extra of the entry point's name if it has one: `sublabel[image]` for the
        domain `image`.
    """
    if entry.dist is None:
        return entry.module.partition(".")[0]
    extras = entry.dist.metadata.get_all("Provides-Extra") or ()
    own = [extra for extra in extras if _normalised(extra) == _normalised(entry.name)]
    return f"{entry.dist.name}[{own[0]}]" if own else entry.dist.name


def _normalised(name: str) -> str:
    """A name as packaging tools compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
