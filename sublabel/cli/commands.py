"""The commands and their options."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from sublabel import __version__
from sublabel.advice.command import advise, advise_arguments
from sublabel.cli import stages
from sublabel.cli.rendering import console, show_inspection, show_space, space_findings
from sublabel.cli.running import run_command
from sublabel.errors import ConfigError, TableError
from sublabel.explain.command import add_arguments as _explain_arguments
from sublabel.explain.command import explain
from sublabel.inspection import FEATURE_WIDTH, RARE, inspect_confusion
from sublabel.labels import LabelSpace, Strategy
from sublabel.labels import strategies as known_strategies
from sublabel.report.command import report, report_arguments
from sublabel.study.pool import pool_studies
from sublabel.tables import Progress, count_table, read_label_space, relabel_table
from sublabel.tables.io import output_of

LARGEST = 10


def relabel(options: Namespace) -> None:
    """Write the relabeled table of predictions, and say what became of the samples."""
    strategy = Strategy.parse(options.strategy)
    if options.space is not None:
        _refuse_space(options)
    with _progress() as progress:
        summary = relabel_table(
            options.predictions,
            options.output,
            strategy,
            alignment=options.alignment,
            threads=options.threads,
            progress=progress,
        )
    if options.space is not None:
        summary.space.save(options.space)
    console().print(f"{summary}\n{options.output}", soft_wrap=True)


def inspect(options: Namespace) -> None:
    """Say what predictions show (agreement, tails, what each strategy costs), or what a label space holds."""
    space = _read_space(options.path)
    if space is not None:
        if options.json:
            _print_json(space_findings(space, options.largest))
        else:
            show_space(space, options.largest)
        return
    with _progress() as progress:
        count = partial(
            count_table,
            options.path,
            alignment=options.alignment,
            threads=options.threads,
            progress=progress,
        )
        found = inspect_confusion(
            count(),
            options.alignment,
            rare=options.rare,
            feature_width=options.feature_width,
            largest=options.largest,
            count=count,
        )
    if options.json:
        _print_json(found.to_dict())
    else:
        show_inspection(found, options.largest)


def pool(options: Namespace) -> None:
    """Make one comparison of several studies that differ in their data only: intervals over all of them."""
    console().print(pool_studies(options.studies, options.output).to_rich())
    console().print(options.output, soft_wrap=True)


def strategies(options: Namespace) -> None:
    """List every strategy with its options; yours are named by import path, package.module:Class."""
    table = Table("kind", "what it does", "options (default)")
    for kind, model in known_strategies().items():
        fields = [f"{name} ({field.default})" for name, field in model.model_fields.items()]
        table.add_row(kind, (model.__doc__ or "").split("\n", maxsplit=1)[0], "\n".join(fields))
    console().print(table)


def parser() -> ArgumentParser:
    """The parser of all commands."""
    commands = ArgumentParser(
        prog="sublabel",
        description="Pre-training classes from weak labels and teacher predictions: Sub-Pseudo Labels (SPL).",
        version=__version__,
    )
    chosen = commands.add_subcommands(required=True, dest="command")
    for function, arguments in COMMANDS.items():
        command = ArgumentParser(description=function.__doc__)
        if arguments is not None:
            arguments(command)
        chosen.add_subcommand(function.__name__, command, help=function.__doc__)
    return commands


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code, as `run_command` gives it."""
    given = _join_nested(sys.argv[1:] if arguments is None else arguments)

    def command() -> None:
        # Without the path of an alignment that a file holds.
        options = parser().parse_args(given).clone(with_meta=False)
        functions = {function.__name__: function for function in COMMANDS}
        stages.quieten()
        functions[options.command](options[options.command])

    return run_command("sublabel", given, command)


def _refuse_space(options: Namespace) -> None:
    """Refuse to write the label space over a table, before that one is made."""
    space = output_of(options.predictions, options.space)
    if space.resolve() == Path(options.output).resolve():
        raise ConfigError(f"--space and --output are both {options.space}; name a file for each")


def _read_space(path: str) -> LabelSpace | None:
    """The label space of a JSON file or of a relabeled table; None of predictions."""
    if path.endswith(".json"):
        return LabelSpace.load(path)
    with suppress(TableError):
        return read_label_space(path)
    return None


def _print_json(findings: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(findings, ensure_ascii=False, indent=2) + "\n")


