"""The columns of the three tables, and the words that stand in them."""

from __future__ import annotations

import pyarrow as pa

SPLITS = ("weak", "target_train", "target_val", "target_test")
"""What `split` of a manifest may say."""
OK = "ok"
"""The `status` of predictions whose sample has one; any other says why it has none."""

MANIFEST_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("uri", pa.string()),
        ("image", pa.binary()),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("source_id", pa.string()),
        ("weak_label", pa.string()),
        ("label", pa.string()),
        ("true_label", pa.string()),
        ("split", pa.string()),
    ]
)
"""`label` is the clean name of a target sample, of the classes that are learned in the end. `true_label` is
what a weak sample truly shows, where that is known, also of a class outside the target vocabulary: only the
oracle of a study looks at it."""
PREDICTIONS_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("weak_label", pa.string()),
        ("top_ids", pa.list_(pa.int32())),
        ("top_probs", pa.list_(pa.float32())),
        ("status", pa.string()),
    ]
)
FEATURES = "features"
"""A column that predictions may have beside these."""
RELABELED_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("pretrain_label", pa.int64(), nullable=False),
        pa.field("status", pa.dictionary(pa.int32(), pa.string()), nullable=False),
    ]
)
"""A relabeled table of one label a sample. Other answers are lists in `pretrain_label`, soft ones with their
weights in a column `pretrain_weight` beside it."""


def predictions_schema(features: int | None = None) -> pa.Schema:
    """The columns of predictions.

    Args:
        features: Numbers D that a network saw in each sample, kept as float16; None: none are kept.
    """
    if features is None:
        return PREDICTIONS_SCHEMA
    return PREDICTIONS_SCHEMA.append(pa.field(FEATURES, pa.list_(pa.float16(), features)))
