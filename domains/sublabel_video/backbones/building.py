"""Video backbones by name: 3D networks, and timm's image networks over the frames of a clip."""

from __future__ import annotations

import difflib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import timm
from pytorchvideo.models.r2plus1d import create_r2plus1d
from pytorchvideo.models.resnet import create_resnet
from pytorchvideo.models.x3d import create_x3d
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from sublabel.errors import ConfigError
from sublabel.media.domain import Preprocessing
from sublabel_image import ImageDomain
from sublabel_image import create_backbone as create_image_backbone
from sublabel_video.backbones.inflation import inflate
from sublabel_video.backbones.resnet3d import VideoBackbone, small_resnet3d_blocks

__all__ = ["BACKBONES", "TSN_PREFIX", "TemporalSegmentNetwork", "create_backbone"]

TSN_PREFIX = "tsn:"
"""Before a timm name: that image network over the frames of a clip."""

_TSN_FRAMES = 8


def create_backbone(
    name: str, *, pretrained: bool = False, weights: str | Path | None = None
) -> VideoBackbone | TemporalSegmentNetwork:
    """Build a video backbone without a classifier.

    Args:
        name: One of `BACKBONES`, or `tsn:` and any timm name, such as `tsn:resnet50`.
        pretrained: Start from ImageNet weights (downloads them on first use): timm's own for `tsn:`, timm's
            ResNet inflated for the `slow` networks of full width.
        weights: Local weights instead: a folder that `sublabel.training.save_model` wrote, a safetensors file
            of the same backbone (pytorchvideo's names; its classifier is dropped), or a file of the 2D
            network, which is timm's ResNet to inflate, or the image network of `tsn:`.

    Returns:
        A module from clips (B, 3, T, H, W) float of any size to (B, D) features, with `num_features` = D and
        `preprocessing`, whose `input_size` (3, T, H, W) is a default.

    Raises:
        ConfigError: The name is unknown, or `pretrained` and there are no weights for it.
        ArtifactError: The weights do not exist or do not fit.
    """
    if name.startswith(TSN_PREFIX):
        return _frame_backbone(name.removeprefix(TSN_PREFIX), pretrained, weights)
    if name not in _ARCHITECTURES:
        raise ConfigError(f"there is no video backbone {name!r}{_hint(name)}")
    architecture = _ARCHITECTURES[name]
    if pretrained and weights is None and architecture.image_network is None:
        inflated = [other for other, made in _ARCHITECTURES.items() if made.image_network]
        raise ConfigError(
            f"{name} has no ImageNet weights: give a file as `weights`, leave `pretrained` off, or take "
            f"{', '.join(inflated)} or {TSN_PREFIX}<timm name>"
        )
    backbone = VideoBackbone(
        architecture.blocks(),
        num_features=architecture.num_features,
        preprocessing=Preprocessing(
            input_size=(3, *architecture.clip_size),
            mean=_KINETICS_MEAN,
            std=_KINETICS_STD,
            interpolation="bilinear",
            frames_per_second=architecture.frames_per_second,
        ),
    )
    if weights is not None:
        _load(backbone, Path(weights))
    elif pretrained and architecture.image_network is not None:
        _inflate_imagenet(backbone, create_image_backbone(architecture.image_network, pretrained=True))
    return backbone


class TemporalSegmentNetwork(nn.Module):
    """An image network on every frame of a clip, and the mean of the features over time.

    This is the consensus of Temporal Segment Networks (Wang et al. 2016, https://arxiv.org/abs/1608.00859),
    over features in place of class scores. It is blind to the order of frames, but open to every image
    network.

    Args:
        image_backbone: Maps images (N, 3, H, W) to features (N, D) and has `num_features` = D.
    """

    def __init__(self, image_backbone: nn.Module) -> None:
        super().__init__()
        self.image_backbone = image_backbone
        self.num_features = image_backbone.num_features
        wanted = ImageDomain().preprocessing(image_backbone)
        channels, height, width = wanted.input_size
        self.preprocessing = wanted.model_copy(update={"input_size": (channels, _TSN_FRAMES, height, width)})

    def forward(self, clips: Tensor) -> Tensor:
        """Compute features (B, num_features) of clips (B, 3, T, H, W)."""
        # For clips in channels_last_3d this is a view, with its frames in channels_last.
        frames = clips.transpose(1, 2).flatten(0, 1)
        features: Tensor = self.image_backbone(frames)
        averaged: Tensor = features.unflatten(0, clips.shape[:1] + clips.shape[2:3]).mean(1)
        return averaged


