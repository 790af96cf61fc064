"""What a study compares, and how it trains. All defaults are ours: the paper's are not published."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from sublabel.labels import Strategy, TopKSPL
from sublabel.study.strategies import BASELINE, default_strategies

# As in sublabel.training, which needs torch; a test holds that both are the same.
Schedule = Literal["cosine", "one_cycle", "constant"]
HeadKind = Literal["linear", "factorised"]


class TrainOptions(BaseModel):
    """One training run. All defaults are ours."""

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
    weight_decay: float = Field(
        default=5e-4, ge=0, description="L2 penalty on weights, not on biases and norms"
    )
    schedule: Schedule = Field(default="cosine", description="learning rate over the steps")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="as in PyTorch's cross-entropy")
    augmentation: str | None = Field(
        default=None, description="a training augmentation of the domain; default: its first"
    )


class StudyOptions(BaseModel):
    """What is compared, and how it is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str = Field(description="a backbone's name in the domain")
    pretrained: bool = Field(default=False, description="start from the backbone's published weights")
    weights: str | None = Field(default=None, description="start from a local file of weights (safetensors)")
    strategies: dict[str, Strategy] = Field(
        default_factory=default_strategies, description="row name → strategy"
    )
    alignment: dict[str, str | list[str]] | None = Field(
        default=None,
        description="weak name → target names that agree with it ([]: none); all others agree by equal names",
    )
    teacher_top_k: PositiveInt = Field(
        default=5, description="how many of its classes the teacher's pass keeps for each sample"
    )
    clips_per_video: tuple[PositiveInt, ...] = Field(
        default=(), description="the curve: also train with only so many weak samples of each source_id"
    )
    curve: tuple[str, ...] = Field(
        default=(BASELINE, "raw SPL", "SPL-B"), description="the strategies of that curve, by row name"
    )
    seeds: PositiveInt = Field(default=1, description="runs of everything, with seeds 0 to N-1")
    pretrain: TrainOptions = TrainOptions()
    finetune: TrainOptions = TrainOptions(epochs=25)
    head: HeadKind = Field(
        default="linear",
        description="of pre-training: a plain linear head; or a factorised one, whose cells share the "
        "weights of their row and column, wherever that has fewer parameters",
    )
    head_rank: PositiveInt = Field(default=32, description="of the factorised head's remainder")
    sampled_classes: PositiveInt | None = Field(
        default=None,
        description="pre-train with sampled softmax over a batch's classes and so many others, where a "
        "strategy makes more; for 100,000 classes and up",
    )
    no_flip: tuple[str, ...] = Field(
        default=(), description="classes whose left and right matter: their samples are never flipped"
    )
    precision: Literal["auto"] | str = Field(default="auto", description="Lightning's precision flag")
    eval_batch_size: PositiveInt = Field(
        default=256, description="inputs (samples × views) a batch in the teacher's pass and in tests"
    )
    jobs: PositiveInt = Field(
        default=1,
        description="strategies that run at the same time, each in a process with its share of cores and one "
        "device; several devices need 1",
    )
    num_workers: int = Field(default=0, ge=0, description="loader processes")
    decode_once: bool = Field(
        default=False, description="keep all media decoded, as uint8 files beside the study (mind the disk)"
    )
    cache_bytes: int = Field(default=2_000_000_000, ge=0, description="memory for decoded media of one split")
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

    @model_validator(mode="after")
    def _sampled_softmax_has_no_smoothing(self) -> StudyOptions:
        if self.sampled_classes is not None and self.pretrain.label_smoothing:
            raise ValueError("sampled_classes and pretrain.label_smoothing exclude each other: use one")
        return self

    @model_validator(mode="after")
    def _strategies_look_at_what_the_teacher_keeps(self) -> StudyOptions:
        for name, strategy in self.strategies.items():
            if isinstance(strategy, TopKSPL) and strategy.k > self.teacher_top_k:
                raise ValueError(
                    f"{name!r} looks at {strategy.k} of the teacher's classes, and teacher_top_k keeps "
                    f"{self.teacher_top_k}: raise it"
                )
        return self

    @model_validator(mode="after")
    def _curve_is_among_the_strategies(self) -> StudyOptions:
        unknown = [name for name in self.curve if name not in self.strategies]
        if self.clips_per_video and unknown:
            raise ValueError(
                f"the curve names {', '.join(map(repr, unknown))}; there are {', '.join(self.strategies)}"
            )
        return self
