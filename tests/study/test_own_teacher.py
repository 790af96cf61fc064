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
from sublabel.labels import DenoisedSPL, WeakOnly
from sublabel.options import ProbeOptions, TeacherOptions, TrainOptions
from sublabel.study import Row, StudyFolder, StudyOptions, parse_preset, plan_study, train_row
from sublabel.tables import iter_pairs, read_predictions_metadata
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


def test_teachers_that_are_trained_at_the_same_time_say_the_same(manifest, tmp_path):
    options = {**ONE_ROW, "teacher_options": FINETUNED, "seeds": 2}
    alone, at_once = (study(manifest, tmp_path / f"{jobs}", **options, jobs=jobs).run() for jobs in (1, 2))
    assert alone == at_once
    for seed in (0, 1):
        said = [pq.read_table(tmp_path / f"{jobs}" / f"seed{seed}" / "predictions") for jobs in (1, 2)]
        assert said[0].equals(said[1])
    assert len(alone.teacher_accuracy["target_test"]) == 2


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
    val = made.teaching.seen("target_val", model.preprocessing)
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
    with pytest.raises(ValidationError, match="the teacher has image_size and no backbone: name one"):
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


SEEN = {"backbone": "small_resnet7", "training": "finetune", "finetune": FAST["finetune"]}


def inputs_of(made, split, preprocessing):
    """Every sample of a split by hand, uint8 (N, C, H, W), and its name."""
    domain, rows = ImageDomain(8), made.manifest.filter(split=split)
    rows = [row for batch in rows.batches() for row in batch.to_pylist()]
    transform = domain.evaluation_transform(preprocessing)
    return torch.stack([transform(domain.read(row)) for row in rows]), [row["label"] for row in rows]


@pytest.fixture(scope="module")
def whole(manifest, tmp_path_factory):
    """A calibrated ensemble of two, in all its views, that keeps what it saw."""
    folder = tmp_path_factory.mktemp("whole")
    source = with_val(manifest, folder / "m.parquet")
    options = TeacherOptions(**SEEN, members=2, views=True, calibrate=True, features=True)
    made = study(source, folder / "out", **ONE_ROW, teacher_options=options, precision="32-true")
    made.predict(0)
    return made


def test_members_and_views_are_averaged_and_calibrated(whole):
    models = [load_model(whole.out / "seed0" / "teacher_model" / str(member)) for member in (0, 1)]
    made_by = [model.card.made_by["seed"] for model in models]
    assert made_by[0] == 0 != made_by[1]
    stored = json.loads((whole.out / "seed0" / "teacher_temperature.json").read_text(encoding="utf-8"))
    pixels, _ = inputs_of(whole, "weak", models[0].preprocessing)
    with torch.inference_mode():
        expected = sum(
            (model.classifier(seen) / stored["temperature"]).softmax(1)
            for model in models
            for seen in (pixels, pixels.flip(-1))
        )
    [pairs] = iter_pairs(whole.out / "seed0" / "predictions", needs={"probabilities"})
    top = (expected / 4).topk(3)
    np.testing.assert_allclose(pairs.top_probs, top.values, atol=1e-5)
    assert (pairs.top_ids == top.indices.numpy()).mean() > 0.99


def test_the_temperature_makes_the_held_out_samples_likeliest(whole):
    models = [load_model(whole.out / "seed0" / "teacher_model" / str(member)) for member in (0, 1)]
    pixels, names = inputs_of(whole, "target_val", models[0].preprocessing)
    labels = torch.tensor([models[0].card.classes.index(name) for name in names])
    with torch.inference_mode():
        logits = [model.classifier(seen) for model in models for seen in (pixels, pixels.flip(-1))]

    def loss(temperature):
        means = sum((part / temperature).softmax(1) for part in logits) / 4
        return float(torch.nn.functional.nll_loss(means.log(), labels))

    stored = json.loads((whole.out / "seed0" / "teacher_temperature.json").read_text(encoding="utf-8"))
    assert stored["val/loss"] == pytest.approx(
        {"before": loss(1.0), "after": loss(stored["temperature"])}, abs=1e-4
    )
    assert loss(stored["temperature"]) <= min(map(loss, np.geomspace(0.05, 20, 200))) + 1e-4


def test_the_pass_keeps_what_the_first_member_saw(whole):
    model = load_model(whole.out / "seed0" / "teacher_model" / "0")
    for split, found in (
        ("weak", next(iter_pairs(whole.out / "seed0" / "predictions", needs={"features"})).features),
        ("target_val", whole.teaching.features(0, "target_val").features),
    ):
        pixels, names = inputs_of(whole, split, model.preprocessing)
        with torch.inference_mode():
            seen = (model.classifier.features(pixels) + model.classifier.features(pixels.flip(-1))) / 2
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, seen, atol=2e-3, rtol=2e-3)
        assert len(found) == len(names)
    labels = whole.teaching.features(0, "target_val").labels
    assert [whole.classes.target[label] for label in labels] == names


