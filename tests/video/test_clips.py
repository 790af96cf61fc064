from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sublabel.errors import ConfigError, MediaError, TableError
from sublabel.tables import MANIFEST_SCHEMA, TableWriter, open_manifest
from sublabel_video import cutting
from sublabel_video.clips import ClipOptions, ClipSampling, sample_clips
from sublabel_video.cutting import cut_clips
from sublabel_video.decoding import probe, read_clips
from tests.video.broken import REASONS, make_broken, write_video

CLIP = ClipOptions(frames=8, stride=8)
SHORT_CLIP = ClipOptions(frames=4, stride=5)
durations = st.fractions(Fraction(3), Fraction(500), max_denominator=90_000)


def test_a_clip_of_8_by_8_at_30_fps_lasts_64_thirtieths():
    assert CLIP.seconds == Fraction(64, 30)
    assert ClipOptions(frames=4, stride=1, fps=29.97).step == Fraction(100, 2997)


def test_a_clip_may_be_given_by_its_length():
    clip = ClipOptions(frames=10, stride=99, clip_seconds=2.5)
    assert (clip.step, clip.seconds) == (Fraction(1, 4), Fraction(5, 2))


def test_every_option_says_what_it_is_in_the_help():
    for options in (ClipOptions, ClipSampling):
        assert all(field.description for field in options.model_fields.values())


@pytest.mark.parametrize(
    "options",
    [
        *({"frames": 0}, {"stride": -1}, {"fps": 0}, {"speed": 1}),
        *({"clip_seconds": 0}, {"clip_seconds": float("inf")}, {"clip_seconds": float("nan")}),
        *({"fps": float("inf")}, {"fps": 1e5}, {"frames": 3000, "clip_seconds": 2}),
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValidationError):
        ClipOptions(**options)


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValidationError):
        ClipSampling(mode="dense")


@given(durations, st.integers(2, 40))
def test_uniform_clips_begin_at_the_start_end_at_the_end_and_are_evenly_spread(duration, count):
    clips = sample_clips(duration, ClipSampling(clips_per_video=count), CLIP, video_id="v")
    assert len(clips) == count
    assert clips[0].start == 0
    assert clips[-1].end == duration
    assert len({after.start - before.start for before, after in itertools.pairwise(clips)}) == 1
    assert {clip.end - clip.start for clip in clips} == {CLIP.seconds}


def test_one_uniform_clip_is_the_centre():
    (clip,) = sample_clips(Fraction(10), ClipSampling(clips_per_video=1), CLIP, video_id="v")
    assert clip.start == 10 - clip.end


@given(durations)
def test_all_clips_cover_the_video_without_overlap_up_to_less_than_a_clip(duration):
    clips = sample_clips(duration, ClipSampling(mode="all"), CLIP, video_id="v")
    assert all(before.end == after.start for before, after in itertools.pairwise(clips))
    assert clips[0].start == 0
    assert 0 <= duration - clips[-1].end < CLIP.seconds


def test_a_minute_has_28_clips_of_8_by_8():
    assert len(sample_clips(Fraction(60), ClipSampling(mode="all"), CLIP, video_id="v")) == 28


@given(durations, st.integers(1, 20), st.integers(1, 20), st.text(max_size=5))
def test_random_clips_lie_within_the_video_and_are_nested(duration, few, more, video_id):
    def clips(count):
        sampling = ClipSampling(mode="random", clips_per_video=count, seed=3)
        return sample_clips(duration, sampling, CLIP, video_id=video_id)

    assert clips(few) == sorted(clips(few))
    assert all(0 <= start < end <= duration and end - start == CLIP.seconds for start, end in clips(few))
    assert set(clips(few)) <= set(clips(few + more))


def test_random_clips_depend_on_the_seed_and_the_video():
    def starts(seed, video_id):
        sampling = ClipSampling(mode="random", clips_per_video=4, seed=seed)
        return {clip.start for clip in sample_clips(Fraction(60), sampling, CLIP, video_id=video_id)}

    assert starts(0, "a") == starts(0, "a")
    assert not starts(0, "a") & starts(0, "b")
    assert not starts(0, "a") & starts(1, "a")


