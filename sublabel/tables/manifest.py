"""The manifest: which samples there are, where their media lie, and what is known of them.

Columns: `sample_id` (unique), `uri` or `image` (bytes), `start`/`end` (seconds, for video), `source_id` (the
page or video a sample was cut from), `weak_label`, `label` (clean), `true_label` (of a weak sample, where it
is known), `split`. Only `sample_id` and one of `uri` and `image` must be there; what else is there, is
checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sublabel.errors import ConfigError, TableError
from sublabel.files import local_file
from sublabel.labels import Vocabulary
from sublabel.labels.hashing import uniform_from_ids
from sublabel.tables._readers import (
    MEDIA_SUFFIXES,
    csv_schema,
    json_lines_schema,
    media_folder_schema,
    media_paths,
    read_csv,
    read_json_lines,
    read_media_folder,
)
from sublabel.tables.io import Location, is_remote, iter_batches, output_of, parquet_schema
from sublabel.tables.schema import MANIFEST_SCHEMA, SPLITS

# In text files; image bytes do not travel in those.
TEXT_TYPES = {field.name: field.type for field in MANIFEST_SCHEMA if field.name != "image"}
HINTS = {
    "weak_label": "; or make it with a WeakLabelSource and apply_source",
    "split": "; or, for a media folder, open it with split=",
}
ABSOLUTE_URI = r"^(/|\\|[A-Za-z]:[\\/])|://"

BatchReader = Callable[[Sequence[str] | None, int], Iterator[pa.RecordBatch]]


@dataclass(frozen=True)
class Manifest:
    """A manifest that is read in streams, as often as needed. Made by `open_manifest`."""

    path: str
    """The file, folder or URL that it was opened from."""
    stored: pa.Schema
    """All columns of the table, in its types."""
    base: str | None
    """Folder that relative uris are resolved against; None for a folder of media, whose uris are absolute."""
    read: BatchReader
    split: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The manifest's columns that are present; others read as null."""
        return tuple(name for name in MANIFEST_SCHEMA.names if name in self.stored.names)

    def batches(
        self, columns: Sequence[str] | None = None, batch_size: int = 65_536
    ) -> Iterator[pa.RecordBatch]:
        """Stream the rows, in the manifest's types.

        Args:
            columns: Names in `MANIFEST_SCHEMA`; None for all of them. Absent ones are null.
            batch_size: Rows a batch, at most.

        Raises:
            TableError: The file is damaged, or a value does not fit its column's type.
        """
        wanted = tuple(MANIFEST_SCHEMA.names if columns is None else columns)
        unknown = [name for name in wanted if name not in MANIFEST_SCHEMA.names]
        if unknown:
            raise TableError(
                f"a manifest has no column {', '.join(unknown)}; it has {', '.join(MANIFEST_SCHEMA.names)}"
            )
        present = [name for name in self.columns if name in wanted]
        for batch in self._selected(present or list(self.columns[:1]), batch_size):
            yield self._normalised(batch, wanted)

    def stored_batches(self, batch_size: int = 65_536) -> Iterator[pa.RecordBatch]:
        """Stream the rows with all columns of the table as they are stored, extra ones included.

        Args:
            batch_size: Rows a batch, at most.

        Raises:
            TableError: The file is damaged.
        """
        return self._selected(list(self.stored.names), batch_size)

    def _selected(self, columns: list[str], batch_size: int) -> Iterator[pa.RecordBatch]:
        """Stored columns of the rows of this manifest's split."""
        reads_split = self.split is not None and "split" not in columns
        # Rows that carry whole images are big.
        rows = min(batch_size, 512) if "image" in columns else batch_size
        for batch in self.read([*columns, "split"] if reads_split else columns, rows):
            if self.split is None:
                yield batch
                continue
            is_ours = pc.equal(batch.column("split").cast(pa.string()), self.split)
            kept = batch.filter(pc.fill_null(is_ours, False)).select(columns)
            if kept.num_rows:
                yield kept

    def _normalised(self, batch: pa.RecordBatch, wanted: tuple[str, ...]) -> pa.RecordBatch:
        arrays = []
        for name in wanted:
            kind = MANIFEST_SCHEMA.field(name).type
            if name not in batch.schema.names:
                arrays.append(pa.nulls(batch.num_rows, kind))
                continue
            values = batch.column(name)
            if name == "image":
                values = self._image_bytes(values)
            try:
                values = values.cast(kind)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise TableError(
                    f"{self.path}: the column {name!r} is {values.type}, expected {kind}: {error}"
                ) from error
            arrays.append(self.resolve(values) if name == "uri" else values)
        return pa.RecordBatch.from_arrays(arrays, names=list(wanted))

    def _image_bytes(self, images: pa.Array) -> pa.Array:
        kind = images.type
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            return pc.struct_field(images, "bytes")
        if any(is_kind(kind) for is_kind in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_null)):
            return images
        raise TableError(
            f"{self.path}: the column 'image' is {kind}; expected the bytes of encoded images (binary, or "
            "struct<bytes, path>): if it holds paths, rename it to `uri`"
        )

    def resolve(self, uris: pa.Array) -> pa.Array:
        """Relative uris against the manifest's folder; URLs and absolute paths stay as they are.

        Args:
            uris: string (N,), null where there is none.
        """
        if self.base is None:
            return uris
        joined = pc.binary_join_element_wise(pa.scalar(self.base), uris, "/")
        return pc.if_else(pc.match_substring_regex(uris, ABSOLUTE_URI), uris, joined)

    def count(self) -> int:
        """Number of rows."""
        return sum(batch.num_rows for batch in self.batches(["sample_id"]))

    def output(self, out: str | Path) -> Path:
        """Where what is made of the manifest is to be written: in no place that it is read from.

        Args:
            out: The file to write.

        Raises:
            ConfigError: `out` would destroy or spoil the manifest, or is a URL or a folder.
        """
        if self.base is not None:
            return output_of(self.path, out)
        path = local_file(out)
        if Path(self.path).resolve() in path.resolve().parents:
            raise ConfigError(
                f"cannot write to {out}: all that lies in the media folder {self.path} is read as its "
                "samples; choose another folder"
            )
        return path

    def filter(self, *, split: str) -> Manifest:
        """The rows of one split.

        Raises:
            TableError: It is no split, or the manifest has no `split` column.
        """
        if split not in SPLITS:
            raise TableError(f"{split!r} is not a split; there are {', '.join(SPLITS)}")
        self.require("split")
        return replace(self, split=split)

    def require(self, *columns: str) -> None:
        """Refuse a manifest without these columns.

        Raises:
            TableError: One is missing; the message says what there is and what to do.
        """
        missing = [name for name in columns if name not in self.columns]
        if missing:
            hints = "".join(HINTS.get(name, "") for name in missing)
            raise TableError(
                f"{self.path} has no column {', '.join(missing)}; its manifest columns are "
                f"{', '.join(self.columns)}: add it, or rename the one that holds it{hints}"
            )

    def vocabulary(self, column: str) -> Vocabulary:
        """The sorted distinct names of `weak_label`, `label` or `true_label`.

        Raises:
            TableError: There is no such column, no name in it, or an empty one.
        """
        self.require(column)
        names: set[str] = set()
        for batch in self.batches([column]):
            names.update(pc.unique(batch.column(0)).to_pylist())
        names.discard(None)
        if not names:
            where = f" in the split {self.split!r}" if self.split else ""
            raise TableError(f"{self.path} has no {column}{where}: every row is null, or there is no row")
        if "" in names:
            raise TableError(
                f"{self.path}: the column {column!r} holds an empty name; where there is none, write null"
            )
        return Vocabulary(sorted(names))

    def check(self) -> None:
        """Stream the manifest once and refuse what would go wrong later. Holds 8 bytes for each row.

        Raises:
            TableError: A `sample_id` is null or stands twice, a split is unknown, or a row has no uri in a
                manifest without images. (Where there are images, the teacher pass reports rows without any:
                looking for them here would read them all.)
        """
        self.require("sample_id")
        if not {"uri", "image"} & set(self.columns):
            raise TableError(
                f"{self.path} has neither a column `uri` nor `image`, only {', '.join(self.columns)}: "
                "nothing says where the media are"
            )
        hashes, row = [], 0
        for batch in self.batches(["sample_id", "uri", "split"]):
            self._check_batch(batch, row)
            hashes.append(_hash_ids(batch.column("sample_id")))
            row += batch.num_rows
        if row == 0:
            raise TableError(f"{self} has no rows: expected at least one sample")
        values, counts = np.unique(np.concatenate(hashes), return_counts=True)
        if (counts > 1).any():
            self._confirm_duplicates(values[counts > 1])

    def _check_batch(self, batch: pa.RecordBatch, first_row: int) -> None:
        ids = batch.column("sample_id")
        if ids.null_count:
            row = first_row + int(np.flatnonzero(ids.is_null())[0])
            raise TableError(f"{self.path}: row {row} has no sample_id; every row needs one, and its own")
        splits = pc.unique(batch.column("split")).to_pylist()
        unknown = [split for split in splits if split is not None and split not in SPLITS]
        if unknown:
            raise TableError(f"{self.path} has the split {unknown[0]!r}; there are {', '.join(SPLITS)}")
        if "image" not in self.columns and batch.column("uri").null_count:
            row = first_row + int(np.flatnonzero(batch.column("uri").is_null())[0])
            raise TableError(
                f"{self.path}: row {row} has no uri, and the manifest holds no images: give it one, or "
                "drop the row"
            )

    def _confirm_duplicates(self, suspects: np.ndarray) -> None:
        """Look at the ids whose hashes are equal once more: a chance collision is not a duplicate."""
        seen: dict[str, int] = {}
        row = 0
        for batch in self.batches(["sample_id"]):
            ids = batch.column(0)
            for position in np.flatnonzero(np.isin(_hash_ids(ids), suspects)).tolist():
                sample_id = ids[position].as_py()
                if sample_id in seen:
                    raise TableError(
                        f"{self.path}: sample_id {sample_id!r} stands in row {seen[sample_id]} and in row "
                        f"{row + position} (counted from 0); labels are joined on it, so make it unique"
                    )
                seen[sample_id] = row + position
            row += batch.num_rows

    def __str__(self) -> str:
        return self.path if self.split is None else f"{self.path} (split {self.split})"


