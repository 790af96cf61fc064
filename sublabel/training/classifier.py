"""A backbone with a head, and the arithmetic that its speed depends on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sublabel.errors import ConfigError
from sublabel.training.heads import HeadFactory

HALF_PRECISIONS = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""What Lightning's flags multiply in; all others run a module as it is."""


class Classifier(nn.Module):
    """A backbone and a head; takes media as uint8 and normalises them on the device.

    Args:
        backbone: Maps (B, …) float inputs to (B, D) features; has the attribute `num_features` = D.
        num_classes: Width of the head, K ≥ 1.
        head: Makes the head, (B, D) → (B, K), from D; default: `nn.Linear`. A warm start drops it by the
            prefix `head.` of its tensors.
        mean: Per channel mean of inputs scaled to 0–1; None leaves float inputs as they are.
        std: Per channel standard deviation, likewise.

    Raises:
        ConfigError: The backbone has no `num_features`, K < 1, or only one of mean and std is given.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        *,
        head: HeadFactory | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ConfigError(f"num_classes is {num_classes}; a classifier needs at least one class")
        num_features = getattr(backbone, "num_features", None)
        if not isinstance(num_features, int):
            raise ConfigError(
                f"the backbone {type(backbone).__name__} has no integer `num_features`: set it to the width "
                "D of the (B, D) features that its forward returns"
            )
        if (mean is None) != (std is None):
            raise ConfigError("give both mean and std, or neither")
        self.backbone = backbone
        self.head = nn.Linear(num_features, num_classes) if head is None else head(num_features)
        self.num_classes = num_classes
        self.num_features = num_features
        # Not in the state dict: they belong to the preprocessing, which the model card stores.
        self.register_buffer("mean", None if mean is None else torch.tensor(mean), persistent=False)
        self.register_buffer("std", None if std is None else torch.tensor(std), persistent=False)

    def normalise(self, inputs: Tensor) -> Tensor:
        """Scale uint8 inputs (B, C, …) to 0–1 and standardise them; float inputs pass unchanged."""
        if inputs.dtype != torch.uint8:
            return inputs
        scaled = inputs.to(next(self.head.parameters()).dtype).div_(255)
        if self.mean is None or self.std is None:
            return scaled
        shape = (1, -1) + (1,) * (inputs.ndim - 2)
        return scaled.sub_(self.mean.view(shape)).div_(self.std.view(shape))

    def features(self, inputs: Tensor) -> Tensor:
        """Features (B, D) of inputs (B, C, …), uint8 or already normalised float."""
        features: Tensor = self.backbone(self.normalise(inputs))
        return features

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (B, K) of inputs (B, C, …), uint8 or already normalised float."""
        return self.logits_and_features(inputs)[0]

    def logits_and_features(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, K), and the features (B, D) that they are made of."""
        features = self.features(inputs)
        return self.head(features), features


def memory_format(inputs: Tensor) -> torch.memory_format:
    """The channels-last layout of a batch, which convolutions prefer on CPU and on tensor cores."""
    return {4: torch.channels_last, 5: torch.channels_last_3d}.get(inputs.ndim, torch.contiguous_format)


def lay_out_channels_last(module: nn.Module) -> None:
    """Put the weights of convolutions in the channels-last layout, in place."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.weight.data = part.weight.data.contiguous(memory_format=torch.channels_last)
        elif isinstance(part, nn.Conv3d):
            part.weight.data = part.weight.data.contiguous(memory_format=torch.channels_last_3d)


def default_device() -> torch.device:
    """The accelerator when there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def best_precision() -> str:
    """The precision that suits this machine: `bf16-mixed` only where the hardware multiplies in bfloat16.

    Emulated bfloat16 (a CPU without AVX512-BF16) is several times slower than float32, so it is not used
    there; run `python benchmarks/training.py` to see it on your machine.
    """
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return "bf16-mixed" if torch.cpu._is_avx512_bf16_supported() else "32-true"
