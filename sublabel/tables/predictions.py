"""What the teacher said of every sample, or why it could not."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sublabel.errors import LabelError, TableError
from sublabel.labels import Pairs, Vocabulary
from sublabel.labels.pairs import need_pairs
from sublabel.tables._decode import FEW_VALUES, PairDecoder, cast_column, feature_array
from sublabel.tables.io import (
    Location,
    TableWriter,
    iter_batches,
    output_of,
    parquet_files,
    parquet_schema,
    read_metadata,
    versions,
)
from sublabel.tables.schema import FEATURES, OK, PREDICTIONS_SCHEMA, predictions_schema

NOT_GIVEN = "none given"
"""The status of a sample that came without a prediction and without a reason."""
ROWS_AT_ONCE = 1_048_576


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
            Vocabulary(_names(strings["weak_vocabulary"])),
            Vocabulary(_names(strings["teacher_vocabulary"])),
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


def _names(text: str) -> list[Any]:
    names = json.loads(text)
    if not isinstance(names, list):
        raise TypeError(f"a vocabulary is of the type {type(names).__name__}")
    return names


def iter_pairs(
    path: Location, batch_size: int = 65_536, *, needs: Collection[str] = frozenset()
) -> Iterator[Pairs]:
    """Stream (weak label, teacher prediction) pairs with their sample ids, in the order of the rows.

    Args:
        path: A predictions file, or a folder of shards.
        batch_size: Rows a chunk, at most.
        needs: "probabilities" for `top_ids` and `top_probs`, "features" for these, as `Counting.needs` and
            `LabelSpace.needs` say it; sample ids are there anyway.

    Raises:
        TableError: The table is damaged, not one of predictions, a row has no `sample_id`, or says `ok` but
            holds no prediction.
        LabelError: A label is not in the vocabulary of the metadata, or probabilities are none.

    Example:
        >>> import tempfile
        >>> pairs = Pairs(["cat", "dog"], ["dog", None], sample_ids=["a", "b"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_predictions(f"{folder}/p.parquet", pairs, teacher="my-teacher-v1")
        ...     [(pairs.weak.tolist(), pairs.teacher.tolist()) for pairs in iter_pairs(f"{folder}/p.parquet")]
        [([0, 1], [0, -1])]
    """
    metadata = read_predictions_metadata(path)
    decoder = PairDecoder(metadata.weak_vocabulary, metadata.teacher_vocabulary, frozenset(needs))
    row = 0
    for part in parquet_files(path):
        for batch in iter_batches(part, ["sample_id", *decoder.columns], batch_size, FEW_VALUES):
            ids = cast_column(part, "sample_id", batch.column("sample_id"))
            if ids.null_count:
                raise TableError(
                    f"{part} has a row without sample_id; labels are joined on it, so give it one"
                )
            pairs = decoder.decode(part, batch, row, partial(_as_string, ids))
            yield with_sample_ids(pairs, ids)
            row += batch.num_rows


def with_sample_ids(pairs: Pairs, sample_ids: pa.Array | pa.ChunkedArray) -> Pairs:
    """The same pairs with the ids of a table, string (N,)."""
    return Pairs.trusted(
        pairs.weak,
        pairs.teacher,
        pairs.weak_vocabulary,
        pairs.teacher_vocabulary,
        sample_ids=sample_ids.to_numpy(zero_copy_only=False),
        top_ids=pairs.top_ids,
        top_probs=pairs.top_probs,
        features=pairs.features,
    )


def _as_string(values: pa.Array, row: int) -> str:
    return str(values[row].as_py())


def write_predictions(
    path: str | Path, pairs: Pairs, *, status: Any = None, teacher: str = "unnamed"
) -> None:
    """Write a predictions table: the way to bring a teacher's predictions of your own.

    `relabel_table`, and `sublabel inspect`, `relabel` and `report` read it. More samples than fit into memory
    go into several files of one folder, which all have the same vocabularies and teacher.

    Args:
        path: The Parquet file to write.
        pairs: N samples with `sample_ids`; with probabilities where a strategy is to look at them, as
            `ConfidentSPL` and `TopKSPL` do, and with features where something is to look at those.
        status: Strings (N,), `ok` or why a sample has no prediction, which then does not count; default:
            `ok` where there is one, else `none given`.
        teacher: Tells this teacher's predictions from another's, such as a name with a version, or a hash.

    Raises:
        TableError: The pairs have no sample ids, the statuses are not N strings, or a sample is `ok`
            without a prediction.
        LabelError: They are no Pairs, or a sample id stands twice.
        ConfigError: The path is a URL, or a folder.

    Example:
        >>> import tempfile
        >>> from sublabel import RawSPL
        >>> from sublabel.tables import relabel_table
        >>> top = [[0, 1], [1, 0], [1, 0]], [[0.9, 0.1], [0.6, 0.4], [0.8, 0.2]]
        >>> pairs = Pairs(
        ...     ["cat", "cat", None], top, weak_vocabulary=["cat", "dog"], sample_ids=["a", "b", "c"]
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_predictions(f"{folder}/p.parquet", pairs, teacher="resnet50-v2")
        ...     print(relabel_table(f"{folder}/p.parquet", f"{folder}/r.parquet", RawSPL()))
        3 samples: 2 kept in 2 classes, 1 no weak label
    """
    need_pairs(pairs, "write_predictions")
    if pairs.sample_ids is None:
        raise TableError(
            f"a table of predictions joins on sample_id, and these {len(pairs)} pairs have none: give Pairs "
            "its sample_ids"
        )
    pairs.refuse_repeated_ids()
    statuses = _statuses(pairs, status)
    metadata = PredictionsMetadata(pairs.weak_vocabulary, pairs.teacher_vocabulary, teacher).to_strings()
    width = None if pairs.features is None else pairs.features.shape[1]
    with TableWriter(path, predictions_schema(width), metadata) as writer:
        for start in range(0, len(pairs), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            writer.write(_prediction_rows(pairs[rows], statuses[rows]))


def _statuses(pairs: Pairs, given: Any) -> pa.Array:
    """The status of each sample, string (N,), `ok` only where there is a prediction."""
    predicted = pairs.teacher >= 0
    if given is None:
        return pa.array([NOT_GIVEN, OK]).take(pa.array(predicted.astype(np.int8)))
    try:
        values = given if isinstance(given, pa.Array | pa.ChunkedArray) else pa.array(given, from_pandas=True)
        statuses = values.cast(pa.string())
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise TableError(
            f"status is no list of strings (N,): {error}; expected {OK!r}, or why there is no prediction"
        ) from error
    statuses = statuses.combine_chunks() if isinstance(statuses, pa.ChunkedArray) else statuses
    if len(statuses) != len(pairs) or statuses.null_count:
        raise TableError(
            f"got {len(statuses)} statuses, {statuses.null_count} of them null, for {len(pairs)} pairs; "
            f"expected {OK!r}, or why there is no prediction, for each"
        )
    without = pc.equal(statuses, OK).to_numpy(zero_copy_only=False) & ~predicted
    if without.any() and pairs.sample_ids is not None:
        raise TableError(
            f"sample {str(pairs.sample_ids[int(without.argmax())])!r} has the status {OK!r} but no "
            "prediction; give it one, or a status that says why it has none"
        )
    return statuses


def _prediction_rows(pairs: Pairs, statuses: pa.Array) -> pa.Table:
    weak = pa.array(pairs.weak_vocabulary.names, pa.string()).take(pa.array(pairs.weak, mask=pairs.weak < 0))
    classes = pairs.teacher[:, None] if pairs.top_ids is None else pairs.top_ids
    is_ok = pc.equal(statuses, OK).to_numpy(zero_copy_only=False)
    # kept[n, j]: whether sample n has a class at rank j that counts, (N, k)
    kept = (classes >= 0) & is_ok[:, None]
    ends = np.cumsum(kept.sum(axis=1))
    offsets = pa.array(np.append(0, ends).astype(np.int32), mask=np.append(~is_ok, False))
    top_ids = pa.ListArray.from_arrays(offsets, classes[kept].astype(np.int32))
    top_probs = pa.nulls(len(pairs), pa.list_(pa.float32()))
    if pairs.top_probs is not None:
        top_probs = pa.ListArray.from_arrays(offsets, pairs.top_probs[kept].astype(np.float32))
    ids = pa.array([str(sample_id) for sample_id in pairs.need_sample_ids().tolist()], pa.string())
    columns = [ids, weak, top_ids, top_probs, statuses]
    if pairs.features is None:
        return pa.table(columns, PREDICTIONS_SCHEMA.names)
    return pa.table([*columns, feature_array(pairs.features)], [*PREDICTIONS_SCHEMA.names, FEATURES])


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
    kept, stored = 0, parquet_schema(path)
    features = stored.field(FEATURES).type.list_size if FEATURES in stored.names else None
    schema = predictions_schema(features)
    with TableWriter(out, schema, read_predictions_metadata(path).to_strings()) as writer:
        for batch in iter_batches(path, schema.names):
            chosen = batch.filter(pc.is_in(batch.column("sample_id"), value_set=sample_ids))
            writer.write(chosen)
            kept += chosen.num_rows
    return kept
