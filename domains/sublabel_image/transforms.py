"""Training augmentations and the test-time transform, in torchvision v2, from uint8 to uint8 (C, H, W).

Scaling and normalisation come later, on the device (`sublabel.training.Classifier`).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from sublabel.domain import Preprocessing
from sublabel.errors import ConfigError

AUGMENTATIONS = {
    "shift": "pad by an eighth and crop back, for small images in which left and right matter, such as digits",
    "shift_flip": "shift, and flip from left to right",
    "resized_crop_flip": "a random part of the image at the input size, flipped from left to right",
    "randaugment": "resized_crop_flip, then RandAugment",
}


def evaluation_transform(preprocessing: Preprocessing) -> Callable[[Tensor], Tensor]:
    """Resize the short side to the input size over `crop_fraction`, and crop the centre."""
    _, height, width = preprocessing.input_size
    short_side = round(min(height, width) / preprocessing.crop_fraction)
    return v2.Compose([v2.Resize(short_side, _interpolation(preprocessing)), v2.CenterCrop((height, width))])


def training_transform(preprocessing: Preprocessing, augmentation: str) -> Callable[[Tensor], Tensor]:
    """Make one of the `AUGMENTATIONS`.

    Raises:
        ConfigError: There is no augmentation of that name.
    """
    if augmentation not in AUGMENTATIONS:
        raise ConfigError(f"no augmentation is called {augmentation!r}; there are {', '.join(AUGMENTATIONS)}")
    _, height, width = preprocessing.input_size
    size, interpolation = (height, width), _interpolation(preprocessing)
    if augmentation.startswith("shift"):
        steps: list[Callable[[Tensor], Tensor]] = [
            evaluation_transform(preprocessing),
            v2.RandomCrop(size, padding=(max(1, width // 8), max(1, height // 8))),
        ]
    else:
        steps = [v2.RandomResizedCrop(size, interpolation=interpolation)]
    if augmentation != "shift":
        steps.append(v2.RandomHorizontalFlip())
    if augmentation == "randaugment":
        steps.append(v2.RandAugment())
    return v2.Compose(steps)


def _interpolation(preprocessing: Preprocessing) -> InterpolationMode:
    return InterpolationMode(preprocessing.interpolation)
