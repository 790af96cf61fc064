"""Image backbones: every timm model by name, and a small residual network for images of 8 to 64 pixels."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, cast

import timm
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, ResNet
from torch import nn

from sublabel.errors import ArtifactError, ConfigError

__all__ = ["create_backbone", "small_resnet10"]

# timm's registry looks for this name in the module that registers a model.
default_cfgs = generate_default_cfgs(
    {
        "small_resnet10": {
            "input_size": (3, 32, 32),
            "pool_size": (4, 4),
            "crop_pct": 1.0,
            "interpolation": "bicubic",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.25, 0.25, 0.25),
            "first_conv": "conv1",
            "classifier": "fc",
        }
    }
)


def create_backbone(name: str, *, pretrained: bool = False, weights: str | Path | None = None) -> nn.Module:
    """Build a timm model without its classifier.

    Args:
        name: Any name of `timm.list_models()`, with or without a pretrained tag, or `small_resnet10`.
        pretrained: Load timm's published weights (downloads them from the hub on first use).
        weights: A local weights file for that model instead.

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
    options: dict[str, Any] = {}
    if weights is not None:
        if not Path(weights).is_file():
            raise ArtifactError(f"there is no weights file {weights}")
        pretrained, options = True, {"pretrained_cfg_overlay": {"file": str(weights)}}
    try:
        backbone: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
    except (RuntimeError, KeyError) as error:
        if weights is None:
            raise
        first = " ".join(str(error).split())[:200]
        raise ArtifactError(f"{weights} does not fit timm's {name}: {first}") from error
    # Some models widen their features in a layer before the classifier; the head must match what forward
    # returns.
    backbone.num_features = getattr(backbone, "head_hidden_size", backbone.num_features)
    return backbone


@register_model
def small_resnet10(pretrained: bool = False, **options: Any) -> ResNet:
    """A residual network of 0.3 M parameters for small images (ours): stride 1 at the stem, widths 16 to 128.

    Args:
        pretrained: There are no published weights; timm refuses True.
        **options: Passed to timm's `ResNet`.
    """
    # timm takes the stem's width only with its deep stem, whose three convolutions are then replaced by one.
    model: Any = build_model_with_cfg(
        ResNet,
        "small_resnet10",
        pretrained,
        block=BasicBlock,
        layers=(1, 1, 1, 1),
        channels=(16, 32, 64, 128),
        stem_type="deep",
        stem_width=8,
        **options,
    )
    model.conv1 = nn.Conv2d(options.get("in_chans", 3), 16, kernel_size=3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    return cast(ResNet, model)
