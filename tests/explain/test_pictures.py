from __future__ import annotations

import sys

import av
import numpy as np
import pytest
import torch
from PIL import Image

from sublabel.errors import ConfigError
from sublabel.explain import colours, film_strip, heat_colours, overlay, side_by_side
from sublabel.explain.pictures import GAP, LEAST_SIDE, shown_pixels, write_png
from sublabel_image import ImageDomain
from sublabel_video import VideoDomain


def oklab_lightness(colours):
    """From the definition of OKLab, for sRGB in 0–255."""
    scaled = colours / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    cones = linear @ np.array(
        [
            [0.4122214708, 0.2119034982, 0.0883024619],
            [0.5363325363, 0.6806995451, 0.2817188376],
            [0.0514459929, 0.1073969566, 0.6299787005],
        ]
    )
    return np.cbrt(cones) @ np.array([0.2104542553, 0.7936177850, -0.0040720468])


def test_equal_steps_of_heat_are_equal_steps_of_lightness():
    lightness = oklab_lightness(heat_colours(np.linspace(0, 1, 64)).astype(float))
    steps = np.diff(lightness)
    assert steps.min() > 0
    assert np.abs(steps - steps.mean()).max() < 0.4 * steps.mean()
    assert lightness[0] < 0.3
    assert lightness[-1] > 0.9


def test_neighbouring_colours_have_no_kink():
    colours = heat_colours(np.linspace(0, 1, 256)).astype(int)
    assert np.abs(np.diff(colours, axis=0)).max() <= 5


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    colours._colormap.cache_clear()
    with pytest.raises(ConfigError, match=r"pip install sublabel\[explain\]"):
        heat_colours(np.zeros(3))


def test_an_overlay_leaves_cold_places_as_they_are_and_colours_hot_ones():
    pixels = np.full((2, 2, 3), 100, np.uint8)
    heat = np.array([[0.0, 1.0], [0.5, 0.0]], np.float32)
    shown = overlay(pixels, heat, strength=1.0)
    assert (shown[heat == 0] == 100).all()
    assert (shown[0, 1] == heat_colours(np.array(1.0))).all()
    half = heat_colours(np.array(0.5))
    assert np.abs(shown[1, 0] - (100 + half.astype(float)) / 2).max() <= 1


def test_small_pictures_are_enlarged_by_a_whole_factor_and_heat_is_not_shifted():
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[2, 5] = 255
    heat = np.zeros((4, 8), np.float32)
    heat[2, 5] = 1
    shown = side_by_side(pixels, [heat])
    factor = LEAST_SIDE // 4
    assert shown.shape == (LEAST_SIDE, 2 * 8 * factor + GAP, 3)
    original, over = shown[:, : 8 * factor], shown[:, 8 * factor + GAP :]
    assert (original == pixels.repeat(factor, 0).repeat(factor, 1)).all()
    rows, columns = np.nonzero((over != original).any(-1))
    assert (rows.mean() // factor, columns.mean() // factor) == (2, 5)


def test_a_strip_has_the_frames_in_order_above_a_row_for_each_overlay():
    pixels = np.broadcast_to(np.arange(16, dtype=np.uint8)[:, None, None, None] * 10, (16, 200, 200, 3))
    heats = [np.zeros((16, 200, 200), np.float32), np.ones((16, 200, 200), np.float32)]
    strip = film_strip(pixels, heats, frames=4)
    assert strip.shape == (3 * 200 + 2 * GAP, 4 * 200 + 3 * GAP, 3)
    frames = strip[0, 100 :: 200 + GAP, 0]
    assert frames.tolist() == [0, 50, 100, 150]
    assert (strip[200 + GAP : 400 + GAP] == strip[:200]).all()
    assert (strip[400 + 2 * GAP] != strip[0]).any()


def test_pixels_are_those_of_the_input():
    clip = torch.randint(0, 256, (3, 2, 4, 5), dtype=torch.uint8)
    assert (shown_pixels(clip) == clip.permute(1, 2, 3, 0).numpy()).all()
    assert shown_pixels(clip[:1, 0]).shape == (4, 5, 3)
    with pytest.raises(ConfigError, match="pictures are made of uint8"):
        shown_pixels(clip.float())


def test_a_png_holds_the_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_png(tmp_path / "a.png", pixels)
    assert (np.asarray(Image.open(tmp_path / "a.png")) == pixels).all()


def moving_bar():
    frames = np.zeros((6, 33, 64, 3), np.uint8)
    for number, frame in enumerate(frames):
        frame[:, 10 * number : 10 * number + 10] = 255
    return frames


def test_an_mp4_plays_the_frames_at_their_rate(tmp_path):
    frames = moving_bar()
    VideoDomain().save_animation(frames, tmp_path / "a.mp4", frames_per_second=7.5)
    with av.open(tmp_path / "a.mp4") as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 7.5
        shown = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    # 4:2:0 colours need even sides.
    assert shown.shape == (6, 32, 64, 3)
    assert np.abs(shown.astype(int) - frames[:, :32]).mean() < 8


def test_a_webp_plays_the_frames_without_end(tmp_path):
    frames = moving_bar()
    VideoDomain().save_animation(frames, tmp_path / "a.webp", frames_per_second=5)
    with Image.open(tmp_path / "a.webp") as image:
        assert (image.n_frames, image.info["loop"]) == (6, 0)
        for number in range(6):
            image.seek(number)
            shown = np.asarray(image.convert("RGB")).astype(int)
            assert np.abs(shown - frames[number]).mean() < 12


def test_the_same_frames_give_the_same_bytes(tmp_path):
    for suffix in ("mp4", "webp"):
        for name in "ab":
            VideoDomain().save_animation(moving_bar(), tmp_path / f"{name}.{suffix}")
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


@pytest.mark.parametrize(
    ("frames", "name", "rate", "message"),
    [
        (moving_bar(), "a.gif", 4, "ends in '.gif'; an animation ends in .mp4 or .webp"),
        (moving_bar().astype(float), "a.mp4", 4, r"frames are float64 \(6, 33, 64, 3\)"),
        (moving_bar()[:0], "a.mp4", 4, "expected uint8"),
        (moving_bar(), "a.mp4", 0, "frames_per_second is 0"),
    ],
)
def test_what_cannot_be_animated_is_refused_and_leaves_no_file(tmp_path, frames, name, rate, message):
    with pytest.raises(ConfigError, match=message):
        VideoDomain().save_animation(frames, tmp_path / name, frames_per_second=rate)
    assert not list(tmp_path.iterdir())


def test_images_do_not_move(tmp_path):
    with pytest.raises(ConfigError, match="the domain 'image' writes no animations"):
        ImageDomain().save_animation(moving_bar(), tmp_path / "a.mp4")
