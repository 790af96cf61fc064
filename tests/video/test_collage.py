from __future__ import annotations

import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from sublabel.errors import ConfigError
from sublabel.tables import open_manifest
from sublabel_image.demo import co_occurrence
from sublabel_video.demo import CollageOptions, load_truth, make_collages
from tests.video.test_clips import rows_of

CLASSES = {"ace": (220, 30, 30), "lob": (30, 220, 30), "slice": (30, 30, 220)}
SMALL = CollageOptions(videos=6, segments=4, target_train=2, target_test=3, size=32, fps=10)


def paint(path, frames, *, fps=10, rotation=None):
    """Encode flat or whole pictures, uint8 (H, W, 3)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "4", "preset": "ultrafast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if rotation is not None:
            stream.set_display_rotation(degrees=rotation)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def flat(colour, size=(36, 48)):
    return np.full((*size, 3), colour, np.uint8)


@pytest.fixture(scope="module")
def trimmed(tmp_path_factory):
    """Nine videos a class of its own colour, of 4 to 12 frames, numbered beyond the order of their names."""
    folder = tmp_path_factory.mktemp("trimmed")
    for name, colour in CLASSES.items():
        for number in range(4, 13):
            paint(folder / name / f"{name}_{number}.mp4", [flat(colour)] * number)
    return folder


@pytest.fixture(scope="module")
def made(trimmed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("collages")
    make_collages(trimmed, folder, SMALL)
    return folder


def decode(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(int)


def rows(folder, split):
    return [row for row in rows_of(folder / "manifest.parquet") if row["split"] == split]


def nearest(pixels):
    colours = np.array(list(CLASSES.values()))
    return list(CLASSES)[int(np.abs(colours - pixels.reshape(-1, 3).mean(0)).sum(1).argmin())]


def test_the_truth_says_what_each_frame_shows(made):
    weak = rows(made, "weak")
    assert len(weak) == SMALL.videos
    for row in weak:
        frames, truth = decode(row["uri"]), load_truth(row["uri"])
        assert truth.query == row["weak_label"]
        assert len(truth.segments) == SMALL.segments
        edges = [round(segment.start * SMALL.fps) for segment in truth.segments] + [len(frames)]
        assert edges[0] == 0
        assert [round(segment.end * SMALL.fps) for segment in truth.segments] == edges[1:]
        for segment, start, end in zip(truth.segments, edges[:-1], edges[1:], strict=True):
            assert {nearest(frame) for frame in frames[start:end]} == {segment.action}
            # Whole trimmed videos, of the numbers that are not tested on.
            assert 7 <= end - start <= 12


def test_each_class_is_the_query_of_as_many_videos(made):
    queries = [row["weak_label"] for row in rows(made, "weak")]
    assert {name: queries.count(name) for name in CLASSES} == dict.fromkeys(CLASSES, SMALL.videos // 3)


def test_queries_are_shown_for_their_share(trimmed, tmp_path):
    options = SMALL.model_copy(update={"videos": 30, "segments": 16, "size": 16, "fps": 2})
    make_collages(trimmed, tmp_path, options)
    truths = [load_truth(path) for path in (tmp_path / "weak").glob("*.mp4")]
    hits = [segment.action == truth.query for truth in truths for segment in truth.segments]
    by_chance = (1 - options.shown - options.co_occurring) / 3
    expected = options.shown + by_chance + options.co_occurring * np.diag(co_occurrence(3)).mean()
    assert abs(np.mean(hits) - expected) < 4 * np.sqrt(expected * (1 - expected) / len(hits))


def test_the_target_is_split_by_number_and_shares_no_video_with_the_material(made):
    for name in CLASSES:
        of_split = {
            split: {Path(row["uri"]).name for row in rows(made, split) if row["label"] == name}
            for split in ("target_test", "target_train")
        }
        assert of_split["target_test"] == {f"{name}_{number}.mp4" for number in (4, 5, 6)}
        assert len(of_split["target_train"]) == SMALL.target_train
        assert not of_split["target_test"] & of_split["target_train"]
        trained = {int(Path(path).stem.rpartition("_")[2]) for path in of_split["target_train"]}
        lengths = {
            round((segment.end - segment.start) * SMALL.fps)
            for row in rows(made, "weak")
            for segment in load_truth(row["uri"]).segments
            if segment.action == name
        }
        assert not lengths & (trained | {4, 5, 6})
    open_manifest(made / "manifest.parquet").check()


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(made, trimmed, tmp_path):
    make_collages(trimmed, tmp_path / "same", SMALL)
    make_collages(trimmed, tmp_path / "other", SMALL.model_copy(update={"seed": 1}))

    def content(folder):
        return [path.read_bytes() for path in sorted((folder / "weak").iterdir())]

    assert content(tmp_path / "same") == content(made)
    assert content(tmp_path / "other") != content(made)


def test_a_finished_folder_stays_and_other_options_or_videos_are_refused(made, trimmed, tmp_path):
    stamps = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    assert make_collages(trimmed, made, SMALL) == made / "manifest.parquet"
    with pytest.raises(ConfigError, match="was made with another segments, seed: .*choose another folder"):
        make_collages(trimmed, made, SMALL.model_copy(update={"seed": 1, "segments": 5}))
    other = tmp_path / "other"
    other.symlink_to(trimmed)
    with pytest.raises(ConfigError, match="made with another trimmed"):
        make_collages(other, made, SMALL)
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == stamps


def test_options_that_nothing_can_be_made_with_do_not_claim_the_folder(trimmed, tmp_path):
    fill(tmp_path / "in", lambda path: paint(path, [flat(0)]))
    shutil.rmtree(tmp_path / "in" / "c")
    with pytest.raises(ConfigError, match="got 2 classes .* expected 3 classes or more"):
        make_collages(tmp_path / "in", tmp_path / "out", CollageOptions(**ONE))
    for options, message in (
        ({"shown": 0.8}, "sum to at most 1"),
        ({"target_train": 6}, "'ace' has 9 videos; expected more than the 9 of the target"),
    ):
        with pytest.raises(ConfigError, match=message):
            make_collages(trimmed, tmp_path / "out", SMALL.model_copy(update=options))
    assert not (tmp_path / "out").exists()


def fill(folder, make):
    """Three videos in each of three classes; the last of a class, or the last but one, is material."""
    for name in "abc":
        for number in (1, 2, 3):
            make(folder / name / f"{number}.mp4")


ONE = {"videos": 1, "segments": 1, "target_train": 1, "target_test": 1, "shown": 1, "co_occurring": 0}


def test_each_tick_shows_the_frame_on_display(tmp_path):
    greys = [20 + 20 * index for index in range(10)]
    fill(tmp_path / "in", lambda path: paint(path, [flat(grey) for grey in greys], fps=30))
    make_collages(tmp_path / "in", tmp_path / "out", CollageOptions(**ONE, size=16, fps=20))
    shown = decode(tmp_path / "out" / "weak" / "00000.mp4").mean((1, 2, 3))
    on_display = [greys[tick * 30 // 20] for tick in range(len(shown))]
    assert len(shown) == 6
    assert np.abs(shown - on_display).max() < 6


@pytest.mark.parametrize("rotation", [None, 90])
def test_videos_are_shown_upright_and_without_distortion_cut_in_the_middle(tmp_path, rotation):
    # A white square of a third of the height in the middle, and a red edge that is cut off.
    image = flat(0, (48, 96))
    image[16:32, 40:56] = 255
    image[:, :16] = image[:, -16:] = (255, 0, 0)
    fill(tmp_path / "in", lambda path: paint(path, [image] * 3, rotation=rotation))
    make_collages(tmp_path / "in", tmp_path / "out", CollageOptions(**ONE, size=48, fps=10))
    # A square is the same after a turn.
    expected = image[:, 24:72].astype(int)
    for frame in decode(tmp_path / "out" / "weak" / "00000.mp4"):
        assert np.abs(frame - expected).mean() < 6


def test_a_video_that_cannot_be_read_is_named(tmp_path):
    def make(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("no video")

    fill(tmp_path / "in", make)
    with pytest.raises(ConfigError, match=r"[23]\.mp4 cannot be used \(unreadable.*take it out"):
        make_collages(tmp_path / "in", tmp_path / "out", CollageOptions(**ONE))
