"""Columns of predictions as pairs, without a Python object for any row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sublabel.errors import LabelError, TableError
from sublabel.labels import Pairs, Vocabulary
from sublabel.tables.io import Location
from sublabel.tables.schema import FEATURES, OK, PREDICTIONS_SCHEMA

PAIR_COLUMNS = ("weak_label", "top_ids", "status")
"""Columns that weak label and prediction are read from."""
DECODED = {"probabilities": "top_probs", "features": FEATURES}
"""What may be decoded beside the labels, and its column."""
FEW_VALUES = ("weak_label", "status")
"""Columns with few distinct values, which are read as dictionaries."""


class PairDecoder(NamedTuple):
    """Makes pairs of batches of predictions.

    Args:
        weak_vocabulary: The names that a weak label may be.
        teacher_vocabulary: The classes that the teacher's ids count.
        needs: What is decoded beside the labels; only what `DECODED` has is looked at.
        is_checked: Whether the same rows were decoded before, and need not be checked again.
    """

    weak_vocabulary: Vocabulary
    teacher_vocabulary: Vocabulary
    needs: frozenset[str] = frozenset()
    is_checked: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a batch must have."""
        return (*PAIR_COLUMNS, *(column for need, column in DECODED.items() if need in self.needs))

    def decode(
        self, path: Location, batch: pa.RecordBatch, first: int, sample_id: Callable[[int], str]
    ) -> Pairs:
        """The pairs of a batch, without sample ids; -1 where a label or prediction is missing.

        Args:
            path: The file, for messages.
            batch: N rows with `columns`.
            first: The row of the whole table that the batch begins with, for messages.
            sample_id: Gives the id of a row of the batch, for messages.

        Returns:
            With `top_ids` and `top_probs` (N, k) where probabilities are needed; k is the longest row's.
            With `features` where these are.

        Raises:
            TableError: A column has another type, or a row is `ok` without a prediction, or without as many
                probabilities as classes.
            LabelError: A label is not in its vocabulary, or probabilities are none.
        """
        weak = _encode(path, as_dictionary(path, batch, "weak_label"), self.weak_vocabulary, sample_id)
        teacher = _first_classes(path, batch, sample_id)
        vocabularies = self.weak_vocabulary, self.teacher_vocabulary
        ranked = None
        if "probabilities" in self.needs:
            ranked = _ranked(path, batch, teacher >= 0, sample_id)
        features = _features(path, batch) if "features" in self.needs else None
        if not self.is_checked:
            where = f"{path}: rows from {first:,} on"
            return _checked(where, weak, ranked or teacher, *vocabularies, features)
        if ranked is None:
            return Pairs.trusted(weak, teacher, *vocabularies, features=features)
        top_ids, top_probs = ranked
        # What rounding lets exceed 1 counts as 1, as it did when it was checked.
        top_probs = np.where(top_ids < 0, np.float32(0), np.minimum(top_probs, 1))
        return Pairs.trusted(
            weak, teacher, *vocabularies, top_ids=top_ids, top_probs=top_probs, features=features
        )


def cast_column(path: Location, name: str, values: pa.Array) -> pa.Array:
    """A column in the type of the schema.

    Other writers have other types for the same: large strings, categories, wider integers.

    Raises:
        TableError: The values do not fit that type.
    """
    kind = PREDICTIONS_SCHEMA.field(name).type
    if values.type == kind:
        return values
    try:
        return values.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TableError(f"{path}: the column {name!r} is {values.type}, expected {kind}: {error}") from error


def as_dictionary(path: Location, batch: pa.RecordBatch, name: str) -> pa.DictionaryArray:
    """A column of strings as a dictionary, whatever type of strings it was written in.

    Raises:
        TableError: It holds no strings.
    """
    values = batch.column(name)
    if pa.types.is_dictionary(values.type) and values.type.value_type == pa.string():
        return values
    return cast_column(path, name, values).dictionary_encode()


def first_elements(lists: pa.ListArray, absent: float) -> np.ndarray:
    """The first element of each list (N,) in the type of the elements.

    Args:
        lists: Lists of numbers (N,).
        absent: What stands where a list is null or empty, or its first element null.
    """
    offsets, elements = lists.offsets.to_numpy(), lists.values
    present = offsets[1:] > offsets[:-1]
    if lists.null_count:
        present &= lists.is_valid().to_numpy(zero_copy_only=False)
    if elements.null_count:
        valid = elements.is_valid().to_numpy(zero_copy_only=False)
        present[present] = valid[offsets[:-1][present]]
        elements = elements.fill_null(0)
    values = elements.to_numpy()
    if present.all():
        return np.asarray(values[offsets[:-1]])
    first = np.full(len(lists), absent, dtype=values.dtype)
    first[present] = values[offsets[:-1][present]]
    return first


