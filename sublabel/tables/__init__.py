"""The three tables in Parquet, read and written in streams: manifest, predictions, relabeled."""

from sublabel.tables._decode import PREDICTIONS_SCHEMA
from sublabel.tables.folders import write_folder_manifest
from sublabel.tables.io import TableWriter, iter_batches, read_metadata, versions
from sublabel.tables.manifest import MANIFEST_SCHEMA, SPLITS, Manifest, open_manifest, source_ranks
from sublabel.tables.precomputed import write_predictions
from sublabel.tables.predictions import (
    LabelPairs,
    PredictionsMetadata,
    iter_pairs,
    read_predictions_metadata,
    select_predictions,
)
from sublabel.tables.relabeled import (
    RELABELED_SCHEMA,
    Progress,
    Relabeled,
    RelabelSummary,
    count_pairs,
    read_relabeled,
    relabel_table,
)

__all__ = [
    "MANIFEST_SCHEMA",
    "PREDICTIONS_SCHEMA",
    "RELABELED_SCHEMA",
    "SPLITS",
    "LabelPairs",
    "Manifest",
    "PredictionsMetadata",
    "Progress",
    "RelabelSummary",
    "Relabeled",
    "TableWriter",
    "count_pairs",
    "iter_batches",
    "iter_pairs",
    "open_manifest",
    "read_metadata",
    "read_predictions_metadata",
    "read_relabeled",
    "relabel_table",
    "select_predictions",
    "source_ranks",
    "versions",
    "write_folder_manifest",
    "write_predictions",
]
