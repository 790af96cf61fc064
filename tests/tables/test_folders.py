from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sublabel.errors import TableError
from sublabel.tables import write_folder_manifest


def folders(root, weak):
    for split, names in {"weak": weak, "target_train": ["t.mp4"], "target_test": ["v.mp4"]}.items():
        (root / split / "jumping").mkdir(parents=True)
        for name in names:
            (root / split / "jumping" / name).touch()
    return root


def weak_ids(path):
    return [row["sample_id"] for row in pq.read_table(path).to_pylist() if row["split"] == "weak"]


def test_names_to_exclude_need_no_ending_and_no_time(tmp_path):
    names = ["abc.mp4", "def_000001_000011.webm", "ghi.mp4", "j.k.mp4"]
    data = folders(tmp_path / "data", names)
    exclude = ["abc_000012_000022.mp4", "def", "other"]
    assert write_folder_manifest(tmp_path / "m.parquet", data, exclude=exclude) == 2
    assert weak_ids(tmp_path / "m.parquet") == ["weak/jumping/ghi.mp4", "weak/jumping/j.k.mp4"]
    assert write_folder_manifest(tmp_path / "m.parquet", data, exclude=["j.k"]) == 1
    assert write_folder_manifest(tmp_path / "m.parquet", data) == 0
    assert len(weak_ids(tmp_path / "m.parquet")) == 4


def test_only_weak_samples_are_excluded(tmp_path):
    data = folders(tmp_path / "data", ["v.mp4", "w.mp4"])
    assert write_folder_manifest(tmp_path / "m.parquet", data, exclude=["v", "t"]) == 1
    assert len(pq.read_table(tmp_path / "m.parquet")) == 3


def test_an_exclusion_that_leaves_out_nothing_or_all_is_refused(tmp_path):
    data = folders(tmp_path / "data", ["a.mp4"])
    with pytest.raises(
        TableError, match="none of the 1 names to exclude, such as 'b', is that of a weak file"
    ):
        write_folder_manifest(tmp_path / "m.parquet", data, exclude=["b.mp4"])
    with pytest.raises(TableError, match="all 1 weak samples .* are excluded"):
        write_folder_manifest(tmp_path / "m.parquet", data, exclude=["a"])
    assert not (tmp_path / "m.parquet").exists()


def test_what_is_no_medium_is_counted_and_a_class_of_nothing_else_is_refused(tmp_path, caplog):
    data = folders(tmp_path / "data", ["a.m2ts", "b.VOB", "c.f4v", "notes.txt", ".hidden.txt"])
    write_folder_manifest(tmp_path / "m.parquet", data)
    assert [Path(name).name for name in weak_ids(tmp_path / "m.parquet")] == ["a.m2ts", "b.VOB", "c.f4v"]
    assert "weak: 1 files are no images or videos by their endings, such as " in caplog.text
    assert "notes.txt" in caplog.text
    (data / "target_train" / "running").mkdir()
    with pytest.raises(TableError, match="target_train/running has no image or video but no files at all"):
        write_folder_manifest(tmp_path / "m.parquet", data)
    (data / "target_train" / "running" / "clip.part").touch()
    with pytest.raises(TableError, match="only others, such as 'clip.part'.*remove the folder"):
        write_folder_manifest(tmp_path / "m.parquet", data)


def test_a_dangling_link_is_a_sample_that_reading_reports(tmp_path):
    data = folders(tmp_path / "data", ["a.mp4"])
    (data / "weak" / "jumping" / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    write_folder_manifest(tmp_path / "m.parquet", data)
    assert weak_ids(tmp_path / "m.parquet") == ["weak/jumping/a.mp4", "weak/jumping/gone.mp4"]
