from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from sublabel import distributed
from sublabel.errors import ConfigError, MediaError, TableError
from sublabel.media import DecodedMedia, decode_manifest
from tests.media.numbers import Numbers, videos, write_manifest


def test_decoded_media_are_what_the_domain_reads(tmp_path):
    manifest = write_manifest(tmp_path / "m.parquet", videos([5, 1, 7, 2, 9, 4]))
    domain = Numbers(broken={3})
    summary = decode_manifest(manifest, domain, tmp_path / "d", rows_per_shard=64)
    decoded = DecodedMedia(tmp_path / "d")
    assert len(decoded) == summary.rows == 28
    for number in set(range(28)) - {3}:
        assert torch.equal(decoded.read({"sample_id": str(number)}), domain.read({"sample_id": str(number)}))
    with pytest.raises(MediaError, match="unreadable: broken"):
        decoded.read({"sample_id": "3"})
    with pytest.raises(MediaError, match="not among the decoded media"):
        decoded.read({"sample_id": "99"})
    assert decoded.failures() == {"3": "unreadable: broken"}
    assert str(summary) == "28 samples, 1 could not be read; 1 × unreadable: broken"


def test_decoded_media_are_the_readers_own(tmp_path):
    manifest = write_manifest(tmp_path / "m.parquet", videos([4]))
    decode_manifest(manifest, Numbers(), tmp_path / "d", rows_per_shard=64)
    decoded = DecodedMedia(tmp_path / "d")
    decoded.read({"sample_id": "2"}).zero_()
    assert decoded.read({"sample_id": "2"}).unique().tolist() == [2]
    again = pickle.loads(pickle.dumps(decoded))
    assert torch.equal(again.read({"sample_id": "1"}), decoded.read({"sample_id": "1"}))


def test_decoding_that_was_killed_goes_on_and_ends_with_the_same_bytes(tmp_path, monkeypatch):
    manifest = write_manifest(tmp_path / "m.parquet", videos([3] * 60))
    decode_manifest(manifest, Numbers(), tmp_path / "whole", rows_per_shard=64)
    domain = Numbers()
    read = domain.read

    def killed_at_100(row):
        if row["sample_id"] == "100":
            raise KeyboardInterrupt
        return read(row)

    monkeypatch.setattr(domain, "read", killed_at_100)
    with pytest.raises(KeyboardInterrupt):
        decode_manifest(manifest, domain, tmp_path / "killed", rows_per_shard=64)
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["part-00000.arrow"]
    second = Numbers()
    decode_manifest(manifest, second, tmp_path / "killed", rows_per_shard=64)
    assert min(number for read in second.reads for number in read) == 64
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "killed" / path.name).read_bytes() == path.read_bytes()


def test_media_decoded_otherwise_are_refused(tmp_path):
    manifest = write_manifest(tmp_path / "m.parquet", videos([4]))
    decode_manifest(manifest, Numbers(), tmp_path / "d", made_by={"image_size": 8}, rows_per_shard=64)
    message = (
        r"part-00000.arrow was made with another made_by.image_size: .*\(8 there, 16 here\); choose another"
    )
    with pytest.raises(ConfigError, match=message):
        decode_manifest(manifest, Numbers(), tmp_path / "d", made_by={"image_size": 16}, rows_per_shard=64)
    with pytest.raises(TableError, match="no decoded media"):
        DecodedMedia(tmp_path / "nowhere")
    (tmp_path / "d" / "part-00000.arrow").write_bytes(b"ARROW1 cut off")
    with pytest.raises(TableError, match="is damaged"):
        DecodedMedia(tmp_path / "d")


def test_several_processes_share_the_shards(tmp_path, monkeypatch):
    manifest = write_manifest(tmp_path / "m.parquet", videos([4] * 80))
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "wait_for_all", lambda: None)
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        domain = Numbers()
        decode_manifest(manifest, domain, tmp_path / "d", rows_per_shard=64)
        assert {number // 64 % 2 for read in domain.reads for number in read} == {rank}
    assert np.array_equal(sorted(map(int, DecodedMedia(tmp_path / "d")._position)), np.arange(320))


def test_media_decoded_otherwise_are_replaced_where_that_is_wanted(tmp_path):
    manifest = write_manifest(tmp_path / "m.parquet", videos([4]))
    decode_manifest(manifest, Numbers(broken={1}), tmp_path / "d", made_by={"size": 8})
    assert decode_manifest(manifest, Numbers(), tmp_path / "d", made_by={"size": 8}, replace=True).failed == 1
    assert decode_manifest(manifest, Numbers(), tmp_path / "d", made_by={"size": 9}, replace=True).failed == 0


def test_a_check_of_decoded_media_says_what_reading_them_says(tmp_path):
    manifest = write_manifest(tmp_path / "m.parquet", videos([4]))
    decode_manifest(manifest, Numbers(broken={2}), tmp_path / "d")
    decoded = DecodedMedia(tmp_path / "d")
    decoded.check({"sample_id": "1"})
    for sample_id, reason in (("2", "unreadable: broken"), ("9", "not among the decoded media")):
        with pytest.raises(MediaError, match=reason):
            decoded.check({"sample_id": sample_id})
    assert [
        isinstance(entry, MediaError) for entry in decoded.read_many([{"sample_id": "1"}, {"sample_id": "2"}])
    ] == [False, True]
