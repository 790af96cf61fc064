from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

import sublabel as sl
from sublabel.errors import ArtifactError, ConfigError, LabelError, MediaError, TableError
from sublabel.study import Study, StudyOptions, TrainOptions, default_strategies, plan_study
from sublabel.study.runner import Runner, classes_that_touch
from sublabel.tables import read_relabeled
from sublabel.training import FactorisedHead, FinetuneModule, load_model
from sublabel_image import ImageDomain
from sublabel_image.pages import co_occurrence, image_bytes, page_queries

FAST = {
    "backbone": "small_resnet7",
    "pretrain": TrainOptions(epochs=1, batch_size=16, learning_rate=0.05, augmentation="shift"),
    "finetune": TrainOptions(
        epochs=4, batch_size=8, optimizer="adamw", learning_rate=0.004, augmentation="shift"
    ),
}
CLASSES = 3


def stripes(label, generator):
    """Horizontal, vertical or no stripes, with noise: what a small network learns in an epoch or two."""
    pixels = generator.integers(0, 80, (8, 8))
    if label < 2:
        pixels = pixels + 150 * (np.indices((8, 8))[label] % 4 < 2)
    return image_bytes(pixels.astype(np.uint8))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Sums over one and over two threads differ in the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, CLASSES, 200)
    queries = page_queries(labels, co_occurrence(CLASSES, partners=(1.0,)))
    names = ["rows", "columns", "plain"]
    splits = ["weak"] * 120 + ["target_train"] * 40 + ["target_test"] * 40
    rows = [
        {
            "sample_id": f"s{index}",
            "image": stripes(label, generator),
            "weak_label": names[query] if split == "weak" else None,
            "label": names[label],
            "split": split,
        }
        for index, (label, query, split) in enumerate(zip(labels, queries, splits, strict=True))
    ]
    path = tmp_path_factory.mktemp("study") / "manifest.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def study(manifest, out, **options):
    return Study(manifest, ImageDomain(8), StudyOptions(**{**FAST, **options}), out)


