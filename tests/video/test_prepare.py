from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from sublabel.errors import ConfigError
from sublabel.files import write_atomically
from sublabel.tables import open_manifest
from sublabel_video.clips import ClipOptions
from sublabel_video.decoding import probe, read_clips
from sublabel_video.prepare import prepare_videos
from tests.video.broken import REASONS, make_broken, picture, write_video
from tests.video.test_clips import rows_of, write_manifest

CLIP = ClipOptions(frames=4, stride=5)
IRREGULAR = np.cumsum(np.random.default_rng(0).integers(900, 6000, 150)) + 12_345
FINE = Fraction(1, 90_000)


def frame_times(path):
    """Seconds of each displayed frame from the first one, and the end of the last."""
    with av.open(path) as container:
        frames = list(container.decode(video=0))
    last = frames[-1]
    times = [(frame.pts - frames[0].pts) * frame.time_base for frame in frames]
    return times, times[-1] + (last.duration or 1) * last.time_base


def pixels_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def prepared(tmp_path, path, **options):
    manifest = write_manifest(tmp_path / "m.parquet", [{"sample_id": "a", "uri": str(path)}])
    summary = prepare_videos(manifest, tmp_path / "out", **{"short_side": 32, **options})
    (row,) = rows_of(tmp_path / "out" / "manifest.parquet")
    return row["uri"], summary


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("irregular.mp4", {"pts": IRREGULAR, "time_base": FINE, "options": {"g": "250", "bf": "3"}}),
        ("regular.mkv", {"pts": range(90), "time_base": Fraction(1001, 30_000)}),
        ("mpeg4.avi", {"pts": range(90), "codec": "mpeg4", "options": {"bf": "2"}}),
        ("stream.ts", {"pts": IRREGULAR, "time_base": FINE}),
    ],
)
def test_frames_keep_their_times_and_the_same_spans_show_the_same_frames(tmp_path, name, options):
    source = write_video(tmp_path / name, **options)
    uri, _ = prepared(tmp_path, source, crf=8)
    assert frame_times(uri) == frame_times(source)
    spans = [(start, start + CLIP.seconds) for start in map(Fraction, (0, 0.3, 1.01, 1.7))]
    spans.append((None, None))
    for ours, original in zip(
        read_clips(uri, spans, CLIP), read_clips(source, spans, CLIP, short_side=32), strict=True
    ):
        assert ours.shape[::2] == original.shape[::2]
        width = min(ours.shape[3], original.shape[3])
        apart = (ours[..., :width].float() - original[..., :width].float()).abs().mean((1, 2, 3))
        # A neighbouring frame of these pictures is more than 15 grey levels apart.
        assert apart.max() < 8


def test_a_prepared_video_ends_when_its_source_ends(tmp_path):
    steps = np.random.default_rng(5).choice([10, 33, 100, 1000], 60)
    options = {"time_base": Fraction(1, 1000), "options": {"bf": "3", "g": "60"}}
    source = write_video(tmp_path / "v.mp4", np.cumsum(steps), **options)
    uri, _ = prepared(tmp_path, source)
    assert frame_times(uri)[0] == frame_times(source)[0]
    assert probe(uri).duration == probe(source).duration == frame_times(uri)[1]


def test_the_pictures_of_neighbouring_frames_are_far_apart():
    frames = np.stack([picture(index).astype(np.float32) for index in range(50)])
    assert np.abs(np.diff(frames, axis=0)).mean((1, 2, 3)).min() > 15


def test_prepared_videos_have_the_size_and_groups_that_were_asked_for(tmp_path):
    source = write_video(tmp_path / "v.mp4", range(60), size=(162, 90), options={"g": "250"})
    uri, _ = prepared(tmp_path, source, short_side=48, gop=5)
    info = probe(uri)
    assert (info.codec, info.height, info.width) == ("h264", 48, 86)
    with av.open(uri) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert [packet.is_keyframe for packet in packets] == [index % 5 == 0 for index in range(60)]


def test_small_videos_are_not_enlarged(tmp_path):
    source = write_video(tmp_path / "v.mp4", range(10), options={"preset": "ultrafast"})
    uri, _ = prepared(tmp_path, source, short_side=128)
    assert (probe(uri).height, probe(uri).width) == (48, 64)


def test_rotation_is_applied_and_sound_dropped(tmp_path):
    source = write_video(tmp_path / "v.mp4", range(30), rotation={"degrees": 90})
    uri, _ = prepared(tmp_path, source, crf=8)
    info = probe(uri)
    assert (info.rotation, info.height, info.width) == (0, 42, 32)
    (ours,), (original,) = (
        read_clips(path, [(0, CLIP.seconds)], CLIP, short_side=32) for path in (uri, source)
    )
    assert (ours.float() - original.float()).abs().mean() < 8
    with av.open(uri) as container:
        assert len(container.streams) == 1


