"""Targets as columns of a table, and back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from sublabel.labels import LabelSpace, Pairs, Ragged

TargetColumns = Mapping[str, np.ndarray | Ragged]


def target_fields(space: LabelSpace) -> list[pa.Field]:
    """The columns that the targets of a space have in a table: a number, or a list, for each sample."""
    nobody, nothing = np.empty(0, dtype=np.int32), np.empty((0, 1), dtype=np.int32)
    pairs = Pairs.trusted(
        nobody,
        nobody,
        space.weak_vocabulary,
        space.teacher_vocabulary,
        sample_ids=np.empty(0, dtype=object),
        top_ids=nothing,
        top_probs=nothing.astype(np.float32),
        features=np.empty((0, space.num_features), dtype=np.float32),
    )
    arrays = to_arrow(space.targets(pairs).columns())
    return [pa.field(name, array.type, nullable=False) for name, array in arrays.items()]


def to_arrow(columns: TargetColumns) -> dict[str, pa.Array]:
    """Arrays (N,), (N, H) as lists of one length, and `Ragged` as lists of several."""
    return {name: _to_arrow(column) for name, column in columns.items()}


def from_arrow(table: pa.Table) -> TargetColumns:
    """What `to_arrow` was given."""
    return {name: _from_arrow(table.column(name)) for name in table.column_names}


def _to_arrow(column: np.ndarray | Ragged) -> pa.Array:
    if isinstance(column, Ragged):
        return pa.ListArray.from_arrays(pa.array(column.offsets, pa.int32()), pa.array(column.values))
    if column.ndim == 1:
        return pa.array(column)
    return pa.FixedSizeListArray.from_arrays(pa.array(column.ravel()), column.shape[1])


def _from_arrow(column: pa.ChunkedArray) -> np.ndarray | Ragged:
    kind = column.type
    if not pa.types.is_nested(kind):
        return np.asarray(column.to_numpy())
    values = [chunk.flatten() for chunk in column.chunks]
    flat = pa.chunked_array(values, kind.value_type).to_numpy()
    if pa.types.is_fixed_size_list(kind):
        return np.asarray(flat.reshape(len(column), kind.list_size))
    lengths = [np.diff(chunk.offsets.to_numpy()) for chunk in column.chunks]
    return Ragged(flat, np.append(0, np.cumsum(np.concatenate([*lengths, np.empty(0, np.int64)]))))
