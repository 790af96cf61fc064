"""What a student is trained towards: a label for each sample, one for each head, or a distribution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple, Self

import numpy as np
from scipy import sparse

from sublabel.errors import LabelError

KEPT = "kept"
REASONS = (KEPT, "no weak label", "no prediction", "dropped by the strategy")
"""Why a sample has a label or none, by `Labels.codes`."""


class Labels(np.ndarray):
    """What `LabelSpace.assign` returns: an int64 array that also says why a label is -1.

    It is (N,), or (N, 2) of a two-head space. What is made of it by NumPy (a part, a comparison) is an array
    like any other and knows no reasons.
    """

    _pairs: tuple[np.ndarray, np.ndarray] | None

    @classmethod
    def of(cls, labels: np.ndarray, weak: np.ndarray, teacher: np.ndarray) -> Labels:
        """Labels of samples, with the pairs that they were made from.

        Args:
            labels: int64 (N,) or (N, H), -1 where a sample is not used.
            weak: Weak labels, integers (N,), -1 where there is none.
            teacher: Predictions, integers (N,), -1 where there is none.
        """
        made = labels.view(cls)
        made._pairs = (weak, teacher)
        return made

    def __array_finalize__(self, source: Any) -> None:
        """Forget the pairs: a part of the labels is of other samples."""
        self._pairs = None

    def __array_wrap__(self, array: np.ndarray, context: Any = None, return_scalar: bool = False) -> Any:
        """Give what NumPy computes of labels as a plain array or number."""
        plain = np.asarray(array)
        return plain[()] if return_scalar or plain.ndim == 0 else plain

    def __reduce__(self) -> Any:
        """Stay whole in another process: with the pairs, where these are known."""
        if self._pairs is None:
            return super().__reduce__()
        return Labels.of, (np.asarray(self), *self._pairs)

    @property
    def keep(self) -> np.ndarray:
        """Which samples have a label, bool (N,)."""
        labels = np.asarray(self)
        used: np.ndarray = np.asarray(labels >= 0)
        return used if used.ndim == 1 else np.asarray(used.all(axis=1))

    @property
    def codes(self) -> np.ndarray:
        """Positions in `REASONS`, uint8 (N,).

        Raises:
            LabelError: These are not the labels that `assign` returned, but made of them.
        """
        if self._pairs is None:
            raise LabelError(
                "these labels were cut or computed from others and no longer know their samples: ask the "
                "array that assign returned for its reasons"
            )
        weak, teacher = self._pairs
        without = np.where(weak < 0, 1, np.where(teacher < 0, 2, 3))
        return np.where(self.keep, 0, without).astype(np.uint8)

    @property
    def reasons(self) -> np.ndarray:
        """For each sample one of `REASONS`, str (N,).

        Raises:
            LabelError: As `codes`.
        """
        return np.asarray(np.array(REASONS)[self.codes])

    def torch(self, ignore_index: int = -100) -> Any:
        """The labels as PyTorch's cross-entropy takes them: int64, `ignore_index` where there is none."""
        return HardTargets(np.asarray(self)).torch(ignore_index)


class SoftLabels(NamedTuple):
    """A distribution over classes, of one sample or, collated, of a batch; a class may stand in it twice."""

    ids: Any
    """int64 (k,) or (B, k), classes."""
    weights: Any
    """float32 of that shape; they sum to 1, or to 0 where a sample is not used."""


class Ragged(NamedTuple):
    """Lists of several lengths as two arrays; list i is `values[offsets[i]:offsets[i + 1]]`."""

    values: np.ndarray
    offsets: np.ndarray
    """int64 (N + 1,)."""


Reasons = np.ndarray | Callable[[], np.ndarray] | None


class Targets(ABC):
    """The target of each of N samples; what a loss takes.

    Args:
        keep: bool (N,), whether a sample has one.
        reasons: str (N,), why or why not, or what makes them when they are asked for; None: nobody knows.
    """

    def __init__(self, keep: np.ndarray, reasons: Reasons = None) -> None:
        self.keep = keep
        """bool (N,), whether a sample has a target."""
        self._reasons = reasons

    @cached_property
    def reasons(self) -> np.ndarray | None:
        """Why each sample has a target or none, str (N,); None where nobody knows."""
        return self._reasons() if callable(self._reasons) else self._reasons

    def __len__(self) -> int:
        return len(self.keep)

    @property
    @abstractmethod
    def heads(self) -> tuple[int, ...]:
        """The widths of the heads that these targets train: (K,) of one."""

    @abstractmethod
    def __getitem__(self, row: int) -> Any:
        """What a batch holds of a kept sample, for `torch.utils.data.default_collate`."""

    @abstractmethod
    def classes(self, row: int) -> Sequence[int]:
        """The classes of the label space that a kept sample belongs to."""

    @property
    @abstractmethod
    def main_classes(self) -> np.ndarray:
        """The class of each sample in each head, int64 (N, H), positions in the names; -1 without a target.

        Of a distribution it is the heaviest class, the first of equals.
        """

    @abstractmethod
    def torch(self, ignore_index: int = -100, rows: Any = None) -> Any:
        """The targets as PyTorch's losses take them.

        Args:
            ignore_index: What stands for a sample that is not used; cross-entropy leaves it out by itself.
            rows: Positions or a slice; default: all.

        Returns:
            int64 (N,) of hard labels, int64 (N, H) of several heads; of soft labels float32 (N, K), dense,
            with rows of 0 for samples that are not used.
        """

    @abstractmethod
    def take(self, positions: np.ndarray) -> Self:
        """The targets of other rows, such as those of a data set in another order.

        Args:
            positions: int64 (M,), in -1..N-1; -1 is a row without a target.
        """

    @abstractmethod
    def columns(self) -> Mapping[str, np.ndarray | Ragged]:
        """The targets as columns of a table, by name."""

    @abstractmethod
    def _joined(self, parts: Sequence[Self], reasons: Reasons) -> Self:
        """The targets of several runs of samples, of which these are the first."""

    @staticmethod
    def concatenate(parts: Sequence[Targets]) -> Targets:
        """The targets of several runs of samples as those of all, in order.

        Args:
            parts: One or more, all of one label space.
        """

        def reasons() -> np.ndarray:
            return np.concatenate([part.reasons for part in parts if part.reasons is not None])

        known = all(part._reasons is not None for part in parts)
        return parts[0]._joined(parts, reasons if known else None)


