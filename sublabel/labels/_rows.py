"""Predictions with several entries for each sample, as people hold them, read into arrays (N, k)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from sublabel.errors import LabelError
from sublabel.labels._arrays import as_array
from sublabel.labels._columns import arrow_of, as_numpy_list, is_missing, is_of, one_chunk


def read_rows(values: Any, *, floats_end: bool = False) -> np.ndarray | None:
    """Read what is two-dimensional.

    Args:
        values: An array (N, k), or a list of lists, of any library; lists may end before the longest.
        floats_end: Whether lists of floats may end early too, with 0 for the rest, as probabilities beside
            classes do.

    Returns:
        Integers, floats or names (N, k), with -1, 0 or None after the end of a list; None of what has one
        entry for each sample.

    Raises:
        LabelError: It has more than two dimensions, no columns, or lists of floats end early.
    """
    arrow = arrow_of(values)
    if arrow is not None:
        return _from_arrow_lists(arrow, floats_end) if "list" in str(arrow.type) else None
    if _holds_lists(values):
        return _stacked(list(values), floats_end)
    if not hasattr(values, "ndim") or values.ndim < 2:
        return None
    if isinstance(values, np.ma.MaskedArray):
        filler = np.nan if values.dtype.kind == "f" else -1
        values = np.where(np.ma.getmaskarray(values), filler, values.data)
    array = as_array(values)
    if array.ndim != 2 or array.shape[1] == 0:
        if hasattr(values, "toarray"):
            raise LabelError(
                f"the teacher's predictions are a sparse {type(values).__name__}; expected an array (N, k) "
                "or (N, T): give .toarray() of it"
            )
        raise LabelError(
            f"the teacher's predictions have shape {array.shape}; expected (N,), the k most probable classes "
            "(N, k), or the probabilities of all classes (N, T)"
        )
    return array


def read_floats(values: Any) -> np.ndarray:
    """One number for each sample, floats (N,), NaN where it is missing, of any library's column."""
    arrow = arrow_of(values)
    if arrow is not None:
        return np.asarray(arrow.cast("double") if str(arrow.type).startswith(("int", "uint")) else arrow)
    if is_of(values, "pandas") and hasattr(values, "to_numpy") and values.dtype.kind in "fiu":
        return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))
    if isinstance(values, list | tuple):
        return floats_of(as_numpy_list(values))
    return floats_of(as_array(values))


def floats_of(array: np.ndarray) -> np.ndarray:
    """Python numbers among which some are missing, as an array with NaN there; of others the array itself."""
    if array.dtype.kind != "O" or not all(_is_number(v) or is_missing(v) for v in array.ravel().tolist()):
        return array
    return np.array([np.nan if is_missing(v) else v for v in array.ravel().tolist()]).reshape(array.shape)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def read_frame(frame: Any) -> tuple[np.ndarray, list[str] | None]:
    """A table with a column of probabilities for each class.

    Args:
        frame: A data frame of pandas or Polars, or an Arrow table.

    Returns:
        float64 (N, T), and the names of the columns; None where these are the numbers 0 to T - 1, in whose
        order they are then.

    Raises:
        LabelError: Its columns are no floats, two have one heading, or a heading names no class.
    """
    names = list(frame.column_names if is_of(frame, "pyarrow") else frame.columns)
    headings = _headings(names)
    columns = [frame[name] for name in names]
    kinds = {str(getattr(column, "type", None) or column.dtype).lower() for column in columns}
    if not columns or all("float" not in kind and "double" not in kind for kind in kinds):
        raise LabelError(
            f"`teacher` is a table with columns of {', '.join(sorted(kinds)) or 'nothing'}; expected a "
            "column of probabilities (floats) for each class: of a one-hot table give its 1s by name, such "
            "as .idxmax(axis=1), and of top-k ids an array (N, k)"
        )
    array = np.column_stack([_column_of(name, column) for name, column in zip(names, columns, strict=True)])
    return (array, headings) if headings is not None else (array[:, np.argsort(names)], None)


def _headings(names: list[Any]) -> list[str] | None:
    """The headings of a table as names of classes; None where they are the numbers of the classes."""
    repeated = next((name for name, times in Counter(names).items() if times > 1), None)
    if repeated is not None:
        raise LabelError(
            f"`teacher` is a table with two columns {repeated!r}; expected one column for each class: rename "
            "or add up those that repeat"
        )
    if all(isinstance(name, str) for name in names):
        return [str(name) for name in names]
    if all(isinstance(name, int | np.integer) for name in names) and set(names) == set(range(len(names))):
        return None
    raise LabelError(
        f"`teacher` is a table with the headings {names[:5]!r}{' …' if len(names) > 5 else ''}; expected the "
        f"name of a class over each column, or its number, each of 0 to {len(names) - 1} once: rename them"
    )


