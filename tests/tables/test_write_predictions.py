from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sublabel as sl
from sublabel.labels import ConfidentSPL, TopKSPL
from sublabel.tables import (
    PREDICTIONS_SCHEMA,
    count_table,
    iter_pairs,
    predictions,
    read_predictions_metadata,
    read_relabeled,
    relabel_table,
    write_predictions,
)

WEAK, TEACHER = sl.Vocabulary(["baking", "abseiling"]), sl.Vocabulary(["abseiling", "baking", "eggs"])
TOP_IDS = [[1, 2], [0, 1], [2, -1]]
TOP_PROBS = [[0.75, 0.25], [0.5, 0.25], [1.0, 0.0]]


def pairs(teacher=(TOP_IDS, TOP_PROBS), sample_ids=("a", "b", "c")):
    return sl.Pairs(
        ["baking", "abseiling", None],
        teacher,
        weak_vocabulary=WEAK,
        teacher_vocabulary=TEACHER,
        sample_ids=None if sample_ids is None else list(sample_ids),
    )


def written(path, taken=None, **options):
    write_predictions(path / "p.parquet", pairs() if taken is None else taken, **options)
    return pq.read_table(path / "p.parquet")


def test_the_table_holds_names_and_lists(tmp_path):
    table = written(tmp_path)
    assert table.schema.equals(PREDICTIONS_SCHEMA)
    assert table.to_pydict() == {
        "sample_id": ["a", "b", "c"],
        "weak_label": ["baking", "abseiling", None],
        "top_ids": [[1, 2], [0, 1], [2]],
        "top_probs": [[0.75, 0.25], [0.5, 0.25], [1.0]],
        "status": ["ok", "ok", "ok"],
    }


def test_one_class_a_sample_needs_no_probabilities(tmp_path):
    table = written(tmp_path, pairs(np.array([2, -1, 0], np.int8), [7, 8, 9]))
    assert table["sample_id"].to_pylist() == ["7", "8", "9"]
    assert table["top_ids"].to_pylist() == [[2], None, [0]]
    assert table["top_probs"].to_pylist() == [None, None, None]
    assert table["status"].to_pylist() == ["ok", "none given", "ok"]


@pytest.mark.parametrize("make", [list, np.array, pa.array, lambda values: pa.chunked_array([values])])
def test_what_failed_has_no_prediction_whatever_stands_in_the_pairs(make, tmp_path):
    table = written(tmp_path, status=make(["ok", "unreadable: cut off", "ok"]))
    assert table["top_ids"].to_pylist() == [[1, 2], None, [2]]
    assert table["top_probs"].to_pylist() == [[0.75, 0.25], None, [1.0]]
    assert table["status"].to_pylist() == ["ok", "unreadable: cut off", "ok"]
    assert next(iter_pairs(tmp_path / "p.parquet")).teacher.tolist() == [1, -1, 2]


def test_the_metadata_say_whose_they_are(tmp_path):
    table = written(tmp_path, teacher="resnet50-v2")
    metadata = read_predictions_metadata(tmp_path / "p.parquet")
    assert (metadata.weak_vocabulary, metadata.teacher_vocabulary) == (WEAK, TEACHER)
    assert metadata.teacher_fingerprint == "resnet50-v2"
    assert json.loads(table.schema.metadata[b"sublabel.teacher_vocabulary"]) == list(TEACHER)


@pytest.mark.parametrize("rows_at_once", [7, 1 << 20])
@pytest.mark.parametrize(
    "strategy", [sl.RawSPL(), ConfidentSPL(), TopKSPL(k=2)], ids=lambda entry: entry.kind
)
def test_relabeling_it_equals_relabel_on_the_pairs(strategy, rows_at_once, tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "ROWS_AT_ONCE", rows_at_once)
    generator = np.random.default_rng(0)
    ids = np.argsort(generator.random((200, 3)), axis=1)
    probs = np.sort(generator.dirichlet(np.ones(3), 200).astype(np.float32))[:, ::-1]
    ids[::9], ids[1::9, 2] = -1, -1
    taken = sl.Pairs(
        generator.integers(-1, 2, 200),
        (ids, probs),
        weak_vocabulary=WEAK,
        teacher_vocabulary=TEACHER,
        sample_ids=np.arange(200),
    )
    write_predictions(tmp_path / "p.parquet", taken)
    relabel_table(tmp_path / "p.parquet", tmp_path / "r.parquet", strategy)
    expected = sl.relabel(taken, strategy)
    found = read_relabeled(tmp_path / "r.parquet")
    assert found.space == expected.space
    assert (found.targets.torch() == expected.targets.torch()).all()


