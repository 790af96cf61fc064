"""The frozen result of a strategy: a class or -1 for every (weak, teacher) cell; every class has a name."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sublabel._files import write_atomically
from sublabel._html import html_table
from sublabel.errors import LabelError
from sublabel.labels._arrays import DENSE_CELLS, check_pair, check_sample_ids
from sublabel.labels._hashing import uniform_from_ids
from sublabel.labels.vocabulary import Vocabulary

Kind = Literal["weak", "teacher", "agreed", "disagreed", "other"]
FORMAT = "sublabel.LabelSpace"
VERSION = 1
SHOWN_IN_NOTEBOOK = 10


@dataclass(frozen=True)
class SubLabel:
    """One class of a label space."""

    name: str
    kind: Kind
    size: int
    """Samples of the class in the confusion matrix that the space was fitted on."""
    weak: int = -1
    """The weak class whose row it lies in; -1 for a whole column."""
    teacher: int = -1
    """The teacher class of its cell or column; -1 when it covers several."""


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
    classes: tuple[SubLabel, ...]
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
    _cache: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Make the arrays read-only: the look-up table and the fingerprint are computed from them once."""
        for name in ("row_default", "column_default", "cells", "cell_labels"):
            # A copy of ours, so that the caller's own array stays writable.
            array = np.array(getattr(self, name), dtype=np.int64)
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
        return tuple(entry.name for entry in self.classes)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """For each class: `weak`, `teacher`, `agreed`, `disagreed`, or `other` (a row's rare cells)."""
        return tuple(entry.kind for entry in self.classes)

    @property
    def sizes(self) -> np.ndarray:
        """Samples of each class when the space was fitted, int64 (K,)."""
        return np.array([entry.size for entry in self.classes], dtype=np.int64)

    @property
    def needs_sample_ids(self) -> bool:
        """Whether `assign` needs `sample_ids`: for a matched control it does."""
        return self.control_seed is not None

    def describe(self, label: int) -> ClassDescription:
        """One class in words.

        Raises:
            LabelError: The label is not in 0..K-1.
        """
        if not 0 <= label < len(self):
            raise LabelError(f"label {label} is outside this space of {len(self)} classes; they count from 0")
        entry = self.classes[label]
        return ClassDescription(
            label=int(label),
            name=entry.name,
            kind=entry.kind,
            size=entry.size,
            weak=None if entry.weak < 0 else self.weak_vocabulary[entry.weak],
            teacher=None if entry.teacher < 0 else self.teacher_vocabulary[entry.teacher],
        )

    def assign(self, weak: Any, teacher: Any, sample_ids: Any = None) -> np.ndarray:
        """The class of each sample.

        Args:
            weak: Weak labels, integers (N,), -1 where there is none.
            teacher: Teacher predictions, integers (N,), -1 where there is none.
            sample_ids: Strings or integers (N,); only a matched control looks at them, and it needs them.

        Returns:
            int64 (N,); -1 where either side abstained or the cell is dropped.

        Raises:
            LabelError: The arrays do not fit the vocabularies or each other, or sample ids are missing.
        """
        weak, teacher = check_pair(weak, teacher, self.weak_vocabulary, self.teacher_vocabulary)
        labels = self._look_up(weak, teacher)
        labels[(weak < 0) | (teacher < 0)] = -1
        if self.control_seed is None:
            return labels
        ids = check_sample_ids(sample_ids, len(labels))
        return self._shuffle_disagreed(labels, ids, self.control_seed)

    def _look_up(self, weak: np.ndarray, teacher: np.ndarray) -> np.ndarray:
        width = len(self.teacher_vocabulary)
        cells = np.maximum(weak, 0) * width + np.maximum(teacher, 0)
        if len(self.weak_vocabulary) * width <= DENSE_CELLS:
            table: np.ndarray = self._cached("table", self._dense)
            found: np.ndarray = table[cells]
            return found
        labels = self._default_labels(np.maximum(weak, 0), np.maximum(teacher, 0))
        if len(self.cells):
            position = np.minimum(np.searchsorted(self.cells, cells), len(self.cells) - 1)
            listed = self.cells[position] == cells
            labels[listed] = self.cell_labels[position[listed]]
        return labels

    def _default_labels(self, weak: np.ndarray, teacher: np.ndarray) -> np.ndarray:
        rows = self.row_default[weak]
        labels: np.ndarray = np.where(rows >= 0, rows, self.column_default[teacher])
        return labels

    def _dense(self) -> np.ndarray:
        weak, teacher = np.indices((len(self.weak_vocabulary), len(self.teacher_vocabulary)))
        table = self._default_labels(weak.ravel(), teacher.ravel())
        table[self.cells] = self.cell_labels
        return table

    def _shuffle_disagreed(self, labels: np.ndarray, sample_ids: np.ndarray, seed: int) -> np.ndarray:
        """Give each disagreed sample one of its row's disagreed classes, in proportion to their sizes."""
        start, stop, cumulative, members = self._cached("disagreed", self._disagreed_by_row)
        kept = np.flatnonzero(labels >= 0)
        moved = kept[start[labels[kept]] >= 0]
        first, last = start[labels[moved]], stop[labels[moved]]
        before = np.where(first > 0, cumulative[first - 1], 0)
        draws = uniform_from_ids(sample_ids[moved], seed)
        # Within a row the classes lie side by side on the cumulative sizes: draw a point, look up whose it
        # is.
        points = before + np.floor(draws * (cumulative[last - 1] - before)).astype(np.int64)
        labels[moved] = members[np.searchsorted(cumulative, points, side="right")]
        return labels

    def _disagreed_by_row(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        rows = np.array(
            [entry.weak if entry.kind in ("disagreed", "other") else -1 for entry in self.classes],
            dtype=np.int64,
        )
        members = np.flatnonzero(rows >= 0)
        members = members[np.argsort(rows[members], kind="stable")]
        sorted_rows = rows[members]
        cumulative = np.cumsum(self.sizes[members])
        start, stop = np.full(len(rows), -1), np.full(len(rows), -1)
        start[members] = np.searchsorted(sorted_rows, sorted_rows, side="left")
        stop[members] = np.searchsorted(sorted_rows, sorted_rows, side="right")
        return start, stop, cumulative, members

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
        fingerprint: str = self._cached("fingerprint", lambda: _digest(self._content()))
        return fingerprint

    def _content(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "strategy": self.strategy,
            "control_seed": self.control_seed,
            "weak_vocabulary": list(self.weak_vocabulary),
            "teacher_vocabulary": list(self.teacher_vocabulary),
            "classes": [[e.name, e.kind, e.size, e.weak, e.teacher] for e in self.classes],
            "row_default": self.row_default.tolist(),
            "column_default": self.column_default.tolist(),
            "cells": self.cells.tolist(),
            "cell_labels": self.cell_labels.tolist(),
        }

    def to_json(self) -> str:
        """The space as JSON text, with its fingerprint."""
        return json.dumps({**self._content(), "fingerprint": self.fingerprint}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> LabelSpace:
        """Read what `to_json` wrote.

        Raises:
            LabelError: The text is not a label space, of another version, or was changed.
        """
        try:
            content = json.loads(text)
        except ValueError as error:
            raise LabelError(f"not a label space: the text is not JSON ({error})") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise LabelError(
                f"not a label space: expected JSON with format {FORMAT!r}; was it saved by LabelSpace.save?"
            )
        if content.get("version") != VERSION:
            raise LabelError(
                f"the label space has format version {content.get('version')}; this release reads {VERSION}"
            )
        stored = content.pop("fingerprint", None)
        if _digest(content) != stored:
            raise LabelError(
                "the label space does not match its own fingerprint: the file was edited or damaged"
            )
        arrays: dict[str, Any] = {
            name: np.array(content[name], dtype=np.int64)
            for name in ("row_default", "column_default", "cells", "cell_labels")
        }
        return cls(
            weak_vocabulary=Vocabulary(content["weak_vocabulary"]),
            teacher_vocabulary=Vocabulary(content["teacher_vocabulary"]),
            classes=tuple(SubLabel(*entry) for entry in content["classes"]),
            strategy=content["strategy"],
            control_seed=content["control_seed"],
            **arrays,
        )

    def save(self, path: str | Path) -> None:
        """Write the JSON text, atomically."""
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


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