def _column_of(name: Any, column: Any) -> np.ndarray:
    """The probabilities of one class, float64 (N,)."""
    try:
        return np.asarray(read_floats(column), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise LabelError(
            f"`teacher` is a table whose column {name!r} holds no probabilities ({error}): leave out what is "
            "no class"
        ) from error


def is_row(entry: Any) -> bool:
    """Whether an entry is a list or an array itself."""
    return hasattr(entry, "__len__") and not isinstance(entry, str | bytes) and getattr(entry, "ndim", 1) > 0


def _holds_lists(values: Any) -> bool:
    """Whether entries are lists or arrays, or missing."""
    dtype = getattr(values, "dtype", None)
    is_objects = isinstance(dtype, np.dtype) and dtype.kind == "O" and getattr(values, "ndim", 1) == 1
    if not (isinstance(values, list | tuple) or is_objects):
        return False
    # The first entry that is not missing tells; what is among lists and is none itself is refused later.
    first = next((entry for entry in values if not is_missing(entry)), None)
    return is_row(first)


def _stacked(rows: Sequence[Any], floats_end: bool) -> np.ndarray:
    """Lists of one length, or of several with a filler after the shorter ones."""
    entries = [_listed(position, row) for position, row in enumerate(rows)]
    if any(is_row(value) for value in chain.from_iterable(entries)):
        raise LabelError(
            "the teacher's predictions are lists within lists; expected (N,), (N, k) or (N, T): classes and "
            "their probabilities together are a tuple (top_ids, top_probs)"
        )
    lengths = np.fromiter(map(len, entries), dtype=np.int64, count=len(entries))
    return _filled(_flat([value for entry in entries for value in entry]), lengths, floats_end)


def _flat(values: list[Any]) -> np.ndarray:
    """All entries of lists; a 0 or 1 among fractions is a probability like them, and no class."""
    array = as_numpy_list(values)
    if array.dtype.kind == "O" and any(isinstance(value, float) and value % 1 > 0 for value in values):
        return floats_of(array)
    return array


def _listed(position: int, row: Any) -> list[Any]:
    if is_missing(row):
        return []
    if not is_row(row):
        raise LabelError(
            f"the teacher's prediction at position {position} is {row!r}, and others are lists; expected a "
            "list or an array of the same classes for each sample, or one class for each"
        )
    if hasattr(row, "dtype") and not is_of(row, "polars"):
        return list(as_array(row).tolist())
    return list(row)


def _from_arrow_lists(array: Any, floats_end: bool) -> np.ndarray:
    array = one_chunk(array)
    present = ~np.asarray(array.is_null())
    if str(array.type).startswith("fixed_size_list"):
        lengths = np.where(present, array.type.list_size, 0)
    else:
        offsets = np.asarray(array.offsets)
        lengths = np.where(present, np.diff(offsets), 0)
    flat = array.flatten()
    kind = str(flat.type)
    is_whole = kind.startswith(("int", "uint")) and not flat.null_count
    is_plain = is_whole or kind in ("halffloat", "float", "double")
    return _filled(np.asarray(flat) if is_plain else as_numpy_list(flat.to_pylist()), lengths, floats_end)


def _filled(flat: np.ndarray, lengths: np.ndarray, floats_end: bool) -> np.ndarray:
    """The entries of all lists, (sum of the lengths,), as rows (N, k) of the longest one's length."""
    width = int(lengths.max(initial=0))
    if width == 0:
        return np.full((len(lengths), 1), -1)
    if (lengths == width).all():
        return flat.reshape(len(lengths), width)
    filler: Any = -1
    if flat.dtype.kind == "f":
        if not floats_end and not set(np.unique(lengths).tolist()) <= {0, width}:
            raise LabelError(
                "the rows of the teacher's probabilities are of several lengths; expected (N, T), one "
                "probability for each class, or the same number of classes for each sample"
            )
        filler = 0.0 if floats_end else np.nan
    elif flat.dtype.kind in "OUT":
        filler = None
    dtype = object if filler is None else np.result_type(flat.dtype, np.int8 if filler == -1 else flat.dtype)
    rows = np.full((len(lengths), width), filler, dtype=dtype)
    rows[np.arange(width) < lengths[:, None]] = flat
    return rows


def unpacked(teacher: Any) -> tuple[Any, Any] | None:
    """Classes and probabilities of a tuple of both, in this order; None of anything else.

    What `torch.topk` returns says by its names which is which.
    """
    if not (isinstance(teacher, tuple) and len(teacher) == 2 and all(map(is_row, teacher))):
        return None
    if hasattr(teacher, "indices") and hasattr(teacher, "values"):
        return teacher.indices, teacher.values
    return teacher[0], teacher[1]