def test_a_video_shorter_than_a_clip_gives_one_clip_of_all_of_it():
    for mode in ("uniform", "random", "all"):
        assert sample_clips(Fraction(2), ClipSampling(mode=mode), CLIP, video_id="v") == [(0, 2)]


@given(st.fractions(Fraction(0), CLIP.seconds + CLIP.step), st.sampled_from(["uniform", "random", "all"]))
def test_a_video_of_less_than_a_step_more_than_a_clip_gives_one_clip_of_all_of_it(duration, mode):
    clips = sample_clips(duration, ClipSampling(mode=mode, clips_per_video=5), CLIP, video_id="v")
    if duration < CLIP.seconds + CLIP.step:
        assert clips == [(0, duration)]
    elif mode != "all":
        assert len(clips) == 5


def write_manifest(path, rows):
    columns = {name for row in rows for name in row}
    schema = pa.schema([field for field in MANIFEST_SCHEMA if field.name in columns])
    with TableWriter(path, schema) as writer:
        writer.write(pa.Table.from_pylist(rows, schema=schema))
    return open_manifest(path)


def rows_of(path):
    return [row for batch in open_manifest(path).batches() for row in batch.to_pylist()]


@pytest.fixture
def broken(tmp_path):
    return make_broken(tmp_path)


def test_rows_of_the_weak_split_become_their_clips(tmp_path, broken):
    write_video(tmp_path / "v.mp4", range(120), options={"preset": "ultrafast"})
    manifest = write_manifest(
        tmp_path / "m.parquet",
        [
            {"sample_id": "a", "uri": "v.mp4", "weak_label": "run", "label": "walk", "split": "weak"},
            {"sample_id": "b", "uri": "v.mp4", "split": "target_test", "start": 0.25, "end": 1.0},
            {"sample_id": "c", "uri": broken["text"], "split": "weak", "start": 1.0},
            {"sample_id": "d", "uri": "v.mp4", "split": "weak", "start": 1.0, "end": 3.0, "source_id": "s"},
            {"sample_id": "e", "uri": broken["short"], "split": "weak"},
        ],
    )
    out = tmp_path / "elsewhere" / "clips.parquet"
    summary = cut_clips(manifest, out, SHORT_CLIP, ClipSampling(clips_per_video=3))
    rows = rows_of(out)
    assert [row["sample_id"] for row in rows] == [
        *("a#000", "a#001", "a#002", "b", "c", "d#000", "d#001", "d#002", "e"),
    ]
    first, _, last = rows[:3]
    assert first["start"] == 0
    assert last["end"] == 4
    assert {first[key] for key in ("weak_label", "label", "split", "source_id")} == {
        "run",
        "walk",
        "weak",
        "a",
    }
    assert first["uri"] == str(tmp_path / "v.mp4")
    assert (rows[3]["start"], rows[3]["end"], rows[3]["source_id"]) == (0.25, 1.0, None)
    assert (rows[4]["start"], rows[4]["end"]) == (None, None)
    assert (rows[5]["start"], rows[7]["end"], rows[5]["source_id"]) == (1.0, 3.0, "s")
    assert (summary.videos, summary.clips) == (4, 7)
    assert summary.unreadable == {REASONS["text"]: 1}
    (short,) = read_clips(rows[8]["uri"], [(rows[8]["start"], rows[8]["end"])], SHORT_CLIP)
    assert short.reason == REASONS["short"]


def test_what_clips_truly_show_is_asked_of_every_clip_and_only_of_weak_ones(tmp_path):
    write_video(tmp_path / "v.mp4", range(120), options={"preset": "ultrafast"})
    weak = {"sample_id": "a", "uri": "v.mp4", "weak_label": "run", "split": "weak"}
    test = {"sample_id": "b", "uri": "v.mp4", "label": "walk", "split": "target_test"}
    manifest = write_manifest(tmp_path / "m.parquet", [weak, test])
    out = tmp_path / "clips.parquet"
    sampling = ClipSampling(clips_per_video=3)
    cut_clips(manifest, out, SHORT_CLIP, sampling, true_label=lambda clip: f"at {clip['start']:g}")
    rows = rows_of(out)
    assert [row["true_label"] for row in rows[:3]] == [f"at {row['start']:g}" for row in rows[:3]]
    assert rows[3]["true_label"] is None
    with pytest.raises(ConfigError, match="another true labels"):
        cut_clips(manifest, out, SHORT_CLIP, sampling, replace_others=False)


