"""Labels as people hold them (lists, NumPy, pandas, Polars, Arrow, torch, JAX), read into plain integers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from sublabel.errors import LabelError

MISSING_TYPES = frozenset({"NoneType", "NAType", "NaTType"})
"""Types whose every value says that there is none, by name: pandas is not imported for them."""


class Column(NamedTuple):
    """Entries that are either ids, or names."""

    values: np.ndarray
    """Integers (N,): ids, or positions in `names`; -1 where there is none."""
    names: list[str] | None
    """The distinct names; None where the entries are ids."""


def read_column(values: Any, what: str) -> Column:
    """Read one label for each sample.

    Args:
        values: Names or integer ids (N,), as a list, a NumPy, pandas, Polars, Arrow, torch or JAX array;
            None, NaN, NA, null and -1 are no label.
        what: What an entry is called in messages, such as "weak label".

    Returns:
        The column; integers keep their dtype and are not copied where that can be.

    Raises:
        LabelError: They are of another type, mixed, of fractions, or not one for each sample.
    """
    if isinstance(values, str | bytes | Mapping | set | frozenset) or values is None:
        raise LabelError(
            f"{what}s are {_shown(values)}; expected a list or an array (N,), one entry for each sample"
        )
    for library, read in _READERS.items():
        if type(values).__module__.partition(".")[0] == library:
            return read(values, what)
    if isinstance(values, list | tuple) and any(issubclass(kind, str) for kind in {*map(type, values)}):
        # An array of strings of one width would only be taken apart again.
        return _from_objects(list(values), what)
    return _from_numpy(_as_numpy(values, what), what)


def is_missing(value: Any) -> bool:
    """Whether a single entry says that there is none: None, NaN, NA or NaT."""
    return type(value).__name__ in MISSING_TYPES or (isinstance(value, float) and value != value)


def arrow_of(values: Any) -> Any:
    """The Arrow array of what holds one (Arrow, Polars, pandas on Arrow), else None."""
    if is_of(values, "pyarrow") and hasattr(values, "type"):
        return values
    if is_of(values, "polars") and hasattr(values, "to_arrow") and not hasattr(values, "columns"):
        return values.to_arrow()
    dtype = getattr(values, "dtype", None)
    if is_of(values, "pandas") and (
        type(dtype).__name__ == "ArrowDtype" or getattr(dtype, "storage", None) == "pyarrow"
    ):
        return getattr(values, "array", values).__arrow_array__()
    return None


def is_of(values: Any, library: str) -> bool:
    """Whether a value's class comes from a library, which need not be imported for it."""
    return type(values).__module__.partition(".")[0] == library


def as_numpy_list(values: Any) -> np.ndarray:
    """A list as an array that keeps the types of its entries apart: `["a", 1]` stays two of them."""
    if not isinstance(values, np.ndarray) and isinstance(values, Iterable):
        values = list(values)
        if len({*map(type, values)}) > 1:
            array = np.empty(len(values), dtype=object)
            array[:] = values
            return array
    return np.asarray(values)


