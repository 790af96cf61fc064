"""Folders of made videos that keep to the options they were begun with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sublabel.errors import ConfigError
from sublabel.files import write_atomically


def claim_folder(folder: Path, options: Mapping[str, Any]) -> None:
    """Note in a folder what its videos are made with, or check that it is the same as before.

    Args:
        folder: Gets `options.json`.
        options: Values that JSON keeps.

    Raises:
        ConfigError: The folder holds videos of other options.
    """
    path = folder / "options.json"
    if path.exists():
        theirs = json.loads(path.read_text(encoding="utf-8"))
        changed = sorted(key for key in {*options, *theirs} if options.get(key) != theirs.get(key))
        if changed:
            raise ConfigError(
                f"{folder} holds videos made with another {', '.join(changed)}: choose another folder, or "
                "delete it"
            )
    else:
        with write_atomically(path) as file:
            file.write(json.dumps(options, indent=1).encode() + b"\n")
