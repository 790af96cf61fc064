"""Grad-CAM: which places of an image or clip speak for a class."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sublabel.errors import ConfigError, LabelError
from sublabel.extras import needs_extra
from sublabel.feature_maps import MapLayout, declared_prefix_tokens, evaluating, feature_layer

if TYPE_CHECKING:
    from sublabel.training import Classifier


def grad_cam(
    classifier: Classifier,
    inputs: Tensor,
    labels: int | Sequence[int] | Tensor,
    *,
    layer: str | nn.Module | None = None,
) -> Tensor:
    """Grad-CAM of one class for each input (Selvaraju et al. 2017), through captum's `LayerGradCam`.

    The features of a layer are summed, each weighted by the mean of the class score's gradient over all
    places; what is positive is enlarged to the input's size and divided by its maximum. Published for maps of
    2D networks; over time (3D networks, and image networks that look at the frames one by one) and over the
    patch tokens of a transformer the same sum is taken.

    Args:
        classifier: With any head: that of pre-training or the fine-tuned one. Not changed.
        inputs: (B, C, H, W) or (B, C, T, H, W), as for the classifier: uint8 or already normalised float.
        labels: The class of each input, integers (B,) in 0..K-1; one integer holds for all.
        layer: A layer, or its name in the backbone; default: the last one before pooling, for transformers
            the norm before the last attention.

    Returns:
        float32 in [0, 1], (B, H, W) or (B, T, H, W). The maximum of each input is 1; where nothing speaks for
        the class, all is 0.

    Raises:
        ConfigError: The inputs have another shape, there is no such layer, its output has no places, or
            captum is not installed.
        LabelError: A label is outside the head's classes, or there are not as many as inputs.

    source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization", ICCV 2017, https://arxiv.org/abs/1610.02391.

    Example:
        >>> import torch
        >>> from sublabel.training import Classifier
        >>> from sublabel_image import create_backbone
        >>> classifier = Classifier(create_backbone("small_resnet7"), 5)
        >>> grad_cam(classifier, torch.zeros(2, 3, 32, 32, dtype=torch.uint8), [0, 4]).shape
        torch.Size([2, 32, 32])
    """
    if inputs.ndim not in (4, 5) or len(inputs) == 0:
        raise ConfigError(
            f"inputs have shape {tuple(inputs.shape)}; expected images (B, C, H, W) or clips "
            "(B, C, T, H, W), B ≥ 1"
        )
    targets = _check_labels(labels, len(inputs), classifier.num_classes).to(inputs.device)
    layer_grad_cam = _captum_layer_grad_cam()
    normalised = classifier.normalise(inputs)
    if layer is None:
        layer = feature_layer(classifier.backbone, normalised[:1])
    elif isinstance(layer, str):
        layer = _find_layer(classifier.backbone, layer)
    maps = nn.Identity()
    with evaluating(classifier), torch.enable_grad(), _through(maps, layer, classifier, inputs.shape):
        heat = layer_grad_cam(classifier, maps).attribute(normalised, target=targets, relu_attributions=True)
    places = inputs.shape[2:]
    heat = F.interpolate(heat.detach().float(), places, mode="bilinear" if len(places) == 2 else "trilinear")
    peak = heat.flatten(1).amax(1).view(-1, *(1 for _ in places))
    return heat[:, 0] / peak.clamp_min(torch.finfo(torch.float32).tiny)


@contextmanager
def _through(
    maps: nn.Module, layer: nn.Module, classifier: Classifier, inputs: Sequence[int]
) -> Iterator[None]:
    """Lead a layer's output through `maps` as (B, D, …), whose channels captum expects after the batch."""
    prefix_tokens = declared_prefix_tokens(classifier.backbone)

    def lead(module: nn.Module, _: Any, output: Any) -> Tensor:
        shape = tuple(output.shape) if isinstance(output, Tensor) else None
        layout = None if shape is None else MapLayout.of(shape, inputs, prefix_tokens)
        if layout is None:
            raise ConfigError(
                f"the output of the layer {type(module).__name__} has no places that Grad-CAM could show: "
                f"got {shape or type(output).__name__} for inputs {tuple(inputs)}; expected maps "
                "(B, D, h, w) or (B, D, t, h, w), or patch tokens: choose an earlier layer"
            )
        # Detached: no gradient is wanted before it, and frozen backbones have none.
        seen: Tensor = maps(layout.to_maps(output).detach().requires_grad_())
        return layout.with_maps(output.detach(), seen)

    hook = layer.register_forward_hook(lead)
    try:
        yield
    finally:
        hook.remove()


def _find_layer(backbone: nn.Module, name: str) -> nn.Module:
    layers: dict[str, nn.Module] = {key: module for key, module in backbone.named_modules() if key}
    found = layers.get(name) or layers.get(name.removeprefix("backbone."))
    if found is not None:
        return found
    similar = difflib.get_close_matches(name, layers, n=3)
    named = ", ".join(dict.fromkeys(key.partition(".")[0] for key in layers))
    hint = f"did you mean {' or '.join(similar)}?" if similar else f"its parts are {named}"
    raise ConfigError(f"{type(backbone).__name__} has no layer {name!r}; {hint}")


def _check_labels(labels: int | Sequence[int] | Tensor, batch: int, num_classes: int) -> Tensor:
    targets = torch.as_tensor(labels)
    if targets.is_floating_point() or targets.dtype == torch.bool:
        raise LabelError(f"labels are {targets.dtype}; expected integers (B,)")
    targets = targets.long().expand(batch) if targets.ndim == 0 else targets.long()
    if targets.shape != (batch,):
        raise LabelError(f"labels have shape {tuple(targets.shape)}; expected ({batch},), one for each input")
    outside = targets[(targets < 0) | (targets >= num_classes)]
    if len(outside):
        raise LabelError(
            f"label {int(outside[0])} is outside the {num_classes} classes of this head "
            f"(0–{num_classes - 1}); is it one of another model?"
        )
    return targets


def _captum_layer_grad_cam() -> Any:
    with needs_extra("Grad-CAM", "sublabel[explain]"):
        from captum.attr import LayerGradCam
    return LayerGradCam
