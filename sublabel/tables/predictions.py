"""What the teacher said of every sample, or why it could not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sublabel.errors import TableError
from sublabel.labels import Vocabulary
from sublabel.tables.io import iter_batches, read_metadata, versions

PREDICTIONS_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("weak_label", pa.string()),
        ("top_ids", pa.list_(pa.int32())),
        ("top_probs", pa.list_(pa.float32())),
        ("status", pa.string()),
    ]
)


@dataclass(frozen=True)
class PredictionsMetadata:
    """Whose predictions they are; stored in the metadata of every shard."""

    weak_vocabulary: Vocabulary
    teacher_vocabulary: Vocabulary
    teacher_fingerprint: str

    def to_strings(self) -> dict[str, str]:
        """For `TableWriter`, with the vocabularies' fingerprints and the versions of the libraries."""
        return {
            "weak_vocabulary": json.dumps(list(self.weak_vocabulary)),
            "weak_fingerprint": self.weak_vocabulary.fingerprint,
            "teacher_vocabulary": json.dumps(list(self.teacher_vocabulary)),
            "teacher_vocabulary_fingerprint": self.teacher_vocabulary.fingerprint,
            "teacher_fingerprint": self.teacher_fingerprint,
            "versions": json.dumps(versions()),
        }


def read_predictions_metadata(path: str | Path) -> PredictionsMetadata:
    """Read the vocabularies and the teacher's fingerprint of predictions.

    Raises:
        TableError: The table is not one of predictions.
    """
    strings = read_metadata(path)
    try:
        return PredictionsMetadata(
            Vocabulary(json.loads(strings["weak_vocabulary"])),
            Vocabulary(json.loads(strings["teacher_vocabulary"])),
            strings["teacher_fingerprint"],
        )
    except KeyError as error:
        raise TableError(
            f"{path} is not a predictions table: its metadata has no {error.args[0]}; the teacher pass "
            "writes it, or "
            "PredictionsMetadata(...).to_strings() for predictions of your own"
        ) from error


class LabelPairs(NamedTuple):
    """A chunk of predictions as label arrays."""

    sample_ids: pa.Array
    weak: np.ndarray
    """int64 (N,), -1 where the sample has no weak label."""
    teacher: np.ndarray
    """int64 (N,), the most probable class, -1 where there is no prediction."""


def iter_pairs(path: str | Path, batch_size: int = 65_536) -> Iterator[LabelPairs]:
    """Stream (weak label, teacher prediction) pairs.

    Args:
        path: A predictions file, or a folder of shards.
        batch_size: Rows a chunk, at most.

    Raises:
        TableError: The table is damaged, or not one of predictions.
        LabelError: A weak label is not in the vocabulary of the metadata.
    """
    metadata = read_predictions_metadata(path)
    for batch in iter_batches(path, ["sample_id", "weak_label", "top_ids", "status"], batch_size):
        sample_ids, weak_labels, top_ids, status = batch.columns
        # A failed row has no list, or an empty one; both read as -1.
        valid = pc.and_(pc.equal(status, "ok"), pc.greater(pc.fill_null(pc.list_value_length(top_ids), 0), 0))
        teacher = np.full(batch.num_rows, -1, dtype=np.int64)
        chosen = np.flatnonzero(valid.to_numpy(zero_copy_only=False))
        teacher[chosen] = pc.list_element(top_ids.take(pa.array(chosen)), 0).to_numpy(zero_copy_only=False)
        yield LabelPairs(sample_ids, _encode(weak_labels, metadata.weak_vocabulary), teacher)


def _encode(names: pa.Array, vocabulary: Vocabulary) -> np.ndarray:
    """`Vocabulary.encode` over the few distinct names of a chunk."""
    distinct = names.dictionary_encode()
    codes = np.append(vocabulary.encode(distinct.dictionary.to_pylist()), -1)
    labels: np.ndarray = codes[pc.fill_null(distinct.indices, len(codes) - 1).to_numpy()]
    return labels
