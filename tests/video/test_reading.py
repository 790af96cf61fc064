from __future__ import annotations

import contextlib
import struct
from bisect import bisect_right
from fractions import Fraction
from pathlib import Path

import av
import fsspec
import numpy as np
import pytest
import torch

from sublabel.errors import MediaError
from sublabel_video.clips import ClipOptions
from sublabel_video.decoding import (
    fetching,
    open_video,
    packets,
    probe,
    read_clips,
    read_frames,
    shown_frames,
)
from tests.video.broken import REASONS, make_broken, write_video

CLIP = ClipOptions(frames=4, stride=5)
IRREGULAR = np.cumsum(np.random.default_rng(0).integers(900, 6000, 240)) + 12_345
MILLISECONDS = np.cumsum(np.random.default_rng(1).integers(10, 70, 240)) + 700
FINE, ROUGH = Fraction(1, 90_000), Fraction(1, 1000)

VIDEOS = {
    "b_frames.mp4": {"pts": IRREGULAR, "time_base": FINE, "options": {"g": "250", "bf": "3"}},
    "short_groups.mp4": {"pts": IRREGULAR, "time_base": FINE, "options": {"g": "12", "bf": "4"}},
    "open_groups.mp4": {
        "pts": IRREGULAR,
        "time_base": FINE,
        "options": {"x264-params": "open-gop=1:keyint=15:bframes=5:b-pyramid=normal"},
    },
    "open_groups.mkv": {
        "pts": MILLISECONDS,
        "time_base": ROUGH,
        "options": {"x264-params": "open-gop=1:keyint=15:bframes=3"},
    },
    "open_groups.ts": {
        "pts": IRREGULAR,
        "time_base": FINE,
        "options": {"x264-params": "open-gop=1:keyint=15"},
    },
    "interlaced.mp4": {"pts": range(90), "options": {"x264-params": "tff=1:keyint=20:bframes=2"}},
    "hevc.mp4": {
        "pts": IRREGULAR[:120],
        "time_base": FINE,
        "codec": "libx265",
        "options": {"x265-params": "log-level=none:keyint=25:pools=none:temporal-layers=2"},
    },
    "vp9.webm": {
        "pts": MILLISECONDS[:90],
        "time_base": ROUGH,
        "codec": "libvpx-vp9",
        "options": {
            "g": "20",
            "cpu-used": "8",
            "deadline": "realtime",
            "auto-alt-ref": "1",
            "lag-in-frames": "16",
        },
    },
    "mpeg4.mp4": {"pts": range(240), "codec": "mpeg4", "options": {"g": "20", "bf": "2"}},
    "mpeg4.avi": {"pts": range(120), "codec": "mpeg4", "options": {"g": "20"}},
    "b_frames.avi": {"pts": range(120), "codec": "mpeg4", "options": {"g": "20", "bf": "2"}},
    "mpeg2.ts": {"pts": range(240), "codec": "mpeg2video", "options": {"g": "15", "bf": "2"}},
    "raw.h264": {"pts": range(60), "options": {"g": "20"}},
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="session")
def videos(folder):
    paths = {name: write_video(folder / name, **options) for name, options in VIDEOS.items()}
    paths["edited.mp4"] = cut_by_edit_list(paths["b_frames.mp4"], folder / "edited.mp4", ticks=200_000)
    return paths


