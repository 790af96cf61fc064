from __future__ import annotations

import pickle

import pyarrow as pa
import pytest
import torch

import sublabel as sl
from sublabel import distributed
from sublabel.errors import MediaError, TableError
from sublabel.media import CachedReader, DecodedMedia, MediaTable, decode_manifest
from tests.media.numbers import Numbers, videos, write_manifest


def table(rows, broken=()):
    return MediaTable(pa.table({"sample_id": [str(number) for number in range(rows)]}), Numbers(broken))


@pytest.fixture
def manifest(tmp_path):
    return write_manifest(tmp_path / "m.parquet", videos([4, 3]))


def test_rows_are_read_by_position_however_they_are_read(manifest, tmp_path):
    decode_manifest(manifest, Numbers(), tmp_path / "d")
    readers = [Numbers(), CachedReader(Numbers(), 1000), DecodedMedia(tmp_path / "d")]
    for reader in readers:
        media = MediaTable.from_manifest(manifest, reader)
        assert len(media) == 7
        assert [int(media.read(index)[0, 0]) for index in (3, 0, 6)] == [3, 0, 6]


def test_a_table_has_the_columns_that_its_reader_and_labels_need(manifest, tmp_path):
    decode_manifest(manifest, Numbers(), tmp_path / "d")
    columns = MediaTable.from_manifest(manifest, Numbers()).rows.column_names
    assert columns == ["sample_id", "uri", "weak_label"]
    columns = MediaTable.from_manifest(manifest, DecodedMedia(tmp_path / "d")).rows.column_names
    assert columns == ["sample_id", "weak_label"]


def test_a_row_is_what_the_manifest_says(manifest):
    seen = []

    class Seeing(Numbers):
        def read(self, row):
            seen.append(dict(row))
            return super().read(row)

    MediaTable.from_manifest(manifest, Seeing()).read(5)
    assert seen == [{"sample_id": "5", "uri": "/1.mp4", "weak_label": "label 0"}]


def test_a_table_pickles_with_its_rows_or_with_their_file(manifest, tmp_path):
    held = MediaTable.from_manifest(manifest, Numbers())
    mapped = MediaTable.from_manifest(manifest, Numbers(), spool=tmp_path / "rows.arrow")
    assert mapped.rows.equals(held.rows)
    (tmp_path / "m.parquet").unlink()
    for media in (held, mapped):
        again = pickle.loads(pickle.dumps(media))
        assert again.rows.equals(held.rows)
        assert torch.equal(again.read(2), held.read(2))
    assert len(pickle.dumps(mapped)) < len(pickle.dumps(held))
    # A file that is there is taken as it is.
    assert pickle.loads(pickle.dumps(mapped)).spool == tmp_path / "rows.arrow"


def test_labels_are_encoded_and_a_column_that_is_not_there_is_named(manifest):
    media = MediaTable.from_manifest(manifest, Numbers())
    vocabulary = sl.Vocabulary([f"label {number}" for number in range(5)])
    assert media.labels("weak_label", vocabulary).tolist() == [0, 1, 2, 3, 4, 0, 1]
    with pytest.raises(TableError, match="no column 'label'; it has sample_id, uri, weak_label"):
        media.labels("label", vocabulary)


def test_labels_are_joined_by_sample_id_never_by_position():
    media, ids = table(6), pa.array(["4", "0", "2", "1", "3", "5"])
    assert media.positions_of(ids).tolist() == [1, 3, 2, 4, 0, 5]
    assert media.positions_of(ids[:2], subset=True).tolist() == [1, -1, -1, -1, 0, -1]
    with pytest.raises(TableError, match="4 of its 6 samples have no label and 0 of 2 labels have no sample"):
        media.positions_of(ids[:2])
    with pytest.raises(TableError, match="1 of 1 labels have no sample"):
        media.positions_of(pa.array(["99"]), subset=True)


def test_an_empty_manifest_makes_no_table(tmp_path):
    with pytest.raises(TableError, match="has no rows"):
        MediaTable.from_manifest(write_manifest(tmp_path / "none.parquet", []), Numbers())


def test_processes_that_train_together_share_the_look_for_what_cannot_be_read(monkeypatch):
    media = table(40, broken={3, 8, 21})
    whole = media.failures()
    assert list(whole) == ["3", "8", "21"]
    assert list(media.failures(among=["8", "9"])) == ["8"]
    gathered, looked = [], []
    monkeypatch.setattr(distributed, "gather", lambda found: gathered.append(found) or list(gathered))
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    monkeypatch.setattr(
        media.reader, "check", lambda row: looked.append(int(row["sample_id"])) or media.reader.read(row)
    )
    for rank in range(3):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shared = media.failures()
    assert shared == whole
    assert sorted(looked) == list(range(40))


def test_a_thorough_look_reads_and_another_one_only_checks(monkeypatch):
    media = table(3)

    def fails(row):
        raise MediaError("truncated")

    monkeypatch.setattr(media.reader, "read", fails)
    monkeypatch.setattr(media.reader, "check", lambda row: None)
    assert media.failures() == {}
    assert media.failures(thorough=True) == dict.fromkeys(["0", "1", "2"], "truncated")
