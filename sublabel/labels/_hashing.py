"""Seeded hashing of sample ids: the same number for the same id, in any order, chunk or machine."""

from __future__ import annotations

import numpy as np

_MASK = (1 << 64) - 1


def uniform_from_ids(sample_ids: np.ndarray, seed: int) -> np.ndarray:
    """A number in [0, 1) for each id, float64 (N,), that depends on the id's text and the seed alone.

    Args:
        sample_ids: Strings or integers (N,); an integer counts as its decimal digits.
        seed: Any integer.
    """
    text = np.ascontiguousarray(np.asarray(sample_ids).astype(np.str_))
    if len(text) == 0:
        return np.empty(0)
    characters = text.view(np.uint32).reshape(len(text), -1)
    state = _mix(np.full(len(text), seed & _MASK, dtype=np.uint64))
    for column in characters.T:
        # NumPy pads to the longest string of the array; skipping the padding makes the hash independent of
        # its neighbours.
        state = np.where(column != 0, _mix(state ^ column.astype(np.uint64)), state)
    return np.asarray((state >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def _mix(state: np.ndarray) -> np.ndarray:
    """One step of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), modulo 2^64."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = state ^ (state >> np.uint64(31))
    return mixed
