"""Untrimmed videos whose temporal noise is known: generated ones, and collages of real trimmed ones."""

from sublabel_video.demo.collage import CollageOptions, make_collages
from sublabel_video.demo.contact_sheet import contact_sheet
from sublabel_video.demo.synthetic import (
    ACTIONS,
    SEGMENTS_SCHEMA,
    SUB_CONCEPTS,
    SyntheticOptions,
    make_videos,
)
from sublabel_video.demo.truth import BACKGROUND, Segment, Truth, action_at, load_truth, shown_in

__all__ = [
    "ACTIONS",
    "BACKGROUND",
    "SEGMENTS_SCHEMA",
    "SUB_CONCEPTS",
    "CollageOptions",
    "Segment",
    "SyntheticOptions",
    "Truth",
    "action_at",
    "contact_sheet",
    "load_truth",
    "make_collages",
    "make_videos",
    "shown_in",
]
