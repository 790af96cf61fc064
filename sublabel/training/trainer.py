"""Lightning's trainer as the stages use it: quiet, of a given length, with a checkpoint if one is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher

from sublabel.errors import ArtifactError, ConfigError
from sublabel.options import RunOptions, TrainOptions
from sublabel.training.classifier import best_precision


class _EpochLog(Callback):
    def __init__(self) -> None:
        self.entries: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Note the means of an epoch."""
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        # A training that goes on may first end the epoch whose end is in the checkpoint already.
        if logged:
            self.entries.append({"epoch": trainer.current_epoch, "step": trainer.global_step, **logged})


@contextmanager
def logged_epochs(trainer: L.Trainer) -> Iterator[list[dict[str, float]]]:
    """Keep what is logged while a trainer trains; after it the trainer is as it was.

    Yields:
        An entry for every epoch that has ended: `epoch` from 0, `step` (so many were made), and what the
        module logged, such as the mean `train/loss`.
    """
    log = _EpochLog()
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    # Not last: there Lightning keeps the callbacks that write checkpoints.
    callbacks.insert(0, log)
    try:
        yield log.entries
    finally:
        callbacks.remove(log)


def make_trainer(
    options: TrainOptions | None = None,
    run: RunOptions | None = None,
    *,
    precision: str = "auto",
    checkpoint: Path | None = None,
    **arguments: Any,
) -> L.Trainer:
    """Make a trainer: quiet, with the arguments of `run`, then these.

    Args:
        options: Whose length and gradient clipping it has, whatever `run` says; None for a trainer that only
            tests.
        run: How it is run.
        precision: Lightning's flag; `auto`: what suits this machine.
        checkpoint: Where the last epoch's state is kept, if `run.checkpoints`.
        **arguments: Of `lightning.Trainer`.
    """
    run = run or RunOptions()
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "precision": best_precision() if precision == "auto" else precision,
    }
    # By default Lightning takes all GPUs, with a process for each, and so would every job.
    devices = {"devices": 1} if run.jobs > 1 else {}
    merged = {**quiet, **devices, **run.trainer, **arguments}
    if options is not None:
        merged |= _length(options)
        if options.gradient_clip is not None:
            merged["gradient_clip_val"] = options.gradient_clip
    if checkpoint is not None and run.checkpoints:
        keep = ModelCheckpoint(checkpoint.parent, filename=checkpoint.stem, enable_version_counter=False)
        merged["enable_checkpointing"] = True
        merged["callbacks"] = [*merged.get("callbacks", []), keep]
    return L.Trainer(**merged)


def refuse_several_devices(run: RunOptions) -> None:
    """Refuse several jobs that would each train on several devices.

    Raises:
        ConfigError: They would.
    """
    devices, nodes = run.trainer.get("devices", 1), run.trainer.get("num_nodes", 1)
    if run.jobs > 1 and ((len(devices) if isinstance(devices, list) else devices) != 1 or nodes != 1):
        raise ConfigError(
            f"jobs is {run.jobs} and the trainer asks for devices={devices}, num_nodes={nodes}; each of "
            "several jobs trains on one device: choose 1 job, or 1 device"
        )


def start_processes(trainer: L.Trainer) -> None:
    """With several devices: start the process of each now, so that they share all that follows."""
    if trainer.world_size == 1:
        return
    if trainer.strategy.launcher is None:
        trainer.strategy.setup_environment()
    else:
        trainer.strategy.launcher.launch(trainer.strategy.setup_environment)


def refuse_used(trainer: L.Trainer) -> None:
    """Refuse a trainer whose steps could not be told from those of another training.

    Raises:
        ConfigError: It has trained before.
    """
    if trainer.global_step > 0:
        raise ConfigError(
            f"this trainer has made {trainer.global_step} steps, and Lightning would count on from there: "
            "give every training a trainer of its own"
        )


def refuse_other_processes(trainer: L.Trainer) -> None:
    """Refuse a trainer whose work is done in processes that do not come back with all of it.

    Raises:
        ConfigError: Its processes are forked or spawned.
    """
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        raise ConfigError(
            "this trainer forks or spawns its processes, which give back the weights, and neither the number "
            "of steps, nor the log, nor single predictions: use one device (devices=1), or a script with "
            "strategy='ddp'"
        )


def refuse_damaged(checkpoint: Path) -> None:
    """Refuse a checkpoint that cannot be read.

    Raises:
        ArtifactError: It cannot.
    """
    try:
        torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, EOFError, OSError, UnpicklingError) as error:
        raise ArtifactError(
            f"{checkpoint} is damaged ({type(error).__name__}): delete it, and this training begins anew"
        ) from error


def _length(options: TrainOptions) -> dict[str, int]:
    if options.steps is None:
        return {"max_epochs": options.epochs}
    return {"max_epochs": -1, "max_steps": options.steps}
