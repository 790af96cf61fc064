from __future__ import annotations

import json
import os
import shutil
from functools import partial

import lightning as L
import pytest

import sublabel as sl
import sublabel.study.study as study_module
from sublabel.errors import ArtifactError, ConfigError
from sublabel.options import TrainOptions
from sublabel.study import Study, StudyOptions
from sublabel.training import FinetuneModule
from sublabel_image import ImageDomain
from tests.study.conftest import FAST, ONE_ROW, study, train_teacher


def test_a_finished_study_trains_nothing_again(finished, manifest, monkeypatch):
    out, comparison = finished
    monkeypatch.setattr(L.Trainer, "fit", lambda *_, **__: pytest.fail("trained again"))
    assert study(manifest, out).run() == comparison


def test_a_stopped_study_goes_on(manifest, tmp_path, monkeypatch):
    chosen = {"weak-only": sl.WeakOnly(), "SPL-B": sl.SPLB()}
    stages, calls = {name: getattr(study_module, name) for name in ("pretrain", "finetune")}, []

    def stop_at_the_third(stage, *arguments, **more):
        calls.append(more["checkpoint"].parent.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return stages[stage](*arguments, **more)

    for stage in stages:
        monkeypatch.setattr(study_module, stage, partial(stop_at_the_third, stage))
    with pytest.raises(KeyboardInterrupt):
        study(manifest, tmp_path, strategies=chosen).run()
    comparison = study(manifest, tmp_path, strategies=chosen).run()
    assert calls == ["teacher", "pretrained", "finetuned", "finetuned", "pretrained", "finetuned"]
    assert len(comparison.runs) == 3


def test_another_study_is_not_mixed_into_the_folder(finished, manifest):
    with pytest.raises(ConfigError, match="was made with another finetune.epochs.*choose another"):
        study(manifest, finished[0], finetune=TrainOptions(epochs=3))
    with pytest.raises(ConfigError, match="was made with another min_count.*choose another folder"):
        study(manifest, finished[0], strategies={"raw SPL": sl.RawSPL(min_count=50)})


def test_another_domain_is_not_mixed_into_the_folder(finished, manifest):
    with pytest.raises(ConfigError, match="another domain"):
        Study(manifest, ImageDomain(16), StudyOptions(**FAST), finished[0])


def test_a_training_that_was_stopped_goes_on_from_its_last_epoch(manifest, tmp_path, monkeypatch):
    step, seen = FinetuneModule.on_train_epoch_end, []

    def stop_after_two(self):
        seen.append(self.current_epoch)
        if len(seen) == 3:
            raise RuntimeError("power cut")
        step(self)

    monkeypatch.setattr(FinetuneModule, "on_train_epoch_end", stop_after_two)
    options = {"strategies": {"weak-only": sl.WeakOnly()}, "checkpoints": True}
    with pytest.raises(RuntimeError, match="power cut"):
        train_teacher(study(manifest, tmp_path, **options))
    assert (tmp_path / "seed0" / "teacher" / "last.ckpt").exists()
    train_teacher(study(manifest, tmp_path, **options))
    assert seen == [0, 1, 2, 2, 3]
    assert not (tmp_path / "seed0" / "teacher" / "last.ckpt").exists()


def test_a_test_that_was_stopped_trains_nothing_again(manifest, tmp_path, monkeypatch):
    chosen = {"weak-only": sl.WeakOnly()}
    monkeypatch.setattr(L.Trainer, "test", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("power cut")))
    with pytest.raises(RuntimeError, match="power cut"):
        train_teacher(study(manifest, tmp_path, strategies=chosen))
    monkeypatch.undo()
    whole = train_teacher(study(manifest, tmp_path / "whole", strategies=chosen))
    monkeypatch.setattr(L.Trainer, "fit", lambda *_, **__: pytest.fail("trained again"))
    assert train_teacher(study(manifest, tmp_path, strategies=chosen)) == whole


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"x" * 99]
)
def test_a_damaged_checkpoint_is_named(manifest, tmp_path, monkeypatch, damage):
    step = FinetuneModule.on_train_epoch_end

    def stop_after_one(self):
        if self.current_epoch == 1:
            raise RuntimeError("power cut")
        step(self)

    monkeypatch.setattr(FinetuneModule, "on_train_epoch_end", stop_after_one)
    options = {**ONE_ROW, "checkpoints": True}
    with pytest.raises(RuntimeError, match="power cut"):
        train_teacher(study(manifest, tmp_path, **options))
    monkeypatch.undo()
    checkpoint = tmp_path / "seed0" / "teacher" / "last.ckpt"
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    with pytest.raises(
        ArtifactError, match="last.ckpt is damaged .*: delete it, and this training begins anew"
    ):
        train_teacher(study(manifest, tmp_path, **options))
    checkpoint.unlink()
    train_teacher(study(manifest, tmp_path, **options))


def test_a_training_by_steps_that_was_stopped_goes_on_from_its_last_epoch(manifest, tmp_path, monkeypatch):
    step, seen = FinetuneModule.on_train_epoch_end, []

    def stop_after_two(self):
        seen.append(self.global_step)
        if len(seen) == 3:
            raise RuntimeError("power cut")
        step(self)

    monkeypatch.setattr(FinetuneModule, "on_train_epoch_end", stop_after_two)
    options = {**ONE_ROW, "checkpoints": True, "finetune": FAST["finetune"].model_copy(update={"steps": 18})}
    with pytest.raises(RuntimeError, match="power cut"):
        train_teacher(study(manifest, tmp_path, **options))
    train_teacher(study(manifest, tmp_path, **options))
    assert seen[:3] == [5, 10, 15]
    assert 10 < min(seen[3:]) <= 15
    assert seen[-1] == 18


def test_smaller_batches_for_evaluation_may_follow_a_stop(finished, manifest):
    out, comparison = finished
    assert study(manifest, out, eval_batch_size=7).run() == comparison


def test_other_numbers_of_devices_are_not_mixed(finished, manifest):
    with pytest.raises(ConfigError, match="another number of devices"):
        study(manifest, finished[0], trainer={"accumulate_grad_batches": 2})


@pytest.mark.skipif(os.name != "posix", reason="no locks")
def test_what_a_killed_run_left_of_a_file_is_swept_up(finished, manifest):
    out, _ = finished
    left = [out / ".report.html.abcdefgh.partial", out / "seed0" / "teacher" / ".card.json.12345678.partial"]
    for path in left:
        path.touch()
    study(manifest, out).run()
    assert not any(path.exists() for path in left)


def test_a_study_of_an_older_version_goes_on(finished, manifest, tmp_path):
    out = shutil.copytree(finished[0], tmp_path / "older")
    record = json.loads((out / "study.json").read_text(encoding="utf-8"))
    for option in ("head", "head_rank", "sampled_classes"):
        del record["same"][option]
    del record["same"]["pretrain"]["steps"]
    (out / "study.json").write_text(json.dumps(record), encoding="utf-8")
    assert study(manifest, out).run() == finished[1]
    with pytest.raises(ConfigError, match="was made with another head: .*choose another"):
        study(manifest, out, head="factorised")
