"""Checks that every function over label arrays shares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from sublabel.errors import LabelError
from sublabel.labels.vocabulary import Vocabulary

DENSE_CELLS = 4_194_304
"""Tables of at most this many cells (32 MiB of int64) may be held dense."""
CHUNK = 1 << 16
"""Samples that are worked on at a time, so that what is made of them stays in the cache."""
SUM_TOLERANCE = 1e-2
"""By how much the probabilities of a sample may exceed 1: those of bfloat16 are rounded to 1 in 256."""
TOLERANCE = 1e-3
"""By how much a single one may, and by how much it may exceed a more probable one: means are rounded too."""


def as_array(values: Any) -> np.ndarray:
    """`numpy.asarray`, also of a torch tensor that is on a device, needs a gradient or is bfloat16."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
    return np.asarray(values)


def check_labels(values: Any, vocabulary: Vocabulary, name: str) -> np.ndarray:
    """Labels as int64 (N,), each in -1..K-1; -1 abstains.

    Args:
        values: Anything `numpy.asarray` takes, of an integer dtype.
        vocabulary: Of K classes.
        name: What the labels are called in messages, such as "weak".

    Raises:
        LabelError: Wrong dtype, shape or range.
    """
    return check_integers(values, vocabulary, name).astype(np.int64, copy=False)


def check_integers(values: Any, vocabulary: Vocabulary, name: str) -> np.ndarray:
    """The same checks, and the labels in the integer dtype that they came in: no copy is made.

    Args:
        values: Anything `numpy.asarray` takes, of an integer dtype.
        vocabulary: Of K classes.
        name: What the labels are called in messages, such as "weak".

    Raises:
        LabelError: Wrong dtype, shape or range.
    """
    try:
        labels = as_array(values)
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
    for start in range(0, len(labels), CHUNK):
        chunk = labels[start : start + CHUNK]
        if chunk.min() < -1 or chunk.max() >= len(vocabulary):
            position = start + int(np.flatnonzero((chunk < -1) | (chunk >= len(vocabulary)))[0])
            raise LabelError(
                f"{name} label {labels[position]} at position {position} is outside the vocabulary of "
                f"{len(vocabulary)} classes (0–{len(vocabulary) - 1}; -1 abstains); "
                "did you build it from another manifest?"
            )
    return labels


def check_pair(
    weak: Any, teacher: Any, weak_vocabulary: Vocabulary, teacher_vocabulary: Vocabulary
) -> tuple[np.ndarray, np.ndarray]:
    """Weak labels and teacher predictions of the same samples, integers (N,) of the dtypes that they came in.

    Raises:
        LabelError: Either is malformed, or their lengths differ.
    """
    weak = check_integers(weak, weak_vocabulary, "weak")
    teacher = check_integers(teacher, teacher_vocabulary, "teacher")
    if len(weak) != len(teacher):
        raise LabelError(
            f"got {len(weak)} weak labels and {len(teacher)} teacher predictions; expected one of each for "
            "every sample: join them on their sample ids first"
        )
    return weak, teacher


