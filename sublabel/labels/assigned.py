"""The labels that a space assigns, which know why a sample has none."""

from __future__ import annotations

from typing import Any

import numpy as np

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
        return used_samples(np.asarray(self))

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
        return torch_labels(np.asarray(self), ignore_index)


def used_samples(labels: np.ndarray) -> np.ndarray:
    """Which samples of labels (N,) or (N, H) have one in every head, bool (N,)."""
    used: np.ndarray = np.asarray(labels >= 0)
    return used if used.ndim == 1 else np.asarray(used.all(axis=1))


def torch_labels(labels: np.ndarray, ignore_index: int) -> Any:
    """Labels as an int64 tensor of the same shape, with `ignore_index` in place of -1."""
    import torch

    return torch.from_numpy(np.where(labels < 0, ignore_index, labels).astype(np.int64))
