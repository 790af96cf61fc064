"""The video domain: 3D and frame-averaging backbones, exact reading with PyAV, clips, test-time views."""

from sublabel.torchvision_cure import ensure_torchvision

ensure_torchvision()

from sublabel_video.animation import save_animation  # noqa: E402
from sublabel_video.backbones import create_backbone  # noqa: E402
from sublabel_video.clips import ClipOptions, ClipSampling, sample_clips  # noqa: E402
from sublabel_video.cutting import cut_clips  # noqa: E402
from sublabel_video.domain import VideoDomain  # noqa: E402
from sublabel_video.reading import probe, read_clips, read_frames  # noqa: E402
from sublabel_video.transforms import (  # noqa: E402
    AUGMENTATIONS,
    ViewOptions,
    evaluation_transform,
    training_transform,
    views_transform,
)

__all__ = [
    "AUGMENTATIONS",
    "ClipOptions",
    "ClipSampling",
    "VideoDomain",
    "ViewOptions",
    "create_backbone",
    "cut_clips",
    "evaluation_transform",
    "probe",
    "read_clips",
    "read_frames",
    "sample_clips",
    "save_animation",
    "training_transform",
    "views_transform",
]
