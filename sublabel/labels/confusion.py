"""Counts of (weak label, teacher prediction) pairs: the matrix that Sub-Pseudo Labels (SPL) are read from."""

from __future__ import annotations

import json
import zipfile
import zlib
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from sublabel._files import write_atomically
from sublabel._html import html_table, shaded_grid
from sublabel.errors import LabelError
from sublabel.labels._arrays import DENSE_CELLS, check_pair
from sublabel.labels.vocabulary import Vocabulary, VocabularyLike

FORMAT = "sublabel.ConfusionMatrix"
VERSION = 1
SHOWN_IN_NOTEBOOK = 10
# All that NumPy, zipfile and zlib raise on a damaged archive; a file of another kind has no context manager.
_DAMAGE = (
    AttributeError,
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


class ConfusionMatrix:
    """Sparse counts, axis order `[weak, teacher]`, of any two vocabularies; starts empty.

    Args:
        weak_vocabulary: The W weak classes (rows).
        teacher_vocabulary: The T teacher classes (columns); None when they are the weak ones.

    Attributes:
        counts: `scipy.sparse.csr_array` int64 (W, T); no explicit zeros, sorted; not to be written to.
        abstained: Samples in which either side was -1; they are in no cell.

    Example:
        >>> confusion = ConfusionMatrix(["baking", "whisking"])
        >>> confusion.update([0, 0, 1, -1], [0, 1, 1, 0])
        >>> confusion.counts.toarray()
        array([[1, 1],
               [0, 1]])
        >>> confusion.total, confusion.abstained
        (3, 1)
    """

    def __init__(
        self, weak_vocabulary: VocabularyLike, teacher_vocabulary: VocabularyLike | None = None
    ) -> None:
        self.weak_vocabulary = Vocabulary.of(weak_vocabulary)
        self.teacher_vocabulary = (
            self.weak_vocabulary if teacher_vocabulary is None else Vocabulary.of(teacher_vocabulary)
        )
        self.counts: Any = sparse.csr_array(self.shape, dtype=np.int64)
        self.abstained = 0

    @classmethod
    def from_labels(
        cls,
        weak: Any,
        teacher: Any,
        *,
        weak_vocabulary: VocabularyLike,
        teacher_vocabulary: VocabularyLike | None = None,
    ) -> ConfusionMatrix:
        """Count all samples at once.

        Args:
            weak: Weak labels, integers (N,), -1 where there is none.
            teacher: Teacher predictions of the same samples, integers (N,), -1 where there is none.
            weak_vocabulary: Of the weak labels: a Vocabulary, names, or a number of classes.
            teacher_vocabulary: Of the predictions; None when it is the same.

        Raises:
            LabelError: The arrays do not fit the vocabularies or each other.
        """
        confusion = cls(weak_vocabulary, teacher_vocabulary)
        confusion.update(weak, teacher)
        return confusion

    @property
    def shape(self) -> tuple[int, int]:
        """(W, T)."""
        return len(self.weak_vocabulary), len(self.teacher_vocabulary)

    @property
    def total(self) -> int:
        """Samples in the cells, without those that abstained."""
        return int(self.counts.sum())

    def update(self, weak: Any, teacher: Any) -> None:
        """Count further samples in place; any chunking gives the same matrix.

        Args:
            weak: Weak labels, integers (N,), -1 where there is none.
            teacher: Teacher predictions, integers (N,), -1 where there is none.

        Raises:
            LabelError: The arrays do not fit; nothing is counted then.
        """
        weak, teacher = check_pair(weak, teacher, self.weak_vocabulary, self.teacher_vocabulary)
        voted = (weak >= 0) & (teacher >= 0)
        width = self.shape[1]
        cells = weak[voted] * width + teacher[voted]
        if self.shape[0] * width <= DENSE_CELLS:
            dense = np.bincount(cells, minlength=self.shape[0] * width)
            present = np.flatnonzero(dense)
            counts = dense[present]
        else:
            present, counts = np.unique(cells, return_counts=True)
        entries: Any = (counts.astype(np.int64), (present // width, present % width))
        chunk = sparse.csr_array(entries, shape=self.shape)
        self._add(chunk, len(weak) - len(cells))

    def merge(self, other: ConfusionMatrix) -> ConfusionMatrix:
        """A new matrix with the samples of both; exact, so the order of merges does not matter.

        Raises:
            LabelError: The other matrix is over other vocabularies.
        """
        for axis in ("weak", "teacher"):
            mine: Vocabulary = getattr(self, f"{axis}_vocabulary")
            theirs: Vocabulary = getattr(other, f"{axis}_vocabulary")
            if mine != theirs:
                raise LabelError(
                    f"cannot merge confusion matrices over different {axis} vocabularies ({mine!r} and "
                    f"{theirs!r}): count both with the same one"
                )
        merged = ConfusionMatrix(self.weak_vocabulary, self.teacher_vocabulary)
        merged._add(self.counts, self.abstained)
        merged._add(other.counts, other.abstained)
        return merged

    def _add(self, counts: Any, abstained: int) -> None:
        summed = sparse.csr_array(self.counts + counts)
        summed.sum_duplicates()
        self.counts = summed
        self.abstained += abstained

    def save(self, path: str | Path) -> None:
        """Write one `.npz` file, atomically: cells, vocabularies and the number of abstentions."""
        entries = self.counts.tocoo()
        header = {
            "format": FORMAT,
            "version": VERSION,
            "weak": self.weak_vocabulary.names,
            "teacher": self.teacher_vocabulary.names,
            "abstained": self.abstained,
        }
        with write_atomically(path) as file:
            np.savez_compressed(
                file,
                header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
                weak=entries.row.astype(np.int64),
                teacher=entries.col.astype(np.int64),
                count=entries.data,
            )

    @classmethod
    def load(cls, path: str | Path) -> ConfusionMatrix:
        """Read what `save` wrote.

        Raises:
            LabelError: The file is damaged, not a confusion matrix, or of another format version.
            FileNotFoundError: There is no such file.
        """
        Path(path).stat()
        try:
            with np.load(path, allow_pickle=False) as arrays:
                confusion = cls._from_header(json.loads(arrays["header"].tobytes()))
                confusion._add_cells(arrays["weak"], arrays["teacher"], arrays["count"])
        except _DAMAGE as error:
            raise LabelError(
                f"{path} is not a confusion matrix that sublabel wrote, or it is damaged: {error}"
            ) from error
        return confusion

    @classmethod
    def _from_header(cls, header: Any) -> ConfusionMatrix:
        if header["format"] != FORMAT or header["version"] != VERSION:
            raise ValueError(
                f"it is {header['format']!r} version {header['version']!r}; "
                f"this release reads {FORMAT!r} version {VERSION}"
            )
        confusion = cls(header["weak"], header["teacher"])
        confusion.abstained = int(header["abstained"])
        return confusion

    def _add_cells(self, weak: np.ndarray, teacher: np.ndarray, count: np.ndarray) -> None:
        if count.dtype.kind not in "iu" or (count < 1).any() or self.abstained < 0:
            raise ValueError("its counts are not positive integers")
        entries: Any = (
            count.astype(np.int64),
            check_pair(weak, teacher, self.weak_vocabulary, self.teacher_vocabulary),
        )
        self._add(sparse.csr_array(entries, shape=self.shape), 0)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ConfusionMatrix):
            return NotImplemented
        return (
            self.weak_vocabulary == other.weak_vocabulary
            and self.teacher_vocabulary == other.teacher_vocabulary
            and self.abstained == other.abstained
            and self.counts.shape == other.counts.shape
            and abs(self.counts - other.counts).nnz == 0
        )

    __hash__ = None  # type: ignore[assignment]

    def _repr_html_(self) -> str:
        """For notebooks: the matrix, weak × teacher, and its largest cells by name."""
        entries = self.counts.tocoo()
        largest = np.argsort(-entries.data, kind="stable")[:SHOWN_IN_NOTEBOOK]
        rows = [
            (
                self.weak_vocabulary[entries.row[cell]],
                self.teacher_vocabulary[entries.col[cell]],
                entries.data[cell],
            )
            for cell in largest.tolist()
        ]
        listed = html_table(("weak label", "teacher's prediction", "samples"), rows, "the largest cells")
        return f"<p>{escape(repr(self))}</p>{shaded_grid(self.counts, repr(self))}{listed}"

    def __repr__(self) -> str:
        rows, columns = self.shape
        return (
            f"ConfusionMatrix([weak, teacher] = {rows} × {columns}, {self.total} samples in "
            f"{self.counts.nnz} cells, {self.abstained} abstained)"
        )
