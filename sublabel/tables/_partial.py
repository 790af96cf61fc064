"""Files under construction: named after what they become, swept up when the process that wrote them died."""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows, where a file under construction outlives a process that is killed.
    fcntl = None

SUFFIX = ".partial"


def create_partial(path: Path) -> tuple[Path, Any]:
    """A new hidden file beside `path`, and a handle that marks it as in use until it is closed."""
    while True:
        file = tempfile.NamedTemporaryFile(  # noqa: SIM115 -- whoever holds the handle closes it
            dir=path.parent, prefix=f".{path.name}.", suffix=SUFFIX, delete=False
        )
        if fcntl is None:
            file.close()
            break
        # Some network file systems have no locks; what is left there is not swept up either.
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        # Another process may have swept it up before it was locked.
        if os.fstat(file.fileno()).st_nlink:
            break
        file.close()
    return Path(file.name), file


def remove_abandoned(path: Path) -> None:
    """Delete what killed processes left beside `path`; what a living one writes is locked, and stays."""
    if fcntl is None or not path.parent.is_dir():
        return
    ours = re.compile(re.escape(f".{path.name}.") + r"[a-z0-9_]{8}" + re.escape(SUFFIX))
    for partial in path.parent.iterdir():
        if not ours.fullmatch(partial.name):
            continue
        # Locked, or gone meanwhile.
        with suppress(OSError), partial.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink()
