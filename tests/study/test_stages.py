"""The stages of a study by hand, a method of a user's own, and options that may change."""

from __future__ import annotations

import json

import pytest

import sublabel as sl
from sublabel.errors import ConfigError
from sublabel.options import ProbeOptions, RunOptions, TeacherOptions, TrainOptions
from sublabel.study import Row, StudyOptions, train_row
from sublabel.training import load_model, read_card
from tests.study.conftest import FAST, ONE_ROW, study, with_sources

CHOSEN = {"strategies": {"weak-only": sl.WeakOnly(), "SPL-B": sl.SPLB()}}


def from_scratch(study, row):
    """A method of a user's own: the labels are made and never pre-trained on."""
    if row.strategy is not None:
        study.relabel(row)
    return study.test(row, study.finetune(row, None))


def test_rows_are_the_table_then_the_curve_and_both_seed_by_seed(manifest, tmp_path):
    source = with_sources(manifest, tmp_path / "m.parquet")
    options = {**CHOSEN, "seeds": 2, "clips_per_video": (1, 2), "curve": ("SPL-B",)}
    first, others = study(source, tmp_path / "out", **options).rows()
    assert first == [Row(None, 0), Row(None, 1)]
    assert others == [
        Row("weak-only", 0), Row("SPL-B", 0), Row("weak-only", 1), Row("SPL-B", 1),
        Row("SPL-B", 0, 1), Row("SPL-B", 0, 2), Row("SPL-B", 1, 1), Row("SPL-B", 1, 2),
    ]  # fmt: skip


def test_the_stages_by_hand_are_what_a_run_does(finished, manifest, tmp_path):
    made = study(manifest, tmp_path, **CHOSEN)
    first, row = Row(None, 0), Row("SPL-B", 0)
    teacher = made.finetune(first, None)
    metrics = [made.test(first, teacher)]
    assert made.predict(0) == tmp_path / "seed0" / "predictions"
    labels = made.relabel(row)
    pretrained = made.pretrain(row, labels)
    assert load_model(pretrained).card.classes == labels.space.names
    tuned = made.finetune(row, pretrained)
    tensors = len(load_model(tuned).classifier.backbone.state_dict())
    said = f"{tensors} tensors loaded, head dropped (2 tensors)"
    assert read_card(tuned).made_by["warm_start"] == said
    assert read_card(teacher).made_by["warm_start"] is None
    metrics.append(made.test(row, tuned))
    expected = {run.strategy: run for run in finished[1].runs}
    assert metrics == [expected[None], expected["SPL-B"]]
    # A run goes on from there.
    assert {run.strategy: run for run in made.run().runs} == {
        name: expected[name] for name in (None, "weak-only", "SPL-B")
    }


@pytest.mark.parametrize("stage", ["finetune", "predict"])
def test_a_stage_by_hand_claims_the_folder_too(manifest, tmp_path, stage):
    made = study(manifest, tmp_path, **ONE_ROW)
    made.finetune(Row(None, 0), None)
    if stage == "predict":
        made.predict(0)
    with pytest.raises(ConfigError, match="was made with another finetune.epochs"):
        study(manifest, tmp_path, **ONE_ROW, finetune=TrainOptions(epochs=3))


def test_the_first_row_has_nothing_to_relabel(manifest, tmp_path):
    with pytest.raises(ConfigError, match="the row without weak pre-training has no strategy"):
        study(manifest, tmp_path, **ONE_ROW).relabel(Row(None, 0))


def test_the_log_of_a_training_lies_beside_its_model(finished):
    folder = finished[0] / "seed0" / "spl_b"
    entries = {
        stage: [json.loads(line) for line in (folder / stage / "training.jsonl").read_text().splitlines()]
        for stage in ("pretrained", "finetuned")
    }
    assert [(entry["epoch"], entry["step"]) for entry in entries["pretrained"]] == [(0, 7)]
    assert [entry["epoch"] for entry in entries["finetuned"]] == [0, 1, 2, 3]
    losses = [entry["train/loss"] for entry in entries["finetuned"]]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_method_of_ones_own_makes_the_rows(manifest, tmp_path, jobs):
    comparison = study(manifest, tmp_path, **CHOSEN, jobs=jobs).run(from_scratch)
    # All rows of a seed begin with the same backbone.
    assert len({tuple(run.metrics.items()) for run in comparison.runs}) == 1
    assert [run.strategy for run in comparison.runs] == [None, "weak-only", "SPL-B"]
    assert [run.steps for run in comparison.runs] == [None] * 3
    assert not list(tmp_path.rglob("pretrained"))


def test_the_papers_method_is_the_default(finished, manifest):
    out, comparison = finished
    assert study(manifest, out).run(train_row) == comparison


def test_metrics_of_the_options_are_columns_of_the_table(manifest, tmp_path):
    options = {**ONE_ROW, "metrics": ("top1", "top2", "MulticlassF1Score")}
    comparison = study(manifest, tmp_path, **options).run()
    assert [list(run.metrics) for run in comparison.runs] == [["top1", "top2", "MulticlassF1Score"]] * 2
    assert all(run.metrics["top1"] <= run.metrics["top2"] <= 1 for run in comparison.runs)
    headings = comparison.table().headings
    assert [heading for heading in headings if "F1" in heading or "top-2" in heading]
    with pytest.raises(ConfigError, match="was made with another metrics"):
        study(manifest, tmp_path, **ONE_ROW)


def test_a_metric_that_does_not_exist_is_refused_before_anything_is_trained(manifest, tmp_path):
    with pytest.raises(ConfigError, match="there is no metric 'recall'"):
        study(manifest, tmp_path / "out", metrics=("top1", "recall"))
    with pytest.raises(ValueError, match="metrics must hold top1"):
        StudyOptions(**FAST, metrics=("top5",))


def test_options_of_a_training_reach_its_card(manifest, tmp_path):
    changes = {"momentum": 0.5, "warmup": 0.3, "gradient_clip": 1.0}
    made = study(manifest, tmp_path, **ONE_ROW, finetune=FAST["finetune"].model_copy(update=changes))
    training = read_card(made.finetune(Row(None, 0), None)).made_by["training"]
    assert training == {**FAST["finetune"].model_dump(mode="json"), **changes}


@pytest.mark.parametrize(
    "change",
    [
        {"num_workers": 1},
        {"cache_bytes": 0},
        {"checkpoints": True},
        {"leave_out_unreadable": True},
        {"decode_once": True},
        {"trainer": {"enable_progress_bar": False}},
        {"jobs": 2},
    ],
    ids=str,
)
def test_how_a_study_is_run_may_change_in_a_begun_folder(finished, manifest, change):
    out, comparison = finished
    assert change.keys() <= RunOptions.model_fields.keys()
    assert study(manifest, out, **change).run() == comparison


def test_no_option_says_both_what_is_made_and_how_it_is_run():
    assert not StudyOptions.model_fields.keys() & RunOptions.model_fields.keys()
    for options in (StudyOptions, RunOptions, TrainOptions, TeacherOptions, ProbeOptions):
        for name, field in options.model_fields.items():
            assert field.description or name in ("pretrain", "finetune", "teacher", "probe"), name