def open_manifest(path: Location, *, split: str | None = None, label_column: str = "weak_label") -> Manifest:
    r"""Open a manifest: Parquet (a file or a folder of shards), CSV, JSON Lines, or a folder of media.

    Args:
        path: The file or folder, or the URL of a file (`s3://…`, whatever fsspec opens). A media folder
            has one folder for each class, whose name becomes the label, and the path below the root becomes
            the `sample_id`; hidden files and folders are left out. Open `SPLIT/CLASS/FILE` folder by folder.
        split: For a media folder: the split of all its files.
        label_column: For a media folder: whether the folder names are `weak_label` or clean (`label`).

    Raises:
        TableError: There is no such file, it is of no known format, is damaged, or lacks `sample_id`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "m.csv"
        ...     _ = path.write_text("sample_id,uri,weak_label\n007,a.jpg,cat\n8,b.jpg,\n")
        ...     manifest = open_manifest(path)
        ...     manifest.check()
        ...     [row for batch in manifest.batches(["sample_id", "weak_label"]) for row in batch.to_pylist()]
        [{'sample_id': '007', 'weak_label': 'cat'}, {'sample_id': '8', 'weak_label': None}]
    """
    path = path if is_remote(path) else Path(path)
    is_folder = isinstance(path, Path) and path.is_dir()
    suffix = Path(path).suffix.lower()
    if isinstance(path, Path) and is_folder and not any(path.glob("*.parquet")):
        return _open_media_folder(path, split, label_column)
    if split is not None or label_column != "weak_label":
        raise TableError(
            f"{path} is a table, and `split` and `label_column` are for media folders: its own columns say "
            "so; to read one split, use open_manifest(...).filter(split=...)"
        )
    read: BatchReader
    if is_folder or suffix in (".parquet", ".pq"):
        schema = parquet_schema(path)
        read = partial(iter_batches, path)
    elif suffix == ".csv":
        schema = csv_schema(path, TEXT_TYPES)
        read = partial(read_csv, path, schema)
    elif suffix in (".jsonl", ".ndjson"):
        schema = json_lines_schema(path, TEXT_TYPES)
        read = partial(read_json_lines, path, schema)
    else:
        raise TableError(
            f"{path} is not a manifest: expected .parquet, .csv, .jsonl, a folder of shards or of media"
        )
    if "sample_id" not in schema.names:
        raise TableError(
            f"{path} has no column sample_id; it has {', '.join(schema.names) or 'none'}: name each sample "
            "uniquely"
        )
    return Manifest(str(path), schema, _base(path, is_folder), read)


