from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sublabel as sl
from sublabel.tables import PredictionsMetadata, TableWriter
from sublabel.tables._store import PairStore, RowGroups, sorted_dictionary


@given(st.lists(st.integers(0, 17), max_size=12))
def test_row_groups_do_not_tell_how_the_rows_arrived(tmp_path_factory, sizes):
    folder = tmp_path_factory.mktemp("groups")
    ids = pa.array([f"video_{index:05d}" for index in range(sum(sizes))], pa.string())
    whole = pa.table({"sample_id": ids})
    for name, parts in (("one", [len(ids)]), ("many", sizes)):
        with TableWriter(folder / name, whole.schema) as writer:
            groups, start = RowGroups(writer, 10), 0
            for size in parts:
                groups.write(whole.slice(start, size))
                start += size
            groups.flush()
    assert (folder / "one").read_bytes() == (folder / "many").read_bytes()
    footer = pq.read_metadata(folder / "many")
    assert all(footer.row_group(group).num_rows == 10 for group in range(footer.num_row_groups - 1))


def test_pages_do_not_tell_how_the_rows_arrived(tmp_path):
    whole = pa.table({"sample_id": pa.array([f"{index:0300d}" for index in range(20_000)])})
    for name, starts in (("one", [0, 20_000]), ("many", [0, 1, 7_002, 20_000])):
        with TableWriter(tmp_path / name, whole.schema, dictionary=[]) as writer:
            groups = RowGroups(writer)
            for start, stop in pairwise(starts):
                groups.write(whole.slice(start, stop - start))
            groups.flush()
    assert (tmp_path / "one").read_bytes() == (tmp_path / "many").read_bytes()


@pytest.mark.parametrize("classes", [5, 127, 128, 40_000])
def test_stored_pairs_come_back(classes, tmp_path):
    vocabulary = sl.Vocabulary.of(classes)
    pairs = np.random.default_rng(0).integers(-1, classes, (2, 100), dtype=np.int32)
    pairs[:, 0] = classes - 1
    with PairStore(tmp_path, PredictionsMetadata(vocabulary, vocabulary, "x")) as store:
        for start in (60, 0):
            store.put(start, sl.Pairs.trusted(*pairs[:, start : start + 60], vocabulary, vocabulary))
        assert list(tmp_path.iterdir()) == []
        for start, stop in ((0, 100), (13, 77)):
            found = store.get(start, stop - start)
            assert (np.stack([found.weak, found.teacher]) == pairs[:, start:stop]).all()
            assert found.weak_vocabulary is found.teacher_vocabulary is vocabulary


@given(st.lists(st.sampled_from("dcba"), max_size=12), st.lists(st.integers(1, 5), max_size=12))
def test_dictionaries_of_a_row_group_do_not_tell_how_the_rows_arrived(tmp_path_factory, values, sizes):
    folder = tmp_path_factory.mktemp("groups")
    schema = pa.schema([("status", pa.dictionary(pa.int32(), pa.string()))])
    parts = [values] if not sizes else []
    start = 0
    for size in [*sizes, len(values)]:
        parts.append(values[start : start + size])
        start += size
    for name, pieces in (("one", [values]), ("many", parts if sizes else [values])):
        with TableWriter(folder / name, schema, dictionary=["status"]) as writer:
            groups = RowGroups(writer, 10)
            for piece in pieces:
                groups.write(pa.table([pa.array(piece, pa.string()).dictionary_encode()], schema=schema))
            groups.flush()
    assert (folder / "one").read_bytes() == (folder / "many").read_bytes()
    assert pq.read_table(folder / "many")["status"].to_pylist() == values


@given(st.lists(st.integers(0, 4), max_size=12), st.permutations("abcde"))
def test_a_sorted_dictionary_holds_what_occurs(indices, names):
    values = pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), pa.array(names))
    found = sorted_dictionary(values)
    assert found.to_pylist() == values.to_pylist()
    assert found.dictionary.to_pylist() == sorted(set(values.to_pylist()))
