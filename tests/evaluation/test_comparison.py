from __future__ import annotations

import io
import json

import numpy as np
import pytest
from rich.console import Console

from sublabel.errors import ConfigError
from sublabel.evaluation import Comparison, RunMetrics, columns, metric_column
from sublabel.evaluation.columns import number
from tests.evaluation.made import compared


def run(strategy, seed=0, top1=0.7, **changes):
    metrics = {"top1": top1, "top5": 0.9, **changes.pop("metrics", {})}
    return RunMetrics(strategy=strategy, seed=seed, metrics=metrics, **changes)


def comparison(seeds=2, **changes):
    runs = [
        run(row, seed, top1 + 0.01 * seed, classes=classes, samples=1000, pool=1000)
        for seed in range(seeds)
        for row, top1, classes in (("weak-only", 0.70, 10), ("raw SPL", 0.72, 97))
    ]
    return Comparison(**{"runs": tuple(runs), "baseline": "weak-only", "test_samples": 5000, **changes})


def test_rows_are_means_over_seeds_with_paired_differences():
    weak, raw = comparison().table().rows
    assert weak == ("weak-only", "10", "1,000", "70.5 ± 0.7", "90.0", "–", "–")
    assert raw == ("raw SPL", "97", "1,000", "72.5 ± 0.7", "90.0", "+2.0 [2.0, 2.0]", "<0.001")


def test_one_seed_is_called_what_it_is():
    single = comparison(seeds=1)
    assert single.table().records()[1]["Δ top-1"] == "+2.0"
    assert "one seed says nothing" in single.to_markdown()
    assert "standard error of one top-1 is about 0.6 points" in single.to_markdown()


def test_rows_on_other_seeds_are_refused():
    runs = comparison().runs[:-1]
    with pytest.raises(
        ConfigError, match=r"'raw SPL' was run on the seeds \[0\], and 'weak-only' on the seeds \[0, 1\]"
    ):
        comparison(runs=runs).table()


def test_a_row_without_pretraining_is_known_by_its_strategy_not_by_its_name():
    found = comparison(seeds=1, runs=(run(None, start="initialised"), run("weak-only"), run("none (really)")))
    assert found.names() == ["none (initialised)", "weak-only", "none (really)"]
    assert found.without_pretraining() == [found.runs[0]]
    assert found.table().rows[0][1:3] == ("–", "–")


def test_markdown_and_json_hold_every_row():
    made = comparison()
    lines = [line for line in made.to_markdown().splitlines() if line.startswith("|")]
    assert lines[2] == "| " + " | ".join(made.table().rows[0]) + " |"
    assert len({line.count("|") for line in lines}) == 1
    assert [row["pre-training"] for row in made.to_dict()["table"]] == ["weak-only", "raw SPL"]


def test_what_is_written_says_what_it_is_and_is_read_back():
    made = comparison(runs=(*comparison().runs, run("weak-only", pool=40, clips_per_video=4)))
    content = json.loads(json.dumps(made.to_dict()))
    assert content["format"] == "sublabel.Comparison"
    assert content["curve"][1] == {"clips per video": "weak-only", "4": "70.0", "all": "70.5 ± 0.7"}
    assert Comparison.from_dict(content) == made
    with pytest.raises(ConfigError, match="expected .*sublabel.Comparison"):
        Comparison.from_dict({**content, "version": 99})


def renderings(found):
    terminal = io.StringIO()
    Console(file=terminal, width=200).print(found.to_rich())
    return terminal.getvalue(), found.to_markdown(), json.dumps(found.to_dict()), found._repr_html_()


def test_a_metric_that_a_test_adds_is_a_column_of_every_rendering():
    found = comparison(seeds=1, runs=(run("weak-only", metrics={"calibration": 0.0375}), run("raw SPL")))
    assert [row[-1] for row in found.table().rows] == ["0.0375", "–"]
    assert all("calibration" in text and "0.0375" in text for text in renderings(found))


def test_a_declared_column_is_in_every_rendering(monkeypatch):
    monkeypatch.setattr(columns, "COLUMNS", (*columns.COLUMNS, metric_column("f1", "F1 score", number)))
    found = comparison(seeds=1, runs=(run("weak-only", metrics={"f1": 0.625}),))
    assert found.table().headings.count("F1 score") == 1
    assert all("F1 score" in text and "0.625" in text for text in renderings(found))


