from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import stats

from sublabel.errors import ConfigError
from sublabel.evaluation import Comparison, RunMetrics
from sublabel.labels import ConfusionMatrix, Pairs, count
from sublabel.report import (
    class_sizes_chart,
    collect,
    confusion_chart,
    curve_chart,
    differences_chart,
    from_confusion,
    label_space_chart,
    label_spaces_chart,
    results_chart,
    samples_chart,
    save_chart,
    save_charts,
    statuses_chart,
    theme,
)
from tests.report.conftest import NAMES, comparison

SIGNATURES = {"png": b"\x89PNG", "svg": b"<svg", "pdf": b"%PDF", "html": b"<!DOCTYPE html>"}


@pytest.fixture(scope="module")
def data(study):
    return collect(study, pictures=0)


def values(chart):
    """All rows of data in a chart."""
    spec = chart.to_dict()
    found = list(spec.get("datasets", {}).values())

    def walk(node):
        if isinstance(node, dict):
            if isinstance(node.get("data"), dict) and "values" in node["data"]:
                found.append(node["data"]["values"])
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    walk(spec)
    return [row for rows in found for row in rows]


def test_every_chart_becomes_a_file_of_every_format(data, tmp_path):
    files = save_charts(data, tmp_path, ("png", "svg", "pdf", "html"))
    names = {
        "results",
        "differences",
        "curve",
        "confusion",
        "label_spaces",
        "class_sizes",
        "samples",
        "failures",
    }
    assert {file.stem for file in files} == names
    assert len(files) == 4 * len(names)
    for file in files:
        assert file.read_bytes().lstrip().startswith(SIGNATURES[file.suffix[1:]]), file


def test_an_unknown_format_is_refused(data, tmp_path):
    with pytest.raises(ConfigError, match="'gif': choose of png, svg, pdf, html"):
        save_charts(data, tmp_path, ("gif",))


def test_intervals_over_seeds_are_students(data):
    runs = [run.primary for run in data.comparison.runs_of("raw SPL")]
    low, high = stats.t.interval(0.95, len(runs) - 1, np.mean(runs), stats.sem(runs))
    [row] = [
        r for r in values(results_chart(data.comparison)) if r["pre-training"] == "raw SPL" and "low" in r
    ]
    assert (row["low"], row["high"]) == pytest.approx((100 * low, 100 * high))


def test_differences_are_drawn_with_the_intervals_of_the_table(data):
    corrected = data.comparison.corrected
    rows = {row["pre-training"]: row for row in values(differences_chart(data.comparison)) if "low" in row}
    assert list(rows) == list(corrected)
    for name, found in corrected.items():
        drawn = [rows[name][part] for part in ("difference", "low", "high")]
        assert drawn == pytest.approx([100 * value for value in found.interval])


def test_one_seed_has_no_differences_to_draw():
    runs = tuple(RunMetrics(strategy=row, seed=0, metrics={"top1": 0.8}) for row in ("weak-only", "raw SPL"))
    assert differences_chart(Comparison(runs=runs, baseline="weak-only", test_samples=4)) is None


@pytest.mark.parametrize("top1", [0.0, 0.8, 1.0])
def test_one_seed_has_the_interval_of_one_test_also_where_all_or_none_are_right(top1):
    runs = (RunMetrics(strategy="weak-only", seed=0, metrics={"top1": top1}),)
    [row, _] = values(results_chart(Comparison(runs=runs, baseline="weak-only", test_samples=400)))
    expected = stats.binomtest(int(400 * top1), 400).proportion_ci(0.95, "wilson")
    assert (row["low"], row["high"]) == pytest.approx((100 * expected.low, 100 * expected.high))
    assert row["high"] - row["low"] > 0.5


def test_a_study_without_a_curve_has_no_curve_chart():
    runs = (RunMetrics(strategy="weak-only", seed=0, metrics={"top1": 0.8}),)
    assert curve_chart(Comparison(runs=runs, baseline="weak-only", test_samples=4)) is None


def test_the_curve_ends_with_all_clips():
    rows = values(curve_chart(comparison(("weak-only", "raw SPL"))))
    assert [row["clips per video"] for row in rows if row["pre-training"] == "raw SPL"] == ["1", "3", "all"]