def test_every_clip_that_is_cut_can_be_read(tmp_path):
    path = write_video(tmp_path / "v.mp4", range(100), options={"preset": "ultrafast"})
    manifest = write_manifest(tmp_path / "m.parquet", [{"sample_id": "a", "uri": path}])
    for mode in ("uniform", "random", "all"):
        sampling = ClipSampling(mode=mode, clips_per_video=7)
        cut_clips(manifest, tmp_path / "clips.parquet", SHORT_CLIP, sampling)
        spans = [(row["start"], row["end"]) for row in rows_of(tmp_path / "clips.parquet")]
        assert len(spans) == (5 if mode == "all" else 7)
        for strip in read_clips(path, spans, SHORT_CLIP):
            assert not isinstance(strip, MediaError)
            assert len(strip) == SHORT_CLIP.frames


def test_threads_write_the_same_bytes(tmp_path, broken):
    write_video(tmp_path / "v.mp4", range(120), options={"preset": "ultrafast"})
    rows = [{"sample_id": kind, "uri": path} for kind, path in broken.items()]
    rows += [{"sample_id": f"v{index}", "uri": "v.mp4"} for index in range(20)]
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    outs = [tmp_path / f"{workers}.parquet" for workers in (0, 3)]
    summaries = [
        cut_clips(manifest, out, SHORT_CLIP, ClipSampling(mode="random"), num_workers=workers)
        for workers, out in zip((0, 3), outs, strict=True)
    ]
    assert Path(outs[0]).read_bytes() == Path(outs[1]).read_bytes()
    assert summaries[0] == summaries[1]
    unreadable = len(REASONS) - len(("truncated", "short"))
    assert sum(summaries[0].unreadable.values()) == unreadable


def test_a_manifest_without_uris_is_refused(tmp_path):
    manifest = write_manifest(tmp_path / "m.parquet", [{"sample_id": "a", "image": b""}])
    with pytest.raises(TableError, match="uri"):
        cut_clips(manifest, tmp_path / "out.parquet", CLIP, ClipSampling())


@pytest.mark.parametrize("mode", ["uniform", "random", "all"])
def test_clips_are_not_cut_again(tmp_path, mode):
    # At thirds of a second, so that spans are rounded to float64.
    write_video(tmp_path / "v.mp4", range(130), options={"preset": "ultrafast"})
    rows = [{"sample_id": f"v{index}", "uri": "v.mp4", "weak_label": "run"} for index in range(8)]
    rows.append({"sample_id": "w", "uri": "v.mp4", "start": 0.1, "end": 4.3})
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    clip, sampling = ClipOptions(frames=3, stride=7), ClipSampling(mode=mode, clips_per_video=5)
    first = cut_clips(manifest, tmp_path / "once.parquet", clip, sampling)
    again = cut_clips(open_manifest(tmp_path / "once.parquet"), tmp_path / "twice.parquet", clip, sampling)
    once = rows_of(tmp_path / "once.parquet")
    assert rows_of(tmp_path / "twice.parquet") == once
    assert len(once) == first.clips == again.clips > 40


def test_a_video_that_is_one_clip_keeps_its_row(tmp_path):
    path = write_video(tmp_path / "v.mp4", range(23), options={"preset": "ultrafast"})
    manifest = write_manifest(tmp_path / "m.parquet", [{"sample_id": "a", "uri": path}])
    cut_clips(manifest, tmp_path / "out.parquet", SHORT_CLIP, ClipSampling(mode="random"))
    (row,) = rows_of(tmp_path / "out.parquet")
    assert (row["sample_id"], row["start"], row["end"]) == ("a", None, None)
    (strip,) = read_clips(path, [(row["start"], row["end"])], SHORT_CLIP)
    assert len(strip) == SHORT_CLIP.frames


