"""Options of a training, and of how it is run; frozen models without torch. All defaults are ours."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

Schedule = Literal["cosine", "one_cycle", "constant"]
HeadKind = Literal["linear", "factorised"]


class TrainOptions(BaseModel):
    """One training run: what decides its result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: PositiveInt = Field(default=4, description="passes over the data, where `steps` are not given")
    steps: PositiveInt | None = Field(
        default=None,
        description="optimiser steps, the same for few samples and for many; instead of `epochs`",
    )
    batch_size: PositiveInt = Field(default=128, description="samples a batch and device")
    optimizer: Literal["sgd", "adamw"] = Field(
        default="sgd", description="SGD with Nesterov momentum, or AdamW"
    )
    learning_rate: float = Field(default=0.1, gt=0, description="peak learning rate")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of SGD; AdamW has its own averages")
    weight_decay: float = Field(
        default=5e-4, ge=0, description="L2 penalty on weights, not on biases and norms"
    )
    schedule: Schedule = Field(default="cosine", description="learning rate over the steps")
    warmup: float = Field(
        default=0.05, ge=0, lt=1, description="share of the steps in which the cosine schedule rises linearly"
    )
    gradient_clip: float | None = Field(
        default=None, gt=0, description="largest norm of the gradient of all weights; default: no limit"
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="as in PyTorch's cross-entropy")
    augmentation: str | None = Field(
        default=None, description="a training augmentation of the domain; default: its first"
    )


class RunOptions(BaseModel):
    """How the stages are run: what may change in a begun folder, since it does not decide the result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    jobs: PositiveInt = Field(
        default=1,
        description="strategies that run at the same time, each in a process with its share of cores and one "
        "device; several devices need 1",
    )
    num_workers: NonNegativeInt = Field(default=0, description="loader processes")
    eval_batch_size: PositiveInt = Field(
        default=256, description="inputs (samples × views) a batch in the teacher's pass and in tests"
    )
    decode_once: bool = Field(
        default=False, description="keep all media decoded, as files beside the study (mind the disk)"
    )
    cache_bytes: NonNegativeInt = Field(
        default=2_000_000_000, description="memory for decoded media of one split"
    )
    leave_out_unreadable: bool = Field(
        default=False,
        description="train and test without the target samples that cannot be read; all are decoded once to "
        "find them",
    )
    checkpoints: bool = Field(
        default=False, description="keep a checkpoint of every epoch, from which a stopped training goes on"
    )
    trainer: dict[str, Any] = Field(
        default_factory=dict, description="further arguments of lightning.Trainer"
    )
