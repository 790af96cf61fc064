"""A label space as JSON, its fingerprint, and back."""

from __future__ import annotations

import hashlib
import json
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from sublabel.errors import LabelError
from sublabel.labels._codec import decode_array, digest_array, encode_array
from sublabel.labels.classes import KINDS, Classes
from sublabel.labels.vocabulary import Vocabulary

if TYPE_CHECKING:
    from sublabel.labels.space import LabelSpace

FORMAT = "sublabel.LabelSpace"
VERSION = 3
ARRAYS = (
    "row_default",
    "column_default",
    "cells",
    "cell_labels",
    "thresholds",
    "unsure_labels",
    "control_cuts",
)
CLASS_ARRAYS = ("kind", "size", "weak", "teacher")
PLAIN = ("strategy", "control_seed", "top_k", "two_heads")
CHANGED = "the label space does not match its own fingerprint: the file was edited or damaged"


def content_of(space: LabelSpace) -> dict[str, Any]:
    """Everything that a space is made of, as what JSON can hold."""
    return {
        **_header(space),
        "weak_vocabulary": list(space.weak_vocabulary),
        "teacher_vocabulary": list(space.teacher_vocabulary),
        "classes": {name: encode_array(getattr(space.classes, name)) for name in CLASS_ARRAYS},
        **{name: encode_array(getattr(space, name)) for name in ARRAYS},
    }


def fingerprint_of(space: LabelSpace) -> str:
    """SHA-256 of the content; how its arrays are packed plays no part."""
    content = {
        **_header(space),
        "weak_vocabulary": space.weak_vocabulary.fingerprint,
        "teacher_vocabulary": space.teacher_vocabulary.fingerprint,
        "classes": [digest_array(getattr(space.classes, name)) for name in CLASS_ARRAYS],
        "arrays": [digest_array(getattr(space, name)) for name in ARRAYS],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def read_content(text: str | bytes) -> tuple[dict[str, Any], str]:
    """The fields of a space, and the fingerprint that it was stored with.

    Raises:
        LabelError: The text is not a label space, of another version, or damaged.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise LabelError(f"not a label space: the text is not JSON ({error})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise LabelError(
            f"not a label space: expected JSON with format {FORMAT!r}; was it saved by LabelSpace.save?"
        )
    if content.get("version") != VERSION:
        raise LabelError(
            f"the label space has format version {content.get('version')}; this release reads {VERSION}: "
            "make it again from the predictions with `sublabel relabel`"
        )
    try:
        return _fields(content), str(content["fingerprint"])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, zlib.error) as error:
        raise LabelError(f"{CHANGED} ({error})") from error


def _header(space: LabelSpace) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        **{name: getattr(space, name) for name in PLAIN},
        "names": {str(label): name for label, name in sorted(space.classes.given_names.items())},
    }


def _fields(content: dict[str, Any]) -> dict[str, Any]:
    arrays = {
        name: decode_array(content[name], np.float64 if name == "thresholds" else np.int64) for name in ARRAYS
    }
    classes = {name: decode_array(content["classes"][name], np.int64) for name in CLASS_ARRAYS}
    if len({array.shape for array in classes.values()}) > 1 or (classes["kind"] >= len(KINDS)).any():
        raise ValueError("its classes are incomplete")
    names = {int(label): str(name) for label, name in content["names"].items()}
    return {
        "weak_vocabulary": Vocabulary(content["weak_vocabulary"]),
        "teacher_vocabulary": Vocabulary(content["teacher_vocabulary"]),
        "classes": Classes(**classes, given_names=names),
        **arrays,
        **{name: content[name] for name in PLAIN},
    }
