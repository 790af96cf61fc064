from __future__ import annotations

import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
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


@pytest.mark.parametrize("name", ["m.parquet", "m.jsonl"])
@pytest.mark.parametrize("column", ["weak_label", "label"])
def test_an_empty_name_is_placed(column, name, tmp_path):
    path = write(tmp_path / name, [*ROWS, {**ROWS[0], "sample_id": "a", column: ""}])
    with pytest.raises(sl.TableError, match=f"{name}: the column '{column}' holds an empty name; .*null"):
        open_manifest(path).vocabulary(column)


def test_a_record_that_is_too_long_for_csv_says_what_to_do(tmp_path):
    rows = [{**ROWS[0], "uri": "x" * 3_000_000}, *ROWS]
    with pytest.raises(sl.TableError, match="m.csv cannot be read as CSV: .* Parquet or JSON Lines"):
        list(open_manifest(write(tmp_path / "m.csv", rows)).batches())
    assert open_manifest(write(tmp_path / "m.jsonl", rows)).count() == 4


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


@pytest.mark.parametrize("name", ["groups.parquet", "one_group.parquet", "m.csv", "m.jsonl"])
def test_a_stream_holds_a_small_part_of_the_file(name, tmp_path, monkeypatch):
    # Arrow reads tens of CSV blocks ahead, whatever the size of the file.
    monkeypatch.setattr("sublabel.tables._readers.BLOCK_BYTES", 1 << 15)
    uri, rows = "x" * 2_000, 10_000
    path = tmp_path / name
    if path.suffix == ".parquet":
        whole = pa.table({"sample_id": [str(row) for row in range(rows)], "uri": [uri] * rows})
        group = rows if name.startswith("one") else 500
        pq.write_table(whole, path, row_group_size=group, use_dictionary=False, compression="none")
        del whole
    else:
        write(path, [{"sample_id": str(row), "uri": uri} for row in range(rows)])
    before = pa.total_allocated_bytes()
    stream = open_manifest(path).batches(["sample_id", "uri"], batch_size=500)
    held = [pa.total_allocated_bytes() - before for _ in stream]
    assert len(held) >= rows / 500
    assert max(held) < path.stat().st_size / 3


def test_json_lines_may_leave_out_what_is_null(tmp_path):
    rows = [{"sample_id": 7, "uri": "a"}, {"sample_id": "8", "uri": "b", "weak_label": "cat", "start": 1}]
    manifest = open_manifest(write(tmp_path / "m.jsonl", rows))
    assert manifest.columns == ("sample_id", "uri", "start", "weak_label")
    assert table(manifest, "sample_id", "weak_label", "start").to_pylist() == [
        {"sample_id": "7", "weak_label": None, "start": None},
        {"sample_id": "8", "weak_label": "cat", "start": 1.0},
    ]


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_other_columns_of_text_files_do_not_matter(name, tmp_path):
    # The last row lies in a block of its own, far from those whose types Arrow would guess from.
    rows = [{"sample_id": str(row), "uri": "x" * 40, "title": row} for row in range(60_000)]
    rows += [{"sample_id": "last", "uri": "x", "title": "a title"}]
    manifest = open_manifest(write(tmp_path / name, rows))
    assert manifest.count() == 60_001


def test_quoted_line_breaks_are_part_of_a_csv_field(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text('sample_id,uri,weak_label\n1,x,"two\nlines"\n2,y,\n', encoding="utf-8")
    assert table(open_manifest(path), "weak_label")["weak_label"].to_pylist() == ["two\nlines", None]


@pytest.mark.parametrize("name", ["m.parquet", "m.csv", "m.jsonl"])
def test_a_manifest_may_be_a_url(name, tmp_path):
    memory = pytest.importorskip("fsspec").filesystem("memory")
    memory.pipe(f"/bucket/{name}", write(tmp_path / name).read_bytes())
    manifest = open_manifest(f"memory://bucket/{name}")
    manifest.check()
    uris = table(manifest, "uri")["uri"].to_pylist()
    assert uris == ["memory://bucket/a/1.jpg", "/abs/2.jpg", "s3://b/3.jpg"]
    with pytest.raises(sl.TableError, match=f"no file memory://bucket/no-{name}"):
        open_manifest(f"memory://bucket/no-{name}")


@given(
    ids=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=3), max_size=30),
    batch_size=st.integers(1, 40),
)
def test_ids_survive_any_chunking(ids, batch_size, tmp_path_factory):
    path = tmp_path_factory.mktemp("ids") / "m.parquet"
    pq.write_table(pa.table({"sample_id": pa.array(ids, pa.string()), "uri": ["x"] * len(ids)}), path)
    batches = list(open_manifest(path).batches(["sample_id"], batch_size))
    assert [name for batch in batches for name in batch.column(0).to_pylist()] == ids
    assert all(0 < batch.num_rows <= batch_size for batch in batches)