@pytest.mark.parametrize("samples", [1, 2, 3, 7])
def test_axes_of_few_samples_count_in_whole_numbers(samples, tmp_path):
    labels = np.arange(samples)
    confusion = count(Pairs(labels, labels // 2 * 2, weak_vocabulary=samples))
    failures, kept = statuses_chart({"ok": 5, "missing": samples}), samples_chart(from_confusion(confusion))
    for chart, beside_bars in ((failures, 1), (kept, 0)):
        save_chart(chart, tmp_path / "few.svg")
        numbers = re.findall(r">([\d.]+)</text>", (tmp_path / "few.svg").read_text(encoding="utf-8"))
        ticks = numbers[: len(numbers) - beside_bars]
        assert ticks[:2] == ["0", "1"]
        assert len(ticks) == len({*ticks})


@pytest.mark.parametrize(
    "names",
    [
        [f"class number {number:2}" for number in range(3)],
        ["orbit clockwise again", "orbit counter-clockwise again", "rotate clockwise"],
        [f"{number} of the many classes" for number in range(3)],
    ],
)
def test_names_that_begin_or_end_alike_can_be_told_apart_beside_a_panel(names, tmp_path):
    data = from_confusion(count(Pairs([0, 1, 2], [0, 1, 2], weak_vocabulary=names)))
    save_chart(label_space_chart(data, None), tmp_path / "panel.svg")
    drawn = re.findall(r">([^<]*…[^<]*)</text>", (tmp_path / "panel.svg").read_text(encoding="utf-8"))
    assert len(drawn) == 6
    assert len({*drawn}) == 3


def test_many_strategies_have_colours_and_marks_of_their_own():
    names = [f"strategy {number}" for number in range(len(theme.PALETTE))]
    assert len({*theme.row_colours(names).range}) == len(names) == 16
    marks = [*zip(2 * theme.PALETTE, theme.shapes(2 * len(names)), strict=True)]
    assert len({*marks}) == len(marks)


def test_a_row_without_pretraining_is_grey_and_takes_no_colour_from_the_others():
    runs = [
        RunMetrics(strategy=row, seed=0, metrics={"top1": 0.5})
        for row in ("none (really)", None, "weak-only")
    ]
    found = results_chart(Comparison(runs=tuple(runs), baseline="weak-only", test_samples=4)).to_dict()
    scale = found["layer"][0]["encoding"]["color"]["scale"]
    colours = dict(zip(scale["domain"], scale["range"], strict=True))
    assert colours == {
        "none (really)": theme.PALETTE[0], "none (scratch)": theme.GREY, "weak-only": theme.PALETTE[1],
    }  # fmt: skip


def test_nothing_that_failed_makes_no_chart():
    assert statuses_chart({"ok": 5}) is None
    assert values(statuses_chart({"ok": 5, "missing": 2})) == [{"reason": "missing", "samples": 2}]


def test_the_heat_map_holds_all_samples_under_their_names(data):
    rows = values(confusion_chart(data.confusion))
    assert sum(row["samples"] for row in rows) == data.confusion.total
    assert {row["weak"] for row in rows} == set(NAMES)


def test_a_large_matrix_is_drawn_in_blocks():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 1000, (2, 5000))
    rows = values(confusion_chart(count(Pairs(*labels, weak_vocabulary=1000))))
    assert sum(row["samples"] for row in rows) == 5000
    assert len(rows) <= 3600
    assert all(re.search(r"\(1[67]\)$", row["weak"]) for row in rows)


def test_cells_have_one_colour_exactly_where_they_are_one_class(data):
    for name in ("weak-only", "agreement", "raw SPL", "SPL-B"):
        strategy = data.space(name)
        rows = values(label_space_chart(data, strategy))
        colour_of = {}
        for row in rows:
            colour_of.setdefault(row["class"], set()).add(row["colour"])
        colour_of.pop("none", None)
        assert all(len(colours) == 1 for colours in colour_of.values()), name
        assert len({colours.copy().pop() for colours in colour_of.values()}) == len(colour_of), name


def test_only_cells_with_samples_are_marked_as_dropped(data):
    rows = values(label_space_chart(data, data.space("agreement")))
    assert {(row["dropped"], row["samples"] > 0) for row in rows if row["weak"] != row["teacher"]} <= {
        (True, True),
        (False, False),
    }
    assert not any(row["dropped"] for row in rows if row["weak"] == row["teacher"])


def test_a_cell_without_sure_samples_is_not_marked_as_dropped(refined):
    data = collect(refined, pictures=0)
    rows = values(label_space_chart(data, data.space("confident")))
    assert any(row["class"] == "none" and row["samples"] for row in rows)
    assert not any(row["dropped"] for row in rows)


def test_kept_and_dropped_add_up_to_all_samples(data):
    rows = values(samples_chart(data))
    for name in ("weak-only", "agreement", "matched control"):
        assert sum(row["samples"] for row in rows if row["strategy"] == name) == data.confusion.total
    dropped = {row["strategy"]: row["samples"] for row in rows if row["what"] == "dropped"}
    assert dropped["weak-only"] == 0
    assert dropped["agreement"] == data.cells.count[~data.cells.agreed].sum()


def test_class_sizes_have_a_line_at_min_count(data):
    assert any(row.get("name") == "min_count 4" for row in values(class_sizes_chart(data)))


def test_every_chart_describes_itself_in_words(data):
    for chart in (
        results_chart(data.comparison),
        curve_chart(data.comparison),
        confusion_chart(data.confusion),
        class_sizes_chart(data),
        samples_chart(data),
        statuses_chart(data.statuses),
        label_space_chart(data, None),
    ):
        assert len(chart.to_dict()["description"]) > 20


def test_the_figure_of_the_paper_has_the_matrix_and_every_space_of_cells(data):
    titles = [panel["title"] for panel in label_spaces_chart(data).to_dict()["concat"]]
    assert [title.partition(":")[0] for title in titles] == [
        "confusion matrix", "weak-only", "teacher-only", "agreement", "raw SPL", "SPL-B",
    ]  # fmt: skip


def test_only_spaces_whose_cells_have_one_class_are_drawn(refined):
    data = collect(refined, pictures=0)
    titles = [panel["title"] for panel in label_spaces_chart(data).to_dict()["concat"]]
    classes = data.space("confident").space.num_classes
    assert titles[6:] == [f"confident: {classes} classes (sure samples)", titles[-1]]
    assert titles[-1] == f"top-k: {data.space('top-k').space.num_classes} classes"
    for name in ("two heads", "matched control"):
        with pytest.raises(ConfigError, match=f"'{name}' draws .*, or has two .*: choose of weak-only, "):
            label_space_chart(data, data.space(name))


def test_sizes_of_two_heads_are_those_of_their_classes(refined):
    data = collect(refined, pictures=0)
    rows = [row["samples"] for row in values(class_sizes_chart(data)) if row.get("strategy") == "two heads"]
    counts = data.confusion.counts.toarray()
    assert rows == sorted([*counts.sum(axis=1).tolist(), *counts.sum(axis=0).tolist()], reverse=True)


def test_a_space_of_no_samples_is_drawn(tmp_path):
    data = from_confusion(ConfusionMatrix(["a", "b", "c"]))
    assert save_charts(data, tmp_path)


def luminance(colour):
    channels = np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one, two):
    light, dark = sorted((luminance(one), luminance(two)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("paper", ["#ffffff", "#12171d"])
def test_the_palette_stands_out_on_light_and_dark_paper(paper):
    for colour in theme.PALETTE:
        assert contrast(colour, paper) >= 3, (colour, contrast(colour, paper))


def test_the_page_has_the_contrast_that_text_needs():
    from importlib.resources import files

    css = (files("sublabel.report") / "templates" / "report.css").read_text(encoding="utf-8")
    schemes = [
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{([^}]*)\}", css)
    ]
    assert len(schemes) >= 2
    for scheme in schemes[:2]:
        for text in ("ink", "soft", "accent"):
            for paper in ("paper", "raised"):
                assert contrast(scheme[text], scheme[paper]) >= 4.5, (text, paper)
