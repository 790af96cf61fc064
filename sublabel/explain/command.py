"""The command `sublabel explain`; without torch until it runs."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from sublabel.errors import ConfigError
from sublabel.explain.listing import LISTING, PICTURES
from sublabel.extras import needs_extra

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def explain(options: Namespace) -> None:
    """Show with Grad-CAM what classes of a study's models look at: pictures and animations."""
    from pydantic import ValidationError

    from sublabel.explain import ExplainQuery, explain_study

    with needs_extra("Grad-CAM", "sublabel[explain]"):
        # Before any media are read.
        for library in ("captum.attr", "PIL"):
            import_module(library)
    given = {name: options[name] for name in ExplainQuery.model_fields}
    try:
        query = ExplainQuery.model_validate({**given, "cell": given["cell"] and tuple(given["cell"])})
    except ValidationError as error:
        found = error.errors()[0]
        option = "".join(f"--{part}: " for part in found["loc"][:1])
        raise ConfigError(f"{option}{found['msg'].removeprefix('Value error, ')}") from error
    out = Path(options.output or Path(options.study) / PICTURES)
    console = Console(markup=False, emoji=False, highlight=False)
    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("looking at samples", total=None)
        made = explain_study(
            options.study,
            query,
            out,
            manifest=options.manifest,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
        )
    console.print(
        f"{len(made)} examples: {out / LISTING}\n"
        f"on a page: sublabel report {options.study} --explanations {out}",
        soft_wrap=True,
    )


def add_arguments(command: ArgumentParser) -> None:
    """Add the options of `explain`."""
    text = str | None
    command.add_argument("study", type=str, help="folder of a study")
    command.add_argument(
        "-o", "--output", type=text, default=None, help=f"folder for the pictures; default: STUDY/{PICTURES}"
    )
    command.add_argument(
        "--manifest", type=text, default=None, help="the study's manifest, where it was moved"
    )
    command.add_argument("--model", type=str, required=True, help="model folder: seed0/raw_spl/pretrained")
    command.add_argument("--versus", type=text, default=None, help="another one, shown beside it")
    command.add_argument("--label", type=text, default=None, help="a class of the model by name")
    command.add_argument(
        "--cell", nargs=2, metavar=("WEAK", "TEACHER"), default=None, help="the samples of a cell"
    )
    command.add_argument(
        "--row", type=text, default=None, help="a weak class: agreed beside its largest sub-concepts"
    )
    command.add_argument("--sample_id", "--sample-id", type=text, default=None, help="one sample")
    command.add_argument("--top", type=int, default=4, help="examples a class, the surest first")
    command.add_argument("--sub_concepts", "--sub-concepts", type=int, default=3, help="of a row, at most")
    command.add_argument("--candidates", type=int, default=200, help="samples a class to choose from")
    command.add_argument("--layer", type=text, default=None, help="a layer of the backbone by name")