def test_what_is_finished_is_not_made_again_unless_its_source_or_the_options_changed(tmp_path):
    source = Path(write_video(tmp_path / "v.mp4", range(30)))
    first, summary = prepared(tmp_path, source)
    assert (summary.made, summary.kept) == (1, 0)
    stamp = Path(first).stat().st_mtime_ns
    again, summary = prepared(tmp_path, source)
    assert (again, summary.made, summary.kept) == (first, 0, 1)
    assert Path(first).stat().st_mtime_ns == stamp
    other, summary = prepared(tmp_path, source, crf=30)
    assert other != first
    assert summary.made == 1
    write_video(source, range(45))
    changed, summary = prepared(tmp_path, source, crf=30)
    assert summary.made == 1
    assert probe(changed).duration == Fraction(3, 2)
    assert [path.name for path in (tmp_path / "out").glob("*.mp4")] == [Path(changed).name]


def test_a_video_that_fails_keeps_its_uri_and_leaves_no_file(tmp_path):
    broken = make_broken(tmp_path)
    good = write_video(tmp_path / "v.mp4", range(30))
    rows = [{"sample_id": kind, "uri": uri, "split": "weak"} for kind, uri in broken.items()]
    rows.append({"sample_id": "good", "uri": "v.mp4", "start": 0.25, "end": 0.75, "weak_label": "run"})
    rows.append({"sample_id": "again", "uri": good})
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    summary = prepare_videos(manifest, tmp_path / "out", short_side=32)
    written = {row["sample_id"]: row for row in rows_of(tmp_path / "out" / "manifest.parquet")}
    for kind, uri in broken.items():
        # A short video is a good one for this purpose.
        assert (written[kind]["uri"] == uri) == (kind != "short")
    row = written["good"]
    assert (row["start"], row["end"], row["weak_label"], row["split"]) == (0.25, 0.75, "run", None)
    assert written["again"]["uri"] == written["good"]["uri"]
    files = [path for path in (tmp_path / "out").iterdir() if path.suffix != ".parquet"]
    assert len(files) == summary.made == 2
    assert sum(summary.failed.values()) == len(REASONS) - 1
    assert summary.failed[REASONS["truncated"]] == 1


def test_worker_processes_make_the_same_files(tmp_path):
    write_video(tmp_path / "v.mp4", range(30))
    write_video(tmp_path / "w.mp4", range(40))
    manifest = write_manifest(
        tmp_path / "m.parquet", [{"sample_id": name, "uri": f"{name}.mp4"} for name in "vw"]
    )
    folders = [tmp_path / "here", tmp_path / "there"]
    for folder, workers in zip(folders, (0, 2), strict=True):
        assert prepare_videos(manifest, folder, short_side=32, num_workers=workers).made == 2
    for path in folders[0].iterdir():
        assert path.read_bytes() == (folders[1] / path.name).read_bytes()


def test_options_out_of_range_are_refused(tmp_path):
    manifest = write_manifest(tmp_path / "m.parquet", [{"sample_id": "a", "uri": "v.mp4"}])
    for options in ({"short_side": 31}, {"short_side": 0}, {"gop": 0}, {"crf": 60}, {"num_workers": -1}):
        with pytest.raises(ConfigError, match="expected"):
            prepare_videos(manifest, tmp_path / "out", **options)


def test_no_columns_are_added(tmp_path):
    source = write_video(tmp_path / "v.mp4", range(30))
    manifest = write_manifest(tmp_path / "m.parquet", [{"sample_id": "a", "uri": source, "label": "run"}])
    prepare_videos(manifest, tmp_path / "out", short_side=32)
    assert open_manifest(tmp_path / "out" / "manifest.parquet").columns == ("sample_id", "uri", "label")


def test_a_video_that_cannot_be_encoded_is_counted(tmp_path):
    # The gap is more than MP4 can store as the duration of a frame.
    far = write_video(tmp_path / "far.mkv", [0, 33, 2**32], time_base=Fraction(1, 1000))
    good = write_video(tmp_path / "v.mp4", range(30))
    rows = [{"sample_id": "far", "uri": far}, {"sample_id": "good", "uri": good}]
    summary = prepare_videos(write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out", short_side=32)
    assert summary.made == 1
    ((reason, count),) = summary.failed.items()
    assert reason.startswith("cannot be encoded: ")
    assert count == 1
    assert rows_of(tmp_path / "out" / "manifest.parquet")[0]["uri"] == far
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_the_folder_is_listed_once(tmp_path, monkeypatch):
    rows = [{"sample_id": str(i), "uri": write_video(tmp_path / f"{i}.mp4", range(5))} for i in range(4)]
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    listed, glob = [], Path.glob
    monkeypatch.setattr(Path, "glob", lambda path, pattern: listed.append(path) or glob(path, pattern))
    for made in (4, 0):
        listed.clear()
        assert prepare_videos(manifest, tmp_path / "out", short_side=32).made == made
        assert len(listed) <= 1


@pytest.mark.skipif(os.name != "posix", reason="no locks")
def test_what_a_killed_run_left_is_swept_up_and_what_a_living_one_writes_stays(tmp_path):
    source = write_video(tmp_path / "v.mp4", range(5))
    left = tmp_path / "out" / ".0123456789abcdef-0123456789abcdef.mp4.abcdefgh.partial"
    left.parent.mkdir()
    left.touch()
    with write_atomically(tmp_path / "out" / "other.mp4") as file:
        prepared(tmp_path, source)
        assert Path(file.name).exists()
    assert not left.exists()
    assert not list((tmp_path / "out").glob(".*"))
