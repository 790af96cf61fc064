"""Seeded hashing of sample ids: the same number for the same id, in any order, chunk or machine."""

from __future__ import annotations

import numpy as np

_MASK = (1 << 64) - 1
SLICE = 1 << 15
"""Ids that are hashed at the same time: what is made of them stays in the cache."""


def uniform_from_ids(sample_ids: np.ndarray, seed: int) -> np.ndarray:
    """A number in [0, 1) for each id, float64 (N,), that depends on the id's text and the seed alone.

    Args:
        sample_ids: Strings or integers (N,); an integer counts as its decimal digits.
        seed: Any integer.
    """
    return np.asarray((hash_ids(sample_ids, seed) >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def hash_ids(sample_ids: np.ndarray, seed: int) -> np.ndarray:
    """64 bits for each id, uint64 (N,), that depend on the id's text and the seed alone.

    Args:
        sample_ids: Strings or integers (N,); an integer counts as its decimal digits.
        seed: Any integer.
    """
    hashed = np.empty(len(sample_ids), dtype=np.uint64)
    for start in range(0, len(sample_ids), SLICE):
        hashed[start : start + SLICE] = _hash_slice(sample_ids[start : start + SLICE], seed)
    return hashed


def text_keys(texts: np.ndarray) -> np.ndarray:
    """A number for each string of a NumPy array `U` (N,), uint64 (N,), the same for equal ones.

    Different strings have different ones but for rare accidents: faster than `hash_ids`, and good for nothing
    else than finding equal ones.

    Args:
        texts: Strings (N,) of dtype `U`.
    """
    keys = np.zeros(len(texts), dtype=np.uint64)
    for start in range(0, len(texts), SLICE):
        chunk = np.ascontiguousarray(texts[start : start + SLICE])
        key = keys[start : start + SLICE]
        # characters[c, n]: the code point of character c of text n, 0 after its end
        native = chunk.astype(chunk.dtype.newbyteorder("="), copy=False)
        for characters in native.view(np.uint32).reshape(len(chunk), -1).T:
            key ^= characters
            key *= np.uint64(0x9E3779B97F4A7C15)
            key ^= key >> np.uint64(29)
    return keys


def _hash_slice(sample_ids: np.ndarray, seed: int) -> np.ndarray:
    """Character by character, the longest ids first, so that those which have ended need no more work."""
    texts = list(map(str, sample_ids.tolist()))
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    order = np.argsort(-lengths, kind="stable")
    longest_first = lengths[order]
    characters = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    starts = (np.cumsum(lengths) - lengths)[order]
    state = _mix(np.full(len(texts), seed & _MASK, dtype=np.uint64))
    for position in range(longest_first[0]):
        going_on = np.searchsorted(-longest_first, -position)
        column = characters[starts[:going_on] + position].astype(np.uint64)
        state[:going_on] = _mix(state[:going_on] ^ column)
    hashed = np.empty_like(state)
    hashed[order] = state
    return hashed


def _mix(state: np.ndarray) -> np.ndarray:
    """One step of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), modulo 2^64."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = state ^ (state >> np.uint64(31))
    return mixed
