"""Weak label and teacher prediction of the same samples: what all else is made of, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from sublabel.errors import LabelError
from sublabel.labels._arrays import check_range, read_features, read_only
from sublabel.labels._columns import Column, is_of, read_column
from sublabel.labels._rows import unpacked
from sublabel.labels._sample_ids import read_sample_ids, refuse_repeated
from sublabel.labels._teacher import Ranked, read_teacher
from sublabel.labels.vocabulary import Vocabulary, VocabularyLike

MOST_INFERRED = 1_000_000
"""So many classes are made of integers at most: larger ones are hashes, or numbers of samples."""


@dataclass(frozen=True, eq=False, init=False)
class Pairs:
    """Weak label and teacher prediction of N samples, over two vocabularies.

    Everything is checked here, once; all that takes pairs trusts them. Integer arrays are not copied: do not
    write to them afterwards.

    Args:
        weak: Weak labels (N,): names or integer ids, as a list, a NumPy, pandas, Polars, Arrow, torch or JAX
            array. None, NaN, NA, null and -1 abstain.
        teacher: The teacher's predictions of the same samples, in one of four forms: names or ids (N,); its
            k most probable classes (N, k), most probable first, also as lists of up to k; a tuple of these
            classes and their probabilities, both (N, k), or what `torch.topk` returns; or the probabilities
            of all T classes, floats (N, T), also as a table with a column for each class.
        weak_vocabulary: The weak classes: names, `{id: name}`, a `Vocabulary`, or a number of classes.
            Default: the sorted names; of integers, one class for each number from 0 to the largest.
        teacher_vocabulary: The teacher's classes, in the same forms. Default: the columns of a table of
            probabilities; else the weak vocabulary where that is given, or the sorted names. Where both sides
            are integers and no vocabulary is given, they share one.
        sample_ids: Strings or integers (N,), no two the same; a matched control needs them.
        probabilities: The teacher's, of the classes given as `teacher`, floats of the same shape in 0–1.
        features: What a network saw in each sample, floats (N, D), such as the teacher's before its head;
            NaN where there are none.

    Attributes:
        weak: Integers (N,), -1 where there is no weak label; read-only.
        teacher: Integers (N,), the most probable class, -1 where there is no prediction; read-only.
        top_ids: Integers (N, k), the most probable first, -1 after the last; None without them.
        top_probs: Floats (N, k) in 0–1, 0 beside -1; None without them.
        sample_ids: Strings or integers (N,), or None.
        features: float32 (N, D), or None.

    Raises:
        LabelError: Lengths, types, ranges or the indexes of pandas objects do not fit; a class stands twice
            in a row of the teacher's, or probabilities are no probabilities or do not fall.

    Example:
        >>> pairs = Pairs(["bake", "bake", None], ["bake", "whisk", "whisk"])
        >>> pairs.weak, pairs.teacher, list(pairs.teacher_vocabulary)
        (array([ 0,  0, -1]), array([0, 1, 1]), ['bake', 'whisk'])
        >>> Pairs([0, 1], [[0.9, 0.1], [0.2, 0.8]], weak_vocabulary=["bake", "whisk"]).top_probs
        array([[0.9, 0.1],
               [0.8, 0.2]])
    """

    weak: np.ndarray
    teacher: np.ndarray
    weak_vocabulary: Vocabulary
    teacher_vocabulary: Vocabulary
    sample_ids: np.ndarray | None
    top_ids: np.ndarray | None
    top_probs: np.ndarray | None
    features: np.ndarray | None

    def __init__(
        self,
        weak: Any,
        teacher: Any,
        *,
        weak_vocabulary: VocabularyLike | None = None,
        teacher_vocabulary: VocabularyLike | None = None,
        sample_ids: Any = None,
        probabilities: Any = None,
        features: Any = None,
    ) -> None:
        classes, beside = unpacked(teacher) or (teacher, probabilities)
        _refuse_other_indexes(
            {
                "weak labels": weak,
                "teacher predictions": classes,
                "probabilities": beside,
                "sample_ids": sample_ids,
            }
        )
        weak_column, ranked = read_column(weak, "weak label"), read_teacher(teacher, probabilities)
        if len(weak_column.values) != len(ranked):
            raise LabelError(
                f"got {len(weak_column.values)} weak labels and {len(ranked)} teacher predictions; expected "
                "one of each for every sample: join them on their sample ids first"
            )
        given = [
            None if value is None else Vocabulary.of(value) for value in (weak_vocabulary, teacher_vocabulary)
        ]
        mine, theirs = _vocabularies(weak_column, ranked, *given)
        ids, probs = ranked.resolve(theirs)
        self._set(
            _encoded(weak_column, mine, "weak"),
            np.ascontiguousarray(ids[:, 0]) if ids.ndim == 2 else ids,
            mine,
            theirs,
            None if sample_ids is None else read_sample_ids(sample_ids, len(ranked)),
            ids if ids.ndim == 2 else None if probs is None else ids[:, None],
            probs if probs is None or probs.ndim == 2 else probs[:, None],
            None if features is None else read_features(features, len(ranked)),
        )

    @classmethod
    def trusted(
        cls,
        weak: np.ndarray,
        teacher: np.ndarray,
        weak_vocabulary: Vocabulary,
        teacher_vocabulary: Vocabulary,
        *,
        sample_ids: np.ndarray | None = None,
        top_ids: np.ndarray | None = None,
        top_probs: np.ndarray | None = None,
        features: np.ndarray | None = None,
    ) -> Self:
        """Pairs of arrays that were checked elsewhere, such as by whoever decoded a table.

        Args:
            weak: Integers (N,), each in -1..W-1.
            teacher: Integers (N,), each in -1..T-1.
            weak_vocabulary: The W weak classes.
            teacher_vocabulary: The T teacher classes.
            sample_ids: Distinct strings or integers (N,).
            top_ids: Integers (N, k), whose first column is `teacher`.
            top_probs: Floats (N, k).
            features: float32 (N, D).
        """
        pairs = object.__new__(cls)
        vocabularies = weak_vocabulary, teacher_vocabulary
        pairs._set(weak, teacher, *vocabularies, sample_ids, top_ids, top_probs, features)
        return pairs

    def _set(
        self,
        weak: np.ndarray,
        teacher: np.ndarray,
        weak_vocabulary: Vocabulary,
        teacher_vocabulary: Vocabulary,
        *optional: np.ndarray | None,
    ) -> None:
        """Set all fields in their order: weak, teacher, their vocabularies, then what may be missing."""
        arrays = [None if array is None else read_only(array) for array in (weak, teacher, *optional)]
        values = (*arrays[:2], weak_vocabulary, teacher_vocabulary, *arrays[2:])
        for name, value in zip(self.__dataclass_fields__, values, strict=True):
            object.__setattr__(self, name, value)

    @property
    def abstained(self) -> int:
        """Samples without a weak label or without a prediction."""
        return int(np.count_nonzero((self.weak < 0) | (self.teacher < 0)))

    def need_sample_ids(self) -> np.ndarray:
        """The sample ids, for what draws by them.

        Raises:
            LabelError: There are none.
        """
        if self.sample_ids is None:
            raise LabelError(
                f"a matched control draws by sample id, and these {len(self)} pairs have none: give Pairs "
                "its sample_ids"
            )
        return self.sample_ids

    def refuse_repeated_ids(self) -> None:
        """Refuse pairs in which positions took a sample twice, for what joins on its id.

        Raises:
            LabelError: A sample id stands twice.
        """
        if self.sample_ids is not None:
            refuse_repeated(self.sample_ids)

    def need_probabilities(self) -> tuple[np.ndarray, np.ndarray]:
        """The teacher's classes and their probabilities, both (N, k), for what looks at them.

        Raises:
            LabelError: There are no probabilities.
        """
        if self.top_ids is None or self.top_probs is None:
            raise LabelError(
                f"this needs the teacher's probabilities, and these {len(self)} pairs have none: give Pairs "
                "(top_ids, top_probs) or the probabilities of all classes as `teacher`"
            )
        return self.top_ids, self.top_probs

    def need_features(self) -> np.ndarray:
        """The features, float32 (N, D), for what looks at them.

        Raises:
            LabelError: There are none.
        """
        if self.features is None:
            raise LabelError(
                f"this needs features, and these {len(self)} pairs have none: give Pairs its features, let "
                "the teacher's pass keep them, or read a table of predictions with them"
            )
        return self.features

    def __len__(self) -> int:
        return len(self.weak)

    def __getitem__(self, rows: slice | np.ndarray) -> Pairs:
        """Some of the pairs: a slice, a mask bool (N,), or positions.

        Raises:
            LabelError: It is a single position, a mask of another length, or no positions of these pairs.
        """
        try:
            weak = self.weak[rows]
        except IndexError as error:
            raise LabelError(
                f"{self!r} takes a slice, a mask of its length or positions ({error})"
            ) from error
        if weak.ndim != 1:
            raise LabelError(
                f"{self!r} takes a slice, a mask or positions, and got {rows!r}: give [{rows!r}]"
            )
        optional = (self.sample_ids, self.top_ids, self.top_probs, self.features)
        ids, top_ids, top_probs, features = (None if array is None else array[rows] for array in optional)
        return Pairs.trusted(
            weak,
            self.teacher[rows],
            self.weak_vocabulary,
            self.teacher_vocabulary,
            sample_ids=ids,
            top_ids=top_ids,
            top_probs=top_probs,
            features=features,
        )

    def __repr__(self) -> str:
        return (
            f"Pairs({len(self):,} samples, {len(self.weak_vocabulary)} weak × {len(self.teacher_vocabulary)} "
            f"teacher classes, {self.abstained:,} abstained)"
        )


def need_pairs(value: Any, what: str) -> Pairs:
    """The value, if it is pairs.

    Args:
        value: What a caller gave.
        what: Who takes it, such as "count".

    Raises:
        LabelError: It is something else.
    """
    if not isinstance(value, Pairs):
        raise LabelError(
            f"{what} takes Pairs and got {type(value).__name__}: make them with sublabel.Pairs(weak, teacher)"
        )
    return value


def check_pairs(pairs: Any, weak: Vocabulary, teacher: Vocabulary, what: str) -> None:
    """Refuse what is no pairs, and pairs of other vocabularies than those that something was made for.

    Args:
        pairs: What a caller gave.
        weak: The weak vocabulary that it was made for.
        teacher: The teacher's vocabulary that it was made for.
        what: What was made, such as "this label space".

    Raises:
        LabelError: It is something else, or either vocabulary differs.
    """
    need_pairs(pairs, what)
    for axis, expected, got in (
        ("weak", weak, pairs.weak_vocabulary),
        ("teacher", teacher, pairs.teacher_vocabulary),
    ):
        if expected is not got and expected != got:
            raise LabelError(
                f"{what} is over the {axis} vocabulary {expected!r}, the labels are over {got!r}: make both "
                f"with the same {axis}_vocabulary"
            )


def _vocabularies(
    weak: Column, ranked: Ranked, mine: Vocabulary | None, theirs: Vocabulary | None
) -> tuple[Vocabulary, Vocabulary]:
    """The given vocabularies, or those that the labels tell."""
    if theirs is None and mine is not None and ranked.columns is None:
        theirs = mine
    if theirs is None and ranked.columns is not None:
        # The same classes in another order are the weak ones: labels go by name.
        same = mine is not None and set(ranked.columns) == set(mine)
        theirs = mine if same else Vocabulary(ranked.columns)
    if mine is not None and theirs is not None:
        return mine, theirs
    shared = max(_largest(weak), ranked.largest) if weak.names is None and ranked.names is None else -1
    if mine is None:
        mine = _inferred(weak.names, max(shared if theirs is None else -1, _largest(weak)), "weak")
    if theirs is None:
        theirs = _inferred(ranked.names, max(shared, ranked.largest), "teacher")
    return mine, theirs


def _inferred(names: list[str] | None, largest: int, axis: str) -> Vocabulary:
    if names is not None:
        if "" in names:
            raise LabelError(f"a {axis} label is the empty string; expected None where there is none")
        return Vocabulary(sorted(names))
    if largest < 0:
        raise LabelError(f"there is no {axis} label to make a vocabulary of: give the {axis}_vocabulary")
    if largest >= MOST_INFERRED:
        raise LabelError(
            f"the largest {axis} label is {largest}, which would make as many classes; expected ids below "
            f"{MOST_INFERRED:,} without a vocabulary: give labels as strings, or the {axis}_vocabulary"
        )
    return Vocabulary.of(largest + 1)


def _largest(column: Column) -> int:
    return int(column.values.max(initial=-1))


def _encoded(column: Column, vocabulary: Vocabulary, axis: str) -> np.ndarray:
    if column.names is not None:
        return vocabulary.encode_column(column, f"{axis} label")
    check_range(column.values, len(vocabulary), axis)
    return column.values


def _refuse_other_indexes(values: dict[str, Any]) -> None:
    """Two pandas objects with other indexes are other samples: they are never joined by position."""
    indexed = {
        name: value.index
        for name, value in values.items()
        if is_of(value, "pandas") and callable(getattr(value, "reindex", None))
        if hasattr(value, "index") and hasattr(value.index, "equals")
    }
    first, *others = indexed or [""]
    for name in others:
        if not indexed[name].equals(indexed[first]):
            raise LabelError(
                f"the pandas indexes of {first} and {name} differ ({_shown(indexed[first])} and "
                f"{_shown(indexed[name])}): join them on their index first, or, where position is what is "
                "meant, call .reset_index(drop=True) on both"
            )


def _shown(index: Any) -> str:
    return f"{list(index[:3])!r}{' …' if len(index) > 3 else ''}, {len(index)} rows"
