from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

import sublabel as sl
from sublabel.errors import ConfigError, MediaError
from sublabel.media.domain import load_domain
from sublabel.tables import iter_batches, open_manifest
from sublabel.teacher import ModuleTeacher, predict_manifest
from sublabel_video import (
    AUGMENTATIONS,
    ClipOptions,
    ClipSampling,
    VideoDomain,
    ViewOptions,
    create_backbone,
    cut_clips,
    decoding,
)
from sublabel_video.decoding import fetching
from tests.video.broken import REASONS, make_broken, make_videos, write_video

CLIP = ClipOptions(frames=4, stride=8, fps=30)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def domain(**options):
    return VideoDomain(CLIP, **{"image_size": 16, "short_side": 20, **options})


def folder(root, name):
    (root / name).mkdir()
    return root / name


def preprocessing(made):
    return made.preprocessing(create_backbone("small_resnet3d"))


def moving_ramp(frames=11, height=20, width=32):
    """Frame n has the value n in its red channel; green and blue give the place."""
    red = torch.arange(frames).view(-1, 1, 1).expand(frames, height, width)
    down = torch.arange(height).view(1, -1, 1).expand(frames, height, width)
    right = torch.arange(width).view(1, 1, -1).expand(frames, height, width)
    return torch.stack([red, down, right], dim=1).to(torch.uint8)


def test_the_domain_is_found_by_its_name():
    assert isinstance(load_domain("video"), VideoDomain)


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_an_augmentation_is_the_same_for_all_frames_of_a_clip(augmentation, flip):
    made = domain()
    transform = made.training_transform(preprocessing(made), augmentation, flip=flip)
    frame = torch.randint(
        0, 256, (1, 3, 24, 36), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    outputs = []
    for seed in range(20):
        torch.manual_seed(seed)
        outputs.append(transform(frame.expand(9, -1, -1, -1)))
    for output in outputs:
        assert output.shape == (3, 4, 16, 16)
        assert output.dtype == torch.uint8
        assert (output == output[:, :1]).all()
    assert len({output.numpy().tobytes() for output in outputs}) > 5


@pytest.mark.parametrize(
    "augmentation", ["resized_crop_flip", "shift_flip", "jitter_flip", "randaugment_flip"]
)
def test_flips_happen_unless_they_are_left_out(augmentation):
    made = domain()
    ramp = moving_ramp()

    def flipped(flip):
        transform = made.training_transform(preprocessing(made), augmentation, flip=flip)
        count = 0
        for seed in range(30):
            torch.manual_seed(seed)
            blue = transform(ramp)[2, 0].float()
            count += bool(blue[:, :6].mean() > blue[:, -6:].mean())
        return count

    assert 3 < flipped(True) < 27
    if not augmentation.startswith("randaugment"):
        # RandAugment may invert the colours, and with them the ramp.
        assert flipped(False) == 0
    assert flipped(True) > flipped(False)


def test_training_clips_are_consecutive_frames_from_anywhere():
    made = domain()
    transform = made.training_transform(preprocessing(made), "shift")
    firsts = Counter()
    for seed in range(60):
        torch.manual_seed(seed)
        red = transform(moving_ramp(frames=7))[0]
        firsts[int(red.amax((1, 2))[0])] += 1
        assert red.amax((1, 2)).diff().tolist() == [1, 1, 1]
    assert set(firsts) == {0, 1, 2, 3}


def test_the_teacher_looks_at_the_middle():
    made = domain()
    view = made.evaluation_transform(preprocessing(made))(moving_ramp())
    assert view.shape == (3, 4, 16, 16)
    assert view[0].amax((1, 2)).tolist() == [3, 4, 5, 6]
    assert (view[1].min(), view[1].max()) == (2, 17)
    assert (view[2].min(), view[2].max()) == (8, 23)


def test_views_are_spread_over_time_and_along_the_longer_side():
    made = domain(views=ViewOptions(clips=3, crops=3))
    views = made.test_transform(preprocessing(made))(moving_ramp())
    assert views.shape == (made.num_views, 3, 4, 16, 16) == (9, 3, 4, 16, 16)
    assert [int(view[0, 0].max()) for view in views] == [0, 0, 0, 4, 4, 4, 7, 7, 7]
    assert [int(view[2].min()) for view in views[:3]] == [0, 8, 16]
    assert {int(view[1].min()) for view in views} == {2}
    tall = made.test_transform(preprocessing(made))(moving_ramp(height=40, width=20))
    assert [int(view[1].min()) for view in tall[:3]] == [0, 12, 24]


def test_a_clip_that_is_too_short_is_refused():
    made = domain()
    with pytest.raises(ConfigError, match="has 3 frames; expected at least the 4 of a clip"):
        made.evaluation_transform(preprocessing(made))(moving_ramp(frames=3))
    with pytest.raises(ConfigError, match="short_side is 8 and image_size 16"):
        domain(short_side=8)
    with pytest.raises(ConfigError, match="no augmentation is called 'blur'"):
        made.training_transform(preprocessing(made), "blur")


def test_the_card_of_a_model_knows_the_clip():
    card = preprocessing(domain())
    assert card.input_size == (3, 4, 16, 16)
    assert card.frames_per_second == 3.75
    assert card.crop_fraction == 0.8


def test_rows_of_one_video_are_read_in_one_pass(tmp_path, monkeypatch):
    videos = make_videos(tmp_path, 3)
    rows = [
        {"uri": str(video), "start": start, "end": start + float(CLIP.seconds)}
        for start in (0.4, 0.0, 0.2)
        for video in videos
    ] + [{"uri": None}]
    made = domain()
    alone = [made.read(row) for row in rows[:-1]]
    opened = []
    read_clips = decoding.read_clips
    monkeypatch.setattr(
        "sublabel_video.domain.read_clips",
        lambda uri, *arguments, **options: opened.append(uri) or read_clips(uri, *arguments, **options),
    )
    together = made.read_many(rows)
    assert sorted(opened) == sorted(map(str, videos))
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=False))
    assert isinstance(together[-1], MediaError)
    assert together[-1].reason == "missing: the row has no uri"


