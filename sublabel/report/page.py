"""The page: one HTML file that opens from disk and asks the network for nothing.

Names come from users' files. In the markup the template escapes them; all else travels compressed in one data
block, which the page's own script puts in as text.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sublabel.files import write_atomically
from sublabel.labels import REASONS
from sublabel.report import matrix_charts, result_charts, theme
from sublabel.report.data import ExplainedExample, ReportData, StrategySpace
from sublabel.report.examples import data_uri
from sublabel.report.matrix import Order, blocks
from sublabel.report.saving import vega_lite_version
from sublabel.report.spaces import PANEL_PIXELS, space_panel

LISTED_CELLS = 100_000
"""Cells of the searchable list, the largest ones."""
LISTED_CLASSES = 20_000
"""Classes of the table, the largest ones."""
LISTED_LOSERS = 3
"""Weak classes that lost most, for each strategy."""


class Chart(NamedTuple):
    """A chart of the page: where its specification is in the data block, and what it says in words."""

    key: str
    description: str


class DroppedSamples(NamedTuple):
    """The samples that a strategy dropped, and which weak classes lost most by it."""

    strategy: str
    samples: int
    share: float
    """What part of all samples they are, 0–1."""
    weak_classes: tuple[tuple[str, int, float], ...]
    """(name, samples dropped, share of its samples)."""


class StatusTable(NamedTuple):
    """What became of all weak samples: a row for each status, a column for each strategy."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def write_report(data: ReportData, path: str | Path) -> Path:
    """Write the page.

    Args:
        data: What it shows.
        path: The HTML file.

    Returns:
        The path.
    """
    path = Path(path)
    with write_atomically(path) as file:
        file.write(render(data).encode())
    return path


