"""A teacher of a user's own, and finished predictions, in place of the model of the first row."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

import sublabel as sl
from sublabel.errors import ConfigError, LabelError, TableError
from sublabel.options import TrainOptions
from sublabel.study import plan_study
from sublabel.tables import read_predictions_metadata, read_relabeled, write_predictions
from sublabel.teacher import ModuleTeacher
from sublabel.training import finetune, load_model
from sublabel_image import ImageDomain
from tests.study.conftest import study, with_sources
from tests.study.seeing import Seeing

TWO_ROWS = {"strategies": {"weak-only": sl.WeakOnly(), "raw SPL": sl.RawSPL()}}
OTHER_NAMES = ("lying", "standing", "empty")


def weak_rows(manifest):
    return pq.read_table(manifest, filters=pc.field("split") == "weak").to_pylist()


def truth(manifest, **options):
    """Predictions that name the clean label of each weak sample."""
    rows = weak_rows(manifest)
    columns = [[row[name] for row in rows] for name in ("weak_label", "label", "sample_id")]
    return sl.Pairs(columns[0], columns[1], sample_ids=columns[2], **options)


def written(path, pairs, **more):
    write_predictions(path, pairs, **more)
    return path


@pytest.fixture(scope="module")
def seen(manifest, tmp_path_factory):
    """A study with a teacher of one's own."""
    out = tmp_path_factory.mktemp("seen")
    return out, study(manifest, out, **TWO_ROWS, teacher=Seeing()).run()


def test_the_given_teacher_looks_at_every_weak_sample(seen, manifest):
    out, comparison = seen
    predictions = pq.read_table(out / "predictions").to_pylist()
    names = Seeing().vocabulary.names
    assert {row["sample_id"]: names[row["top_ids"][0]] for row in predictions} == {
        row["sample_id"]: row["label"] for row in weak_rows(manifest)
    }
    metadata = read_predictions_metadata(out / "predictions")
    assert metadata.teacher_fingerprint == Seeing().fingerprint
    assert metadata.teacher_vocabulary == Seeing().vocabulary
    # What the teacher says is the clean label: raw SPL has a class for each pair of weak and clean label.
    found = read_relabeled(out / "seed0" / "raw_spl" / "relabeled.parquet")
    expected = sl.relabel(truth(manifest, teacher_vocabulary=names), sl.RawSPL())
    assert found.targets.labels.tolist() == expected.labels.tolist()
    assert found.space.fingerprint == expected.space.fingerprint
    # The first row is trained all the same.
    assert comparison.names() == ["none (scratch)", "weak-only", "raw SPL"]


def test_a_teacher_may_have_another_vocabulary_than_the_target_set(manifest, tmp_path):
    chosen = {"weak-only": sl.WeakOnly(), "agreement": sl.AgreementFilter(), "raw SPL": sl.RawSPL()}
    alignment = {"rows": "lying", "columns": "standing"}
    made = study(manifest, tmp_path, strategies=chosen, alignment=alignment, teacher=Seeing(OTHER_NAMES))
    assert "3 weak classes × 3 target classes; 2 weak classes agree" in plan_study(made).vocabularies
    comparison = made.run()
    names = {row.strategy: read_relabeled(made.folder(row) / "relabeled.parquet").space.names
             for row in made.rows()[1]}  # fmt: skip
    assert names["agreement"] == ("columns", "rows")
    assert all(name in str(names["raw SPL"]) for name in OTHER_NAMES)
    # What is fine-tuned and tested has the classes of the target set.
    assert load_model(tmp_path / "seed0" / "raw_spl" / "finetuned").card.classes == (
        "columns", "plain", "rows",
    )  # fmt: skip
    agreeing = sum(row["weak_label"] == row["label"] != "plain" for row in weak_rows(manifest))
    assert {run.strategy: run.samples for run in comparison.runs}["agreement"] == agreeing


def test_no_flip_knows_the_classes_of_the_given_teacher(manifest, tmp_path):
    study(manifest, tmp_path, teacher=Seeing(OTHER_NAMES), no_flip=("standing",))
    with pytest.raises(ConfigError, match="no_flip names 'standing'"):
        study(manifest, tmp_path, no_flip=("standing",))


