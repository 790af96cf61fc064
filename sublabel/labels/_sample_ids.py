"""Ids of samples, on which labels are joined."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sublabel.errors import LabelError
from sublabel.labels._arrays import as_array
from sublabel.labels._columns import arrow_of, as_numpy_list, is_of
from sublabel.labels.hashing import text_keys


def read_sample_ids(values: Any, samples: int) -> np.ndarray:
    """The ids of samples: strings or integers (N,), each once.

    Args:
        values: What a caller gave.
        samples: N.

    Raises:
        LabelError: They are not N strings or integers, or one stands twice.
    """
    if isinstance(values, str | bytes | Mapping | set | frozenset):
        raise LabelError(
            f"sample_ids are {type(values).__name__} {str(values)[:40]!r}; expected one id for each sample, "
            "in the order of the samples"
        )
    try:
        ids = _listed_ids(values)
    except (TypeError, ValueError) as error:
        raise LabelError(f"sample_ids are no array (N,): {error}") from error
    if ids.ndim != 1 or len(ids) != samples:
        raise LabelError(
            f"sample_ids have shape {ids.shape} for {samples} samples; expected one string or "
            "integer for each"
        )
    if ids.dtype.kind in "OT":
        ids = ids.astype(object)
        odd = next((position for position, value in enumerate(ids.tolist()) if not _is_id(value)), None)
        if odd is not None:
            raise LabelError(
                f"sample id {ids[odd]!r} at position {odd} is neither a string nor an integer: give the "
                "ids as strings"
            )
    elif ids.dtype.kind not in "iuU" and samples:
        # `1` and `1.0` are the same id, but not the same text.
        raise LabelError(
            f"sample_ids have dtype {ids.dtype}; expected strings or integers, none of them missing"
        )
    refuse_repeated(ids)
    return ids


def _listed_ids(values: Any) -> np.ndarray:
    """The ids as an array; Python objects where some may be missing, so that the first of these is named."""
    arrow = arrow_of(values)
    if arrow is not None:
        whole = str(arrow.type).startswith(("int", "uint")) and not arrow.null_count
        return np.asarray(arrow) if whole else as_numpy_list(arrow.to_pylist())
    if is_of(values, "pandas") and not isinstance(getattr(values, "dtype", None), np.dtype):
        return np.asarray(values.to_numpy(dtype=object) if hasattr(values, "to_numpy") else values)
    if isinstance(values, np.ma.MaskedArray):
        return as_numpy_list(values.tolist())
    return as_array(values) if hasattr(values, "dtype") else as_numpy_list(values)


def refuse_repeated(ids: np.ndarray) -> None:
    """Refuse an id that stands twice.

    Raises:
        LabelError: One does.
    """
    if ids.dtype.kind in "iuU":
        ordered = np.sort(text_keys(ids) if ids.dtype.kind == "U" else ids)
        if not (ordered[1:] == ordered[:-1]).any():
            return
    texts = list(map(str, ids.tolist())) if ids.dtype.kind == "O" else ids.tolist()
    if len(set(texts)) == len(texts):
        return
    seen: dict[Any, int] = {}
    for position, sample_id in enumerate(texts):
        first = seen.setdefault(sample_id, position)
        if first != position:
            raise LabelError(
                f"sample id {sample_id!r} stands at positions {first} and {position}; labels are joined on "
                "them, so make them unique"
            )


def _is_id(value: object) -> bool:
    return isinstance(value, (str, int, np.integer)) and not isinstance(value, bool)
