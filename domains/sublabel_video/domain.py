"""The video side of `sublabel.media.domain.Domain`."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
from torch import Tensor, nn

from sublabel.errors import ConfigError, MediaError
from sublabel.media.domain import Domain, Preprocessing
from sublabel_video.backbones import create_backbone
from sublabel_video.clips import ClipOptions
from sublabel_video.decoding import check_clip, read_clips
from sublabel_video.encoding import save_animation
from sublabel_video.transforms import (
    AUGMENTATIONS,
    Transform,
    ViewOptions,
    evaluation_transform,
    training_transform,
    views_transform,
)

NO_URI = "missing: the row has no uri"
NOISE_RATE = 30
"""Frames a second of the videos that are generated."""


class VideoDomain(Domain):
    """Videos: a sample is a span of a file, such as a clip of an untrimmed video or a whole trimmed one.

    A sample is decoded to the frames of its whole span at the clip's rate; clips of `clip.frames` are cut
    from them, at random in training, in the middle for the teacher, and spread evenly for a test's views.

    Args:
        clip: Frames of a clip and the time between them; default 8 × 8 at 30 fps.
        image_size: Input height and width in pixels.
        short_side: Shorter side of decoded frames in pixels; default: `image_size` × 8/7 (256 for 224).
        views: Clips and crops of a sample at test time; default one view.

    Raises:
        ConfigError: `short_side` is smaller than `image_size`.
    """

    name: ClassVar[str] = "video"
    small_backbone: ClassVar[str] = "small_resnet3d"

    def __init__(
        self,
        clip: ClipOptions | None = None,
        *,
        image_size: int = 112,
        short_side: int | None = None,
        views: ViewOptions | None = None,
    ) -> None:
        self.clip = clip or ClipOptions()
        self.image_size = image_size
        self.short_side = short_side or round(image_size * 8 / 7)
        self.views = views or ViewOptions()
        self.num_views = self.views.clips * self.views.crops
        if self.short_side < image_size:
            raise ConfigError(
                f"short_side is {short_side} and image_size {image_size}; expected frames that are no "
                "smaller than inputs: raise short_side, or leave it out"
            )

    def options(self) -> dict[str, Any]:
        """The clip, the sizes and the views, as values that JSON keeps."""
        return {
            "clip": self.clip.model_dump(mode="json"),
            "image_size": self.image_size,
            "short_side": self.short_side,
            "views": self.views.model_dump(mode="json"),
        }

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Build the domain again from what `options` returned."""
        return cls(
            ClipOptions.model_validate(options["clip"]),
            image_size=options["image_size"],
            short_side=options["short_side"],
            views=ViewOptions.model_validate(options["views"]),
        )

    def create_backbone(
        self, name: str, *, pretrained: bool = False, weights: str | None = None
    ) -> nn.Module:
        """Build a 3D network, or `tsn:` and any timm model, with `sublabel_video.create_backbone`."""
        return create_backbone(name, pretrained=pretrained, weights=weights)

    def preprocessing(self, backbone: nn.Module) -> Preprocessing:
        """Take the backbone's mean and deviation, at the domain's clip and size."""
        own = cast(Preprocessing, backbone.preprocessing)
        return own.model_copy(
            update={
                "input_size": (3, self.clip.frames, self.image_size, self.image_size),
                "crop_fraction": self.image_size / self.short_side,
                "frames_per_second": float(1 / self.clip.step),
            }
        )

    def training_transform(
        self, preprocessing: Preprocessing, augmentation: str | None = None, *, flip: bool = True
    ) -> Transform:
        """Make an augmentation with `sublabel_video.training_transform`; default: the first one."""
        return training_transform(preprocessing, augmentation or next(iter(AUGMENTATIONS)), flip=flip)

    def evaluation_transform(self, preprocessing: Preprocessing) -> Transform:
        """Make the middle view with `sublabel_video.evaluation_transform`."""
        return evaluation_transform(preprocessing)

    def test_transform(self, preprocessing: Preprocessing) -> Transform:
        """Make the domain's views with `sublabel_video.views_transform`."""
        return views_transform(preprocessing, self.views)

    def generate(self, folder: Path, samples: int) -> list[dict[str, Any]]:
        """Make videos of noise, 48 × 64 pixels, as long as a clip, as MP4 files in the folder."""
        frames = max(2, math.ceil(self.clip.frames * self.clip.step * NOISE_RATE))
        pixels = np.random.default_rng(0).integers(0, 256, (samples, frames, 48, 64, 3), dtype=np.uint8)
        rows = []
        for number, video in enumerate(pixels):
            path = folder / f"noise{number}.mp4"
            save_animation(video, path, frames_per_second=NOISE_RATE)
            rows.append({"sample_id": path.stem, "uri": str(path)})
        return rows

    def read(self, row: Mapping[str, Any]) -> Tensor:
        """Read the frames of one sample, uint8 (N, 3, H, W), N ≥ `clip.frames`, with `read_clips`."""
        [frames] = self.read_many([row])
        if isinstance(frames, MediaError):
            raise frames
        return frames

    def check(self, row: Mapping[str, Any]) -> None:
        """Look at a video's packets and a sample's first frame with `sublabel_video.decoding.check_clip`."""
        uri = row.get("uri")
        if uri is None:
            raise MediaError(NO_URI)
        check_clip(uri, (row.get("start"), row.get("end")), self.clip)

    def read_many(self, rows: Sequence[Mapping[str, Any]]) -> list[Tensor | MediaError]:
        """Read the frames of several samples; each video is decoded once for all its samples."""
        of_video: dict[str | None, list[int]] = defaultdict(list)
        for position, row in enumerate(rows):
            of_video[row.get("uri")].append(position)
        read: dict[int, Tensor | MediaError] = {}
        for uri, positions in of_video.items():
            if uri is None:
                read.update(dict.fromkeys(positions, MediaError(NO_URI)))
                continue
            spans = [(rows[position].get("start"), rows[position].get("end")) for position in positions]
            frames = read_clips(uri, spans, self.clip, short_side=self.short_side)
            read.update(zip(positions, frames, strict=True))
        return [read[position] for position in range(len(rows))]

    def save_animation(
        self, frames: np.ndarray, path: str | Path, *, frames_per_second: float | None = None
    ) -> None:
        """Write an MP4 or WebP with `sublabel_video.save_animation`."""
        save_animation(frames, path, frames_per_second=frames_per_second)