def _as_numpy(values: Any, what: str) -> np.ndarray:
    try:
        if hasattr(values, "detach"):
            values = values.detach().cpu()
            values = values.float() if values.is_floating_point() else values
        if hasattr(values, "__array__") or isinstance(values, np.generic):
            array = values if isinstance(values, np.ndarray) else np.asarray(values)
        else:
            array = as_numpy_list(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise LabelError(f"{what}s are no array (N,), one entry for each sample: {error}") from error
    if array.ndim != 1:
        raise LabelError(
            f"{what}s have shape {array.shape}; expected (N,), one integer id or name for each sample"
        )
    return array


def _from_numpy(array: np.ndarray, what: str) -> Column:
    if isinstance(array, np.ma.MaskedArray):
        column = _from_numpy(array.data, what)
        return _without(column, np.ma.getmaskarray(array))
    if len(array) == 0:
        return Column(np.empty(0, dtype=np.int64), None)
    kind = array.dtype.kind
    if kind in "iu":
        return Column(_signed(array, what), None)
    if kind == "U":
        return _from_names(array.tolist())
    if kind == "f":
        return Column(_whole(array, what), None)
    if kind in "OT":
        return _from_objects(array.tolist(), what)
    if array.dtype.name == "bfloat16":
        return Column(_whole(array.astype(np.float32), what), None)
    raise LabelError(
        f"{what}s have dtype {array.dtype}; expected integer ids or names (strings)"
        + ("; cast bytes with .astype(str)" if kind == "S" else "")
    )


def _signed(array: np.ndarray, what: str) -> np.ndarray:
    """Integers whose dtype also holds -1: unsigned ones keep their bytes where these mean the same."""
    if array.dtype.kind == "i":
        return array
    largest = int(array.max())
    signed = np.dtype(array.dtype.str.replace("u", "i"))
    if largest <= np.iinfo(signed).max:
        return array.view(signed)
    if largest > np.iinfo(np.int64).max:
        position = int(array.argmax())
        raise LabelError(
            f"{what} {largest} at position {position} is beyond what int64 holds; expected class ids from 0 "
            "on, with -1 where there is none"
        )
    return array.astype(np.int64)


def _whole(array: np.ndarray, what: str) -> np.ndarray:
    """Ids that are stored as floats because some are missing (NaN)."""
    filled = np.where(np.isnan(array), -1, array).astype(np.float64)
    whole = (np.trunc(filled) == filled) & np.isfinite(filled)
    if not whole.all():
        position = int(np.flatnonzero(~whole)[0])
        raise LabelError(
            f"{what} {array[position]} at position {position} is no whole number (dtype {array.dtype}); "
            "expected integer ids, with -1 or NaN where there is none: are they scores?"
        )
    if np.abs(filled).max() >= 2**53:
        raise LabelError(f"{what}s are floats of 2^53 and more, which are not exact: give them as integers")
    return np.asarray(filled.astype(np.int64))


def _from_names(names: Iterable[Any]) -> Column:
    position: dict[Any, int] = {}
    values = [position.setdefault(name, len(position)) for name in names]
    return Column(np.array(values, dtype=np.int64), [str(name) for name in position])


def _from_objects(values: list[Any], what: str) -> Column:
    """Python objects: all names or all numbers, but for those that are missing."""
    types = {*map(type, values)}
    missing_types = {kind for kind in types if kind.__name__ in MISSING_TYPES}
    kinds = types - missing_types
    are_names = [issubclass(kind, str) for kind in kinds]
    # A float among names may be NaN, as pandas writes what is missing.
    if any(are_names) and all(
        is_name or issubclass(kind, float) for is_name, kind in zip(are_names, kinds, strict=True)
    ):
        return _names_with_gaps(values, missing_types, what)
    if all(
        issubclass(kind, int | float | np.integer | np.floating) and not issubclass(kind, bool)
        for kind in kinds
    ):
        return _numbers_with_gaps(values, missing_types, kinds, what)
    odd = next(
        position
        for position, value in enumerate(values)
        if type(value) in kinds and (not isinstance(value, str) or len(kinds) > 1)
    )
    raise LabelError(
        f"{what}s are of the types {', '.join(sorted(kind.__name__ for kind in kinds))}, such as "
        f"{values[odd]!r} at position {odd}; expected names (strings) or integer ids, all of one type, and "
        "None where there is none"
    )


def _names_with_gaps(values: list[Any], missing_types: set[type], what: str) -> Column:
    is_missing = np.fromiter(
        (type(value) in missing_types or value != value for value in values), dtype=bool, count=len(values)
    )
    for position, value in enumerate(values):
        if not is_missing[position] and not isinstance(value, str):
            raise LabelError(
                f"{what} {value!r} at position {position} is a number among names; expected strings, and "
                "None where there is none"
            )
    return _without(_from_names(values), is_missing)


def _numbers_with_gaps(values: list[Any], missing_types: set[type], kinds: set[type], what: str) -> Column:
    filled = [-1 if type(value) in missing_types else value for value in values]
    try:
        if all(issubclass(kind, int | np.integer) for kind in kinds):
            return Column(np.array(filled, dtype=np.int64), None)
        return Column(_whole(np.array(filled, dtype=np.float64), what), None)
    except OverflowError as error:
        raise LabelError(
            f"{what}s hold a number that no int64 holds ({error}); expected class ids"
        ) from error


def _without(column: Column, is_missing: np.ndarray) -> Column:
    """The column with -1 where there is no entry, and without names that no other entry has."""
    values = np.where(is_missing, -1, column.values)
    if column.names is None:
        return Column(values, None)
    used = np.zeros(len(column.names) + 1, dtype=bool)
    used[values] = True
    renumbered = np.append(np.cumsum(used[:-1]) - 1, -1)
    kept = [name for name, is_used in zip(column.names, used[:-1], strict=True) if is_used]
    return Column(renumbered[values], kept)


def _from_arrow(values: Any, what: str) -> Column:
    if not hasattr(values, "type"):
        raise LabelError(f"{what}s are an Arrow {type(values).__name__}; expected one column of it (N,)")
    kind = str(values.type)
    if kind.startswith("dictionary"):
        if hasattr(values, "unify_dictionaries"):
            values = values.unify_dictionaries().combine_chunks()
            # Without a chunk there is nothing to combine.
            values = values.chunk(0) if hasattr(values, "num_chunks") else values
        indices = np.asarray(values.indices.cast("int64").fill_null(-1))
        entries = values.dictionary
        is_text = "string" in str(entries.type) or "utf8" in str(entries.type)
        # Few objects, for the distinct entries only.
        return _decoded(indices, read_column(entries.to_pylist() if is_text else entries, what))
    if kind in ("string_view", "utf8_view"):
        return _from_arrow(values.cast("string"), what)
    if kind in ("string", "large_string", "utf8", "large_utf8"):
        return _from_arrow(values.dictionary_encode(), what)
    if kind == "null":
        return Column(np.full(len(values), -1), None)
    if kind.startswith(("int", "uint")):
        if not values.null_count:
            return _from_numpy(np.asarray(values), what)
        column = _from_numpy(np.asarray(values.fill_null(0)), what)
        return _without(column, np.asarray(values.is_null()))
    if kind in ("halffloat", "float", "double"):
        return Column(_whole(np.asarray(values.cast("double"), dtype=np.float64), what), None)
    raise LabelError(f"{what}s are an Arrow array of {kind}; expected integers or strings (N,)")


def _decoded(indices: np.ndarray, entries: Column) -> Column:
    """What dictionary-encoded entries mean; ids stay ids, and names that no entry has are left out.

    Args:
        indices: Integers (N,), positions in the dictionary, -1 for none.
        entries: The dictionary.
    """
    # value_of[i]: id or position in `names` of entry i of the dictionary; the last is that of -1
    value_of = np.append(entries.values, -1)
    if entries.names is None:
        return Column(value_of[indices], None)
    occurs = np.zeros(len(value_of), dtype=bool)
    occurs[indices] = True
    small = _without(Column(value_of, entries.names), ~occurs)
    return Column(small.values[indices], small.names)


def _from_polars(values: Any, what: str) -> Column:
    if not hasattr(values, "to_arrow") or hasattr(values, "columns"):
        raise LabelError(f"{what}s are a Polars {type(values).__name__}; expected a Series (N,)")
    return _from_arrow(values.to_arrow(), what)


def _from_pandas(values: Any, what: str) -> Column:
    if hasattr(values, "columns"):
        raise LabelError(f"{what}s are a pandas {type(values).__name__}; expected one column (a Series)")
    arrow = arrow_of(values)
    if arrow is not None:
        return _from_arrow(arrow, what)
    categorical = getattr(values, "cat", values)
    if hasattr(categorical, "codes") and hasattr(categorical, "categories"):
        categories = read_column(np.asarray(categorical.categories), what)
        return _decoded(np.asarray(categorical.codes), categories)
    if isinstance(values.dtype, np.dtype):
        return _from_numpy(_as_numpy(values.to_numpy(), what), what)
    if values.dtype.kind in "iu":
        return Column(values.to_numpy(dtype=np.int64, na_value=-1), None)
    return _from_numpy(_as_numpy(values.to_numpy(dtype=object), what), what)


def _shown(values: object) -> str:
    text = repr(values)
    return f"{type(values).__name__} {text[:40]}{'…' if len(text) > 40 else ''}"


_READERS: dict[str, Callable[[Any, str], Column]] = {
    "pyarrow": _from_arrow,
    "polars": _from_polars,
    "pandas": _from_pandas,
}
