"""What the outputs of a student stand for: the classes of a space, or the labels of its two heads."""

from __future__ import annotations

import numpy as np

from sublabel.labels import LabelSpace


def output_names(space: LabelSpace) -> tuple[str, ...]:
    """A name for each output of a student: those of the classes, or of both vocabularies for two heads."""
    if not space.two_heads:
        return space.names
    weak, teacher = space.weak_vocabulary, space.teacher_vocabulary
    return (*(f"weak: {name}" for name in weak), *(f"teacher: {name}" for name in teacher))


def output_labels(space: LabelSpace, labels: np.ndarray) -> np.ndarray:
    """The outputs that samples belong to: one of each head.

    Args:
        space: What the student was trained on.
        labels: Those that `assign` gave, int64 (N,), each in -1..K-1.

    Returns:
        Positions in `output_names`, int64 (N, 1), or (N, 2) of a two-head space; -1 where the label is.

    Raises:
        LabelError: A label is outside the space.

    Example:
        >>> from sublabel import ConfusionMatrix, TwoHead
        >>> space = TwoHead().fit(ConfusionMatrix.from_labels([0, 1], [0, 0], weak_vocabulary=["cat", "dog"]))
        >>> [[output_names(space)[output] for output in row] for row in output_labels(space, np.array([1]))]
        [['weak: dog', 'teacher: cat']]
    """
    targets = space.head_targets(labels)
    starts = np.cumsum([0, *space.heads[:-1]])
    return np.where(targets < 0, -1, targets + starts)
