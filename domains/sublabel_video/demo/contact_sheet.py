"""Pictures of generated videos and of what they show, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torchvision.transforms.v2.functional import to_pil_image

from sublabel.errors import ConfigError
from sublabel.files import write_atomically
from sublabel_video.decoding import read_frames
from sublabel_video.demo.truth import Truth, load_truth

TEXT_HEIGHT = 15
GAP = 2
SEGMENT_GAP = 10


def contact_sheet(
    videos: Sequence[str | Path],
    path: str | Path,
    *,
    frames: int = 4,
    step_seconds: float = 0.25,
    frame_size: int = 64,
) -> None:
    """Draw a PNG for people to look at: a row for each video, its segments side by side under their names.

    The name of a segment is green where it shows the query, red where it shows another action, and grey for
    background.

    Args:
        videos: Generated videos, with their truth beside them.
        path: The PNG to write.
        frames: Frames of each segment, at most, from its start.
        step_seconds: Seconds from one frame to the next.
        frame_size: Height and width of a frame on the sheet, in pixels.

    Raises:
        ConfigError: There is no video.
        MediaError: A video cannot be decoded.
        TableError: A video's truth is missing or damaged.
    """
    if not videos:
        raise ConfigError("got no video; expected at least one for a contact sheet")
    rows = []
    for video in map(Path, videos):
        truth = load_truth(video)
        groups = _pictures(video, truth, frames, step_seconds)
        rows.append(_row(f"{video.parent.name}/{video.name}", truth, groups, frame_size))
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    with write_atomically(path) as file:
        sheet.save(file, format="PNG")


def _pictures(video: Path, truth: Truth, frames: int, step_seconds: float) -> list[list[Image.Image]]:
    """The frames to show of each segment."""
    times = [
        [time for time in part.start + step_seconds * np.arange(frames) if time < part.end - 1e-6]
        for part in truth.segments
    ]
    shown = iter(read_frames(str(video), [Fraction(time) for group in times for time in group]))
    return [[to_pil_image(next(shown)) for _ in group] for group in times]


def _row(title: str, truth: Truth, groups: list[list[Image.Image]], frame_size: int) -> Image.Image:
    font = ImageFont.load_default(11)
    # A group of few frames must still hold its text.
    widths = [max(130, len(group) * (frame_size + GAP)) + SEGMENT_GAP for group in groups]
    row = Image.new("RGB", (sum(widths), frame_size + 2 * TEXT_HEIGHT + SEGMENT_GAP), "white")
    draw = ImageDraw.Draw(row)
    draw.text((GAP, 0), f"{title}   query: {truth.query}", "black", font)
    left = GAP
    for segment, group, width in zip(truth.segments, groups, widths, strict=True):
        colour = {None: "dimgray", truth.query: "darkgreen"}.get(segment.action, "firebrick")
        name = segment.action or "background"
        text = f"{name}  {segment.start:.1f}-{segment.end:.1f} s"
        draw.text((left, TEXT_HEIGHT), text, colour, font)
        for position, picture in enumerate(group):
            place = (left + position * (frame_size + GAP), 2 * TEXT_HEIGHT)
            row.paste(picture.resize((frame_size, frame_size), Image.Resampling.BICUBIC), place)
        left += width
    return row
