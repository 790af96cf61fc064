from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sublabel as sl
from sublabel.cli import main
from sublabel.labels import ConfidentSPL, TopKSPL
from sublabel.tables import (
    PREDICTIONS_SCHEMA,
    count_pairs,
    iter_pairs,
    precomputed,
    read_predictions_metadata,
    read_relabeled,
    relabel_table,
    write_predictions,
)

WEAK, TEACHER = sl.Vocabulary(["baking", "abseiling"]), sl.Vocabulary(["abseiling", "baking", "eggs"])
ROWS = {
    "sample_ids": ["a", "b", "c"],
    "weak_labels": ["baking", "abseiling", None],
    "top_ids": [[1, 2], [0, 1], [2, -1]],
    "top_probs": [[0.75, 0.25], [0.5, 0.25], [1.0, 0.0]],
    "weak_vocabulary": WEAK,
    "teacher_vocabulary": TEACHER,
}


def written(path, **changes):
    write_predictions(path / "p.parquet", **ROWS | changes)
    return pq.read_table(path / "p.parquet")


@pytest.mark.parametrize(
    ("weak", "ids", "tops"),
    [
        (["baking", "abseiling", None], ["a", "b", "c"], np.array),
        ([0, 1, -1], ("a", "b", "c"), torch.tensor),
        ([0, 1, None], np.array(["a", "b", "c"]), list),
        (np.array([0, 1, -1], np.int8), pa.array(["a", "b", "c"], pa.large_string()), torch.tensor),
        (torch.tensor([0, 1, -1]), np.array(["a", "b", "c"], object), tuple),
        (np.array(["baking", "abseiling", np.nan], object), pa.chunked_array([["a"], ["b", "c"]]), list),
        (pa.array(["baking", "abseiling", None]).dictionary_encode(), ["a", "b", "c"], list),
    ],
)
def test_whatever_holds_the_arrays_the_table_is_the_same(weak, ids, tops, tmp_path):
    top_ids, top_probs = tops(ROWS["top_ids"]), tops(ROWS["top_probs"])
    table = written(tmp_path, sample_ids=ids, weak_labels=weak, top_ids=top_ids, top_probs=top_probs)
    assert table.schema.equals(PREDICTIONS_SCHEMA)
    assert table.to_pydict() == {
        "sample_id": ["a", "b", "c"],
        "weak_label": ["baking", "abseiling", None],
        "top_ids": [[1, 2], [0, 1], [2]],
        "top_probs": [[0.75, 0.25], [0.5, 0.25], [1.0]],
        "status": ["ok", "ok", "ok"],
    }


def test_one_class_a_sample_needs_no_probabilities(tmp_path):
    table = written(tmp_path, sample_ids=[7, 8, 9], top_ids=np.array([2, -1, 0], np.int8), top_probs=None)
    assert table["sample_id"].to_pylist() == ["7", "8", "9"]
    assert table["top_ids"].to_pylist() == [[2], None, [0]]
    assert table["top_probs"].to_pylist() == [None, None, None]
    assert table["status"].to_pylist() == ["ok", "no prediction", "ok"]


def test_what_failed_has_no_prediction_whatever_stands_in_the_arrays(tmp_path):
    table = written(tmp_path, status=["ok", "unreadable: cut off", "ok"])
    assert table["top_ids"].to_pylist() == [[1, 2], None, [2]]
    assert table["top_probs"].to_pylist() == [[0.75, 0.25], None, [1.0]]
    assert next(iter_pairs(tmp_path / "p.parquet")).teacher.tolist() == [1, -1, 2]


def test_the_metadata_say_whose_they_are(tmp_path):
    written(tmp_path, teacher="resnet50-v2")
    metadata = read_predictions_metadata(tmp_path / "p.parquet")
    assert (metadata.weak_vocabulary, metadata.teacher_vocabulary) == (WEAK, TEACHER)
    assert metadata.teacher_fingerprint == "resnet50-v2"
    same = written(tmp_path, weak_vocabulary=["baking", "abseiling", "eggs"], teacher_vocabulary=None)
    assert json.loads(same.schema.metadata[b"sublabel.teacher_vocabulary"]) == ["baking", "abseiling", "eggs"]