def cut_by_edit_list(source, path, *, ticks):
    """Let a player begin some ticks later than it would, in the middle of a group of pictures."""
    data = bytearray(Path(source).read_bytes())
    # Type, version and flags, number of entries; then duration, media time and rate of each. The last is the
    # video itself.
    at = data.index(b"elst") + 12
    at += 12 * (struct.unpack_from(">I", data, at - 4)[0] - 1)
    duration, media_time = struct.unpack_from(">Ii", data, at)
    scale = 1000  # of the movie header, as FFmpeg writes it
    struct.pack_into(">Ii", data, at, duration - ticks * scale // 90_000, media_time + ticks)
    Path(path).write_bytes(data)
    return str(path)


def decode_all(path):
    """Every frame that a plain pass shows: seconds from the first one, and its pixels."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        base = stream.time_base
    times = [
        Fraction(index, 30) if frame.pts is None else (frame.pts - frames[0].pts) * base
        for index, frame in enumerate(frames)
    ]
    return times, [frame.to_ndarray(format="rgb24") for frame in frames]


def expected(path, starts, clip=CLIP):
    times, pixels = decode_all(path)
    for start in starts:
        chosen = [max(0, bisect_right(times, start + i * clip.step) - 1) for i in range(clip.frames)]
        yield torch.from_numpy(np.stack([pixels[i] for i in chosen])).permute(0, 3, 1, 2)


def spans_of(path, count, clip=CLIP, seed=0):
    last = decode_all(path)[0][-1] - clip.seconds
    draws = np.random.default_rng(seed).random(count).tolist()
    return [(start, start + clip.seconds) for start in (Fraction(draw) * last for draw in draws)]


@pytest.mark.parametrize("name", [*VIDEOS, "edited.mp4"])
def test_the_frames_of_a_hundred_random_clips_equal_those_of_a_full_decode(videos, name):
    spans = spans_of(videos[name], 100)
    for strip, wanted in zip(
        read_clips(videos[name], spans, CLIP), expected(videos[name], [s for s, _ in spans]), strict=True
    ):
        assert torch.equal(strip, wanted)


@pytest.mark.parametrize("name", [*VIDEOS, "edited.mp4"])
def test_a_clip_read_alone_is_the_same_as_among_others_and_in_any_order(videos, name):
    spans = spans_of(videos[name], 9, seed=1)
    together = read_clips(videos[name], spans, CLIP)
    backwards = read_clips(videos[name], spans[::-1], CLIP)[::-1]
    for span, strip, other in zip(spans, together, backwards, strict=True):
        (alone,) = read_clips(videos[name], [span], CLIP)
        assert torch.equal(strip, alone)
        assert torch.equal(strip, other)


@pytest.fixture
def eager(monkeypatch):
    """Seek as soon as a third of a second can be skipped; count the parts that were read by themselves."""
    landed = []
    index_from = fetching.index_packets_from

    def spy(*arguments):
        landed.append(index_from(*arguments))
        return landed[-1]

    monkeypatch.setattr(fetching, "WORTH_A_SEEK", Fraction(1, 3))
    monkeypatch.setattr(packets, "SEEK_MARGIN", Fraction(1, 5))
    monkeypatch.setattr(fetching, "index_packets_from", spy)
    return landed


@pytest.mark.parametrize("kept_bytes", [packets.KEPT_BYTES, 0])
@pytest.mark.parametrize("name", [*VIDEOS, "edited.mp4"])
def test_clips_that_are_read_by_themselves_after_a_seek_equal_those_of_a_full_decode(
    videos, name, kept_bytes, eager, monkeypatch
):
    monkeypatch.setattr(packets, "KEPT_BYTES", kept_bytes)
    spans = spans_of(videos[name], 100 if kept_bytes else 10, seed=2)
    for span, wanted in zip(spans, expected(videos[name], [start for start, _ in spans]), strict=True):
        (strip,) = read_clips(videos[name], [span], CLIP)
        assert torch.equal(strip, wanted)
    # Transport streams, AVI and raw streams are read from the beginning.
    assert len(eager) > (len(spans) // 2 if name.endswith(("mp4", "mkv", "webm")) else -1)


@pytest.mark.parametrize("name", [*VIDEOS, "edited.mp4"])
def test_parts_of_a_video_that_lie_apart_are_the_same_together(videos, name, eager):
    clip = ClipOptions(frames=2, stride=1)
    last = decode_all(videos[name])[0][-1]
    spans = [(last * i / 7, last * i / 7 + clip.seconds) for i in range(6)]
    strips = read_clips(videos[name], [*spans, (last + 1, last + 3)], clip)
    assert strips.pop().reason == "shorter than a clip"
    for strip, wanted in zip(
        strips, expected(videos[name], [start for start, _ in spans], clip), strict=True
    ):
        assert torch.equal(strip, wanted)
    if name.endswith(("mp4", "mkv", "webm")):
        assert len(eager) >= 2


def test_a_clip_late_in_a_file_reads_little_of_it(tmp_path, monkeypatch):
    path = write_video(tmp_path / "v.mp4", range(3000), options={"preset": "ultrafast", "g": "30"})
    read, whole_packets = [], packets.whole_packets

    def counted(container, stream):
        for packet in whole_packets(container, stream):
            read.append(packet.pts * packet.time_base)
            yield packet

    monkeypatch.setattr(packets, "whole_packets", counted)
    spans = [(start, start + CLIP.seconds) for start in (Fraction(50), Fraction(95))]
    for asked, seconds in ((spans[1:], 4), (spans, 7), ([(0, 1), *spans], 7), ([(0, 1)], 2)):
        read.clear()
        strips = read_clips(path, asked, CLIP)
        assert not any(isinstance(strip, MediaError) for strip in strips)
        assert len(read) <= 30 * seconds
    read.clear()
    read_clips(path, [(start, start + 1) for start in range(0, 99, 10)], CLIP)
    assert len(read) == len(set(read)) > 2700


def test_a_file_that_misleads_after_a_seek_is_read_from_the_beginning(videos, eager, monkeypatch):
    span = (Fraction(3), Fraction(3) + CLIP.seconds)
    wanted = read_clips(videos["short_groups.mp4"], [span], CLIP)[0]
    assert len(eager) == 1
    read = packets._read_packets

    def misled(container, stream, origin, last):
        found = read(container, stream, origin, last)
        if origin is not None:
            # As if the keyframe before the span had not been found.
            found.rows = [row for row in found.rows if row[0] > origin + last]
        return found

    monkeypatch.setattr(packets, "_read_packets", misled)
    assert torch.equal(read_clips(videos["short_groups.mp4"], [span], CLIP)[0], wanted)
    assert len(eager) == 1


@pytest.mark.parametrize(
    "name", ["b_frames.mp4", "open_groups.mkv", "open_groups.ts", "mpeg2.ts", "edited.mp4"]
)
def test_files_too_big_to_be_kept_are_read_by_seeking(videos, name, monkeypatch):
    spans = spans_of(videos[name], 6)
    kept = read_clips(videos[name], spans, CLIP)
    monkeypatch.setattr(packets, "KEPT_BYTES", 0)
    for strip, other in zip(kept, read_clips(videos[name], spans, CLIP), strict=True):
        assert torch.equal(strip, other)


@pytest.mark.parametrize("name", [*VIDEOS, "edited.mp4"])
def test_only_files_without_timestamps_are_decoded_whole(videos, name, monkeypatch):
    calls = []
    monkeypatch.setattr(fetching, "_fetch_in_order", lambda *_: calls.append(name) or ({}, None))
    with contextlib.suppress(KeyError, AttributeError):
        read_clips(videos[name], spans_of(videos[name], 3), CLIP)
    assert bool(calls) == (name == "raw.h264")


@pytest.mark.parametrize("name", ["b_frames.mp4", "open_groups.ts", "edited.mp4"])
def test_decoding_in_order_gives_the_same_frames(videos, name, monkeypatch):
    spans = [*spans_of(videos[name], 5), (0, None), (None, None)]
    indexed = read_clips(videos[name], spans, CLIP)

    def no_index(*_):
        raise packets.NoIndexError

    monkeypatch.setattr(fetching, "index_packets", no_index)
    for strip, other in zip(indexed, read_clips(videos[name], spans, CLIP), strict=True):
        assert torch.equal(strip, other)


def test_frames_are_those_on_display_at_the_times(videos):
    times, pixels = decode_all(videos["b_frames.mp4"])
    middle, tick = (times[20] + times[21]) / 2, FINE
    asked = [times[20], times[21] - tick, middle, times[21], Fraction(-1), Fraction(0), times[3]]
    frames = read_frames(videos["b_frames.mp4"], asked)
    for frame, index in zip(frames, [20, 20, 20, 21, 0, 0, 3], strict=True):
        assert (frame.permute(1, 2, 0).numpy() == pixels[index]).all()
    with pytest.raises(MediaError, match="ends before"):
        read_frames(videos["b_frames.mp4"], [times[-1] + 10])


def test_a_start_that_went_through_float64_does_not_fall_to_the_frame_before(tmp_path):
    path = write_video(tmp_path / "v.mp4", range(90), options={"preset": "ultrafast"})
    _, pixels = decode_all(path)
    clip = ClipOptions(frames=2, stride=1)
    spans = [(index / 30, index / 30 + 2 / 30) for index in range(88)]
    for index, strip in enumerate(read_clips(path, spans, clip)):
        assert (strip.permute(0, 2, 3, 1).numpy() == np.stack(pixels[index : index + 2])).all()


def test_a_strip_has_a_frame_for_each_whole_step_of_its_span(tmp_path):
    path = write_video(tmp_path / "v.mp4", range(60), options={"preset": "ultrafast"})
    clip = ClipOptions(frames=2, stride=6)
    spans = [(0, 0.4), (0.5, 1.5), (0.5, 1.69), (None, None), (1.0, None), (None, 1.0), (0.5, 99), (1.7, 2.1)]
    strips = read_clips(path, spans, clip)
    assert [len(strip) for strip in strips] == [2, 5, 5, 10, 5, 5, 8, 2]
    _, pixels = decode_all(path)
    assert (strips[1].permute(0, 2, 3, 1).numpy() == np.stack(pixels[15:45:6])).all()


def test_what_cannot_be_a_strip_says_why_and_leaves_the_others_alone(tmp_path):
    path = write_video(tmp_path / "v.mp4", range(60), options={"preset": "ultrafast"})
    clip = ClipOptions(frames=2, stride=6)
    spans = [(1.9, None), (0, 0.4), (3, 5), (1, 0.5), (float("nan"), 1), (0, 1.2)]
    spans += [(0, float("inf")), (-1, 1), (-1e300, None), (-1e-5, 0.4)]
    results = read_clips(path, spans, clip, max_frames=5)
    reasons = [result.reason if isinstance(result, MediaError) else "ok" for result in results]
    assert reasons == [
        "shorter than a clip",
        "ok",
        "shorter than a clip",
        "shorter than a clip",
        "start or end is not a time",
        "longer than 5 sampled frames: cut it into clips",
        "start or end is not a time",
        "starts before the video",
        "starts before the video",
        "starts before the video",
    ]
    assert torch.equal(*read_clips(path, [(0, 0.4), (-1e-7, 0.4)], clip))


def test_each_kind_of_broken_file_has_its_reason(tmp_path):
    for kind, path in make_broken(tmp_path).items():
        results = read_clips(path, [(8, 8 + float(CLIP.seconds)), (None, None)], CLIP)
        assert [result.reason for result in results] == [REASONS[kind]] * 2, kind
        if kind not in ("truncated", "short"):
            with pytest.raises(MediaError) as raised:
                probe(path)
            assert raised.value.reason == REASONS[kind]


def test_a_folder_is_no_video(tmp_path):
    (error,) = read_clips(str(tmp_path), [(None, None)], CLIP)
    assert error.reason.startswith("missing: ")


@pytest.mark.parametrize("alone", [False, True])
def test_clips_before_the_cut_of_a_truncated_file_are_exact(tmp_path, eager, alone):
    options = {"g": "30", "preset": "ultrafast"}
    whole = write_video(tmp_path / "w.mp4", range(300), options=options, muxer={"movflags": "faststart"})
    cut = make_broken(tmp_path)["truncated"]
    spans = [(start / 10, start / 10 + float(CLIP.seconds)) for start in range(0, 94, 2)]
    groups = [[span] for span in spans] if alone else [spans]
    results = [result for group in groups for result in read_clips(cut, group, CLIP)]
    assert bool(eager) == alone
    readable = [result for result in results if not isinstance(result, MediaError)]
    assert 15 < len(readable) < 30
    for strip, wanted in zip(readable, read_clips(whole, spans, CLIP), strict=False):
        assert torch.equal(strip, wanted)
    assert {result.reason for result in results[len(readable) :]} == {REASONS["truncated"]}


def test_damage_that_the_decoder_notices_is_a_reason(tmp_path):
    path = Path(write_video(tmp_path / "v.mp4", range(90), options={"g": "30", "bf": "0"}))
    with av.open(str(path)) as container:
        packet = next(
            p for p in container.demux(video=0) if p.pts and p.pts * p.time_base == Fraction(40, 30)
        )
        at, size = packet.pos, packet.size
    data = bytearray(path.read_bytes())
    data[at + size // 3 : at + size] = bytes(size - size // 3)
    path.write_bytes(data)
    before, hit = read_clips(str(path), [(0, 0.7), (Fraction(30, 30), Fraction(50, 30))], CLIP)
    assert not isinstance(before, MediaError)
    assert hit.reason == "unreadable: a frame is damaged"


@pytest.mark.parametrize("angle", [0, 90, 180, -90])
@pytest.mark.parametrize("mirrored", [False, True])
def test_frames_stand_upright(tmp_path, angle, mirrored):
    plain = write_video(tmp_path / "plain.mp4", range(12), options={"preset": "ultrafast"})
    turned = write_video(
        tmp_path / "turned.mp4",
        range(12),
        options={"preset": "ultrafast"},
        rotation={"degrees": angle, "hflip": mirrored},
    )
    (wanted,) = read_frames(plain, [Fraction(1, 5)])
    # As a player does it: turn counterclockwise, then mirror from left to right.
    wanted = torch.rot90(wanted, angle // 90, (1, 2))
    wanted = wanted.flip(2) if mirrored else wanted
    (frame,) = read_frames(turned, [Fraction(1, 5)])
    assert torch.equal(frame, wanted)
    info = probe(turned)
    assert (info.height, info.width) == frame.shape[1:]
    (small,) = read_frames(turned, [Fraction(1, 5)], short_side=24)
    assert small.shape[1:] == (32, 24) if angle % 180 else (24, 32)


def rings(_, width, height):
    """Grey rings, finer further out: they alias where the filter does not grow with the scale."""
    y, x = np.mgrid[:height, :width]
    return np.repeat(np.uint8(128 + 100 * np.sin((x**2 + y**2) / width))[..., None], 3, -1)


def test_scaling_is_close_to_an_antialiased_resize(tmp_path):
    from torchvision.transforms import v2

    path = write_video(tmp_path / "v.mp4", range(3), size=(192, 144), options={"crf": "4"}, draw=rings)
    (full,), (small,) = (read_frames(path, [0], short_side=side) for side in (None, 36))
    distances = []
    for antialias in (True, False):
        wanted = v2.Resize(36, interpolation=v2.InterpolationMode.BICUBIC, antialias=antialias)(full)
        assert small.shape == wanted.shape == (3, 36, 48)
        distances.append((small.float() - wanted.float()).abs().mean())
    # 1.6 and 51 when this was written.
    assert distances[0] < 4 < 20 < distances[1]


def test_fsspec_urls_are_read_like_files(videos):
    data = Path(videos["b_frames.mp4"]).read_bytes()
    with fsspec.open("memory://bucket/v.mp4", "wb") as file:
        file.write(data)
    spans = spans_of(videos["b_frames.mp4"], 3)
    local = read_clips(videos["b_frames.mp4"], spans, CLIP)
    for uri in ("memory://bucket/v.mp4", Path(videos["b_frames.mp4"]).as_uri()):
        for strip, wanted in zip(read_clips(uri, spans, CLIP), local, strict=True):
            assert torch.equal(strip, wanted)
    (error,) = read_clips("memory://bucket/none.mp4", [(0, 1)], CLIP)
    assert error.reason == REASONS["missing"]
    (error,) = read_clips("nosuch://bucket/v.mp4", [(0, 1)], CLIP)
    assert error.reason.startswith("missing: ")


def test_frames_that_no_clip_needs_are_not_converted_and_few_are_decoded(videos, monkeypatch):
    converted = []
    monkeypatch.setattr(
        fetching, "_pixels", lambda frame, convert: converted.append(frame.pts) or convert(frame)
    )
    times, _ = decode_all(videos["short_groups.mp4"])
    span = (times[100], times[100] + CLIP.seconds)
    read_clips(videos["short_groups.mp4"], [span, span, (span[0] + CLIP.step, span[1] + CLIP.step)], CLIP)
    assert len(converted) == len(set(converted)) == CLIP.frames + 1


@pytest.mark.parametrize(
    "name", ["b_frames.mp4", "open_groups.mkv", "open_groups.ts", "mpeg4.avi", "vp9.webm"]
)
def test_probing_agrees_with_reading(videos, name):
    info = probe(videos[name])
    times, pixels = decode_all(videos[name])
    assert (info.height, info.width) == pixels[0].shape[:2]
    assert times[-1] < info.duration <= times[-1] + Fraction(1, 10)
    assert info.codec == {"mpeg4.avi": "mpeg4", "vp9.webm": "vp9"}.get(name, "h264")


def test_a_video_without_a_duration_in_its_header_is_measured(videos):
    assert probe(videos["raw.h264"]).duration == 2


def test_frames_of_h264_in_avi_come_in_the_order_of_display_though_it_has_only_decoding_times(tmp_path):
    path = write_video(tmp_path / "v.avi", range(120), options={"g": "30", "bf": "3"})
    with av.open(path) as container:
        written = [frame.pts for frame in container.decode(video=0)]
    assert written != sorted(written)
    # A plain decode gives them in the order of display, under wrong times.
    _, pixels = decode_all(path)
    frames = read_frames(path, [Fraction(index, 30) for index in range(120)])
    assert all(
        (frame.permute(1, 2, 0).numpy() == plain).all() for frame, plain in zip(frames, pixels, strict=True)
    )
    assert [len(strip) for strip in read_clips(path, [(None, None), (3, 4)], CLIP)] == [24, 6]
    assert probe(path).duration == 4


@pytest.mark.parametrize("name", ["v.mp4", "v.mov", "v.mkv"])
def test_a_video_ends_at_the_same_time_whichever_way_it_is_measured(tmp_path, name):
    # The last frame on display is followed, in decoding order, by one that comes a second earlier.
    steps = np.random.default_rng(5).choice([10, 33, 100, 1000], 60)
    pts = np.cumsum(steps) - steps[0]
    path = write_video(tmp_path / name, pts, time_base=ROUGH, options={"bf": "3", "g": "60"})
    _, timeline = fetching.fetch_frames(path, lambda _: [0], None, None)
    with open_video(path) as (container, stream):
        in_order = [shown.end for shown in shown_frames(container, stream)][-1] * stream.time_base
    assert probe(path).duration == timeline.end * timeline.time_base == in_order
    assert Fraction(int(pts[-1]), 1000) < in_order <= Fraction(int(pts[-1]) + 34, 1000)
