"""Predictions that were made elsewhere, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sublabel.errors import LabelError, TableError
from sublabel.labels import Vocabulary
from sublabel.labels._arrays import SUM_TOLERANCE, TOLERANCE, as_array
from sublabel.labels.vocabulary import VocabularyLike
from sublabel.tables._decode import PREDICTIONS_SCHEMA
from sublabel.tables.io import TableWriter
from sublabel.tables.predictions import PredictionsMetadata

OK = "ok"
NO_PREDICTION = "no prediction"
ROWS_AT_ONCE = 1_048_576
LISTED = 10


def write_predictions(
    path: str | Path,
    sample_ids: Any,
    weak_labels: Any,
    top_ids: Any,
    top_probs: Any = None,
    *,
    weak_vocabulary: VocabularyLike,
    teacher_vocabulary: VocabularyLike | None = None,
    status: Any = None,
    teacher: str = "unnamed",
) -> None:
    """Write a predictions table from arrays: the way to bring a teacher's predictions of your own.

    `relabel_table`, and `sublabel inspect`, `relabel` and `report` read it. More samples than fit into memory
    go into several files of one folder, which all have the same vocabularies and teacher.

    Args:
        path: The Parquet file to write.
        sample_ids: Strings or integers (N,), no two the same.
        weak_labels: Names or integers (N,) of the weak vocabulary; None or -1 where there is none.
        top_ids: The teacher's classes, integers (N,), or (N, k) with the most probable first; -1 where there
            is none (fewer than k: the last ones).
        top_probs: Their probabilities, floats in 0–1 of the same shape; `ConfidentSPL` and `TopKSPL` need
            them.
        weak_vocabulary: Of the weak labels: a Vocabulary, names, or a number of classes.
        teacher_vocabulary: Of the teacher's classes; None when it is the same.
        status: Strings (N,), `ok` or why a sample has no prediction, which then does not count; default:
            `ok` where there is one, else `no prediction`.
        teacher: Tells this teacher's predictions from another's, such as a name with a version, or a hash.

    All arrays may be NumPy's, lists, pandas' or Arrow's columns, or torch's tensors.

    Raises:
        TableError: The ids are not unique, the arrays are not of N samples or of other types, or a sample is
            `ok` without a prediction.
        LabelError: A label is outside its vocabulary, a class stands twice, or probabilities are outside 0–1
            or not in order.
        ConfigError: The path is a URL, or a folder.

    Example:
        >>> import tempfile
        >>> from sublabel import RawSPL
        >>> from sublabel.tables import relabel_table
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_predictions(
        ...         f"{folder}/p.parquet",
        ...         ["a", "b", "c"],
        ...         ["cat", "cat", None],
        ...         [[0, 1], [1, 0], [1, 0]],
        ...         [[0.9, 0.1], [0.6, 0.4], [0.8, 0.2]],
        ...         weak_vocabulary=["cat", "dog"],
        ...         teacher="resnet50-v2",
        ...     )
        ...     print(relabel_table(f"{folder}/p.parquet", f"{folder}/r.parquet", RawSPL()))
        3 samples: 2 in 2 classes, 0 dropped by the strategy, 1 without a weak label or a prediction
    """
    weak_vocabulary = Vocabulary.of(weak_vocabulary)
    teacher_vocabulary = weak_vocabulary if teacher_vocabulary is None else Vocabulary.of(teacher_vocabulary)
    ids = _sample_ids(sample_ids)
    weak = _weak_names(weak_labels, weak_vocabulary, ids)
    classes, probs = _top(top_ids, "top_ids", "iu", len(ids)), None
    if top_probs is not None:
        probs = _top(top_probs, "top_probs", "fiu", len(ids))
        if probs.shape != classes.shape:
            raise TableError(
                f"top_ids have shape {np.shape(top_ids)} and top_probs {np.shape(top_probs)}; expected one "
                "probability for each class"
            )
    states = None if status is None else _column(status, "statuses")
    if states is not None:
        _refuse_length(states, "statuses", len(ids))
    metadata = PredictionsMetadata(weak_vocabulary, teacher_vocabulary, teacher).to_strings()
    with TableWriter(path, PREDICTIONS_SCHEMA, metadata) as writer:
        for start in range(0, len(ids), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            chunk = _Chunk(ids[rows], classes[rows], None if probs is None else probs[rows])
            chunk.check(len(teacher_vocabulary))
            written = chunk.statuses(None if states is None else states[rows])
            columns = [ids[rows], weak[rows], *chunk.lists(written), written]
            writer.write(pa.table(columns, PREDICTIONS_SCHEMA.names))


def _column(values: Any, name: str) -> pa.Array:
    """Strings or integers, and nulls (N,)."""
    try:
        if isinstance(values, str):
            raise TypeError(f"got the one string {values!r}")
        if not isinstance(values, pa.Array | pa.ChunkedArray):
            values = pa.array(values if isinstance(values, list) else as_array(values), from_pandas=True)
    except (TypeError, ValueError, RuntimeError, pa.ArrowException) as error:
        raise TableError(f"{name} are not one string or integer for each sample: {error}") from error
    column = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    if pa.types.is_integer(column.type):
        return column.cast(pa.int64())
    if column.type in (pa.string(), pa.large_string(), pa.null()):
        return column.cast(pa.string())
    raise TableError(f"{name} are of type {column.type}; expected strings or integers")


def _sample_ids(values: Any) -> pa.Array:
    ids = _column(values, "sample_ids").cast(pa.string())
    if ids.null_count:
        raise TableError(f"sample_ids hold {ids.null_count} nulls; every sample needs an id, and its own")
    if pc.count_distinct(ids).as_py() < len(ids):
        counts = ids.value_counts()
        worst = counts[pc.index(pc.greater(counts.field("counts"), 1), True).as_py()]
        raise TableError(
            f"sample_ids hold {worst['values'].as_py()!r} {worst['counts']} times; labels are joined on "
            "them, so make them unique"
        )
    return ids


def _refuse_length(values: pa.Array, name: str, rows: int) -> None:
    if len(values) != rows:
        raise TableError(f"got {rows} sample_ids and {len(values)} {name}; expected one of each a sample")


def _weak_names(values: Any, vocabulary: Vocabulary, ids: pa.Array) -> pa.Array:
    """Names (N,), null where there is none."""
    labels = _column(values, "weak_labels")
    _refuse_length(labels, "weak_labels", len(ids))
    names = pa.array(vocabulary.names, pa.string())
    if pa.types.is_integer(labels.type):
        known = pc.and_(pc.greater_equal(labels, -1), pc.less(labels, len(names)))
        found = names.take(pc.if_else(pc.and_(known, pc.greater_equal(labels, 0)), labels, None))
    else:
        known, found = pc.is_in(labels, names), labels
    unknown = pc.and_(labels.is_valid(), pc.invert(known))
    if pc.any(unknown).as_py():
        row = pc.index(unknown, True).as_py()
        raise LabelError(
            f"the weak label of sample {ids[row].as_py()!r} is {labels[row].as_py()!r}; expected a name of "
            f"the weak vocabulary ({vocabulary!r}), an integer from 0 to {len(names) - 1}, or None or -1"
        )
    return found


def _top(values: Any, name: str, kinds: str, rows: int) -> np.ndarray:
    """Numbers (N, k)."""
    try:
        array = as_array(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TableError(
            f"{name} are no array (N,) or (N, k): {error}; where a sample has fewer than k classes, fill up "
            "with -1"
        ) from error
    if array.dtype.kind not in kinds and array.size:
        raise TableError(
            f"{name} have dtype {array.dtype}; expected {'integers' if kinds == 'iu' else 'floats'}: the "
            "classes go into top_ids, their probabilities into top_probs"
        )
    if array.ndim not in (1, 2) or len(array) != rows or 0 in array.shape[1:]:
        raise TableError(
            f"{name} have shape {array.shape} for {rows} samples; expected (N,), or (N, k) with the most "
            "probable class first"
        )
    return array[:, None] if array.ndim == 1 else array


class _Chunk(NamedTuple):
    """What the teacher says of some samples."""

    ids: pa.Array
    classes: np.ndarray
    probs: np.ndarray | None

    def check(self, number: int) -> None:
        """Refuse what is not the most probable of so many classes, in order."""
        classes, there, ordered = self.classes, self.classes >= 0, np.sort(self.classes, axis=1)
        outside = (classes < -1) | (classes >= number)
        expected = f"0–{number - 1}, the classes of the teacher vocabulary, or -1 for none"
        self._refuse(outside, "top_ids", classes, expected)
        self._refuse(there[:, 1:] & ~there[:, :-1], "top_ids", classes, "-1 after all classes")
        twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
        self._refuse(twice, "top_ids", classes, "each class once")
        if self.probs is None:
            return
        probs = np.where(there, self.probs, 0)
        outside = ~((probs >= 0) & (probs <= 1 + TOLERANCE))
        self._refuse(outside, "top_probs", probs, "0–1; of logits, take the softmax first")
        above = probs.sum(axis=1, keepdims=True, dtype=np.float64) > 1 + SUM_TOLERANCE
        self._refuse(above, "top_probs", probs, "a sum of at most 1; are they one score for each class?")
        rising = probs[:, 1:] > probs[:, :-1] + TOLERANCE
        self._refuse(rising, "top_probs", probs, "the most probable class first, as in top_ids")

    def _refuse(self, bad: np.ndarray, name: str, values: np.ndarray, expected: str) -> None:
        if not bad.any():
            return
        row = int(bad.any(axis=1).argmax())
        shown = ", ".join(map(str, values[row, :LISTED].tolist()))
        raise LabelError(f"the {name} of sample {self.ids[row].as_py()!r} are {shown}; expected {expected}")

    def statuses(self, given: pa.Array | None) -> pa.Array:
        """Of each sample, `ok` only where there is a prediction."""
        predicted = self.classes[:, 0] >= 0
        if given is None:
            return pa.array(np.where(predicted, OK, NO_PREDICTION), pa.string())
        if given.null_count or not pa.types.is_string(given.type):
            raise TableError(
                f"status holds nulls or no strings; expected {OK!r}, or why there is no prediction"
            )
        without = pc.equal(given, OK).to_numpy(zero_copy_only=False) & ~predicted
        if without.any():
            raise TableError(
                f"sample {self.ids[int(without.argmax())].as_py()!r} has the status {OK!r} but no class in "
                "top_ids; give it its prediction, or a status that says why it has none"
            )
        return given

    def lists(self, statuses: pa.Array) -> list[pa.Array]:
        """Classes and probabilities; null where a sample failed, whatever stands in the arrays."""
        is_ok = pc.equal(statuses, OK).to_numpy(zero_copy_only=False)
        kept = (self.classes >= 0) & is_ok[:, None]
        ends = np.cumsum(kept.sum(axis=1))
        offsets = pa.array(np.append(0, ends).astype(np.int32), mask=np.append(~is_ok, False))
        classes = pa.ListArray.from_arrays(offsets, self.classes[kept].astype(np.int32))
        if self.probs is None:
            return [classes, pa.nulls(len(classes), pa.list_(pa.float32()))]
        return [classes, pa.ListArray.from_arrays(offsets, self.probs[kept].astype(np.float32))]
