"""Checks that every function over label arrays shares."""

from __future__ import annotations

from typing import Any

import numpy as np

from sublabel.errors import LabelError
from sublabel.labels.vocabulary import Vocabulary

DENSE_CELLS = 4_194_304
"""Tables of at most this many cells (32 MiB of int64) may be held dense."""


def check_labels(values: Any, vocabulary: Vocabulary, name: str) -> np.ndarray:
    """Labels as int64 (N,), each in -1..K-1; -1 abstains.

    Args:
        values: Anything `numpy.asarray` takes, of an integer dtype.
        vocabulary: Of K classes.
        name: What the labels are called in messages, such as "weak".

    Raises:
        LabelError: Wrong dtype, shape or range.
    """
    try:
        labels = np.asarray(values)
    except ValueError as error:
        raise LabelError(
            f"{name} labels are not an array of integers (N,), one for each sample: {error}"
        ) from error
    if labels.size == 0 and labels.ndim == 1:
        return np.empty(0, dtype=np.int64)
    if labels.dtype.kind not in "iu":
        raise LabelError(
            f"{name} labels have dtype {labels.dtype}; expected integers, with -1 where there is no label: "
            "cast them yourself once you know that nothing is lost, or encode names with Vocabulary.encode"
        )
    if labels.ndim != 1:
        raise LabelError(f"{name} labels have shape {labels.shape}; expected (N,), one label for each sample")
    low, high = labels.min(), labels.max()
    if low < -1 or high >= len(vocabulary):
        position = int(np.flatnonzero((labels < -1) | (labels >= len(vocabulary)))[0])
        raise LabelError(
            f"{name} label {labels[position]} at position {position} is outside the vocabulary of "
            f"{len(vocabulary)} classes (0–{len(vocabulary) - 1}; -1 abstains); "
            "did you build it from another manifest?"
        )
    return labels.astype(np.int64, copy=False)


def check_pair(
    weak: Any, teacher: Any, weak_vocabulary: Vocabulary, teacher_vocabulary: Vocabulary
) -> tuple[np.ndarray, np.ndarray]:
    """Weak labels and teacher predictions of the same samples, both int64 (N,).

    Raises:
        LabelError: Either is malformed, or their lengths differ.
    """
    weak = check_labels(weak, weak_vocabulary, "weak")
    teacher = check_labels(teacher, teacher_vocabulary, "teacher")
    if len(weak) != len(teacher):
        raise LabelError(
            f"got {len(weak)} weak labels and {len(teacher)} teacher predictions; expected one of each for "
            "every sample: join them on their sample ids first"
        )
    return weak, teacher


def check_sample_ids(sample_ids: Any, samples: int) -> np.ndarray:
    """Sample ids that a matched control can hash: strings or integers (N,).

    Floats, bytes and missing values are refused, since `1` and `1.0` are the same id but not the same text.

    Raises:
        LabelError: There are none, not one for each sample, or of another type.
    """
    if sample_ids is None:
        raise LabelError(
            f"a matched control draws by sample id: got none for {samples} samples; pass sample_ids"
        )
    ids = np.asarray(sample_ids)
    if ids.ndim != 1:
        raise LabelError(
            f"sample ids have shape {ids.shape}; expected (N,), one string or integer for each sample"
        )
    if len(ids) != samples:
        raise LabelError(
            f"a matched control draws by sample id: got {len(ids)} for {samples} samples; pass one for each"
        )
    if ids.dtype.kind == "O":
        odd = next((position for position, value in enumerate(ids) if not _is_id(value)), None)
        if odd is not None:
            raise LabelError(
                f"sample id {ids[odd]!r} at position {odd} is neither a string nor an integer: "
                "give the ids as strings"
            )
    elif ids.dtype.kind not in "iuU" and len(ids):
        raise LabelError(
            f"sample ids have dtype {ids.dtype}; expected strings or integers: give the ids as strings"
        )
    return ids


def _is_id(value: object) -> bool:
    return isinstance(value, (str, int, np.integer)) and not isinstance(value, bool)
