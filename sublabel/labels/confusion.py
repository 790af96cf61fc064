"""Counts of (weak label, teacher prediction) pairs: the matrix that Sub-Pseudo Labels (SPL) are read from."""

from __future__ import annotations

import json
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from sublabel.errors import LabelError
from sublabel.files import write_atomically
from sublabel.html import html_table, shaded_grid
from sublabel.labels._sums import CellCounter
from sublabel.labels._teacher import check_probabilities
from sublabel.labels.alignment import Alignment, AlignmentLike
from sublabel.labels.cells import Cells
from sublabel.labels.pairs import Pairs, check_pairs
from sublabel.labels.row_model import RowModel
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
    RuntimeError,
    TypeError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, eq=False)
class Confidence:
    """What a count of confident samples knows beside its cells (ours)."""

    thresholds: np.ndarray
    """float64 (T,): a sample counts where the teacher's probability of its class is at least this."""
    unsure: np.ndarray
    """int64 (W,): samples of each weak class that do not count."""

    def merge(self, other: Confidence) -> Confidence:
        """Merge two records that were counted with the same thresholds.

        Raises:
            LabelError: The thresholds differ.
        """
        if not np.array_equal(self.thresholds, other.thresholds):
            raise LabelError(
                "cannot merge counts of different confidence thresholds: find the thresholds from all "
                "samples first (merge the builders after their first pass), or give the same ones to both"
            )
        return Confidence(self.thresholds, self.unsure + other.unsure)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Confidence)
            and np.array_equal(self.thresholds, other.thresholds)
            and np.array_equal(self.unsure, other.unsure)
        )

    __hash__ = None  # type: ignore[assignment]


