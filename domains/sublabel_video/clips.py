"""The shape of a clip, and which clips to cut from a video, in exact seconds."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from math import isfinite
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from sublabel.errors import ConfigError

# Seconds (ours): below it, a microsecond of tolerance in a reader's times would no longer be small.
SHORTEST_STEP = Fraction(1, 1000)


class ClipOptions(BaseModel):
    """The shape of a clip: its number of frames and the time from one to the next.

    The time is given as `stride` / `fps`, or by the length of the whole clip, `clip_seconds`. It follows from
    the options alone, whatever a file's own frame rate is. The paper does not state its clip shape; the
    default is the 8×8 at 30 fps (2.13 s) of Slow-only networks (Feichtenhofer et al., ICCV 2019).

    Example:
        >>> [str(ClipOptions(frames=4, **how).step) for how in ({"stride": 6}, {"clip_seconds": 2})]
        ['1/5', '1/2']
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: PositiveInt = Field(8, description="T, frames of a clip")
    stride: PositiveInt = Field(
        8, description="from one frame of a clip to the next, at `fps`; not used with `clip_seconds`"
    )
    fps: PositiveFloat = Field(
        30.0, description="nominal frames a second, whatever the file's own; not used with `clip_seconds`"
    )
    clip_seconds: PositiveFloat | None = Field(
        None, description="length of a clip, instead of `stride` and `fps`: the step is this / `frames`"
    )

    @model_validator(mode="after")
    def _check(self) -> ClipOptions:
        seconds = self.fps if self.clip_seconds is None else self.clip_seconds
        if not isfinite(seconds) or self.step < SHORTEST_STEP:
            raise ConfigError(
                f"got frames={self.frames}, stride={self.stride}, fps={self.fps} and "
                f"clip_seconds={self.clip_seconds}; expected finite values with a millisecond or more "
                "between the frames of a clip"
            )
        return self

    @property
    def step(self) -> Fraction:
        """Seconds from one frame of a clip to the next, exact."""
        if self.clip_seconds is not None:
            return Fraction(str(self.clip_seconds)) / self.frames
        return self.stride / Fraction(str(self.fps))

    @property
    def seconds(self) -> Fraction:
        """Length of a clip in seconds, exact: each of its frames stands for one step."""
        return self.frames * self.step


class ClipSampling(BaseModel):
    """How many clips to cut from a video, and where in its time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["uniform", "random", "all"] = Field(
        "uniform", description="spread evenly, drawn by chance, or all clips without overlap, one by one"
    )
    clips_per_video: PositiveInt = Field(10, description="clips of each video; not used by `all`")
    seed: int = Field(0, description="seed of the draws of `random`")


class Clip(NamedTuple):
    """A piece of a video, in exact seconds from its first displayed frame."""

    start: Fraction
    end: Fraction


def sample_clips(
    duration: Fraction, sampling: ClipSampling, clip: ClipOptions, *, video_id: str
) -> list[Clip]:
    """Choose clips of a video.

    `random` depends on the seed and the video's id only, not on the order of videos or on the process; the
    draws are nested: 5 clips are the first 5 draws of 10.

    Args:
        duration: Length of the video in seconds.
        sampling: How many clips to choose, and where.
        clip: The shape of a clip, which gives its length.
        video_id: Name of the video, which `random` draws by.

    Returns:
        The clips by start. A video that is longer than a clip by less than one step between frames, or
        shorter, has one clip to choose from, [0, duration]; whether it holds a clip, reading finds out.

    Example:
        >>> sampling, clip = ClipSampling(clips_per_video=3), ClipOptions(frames=4, stride=15)
        >>> [(str(start), str(end)) for start, end in sample_clips(Fraction(9), sampling, clip, video_id="v")]
        [('0', '2'), ('7/2', '11/2'), ('7', '9')]
    """
    free = duration - clip.seconds
    if free < clip.step:
        return [Clip(Fraction(0), duration)]
    if sampling.mode == "all":
        starts = [i * clip.seconds for i in range(duration // clip.seconds)]
    elif sampling.mode == "random":
        draws = _generator(sampling.seed, video_id).random(sampling.clips_per_video)
        starts = sorted(free * Fraction(draw) for draw in draws.tolist())
    elif sampling.clips_per_video == 1:
        starts = [free / 2]
    else:
        starts = [free * i / (sampling.clips_per_video - 1) for i in range(sampling.clips_per_video)]
    return [Clip(start, start + clip.seconds) for start in starts]


def _generator(seed: int, video_id: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}\0{video_id}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))
