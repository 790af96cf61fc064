"""Image backbones: every timm model by name, and a small residual network for images of 8 to 64 pixels."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, cast

import timm
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from sublabel.errors import ArtifactError, ConfigError

__all__ = ["SmallResNet", "create_backbone", "small_resnet7"]

# timm's registry looks for this name in the module that registers a model.
default_cfgs = generate_default_cfgs(
    {
        "small_resnet7": {
            "input_size": (3, 32, 32),
            "pool_size": (4, 4),
            "crop_pct": 1.0,
            "interpolation": "bicubic",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.25, 0.25, 0.25),
            "first_conv": "stem.0",
            "classifier": "fc",
        }
    }
)


def create_backbone(name: str, *, pretrained: bool = False, weights: str | Path | None = None) -> nn.Module:
    """Build a timm model without its classifier.

    Args:
        name: Any name of `timm.list_models()`, with or without a pretrained tag, or `small_resnet7`.
        pretrained: Load timm's published weights (downloads them from the hub on first use).
        weights: A local file instead, with all weights of that model, its classifier included.

    Returns:
        A module from (B, 3, H, W) float to (B, D) features, with `num_features` = D.

    Raises:
        ConfigError: timm knows no model of that name.
        ArtifactError: The weights file does not exist or does not fit the model.
    """
    if not timm.is_model(name.split(".")[0]):
        similar = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=3)
        hint = f"; did you mean {' or '.join(similar)}?" if similar else ""
        raise ConfigError(f"timm has no model {name!r}{hint} (`timm.list_models()` names them all)")
    if weights is None:
        try:
            backbone: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0)
        except OSError as error:
            raise ArtifactError(
                f"the published weights of {name} cannot be had ({type(error).__name__}): check the network, "
                "or give a file as `weights`"
            ) from error
    else:
        backbone = _load_weights(name, Path(weights))
    # Some models widen their features in a layer before the classifier; the head must match what forward
    # returns.
    backbone.num_features = getattr(backbone, "head_hidden_size", backbone.num_features)
    return backbone


def _load_weights(name: str, weights: Path) -> nn.Module:
    if not weights.is_file():
        raise ArtifactError(f"there is no weights file {weights}")
    try:
        # Without a classifier timm would let weights of any other network pass unused.
        network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(weights)})
    except (RuntimeError, KeyError) as error:
        first = " ".join(str(error).split())[:200]
        raise ArtifactError(f"{weights} does not fit timm's {name}: {first}") from error
    cast(Any, network).reset_classifier(0)
    return network


class SmallResNet(nn.Module):
    """A ResNet-7 for images of 8 to 64 pixels: four convolutions and one residual block, max-pooled (ours).

    It is cut down from the ResNet-9 of the fast CIFAR-10 entries of DAWNBench, so that two cores train it in
    minutes.

    Args:
        widths: Channels of the four stages; the last one is `num_features`.
        in_chans: Channels of the input.
        num_classes: Width of a linear classifier; 0 returns features.
    """

    def __init__(
        self,
        widths: tuple[int, int, int, int] = (8, 32, 64, 128),
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        first, second, third, last = widths
        self.stem = _convolution(in_chans, first)
        self.stage1 = nn.Sequential(_convolution(first, second), nn.MaxPool2d(2))
        self.stage2 = nn.Sequential(_convolution(second, third), nn.MaxPool2d(2))
        self.stage3 = nn.Sequential(_convolution(third, last), nn.MaxPool2d(2), _Residual(last))
        self.num_features = self.head_hidden_size = last
        self.reset_classifier(num_classes)

    def get_classifier(self) -> nn.Module:
        """Return the last layer, as timm's models do."""
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str = "max") -> None:
        """Replace the last layer; 0 classes leave the features as they are."""
        self.num_classes = num_classes
        self.fc: nn.Module = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward_features(self, inputs: Tensor) -> Tensor:
        """Compute feature maps (B, num_features, H / 8, W / 8) of images (B, in_chans, H, W)."""
        maps: Tensor = self.stage3(self.stage2(self.stage1(self.stem(inputs))))
        return maps

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute features (B, num_features) of images (B, in_chans, H, W), or logits (B, num_classes)."""
        output: Tensor = self.fc(self.forward_features(inputs).amax((-2, -1)))
        return output


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_convolution(width, width), _convolution(width, width))

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = inputs + self.body(inputs)
        return output


def _convolution(in_width: int, out_width: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_width, out_width, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_width), nn.ReLU(inplace=True))


@register_model
def small_resnet7(pretrained: bool = False, **options: Any) -> SmallResNet:
    """Build a `SmallResNet` of 0.4 M parameters (ours), which has no published weights.

    Args:
        pretrained: timm refuses True, as there are no weights.
        **options: Arguments of `SmallResNet`.
    """
    return build_model_with_cfg(SmallResNet, "small_resnet7", pretrained, **options)
