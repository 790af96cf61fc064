"""Random predictions with everything that may stand in them, and an independent reading of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import sublabel as sl
from sublabel.tables import PREDICTIONS_SCHEMA, PredictionsMetadata

WEAK = sl.Vocabulary(["baking", "abseiling", "zumba"])
TEACHER = sl.Vocabulary(["abseiling", "baking", "eggs"])
METADATA = PredictionsMetadata(WEAK, TEACHER, "f00d")


def records(number, seed=0):
    """Rows with everything that may stand in a table: failures, null labels, stale and missing lists."""
    generator = np.random.default_rng(seed)
    rows = []
    for index in range(number):
        classes = generator.permutation(3)[: generator.integers(1, 4)].tolist()
        weights = np.sort(generator.random(len(classes)))[::-1]
        probs = (weights / weights.sum() * 0.9).astype(np.float32).tolist()
        status = generator.choice(["ok", "ok", "ok", "ok", "unreadable", None])
        if status != "ok" and generator.random() < 0.7:
            classes, probs = [(None, None), ([], [])][generator.integers(2)]
        weak = None if generator.random() < 0.1 else WEAK[int(generator.integers(3))]
        rows.append((f"video_{index // 8:08d}#{index % 8:02d}", weak, classes, probs, status))
    columns = [
        pa.array(list(column), kind)
        for column, kind in zip(zip(*rows, strict=True), PREDICTIONS_SCHEMA.types, strict=True)
    ]
    return pa.table(columns, schema=PREDICTIONS_SCHEMA)


def write(path, table, row_group=None, **options):
    path.parent.mkdir(exist_ok=True, parents=True)
    strings = {f"sublabel.{key}": value for key, value in METADATA.to_strings().items()}
    pq.write_table(table.replace_schema_metadata(strings), path, row_group_size=row_group, **options)
    return path


def pairs_of(table):
    """The same samples as pairs, row by row in plain Python."""
    weak, ids, probs = [], [], []
    for row in table.to_pylist():
        weak.append(row["weak_label"])
        found = row["status"] == "ok"
        padding = 3 - (len(row["top_ids"]) if found else 0)
        ids.append((row["top_ids"] if found else []) + [-1] * padding)
        probs.append((row["top_probs"] if found else []) + [0.0] * padding)
    return sl.Pairs(
        weak,
        (np.array(ids), np.array(probs, dtype=np.float32)),
        weak_vocabulary=WEAK,
        teacher_vocabulary=TEACHER,
        sample_ids=table["sample_id"].to_pylist(),
    )


def statuses_of(table, keep):
    """What the relabeled table must say of each sample, row by row in plain Python."""
    return [
        "kept"
        if kept
        else "no weak label"
        if row["weak_label"] is None
        else f"no prediction: {row['status'] or 'no status'}"
        if row["status"] != "ok"
        else "dropped by the strategy"
        for row, kept in zip(table.to_pylist(), keep, strict=True)
    ]
