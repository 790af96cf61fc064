"""Parquet in and out, in streams: a file may be larger than memory, and appears whole or not at all."""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sublabel.errors import ConfigError, TableError
from sublabel.files import create_partial, local_file

METADATA_PREFIX = "sublabel."
# Of each column that is read.
BUFFER_BYTES = 1 << 20
TEXT_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
Location: TypeAlias = str | Path
"""A local path, or a URL (`://`) of a single file that fsspec opens."""
OTHER_FORMATS = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")


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
        schema: The columns of every batch.
        metadata: Strings for the file's metadata, stored under the prefix `sublabel.`.
        dictionary: The columns that are stored as a dictionary of their distinct values; True for all, which
            is wasted on columns where nearly every value is another.
        statistics: Whether row groups say what their least and largest values are, for readers that filter.

    Raises:
        ConfigError: The path is a URL or a folder, or its name promises another format.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with TableWriter(
        ...         f"{folder}/t.parquet", pa.schema([("n", pa.int64())]), {"by": "me"}
        ...     ) as writer:
        ...         writer.write(pa.table({"n": [1, 2, 3]}))
        ...     read_metadata(f"{folder}/t.parquet")
        ...     [batch.num_rows for batch in iter_batches(f"{folder}/t.parquet", batch_size=2)]
        {'by': 'me'}
        [2, 1]
    """

    def __init__(
        self,
        path: str | Path,
        schema: pa.Schema,
        metadata: Mapping[str, str] | None = None,
        *,
        dictionary: bool | Sequence[str] = True,
        statistics: bool = True,
    ) -> None:
        self.path = parquet_output(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        strings = {f"{METADATA_PREFIX}{key}": value for key, value in (metadata or {}).items()}
        self._schema = schema.with_metadata(strings)
        self._partial, self._hold = create_partial(self.path)
        self._writer = pq.ParquetWriter(
            self._partial,
            self._schema,
            # As fast as the others here, and ids of one pattern become far smaller.
            compression="zstd",
            write_statistics=statistics,
            use_dictionary=dictionary
            if isinstance(dictionary, bool)
            else [_leaf(schema.field(name)) for name in dictionary],
        )

    def write(self, rows: pa.RecordBatch | pa.Table) -> None:
        """Append rows.

        Raises:
            TableError: Their columns or types are not those of the schema.
        """
        if rows.schema.names != self._schema.names:
            raise TableError(
                f"rows have the columns {rows.schema.names}; {self.path} expects {self._schema.names}"
            )
        table = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        try:
            table = table.cast(self._schema)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise TableError(
                f"rows of the types {rows.schema.types} do not fit {self.path}, which expects "
                f"{self._schema.types}: {error}"
            ) from error
        self._writer.write_table(table)

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._writer.close()
            if kind is None:
                self._partial.chmod(0o644)
                self._partial.replace(self.path)
        finally:
            self._partial.unlink(missing_ok=True)
            self._hold.close()


def _leaf(field: pa.Field) -> str:
    """What Parquet calls the column of a field of values or of lists of them."""
    return f"{field.name}.list.element" if pa.types.is_nested(field.type) else str(field.name)


def is_remote(path: Location) -> bool:
    """Whether it is a URL rather than a path."""
    return isinstance(path, str) and "://" in path


@contextmanager
def open_binary(path: Location) -> Iterator[IO[bytes]]:
    """Open a local or remote file.

    Raises:
        TableError: It is missing, may not be read, or its protocol is not installed.
    """
    with ExitStack() as stack:
        try:
            if is_remote(path):
                import fsspec

                file = stack.enter_context(fsspec.open(path, "rb"))
            else:
                file = stack.enter_context(Path(path).open("rb"))
        except FileNotFoundError as error:
            raise TableError(f"there is no file {path}: check the path") from error
        except (OSError, ImportError, ValueError) as error:
            raise TableError(f"{path} cannot be opened ({error})") from error
        yield file


def parquet_files(path: Location) -> list[Location]:
    """The file itself, or the `*.parquet` shards of a local folder in the order of their names.

    Raises:
        TableError: There is no such file, or no shard in the folder.
    """
    if is_remote(path):
        return [path]
    path = Path(path)
    if path.is_dir():
        shards = sorted(shard for shard in path.glob("*.parquet") if not shard.name.startswith("."))
        if not shards:
            raise TableError(
                f"the folder {path} holds no *.parquet file; expected shards such as part-00000.parquet"
            )
        return list(shards)
    if not path.exists():
        raise TableError(f"there is no file or folder {path}: check the path")
    return [path]


def parquet_output(path: str | Path) -> Path:
    """Where a table is to be written.

    Raises:
        ConfigError: It is a URL or a folder, or its name promises another format than Parquet.
    """
    path = local_file(path)
    if path.suffix.lower() in OTHER_FORMATS:
        raise ConfigError(
            f"cannot write to {path}: a table is written as Parquet; name it "
            f"{path.with_suffix('.parquet').name}"
        )
    return path


def output_of(table: Location, out: str | Path) -> Path:
    """Where what is made of a table is to be written: not in the table's place, nor among its shards.

    Args:
        table: File, folder of shards, or the URL of a file.
        out: The file to write.

    Raises:
        TableError: There is no such table.
        ConfigError: `out` would destroy or spoil the table, or is a URL or a folder.
    """
    path = local_file(out)
    parts = parquet_files(table)
    if is_remote(table):
        return path
    if path.resolve() in {Path(part).resolve() for part in parts}:
        raise ConfigError(
            f"cannot write to {out}: {table} is read from it, and would be lost; choose another"
        )
    if Path(table).is_dir() and path.parent.resolve() == Path(table).resolve():
        raise ConfigError(
            f"cannot write to {out}: every table in the folder {table} is read as a shard of it; choose "
            "another folder"
        )
    return path


def parquet_schema(path: Location) -> pa.Schema:
    """The schema of a file, or of the first shard of a folder.

    Raises:
        TableError: The file is missing or not Parquet.
    """
    with open_parquet(parquet_files(path)[0]) as file:
        return file.schema_arrow


def read_metadata(path: Location) -> dict[str, str]:
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
    path: Location,
    columns: Sequence[str] | None = None,
    batch_size: int = 65_536,
    dictionaries: Sequence[str] = (),
) -> Iterator[pa.RecordBatch]:
    """Stream a Parquet file, or the shards of a folder one after the other.

    Args:
        path: File, folder, or the URL of a file.
        columns: The columns to read, in this order; None reads all.
        batch_size: Rows a batch, at most.
        dictionaries: Columns of strings that are to be read as dictionaries, as few distinct ones are best.

    Raises:
        TableError: A file is missing, damaged, not Parquet, or lacks a column.
    """
    for part in parquet_files(path):
        with open_parquet(part, dictionaries) as file:
            require_columns(part, file, columns or ())
            yield from read_batches(part, file, columns, batch_size)


def count_statuses(path: Location) -> Counter[str | None]:
    """How many rows of predictions or of a relabeled table have each status, the most frequent first.

    Raises:
        TableError: A file is missing, damaged, not Parquet, or has no column `status`.
    """
    counted: Counter[str | None] = Counter()
    for batch in iter_batches(path, ["status"]):
        for entry in pc.value_counts(batch.column(0).cast(pa.string())).to_pylist():
            counted[entry["values"]] += entry["counts"]
    return Counter(dict(counted.most_common()))


def require_columns(path: Location, file: pq.ParquetFile, columns: Sequence[str]) -> None:
    """Refuse a file that lacks a column.

    Raises:
        TableError: It does.
    """
    present = file.schema_arrow.names
    missing = [name for name in columns if name not in present]
    if missing:
        raise TableError(f"{path} has no column {', '.join(missing)}; it has {', '.join(present)}")


def read_batches(
    path: Location,
    file: pq.ParquetFile,
    columns: Sequence[str] | None,
    batch_size: int,
    row_groups: list[int] | None = None,
    use_threads: bool = True,
) -> Iterator[pa.RecordBatch]:
    """Stream an open file, or some of its row groups, with the columns in the order asked for.

    Raises:
        TableError: The file is damaged.
    """
    try:
        for batch in file.iter_batches(batch_size, row_groups, columns, use_threads):
            yield batch if columns is None else batch.select(list(columns))
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{path} is damaged: {error}") from error


@contextmanager
def open_parquet(
    path: Location, dictionaries: Sequence[str] = (), footer: pq.FileMetaData | None = None
) -> Iterator[pq.ParquetFile]:
    """Open one Parquet file for streaming.

    Args:
        path: File or URL.
        dictionaries: Columns of strings that are to be read as dictionaries.
        footer: Its metadata, if they were read before.

    Raises:
        TableError: The file is missing, damaged or not Parquet.
    """
    with ExitStack() as stack:
        # Arrow reads local files itself, without Python's lock.
        opened = stack.enter_context(open_binary(path)) if is_remote(path) else path
        try:
            # By default Arrow fetches all the row groups that it is going to read, which is the whole file.
            file = stack.enter_context(
                pq.ParquetFile(
                    opened,
                    metadata=footer,
                    read_dictionary=list(dictionaries),
                    pre_buffer=False,
                    buffer_size=BUFFER_BYTES,
                )
            )
        except (pa.ArrowInvalid, OSError) as error:
            if str(path).endswith(TEXT_SUFFIXES):
                raise TableError(
                    f"{path} is a text file, and predictions and relabeled tables are Parquet: "
                    "sublabel.tables.write_predictions makes a table of your own predictions"
                ) from error
            size = "" if is_remote(path) else f"{Path(path).stat().st_size} bytes; "
            raise TableError(
                f"{path} is not a Parquet file, or it was cut off ({size}{str(error).splitlines()[0]}): "
                "write it again"
            ) from error
        yield file
