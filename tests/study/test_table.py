from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sublabel as sl
import sublabel.study.study as study_module
from sublabel.errors import ConfigError, LabelError, TableError
from sublabel.evaluation import Comparison
from sublabel.options import TrainOptions
from sublabel.study import StudyOptions, default_strategies, plan_study, slug
from sublabel.tables import read_relabeled
from sublabel.training import FinetuneModule, load_model
from tests.study.conftest import FAST, ONE_ROW, study, with_sources


def test_the_table_has_every_row_in_the_papers_order(finished):
    _, comparison = finished
    assert comparison.names() == [
        "none (scratch)", "weak-only", "teacher-only", "agreement", "raw SPL", "SPL-B", "matched control",
    ]  # fmt: skip
    assert comparison.runs[0].strategy is None
    assert all(0 <= run.metrics["top1"] <= run.metrics["top5"] <= 1 for run in comparison.runs)
    assert comparison.runs[0].primary > 0.5


def test_counts_in_the_table_are_those_of_the_label_spaces(finished):
    out, comparison = finished
    by_row = {run.row: run for run in comparison.runs}
    for name in default_strategies():
        folder = out / "seed0" / slug(name)
        table = read_relabeled(folder / "relabeled.parquet")
        assert by_row[name].classes == table.space.num_classes
        assert by_row[name].samples == table.targets.keep.sum()
        loaded, card = load_model(folder / "pretrained")
        assert card.fingerprints["label_space"] == table.space.fingerprint
        assert card.classes == table.space.names
        assert loaded.head.weight.shape[0] == table.space.num_classes
    assert by_row["weak-only"].samples == by_row["raw SPL"].samples == 120 > by_row["agreement"].samples


def test_the_written_table_says_the_same(finished):
    out, comparison = finished
    stored = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    assert [run["metrics"] for run in stored["runs"]] == [run.metrics for run in comparison.runs]
    text = (out / "comparison.md").read_text(encoding="utf-8")
    # A row that learned little in these few steps has a mark.
    assert all(f"| {name} " in text for name in comparison.names())
    assert text.startswith(f"**{comparison.verdict().sentence}**")
    assert "one seed says nothing about the spread" in text
    assert Comparison.load(out) == comparison
    assert comparison.outcomes is not None
    assert comparison.controls == {"matched control": "raw SPL"}


def test_the_same_seed_gives_the_same_metrics(finished, manifest, tmp_path):
    chosen = {"weak-only": sl.WeakOnly(), "SPL-B": sl.SPLB()}
    again = study(manifest, tmp_path, strategies=chosen).run()
    first = {run.row: run for run in finished[1].runs}
    assert list(again.runs) == [first[run.row] for run in again.runs]


def test_jobs_at_the_same_time_change_nothing(finished, manifest, tmp_path):
    chosen = {"weak-only": sl.WeakOnly(), "SPL-B": sl.SPLB()}
    at_once = study(manifest, tmp_path, strategies=chosen, jobs=2).run()
    first = {run.row: run for run in finished[1].runs}
    assert list(at_once.runs) == [first[run.row] for run in at_once.runs]


def test_lightnings_arguments_are_passed_through(manifest, tmp_path):
    made = study(
        manifest, tmp_path, trainer={"devices": 1, "accelerator": "cpu", "precision": "64-true"}
    ).models.trainer()
    assert made.precision == "64-true"


