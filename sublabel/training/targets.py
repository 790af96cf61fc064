"""What a student is trained towards: for each row of a media table a label, one a head, or soft labels.

Labels come from a relabeled table, soft ones from the predictions; both are joined by `sample_id`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from scipy import sparse
from torch import Tensor

from sublabel.errors import ConfigError, TableError
from sublabel.labels import LabelSpace
from sublabel.tables import Relabeled, iter_batches, read_predictions_metadata
from sublabel.tables._decode import DICTIONARIES, LABEL_COLUMNS, decode_top
from sublabel.tables.io import Location
from sublabel.training.losses import SoftLabels

if TYPE_CHECKING:
    from sublabel.media.table import MediaTable


class Targets(ABC):
    """The target of each row of a media table.

    Args:
        kept: bool (N,), whether a row has one.
    """

    def __init__(self, kept: np.ndarray) -> None:
        self._length = len(kept)
        self.kept = np.flatnonzero(kept)
        """int64 (M,), the rows that have a target."""

    def __len__(self) -> int:
        return self._length

    @abstractmethod
    def classes(self, row: int) -> Sequence[int]:
        """The classes of the label space that a kept row belongs to."""

    @abstractmethod
    def __getitem__(self, row: int) -> int | Tensor | SoftLabels:
        """What a batch holds of a kept row, to be collated."""


class HardTargets(Targets):
    """One label for each row.

    Args:
        labels: int64 (N,), -1 where a row is not used.
    """

    def __init__(self, labels: np.ndarray) -> None:
        super().__init__(labels >= 0)
        self.labels = labels

    def classes(self, row: int) -> Sequence[int]:
        """The label."""
        return (int(self.labels[row]),)

    def __getitem__(self, row: int) -> int | Tensor:
        return int(self.labels[row])


class HeadTargets(HardTargets):
    """A label of each head for each row, int64 (H,), such as weak and teacher label of a two-head space.

    Args:
        labels: int64 (N,), classes of the space, -1 where a row is not used.
        space: Says which labels of the heads a class stands for.
    """

    def __init__(self, labels: np.ndarray, space: LabelSpace) -> None:
        super().__init__(labels)
        self.head_labels = torch.from_numpy(space.head_targets(labels))

    def __getitem__(self, row: int) -> Tensor:
        return self.head_labels[row]


class SoftTargets(Targets):
    """A distribution over classes for each row (ours).

    Args:
        rows: `scipy.sparse.csr_array` float32 (N, K), as `LabelSpace.soft_targets` gives it; a row without
            entries is not used.
    """

    def __init__(self, rows: Any) -> None:
        lengths = np.diff(rows.indptr)
        super().__init__(lengths > 0)
        width = max(1, int(lengths.max(initial=0)))
        filled = np.arange(width) < lengths[:, None]
        self.ids = np.zeros(filled.shape, dtype=np.int64)
        self.weights = np.zeros(filled.shape, dtype=np.float32)
        self.ids[filled], self.weights[filled] = rows.indices, rows.data
        # A class of the sample itself pads, so that sampled softmax meets no other.
        self.ids = np.where(filled, self.ids, self.ids[:, :1])

    def classes(self, row: int) -> Sequence[int]:
        """Those of the entries."""
        classes: list[int] = self.ids[row].tolist()
        return classes

    def __getitem__(self, row: int) -> SoftLabels:
        return SoftLabels(torch.from_numpy(self.ids[row]), torch.from_numpy(self.weights[row]))


def join_targets(
    media: MediaTable,
    relabeled: Relabeled,
    predictions: Location | None = None,
    *,
    subset: bool = False,
) -> Targets:
    """The targets that a label space calls for, in the order of a media table.

    Args:
        media: The samples.
        relabeled: Their labels.
        predictions: What was relabeled; soft targets are made from it, and need it.
        subset: Let samples without a label go without a target.

    Raises:
        ConfigError: The space is one of soft targets, and there are no predictions.
        TableError: The tables do not hold the same samples, or other predictions were relabeled.
    """
    sample_ids, labels, space = relabeled
    if space.top_k is not None:
        if predictions is None:
            raise ConfigError(
                f"{space.strategy['kind']} trains on soft targets, which a relabeled table does not hold: "
                "give the predictions that it was made from"
            )
        predicted_ids, rows = read_soft_targets(predictions, space)
        if not predicted_ids.equals(sample_ids):
            raise TableError(
                f"{predictions} holds {len(predicted_ids)} samples, and they are not those of the relabeled "
                f"table ({len(sample_ids)}), in its order: give the predictions that it was made from"
            )
        # An empty row for samples without one.
        rows.resize(len(sample_ids) + 1, rows.shape[1])
        return SoftTargets(rows[media.join(sample_ids, np.arange(len(sample_ids)), subset=subset)])
    joined = media.join(sample_ids, labels, subset=subset)
    return HeadTargets(joined, space) if space.two_heads else HardTargets(joined)


def read_soft_targets(predictions: Location, space: LabelSpace) -> tuple[pa.Array, Any]:
    """The soft targets of all samples of a predictions table (ours).

    Args:
        predictions: A predictions file, or a folder of shards.
        space: Of the same vocabularies.

    Returns:
        Sample ids, string (N,), and `scipy.sparse.csr_array` float32 (N, K), as `LabelSpace.soft_targets`.

    Raises:
        TableError: The table is damaged, or not one of predictions.
        LabelError: It is of other vocabularies than the space.
    """
    metadata = read_predictions_metadata(predictions)
    space.check_vocabularies(metadata.weak_vocabulary, metadata.teacher_vocabulary)
    sample_ids: list[pa.Array] = []
    rows: list[Any] = [sparse.csr_array((0, len(space)), dtype=np.float32)]
    columns = ["sample_id", *LABEL_COLUMNS, "top_probs"]
    for batch in iter_batches(predictions, columns, dictionaries=DICTIONARIES):
        ids = batch.column("sample_id").cast(pa.string())
        decoded = decode_top(predictions, batch, space.weak_vocabulary, partial(_as_string, ids))
        sample_ids.append(ids)
        rows.append(space.soft_targets(*decoded))
    return pa.chunked_array(sample_ids, pa.string()).combine_chunks(), sparse.vstack(rows, format="csr")


def _as_string(values: pa.Array, row: int) -> str:
    return str(values[row].as_py())