def test_what_looks_in_another_way_is_not_mixed(whole):
    source = whole.manifest_path
    for name in ("views", "calibrate", "features"):
        other = whole.options.teacher.model_copy(update={name: False})
        with pytest.raises(ConfigError, match=f"was made with another teacher.{name}"):
            study(source, whole.out, **ONE_ROW, teacher_options=other, precision="32-true")


def test_a_killed_ensemble_goes_on_and_ends_with_the_same_bytes(whole, tmp_path, monkeypatch):
    def again():
        return study(
            whole.manifest_path, tmp_path, **ONE_ROW, teacher_options=whole.options.teacher,
            precision="32-true",
        )  # fmt: skip

    trained, train = [], teaching_module.finetune

    def stop_at_the_second(*arguments, **more):
        trained.append(more["checkpoint"].parent.name)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return train(*arguments, **more)

    monkeypatch.setattr(teaching_module, "finetune", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        again().predict(0)
    with monkeypatch.context() as patched:
        patched.setattr(teaching_module, "fit_temperature", lambda *_: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            again().predict(0)
    again().predict(0)
    assert trained == ["0", "1", "1"]
    for name in ("predictions/part-00000.parquet", "teacher_temperature.json"):
        assert (tmp_path / "seed0" / name).read_bytes() == (whole.out / "seed0" / name).read_bytes()


def test_the_model_without_weak_pretraining_may_look_so_too(manifest, tmp_path):
    source = with_val(manifest, tmp_path / "m.parquet")
    options = TeacherOptions(views=True, calibrate=True, features=True)
    comparison = study(source, tmp_path / "out", **ONE_ROW, teacher_options=options).run()
    folder = tmp_path / "out" / "seed0"
    assert next(iter_pairs(folder / "predictions", needs={"features"})).features.shape == (120, 128)
    assert set(comparison.teacher_accuracy) == {"target_test", "target_val"}


def test_classes_whose_left_and_right_matter_are_not_flipped(manifest, tmp_path):
    options = TeacherOptions(views=True)
    assert study(manifest, tmp_path / "a", teacher_options=options).teaching.looks == 2
    assert study(manifest, tmp_path / "b", teacher_options=options, no_flip=("rows",)).teaching.looks == 1


def test_a_dry_run_counts_every_look_and_every_member(whole):
    options = whole.options.teacher
    plans = [
        plan_study(study(whole.manifest_path, whole.out.parent / "no", **ONE_ROW, teacher_options=given))
        for given in (options, TeacherOptions())
    ]
    stages, of_default = ({stage.name: stage for stage in plan.stages} for plan in plans)
    assert {"seed0/teacher_model/0", "seed0/teacher_model/1"} <= stages.keys()
    assert stages["seed0/predictions"].flops == 4 * of_default["seed0/predictions"].flops


def test_what_can_never_be_done_is_refused_before_anything_is_made(manifest, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="no split target_val"):
        study(manifest, out, teacher_options=TeacherOptions(calibrate=True))
    with pytest.raises(ConfigError, match="views for one that it trains itself"):
        study(manifest, out, teacher_options=TeacherOptions(views=True), teacher=Seeing())
    with pytest.raises(ValidationError, match="a probe is the same with every seed, and 3 members"):
        TeacherOptions(backbone="small_resnet7", members=3)
    made = study(manifest, out, teacher_options=TeacherOptions(features=True), teacher=Seeing())
    with pytest.raises(ConfigError, match="the teacher Seeing has no features to keep"):
        made.predict(0)
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_strategy_that_looks_at_features_needs_a_pass_that_keeps_them(manifest, tmp_path):
    row = {"strategies": {"weak-only": WeakOnly(), "denoised": DenoisedSPL(k=2, folds=2)}}
    with pytest.raises(ConfigError, match=r"'denoised' looks at the teacher's features.*teacher.features"):
        study(manifest, tmp_path / "without", **row)
    made = study(manifest, tmp_path / "with", **row, teacher_options=TeacherOptions(features=True))
    first, others = made.rows()
    made.finetune(first[0], None)
    made.predict(0)
    [denoised] = [entry for entry in others if entry.strategy == "denoised"]
    table = made.relabel(denoised)
    sums = np.asarray(table.targets.rows.sum(axis=1)).ravel()
    assert table.targets.keep.any()
    assert np.allclose(sums[table.targets.keep], 1, atol=1e-5)
