"""Which weak class agrees with which teacher class (ours: the paper's two vocabularies are the same)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Union

import numpy as np

from sublabel.errors import LabelError
from sublabel.labels._arrays import DENSE_CELLS, check_range
from sublabel.labels._columns import read_column
from sublabel.labels.vocabulary import Vocabulary, VocabularyLike

AlignmentLike = Union["Alignment", Mapping[str, "str | Iterable[str]"], None]


class Alignment:
    """A relation between weak and teacher classes, many-to-many.

    Args:
        weak_vocabulary: The W weak classes.
        teacher_vocabulary: The T teacher classes.
        pairs: (weak id, teacher id) of every two classes that agree.

    Attributes:
        pairs: int64 (P, 2), sorted, unique.

    Raises:
        LabelError: An id is outside its vocabulary.

    Example:
        >>> queries, classes = Vocabulary(["bake cookies", "abseil"]), Vocabulary(["abseiling", "baking"])
        >>> alignment = Alignment.from_mapping({"abseil": "abseiling"}, queries, classes)
        >>> alignment.aligned(np.array([0, 1]), np.array([1, 0]))
        array([False,  True])
    """

    def __init__(
        self,
        weak_vocabulary: VocabularyLike,
        teacher_vocabulary: VocabularyLike,
        pairs: Iterable[tuple[int, int]] | np.ndarray,
    ) -> None:
        self.weak_vocabulary = Vocabulary.of(weak_vocabulary)
        self.teacher_vocabulary = Vocabulary.of(teacher_vocabulary)
        try:
            listed = np.array(list(pairs))
        except ValueError as error:
            raise LabelError(
                f"the pairs of an alignment are not all (weak id, teacher id): {error}"
            ) from error
        if listed.size == 0:
            listed = np.empty((0, 2), dtype=np.int64)
        if listed.ndim != 2 or listed.shape[1] != 2:
            raise LabelError(
                f"the pairs of an alignment have shape {listed.shape}; expected (P, 2): (weak id, teacher id)"
            )
        weak, teacher = (
            _checked_ids(listed[:, axis], vocabulary, name)
            for axis, (name, vocabulary) in enumerate(
                (("weak", self.weak_vocabulary), ("teacher", self.teacher_vocabulary))
            )
        )
        self._cells = np.unique(weak.astype(np.int64) * len(self.teacher_vocabulary) + teacher)
        self.pairs = np.stack(np.divmod(self._cells, len(self.teacher_vocabulary)), axis=1)
        self._table: np.ndarray | None = None
        if len(self.weak_vocabulary) * len(self.teacher_vocabulary) <= DENSE_CELLS:
            self._table = np.zeros(len(self.weak_vocabulary) * len(self.teacher_vocabulary), dtype=bool)
            self._table[self._cells] = True

    @classmethod
    def by_name(cls, weak_vocabulary: VocabularyLike, teacher_vocabulary: VocabularyLike) -> Alignment:
        """Classes of equal names agree; there may be none."""
        weak, teacher = Vocabulary.of(weak_vocabulary), Vocabulary.of(teacher_vocabulary)
        return cls(
            weak,
            teacher,
            [(label, teacher.index(name)) for label, name in enumerate(weak) if name in teacher],
        )

    @classmethod
    def from_mapping(
        cls,
        mapping: Mapping[str, str | Iterable[str]],
        weak_vocabulary: VocabularyLike,
        teacher_vocabulary: VocabularyLike,
    ) -> Alignment:
        """Each weak name agrees with one teacher name or with several; those left out agree with none.

        Raises:
            LabelError: A name is in neither vocabulary.
        """
        weak, teacher = Vocabulary.of(weak_vocabulary), Vocabulary.of(teacher_vocabulary)
        pairs = [
            (weak.index(name), teacher.index(other))
            for name, others in mapping.items()
            for other in ([others] if isinstance(others, str) or not isinstance(others, Iterable) else others)
        ]
        return cls(weak, teacher, pairs)

    @classmethod
    def of(
        cls, value: AlignmentLike, weak_vocabulary: VocabularyLike, teacher_vocabulary: VocabularyLike
    ) -> Alignment:
        """An alignment of these vocabularies: itself, from a mapping of names, or by equal names for None.

        Raises:
            LabelError: The alignment is over other vocabularies.
        """
        if value is None:
            return cls.by_name(weak_vocabulary, teacher_vocabulary)
        if not isinstance(value, (Alignment, Mapping)):
            raise LabelError(
                f"expected an Alignment, a mapping of weak names to teacher names, or None, and got {value!r}"
            )
        if not isinstance(value, Alignment):
            return cls.from_mapping(value, weak_vocabulary, teacher_vocabulary)
        weak, teacher = Vocabulary.of(weak_vocabulary), Vocabulary.of(teacher_vocabulary)
        if (value.weak_vocabulary, value.teacher_vocabulary) != (weak, teacher):
            raise LabelError(
                f"the alignment is over {value.weak_vocabulary!r} × {value.teacher_vocabulary!r}, the "
                f"labels are over {weak!r} × {teacher!r}: build it from the same vocabularies"
            )
        return value

    def aligned(self, weak: np.ndarray, teacher: np.ndarray) -> np.ndarray:
        """Whether pairs of classes agree, bool of the shape that both broadcast to; nothing is checked.

        Args:
            weak: int64, each in 0..W-1; what is said of a -1 means nothing.
            teacher: Integers, each in 0..T-1; what is said of a -1 means nothing.
        """
        cells = weak * len(self.teacher_vocabulary) + teacher
        if self._table is None:
            return np.isin(cells, self._cells)
        # "wrap" only serves cells of -1.
        found: np.ndarray = np.take(self._table, cells, mode="wrap")
        return found

    def __len__(self) -> int:
        return len(self.pairs)

    def __repr__(self) -> str:
        return (
            f"Alignment({len(self)} pairs of {len(self.weak_vocabulary)} weak × "
            f"{len(self.teacher_vocabulary)} teacher classes)"
        )


def _checked_ids(ids: np.ndarray, vocabulary: Vocabulary, axis: str) -> np.ndarray:
    column = read_column(ids, f"{axis} class of an alignment")
    if column.names is not None:
        raise LabelError(
            "the pairs of an alignment are ids; for names use Alignment.from_mapping, or give the "
            "mapping itself"
        )
    check_range(column.values, len(vocabulary), axis)
    if (column.values < 0).any():
        raise LabelError("an alignment pairs classes; it cannot hold -1 (abstained)")
    return column.values
