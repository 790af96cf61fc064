"""Findings as text and tables that fit 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from sublabel.inspection import Inspection, SimilarPair
from sublabel.labels import LabelSpace

LISTED_NAMES = 5
FINER = ("disagreed", "other", "merged", "unsure")


def console(*, stderr: bool = False) -> Console:
    """A console that leaves square brackets, colons and numbers as they are."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def show_inspection(found: Inspection, largest: int) -> None:
    """Print what a confusion matrix shows.

    Args:
        found: Of `inspect_confusion`.
        largest: Rows of each table, at most.
    """
    out = console()
    for sentence in _sentences(found):
        out.print(sentence)
    for cost in found.strategies:
        if cost.problem is not None:
            out.print(f"{cost.strategy['kind']} is not in the table: {cost.problem}.")
    for warning in found.warnings:
        out.print(f"Warning: {warning.message}")
    for table in (
        _costs(found),
        _agreement(found, largest),
        _tails(found, largest),
        _similar(found.similar, largest),
        _cells(found, largest),
    ):
        if table.row_count:
            out.print(table)


def _sentences(found: Inspection) -> Iterator[str]:
    yield (
        f"{found.samples:,} samples in [weak, teacher] = {found.weak_classes:,} × {found.teacher_classes:,} "
        f"classes; {found.abstained:,} more without a weak label or a prediction."
    )
    yield (
        f"agreement: {share(found.agreed, found.samples)}; independent labels would agree in "
        f"{found.chance_agreement:.1%} (kappa {found.kappa:.2f})."
    )
    yield (
        f"occupancy: {share(found.cells, found.weak_classes * found.teacher_classes)} of the cells; "
        f"{share(found.rare_cells, found.cells)} of them hold fewer than {found.rare:,} samples, "
        f"{share(found.rare_samples, found.samples)} of all samples."
    )
    for names, what in (
        (found.never_predicted, "teacher classes are never predicted"),
        (found.without_samples, "weak classes have no samples"),
        (found.without_counterpart, "weak classes have no teacher class that agrees with them"),
    ):
        if names:
            yield f"{len(names):,} {what}: {_listed(names)}."


def _costs(found: Inspection) -> Table:
    """Classes, samples and head of each strategy."""
    columns = ("strategy", "classes", "samples", "dropped", "head parameters")
    table = _table(f"what each strategy costs (a linear head on {found.feature_width:,} features)", *columns)
    for cost in found.strategies:
        options = dict(cost.strategy)
        name = str(options.pop("kind"))
        if (fewest := options.get("min_count", 1)) > 1:
            name += f", min_count {fewest}"
        if cost.problem is not None:
            continue
        numbers = (cost.classes, cost.used, cost.dropped, cost.head_parameters)
        table.add_row(name, *(f"{number:,}" for number in numbers))
    return table


def _agreement(found: Inspection, largest: int) -> Table:
    table = _table(
        "weak classes the teacher agrees with least", "agreement", "agreed", "samples", last="name"
    )
    for entry in found.classes[:largest]:
        if entry.agreement is not None:
            table.add_row(f"{entry.agreement:.1%}", f"{entry.agreed:,}", f"{entry.samples:,}", entry.name)
    return table


def _tails(found: Inspection, largest: int) -> Table:
    title = f"longest tails: cells with fewer than {found.rare:,} samples"
    table = _table(title, "rare cells", "of cells", "samples in them", last="weak class")
    for entry in found.longest_tails(largest):
        samples = share(entry.rare_samples, entry.samples)
        table.add_row(f"{entry.rare_cells:,}", f"{entry.cells:,}", samples, entry.name)
    return table


def _similar(pairs: Sequence[SimilarPair], largest: int) -> Table:
    """A few of each kind: they mean different things, and their scores cannot be compared."""
    meanings = {
        "same_profile": "the teacher sees the same",
        "mutual": "taken for each other",
        "weak_teacher": "mostly this teacher class",
    }
    table = _table("pairs that look like the same class", "score", "why")
    table.add_column("first", overflow="fold", ratio=1)
    table.add_column("second", overflow="fold", ratio=1)
    for kind, meaning in meanings.items():
        for pair in [pair for pair in pairs if pair.kind == kind][:largest]:
            table.add_row(f"{pair.score:.2f}", meaning, pair.first, pair.second)
    return table


