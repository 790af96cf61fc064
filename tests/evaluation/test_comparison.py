from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from sublabel.errors import ConfigError
from sublabel.evaluation import Comparison, RunMetrics, columns, metric_column
from sublabel.evaluation.columns import number


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
    assert weak == ("weak-only", "10", "1,000", "70.5 ± 0.7", "90.0 ± 0.0", "–")
    assert raw == ("raw SPL", "97", "1,000", "72.5 ± 0.7", "90.0 ± 0.0", "+2.0 [+2.0, +2.0]")


def test_one_seed_is_called_what_it_is():
    single = comparison(seeds=1)
    assert single.table().records()[1]["Δ top-1"] == "+2.0"
    assert "one seed says nothing" in single.to_markdown()
    assert "standard error of one top-1 is about 0.6 points" in single.to_markdown()


def test_rows_on_other_seeds_are_refused():
    runs = comparison().runs[:-1]
    with pytest.raises(
        ConfigError, match=r"'raw SPL' was run on the seeds \[0\], and 'weak-only' on \[0, 1\]"
    ):
        comparison(runs=runs).table()


def test_a_row_without_pretraining_is_known_by_its_strategy_not_by_its_name():
    found = comparison(seeds=1, runs=(run(None, start="initialised"), run("weak-only"), run("none (really)")))
    assert found.names() == ["none (initialised)", "weak-only", "none (really)"]
    assert found.without_pretraining() == [found.runs[0]]
    assert found.table().rows[0][1:3] == ("–", "–")


def test_markdown_and_json_hold_every_row():
    made = comparison()
    lines = made.to_markdown().splitlines()
    assert lines[2] == "| " + " | ".join(made.table().rows[0]) + " |"
    assert len({line.count("|") for line in lines[:4]}) == 1
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
