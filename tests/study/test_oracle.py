from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sublabel as sl
from sublabel.errors import TableError
from sublabel.study import ORACLE, StudyFolder, StudyOptions, plan_study
from sublabel.tables import read_relabeled
from tests.study.conftest import FAST, ONE_ROW, as_files, study, with_sources

OTHER = "diagonals"
"""A class outside the target vocabulary."""


def with_truth(manifest, path, unknown=0):
    """The same samples; of the weak ones the true class is known, every fourth a class outside the target."""
    table = pq.read_table(manifest)
    rows = table.to_pylist()
    for number, row in enumerate(rows):
        if row["split"] == "weak":
            row["true_label"] = row["label"] if number % 4 else OTHER
            row["label"] = None
            if number < unknown:
                row["true_label"] = None
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def truth_of(path):
    rows = pq.read_table(path).to_pylist()
    return {row["sample_id"]: row.get("true_label") for row in rows if row["split"] == "weak"}


@pytest.fixture(scope="module")
def known(manifest, tmp_path_factory):
    return with_truth(manifest, tmp_path_factory.mktemp("truth") / "m.parquet", unknown=3)


def test_the_oracle_is_pretrained_on_the_true_classes(known, tmp_path):
    made = study(known, tmp_path, **ONE_ROW, oracle=True, seeds=2, alignment={"rows": "columns"})
    plan = [stage.name for stage in plan_study(made).stages]
    assert plan.count("seed0/oracle/pretrained") == plan.count("seed1/oracle/finetuned") == 1
    comparison = made.run()
    assert comparison.names() == ["none (scratch)", "weak-only", ORACLE]
    truth = truth_of(known)
    for seed in (0, 1):
        table = read_relabeled(tmp_path / f"seed{seed}" / "oracle" / "relabeled.parquet")
        names = [table.space.names[label] if label >= 0 else None for label in table.targets.labels]
        assert dict(zip(table.sample_ids.to_pylist(), names, strict=True)) == truth
        assert sorted(table.space.names) == ["columns", "diagonals", "plain", "rows"]
    statuses = pq.read_table(tmp_path / "seed0/oracle/relabeled.parquet")["status"].to_pylist()
    assert statuses.count("no prediction: no true label") == 3
    run = comparison.runs_of(ORACLE)[0]
    assert (run.classes, run.samples, run.pool) == (4, 117, 120)
    # A class that only the truth knows is none of the target's.
    assert OTHER not in made.classes.target


def test_the_oracle_can_join_a_finished_study_and_a_second_run_changes_nothing(known, tmp_path):
    before = study(known, tmp_path, **ONE_ROW).run()
    after = study(known, tmp_path, **ONE_ROW, oracle=True).run()
    assert [run for run in after.runs if run.row != ORACLE] == list(before.runs)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "seed0").rglob("*") if path.is_file()}
    assert study(known, tmp_path, **ONE_ROW, oracle=True).run() == after
    assert {path: path.stat().st_mtime_ns for path in files} == files
    folder = StudyFolder.open(tmp_path)
    assert folder.predictions("seed0/oracle/pretrained") == tmp_path / "seed0/oracle/predictions.parquet"


def test_the_oracle_has_no_point_in_the_curve(known, tmp_path):
    source = with_sources(known, tmp_path / "m.parquet")
    options = {"curve": ("weak-only",), "clips_per_video": (1,)}
    rows = study(source, tmp_path / "out", **ONE_ROW, oracle=True, **options).rows()[1]
    assert [(row.strategy, row.clips_per_video) for row in rows] == [
        ("weak-only", None), (ORACLE, None), ("weak-only", 1),
    ]  # fmt: skip


def test_what_the_teacher_cannot_read_the_oracle_does_not_train_on(known, tmp_path):
    broken = as_files(known, tmp_path / "files", 7)
    study(broken, tmp_path / "out", **ONE_ROW, oracle=True).run()
    rows = pq.read_table(tmp_path / "out/seed0/oracle/relabeled.parquet").to_pylist()
    status = {row["sample_id"]: row["status"] for row in rows}
    assert status["s7"].startswith("no prediction: ")
    assert "no true label" not in status["s7"]
    assert status["s8"] == "kept"


def test_a_manifest_that_does_not_know_the_truth_is_refused_at_once(manifest, tmp_path):
    with pytest.raises(TableError, match="no column true_label"):
        study(manifest, tmp_path, **ONE_ROW, oracle=True)
    assert not list(tmp_path.iterdir())


def test_no_strategy_can_be_taken_for_the_oracle():
    with pytest.raises(ValueError, match="a strategy is named 'oracle'.*another name"):
        StudyOptions(**FAST, strategies={"weak-only": sl.WeakOnly(), "oracle": sl.RawSPL()})
