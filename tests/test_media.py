from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sublabel.domain import Domain
from sublabel.errors import MediaError, TableError
from sublabel.media import LONGEST_RUN, DecodedMedia, Share, decode_manifest, iter_shards
from sublabel.tables import open_manifest


class Numbers(Domain):
    """A medium whose samples are told by their ids alone; it remembers what was read together."""

    name = "numbers"

    def __init__(self, broken=()):
        self.broken = frozenset(broken)
        self.reads = []

    def create_backbone(self, name, *, pretrained=False, weights=None):
        raise NotImplementedError

    def preprocessing(self, backbone):
        raise NotImplementedError

    def training_transform(self, preprocessing, augmentation=None, *, flip=True):
        raise NotImplementedError

    def evaluation_transform(self, preprocessing):
        raise NotImplementedError

    def read(self, row):
        number = int(row["sample_id"])
        if number in self.broken:
            raise MediaError("unreadable: broken")
        return torch.full((1 + number % 3, 2), number % 256, dtype=torch.uint8)

    def read_many(self, rows):
        self.reads.append([int(row["sample_id"]) for row in rows])
        return super().read_many(rows)


def write_manifest(path, uris):
    table = pa.table(
        {
            "sample_id": [str(number) for number in range(len(uris))],
            "uri": pa.array(uris, pa.string()),
            "weak_label": [f"label {number % 5}" for number in range(len(uris))],
        }
    )
    pq.write_table(table, path, row_group_size=7)
    return open_manifest(path)


def read_shards(manifest, domain, shards, **options):
    options = {"rows_per_shard": 12, "rows_per_read": 4, **options}
    read = iter_shards(manifest, domain.read_many, list, shards, **options)
    return {shard: list(rows) for shard, rows in read}


def videos(lengths):
    return [f"/{number}.mp4" for number, length in enumerate(lengths) for _ in range(length)]


@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=12))
def test_every_row_comes_once_in_its_shard_and_in_order(tmp_path_factory, lengths):
    uris = videos(lengths)
    manifest = write_manifest(tmp_path_factory.mktemp("m") / "m.parquet", uris)
    shards = read_shards(manifest, Numbers(), range(-(-len(uris) // 12)))
    numbers = [int(row.sample_id) for rows in shards.values() for row in rows]
    assert numbers == list(range(len(uris)))
    assert all(int(row.sample_id) // 12 == shard for shard, rows in shards.items() for row in rows)
    assert all((row.media == int(row.sample_id)).all() for rows in shards.values() for row in rows)


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_all_rows_of_a_uri_are_read_at_once(tmp_path_factory, lengths):
    manifest = write_manifest(tmp_path_factory.mktemp("m") / "m.parquet", videos(lengths))
    domain = Numbers()
    read_shards(manifest, domain, [0], rows_per_shard=400, rows_per_read=4)
    uris = videos(lengths)
    times_opened = Counter(uri for read in domain.reads for uri in {uris[number] for number in read})
    assert set(times_opened.values()) == {1}
    # Runs are about as long as asked for, not whole manifests.
    assert max(map(len, domain.reads)) <= LONGEST_RUN * 4


def test_a_long_video_is_read_in_bounded_pieces(tmp_path):
    manifest = write_manifest(tmp_path / "m.parquet", ["/long.mp4"] * 100)
    domain = Numbers()
    read_shards(manifest, domain, [0], rows_per_shard=400, rows_per_read=4)
    assert {len(read) for read in domain.reads} <= {4, LONGEST_RUN * 4}


def test_rows_without_a_uri_are_no_video(tmp_path):
    manifest = write_manifest(tmp_path / "m.parquet", [None] * 20)
    domain = Numbers()
    read_shards(manifest, domain, [0], rows_per_shard=400, rows_per_read=4)
    assert [len(read) for read in domain.reads] == [4] * 5


def test_only_the_wanted_shards_are_read(tmp_path):
    manifest = write_manifest(tmp_path / "m.parquet", videos([3] * 20))
    domain = Numbers()
    assert set(read_shards(manifest, domain, [1, 3])) == {1, 3}
    assert {number // 12 for read in domain.reads for number in read} == {1, 3}
    assert read_shards(manifest, domain, []) == {}


def test_worker_processes_change_nothing(tmp_path):
    manifest = write_manifest(tmp_path / "m.parquet", videos([5, 1, 7, 2, 9, 4]))
    domain = Numbers(broken={3, 17})
    alone = read_shards(manifest, domain, range(3))
    together = read_shards(manifest, domain, range(3), num_workers=2)
    assert [row[:3] for rows in alone.values() for row in rows] == [
        row[:3] for rows in together.values() for row in rows
    ]
    assert Counter(row.status for rows in together.values() for row in rows)["unreadable: broken"] == 2


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
    with pytest.raises(TableError, match='image_size": 8.*image_size": 16.*choose another folder'):
        decode_manifest(manifest, Numbers(), tmp_path / "d", made_by={"image_size": 16}, rows_per_shard=64)
    with pytest.raises(TableError, match="no decoded media"):
        DecodedMedia(tmp_path / "nowhere")
    (tmp_path / "d" / "part-00000.arrow").write_bytes(b"ARROW1 cut off")
    with pytest.raises(TableError, match="is damaged"):
        DecodedMedia(tmp_path / "d")


def test_several_processes_share_the_shards(tmp_path, monkeypatch):
    manifest = write_manifest(tmp_path / "m.parquet", videos([4] * 80))
    for rank in range(2):
        monkeypatch.setattr(Share, "of_process", classmethod(lambda cls, rank=rank: cls(rank, 2)))
        monkeypatch.setattr(Share, "wait_for_all", lambda self: None)
        domain = Numbers()
        decode_manifest(manifest, domain, tmp_path / "d", rows_per_shard=64)
        assert {number // 64 % 2 for read in domain.reads for number in read} == {rank}
    assert np.array_equal(sorted(map(int, DecodedMedia(tmp_path / "d")._position)), np.arange(320))
