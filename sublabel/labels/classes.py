"""What each class of a label space holds, as arrays: millions of classes are no objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from sublabel.labels.vocabulary import Vocabulary

Kind = Literal["weak", "teacher", "agreed", "disagreed", "other", "merged", "unsure"]
KINDS: tuple[Kind, ...] = get_args(Kind)
CODES: dict[Kind, int] = {kind: code for code, kind in enumerate(KINDS)}


@dataclass(frozen=True, eq=False)
class Classes:
    """The K classes of a label space, one entry of each array a class.

    The arrays are read-only. Names are made when they are asked for, from the kind and the two labels.
    """

    kind: np.ndarray
    """uint8 (K,), positions in `KINDS`."""
    size: np.ndarray
    """int64 (K,), samples of the class in the confusion matrix that the space was fitted on."""
    weak: np.ndarray
    """int64 (K,), the weak class whose row it lies in; -1 where it is not of one row."""
    teacher: np.ndarray
    """int64 (K,), the teacher class of its cell or column; -1 where it covers several."""
    given_names: Mapping[int, str] = field(default_factory=dict)
    """Label → name, where kind, row and column do not tell it: of merged classes, and of your own."""

    def __post_init__(self) -> None:
        for name, dtype in (
            ("kind", np.uint8),
            ("size", np.int64),
            ("weak", np.int64),
            ("teacher", np.int64),
        ):
            array = np.array(getattr(self, name), dtype=dtype)
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @classmethod
    def of_kind(cls, kind: Kind, size: Any, *, weak: Any = None, teacher: Any = None) -> Classes:
        """Classes of one kind; labels that are not given are -1."""
        length = len(size)
        none = np.full(length, -1)
        return cls(
            np.full(length, CODES[kind]),
            size,
            none if weak is None else weak,
            none if teacher is None else teacher,
        )

    def __len__(self) -> int:
        return len(self.size)

    def insert(self, others: Classes) -> tuple[Classes, np.ndarray]:
        """These classes and others of the same rows, each row's others after its own.

        Returns:
            The K + M classes, and where each of both went, int64 (K + M,).
        """
        weak = np.concatenate([self.weak, others.weak])
        order = np.argsort(weak, kind="stable")
        # label[c]: the new label of class c, first of these, then of the others, (K + M,)
        label = np.empty(len(order), dtype=np.int64)
        label[order] = np.arange(len(order))
        joined = Classes(
            np.concatenate([self.kind, others.kind])[order],
            np.concatenate([self.size, others.size])[order],
            weak[order],
            np.concatenate([self.teacher, others.teacher])[order],
            {int(label[old]): name for old, name in self.given_names.items()},
        )
        return joined, label

    def is_kind(self, *kinds: Kind) -> np.ndarray:
        """Which classes are of any of these kinds, bool (K,)."""
        return np.isin(self.kind, [CODES[kind] for kind in kinds])

    def agreed_cells_by_row(self) -> np.ndarray:
        """How many agreed cells of each row are classes, int64 (max weak + 1,)."""
        chosen = self.is_kind("agreed") & (self.teacher >= 0) & (self.weak >= 0)
        return np.bincount(self.weak[chosen], minlength=int(self.weak.max(initial=0)) + 1)


def class_name(
    classes: Classes, label: int, weak_names: Vocabulary, teacher_names: Vocabulary, agreed_cells: int
) -> str:
    """The name of one class: `baking cookies`, or `baking cookies × whisking eggs`.

    Args:
        classes: All classes of the space.
        label: The class.
        weak_names: The names of the rows.
        teacher_names: The names of the columns.
        agreed_cells: How many agreed cells of its row are classes: with several, each names its teacher's.
    """
    if label in classes.given_names:
        return classes.given_names[label]
    kind, weak, teacher = KINDS[classes.kind[label]], int(classes.weak[label]), int(classes.teacher[label])
    if weak < 0:
        return teacher_names[teacher]
    if kind == "weak" or (kind == "agreed" and (teacher < 0 or agreed_cells < 2)):
        return weak_names[weak]
    if teacher < 0:
        return f"{weak_names[weak]} × ({kind})"
    return f"{weak_names[weak]} {'=' if kind == 'agreed' else '×'} {teacher_names[teacher]}"
