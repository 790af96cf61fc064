"""How `advise` looks; frozen options without torch. All defaults are ours."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator


class AdviceOptions(BaseModel):
    """How the small networks of `advise` are trained and tested; the same for every strategy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: PositiveInt = Field(default=20_000, description="weak samples that are looked at, at most")
    seeds: int = Field(default=3, ge=2, description="repetitions, with seeds 0 to N-1")
    folds: int = Field(default=4, ge=2, description="of the cross-validation on the clean samples")
    components: PositiveInt = Field(
        default=256, description="principal components that wider features are reduced to"
    )
    width: PositiveInt = Field(default=256, description="of the two hidden layers of the network")
    steps: PositiveInt = Field(default=400, description="of pre-training, the same for few and many samples")
    batch_size: PositiveInt = Field(default=256, description="weak samples a batch of pre-training")
    finetune_epochs: PositiveInt = Field(default=25, description="passes over the clean training samples")
    finetune_batch_size: PositiveInt = Field(default=64, description="clean samples a batch")
    learning_rate: float = Field(default=1e-3, gt=0, description="peak learning rate of AdamW")
    seed: NonNegativeInt = Field(default=0, description="of the sample that is drawn and of the folds")


class StudentOptions(BaseModel):
    """What a student starts from, whose features are looked at (ours)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str | None = Field(
        default=None,
        description="a backbone's name in the domain, whose features the student starts from; default: it "
        "starts from scratch, so that it has the small inputs themselves",
    )
    pretrained: bool = Field(default=False, description="take the backbone's published weights")
    weights: str | None = Field(default=None, description="take a local file of weights (safetensors)")
    image_size: PositiveInt | None = Field(
        default=None, description="height and width of its inputs in pixels; default: the domain's"
    )

    @model_validator(mode="after")
    def _has_learned_something(self) -> StudentOptions:
        has_weights = self.pretrained or self.weights is not None
        if has_weights == (self.backbone is None):
            raise ValueError(
                f"backbone is {self.backbone!r}, pretrained {self.pretrained}, weights {self.weights!r}; "
                "expected a backbone and its weights, or none of them for a student that starts from scratch"
            )
        return self
