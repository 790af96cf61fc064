from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sublabel as sl
from recipes.image_noisy import PRESETS, main
from sublabel.errors import ConfigError, TableError
from sublabel.evaluation import Comparison
from sublabel.study import parse_preset
from sublabel_image.reading import image_bytes
from tests.study.seeing import OneOfEach

QUICK = ["--seeds", "1", "--pretrain.epochs", "1", "--finetune.epochs", "1"]
TINY = ["--backbone", "small_resnet7", "--image_size", "8", "--num_workers", "0"]
ROWS = ["none (scratch)", "weak-only", "teacher-only", "agreement", "raw SPL", "SPL-B", "matched control"]


def image(shade):
    return image_bytes(np.full((8, 8), shade, dtype=np.uint8))


def classes_of(folder, split, each):
    for label, shade in (("dark", 20), ("light", 230)):
        (folder / split / label).mkdir(parents=True)
        for number in range(each):
            (folder / split / label / f"{number}.png").write_bytes(image(shade + number))


def test_digits_end_with_a_table_of_all_strategies(tmp_path):
    comparison = main(["--out", str(tmp_path), *QUICK])
    assert comparison.names() == ROWS
    stored = json.loads((tmp_path / "comparison.json").read_text())
    assert [row["row"] for row in stored["rows"]] == ROWS
    markdown = (tmp_path / "comparison.md").read_text()
    assert all(row in markdown for row in ROWS)


def test_a_folder_is_enough(tmp_path):
    for split in ("weak", "target_train", "target_test"):
        classes_of(tmp_path / "data", split, each=4)
    options = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    comparison = main(["--preset", "folder", *options, *TINY, *QUICK, "--finetune.batch_size", "4"])
    assert comparison.test_samples == 8
    ids = pq.read_table(tmp_path / "out" / "manifest.parquet")["sample_id"].to_pylist()
    # The same file name stands in every split.
    assert len(set(ids)) == len(ids) == 24


def test_a_manifest_is_enough(tmp_path):
    rows = [
        {
            "sample_id": f"{split}{number}",
            "image": image(20 + 200 * (number % 2)),
            "weak_label": ("dark", "light")[number % 2],
            "label": ("dark", "light")[number % 2],
            "split": split,
        }
        for split in ("weak", "target_train", "target_test")
        for number in range(6)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "mine.parquet")
    options = ["--data", str(tmp_path / "mine.parquet"), "--out", str(tmp_path / "out")]
    assert main(["--preset", "manifest", *options, *TINY, *QUICK]).test_samples == 6


def test_cifar10_presets_take_the_noisy_column_or_draw_pages(tmp_path):
    metadata = {"class_names": "dark|light"}
    for side, count in (("train", 40), ("test", 8)):
        labels = [number % 2 for number in range(count)]
        table = pa.table({"image": [image(20 + 200 * label) for label in labels], "clean_label": labels})
        if side == "train":
            table = table.append_column("worse_label", pa.array([1 - label for label in labels]))
        pq.write_table(table.replace_schema_metadata(metadata), tmp_path / f"{side}.parquet")
    options = ["--data", str(tmp_path), "--clean_images", "8", *TINY, *QUICK]
    main(["--preset", "cifar10n", "--out", str(tmp_path / "noisy"), *options])
    manifest = pq.read_table(tmp_path / "noisy" / "manifest.parquet").to_pylist()
    pool = [row for row in manifest if row["split"] == "weak"]
    assert len(pool) == 32
    assert all({row["weak_label"], row["true_label"]} == {"dark", "light"} for row in pool)
    assert {row["label"] for row in pool} == {None}
    clean = [row for row in manifest if row["split"] == "target_train"]
    assert sorted(row["label"] for row in clean) == ["dark"] * 4 + ["light"] * 4
    with pytest.raises(ConfigError, match="aggre_label.*there are worse_label"):
        main(["--preset", "cifar10n", "--noisy_column", "aggre_label", *options])
    with pytest.raises(ConfigError, match="'dark' has 20"):
        main(["--preset", "cifar10n", "--out", str(tmp_path / "all"), *options, "--clean_images", "40"])


GROUPS, OF_EACH = 3, 3
NAMES = sorted(f"{group}{member}" for group in "abc" for member in "xyz")


