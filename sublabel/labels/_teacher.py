"""The forms in which a teacher's predictions come, read into classes and probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sublabel.errors import LabelError
from sublabel.labels._arrays import SUM_TOLERANCE, TOLERANCE, as_array, check_range, iter_rows
from sublabel.labels._columns import Column, is_of, read_column
from sublabel.labels._rows import floats_of, read_floats, read_frame, read_rows, unpacked
from sublabel.labels.vocabulary import Vocabulary

COMPARED = 16
"""Up to so many classes of a sample are compared in pairs, which is faster; more are sorted."""


@dataclass(frozen=True, eq=False)
class Ranked:
    """Predictions whose classes are not yet looked up in a vocabulary."""

    values: np.ndarray
    """Integers (N,) or (N, k): ids, or positions in `names`, -1 for none; or floats (N, T), all classes'."""
    names: list[str] | None = None
    """The distinct names, where the values are positions in them."""
    probabilities: np.ndarray | None = None
    """The probability of each class, floats of the shape of the values, where those are classes."""
    columns: list[str] | None = None
    """Names of the T classes, where the values are probabilities under these headings."""

    def __len__(self) -> int:
        return len(self.values)

    @property
    def is_scores(self) -> bool:
        """Whether the values are the probabilities of all classes."""
        return self.values.dtype.kind == "f"

    @property
    def largest(self) -> int:
        """The largest id; -1 where there is none."""
        return self.values.shape[1] - 1 if self.is_scores else int(self.values.max(initial=-1))

    def resolve(self, vocabulary: Vocabulary) -> tuple[np.ndarray, np.ndarray | None]:
        """Classes as ids of a vocabulary, (N,) or (N, k), and their probabilities, both checked.

        Raises:
            LabelError: A class is not in the vocabulary or stands twice in a row, or probabilities are out of
                range or of order.
        """
        if self.is_scores:
            return _ranked_scores(self.values, self.columns, vocabulary)
        ids = self.values if self.names is None else self._named_ids(vocabulary)
        check_range(ids.ravel(), len(vocabulary), "teacher")
        if ids.ndim == 2:
            _check_rows(ids)
        if self.probabilities is None:
            if self.names is None:
                _refuse_one_hot(ids, vocabulary)
            return ids, None
        probs = check_probabilities(self.probabilities, ids.shape, known=ids >= 0)
        wide, wide_ids = (array if array.ndim == 2 else array[:, None] for array in (probs, ids))
        for rows in iter_rows(wide) if wide.size else ():
            check_falling(rows.start, wide_ids[rows], wide[rows])
        return ids, probs

    def _named_ids(self, vocabulary: Vocabulary) -> np.ndarray:
        """The ids of classes that are given by name, int64 of the shape of the values."""
        flat = vocabulary.encode_column(Column(self.values.ravel(), self.names), "teacher prediction")
        return flat.reshape(self.values.shape)


def read_teacher(teacher: Any, probabilities: Any) -> Ranked:
    """Tell the form of a teacher's predictions, and read it.

    Args:
        teacher: As `Pairs` takes it.
        probabilities: As `Pairs` takes them.

    Raises:
        LabelError: It is none of the forms, or the probabilities are not of the shape of the classes.
    """
    both = unpacked(teacher)
    if both is not None:
        if probabilities is not None:
            raise LabelError(
                "the teacher's probabilities are given twice: as the second of `teacher` and as "
                "`probabilities`; give them once"
            )
        teacher, probabilities = both
    if is_of(teacher, "polars") and hasattr(teacher, "collect"):
        raise LabelError("`teacher` is a LazyFrame; expected a table that was read: .collect() it")
    if hasattr(teacher, "columns") and any(is_of(teacher, name) for name in ("pandas", "polars", "pyarrow")):
        scores, names = read_frame(teacher)
        _refuse_beside(probabilities, scores)
        return Ranked(scores, columns=names)
    array = read_rows(teacher)
    if array is None:
        column = read_column(teacher, "teacher prediction")
        return Ranked(column.values, column.names, _beside(probabilities, column.values.shape))
    if array.dtype.kind == "f":
        _refuse_beside(probabilities, array)
        return Ranked(array)
    if array.dtype.kind == "b":
        raise LabelError(
            f"the teacher's predictions are booleans of shape {array.shape}: of a one-hot matrix give "
            ".argmax(axis=1)"
        )
    column = read_column(array.ravel(), "teacher prediction")
    values = column.values.reshape(array.shape)
    return Ranked(values, column.names, _beside(probabilities, values.shape))


