"""Agglomerative clustering of cells by their confusion profiles, in groups, cut at one height."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from scipy import sparse

from sublabel.errors import LabelError

MAX_COMPARED = 4096
"""Cells whose pairs are all compared at once: about 0.4 GB of distances and what makes them."""
Linkage = Literal["average", "complete", "single", "ward"]
Kernel = Callable[[np.ndarray], np.ndarray]
"""From the positions of M cells to the similarity of each two of them, float64 (M, M) in 0–1."""


def profile_kernel(counts: Any, rows: np.ndarray, columns: np.ndarray, *, both: bool) -> Kernel:
    """The Bhattacharyya coefficient of the profiles of any two cells.

    Args:
        counts: CSR int64 (W, T).
        rows: The weak class of each cell, int64 (C,).
        columns: The teacher class of each cell, int64 (C,).
        both: Whether the profiles of rows count as well: the mean of both coefficients. Else columns alone.
    """
    by_column = _similarity(counts.T.tocsr(), columns)
    by_row = _similarity(counts, rows) if both else None

    def similarity(cells: np.ndarray) -> np.ndarray:
        similar = by_column(columns[cells])
        if by_row is not None:
            similar += by_row(rows[cells])
            similar /= 2
        return similar

    return similarity


def merge_similar(
    groups: np.ndarray, kernel: Kernel, method: Linkage, *, merges: int | None, threshold: float
) -> np.ndarray:
    """Merge cells of the same group, the closest first.

    Args:
        groups: The group of each cell, int64 (C,).
        kernel: The similarity of cells.
        method: The linkage.
        merges: How many merges to make; None: all up to the threshold.
        threshold: The largest distance of clusters that are merged, unless `merges` is given.

    Returns:
        The position of the first cell of each cell's cluster, int64 (C,).

    Raises:
        LabelError: A group has too many cells, or fewer merges are possible than are wanted.
    """
    first = np.arange(len(groups))
    if merges is not None and merges <= 0:
        return first
    trees = [(members, _tree(kernel(members), method)) for members in _groups(groups)]
    heights = np.concatenate([tree[:, 2] for _, tree in trees]) if trees else np.empty(0)
    if merges is None:
        made = heights <= threshold
    else:
        if merges > len(heights):
            raise LabelError(
                f"merging all that may be merged makes {len(heights)} classes fewer, and num_classes asks "
                f"for {merges} fewer: raise num_classes by {merges - len(heights)}, or merge over all rows "
                "(within='all')"
            )
        made = np.zeros(len(heights), dtype=bool)
        made[np.argsort(heights, kind="stable")[:merges]] = True
    start = 0
    for members, tree in trees:
        done = int(np.count_nonzero(made[start : start + len(tree)]))
        first[members] = members[_cut(tree[:done, :2].astype(np.int64), len(members))]
        start += len(tree)
    return first


def _groups(groups: np.ndarray) -> Iterator[np.ndarray]:
    """The positions of the cells of each group of two or more, in order."""
    order = np.argsort(groups, kind="stable")
    _, starts = np.unique(groups[order], return_index=True)
    for members in np.split(order, starts[1:]):
        if len(members) > MAX_COMPARED:
            raise LabelError(
                f"{len(members)} disagreed cells would be compared pair by pair, and at most {MAX_COMPARED} "
                "can be: fold rare cells first (of.min_count), or merge within rows only (within='row')"
            )
        if len(members) > 1:
            yield members


def _similarity(profiles: Any, wanted: np.ndarray) -> Kernel:
    """The similarity of rows of a CSR matrix of counts; only the wanted ones are ever compared."""
    lengths = np.diff(profiles.indptr)
    sums = np.repeat(np.asarray(profiles.sum(axis=1), dtype=np.float64), lengths)
    entries: Any = (np.sqrt(profiles.data / sums), profiles.indices, profiles.indptr)
    roots = sparse.csr_array(entries, shape=profiles.shape)
    distinct = np.unique(wanted)
    whole = _gram(roots[distinct]) if len(distinct) <= MAX_COMPARED else None

    def similarity(labels: np.ndarray) -> np.ndarray:
        if whole is None:
            return _gram(roots[labels])
        positions = np.searchsorted(distinct, labels)
        return np.asarray(whole[np.ix_(positions, positions)])

    return similarity


def _gram(roots: Any) -> np.ndarray:
    return np.asarray((roots @ roots.T).toarray())


def _tree(similarity: np.ndarray, method: Linkage) -> np.ndarray:
    """The linkage of scipy, float64 (M - 1, 4)."""
    # A third of a second, which only those who merge should wait.
    from scipy.cluster.hierarchy import linkage

    upper = similarity[np.triu_indices(len(similarity), 1)]
    # Equal profiles must tie, whatever the last digits of their sums are.
    distance = np.sqrt(np.maximum(1 - np.round(upper, 9), 0))
    return np.asarray(linkage(distance, method))


def _cut(tree: np.ndarray, leaves: int) -> np.ndarray:
    """The first leaf of each leaf's cluster after the given merges, int64 (leaves,)."""
    root = np.arange(leaves + len(tree))
    smallest = root.copy()
    for step, (left, right) in enumerate(tree.tolist()):
        smallest[leaves + step] = min(smallest[left], smallest[right])
    for step in range(len(tree) - 1, -1, -1):
        root[tree[step]] = root[leaves + step]
    return np.asarray(smallest[root[:leaves]])