@given(ids=st.lists(st.sampled_from("abcdefghijkl"), min_size=1, max_size=12))
def test_check_finds_the_first_repeated_id(ids, tmp_path_factory):
    path = tmp_path_factory.mktemp("ids") / "m.parquet"
    pq.write_table(pa.table({"sample_id": ids, "uri": ["x"] * len(ids)}), path)
    repeated = [row for row, name in enumerate(ids) if name in ids[:row]]
    if not repeated:
        open_manifest(path).check()
        return
    name = ids[repeated[0]]
    message = f"sample_id '{name}' stands in row {ids.index(name)} and in row {repeated[0]} "
    with pytest.raises(sl.TableError, match=message):
        open_manifest(path).check()


def test_a_filtered_stream_equals_filtering_the_table(tmp_path):
    splits = ["weak", None, "target_val", "weak", "target_test"] * 20
    rows = [{"sample_id": str(row), "uri": "x", "split": split} for row, split in enumerate(splits)]
    weak = open_manifest(write(tmp_path / "m.parquet", rows)).filter(split="weak")
    expected = [str(row) for row, split in enumerate(splits) if split == "weak"]
    # Neither asking for the split column nor leaving it out changes the rows.
    assert table(weak, "sample_id")["sample_id"].to_pylist() == expected
    assert table(weak, "split", "sample_id")["sample_id"].to_pylist() == expected


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("a/path.jpg", "'image' is string; expected the bytes .* rename it to `uri`"),
        ({"path": "a.jpg"}, "'image' is struct<path: string>; expected the bytes"),
    ],
)
def test_an_image_column_without_bytes_is_refused(image, message, tmp_path):
    manifest = open_manifest(write(tmp_path / "m.parquet", [{"sample_id": "a", "image": image}]))
    with pytest.raises(sl.TableError, match=message):
        next(manifest.batches())


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_image_bytes_may_be_large(kind, tmp_path):
    images = pa.array([b"123", None], kind)
    pq.write_table(pa.table({"sample_id": ["a", "b"], "image": images}), tmp_path / "m.parquet")
    assert table(open_manifest(tmp_path / "m.parquet"), "image")["image"].to_pylist() == [b"123", None]


def test_image_bytes_may_come_in_hugging_faces_struct(tmp_path):
    rows = [{"sample_id": "a", "image": {"bytes": b"123", "path": None}}]
    assert table(open_manifest(write(tmp_path / "m.parquet", rows)), "image")["image"].to_pylist() == [b"123"]


def test_an_image_folder_is_a_manifest(tmp_path):
    hidden = ("cat/._a.jpg", ".checkpoints/c.jpg")
    for name in ("dog/b.PNG", "cat/deep/a.jpg", "cat/notes.txt", "stray.jpg", *hidden):
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


def test_the_uris_of_an_image_folder_hold_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "images/cat").mkdir(parents=True)
    (tmp_path / "images/cat/a.jpg").touch()
    monkeypatch.chdir(tmp_path)
    assert table(open_manifest("images"), "uri")["uri"].to_pylist() == [f"{tmp_path}/images/cat/a.jpg"]


def test_options_of_image_folders_are_refused_for_tables(tmp_path):
    path = write(tmp_path / "m.csv")
    with pytest.raises(sl.TableError, match="for media folders.*filter"):
        open_manifest(path, split="weak")
    with pytest.raises(sl.TableError, match="for media folders"):
        open_manifest(path, label_column="label")


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


@pytest.mark.parametrize("name", ["m.parquet", "m.csv", "m.jsonl"])
def test_a_manifest_without_weak_label_says_what_to_do(name, tmp_path):
    manifest = open_manifest(write(tmp_path / name, [{"sample_id": "a", "uri": "x"}]))
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
    with pytest.raises(sl.TableError, match="holds no images or videos in class folders"):
        open_manifest(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.parquet", b"PAR1 not really", "not a Parquet file, or it was cut off"),
        ("m.csv", b"sample_id,uri\na,b\nc\n", "cannot be read"),
        ("m.csv", b"sample_id,start\na,b\n", "cannot be read.*double.*'b'"),
        ("m.csv", b"sample_id,sample_id\na,b\n", "column 'sample_id' more than once"),
        ("m.csv", b"", "cannot be read"),
        ("m.csv", b"sample_id,uri\n", "has no rows"),
        ("m.jsonl", b'{"sample_id": "a"}\n{"sample_id": "b"\n', "line 2 is no JSON object"),
        ("m.jsonl", b'["a"]\n', "line 1 is a list"),
        ("m.jsonl", b'{"sample_id": "a", "uri": "x", "start": "b"}\n', "line 1 has start = 'b'; expected a"),
        ("m.jsonl", b"\xff\xfe\n", "line 1 is no JSON object"),
        ("m.jsonl", b"", "no column sample_id; it has none"),
        ("m.csv", b"id,uri\na,b\n", "no column sample_id; it has id, uri"),
        ("m.jsonl", b'{"id": "a"}\n', "no column sample_id; it has id"),
    ],
)
def test_damaged_files_are_named(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(sl.TableError, match=f"{name}.*{message}"):
        list(open_manifest(tmp_path / name).batches())
        open_manifest(tmp_path / name).check()


def test_a_truncated_parquet_file_is_named(tmp_path):
    path = write(tmp_path / "m.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(sl.TableError, match="m.parquet is not a Parquet file, or it was cut off"):
        open_manifest(path)
