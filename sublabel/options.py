"""Options of a training, and of how it is run; frozen models without torch. All defaults are ours."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

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


class ProbeOptions(BaseModel):
    """A linear probe: multinomial logistic regression on frozen features. How it is chosen is ours."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    l2: tuple[PositiveFloat, ...] = Field(
        default=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
        min_length=1,
        description="strengths of the penalty l2/2·‖W‖² beside the mean loss, on standardised features; the "
        "one with the least loss on held-out samples is taken",
    )
    folds: int = Field(
        default=5, ge=2, description="of the cross-validation that chooses, where no samples are held out"
    )


# What says how a teacher of its own is made; all other options are of how a teacher looks.
MAKES_A_TEACHER = ("pretrained", "weights", "image_size", "training", "probe", "finetune", "members")


class TeacherOptions(BaseModel):
    """The teacher of a study: one with a backbone of its own (ours), and how it looks at samples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str | None = Field(
        default=None,
        description="a backbone's name in the domain, for a teacher of its own; default: the teacher is the "
        "model without weak pre-training, as in the paper",
    )
    pretrained: bool = Field(default=False, description="start from the backbone's published weights")
    weights: str | None = Field(default=None, description="start from a local file of weights (safetensors)")
    image_size: PositiveInt | None = Field(
        default=None, description="height and width of its inputs in pixels; default: the domain's"
    )
    training: Literal["probe", "finetune"] = Field(
        default="probe", description="a linear probe on its frozen features, or all of it is trained"
    )
    probe: ProbeOptions = ProbeOptions()
    finetune: TrainOptions = TrainOptions(epochs=25)
    members: PositiveInt = Field(
        default=1,
        description="trainings as a whole, each with another seed, whose probabilities are averaged",
    )
    views: bool = Field(
        default=False,
        description="look at all test-time views of the domain, each also flipped from left to right (not "
        "with no_flip), and average the probabilities",
    )
    calibrate: bool = Field(
        default=False,
        description="make the probabilities mean something: temperature scaling on target_val, which must be "
        "there",
    )
    features: bool = Field(
        default=False, description="keep what the teacher saw in each weak sample beside its predictions"
    )

    @model_validator(mode="after")
    def _says_what_of(self) -> TeacherOptions:
        defaults = TeacherOptions.model_construct()
        given = [name for name in MAKES_A_TEACHER if getattr(self, name) != getattr(defaults, name)]
        if self.backbone is None and given:
            raise ValueError(
                f"the teacher has {', '.join(given)} and no backbone: name one, or leave these out, and the "
                "model without weak pre-training is the teacher"
            )
        if self.training == "probe" and self.members > 1:
            raise ValueError(
                f"a probe is the same with every seed, and {self.members} members are asked for: train them "
                "as a whole (training: finetune), or leave members out"
            )
        return self


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