def test_the_verdict_stands_first_in_every_rendering():
    found = compared({"weak-only": 0.7, "raw SPL": 0.75})
    verdict = found.verdict()
    terminal, markdown, written, html = renderings(found)
    assert markdown.startswith(f"**{verdict.sentence}**\n")
    assert html.startswith(f"<p><strong>{verdict.sentence}")
    assert " ".join(terminal.split()).startswith(verdict.sentence)
    assert json.loads(written)["verdict"] == {
        "sentence": verdict.sentence,
        "remarks": list(verdict.remarks),
    }


def test_figures_of_the_table_are_those_of_every_rendering():
    found = compared({None: 0.6, "weak-only": 0.7, "raw SPL": 0.75})
    frame = found.to_pandas()
    assert list(frame.index) == found.names()
    corrected = found.corrected["raw SPL"]
    row = frame.loc["raw SPL"]
    assert (row["difference"], row["low"], row["high"]) == tuple(corrected.interval)
    assert (row["p"], row["p_holm"]) == (corrected.difference.p_value, corrected.p_value)
    assert row["top1"] == pytest.approx(found.top1("raw SPL"))
    assert frame["difference"].isna()["weak-only"]
    assert frame.to_dict("records")[2] == {
        name: value for name, value in found.to_dict()["rows"][2].items() if name != "row"
    }


def test_a_table_in_latex_has_its_cells_with_special_letters_escaped():
    lines = compared({"weak-only": 0.7, "raw_SPL & 100%": 0.75}).to_latex().splitlines()
    assert lines[0] == r"\begin{tabular}{lrrrrrr}"
    assert r"raw\_SPL \& 100\%" in lines[5]
    assert {line.count(" & ") for line in lines if line.endswith(r"\\")} == {6}


def test_a_comparison_is_read_back_with_its_outcomes(tmp_path):
    made = compared({"weak-only": 0.7, "raw SPL": 0.75}, controls={"x": "raw SPL"}, chance=0.1)
    made.save(tmp_path)
    assert Comparison.load(tmp_path) == made
    assert (tmp_path / "comparison.md").read_text() == made.to_markdown()
    (tmp_path / "outcomes.parquet").unlink()
    assert Comparison.load(tmp_path).outcomes is None


def test_outcomes_of_other_runs_are_refused():
    made, other = (compared({"weak-only": skill, "raw SPL": 0.75}) for skill in (0.7, 0.5))
    with pytest.raises(ValueError, match="the outcomes are not those of 'weak-only', seed 0"):
        Comparison(**{**dict(made), "outcomes": other.outcomes})


def test_a_pool_is_the_comparison_over_all_its_data_sets():
    skills = {"weak-only": 0.7, "raw SPL": 0.75}
    parts = {name: compared(skills, 3, random_seed=seed) for seed, name in enumerate("ab")}
    pooled = Comparison.pool(parts)
    assert pooled.data_sets() == ["a", "b"]
    means = [part.difference("raw SPL", "weak-only").mean for part in parts.values()]
    assert list(pooled.of_each_data_set("raw SPL").values()) == pytest.approx(means)
    found = pooled.difference("raw SPL", "weak-only")
    assert found.mean == pytest.approx(np.mean(means))
    assert found.spread.standard_error < min(
        part.difference("raw SPL", "weak-only").spread.standard_error for part in parts.values()
    )
    assert pooled.outcomes.correct.keys() == {
        key._replace(data=name) for name, part in parts.items() for key in part.outcomes.correct
    }


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: compared({"weak-only": 0.7, "raw SPL": 0.7}, 4), "seeds"),
        (lambda: compared({"weak-only": 0.7, "SPL-B": 0.7}), "rows"),
        (lambda: compared({"weak-only": 0.7, "raw SPL": 0.7}, data=("x", "y")), "y is pooled already"),
    ],
)
def test_what_is_not_of_the_same_runs_is_not_pooled(other, message):
    with pytest.raises(ConfigError, match=message):
        Comparison.pool({"x": compared({"weak-only": 0.7, "raw SPL": 0.7}), "y": other()})
