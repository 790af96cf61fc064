"""What a generated video shows when, in a JSON file beside it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from math import ceil, inf
from pathlib import Path
from typing import Any

from sublabel.errors import ConfigError, TableError
from sublabel.files import write_json

BACKGROUND = "background"
"""The true label of a clip in which nothing happens."""


@dataclass(frozen=True)
class Segment:
    """A stretch of a video that shows one action."""

    action: str | None
    """What the video shows; None for background, where the object does nothing."""
    start: float
    """Seconds from the start of the video."""
    end: float
    """Seconds from the start of the video."""


@dataclass(frozen=True)
class Truth:
    """What a video was found for, and what it shows when."""

    query: str
    """The action that an untrimmed video was found for, or that a trimmed clip shows."""
    segments: tuple[Segment, ...]
    """All stretches of the video in their order, without gaps."""


def action_at(truth: Truth, start: float, end: float) -> str | None:
    """Say what a clip of a video shows for the longest time.

    Args:
        truth: What the whole video shows.
        start: Start of the clip, in seconds.
        end: End of the clip, in seconds.

    Returns:
        The action, or None for background. Where two are shown equally long, the one that comes first.

    Raises:
        ConfigError: No part of the clip lies in the video.

    Example:
        >>> truth = Truth("zoom in", (Segment("zoom in", 0.0, 2.0), Segment(None, 2.0, 5.0)))
        >>> action_at(truth, 1.0, 2.5)
        'zoom in'
        >>> action_at(truth, 1.75, 2.5) is None
        True
    """
    shown: dict[str | None, float] = defaultdict(float)
    for segment in truth.segments:
        overlap = min(end, segment.end) - max(start, segment.start)
        if overlap > 0:
            # Rounded, so that a tie is one in spite of the binary fractions of a second.
            shown[segment.action] = round(shown[segment.action] + overlap, 9)
    if not shown:
        raise ConfigError(
            f"got a clip from {start} s to {end} s; expected a part of the video, which has "
            f"{truth.segments[-1].end:g} s"
        )
    return max(shown, key=shown.__getitem__)


def shown_in(clip: Mapping[str, Any]) -> str:
    """The true label of a clip: what it shows for the longest time, or `BACKGROUND`.

    Args:
        clip: The clip's row of a manifest, whose video has its truth beside it.

    Raises:
        TableError: There is no truth beside the video, or it is damaged.
    """
    truth = _kept_truth(clip["uri"])
    end = clip.get("end")
    return action_at(truth, clip.get("start") or 0.0, inf if end is None else end) or BACKGROUND


def load_truth(path: str | Path) -> Truth:
    """Read what a generated video shows.

    Args:
        path: The video, or the JSON file beside it.

    Raises:
        TableError: There is no such file, or it is damaged.
    """
    path = Path(path).with_suffix(".json")
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Truth(stored["query"], tuple(Segment(**segment) for segment in stored["segments"]))
    except FileNotFoundError as error:
        raise TableError(f"there is no file {path}; `make_videos` writes one beside each video") from error
    except (ValueError, KeyError, TypeError) as error:
        raise TableError(f"{path} does not say what a video shows ({error}): make the videos anew") from error


# The clips of a video follow one another.
_kept_truth = lru_cache(maxsize=8)(load_truth)


def write_truth(video: Path, truth: Truth) -> None:
    """Write the truth of a video beside it, with the action of each second for people and other programs."""
    seconds = range(ceil(truth.segments[-1].end))
    content = {
        **asdict(truth),
        "action_each_second": [action_at(truth, second, second + 1) for second in seconds],
    }
    write_json(video.with_suffix(".json"), content)