def _refuse_beside(probabilities: Any, scores: np.ndarray) -> None:
    if probabilities is not None:
        raise LabelError(
            f"`teacher` are floats of shape {scores.shape}, the probabilities of all classes, and "
            "`probabilities` are given too; give one of them, or, for the k most probable classes, the tuple "
            "(top_ids, top_probs) in this order"
        )


def check_probabilities(
    values: Any, shape: tuple[int, ...], *, known: np.ndarray | None = None
) -> np.ndarray:
    """Probabilities as floats of a shape, each in 0–1.

    Args:
        values: Anything `numpy.asarray` takes, and torch tensors.
        shape: What they must have.
        known: bool of that shape; the others count as 0, whatever they are. Default: all.

    Returns:
        float32 where they came so, else float64.

    Raises:
        LabelError: Another shape or dtype, or a value outside 0–1.
    """
    probs = as_array(values)
    if probs.shape != shape or (probs.dtype.kind != "f" and probs.size):
        raise LabelError(
            f"the teacher's probabilities have shape {probs.shape} and dtype {probs.dtype}; expected floats "
            f"of shape {shape}, one for each of its classes; a tuple is (classes, probabilities)"
        )
    if known is not None and not known.all():
        probs = np.where(known, probs, 0)
    if probs.dtype != np.float32:
        probs = probs.astype(np.float64, copy=False)
    # NaN is the least and the largest where there is one.
    if probs.size and not (probs.min() >= 0 and probs.max() <= 1 + TOLERANCE):
        outside = ~((probs >= 0) & (probs <= 1 + TOLERANCE))
        position = tuple(int(axis[0]) for axis in np.nonzero(outside))
        raise LabelError(
            f"the teacher's probability {probs[position]} at position {position[0]} is outside 0–1; are they "
            "logits? take their softmax first"
        )
    clipped: np.ndarray = np.minimum(probs, 1) if probs.size and probs.max() > 1 else probs
    return clipped


def check_falling(first: int, labels: np.ndarray, probs: np.ndarray) -> None:
    """Refuse probabilities that exceed 1 together, or rise.

    Args:
        first: Position of the first sample, for messages.
        labels: Integers (N, k), -1 for none.
        probs: Floats (N, k), the most probable first.

    Raises:
        LabelError: A sample's do.
    """
    # columns[j]: the j-th probability of each sample, contiguous, (k, N)
    columns = np.ascontiguousarray(probs.T)
    sums = columns.sum(axis=0, dtype=np.float64)
    if sums.max() > 1 + SUM_TOLERANCE:
        position = int(sums.argmax())
        raise LabelError(
            f"the teacher's probabilities of the sample at position {first + position} sum to "
            f"{sums[position]:.4g}; expected at most 1: are they logits, or one score for each class?"
        )
    rising = ((columns[1:] > columns[:-1] + TOLERANCE) & (labels.T[:-1] >= 0)).any(axis=0)
    if rising.any():
        position = int(rising.argmax())
        raise LabelError(
            f"the teacher's probabilities of the sample at position {first + position} are "
            f"{probs[position].tolist()}; expected the most probable class first, then the others in falling "
            "order, as torch.topk gives them"
        )


