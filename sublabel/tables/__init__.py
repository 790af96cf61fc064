"""The three tables in Parquet, read and written in streams: manifest, predictions, relabeled."""

from sublabel.tables._decode import feature_array
from sublabel.tables._opened import Progress
from sublabel.tables.folders import write_folder_manifest
from sublabel.tables.io import TableWriter, count_statuses, iter_batches, read_metadata, versions
from sublabel.tables.manifest import Manifest, open_manifest, source_ranks
from sublabel.tables.predictions import (
    PredictionsMetadata,
    iter_pairs,
    read_predictions_metadata,
    select_predictions,
    write_predictions,
)
from sublabel.tables.relabeled import (
    NO_STATUS,
    Relabeled,
    RelabelSummary,
    count_table,
    read_label_space,
    read_relabeled,
    relabel_table,
)
from sublabel.tables.schema import (
    MANIFEST_SCHEMA,
    OK,
    PREDICTIONS_SCHEMA,
    RELABELED_SCHEMA,
    SPLITS,
    predictions_schema,
)

__all__ = [
    "MANIFEST_SCHEMA",
    "NO_STATUS",
    "OK",
    "PREDICTIONS_SCHEMA",
    "RELABELED_SCHEMA",
    "SPLITS",
    "Manifest",
    "PredictionsMetadata",
    "Progress",
    "RelabelSummary",
    "Relabeled",
    "TableWriter",
    "count_statuses",
    "count_table",
    "feature_array",
    "iter_batches",
    "iter_pairs",
    "open_manifest",
    "predictions_schema",
    "read_label_space",
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
