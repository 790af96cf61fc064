"""Text files and media folders as streams of record batches; the manifest knows what their columns mean."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from sublabel.errors import TableError
from sublabel.tables.io import Location, is_remote, open_binary

MEDIA_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm",
    ".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".divx", ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v",
    ".ts", ".m2ts", ".mts", ".vob", ".flv", ".f4v", ".wmv", ".asf", ".3gp", ".3g2", ".ogv", ".ogm", ".mxf",
    ".rm", ".rmvb",
})  # fmt: skip
# Arrow reads tens of blocks ahead, and the longest CSV record must fit into one.
BLOCK_BYTES = 1 << 20


def csv_schema(path: Location, types: Mapping[str, pa.DataType]) -> pa.Schema:
    """The columns of a CSV file; those without a type are text, so that no later row can contradict.

    Raises:
        TableError: The file is missing or damaged, or a column stands in it twice.
    """
    with _csv_reader(path, pyarrow.csv.ConvertOptions()) as reader:
        names = reader.schema.names
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise TableError(f"{path} has the column {repeated[0]!r} more than once: rename or drop the others")
    return pa.schema([(name, types.get(name, pa.string())) for name in names])


def read_csv(
    path: Location, schema: pa.Schema, columns: Sequence[str] | None, rows: int
) -> Iterator[pa.RecordBatch]:
    """Stream a CSV file; only the wanted columns are parsed, and an empty field is null."""
    wanted = list(schema.names if columns is None else columns)
    options = pyarrow.csv.ConvertOptions(
        column_types=schema, include_columns=wanted, strings_can_be_null=True, null_values=[""]
    )
    with _csv_reader(path, options) as reader:
        while (batch := _next_block(path, reader)) is not None:
            for start in range(0, batch.num_rows, rows):
                yield batch.slice(start, rows)


def json_lines_schema(path: Location, types: Mapping[str, pa.DataType]) -> pa.Schema:
    """The columns of a JSON Lines file, which needs one pass: writers leave out what is null.

    Raises:
        TableError: The file is missing or damaged.
    """
    names = dict.fromkeys(name for _, record in _json_records(path) for name in record)
    return pa.schema([(name, types.get(name, pa.string())) for name in names])


def read_json_lines(
    path: Location, schema: pa.Schema, columns: Sequence[str] | None, rows: int
) -> Iterator[pa.RecordBatch]:
    """Stream a JSON Lines file; numbers become text in the columns that are text."""
    wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    records = _json_records(path)
    while chunk := list(islice(records, rows)):
        yield pa.RecordBatch.from_arrays(
            [
                pa.array([_json_value(path, line, record, field) for line, record in chunk], field.type)
                for field in wanted
            ],
            schema=wanted,
        )


def media_folder_schema(label_column: str, split: str | None) -> pa.Schema:
    """The columns of a media folder."""
    names = ["sample_id", "uri", label_column, *(["split"] if split else [])]
    return pa.schema([(name, pa.string()) for name in names])


def read_media_folder(
    root: Path, schema: pa.Schema, split: str | None, columns: Sequence[str] | None, rows: int
) -> Iterator[pa.RecordBatch]:
    """Stream the images or videos below class folders, in the order of their paths."""
    wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    paths = media_paths(root)
    while chunk := list(islice(paths, rows)):
        relative = [path.relative_to(root) for path in chunk]
        classes = [path.parts[0] for path in relative]
        values: dict[str, list[Any]] = {
            "sample_id": [path.as_posix() for path in relative],
            "uri": [str(path.absolute()) for path in chunk],
            "weak_label": classes,
            "label": classes,
            "split": [split] * len(chunk),
        }
        yield pa.RecordBatch.from_arrays([pa.array(values[name]) for name in wanted.names], schema=wanted)


def media_paths(root: Path) -> Iterator[Path]:
    """Images and videos in class folders, sorted; what is hidden (leading dot) is not looked at."""
    for folder in class_folders(root):
        yield from sorted(path for path in files_below(folder) if is_medium(path))


def class_folders(root: Path) -> list[Path]:
    """The folders of classes, sorted, but for hidden ones."""
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def files_below(folder: Path) -> Iterator[Path]:
    """All files in a class folder and the folders in it, but for hidden ones."""
    for path in folder.rglob("*"):
        if not path.is_dir() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def is_medium(path: Path) -> bool:
    """Whether a file is an image or a video by its ending."""
    return path.suffix.lower() in MEDIA_SUFFIXES


@contextmanager
def _csv_reader(
    path: Location, convert: pyarrow.csv.ConvertOptions
) -> Iterator[pyarrow.csv.CSVStreamingReader]:
    with ExitStack() as stack:
        opened = stack.enter_context(open_binary(path)) if is_remote(path) else str(path)
        try:
            reader = pyarrow.csv.open_csv(
                opened,
                read_options=pyarrow.csv.ReadOptions(block_size=BLOCK_BYTES),
                # Titles and queries contain line breaks.
                parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
                convert_options=convert,
            )
        except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
            raise _unreadable(path, error) from error
        with reader:
            yield reader


def _next_block(path: Location, reader: pyarrow.csv.CSVStreamingReader) -> pa.RecordBatch | None:
    try:
        return reader.read_next_batch()
    except StopIteration:
        return None
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Location, error: Exception) -> TableError:
    reason = str(error)
    if "straddl" in reason:
        reason = (
            f"a record is longer than {BLOCK_BYTES >> 20} MiB, or its quotes are never closed; close them, "
            "or write the table as Parquet or JSON Lines"
        )
    return TableError(f"{path} cannot be read as CSV: {reason}")


def _json_records(path: Location) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number (from 1) and object of every line that is not blank."""
    with open_binary(path) as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                record = json.loads(text.decode("utf-8-sig"))
            except ValueError as error:
                raise TableError(
                    f"{path} cannot be read as JSON Lines: line {line} is no JSON object ({error}); was the "
                    "file cut off?"
                ) from error
            if not isinstance(record, dict):
                raise TableError(
                    f"{path}: line {line} is a {type(record).__name__}; JSON Lines hold one object a line, "
                    'such as {"sample_id": "1", "uri": "1.jpg"}'
                )
            yield line, record


def _json_value(path: Location, line: int, record: Mapping[str, Any], field: pa.Field) -> str | float | None:
    value = record.get(field.name)
    if value is None:
        return None
    if pa.types.is_floating(field.type):
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise TableError(
                f"{path}: line {line} has {field.name} = {value!r}; expected a number"
            ) from error
    return value if isinstance(value, str) else json.dumps(value)
