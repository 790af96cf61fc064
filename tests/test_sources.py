from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sublabel as sl
from sublabel.sources import Column, FolderName, FromCallable, Keywords, apply_source
from sublabel.tables import open_manifest


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Baking COOKIES with kids", 0),
        ("baking\n cookies", 0),
        ("rebaking cookies", -1),
        ("how to abseil", 1),
        ("abseiling down", 1),
        ("baking cookies while abseiling", -1),
        ("nothing of the kind", -1),
        ("", -1),
        (None, -1),
        ("C++ in a day", 2),
    ],
)
def test_keywords_find_whole_words_of_exactly_one_class(text, label):
    source = Keywords(
        {"cookies": "baking cookies", "abseil": ["abseil", re.compile("abseiling")], "code": ["C++"]},
        column="title",
    )
    assert source.vocabulary.names == ("cookies", "abseil", "code")
    assert source.label({"title": text}) == label


@given(st.lists(st.sampled_from(["cat", "CAT", "kitten", "dog", "dogs", "catdog", "-"]), max_size=6))
def test_keywords_equal_looking_word_by_word(words):
    keywords = {"cat": ["cat", "kitten"], "dog": ["dog"]}
    found = [
        label
        for label, names in enumerate(keywords.values())
        if {word.lower() for word in words} & set(names)
    ]
    expected = found[0] if len(found) == 1 else -1
    assert Keywords(keywords, column="title").label({"title": " ".join(words)}) == expected


@pytest.mark.parametrize("keywords", [{"a": []}, {"a": [" "]}, {}])
def test_empty_keywords_are_refused(keywords):
    with pytest.raises(sl.LabelError):
        Keywords(keywords, column="title")


def test_a_column_abstains_on_null_and_refuses_strangers():
    source = Column("query", ["cat", "dog"])
    assert [source.label({"query": name}) for name in ("dog", None, "")] == [1, -1, -1]
    with pytest.raises(sl.LabelError, match="'bird' is not in the vocabulary"):
        source.label({"query": "bird"})
    with pytest.raises(sl.TableError, match="no column 'query'; it has a, b"):
        source.label({"a": 1, "b": 2})


@pytest.mark.parametrize(
    ("uri", "level", "label"),
    [
        ("x/cat/1.jpg", 1, 0),
        ("cat/x/1.jpg", 2, 0),
        ("s3://b/dog/1.jpg", 1, 1),
        ("cat.jpg", 1, -1),
        (None, 1, -1),
    ],
)
def test_a_folder_name_is_a_label(uri, level, label):
    assert FolderName(["cat", "dog"], level=level).label({"uri": uri}) == label