@contextmanager
def _progress() -> Iterator[Progress]:
    """Bars on the terminal, one for each stage; none where the output goes to a file."""
    with Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.completed:,.0f} rows"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=(terminal := console(stderr=True)),
        disable=not terminal.is_terminal,
        transient=True,
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, rows: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=rows)
            # Two passes have twice as many rows.
            bars.update(tasks[stage], completed=done, total=rows)

        yield report


def _join_nested(arguments: list[str]) -> list[str]:
    """Join `--strategy.of.a 1 --strategy.of.b 2` to `--strategy.of '{"a": 1, "b": 2}'`.

    jsonargparse keeps only the last of several options below the second dot of a mapping, and no kind that
    was given as `--strategy KIND` beside them.
    """
    if any(argument.startswith("--strategy.") for argument in arguments):
        arguments = [
            re.sub(r"^--strategy(?==\w|$)", "--strategy.kind", argument)
            if not following.startswith("{")
            else argument
            for argument, following in zip(arguments, [*arguments[1:], ""], strict=True)
        ]
    kept: list[str] = []
    nested: dict[str, dict[str, str]] = {}
    remaining = iter(arguments)
    for argument in remaining:
        match = re.fullmatch(r"(--strategy\.\w+)\.(\w+)(?:=(.*))?", argument)
        if match is None:
            kept.append(argument)
            continue
        option, key, value = match.groups()
        nested.setdefault(option, {})[key] = next(remaining, "") if value is None else value
    return kept + [f"{option}={json.dumps(values)}" for option, values in nested.items()]


def _relabel_arguments(command: ArgumentParser) -> None:
    command.add_argument("--config", action="config", help="YAML file with any of these options")
    command.add_argument(
        "predictions", type=str, help="predictions: a Parquet file, or the folder of a teacher pass"
    )
    command.add_argument(
        "-o", "--output", type=str, required=True, help="the relabeled Parquet table to write"
    )
    command.add_argument(
        "--strategy",
        type=str | dict[str, Any],
        default={"kind": "raw_spl"},
        help="a kind, or --strategy.kind KIND and --strategy.OPTION VALUE; `sublabel strategies` lists them",
    )
    command.add_argument(
        "--space", type=str | None, default=None, help="also write the label space as JSON, here"
    )
    _threads_argument(command)
    _alignment_argument(command)


def _pool_arguments(command: ArgumentParser) -> None:
    command.add_argument(
        "studies", type=str, nargs="+", help="folders of studies that have ended, each of other data"
    )
    command.add_argument(
        "-o", "--output", type=str, required=True, help="folder for comparison.json and comparison.md"
    )


def _inspect_arguments(command: ArgumentParser) -> None:
    command.add_argument("path", type=str, help="predictions, a relabeled table, or a label space (.json)")
    command.add_argument("--largest", type=int, default=LARGEST, help="rows of each table, at most")
    command.add_argument(
        "--rare", type=int, default=RARE, help="cells with fewer samples count as rare (ours)"
    )
    command.add_argument(
        "--feature_width",
        type=int,
        default=FEATURE_WIDTH,
        help="features that the pre-training head sees, for its size",
    )
    command.add_argument("--json", action="store_true", help="print JSON, for machines")
    _threads_argument(command)
    _alignment_argument(command)


def _advise_arguments(command: ArgumentParser) -> None:
    advise_arguments(command)
    _alignment_argument(command)


def _threads_argument(command: ArgumentParser) -> None:
    command.add_argument(
        "--threads", type=int | None, default=None, help="threads that read; default: all cores, up to 16"
    )


def _alignment_argument(command: ArgumentParser) -> None:
    command.add_argument(
        "--alignment",
        type=dict[str, str | list[str]] | None,
        default=None,
        sub_configs=True,
        help="weak name → teacher names that agree with it, as YAML or JSON, or a file of it; default: equal "
        "names agree",
    )


COMMANDS: dict[Callable[[Namespace], None], Callable[[ArgumentParser], None] | None] = {
    stages.predict: stages.predict_arguments,
    relabel: _relabel_arguments,
    advise: _advise_arguments,
    stages.pretrain: stages.pretrain_arguments,
    stages.finetune: stages.finetune_arguments,
    stages.test: stages.test_arguments,
    stages.compare: stages.compare_arguments,
    pool: _pool_arguments,
    inspect: _inspect_arguments,
    explain: _explain_arguments,
    report: report_arguments,
    strategies: None,
}
"""Command → what adds its options, in the order of the method."""
