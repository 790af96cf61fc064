"""Whether something was made by the same options: the one place that records it, compares it and refuses.

What is made from options, versions and inputs keeps a record of them, a JSON object, in a file beside it or
in its own metadata. Whoever goes on in a folder compares the record there with that of the new call, so that
no artefact mixes what two sets of options made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sublabel.errors import ArtifactError, ConfigError
from sublabel.files import write_json

RECORD_FILE = "options.json"
MOST_SHOWN = 5
"""Differences that a message lists."""
SHOWN_CHARACTERS = 60
# Of what two long values have in common, before the first character that differs.
COMMON_CHARACTERS = 20


class Difference(NamedTuple):
    """A key whose value differs between two records; prints both values, around where they differ."""

    key: str
    """Keys of nested records are joined by dots."""
    theirs: Any
    """The value in the record that is there; None where it lacks the key."""
    mine: Any

    def __str__(self) -> str:
        texts = [json.dumps(value, ensure_ascii=False, sort_keys=True) for value in (self.theirs, self.mine)]
        start = 0
        if max(map(len, texts)) > SHOWN_CHARACTERS:
            start = max(0, _common_length(*texts) - COMMON_CHARACTERS)
        theirs, mine = (_excerpt(text, start) for text in texts)
        return f"{self.key} ({theirs} there, {mine} here)"


def differences(
    theirs: Mapping[str, Any],
    mine: Mapping[str, Any],
    *,
    free: Collection[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> tuple[Difference, ...]:
    """Compare two records, as JSON keeps them: tuples are lists, and a key that is not there is None.

    Args:
        theirs: The record that is there.
        mine: The record of this call.
        free: Keys that may differ, nested ones with dots (`"trainer.devices"`), with all that is below them.
        defaults: Values of keys that came later than `theirs`, which are taken where it lacks them; nested
            as the records are.

    Returns:
        The differences; none where the records say the same.

    Example:
        >>> theirs = {"size": 8, "clip": {"frames": 8}, "workers": 0}
        >>> mine = {"size": 8, "clip": {"frames": 16, "step": 2}, "workers": 4}
        >>> for found in differences(theirs, mine, free={"workers"}, defaults={"clip": {"step": 2}}):
        ...     print(found)
        clip.frames (8 there, 16 here)
    """
    filled = _filled(_as_json(theirs), _as_json(defaults or {}))
    return tuple(_compare("", filled, _as_json(mine), frozenset(free)))


def refuse_others(
    place: object,
    theirs: Mapping[str, Any],
    mine: Mapping[str, Any],
    *,
    free: Collection[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """Refuse what was made by another record.

    Args:
        place: What the record belongs to, the subject of the message: a path, or words such as `the study in
            runs/demo`.
        theirs: The record that is there.
        mine: The record of this call.
        free: As for `differences`.
        defaults: As for `differences`.

    Raises:
        ConfigError: The records differ; the message lists the keys and both values.

    Example:
        >>> refuse_others("runs/demo", {"seed": 0}, {"seed": 1})
        Traceback (most recent call last):
            ...
        sublabel.errors.ConfigError: runs/demo was made with another seed: seed (0 there, 1 here); ...
    """
    found = differences(theirs, mine, free=free, defaults=defaults)
    if not found:
        return
    keys = ", ".join(difference.key for difference in found)
    more = f" and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else ""
    raise ConfigError(
        f"{place} was made with another {keys}: {', '.join(map(str, found[:MOST_SHOWN]))}{more}; choose "
        "another folder, give what it was made with, or delete it to start over"
    )


def claim_folder(folder: str | Path, record: Mapping[str, Any]) -> None:
    """Note in a folder what makes its content, or refuse it where that was something else.

    Args:
        folder: Is made if it does not exist.
        record: What is to be made there, JSON-able.

    Raises:
        ConfigError: The folder was claimed by another record.
        ArtifactError: The record there is damaged.
    """
    path = Path(folder) / RECORD_FILE
    if path.exists():
        refuse_others(folder, _read_record(path), record)
    else:
        write_json(path, record)


def digest(value: Any) -> str:
    """Digest a JSON-able value, by content: SHA-256, 64 hexadecimal digits.

    Example:
        >>> digest({"a": 1, "b": (2,)}) == digest({"b": [2], "a": 1})
        True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def fingerprint(path: str | Path) -> str:
    """Digest the content of a file, or of all files below a folder with their places in it.

    Args:
        path: Reads all of it; the name of `path` itself does not matter.

    Returns:
        SHA-256, 64 hexadecimal digits.

    Raises:
        ArtifactError: There is nothing.
    """
    path = Path(path)
    if path.is_file():
        return _file_digest(path)
    if not path.is_dir():
        raise ArtifactError(f"{path} does not exist: expected a file or a folder")
    files = sorted(found.relative_to(path).as_posix() for found in path.rglob("*") if found.is_file())
    return digest({name: _file_digest(path / name) for name in files})


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{path} is damaged ({error}): expected a JSON object; delete its folder"
        ) from error
    if not isinstance(record, dict):
        raise ArtifactError(
            f"{path} holds a {type(record).__name__}: expected a JSON object; delete its folder"
        )
    return record


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _filled(theirs: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    filled = {**defaults, **theirs}
    for key in theirs.keys() & defaults.keys():
        if isinstance(theirs[key], dict) and isinstance(defaults[key], dict):
            filled[key] = _filled(theirs[key], defaults[key])
    return filled


def _compare(key: str, theirs: Any, mine: Any, free: frozenset[str]) -> Iterator[Difference]:
    if key in free or theirs == mine:
        return
    if isinstance(theirs, dict) and isinstance(mine, dict):
        for name in {**theirs, **mine}:
            inner = f"{key}.{name}" if key else name
            yield from _compare(inner, theirs.get(name), mine.get(name), free)
    else:
        yield Difference(key, theirs, mine)


def _common_length(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _excerpt(text: str, start: int) -> str:
    shown = text[start : start + SHOWN_CHARACTERS]
    return f"{'…' if start else ''}{shown}{'…' if start + len(shown) < len(text) else ''}"
