"""Strategies of a user's own, known by their import path."""

from __future__ import annotations

import json
from collections import Counter

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import sublabel as sl
from sublabel.errors import ConfigError, LabelError
from sublabel.study import StudyFolder, StudyOptions, plan_study
from sublabel.tables import read_relabeled
from sublabel.training import load_model
from tests.study.conftest import FAST, study
from tests.study.seeing import NamedRaw, OneOfEach, Seeing

PATH = "tests.study.seeing:OneOfEach"


def rows_of(strategy):
    return {"weak-only": sl.WeakOnly(), "mine": strategy}


@pytest.fixture(scope="module")
def own(manifest, tmp_path_factory):
    out = tmp_path_factory.mktemp("own")
    return out, study(manifest, out, strategies=rows_of(OneOfEach(min_count=5)), teacher=Seeing()).run()


def test_a_strategy_of_ones_own_is_a_row(own, manifest):
    out, comparison = own
    # The given teacher names the clean label, so that the cells can be counted in the manifest.
    weak = pq.read_table(manifest, filters=pc.field("split") == "weak").to_pylist()
    cells = Counter((row["weak_label"], row["label"]) for row in weak)
    expected = {
        label if query == label or count < 5 else f"{label} for {query}"
        for (query, label), count in cells.items()
    }
    table = read_relabeled(out / "seed0" / "mine" / "relabeled.parquet")
    assert set(table.space.names) == expected
    assert any(" for " in name for name in expected)
    named = dict(zip(table.sample_ids.to_pylist(), table.targets.labels.tolist(), strict=True))
    for row in weak:
        query, label = row["weak_label"], row["label"]
        large = query != label and cells[query, label] >= 5
        assert table.space.names[named[row["sample_id"]]] == (f"{label} for {query}" if large else label)
    run = {run.strategy: run for run in comparison.runs}["mine"]
    assert (run.classes, run.samples) == (len(expected), 120)
    assert load_model(out / "seed0" / "mine" / "pretrained").card.classes == table.space.names


def test_the_study_stores_its_import_path_and_all_its_options(own):
    out, _ = own
    stored = {"kind": PATH, "min_count": 5}
    record = json.loads((out / "study.json").read_text(encoding="utf-8"))
    assert record["options"]["strategies"]["mine"] == stored
    assert StudyFolder.open(out).record.options.strategies["mine"] == stored
    again = StudyOptions(**{**FAST, "strategies": record["options"]["strategies"]})
    assert again.strategies["mine"] == OneOfEach(min_count=5)
    space = read_relabeled(out / "seed0" / "mine" / "relabeled.parquet").space
    assert space.strategy == stored


def test_a_changed_option_is_refused_and_the_same_goes_on(own, manifest):
    out, comparison = own
    more = {"teacher": Seeing()}
    assert study(manifest, out, strategies=rows_of(OneOfEach(min_count=5)), **more).run() == comparison
    with pytest.raises(ConfigError, match=r"was made with another min_count: .*5 there, 6 here.*choose"):
        study(manifest, out, strategies=rows_of(OneOfEach(min_count=6)), **more)
    with pytest.raises(ConfigError, match="was made with another kind"):
        study(manifest, out, strategies=rows_of(sl.RawSPL()), **more)
    # What was refused has not changed what the folder says of itself.
    assert StudyFolder.open(out).record.options.strategies["mine"]["min_count"] == 5


def test_several_jobs_find_it_and_change_nothing(own, manifest, tmp_path):
    options = {"strategies": rows_of(OneOfEach(min_count=5)), "teacher": Seeing(), "jobs": 2}
    assert study(manifest, tmp_path, **options).run().runs == own[1].runs


def test_a_child_of_ours_is_not_taken_for_its_parent(manifest, tmp_path):
    chosen = {"weak-only": sl.WeakOnly(), "raw": NamedRaw(min_count=3, author="me")}
    study(manifest, tmp_path, strategies=chosen).run()
    stored = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))["options"]["strategies"]["raw"]
    assert stored == {
        "kind": "tests.study.seeing:NamedRaw", "min_count": 3, "rare": "disagreed", "author": "me",
    }  # fmt: skip
    for other in (sl.RawSPL(min_count=3), NamedRaw(min_count=3, author="you")):
        with pytest.raises(ConfigError, match="was made with another (kind|author)"):
            study(manifest, tmp_path, strategies={**chosen, "raw": other})


def test_it_may_be_given_by_its_path_and_refined_by_ours(manifest, tmp_path):
    chosen = {
        "weak-only": "weak_only",
        "mine": {"kind": PATH, "min_count": 3},
        "merged": {"kind": "merged_spl", "num_classes": 6, "of": {"kind": PATH}},
        "control": {"kind": "matched_control", "of": {"kind": PATH, "min_count": 3}},
    }
    made = study(manifest, tmp_path, strategies=chosen, teacher=Seeing())
    assert made.options.strategies["mine"] == OneOfEach(min_count=3)
    classes = {run.strategy: run.classes for run in made.run().runs}
    assert classes["merged"] == 6
    assert classes["control"] == classes["mine"] > 3


def test_a_path_that_leads_nowhere_is_named():
    with pytest.raises((ValueError, LabelError), match="tests.study.seeing:Gone.*cannot be found"):
        StudyOptions(**FAST, strategies={"mine": {"kind": "tests.study.seeing:Gone"}})


def test_a_name_that_is_none_is_refused_before_anything_is_pretrained(manifest, tmp_path):
    class Nameless(sl.Strategy):
        def class_of(self, cell):
            return 3

    with pytest.raises(LabelError, match="Nameless gave 3 for the cell"):
        study(manifest, tmp_path, strategies=rows_of(Nameless())).run()
    assert not list(tmp_path.rglob("pretrained"))


def test_a_dry_run_plans_its_stages(manifest, tmp_path):
    plan = plan_study(study(manifest, tmp_path, strategies=rows_of(OneOfEach())))
    assert "seed0/mine/pretrained" in {stage.name for stage in plan.stages}
