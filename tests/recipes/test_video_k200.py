from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recipes.video_k200 import PRESETS, main
from sublabel.errors import ConfigError, MediaError
from sublabel.study import parse_preset
from sublabel.tables import read_relabeled
from sublabel_video.cli import main as video_command
from sublabel_video.demo import BACKGROUND, SUB_CONCEPTS, action_at, load_truth

DEMO_ROWS = ["weak-only", "agreement", "raw SPL", "matched control", "oracle"]
ROWS = ["weak-only", "teacher-only", "agreement", "raw SPL", "SPL-B", "matched control"]
TINY_VIDEOS = [
    "--synthetic.videos", "6", "--synthetic.seconds", "6", "--synthetic.target_train", "2",
    "--synthetic.target_test", "2", "--synthetic.actions", "[slide left, slide right, zoom in]",
    "--sampling.clips_per_video", "3", "--teacher.finetune.steps", "2", "--teacher.finetune.batch_size", "2",
]  # fmt: skip
QUICK = [
    "--pretrain.steps", "2", "--finetune.steps", "2", "--finetune.batch_size", "2", "--jobs", "1",
    "--seeds", "1",
]  # fmt: skip


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    options = [*TINY_VIDEOS, *QUICK, "--pretrain.batch_size", "2", "--clips_per_video", "[1,2]"]
    return out, main(["--out", str(out), *options]), options


def test_the_demo_ends_with_the_rows_that_matter_and_a_curve_where_it_is_asked_for(demo):
    out, comparison, _ = demo
    assert comparison.names() == ["none (scratch)", *DEMO_ROWS]
    pools, *rows = comparison.curve().rows
    assert pools == ("weak samples", "6", "12", "18")
    assert [row[0] for row in rows] == ["weak-only", "raw SPL"]
    stored = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    assert [row["row"] for row in stored["rows"]] == ["none (scratch)", *DEMO_ROWS]


def test_the_demo_ends_with_a_page_that_shows_it(demo):
    page = (demo[0] / "report.html").read_text(encoding="utf-8")
    assert "slide left" in page
    assert "data:image/jpeg;base64," in page


def test_clips_inherit_the_query_of_their_video_which_they_may_not_show(demo):
    out, _, _ = demo
    clips = [row for row in pq.read_table(out / "clips.parquet").to_pylist() if row["split"] == "weak"]
    shown = []
    for clip in clips:
        truth = load_truth(clip["uri"])
        assert clip["weak_label"] == truth.query
        assert clip["source_id"] == clip["sample_id"].partition("#")[0]
        shown.append(action_at(truth, clip["start"], clip["end"]) == truth.query)
        assert clip["true_label"] == (action_at(truth, clip["start"], clip["end"]) or BACKGROUND)
    assert 0 < sum(shown) < len(shown)
    assert any(clip["true_label"] in SUB_CONCEPTS for clip in clips)


def test_a_demo_that_has_ended_is_not_run_again(demo, monkeypatch):
    out, comparison, options = demo
    monkeypatch.setattr("lightning.Trainer.fit", lambda *_, **__: pytest.fail("trained again"))
    assert main(["--out", str(out), *options]) == comparison


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_refused_run_and_a_dry_run_change_nothing_in_a_finished_study(demo, tmp_path):
    out, comparison, options = demo
    data = class_folders(demo, tmp_path / "data")
    begun = tmp_path / "out"
    row = ["--strategies", "{weak-only: {kind: weak_only}}", "--clips_per_video", "[]"]
    k200 = [*K200, *QUICK, *row, "--data", str(data), "--out", str(begun)]
    main(k200)
    finished = contents(begun)
    for arguments, folder in (([*k200], begun), (["--out", str(out), *options], out)):
        before = contents(folder)
        for name, value in (("clip.frames", "2"), ("sampling.clips_per_video", "5")):
            other = [f"--{name}", value]
            for dry in ([], ["--dry_run", "true"]):
                with pytest.raises(ConfigError, match=rf"was made with another {name}: .* {value} here"):
                    main([*arguments, *other, *dry])
        with pytest.raises(ConfigError, match="another pretrain"):
            main([*arguments, "--pretrain.epochs", "3", "--dry_run", "true"])
        assert main([*arguments, "--dry_run", "true"]) is None
        assert contents(folder) == before
    shutil.rmtree(data / "weak" / "slide left")
    with pytest.raises(ConfigError, match="was made with another rows"):
        main(k200)
    assert contents(begun) == finished
    assert main(["--out", str(out), *options]) == comparison


