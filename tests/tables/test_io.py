from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sublabel as sl
from sublabel.tables import TableWriter

SCHEMA = pa.schema([("n", pa.int64())])


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    with (
        pytest.raises(sl.TableError, match="rows have the columns"),
        TableWriter(tmp_path / "x.parquet", SCHEMA) as writer,
    ):
        writer.write(pa.table({"a": [1]}))
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_fails_keeps_the_old_file(tmp_path):
    path = tmp_path / "x.parquet"
    with TableWriter(path, SCHEMA) as writer:
        writer.write(pa.table({"n": [1]}))
    before = path.read_bytes()
    with pytest.raises(RuntimeError), TableWriter(path, SCHEMA) as writer:
        writer.write(pa.table({"n": [1, 2]}))
        raise RuntimeError
    assert path.read_bytes() == before


def test_rows_of_other_types_are_refused_and_leave_nothing(tmp_path):
    with (
        pytest.raises(sl.TableError, match="do not fit .*x.parquet, which expects"),
        TableWriter(tmp_path / "x.parquet", pa.schema([("n", pa.int64())])) as writer,
    ):
        writer.write(pa.table({"n": ["one"]}))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_finished_leaves_nothing(tmp_path, monkeypatch):
    with (
        pytest.raises(OSError, match="disk full"),
        TableWriter(tmp_path / "x.parquet", pa.schema([])) as writer,
    ):

        def fail():
            raise OSError("disk full")

        monkeypatch.setattr(writer._writer, "close", fail)
    assert list(tmp_path.iterdir()) == []


def test_lists_and_numbers_may_be_stored_as_dictionaries(tmp_path):
    schema = pa.schema(
        [("n", pa.int64()), ("listed", pa.list_(pa.int64())), ("plain", pa.list_(pa.float32()))]
    )
    with TableWriter(tmp_path / "x.parquet", schema, dictionary=["n", "listed"], statistics=False) as writer:
        writer.write(pa.table([[1, 1], [[2], [2, 2]], [[0.5], [0.5]]], schema=schema))
    columns = [pq.read_metadata(tmp_path / "x.parquet").row_group(0).column(place) for place in range(3)]
    assert [column.has_dictionary_page for column in columns] == [True, True, False]
    assert [column.statistics for column in columns] == [None] * 3


@pytest.mark.parametrize("name", ["t.csv", "t.JSONL", "t.tsv"])
def test_a_name_that_promises_another_format_is_refused(tmp_path, name):
    with pytest.raises(sl.ConfigError, match=r"written as Parquet; name it t\.parquet"):
        TableWriter(tmp_path / name, SCHEMA)
    assert list(tmp_path.iterdir()) == []
