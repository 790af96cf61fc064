"""Reading clips: ours, pytorchvideo's data set and a bare PyAV loop, from originals and prepared videos.

    python benchmarks/video_reading.py [--folder FOLDER] [--videos 20] [--rounds 3]

Makes one-minute 340×256 H.264 videos (30 fps, keyframes 250 apart, x264's own B-frames) once, and reads clips
of 8×8 frames with a short side of 112 pixels from each: 5, 10, and all 28. Times are CPU seconds of one
process on one core, so that other work on the machine does not count; every figure is the median of the
rounds, in which the readers take turns, and ratios compare within this one run.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sublabel.torchvision_cure import ensure_torchvision

ensure_torchvision()

import av  # noqa: E402
import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import torch  # noqa: E402
from jsonargparse import auto_cli  # noqa: E402
from pytorchvideo.data import LabeledVideoDataset  # noqa: E402
from pytorchvideo.data.clip_sampling import ConstantClipsPerVideoSampler, UniformClipSampler  # noqa: E402
from torch.nn.functional import interpolate  # noqa: E402

from sublabel.tables import MANIFEST_SCHEMA, TableWriter, open_manifest, versions  # noqa: E402
from sublabel_video.clips import ClipOptions, ClipSampling, sample_clips  # noqa: E402
from sublabel_video.decoding import probe, read_clips  # noqa: E402
from sublabel_video.prepare import MANIFEST_NAME, prepare_videos  # noqa: E402

CLIP = ClipOptions(frames=8, stride=8, fps=30)
SHORT_SIDE = 112
SETTINGS = {
    "5 clips": ClipSampling(clips_per_video=5),
    "10 clips": ClipSampling(clips_per_video=10),
    "all clips": ClipSampling(mode="all"),
}


def make_video(path: Path, seed: int, *, seconds: int = 60, width: int = 340, height: int = 256) -> None:
    """A camera that pans over a texture, objects that cross, a cut now and then, and sensor noise."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, 4, (8, height, width, 3)).astype(np.int16)
    partial = path.with_suffix(".partial")
    with av.open(str(partial), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=30, options={"g": "250"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(30 * seconds):
            if index % 300 == 0:
                scene = texture(random, height + 200, width + 200)
                objects = random.integers(0, 256, (4, 3)), random.uniform(-4, 4, (4, 2))
            y = round(100 + 90 * np.sin(index / 45))
            x = round(100 + 90 * np.cos(index / 60))
            image = scene[y : y + height, x : x + width] + noise[index % 8]
            for colour, speed in zip(*objects, strict=True):
                top, left = np.abs((speed * index).astype(int)) % (height - 50, width - 50)
                image[top : top + 50, left : left + 50] = colour
            pixels = np.clip(image, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    partial.replace(path)


def texture(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Noise of several scales, int16 (height, width, 3)."""
    layers = [
        interpolate(
            torch.from_numpy(random.normal(0, 25, (1, 3, height // scale, width // scale))),
            (height, width),
            mode="bilinear",
        )
        for scale in (4, 16, 64)
    ]
    return (128 + sum(layers))[0].permute(1, 2, 0).numpy().astype(np.int16)


def read_ours(paths: list[str], sampling: ClipSampling) -> int:
    clips = 0
    for path in paths:
        spans = sample_clips(probe(path).duration, sampling, CLIP, video_id=path)
        strips = read_clips(path, spans, CLIP, short_side=SHORT_SIDE)
        assert all(strip.shape[0] == CLIP.frames for strip in strips)
        clips += len(strips)
    return clips


def read_pytorchvideo(paths: list[str], sampling: ClipSampling) -> int:
    def transform(sample: dict) -> torch.Tensor:
        frames = sample["video"][:, :: CLIP.stride].transpose(0, 1)
        height, width = frames.shape[-2:]
        scale = SHORT_SIDE / min(height, width)
        return interpolate(frames, (int(height * scale), int(width * scale)), mode="bilinear")

    sampler = (
        UniformClipSampler(CLIP.seconds)
        if sampling.mode == "all"
        else ConstantClipsPerVideoSampler(CLIP.seconds, sampling.clips_per_video)
    )
    dataset = LabeledVideoDataset(
        [(path, {}) for path in paths],
        sampler,
        torch.utils.data.SequentialSampler,
        transform,
        decode_audio=False,
        decoder="pyav",
    )
    return sum(1 for _ in dataset)


def read_bare(paths: list[str], sampling: ClipSampling) -> int:
    """Seek to the keyframe before each clip and decode up to its last frame, or on from the clip before."""
    clips = 0
    for path in paths:
        with av.open(path) as container:
            stream = container.streams.video[0]
            stream.thread_count = 1
            base = stream.time_base
            keyframes = [packet.pts for packet in container.demux(stream) if packet.is_keyframe]
            frames, position = None, -1
            for start, _ in sample_clips(stream.duration * base, sampling, CLIP, video_id=path):
                times = [int((start + i * CLIP.step) / base) for i in range(CLIP.frames)]
                keyframe = max(pts for pts in keyframes if pts <= times[0])
                if frames is None or keyframe > position:
                    container.seek(keyframe, stream=stream)
                    frames, current = container.decode(stream), None
                    current = next(frames)
                    following = next(frames, None)
                strip = []
                for moment in times:
                    while following is not None and following.pts <= moment:
                        current, following = following, next(frames, None)
                    strip.append(small(current))
                position = current.pts
                torch.from_numpy(np.stack(strip)).permute(0, 3, 1, 2).contiguous()
                clips += 1
    return clips


def small(frame: av.VideoFrame) -> np.ndarray:
    scale = SHORT_SIDE / min(frame.width, frame.height)
    size = {"width": int(frame.width * scale), "height": int(frame.height * scale)}
    return frame.reformat(**size, format="rgb24", interpolation="BICUBIC", threads=1).to_ndarray()


def write_manifest(path: Path, videos: list[str]) -> None:
    rows = [{"sample_id": str(index), "uri": uri} for index, uri in enumerate(videos)]
    with TableWriter(path, MANIFEST_SCHEMA) as writer:
        writer.write(pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA))


def prepared_videos(folder: Path, videos: list[str]) -> list[str]:
    write_manifest(folder / MANIFEST_NAME, videos)
    started = time.process_time()
    summary = prepare_videos(open_manifest(folder / MANIFEST_NAME), folder / "prepared", short_side=128)
    if summary.made:
        print(f"prepared {summary.made} videos, {(time.process_time() - started) / summary.made:.1f} s each")
    manifest = open_manifest(folder / "prepared" / MANIFEST_NAME)
    return [uri for batch in manifest.batches(["uri"]) for uri in batch["uri"].to_pylist()]


def megabytes(paths: list[str]) -> float:
    return sum(Path(path).stat().st_size for path in paths) / 1e6


def main(folder: str | None = None, videos: int = 20, rounds: int = 3) -> None:
    """Print the table.

    Args:
        folder: Where the videos stay for the next run; a temporary one by default.
        videos: How many.
        rounds: Readings of all videos by each reader.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(folder or temporary).absolute()
        home.mkdir(parents=True, exist_ok=True)
        originals = [str(home / f"video-{index:02d}.mp4") for index in range(videos)]
        for index, path in enumerate(map(Path, originals)):
            if not path.exists():
                make_video(path, index)
        prepared = prepared_videos(home, originals)
        installed = map(" ".join, versions("torch", "av", "pytorchvideo").items())
        print(", ".join([platform.processor() or platform.machine(), *installed]))
        print(f"{videos} videos, {megabytes(originals):.1f} MB; prepared {megabytes(prepared):.1f} MB")
        for name, sampling in SETTINGS.items():
            compare(name, sampling, originals, prepared, rounds)


def compare(
    name: str, sampling: ClipSampling, originals: list[str], prepared: list[str], rounds: int
) -> None:
    readers: dict[str, tuple[Callable[[list[str], ClipSampling], int], list[str]]] = {
        "ours": (read_ours, originals),
        "bare PyAV loop": (read_bare, originals),
        "pytorchvideo": (read_pytorchvideo, originals),
        "ours, prepared": (read_ours, prepared),
        "bare, prepared": (read_bare, prepared),
        "pytorchvideo, prepared": (read_pytorchvideo, prepared),
    }
    rates: dict[str, list[float]] = {reader: [] for reader in readers}
    for _ in range(rounds):
        for reader, (read, paths) in readers.items():
            started = time.process_time()
            clips = read(paths, sampling)
            rates[reader].append(clips / (time.process_time() - started))
    median = {reader: statistics.median(values) for reader, values in rates.items()}
    for reader, rate in median.items():
        print(f"{name:9s}  {reader:23s} {rate:8.1f} clips/s")
    ours = median["ours"]
    print(
        f"{name:9s}  ours is {ours / median['pytorchvideo']:.2f} × pytorchvideo and "
        f"{ours / median['bare PyAV loop']:.2f} × the bare loop; prepared, "
        f"{median['ours, prepared'] / median['pytorchvideo']:.1f} × pytorchvideo on the originals"
    )


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