def cifar100_of(folder, each=24):
    """A small set in the layout of CIFAR-100: 3 superclasses of 3 classes, searched by 4 words each."""
    metadata = {"fine_names": "|".join(NAMES), "coarse_names": "group a|group b|group c"}
    for side, count in (("train", each), ("test", 2)):
        labels = np.repeat(np.arange(len(NAMES)), count)
        columns = {
            "image": [image(20 + 20 * int(label)) for label in labels],
            "fine_label": pa.array(labels, pa.int8()),
            "coarse_label": pa.array(labels // OF_EACH, pa.int8()),
        }
        if side == "train":
            # A word is the name of a class, in other letters, or one that says nothing.
            words = [NAMES[label].upper() if n % 2 else f"word_{label}" for n, label in enumerate(labels)]
            columns["query"] = pa.array(words).dictionary_encode()
        pq.write_table(pa.table(columns).replace_schema_metadata(metadata), folder / f"{side}.parquet")
    # The presets' teacher begins with published weights.
    teacher = [
        "--teacher.backbone",
        "small_resnet7",
        "--teacher.pretrained",
        "false",
        "--teacher.image_size",
        "8",
    ]
    return ["--data", str(folder), *TINY, *QUICK, "--pretrain.steps", "4", *teacher, "--jobs", "1"]


def test_cifar100_pages_have_classes_outside_the_target(tmp_path):
    options = [*cifar100_of(tmp_path), "--clean_images", "30", "--weak_images", "80"]
    concepts = ["--sub_concepts.share", "0.7", "--sub_concepts.queries_each", "1"]
    one_row = ["--strategies", "{weak-only: {kind: weak_only}}"]
    for name, more in (("first", []), ("other", ["--data_seed", "1", "--sub_concepts.target_member", "2"])):
        out = ["--out", str(tmp_path / name)]
        comparison = main(["--preset", "cifar100_pages", *options, *concepts, *one_row, *more, *out])
        assert comparison.names() == ["none (scratch)", "weak-only", "oracle"]
        assert comparison.test_samples == 6
    rows = pq.read_table(tmp_path / "first" / "manifest.parquet").to_pylist()
    # The second of each superclass in alphabetical order.
    targets = ["ay", "by", "cy"]
    splits = {name: [row for row in rows if row["split"] == name] for name in {row["split"] for row in rows}}
    for name, number in (("target_train", 8), ("target_val", 2), ("target_test", 2)):
        assert sorted(row["label"] for row in splits[name]) == sorted(targets * number)
        assert {row["true_label"] for row in splits[name]} == {None}
    weak = splits["weak"]
    assert len(weak) == 80
    assert sum(row["true_label"] not in targets for row in weak) == 56
    assert {row["weak_label"] for row in weak} == set(targets)
    assert {row["label"] for row in weak} == {None}
    assert len({row["sample_id"] for row in rows}) == len(rows)
    truth = {f"train-{n}": label for n, label in enumerate(np.repeat(NAMES, 24).tolist())}
    assert all(row["true_label"] == truth[row["sample_id"]] for row in weak)
    other = pq.read_table(tmp_path / "other" / "manifest.parquet").to_pylist()
    assert {row["label"] for row in other} == {None, "az", "bz", "cz"}


def test_there_is_no_fourth_class_of_three(tmp_path):
    options = [*cifar100_of(tmp_path), "--clean_images", "30", "--weak_images", "80"]
    with pytest.raises(ConfigError, match="target_member is 3, and group . has 3 classes: .*0 to 2"):
        main(["--preset", "cifar100_pages", *options, "--sub_concepts.target_member", "3"])


@pytest.mark.parametrize("target", ["superclasses", "classes"])
def test_search_words_agree_with_the_target_that_their_own_name_says(tmp_path, target):
    options = [*cifar100_of(tmp_path), "--clean_images", "45", "--weak_images", "171", "--target", target]
    two_rows = ["--strategies", "{weak-only: {kind: weak_only}, agreement: {kind: agreement_filter}}"]
    out = ["--out", str(tmp_path / "out")]
    comparison = main(["--preset", "cifar100_queries", *options, *two_rows, *out])
    assert comparison.test_samples == 18
    alignment = json.loads((tmp_path / "out" / "study.json").read_text())["same"]["alignment"]
    expected = {name: f"group {name[0]}" if target == "superclasses" else name for name in NAMES}
    assert alignment == {name.upper(): agreeing for name, agreeing in expected.items()}
    rows = pq.read_table(tmp_path / "out" / "manifest.parquet").to_pylist()
    weak = [row for row in rows if row["split"] == "weak"]
    assert len(weak) == 9 * 24 - 45
    assert {row["true_label"] for row in weak} == set(NAMES)
    assert {row["label"] for row in rows} == {None, *expected.values()}


def test_several_data_seeds_are_a_study_each(tmp_path):
    options = [*cifar100_of(tmp_path), "--clean_images", "30", "--weak_images", "80", "--oracle", "false"]
    options += ["--preset", "cifar100_pages", "--sub_concepts.queries_each", "1"]
    options += ["--strategies", "{weak-only: {kind: weak_only}}", "--out", str(tmp_path / "out")]
    pooled = main([*options, "--data_seeds", "2"])
    assert pooled.data_sets() == ["data0", "data1"]
    assert Comparison.load(tmp_path / "out") == pooled
    tables = [pq.read_table(tmp_path / "out" / f"data{seed}" / "manifest.parquet") for seed in (0, 1)]
    assert not tables[0].equals(tables[1])
    main([*options, "--data_seed", "1", "--out", str(tmp_path / "alone")])
    assert pq.read_table(tmp_path / "alone" / "manifest.parquet").equals(tables[1])
    with pytest.raises(ConfigError, match="studies of several data seeds: choose another folder"):
        main(options)
    with pytest.raises(ConfigError, match="the study of one data seed: choose another folder for 2"):
        main([*options, "--data_seeds", "2", "--out", str(tmp_path / "alone")])
    with pytest.raises(ConfigError, match="yours are as they are: leave it at 1"):
        main(["--preset", "folder", "--data", str(tmp_path), "--data_seeds", "2"])


def parse(arguments):
    preset, (study, run, data) = parse_preset(PRESETS, "", arguments)
    return preset, study, run, data


def test_several_nested_options_hold_together():
    _, study, _, data = parse(
        ["--pretrain.epochs", "8", "--pretrain.learning_rate", "0.1", "--clean_images", "50"]
    )
    assert (study.pretrain.epochs, study.pretrain.learning_rate) == (8, 0.1)
    assert study.pretrain.optimizer == "adamw"
    assert data.clean_images == 50


def test_a_printed_config_can_be_run_again(tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("preset: cifar10n\ndata: somewhere\njobs: 3\nfinetune:\n  epochs: 3\n")
    preset, study, run, data = parse(["--config", str(config)])
    assert (preset, data.data, data.image_size, study.finetune.epochs) == ("cifar10n", "somewhere", 32, 3)
    assert run.jobs == 3


def test_strategies_can_be_chosen():
    _, study, _, _ = parse(
        ["--strategies", "{weak-only: {kind: weak_only}, mine: {kind: raw_spl, min_count: 9}}"]
    )
    assert list(study.strategies) == ["weak-only", "mine"]
    assert study.strategies["mine"] == sl.RawSPL(min_count=9)
    path = "{kind: 'tests.study.seeing:OneOfEach', min_count: 4}"
    _, study, _, _ = parse(["--strategies", f"{{mine: {path}}}"])
    assert study.strategies["mine"] == OneOfEach(min_count=4)


def test_two_devices_train_one_model_and_print_one_table(tmp_path):
    for split in ("weak", "target_train", "target_test"):
        classes_of(tmp_path / "data", split, each=4)
    options = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), *TINY, *QUICK]
    script = Path(__file__).parents[2] / "recipes" / "image_noisy.py"
    devices = ["--trainer", "{devices: 2, accelerator: cpu, strategy: ddp}", "--finetune.batch_size", "2"]
    done = subprocess.run(
        [sys.executable, str(script), "--preset", "folder", *options, *devices],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert done.stdout.count("Δ top-1") == 1
    assert done.stderr.count("teacher: top-1") == 1
    stored = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [row["row"] for row in stored["rows"]] == ROWS
    assert stored["test_samples"] == 8


def test_a_mistake_is_one_line_without_a_traceback(tmp_path):
    script = Path(__file__).parents[2] / "recipes" / "image_noisy.py"
    command = [
        sys.executable,
        str(script),
        "--preset",
        "folder",
        "--data",
        str(tmp_path),
        "--out",
        str(tmp_path),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith("error: ")
    assert "Traceback" not in run.stderr


def test_presets_that_need_data_say_so():
    with pytest.raises(ConfigError, match="the preset folder needs --data"):
        main(["--preset", "folder", "--data", ""])
    with pytest.raises(ConfigError, match="manifest needs --data"):
        main(["--preset", "manifest"])


def test_a_split_without_images_is_named(tmp_path):
    classes_of(tmp_path, "weak", each=1)
    with pytest.raises(TableError, match="target_train"):
        main(["--preset", "folder", "--data", str(tmp_path), "--out", str(tmp_path / "out")])


def test_a_refused_run_leaves_the_manifest_of_a_finished_study_alone(tmp_path):
    options = ["--out", str(tmp_path), *QUICK, "--strategies", "{weak-only: {kind: weak_only}}"]
    comparison = main(options)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="parquet was made with another manifest: .*choose another"):
        main([*options, "--data_seed", "1"])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert main(options) == comparison