def test_rows_whose_times_are_none_stay_whole_and_are_counted(tmp_path):
    path = write_video(tmp_path / "v.mp4", range(60), options={"preset": "ultrafast"})
    spans = [(float("nan"), 1.0), (0.0, float("inf")), (-1.0, 1.0), (float("-inf"), None), (5.0, 6.0)]
    rows = [
        {"sample_id": str(index), "uri": path, "start": start, "end": end}
        for index, (start, end) in enumerate(spans)
    ]
    out = tmp_path / "out.parquet"
    summary = cut_clips(write_manifest(tmp_path / "m.parquet", rows), out, SHORT_CLIP, ClipSampling())
    assert summary.unreadable == {"start or end is not a time": 3, "starts before the video": 1}
    kept = [(row["sample_id"], row["start"], row["end"]) for row in rows_of(out)]
    assert repr(kept) == repr([(str(index), *span) for index, span in enumerate(spans)])
    strips = read_clips(path, spans, SHORT_CLIP)
    assert [strip.reason for strip in strips[2:]] == [
        "starts before the video",
        "start or end is not a time",
        "shorter than a clip",
    ]


@pytest.mark.parametrize("empty", [{}, {"image": None, "split": None}])
def test_only_columns_that_hold_something_and_those_of_cutting_are_written(tmp_path, empty):
    path = write_video(tmp_path / "v.mp4", range(60), options={"preset": "ultrafast"})
    rows = [{"sample_id": "a", "uri": path, "label": "run", **empty}]
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    cut_clips(manifest, tmp_path / "out.parquet", SHORT_CLIP, ClipSampling())
    columns = open_manifest(tmp_path / "out.parquet").columns
    assert columns == ("sample_id", "uri", "start", "end", "source_id", "label")


def test_rows_of_no_split_are_cut(tmp_path):
    path = write_video(tmp_path / "v.mp4", range(60), options={"preset": "ultrafast"})
    rows = [{"sample_id": "a", "uri": path, "split": None}, {"sample_id": "b", "uri": path, "split": "weak"}]
    sampling = ClipSampling(clips_per_video=3)
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    assert cut_clips(manifest, tmp_path / "out.parquet", SHORT_CLIP, sampling).clips == 6


def test_what_was_cut_alike_is_kept_without_opening_a_video(tmp_path, broken, monkeypatch):
    path = write_video(tmp_path / "v.mp4", range(60), options={"preset": "ultrafast"})
    rows = [{"sample_id": "a", "uri": path}, {"sample_id": "b", "uri": broken["text"]}]
    manifest, out = write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out.parquet"
    opened, sampling = [], ClipSampling()
    monkeypatch.setattr(cutting, "probe", lambda uri: opened.append(uri) or probe(uri))

    def cut(manifest=manifest, clip=SHORT_CLIP, sampling=sampling):
        opened.clear()
        return cut_clips(manifest, out, clip, sampling)

    first = cut()
    assert len(opened) == 2
    stamp = out.stat().st_mtime_ns, out.read_bytes()
    again = cut()
    assert not opened
    assert (out.stat().st_mtime_ns, out.read_bytes()) == stamp
    assert not first.kept
    assert again.kept
    assert (again.videos, again.clips, again.unreadable) == (2, 10, {REASONS["text"]: 1})
    assert str(again) == f"{first} (kept from an earlier run)"
    assert not cut(clip=ClipOptions(frames=4, stride=4)).kept
    assert not cut(sampling=ClipSampling(clips_per_video=3)).kept
    assert not cut(sampling=ClipSampling(clips_per_video=3, seed=1)).kept
    changed = write_manifest(tmp_path / "m.parquet", [{**row, "weak_label": "run"} for row in rows])
    assert not cut(changed).kept
    assert cut(changed).kept
    out.write_bytes(b"PAR1, cut off")
    assert not cut(changed).kept
    assert cut(changed).kept


def test_clips_that_were_cut_otherwise_can_be_kept_from_being_replaced(tmp_path):
    path = write_video(tmp_path / "v.mp4", range(90), options={"preset": "ultrafast"})
    manifest = write_manifest(tmp_path / "m.parquet", [{"sample_id": "a", "uri": path}])
    out = tmp_path / "out.parquet"
    cut_clips(manifest, out, SHORT_CLIP, ClipSampling(), replace_others=False)
    before = out.read_bytes()
    assert cut_clips(manifest, out, SHORT_CLIP, ClipSampling(), replace_others=False).kept
    with pytest.raises(
        ConfigError, match=r"was made with another sampling.clips_per_video: .*\(10 there, 3 here\)"
    ):
        cut_clips(manifest, out, SHORT_CLIP, ClipSampling(clips_per_video=3), replace_others=False)
    assert out.read_bytes() == before
