"""Which clean samples a fine-tuned model was right on: what intervals over test samples are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sublabel.evaluation import Outcomes, RunKey, RunMetrics
from sublabel.tables import Manifest, TableWriter, iter_batches

METRICS_FILE, OUTCOMES_FILE = "metrics.json", "outcomes.parquet"
"""What a test leaves beside a model."""
OUTCOMES_SCHEMA = pa.schema([("sample_id", pa.string()), ("split", pa.string()), ("correct", pa.bool_())])


def tested_splits(manifest: Manifest) -> tuple[str, ...]:
    """The splits that models are tested on: `target_val` only where the manifest has rows of it.

    Args:
        manifest: A study's.
    """
    has_validation = manifest.filter(split="target_val").count() > 0
    return ("target_test", "target_val") if has_validation else ("target_test",)


def is_tested(model: Path) -> bool:
    """Whether all that a test measures is there.

    Args:
        model: The folder of a fine-tuned model.
    """
    return all((model / name).exists() for name in (METRICS_FILE, OUTCOMES_FILE))


def write_outcomes(path: Path, correct: Mapping[str, tuple[pa.Array, np.ndarray]]) -> None:
    """Write what a model was right on.

    Args:
        path: The Parquet file.
        correct: Split → sample ids, string (M,), and whether top-1 was right, bool (M,).
    """
    with TableWriter(path, OUTCOMES_SCHEMA, dictionary=["split"]) as writer:
        for split, (sample_ids, right) in correct.items():
            splits = pa.repeat(split, len(right))
            writer.write(pa.table([sample_ids, splits, pa.array(right)], schema=OUTCOMES_SCHEMA))


def read_outcomes(path: Path, split: str = "target_test") -> tuple[pa.Array, np.ndarray]:
    """Read what a model was right on.

    Args:
        path: What `write_outcomes` wrote.
        split: Of which samples.

    Returns:
        Sample ids, string (M,), and whether top-1 was right, bool (M,).

    Raises:
        TableError: There is no such file, or it is damaged.
    """
    table = pa.Table.from_batches(iter_batches(path, OUTCOMES_SCHEMA.names), OUTCOMES_SCHEMA)
    rows = table.filter(pc.equal(table["split"], split)).combine_chunks()
    return rows["sample_id"].combine_chunks(), rows["correct"].to_numpy()


def collect_outcomes(runs: Sequence[RunMetrics], models: Sequence[Path]) -> Outcomes | None:
    """Which test samples the runs of a table were right on.

    Args:
        runs: Of a study, those of its curve too.
        models: The folder of the fine-tuned model of each.

    Returns:
        The outcomes; None where a method of a user's own left none, or others than those of its metrics.
    """
    sample_ids: list[str] | None = None
    correct = {}
    for run, model in zip(runs, models, strict=True):
        if run.clips_per_video is not None:
            continue
        if not (model / OUTCOMES_FILE).exists():
            return None
        ids, right = read_outcomes(model / OUTCOMES_FILE)
        sample_ids = ids.to_pylist() if sample_ids is None else sample_ids
        if ids.to_pylist() != sample_ids or not np.isclose(right.mean(), run.primary, atol=1e-4):
            return None
        correct[RunKey(run.data, run.row, run.seed)] = right
    return None if sample_ids is None else Outcomes({"": sample_ids}, correct)
