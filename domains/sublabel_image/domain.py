"""The image side of `sublabel.media.domain.Domain`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from sublabel.media.domain import Domain, Preprocessing
from sublabel_image.backbones import create_backbone
from sublabel_image.reading import image_bytes, read_image
from sublabel_image.transforms import AUGMENTATIONS, Transform, evaluation_transform, training_transform


class ImageDomain(Domain):
    """Still images.

    Args:
        image_size: Input height and width in pixels; None takes the size that the backbone was made for.
    """

    name: ClassVar[str] = "image"
    small_backbone: ClassVar[str] = "small_resnet7"

    def __init__(self, image_size: int | None = None) -> None:
        self.image_size = image_size

    def options(self) -> dict[str, Any]:
        """The input size, as a value that JSON keeps."""
        return {"image_size": self.image_size}

    def create_backbone(
        self, name: str, *, pretrained: bool = False, weights: str | None = None
    ) -> nn.Module:
        """Build a timm model by its name with `sublabel_image.create_backbone`."""
        return create_backbone(name, pretrained=pretrained, weights=weights)

    def preprocessing(self, backbone: nn.Module) -> Preprocessing:
        """Take timm's data config of the backbone, at `image_size` where one is given."""
        size = {} if self.image_size is None else {"input_size": (3, self.image_size, self.image_size)}
        config = resolve_model_data_config(backbone, args=size)
        return Preprocessing(
            input_size=config["input_size"],
            mean=config["mean"],
            std=config["std"],
            interpolation=config["interpolation"],
            crop_fraction=config["crop_pct"],
        )

    def training_transform(
        self, preprocessing: Preprocessing, augmentation: str | None = None, *, flip: bool = True
    ) -> Transform:
        """Make an augmentation with `sublabel_image.training_transform`; default: the first one."""
        return training_transform(preprocessing, augmentation or next(iter(AUGMENTATIONS)), flip=flip)

    def evaluation_transform(self, preprocessing: Preprocessing) -> Transform:
        """Make the centre crop with `sublabel_image.evaluation_transform`."""
        return evaluation_transform(preprocessing)

    def generate(self, folder: Path, samples: int) -> list[dict[str, Any]]:
        """Make images of noise, 24 × 32 pixels, as bytes in the rows."""
        pixels = np.random.default_rng(0).integers(0, 256, (samples, 24, 32, 3), dtype=np.uint8)
        return [
            {"sample_id": f"noise{number}", "image": image_bytes(image)}
            for number, image in enumerate(pixels)
        ]

    def read(self, row: Mapping[str, Any]) -> Tensor:
        """Read an image, uint8 (3, H, W), with `sublabel_image.read_image`."""
        return read_image(row)