def class_folders(demo, root):
    """The demo's videos as a user of Kinetics would have them: SPLIT/CLASS/FILE."""
    videos = demo[0] / "videos"
    for row in pq.read_table(videos / "manifest.parquet").to_pylist():
        folder = root / row["split"] / (row["weak_label"] or row["label"])
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(videos / row["uri"], folder)
    return root


K200 = [
    "--preset", "k200", "--backbone", "small_resnet3d", "--pretrained", "false", "--image_size", "32",
    "--clip.frames", "4", "--clip.stride", "4", "--num_workers", "0", "--views.clips", "2",
    "--sampling.clips_per_video", "2", "--clips_per_video", "[1]", "--pretrain.batch_size", "4",
    "--pretrain.augmentation", "resized_crop",
]  # fmt: skip


def test_the_full_preset_runs_on_folders_with_views_and_an_exclusion_list(demo, tmp_path):
    data = class_folders(demo, tmp_path / "data")
    (tmp_path / "exclude.txt").write_text("00000\n00004.mp4\n\n")
    out = tmp_path / "out"
    options = [
        *K200,
        *QUICK,
        "--data",
        str(data),
        "--out",
        str(out),
        "--exclude",
        str(tmp_path / "exclude.txt"),
    ]
    comparison = main(options)
    assert comparison.names() == ["none (scratch)", *ROWS]
    assert comparison.test_samples == 6
    relabeled = read_relabeled(out / "seed0" / "raw_spl" / "relabeled.parquet")
    videos = {sample_id.partition("#")[0] for sample_id in relabeled.sample_ids.to_pylist()}
    assert len(relabeled.sample_ids) == 8
    assert not any("00000" in video or "00004" in video for video in videos)
    card = json.loads((out / "seed0" / "raw_spl" / "pretrained" / "card.json").read_text(encoding="utf-8"))
    assert card["preprocessing"]["input_size"] == [3, 4, 32, 32]
    assert not list(out.rglob("last.ckpt"))


def test_a_dry_run_trains_nothing_and_says_what_would_be_done(demo, tmp_path, capsys):
    data = class_folders(demo, tmp_path / "data")
    out = tmp_path / "out"
    assert main([*K200, "--data", str(data), "--out", str(out), "--dry_run", "true"]) is None
    said = capsys.readouterr().out
    assert "3 weak classes × 3 target classes; 3 weak classes agree" in said
    assert "6×3×4×32×32" in said
    assert "to do" in said
    assert {path.name for path in out.iterdir()} == {"videos.parquet", "clips.parquet"}


def test_a_dry_run_stops_at_a_video_that_cannot_be_read(demo, tmp_path):
    data = class_folders(demo, tmp_path / "data")
    for video in (data / "target_test").rglob("*.mp4"):
        video.write_bytes(b"not a video")
    with pytest.raises(MediaError, match="unreadable: .*the first sample of target_test"):
        main([*K200, "--data", str(data), "--out", str(tmp_path / "out"), "--dry_run", "true"])


def test_tables_beside_the_videos_of_a_folder_are_not_read(demo, tmp_path):
    data = class_folders(demo, tmp_path / "data")
    shutil.copy(demo[0] / "clips.parquet", data / "stray.parquet")
    assert main([*K200, "--data", str(data), "--out", str(tmp_path / "out"), "--dry_run", "true"]) is None
    assert all(
        row["uri"].startswith(str(data))
        for row in pq.read_table(tmp_path / "out" / "clips.parquet").to_pylist()
    )