def test_several_jobs_have_the_given_teacher_too(seen, manifest, tmp_path):
    at_once = study(manifest, tmp_path, **TWO_ROWS, teacher=Seeing(), jobs=2).run()
    assert at_once.runs == seen[1].runs


def test_a_model_is_a_teacher_and_keeps_as_many_classes_as_the_study_says(manifest, tmp_path):
    domain = ImageDomain(8)
    backbone = domain.create_backbone("small_resnet7")
    images = torch.utils.data.TensorDataset(torch.zeros(8, 3, 8, 8), torch.arange(8) % 3)
    model = finetune(backbone, images, TrainOptions(epochs=1, batch_size=4), classes=["a", "b", "c"])
    made = study(manifest, tmp_path, teacher=model, teacher_top_k=2)
    kept = pq.read_table(made.predict(0), columns=["top_ids"])["top_ids"]
    assert set(pc.list_value_length(kept).to_pylist()) == {2}
    assert made.classes.teacher == model.vocabulary


def test_another_teacher_is_not_mixed_into_the_folder(seen, manifest):
    out, comparison = seen
    assert study(manifest, out, **TWO_ROWS, teacher=Seeing()).run() == comparison
    for other in (None, Seeing(top_k=2), Seeing(OTHER_NAMES)):
        with pytest.raises(ConfigError, match="was made with another teacher.*choose another"):
            study(manifest, out, **TWO_ROWS, teacher=other)


@pytest.mark.parametrize("other", [object(), torch.nn.Linear(2, 2), "resnet50"], ids=repr)
def test_what_is_no_teacher_is_refused_before_anything_is_made(manifest, tmp_path, other):
    with pytest.raises(ConfigError, match="is no teacher|are not known"):
        study(manifest, tmp_path / "out", teacher=other)
    assert not (tmp_path / "out").exists()


def test_a_teacher_whose_answers_are_none_ends_the_study_and_leaves_no_shard(manifest, tmp_path):
    class Rising(Seeing):
        def predict(self, inputs):
            ids, probabilities = super().predict(inputs)
            return ids[:, ::-1], probabilities[:, ::-1]

    with pytest.raises(ConfigError, match="the teacher's answer to a batch of 120 samples is no prediction"):
        study(manifest, tmp_path, **TWO_ROWS, teacher=Rising()).run()
    assert not list((tmp_path / "predictions").iterdir())
    assert not list(tmp_path.rglob("relabeled.parquet"))


def test_finished_predictions_are_as_good_as_the_teacher_that_made_them(seen, manifest, tmp_path):
    out, comparison = seen
    given = out / "predictions"
    again = study(manifest, tmp_path, **TWO_ROWS, predictions=given)
    assert again.run().runs == comparison.runs
    assert pq.read_table(tmp_path / "predictions").equals(pq.read_table(given))


def test_predictions_of_ones_own_follow_their_samples(manifest, tmp_path):
    pairs = truth(manifest)
    shuffled = pairs[np.random.default_rng(0).permutation(len(pairs))]
    more = sl.Pairs(
        [*(pairs.weak_vocabulary[label] for label in shuffled.weak), "rows"],
        [*(pairs.teacher_vocabulary[label] for label in shuffled.teacher), "plain"],
        sample_ids=[*shuffled.sample_ids, "of another manifest"],
    )
    given = written(tmp_path / "p.parquet", more, teacher="mine-v1")
    made = study(manifest, tmp_path / "out", **TWO_ROWS, predictions=given)
    assert read_predictions_metadata(made.predict(0)).teacher_fingerprint == "mine-v1"
    made.run()
    found = read_relabeled(tmp_path / "out" / "seed0" / "raw_spl" / "relabeled.parquet")
    expected = dict(zip(pairs.sample_ids.tolist(), sl.relabel(pairs).labels.tolist(), strict=True))
    assert dict(zip(found.sample_ids.to_pylist(), found.targets.labels.tolist(), strict=True)) == expected


def test_a_sample_without_a_prediction_says_why_and_is_left_out(manifest, tmp_path):
    pairs = truth(manifest)
    status = np.full(len(pairs), "ok", dtype=object)
    status[[3, 50]] = "unreadable: too dark"
    given = written(tmp_path / "p.parquet", pairs, status=status)
    comparison = study(manifest, tmp_path / "out", **TWO_ROWS, predictions=given).run()
    assert [(run.samples, run.pool) for run in comparison.runs[1:]] == [(118, 120)] * 2
    found = read_relabeled(tmp_path / "out" / "seed0" / "raw_spl" / "relabeled.parquet")
    reasons = dict(zip(found.sample_ids.to_pylist(), found.targets.reasons.tolist(), strict=True))
    assert [name for name, why in reasons.items() if why != "kept"] == ["s3", "s50"]
    assert reasons["s3"] == "no prediction: unreadable: too dark"


