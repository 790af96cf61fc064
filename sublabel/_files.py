"""Files that appear whole or not at all."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sublabel.errors import ConfigError

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
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        partial = Path(file.name)
        try:
            yield file  # type: ignore[misc]
            file.close()
            partial.chmod(0o644)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