class HardTargets(Targets):
    """One label for each sample.

    Args:
        labels: int64 (N,), -1 where a sample is not used; with reasons where they are `Labels`.
        num_classes: K; default: one class for each number up to the largest label.

    Example:
        >>> HardTargets(np.array([2, -1, 0])).torch()
        tensor([   2, -100,    0])
    """

    def __init__(self, labels: np.ndarray, num_classes: int | None = None, reasons: Reasons = None) -> None:
        if isinstance(labels, Labels):
            reasons = partial(getattr, labels, "reasons")
        self.labels = np.asarray(labels)
        """int64 (N,) or (N, H), -1 where a sample is not used."""
        self._heads: tuple[int, ...] = (
            int(self.labels.max(initial=-1)) + 1 if num_classes is None else num_classes,
        )
        used = self.labels >= 0
        super().__init__(used if used.ndim == 1 else np.asarray(used.all(axis=1)), reasons)

    @property
    def heads(self) -> tuple[int, ...]:
        """(K,)."""
        return self._heads

    def __getitem__(self, row: int) -> Any:
        return int(self.labels[row])

    def classes(self, row: int) -> Sequence[int]:
        """The one label."""
        return (int(self.labels[row]),)

    @property
    def main_classes(self) -> np.ndarray:
        """The labels, int64 (N, 1)."""
        return np.asarray(self.labels[:, None])

    def torch(self, ignore_index: int = -100, rows: Any = None) -> Any:
        """Labels int64 (N,)."""
        import torch

        labels = self.labels if rows is None else self.labels[rows]
        return torch.from_numpy(np.where(labels < 0, ignore_index, labels).astype(np.int64))

    def take(self, positions: np.ndarray) -> Self:
        """The labels of other rows."""
        none = np.full((1, *self.labels.shape[1:]), -1)
        reasons = None if self.reasons is None else np.append(self.reasons, "no sample")[positions]
        return self._like(np.concatenate([self.labels, none])[positions], reasons)

    def _like(self, labels: np.ndarray, reasons: Reasons) -> Self:
        return type(self)(labels, self._heads[0], reasons)

    def _joined(self, parts: Sequence[Self], reasons: Reasons) -> Self:
        return self._like(np.concatenate([part.labels for part in parts]), reasons)

    def columns(self) -> Mapping[str, np.ndarray | Ragged]:
        """`pretrain_label`: int64 (N,), or (N, H) of several heads."""
        return {"pretrain_label": self.labels}


class HeadTargets(HardTargets):
    """A label of each of H heads, such as the weak and the teacher's label of a two-head student.

    Args:
        labels: int64 (N, H), each counted from 0 within its head, -1 where a sample is not used.
        heads: The widths of the heads.

    Example:
        >>> HeadTargets(np.array([[1, 0], [-1, -1]]), (2, 3)).main_classes.tolist()
        [[1, 2], [-1, -1]]
    """

    def __init__(self, labels: np.ndarray, heads: tuple[int, ...], reasons: Reasons = None) -> None:
        super().__init__(labels, reasons=reasons)
        self._heads = heads
        # starts[h]: class of the label space that head h begins with, (H,)
        self._starts = np.cumsum([0, *heads[:-1]])

    def __getitem__(self, row: int) -> Any:
        return self.labels[row]

    def classes(self, row: int) -> Sequence[int]:
        """The class of each head, counted over all heads."""
        classes: list[int] = (self.labels[row] + self._starts).tolist()
        return classes

    @property
    def main_classes(self) -> np.ndarray:
        """The labels, counted over all heads, int64 (N, H)."""
        return np.where(self.keep[:, None], self.labels + self._starts, -1)

    def _like(self, labels: np.ndarray, reasons: Reasons) -> Self:
        return type(self)(labels, self._heads, reasons)


