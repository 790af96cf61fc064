from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from scipy.stats import chi2

from sublabel.errors import ConfigError, MediaError, TableError
from sublabel.tables import iter_batches, open_manifest
from sublabel_video.demo import (
    ACTIONS,
    BACKGROUND,
    SUB_CONCEPTS,
    Segment,
    SyntheticOptions,
    Truth,
    action_at,
    contact_sheet,
    load_truth,
    make_videos,
    shown_in,
)
from sublabel_video.demo.drawing import CYCLES, MOTIONS, OTHER_MOTIONS, draw_scene

SMALL = SyntheticOptions(
    actions=ACTIONS[:4], videos=8, seconds=9.0, shown=0.45, sub_concepts=0.25, co_occurring=0.1,
    target_train=1, target_test=2, size=32, label_noise=0.25,
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_videos(tmp_path_factory.mktemp("made"), SMALL).parent


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def rows(folder: Path, split: str) -> list[dict]:
    manifest = open_manifest(folder / "manifest.parquet").filter(split=split)
    return [row for batch in manifest.batches() for row in batch.to_pylist()]


def decode(path: str | Path) -> np.ndarray:
    with av.open(path) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def scene(action: str | None, seed: int, *, frames: int = 8, **options) -> np.ndarray:
    defaults = {"size": 48, "fps": 15, "speeds": (0.4, 0.75), "side_motion": 0.0, "camera_noise": 0.0}
    return draw_scene(action, frames, **{**defaults, **options}, generator=np.random.default_rng(seed))


def moved(first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    """How many pixels (down, right) the second frame is from the first, by phase correlation on a torus."""
    spectra = [np.fft.fft2(frame.mean(-1) - frame.mean()) for frame in (first, second)]
    cross = spectra[1] * spectra[0].conj()
    correlation = np.fft.ifft2(cross / np.abs(cross).clip(1e-9)).real
    peak = np.unravel_index(correlation.argmax(), correlation.shape)
    side = len(correlation)
    return tuple(int((shift + side // 2) % side - side // 2) for shift in peak)


def test_the_manifest_is_valid_and_names_every_file(made):
    manifest = open_manifest(made / "manifest.parquet")
    manifest.check()
    weak, train, test = (rows(made, split) for split in ("weak", "target_train", "target_test"))
    assert (len(weak), len(train), len(test)) == (8, 4, 8)
    assert {row["uri"] for row in weak + train + test} == {str(path) for path in made.rglob("*.mp4")}
    assert all(row["weak_label"] in SMALL.actions and row["label"] is None for row in weak)
    assert all(row["weak_label"] is None and row["start"] is None for row in train + test)
    assert sorted(row["label"] for row in test) == sorted(SMALL.actions * 2)


def test_the_files_are_as_long_and_as_large_as_asked(made):
    assert decode(made / "weak" / "00000.mp4").shape == (135, 32, 32, 3)
    assert decode(made / "target_test" / "00000.mp4").shape == (24, 32, 32, 3)
    with av.open(made / "weak" / "00000.mp4") as container:
        stream = container.streams.video[0]
        assert (stream.average_rate, stream.codec_context.name, stream.pix_fmt) == (15, "h264", "yuv420p")


def test_the_same_options_give_the_same_bytes(made, tmp_path):
    make_videos(tmp_path, SMALL)
    assert digests(tmp_path) == digests(made)


def test_every_video_is_another_in_another_order(made):
    made_bytes = [digest for name, digest in digests(made).items() if name.endswith(".mp4")]
    assert len(set(made_bytes)) == len(made_bytes)
    truths = [load_truth(row["uri"]) for row in rows(made, "weak")]
    assert len({truth.segments[0].action == truth.query for truth in truths}) == 2


def test_another_seed_gives_other_videos(made, tmp_path):
    make_videos(tmp_path, SMALL.model_copy(update={"seed": 1}))
    one, other = digests(made), digests(tmp_path)
    assert one.keys() == other.keys()
    assert not {one[name] for name in one if name.endswith(".mp4")} & set(other.values())


def test_a_stopped_run_goes_on_to_the_same_bytes(made, tmp_path):
    make_videos(tmp_path, SMALL)
    for name in ("manifest.parquet", "truth.parquet", "weak/00003.json", "weak/00004.mp4", "weak/00004.json"):
        (tmp_path / name).unlink()
    kept = (tmp_path / "weak" / "00002.mp4").stat().st_mtime_ns
    make_videos(tmp_path, SMALL)
    assert digests(tmp_path) == digests(made)
    assert (tmp_path / "weak" / "00002.mp4").stat().st_mtime_ns == kept


def test_a_folder_of_other_options_is_refused(made):
    before = digests(made)
    with pytest.raises(ConfigError, match="another videos, seed: .*choose another folder"):
        make_videos(made, SMALL.model_copy(update={"seed": 5, "videos": 9}))
    assert digests(made) == before


def test_segments_cover_each_video_in_the_shares_of_the_options(made):
    for row in rows(made, "weak"):
        truth = load_truth(row["uri"])
        edges = [(segment.start, segment.end) for segment in truth.segments]
        assert edges[0][0] == 0
        assert edges[-1][1] == 9
        assert all(end == start for (_, end), (start, _) in pairwise(edges))
        shown = sum(
            segment.end - segment.start for segment in truth.segments if segment.action == truth.query
        )
        nothing = sum(segment.end - segment.start for segment in truth.segments if segment.action is None)
        concepts = sum(
            segment.end - segment.start for segment in truth.segments if segment.action in SUB_CONCEPTS
        )
        assert concepts / 9 == pytest.approx(0.25, abs=0.01)
        assert shown / 9 == pytest.approx(0.45, abs=0.01)
        assert nothing / 9 == pytest.approx(0.2, abs=0.01)


def test_sub_concepts_come_with_their_queries_and_never_with_a_target_clip(made):
    belongs = SMALL.concepts_of()
    seen = [
        (truth.query, segment.action)
        for truth in (load_truth(row["uri"]) for row in rows(made, "weak"))
        for segment in truth.segments
        if segment.action in SUB_CONCEPTS
    ]
    assert seen
    assert all(action in belongs[query] for query, action in seen)
    for row in rows(made, "target_train") + rows(made, "target_test"):
        assert {segment.action for segment in load_truth(row["uri"]).segments} == {row["label"]}


@pytest.mark.parametrize("each", [1, 2, 3])
def test_every_sub_concept_comes_with_so_many_queries(each):
    first, other = (SyntheticOptions(queries_each=each, seed=seed).concepts_of() for seed in (0, 1))
    of_queries = [concept for concepts in first.values() for concept in concepts]
    assert {of_queries.count(concept) for concept in SUB_CONCEPTS} == {each}
    assert {len(concepts) for concepts in first.values()} == {2 * each}
    assert first != other


def test_a_clip_is_called_by_what_it_shows_for_the_longest_time(made):
    row = rows(made, "weak")[0]
    truth = load_truth(row["uri"])
    for segment in truth.segments:
        clip = {"uri": row["uri"], "start": segment.start, "end": segment.end + 0.01}
        assert shown_in(clip) == (segment.action or BACKGROUND)
    whole = {"uri": row["uri"], "start": None, "end": None}
    assert shown_in(whole) == action_at(truth, 0, 9)


def test_the_summary_holds_every_segment(made):
    summary = [row for batch in iter_batches(made / "truth.parquet") for row in batch.to_pylist()]
    for row in rows(made, "weak") + rows(made, "target_train"):
        truth = load_truth(row["uri"])
        mine = [part for part in summary if part["sample_id"] == row["sample_id"]]
        assert [Segment(part["action"], part["start"], part["end"]) for part in mine] == list(truth.segments)
        assert {part["query"] for part in mine} == {truth.query}


def test_each_second_has_the_action_that_most_of_its_frames_show(made):
    for row in rows(made, "weak"):
        truth = load_truth(row["uri"])
        stored = json.loads(Path(row["uri"]).with_suffix(".json").read_text())["action_each_second"]
        frames = [
            segment.action
            for segment in truth.segments
            for _ in range(round((segment.end - segment.start) * SMALL.fps))
        ]
        for second, action in enumerate(stored):
            inside = frames[second * SMALL.fps : (second + 1) * SMALL.fps]
            assert inside.count(action) == max(map(inside.count, inside))


def test_label_noise_changes_that_share_of_the_weak_labels(made):
    wrong = [row["weak_label"] != load_truth(row["uri"]).query for row in rows(made, "weak")]
    assert sum(wrong) == 2


def test_what_co_occurs_follows_the_given_matrix(tmp_path):
    matrix = ((0.0, 0.7, 0.3), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    options = SyntheticOptions(
        actions=ACTIONS[:3], videos=30, seconds=12.0, segment_seconds=0.5, shown=0.25, co_occurring=0.75,
        sub_concepts=0, co_occurrence=matrix, target_train=1, target_test=1, size=16, fps=4,
    )  # fmt: skip
    make_videos(tmp_path, options)
    seconds = np.zeros((3, 3))
    for row in rows(tmp_path, "weak"):
        truth = load_truth(row["uri"])
        for segment in truth.segments:
            cell = (ACTIONS.index(truth.query), ACTIONS.index(segment.action))
            seconds[cell] += segment.end - segment.start
    shares = seconds / seconds.sum(1, keepdims=True)
    assert shares == pytest.approx(0.25 * np.eye(3) + 0.75 * np.array(matrix), abs=0.07)


def light(frames: np.ndarray) -> np.ndarray:
    """Where the object is, (T, H, W): far from the background's colour, which is the median of each frame."""
    distance = np.abs(frames - np.median(frames, axis=(1, 2), keepdims=True)).sum(-1)
    return distance > 130


def heading(action: str, frames: np.ndarray) -> float:
    """How surely frames (T, H, W, 3) show the action rather than its opposite, from -1 to 1."""
    steps = np.array([moved(one, other) for one, other in pairwise(frames)])
    if action.startswith("slide"):
        axis, sign = {"left": (1, -1), "right": (1, 1), "up": (0, -1), "down": (0, 1)}[action.split()[1]]
        return float(np.mean(np.sign(steps[:, axis])) * sign)
    sign = -1 if "counter" in action else 1
    down, right = steps.T if action.startswith("orbit") else np.array([facing(frame) for frame in frames]).T
    # With y pointing down, a turn from right to down is clockwise.
    return float(np.mean(np.sign(right[:-1] * down[1:] - down[:-1] * right[1:])) * sign)


def facing(frame: np.ndarray) -> np.ndarray:
    """(down, right) from the middle of the object to its lighter side."""
    there, side = light(frame[None])[0], len(frame)
    middle = [
        np.angle(np.sum(np.exp(2j * np.pi * where / side))) * side / (2 * np.pi)
        for where in np.nonzero(there)
    ]
    offset = [
        (where - centre + side / 2) % side - side / 2
        for where, centre in zip(np.nonzero(there), middle, strict=True)
    ]
    brightness = frame.mean(-1)[there]
    return np.array([np.mean(part * (brightness - brightness.mean())) for part in offset])


@pytest.mark.parametrize(
    "action", [name for name in ACTIONS if name.split()[0] in ("slide", "rotate", "orbit")]
)
def test_an_action_moves_the_way_it_is_called(action):
    headings = [heading(action, scene(action, seed, frames=16, size=64)) for seed in range(12)]
    assert np.mean(headings) > 0.4


def test_the_segments_of_a_file_show_the_slides_that_its_truth_says(made):
    headings = []
    for row in rows(made, "weak"):
        frames = decode(row["uri"])
        for segment in load_truth(row["uri"]).segments:
            if segment.action is not None and segment.action.startswith("slide"):
                inside = frames[round(segment.start * SMALL.fps) : round(segment.end * SMALL.fps)]
                headings.append(heading(segment.action, inside))
    assert len(headings) > 8
    assert np.mean(np.sign(headings)) > 0.8


@pytest.mark.parametrize(("action", "sign"), [("zoom in", 1), ("zoom out", -1)])
def test_zooms_change_the_area_the_way_they_are_called(action, sign):
    votes = []
    for seed in range(20):
        area = light(scene(action, seed)).sum((1, 2)).astype(float)
        # One step of many is the return to the other end.
        votes.append(np.sign(np.diff(area)).sum())
    assert np.mean(np.sign(votes) == sign) >= 0.85


def test_opposite_actions_are_each_other_backwards():
    for one, other in zip(ACTIONS[::2], ACTIONS[1::2], strict=True):
        [forwards], [backwards] = MOTIONS[one], MOTIONS[other]
        assert forwards == backwards._replace(rate=-backwards.rate)
    assert {turn.cycle for [turn] in MOTIONS.values()} == set(CYCLES)


def test_no_two_actions_move_alike():
    motions = [*MOTIONS.values(), *OTHER_MOTIONS.values()]
    assert len(set(map(frozenset, motions))) == len(motions)


@pytest.mark.parametrize("action", [name for name in SUB_CONCEPTS if name.startswith("drift")])
def test_a_drift_moves_along_both_axes_at_once(action):
    down, right = (1 if "down" in action else -1), (1 if "right" in action else -1)
    clips = [scene(action, seed, frames=16, size=64) for seed in range(8)]
    steps = np.concatenate([[moved(*pair) for pair in pairwise(frames)] for frames in clips])
    assert np.mean(np.sign(steps) == (down, right)) > 0.8


@pytest.mark.parametrize(("action", "axis"), [("shake", 1), ("bounce", 0)])
def test_what_swings_comes_back_to_where_it_began(action, axis):
    # 24 frames at 12 fps and two swings of half a cycle a second: two times to and fro.
    for seed in range(8):
        frames = scene(action, seed, frames=25, size=64, fps=12, speeds=(0.5, 0.5))
        steps = np.array([moved(*pair) for pair in pairwise(frames)])
        assert np.abs(steps[:, 1 - axis]).max() <= 1
        assert np.abs(np.cumsum(steps[:, axis])).max() > 8
        assert abs(steps[:, axis].sum()) <= 3


def test_single_frames_have_the_same_statistics_under_every_action():
    """Chi-square of each action's mean map of where the object is, at the start and at the end of clips."""
    per_action, names = 50, (*ACTIONS, *SUB_CONCEPTS, None)
    clips = np.stack(
        [
            [
                scene(action, 1000 * index + seed, side_motion=0.3, size=32)[[0, 7]]
                for seed in range(per_action)
            ]
            for index, action in enumerate(names)
        ]
    )
    grey = clips.mean(-1)
    contrast = np.abs(grey - np.median(grey, axis=(-2, -1), keepdims=True))
    maps = contrast.reshape(*contrast.shape[:-2], 4, 8, 4, 8).mean((-3, -1)).reshape(*contrast.shape[:-2], 16)
    for frame in (0, 1):
        pooled = maps[:, :, frame].reshape(-1, 16)
        between = maps[:, :, frame].mean(1) - pooled.mean(0)
        inverse = np.linalg.inv(np.cov(pooled, rowvar=False) / per_action)
        statistic = np.einsum("ki,ij,kj->", between, inverse, between)
        freedom = 16 * (len(names) - 1)
        assert chi2.ppf(1e-4, freedom) < statistic < chi2.ppf(1 - 1e-4, freedom)


def test_an_action_does_not_change_the_frame_it_starts_from():
    first = [scene(action, 3, frames=2)[0] for action in (*ACTIONS, *SUB_CONCEPTS, None)]
    assert all((frame == first[0]).all() for frame in first)


def test_a_clip_shows_what_most_of_its_time_shows():
    truth = Truth(
        "a", (Segment("a", 0, 1), Segment(None, 1, 1.5), Segment("b", 1.5, 2.5), Segment("a", 2.5, 4))
    )
    generator = np.random.default_rng(0)
    for start, end in np.sort(generator.uniform(0, 4, (50, 2)), axis=1):
        times = np.linspace(start, end, 20_001)
        actions = [truth.segments[index].action for index in np.searchsorted([1, 1.5, 2.5], times, "right")]
        assert action_at(truth, start, end) == max(("a", "b", None), key=actions.count)
    assert action_at(truth, 0.5, 1.5) == "a"
    with pytest.raises(ConfigError, match="expected a part of the video, which has 4 s"):
        action_at(truth, 4, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"actions": ("slide left", "jump")}, "expected names without repetition"),
        ({"actions": ("slide left", "slide left")}, "without repetition"),
        ({"shown": 0.8, "co_occurring": 0.3, "sub_concepts": 0}, "sum to at most 1"),
        ({"shown": 0.5, "sub_concepts": 0.45}, "sum to at most 1"),
        ({"sub_concept_actions": ("slide left",)}, "are no target actions"),
        ({"sub_concept_actions": ("jump",)}, "are no target actions"),
        ({"sub_concept_actions": ("shake",)}, "has none of the 1 sub-concepts"),
        ({"actions": ACTIONS[:3], "queries_each": 4}, "4 queries, and there are 3"),
        ({"shown": 1.2}, "less than or equal to 1"),
        ({"speeds": (0.5, 0.4)}, "the lower one first"),
        ({"size": 49}, "multiple of 2"),
        ({"videos": 0}, "greater than 0"),
        ({"actions": ACTIONS[:2]}, "expected 3 classes or more"),
        ({"actions": ACTIONS[:2], "co_occurrence": ((0, 1),)}, "expected 2 of 2"),
        ({"actions": ACTIONS[:2], "co_occurrence": ((0, 1), (0.5, 0.4))}, "a sum other than 1"),
        (
            {"actions": ACTIONS[:1], "co_occurring": 0, "label_noise": 0.5, "queries_each": 1},
            "with the one action 'slide left'; expected a second action",
        ),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        SyntheticOptions(**options)


def test_a_damaged_or_missing_truth_is_refused(tmp_path):
    with pytest.raises(TableError, match="there is no file"):
        load_truth(tmp_path / "a.mp4")
    (tmp_path / "a.json").write_text('{"query": "zoom in"}')
    with pytest.raises(TableError, match="make the videos anew"):
        load_truth(tmp_path / "a.mp4")


def test_a_contact_sheet_shows_the_frames_of_every_segment(made, tmp_path):
    video = made / "target_test" / "00001.mp4"
    contact_sheet([made / "weak" / "00000.mp4", video], tmp_path / "sheet.png", frames=2, frame_size=32)
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.array(sheet)
    half = len(pixels) // 2
    first = pixels[half + 30 : half + 62, 2:34].astype(int)
    assert np.abs(first - decode(video)[0]).max() == 0
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "broken.json").write_text(video.with_suffix(".json").read_text())
    with pytest.raises(MediaError, match="unreadable"):
        contact_sheet([tmp_path / "broken.mp4"], tmp_path / "sheet.png")
    with pytest.raises(ConfigError, match="at least one"):
        contact_sheet([], tmp_path / "sheet.png")
