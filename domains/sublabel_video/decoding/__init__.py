"""Decoding with PyAV: frames of a video at exact times, and what else a module needs of a video file."""

from sublabel_video.decoding.container import (
    DAMAGED,
    RESIZED,
    ShownFrame,
    absolute_uri,
    open_video,
    shown_frames,
    time_base,
)
from sublabel_video.decoding.pixels import RGBConverter
from sublabel_video.decoding.reading import (
    VideoInfo,
    check_clip,
    probe,
    read_clips,
    read_frames,
    span_failure,
)

__all__ = [
    "DAMAGED",
    "RESIZED",
    "RGBConverter",
    "ShownFrame",
    "VideoInfo",
    "absolute_uri",
    "check_clip",
    "open_video",
    "probe",
    "read_clips",
    "read_frames",
    "shown_frames",
    "span_failure",
    "time_base",
]
