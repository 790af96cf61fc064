"""`sublabel report`: the command line's side, which loads the charts only when it is run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser, Namespace
from rich.console import Console

from sublabel.extras import MissingExtraError, needs_extra
from sublabel.files import local_file

PAGE = "report.html"


def report(options: Namespace) -> None:
    """Write one page that shows a run: table, matrix, label spaces, sub-concepts; and its charts as files."""
    with needs_extra("the report", "sublabel[report]"):
        from sublabel.report.collecting import collect
        from sublabel.report.page import write_report
        from sublabel.report.saving import save_charts
    local_file(options.output)
    data = collect(
        options.path,
        strategy=options.strategy,
        seed=options.seed,
        manifest=options.manifest,
        pictures=options.pictures,
        explanations=options.explanations,
    )
    page = write_report(data, options.output)
    files = [page] if options.charts is None else [page, *save_charts(data, options.charts, options.formats)]
    console = Console(markup=False, emoji=False, highlight=False)
    for note in data.notes:
        console.print(note, soft_wrap=True)
    console.print("\n".join(map(str, files)), soft_wrap=True)


def report_arguments(command: ArgumentParser) -> None:
    """Add the options of `report`."""
    command.add_argument("path", type=str, help="the folder of a study (a recipe's --out), or predictions")
    command.add_argument("-o", "--output", type=str, default=PAGE, help="the page to write")
    command.add_argument(
        "--strategy",
        type=str | None,
        default=None,
        help="the row whose classes are shown one by one; default: raw SPL",
    )
    command.add_argument("--seed", type=int, default=0, help="the seed whose matrix and classes are shown")
    command.add_argument(
        "--manifest", type=str | None, default=None, help="where the media are listed, if it was moved"
    )
    command.add_argument("--pictures", type=int, default=3, help="examples of a class, 0 for none")
    command.add_argument(
        "--explanations",
        type=str | None,
        default=None,
        help="a folder that `sublabel explain` wrote; default: the study's own, if there is one",
    )
    command.add_argument("--charts", type=str | None, default=None, help="also write the charts, to here")
    command.add_argument(
        "--formats",
        type=list[Literal["png", "svg", "pdf", "html"]],
        default=["svg"],
        help="of the charts: png, svg, pdf, html",
    )


def report_of_study(folder: str | Path) -> str:
    """Write the page of a study into its folder, where the extra `report` is installed.

    Args:
        folder: The study's.

    Returns:
        Where the page is, or how to get it.
    """
    try:
        with needs_extra("the report", "sublabel[report]"):
            from sublabel.report.collecting import collect
            from sublabel.report.page import write_report
    except MissingExtraError as error:
        return f"sublabel report {folder} ({error})"
    return str(write_report(collect(folder), Path(folder) / PAGE))
