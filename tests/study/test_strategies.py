from __future__ import annotations

import lightning as L
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import sublabel as sl
from sublabel.errors import ConfigError
from sublabel.options import TrainOptions
from sublabel.study import StudyOptions, slug
from sublabel.study.models import StudyModels
from sublabel.tables import read_relabeled
from sublabel.training import FactorisedHead, load_model
from tests.study.conftest import CLASSES, FAST, study, train_teacher


def test_classes_whose_sides_matter_are_never_flipped(manifest, tmp_path, monkeypatch):
    asked = {}
    training_inputs = StudyModels.training_inputs

    def spy(self, media, preprocessing, options, unflipped):
        asked.setdefault(len(media), unflipped)
        return training_inputs(self, media, preprocessing, options, unflipped)

    monkeypatch.setattr(StudyModels, "training_inputs", spy)
    made = study(manifest, tmp_path, strategies={"raw SPL": sl.RawSPL()}, no_flip=("rows",))
    made.run()
    # The target classes are columns, plain, rows; any cell that has "rows" on one side is left as it is.
    assert (asked[40] == (made.media.target_labels("target_train") == 2)).all()
    table = read_relabeled(tmp_path / "seed0" / "raw_spl" / "relabeled.parquet")
    expected = [label for label, name in enumerate(table.space.names) if "rows" in name]
    assert 0 < len(expected) < len(table.space.names)
    assert (asked[120] == np.isin(table.targets.labels, expected)).all()
    with pytest.raises(ConfigError, match="no_flip names 'row', which is neither"):
        study(manifest, tmp_path / "other", no_flip=("row",))


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
        folder = out / "seed0" / slug(name)
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
    for name, factorised in {"weak_only": False, "two_heads": False, "top-k": True}.items():
        loaded, card = load_model(out / "seed0" / name / "pretrained")
        assert isinstance(loaded.head, FactorisedHead) == factorised
        assert card.made_by["head"] == type(loaded.head).__name__


def test_sampled_softmax_is_used_where_a_strategy_makes_more_classes(manifest, tmp_path, monkeypatch):
    fit, asked = L.Trainer.fit, []

    def spy(self, module, **arguments):
        asked.append((len(module.heads), type(module.objective).__name__))
        fit(self, module, **arguments)

    monkeypatch.setattr(L.Trainer, "fit", spy)
    chosen = {"weak-only": sl.WeakOnly(), "top-k": sl.TopKSPL(), "two heads": sl.TwoHead()}
    study(manifest, tmp_path, strategies=chosen, sampled_classes=3).run()
    # The teacher, then pre-training and fine-tuning of each row.
    assert [kind == "SampledCrossEntropy" for _, kind in asked] == [False] * 3 + [True] + [False] * 3
    with pytest.raises(ValueError, match="sampled_classes and pretrain.label_smoothing exclude each other"):
        StudyOptions(**{**FAST, "pretrain": TrainOptions(label_smoothing=0.1)}, sampled_classes=3)


def test_the_teacher_keeps_as_many_classes_as_the_strategies_look_at(manifest, tmp_path):
    chosen = {"weak-only": sl.WeakOnly(), "top-k": sl.TopKSPL(k=2)}
    with pytest.raises(ValueError, match="'top-k' looks at 2 .*, and teacher_top_k keeps 1"):
        study(manifest, tmp_path, strategies=chosen, teacher_top_k=1)
    small = study(manifest, tmp_path, strategies=chosen, teacher_top_k=2)
    train_teacher(small)
    kept = pq.read_table(tmp_path / "seed0" / "predictions", columns=["top_ids"])["top_ids"]
    assert set(pc.list_value_length(kept).to_pylist()) == {2}