def feature_array(features: np.ndarray) -> pa.FixedSizeListArray:
    """Features as a column, halves, null where a row has none.

    Args:
        features: Floats (N, D), rows of NaN where there are none.
    """
    halves = np.ascontiguousarray(features, dtype=np.float16)
    absent = np.isnan(halves).all(axis=1)
    values = pa.array(halves.ravel())
    return pa.FixedSizeListArray.from_arrays(values, halves.shape[1], mask=pa.array(absent))


def _features(path: Location, batch: pa.RecordBatch) -> np.ndarray:
    """Features float32 (N, D), rows of NaN where there are none."""
    column = batch.column(FEATURES)
    if not pa.types.is_fixed_size_list(column.type):
        raise TableError(
            f"{path}: the column {FEATURES!r} is {column.type}; expected lists of one length, as "
            "write_predictions makes them"
        )
    width = column.type.list_size
    found = np.full((len(column), width), np.nan, dtype=np.float32)
    present = column.is_valid().to_numpy(zero_copy_only=False)
    found[present] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    return found


def _checked(
    where: str,
    weak: np.ndarray,
    teacher: Any,
    mine: Vocabulary,
    theirs: Vocabulary,
    features: np.ndarray | None,
) -> Pairs:
    try:
        return Pairs(weak, teacher, weak_vocabulary=mine, teacher_vocabulary=theirs, features=features)
    except LabelError as error:
        raise LabelError(f"{where}: {error}") from error


def _first_classes(path: Location, batch: pa.RecordBatch, sample_id: Callable[[int], str]) -> np.ndarray:
    """The most probable class of each row that is `ok`, int32 (N,), -1 of the others."""
    status = as_dictionary(path, batch, "status")
    is_ok = _meanings(status, pc.equal(status.dictionary, OK), False)
    teacher = first_elements(cast_column(path, "top_ids", batch.column("top_ids")), -1)
    if (without := is_ok & (teacher == -1)).any():
        raise TableError(
            f"{path}: sample {sample_id(int(without.argmax()))!r} has the status 'ok' but no id in top_ids; "
            "give it its prediction, or a status that says why it has none"
        )
    if not is_ok.all():
        teacher[~is_ok] = -1
    return teacher


def _ranked(
    path: Location, batch: pa.RecordBatch, predicted: np.ndarray, sample_id: Callable[[int], str]
) -> tuple[np.ndarray, np.ndarray]:
    """Classes int32 (N, k) and probabilities float32 (N, k), -1 and 0 after the last of a row."""
    ids, probs = (cast_column(path, name, batch.column(name)) for name in ("top_ids", "top_probs"))
    lengths = np.where(predicted, np.diff(ids.offsets.to_numpy()), 0)
    probabilities = np.where(
        probs.is_valid().to_numpy(zero_copy_only=False), np.diff(probs.offsets.to_numpy()), 0
    )
    if (differs := predicted & (lengths != probabilities)).any():
        row = int(differs.argmax())
        raise TableError(
            f"{path}: sample {sample_id(row)!r} has {lengths[row]} classes in top_ids and "
            f"{probabilities[row]} probabilities in top_probs; give each class its probability, "
            "or choose a strategy that needs none"
        )
    # present[n, j]: whether row n has a class at rank j, (N, k)
    present = np.arange(max(int(lengths.max(initial=1)), 1)) < lengths[:, None]
    top_ids = np.full(present.shape, -1, dtype=np.int32)
    top_probs = np.zeros(present.shape, dtype=np.float32)
    kept = pa.array(predicted)
    top_ids[present] = ids.filter(kept).flatten().fill_null(-1).to_numpy()
    top_probs[present] = probs.filter(kept).flatten().fill_null(0).to_numpy()
    return top_ids, top_probs


def _encode(
    path: Location, names: pa.DictionaryArray, vocabulary: Vocabulary, sample_id: Callable[[int], str]
) -> np.ndarray:
    """`Vocabulary.encode` over the distinct names, int32 (N,)."""
    labels = pc.index_in(names.dictionary, value_set=pa.array(vocabulary.names, pa.string()))
    unknown = pc.and_(labels.is_null(), names.dictionary.is_valid())
    encoded = _meanings(names, labels, -1)
    if pc.any(unknown).as_py():
        # A dictionary may hold names that no row has.
        used = _meanings(names, unknown, False)
        if used.any():
            row = int(used.argmax())
            try:
                vocabulary.index(names[row].as_py())
            except LabelError as error:
                raise LabelError(
                    f"{path}: the weak_label of sample {sample_id(row)!r}: {error}; a sample without one "
                    "has null"
                ) from error
    return encoded


def _meanings(values: pa.DictionaryArray, meaning: pa.Array, absent: int) -> np.ndarray:
    """What each row means, by what its entry in the dictionary means; `absent` for nulls of either."""
    table = np.append(pc.fill_null(meaning, absent).to_numpy(zero_copy_only=False), absent)
    if table.dtype.kind == "b":
        table = table.astype(bool)
    indices = pc.fill_null(values.indices, len(table) - 1) if values.indices.null_count else values.indices
    decoded: np.ndarray = table[indices.to_numpy()]
    return decoded
