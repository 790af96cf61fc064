from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from sublabel.errors import MediaError
from sublabel.media import CachedReader, Reader


class Counting(Reader):
    """Media of 10 bytes that are told by the id; it counts how often each was read or checked."""

    columns = ("uri",)

    def __init__(self, broken=()):
        self.broken = frozenset(broken)
        self.read_ids, self.checked_ids, self.together = [], [], []

    def read(self, row):
        self.read_ids.append(row["sample_id"])
        if row["sample_id"] in self.broken:
            raise MediaError("unreadable: broken")
        return torch.full((10,), int(row["sample_id"]), dtype=torch.uint8)

    def check(self, row):
        self.checked_ids.append(row["sample_id"])
        super().check(row)

    def read_many(self, rows):
        self.together.append([row["sample_id"] for row in rows])
        return super().read_many(rows)


def row(number):
    return {"sample_id": str(number)}


def test_what_is_kept_is_read_once_and_is_the_same():
    inner = Counting()
    reader = CachedReader(inner, max_bytes=100)
    for number in [1, 2, 1, 2, 1]:
        assert reader.read(row(number)).unique().tolist() == [number]
    assert inner.read_ids == ["1", "2"]


@pytest.mark.parametrize(("max_bytes", "kept"), [(0, 0), (9, 0), (10, 1), (29, 2), (30, 3)])
def test_no_more_is_kept_than_the_memory_holds(max_bytes, kept):
    inner = Counting()
    reader = CachedReader(inner, max_bytes)
    for _ in range(2):
        for number in range(5):
            reader.read(row(number))
    assert len(inner.read_ids) == 5 + (5 - kept)


def test_threads_keep_no_more_than_the_memory_holds():
    inner = Counting()
    reader = CachedReader(inner, max_bytes=200)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(reader.read, [row(number) for number in range(100)] * 2))
    inner.read_ids.clear()
    for number in range(100):
        reader.read(row(number))
    assert len(inner.read_ids) == 80


def test_a_fault_is_not_kept():
    inner = Counting(broken={"1"})
    reader = CachedReader(inner, max_bytes=100)
    for _ in range(2):
        with pytest.raises(MediaError, match="broken"):
            reader.read(row(1))
    inner.broken = frozenset()
    assert reader.read(row(1)).unique().tolist() == [1]


def test_a_pass_over_many_rows_takes_what_is_kept_and_keeps_nothing_new():
    inner = Counting(broken={"3"})
    reader = CachedReader(inner, max_bytes=1000)
    reader.read(row(2))
    found = reader.read_many([row(number) for number in range(5)])
    assert inner.together == [["0", "1", "3", "4"]]
    assert [None if isinstance(entry, MediaError) else int(entry[0]) for entry in found] == [0, 1, 2, None, 4]
    inner.read_ids.clear()
    reader.read(row(0))
    assert inner.read_ids == ["0"]


def test_a_check_is_the_other_readers_unless_the_media_are_there():
    inner = Counting()
    reader = CachedReader(inner, max_bytes=1000)
    reader.read(row(1))
    reader.check(row(1))
    reader.check(row(2))
    assert inner.checked_ids == ["2"]


def test_a_cache_pickles_without_what_it_keeps():
    reader = CachedReader(Counting(), max_bytes=1000)
    reader.read(row(1))
    again = pickle.loads(pickle.dumps(reader))
    again.read(row(1))
    assert again.max_bytes == 1000
    assert again.reader.read_ids == ["1", "1"]


def test_a_cache_looks_at_the_id_and_at_what_its_reader_looks_at():
    assert CachedReader(Counting(), 0).columns == ("sample_id", "uri")