def test_predictions_that_lack_a_weak_sample_are_refused_before_anything_is_trained(manifest, tmp_path):
    pairs = truth(manifest)
    given = written(tmp_path / "p.parquet", pairs[np.arange(len(pairs)) != 7])
    with pytest.raises(TableError, match="p.parquet has no row for 1 of the 120 weak samples, such as 's7'"):
        study(manifest, tmp_path / "out", **TWO_ROWS, predictions=given)
    assert not (tmp_path / "out").exists()
    written(given, pairs)
    assert len(study(manifest, tmp_path / "out", **TWO_ROWS, predictions=given).run().runs) == 3


def test_other_predictions_are_not_mixed_into_the_folder(manifest, tmp_path):
    pairs, out = truth(manifest), tmp_path / "out"
    given = written(tmp_path / "p.parquet", pairs)
    comparison = study(manifest, out, **TWO_ROWS, predictions=given).run()
    # The same predictions at another place are the same.
    given = given.rename(tmp_path / "moved.parquet")
    assert study(manifest, out, **TWO_ROWS, predictions=given).run() == comparison
    others = written(tmp_path / "others.parquet", pairs, teacher="another")
    for more in ({"predictions": others}, {}, {"teacher": Seeing()}):
        with pytest.raises(ConfigError, match="was made with another .*predictions"):
            study(manifest, out, **TWO_ROWS, **more)


def test_a_teacher_and_predictions_exclude_each_other(manifest, tmp_path):
    given = written(tmp_path / "p.parquet", truth(manifest))
    with pytest.raises(ConfigError, match="got a teacher and finished predictions: give one of them"):
        study(manifest, tmp_path / "out", teacher=Seeing(), predictions=given)


def test_a_table_that_is_none_of_predictions_is_refused(manifest, tmp_path):
    with pytest.raises(TableError, match="is not a predictions table"):
        study(manifest, tmp_path / "out", predictions=manifest)


def test_a_strategy_that_looks_at_probabilities_which_nobody_gave_is_refused_before_it_trains(
    manifest, tmp_path
):
    given = written(tmp_path / "p.parquet", truth(manifest))
    chosen = {"weak-only": sl.WeakOnly(), "confident": sl.ConfidentSPL()}
    with pytest.raises((LabelError, TableError), match="probabilities"):
        study(manifest, tmp_path / "out", strategies=chosen, predictions=given).run()
    assert not list((tmp_path / "out").rglob("pretrained"))


def test_a_curve_takes_its_samples_from_the_given_predictions(manifest, tmp_path):
    source = with_sources(manifest, tmp_path / "m.parquet")
    given = written(tmp_path / "p.parquet", truth(manifest))
    options = {**TWO_ROWS, "curve": ("weak-only",), "clips_per_video": (1,)}
    comparison = study(source, tmp_path / "out", **options, predictions=given).run()
    assert [run.pool for run in comparison.runs if run.clips_per_video] == [40]


def test_a_dry_run_counts_no_work_for_a_teacher_that_is_given(manifest, tmp_path):
    given = written(tmp_path / "p.parquet", truth(manifest))
    for more in ({"teacher": Seeing()}, {"predictions": given}):
        made = study(manifest, tmp_path / "out", **TWO_ROWS, **more)
        stages = {stage.name: stage for stage in plan_study(made).stages}
        assert stages["predictions"].flops == 0
        assert not stages["predictions"].done
    made.predict(0)
    assert {stage.name: stage for stage in plan_study(made).stages}["predictions"].done


def test_a_given_module_teacher_is_told_by_its_weights():
    torch.manual_seed(0)
    one, other = (ModuleTeacher(torch.nn.Linear(4, 3), sl.Vocabulary.of(3)) for _ in range(2))
    assert one.fingerprint == ModuleTeacher(one.module, sl.Vocabulary.of(3)).fingerprint != other.fingerprint
