"""The space in which every cell of the confusion matrix has a class, or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import islice
from typing import Any, ClassVar, Self

import numpy as np
from scipy import sparse

from sublabel.errors import LabelError
from sublabel.labels._arrays import DENSE_CELLS, iter_cells
from sublabel.labels.assigned import Labels
from sublabel.labels.cells import Cells
from sublabel.labels.classes import CODES, Classes
from sublabel.labels.pairs import Pairs
from sublabel.labels.space import LabelSpace, check_inside
from sublabel.labels.vocabulary import Vocabulary

LISTED_CHUNK = 1 << 20
"""Samples that are looked up at a time in a space too large for a table."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class CellSpace(LabelSpace):
    """A map from (weak, teacher) cells to dense class ids 0..K-1, or -1 for dropped.

    Stored as one default for each row and column and a sorted list of cells that differ, so that large
    vocabularies stay small. A cell's label is its own entry if it has one, else its row's default, else (-1
    there) its column's.

    Example:
        >>> from sublabel import Pairs, RawSPL, relabel
        >>> relabel(Pairs(["bake", "bake"], ["bake", "whisk"]), RawSPL()).space
        CellSpace(raw_spl: 2 classes over 1 weak × 2 teacher)
    """

    kind: ClassVar[str] = "cells"
    ARRAYS: ClassVar[Mapping[str, type]] = {
        "row_default": np.int64,
        "column_default": np.int64,
        "cells": np.int64,
        "cell_labels": np.int64,
    }

    row_default: np.ndarray
    """int64 (W,), the class of a row's cells that are not listed, -1 where it has none."""
    column_default: np.ndarray
    """int64 (T,), the class of a column's cells that are not listed and whose row has none, or -1."""
    cells: np.ndarray
    """int64 (C,), the listed cells as weak × T + teacher, sorted."""
    cell_labels: np.ndarray
    """int64 (C,), the class of each listed cell, -1 where it is dropped."""

    @classmethod
    def refining(cls, space: CellSpace, **more: Any) -> Self:
        """A space of this kind with the cells of another.

        Args:
            space: The one whose fields it has.
            **more: Fields that are others, and those that this kind adds.
        """
        return cls(**{field.name: getattr(space, field.name) for field in fields(CellSpace)} | more)

    def assign(self, pairs: Pairs) -> Labels:
        """The class of each sample's cell, int64 (N,)."""
        self.check(pairs)
        return Labels.of(self.look_up(pairs.weak, pairs.teacher), pairs.weak, pairs.teacher)

    def cell_classes(self, weak: np.ndarray, teacher: np.ndarray) -> np.ndarray | None:
        """The class of each cell, int64 (C,)."""
        return self.look_up(np.asarray(weak), np.asarray(teacher))

    def classes_touching(self, names: Iterable[str]) -> list[int]:
        """The classes in a row or column of these names; of merged classes those with such a cell."""
        # in_row[w], in_column[t]: (W + 1,) and (T + 1,); the last entry stands for -1
        in_row, in_column = (
            named(vocabulary, names) for vocabulary in (self.weak_vocabulary, self.teacher_vocabulary)
        )
        touched = in_row[self.classes.weak] | in_column[self.classes.teacher]
        rows, columns = np.divmod(self.cells, len(self.teacher_vocabulary))
        members = self.cell_labels[(in_row[rows] | in_column[columns]) & (self.cell_labels >= 0)]
        touched[members[self.classes.is_kind("merged")[members]]] = True
        touching: list[int] = np.flatnonzero(touched).tolist()
        return touching

    def look_up(self, weak: np.ndarray, teacher: np.ndarray) -> np.ndarray:
        """The class of each cell, of labels that were checked.

        Args:
            weak: Integers (N,), each in -1..W-1.
            teacher: Integers (N,), each in -1..T-1.

        Returns:
            int64 (N,), -1 where a cell is dropped or either label is -1.
        """
        labels = np.empty(len(weak), dtype=np.int64)
        if self.is_small:
            for chunk, cells in iter_cells(weak, teacher, len(self.teacher_vocabulary) + 1):
                # The labels were checked, so that "wrap", the fastest mode, only serves those of -1.
                np.take(self._table, cells, out=labels[chunk], mode="wrap")
            return labels
        # Each look-up reads all column indices once, whatever it looks up.
        for start in range(0, len(weak), LISTED_CHUNK):
            chunk = slice(start, start + LISTED_CHUNK)
            labels[chunk] = self._look_up_listed(weak[chunk], teacher[chunk])
        return labels

    @property
    def is_small(self) -> bool:
        """Whether all its cells fit into a table."""
        return len(self.weak_vocabulary) * len(self.teacher_vocabulary) <= DENSE_CELLS

    def _look_up_listed(self, weak: np.ndarray, teacher: np.ndarray) -> np.ndarray:
        rows, columns = np.maximum(weak, 0).astype(np.int64), np.maximum(teacher, 0).astype(np.int64)
        found = np.asarray(self._listed[rows, columns]).ravel() - 2
        defaults = self.row_default[rows]
        defaults = np.where(defaults >= 0, defaults, self.column_default[columns])
        labels: np.ndarray = np.where(found > -2, found, defaults)
        labels[(weak < 0) | (teacher < 0)] = -1
        return labels

    @cached_property
    def _listed(self) -> Any:
        """The listed cells as a CSR matrix of label + 2, so that 0 means: not listed."""
        shape = len(self.weak_vocabulary), len(self.teacher_vocabulary)
        # starts[w]: the first listed cell of row w, (W + 1,)
        starts = np.searchsorted(self.cells, np.arange(shape[0] + 1) * shape[1])
        narrow = np.int32 if max(len(self.cells), *shape) <= np.iinfo(np.int32).max else np.int64
        entries: Any = (
            self.cell_labels + 2,
            (self.cells % shape[1]).astype(narrow),
            starts.astype(narrow),
        )
        return sparse.csr_array(entries, shape=shape)

    @cached_property
    def _table(self) -> np.ndarray:
        """The label of every cell, ((W + 1) × (T + 1),); the last row and column are -1, for no label."""
        height, width = len(self.weak_vocabulary), len(self.teacher_vocabulary)
        table = np.full((height + 1, width + 1), -1, dtype=np.int64)
        rows = self.row_default[:, None]
        table[:-1, :-1] = np.where(rows >= 0, rows, self.column_default[None])
        weak, teacher = np.divmod(self.cells, width)
        table[weak, teacher] = self.cell_labels
        return table.ravel()

    def _refuse_damage(self) -> None:
        super()._refuse_damage()
        height, width = len(self.weak_vocabulary), len(self.teacher_vocabulary)
        lengths = (len(self.row_default), len(self.column_default), len(self.cell_labels))
        if lengths != (height, width, len(self.cells)):
            raise ValueError("its map of cells is of another size than its vocabularies")
        if len(self.cells) and not (
            self.cells[0] >= 0 and self.cells[-1] < height * width and (np.diff(self.cells) > 0).all()
        ):
            raise ValueError("its cells are not sorted, or outside the matrix")
        check_inside(len(self), self.row_default, self.column_default, self.cell_labels)


