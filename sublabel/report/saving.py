"""Each chart as a file for a paper: PNG, SVG, PDF, or an interactive HTML page; all without a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import altair as alt
import vl_convert

from sublabel.errors import ConfigError
from sublabel.files import write_atomically
from sublabel.report import matrix_charts, result_charts
from sublabel.report.data import ReportData

Format = Literal["png", "svg", "pdf", "html"]
FORMATS: tuple[Format, ...] = ("png", "svg", "pdf", "html")
PNG_SCALE = 2


def save_charts(data: ReportData, folder: str | Path, formats: Sequence[Format] = ("svg",)) -> list[Path]:
    """Write every chart that there is data for.

    Args:
        data: What they show.
        folder: Made if it does not exist.
        formats: Of `png` (144 dpi), `svg`, `pdf` and `html`.

    Returns:
        The files: `results.svg`, `differences.svg`, `curve.svg`, `confusion.svg`, `label_spaces.svg`,
        `class_sizes.svg`, `samples.svg`, `failures.svg`; those without data are left out.

    Raises:
        ConfigError: A format is none of these.
    """
    unknown = [entry for entry in formats if entry not in FORMATS]
    if unknown:
        raise ConfigError(f"charts cannot be written as {unknown[0]!r}: choose of {', '.join(FORMATS)}")
    comparison = data.comparison
    made = {
        "results": comparison and result_charts.results_chart(comparison),
        "differences": comparison and result_charts.differences_chart(comparison),
        "curve": comparison and result_charts.curve_chart(comparison),
        "confusion": matrix_charts.confusion_chart(data.confusion, data.alignment),
        "label_spaces": matrix_charts.label_spaces_chart(data),
        "class_sizes": matrix_charts.class_sizes_chart(data),
        "samples": matrix_charts.samples_chart(data),
        "failures": matrix_charts.statuses_chart(data.statuses),
    }
    written = []
    for name, chart in made.items():
        for suffix in formats if chart is not None else ():
            path = Path(folder) / f"{name}.{suffix}"
            save_chart(chart, path)
            written.append(path)
    return written


def save_chart(chart: Any, path: str | Path) -> None:
    """Write one chart, in the format of the file's ending.

    Args:
        chart: An Altair chart.
        path: Ending in `.png`, `.svg`, `.pdf` or `.html`.
    """
    path = Path(path)
    suffix = path.suffix.removeprefix(".")
    spec = chart.to_dict()
    if suffix == "html":
        content = chart.to_html(inline=True).encode()
    elif suffix == "svg":
        content = vl_convert.vegalite_to_svg(spec, vl_version=vega_lite_version()).encode()
    elif suffix == "pdf":
        content = vl_convert.vegalite_to_pdf(spec, vl_version=vega_lite_version())
    else:
        content = vl_convert.vegalite_to_png(spec, vl_version=vega_lite_version(), scale=PNG_SCALE)
    with write_atomically(path) as out:
        out.write(content)


def vega_lite_version() -> str:
    """The version of Vega-Lite that the installed Altair writes, as vl-convert names it."""
    major, minor, *_ = alt.SCHEMA_VERSION.split(".")
    return f"{major}.{minor}"
