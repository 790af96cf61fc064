"""Parquet in and out, in streams: a file may be larger than memory, and appears whole or not at all."""

from __future__ import annotations

import importlib.metadata
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from sublabel.errors import TableError

METADATA_PREFIX = "sublabel."


def versions(*packages: str) -> dict[str, str]:
    """Versions of sublabel, numpy, pyarrow and the named packages, for the record of an artefact."""
    found = {}
    for package in ("sublabel", "numpy", "pyarrow", *packages):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


class TableWriter:
    """Write one Parquet file in batches; it takes its name when the block ends without an error.

    Args:
        path: The file; its folder is made.
        schema: Of every batch.
        metadata: Strings for the file's metadata, stored under the prefix `sublabel.`.

    Example:
        >>> with TableWriter(
        ...     "t.parquet", pa.schema([("n", pa.int64())]), {"made_by": "me"}
        ... ) as writer:  # doctest: +SKIP
        ...     writer.write(pa.table({"n": [1, 2]}))
    """

    def __init__(
        self, path: str | Path, schema: pa.Schema, metadata: Mapping[str, str] | None = None
    ) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        strings = {f"{METADATA_PREFIX}{key}": value for key, value in (metadata or {}).items()}
        self._schema = schema.with_metadata(strings)
        with tempfile.NamedTemporaryFile(
            dir=self.path.parent, prefix=f".{self.path.name}.", delete=False
        ) as file:
            self._partial = Path(file.name)
        self._writer = pq.ParquetWriter(self._partial, self._schema)

    def write(self, rows: pa.RecordBatch | pa.Table) -> None:
        """Append rows.

        Raises:
            TableError: Their columns are not those of the schema.
        """
        if rows.schema.names != self._schema.names:
            raise TableError(
                f"rows have the columns {rows.schema.names}; {self.path} expects {self._schema.names}"
            )
        table = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        self._writer.write_table(table.cast(self._schema))

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        if kind is None:
            self._partial.chmod(0o644)
            self._partial.replace(self.path)
        else:
            self._partial.unlink(missing_ok=True)


def parquet_files(path: str | Path) -> list[Path]:
    """The file itself, or the `*.parquet` shards of a folder in the order of their names.

    Raises:
        TableError: There is no such file, or no shard in the folder.
    """
    path = Path(path)
    if path.is_dir():
        shards = sorted(shard for shard in path.glob("*.parquet") if not shard.name.startswith("."))
        if not shards:
            raise TableError(f"the folder {path} holds no *.parquet file")
        return shards
    if not path.exists():
        raise TableError(f"there is no file or folder {path}")
    return [path]


def parquet_schema(path: str | Path) -> pa.Schema:
    """The schema of a file, or of the first shard of a folder.

    Raises:
        TableError: The file is missing or not Parquet.
    """
    with _open(parquet_files(path)[0]) as file:
        return file.schema_arrow


def read_metadata(path: str | Path) -> dict[str, str]:
    """The strings that `TableWriter` stored in a file, or in the first shard of a folder.

    Raises:
        TableError: The file is missing or not Parquet.
    """
    stored: dict[bytes, bytes] = parquet_schema(path).metadata or {}
    return {
        key.decode().removeprefix(METADATA_PREFIX): value.decode()
        for key, value in stored.items()
        if key.decode().startswith(METADATA_PREFIX)
    }


def iter_batches(
    path: str | Path, columns: Sequence[str] | None = None, batch_size: int = 65_536
) -> Iterator[pa.RecordBatch]:
    """Stream a Parquet file, or the shards of a folder one after the other.

    Args:
        path: File or folder.
        columns: The columns to read, in this order; None reads all.
        batch_size: Rows a batch, at most.

    Raises:
        TableError: A file is missing, damaged, not Parquet, or lacks a column.
    """
    for part in parquet_files(path):
        with _open(part) as file:
            present = file.schema_arrow.names
            missing = [name for name in columns or [] if name not in present]
            if missing:
                raise TableError(f"{part} has no column {', '.join(missing)}; it has {', '.join(present)}")
            try:
                for batch in file.iter_batches(batch_size, columns=columns):
                    yield batch if columns is None else batch.select(list(columns))
            except (pa.ArrowInvalid, OSError) as error:
                raise TableError(f"{part} is damaged: {error}") from error


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise TableError(
            f"{path} is not a Parquet file, or it was cut off ({path.stat().st_size} bytes; {reason}): "
            "write it again"
        ) from error
