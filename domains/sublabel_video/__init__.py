"""The video domain: 3D and frame-averaging backbones, exact reading with PyAV, clips, test-time views."""

from sublabel.extras import needs_extra
from sublabel.torchvision_cure import ensure_torchvision

ensure_torchvision()

with needs_extra("the domain 'video'", "sublabel[video]"):
    from sublabel_video.backbones import create_backbone
    from sublabel_video.clips import ClipOptions, ClipSampling, sample_clips
    from sublabel_video.cutting import cut_clips
    from sublabel_video.decoding import probe, read_clips, read_frames
    from sublabel_video.domain import VideoDomain
    from sublabel_video.encoding import save_animation
    from sublabel_video.transforms import (
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
