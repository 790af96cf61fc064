"""What a run says, to look at: one self-contained page, and each chart for a notebook or a paper.

    data = collect("runs/demo")        # a study's folder, or predictions
    write_report(data, "report.html")  # opens from disk, asks the network for nothing
    results_chart(data.comparison)     # an Altair chart; `save_charts` writes PNG, SVG and PDF

Needs the extra `report`: `pip install sublabel[report]`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sublabel.extras import needs_extra

if TYPE_CHECKING:
    from sublabel.report.collecting import collect, from_confusion
    from sublabel.report.data import ReportData, StrategySpace
    from sublabel.report.matrix_charts import (
        class_sizes_chart,
        confusion_chart,
        label_space_chart,
        label_spaces_chart,
        samples_chart,
        statuses_chart,
    )
    from sublabel.report.page import render, write_report
    from sublabel.report.result_charts import curve_chart, differences_chart, results_chart
    from sublabel.report.saving import save_chart, save_charts

_MODULES = {
    "collecting": ("collect", "from_confusion"),
    "data": ("ReportData", "StrategySpace"),
    "matrix_charts": (
        "class_sizes_chart",
        "confusion_chart",
        "label_space_chart",
        "label_spaces_chart",
        "samples_chart",
        "statuses_chart",
    ),
    "page": ("render", "write_report"),
    "result_charts": ("curve_chart", "differences_chart", "results_chart"),
    "saving": ("save_chart", "save_charts"),
}

__all__ = [
    "ReportData",
    "StrategySpace",
    "class_sizes_chart",
    "collect",
    "confusion_chart",
    "curve_chart",
    "differences_chart",
    "from_confusion",
    "label_space_chart",
    "label_spaces_chart",
    "render",
    "results_chart",
    "samples_chart",
    "save_chart",
    "save_charts",
    "statuses_chart",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562): the command line needs this package without its extra."""
    for module, names in _MODULES.items():
        if name in names:
            with needs_extra("the report", "sublabel[report]"):
                return getattr(import_module(f"sublabel.report.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
