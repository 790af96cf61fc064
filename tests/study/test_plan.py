from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from sublabel.study import plan_study
from tests.study.conftest import study


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
