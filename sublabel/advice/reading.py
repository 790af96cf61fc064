"""Features from files, and what `advise` takes of a manifest, predictions and features; without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sublabel.advice.options import AdviceOptions
from sublabel.errors import TableError
from sublabel.labels import Pairs
from sublabel.tables import Manifest, iter_batches, iter_pairs, read_predictions_metadata
from sublabel.tables.io import parquet_files, parquet_schema
from sublabel.tables.schema import FEATURES

CLEAN_SPLITS = ("target_train", "target_val")
"""Splits whose clean samples are looked at: what is for tests stays for tests."""
Unseen = Literal["none", "target_val", "all"]


class FeatureTable(NamedTuple):
    """Features by sample id."""

    sample_ids: pa.Array
    """string (N,)."""
    values: np.ndarray
    """Floats (N, D)."""

    def positions(self, sample_ids: pa.Array) -> np.ndarray:
        """Where samples stand, int64 (M,); -1 where they are not.

        Args:
            sample_ids: string (M,).
        """
        found = pc.index_in(sample_ids, value_set=self.sample_ids)
        return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), dtype=np.int64)


def read_features(*paths: str | Path) -> FeatureTable:
    """Read the features of samples from one or several files, which hold different samples.

    Args:
        *paths: Parquet tables with `sample_id` and `features` (lists of one length, null where there are
            none), such as predictions, or `.npz` archives with these two arrays.

    Raises:
        TableError: A file is damaged, lacks either, rows differ in width, or a sample stands twice.
    """
    tables = [_read_npz(Path(path)) if str(path).endswith(".npz") else _read_parquet(path) for path in paths]
    widths = sorted({table.values.shape[1] for table in tables})
    named = ", ".join(map(str, paths))
    if len(widths) != 1:
        raise TableError(f"{named} hold features of the widths {widths}; expected those of one backbone")
    ids = pa.concat_arrays([table.sample_ids for table in tables])
    if len(pc.unique(ids)) != len(ids):
        counted = pc.value_counts(ids)
        twice = counted.field("values").filter(pc.greater(counted.field("counts"), 1))[0]
        raise TableError(f"{named}: the sample {twice.as_py()!r} stands twice; expected each once")
    return FeatureTable(ids, np.concatenate([table.values for table in tables]))


def _read_npz(path: Path) -> FeatureTable:
    try:
        with np.load(path, allow_pickle=False) as archive:
            ids, values = (archive[name] for name in ("sample_id", FEATURES))
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise TableError(
            f"{path} holds no features ({error}); expected the arrays `sample_id`, strings (N,), and "
            "`features`, floats (N, D)"
        ) from error
    if values.ndim != 2 or ids.shape != values.shape[:1]:
        raise TableError(
            f"{path} has `sample_id` {ids.shape} and `features` {values.shape}; expected (N,) and (N, D)"
        )
    return FeatureTable(pa.array(ids.astype(str)), values)


def _read_parquet(path: str | Path) -> FeatureTable:
    parts = [_listed(path, batch) for batch in iter_batches(path, ["sample_id", FEATURES]) if batch.num_rows]
    filled = [part for part in parts if len(part.values)]
    widths = sorted({part.values.shape[1] for part in filled})
    if len(widths) != 1:
        raise TableError(f"{path} has features of the widths {widths}; expected one width for all samples")
    return FeatureTable(
        pa.concat_arrays([part.sample_ids for part in filled]),
        np.concatenate([part.values for part in filled]),
    )


def _listed(path: str | Path, batch: pa.RecordBatch) -> FeatureTable:
    """The rows of a batch that have features."""
    batch = batch.filter(pc.is_valid(batch.column(FEATURES)))
    lists = batch.column(FEATURES)
    try:
        lengths = pc.unique(pc.list_value_length(lists)).to_pylist()
        values = lists.flatten().to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, AttributeError) as error:
        raise TableError(
            f"{path}: the column `features` is {lists.type}; expected lists of floats"
        ) from error
    if len(lengths) > 1:
        raise TableError(f"{path} has features of the widths {sorted(lengths)}; expected one for all samples")
    return FeatureTable(batch.column("sample_id").cast(pa.string()), values.reshape(batch.num_rows, -1))


def looked_at(pairs: Pairs, options: AdviceOptions) -> np.ndarray:
    """The samples with a weak label and a prediction; of more than are looked at, those that are drawn.

    Args:
        pairs: All samples.
        options: How many are looked at, and the seed of the draw.

    Returns:
        Their positions in order, int64.
    """
    rows = np.flatnonzero((pairs.weak >= 0) & (pairs.teacher >= 0))
    if len(rows) > options.samples:
        rows = np.sort(np.random.default_rng(options.seed).choice(rows, options.samples, replace=False))
    return rows


class AdviceInputs(NamedTuple):
    """What `advise` takes."""

    pairs: Pairs
    weak_features: np.ndarray
    clean_features: np.ndarray
    clean_labels: list[str]
    teacher_features: tuple[np.ndarray, np.ndarray] | None
    unseen: np.ndarray | None


def join_inputs(
    manifest: Manifest,
    pairs: Pairs,
    features: FeatureTable,
    teacher_features: FeatureTable | None = None,
    *,
    unseen: Unseen | None = None,
) -> AdviceInputs:
    """Join predictions, clean labels and features on their sample ids.

    Args:
        manifest: With the split `target_train`, and maybe `target_val`.
        pairs: Weak labels and predictions, with sample ids; samples without features are left out.
        features: What the student looks at.
        teacher_features: What the teacher looks at; None: the same.
        unseen: Which clean samples the teacher has not learned from; None: `none`, and
            where the teacher's features are not known, `target_val` if there is one.

    Raises:
        TableError: A clean sample has no features, or no weak one has.
    """
    ids, labels, is_val = _clean_rows(manifest)
    tables = [features] if teacher_features is None else [features, teacher_features]
    clean = [table.values[_all_there(table, ids, manifest)] for table in tables]
    pairs, weak = _weak_rows(pairs, tables)
    if unseen is None:
        # Stand-ins that see what the teacher sees may be tested on all clean samples.
        unseen = "target_val" if teacher_features is None and is_val.any() else "none"
    marked = {"none": None, "target_val": is_val, "all": np.ones(len(ids), dtype=bool)}[unseen]
    return AdviceInputs(
        pairs, weak[0], clean[0], labels, (weak[1], clean[1]) if len(tables) > 1 else None, marked
    )


def _clean_rows(manifest: Manifest) -> tuple[pa.Array, list[str], np.ndarray]:
    """Ids and labels of the clean samples that may be trained on, and whether each is a validation sample."""
    manifest.require("sample_id", "label", "split")
    batches = [list(manifest.filter(split=split).batches(["sample_id", "label"])) for split in CLEAN_SPLITS]
    rows = [row for part in batches for batch in part for row in batch.to_pylist()]
    sizes = [sum(batch.num_rows for batch in part) for part in batches]
    ids, labels = ([row[name] for row in rows] for name in ("sample_id", "label"))
    return pa.array(ids, pa.string()), labels, np.repeat([False, True], sizes)


def _all_there(table: FeatureTable, ids: pa.Array, manifest: Manifest) -> np.ndarray:
    positions = table.positions(ids)
    missing = np.flatnonzero(positions < 0)
    if len(missing):
        raise TableError(
            f"{len(missing):,} of the {len(ids):,} clean samples of {manifest} have no features, such as "
            f"{ids[int(missing[0])].as_py()!r}: compute them for target_train and target_val too"
        )
    return positions


def _weak_rows(pairs: Pairs, tables: Sequence[FeatureTable]) -> tuple[Pairs, list[np.ndarray]]:
    """The pairs of the samples that all tables have, and their features in each."""
    ids = pa.array(pairs.need_sample_ids(), pa.string())
    positions = np.stack([table.positions(ids) for table in tables])
    there = np.flatnonzero((positions >= 0).all(axis=0))
    if not len(there):
        raise TableError(
            f"none of the {len(pairs):,} weak samples with predictions has features: are they those of other "
            "samples?"
        )
    return pairs[there], [table.values[rows[there]] for table, rows in zip(tables, positions, strict=True)]


def read_pairs(predictions: str | Path) -> Pairs:
    """All pairs of predictions in memory, with the probabilities and features that they have.

    Args:
        predictions: A Parquet file, or a folder of shards.

    Raises:
        TableError: They are none, or damaged.
    """
    columns = parquet_schema(parquet_files(predictions)[0]).names
    needs = {"features"} if FEATURES in columns else set()
    if _has_probabilities(predictions):
        needs.add("probabilities")
    metadata = read_predictions_metadata(predictions)
    chunks = list(iter_pairs(predictions, needs=needs))
    if not chunks:
        raise TableError(f"{predictions} has no rows: expected the predictions of the weak samples")
    optional = {
        name: _joined([getattr(chunk, name) for chunk in chunks], fill)
        for name, fill in (("top_ids", -1), ("top_probs", 0), ("features", 0), ("sample_ids", 0))
    }
    weak, teacher = (
        np.concatenate([getattr(chunk, side) for chunk in chunks]) for side in ("weak", "teacher")
    )
    return Pairs.trusted(weak, teacher, metadata.weak_vocabulary, metadata.teacher_vocabulary, **optional)


def _has_probabilities(predictions: str | Path) -> bool:
    """Whether every prediction comes with its probability."""
    batches = iter_batches(predictions, ["top_ids", "top_probs"])
    return all(
        batch.column("top_probs").null_count <= batch.column("top_ids").null_count for batch in batches
    )


def _joined(parts: list[Any], fill: int) -> np.ndarray | None:
    """Arrays below one another, filled up to the widest; None where they are None."""
    if parts[0] is None:
        return None
    if parts[0].ndim == 1:
        return np.concatenate(parts)
    width = max(part.shape[1] for part in parts)
    return np.concatenate(
        [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=fill) for part in parts]
    )
