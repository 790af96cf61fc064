"""Training augmentations and the test-time transform of images, uint8 (C, H, W), in torchvision v2.

Scaling and normalisation come later, on the device (`sublabel.training.Classifier`).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from sublabel.errors import ConfigError
from sublabel.media.domain import Preprocessing

Transform = Callable[[Tensor], Tensor]

AUGMENTATIONS = {
    "resized_crop_flip": "a random part of the image at the input size, flipped from left to right",
    "randaugment": "resized_crop_flip, then RandAugment",
    "shift_flip": "pad by an eighth and crop back, and flip from left to right, for small images",
    "shift": "the same without the flip, for images whose left and right matter, such as digits",
}
"""Name of each augmentation and what it does; the first one is the default."""


def evaluation_transform(preprocessing: Preprocessing) -> Transform:
    """Make the transform of teacher and test: resize, and crop the centre.

    Args:
        preprocessing: What the backbone wants: the short side is resized to `input_size` over
            `crop_fraction`.

    Returns:
        A function from an image uint8 (C, H, W) of any size to one of the input size.
    """
    _, height, width = preprocessing.input_size
    short_side = int(min(height, width) / preprocessing.crop_fraction)
    resize = v2.Resize(short_side, _interpolation(preprocessing))
    transform: Transform = v2.Compose([resize, v2.CenterCrop((height, width))])
    return transform


def training_transform(preprocessing: Preprocessing, augmentation: str, *, flip: bool = True) -> Transform:
    """Make one of the `AUGMENTATIONS`.

    Args:
        preprocessing: What the backbone wants.
        augmentation: Name of the augmentation.
        flip: False leaves out its flip from left to right.

    Returns:
        A function from an image uint8 (C, H, W) of any size to one of the input size.

    Raises:
        ConfigError: There is no augmentation of that name.
    """
    if augmentation not in AUGMENTATIONS:
        raise ConfigError(f"no augmentation is called {augmentation!r}; there are {', '.join(AUGMENTATIONS)}")
    _, height, width = preprocessing.input_size
    size, interpolation = (height, width), _interpolation(preprocessing)
    if augmentation.startswith("shift"):
        steps: list[Transform] = [
            evaluation_transform(preprocessing),
            v2.RandomCrop(size, padding=(max(1, width // 8), max(1, height // 8))),
        ]
    else:
        steps = [v2.RandomResizedCrop(size, interpolation=interpolation)]
    if flip and augmentation != "shift":
        steps.append(v2.RandomHorizontalFlip())
    if augmentation == "randaugment":
        steps.append(v2.RandAugment())
    transform: Transform = v2.Compose(steps)
    return transform


def _interpolation(preprocessing: Preprocessing) -> InterpolationMode:
    return InterpolationMode(preprocessing.interpolation)
