"""Features of a manifest's samples are those of its media, and are computed once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

import sublabel as sl
from sublabel.advice.looking import small_inputs, student_features, teacher_features
from sublabel.advice.options import StudentOptions
from sublabel.cli import main
from sublabel.tables import open_manifest, write_predictions
from sublabel.training import Classifier, ModelCard, load_model, save_model
from sublabel_image import ImageDomain
from tests.study.conftest import manifest

__all__ = ["manifest"]

DOMAIN = ImageDomain(image_size=8)


class Unreadable(ImageDomain):
    def read(self, row):
        raise AssertionError("it was read again")


def looked_at(manifest, count=20):
    rows = [row for batch in open_manifest(manifest).batches() for row in batch.to_pylist()]
    weak = [row["sample_id"] for row in rows if row["split"] == "weak"][:count]
    clean = [row["sample_id"] for row in rows if row["split"] in ("target_train", "target_val")]
    return np.array(weak, dtype=object), clean, {row["sample_id"]: row for row in rows}


def test_a_student_from_scratch_has_the_inputs_of_the_chosen_and_of_the_clean_samples(manifest, tmp_path):
    weak, clean, rows = looked_at(manifest)
    table = student_features(open_manifest(manifest), weak, DOMAIN, StudentOptions(), folder=tmp_path)
    assert set(table.sample_ids.to_pylist()) == {*weak, *clean}
    position = table.positions(pa.array([weak[3]]))[0]
    picture = DOMAIN.read(rows[weak[3]]).float() / 255
    expected = torch.nn.functional.interpolate(picture[None], size=16, mode="nearest")
    assert np.allclose(table.values[position], expected.flatten())


def test_features_are_computed_once_for_the_same_arguments(manifest, tmp_path):
    weak, *_ = looked_at(manifest)
    opened = open_manifest(manifest)
    first = student_features(opened, weak, DOMAIN, StudentOptions(), folder=tmp_path)
    again = student_features(opened, weak, Unreadable(image_size=8), StudentOptions(), folder=tmp_path)
    assert np.array_equal(first.values, again.values)
    with pytest.raises(AssertionError, match="read again"):
        student_features(opened, weak[1:], Unreadable(image_size=8), StudentOptions(), folder=tmp_path)


def test_a_student_that_starts_from_weights_has_their_features(manifest, tmp_path):
    torch.manual_seed(0)
    backbone = DOMAIN.create_backbone("small_resnet7").eval()
    head = {"fc.weight": torch.zeros(1000, backbone.num_features), "fc.bias": torch.zeros(1000)}
    save_file({**backbone.state_dict(), **head}, tmp_path / "w.safetensors")
    student = StudentOptions(backbone="small_resnet7", weights=str(tmp_path / "w.safetensors"))
    weak, _, rows = looked_at(manifest)
    table = student_features(open_manifest(manifest), weak, DOMAIN, student, folder=tmp_path)
    wanted = DOMAIN.preprocessing(backbone)
    picture = DOMAIN.evaluation_transform(wanted)(DOMAIN.read(rows[weak[0]])).float() / 255
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (wanted.mean, wanted.std))
    with torch.inference_mode():
        expected = backbone(((picture - mean) / deviation)[None])[0]
    found = table.values[table.positions(pa.array([weak[0]]))[0]]
    # Features may be taken in half precision.
    assert np.allclose(found, expected, atol=0.03 * float(expected.abs().max()))


def test_small_clips_are_averages_over_time_and_place():
    clips = torch.arange(2 * 3 * 8 * 16 * 16).remainder(251).to(torch.uint8).view(2, 3, 8, 16, 16)
    small = small_inputs(clips).view(2, 3, 4, 8, 8)
    expected = clips.float().view(2, 3, 4, 2, 8, 2, 8, 2).mean((3, 5, 7)) / 255
    assert torch.allclose(small, expected)
    with pytest.raises(sl.ConfigError, match=r"\(2, 5\)"):
        small_inputs(torch.zeros(2, 5))


@pytest.mark.parametrize("given", [{"backbone": "resnet18"}, {"pretrained": True}, {"weights": "a"}])
def test_a_backbone_comes_with_weights(given):
    with pytest.raises(ValidationError, match="a backbone and its weights"):
        StudentOptions(**given)


def test_the_command_computes_what_student_and_teacher_look_at(manifest, tmp_path, capsys):
    images = ["--domain", "image", "--domain_options", "{image_size: 8}", "--backbone", "small_resnet7"]
    teacher, predictions = str(tmp_path / "teacher"), tmp_path / "p.parquet"
    assert (
        main(["finetune", str(manifest), *images, "--epochs", "1", "--batch_size", "8", "-o", teacher]) == 0
    )
    weak, _, rows = looked_at(manifest, count=120)
    model = load_model(teacher)
    labels = [rows[sample_id]["weak_label"] for sample_id in weak]
    pairs = sl.Pairs(labels, labels[::-1], weak_vocabulary=list(model.card.classes), sample_ids=weak)
    write_predictions(predictions, pairs)
    brief = ["--steps", "5", "--finetune_epochs", "1", "--folds", "2", "--seeds", "2", "--samples", "100"]
    command = ["advise", str(manifest), "--predictions", str(predictions), "--teacher", teacher, *brief]
    assert main([*command, "--strategies", "{raw: {kind: raw_spl}}"]) == 0
    assert "of 100 weak samples" in capsys.readouterr().out
    assert len(list((tmp_path / "p-features").iterdir())) == 2


def test_features_that_predictions_keep_are_not_computed_again(manifest, tmp_path):
    torch.manual_seed(0)
    weak, clean, rows = looked_at(manifest)
    backbone = DOMAIN.create_backbone("small_resnet7")
    wanted = DOMAIN.preprocessing(backbone)
    card = ModelCard(
        domain="image",
        domain_options=DOMAIN.options(),
        backbone="small_resnet7",
        classes=("a", "b"),
        preprocessing=wanted,
    )
    save_model(tmp_path / "teacher", Classifier(backbone, 2, mean=wanted.mean, std=wanted.std), card)
    model, opened = load_model(tmp_path / "teacher"), open_manifest(manifest)
    labels = [rows[sample_id]["weak_label"] for sample_id in weak]
    pairs = sl.Pairs(labels, labels, sample_ids=weak)
    computed = teacher_features(opened, pairs, DOMAIN, model, folder=tmp_path)
    assert set(computed.sample_ids.to_pylist()) == {*weak, *clean}
    known = np.full((len(weak), computed.values.shape[1]), 0.5, dtype=np.float32)
    kept = teacher_features(
        opened, sl.Pairs(labels, labels, sample_ids=weak, features=known), DOMAIN, model, folder=tmp_path
    )
    assert (kept.values[kept.positions(pa.array(weak))] == 0.5).all()
    both = (table.values[table.positions(pa.array(clean))] for table in (computed, kept))
    assert np.allclose(*both, rtol=0.02, atol=1e-3)
    narrow = sl.Pairs(labels, labels, sample_ids=weak, features=known[:, 1:])
    with pytest.raises(sl.LabelError, match="another teacher"):
        teacher_features(opened, narrow, DOMAIN, model, folder=tmp_path)
