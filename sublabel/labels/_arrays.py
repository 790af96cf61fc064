"""What every function over label arrays shares: limits, blocks of rows, and the values of foreign arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from sublabel.errors import LabelError

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
        try:
            values = values.detach().cpu()
            values = np.asarray(values.float() if values.is_floating_point() else values)
        except (TypeError, RuntimeError, NotImplementedError) as error:
            raise LabelError(
                f"a tensor cannot be read as an array ({error}): give one that is dense and holds values"
            ) from error
    array = np.asarray(values)
    # JAX's bfloat16 is a dtype that NumPy itself does not know.
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def read_features(values: Any, samples: int) -> np.ndarray:
    """Features as float32 (N, D).

    Args:
        values: Numbers (N, D), as an array of any library or as lists.
        samples: N.

    Raises:
        LabelError: They are not N rows of numbers.
    """
    try:
        features = as_array(values).astype(np.float32)
    except (TypeError, ValueError) as error:
        raise LabelError(f"features are no array (N, D) of numbers: {error}") from error
    if features.ndim != 2 or len(features) != samples:
        raise LabelError(
            f"features have shape {features.shape} for {samples} samples; "
            "expected a row of D numbers for each"
        )
    return features


def check_range(labels: np.ndarray, num_classes: int, axis: str) -> None:
    """Refuse labels outside -1..K-1.

    Args:
        labels: Integers (N,).
        num_classes: K, the classes of the vocabulary.
        axis: What the labels are called in the message, such as "weak".

    Raises:
        LabelError: One is outside; the message says which, and where it stands.
    """
    for start in range(0, len(labels), CHUNK):
        chunk = labels[start : start + CHUNK]
        if chunk.min() < -1 or chunk.max() >= num_classes:
            position = start + int(np.flatnonzero((chunk < -1) | (chunk >= num_classes))[0])
            raise LabelError(
                f"{axis} label {labels[position]} at position {position} is outside the vocabulary of "
                f"{num_classes} classes (0–{num_classes - 1}; -1 abstains); "
                "did you build it from another manifest?"
            )


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


def iter_rows(array: np.ndarray) -> Iterator[slice]:
    """Slices of as many rows of an array (N, k) as fit into the cache."""
    rows = max(1, CHUNK // array.shape[1])
    for start in range(0, len(array), rows):
        yield slice(start, start + rows)


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written through; the array itself stays as it is."""
    view = array.view()
    view.setflags(write=False)
    return view
