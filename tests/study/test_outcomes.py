from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sublabel.errors import TableError
from sublabel.study import Row, plan_study, slug
from sublabel.study.outcomes import read_outcomes
from sublabel.training import load_model
from tests.study.conftest import CLASSES, ONE_ROW, stripes, study, train_teacher


@pytest.fixture(scope="module")
def with_validation(manifest, tmp_path_factory):
    """The same samples, and 30 clean ones to choose by."""
    generator = np.random.default_rng(1)
    labels = generator.integers(0, CLASSES, 30)
    more = [
        {
            "sample_id": f"v{index}",
            "image": stripes(label, generator),
            "label": ["rows", "columns", "plain"][label],
            "split": "target_val",
        }
        for index, label in enumerate(labels)
    ]
    table = pq.read_table(manifest)
    path = tmp_path_factory.mktemp("validation") / "m.parquet"
    pq.write_table(pa.concat_tables([table, pa.Table.from_pylist(more, schema=table.schema)]), path)
    return path


def test_every_model_says_which_test_samples_it_was_right_on(finished, manifest):
    out, comparison = finished
    rows = pq.read_table(manifest, filters=[("split", "==", "target_test")]).to_pylist()
    for run in comparison.runs:
        folder = "teacher" if run.strategy is None else f"{slug(run.strategy)}/finetuned"
        sample_ids, correct = read_outcomes(out / "seed0" / folder / "outcomes.parquet")
        assert sample_ids.to_pylist() == [row["sample_id"] for row in rows]
        assert correct.mean() == pytest.approx(run.primary)
        assert run.validation is None


def test_outcomes_are_those_of_the_model(manifest, tmp_path):
    made = study(manifest, tmp_path, **ONE_ROW, precision="32-true")
    train_teacher(made)
    model = load_model(tmp_path / "seed0" / "teacher")
    transform, media = made.domain.test_transform(model.preprocessing), made.media.table("target_test")
    right = []
    for row in range(len(media)):
        views = transform(media.read(row))
        batch = views if made.domain.num_views else views[None]
        predicted = model.classifier(batch).softmax(-1).mean(0).argmax().item()
        right.append(model.card.classes[predicted] == media.rows["label"][row].as_py())
    assert read_outcomes(tmp_path / "seed0" / "teacher" / "outcomes.parquet")[1].tolist() == right


def test_clean_samples_to_choose_by_are_measured_beside_the_test(with_validation, tmp_path):
    made = study(with_validation, tmp_path, **ONE_ROW)
    assert [split.name for split in plan_study(made).splits] == [
        "weak", "target_train", "target_test", "target_val",
    ]  # fmt: skip
    metrics = train_teacher(made)
    outcomes = tmp_path / "seed0" / "teacher" / "outcomes.parquet"
    sample_ids, correct = read_outcomes(outcomes, "target_val")
    assert sample_ids.to_pylist() == [f"v{index}" for index in range(30)]
    assert metrics.validation.keys() == metrics.metrics.keys()
    assert correct.mean() == pytest.approx(metrics.validation["top1"])
    assert read_outcomes(outcomes)[1].mean() == pytest.approx(metrics.primary)


def test_a_class_to_choose_by_that_is_not_trained_is_refused(with_validation, tmp_path):
    table = pq.read_table(with_validation)
    names = table["label"].to_pylist()
    names[-1] = "dots"
    column = table.schema.get_field_index("label")
    pq.write_table(table.set_column(column, "label", pa.array(names)), tmp_path / "m.parquet")
    with pytest.raises(TableError, match="target_val has the class 'dots', and target_train has not"):
        study(tmp_path / "m.parquet", tmp_path / "out")


def test_a_test_without_outcomes_is_made_again(finished, manifest, tmp_path):
    made = study(manifest, tmp_path, **ONE_ROW)
    first = train_teacher(made)
    folder = tmp_path / "seed0" / "teacher"
    (folder / "outcomes.parquet").unlink()
    older = {"strategy": None, "seed": 0, "metrics": {"top1": 0.0}}
    (folder / "metrics.json").write_text(json.dumps(older), encoding="utf-8")
    assert made.test(Row(None, 0), folder) == first
    assert (folder / "outcomes.parquet").exists()


def test_a_run_says_how_well_its_own_labels_were_learned(finished):
    out, comparison = finished
    by_row = {run.row: run for run in comparison.runs}
    logged = json.loads(
        (out / "seed0" / "raw_spl" / "pretrained" / "training.jsonl").read_text().splitlines()[-1]
    )
    raw = by_row["raw SPL"]
    assert (raw.pretrain_loss, raw.pretrain_accuracy) == (logged["train/loss"], logged["train/top1"])
    assert 0 < raw.largest_class < by_row["weak-only"].largest_class < 1
    assert by_row["none (scratch)"].pretrain_loss is None
