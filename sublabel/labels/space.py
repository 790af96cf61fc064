"""The frozen result of a strategy: a class or -1 for every (weak, teacher) cell; every class has a name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from sublabel.errors import LabelError
from sublabel.files import write_atomically
from sublabel.html import html_table
from sublabel.labels import _serial
from sublabel.labels._arrays import (
    DENSE_CELLS,
    check_pair,
    check_probabilities,
    check_sample_ids,
    iter_cells,
)
from sublabel.labels._shuffle import Shuffle
from sublabel.labels._soft import soft_rows
from sublabel.labels.classes import KINDS, Classes, Kind, class_name
from sublabel.labels.vocabulary import Vocabulary

LISTED_CHUNK = 1 << 20
"""Samples that are looked up at a time in a space too large for a table."""
SHOWN_IN_NOTEBOOK = 10


@dataclass(frozen=True)
class ClassDescription:
    """One class in words: what `LabelSpace.describe` returns."""

    label: int
    name: str
    kind: Kind
    size: int
    weak: str | None
    teacher: str | None

    def __str__(self) -> str:
        return f"{self.label}: {self.name} ({self.kind}, {self.size} samples)"


@dataclass(frozen=True, eq=False)
class LabelSpace:
    """A map from (weak, teacher) cells to dense class ids 0..K-1, or -1 for dropped.

    Stored as one default for each row and column and a sorted list of cells that differ, so that large
    vocabularies stay small. A cell's label is its own entry if it has one, else its row's default, else (-1
    there) its column's.

    Strategies make spaces; users call `assign`.
    """

    weak_vocabulary: Vocabulary
    teacher_vocabulary: Vocabulary
    classes: Classes
    row_default: np.ndarray
    """int64 (W,)."""
    column_default: np.ndarray
    """int64 (T,)."""
    cells: np.ndarray
    """int64 (C,), weak × T + teacher, sorted."""
    cell_labels: np.ndarray
    """int64 (C,)."""
    strategy: dict[str, Any]
    """The options of the strategy that made it."""
    control_seed: int | None = None
    """Of a matched control: `assign` then draws the disagreed classes by sample id."""
    control_cuts: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """int64, one for each class that is drawn, where `match_sizes` found which draws make it; else empty."""
    thresholds: np.ndarray = field(default_factory=lambda: np.empty(0))
    """float64 (T,) where samples below their teacher class's threshold are unsure, else empty."""
    unsure_labels: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """int64 (W,), the class of a row's unsure samples, -1 where it has none; empty without thresholds."""
    top_k: int | None = None
    """How many of the teacher's classes soft targets look at; None: all that they are given."""
    two_heads: bool = False
    """Whether a student has one head for the weak label and one for the teacher's."""
    _cache: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Make the arrays read-only: the look-up table and the fingerprint are computed from them once."""
        for name in _serial.ARRAYS:
            # A copy of ours, so that the caller's own array stays writable.
            array = np.array(getattr(self, name), dtype=np.float64 if name == "thresholds" else np.int64)
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @property
    def num_classes(self) -> int:
        """K, the width of the pre-training head."""
        return len(self.classes)

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each class: `baking cookies`, or `baking cookies × whisking eggs`."""
        names: tuple[str, ...] = self._cached("names", lambda: tuple(map(self._name, range(len(self)))))
        return names

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """For each class one of `KINDS`: `agreed`, `disagreed`, `other` (a row's rare cells) and so on."""
        return tuple(KINDS[code] for code in self.classes.kind.tolist())

    @property
    def sizes(self) -> np.ndarray:
        """Samples of each class when the space was fitted, int64 (K,), read-only."""
        return self.classes.size

    @property
    def heads(self) -> tuple[int, ...]:
        """The widths of the student's heads: (K,), or (W, T) of a two-head space."""
        if self.two_heads:
            return len(self.weak_vocabulary), len(self.teacher_vocabulary)
        return (self.num_classes,)

    @property
    def needs_sample_ids(self) -> bool:
        """Whether `assign` needs `sample_ids`: for a matched control it does."""
        return self.control_seed is not None

    @property
    def needs_confidence(self) -> bool:
        """Whether `assign` needs `confidence`: where there are thresholds it does."""
        return len(self.thresholds) > 0

    def describe(self, label: int) -> ClassDescription:
        """One class in words.

        Raises:
            LabelError: The label is not in 0..K-1.
        """
        if not 0 <= label < len(self):
            raise LabelError(f"label {label} is outside this space of {len(self)} classes; they count from 0")
        weak, teacher = int(self.classes.weak[label]), int(self.classes.teacher[label])
        return ClassDescription(
            label=int(label),
            name=self._name(int(label)),
            kind=KINDS[self.classes.kind[label]],
            size=int(self.classes.size[label]),
            weak=None if weak < 0 else self.weak_vocabulary[weak],
            teacher=None if teacher < 0 else self.teacher_vocabulary[teacher],
        )

    def _name(self, label: int) -> str:
        by_row = self._cached("agreed_cells", self.classes.agreed_cells_by_row)
        agreed_cells = int(by_row[self.classes.weak[label]])
        return class_name(self.classes, label, self.weak_vocabulary, self.teacher_vocabulary, agreed_cells)

    def assign(self, weak: Any, teacher: Any, sample_ids: Any = None, confidence: Any = None) -> np.ndarray:
        """The class of each sample.

        Args:
            weak: Weak labels, integers (N,), -1 where there is none.
            teacher: Teacher predictions, integers (N,), -1 where there is none.
            sample_ids: Strings or integers (N,); only a matched control looks at them, and it needs them.
            confidence: The teacher's probability of its prediction, floats (N,) in 0–1; only a space with
                thresholds looks at it, and it needs it.

        Returns:
            int64 (N,); -1 where either side abstained or the cell is dropped.

        Raises:
            LabelError: The arrays do not fit the vocabularies or each other, or one that is needed is not
                given.
        """
        weak, teacher = check_pair(weak, teacher, self.weak_vocabulary, self.teacher_vocabulary)
        labels = self._look_up(weak, teacher)
        if self.needs_confidence:
            unsure = self._is_unsure(teacher, confidence) & (weak >= 0)
            labels[unsure] = self.unsure_labels[weak[unsure]]
        if self.control_seed is not None:
            ids = check_sample_ids(sample_ids, len(labels))
            self._shuffle().assign(labels, ids, weak, self._cached("cuts", self._cuts))
        return labels

    def match_sizes(self, samples: Callable[[], Iterable[tuple[Any, Any, Any]]]) -> LabelSpace:
        """A matched control that gives its own samples classes of exactly `sizes` (ours).

        As it is fitted on counts alone, it draws each sample for itself: sizes hold on average, and small
        classes may stay empty. With the samples at hand, those of a row are shuffled: they are put in the
        order of the hashes of their ids, and cut at the sizes. `relabel` and `relabel_table` do so.

        Args:
            samples: Called once for each pass (a pass holds 64 million keys of 8 bytes); gives chunks of
                (weak (N,), teacher (N,), sample_ids (N,)), as `assign` takes them.

        Returns:
            This space with the cuts; itself, where it is no matched control.

        Raises:
            LabelError: They are not the samples that the space was fitted on, or do not fit.

        Example:
            >>> from sublabel import ConfusionMatrix, MatchedControl
            >>> weak, teacher, ids = [0] * 4, [1, 1, 2, 3], ["a", "b", "c", "d"]
            >>> confusion = ConfusionMatrix.from_labels(weak, teacher, weak_vocabulary=4)
            >>> space = MatchedControl().fit(confusion).match_sizes(lambda: [(weak, teacher, ids)])
            >>> np.bincount(space.assign(weak, teacher, ids)) == space.sizes
            array([ True,  True,  True])
        """
        if self.control_seed is None:
            return self
        shuffle = self._shuffle()

        def keys() -> Iterator[np.ndarray]:
            for weak, teacher, sample_ids in samples():
                weak, teacher = check_pair(weak, teacher, self.weak_vocabulary, self.teacher_vocabulary)
                ids = check_sample_ids(sample_ids, len(weak))
                moved = shuffle.moved(self._look_up(weak, teacher))
                yield shuffle.keys(weak[moved].astype(np.int64), ids[moved])

        return replace(self, control_cuts=shuffle.exact_cuts(keys), _cache={})

    def _shuffle(self) -> Shuffle:
        seed, height = self.control_seed or 0, len(self.weak_vocabulary)
        shuffle: Shuffle = self._cached("shuffle", lambda: Shuffle.of(self.classes, height, seed))
        return shuffle

    def _cuts(self) -> np.ndarray:
        return self.control_cuts if len(self.control_cuts) else self._shuffle().average_cuts()

    def assign_heads(
        self, weak: Any, teacher: Any, sample_ids: Any = None, confidence: Any = None
    ) -> np.ndarray:
        """The target of each head: int64 (N, 1), or (N, 2) of a two-head space; -1 where there is none.

        A two-head space has both targets of every sample that has both labels, also of cells that were empty
        when it was fitted; those of any other are what `assign` gives.

        Raises:
            LabelError: As `assign`.
        """
        if not self.two_heads:
            return self.assign(weak, teacher, sample_ids, confidence)[:, None]
        weak, teacher = check_pair(weak, teacher, self.weak_vocabulary, self.teacher_vocabulary)
        targets = np.stack([weak, teacher], axis=1).astype(np.int64)
        targets[(targets < 0).any(axis=1)] = -1
        return targets

    def head_targets(self, labels: np.ndarray) -> np.ndarray:
        """The target of each head from labels that `assign` gave, such as those of a relabeled table.

        Args:
            labels: int64 (N,), each in -1..K-1.

        Returns:
            int64 (N, 1), or (N, 2) of a two-head space; -1 where the label is.

        Raises:
            LabelError: A label is outside the space.
        """
        labels = np.asarray(labels)
        if len(labels) and not -1 <= labels.min() <= labels.max() < len(self):
            raise LabelError(
                f"labels {labels.min()}–{labels.max()} are outside this space of {len(self)} classes "
                "(-1 drops); were they made by another one?"
            )
        if not self.two_heads:
            return labels.astype(np.int64)[:, None]
        pairs = np.stack([self.classes.weak, self.classes.teacher], axis=1)
        return np.asarray(np.concatenate([pairs, [[-1, -1]]])[labels])

    def soft_targets(self, weak: Any, top_ids: Any, top_probs: Any) -> Any:
        """What the teacher's most probable classes make of each sample: a distribution over classes (ours).

        Each of the teacher's classes moves the sample to its own cell of the weak label's row; the
        probabilities of the cells that are kept are scaled to sum to 1. In a space with thresholds, a sample
        below its teacher class's is wholly in its row's unsure class.

        Args:
            weak: Weak labels, integers (N,), -1 where there is none.
            top_ids: The teacher's classes, integers (N, k), the most probable first, -1 where there is none.
            top_probs: Their probabilities, floats (N, k) in 0–1.

        Returns:
            `scipy.sparse.csr_array` float32 (N, K); a row sums to 1, or is empty where the sample is dropped.

        Raises:
            LabelError: The arrays do not fit, or the space is a matched control's, which has no soft targets.

        Example:
            >>> from sublabel import ConfusionMatrix, RawSPL
            >>> space = RawSPL().fit(ConfusionMatrix.from_labels([0, 0], [0, 1], weak_vocabulary=2))
            >>> space.soft_targets([0], [[1, 0]], [[0.6, 0.2]]).toarray()
            array([[0.25, 0.75]], dtype=float32)
        """
        return soft_rows(self, weak, top_ids, top_probs)

    def _is_unsure(self, teacher: np.ndarray, confidence: Any) -> np.ndarray:
        if confidence is None:
            raise LabelError(
                f"this label space has confidence thresholds: got no confidence for {len(teacher)} samples; "
                "pass the teacher's probability of each prediction"
            )
        predicted = teacher >= 0
        probs = check_probabilities(confidence, teacher.shape, known=predicted)
        return np.asarray(predicted & (probs < self.thresholds[np.where(predicted, teacher, 0)]))

    def _look_up(self, weak: np.ndarray, teacher: np.ndarray) -> np.ndarray:
        height, width = len(self.weak_vocabulary), len(self.teacher_vocabulary)
        labels = np.empty(len(weak), dtype=np.int64)
        if height * width <= DENSE_CELLS:
            table = self._cached("table", self._dense)
            for chunk, cells in iter_cells(weak, teacher, width + 1):
                # The labels were checked, so that "wrap", the fastest mode, only serves those of -1.
                np.take(table, cells, out=labels[chunk], mode="wrap")
            return labels
        listed = self._cached("listed", self._listed)
        # Each look-up reads all column indices once, whatever it looks up.
        for start in range(0, len(weak), LISTED_CHUNK):
            chunk = slice(start, start + LISTED_CHUNK)
            labels[chunk] = self._look_up_listed(listed, weak[chunk], teacher[chunk])
        return labels

    def _look_up_listed(self, listed: Any, weak: np.ndarray, teacher: np.ndarray) -> np.ndarray:
        rows, columns = np.maximum(weak, 0).astype(np.int64), np.maximum(teacher, 0).astype(np.int64)
        found = np.asarray(listed[rows, columns]).ravel() - 2
        defaults = self.row_default[rows]
        defaults = np.where(defaults >= 0, defaults, self.column_default[columns])
        labels: np.ndarray = np.where(found > -2, found, defaults)
        labels[(weak < 0) | (teacher < 0)] = -1
        return labels

    def _listed(self) -> Any:
        """The listed cells as a CSR matrix of label + 2, so that 0 means: not listed."""
        shape = len(self.weak_vocabulary), len(self.teacher_vocabulary)
        starts = np.searchsorted(self.cells, np.arange(shape[0] + 1) * shape[1])
        narrow = np.int32 if max(len(self.cells), *shape) <= np.iinfo(np.int32).max else np.int64
        entries: Any = (
            self.cell_labels + 2,
            (self.cells % shape[1]).astype(narrow),
            starts.astype(narrow),
        )
        return sparse.csr_array(entries, shape=shape)

    def _dense(self) -> np.ndarray:
        """The label of every cell, with a last row and column of -1 for samples without a label."""
        height, width = len(self.weak_vocabulary), len(self.teacher_vocabulary)
        table = np.full((height + 1, width + 1), -1, dtype=np.int64)
        rows = self.row_default[:, None]
        table[:-1, :-1] = np.where(rows >= 0, rows, self.column_default[None])
        weak, teacher = np.divmod(self.cells, width)
        table[weak, teacher] = self.cell_labels
        return table.ravel()

    def _cached(self, key: str, make: Any) -> Any:
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]

    def check_vocabularies(self, weak_vocabulary: Vocabulary, teacher_vocabulary: Vocabulary) -> None:
        """Refuse labels of other vocabularies than the space was fitted on.

        Raises:
            LabelError: Either differs.
        """
        for axis, mine, theirs in (
            ("weak", self.weak_vocabulary, weak_vocabulary),
            ("teacher", self.teacher_vocabulary, teacher_vocabulary),
        ):
            if mine != theirs:
                raise LabelError(
                    f"this label space is over the {axis} vocabulary {mine!r}, the labels are over "
                    f"{theirs!r}: fit the strategy on a confusion matrix of the same vocabularies"
                )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that the space is made of."""
        fingerprint: str = self._cached("fingerprint", lambda: _serial.fingerprint_of(self))
        return fingerprint

    def to_json(self) -> str:
        """The space as JSON text, with its fingerprint; long arrays are packed, so that it stays small."""
        return json.dumps(
            {**_serial.content_of(self), "fingerprint": self.fingerprint},
            ensure_ascii=False,
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> LabelSpace:
        """Read what `to_json` wrote.

        Raises:
            LabelError: The text is not a label space, of another version, or was changed.
        """
        fields, fingerprint = _serial.read_content(text)
        space = cls(**fields)
        if space.fingerprint != fingerprint:
            raise LabelError(_serial.CHANGED)
        return space

    def save(self, path: str | Path) -> None:
        """Write the JSON text, atomically: one file, however many cells there are."""
        with write_atomically(path) as file:
            file.write(self.to_json().encode())

    @classmethod
    def load(cls, path: str | Path) -> LabelSpace:
        """Read what `save` wrote.

        Raises:
            LabelError: The file is not a label space, or it was changed.
        """
        try:
            return cls.from_json(Path(path).read_bytes())
        except LabelError as error:
            raise LabelError(f"{path}: {error}") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LabelSpace) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def _repr_html_(self) -> str:
        """For notebooks: the largest classes by name."""
        largest = np.argsort(-self.sizes, kind="stable")[:SHOWN_IN_NOTEBOOK].tolist()
        rows = [(entry.name, entry.kind, entry.size) for entry in map(self.describe, largest)]
        listed = html_table(("class", "kind", "samples"), rows, "the largest classes")
        return f"<p>{escape(repr(self))}</p>{listed}"

    def __repr__(self) -> str:
        return (
            f"LabelSpace({self.strategy['kind']}: {len(self)} classes over {len(self.weak_vocabulary)} weak "
            f"× {len(self.teacher_vocabulary)} teacher)"
        )