class SoftTargets(Targets):
    """A distribution over the K classes for each sample (ours).

    Args:
        rows: `scipy.sparse.csr_array` float32 (N, K); a row sums to 1, or is empty where there is no target.
        reasons: str (N,).

    Example:
        >>> rows = sparse.csr_array(np.array([[0.25, 0.75], [0, 0], [0.5, 0.5]], dtype=np.float32))
        >>> SoftTargets(rows).main_classes.tolist()
        [[1], [-1], [0]]
    """

    def __init__(self, rows: Any, reasons: Reasons = None) -> None:
        lengths = np.diff(rows.indptr)
        super().__init__(lengths > 0, reasons)
        self.rows = rows
        """`scipy.sparse.csr_array` float32 (N, K)."""
        self._width = max(1, int(lengths.max(initial=0)))

    @property
    def heads(self) -> tuple[int, ...]:
        """(K,)."""
        return (int(self.rows.shape[1]),)

    def __getitem__(self, row: int) -> SoftLabels:
        start, end = self.rows.indptr[row : row + 2]
        classes, weights = self.rows.indices[start:end], self.rows.data[start:end]
        # A class of the sample itself pads, so that sampled softmax meets no other.
        ids = np.full(self._width, classes[0] if len(classes) else 0, dtype=np.int64)
        ids[: len(classes)] = classes
        padded = np.zeros(self._width, dtype=np.float32)
        padded[: len(classes)] = weights
        return SoftLabels(ids, padded)

    def classes(self, row: int) -> Sequence[int]:
        """The classes with a weight, the heaviest first."""
        start, end = self.rows.indptr[row : row + 2]
        order = np.argsort(-self.rows.data[start:end], kind="stable")
        classes: list[int] = self.rows.indices[start:end][order].tolist()
        return classes

    @property
    def main_classes(self) -> np.ndarray:
        """The heaviest class of each sample, int64 (N, 1)."""
        # row[e]: sample of entry e, (E,); its heaviest entry comes first, equal ones in their own order
        row = np.repeat(np.arange(len(self)), np.diff(self.rows.indptr))
        order = np.lexsort((-self.rows.data, row))
        samples, first = np.unique(row, return_index=True)
        classes = np.full((len(self), 1), -1, dtype=np.int64)
        classes[samples, 0] = self.rows.indices[order[first]]
        return classes

    def torch(self, ignore_index: int = -100, rows: Any = None) -> Any:
        """Distributions float32 (N, K), dense: of a large space, ask for the rows of a batch."""
        import torch

        chosen = self.rows if rows is None else self.rows[rows]
        return torch.from_numpy(chosen.toarray())

    def take(self, positions: np.ndarray) -> Self:
        """The distributions of other rows."""
        padded = self.rows.copy()
        padded.resize(len(self) + 1, self.rows.shape[1])
        reasons = None if self.reasons is None else np.append(self.reasons, "no sample")[positions]
        return type(self)(padded[positions], reasons)

    def columns(self) -> Mapping[str, np.ndarray | Ragged]:
        """`pretrain_label` and `pretrain_weight`: for each sample its classes and their weights."""
        offsets = self.rows.indptr.astype(np.int64)
        return {
            "pretrain_label": Ragged(self.rows.indices.astype(np.int64), offsets),
            "pretrain_weight": Ragged(self.rows.data, offsets),
        }

    def _joined(self, parts: Sequence[Self], reasons: Reasons) -> Self:
        return type(self)(sparse.vstack([part.rows for part in parts], format="csr"), reasons)

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any], num_classes: int, reasons: Reasons = None) -> Self:
        """The targets that `columns` gave.

        Args:
            columns: `pretrain_label` and `pretrain_weight`, both `Ragged`.
            num_classes: K of the label space.
            reasons: str (N,).

        Raises:
            LabelError: The two differ in length, or a label is outside 0..K-1.
        """
        labels, weights = columns["pretrain_label"], columns["pretrain_weight"]
        if not np.array_equal(labels.offsets, weights.offsets):
            raise LabelError("pretrain_label and pretrain_weight are lists of other lengths in some row")
        entries: Any = (
            np.asarray(weights.values, dtype=np.float32),
            check_labels(labels.values, num_classes, lowest=0),
            labels.offsets,
        )
        return cls(sparse.csr_array(entries, shape=(len(labels.offsets) - 1, num_classes)), reasons)


def check_labels(labels: np.ndarray, num_classes: int, lowest: int = -1) -> np.ndarray:
    """Refuse labels that are no classes of a space.

    Args:
        labels: Integers of any shape, -1 where a sample is not used.
        num_classes: K.
        lowest: The least that may stand there.

    Returns:
        The same, int64.

    Raises:
        LabelError: One is outside, or they are no integers.
    """
    if labels.dtype.kind not in "iu":
        raise LabelError(f"pre-training labels have dtype {labels.dtype}; expected integers")
    if labels.size and not lowest <= labels.min() <= labels.max() < num_classes:
        raise LabelError(
            f"pre-training labels {labels.min()}–{labels.max()} are outside this label space of "
            f"{num_classes} classes (-1: not used); were they made by another one?"
        )
    return labels.astype(np.int64, copy=False)