def _beside(probabilities: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """Probabilities that stand beside classes of a shape."""
    if probabilities is None:
        return None
    rows = read_rows(probabilities, floats_end=True)
    array = read_floats(probabilities) if rows is None else floats_of(rows)
    if array.shape != shape:
        raise LabelError(
            f"the teacher's probabilities have shape {array.shape}, its classes {shape}; expected one "
            "probability for each class: the probabilities of all classes are given as `teacher`, alone"
        )
    return array


def _check_rows(ids: np.ndarray) -> None:
    """Refuse rows (N, k) with a class twice, or with a class after a -1."""
    for rows in iter_rows(ids) if ids.size else ():
        chunk = ids[rows]
        # columns[j]: the j-th class of each sample, contiguous, so that work runs along the samples, (k, M)
        columns = np.ascontiguousarray(chunk.T)
        known = columns >= 0
        twice = _repeats(columns, known) if len(columns) <= COMPARED else _repeats_of_many(chunk)
        if twice.any():
            position = rows.start + int(twice.argmax())
            raise LabelError(
                f"the teacher's classes of the sample at position {position} are {_few(ids[position])}; "
                "expected each class once, the most probable first: of a one-hot matrix give "
                ".argmax(axis=1), and scores as floats"
            )
        late = (known[1:] & ~known[:-1]).any(axis=0)
        if late.any():
            position = rows.start + int(late.argmax())
            raise LabelError(
                f"the teacher's classes of the sample at position {position} are {_few(ids[position])}; "
                "expected -1 only after the last class"
            )


def _repeats_of_many(ids: np.ndarray) -> np.ndarray:
    """Which rows of a chunk (M, k) have a class twice, bool (M,)."""
    ordered = np.sort(ids, axis=1)
    return np.asarray(((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1))


def _repeats(columns: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which samples of (k, M) have a class twice, bool (M,); `known` says where a class stands."""
    twice = np.zeros(columns.shape[1], dtype=bool)
    for later in range(1, len(columns)):
        same = columns[0] == columns[later]
        for earlier in columns[1:later]:
            same |= earlier == columns[later]
        twice |= same & known[later]
    return twice


def _refuse_one_hot(ids: np.ndarray, vocabulary: Vocabulary) -> None:
    """Refuse integers (N, 2) of two classes: a one-hot matrix and a ranking of both look the same."""
    if ids.ndim == 2 and ids.shape[1] == len(vocabulary) == 2 and len(ids):
        raise LabelError(
            "the teacher's predictions are integers (N, 2) of two classes without probabilities: either a "
            "one-hot matrix or both classes in order; give .argmax(axis=1), or [:, 0] where they are in order"
        )


def _ranked_scores(
    scores: np.ndarray, columns: list[str] | None, vocabulary: Vocabulary
) -> tuple[np.ndarray, np.ndarray]:
    """All classes of each sample, the most probable first, and their probabilities, (N, T)."""
    if columns is not None and list(vocabulary) != columns:
        order = [columns.index(name) if name in columns else -1 for name in vocabulary]
        if -1 in order or len(order) != len(columns):
            raise LabelError(
                f"the columns of the teacher's probabilities are {columns[:5]}, its vocabulary is "
                f"{vocabulary!r}: expected a column for each class"
            )
        scores = scores[:, order]
    if scores.shape[1] != len(vocabulary):
        raise LabelError(
            f"the teacher's probabilities have shape {scores.shape} for a vocabulary of {len(vocabulary)} "
            "classes; expected (N, T), one for each class; the k most probable are given as a tuple "
            "(top_ids, top_probs)"
        )
    missing = np.isnan(scores).all(axis=1)
    probs = check_probabilities(np.where(missing[:, None], 0, scores), scores.shape)
    ids = np.empty(probs.shape, dtype=np.int32)
    ranked = np.empty_like(probs)
    for rows in iter_rows(probs) if probs.size else ():
        _check_whole(rows.start, probs[rows], missing[rows])
        ids[rows] = np.argsort(-probs[rows], axis=1, kind="stable")
        ranked[rows] = np.take_along_axis(probs[rows], ids[rows], axis=1)
    ids[missing] = -1
    return ids, ranked


def _check_whole(first: int, probs: np.ndarray, missing: np.ndarray) -> None:
    sums = np.where(missing, 1.0, probs.sum(axis=1, dtype=np.float64))
    off = np.abs(sums - 1)
    if off.max() > SUM_TOLERANCE:
        position = int(off.argmax())
        raise LabelError(
            f"the teacher's probabilities of the sample at position {first + position} sum to "
            f"{sums[position]:.4g}; expected 1 over all {probs.shape[1]} classes: are they logits or sigmoid "
            "scores? take their softmax first"
        )


def _few(ids: np.ndarray, most: int = 10) -> str:
    shown = ", ".join(map(str, ids[:most].tolist()))
    return f"{shown}, …" if len(ids) > most else shown
