"""Manifests of media in folders, one for each split with one for each class."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from pathlib import Path, PurePath

import pyarrow as pa
import pyarrow.compute as pc

from sublabel.errors import TableError
from sublabel.tables._readers import MEDIA_SUFFIXES, class_folders, files_below, is_medium
from sublabel.tables.io import TableWriter
from sublabel.tables.manifest import open_manifest
from sublabel.tables.schema import MANIFEST_SCHEMA

_log = logging.getLogger(__name__)

LABEL_COLUMN_OF_SPLIT = {"weak": "weak_label", "target_train": "label", "target_test": "label"}
KINETICS_TIME = re.compile(r"_\d{6}_\d{6}$")


def write_folder_manifest(path: str | Path, folder: str | Path, *, exclude: Collection[str] = ()) -> int:
    """Write the manifest of a study from `FOLDER/{weak,target_train,target_test}/CLASS/*`.

    Args:
        path: The Parquet file to write.
        folder: Holds a folder for each split, with a folder for each class, or for each query in `weak`; ids
            are `SPLIT/CLASS/FILE`.
        exclude: Weak samples to leave out, by file name: those that are also in the test set, as web data
            often are. Endings do not count, nor does the time that Kinetics' file names end in
            (`_000012_000022`).

    Returns:
        How many samples were left out.

    Raises:
        TableError: A split or a class folder has no images or videos, all weak ones are excluded, or names
            are to be excluded and there is none of them.
    """
    excluded = frozenset(map(_medium_name, exclude))
    kept = left_out = 0
    with TableWriter(path, MANIFEST_SCHEMA) as writer:
        for split, column in LABEL_COLUMN_OF_SPLIT.items():
            _refuse_empty_classes(Path(folder) / split)
            for batch in open_manifest(Path(folder) / split, split=split, label_column=column).batches():
                rows = batch
                if split == "weak" and excluded:
                    chosen = [_medium_name(uri) not in excluded for uri in batch.column("uri").to_pylist()]
                    rows = batch.filter(pa.array(chosen))
                    left_out += batch.num_rows - rows.num_rows
                kept += rows.num_rows if split == "weak" else 0
                ids = pc.binary_join_element_wise(split, rows["sample_id"], "/")
                writer.write(rows.set_column(0, "sample_id", ids))
        if excluded and left_out == 0:
            raise TableError(
                f"none of the {len(excluded)} names to exclude, such as {min(excluded)!r}, is that of a weak "
                f"file in {folder}: expected file names, one each"
            )
        if kept == 0:
            raise TableError(
                f"all {left_out} weak samples of {folder} are excluded: nothing is left to pre-train on"
            )
    _log.info("%s: %d weak samples, %d excluded", path, kept, left_out)
    return left_out


def _refuse_empty_classes(root: Path) -> None:
    """Log how many files of a split are neither images nor videos; a class of nothing else is no class."""
    others: list[Path] = []
    for folder in class_folders(root) if root.is_dir() else ():
        files = sorted(files_below(folder))
        passed_over = [path for path in files if not is_medium(path)]
        if len(passed_over) == len(files):
            found = f"only others, such as {passed_over[0].name!r}" if files else "no files at all"
            raise TableError(
                f"the class folder {folder} has no image or video but {found}; known endings are "
                f"{', '.join(sorted(MEDIA_SUFFIXES))}: rename or convert the files, or remove the folder"
            )
        others += passed_over
    if others:
        _log.warning(
            "%s: %d files are no images or videos by their endings, such as %s: passed over",
            root,
            len(others),
            others[0],
        )


def _medium_name(name: str) -> str:
    path = PurePath(name)
    stem = path.stem if path.suffix.lower() in MEDIA_SUFFIXES else path.name
    return KINETICS_TIME.sub("", stem)