def test_prepared_videos_take_the_place_of_the_originals(demo, tmp_path):
    data = class_folders(demo, tmp_path / "data")
    manifest, prepared = str(tmp_path / "videos.parquet"), tmp_path / "prepared"
    assert video_command(["manifest", str(data), manifest]) == 0
    assert video_command(["prepare", manifest, str(prepared), "--short_side", "32"]) == 0
    options = [*K200, "--data", str(prepared / "manifest.parquet"), "--out", str(tmp_path / "out")]
    assert main([*options, "--dry_run", "true"]) is None
    clips = pq.read_table(tmp_path / "out" / "clips.parquet").to_pylist()
    assert all(clip["uri"].startswith(str(prepared)) for clip in clips)


def test_the_preset_k200_is_the_papers_setting():
    _, (study, _, data) = parse_preset(PRESETS, "", ["--preset", "k200"])
    assert (study.backbone, study.pretrained) == ("slow_r50", True)
    assert (data.clip.frames, data.clip.stride, data.clip.fps, data.image_size) == (8, 8, 30, 224)
    assert (data.views.clips, data.views.crops) == (10, 3)
    assert len(study.clips_per_video) + 1 >= 3
    longer = parse_preset(PRESETS, "", ["--preset", "k200", "--clip.frames", "16", "--clip.stride", "4"])
    assert longer[1][2].clip.seconds == data.clip.seconds


def test_options_that_a_preset_does_not_use_are_refused(demo, tmp_path):
    for nothing in ([], ["--data", ""]):
        with pytest.raises(ConfigError, match="the preset k200 needs --data"):
            main(["--preset", "k200", *nothing])
    with pytest.raises(ConfigError, match="demo makes its own videos"):
        main(["--data", str(tmp_path)])
    manifest = str(demo[0] / "videos" / "manifest.parquet")
    with pytest.raises(ConfigError, match="--exclude is for a folder"):
        main([*K200, "--data", manifest, "--exclude", str(tmp_path / "names.txt")])


def test_several_data_seeds_are_studies_of_other_videos(tmp_path):
    row = ["--strategies", "{weak-only: {kind: weak_only}}", "--oracle", "false"]
    main(["--out", str(tmp_path), *TINY_VIDEOS, *QUICK, *row, "--data_seeds", "2"])
    videos = [(tmp_path / f"data{seed}/videos/weak/00000.mp4").read_bytes() for seed in (0, 1)]
    assert videos[0] != videos[1]
    with pytest.raises(ConfigError, match="yours are as they are: leave it at 1"):
        main([*K200, "--data", str(tmp_path), "--data_seeds", "2"])


def test_two_processes_share_the_pass_and_the_test(demo, tmp_path):
    data = class_folders(demo, tmp_path / "data")
    script = Path(__file__).parents[2] / "recipes" / "video_k200.py"
    devices = ["--trainer", "{devices: 2, accelerator: cpu, strategy: ddp}", "--decode_once", "true"]
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, str(script), *K200, *QUICK, "--data", str(data), "--out", str(out), *devices],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert [line.split()[:2] for line in done.stdout.splitlines()].count(["matched", "control"]) == 1
    stored = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    assert stored["test_samples"] == 6
    # Six samples, three of each process: all others are no multiple of a sixth.
    right = [6 * run["metrics"]["top1"] for run in stored["runs"]]
    assert all(abs(samples - round(samples)) < 1e-6 for samples in right)


def test_an_interrupted_command_ends_with_one_line_and_exit_code_130(capsys, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("sublabel_video.cli.auto_cli", interrupt)
    assert video_command(["sheet"]) == 130
    assert capsys.readouterr().err == "sublabel-video sheet: interrupted\n"
