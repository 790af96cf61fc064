from __future__ import annotations

import lightning as L
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint

from sublabel.errors import ConfigError
from sublabel.options import RunOptions, TrainOptions
from sublabel.training import make_trainer, refuse_several_devices
from sublabel.training.trainer import logged_epochs


@pytest.fixture
def asked(monkeypatch):
    """What Lightning's trainer is asked for."""
    calls = []
    monkeypatch.setattr("lightning.Trainer", lambda **options: calls.append(options))
    return calls


def test_its_length_is_that_of_the_options_whatever_the_run_says(asked):
    run = RunOptions(trainer={"max_epochs": 9, "precision": "64-true", "limit_train_batches": 3})
    make_trainer(TrainOptions(epochs=2), run)
    make_trainer(TrainOptions(steps=5), run)
    make_trainer(None, run)
    assert [(call["max_epochs"], call.get("max_steps")) for call in asked] == [(2, None), (-1, 5), (9, None)]
    assert {call["precision"] for call in asked} == {"64-true"}
    assert {call["limit_train_batches"] for call in asked} == {3}


def test_gradients_are_clipped_by_the_options_or_else_by_the_run(asked):
    run = RunOptions(trainer={"gradient_clip_val": 2.0})
    for clip in (None, 0.5):
        make_trainer(TrainOptions(gradient_clip=clip), run)
    assert [call["gradient_clip_val"] for call in asked] == [2.0, 0.5]


def test_several_jobs_do_not_take_all_devices(asked):
    for run in (RunOptions(), RunOptions(jobs=2), RunOptions(jobs=2, trainer={"devices": [3]})):
        make_trainer(run=run)
    assert [call.get("devices") for call in asked] == [None, 1, [3]]


@pytest.mark.parametrize(
    "trainer", [{"devices": 2}, {"devices": [0, 1]}, {"devices": "auto"}, {"num_nodes": 2}]
)
def test_several_jobs_of_several_devices_are_refused(trainer):
    refuse_several_devices(RunOptions(jobs=1, trainer=trainer))
    with pytest.raises(ConfigError, match="jobs is 2 and the trainer asks for .*: choose 1 job, or 1 device"):
        refuse_several_devices(RunOptions(jobs=2, trainer=trainer))


@pytest.mark.parametrize("checkpoints", [False, True])
def test_callbacks_of_the_run_stand_beside_the_checkpoints(checkpoints, tmp_path):
    mine = L.Callback()
    run = RunOptions(checkpoints=checkpoints, trainer={"callbacks": [mine]})
    callbacks = make_trainer(run=run, checkpoint=tmp_path / "last.ckpt").callbacks
    assert mine in callbacks
    assert any(isinstance(callback, ModelCheckpoint) for callback in callbacks) == checkpoints


def test_a_trainer_is_as_it_was_after_a_training_that_failed():
    trainer = make_trainer()
    before = list(trainer.callbacks)
    with pytest.raises(KeyboardInterrupt), logged_epochs(trainer):
        assert len(trainer.callbacks) == len(before) + 1
        raise KeyboardInterrupt
    assert trainer.callbacks == before
