"""The command line: relabel predictions, look at what they say, list the strategies."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import ArgumentParser, Namespace
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table

from sublabel.errors import ConfigError, LabelError, SublabelError
from sublabel.explain.command import add_arguments as _explain_arguments
from sublabel.explain.command import explain
from sublabel.labels import STRATEGIES, Alignment, ConfusionMatrix, LabelSpace, RawSPL, Strategy
from sublabel.report.command import report, report_arguments
from sublabel.tables import count_pairs, read_metadata, relabel_table

LARGEST = 10


def relabel(options: Namespace) -> None:
    """Write the relabeled table of predictions, and say what became of the samples."""
    summary = relabel_table(
        options.predictions, options.output, _strategy(options.strategy), alignment=options.alignment
    )
    if options.space is not None:
        summary.space.save(options.space)
    _console().print(f"{summary}\n{options.output}", soft_wrap=True)


def inspect(options: Namespace) -> None:
    """Show predictions (the confusion matrix and what each strategy makes of it) or a label space."""
    path = Path(options.path)
    if path.suffix == ".json":
        _show_space(LabelSpace.load(path), options.largest)
        return
    space = read_metadata(path).get("label_space")
    if space is not None:
        _show_space(LabelSpace.from_json(space), options.largest)
    else:
        _show_confusion(count_pairs(path), options.alignment, options.largest)


def strategies(options: Namespace) -> None:
    """List every strategy with its options."""
    table = Table("kind", "what it does", "options (default)")
    for kind, model in STRATEGIES.items():
        fields = [f"{name} ({field.default})" for name, field in model.model_fields.items() if name != "kind"]
        table.add_row(kind, (model.__doc__ or "").split("\n", maxsplit=1)[0], "\n".join(fields))
    _console().print(table)


def parser() -> ArgumentParser:
    """The parser of all commands."""
    commands = ArgumentParser(
        prog="sublabel",
        description="Pre-training classes from weak labels and teacher predictions: Sub-Pseudo Labels (SPL).",
        version=_version(),
    )
    chosen = commands.add_subcommands(required=True, dest="command")
    for function, arguments in (
        (relabel, _relabel_arguments),
        (inspect, _inspect_arguments),
        (strategies, None),
        (report, report_arguments),
        (explain, _explain_arguments),
    ):
        command = ArgumentParser(description=function.__doc__)
        if arguments is not None:
            arguments(command)
        chosen.add_subcommand(function.__name__, command, help=function.__doc__)
    return commands


def main(arguments: list[str] | None = None) -> int:
    """Run a command; bad input ends with one message and exit code 2."""
    commands = parser()
    options = commands.parse_args(_join_nested(sys.argv[1:] if arguments is None else arguments))
    command = {function.__name__: function for function in (relabel, inspect, strategies, report, explain)}[
        options.command
    ]
    try:
        command(options[options.command])
    except (SublabelError, OSError) as error:
        _console(stderr=True).print(f"sublabel {options.command}: error: {error}", soft_wrap=True)
        return 2
    return 0


def _strategy(options: dict[str, Any]) -> Strategy:
    try:
        strategy: Strategy = TypeAdapter(Strategy).validate_python(options)
    except ValidationError as error:
        found = "; ".join(
            f"{'.'.join(map(str, entry['loc'][1:]))} {entry['msg']}" for entry in error.errors()
        )
        raise ConfigError(f"--strategy: {found.strip()} (`sublabel strategies` lists all options)") from error
    return strategy


def _join_nested(arguments: list[str]) -> list[str]:
    """Join `--strategy.of.a 1 --strategy.of.b 2` to `--strategy.of '{"a": 1, "b": 2}'`.

    jsonargparse keeps only the last of several options below the second dot of a mapping.
    """
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
        type=dict[str, Any],
        default={"kind": "raw_spl"},
        help="--strategy.kind KIND and --strategy.OPTION VALUE; `sublabel strategies` lists them",
    )
    command.add_argument(
        "--space", type=str | None, default=None, help="also write the label space as JSON, here"
    )
    _alignment_argument(command)


def _inspect_arguments(command: ArgumentParser) -> None:
    command.add_argument("path", type=str, help="predictions, a relabeled table, or a label space (.json)")
    command.add_argument("--largest", type=int, default=LARGEST, help="how many sub-concepts to list")
    _alignment_argument(command)


def _alignment_argument(command: ArgumentParser) -> None:
    command.add_argument(
        "--alignment",
        type=dict[str, str | list[str]] | None,
        default=None,
        help="weak name → teacher names that agree with it, as YAML or JSON; default: equal names agree",
    )


def _show_confusion(confusion: ConfusionMatrix, alignment: Any, largest: int) -> None:
    console = _console()
    aligned = Alignment.of(alignment, confusion.weak_vocabulary, confusion.teacher_vocabulary)
    rows, columns = confusion.shape
    entries = confusion.counts.tocoo()
    agree = aligned.agrees(entries.row, entries.col)
    agreed = int(entries.data[agree].sum())
    console.print(repr(confusion), soft_wrap=True)
    console.print(
        f"agreement: {_share(agreed, confusion.total)}; occupancy: {_share(entries.nnz, rows * columns)} of "
        "the cells",
        soft_wrap=True,
    )
    sizes = Table("strategy", "classes", "samples", "dropped")
    for kind, model in STRATEGIES.items():
        try:
            space = model().fit(confusion, aligned)
        except LabelError as error:
            sizes.add_row(kind, "–", "–", str(error).split(":", maxsplit=1)[0])
            continue
        used = int(space.sizes.sum())
        sizes.add_row(kind, f"{space.num_classes:,}", f"{used:,}", f"{confusion.total - used:,}")
    console.print(sizes)
    space = RawSPL().fit(confusion, aligned)
    console.print(_sub_concepts(space, largest))


def _show_space(space: LabelSpace, largest: int) -> None:
    console = _console()
    sizes = space.sizes
    console.print(repr(space), soft_wrap=True)
    console.print(
        f"fingerprint {space.fingerprint}; {int(sizes.sum()):,} samples when fitted", soft_wrap=True
    )
    kinds = Table("kind", "classes", "samples", "smallest", "median", "largest")
    for kind in dict.fromkeys(space.kinds):
        chosen = sizes[[entry == kind for entry in space.kinds]]
        numbers = (len(chosen), chosen.sum(), chosen.min(), int(np.median(chosen)), chosen.max())
        kinds.add_row(kind, *(f"{number:,}" for number in numbers))
    console.print(kinds)
    console.print(_sub_concepts(space, largest))


def _sub_concepts(space: LabelSpace, largest: int) -> Table:
    """The largest classes that are not a whole agreed class; all classes where there is no other."""
    sizes = space.sizes
    finer = [label for label, kind in enumerate(space.kinds) if kind in ("disagreed", "other")]
    shown = sorted(finer or range(len(space)), key=lambda label: (-sizes[label], label))[:largest]
    table = Table(
        "label",
        "kind",
        "samples",
        "share",
        title="the largest sub-concepts" if finer else "the largest classes",
    )
    table.add_column("name", overflow="fold")
    for label in shown:
        entry = space.describe(label)
        table.add_row(
            str(label), entry.kind, f"{entry.size:,}", _share(entry.size, int(sizes.sum())), entry.name
        )
    return table


def _share(part: int, whole: int) -> str:
    return f"{part:,} ({part / whole:.1%})" if whole else "0"


def _version() -> str:
    from sublabel import __version__

    return __version__


def _console(*, stderr: bool = False) -> Console:
    return Console(stderr=stderr, markup=False, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
