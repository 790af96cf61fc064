from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from textwrap import dedent

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sublabel as sl
from sublabel.errors import TableError
from sublabel.files import create_partial, remove_abandoned
from sublabel.labels import ConfidentCounts, ConfidentSPL, ProbabilityMass, TopKSPL, TwoHead
from sublabel.tables import (
    _chunks,
    _opened,
    count_table,
    read_label_space,
    read_relabeled,
    relabel_table,
    relabeled,
    select_predictions,
)
from sublabel.tables._chunks import iter_chunks, open_parts
from tests.tables.records import pairs_of, records, statuses_of, write

SPL = sl.RawSPL(min_count=30, rare="drop")


@pytest.fixture(scope="module")
def table():
    return records(1000)


@pytest.fixture
def predictions(table, tmp_path):
    return write(tmp_path / "in" / "p.parquet", table, 64)


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of a few rows, so that a small table has many of them."""
    for module in (_chunks, _opened, relabeled):
        monkeypatch.setattr(module, "CHUNK_ROWS", 50)


LAYOUTS = {
    "one row group": ([1000], 1000),
    "tiny row groups": ([1000], 3),
    "uneven shards": ([1, 499, 0, 500], 70),
    "shards of one row group": ([400, 600], 600),
}


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("threads", [1, 5])
@pytest.mark.parametrize("largest", [60, 1 << 20])
@pytest.mark.parametrize("strategy", [SPL, TopKSPL(k=2), TwoHead()], ids=lambda strategy: strategy.kind)
def test_bytes_depend_neither_on_shards_nor_on_row_groups_nor_on_threads(
    strategy, layout, threads, largest, table, tmp_path, monkeypatch
):
    for module in (_opened, relabeled):
        monkeypatch.setattr(module, "LARGEST_ROW_GROUP", largest)
    monkeypatch.setattr(relabeled, "ROW_GROUP_ROWS", 300)
    relabel_table(write(tmp_path / "in" / "p.parquet", table), tmp_path / "expected", strategy, threads=2)
    sizes, row_group = LAYOUTS[layout]
    start = 0
    for part, size in enumerate(sizes):
        write(tmp_path / "shards" / f"part-{part:05d}.parquet", table.slice(start, size), row_group)
        start += size
    relabel_table(tmp_path / "shards", tmp_path / "out", strategy, threads=threads)
    assert (tmp_path / "out").read_bytes() == (tmp_path / "expected").read_bytes()
    assert read_relabeled(tmp_path / "out").sample_ids.equals(table["sample_id"].combine_chunks())


@pytest.mark.parametrize("largest", [7, 64, 1000])
def test_chunks_cover_every_row_once_in_order(largest, predictions, table):
    parts = open_parts(predictions, ["sample_id"])
    chunks = list(iter_chunks(parts, ["sample_id"], largest=largest))
    assert [chunk.first for chunk in chunks] == np.cumsum([0, *(chunk.rows for chunk in chunks)])[
        :-1
    ].tolist()
    ids = [batch.column(0) for chunk in chunks for batch in chunk.batches()]
    assert pa.chunked_array(ids).equals(table["sample_id"])


@pytest.mark.parametrize(
    "strategy",
    [
        sl.WeakOnly(),
        SPL,
        sl.MatchedControl(of=SPL, seed=3),
        ConfidentSPL(),
        ConfidentSPL(of=sl.SPLB(), thresholds=0.5),
        TopKSPL(k=2),
        TwoHead(),
    ],
    ids=lambda strategy: strategy.kind,
)
@pytest.mark.usefixtures("small_chunks")
def test_a_table_with_failures_equals_relabel_on_pairs(strategy, predictions, table, tmp_path):
    summary = relabel_table(predictions, tmp_path / "r.parquet", strategy, threads=3)
    found = read_relabeled(tmp_path / "r.parquet")
    pairs = pairs_of(table)
    expected = sl.relabel(pairs, strategy)
    assert found.space == expected.space
    assert (found.targets.keep == expected.targets.keep).all()
    for row in np.flatnonzero(found.targets.keep):
        assert np.array_equal(found.targets[row], expected.targets[row])
    statuses = statuses_of(table, expected.targets.keep)
    assert pq.read_table(tmp_path / "r.parquet")["status"].to_pylist() == statuses
    assert found.targets.reasons.tolist() == statuses
    assert summary.statuses == Counter(statuses)
    assert summary.kept == expected.targets.keep.sum()
    assert summary.abstained == pairs.abstained > 0
    assert summary.rows == 1000 == summary.kept + summary.dropped + summary.abstained


@pytest.mark.parametrize("counting", [ConfidentCounts(candidates="top_k"), ProbabilityMass(rest="other")])
def test_every_way_of_counting_streams(counting, predictions, table):
    assert count_table(predictions, counting, threads=2) == sl.count(pairs_of(table), counting)


class Interrupt:
    """Progress that stops the run in a stage, as Ctrl-C does."""

    def __init__(self, stage, error=KeyboardInterrupt):
        self.stage, self.error = stage, error

    def __call__(self, stage, done, rows):
        if stage == self.stage and done > rows / 3:
            raise self.error


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("stage", ["count", "relabel"])
def test_an_interrupted_run_leaves_nothing_and_a_second_one_completes(stage, predictions, tmp_path):
    out = tmp_path / "out"
    relabel_table(predictions, tmp_path / "whole.parquet", SPL)
    with pytest.raises(KeyboardInterrupt):
        relabel_table(predictions, out / "r.parquet", SPL, progress=Interrupt(stage))
    assert list(out.iterdir()) == []
    relabel_table(predictions, out / "r.parquet", SPL)
    assert [path.name for path in out.iterdir()] == ["r.parquet"]
    assert (out / "r.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_an_interrupted_run_keeps_the_old_table(predictions, tmp_path):
    out = tmp_path / "out" / "r.parquet"
    relabel_table(predictions, out, sl.WeakOnly())
    before = out.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        relabel_table(predictions, out, SPL, progress=Interrupt("relabel"))
    assert out.read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="no SIGKILL")
def test_what_a_killed_run_leaves_goes_with_the_next(predictions, tmp_path):
    code = f"""
        import os, signal
        from sublabel.tables import relabel_table

        def progress(stage, done, rows):
            if stage == "relabel" and done:
                os.kill(os.getpid(), signal.SIGKILL)

        out = {str(tmp_path / "out" / "r.parquet")!r}
        relabel_table({str(predictions)!r}, out, "raw_spl", progress=progress)
        """
    ended = subprocess.run([sys.executable, "-c", dedent(code)])
    assert ended.returncode == -signal.SIGKILL
    left = list((tmp_path / "out").iterdir())
    assert len(left) == 1
    assert left[0].name.startswith(".r.parquet.")
    relabel_table(predictions, tmp_path / "out" / "r.parquet", SPL)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["r.parquet"]


@pytest.mark.usefixtures("small_chunks")
def test_progress_counts_up_to_the_whole_of_each_stage(predictions, tmp_path):
    seen = {}
    relabel_table(
        predictions, tmp_path / "r", SPL, progress=lambda *call: seen.setdefault(call[0], []).append(call[1:])
    )
    assert list(seen) == ["count", "relabel"]
    for calls in seen.values():
        assert calls[0] == (0, 1000)
        assert calls[-1] == (1000, 1000)
        assert len(calls) > 10
        assert all(before[0] < after[0] for before, after in pairwise(calls))


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("threads", [1, 4])
def test_an_error_in_a_thread_names_the_sample_and_leaves_nothing(threads, table, tmp_path):
    row = table.schema.get_field_index("top_ids")
    position = int(np.flatnonzero(np.array(table["status"].to_pylist(), dtype=object) == "ok")[500])
    lists = table["top_ids"].to_pylist()
    lists[position] = None
    broken = table.set_column(row, "top_ids", pa.array(lists, pa.list_(pa.int32())))
    path = write(tmp_path / "in" / "p.parquet", broken, 64)
    name = table["sample_id"][position].as_py()
    with pytest.raises(sl.TableError, match=f"sample '{name}' has the status 'ok' but no id in top_ids"):
        relabel_table(path, tmp_path / "out" / "r", SPL, threads=threads)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_label_outside_its_vocabulary_is_placed(table, tmp_path):
    lists = [[7] if index == 300 else [0] for index in range(len(table))]
    broken = table.set_column(2, "top_ids", pa.array(lists, pa.list_(pa.int32())))
    broken = broken.set_column(4, "status", pa.array(["ok"] * len(table)))
    with pytest.raises(sl.LabelError, match=r"p.parquet: rows from 0 on: teacher label 7 at position 300 "):
        relabel_table(write(tmp_path / "p.parquet", broken), tmp_path / "r", SPL)


def test_probabilities_that_are_missing_are_named_where_they_are_needed(table, tmp_path):
    without = table.set_column(3, "top_probs", pa.nulls(len(table), pa.list_(pa.float32())))
    path = write(tmp_path / "p.parquet", without)
    relabel_table(path, tmp_path / "r", SPL)
    with pytest.raises(
        sl.TableError, match=r"sample 'video_.*' has [123] classes in top_ids and 0 probabilities"
    ):
        relabel_table(path, tmp_path / "r", ConfidentSPL())


@pytest.mark.parametrize("strategy", [ConfidentSPL(), TopKSPL()], ids=lambda strategy: strategy.kind)
def test_a_missing_column_of_probabilities_is_named_where_it_is_needed(strategy, table, tmp_path):
    path = write(tmp_path / "p.parquet", table.drop_columns(["top_probs"]))
    relabel_table(path, tmp_path / "r", SPL)
    with pytest.raises(sl.TableError, match="p.parquet has no column top_probs, .*choose a strategy"):
        relabel_table(path, tmp_path / "r2", strategy)
    with pytest.raises(sl.TableError, match="p.parquet has no column top_probs"):
        count_table(path, strategy.counting)
    assert not (tmp_path / "r2").exists()


@pytest.mark.parametrize("statistics", [True, False])
def test_a_missing_sample_id_is_refused_before_anything_is_written(statistics, table, tmp_path):
    ids = table["sample_id"].to_pylist()
    ids[700] = None
    broken = table.set_column(0, "sample_id", pa.array(ids, pa.string()))
    path = write(tmp_path / "in" / "p.parquet", broken, 64, write_statistics=statistics)
    with pytest.raises(sl.TableError, match="p.parquet has a row without sample_id"):
        relabel_table(path, tmp_path / "out" / "r", SPL)
    assert not (tmp_path / "out").exists()


def test_a_table_without_rows_stays_one(table, tmp_path):
    path = write(tmp_path / "p.parquet", table.slice(0, 0))
    summary = relabel_table(path, tmp_path / "r", sl.RawSPL())
    assert summary.statuses == {}
    assert str(summary) == "0 samples: 0 kept in 0 classes"
    assert len(read_relabeled(tmp_path / "r").targets) == 0


def test_weak_labels_of_several_dictionaries_read_alike(table, tmp_path):
    whole = write(tmp_path / "a" / "p.parquet", table, 100)
    plain = write(tmp_path / "b" / "p.parquet", table, 100, use_dictionary=False)
    for name, path in (("a", whole), ("b", plain)):
        relabel_table(path, tmp_path / f"{name}.parquet", SPL)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.fixture
def links(predictions, table, tmp_path):
    """Predictions as a file, as a folder, and by links."""
    shard = write(tmp_path / "shards" / "part-00000.parquet", table)
    (tmp_path / "linked").mkdir()
    for link, target in (
        (tmp_path / "file.parquet", predictions),
        (tmp_path / "folder", shard.parent),
        (tmp_path / "linked" / "part-00000.parquet", shard),
    ):
        link.symlink_to(target)
    return tmp_path


@pytest.mark.parametrize(
    ("source", "out", "message"),
    [
        ("in/p.parquet", "in/p.parquet", "would be lost"),
        ("in/p.parquet", "shards/../in/p.parquet", "would be lost"),
        ("in/p.parquet", "file.parquet", "would be lost"),
        ("file.parquet", "in/p.parquet", "would be lost"),
        ("shards", "shards/part-00000.parquet", "would be lost"),
        ("linked", "shards/part-00000.parquet", "would be lost"),
        ("shards", "shards/relabeled.parquet", "read as a shard"),
        ("shards", "folder/relabeled.parquet", "read as a shard"),
        ("folder", "shards/relabeled.parquet", "read as a shard"),
        ("in/p.parquet", "shards", "is a folder; name a file in it"),
        ("in/p.parquet", "s3://bucket/r.parquet", "expected a local path"),
        ("in/p.parquet", "r.csv", r"written as Parquet; name it r\.parquet"),
    ],
)
@pytest.mark.parametrize("select", [False, True])
def test_predictions_are_neither_overwritten_nor_joined_by_what_is_made_of_them(
    select, source, out, message, links, monkeypatch
):
    monkeypatch.chdir(links)
    before = {path: path.read_bytes() for path in links.rglob("*") if path.is_file()}
    with pytest.raises(sl.ConfigError, match=f"cannot write to .*{message}"):
        if select:
            select_predictions(links / source, out, pa.array(["a"]))
        else:
            relabel_table(links / source, out, SPL, progress=Interrupt("count", AssertionError))
    assert {path: path.read_bytes() for path in links.rglob("*") if path.is_file()} == before


def test_sample_ids_that_are_lists_are_refused(table, tmp_path):
    lists = pa.array([[sample_id] for sample_id in table["sample_id"].to_pylist()])
    path = write(tmp_path / "p.parquet", table.set_column(0, "sample_id", lists))
    with pytest.raises(
        sl.TableError, match=r"p.parquet: the column 'sample_id' is list<.*>, expected string"
    ):
        relabel_table(path, tmp_path / "r", SPL)


def test_threads_are_one_or_more(predictions, tmp_path):
    with pytest.raises(sl.ConfigError, match="threads is 0; expected 1 or more"):
        relabel_table(predictions, tmp_path / "r", SPL, threads=0)


@pytest.mark.skipif(os.name != "posix", reason="no locks")
def test_only_abandoned_files_of_ours_are_removed(tmp_path):
    path = tmp_path / "r.parquet"
    kept = [
        tmp_path / name for name in (".r.parquet.backup", ".r.parquet.12345678", "r.parquet.abcdefgh.partial")
    ]
    for file in kept:
        file.touch()
    other, held = create_partial(tmp_path / "other.parquet")
    held.close()
    partial, hold = create_partial(path)
    remove_abandoned(path)
    assert partial.exists()
    hold.close()
    remove_abandoned(path)
    assert sorted(tmp_path.iterdir()) == sorted([*kept, other])


def test_the_space_is_read_without_the_rows(predictions, tmp_path):
    relabel_table(predictions, tmp_path / "out.parquet", SPL)
    space = read_label_space(tmp_path / "out.parquet")
    assert space.fingerprint == read_relabeled(tmp_path / "out.parquet").space.fingerprint
    assert space.strategy == SPL.to_dict()
    with pytest.raises(TableError, match="is not a relabeled table"):
        read_label_space(predictions)