def test_a_wrong_name_is_refused_before_anything_is_trained_or_claimed(manifest, tmp_path):
    with pytest.raises(ConfigError, match="no augmentation is called 'blur'"):
        study(manifest, tmp_path, finetune=TrainOptions(augmentation="blur"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("column", "message"), [("weak_label", "no column weak_label"), ("split", "no column split")]
)
def test_a_manifest_that_lacks_a_column_is_refused(manifest, tmp_path, column, message):
    pq.write_table(pq.read_table(manifest).drop_columns([column]), tmp_path / "m.parquet")
    with pytest.raises(TableError, match=message):
        study(tmp_path / "m.parquet", tmp_path / "out")


def test_a_manifest_without_a_test_split_is_refused(manifest, tmp_path):
    table = pq.read_table(manifest)
    pq.write_table(table.slice(0, 160), tmp_path / "m.parquet")
    with pytest.raises(TableError, match="no label in the split 'target_test'"):
        study(tmp_path / "m.parquet", tmp_path / "out")


@pytest.mark.parametrize(
    "trainer", [{"devices": 2}, {"devices": [0, 1]}, {"devices": "auto"}, {"num_nodes": 2}]
)
def test_several_jobs_train_on_one_device_each(manifest, tmp_path, trainer):
    with pytest.raises(ConfigError, match="jobs is 2 and the trainer asks for .*: choose 1 job, or 1 device"):
        study(manifest, tmp_path, jobs=2, trainer=trainer)
    assert not list(tmp_path.iterdir())


def test_several_jobs_do_not_take_all_devices(manifest, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("lightning.Trainer", lambda **options: asked.append(options))
    for jobs in (1, 2):
        study(manifest, tmp_path, jobs=jobs).models.trainer()
    study(manifest, tmp_path, jobs=2, trainer={"devices": [3]}).models.trainer()
    assert [options.get("devices") for options in asked] == [None, 1, [3]]


def test_the_curve_trains_on_more_and_more_of_the_same_samples(manifest, tmp_path):
    chosen = {"weak-only": sl.WeakOnly(), "SPL-B": sl.SPLB(), "agreement": sl.AgreementFilter()}
    source = with_sources(manifest, tmp_path / "m.parquet")
    options = {"strategies": chosen, "curve": ("weak-only", "SPL-B"), "clips_per_video": (1, 2)}
    comparison = study(source, tmp_path / "out", **options).run()
    curve = {(run.row, run.clips_per_video): run for run in comparison.runs if run.clips_per_video}
    assert set(curve) == {(row, clips) for row in ("weak-only", "SPL-B") for clips in (1, 2)}
    assert [curve["weak-only", clips].pool for clips in (1, 2)] == [40, 80]
    folders = [tmp_path / "out" / "seed0" / f"clips{clips}" / "spl_b" for clips in (1, 2)]
    kept = [set(read_relabeled(folder / "relabeled.parquet").sample_ids.to_pylist()) for folder in folders]
    assert kept[0] < kept[1]
    table = pq.read_table(source).to_pylist()
    page = {row["sample_id"]: row["source_id"] for row in table}
    assert len({page[sample_id] for sample_id in kept[0]}) == len(kept[0])
    headings, (pools, *rows) = comparison.curve()
    assert headings == ("clips per video", "1", "2", "all")
    assert pools == ("weak samples", "40", "80", "120")
    assert [row[0] for row in rows] == ["weak-only", "SPL-B"]
    assert "(" not in rows[0][1]
    assert rows[1][1].endswith(")")
    assert "Top-1 by clips per video" in (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")


def test_a_curve_needs_sources_and_known_strategies(manifest, tmp_path):
    with pytest.raises(TableError, match="no column source_id"):
        study(manifest, tmp_path / "out", clips_per_video=(1,))
    with pytest.raises(ValueError, match="the curve names 'SPL'; there are weak-only"):
        StudyOptions(**FAST, strategies={"weak-only": sl.WeakOnly()}, curve=("SPL",), clips_per_video=(1,))


def test_media_that_are_decoded_once_change_nothing(finished, manifest, tmp_path):
    chosen = {"weak-only": sl.WeakOnly(), "SPL-B": sl.SPLB()}
    decoded = study(manifest, tmp_path, strategies=chosen, decode_once=True, jobs=2).run()
    first = {run.row: run for run in finished[1].runs}
    assert list(decoded.runs) == [first[run.row] for run in decoded.runs]
    assert {path.parent.name for path in (tmp_path / "media").rglob("*.arrow")} == {
        "weak", "target_train", "target_test",
    }  # fmt: skip


def test_a_class_that_is_tested_but_not_trained_is_refused(manifest, tmp_path):
    table = pq.read_table(manifest)
    rows = [row for row in table.to_pylist() if (row["split"], row["label"]) != ("target_train", "rows")]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), tmp_path / "m.parquet")
    with pytest.raises(TableError, match="target_test has the class 'rows', and target_train has not"):
        study(tmp_path / "m.parquet", tmp_path / "out")


def test_a_strategy_that_drops_everything_is_refused_before_pretraining(manifest, tmp_path, monkeypatch):
    calls = []
    train = study_module.finetune
    monkeypatch.setattr(
        study_module,
        "finetune",
        lambda *args, **more: (calls.append(more["checkpoint"].parent.name), train(*args, **more))[1],
    )
    chosen = {"weak-only": sl.WeakOnly(), "all rare": sl.RawSPL(min_count=1000, rare="drop")}
    with pytest.raises(ConfigError, match="'all rare' drops all 120 weak samples.*sublabel inspect"):
        study(manifest, tmp_path, strategies=chosen).run()
    assert calls == ["teacher"]


def test_a_training_without_a_step_is_refused(manifest, tmp_path):
    with pytest.raises(ConfigError, match="made no step, with 40 samples in batches of 8 on 1 devices"):
        study(manifest, tmp_path, **ONE_ROW, trainer={"limit_train_batches": 0}).run()
    assert not (tmp_path / "seed0" / "teacher" / "card.json").exists()


def test_so_many_steps_are_trained_whatever_the_number_of_samples(manifest, tmp_path, monkeypatch):
    rates = []
    step = FinetuneModule.on_train_batch_end

    def watch(self, *arguments):
        rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        step(self, *arguments)

    chosen = {"weak-only": sl.WeakOnly(), "agreement": sl.AgreementFilter()}
    finetune = FAST["finetune"].model_copy(update={"steps": 7})
    pretrain = FAST["pretrain"].model_copy(update={"steps": 11})
    monkeypatch.setattr(FinetuneModule, "on_train_batch_end", watch)
    made = study(manifest, tmp_path, strategies=chosen, pretrain=pretrain, finetune=finetune)
    stages = {stage.name: stage for stage in plan_study(made).stages}
    assert [stages[f"seed0/weak_only/{stage}"].steps for stage in ("pretrained", "finetuned")] == [11, 7]
    comparison = made.run()
    assert [run.steps for run in comparison.runs] == [None, 11, 11]
    assert len(rates) == 3 * 7
    # The cosine ends with the last step.
    assert rates[6] < 0.1 * max(rates)
    assert not any("fewer steps" in note for note in comparison.notes())


def test_rows_on_fewer_samples_are_noted_to_have_fewer_steps(finished):
    out, comparison = finished
    steps = {run.row: run.steps for run in comparison.runs}
    assert (
        steps["weak-only"]
        == steps["raw SPL"]
        == 120 // 16
        > steps["agreement"]
        == 1 * (next(run.samples for run in comparison.runs if run.row == "agreement") // 16)
    )
    assert "the same epochs on fewer samples are fewer steps" in (out / "comparison.md").read_text()


def test_equal_names_agree_beside_those_that_are_listed(manifest, tmp_path):
    table = pq.read_table(manifest)
    names = [name and name.replace("rows", "lines") for name in table["weak_label"].to_pylist()]
    column = table.schema.get_field_index("weak_label")
    pq.write_table(table.set_column(column, "weak_label", pa.array(names)), tmp_path / "m.parquet")
    options = {"strategies": {"weak-only": sl.WeakOnly(), "agreement": sl.AgreementFilter()}}
    listed = {"lines": "rows", "plain": []}
    made = study(tmp_path / "m.parquet", tmp_path / "out", **options, alignment=listed)
    assert "; 2 weak classes agree with one" in plan_study(made).vocabularies
    made.run()
    space = read_relabeled(tmp_path / "out" / "seed0" / "agreement" / "relabeled.parquet").space
    assert space.names == ("columns", "lines")
    record = json.loads((tmp_path / "out" / "study.json").read_text())
    used = {"columns": "columns", "lines": "rows", "plain": []}
    assert record["options"]["alignment"] == record["same"]["alignment"] == used
    with pytest.raises(ConfigError, match="another alignment"):
        study(tmp_path / "m.parquet", tmp_path / "out", **options)
    with pytest.raises(LabelError, match="line"):
        study(tmp_path / "m.parquet", tmp_path / "other", **options, alignment={"line": "rows"})
