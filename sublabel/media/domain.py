"""What a medium (images, videos, …) must supply, and how its plug-in package is found.

Sub-Pseudo Labels (SPL) need nothing from the medium but a label pair for each sample, so all of `sublabel` is
written against this interface; a package that implements it announces itself in the entry point group
`sublabel.domains`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from sublabel.errors import ConfigError
from sublabel.extras import needs_extra, requirement_of
from sublabel.media.reader import Reader

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import Tensor, nn

ENTRY_POINT_GROUP = "sublabel.domains"
STRIP_FRAMES = 4
"""Frames of a clip that its thumbnail shows."""


class Preprocessing(BaseModel):
    """How a backbone wants its input; stored in every model card.

    `mean` and `std` are per channel, for inputs scaled to 0–1. The classifier applies them itself, on the
    device, so that media travel as uint8; whoever takes the bare backbone elsewhere must apply them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_size: tuple[int, ...]
    """(C, H, W) for images, (C, T, H, W) for clips of T frames."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    crop_fraction: float = 1.0
    """Share of the resized short side that the centre crop keeps at test time."""
    frames_per_second: float | None = None
    """Rate at which the frames of a clip are taken from the video; None of pictures."""

    def resized(self, image_size: int | None) -> Preprocessing:
        """The same with inputs of another height and width.

        Args:
            image_size: In pixels; None leaves them as they are.

        Example:
            >>> Preprocessing(input_size=(3, 8, 112, 112), mean=(0.5,), std=(0.5,)).resized(160).input_size
            (3, 8, 160, 160)
        """
        if image_size is None:
            return self
        return self.model_copy(update={"input_size": (*self.input_size[:-2], image_size, image_size)})


class Domain(Reader):
    """The medium's side of the library: how it is read (`Reader`), transformed, looked at and shown.

    Instances are small and picklable: worker processes receive them.
    """

    name: ClassVar[str]
    small_backbone: ClassVar[str]
    """Name of a backbone that trains in seconds, for checks and first runs."""
    num_views: int | None = None
    """Test-time views V that `test_transform` makes of each sample; None: its inputs have no view axis."""

    def options(self) -> dict[str, Any]:
        """The options that decoded media and results depend on, JSON-able."""
        return {}

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Build the domain again from what `options` returned."""
        return cls(**options)

    @abstractmethod
    def create_backbone(
        self, name: str, *, pretrained: bool = False, weights: str | None = None
    ) -> nn.Module:
        """Build a backbone that maps (B, …) inputs to (B, D) float features and has `num_features` = D.

        Args:
            name: The backbone's name in this domain.
            pretrained: Load the published weights of that name (may download).
            weights: A local weights file instead.
        """

    @abstractmethod
    def preprocessing(self, backbone: nn.Module) -> Preprocessing:
        """Say how this backbone wants its input."""

    @abstractmethod
    def training_transform(
        self, preprocessing: Preprocessing, augmentation: str | None = None, *, flip: bool = True
    ) -> Callable[[Tensor], Tensor]:
        """Make the function from decoded media (uint8) to one augmented input of the wanted size (uint8).

        Args:
            preprocessing: What the backbone wants.
            augmentation: One of the domain's augmentations; None takes its default.
            flip: False leaves out flips from left to right, for classes that they would turn into another.
        """

    @abstractmethod
    def evaluation_transform(self, preprocessing: Preprocessing) -> Callable[[Tensor], Tensor]:
        """Make the function from decoded media (uint8) to the one input (uint8) that a teacher looks at."""

    def test_transform(self, preprocessing: Preprocessing) -> Callable[[Tensor], Tensor]:
        """Make the function from decoded media (uint8) to what is tested: (V, C, …) where there are views."""
        return self.evaluation_transform(preprocessing)

    def thumbnail(self, media: Tensor) -> Tensor:
        """Make of decoded media the picture that a report shows: the image, or a strip of a clip's frames.

        Args:
            media: What `read` returned: uint8 (C, H, W), or (T, C, H, W).

        Returns:
            uint8 (C, H, W'): of a clip up to `STRIP_FRAMES` frames side by side, spread evenly over it,
            with a white gap between them.
        """
        if media.ndim == 3:
            return media
        shown = min(STRIP_FRAMES, len(media))
        frames = media[[(2 * number + 1) * len(media) // (2 * shown) for number in range(shown)]]
        width = media.shape[-1]
        gap = max(1, width // 32)
        strip = frames.new_full((*frames.shape[:-1], width + gap), 255)
        strip[..., :width] = frames
        return strip.permute(1, 2, 0, 3).flatten(2)[..., :-gap]

    @abstractmethod
    def generate(self, folder: Path, samples: int) -> list[dict[str, Any]]:
        """Make a small data set without a download, for checks and first runs.

        Args:
            folder: Where files may be written.
            samples: How many.

        Returns:
            Rows as of a manifest, which `read` takes: `sample_id`, and `uri` or `image`.
        """

    def cam_layer(self, backbone: nn.Module, preprocessing: Preprocessing | None = None) -> nn.Module:
        """Choose the layer that Grad-CAM looks at.

        That is the last one before pooling whose maps are not tiny, and in a transformer the norm before the
        last attention, found by a forward pass. Override it where another layer shows more.

        Args:
            backbone: The network.
            preprocessing: Has the size of its inputs; default: what `preprocessing` says of it.

        Raises:
            ConfigError: The backbone's features have no places.
        """
        import torch

        from sublabel.feature_maps import feature_layer

        wanted = preprocessing or self.preprocessing(backbone)
        return feature_layer(backbone, torch.zeros(1, *wanted.input_size))

    def save_animation(
        self, frames: np.ndarray, path: str | Path, *, frames_per_second: float | None = None
    ) -> None:
        """Write moving pictures; only of a domain with inputs (C, T, H, W), for which others make overlays.

        Args:
            frames: RGB, uint8 (T, H, W, 3).
            path: Its suffix is the format: `.mp4` or `.webp`.
            frames_per_second: None takes a rate at which people can look.

        Raises:
            ConfigError: The domain writes no such files.
        """
        raise ConfigError(f"the domain {self.name!r} writes no animations such as {path}")


def domain_names() -> list[str]:
    """The names of the installed domains, sorted."""
    return sorted(entry.name for entry in entry_points(group=ENTRY_POINT_GROUP))


def load_domain(name: str, options: Mapping[str, Any] | None = None) -> Domain:
    """Find an installed domain by name.

    Args:
        name: Of the domain.
        options: What its `options` returned, to build the same again; None takes its defaults.

    Raises:
        ConfigError: No installed package offers that domain, or a library that it needs is not installed.
    """
    for entry in entry_points(group=ENTRY_POINT_GROUP, name=name):
        with needs_extra(f"the domain {name!r}", requirement_of(entry)):
            found: type[Domain] = entry.load()
        return found() if options is None else found.from_options(options)
    raise ConfigError(
        f"no domain is called {name!r}: installed are {', '.join(domain_names()) or 'none'}; "
        "install the package that brings it"
    )