def write(tmp_path):
    titles = ["a cat", "two dogs and a dog", "cat, dog", None]
    table = pa.table(
        {"sample_id": list("abcd"), "image": [b"x"] * 4, "title": titles, "weak_label": ["old"] * 4}
    )
    pq.write_table(table, tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


def test_apply_source_fills_weak_label_and_keeps_the_rest(tmp_path):
    source = Keywords({"cat": "cat", "dog": "dog"}, column="title")
    summary = apply_source(write(tmp_path), source, tmp_path / "out.parquet")
    assert summary == (4, 2, {"cat": 1, "dog": 1})
    before, after = (pq.read_table(tmp_path / name) for name in ("in.parquet", "out.parquet"))
    assert after["weak_label"].to_pylist() == ["cat", "dog", None, None]
    for name in ("sample_id", "image", "title"):
        assert after[name].to_pylist() == before[name].to_pylist()


def test_a_callable_is_a_source(tmp_path):
    source = FromCallable(lambda record: "cat" if record["sample_id"] < "c" else None, ["cat"])
    assert apply_source(write(tmp_path), source, tmp_path / "out.parquet").counts == {"cat": 2}


def test_a_source_that_leaves_its_vocabulary_is_refused(tmp_path):
    source = FromCallable(lambda record: "cat", ["cat"])
    source.label = lambda record: 5
    with pytest.raises(sl.LabelError, match="gave label 5 to sample 'a'"):
        apply_source(write(tmp_path), source, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def uris(path):
    return [uri for batch in open_manifest(path).batches(["uri"]) for uri in batch.column(0).to_pylist()]


def test_relative_uris_mean_the_same_files_in_another_folder(tmp_path):
    path = tmp_path / "in/m.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"sample_id": ["a", "b"], "uri": ["cat/1.jpg", "s3://b/cat/2.jpg"]}), path)
    before = uris(path)
    for out in ("out/m.parquet", "in/n.parquet"):
        apply_source(path, FolderName(["cat"]), tmp_path / out)
        assert uris(tmp_path / out) == before
    # Beside the old one, a manifest still moves with its folder.
    assert pq.read_table(tmp_path / "in/n.parquet")["uri"][0].as_py() == "cat/1.jpg"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", "sample_id,uri,title,split\n01,1.jpg,A cat,weak\n2,2.jpg,5,weak\n3,3.jpg,cat,target_val\n"),
        (
            "m.jsonl",
            '{"sample_id": "01", "uri": "1.jpg", "title": "A cat", "split": "weak"}\n'
            '{"sample_id": 2, "uri": "2.jpg", "title": 5, "split": "weak"}\n'
            '{"sample_id": 3, "uri": "3.jpg", "title": "cat", "split": "target_val"}\n',
        ),
    ],
)
def test_apply_source_takes_any_manifest(name, text, tmp_path):
    (tmp_path / name).write_text(text, encoding="utf-8")
    weak = open_manifest(tmp_path / name).filter(split="weak")
    source = Keywords({"cat": "cat", "dog": "dog"}, column="title")
    assert apply_source(weak, source, tmp_path / "out.parquet") == (2, 1, {"cat": 1})
    assert pq.read_table(tmp_path / "out.parquet").select(
        ["sample_id", "title", "weak_label"]
    ).to_pylist() == [
        {"sample_id": "01", "title": "A cat", "weak_label": "cat"},
        {"sample_id": "2", "title": "5", "weak_label": None},
    ]


def test_a_missing_text_column_is_named(tmp_path):
    with pytest.raises(sl.TableError, match="no column 'query'; it has sample_id, title"):
        apply_source(write(tmp_path), Keywords({"cat": "cat"}, column="query"), tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize(
    ("manifest", "out", "message"),
    [
        ("in.parquet", "in.parquet", "is read from it, and would be lost"),
        ("link.parquet", "in.parquet", "is read from it, and would be lost"),
        ("found.csv", "sub/../found.csv", "is read from it, and would be lost"),
        ("shards", "shards/part-00000.parquet", "is read from it, and would be lost"),
        ("shards", "shards/other.parquet", "is read as a shard of it"),
        ("media", "media/cat/1.jpg", "all that lies in the media folder .* is read as its samples"),
        ("media", "media/manifest.parquet", "all that lies in the media folder"),
        ("in.parquet", "shards", "is a folder; name a file in it"),
        ("in.parquet", "s3://bucket/out.parquet", "expected a local path"),
    ],
)
def test_a_manifest_is_not_overwritten_by_what_is_made_of_it(manifest, out, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path).with_name("link.parquet").symlink_to(tmp_path / "in.parquet")
    (tmp_path / "found.csv").write_text("sample_id,uri\na,cat/1.jpg\n", encoding="utf-8")
    for folder in ("sub", "shards", "media/cat"):
        (tmp_path / folder).mkdir(parents=True)
    pq.write_table(pq.read_table(tmp_path / "in.parquet"), tmp_path / "shards/part-00000.parquet")
    (tmp_path / "media/cat/1.jpg").write_bytes(b"1")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(sl.ConfigError, match=f"cannot write to .*{message}"):
        apply_source(tmp_path / manifest, FromCallable(lambda record: "cat", ["cat"]), out)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_manifest_of_media_may_stand_beside_their_folder(tmp_path):
    (tmp_path / "media/cat").mkdir(parents=True)
    (tmp_path / "media/cat/1.jpg").write_bytes(b"1")
    summary = apply_source(tmp_path / "media", FolderName(["cat"]), tmp_path / "m.parquet")
    assert summary.counts == {"cat": 1}
    assert uris(tmp_path / "m.parquet") == [str(tmp_path / "media/cat/1.jpg")]
