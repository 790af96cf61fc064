"""The draw of a matched control: disagreed samples among the disagreed classes of their row, by sample id."""

from __future__ import annotations

from typing import Any

import numpy as np

from sublabel.labels._hashing import uniform_from_ids
from sublabel.labels.classes import Classes


def shuffle_disagreed(
    labels: np.ndarray, sample_ids: np.ndarray, classes: Classes, seed: int, cache: dict[str, Any]
) -> None:
    """Give each disagreed sample, in place, one of its row's disagreed classes, in proportion to their sizes.

    Args:
        labels: int64 (N,).
        sample_ids: Strings or integers (N,).
        classes: Of the space.
        seed: Of the hash of the sample ids.
        cache: Of the space; what depends on the classes alone is kept in it.
    """
    if "disagreed" not in cache:
        cache["disagreed"] = _disagreed_by_row(classes)
    start, stop, cumulative, members = cache["disagreed"]
    kept = np.flatnonzero(labels >= 0)
    moved = kept[start[labels[kept]] >= 0]
    first, last = start[labels[moved]], stop[labels[moved]]
    before = np.where(first > 0, cumulative[first - 1], 0)
    draws = uniform_from_ids(sample_ids[moved], seed)
    # Within a row the classes lie side by side on the cumulative sizes: draw a point, look up whose it is.
    points = before + np.floor(draws * (cumulative[last - 1] - before)).astype(np.int64)
    labels[moved] = members[np.searchsorted(cumulative, points, side="right")]


def _disagreed_by_row(classes: Classes) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rows = np.where(classes.is_kind("disagreed", "other"), classes.weak, -1)
    members = np.flatnonzero(rows >= 0)
    members = members[np.argsort(rows[members], kind="stable")]
    sorted_rows = rows[members]
    cumulative = np.cumsum(classes.size[members])
    start, stop = np.full(len(rows), -1), np.full(len(rows), -1)
    start[members] = np.searchsorted(sorted_rows, sorted_rows, side="left")
    stop[members] = np.searchsorted(sorted_rows, sorted_rows, side="right")
    return start, stop, cumulative, members
