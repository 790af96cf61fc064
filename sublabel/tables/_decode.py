"""Columns of predictions as label arrays, without a Python object for any row."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sublabel.errors import LabelError, TableError
from sublabel.labels import Vocabulary
from sublabel.tables.io import Location

PREDICTIONS_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("weak_label", pa.string()),
        ("top_ids", pa.list_(pa.int32())),
        ("top_probs", pa.list_(pa.float32())),
        ("status", pa.string()),
    ]
)
LABEL_COLUMNS = ("weak_label", "top_ids", "status")
"""Those that a (weak label, teacher prediction) pair is read from."""
DICTIONARIES = ("weak_label", "status")
"""Those of them with few distinct values."""


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


def decode_pairs(
    path: Location, batch: pa.RecordBatch, weak_vocabulary: Vocabulary, sample_id: Callable[[int], str]
) -> tuple[np.ndarray, np.ndarray]:
    """The weak and the teacher's labels of a batch, both int32 (N,), -1 where there is none.

    Args:
        path: The file, for messages.
        batch: With the columns of `LABEL_COLUMNS`.
        weak_vocabulary: Of the weak labels.
        sample_id: Of a row of the batch, for messages.

    Raises:
        TableError: A column has another type, or a row is `ok` without a prediction.
        LabelError: A weak label is not in the vocabulary.
    """
    weak = _encode(path, _as_dictionary(path, batch, "weak_label"), weak_vocabulary, sample_id)
    status = _as_dictionary(path, batch, "status")
    is_ok = _decode(status, pc.equal(status.dictionary, "ok"), False)
    teacher, predicted = first_elements(cast_column(path, "top_ids", batch.column("top_ids")), -1)
    if not is_ok.all():
        teacher[~is_ok] = -1
    if not predicted.all() and (without := is_ok & ~predicted).any():
        raise TableError(
            f"{path}: sample {sample_id(int(without.argmax()))!r} has the status 'ok' but no id in top_ids; "
            "give it its prediction, or a status that says why it has none"
        )
    return weak, teacher


def decode_top(
    path: Location, batch: pa.RecordBatch, weak_vocabulary: Vocabulary, sample_id: Callable[[int], str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The weak labels int32 (N,), and the teacher's classes int32 and probabilities float32, both (N, k).

    Args:
        path: The file, for messages.
        batch: With the columns of `LABEL_COLUMNS` and `top_probs`.
        weak_vocabulary: Of the weak labels.
        sample_id: Of a row of the batch, for messages.

    Returns:
        k is the most that a row has; where there are fewer, the classes are -1 and the probabilities 0.

    Raises:
        TableError: A column has another type, or a row is `ok` without as many probabilities as classes.
        LabelError: A weak label is not in the vocabulary.
    """
    weak, first = decode_pairs(path, batch, weak_vocabulary, sample_id)
    predicted = first >= 0
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
    present = np.arange(max(int(lengths.max(initial=1)), 1)) < lengths[:, None]
    top_ids = np.full(present.shape, -1, dtype=np.int32)
    top_probs = np.zeros(present.shape, dtype=np.float32)
    kept = pa.array(predicted)
    top_ids[present] = ids.filter(kept).flatten().fill_null(-1).to_numpy()
    top_probs[present] = probs.filter(kept).flatten().fill_null(0).to_numpy()
    return weak, top_ids, top_probs


def first_elements(lists: pa.ListArray, absent: float) -> tuple[np.ndarray, np.ndarray]:
    """The first element of each list (N,) in the type of the elements, and whether there is one, bool (N,).

    Args:
        lists: Of numbers.
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
        return values[offsets[:-1]], present
    first = np.full(len(lists), absent, dtype=values.dtype)
    first[present] = values[offsets[:-1][present]]
    return first, present


def _as_dictionary(path: Location, batch: pa.RecordBatch, name: str) -> pa.DictionaryArray:
    values = batch.column(name)
    if pa.types.is_dictionary(values.type) and values.type.value_type == pa.string():
        return values
    return cast_column(path, name, values).dictionary_encode()


def _encode(
    path: Location, names: pa.DictionaryArray, vocabulary: Vocabulary, sample_id: Callable[[int], str]
) -> np.ndarray:
    """`Vocabulary.encode` over the distinct names."""
    labels = pc.index_in(names.dictionary, value_set=pa.array(vocabulary.names, pa.string()))
    unknown = pc.and_(labels.is_null(), names.dictionary.is_valid())
    encoded = _decode(names, labels, -1)
    if pc.any(unknown).as_py():
        # A dictionary may hold names that no row has.
        used = _decode(names, unknown, False)
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


def _decode(values: pa.DictionaryArray, meaning: pa.Array, absent: int) -> np.ndarray:
    """What each row means, by what its entry in the dictionary means; `absent` for nulls of either."""
    table = np.append(pc.fill_null(meaning, absent).to_numpy(zero_copy_only=False), absent)
    if table.dtype.kind == "b":
        table = table.astype(bool)
    indices = pc.fill_null(values.indices, len(table) - 1) if values.indices.null_count else values.indices
    decoded: np.ndarray = table[indices.to_numpy()]
    return decoded