def iter_cells(weak: np.ndarray, teacher: np.ndarray, width: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Positions in a flat table of rows of `width`, a chunk of samples at a time.

    A sample without a label has a negative position, or one in the last column: a table with one row and one
    column more than there are classes, indexed as NumPy does, keeps those samples apart from all others, and
    nothing needs to be masked.

    Args:
        weak: Integers (N,), each in -1..W-1.
        teacher: Integers (N,), each in -1..T-1.
        width: T + 1; the whole table of (W + 1) × (T + 1) has fewer than 2^31 cells.

    Yields:
        The slice of the samples, and their positions, intp; the array is overwritten by the next chunk.
    """
    room = min(CHUNK, len(weak))
    positions = np.empty(room, dtype=np.intp)
    # Without a cast a ufunc runs several times faster.
    narrow = np.empty(room, dtype=np.int32) if weak.dtype == teacher.dtype == np.int32 else positions
    for start in range(0, len(weak), CHUNK):
        chunk = slice(start, min(start + CHUNK, len(weak)))
        cells, wide = narrow[: chunk.stop - start], positions[: chunk.stop - start]
        np.multiply(weak[chunk], cells.dtype.type(width), out=cells, dtype=cells.dtype, casting="unsafe")
        np.add(cells, teacher[chunk], out=cells, dtype=cells.dtype, casting="unsafe")
        if cells.dtype != wide.dtype:
            wide[:] = cells
        yield chunk, wide


def check_top(
    top_ids: Any, top_probs: Any, vocabulary: Vocabulary, samples: int
) -> tuple[np.ndarray, np.ndarray]:
    """The teacher's most probable classes, int64 (N, k), and their probabilities, float64 (N, k).

    Args:
        top_ids: Integers (N, k) or (N,), the most probable class first; -1 where there is none.
        top_probs: Of the same shape, each in 0–1; what stands beside a -1 counts as 0, and may be NaN.
        vocabulary: Of the T classes.
        samples: N.

    Raises:
        LabelError: Either is malformed, there are no probabilities, those of a sample exceed 1, or they are
            not in falling order.
    """
    if top_probs is None:
        raise LabelError("this needs the teacher's probabilities beside its classes, and got none")
    ids = as_array(top_ids)
    shape = ids.shape
    ids = ids.reshape(-1, 1) if ids.ndim == 1 else ids
    if ids.ndim != 2 or len(ids) != samples or ids.shape[1] == 0:
        raise LabelError(
            f"the teacher's classes have shape {ids.shape} for {samples} samples; expected (N,) or (N, k)"
        )
    labels = check_labels(ids.ravel(), vocabulary, "teacher").reshape(ids.shape)
    probs = check_probabilities(top_probs, shape, known=labels.reshape(shape) >= 0).reshape(ids.shape)
    for rows in iter_rows(probs):
        _check_falling(rows.start, labels[rows], probs[rows])
    return labels, probs


def iter_rows(array: np.ndarray) -> Iterator[slice]:
    """Slices of as many rows of an array (N, k) as fit into the cache."""
    rows = max(1, CHUNK // array.shape[1])
    for start in range(0, len(array), rows):
        yield slice(start, start + rows)


def _check_falling(first: int, labels: np.ndarray, probs: np.ndarray) -> None:
    """Refuse probabilities that exceed 1 together, or rise, of samples from the position `first` on."""
    sums = probs.sum(axis=1)
    if sums.max() > 1 + SUM_TOLERANCE:
        position = int(sums.argmax())
        raise LabelError(
            f"the teacher's probabilities of the sample at position {first + position} sum to "
            f"{sums[position]:.4g}; expected at most 1: are they logits, or one score for each class?"
        )
    rising = (probs[:, 1:] > probs[:, :-1] + TOLERANCE) & (labels[:, :-1] >= 0)
    if rising.any():
        position = int(rising.any(axis=1).argmax())
        raise LabelError(
            f"the teacher's probabilities of the sample at position {first + position} are "
            f"{probs[position].tolist()}; expected the most probable class first, then the others in falling "
            "order, as torch.topk gives them"
        )


def first_column(values: Any) -> Any:
    """The first column of an (N, k) array; anything else as it is, for `check_labels` to judge."""
    try:
        array = as_array(values)
    except ValueError:
        return values
    return array[:, 0] if array.ndim == 2 and array.shape[1] else array


def check_probabilities(
    values: Any, shape: tuple[int, ...], *, known: np.ndarray | None = None
) -> np.ndarray:
    """Probabilities as float64 of a shape, each in 0–1.

    Args:
        values: Anything `numpy.asarray` takes, and torch tensors.
        shape: What they must have.
        known: bool of that shape; the others count as 0, whatever they are. Default: all.

    Raises:
        LabelError: Another shape or dtype, or a value outside 0–1.
    """
    probs = as_array(values)
    if probs.shape != shape or (probs.dtype.kind not in "fiu" and probs.size):
        raise LabelError(
            f"the teacher's probabilities have shape {probs.shape} and dtype {probs.dtype}; expected floats "
            f"of shape {shape}, one for each of its classes"
        )
    if known is not None and not known.all():
        probs = np.where(known, probs, 0)
    probs = probs.astype(np.float64, copy=False)
    # NaN is the least and the largest where there is one.
    if probs.size and not (probs.min() >= 0 and probs.max() <= 1 + TOLERANCE):
        outside = ~((probs >= 0) & (probs <= 1 + TOLERANCE))
        position = tuple(int(axis[0]) for axis in np.nonzero(outside))
        raise LabelError(
            f"the teacher's probability {probs[position]} at position {position[0]} is outside 0–1; are they "
            "logits? take their softmax first"
        )
    clipped: np.ndarray = np.minimum(probs, 1.0) if probs.size and probs.max() > 1 else probs
    return clipped


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
