"""Orders in which a confusion matrix shows its structure, and its aggregation to a picture's size."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from scipy import sparse
from scipy.cluster import hierarchy

from sublabel.labels import Alignment, ConfusionMatrix

OrderName = Literal["clusters", "agreement", "vocabulary"]
EXACT = 400
"""Classes of a side that are drawn one by one; more are drawn in as many blocks."""
CLUSTERED = 6_000
"""Weak classes that are clustered at most: the distances of all pairs are in memory, 8 bytes each."""
PROFILE_WIDTH = 32
"""Dimensions that the profiles of a large matrix are reduced to before they are compared."""


class Order(NamedTuple):
    """An order in which a matrix is drawn."""

    rows: np.ndarray
    """int64 (W,), weak classes from top to bottom."""
    columns: np.ndarray
    """int64 (T,), teacher classes from left to right."""


def orders(confusion: ConfusionMatrix, alignment: Alignment) -> dict[OrderName, Order]:
    """The orders to choose from, the most telling first.

    `clusters`: weak classes that the teacher confuses alike stand side by side (average linkage of the cosine
    distance of square-rooted rows; ours); left out of matrices of more than `CLUSTERED` rows. `agreement`:
    the weak classes that the teacher agrees with most come first. `vocabulary`: as they are. In the first two
    a teacher class follows the first weak class that it agrees with, or its samples where there is none.

    Args:
        confusion: The counts.
        alignment: Which classes agree.
    """
    cells = confusion.cells(alignment)
    rows = confusion.shape[0]
    found: dict[OrderName, Order] = {}
    if 2 < rows <= CLUSTERED:
        clustered = _cluster(confusion)
        found["clusters"] = Order(clustered, _columns(clustered, confusion, alignment))
    total, agreed = cells.row_sums(np.full(len(cells), True)), cells.row_sums(cells.agreed)
    by_agreement = np.argsort(-(agreed / np.maximum(1, total)), kind="stable")
    found["agreement"] = Order(by_agreement, _columns(by_agreement, confusion, alignment))
    found["vocabulary"] = Order(np.arange(rows), np.arange(confusion.shape[1]))
    return found


def _cluster(confusion: ConfusionMatrix) -> np.ndarray:
    """Leaves of the tree, int64 (W,); rows without samples last."""
    profiles = confusion.counts.astype(np.float64).sqrt()
    occupied = np.flatnonzero(np.asarray(profiles.sum(axis=1)).ravel())
    empty = np.setdiff1d(np.arange(confusion.shape[0]), occupied)
    if len(occupied) < 3:
        return np.concatenate([occupied, empty])
    small = _reduced(sparse.csr_array(profiles[occupied]))
    # Rows without a common dimension after the reduction have no angle between them.
    small /= np.maximum(np.linalg.norm(small, axis=1, keepdims=True), np.finfo(float).tiny)
    tree = hierarchy.linkage(
        small, method="average", metric="euclidean", optimal_ordering=len(occupied) <= EXACT
    )
    return np.concatenate([occupied[hierarchy.leaves_list(tree)], empty])


def _reduced(profiles: sparse.csr_array) -> np.ndarray:
    """The profiles, or their leading singular directions where the matrix is large; float64 (W, D)."""
    if min(profiles.shape) <= EXACT:
        dense: np.ndarray = profiles.toarray()
        return dense
    # A fixed start makes the same order every time.
    start = np.ones(min(profiles.shape)) / np.sqrt(min(profiles.shape))
    left, values, _ = sparse.linalg.svds(profiles, k=PROFILE_WIDTH, v0=start)
    reduced: np.ndarray = left * values
    return reduced


def _columns(rows: np.ndarray, confusion: ConfusionMatrix, alignment: Alignment) -> np.ndarray:
    """Teacher classes in the order of the rows, int64 (T,)."""
    entries = confusion.counts.tocoo()
    width = confusion.shape[1]
    position = np.empty(len(rows), dtype=np.int64)
    position[rows] = np.arange(len(rows))
    samples = np.bincount(entries.col, entries.data, minlength=width)
    moment = np.bincount(entries.col, entries.data * position[entries.row], minlength=width)
    follows = np.divide(moment, samples, out=np.full(width, float(len(rows))), where=samples > 0)
    first = np.full(width, np.inf)
    if len(alignment):
        np.minimum.at(first, alignment.pairs[:, 1], position[alignment.pairs[:, 0]].astype(float))
    return np.argsort(np.where(np.isfinite(first), first, follows), kind="stable")


def blocks(confusion: ConfusionMatrix, order: Order, most: int = EXACT) -> np.ndarray:
    """Samples in each block of a matrix in some order, int64 (R, C), R and C at most `most`.

    Args:
        confusion: The counts.
        order: The order of rows and columns.
        most: Blocks a side; a side of no more classes has one block for each.

    Example:
        >>> from sublabel import Pairs, count
        >>> confusion = count(Pairs([0, 1, 1, 3], [0, 1, 1, 2], weak_vocabulary=4))
        >>> blocks(confusion, Order(np.arange(4), np.arange(4)), most=2)
        array([[3, 0],
               [0, 1]])
    """
    entries = confusion.counts.tocoo()
    (rows, columns), (height, width) = confusion.shape, _block_shape(confusion.shape, most)
    row_position, column_position = np.empty(rows, np.int64), np.empty(columns, np.int64)
    row_position[order.rows], column_position[order.columns] = np.arange(rows), np.arange(columns)
    block = (row_position[entries.row] * height // rows) * width
    block += column_position[entries.col] * width // columns
    summed = np.zeros(height * width, dtype=np.int64)
    np.add.at(summed, block, entries.data)
    return summed.reshape(height, width)


def _block_shape(shape: tuple[int, int], most: int) -> tuple[int, int]:
    return min(shape[0], most), min(shape[1], most)


def busiest(confusion: ConfusionMatrix, alignment: Alignment, order: Order, most: int) -> Order:
    """The rows and columns to show where not all can be: the largest weak classes, and what they go with.

    Args:
        confusion: The counts.
        alignment: Which classes agree.
        order: The order of the whole matrix.
        most: Rows, and columns.

    Returns:
        The same order of at most so many weak and teacher classes.
    """
    if max(confusion.shape) <= most:
        return order
    row_totals = np.asarray(confusion.counts.sum(axis=1)).ravel()
    rows = np.argsort(-row_totals, kind="stable")[:most]
    within = np.asarray(confusion.counts[np.sort(rows)].sum(axis=0)).ravel().astype(float)
    if len(alignment):
        of_rows = alignment.pairs[np.isin(alignment.pairs[:, 0], rows), 1]
        within[of_rows] += row_totals.sum() + 1
    columns = np.argsort(-within, kind="stable")[:most]
    return Order(order.rows[np.isin(order.rows, rows)], order.columns[np.isin(order.columns, columns)])
