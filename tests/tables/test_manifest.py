from __future__ import annotations

import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import sublabel as sl
from sublabel.tables import MANIFEST_SCHEMA, open_manifest

ROWS = [
    {"sample_id": "007", "uri": "a/1.jpg", "weak_label": "cat", "label": None, "split": "weak"},
    {"sample_id": "8", "uri": "/abs/2.jpg", "weak_label": None, "label": "dog", "split": "target_train"},
    {"sample_id": "9", "uri": "s3://b/3.jpg", "weak_label": "dog", "label": None, "split": "weak"},
]


def write(path, rows=ROWS):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        lines = [
            ",".join(rows[0]),
            *(",".join("" if v is None else str(v) for v in row.values()) for row in rows),
        ]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture(params=["m.parquet", "m.csv", "m.jsonl"])
def manifest(request, tmp_path):
    return open_manifest(write(tmp_path / request.param))


def table(manifest, *columns):
    return pa.Table.from_batches(manifest.batches(columns or None))


def test_all_formats_read_alike(manifest, tmp_path):
    read = table(manifest)
    assert read.schema.equals(MANIFEST_SCHEMA)
    assert read["sample_id"].to_pylist() == ["007", "8", "9"]
    assert read["weak_label"].to_pylist() == ["cat", None, "dog"]
    assert read["uri"].to_pylist() == [f"{tmp_path}/a/1.jpg", "/abs/2.jpg", "s3://b/3.jpg"]
    assert read["start"].null_count == 3
    manifest.check()


def test_a_manifest_travels_to_worker_processes(manifest):
    again = pickle.loads(pickle.dumps(manifest.filter(split="weak")))
    assert table(again).equals(table(manifest.filter(split="weak")))


def test_filter_keeps_one_split(manifest):
    weak = manifest.filter(split="weak")
    assert table(weak, "sample_id")["sample_id"].to_pylist() == ["007", "9"]
    assert weak.count() == 2
    assert weak.vocabulary("weak_label").names == ("cat", "dog")


def test_a_folder_of_shards_reads_as_one(tmp_path):
    for part in range(3):
        write(
            tmp_path / f"part-{part:05d}.parquet",
            [{"sample_id": f"{part}-{i}", "uri": "x"} for i in range(4)],
        )
    manifest = open_manifest(tmp_path)
    assert manifest.count() == 12
    assert table(manifest, "sample_id")["sample_id"][4].as_py() == "1-0"


def test_batches_come_lazily(tmp_path):
    for part in range(2):
        rows = [{"sample_id": f"{part}-{i}", "uri": "x"} for i in range(300)]
        path = write(tmp_path / f"part-{part:05d}.parquet", rows)
    path.write_bytes(path.read_bytes()[:-20])
    stream = open_manifest(tmp_path).batches(["sample_id"], batch_size=100)
    # The damage in the second shard shows only when the stream gets there.
    assert [next(stream).num_rows for _ in range(3)] == [100, 100, 100]
    with pytest.raises(sl.TableError, match="part-00001.parquet"):
        next(stream)


def test_image_bytes_may_come_in_hugging_faces_struct(tmp_path):
    rows = [{"sample_id": "a", "image": {"bytes": b"123", "path": None}}]
    assert table(open_manifest(write(tmp_path / "m.parquet", rows)), "image")["image"].to_pylist() == [b"123"]


def test_an_image_folder_is_a_manifest(tmp_path):
    for name in ("dog/b.PNG", "cat/deep/a.jpg", "cat/notes.txt", "stray.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path) if path.suffix != ".txt" else path.touch()
    manifest = open_manifest(tmp_path, split="weak")
    assert table(manifest, "sample_id", "weak_label", "split").to_pylist() == [
        {"sample_id": "cat/deep/a.jpg", "weak_label": "cat", "split": "weak"},
        {"sample_id": "dog/b.PNG", "weak_label": "dog", "split": "weak"},
    ]
    clean = open_manifest(tmp_path, label_column="label")
    assert "weak_label" not in clean.columns
    assert clean.vocabulary("label").names == ("cat", "dog")
    clean.check()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"sample_id": "a", "uri": "x"}, {"sample_id": "b", "uri": "x"}, {"sample_id": "a", "uri": "y"}],
         "sample_id 'a' stands in row 0 and in row 2"),
        ([{"sample_id": "a", "uri": "x"}, {"sample_id": None, "uri": "x"}], "row 1 has no sample_id"),
        ([{"sample_id": "a", "uri": "x", "split": "train"}], "split 'train'; there are weak, target_train"),
        ([{"sample_id": "a", "uri": "x"}, {"sample_id": "b", "uri": None}], "row 1 has no uri"),
        ([{"sample_id": "a", "label": "x"}], "neither a column `uri` nor `image`"),
    ],
)  # fmt: skip
def test_check_refuses(rows, message, tmp_path):
    with pytest.raises(sl.TableError, match=message):
        open_manifest(write(tmp_path / "m.parquet", rows)).check()


def test_colliding_hashes_are_no_duplicates(tmp_path, monkeypatch):
    monkeypatch.setattr("sublabel.tables.manifest._hash_ids", lambda ids: np.zeros(len(ids), np.int64))
    open_manifest(write(tmp_path / "m.parquet")).check()


def test_a_manifest_without_weak_label_says_what_to_do(tmp_path):
    manifest = open_manifest(write(tmp_path / "m.parquet", [{"sample_id": "a", "uri": "x"}]))
    with pytest.raises(
        sl.TableError, match="no column weak_label; its manifest columns are sample_id, uri.*apply_source"
    ):
        manifest.require("weak_label")
    with pytest.raises(sl.TableError, match="no column split"):
        manifest.filter(split="weak")


@pytest.mark.parametrize("name", ["m.parquet", "m.csv", "m.jsonl", "nothing"])
def test_a_missing_file_is_named(name, tmp_path):
    with pytest.raises(sl.TableError, match=name):
        open_manifest(tmp_path / name)


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(sl.TableError, match="holds no images in class folders"):
        open_manifest(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.parquet", b"PAR1 not really", "not a Parquet file, or it was cut off"),
        ("m.csv", b"sample_id,uri\na,b\nc\n", "cannot be read"),
        ("m.jsonl", b'{"sample_id": "a"\n', "cannot be read"),
        ("m.csv", b"id,uri\na,b\n", "no column sample_id; it has id, uri"),
    ],
)
def test_damaged_files_are_named(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(sl.TableError, match=f"{name}.*{message}"):
        open_manifest(tmp_path / name).check()


def test_a_truncated_parquet_file_is_named(tmp_path):
    path = write(tmp_path / "m.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(sl.TableError, match="m.parquet is not a Parquet file, or it was cut off"):
        open_manifest(path)