@pytest.mark.parametrize("rows_at_once", [7, 1 << 20])
@pytest.mark.parametrize(
    "strategy", [sl.RawSPL(), ConfidentSPL(), TopKSPL(k=2)], ids=lambda entry: entry.kind
)
def test_relabeling_it_equals_relabel_on_the_arrays(strategy, rows_at_once, tmp_path, monkeypatch):
    monkeypatch.setattr(precomputed, "ROWS_AT_ONCE", rows_at_once)
    generator = np.random.default_rng(0)
    weak = generator.integers(-1, 2, 200)
    ids = np.argsort(generator.random((200, 3)), axis=1)
    probs = np.sort(generator.dirichlet(np.ones(3), 200).astype(np.float32))[:, ::-1]
    ids[::9], ids[1::9, 2] = -1, -1
    write_predictions(
        tmp_path / "p.parquet",
        np.arange(200),
        weak,
        ids,
        probs,
        weak_vocabulary=WEAK,
        teacher_vocabulary=TEACHER,
    )
    relabel_table(tmp_path / "p.parquet", tmp_path / "r.parquet", strategy)
    expected = sl.relabel(
        weak,
        ids,
        strategy=strategy,
        weak_vocabulary=WEAK,
        teacher_vocabulary=TEACHER,
        probabilities=np.where(ids < 0, 0, probs),
    )
    found = read_relabeled(tmp_path / "r.parquet")
    assert found.space == expected.space
    assert (found.labels == expected.labels).all()


def test_the_commands_read_it(tmp_path, capsys):
    written(tmp_path)
    path = str(tmp_path / "p.parquet")
    for command in (
        ["inspect", path],
        ["relabel", path, "-o", str(tmp_path / "r.parquet")],
        ["report", path, "-o", str(tmp_path / "report.html")],
    ):
        assert main(command) == 0, capsys.readouterr().err