def named(vocabulary: Vocabulary, names: Iterable[str]) -> np.ndarray:
    """Whether each class has one of these names, bool (K + 1,); the last entry, of -1, is False."""
    wanted = frozenset(names)
    return np.array([*(name in wanted for name in vocabulary), False])


def named_classes(strategy: str, cells: Cells, names: Sequence[Any]) -> tuple[Classes, np.ndarray]:
    """The classes that a name for each cell makes, and which of them each cell is in.

    Args:
        strategy: The kind of the one that names them, for the message.
        cells: The C cells of the confusion matrix that hold samples.
        names: For each cell the name of its class, or None. Classes count in the order of their first cell.

    Returns:
        The K classes, and the class of each cell, int64 (C,), -1 where it is dropped.

    Raises:
        LabelError: A name is neither None nor a non-empty string.
    """
    for position, name in enumerate(names):
        if name is not None and not (isinstance(name, str) and name):
            cell = next(islice(cells, position, None))
            raise LabelError(
                f"class_of of {strategy} gave {name!r} for the cell {cell.weak!r} × "
                f"{cell.teacher!r}; expected the name of a class, or None to drop its samples"
            )
    label_of = {name: label for label, name in enumerate(dict.fromkeys(n for n in names if n is not None))}
    # labels[c]: the class of cell c, -1 where it is dropped, (C,)
    labels = np.array([-1 if name is None else label_of[name] for name in names], dtype=np.int64)
    kept = np.flatnonzero(labels >= 0)
    size = np.zeros(len(label_of), dtype=np.int64)
    np.add.at(size, labels[kept], cells.count[kept])
    weak, teacher = (_common(axis[kept], labels[kept], len(label_of)) for axis in (cells.weak, cells.teacher))
    # agreed[k], members[k]: agreed cells of class k, and all its cells, (K,)
    members = np.bincount(labels[kept], minlength=len(label_of))
    agreed = np.bincount(labels[kept], weights=cells.agreed[kept], minlength=len(label_of))
    kind = np.select(
        [agreed == members, (agreed == 0) & (weak >= 0)],
        [CODES["agreed"], CODES["disagreed"]],
        CODES["merged"],
    )
    return Classes(kind, size, weak, teacher, {label: name for name, label in label_of.items()}), labels


def _common(values: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """The value that all cells of a class share, int64 (K,), -1 where they differ."""
    least, most = np.full(num_classes, np.iinfo(np.int64).max), np.full(num_classes, -1)
    np.minimum.at(least, labels, values)
    np.maximum.at(most, labels, values)
    return np.where(least == most, most, -1)
