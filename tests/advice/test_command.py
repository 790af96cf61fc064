"""`sublabel advise` on a manifest, predictions and features from files."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sublabel as sl
from sublabel.advice import advise, read_features
from sublabel.cli import main
from sublabel.tables import write_predictions
from tests.advice.planted import BRIEF, CLASSES, plant

ROWS = '{"raw SPL": {"kind": "raw_spl"}}'
OPTIONS = [text for name, value in BRIEF for text in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A manifest with 150 training and 50 validation samples, predictions, and features of all."""
    folder, planted = tmp_path_factory.mktemp("advice"), plant(weak_knows=0.0, teacher_knows=True)
    weak, clean = ([f"{kind}{row}" for row in range(n)] for kind, n in (("w", 1500), ("c", 200)))
    table = {
        "sample_id": clean,
        "uri": ["none"] * 200,
        "label": [CLASSES[label] for label in planted.labels],
        "split": ["target_train"] * 150 + ["target_val"] * 50,
    }
    pq.write_table(pa.table(table), folder / "manifest.parquet")
    pairs = sl.Pairs(
        planted.pairs.weak,
        planted.pairs.teacher,
        weak_vocabulary=list(CLASSES),
        teacher_vocabulary=list(CLASSES),
        sample_ids=weak,
    )
    write_predictions(folder / "predictions.parquet", pairs)
    # In another order than the predictions', and of some of them.
    order = np.random.default_rng(0).permutation(1500)[:1200]
    write_features(folder / "weak.parquet", [weak[row] for row in order], planted.weak[order])
    np.savez(folder / "clean.npz", sample_id=np.array(clean), features=planted.clean)
    return folder, planted, np.sort(order), pairs


def write_features(path, ids, values):
    lists = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    pq.write_table(pa.table({"sample_id": ids, "features": lists}), path)


def run(capsys, folder, *arguments, features=("weak.parquet", "clean.npz")):
    given = json.dumps([str(folder / name) for name in features])
    command = ["advise", str(folder / "manifest.parquet"), "--predictions"]
    command += [str(folder / "predictions.parquet"), "--features", given, "--strategies", ROWS]
    code = main([*command, *OPTIONS, *arguments])
    return code, *capsys.readouterr()


def test_the_command_says_what_the_function_says_of_the_joined_samples(files, capsys):
    folder, planted, rows, pairs = files
    code, out, _ = run(capsys, folder, "--json")
    assert code == 0
    expected = advise(
        pairs[rows],
        planted.weak[rows],
        planted.clean,
        planted.labels,
        unseen=np.arange(200) >= 150,
        strategies={"raw SPL": sl.RawSPL()},
        options=BRIEF,
    )
    assert json.loads(out) == json.loads(json.dumps(expected.to_dict()))
    assert (expected.tested, expected.facts.samples) == (50, 1200)


def test_without_unseen_samples_probes_stand_in_and_the_output_says_so(files, capsys):
    folder, *_ = files
    code, out, _ = run(capsys, folder, "--unseen", "none")
    assert code == 0
    assert "raw SPL" in out
    assert "stood in" in " ".join(out.split())


def test_stand_ins_that_see_what_the_teacher_sees_are_tested_on_all_clean_samples(files, capsys):
    folder, planted, *_ = files
    teacher = folder / "teacher.npz"
    ids = [f"w{row}" for row in range(1500)] + [f"c{row}" for row in range(200)]
    np.savez(teacher, sample_id=np.array(ids), features=np.concatenate(planted.teacher))
    code, out, _ = run(capsys, folder, "--json", "--teacher_features", str(teacher))
    found = json.loads(out)
    assert (code, found["tested"], found["stand_ins"]) == (0, 200, True)
    assert found["facts"]["probe_accuracy"] > 0.99


def test_predictions_with_features_are_a_table_of_features(tmp_path):
    features = np.float32([[0.5, 1], [np.nan, np.nan], [2, 3]])
    pairs = sl.Pairs(["a", "b", "a"], ["a", None, "b"], sample_ids=["x", "y", "z"], features=features)
    write_predictions(tmp_path / "p.parquet", pairs)
    table = read_features(tmp_path / "p.parquet")
    assert table.sample_ids.to_pylist() == ["x", "z"]
    assert np.array_equal(table.values, features[[0, 2]])
    assert table.positions(pa.array(["z", "y", "x"])).tolist() == [1, -1, 0]


def test_features_that_lack_samples_are_refused_with_one_of_them(files, capsys):
    folder, planted, *_ = files
    write_features(folder / "few.parquet", [f"c{row}" for row in range(199)], planted.clean[:199])
    code, _, err = run(capsys, folder, features=("weak.parquet", "few.parquet"))
    assert code != 0
    assert "1 of the 200 clean samples" in err
    assert "'c199'" in err
    code, _, err = run(capsys, folder, features=("clean.npz",))
    assert code != 0
    assert "none of the 1,500 weak samples" in err


def test_features_of_several_widths_or_of_a_sample_twice_are_refused(files, tmp_path):
    folder, *_ = files
    write_features(tmp_path / "narrow.parquet", ["c0"], np.zeros((1, 3), np.float32))
    with pytest.raises(sl.TableError, match=r"widths \[3, 24\]"):
        read_features(folder / "clean.npz", tmp_path / "narrow.parquet")
    with pytest.raises(sl.TableError, match="'c0' stands twice"):
        read_features(folder / "clean.npz", folder / "clean.npz")
    np.savez(tmp_path / "other.npz", features=np.zeros((2, 3)))
    with pytest.raises(sl.TableError, match="sample_id"):
        read_features(tmp_path / "other.npz")
    pq.write_table(pa.table({"sample_id": ["a"], "features": [1.0]}), tmp_path / "flat.parquet")
    with pytest.raises(sl.TableError, match="expected lists of floats"):
        read_features(tmp_path / "flat.parquet")