@given(st.lists(st.tuples(st.integers(-1, 1), st.integers(-1, 2)), max_size=12))
def test_pairs_come_back(tmp_path_factory, labels):
    path = tmp_path_factory.mktemp("pairs") / "p.parquet"
    weak, teacher = [pair[0] for pair in labels], [pair[1] for pair in labels]
    taken = sl.Pairs(
        weak,
        teacher,
        weak_vocabulary=WEAK,
        teacher_vocabulary=TEACHER,
        sample_ids=[str(row) for row in range(len(labels))],
    )
    write_predictions(path, taken)
    chunks = list(iter_pairs(path))
    assert [label for chunk in chunks for label in chunk.weak.tolist()] == weak
    assert [label for chunk in chunks for label in chunk.teacher.tolist()] == teacher
    assert [name for chunk in chunks for name in chunk.sample_ids] == list(map(str, range(len(labels))))


@pytest.mark.parametrize(
    ("taken", "status", "message"),
    [
        (pairs(sample_ids=None), None, "these 3 pairs have none: give Pairs its sample_ids"),
        (pairs(), ["ok", "ok"], "got 2 statuses, 0 of them null, for 3 pairs"),
        (pairs(), ["ok", None, "ok"], "got 3 statuses, 1 of them null"),
        (pairs(), "ok", "status is no list of strings|got 2 statuses"),
        (pairs(), [["ok"]] * 3, "status is no list of strings"),
        (pairs([0, -1, 1]), ["ok"] * 3, "sample 'b' has the status 'ok' but no prediction"),
    ],
)
def test_what_does_not_fit_is_named_and_leaves_nothing(taken, status, message, tmp_path):
    with pytest.raises(sl.TableError, match=message):
        written(tmp_path, taken, status=status)
    assert list(tmp_path.iterdir()) == []


def test_a_table_without_samples_is_one(tmp_path):
    empty = sl.Pairs([], [], weak_vocabulary=WEAK, teacher_vocabulary=TEACHER, sample_ids=[])
    assert len(written(tmp_path, empty)) == 0
    assert count_table(tmp_path / "p.parquet").total == 0


def test_the_arrays_are_not_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "ROWS_AT_ONCE", 4096)
    samples, classes = np.arange(50_000), np.tile(np.arange(100), (50_000, 1))
    taken = sl.Pairs(
        samples % 100, (classes, np.full((50_000, 100), 0.01)), weak_vocabulary=100, sample_ids=samples
    )
    tracemalloc.start()
    write_predictions(tmp_path / "p.parquet", taken)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < classes.nbytes / 2


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl"])
def test_text_files_are_told_how_to_become_predictions(name, tmp_path):
    (tmp_path / name).write_text("sample_id,weak_label\na,baking\n", encoding="utf-8")
    with pytest.raises(sl.TableError, match=f"{name} is a text file.*sublabel.tables.write_predictions"):
        count_table(tmp_path / name)


def test_parquet_of_others_is_told_how_to_become_predictions(tmp_path):
    pq.write_table(pa.table({"sample_id": ["a"]}), tmp_path / "p.parquet")
    with pytest.raises(sl.TableError, match=r"p.parquet is not a predictions table.*write_predictions"):
        count_table(tmp_path / "p.parquet")


def test_a_sample_is_not_written_twice(tmp_path):
    pairs = sl.Pairs(["a", "b"], ["a", "b"], sample_ids=["x", "y"])
    with pytest.raises(sl.LabelError, match="sample id 'x' stands at positions 0 and 1"):
        write_predictions(tmp_path / "p.parquet", pairs[[0, 0]])
    with pytest.raises(sl.LabelError, match="takes Pairs and got list"):
        write_predictions(tmp_path / "p.parquet", ["a"])
    assert not (tmp_path / "p.parquet").exists()
