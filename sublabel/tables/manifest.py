"""The manifest: which samples there are, where their media lie, and what is known of them.

Columns: `sample_id` (unique), `uri` or `image` (bytes), `start`/`end` (seconds, for video), `source_id` (the
    page or
video a sample was cut from), `weak_label`, `label` (clean), `split`. Only `sample_id` and one of `uri` and
`image` must be there; what else is there, is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json

from sublabel.errors import TableError
from sublabel.labels import Vocabulary
from sublabel.tables.io import iter_batches, parquet_schema

SPLITS = ("weak", "target_train", "target_val", "target_test")
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})
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
        ("split", pa.string()),
    ]
)

BatchReader = Callable[[Sequence[str] | None, int], Iterator[pa.RecordBatch]]


@dataclass(frozen=True)
class Manifest:
    """A manifest that is read in streams, as often as needed. Made by `open_manifest`."""

    source: str
    columns: tuple[str, ...]
    """The manifest's columns that are present; others read as null."""
    base: str | None
    """Folder that relative uris are resolved against."""
    read: BatchReader
    split: str | None = None

    def batches(
        self, columns: Sequence[str] | None = None, batch_size: int = 65_536
    ) -> Iterator[pa.RecordBatch]:
        """Stream the rows, in the manifest's types.

        Args:
            columns: Of `MANIFEST_SCHEMA`; None for all of them. Absent ones are null.
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
        needed = {*wanted, "split"} if self.split is not None else set(wanted)
        present = [name for name in self.columns if name in needed]
        # Rows that carry whole images are big: keep the batches small.
        rows = min(batch_size, 4_096) if "image" in present else batch_size
        for batch in self.read(present or self.columns[:1], rows):
            kept = batch
            if self.split is not None and "split" in present:
                kept = batch.filter(
                    pc.fill_null(pc.equal(batch.column("split").cast(pa.string()), self.split), False)
                )
            if kept.num_rows:
                yield self._normalised(kept, wanted)

    def _normalised(self, batch: pa.RecordBatch, wanted: tuple[str, ...]) -> pa.RecordBatch:
        arrays = []
        for name in wanted:
            kind = MANIFEST_SCHEMA.field(name).type
            if name not in batch.schema.names:
                arrays.append(pa.nulls(batch.num_rows, kind))
                continue
            values = batch.column(name)
            if name == "image" and pa.types.is_struct(values.type):
                values = pc.struct_field(values, "bytes")
            try:
                values = values.cast(kind)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise TableError(
                    f"{self.source}: the column {name!r} is {values.type}, expected {kind}: {error}"
                ) from error
            arrays.append(self._resolved(values) if name == "uri" and self.base else values)
        return pa.RecordBatch.from_arrays(arrays, names=list(wanted))

    def _resolved(self, uris: pa.Array) -> pa.Array:
        absolute = pc.or_(pc.match_substring(uris, "://"), pc.starts_with(uris, "/"))
        joined = pc.binary_join_element_wise(pa.scalar(self.base), uris, "/")
        return pc.if_else(absolute, uris, joined)

    def count(self) -> int:
        """Number of rows."""
        return sum(batch.num_rows for batch in self.batches(["sample_id"]))

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
            hint = "; make it with a WeakLabelSource and apply_source" if "weak_label" in missing else ""
            raise TableError(
                f"{self.source} has no column {', '.join(missing)}; its manifest columns are "
                f"{', '.join(self.columns)}: "
                f"add it, or rename the one that holds it{hint}"
            )

    def vocabulary(self, column: str) -> Vocabulary:
        """The sorted distinct names of `weak_label` or `label`.

        Raises:
            TableError: There is no such column, or no name in it.
        """
        self.require(column)
        names: set[str] = set()
        for batch in self.batches([column]):
            names.update(pc.unique(batch.column(0)).to_pylist())
        names.discard(None)
        if not names:
            where = f" in the split {self.split!r}" if self.split else ""
            raise TableError(f"{self.source} has no {column}{where}: every row is null, or there is no row")
        return Vocabulary(sorted(names))

    def check(self) -> None:
        """Stream the manifest once and refuse what would go wrong later. Holds 8 bytes for each row.

        Raises:
            TableError: A `sample_id` is null or stands twice, a split is unknown, or a row has neither uri
                nor image.
        """
        self.require("sample_id")
        if not {"uri", "image"} & set(self.columns):
            raise TableError(
                f"{self.source} has neither a column `uri` nor `image`: nothing says where the media are"
            )
        hashes, row = [], 0
        for batch in self.batches(["sample_id", "uri", "split"]):
            self._check_batch(batch, row)
            hashes.append(_hash_ids(batch.column("sample_id")))
            row += batch.num_rows
        if row == 0:
            raise TableError(f"{self.source} has no rows")
        values, counts = np.unique(np.concatenate(hashes), return_counts=True)
        if (counts > 1).any():
            self._confirm_duplicates(values[counts > 1])

    def _check_batch(self, batch: pa.RecordBatch, first_row: int) -> None:
        ids = batch.column("sample_id")
        if ids.null_count:
            row = first_row + int(np.flatnonzero(ids.is_null())[0])
            raise TableError(f"{self.source}: row {row} has no sample_id; every row needs one, and its own")
        splits = pc.unique(batch.column("split")).to_pylist()
        unknown = [split for split in splits if split is not None and split not in SPLITS]
        if unknown:
            raise TableError(f"{self.source} has the split {unknown[0]!r}; there are {', '.join(SPLITS)}")
        if "image" not in self.columns and batch.column("uri").null_count:
            row = first_row + int(np.flatnonzero(batch.column("uri").is_null())[0])
            raise TableError(f"{self.source}: row {row} has no uri, and the manifest holds no images")

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
                        f"{self.source}: sample_id {sample_id!r} stands in row {seen[sample_id]} and in row "
                        f"{row + position}; labels are joined on it, so make it unique"
                    )
                seen[sample_id] = row + position
            row += batch.num_rows

    def __str__(self) -> str:
        return self.source if self.split is None else f"{self.source} (split {self.split})"


def open_manifest(
    source: str | Path, *, split: str | None = None, label_column: str = "weak_label"
) -> Manifest:
    """Open a manifest: Parquet (a file or a folder of shards), CSV, JSON Lines, or a folder of images.

    Args:
        source: The file or folder. An image folder has one folder for each class, whose name becomes the
            label, and the path below the root becomes the `sample_id`.
        split: For an image folder: the split of all its images.
        label_column: For an image folder: whether the folder names are `weak_label` or clean (`label`).

    Raises:
        TableError: There is no such file, it is of no known format, or lacks `sample_id`.
    """
    path = Path(source)
    if path.is_dir() and not any(path.glob("*.parquet")):
        return _image_folder(path, split, label_column)
    suffix = path.suffix.lower()
    if path.is_dir() or suffix in (".parquet", ".pq"):
        names = parquet_schema(path).names
        read: BatchReader = partial(iter_batches, path)
    elif suffix in (".csv", ".jsonl", ".ndjson"):
        if not path.exists():
            raise TableError(f"there is no file {path}")
        names = next(_text_batches(path), pa.RecordBatch.from_pylist([])).schema.names
        read = partial(_read_text, path)
    else:
        raise TableError(
            f"{path} is not a manifest: expected .parquet, .csv, .jsonl, a folder of shards or of images"
        )
    if "sample_id" not in names:
        raise TableError(
            f"{path} has no column sample_id; it has {', '.join(names) or 'none'}: name each sample uniquely"
        )
    columns = tuple(name for name in MANIFEST_SCHEMA.names if name in names)
    return Manifest(str(path), columns, str((path if path.is_dir() else path.parent).absolute()), read)


def _read_text(path: Path, columns: Sequence[str] | None, rows: int) -> Iterator[pa.RecordBatch]:
    for batch in _text_batches(path):
        yield from _sliced(batch if columns is None else batch.select(list(columns)), rows)


def _text_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """CSV and JSON Lines in blocks; names and ids stay text even if they look like numbers."""
    types = {field.name: field.type for field in MANIFEST_SCHEMA if field.name != "image"}
    try:
        if path.suffix.lower() == ".csv":
            options = pyarrow.csv.ConvertOptions(
                column_types=types, strings_can_be_null=True, null_values=[""]
            )
            with pyarrow.csv.open_csv(path, convert_options=options) as reader:
                yield from reader
        else:
            schema = pa.schema(types.items())
            parse = pyarrow.json.ParseOptions(explicit_schema=schema)
            with pyarrow.json.open_json(path, parse_options=parse) as reader:
                yield from reader
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{path} cannot be read: {error}") from error


def _sliced(batch: pa.RecordBatch, rows: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _image_folder(root: Path, split: str | None, label_column: str) -> Manifest:
    if label_column not in ("weak_label", "label"):
        raise TableError(f"label_column is {label_column!r}; the folder names are either weak_label or label")
    if split is not None and split not in SPLITS:
        raise TableError(f"{split!r} is not a split; there are {', '.join(SPLITS)}")
    if next(_image_paths(root), None) is None:
        raise TableError(
            f"the folder {root} holds no images in class folders (ROOT/CLASS/*.jpg, …; known endings: "
            f"{', '.join(sorted(IMAGE_SUFFIXES))})"
        )

    names = ["sample_id", "uri", label_column, *(["split"] if split else [])]
    read = partial(_read_images, root, label_column, split)
    return Manifest(str(root), tuple(name for name in MANIFEST_SCHEMA.names if name in names), None, read)


def _read_images(
    root: Path, label_column: str, split: str | None, columns: Sequence[str] | None, rows: int
) -> Iterator[pa.RecordBatch]:
    wanted = columns or ["sample_id", "uri", label_column]
    images = _image_paths(root)
    while chunk := list(islice(images, rows)):
        relative = [image.relative_to(root) for image in chunk]
        values: dict[str, list[str | None]] = {
            "sample_id": [path.as_posix() for path in relative],
            "uri": [str(image) for image in chunk],
            label_column: [path.parts[0] for path in relative],
            "split": [split] * len(chunk),
        }
        yield pa.RecordBatch.from_pydict({name: pa.array(values[name], pa.string()) for name in wanted})


def _image_paths(root: Path) -> Iterator[Path]:
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        yield from sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)


def _hash_ids(ids: pa.Array) -> np.ndarray:
    return np.fromiter((hash(sample_id) for sample_id in ids.to_pylist()), dtype=np.int64, count=len(ids))
