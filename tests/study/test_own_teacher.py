"""A teacher with a backbone of its own, beside the model without weak pre-training."""

from __future__ import annotations

import json

import lightning as L
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError

import sublabel.study.teaching as teaching_module
from sublabel.errors import ConfigError
from sublabel.options import ProbeOptions, TeacherOptions, TrainOptions
from sublabel.study import Row, StudyFolder, StudyOptions, parse_preset, plan_study, train_row
from sublabel.tables import read_predictions_metadata
from sublabel.teacher import predict_manifest
from sublabel.training import load_model
from sublabel_image import ImageDomain
from tests.study.conftest import FAST, ONE_ROW, study
from tests.study.seeing import Seeing

PROBE = TeacherOptions(backbone="small_resnet7", image_size=16)
FINETUNED = TeacherOptions(backbone="small_resnet7", training="finetune", finetune=FAST["finetune"])


@pytest.fixture(scope="module")
def probed(manifest, tmp_path_factory):
    """A study of two seeds with a probe on an untrained backbone as teacher."""
    out = tmp_path_factory.mktemp("probed")
    return out, study(manifest, out, **ONE_ROW, teacher_options=PROBE, seeds=2).run()


def test_a_probe_is_trained_and_looks_once_for_all_seeds(probed):
    out, _ = probed
    assert {path.parent.relative_to(out).as_posix() for path in out.rglob("card.json")} >= {
        "teacher_model", "seed0/teacher", "seed1/teacher",
    }  # fmt: skip
    assert [path.relative_to(out).as_posix() for path in out.rglob("part-*.parquet")] == [
        "predictions/part-00000.parquet"
    ]


def test_the_probe_sees_inputs_of_its_own_size(probed, manifest):
    out, _ = probed
    model = load_model(out / "teacher_model")
    assert model.preprocessing.input_size == (3, 16, 16)
    assert load_model(out / "seed0" / "teacher").preprocessing.input_size == (3, 8, 8)


def test_its_model_predicts_the_same_outside_the_study(probed, manifest, tmp_path):
    out, _ = probed
    made, model = (
        study(manifest, out, **ONE_ROW, teacher_options=PROBE, seeds=2),
        load_model(out / "teacher_model"),
    )
    domain = ImageDomain(8)
    predict_manifest(
        made.manifest.filter(split="weak"),
        made.models.teacher(model),
        tmp_path,
        reader=domain,
        transform=domain.evaluation_transform(model.preprocessing),
    )
    assert pq.read_table(tmp_path).equals(pq.read_table(out / "predictions"))


def test_the_table_says_how_often_the_teacher_is_right(probed, manifest):
    out, comparison = probed
    model, domain = load_model(out / "teacher_model"), ImageDomain(8)
    rows = [row for row in pq.read_table(manifest).to_pylist() if row["split"] == "target_test"]
    transform = domain.evaluation_transform(model.preprocessing)
    with torch.inference_mode():
        logits = model.classifier(torch.stack([transform(domain.read(row)) for row in rows]))
    names = [model.card.classes[label] for label in logits.argmax(1)]
    share = np.mean([name == row["label"] for name, row in zip(names, rows, strict=True)])
    assert comparison.teacher_accuracy == {"target_test": (pytest.approx(share),)}
    assert f"the teacher is right on {share:.1%} of target_test" in comparison.notes()
    stored = json.loads((out / "teacher_accuracy.json").read_text(encoding="utf-8"))
    assert stored == {"target_test": share}


def test_the_default_teacher_is_measured_for_each_seed(finished):
    _, comparison = finished
    # Images have one view: what is tested and how the teacher looks are the same.
    assert comparison.teacher_accuracy["target_test"] == (
        pytest.approx(comparison.without_pretraining()[0].primary),
    )


def test_a_given_teacher_is_measured_and_looks_once_for_all_seeds(manifest, tmp_path):
    comparison = study(manifest, tmp_path, **ONE_ROW, teacher=Seeing(), seeds=2).run()
    assert comparison.teacher_accuracy == {"target_test": (1.0,)}
    assert not list(tmp_path.glob("seed*/predictions"))
    assert "the teacher is right on 100.0% of target_test" in (tmp_path / "comparison.md").read_text()


def with_val(manifest, path):
    """The same with half of the target set held out."""
    table = pq.read_table(manifest)
    splits = table["split"].to_pylist()
    held_out = [index for index, split in enumerate(splits) if split == "target_train"][::2]
    splits = ["target_val" if index in set(held_out) else split for index, split in enumerate(splits)]
    pq.write_table(table.set_column(table.column_names.index("split"), "split", pa.array(splits)), path)
    return path


def test_held_out_target_samples_choose_the_penalty_and_are_measured(manifest, tmp_path):
    source = with_val(manifest, tmp_path / "m.parquet")
    made = study(source, tmp_path / "out", **ONE_ROW, teacher_options=PROBE)
    made.predict(0)
    assert set(made.teaching.accuracy(0)) == {"target_test", "target_val"}
    model = load_model(tmp_path / "out" / "teacher_model")
    val = made.models.seen_by_teacher(made.media, model.preprocessing, "target_val")
    with torch.inference_mode():
        logits = model.classifier(torch.stack([val[index][0] for index in range(len(val))]))
        loss = torch.nn.functional.cross_entropy(
            logits, torch.tensor([val[index][1] for index in range(len(val))])
        )
    log = (tmp_path / "out" / "teacher_model" / "training.jsonl").read_text(encoding="utf-8").splitlines()
    least = min(json.loads(line)["val/loss"] for line in log)
    # Choosing does with a looser fit than the one that is kept; some precisions round.
    assert float(loss) == pytest.approx(least, abs=0.03)