@dataclass(frozen=True)
class _Architecture:
    blocks: Callable[[], Iterable[nn.Module]]
    num_features: int
    clip_size: tuple[int, int, int]
    """Default frames, height and width."""
    frames_per_second: float | None = None
    image_network: str | None = None
    """Name of timm's network that can be inflated into it."""


def _slow(depth: int, stem_width: int = 64) -> Iterable[nn.Module]:
    """SlowFast's slow pathway: kernels over time in the last two stages only, no stride over time."""
    blocks: nn.ModuleList = create_resnet(
        model_depth=depth, stem_dim_out=stem_width, stem_conv_kernel_size=(1, 7, 7), head=None
    ).blocks
    return blocks


def _r2plus1d() -> Iterable[nn.Module]:
    blocks: nn.ModuleList = create_r2plus1d().blocks[:-1]
    return blocks


def _x3d(frames: int, size: int) -> Iterable[nn.Module]:
    *blocks, head = create_x3d(input_clip_length=frames, input_crop_size=size).blocks
    # X3D widens its features around the pooling, which pytorchvideo fixes to one clip size.
    head.pool.pool = nn.AdaptiveAvgPool3d(1)
    return [*blocks, nn.Sequential(OrderedDict(pool=head.pool))]


_KINETICS_MEAN, _KINETICS_STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)

# Clips as in pytorchvideo's model zoo, whose videos have 30 frames a second; the last two are ours.
_ARCHITECTURES: Mapping[str, _Architecture] = {
    "slow_r50": _Architecture(partial(_slow, 50), 2048, (8, 224, 224), 30 / 8, "resnet50"),
    "slow_r101": _Architecture(partial(_slow, 101), 2048, (8, 224, 224), 30 / 8, "resnet101"),
    "r2plus1d_r50": _Architecture(_r2plus1d, 2048, (16, 224, 224), 30 / 4),
    "x3d_xs": _Architecture(partial(_x3d, 4, 160), 2048, (4, 160, 160), 30 / 12),
    "x3d_s": _Architecture(partial(_x3d, 13, 160), 2048, (13, 160, 160), 30 / 6),
    "x3d_m": _Architecture(partial(_x3d, 16, 224), 2048, (16, 224, 224), 30 / 5),
    "slow_r50_narrow": _Architecture(partial(_slow, 50, 16), 512, (8, 112, 112), 30 / 8),
    "small_resnet3d": _Architecture(small_resnet3d_blocks, 64, (8, 32, 32)),
}

BACKBONES = tuple(_ARCHITECTURES)
"""Names of the 3D networks; `tsn:<timm name>` adds all image networks of timm."""


def _hint(name: str) -> str:
    if timm.is_model(name.split(".")[0]):
        return f": it is an image network; did you mean {TSN_PREFIX}{name}?"
    similar = difflib.get_close_matches(name, BACKBONES, n=3)
    meant = f"; did you mean {' or '.join(similar)}?" if similar else ""
    return f"{meant} (there are {', '.join(BACKBONES)} and {TSN_PREFIX}<timm name>)"


def _load(backbone: VideoBackbone, weights: Path) -> None:
    """Load a 3D network's own weights, or inflate those of a 2D one: their kernels tell."""
    # Lightning takes seconds to import, and who only reads clips needs none of it.
    from sublabel.training import load_weights, read_card, warm_start

    if weights.is_dir():
        warm_start(backbone, weights)
        card = read_card(weights).preprocessing
        _normalise_as(backbone, card.mean, card.std)
        return
    state = load_weights(weights)
    if any(tensor.ndim == 4 for tensor in state.values()):
        _inflate_imagenet(backbone, state)
        return
    # The classifier of pytorchvideo's published networks.
    warm_start(backbone, {key: tensor for key, tensor in state.items() if ".proj." not in key})


def _inflate_imagenet(backbone: VideoBackbone, image_network: nn.Module | Mapping[str, Tensor]) -> None:
    inflate(backbone, image_network)
    _normalise_as(backbone, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)


def _normalise_as(backbone: VideoBackbone, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    backbone.preprocessing = backbone.preprocessing.model_copy(update={"mean": mean, "std": std})


def _frame_backbone(image_name: str, pretrained: bool, weights: str | Path | None) -> TemporalSegmentNetwork:
    if weights is None:
        return TemporalSegmentNetwork(create_image_backbone(image_name, pretrained=pretrained))
    from sublabel.training import load_weights, warm_start

    path = Path(weights)
    own = path.is_dir() or (
        path.suffix == ".safetensors" and any("image_backbone." in key for key in load_weights(path))
    )
    if not own:
        return TemporalSegmentNetwork(create_image_backbone(image_name, weights=path))
    backbone = TemporalSegmentNetwork(create_image_backbone(image_name))
    warm_start(backbone, path)
    return backbone