def _cells(found: Inspection, largest: int) -> Table:
    table = _table("the largest sub-concepts", "samples", "share", last="name")
    for cell in found.largest_cells[:largest]:
        name = f"{cell.weak} × {cell.teacher}"
        table.add_row(f"{cell.samples:,}", f"{cell.samples / found.samples:.1%}", name)
    return table


def show_space(space: LabelSpace, largest: int) -> None:
    """Print what a label space holds.

    Args:
        space: Of any strategy.
        largest: Rows of the table of sub-concepts, at most.
    """
    out, sizes, kinds = console(), space.sizes, np.array(space.kinds)
    out.print(repr(space))
    out.print(f"fingerprint {space.fingerprint}", soft_wrap=True)
    out.print(f"{int(sizes.sum()):,} samples when fitted")
    table = _table("its classes", "kind", "classes", "samples", "smallest", "median", "largest")
    for kind in dict.fromkeys(space.kinds):
        chosen = sizes[kinds == kind]
        numbers = (len(chosen), chosen.sum(), chosen.min(), int(np.median(chosen)), chosen.max())
        table.add_row(kind, *(f"{number:,}" for number in numbers))
    out.print(table)
    out.print(_sub_concepts(space, largest))


def _sub_concepts(space: LabelSpace, largest: int) -> Table:
    """The largest classes that are not a whole agreed class; all classes where there is no other."""
    finer = np.flatnonzero(np.isin(space.kinds, FINER))
    title = "the largest sub-concepts" if len(finer) else "the largest classes"
    labels, total = largest_labels(space, largest), int(space.sizes.sum())
    table = _table(title, "label", "kind", "samples", "share", last="name")
    for entry in map(space.describe, labels):
        part = f"{entry.size / total:.1%}" if total else "0"
        table.add_row(str(entry.label), entry.kind, f"{entry.size:,}", part, entry.name)
    return table


def largest_labels(space: LabelSpace, number: int) -> list[int]:
    """The largest classes, disagreed ones if there are any, largest first."""
    finer = np.flatnonzero(np.isin(space.kinds, FINER))
    labels = finer if len(finer) else np.arange(len(space))
    chosen: list[int] = labels[np.argsort(-space.sizes[labels], kind="stable")[: max(number, 0)]].tolist()
    return chosen


def space_findings(space: LabelSpace, largest: int) -> dict[str, Any]:
    """What `show_space` prints, for JSON."""
    kinds = np.array(space.kinds)
    return {
        "format": "sublabel.LabelSpaceSummary",
        "version": 1,
        "strategy": space.strategy,
        "fingerprint": space.fingerprint,
        "weak_classes": len(space.weak_vocabulary),
        "teacher_classes": len(space.teacher_vocabulary),
        "classes": space.num_classes,
        "samples": int(space.sizes.sum()),
        "kinds": {
            kind: {"classes": int((kinds == kind).sum()), "samples": int(space.sizes[kinds == kind].sum())}
            for kind in dict.fromkeys(space.kinds)
        },
        "largest": [vars(space.describe(label)) for label in largest_labels(space, largest)],
    }


def share(part: int, whole: int) -> str:
    """A number and what share of the whole it is."""
    return f"{part:,} ({part / whole:.1%})" if whole else "0"


def _table(title: str, *columns: str, last: str | None = None) -> Table:
    """Numbers on the right; `last` is a name that folds where it is long."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        is_text = column in ("strategy", "kind", "why")
        table.add_column(column, justify="left" if is_text else "right")
    if last is not None:
        table.add_column(last, overflow="fold")
    return table


def _listed(names: Iterable[str]) -> str:
    """The first few names."""
    shown = list(names)
    more = len(shown) - LISTED_NAMES
    return ", ".join(map(repr, shown[:LISTED_NAMES])) + (f" and {more:,} more" if more > 0 else "")
