"""Arrays inside JSON: short ones as lists, long ones packed, so that millions of cells take megabytes."""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import Any

import numpy as np

LISTED = 1024
"""Longer arrays are packed."""
NARROWEST_FIRST = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.int64)


def encode_array(array: np.ndarray) -> Any:
    """An int64 or float64 array (N,) as what JSON can hold.

    Integers are packed as the differences of neighbours, in the narrowest dtype that holds them: sorted cells
    and ids that count up shrink to almost nothing.
    """
    if len(array) <= LISTED:
        return array.tolist()
    if array.dtype.kind in "iu":
        steps = np.diff(array.astype(np.int64), prepend=0)
        low, high = steps.min(), steps.max()
        array = steps.astype(
            next(d for d in NARROWEST_FIRST if np.iinfo(d).min <= low and high <= np.iinfo(d).max)
        )
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    packed = base64.b64encode(zlib.compress(little.tobytes(), level=1)).decode()
    return {"dtype": little.dtype.str, "length": len(array), "zlib": packed}


def decode_array(value: Any, dtype: Any) -> np.ndarray:
    """What `encode_array` was given.

    Raises:
        ValueError, TypeError, KeyError: The value is not what it made.
    """
    if isinstance(value, list):
        return np.array(value, dtype=dtype)
    stored, length = np.dtype(value["dtype"]), int(value["length"])
    if stored.kind not in "iuf":
        raise ValueError(f"an array cannot have dtype {stored}")
    size = length * stored.itemsize
    # No more than was promised is unpacked, whatever the bytes say.
    raw = zlib.decompressobj().decompress(base64.b64decode(value["zlib"], validate=True), size + 1)
    if len(raw) != size:
        raise ValueError(f"an array of {size} bytes has {len(raw)}")
    array = np.frombuffer(raw, dtype=stored)
    return (np.cumsum(array, dtype=np.int64) if stored.kind in "iu" else array).astype(dtype, copy=False)


def digest_array(array: np.ndarray) -> str:
    """SHA-256 of the values, the same for every integer dtype and on every machine."""
    wide = array.astype("<i8" if array.dtype.kind in "iu" else "<f8", copy=False)
    return hashlib.sha256(np.ascontiguousarray(wide).data).hexdigest()