@pytest.fixture(scope="module")
def finished(manifest, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return out, study(manifest, out).run()


def test_the_table_has_every_row_in_the_papers_order(finished):
    _, comparison = finished
    assert [row.pretraining for row in comparison.rows()] == [
        "none (scratch)", "weak-only", "teacher-only", "agreement", "raw SPL", "SPL-B", "matched control",
    ]  # fmt: skip
    assert all(0 <= run.top1 <= run.top5 <= 1 for run in comparison.runs)
    assert comparison.runs[0].top1 > 0.5


def test_counts_in_the_table_are_those_of_the_label_spaces(finished):
    out, comparison = finished
    by_row = {run.row: run for run in comparison.runs}
    for name in default_strategies():
        folder = out / "seed0" / name.lower().replace(" ", "_").replace("-", "_")
        table = read_relabeled(folder / "relabeled.parquet")
        assert by_row[name].classes == table.space.num_classes
        assert by_row[name].samples == (table.labels >= 0).sum()
        loaded, card = load_model(folder / "pretrained")
        assert card.fingerprints["label_space"] == table.space.fingerprint
        assert card.classes == table.space.names
        assert loaded.head.weight.shape[0] == table.space.num_classes
    assert by_row["weak-only"].samples == by_row["raw SPL"].samples == 120 > by_row["agreement"].samples


def test_the_written_table_says_the_same(finished):
    out, comparison = finished
    stored = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    assert [run["top1"] for run in stored["runs"]] == [run.top1 for run in comparison.runs]
    text = (out / "comparison.md").read_text(encoding="utf-8")
    assert all(f"| {row.pretraining} |" in text for row in comparison.rows())
    assert "one seed says nothing about the spread" in text


def test_a_finished_study_trains_nothing_again(finished, manifest, monkeypatch):
    out, comparison = finished
    monkeypatch.setattr(Runner, "fit", lambda *_: pytest.fail("trained again"))
    assert study(manifest, out).run() == comparison


def test_the_same_seed_gives_the_same_metrics(finished, manifest, tmp_path):
    chosen = {"weak-only": sl.WeakOnly(), "SPL-B": sl.SPLB()}
    again = study(manifest, tmp_path, strategies=chosen).run()
    first = {run.row: run for run in finished[1].runs}
    assert list(again.runs) == [first[run.row] for run in again.runs]


def test_jobs_at_the_same_time_change_nothing(finished, manifest, tmp_path):
    chosen = {"weak-only": sl.WeakOnly(), "SPL-B": sl.SPLB()}
    at_once = study(manifest, tmp_path, strategies=chosen, jobs=2).run()
    first = {run.row: run for run in finished[1].runs}
    assert list(at_once.runs) == [first[run.row] for run in at_once.runs]


def test_a_stopped_study_goes_on(manifest, tmp_path, monkeypatch):
    chosen = {"weak-only": sl.WeakOnly(), "SPL-B": sl.SPLB()}
    fit, calls = Runner.fit, []

    def stop_at_the_third(*arguments):
        calls.append(arguments[-1].name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        fit(*arguments)

    monkeypatch.setattr(Runner, "fit", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        study(manifest, tmp_path, strategies=chosen).run()
    comparison = study(manifest, tmp_path, strategies=chosen).run()
    assert calls == ["teacher", "pretrained", "finetuned", "finetuned", "pretrained", "finetuned"]
    assert len(comparison.runs) == 3


def test_another_study_is_not_mixed_into_the_folder(finished, manifest):
    with pytest.raises(ConfigError, match="holds a study with another finetune: choose another"):
        study(manifest, finished[0], finetune=TrainOptions(epochs=3))
    with pytest.raises(ConfigError, match="was made by .*choose another folder"):
        study(manifest, finished[0], strategies={"raw SPL": sl.RawSPL(min_count=50)}).run()


def test_lightnings_arguments_are_passed_through(manifest, tmp_path):
    made = study(
        manifest, tmp_path, trainer={"devices": 1, "accelerator": "cpu", "precision": "64-true"}
    ).runner.trainer()
    assert made.precision == "64-true"


def test_a_wrong_name_is_refused_before_anything_is_trained_or_claimed(manifest, tmp_path):
    with pytest.raises(ConfigError, match="no augmentation is called 'blur'"):
        study(manifest, tmp_path, finetune=TrainOptions(augmentation="blur"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("column", "message"), [("weak_label", "no column weak_label"), ("split", "no column split")]
)
def test_a_manifest_that_lacks_a_column_is_refused(manifest, tmp_path, column, message):
    pq.write_table(pq.read_table(manifest).drop_columns([column]), tmp_path / "m.parquet")
    with pytest.raises(TableError, match=message):
        study(tmp_path / "m.parquet", tmp_path / "out")


def test_a_manifest_without_a_test_split_is_refused(manifest, tmp_path):
    table = pq.read_table(manifest)
    pq.write_table(table.slice(0, 160), tmp_path / "m.parquet")
    with pytest.raises(TableError, match="no label in the split 'target_test'"):
        study(tmp_path / "m.parquet", tmp_path / "out")


def test_an_unreadable_weak_image_is_left_out_and_counted(manifest, tmp_path):
    table = pq.read_table(manifest)
    images = table["image"].to_pylist()
    images[5] = b"broken"
    column = table.schema.get_field_index("image")
    pq.write_table(table.set_column(column, "image", pa.array(images)), tmp_path / "m.parquet")
    comparison = study(
        tmp_path / "m.parquet", tmp_path / "out", strategies={"weak-only": sl.WeakOnly()}
    ).run()
    assert (comparison.runs[1].samples, comparison.runs[1].pool) == (119, 120)


@pytest.mark.parametrize(
    "trainer", [{"devices": 2}, {"devices": [0, 1]}, {"devices": "auto"}, {"num_nodes": 2}]
)
def test_several_jobs_train_on_one_device_each(manifest, tmp_path, trainer):
    with pytest.raises(ConfigError, match="jobs is 2 and the trainer asks for .*: choose 1 job, or 1 device"):
        study(manifest, tmp_path, jobs=2, trainer=trainer)
    assert not list(tmp_path.iterdir())


def test_several_jobs_do_not_take_all_devices(manifest, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("lightning.Trainer", lambda **options: asked.append(options))
    for jobs in (1, 2):
        study(manifest, tmp_path, jobs=jobs).runner.trainer()
    study(manifest, tmp_path, jobs=2, trainer={"devices": [3]}).runner.trainer()
    assert [options.get("devices") for options in asked] == [None, 1, [3]]


def with_sources(manifest, path, each=3):
    """The same samples, three of a source."""
    table = pq.read_table(manifest)
    sources = pa.array([f"page{row // each}" for row in range(len(table))])
    pq.write_table(table.append_column("source_id", sources), path)
    return path


def test_the_curve_trains_on_more_and_more_of_the_same_samples(manifest, tmp_path):
    chosen = {"weak-only": sl.WeakOnly(), "SPL-B": sl.SPLB(), "agreement": sl.AgreementFilter()}
    source = with_sources(manifest, tmp_path / "m.parquet")
    options = {"strategies": chosen, "curve": ("weak-only", "SPL-B"), "clips_per_video": (1, 2)}
    comparison = study(source, tmp_path / "out", **options).run()
    curve = {(run.row, run.clips_per_video): run for run in comparison.runs if run.clips_per_video}
    assert set(curve) == {(row, clips) for row in ("weak-only", "SPL-B") for clips in (1, 2)}
    assert [curve["weak-only", clips].pool for clips in (1, 2)] == [40, 80]
    folders = [tmp_path / "out" / "seed0" / f"clips{clips}" / "spl_b" for clips in (1, 2)]
    kept = [set(read_relabeled(folder / "relabeled.parquet").sample_ids.to_pylist()) for folder in folders]
    assert kept[0] < kept[1]
    table = pq.read_table(source).to_pylist()
    page = {row["sample_id"]: row["source_id"] for row in table}
    assert len({page[sample_id] for sample_id in kept[0]}) == len(kept[0])
    headings, pools, *rows = comparison.curve()
    assert headings == ("clips per video", "1", "2", "all")
    assert pools == ("weak samples", "40", "80", "120")
    assert [row[0] for row in rows] == ["weak-only", "SPL-B"]
    assert "(" not in rows[0][1]
    assert rows[1][1].endswith(")")
    assert "Top-1 by clips per video" in (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")


def test_a_curve_needs_sources_and_known_strategies(manifest, tmp_path):
    with pytest.raises(TableError, match="no column source_id"):
        study(manifest, tmp_path / "out", clips_per_video=(1,))
    with pytest.raises(ValueError, match="the curve names 'SPL'; there are weak-only"):
        StudyOptions(**FAST, strategies={"weak-only": sl.WeakOnly()}, curve=("SPL",), clips_per_video=(1,))


def test_media_that_are_decoded_once_change_nothing(finished, manifest, tmp_path):
    chosen = {"weak-only": sl.WeakOnly(), "SPL-B": sl.SPLB()}
    decoded = study(manifest, tmp_path, strategies=chosen, decode_once=True, jobs=2).run()
    first = {run.row: run for run in finished[1].runs}
    assert list(decoded.runs) == [first[run.row] for run in decoded.runs]
    assert {path.parent.name for path in (tmp_path / "media").rglob("*.arrow")} == {
        "weak", "target_train", "target_test",
    }  # fmt: skip


def test_an_unreadable_target_image_is_named_before_anything_is_trained(manifest, tmp_path):
    table = pq.read_table(manifest)
    images = table["image"].to_pylist()
    images[130] = b"broken"
    column = table.schema.get_field_index("image")
    pq.write_table(table.set_column(column, "image", pa.array(images)), tmp_path / "m.parquet")
    with pytest.raises(
        TableError, match="1 of 40 samples of target_train cannot be read .'s130': unreadable"
    ):
        study(tmp_path / "m.parquet", tmp_path / "out", decode_once=True).run()
    assert not (tmp_path / "out" / "seed0").exists()


def test_classes_whose_sides_matter_are_never_flipped(manifest, tmp_path, monkeypatch):
    fit, asked = Runner.fit, []

    def spy(self, module, media, labels, options, preprocessing, unflipped, folder):
        asked.append((folder.name, sorted(unflipped)))
        fit(self, module, media, labels, options, preprocessing, unflipped, folder)

    monkeypatch.setattr(Runner, "fit", spy)
    study(manifest, tmp_path, strategies={"raw SPL": sl.RawSPL()}, no_flip=("rows",)).run()
    # The target classes are columns, plain, rows; any cell that has "rows" on one side is left as it is.
    assert asked[0] == ("teacher", [2])
    space = read_relabeled(tmp_path / "seed0" / "raw_spl" / "relabeled.parquet").space
    expected = [label for label, name in enumerate(space.names) if "rows" in name]
    assert asked[1] == ("pretrained", expected)
    assert 0 < len(expected) < len(space.names)
    with pytest.raises(ConfigError, match="no_flip names 'row', which is neither"):
        study(manifest, tmp_path / "other", no_flip=("row",))


def test_a_class_that_is_tested_but_not_trained_is_refused(manifest, tmp_path):
    table = pq.read_table(manifest)
    rows = [row for row in table.to_pylist() if (row["split"], row["label"]) != ("target_train", "rows")]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), tmp_path / "m.parquet")
    with pytest.raises(TableError, match="target_test has the class 'rows', and target_train has not"):
        study(tmp_path / "m.parquet", tmp_path / "out")


def test_another_domain_is_not_mixed_into_the_folder(finished, manifest):
    with pytest.raises(ConfigError, match="another domain"):
        Study(manifest, ImageDomain(16), StudyOptions(**FAST), finished[0])


def test_a_training_that_was_stopped_goes_on_from_its_last_epoch(manifest, tmp_path, monkeypatch):
    step, seen = FinetuneModule.on_train_epoch_end, []

    def stop_after_two(self):
        seen.append(self.current_epoch)
        if len(seen) == 3:
            raise RuntimeError("power cut")
        step(self)

    monkeypatch.setattr(FinetuneModule, "on_train_epoch_end", stop_after_two)
    options = {"strategies": {"weak-only": sl.WeakOnly()}, "checkpoints": True}
    with pytest.raises(RuntimeError, match="power cut"):
        study(manifest, tmp_path, **options).run_teacher(0)
    assert (tmp_path / "seed0" / "teacher" / "last.ckpt").exists()
    study(manifest, tmp_path, **options).run_teacher(0)
    assert seen == [0, 1, 2, 2, 3]
    assert not (tmp_path / "seed0" / "teacher" / "last.ckpt").exists()


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(finished, manifest, tmp_path):
    plan = plan_study(study(manifest, tmp_path / "new"))
    assert not (tmp_path / "new").exists()
    assert [(split.name, split.samples) for split in plan.splits] == [
        ("weak", 120), ("target_train", 40), ("target_test", 40),
    ]  # fmt: skip
    assert plan.splits[2].input_shape == (3, 8, 8)
    assert not any(stage.done for stage in plan.stages)
    pretraining = next(stage for stage in plan.stages if stage.name == "seed0/raw_spl/pretrained")
    assert (pretraining.samples, pretraining.epochs, pretraining.steps) == (120, 1, 7)
    assert "3 weak classes × 3 target classes; 3 weak classes agree" in plan.vocabularies
    ended = plan_study(study(manifest, finished[0]))
    assert all(stage.done for stage in ended.stages if not stage.name.startswith("tests"))


def test_a_dry_run_counts_files_that_are_missing(manifest, tmp_path):
    table = pq.read_table(manifest)
    for number, image in enumerate(table["image"].to_pylist()):
        if number not in (7, 150):
            (tmp_path / f"{number}.png").write_bytes(image)
    uris = pa.array([f"{number}.png" for number in range(len(table))])
    pq.write_table(table.drop_columns(["image"]).append_column("uri", uris), tmp_path / "m.parquet")
    plan = plan_study(study(tmp_path / "m.parquet", tmp_path / "out"))
    assert plan.missing == (str(tmp_path / "7.png"), str(tmp_path / "150.png"))


def test_a_strategy_that_drops_everything_is_refused_before_pretraining(manifest, tmp_path, monkeypatch):
    fit, calls = Runner.fit, []
    monkeypatch.setattr(Runner, "fit", lambda *arguments: (calls.append(arguments[-1].name), fit(*arguments)))
    chosen = {"weak-only": sl.WeakOnly(), "all rare": sl.RawSPL(min_count=1000, rare="drop")}
    with pytest.raises(ConfigError, match="'all rare' drops all 120 weak samples.*sublabel inspect"):
        study(manifest, tmp_path, strategies=chosen).run()
    assert calls == ["teacher"]


def test_a_test_that_was_stopped_trains_nothing_again(manifest, tmp_path, monkeypatch):
    chosen = {"weak-only": sl.WeakOnly()}
    monkeypatch.setattr(Runner, "test", lambda *_: (_ for _ in ()).throw(RuntimeError("power cut")))
    with pytest.raises(RuntimeError, match="power cut"):
        study(manifest, tmp_path, strategies=chosen).run_teacher(0)
    monkeypatch.undo()
    whole = study(manifest, tmp_path / "whole", strategies=chosen).run_teacher(0)
    monkeypatch.setattr(Runner, "fit", lambda *_: pytest.fail("trained again"))
    assert study(manifest, tmp_path, strategies=chosen).run_teacher(0) == whole


def test_unreadable_target_images_can_be_left_out(manifest, tmp_path):
    table = pq.read_table(manifest)
    images = table["image"].to_pylist()
    images[130] = images[170] = b"broken"
    column = table.schema.get_field_index("image")
    pq.write_table(table.set_column(column, "image", pa.array(images)), tmp_path / "m.parquet")
    with pytest.raises(TableError, match="1 of 40 samples of target_test cannot be read .'s170'.*leave_out"):
        study(tmp_path / "m.parquet", tmp_path / "out").run()
    assert not list((tmp_path / "out").glob("seed*"))
    options = {"strategies": {"weak-only": sl.WeakOnly()}, "leave_out_unreadable": True}
    comparison = study(tmp_path / "m.parquet", tmp_path / "left_out", **options).run()
    assert comparison.test_samples == 39


def as_files(manifest, folder, *broken):
    """The same samples as files, some of which cannot be read."""
    table = pq.read_table(manifest)
    folder.mkdir()
    for number, image in enumerate(table["image"].to_pylist()):
        (folder / f"{number}.png").write_bytes(b"broken" if number in broken else image)
    uris = pa.array([f"{number}.png" for number in range(len(table))])
    pq.write_table(table.drop_columns(["image"]).append_column("uri", uris), folder / "m.parquet")
    return folder / "m.parquet"


ONE_ROW = {"strategies": {"weak-only": sl.WeakOnly()}}


@pytest.mark.parametrize("decode_once", [False, True])
def test_each_way_on_after_an_unreadable_target_sample_works_in_the_same_folder(
    manifest, tmp_path, decode_once
):
    options = {**ONE_ROW, "decode_once": decode_once}
    files = as_files(manifest, tmp_path / "files", 130, 140)
    whole = pq.read_table(manifest)["image"].to_pylist()
    outs = {way: tmp_path / way for way in ("mend", "take out", "leave out")}
    for out in outs.values():
        with pytest.raises(TableError, match="2 of 40 samples of target_train cannot be read"):
            study(files, out, **options).run()
    left_out = study(files, outs["leave out"], **options, leave_out_unreadable=True).run()
    table = pq.read_table(files)
    kept = [row for row in range(len(table)) if row not in (130, 140)]
    pq.write_table(table.take(kept), files.parent / "fewer.parquet")
    fewer = study(files.parent / "fewer.parquet", outs["take out"], **options).run()
    assert left_out.runs == fewer.runs
    (files.parent / "130.png").write_bytes(whole[130])
    with pytest.raises(TableError, match="1 of 40 samples of target_train cannot be read .'s140'"):
        study(files, outs["mend"], **options).run()
    (files.parent / "140.png").write_bytes(whole[140])
    mended = study(files, outs["mend"], **options).run()
    assert mended.runs == study(manifest, tmp_path / "whole", **options).run().runs


def test_what_was_left_out_of_a_training_stays_out_when_it_is_mended(manifest, tmp_path):
    files = as_files(manifest, tmp_path / "files", 130, 170)
    options = {**ONE_ROW, "leave_out_unreadable": True}
    comparison = study(files, tmp_path / "out", **options).run()
    for number in (130, 170):
        (files.parent / f"{number}.png").write_bytes(pq.read_table(manifest)["image"][number].as_py())
    more = {**options, "strategies": {"weak-only": sl.WeakOnly(), "SPL-B": sl.SPLB()}}
    again = study(files, tmp_path / "out", **more).run()
    assert again.test_samples == comparison.test_samples == 39
    assert again.runs[:2] == comparison.runs


def test_damage_that_only_decoding_finds_names_the_sample_and_can_be_left_out(
    manifest, tmp_path, monkeypatch
):
    files = as_files(manifest, tmp_path / "files", 130)
    # As for a video: its packets look well.
    monkeypatch.setattr(ImageDomain, "check", lambda *_: None)
    with pytest.raises(MediaError, match="sample 's130' cannot be read .*--leave_out_unreadable true"):
        study(files, tmp_path / "out", **ONE_ROW).run()
    comparison = study(files, tmp_path / "out", **ONE_ROW, leave_out_unreadable=True).run()
    assert len(comparison.runs) == 2
    assert json.loads(next((tmp_path / "out").glob("target_train-*-decoded.json")).read_text()).keys() == {
        "s130"
    }


def test_a_training_without_a_step_is_refused(manifest, tmp_path):
    with pytest.raises(ConfigError, match="made no step, with 40 samples in batches of 8 on 1 devices"):
        study(manifest, tmp_path, **ONE_ROW, trainer={"limit_train_batches": 0}).run()
    assert not (tmp_path / "seed0" / "teacher" / "card.json").exists()


def test_so_many_steps_are_trained_whatever_the_number_of_samples(manifest, tmp_path, monkeypatch):
    rates = []
    step = FinetuneModule.on_train_batch_end

    def watch(self, *arguments):
        rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        step(self, *arguments)

    chosen = {"weak-only": sl.WeakOnly(), "agreement": sl.AgreementFilter()}
    finetune = FAST["finetune"].model_copy(update={"steps": 7})
    pretrain = FAST["pretrain"].model_copy(update={"steps": 11})
    monkeypatch.setattr(FinetuneModule, "on_train_batch_end", watch)
    made = study(manifest, tmp_path, strategies=chosen, pretrain=pretrain, finetune=finetune)
    stages = {stage.name: stage for stage in plan_study(made).stages}
    assert [stages[f"seed0/weak_only/{stage}"].steps for stage in ("pretrained", "finetuned")] == [11, 7]
    comparison = made.run()
    assert [run.steps for run in comparison.runs] == [None, 11, 11]
    assert len(rates) == 3 * 7
    # The cosine ends with the last step.
    assert rates[6] < 0.1 * max(rates)
    assert not any("fewer steps" in note for note in comparison.notes())


def test_rows_on_fewer_samples_are_noted_to_have_fewer_steps(finished):
    out, comparison = finished
    steps = {run.row: run.steps for run in comparison.runs}
    assert (
        steps["weak-only"]
        == steps["raw SPL"]
        == 120 // 16
        > steps["agreement"]
        == 1 * (next(run.samples for run in comparison.runs if run.row == "agreement") // 16)
    )
    assert "the same epochs on fewer samples are fewer steps" in (out / "comparison.md").read_text()


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"x" * 99]
)
def test_a_damaged_checkpoint_is_named(manifest, tmp_path, monkeypatch, damage):
    step = FinetuneModule.on_train_epoch_end

    def stop_after_one(self):
        if self.current_epoch == 1:
            raise RuntimeError("power cut")
        step(self)

    monkeypatch.setattr(FinetuneModule, "on_train_epoch_end", stop_after_one)
    options = {**ONE_ROW, "checkpoints": True}
    with pytest.raises(RuntimeError, match="power cut"):
        study(manifest, tmp_path, **options).run_teacher(0)
    monkeypatch.undo()
    checkpoint = tmp_path / "seed0" / "teacher" / "last.ckpt"
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    with pytest.raises(
        ArtifactError, match="last.ckpt is damaged .*: delete it, and this training begins anew"
    ):
        study(manifest, tmp_path, **options).run_teacher(0)
    checkpoint.unlink()
    study(manifest, tmp_path, **options).run_teacher(0)


def test_a_training_by_steps_that_was_stopped_goes_on_from_its_last_epoch(manifest, tmp_path, monkeypatch):
    step, seen = FinetuneModule.on_train_epoch_end, []

    def stop_after_two(self):
        seen.append(self.global_step)
        if len(seen) == 3:
            raise RuntimeError("power cut")
        step(self)

    monkeypatch.setattr(FinetuneModule, "on_train_epoch_end", stop_after_two)
    options = {**ONE_ROW, "checkpoints": True, "finetune": FAST["finetune"].model_copy(update={"steps": 18})}
    with pytest.raises(RuntimeError, match="power cut"):
        study(manifest, tmp_path, **options).run_teacher(0)
    study(manifest, tmp_path, **options).run_teacher(0)
    assert seen[:3] == [5, 10, 15]
    assert 10 < min(seen[3:]) <= 15
    assert seen[-1] == 18


def test_equal_names_agree_beside_those_that_are_listed(manifest, tmp_path):
    table = pq.read_table(manifest)
    names = [name and name.replace("rows", "lines") for name in table["weak_label"].to_pylist()]
    column = table.schema.get_field_index("weak_label")
    pq.write_table(table.set_column(column, "weak_label", pa.array(names)), tmp_path / "m.parquet")
    options = {"strategies": {"weak-only": sl.WeakOnly(), "agreement": sl.AgreementFilter()}}
    listed = {"lines": "rows", "plain": []}
    made = study(tmp_path / "m.parquet", tmp_path / "out", **options, alignment=listed)
    assert "; 2 weak classes agree with one" in plan_study(made).vocabularies
    made.run()
    space = read_relabeled(tmp_path / "out" / "seed0" / "agreement" / "relabeled.parquet").space
    assert space.names == ("columns", "lines")
    record = json.loads((tmp_path / "out" / "study.json").read_text())
    used = {"columns": "columns", "lines": "rows", "plain": []}
    assert record["options"]["alignment"] == record["same"]["alignment"] == used
    with pytest.raises(ConfigError, match="another alignment"):
        study(tmp_path / "m.parquet", tmp_path / "out", **options)
    with pytest.raises(LabelError, match="line"):
        study(tmp_path / "m.parquet", tmp_path / "other", **options, alignment={"line": "rows"})


def test_smaller_batches_for_evaluation_may_follow_a_stop(finished, manifest):
    out, comparison = finished
    assert study(manifest, out, eval_batch_size=7).run() == comparison


def test_other_numbers_of_devices_are_not_mixed(finished, manifest):
    with pytest.raises(ConfigError, match="another number of devices"):
        study(manifest, finished[0], trainer={"accumulate_grad_batches": 2})


NEW = {
    "weak-only": sl.WeakOnly(),
    "densest": sl.DensestSPL(max_classes=8),
    "merged": sl.MergedSPL(num_classes=7, of=sl.RawSPL(min_count=2)),
    "confident": sl.ConfidentSPL(),
    "top-k": sl.TopKSPL(k=2),
    "two heads": sl.TwoHead(),
}


@pytest.fixture(scope="module")
def beyond_the_paper(manifest, tmp_path_factory):
    out = tmp_path_factory.mktemp("new")
    return out, study(manifest, out, strategies=NEW, head="factorised", head_rank=1).run()


def test_every_strategy_beyond_the_paper_is_a_row(beyond_the_paper):
    out, comparison = beyond_the_paper
    by_row = {run.row: run for run in comparison.runs}
    assert set(by_row) == {"none (scratch)", *NEW}
    for name in NEW:
        folder = out / "seed0" / name.replace(" ", "_").replace("-", "_")
        table = read_relabeled(folder / "relabeled.parquet")
        loaded, card = load_model(folder / "pretrained")
        assert by_row[name].classes == sum(table.space.heads) == loaded.num_classes == len(card.classes)
        assert by_row[name].samples == 120
    assert by_row["densest"].classes <= 8
    assert by_row["merged"].classes == 7
    assert by_row["two heads"].classes == CLASSES + CLASSES
    assert load_model(out / "seed0" / "two_heads" / "pretrained").card.classes[::3] == (
        "weak: columns", "teacher: columns",
    )  # fmt: skip


def test_a_factorised_head_is_trained_where_it_is_smaller(beyond_the_paper):
    out, _ = beyond_the_paper
    for name, factorised in {"weak_only": False, "two_heads": False, "top_k": True}.items():
        loaded, card = load_model(out / "seed0" / name / "pretrained")
        assert isinstance(loaded.head, FactorisedHead) == factorised
        assert card.made_by["head"] == type(loaded.head).__name__


def test_sampled_softmax_is_used_where_a_strategy_makes_more_classes(manifest, tmp_path, monkeypatch):
    fit, asked = Runner.fit, {}

    def spy(self, module, *arguments):
        asked[f"{arguments[-1].parent.name}/{arguments[-1].name}"] = type(module.objective).__name__
        fit(self, module, *arguments)

    monkeypatch.setattr(Runner, "fit", spy)
    chosen = {"weak-only": sl.WeakOnly(), "top-k": sl.TopKSPL(), "two heads": sl.TwoHead()}
    study(manifest, tmp_path, strategies=chosen, sampled_classes=3).run()
    assert [name for name, kind in asked.items() if kind == "SampledCrossEntropy"] == ["top_k/pretrained"]
    with pytest.raises(ValueError, match="sampled_classes and pretrain.label_smoothing exclude each other"):
        StudyOptions(**{**FAST, "pretrain": TrainOptions(label_smoothing=0.1)}, sampled_classes=3)


def test_the_teacher_keeps_as_many_classes_as_the_strategies_look_at(manifest, tmp_path):
    chosen = {"weak-only": sl.WeakOnly(), "top-k": sl.TopKSPL(k=2)}
    with pytest.raises(ValueError, match="'top-k' looks at 2 .*, and teacher_top_k keeps 1"):
        study(manifest, tmp_path, strategies=chosen, teacher_top_k=1)
    small = study(manifest, tmp_path, strategies=chosen, teacher_top_k=2)
    small.run_teacher(0)
    kept = pq.read_table(small.folder(0) / "predictions", columns=["top_ids"])["top_ids"]
    assert set(pc.list_value_length(kept).to_pylist()) == {2}


def test_a_merged_class_is_never_flipped_if_any_of_its_cells_must_not_be():
    generator = np.random.default_rng(0)
    pairs = generator.integers(0, 6, (2, 3000))
    names = [f"class {label}" for label in range(6)]
    for within in ("row", "all"):
        strategy = sl.MergedSPL(threshold=0.3, within=within)
        space = sl.relabel(*pairs, strategy=strategy, weak_vocabulary=names).space
        assert "merged" in space.kinds
        weak, teacher = np.indices((6, 6)).reshape(2, -1)
        labels = space.assign(weak, teacher)
        expected = {int(label) for label, w, t in zip(labels, weak, teacher, strict=True) if 2 in (w, t)}
        touched = classes_that_touch(space, ("class 2",))
        assert touched == sorted(expected)
        assert len(touched) < len(space) or within == "all"


def test_classes_without_a_teacher_class_are_not_flipped_for_their_own_row_only():
    space = sl.relabel([0, 0, 1], [0, 1, 1], strategy=sl.SPLB(), weak_vocabulary=["left", "right"]).space
    assert [space.names[label] for label in classes_that_touch(space, ("right",))] == ["right"]
    assert classes_that_touch(space, ()) == []


@pytest.mark.skipif(os.name != "posix", reason="no locks")
def test_what_a_killed_run_left_of_a_file_is_swept_up(finished, manifest):
    out, _ = finished
    left = [out / ".report.html.abcdefgh.partial", out / "seed0" / "teacher" / ".card.json.12345678.partial"]
    for path in left:
        path.touch()
    study(manifest, out).run()
    assert not any(path.exists() for path in left)


def test_a_study_of_an_older_version_goes_on(finished, manifest, tmp_path):
    out = shutil.copytree(finished[0], tmp_path / "older")
    record = json.loads((out / "study.json").read_text(encoding="utf-8"))
    for option in ("head", "head_rank", "sampled_classes"):
        del record["same"][option]
    del record["same"]["pretrain"]["steps"]
    (out / "study.json").write_text(json.dumps(record), encoding="utf-8")
    assert study(manifest, out).run() == finished[1]
    with pytest.raises(ConfigError, match="holds a study with another head: choose another"):
        study(manifest, out, head="factorised")
