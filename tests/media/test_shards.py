from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sublabel.media import iter_shards
from sublabel.media.shards import LONGEST_RUN
from tests.media.numbers import Numbers, videos, write_manifest


def read_shards(manifest, domain, shards, **options):
    options = {"rows_per_shard": 12, "rows_per_read": 4, **options}
    read = iter_shards(manifest, domain, list, shards, **options)
    return {shard: list(rows) for shard, rows in read}


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