def test_a_teacher_that_is_trained_as_a_whole_differs_between_seeds(manifest, tmp_path):
    made = study(manifest, tmp_path, **ONE_ROW, teacher_options=FINETUNED, seeds=2)
    for seed in (0, 1):
        assert made.predict(seed) == tmp_path / f"seed{seed}" / "predictions"
    prints = {
        read_predictions_metadata(tmp_path / f"seed{seed}" / "predictions").teacher_fingerprint
        for seed in (0, 1)
    }
    assert len(prints) == 2
    # No model of the first row was needed.
    assert not (tmp_path / "seed0" / "teacher").exists()


def test_killed_at_any_point_it_ends_with_the_same_bytes(probed, manifest, tmp_path, monkeypatch):
    out, comparison = probed
    for stage in ("probe", "predict_manifest", "predict"):

        def stop(*_, **__):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(teaching_module, stage, stop)
            with pytest.raises(KeyboardInterrupt):
                study(manifest, tmp_path, **ONE_ROW, teacher_options=PROBE, seeds=2).run()
    assert study(manifest, tmp_path, **ONE_ROW, teacher_options=PROBE, seeds=2).run() == comparison
    for name in ("teacher_model/model.safetensors", "predictions/part-00000.parquet"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()


def test_a_finished_one_trains_and_looks_no_more(probed, manifest, monkeypatch):
    out, comparison = probed
    for stage in ("probe", "predict"):
        monkeypatch.setattr(teaching_module, stage, lambda *_, **__: pytest.fail("again"))
    monkeypatch.setattr(L.Trainer, "fit", lambda *_, **__: pytest.fail("trained again"))
    assert study(manifest, out, **ONE_ROW, teacher_options=PROBE, seeds=2).run() == comparison


def test_another_teacher_is_not_mixed_into_the_folder(probed, manifest):
    for other in (TeacherOptions(), PROBE.model_copy(update={"image_size": 8})):
        with pytest.raises(ConfigError, match="was made with another teacher"):
            study(manifest, probed[0], **ONE_ROW, teacher_options=other)


def test_a_dry_run_counts_the_teacher(probed, manifest, tmp_path):
    plan = plan_study(study(manifest, tmp_path, **ONE_ROW, teacher_options=PROBE, seeds=2))
    stages = {stage.name: stage for stage in plan.stages}
    assert (stages["teacher_model"].samples, stages["predictions"].samples) == (40, 120)
    # Twice as large inputs on both sides cost four times as much.
    default = plan_study(study(manifest, tmp_path, **ONE_ROW))
    of_default = {stage.name: stage for stage in default.stages}["seed0/predictions"]
    assert stages["predictions"].flops == pytest.approx(4 * of_default.flops, rel=0.05)
    ended = plan_study(study(manifest, probed[0], **ONE_ROW, teacher_options=PROBE, seeds=2))
    assert all(stage.done for stage in ended.stages)
    finetuned = plan_study(study(manifest, tmp_path, **ONE_ROW, teacher_options=FINETUNED, seeds=2))
    names = [stage.name for stage in finetuned.stages]
    assert {"seed0/teacher_model", "seed1/teacher_model", "seed1/predictions"} <= set(names)


def test_the_predictions_of_a_model_are_found_above_it(probed):
    folder = StudyFolder.open(probed[0])
    assert folder.predictions("seed1/weak_only/pretrained") == probed[0].resolve() / "predictions"


def test_wrong_names_are_refused_before_anything_is_made(manifest, tmp_path):
    wrong = TrainOptions(augmentation="turn")
    for options, message in (
        (PROBE.model_copy(update={"backbone": "small_resnet77"}), "no model 'small_resnet77'"),
        (FINETUNED.model_copy(update={"finetune": wrong}), "no augmentation is called 'turn'"),
    ):
        with pytest.raises(ConfigError, match=message):
            study(manifest, tmp_path / "out", teacher_options=options)
    with pytest.raises(ConfigError, match="got a teacher and the teacher backbone 'small_resnet7'"):
        study(manifest, tmp_path / "out", teacher_options=PROBE, teacher=Seeing())
    with pytest.raises(ValidationError, match="options and no backbone: name one"):
        TeacherOptions(image_size=96)
    assert not (tmp_path / "out").exists()


def test_a_row_needs_no_teacher_of_its_own(probed, manifest):
    made = study(manifest, probed[0], **ONE_ROW, teacher_options=PROBE, seeds=2)
    assert train_row(made, Row(None, 0)) == probed[1].runs[0]


def test_a_command_line_sets_the_teacher_and_changes_that_of_a_preset():
    presets = {
        "plain": (StudyOptions(backbone="small_resnet7"),),
        "better": (StudyOptions(backbone="small_resnet7", teacher=PROBE),),
    }
    given = ["--teacher.backbone", "resnet18", "--teacher.weights", "w.safetensors"]
    _, [options] = parse_preset(presets, "", given)
    assert options.teacher == TeacherOptions(backbone="resnet18", weights="w.safetensors")
    changes = ["--preset", "better", "--teacher.weights", "w.safetensors", "--teacher.probe.folds", "3"]
    _, [options] = parse_preset(presets, "", changes)
    assert options.teacher == PROBE.model_copy(
        update={"weights": "w.safetensors", "probe": ProbeOptions(folds=3)}
    )
