"""Small videos for the tests, and one of each kind that cannot be read."""

from __future__ import annotations

import io
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

REASONS = {
    "missing": "missing: no such file",
    "empty": "unreadable: not a video, or cut off before its header",
    "no_header": "unreadable: not a video, or cut off before its header",
    "truncated": "truncated: the file ends before its header says",
    "text": "unreadable: not a video, or cut off before its header",
    "jpeg": "unreadable: not a video, or cut off before its header",
    "audio": "no video stream",
    "no_frames": "no frames",
    "short": "shorter than a clip",
}
"""What reading says of each kind that `make_broken` makes (of `truncated`, only after the cut)."""


def picture(index, width=64, height=48):
    """A frame that no other index shares, with detail that a decoder can get wrong, uint8 (H, W, 3)."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin((x + index * (channel + 1)) / 5) + np.cos(y / 4 - index / 3) for channel in range(3)]
    noise = np.random.default_rng(index).normal(0, 8, (height, width, 3))
    return np.clip(128 + 50 * np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


def write_video(
    path,
    pts,
    *,
    time_base=Fraction(1, 30),
    codec="libx264",
    options=None,
    size=(64, 48),
    muxer=None,
    rotation=None,
    pix_fmt="yuv420p",
    draw=picture,
):
    """Encode `draw(0, *size)`, `draw(1, *size)`, … at these times in ticks: the same bytes in every run."""
    options = dict(options or {})
    if codec == "libx264":
        options["x264-params"] = ":".join(filter(None, (options.get("x264-params"), "cpu-independent=1")))
    with av.open(str(path), "w", options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=30, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = time_base
        stream.thread_count = 1
        if rotation is not None:
            stream.set_display_rotation(**rotation)
        for index, time in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(draw(index, *size), format="rgb24")
            frame.pts, frame.time_base = int(time), time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return str(path)


def make_broken(folder):
    """Make one file of each kind in `REASONS`, and return their paths by kind.

    `truncated` is the first half of ten seconds, with the header in front; `short` is half a second long.
    """
    folder = Path(folder)
    paths = {kind: folder / f"{kind}.mp4" for kind in REASONS}
    paths["empty"].touch()
    paths["text"].write_text("All work and no play makes Jack a dull boy.\n" * 200)
    picture_bytes = io.BytesIO()
    Image.fromarray(picture(0)).save(picture_bytes, "JPEG")
    paths["jpeg"].write_bytes(picture_bytes.getvalue())
    options = {"g": "30", "preset": "ultrafast"}
    whole = folder / "whole.tmp.mp4"
    for kind, muxer in (("no_header", {}), ("truncated", {"movflags": "faststart"})):
        write_video(whole, range(300), options=options, muxer=muxer)
        paths[kind].write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    whole.unlink()
    write_video(paths["short"], range(15), options=options)
    _write_audio(paths["audio"])
    # Otherwise the muxer would leave out the empty stream.
    with av.open(str(paths["no_frames"]), "w", options={"movflags": "empty_moov"}) as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height = 64, 48
        container.start_encoding()
    return {kind: str(path) for kind, path in paths.items()}


def _write_audio(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000)
        for index in range(20):
            samples = np.zeros((1, 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16_000, index * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def make_videos(folder, count, **options):
    """Copies of one good video of four seconds under other names."""
    first = write_video(Path(folder) / "good-000.mp4", range(120), options={"preset": "ultrafast"}, **options)
    others = [Path(folder) / f"good-{index:03d}.mp4" for index in range(1, count)]
    for other in others:
        shutil.copy(first, other)
    return [first, *map(str, others)]
