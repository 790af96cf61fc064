"""A 3D ResNet initialised with an ImageNet ResNet, whose kernels are repeated over time (I3D)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from sublabel.errors import ArtifactError

_STEM = re.compile(r"(?P<kind>conv|bn)1\.(?P<rest>\w+)")
_BLOCK = re.compile(
    r"layer(?P<stage>\d)\.(?P<block>\d+)\.(?:(?P<kind>conv|bn)(?P<step>[123])|downsample\.(?P<shortcut>[01]))"
    r"\.(?P<rest>\w+)"
)
_KINDS = {"conv": "conv", "bn": "norm"}


def inflate(backbone: nn.Module, image_network: nn.Module | Mapping[str, Tensor]) -> None:
    """Initialise a 3D ResNet with the weights of a 2D ResNet of the same depth and width.

    Kernels are repeated over their T frames and divided by T. A clip of one repeated frame then gives what
    the frame gives in the 2D network, away from the first and last frames, which are padded with zeros.
    Parameters and running statistics of batch norms are carried over. Source: Carreira & Zisserman 2017,
    https://arxiv.org/abs/1705.07750, section 2.4.1.

    Args:
        backbone: Bottleneck ResNet in pytorchvideo's names, such as `create_backbone("slow_r50")`; changed in
            place.
        image_network: timm's ResNet of that depth (`resnet50`), or its state dict; the classifier `fc` is
            ignored.

    Raises:
        ArtifactError: A tensor of either network has no counterpart in the other, or one of another shape;
            nothing is loaded then.
    """
    state = image_network.state_dict() if isinstance(image_network, nn.Module) else image_network
    own = backbone.state_dict()
    inflated: dict[str, Tensor] = {}
    foreign = []
    for image_name, tensor in state.items():
        if image_name.startswith("fc."):
            continue
        name = _name_in_3d(image_name)
        if name not in own:
            foreign.append(image_name)
            continue
        inflated[name] = _over_time(tensor, own[name])
        if inflated[name].shape != own[name].shape:
            foreign.append(f"{image_name} {tuple(tensor.shape)} for {name} {tuple(own[name].shape)}")
    missing = sorted(set(own) - set(inflated))
    if foreign or missing:
        raise ArtifactError(
            f"cannot inflate: {len(foreign)} tensors of the 2D network do not fit ({_first(foreign)}), "
            f"{len(missing)} of the 3D network get no value ({_first(missing)}); take timm's ResNet of the "
            "same depth, such as resnet50 for slow_r50"
        )
    backbone.load_state_dict(inflated)


def _name_in_3d(image_name: str) -> str | None:
    """The name that pytorchvideo gives to a tensor of timm's bottleneck ResNet."""
    if stem := _STEM.fullmatch(image_name):
        return f"blocks.0.{_KINDS[stem['kind']]}.{stem['rest']}"
    if (block := _BLOCK.fullmatch(image_name)) is None:
        return None
    if block["shortcut"]:
        layer = f"branch1_{('conv', 'norm')[int(block['shortcut'])]}"
    else:
        layer = f"branch2.{_KINDS[block['kind']]}_{'abc'[int(block['step']) - 1]}"
    return f"blocks.{block['stage']}.res_blocks.{block['block']}.{layer}.{block['rest']}"


def _over_time(tensor: Tensor, target: Tensor) -> Tensor:
    """Repeat a kernel (O, I, H, W) to (O, I, T, H, W); any other tensor stays as it is."""
    if tensor.ndim != 4 or target.ndim != 5:
        return tensor
    frames = target.shape[2]
    return tensor.unsqueeze(2).expand(-1, -1, frames, -1, -1) / frames


def _first(names: list[str]) -> str:
    return ", ".join(names[:2]) + (", …" if len(names) > 2 else "") if names else "none"
