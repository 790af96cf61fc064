"""What recipes share: options with presets, and running as a script."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser
from jsonargparse.typing import register_type
from pydantic import BaseModel
from rich.console import Console

from sublabel.distributed import is_first_process
from sublabel.errors import ConfigError, SublabelError
from sublabel.evaluation import Comparison
from sublabel.labels import Strategy
from sublabel.study.folder import holds_study
from sublabel.study.pool import pool_studies

register_type(Strategy, serializer=Strategy.to_dict, deserializer=Strategy.parse)


def parse_preset(
    presets: Mapping[Any, Sequence[BaseModel]], description: str, arguments: Sequence[str] | None = None
) -> tuple[Any, list[Any]]:
    """Parse a command line whose `--preset` sets the defaults of all other options.

    YAML files (`--config`) and `--print_config` work as in jsonargparse.

    Args:
        presets: Name → option models, of the same classes in every preset; the first one is the default.
        description: For `--help`.
        arguments: The command line; default: this process's.

    Returns:
        The preset's name, and its models with what the command line and YAML files changed.
    """
    chosen = _parser(presets, next(iter(presets)), description).parse_args(arguments).preset
    values = _parser(presets, chosen, description).parse_args(arguments).as_dict()
    return chosen, [
        type(model)(**{key: values[key] for key in type(model).model_fields}) for model in presets[chosen]
    ]


def _parser(presets: Mapping[Any, Sequence[BaseModel]], preset: str, description: str) -> ArgumentParser:
    parser = ArgumentParser(description=description)
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_argument(
        "--preset",
        type=Literal[tuple(presets)],
        default=preset,
        help="sets the defaults of all that follows",
    )
    for defaults in presets[preset]:
        parser.add_class_arguments(type(defaults), as_group=True)
        parser.set_defaults(defaults.model_dump())
    return parser


def for_data_seeds(
    out: Path, first: int, number: int, run_study: Callable[[int, Path], Comparison | None]
) -> Comparison | None:
    """Run a study for each draw of the data: one in `out` itself, several in `out/data0`, `out/data1`, ….

    Several are pooled into one comparison, in `out`, which is printed.

    Args:
        out: The recipe's folder.
        first: The first data seed.
        number: How many data seeds, from the first one on.
        run_study: Runs the study of a data seed in a folder; what it returns is None of a dry run.

    Returns:
        The comparison over all of them.

    Raises:
        ConfigError: `out` holds the study of one draw, and several are to be made, or the other way round.
    """
    if number == 1:
        if any(map(holds_study, out.glob("data*"))):
            raise ConfigError(
                f"{out} holds studies of several data seeds: choose another folder for one alone"
            )
        return run_study(first, out)
    if holds_study(out):
        raise ConfigError(f"{out} holds the study of one data seed: choose another folder for {number}")
    folders = {seed: out / f"data{seed}" for seed in range(first, first + number)}
    found = [run_study(seed, folder) for seed, folder in folders.items()]
    if None in found:
        return None
    pooled = pool_studies(list(folders.values()), out)
    recipe_console().print(pooled.to_rich())
    recipe_console().print(f"over all {number} draws: {out}/comparison.md", soft_wrap=True)
    return pooled


def recipe_console() -> Console:
    """A console that prints names as they are, and of several processes on the first one only."""
    return Console(markup=False, emoji=False, highlight=False, quiet=not is_first_process())


def run_as_script(main: Callable[[], object]) -> None:
    """Run a recipe's `main` with its log on the terminal; a mistake ends in one line and exit code 1."""
    level = logging.INFO if is_first_process() else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # Lightning's own: it still calls what torch has renamed.
    warnings.filterwarnings("ignore", message=".*LeafSpec", module="lightning")
    try:
        main()
    except SublabelError as error:
        sys.exit(f"error: {error}")
