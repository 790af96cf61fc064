"""Training augmentations and test-time views of clips, in torchvision v2: the same for all frames of a clip.

They turn decoded frames, uint8 (N, C, H, W), into inputs, uint8 (C, T, H, W). Scaling and normalisation come
later, on the device (`sublabel.training.Classifier`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from sublabel.errors import ConfigError
from sublabel.media.domain import Preprocessing

Transform = Callable[[Tensor], Tensor]

AUGMENTATIONS = {
    "resized_crop_flip": "a random part of the frame at the input size, flipped from left to right",
    "resized_crop": "the same without the flip, for data whose left and right matter",
    "jitter_flip": "resized_crop_flip, then colour jitter",
    "randaugment_flip": "resized_crop_flip, then RandAugment",
    "shift_flip": "pad by an eighth and crop back, and flip from left to right, for small frames",
    "shift": "the same without the flip",
}
"""Name of each augmentation and what it does after cutting a random clip; the first one is the default."""


class ViewOptions(BaseModel):
    """Test-time views of a video: `clips` over its time, each in `crops` places."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clips: PositiveInt = Field(default=1, description="clips spread evenly over the sample")
    crops: PositiveInt = Field(default=1, description="crops spread evenly along the frame's longer side")


def training_transform(preprocessing: Preprocessing, augmentation: str, *, flip: bool = True) -> Transform:
    """Make one of the `AUGMENTATIONS`.

    Args:
        preprocessing: What the backbone wants, with `input_size` (C, T, H, W).
        augmentation: Name of the augmentation.
        flip: False leaves out its flip from left to right.

    Returns:
        A function from decoded frames uint8 (N, C, H, W), N ≥ T, to a clip uint8 (C, T, H, W).

    Raises:
        ConfigError: There is no augmentation of that name.
    """
    if augmentation not in AUGMENTATIONS:
        raise ConfigError(f"no augmentation is called {augmentation!r}; there are {', '.join(AUGMENTATIONS)}")
    _, frames, height, width = preprocessing.input_size
    size, interpolation = (height, width), InterpolationMode(preprocessing.interpolation)
    steps: list[Transform] = [RandomClip(frames)]
    if augmentation.startswith("shift"):
        padding = (max(1, width // 8), max(1, height // 8))
        steps += [_Resize(preprocessing), v2.CenterCrop(size), v2.RandomCrop(size, padding=padding)]
    else:
        steps.append(v2.RandomResizedCrop(size, interpolation=interpolation))
    if flip and augmentation.endswith("_flip"):
        steps.append(v2.RandomHorizontalFlip())
    if augmentation.startswith("jitter"):
        steps.append(v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1))
    if augmentation.startswith("randaugment"):
        steps.append(v2.RandAugment())
    transform: Transform = v2.Compose([*steps, channels_first])
    return transform


def evaluation_transform(preprocessing: Preprocessing) -> Transform:
    """Make the transform of a teacher: the middle clip, resized, and its centre crop.

    Args:
        preprocessing: What the backbone wants: frames are resized to a short side of `input_size` over
            `crop_fraction`.

    Returns:
        A function from decoded frames uint8 (N, C, H, W), N ≥ T, to a clip uint8 (C, T, H, W).
    """
    transform: Transform = v2.Compose([_Views(preprocessing, ViewOptions()), _only_view])
    return transform


def views_transform(preprocessing: Preprocessing, views: ViewOptions) -> Transform:
    """Make the transform of a test, which cuts all views of a sample.

    Args:
        preprocessing: What the backbone wants, with `input_size` (C, T, H, W).
        views: How many clips and crops; a single clip or crop is the middle one.

    Returns:
        A function from decoded frames uint8 (N, C, H, W), N ≥ T, to views uint8 (clips × crops, C, T, H, W).
    """
    return _Views(preprocessing, views)


class RandomClip:
    """Cut consecutive frames from a random place: (N, C, H, W) → (T, C, H, W).

    Args:
        num_frames: T, the frames of a clip.
    """

    def __init__(self, num_frames: int) -> None:
        self.num_frames = num_frames

    def __call__(self, frames: Tensor) -> Tensor:
        """Cut the clip.

        Raises:
            ConfigError: There are fewer frames than a clip has.
        """
        start = int(torch.randint(_last_start(frames, self.num_frames) + 1, ()))
        return frames[start : start + self.num_frames]


class _Views:
    def __init__(self, preprocessing: Preprocessing, views: ViewOptions) -> None:
        self.preprocessing = preprocessing
        self.views = views
        self.resize = _Resize(preprocessing)

    def __call__(self, frames: Tensor) -> Tensor:
        _, num_frames, height, width = self.preprocessing.input_size
        starts = _spread(_last_start(frames, num_frames), self.views.clips)
        clips = [self.resize(frames[start : start + num_frames]) for start in starts]
        down, right = (have - want for have, want in zip(clips[0].shape[-2:], (height, width), strict=True))
        along_width = right >= down
        places = [
            (down // 2, place) if along_width else (place, right // 2)
            for place in _spread(max(down, right), self.views.crops)
        ]
        crops = [
            channels_first(clip[..., top : top + height, left : left + width])
            for clip in clips
            for top, left in places
        ]
        return torch.stack(crops)


class _Resize:
    """Resize the short side to the input size over `crop_fraction`; frames of that size stay as they are."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.short_side = round(min(preprocessing.input_size[-2:]) / preprocessing.crop_fraction)
        self.resize = v2.Resize(self.short_side, InterpolationMode(preprocessing.interpolation))

    def __call__(self, frames: Tensor) -> Tensor:
        if min(frames.shape[-2:]) == self.short_side:
            return frames
        resized: Tensor = self.resize(frames)
        return resized


def channels_first(clip: Tensor) -> Tensor:
    """Move the channels to the front, (T, C, H, W) → (C, T, H, W), as 3D convolutions take them."""
    return clip.transpose(0, 1)


def _only_view(views: Tensor) -> Tensor:
    return views[0]


def _last_start(frames: Tensor, num_frames: int) -> int:
    if len(frames) < num_frames:
        raise ConfigError(
            f"the sample has {len(frames)} frames; expected at least the {num_frames} of a clip: decode a "
            "longer span, or ask for clips of fewer frames"
        )
    return len(frames) - num_frames


def _spread(last: int, count: int) -> list[int]:
    """`count` whole numbers spread evenly over 0..last; a single one is the middle."""
    return [last // 2] if count == 1 else [round(last * index / (count - 1)) for index in range(count)]
