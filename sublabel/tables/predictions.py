"""What the teacher said of every sample, or why it could not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sublabel.errors import LabelError, TableError
from sublabel.labels import Vocabulary
from sublabel.tables._decode import DICTIONARIES, LABEL_COLUMNS, PREDICTIONS_SCHEMA, cast_column, decode_pairs
from sublabel.tables.io import (
    Location,
    TableWriter,
    iter_batches,
    output_of,
    parquet_files,
    read_metadata,
    versions,
)


@dataclass(frozen=True)
class PredictionsMetadata:
    """Whose predictions they are; stored in the metadata of every shard.

    Example:
        >>> classes = Vocabulary(["cat", "dog"])
        >>> PredictionsMetadata(classes, classes, "my-teacher-v1").to_strings()["weak_vocabulary"]
        '["cat", "dog"]'
    """

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


def read_predictions_metadata(path: Location) -> PredictionsMetadata:
    """Read the vocabularies and the teacher's fingerprint of predictions.

    Args:
        path: A predictions file, or a folder of shards.

    Raises:
        TableError: The table is not one of predictions, or its shards are of several teachers or
            vocabularies.
    """
    first, *others = parquet_files(path)
    metadata = _file_metadata(first)
    for shard in others:
        theirs = _file_metadata(shard)
        if theirs != metadata:
            names = ("weak_vocabulary", "teacher_vocabulary", "teacher_fingerprint")
            other = [name for name in names if getattr(theirs, name) != getattr(metadata, name)]
            raise TableError(
                f"{shard} has another {', '.join(other)} than {first}: the ids in it mean something else; "
                "keep the predictions of each teacher pass in a folder of their own"
            )
    return metadata


def _file_metadata(path: Location) -> PredictionsMetadata:
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
            "writes it, and sublabel.tables.write_predictions makes a table of your own predictions"
        ) from error
    except (json.JSONDecodeError, LabelError, TypeError) as error:
        raise TableError(
            f"{path} has damaged metadata ({error}); expected a JSON list of class names for each "
            "vocabulary: write the table again"
        ) from error


class LabelPairs(NamedTuple):
    """A chunk of predictions as label arrays."""

    sample_ids: pa.Array
    weak: np.ndarray
    """int64 (N,), -1 where the sample has no weak label."""
    teacher: np.ndarray
    """int64 (N,), the most probable class, -1 where there is no prediction."""


def iter_pairs(path: Location, batch_size: int = 65_536) -> Iterator[LabelPairs]:
    """Stream (weak label, teacher prediction) pairs.

    Args:
        path: A predictions file, or a folder of shards.
        batch_size: Rows a chunk, at most.

    Raises:
        TableError: The table is damaged, not one of predictions, a row has no `sample_id`, or says `ok` but
            holds no prediction.
        LabelError: A weak label is not in the vocabulary of the metadata.

    Example:
        >>> import tempfile
        >>> from sublabel.tables import TableWriter
        >>> classes = Vocabulary(["cat", "dog"])
        >>> rows = [["a", "cat", [1, 0], [0.9, 0.1], "ok"], ["b", "dog", None, None, "unreadable: cut off"]]
        >>> columns = [list(values) for values in zip(*rows)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = f"{folder}/predictions.parquet"
        ...     metadata = PredictionsMetadata(classes, classes, "my-teacher-v1").to_strings()
        ...     with TableWriter(path, PREDICTIONS_SCHEMA, metadata) as writer:
        ...         writer.write(pa.table(columns, schema=PREDICTIONS_SCHEMA))
        ...     [(pairs.weak.tolist(), pairs.teacher.tolist()) for pairs in iter_pairs(path)]
        [([0, 1], [1, -1])]
    """
    metadata = read_predictions_metadata(path)
    columns = ["sample_id", *LABEL_COLUMNS]
    for part in parquet_files(path):
        for batch in iter_batches(part, columns, batch_size, DICTIONARIES):
            ids = cast_column(part, "sample_id", batch.column("sample_id"))
            if ids.null_count:
                raise TableError(
                    f"{part} has a row without sample_id; labels are joined on it, so give it one"
                )
            weak, teacher = decode_pairs(part, batch, metadata.weak_vocabulary, partial(_as_string, ids))
            yield LabelPairs(ids, weak.astype(np.int64), teacher.astype(np.int64))


def _as_string(values: pa.Array, row: int) -> str:
    return str(values[row].as_py())


def select_predictions(path: Location, out: str | Path, sample_ids: pa.Array) -> int:
    """Copy the rows of some samples to another predictions file; rows keep their order.

    Args:
        path: A predictions file, or a folder of shards.
        out: The Parquet file to write.
        sample_ids: string (M,), the samples to keep.

    Returns:
        The number of rows kept.

    Raises:
        TableError: The table is damaged, or not one of predictions.
        ConfigError: `out` is a URL, a folder, one of the predictions' files, or in their folder.
    """
    out = output_of(path, out)
    kept = 0
    with TableWriter(out, PREDICTIONS_SCHEMA, read_predictions_metadata(path).to_strings()) as writer:
        for batch in iter_batches(path, PREDICTIONS_SCHEMA.names):
            chosen = batch.filter(pc.is_in(batch.column("sample_id"), value_set=sample_ids))
            writer.write(chosen)
            kept += chosen.num_rows
    return kept
