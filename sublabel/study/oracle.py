"""The oracle of a comparison: the true classes of the weak samples in place of the teacher's (ours).

It is no method, as whoever knows the truth needs none. It says what a perfect relabeling would give, and so
how much there is to gain in a setting whose truth is known.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sublabel.tables import (
    OK,
    PREDICTIONS_SCHEMA,
    Manifest,
    TableWriter,
    iter_batches,
    read_predictions_metadata,
)

NOT_KNOWN = "no true label"
"""The status of a sample whose true class the manifest does not say."""


def true_predictions(predictions: Path, manifest: Manifest, out: Path) -> Path:
    """Write the predictions that a teacher without faults would have made of the same samples.

    Its vocabulary is that of the true classes, which the target's need not have. A sample that the teacher
    could not read keeps the reason. Holds the true labels of all weak samples in memory.

    Args:
        predictions: A teacher's, in a file or a folder of shards.
        manifest: Whose `true_label` says what the weak samples show.
        out: The Parquet file to write; one that exists stays as it is.

    Returns:
        `out`.

    Raises:
        TableError: The manifest knows the true class of no weak sample.
    """
    if out.exists():
        return out
    weak = manifest.filter(split="weak")
    vocabulary = weak.vocabulary("true_label")
    rows = pa.Table.from_batches(weak.batches(["sample_id", "true_label"]))
    ids, names = rows["sample_id"].combine_chunks(), pa.array(vocabulary.names, pa.string())
    metadata = replace(
        read_predictions_metadata(predictions),
        teacher_vocabulary=vocabulary,
        teacher_fingerprint="the true labels of the manifest",
    )
    with TableWriter(out, PREDICTIONS_SCHEMA, metadata.to_strings()) as writer:
        for batch in iter_batches(predictions, ["sample_id", "weak_label", "status"]):
            shown = rows["true_label"].take(pc.index_in(batch["sample_id"], value_set=ids))
            writer.write(_with_truth(batch, pc.index_in(shown, value_set=names).combine_chunks()))
    return out


def _with_truth(batch: pa.RecordBatch, truth: pa.Array) -> pa.Table:
    """Rows of predictions with true classes, int32 (N,), null where they are not known."""
    is_ok = pc.equal(batch["status"].cast(pa.string()), OK)
    status = pc.if_else(pc.and_(is_ok, truth.is_null()), NOT_KNOWN, batch["status"].cast(pa.string()))
    # kept[n]: whether sample n has a class, and so a list of one; the others have none
    kept = pc.and_(is_ok, truth.is_valid()).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.append(0, kept.cumsum()).astype(np.int32), mask=np.append(~kept, False))
    top_ids = pa.ListArray.from_arrays(offsets, truth.filter(pa.array(kept)))
    top_probs = pa.nulls(len(batch), pa.list_(pa.float32()))
    columns = [batch["sample_id"], batch["weak_label"], top_ids, top_probs, status]
    return pa.table(columns, PREDICTIONS_SCHEMA.names).cast(PREDICTIONS_SCHEMA)