class ConfusionMatrix:
    """Sparse counts, axis order `[weak, teacher]`, of any two vocabularies; starts empty.

    Args:
        weak_vocabulary: The W weak classes (rows).
        teacher_vocabulary: The T teacher classes (columns); None when they are the weak ones.

    Attributes:
        confidence: Thresholds, and the samples below them, of a count of confident samples; else None.
        row_model: What features say of the weak labels, of a count that looked at them; else None. It is not
            stored, nor merged.

    Example:
        >>> confusion = ConfusionMatrix(["baking", "whisking"])
        >>> names = ["baking", "whisking"]
        >>> confusion.update(Pairs([0, 0, 1, -1], [0, 1, 1, 0], weak_vocabulary=names))
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
        self.confidence: Confidence | None = None
        self.row_model: RowModel | None = None
        self._counter = CellCounter(self.shape)
        self._counts: Any = None
        self._abstained = 0

    @property
    def shape(self) -> tuple[int, int]:
        """(W, T)."""
        return len(self.weak_vocabulary), len(self.teacher_vocabulary)

    @property
    def counts(self) -> Any:
        """`scipy.sparse.csr_array` int64 (W, T); no explicit zeros, sorted; not to be written to."""
        if self._counts is None:
            self._counts = self._counter.total()
        return self._counts

    @property
    def abstained(self) -> int:
        """Samples in which either side was -1; they are in no cell."""
        return self._abstained + self._counter.abstained

    @property
    def total(self) -> int:
        """Samples in the cells, without those that abstained."""
        return int(self.counts.sum())

    def update(self, pairs: Pairs) -> None:
        """Count further samples in place; any chunking gives the same matrix.

        Args:
            pairs: Over the vocabularies of the matrix.

        Raises:
            LabelError: They are over others; nothing is counted then.
        """
        check_pairs(pairs, self.weak_vocabulary, self.teacher_vocabulary, "this confusion matrix")
        self._counter.add(pairs.weak, pairs.teacher)
        self._counts = None

    def cells(self, alignment: AlignmentLike = None) -> Cells:
        """The cells that hold samples, as arrays, row by row.

        Args:
            alignment: Which weak class agrees with which teacher class; default: equal names.

        Raises:
            LabelError: The alignment does not fit the vocabularies.
        """
        return Cells.of(self.counts, Alignment.of(alignment, self.weak_vocabulary, self.teacher_vocabulary))

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
        if (self.confidence is None) != (other.confidence is None):
            raise LabelError(
                "cannot merge a count of confident samples with one of all samples: count both the same way"
            )
        merged = ConfusionMatrix(self.weak_vocabulary, self.teacher_vocabulary)
        if self.confidence is not None and other.confidence is not None:
            merged.confidence = self.confidence.merge(other.confidence)
        merged._add(self.counts, self.abstained)
        merged._add(other.counts, other.abstained)
        return merged

    @classmethod
    def from_counts(
        cls,
        counts: Any,
        *,
        weak_vocabulary: VocabularyLike,
        teacher_vocabulary: VocabularyLike | None = None,
        abstained: int = 0,
        confidence: Confidence | None = None,
    ) -> ConfusionMatrix:
        """A matrix of counts that were made elsewhere, such as by a database.

        Args:
            counts: Integers (W, T), dense or sparse, none negative.
            weak_vocabulary: The W weak classes (rows).
            teacher_vocabulary: The T teacher classes (columns); None when they are the weak ones.
            abstained: Samples in which either side was missing.
            confidence: Thresholds and unsure samples, where only confident samples were counted.

        Raises:
            LabelError: The shape does not fit the vocabularies, or a number is no integer or negative.
        """
        confusion = cls(weak_vocabulary, teacher_vocabulary)
        if abstained < 0:
            raise LabelError(f"got {abstained} samples that abstained; expected 0 or more")
        matrix: Any = sparse.csr_array(counts)
        if matrix.shape != confusion.shape or matrix.dtype.kind not in "iu" or (matrix.data < 0).any():
            raise LabelError(
                f"got counts of shape {matrix.shape} and dtype {matrix.dtype}; expected integers of shape "
                f"{confusion.shape}, none negative"
            )
        matrix = matrix.astype(np.int64)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        confusion._add(matrix, abstained)
        confusion.confidence = confidence
        return confusion

    def _add(self, counts: Any, abstained: int) -> None:
        self._counter.add_matrix(counts)
        self._counts = None
        self._abstained += abstained

    def save(self, path: str | Path) -> None:
        """Write one `.npz` file, atomically: cells, vocabularies and the number of abstentions."""
        entries = self.counts.tocoo()
        header = {
            "format": FORMAT,
            "version": VERSION,
            "weak": self.weak_vocabulary.names,
            "teacher": self.teacher_vocabulary.names,
            "abstained": self.abstained,
            "confidence": self.confidence is not None,
        }
        arrays = {"weak": entries.row, "teacher": entries.col, "count": entries.data}
        if self.confidence is not None:
            arrays |= {"thresholds": self.confidence.thresholds, "unsure": self.confidence.unsure}
        with write_atomically(path) as file:
            np.savez_compressed(
                file, header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8), **arrays
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
                header = json.loads(arrays["header"].tobytes())
                confusion = cls._from_header(header)
                confusion._add_cells(arrays["weak"], arrays["teacher"], arrays["count"])
                if header["confidence"]:
                    confusion._set_confidence(arrays["thresholds"], arrays["unsure"])
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
        confusion._abstained = int(header["abstained"])
        return confusion

    def _add_cells(self, weak: np.ndarray, teacher: np.ndarray, count: np.ndarray) -> None:
        if count.dtype.kind not in "iu" or (count < 1).any() or self._abstained < 0:
            raise ValueError("its counts are not positive integers")
        pairs = Pairs(
            weak, teacher, weak_vocabulary=self.weak_vocabulary, teacher_vocabulary=self.teacher_vocabulary
        )
        entries: Any = (count.astype(np.int64), (pairs.weak, pairs.teacher))
        self._add(sparse.csr_array(entries, shape=self.shape), 0)

    def _set_confidence(self, thresholds: np.ndarray, unsure: np.ndarray) -> None:
        if unsure.shape != self.shape[:1] or unsure.dtype.kind not in "iu" or (unsure < 0).any():
            raise ValueError("its unsure samples are not one count for each weak class")
        self.confidence = Confidence(check_probabilities(thresholds, self.shape[1:]), unsure.astype(np.int64))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ConfusionMatrix):
            return NotImplemented
        return (
            self.weak_vocabulary == other.weak_vocabulary
            and self.teacher_vocabulary == other.teacher_vocabulary
            and self.abstained == other.abstained
            and self.confidence == other.confidence
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
