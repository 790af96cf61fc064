"""From two arrays to pre-training labels in one call."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sublabel.labels._arrays import first_column
from sublabel.labels.alignment import AlignmentLike
from sublabel.labels.builders import build_confusion
from sublabel.labels.confusion import ConfusionMatrix
from sublabel.labels.space import LabelSpace
from sublabel.labels.spl import RawSPL
from sublabel.labels.strategies import Strategy
from sublabel.labels.vocabulary import VocabularyLike


class Relabeling(NamedTuple):
    """Pre-training labels, and how they came about."""

    labels: np.ndarray
    """int64 (N,), -1 where the sample is dropped."""
    space: LabelSpace
    confusion: ConfusionMatrix


def relabel(
    weak: Any,
    teacher: Any,
    *,
    strategy: Strategy | None = None,
    weak_vocabulary: VocabularyLike,
    teacher_vocabulary: VocabularyLike | None = None,
    alignment: AlignmentLike = None,
    sample_ids: Any = None,
    probabilities: Any = None,
) -> Relabeling:
    """Count, fit and assign: weak labels and teacher predictions in, pre-training classes out.

    Args:
        weak: Weak labels, integers (N,), -1 where there is none.
        teacher: Teacher predictions of the same samples, integers (N,), or (N, k) with the most probable
            first; -1 where there is none.
        strategy: Default: `RawSPL()`, Sub-Pseudo Labels (SPL) as the paper describes them.
        weak_vocabulary: Of the weak labels: a Vocabulary, names, or a number of classes.
        teacher_vocabulary: Of the predictions; None when it is the same.
        alignment: Which classes agree; default: those of equal names.
        sample_ids: Strings or integers (N,), for `MatchedControl`.
        probabilities: The teacher's, of its predictions, floats of the shape of `teacher`, for the strategies
            that look at them: `ConfidentSPL` and `TopKSPL`.

    Returns:
        Labels (N,), the label space, and the confusion matrix.

    Raises:
        LabelError: The arrays do not fit the vocabularies or each other.

    Example:
        >>> result = relabel([0, 0, 1], [0, 1, 1], weak_vocabulary=["baking", "whisking"])
        >>> result.labels
        array([0, 1, 2])
        >>> result.space.names
        ('baking', 'baking × whisking', 'whisking')
    """
    chosen = strategy or RawSPL()
    builder = chosen.counting.start(weak_vocabulary, teacher_vocabulary, alignment)
    confusion = build_confusion(builder, lambda: [(weak, teacher, probabilities)])
    predicted = first_column(teacher)
    space = chosen.fit(confusion, alignment).match_sizes(lambda: [(weak, predicted, sample_ids)])
    confidence = None if probabilities is None else first_column(probabilities)
    return Relabeling(space.assign(weak, predicted, sample_ids, confidence), space, confusion)