@given(st.lists(st.tuples(st.integers(-1, 1), st.integers(-1, 2)), max_size=12), st.booleans())
def test_pairs_come_back(tmp_path_factory, pairs, as_names):
    path = tmp_path_factory.mktemp("pairs") / "p.parquet"
    weak, teacher = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    names = [None if label < 0 else WEAK[label] for label in weak]
    write_predictions(
        path,
        list(range(len(pairs))),
        names if as_names else weak,
        teacher,
        weak_vocabulary=WEAK,
        teacher_vocabulary=TEACHER,
    )
    chunks = list(iter_pairs(path))
    assert [label for chunk in chunks for label in chunk.weak.tolist()] == weak
    assert [label for chunk in chunks for label in chunk.teacher.tolist()] == teacher


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample_ids": "abc"}, "sample_ids are not one string or integer .*: got the one string 'abc'"),
        ({"sample_ids": [0.5, 1.0, 2.0]}, "sample_ids are of type double; expected strings or integers"),
        ({"sample_ids": ["a", None, "c"]}, "sample_ids hold 1 nulls"),
        ({"sample_ids": ["a", "b", "b"]}, "sample_ids hold 'b' 2 times"),
        ({"sample_ids": ["a", "b"]}, "got 2 sample_ids and 3 weak_labels"),
        ({"weak_labels": ["baking", 1, None]}, "weak_labels are not one string or integer"),
        ({"weak_labels": [0.0, 1.0, np.nan]}, "weak_labels are of type double"),
        ({"weak_labels": ["baking", "bakin", None]}, "weak label of sample 'b' is 'bakin'; expected a name"),
        ({"weak_labels": ["baking", "", None]}, "weak label of sample 'b' is ''"),
        ({"weak_labels": [0, 2, -1]}, "weak label of sample 'b' is 2; .* an integer from 0 to 1"),
        ({"weak_labels": [0, -2, -1]}, "weak label of sample 'b' is -2"),
        ({"top_ids": [1, 0, 2]}, r"top_ids have shape \(3,\) and top_probs \(3, 2\)"),
        ({"top_ids": [[1, 2], [0, 1]]}, r"top_ids have shape \(2, 2\) for 3 samples"),
        ({"top_ids": [[1, 2], [0, 1], [2]]}, "top_ids are no array .*fill up with -1"),
        ({"top_ids": [[[1]], [[2]], [[0]]]}, r"top_ids have shape \(3, 1, 1\)"),
        ({"top_ids": ROWS["top_probs"]}, "top_ids have dtype float64; expected integers"),
        ({"top_ids": [[1, 2], [0, 3], [2, -1]]}, "top_ids of sample 'b' are 0, 3; expected 0–2"),
        ({"top_ids": [[1, 2], [-2, 1], [2, -1]]}, "top_ids of sample 'b' are -2, 1; expected 0–2"),
        ({"top_ids": [[1, 2], [-1, 1], [2, -1]]}, "top_ids of sample 'b' are -1, 1; expected -1 after"),
        ({"top_ids": [[1, 2], [1, 1], [2, -1]]}, "top_ids of sample 'b' are 1, 1; expected each class once"),
        ({"top_probs": [[0.7, 0.2], [0.2, 0.7], [1, 0]]}, "'b' are 0.2, 0.7; expected the most probable"),
        ({"top_probs": [[0.7, 0.2], [3.0, 1.0], [1, 0]]}, "'b' are 3.0, 1.0; expected 0–1; of logits"),
        ({"top_probs": [[0.7, 0.2], [np.nan, 0], [1, 0]]}, "'b' are nan, 0.0; expected 0–1"),
        ({"top_probs": [[0.7, 0.2], [0.9, 0.8], [1, 0]]}, "'b' are 0.9, 0.8; expected a sum of at most 1"),
        ({"top_probs": [["x", "y"]] * 3}, "top_probs have dtype <U1; expected floats"),
        ({"status": ["ok", "ok"]}, "got 3 sample_ids and 2 statuses"),
        ({"status": ["ok", None, "ok"]}, "status holds nulls"),
        ({"top_ids": [[1, 2], [-1, -1], [2, -1]], "status": ["ok"] * 3}, "'b' has the status 'ok' but no"),
        ({"teacher_vocabulary": ["a", "a"]}, "stands at positions 0 and 1"),
    ],
)
def test_arrays_that_do_not_fit_are_named_and_leave_nothing(changes, message, tmp_path):
    with pytest.raises((sl.TableError, sl.LabelError), match=message):
        written(tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


def test_a_table_without_samples_is_one(tmp_path):
    empty = {name: [] for name in ("sample_ids", "weak_labels", "top_ids", "top_probs")}
    assert len(written(tmp_path, **empty)) == 0
    assert count_pairs(tmp_path / "p.parquet").total == 0


def test_the_arrays_are_not_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(precomputed, "ROWS_AT_ONCE", 4096)
    ids, probs = np.tile(np.arange(100), (50_000, 1)), np.full((50_000, 100), 0.01)
    samples = np.arange(50_000)
    tracemalloc.start()
    write_predictions(tmp_path / "p.parquet", samples, samples % 100, ids, probs, weak_vocabulary=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < ids.nbytes / 2


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl"])
def test_text_files_are_told_how_to_become_predictions(name, tmp_path):
    (tmp_path / name).write_text("sample_id,weak_label\na,baking\n", encoding="utf-8")
    with pytest.raises(sl.TableError, match=f"{name} is a text file.*sublabel.tables.write_predictions"):
        count_pairs(tmp_path / name)


def test_parquet_of_others_is_told_how_to_become_predictions(tmp_path):
    pq.write_table(pa.table({"sample_id": ["a"]}), tmp_path / "p.parquet")
    with pytest.raises(sl.TableError, match=r"p.parquet is not a predictions table.*write_predictions"):
        count_pairs(tmp_path / "p.parquet")
