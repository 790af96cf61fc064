"""Scenes of one object whose actions only motion tells apart, drawn into frames (ours).

The state of a scene has six cycles, each in [0, 1): the object's place along x and y, its angle, size and
stretch, and its phase on a small circle. An action turns one or two of them, on and on or to and fro. Each
cycle starts uniformly, and so is uniform at every later time, whichever way and however fast it turns. A
single frame therefore has the same distribution under every action, and under none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO, NamedTuple

import numpy as np

from sublabel_video.encoding import write_mp4


class Turn(NamedTuple):
    """What an action does to one cycle of a scene."""

    cycle: str
    rate: float
    """Cycles in the time that the action's speed takes for one; below zero backwards."""
    swings: bool = False
    """Whether it goes to and fro, so many times, rather than on and on."""


MOTIONS: dict[str, tuple[Turn, ...]] = {
    "slide left": (Turn("x", -1),),
    "slide right": (Turn("x", 1),),
    "rotate clockwise": (Turn("angle", 1),),
    "rotate counter-clockwise": (Turn("angle", -1),),
    "zoom in": (Turn("zoom", 1),),
    "zoom out": (Turn("zoom", -1),),
    "slide up": (Turn("y", -1),),
    "slide down": (Turn("y", 1),),
    "orbit clockwise": (Turn("orbit", 1),),
    "orbit counter-clockwise": (Turn("orbit", -1),),
    "stretch": (Turn("stretch", 1),),
    "squash": (Turn("stretch", -1),),
}
"""What each action of a single cycle turns; opposites are neighbours.

The y axis points down, so that angles grow clockwise."""

OTHER_MOTIONS: dict[str, tuple[Turn, ...]] = {
    "drift up and left": (Turn("x", -1), Turn("y", -1)),
    "drift up and right": (Turn("x", 1), Turn("y", -1)),
    "drift down and left": (Turn("x", -1), Turn("y", 1)),
    "drift down and right": (Turn("x", 1), Turn("y", 1)),
    "roll left": (Turn("x", -1), Turn("angle", -1)),
    "roll right": (Turn("x", 1), Turn("angle", 1)),
    "screw up": (Turn("y", -1), Turn("angle", 1)),
    "screw down": (Turn("y", 1), Turn("angle", -1)),
    "spiral in": (Turn("orbit", 1), Turn("zoom", -1)),
    "spiral out": (Turn("orbit", -1), Turn("zoom", 1)),
    "zigzag left": (Turn("x", -1), Turn("y", 2, swings=True)),
    "zigzag right": (Turn("x", 1), Turn("y", 2, swings=True)),
    "climb in waves": (Turn("y", -1), Turn("x", 2, swings=True)),
    "fall in waves": (Turn("y", 1), Turn("x", 2, swings=True)),
    "tumble": (Turn("angle", 1), Turn("stretch", 2, swings=True)),
    "shake": (Turn("x", 2, swings=True),),
    "bounce": (Turn("y", 2, swings=True),),
    "swing": (Turn("angle", 2, swings=True),),
    "pulse": (Turn("zoom", 2, swings=True),),
    "wobble": (Turn("stretch", 2, swings=True),),
}
"""Actions that turn two cycles at once, or one to and fro: no target classes, but what comes with queries."""

CYCLES = ("x", "y", "angle", "zoom", "orbit", "stretch")
# Lengths in units of the frame's side.
RADIUS = (0.11, 0.27)
ORBIT_RADIUS = 0.17
ASPECT = 2.2
TEXTURE_SIDE = 64
# The object's outline is at 1 on average; its texture reaches this far, and is transparent at the border.
TEXTURE_REACH = 1.75
BACKGROUND_SIDE = 128
BACKGROUND_DRIFT = 0.06
SWING = 0.2
"""How far a cycle swings to either side, in cycles."""


def draw_scene(
    action: str | None,
    frames: int,
    *,
    size: int,
    fps: int,
    speeds: tuple[float, float],
    side_motion: float,
    camera_noise: float,
    generator: np.random.Generator,
) -> np.ndarray:
    """Draw a random object that performs one action before a random background.

    Args:
        action: One of `MOTIONS` or `OTHER_MOTIONS`; None for no action.
        frames: Number of frames T, at least 1.
        size: Height and width S in pixels.
        fps: Frames a second.
        speeds: Range of the action's speed, in cycles a second; a slide crosses the frame in a cycle.
        side_motion: The other cycles turn at up to this share of the action's speed, either way.
        camera_noise: Standard deviation of each pixel's brightness noise, where white is 255.
        generator: Source of all randomness.

    Returns:
        uint8 (T, S, S, 3), RGB.
    """
    seconds = np.arange(frames, dtype=np.float32) / fps
    speed = generator.uniform(*speeds)
    rates = dict(zip(CYCLES, speed * side_motion * generator.uniform(-1, 1, len(CYCLES)), strict=True))
    state = {}
    turns = {turn.cycle: turn for turn in (MOTIONS | OTHER_MOTIONS).get(action or "", ())}
    for cycle in CYCLES:
        turn = turns.get(cycle)
        if turn is None:
            course = rates[cycle] * seconds
        elif turn.swings:
            course = SWING * np.sin(2 * np.pi * turn.rate * speed * seconds)
        else:
            course = turn.rate * speed * seconds
        state[cycle] = (generator.random() + course) % 1
    image = _background(seconds, size, generator)
    down, right = _texture_index(state, size)
    drawn = _texture(generator).reshape(-1, 4).take(down * TEXTURE_SIDE + right, axis=0)
    # In place, as these arrays are large.
    colours, opacity = drawn[..., :3], drawn[..., 3:]
    colours -= image
    colours *= opacity
    image += colours
    image += camera_noise * generator.standard_normal((frames, size, size, 1), dtype=np.float32)
    return np.clip(image, 0, 255, out=image).astype(np.uint8)


