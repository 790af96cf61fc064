"""Pairs of classes that look like one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse

from sublabel.inspection._view import View
from sublabel.inspection.findings import SimilarPair
from sublabel.labels import Alignment, ConfusionMatrix

SAME_PROFILE = 0.9
"""Cosine similarity of two rows from which two weak classes look like one."""
MUTUAL = 0.25
"""Share of each of two classes that goes to the other, from which they look like one."""
SAME_AS_TEACHER = 0.6
"""Share of a weak class without a counterpart that goes to one teacher class, from which that is it."""
ENOUGH_SAMPLES = 20
"""Weak classes with fewer samples are not compared."""
MOST_PAIRS = 50

# Cells below this share of a row's length in its profile are noise; the cosine without them is a lower bound.
_PROFILE_FLOOR = 0.1
_ROWS_AT_ONCE = 256


def similar_pairs(view: View, confusion: ConfusionMatrix, aligned: Alignment) -> tuple[SimilarPair, ...]:
    """Pairs of classes that look like one, at most `MOST_PAIRS` of each kind.

    Args:
        view: The matrix as arrays.
        confusion: The matrix, for the names.
        aligned: Which classes agree.
    """
    weak, teacher = confusion.weak_vocabulary, confusion.teacher_vocabulary
    comparable = view.samples >= ENOUGH_SAMPLES
    scale = np.where(comparable, 1 / np.maximum(view.samples, 1), 0.0)
    shares = sparse.diags_array(scale) @ view.counts
    found = [
        SimilarPair("same_profile", weak[first], weak[second], min(score, 1.0))
        for first, second, score in _same_profiles(shares)
    ]
    found += [
        SimilarPair("mutual", weak[first], weak[second], score)
        for first, second, score in _mutual(shares, aligned)
    ]
    cells = np.flatnonzero(~view.has_counterpart[view.cells.weak] & comparable[view.cells.weak])
    share = view.cells.count[cells] / view.samples[view.cells.weak[cells]]
    likely = np.flatnonzero(share >= SAME_AS_TEACHER)
    found += [
        SimilarPair(
            "weak_teacher", weak[view.cells.weak[cell]], teacher[view.cells.teacher[cell]], float(score)
        )
        for cell, score in _best(cells[likely], share[likely])
    ]
    return tuple(found)


def _same_profiles(shares: Any) -> list[tuple[int, int, float]]:
    """Rows whose cosine similarity, their small cells left out, reaches `SAME_PROFILE`."""
    length = np.sqrt(np.asarray(shares.multiply(shares).sum(axis=1)).ravel())
    profiles = sparse.csr_array(sparse.diags_array(1 / np.where(length > 0, length, 1)) @ shares)
    profiles.data[profiles.data < _PROFILE_FLOOR] = 0
    profiles.eliminate_zeros()
    other = profiles.T.tocsr()
    best: list[tuple[int, int, float]] = []
    for start in range(0, profiles.shape[0], _ROWS_AT_ONCE):
        block = (profiles[start : start + _ROWS_AT_ONCE] @ other).tocoo()
        chosen = (block.data >= SAME_PROFILE) & (block.row + start < block.col)
        pairs = np.stack([block.row[chosen] + start, block.col[chosen]], axis=1)
        best += [
            (int(pair[0]), int(pair[1]), float(score)) for pair, score in _best(pairs, block.data[chosen])
        ]
        best = sorted(best, key=lambda entry: -entry[2])[:MOST_PAIRS]
    return best


def _mutual(shares: Any, aligned: Alignment) -> list[tuple[int, int, float]]:
    """Weak classes of which each goes to the other's teacher classes in at least `MUTUAL` of its samples."""
    weak, teacher = aligned.pairs.T
    counterpart: Any = sparse.csr_array((np.ones(len(weak)), (teacher, weak)), shape=shares.shape[::-1])
    taken_for = sparse.csr_array(shares @ counterpart)
    taken_for.data[taken_for.data < MUTUAL] = 0
    taken_for.eliminate_zeros()
    both = sparse.csr_array(taken_for.minimum(taken_for.T)).tocoo()
    chosen = both.row < both.col
    pairs = np.stack([both.row[chosen], both.col[chosen]], axis=1)
    return _best_pairs(pairs, both.data[chosen])


def _best_pairs(pairs: np.ndarray, scores: np.ndarray) -> list[tuple[int, int, float]]:
    return [(int(pair[0]), int(pair[1]), float(score)) for pair, score in _best(pairs, scores)]


def _best(items: np.ndarray, scores: np.ndarray) -> Iterator[tuple[Any, float]]:
    """The items with the highest scores, at most `MOST_PAIRS`."""
    order = np.argsort(-scores, kind="stable")[:MOST_PAIRS]
    return zip(items[order], scores[order], strict=True)
