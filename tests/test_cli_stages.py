"""The whole method from the command line, on a manifest, as who installed the package alone would run it."""

from __future__ import annotations

import json

import pytest

import sublabel as sl
from sublabel.cli import main
from sublabel.evaluation import Comparison
from sublabel.tables import iter_pairs, read_relabeled
from sublabel.training import load_model, read_card
from tests.study.conftest import manifest, single_threaded

__all__ = ["manifest"]

IMAGES = ["--domain", "image", "--domain_options", "{image_size: 8}", "--backbone", "small_resnet7"]
QUICK = ["--batch_size", "8", "--learning_rate", "0.01", "--augmentation", "shift", "--optimizer", "adamw"]


def run(capsys, *arguments):
    with single_threaded():
        code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, err


@pytest.fixture(scope="module")
def walked(manifest, tmp_path_factory):
    """The folders of a teacher, its predictions, their labels, a pre-trained and a fine-tuned model."""
    folder = tmp_path_factory.mktemp("walk")
    teacher, predictions, labels = folder / "teacher", folder / "predictions", folder / "r.parquet"
    student, model = folder / "student", folder / "model"
    for arguments in (
        ["finetune", manifest, *IMAGES, *QUICK, "--epochs", "4", "-o", teacher],
        ["predict", manifest, "--teacher", teacher, "-o", predictions],
        ["relabel", predictions, "--strategy", "raw_spl", "-o", labels],
        ["pretrain", manifest, "--labels", labels, *IMAGES, *QUICK, "--epochs", "1", "-o", student],
        ["finetune", manifest, "--from", student, *QUICK, "--epochs", "4", "-o", model],
    ):
        with single_threaded():
            assert main([str(argument) for argument in arguments]) == 0
    return {path.stem: path for path in (teacher, predictions, labels, student, model)}


def test_each_stage_makes_what_the_next_one_takes(walked):
    assert load_model(walked["teacher"]).card.classes == ("columns", "plain", "rows")
    pairs = next(iter_pairs(walked["predictions"]))
    assert len(pairs) == 120
    table = read_relabeled(walked["r"])
    student = read_card(walked["student"])
    assert student.classes == table.space.names
    assert student.fingerprints["label_space"] == table.space.fingerprint
    # The pre-trained model says which backbone and which input size there are.
    model = read_card(walked["model"])
    assert (model.backbone, model.domain_options) == (student.backbone, {"image_size": 8})
    assert "head dropped" in model.made_by["warm_start"]


def test_a_model_is_tested_by_its_card(walked, manifest, capsys):
    code, text, _ = run(capsys, "test", manifest, "--model", walked["model"], "--json")
    scores = json.loads(text)
    assert (code, scores["samples"]) == (0, 40)
    assert 0.4 < scores["top1"] <= scores["top5"] == 1
    _, text, _ = run(capsys, "test", manifest, "--model", walked["model"], "--metrics", "[top2]")
    assert text.startswith("top2 ")


def test_a_comparison_takes_a_teacher_or_finished_predictions(walked, manifest, tmp_path, capsys):
    rows = "{weak-only: {kind: weak_only}, mine: {kind: spl_b}}"
    options = [*IMAGES, "--strategies", rows, "--pretrain.epochs", "1", "--finetune.epochs", "1"]
    for name, given in (("teacher_model", walked["teacher"]), ("predictions", walked["predictions"])):
        out = tmp_path / name
        assert run(capsys, "compare", manifest, *options, f"--{name}", given, "-o", out)[0] == 0
        compared = Comparison.from_dict(json.loads((out / "comparison.json").read_text()))
        assert compared.names() == ["none (scratch)", "weak-only", "mine"]
        # The same teacher said the same of every sample.
        table = read_relabeled(out / "seed0" / "mine" / "relabeled.parquet")
        expected = sl.relabel(next(iter_pairs(walked["predictions"])), sl.SPLB())
        assert table.targets.labels.tolist() == expected.labels.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "{m}", "--teacher", "nowhere", "-o", "p"], "nowhere holds no card.json"),
        (["test", "{m}", "--model", "nowhere"], "nowhere holds no card.json"),
        (["pretrain", "{m}", "--labels", "no.parquet", "-o", "x"], "there is no file or folder no.parquet"),
        (["finetune", "{m}", "--domain", "smell", "-o", "x"], "no domain is called 'smell'"),
        (["finetune", "no.parquet", "-o", "x"], "no.parquet"),
        (["finetune", "{m}", *IMAGES, "--epochs", "0", "-o", "x"], "epochs"),
    ],
)
def test_a_mistake_ends_with_one_message(manifest, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    try:
        code, _, err = run(capsys, *(str(manifest) if part == "{m}" else part for part in arguments))
    except SystemExit as stop:
        code, err = stop.code, capsys.readouterr().err
    assert code == 2
    assert message in err
