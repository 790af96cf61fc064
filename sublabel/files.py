"""Files that appear whole or not at all; what a killed process leaves of them is swept up."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from sublabel.errors import ConfigError

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows, where a file under construction outlives a process that is killed.
    fcntl = None

SUFFIX = ".partial"
# `Path` makes one slash of two; the scheme of one letter is a drive of Windows.
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def local_path(path: str | Path) -> Path:
    """Where something is to be written: files take their names by a rename, which only local ones can.

    Raises:
        ConfigError: It is a URL.

    Example:
        >>> local_path("s3://bucket/r.parquet")
        Traceback (most recent call last):
            ...
        sublabel.errors.ConfigError: cannot write to s3://bucket/r.parquet: expected a local path, ...
    """
    if URL.match(str(path)):
        raise ConfigError(
            f"cannot write to {path}: expected a local path, since what is written appears whole or not at "
            "all; write it there, and copy it to where it belongs"
        )
    return Path(path)


def local_file(path: str | Path) -> Path:
    """Where a file is to be written.

    Raises:
        ConfigError: It is a URL, or a folder.
    """
    path = local_path(path)
    if path.is_dir():
        raise ConfigError(f"cannot write to {path}: it is a folder; name a file in it")
    return path


@contextmanager
def write_atomically(path: str | Path) -> Iterator[BinaryIO]:
    """Open a temporary file that takes the place of `path` when the block ends, and goes when it fails.

    Raises:
        ConfigError: The path is a URL, or a folder.
    """
    path = local_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, hold = create_partial(path)
    try:
        with partial.open("wb") as file:
            yield file
        partial.chmod(0o644)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        hold.close()


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON file atomically, a value a line.

    Raises:
        ConfigError: The path is a URL, or a folder.
    """
    with write_atomically(path) as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")


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
    if path.parent.is_dir():
        _remove(path.parent.iterdir(), re.escape(path.name))


def remove_all_abandoned(folder: Path) -> None:
    """Delete what killed processes left of any file in a folder and in those below it."""
    _remove(folder.rglob(f".*{SUFFIX}"), ".+")


def _remove(found: Iterator[Path], name: str) -> None:
    if fcntl is None:
        return
    ours = re.compile(rf"\.{name}\.[a-z0-9_]{{8}}" + re.escape(SUFFIX))
    for partial in found:
        if not ours.fullmatch(partial.name):
            continue
        # Locked, or gone meanwhile.
        with suppress(OSError), partial.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink()