def render(data: ReportData) -> str:
    """The page as text.

    Args:
        data: What it shows.
    """
    specs: dict[str, Any] = {}

    def placed(key: str, chart: Any) -> Chart | None:
        if chart is None:
            return None
        specs[key] = page_spec(chart)
        return Chart(key, specs[key].get("description", ""))

    comparison = data.comparison
    panels = [None, *(entry for entry in data.spaces if entry.has_cells)]
    columns = {
        "results": comparison and placed("results", result_charts.results_chart(comparison)),
        "differences": comparison and placed("differences", result_charts.differences_chart(comparison)),
        "curve": comparison and placed("curve", result_charts.curve_chart(comparison)),
        "sizes": placed("sizes", matrix_charts.class_sizes_chart(data)),
        "samples": placed("samples", matrix_charts.samples_chart(data)),
        "failures": placed("failures", matrix_charts.statuses_chart(data.statuses)),
        "panels": [
            placed(f"panel{n}", matrix_charts.label_space_chart(data, entry))
            for n, entry in enumerate(panels)
        ],
    }
    block = {"charts": specs, "matrix": _matrix(data), "classes": _classes(data)}
    environment = Environment(
        loader=PackageLoader("sublabel.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{share:.1%}"
    environment.filters["count"] = lambda number: f"{number:,}"
    environment.filters["data_uri"] = data_uri
    return environment.get_template("report.html.j2").render(
        data=data,
        charts=columns,
        verdict=comparison and comparison.verdict(),
        options=json.dumps(data.options, indent=1, ensure_ascii=False) if data.options else "",
        shares=_shares_of(data),
        agreed=int(data.cells.count[data.cells.agreed].sum()),
        dropped=list(dropped_samples(data)),
        explained=[(title, list(members)) for title, members in groupby(data.explained, key=_group)],
        panel_caption=space_panel(data, None).caption,
        undrawn=[entry for entry in data.spaces if not entry.has_cells],
        has_thresholds=any(entry.has_unsure for entry in data.spaces),
        several_heads=[entry.name for entry in data.spaces if entry.has_several_heads],
        soft=[entry.name for entry in data.spaces if entry.has_weights],
        statuses=status_table(data),
        min_count=matrix_charts.min_count(data.chosen_space),
        unread={status: count for status, count in data.statuses.items() if status != "ok"},
        listed={"cells": LISTED_CELLS, "classes": LISTED_CLASSES},
        block=Markup(_packed(block)),
        vega=Markup(_vega()),
    )


def _shares_of(data: ReportData) -> str:
    """What the shares of the classes are of: the class's `row`, `all` samples, or `either`."""
    in_row = data.classes.weak >= 0
    return "row" if in_row.all() else "either" if in_row.any() else "all"


def _group(example: ExplainedExample) -> str:
    return example.explanation.group


def page_spec(chart: Any) -> dict[str, Any]:
    """A chart's specification for the page: as wide as its place, in the colour of the page's text.

    Args:
        chart: An Altair chart.
    """
    spec: dict[str, Any] = chart.to_dict()
    spec["config"] = theme.config(ink="currentColor", paper="transparent")
    if spec.get("width") != PANEL_PIXELS:
        spec["width"] = "container"
        spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return spec


@cache
def _vega() -> str:
    """Vega, Vega-Lite and vega-embed as one script, out of the installed vl-convert."""
    bundle: str = vl_convert.javascript_bundle(
        "window.vegaEmbed = vegaEmbed;", vl_version=vega_lite_version()
    )
    # Within a script element only its end tag and the start of a comment mean something to HTML.
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _packed(content: Any) -> str:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _matrix(data: ReportData) -> dict[str, Any]:
    """The matrix in each order, as blocks, and its largest cells one by one."""
    cells = data.cells
    largest = np.argsort(-cells.count, kind="stable")[:LISTED_CELLS]
    return {
        "weak": list(data.confusion.weak_vocabulary),
        "teacher": list(data.confusion.teacher_vocabulary),
        "total": data.confusion.total,
        "occupied": len(cells.count),
        "rowTotals": np.asarray(data.confusion.counts.sum(axis=1)).ravel().tolist(),
        "cells": {
            "weak": cells.weak[largest].tolist(),
            "teacher": cells.teacher[largest].tolist(),
            "count": cells.count[largest].tolist(),
            "agreed": cells.agreed[largest].astype(int).tolist(),
        },
        "agreeing": data.alignment.pairs.tolist(),
        "orders": {
            name: {"rows": order.rows.tolist(), "columns": order.columns.tolist(), **_blocks(data, order)}
            for name, order in data.orders.items()
        },
    }


def _blocks(data: ReportData, order: Order) -> dict[str, Any]:
    summed = blocks(data.confusion, order)
    return {"height": summed.shape[0], "width": summed.shape[1], "samples": summed.ravel().tolist()}


def _classes(data: ReportData) -> dict[str, Any]:
    """The classes of the chosen strategy, the largest first."""
    columns, chosen = data.classes, data.chosen_space
    largest = np.argsort(-columns.size, kind="stable")[:LISTED_CLASSES]
    names, kinds = chosen.space.names, chosen.space.kinds
    confidence = [None] * len(chosen.space) if data.confidence is None else data.confidence.tolist()
    return {
        "name": [names[label] for label in largest.tolist()],
        "kind": [kinds[label] for label in largest.tolist()],
        "size": columns.size[largest].tolist(),
        "share": columns.share[largest].round(4).tolist(),
        "confidence": [
            None if confidence[label] is None or np.isnan(confidence[label]) else round(confidence[label], 3)
            for label in largest.tolist()
        ],
        "sharesOf": _shares_of(data),
        "hasConfidence": data.confidence is not None,
    }


def dropped_samples(data: ReportData) -> Iterator[DroppedSamples]:
    """What each strategy dropped, in the order of the strategies, also where that is nothing.

    Args:
        data: What is reported.
    """
    totals = np.asarray(data.confusion.counts.sum(axis=1)).ravel()
    for entry in data.spaces:
        by_row = entry.outcome.dropped
        worst = np.argsort(-by_row, kind="stable")[:LISTED_LOSERS].tolist()
        yield DroppedSamples(
            entry.name,
            int(by_row.sum()),
            float(by_row.sum() / max(1, data.confusion.total)),
            tuple(
                (data.confusion.weak_vocabulary[row], int(by_row[row]), float(by_row[row] / totals[row]))
                for row in worst
                if by_row[row]
            ),
        )


def status_table(data: ReportData) -> StatusTable | None:
    """What became of all weak samples under each strategy that has a relabeled table.

    Args:
        data: What is reported.

    Returns:
        Kept samples first, then those that are not used, by reason; None where there is no table.
    """
    known = [entry for entry in data.spaces if entry.statuses]
    if not known:
        return None
    most = {status: max(entry.statuses.get(status, 0) for entry in known) for status in _all_statuses(known)}
    ordered = sorted(most, key=lambda status: (_place(status), -most[status], status))
    return StatusTable(
        ("status", *(entry.name for entry in known)),
        tuple((status, *(f"{entry.statuses.get(status, 0):,}" for entry in known)) for status in ordered),
    )


def _all_statuses(entries: Sequence[StrategySpace]) -> set[str]:
    return {status for entry in entries for status in entry.statuses}


def _place(status: str) -> int:
    """Where a status stands among `REASONS`; `no prediction: ` goes on with what the teacher's pass said."""
    reason = status.partition(":")[0]
    return REASONS.index(reason) if reason in REASONS else len(REASONS)
