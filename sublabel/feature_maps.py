"""Where in a network its features still have a place in the picture, whatever way it lays them out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sublabel.errors import ConfigError

# timm's name for the norm before attention. What comes after the last one reaches a class token only, so that
# patch tokens have no gradient there.
BEFORE_ATTENTION = "norm1"
MOST_PREFIX_TOKENS = 16
# Ours. Fewer rows or columns than these say nothing about a place; they come of small inputs.
FEWEST_PLACES = 4


class _Seen(NamedTuple):
    """A layer whose output could have places."""

    name: str
    module: nn.Module
    places: int
    """Rows or columns, whichever are fewer; 0 where there is one place or none."""
    is_tokens: bool


@dataclass(frozen=True)
class MapLayout:
    """How a layer's output becomes maps (B, D, h, w) of images or (B, D, t, h, w) of clips, and back."""

    frames: int | None = None
    """Frames T of a clip, where the network looks at each of them alone: the output has B × T rows."""
    channels_last: bool = False
    grid: tuple[int, int] | None = None
    """Rows and columns of patch tokens."""
    prefix_tokens: int = 0
    """Class and register tokens before them."""

    @classmethod
    def of(
        cls, output: Sequence[int], inputs: Sequence[int], prefix_tokens: int | None = None
    ) -> MapLayout | None:
        """Recognise the layout of an output.

        Args:
            output: Its shape: (M, D, t, h, w), (M, D, h, w), (M, h, w, D) or tokens (M, N, D); M is B, or
                B × T where frames go through the network one by one.
            inputs: Shape of the network's inputs, (B, C, H, W) or (B, C, T, H, W).
            prefix_tokens: Where the network says how many there are; None finds out.

        Returns:
            None where the output has no places, or only one.
        """
        batch, height, width = inputs[0], *inputs[-2:]
        frames = inputs[2] if len(inputs) == 5 else None
        if len(output) == 5:
            has_places = frames is not None and output[0] == batch and max(output[2:]) > 1
            return cls() if has_places else None
        if len(output) not in (3, 4) or output[0] != batch * (frames or 1):
            return None
        if len(output) == 3:
            counts = range(MOST_PREFIX_TOKENS) if prefix_tokens is None else [prefix_tokens]
            for count in counts:
                grid = _grid(output[1] - count, height, width)
                if grid is not None:
                    return cls(frames=frames, grid=grid, prefix_tokens=count)
            return None
        for channels_last, places in ((False, output[2:]), (True, output[1:3])):
            if max(places) > 1 and _is_shrunk((places[0], places[1]), height, width):
                return cls(frames=frames, channels_last=channels_last)
        return None

    def places(self, output: Sequence[int]) -> tuple[int, int]:
        """Rows and columns of an output of this shape."""
        if self.grid is not None:
            return self.grid
        return (output[1], output[2]) if self.channels_last else (output[-2], output[-1])

    def to_maps(self, output: Tensor) -> Tensor:
        """The maps (B, D, …) in an output."""
        if self.grid is not None:
            output = output[:, self.prefix_tokens :].transpose(1, 2).unflatten(2, self.grid)
        if self.channels_last:
            output = output.movedim(-1, 1)
        return output if self.frames is None else output.unflatten(0, (-1, self.frames)).transpose(1, 2)

    def with_maps(self, output: Tensor, maps: Tensor) -> Tensor:
        """The output with other maps (B, D, …) in it."""
        if self.frames is not None:
            maps = maps.transpose(1, 2).flatten(0, 1)
        if self.channels_last:
            return maps.movedim(1, -1)
        if self.grid is None:
            return maps
        return torch.cat([output[:, : self.prefix_tokens], maps.flatten(2).transpose(1, 2)], 1)


def feature_layer(backbone: nn.Module, inputs: Tensor) -> nn.Module:
    """Find the last layer before pooling by looking at one forward pass.

    That is the last one whose output has 4 × 4 places or more, the inside of blocks that shrink it further
    left out, but not that of chains of blocks (`nn.Sequential`); where none has, the last one with several
    places. Where these are the tokens of a transformer, it is the norm before the last attention instead, as
    is usual for Grad-CAM there.

    Args:
        backbone: Any network.
        inputs: Float, (B, C, H, W) or (B, C, T, H, W).

    Raises:
        ConfigError: No layer has such an output, or no norm of a transformer is called `norm1`.
    """
    prefix_tokens = declared_prefix_tokens(backbone)
    seen: list[_Seen] = []
    with ExitStack() as stack:
        for name, module in backbone.named_modules():

            def note(module: nn.Module, _: Any, output: Any, name: str = name) -> None:
                if isinstance(output, Tensor) and output.ndim > 2:
                    layout = MapLayout.of(output.shape, inputs.shape, prefix_tokens)
                    places = 0 if layout is None else min(layout.places(output.shape))
                    seen.append(_Seen(name, module, places, output.ndim == 3))

            stack.callback(module.register_forward_hook(note).remove)
        stack.enter_context(evaluating(backbone))
        with torch.no_grad():
            backbone(inputs)
    what = type(backbone).__name__
    last = _last_with_places(seen)
    if last is None:
        raise ConfigError(
            f"no layer of {what} has an output with more than one place for inputs of shape "
            f"{tuple(inputs.shape)}: Grad-CAM needs maps (B, D, h, w) or (B, D, t, h, w), or patch tokens"
        )
    if not last.is_tokens:
        return last.module
    norms = [
        layer.module for layer in seen if layer.places and layer.name.rpartition(".")[2] == BEFORE_ATTENTION
    ]
    if not norms:
        raise ConfigError(
            f"the last features of {what} are tokens, and none of its layers is called {BEFORE_ATTENTION!r}: "
            "give the norm before the last attention as `layer`"
        )
    return norms[-1]


def _last_with_places(seen: Sequence[_Seen]) -> _Seen | None:
    several = [layer for layer in seen if layer.places]
    enough = [layer for layer in several if layer.places >= FEWEST_PLACES]
    # Within such a block there are layers that a residual connection leads past; past those of a chain none.
    shrinking = tuple(
        f"{layer.name}."
        for layer in seen
        if layer.name and layer.places < FEWEST_PLACES and not isinstance(layer.module, nn.Sequential)
    )
    whole = [layer for layer in enough if not layer.name.startswith(shrinking)]
    return next((layers[-1] for layers in (whole, enough, several) if layers), None)


def declared_prefix_tokens(backbone: nn.Module) -> int | None:
    """Class and register tokens of a transformer, or of the one within, as timm declares them."""
    declared = (getattr(module, "num_prefix_tokens", None) for module in backbone.modules())
    return next((count for count in declared if isinstance(count, int)), None)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for the time of a block; every submodule then has its own mode again."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _grid(tokens: int, height: int, width: int) -> tuple[int, int] | None:
    if tokens < 2:
        return None
    rows = max(1, round((tokens * height / width) ** 0.5))
    grid = (rows, tokens // rows)
    return grid if grid[0] * grid[1] == tokens and _is_shrunk(grid, height, width) else None


def _is_shrunk(places: tuple[int, int], height: int, width: int) -> bool:
    """Whether the places are the pixels of a picture at one stride, but for rounding."""
    return abs(places[0] / height - places[1] / width) <= max(1 / height, 1 / width)