def encode_video(file: BinaryIO, frames: Iterable[np.ndarray], *, size: int, fps: int) -> None:
    """Encode RGB frames, uint8 (size, size, 3), as a demo's video: H.264 in MP4, `fps` frames a second."""
    options = {"preset": "ultrafast", "crf": "18", "g": str(2 * fps)}
    write_mp4(file, frames, (size, size), rate=fps, options=options)


def _texture_index(state: dict[str, np.ndarray], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the object's texture that each pixel shows: two int32 arrays (T, S, S)."""
    turn = 2 * np.pi * state["orbit"]
    pixels = (np.arange(size, dtype=np.float32) + 0.5) / size
    # Displacement from the object's centre along each axis, (T, S), the short way round the frame's edges.
    right = (pixels - (state["x"] + ORBIT_RADIUS * np.cos(turn))[:, None] + 0.5) % 1 - 0.5
    down = (pixels - (state["y"] + ORBIT_RADIUS * np.sin(turn))[:, None] + 0.5) % 1 - 0.5
    angle = 2 * np.pi * state["angle"]
    radius = RADIUS[0] * (RADIUS[1] / RADIUS[0]) ** state["zoom"]
    aspect = ASPECT ** (state["stretch"] - 0.5)
    scale = TEXTURE_SIDE / (2 * TEXTURE_REACH)

    def along(cosine: np.ndarray, sine: np.ndarray, length: np.ndarray) -> np.ndarray:
        factor = scale / length
        across = (right * (cosine * factor)[:, None])[:, None, :]
        position = across + (down * (sine * factor)[:, None] + TEXTURE_SIDE / 2)[:, :, None]
        index: np.ndarray = np.clip(position, 0, TEXTURE_SIDE - 1, out=position).astype(np.int32)
        return index

    cosine, sine = np.cos(angle), np.sin(angle)
    return along(-sine, cosine, radius / aspect), along(cosine, sine, radius * aspect)


def _texture(generator: np.random.Generator) -> np.ndarray:
    """Draw a blob without symmetry in two colours: float32 (side, side, 4), RGB 0–255 and opacity 0–1."""
    axis = TEXTURE_REACH * (2 * (np.arange(TEXTURE_SIDE, dtype=np.float32) + 0.5) / TEXTURE_SIDE - 1)
    down, right = np.meshgrid(axis, axis, indexing="ij")
    angle = np.arctan2(down, right)
    outline = np.ones_like(angle)
    for order in (1, 2, 3):
        phase = generator.uniform(0, 2 * np.pi)
        outline += generator.uniform(0.05, 0.2) * np.cos(order * angle + phase)
    opacity = np.clip(6 * (outline - np.hypot(right, down)) + 0.5, 0, 1)
    direction, offset = generator.uniform(0, 2 * np.pi), generator.uniform(-0.35, 0.35)
    side = np.clip(6 * (np.cos(direction) * right + np.sin(direction) * down + offset) + 0.5, 0, 1)[..., None]
    # One light and one dark colour: one of them stands out from any background.
    light, dark = generator.uniform(150, 255, 3), generator.uniform(0, 90, 3)
    texture = np.concatenate([side * light + (1 - side) * dark, opacity[..., None]], axis=-1)
    return texture.astype(np.float32)


def _background(seconds: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """Draw smooth waves that drift slowly: float32 (T, S, S, 3) in 0–255."""
    axis = 2 * np.pi * np.arange(BACKGROUND_SIDE, dtype=np.float32) / BACKGROUND_SIDE
    colour = generator.uniform(70, 180) + generator.uniform(-25, 25, 3)
    waves = np.zeros((BACKGROUND_SIDE, BACKGROUND_SIDE, 3), dtype=np.float32) + colour.astype(np.float32)
    for _ in range(3):
        across, along = generator.integers(-2, 3, 2)
        wave = np.sin(across * axis + along * axis[:, None] + generator.uniform(0, 2 * np.pi))
        waves += wave[..., None] * generator.uniform(-18, 18, 3).astype(np.float32)
    drift = generator.uniform(-BACKGROUND_DRIFT, BACKGROUND_DRIFT, (2, 1))
    pixels = np.arange(size) / size
    rows, columns = (
        ((pixels + shift[:, None]) * BACKGROUND_SIDE).astype(np.int64) % BACKGROUND_SIDE
        for shift in drift * seconds
    )
    background: np.ndarray = waves[rows[:, :, None], columns[:, None, :]]
    return background