def _base(path: Location, is_folder: bool) -> str:
    if isinstance(path, str):
        return path.rpartition("/")[0]
    return str((path if is_folder else path.parent).absolute())


def _open_media_folder(root: Path, split: str | None, label_column: str) -> Manifest:
    if label_column not in ("weak_label", "label"):
        raise TableError(f"label_column is {label_column!r}; the folder names are either weak_label or label")
    if split is not None and split not in SPLITS:
        raise TableError(f"{split!r} is not a split; there are {', '.join(SPLITS)}")
    if next(media_paths(root), None) is None:
        raise TableError(
            f"the folder {root} holds no images or videos in class folders (ROOT/CLASS/*.jpg, …; known "
            f"endings: {', '.join(sorted(MEDIA_SUFFIXES))}), and no *.parquet shards either"
        )
    schema = media_folder_schema(label_column, split)
    return Manifest(str(root), schema, None, partial(read_media_folder, root, schema, split))


def _hash_ids(ids: pa.Array) -> np.ndarray:
    return np.fromiter((hash(sample_id) for sample_id in ids.to_pylist()), dtype=np.int64, count=len(ids))


def source_ranks(source_ids: pa.ChunkedArray, sample_ids: pa.ChunkedArray) -> np.ndarray:
    """The rank of each sample among those of its video or page (`source_id`), in an order drawn by its id.

    The samples of a rank below c are c samples of each video. They are among those of a rank below any C > c,
    and the same whatever else the manifest holds. (Ours: the paper does not say how it samples more clips.)

    Args:
        source_ids: string (N,), the videos; a sample without one is a video of its own.
        sample_ids: string (N,), distinct.

    Returns:
        int64 (N,).

    Example:
        >>> source_ranks(pa.chunked_array([["v", "w", "v"]]), pa.chunked_array([["v#0", "w#0", "v#1"]]))
        array([1, 0, 0])
    """
    ids = sample_ids.to_numpy().astype(np.str_)
    sources = np.where(source_ids.is_null(), ids, pc.fill_null(source_ids, "").to_numpy().astype(np.str_))
    # Ids break the ties of a hash.
    order = np.lexsort((ids, uniform_from_ids(ids, seed=0), sources))
    ordered = sources[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    ranks = np.empty(len(ids), dtype=np.int64)
    ranks[order] = np.arange(len(ids)) - np.repeat(starts, np.diff(np.append(starts, len(ids))))
    return ranks
