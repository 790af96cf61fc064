from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

import sublabel as sl
from sublabel.files import local_path, write_atomically
from sublabel.tables import TableWriter

SCHEMA = pa.schema([("n", pa.int64())])


def write_bytes(path):
    with write_atomically(path) as file:
        file.write(b"1")


def write_table(path):
    with TableWriter(path, SCHEMA) as writer:
        writer.write(pa.table({"n": [1]}))


@pytest.mark.parametrize("write", [write_bytes, write_table])
@pytest.mark.parametrize("make", [str, Path])
@pytest.mark.parametrize("url", ["s3://bucket/r.parquet", "file:///r.parquet", "abfs+ssl://a@b/r"])
def test_a_url_is_no_place_to_write_to_and_makes_no_folder(write, make, url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(sl.ConfigError, match="cannot write to .*: expected a local path"):
        write(make(url))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [write_bytes, write_table])
def test_a_folder_is_no_place_for_a_file(write, tmp_path):
    with pytest.raises(sl.ConfigError, match="it is a folder; name a file in it"):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["C:/runs/r.parquet", "a:b/r.parquet", "runs/s3/r.parquet", "/x/y://z"])
def test_paths_that_only_look_like_urls_are_paths(path):
    assert local_path(path) == Path(path)
