"""What a study compares, and how it trains. All defaults are ours: the paper's are not published."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from sublabel.labels import Strategy, TeacherOnly
from sublabel.options import HeadKind, TeacherOptions, TrainOptions
from sublabel.study.strategies import BASELINE, ORACLE, default_strategies

MAY_GROW: dict[str, Any] = {"may_grow": True}
"""Marks an option that may change in a begun folder: it says which runs there are, not what one is."""


class StudyOptions(BaseModel):
    """What is compared, and how it is trained; `RunOptions` say how it is run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str = Field(description="a backbone's name in the domain")
    pretrained: bool = Field(default=False, description="start from the backbone's published weights")
    weights: str | None = Field(default=None, description="start from a local file of weights (safetensors)")
    strategies: dict[str, Strategy] = Field(
        default_factory=default_strategies, description="row name → strategy", json_schema_extra=MAY_GROW
    )
    oracle: bool = Field(
        default=False,
        description="also pre-train on the true classes of the weak samples, which the manifest must know "
        "(true_label): no method, but what a perfect relabeling would give",
        json_schema_extra=MAY_GROW,
    )
    alignment: dict[str, str | list[str]] | None = Field(
        default=None,
        description="weak name → target names that agree with it ([]: none); all others agree by equal names",
    )
    teacher: TeacherOptions = TeacherOptions()
    teacher_top_k: PositiveInt = Field(
        default=5, description="how many of its classes the teacher's pass keeps for each sample"
    )
    clips_per_video: tuple[PositiveInt, ...] = Field(
        default=(),
        description="the curve: also train with only so many weak samples of each source_id",
        json_schema_extra=MAY_GROW,
    )
    curve: tuple[str, ...] = Field(
        default=(BASELINE, "raw SPL", "SPL-B"),
        description="the strategies of that curve, by row name",
        json_schema_extra=MAY_GROW,
    )
    seeds: PositiveInt = Field(
        default=1, description="runs of everything, with seeds 0 to N-1", json_schema_extra=MAY_GROW
    )
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
    metrics: tuple[str, ...] = Field(
        default=("top1", "top5"),
        description="what is measured on the test set: topN, or classes of torchmetrics that begin with "
        "Multiclass; top1 must be among them",
    )

    @model_validator(mode="after")
    def _sampled_softmax_has_no_smoothing(self) -> StudyOptions:
        if self.sampled_classes is not None and self.pretrain.label_smoothing:
            raise ValueError("sampled_classes and pretrain.label_smoothing exclude each other: use one")
        return self

    @model_validator(mode="after")
    def _oracle_is_no_strategy(self) -> StudyOptions:
        if ORACLE in self.strategies:
            raise ValueError(
                f"a strategy is named {ORACLE!r}, as the row of the option oracle is: give it another name"
            )
        return self

    @model_validator(mode="after")
    def _strategies_look_at_what_the_teacher_keeps(self) -> StudyOptions:
        for name, strategy in self.strategies.items():
            if strategy.teacher_classes > self.teacher_top_k:
                raise ValueError(
                    f"{name!r} looks at {strategy.teacher_classes} of the teacher's classes, and "
                    f"teacher_top_k keeps {self.teacher_top_k}: raise it"
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

    @model_validator(mode="after")
    def _top1_is_measured(self) -> StudyOptions:
        if "top1" not in self.metrics:
            raise ValueError("metrics must hold top1, which the differences of the table are about")
        return self

    def strategy_of(self, name: str) -> Strategy:
        """The strategy of a row; the oracle takes what its predictions say, which are the true classes.

        Args:
            name: The row's.
        """
        return TeacherOnly() if name == ORACLE else self.strategies[name]

    def fixed(self) -> dict[str, Any]:
        """The options that must not change in a begun folder, as JSON can hold them."""
        growing = {
            name for name, field in type(self).model_fields.items() if field.json_schema_extra == MAY_GROW
        }
        return self.model_dump(mode="json", exclude=growing)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The defaults of the options in `fixed`, for records that are older than an option."""
        # What must be given has no default, and is in every record.
        return {name: value for name, value in cls(backbone="").fixed().items() if name != "backbone"}