class Motion(nn.Module):
    """A teacher that needs no training: bright or dark."""

    def forward(self, inputs):
        bright = inputs.float().mean((1, 2, 3, 4))
        return torch.stack([bright, 255 - bright], dim=1)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_of_200_videos_20_broken_ones_are_rows_with_their_reasons(tmp_path, num_workers):
    good = make_videos(folder(tmp_path, "good"), 3)
    broken = make_broken(folder(tmp_path, "broken"))
    kinds = [sorted(broken)[number % len(broken)] for number in range(20)]
    rows = []
    for number in range(200):
        kind = kinds[number // 10] if number % 10 == 7 else None
        uri = good[number % 3] if kind is None else broken[kind]
        rows.append({"sample_id": f"v{number:03d}", "uri": str(uri), "weak_label": "a", "kind": kind})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    made = domain()
    summary = predict_manifest(
        open_manifest(tmp_path / "m.parquet"),
        ModuleTeacher(Motion(), sl.Vocabulary(["bright", "dark"]), device="cpu"),
        tmp_path / f"p{num_workers}",
        reader=made,
        transform=made.evaluation_transform(preprocessing(made)),
        batch_size=16,
        num_workers=num_workers,
    )
    table = pa.Table.from_batches(list(iter_batches(tmp_path / f"p{num_workers}"))).to_pylist()
    assert [row["sample_id"] for row in table] == [row["sample_id"] for row in rows]
    assert (summary.rows, summary.failed) == (200, 20)
    for row, source in zip(table, rows, strict=True):
        if source["kind"] is None:
            assert (row["status"], len(row["top_ids"])) == ("ok", 2)
        else:
            assert re.match(REASONS[source["kind"]], row["status"])
            assert row["top_ids"] is None


def test_clips_of_broken_videos_keep_their_row(tmp_path):
    good = make_videos(folder(tmp_path, "good"), 2)
    broken = make_broken(folder(tmp_path, "broken"))
    uris = [good[0], broken["missing"], good[1], broken["audio"]]
    table = pa.table({"sample_id": list("abcd"), "uri": list(map(str, uris)), "weak_label": ["x"] * 4})
    pq.write_table(table, tmp_path / "m.parquet")
    summary = cut_clips(
        open_manifest(tmp_path / "m.parquet"), tmp_path / "c.parquet", CLIP, ClipSampling(clips_per_video=2)
    )
    clips = pq.read_table(tmp_path / "c.parquet").to_pylist()
    assert [row["sample_id"] for row in clips] == ["a#000", "a#001", "b", "c#000", "c#001", "d"]
    assert (summary.videos, summary.clips, sum(summary.unreadable.values())) == (4, 4, 2)
    read = domain().read_many(clips)
    assert [isinstance(entry, MediaError) for entry in read] == [False, False, True, False, False, True]


def outcome(look, row):
    try:
        look(row)
    except MediaError as error:
        return error.reason
    return "ok"


def test_checking_says_what_reading_says(tmp_path):
    broken = make_broken(tmp_path)
    rows = [{"uri": uri} for uri in broken.values()]
    good, long = str(tmp_path / "good.mp4"), str(tmp_path / "long.mp4")
    write_video(good, range(60))
    write_video(long, range(30), time_base=Fraction(10))
    clip = float(CLIP.seconds)
    spans = [(None, None), (0.5, 0.5 + clip), (-1.0, None), (float("nan"), 1.0), (1.0, None), (5.0, 9.0)]
    rows += [{"uri": good, "start": start, "end": end} for start, end in spans]
    rows += [{"uri": broken["truncated"], "start": start, "end": start + clip} for start in (1.0, 8.0)]
    rows += [{"uri": long}, {"uri": long, "start": 250.0, "end": 260.0}, {"uri": None}]
    # Exactly one clip long, in containers that round its end.
    for suffix, codec in (("mkv", "libx264"), ("webm", "libvpx-vp9"), ("flv", "libx264"), ("ts", "libx264")):
        uri = write_video(tmp_path / f"one.{suffix}", range(32), codec=codec)
        rows.append({"uri": uri})
    made = domain()
    outcomes = [outcome(made.read, row) for row in rows]
    assert [outcome(made.check, row) for row in rows] == outcomes
    assert outcomes.count("ok") == 2 + 1 + 1 + 4
    assert set(outcomes) == {
        "ok", *REASONS.values(), "starts before the video", "start or end is not a time",
        "longer than 1024 sampled frames: cut it into clips", "missing: the row has no uri",
    }  # fmt: skip


def test_checking_a_video_decodes_little_of_it(tmp_path, monkeypatch):
    uri = write_video(tmp_path / "v.mp4", range(300), options={"g": "30", "bf": "0"})
    converted = []
    monkeypatch.setattr(
        fetching, "_pixels", lambda frame, convert: converted.append(frame.pts) or convert(frame)
    )
    domain().check({"uri": uri, "start": 2.0, "end": 9.0})
    assert len(converted) == 1
