"""Manifests of media in folders, one for each split with one for each class."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path, PurePath

import pyarrow as pa
import pyarrow.compute as pc

from sublabel.errors import TableError
from sublabel.tables.io import TableWriter
from sublabel.tables.manifest import MANIFEST_SCHEMA, open_manifest

_log = logging.getLogger(__name__)

LABEL_COLUMNS = {"weak": "weak_label", "target_train": "label", "target_test": "label"}


def write_folder_manifest(path: str | Path, folder: str | Path, *, exclude: Collection[str] = ()) -> int:
    """Write the manifest of a study from `FOLDER/{weak,target_train,target_test}/CLASS/*`.

    Args:
        path: The Parquet file to write.
        folder: Holds a folder for each split, with a folder for each class, or for each query in `weak`; ids
            are `SPLIT/CLASS/FILE`.
        exclude: Weak samples to leave out, by file name, with or without its ending: those that are also in
            the test set, as web data often are.

    Returns:
        How many samples were left out.

    Raises:
        TableError: A split has no images or videos, or all weak ones are excluded.
    """
    excluded = frozenset(exclude)
    kept = left_out = 0
    with TableWriter(path, MANIFEST_SCHEMA) as writer:
        for split, column in LABEL_COLUMNS.items():
            for batch in open_manifest(Path(folder) / split, split=split, label_column=column).batches():
                rows = batch
                if split == "weak" and excluded:
                    names = (PurePath(uri) for uri in batch.column("uri").to_pylist())
                    chosen = [not {name.name, name.stem} & excluded for name in names]
                    rows = batch.filter(pa.array(chosen))
                    left_out += batch.num_rows - rows.num_rows
                kept += rows.num_rows if split == "weak" else 0
                ids = pc.binary_join_element_wise(split, rows["sample_id"], "/")
                writer.write(rows.set_column(0, "sample_id", ids))
        if kept == 0:
            raise TableError(
                f"all {left_out} weak samples of {folder} are excluded: nothing is left to pre-train on"
            )
    _log.info("%s: %d weak samples, %d excluded", path, kept, left_out)
    return left_out
