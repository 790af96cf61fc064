"""A label space as the paper's figure draws it: the matrix, each cell in the colour of its class."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from sublabel.report import theme
from sublabel.report.data import ReportData, StrategySpace
from sublabel.report.matrix import busiest

SHOWN = 16
"""Classes a side that a panel shows at most: so many names can still be read."""
PANEL_PIXELS = 210
EMPTY = "#ffffff"
TINTS = (0.45, 0.78)
"""How near to white the tints of a row's sub-concepts are, from the first to the last."""


class SpacePanel(NamedTuple):
    """One matrix of the figure, with the colours of its cells."""

    values: list[dict[str, Any]]
    weak: list[str]
    teacher: list[str]
    side: int
    """Pixels."""
    caption: str


def space_panel(data: ReportData, strategy: StrategySpace | None) -> SpacePanel:
    """The matrix of a strategy, each cell in the colour of its class.

    Args:
        data: What is reported.
        strategy: Whose classes; None colours the counts.
    """
    order = next(iter(data.orders.values()))
    rows, columns = busiest(data.confusion, data.alignment, order, SHOWN)
    weak, teacher = np.repeat(rows, len(columns)), np.tile(columns, len(rows))
    counts = np.asarray(data.confusion.counts[weak, teacher]).ravel()
    agreed = data.alignment.aligned(weak, teacher)
    if strategy is None:
        names = [""] * len(weak)
        colours = _count_colours(counts)
        dropped = np.zeros(len(weak), dtype=bool)
    else:
        labels = strategy.cell_classes(weak, teacher)
        names = ["none" if label < 0 else strategy.space.describe(label).name for label in labels.tolist()]
        colours = _class_colours(data, strategy, labels, weak, teacher, agreed)
        # Among sure samples a cell can be empty that has others: nothing of it is dropped.
        dropped = (labels < 0) & (counts > 0) & (strategy.outcome.dropped[weak] > 0)
    values = [
        {
            "weak": data.confusion.weak_vocabulary[row],
            "teacher": data.confusion.teacher_vocabulary[column],
            "samples": int(count),
            "class": name or "–",
            "colour": colour,
            "dropped": bool(lost),
        }
        for row, column, count, name, colour, lost in zip(
            weak.tolist(), teacher.tolist(), counts.tolist(), names, colours, dropped.tolist(), strict=True
        )
    ]
    whole = data.confusion.shape == (len(rows), len(columns))
    shown = f"{len(rows)} weak × {len(columns)} teacher classes"
    return SpacePanel(
        values,
        [data.confusion.weak_vocabulary[row] for row in rows.tolist()],
        [data.confusion.teacher_vocabulary[column] for column in columns.tolist()],
        PANEL_PIXELS,
        f"All {shown}." if whole else f"The {shown} with the most samples.",
    )


def _count_colours(counts: np.ndarray) -> list[str]:
    """Colours of counts on a logarithmic scale, as in the heat map."""
    scaled = np.log1p(counts) / max(1e-9, float(np.log1p(counts).max(initial=0)))
    return [_ramp(value) for value in scaled.tolist()]


def _ramp(value: float) -> str:
    position = value * (len(theme.RAMP) - 1)
    first = min(int(position), len(theme.RAMP) - 2)
    return theme.mixed(theme.RAMP[first], theme.RAMP[first + 1], position - first)


def _hues(classes: np.ndarray) -> dict[int, str]:
    """A colour for each class in the order of their cells; past the last one they come again, darker."""
    colours = {}
    for number, label in enumerate(dict.fromkeys(classes.tolist())):
        turn, position = divmod(number, len(theme.PALETTE))
        colours[label] = theme.mixed(theme.PALETTE[position], "#000000", 0.4 * (turn % 2))
    return colours


def _class_colours(
    data: ReportData,
    strategy: StrategySpace,
    labels: np.ndarray,
    weak: np.ndarray,
    teacher: np.ndarray,
    agreed: np.ndarray,
) -> list[str]:
    """A colour for each cell; cells of a class have the same one."""
    hue_of, of_column = _hues(weak), _hues(teacher)
    kinds = strategy.space.kinds
    rank: dict[int, int] = {}
    in_row: Counter[int] = Counter()
    for label, row, same in zip(labels.tolist(), weak.tolist(), agreed.tolist(), strict=True):
        if label >= 0 and not same and label not in rank:
            rank[label] = in_row[row]
            in_row[row] += 1
    colours = []
    for label, row, column in zip(labels.tolist(), weak.tolist(), teacher.tolist(), strict=True):
        if label < 0:
            colours.append(EMPTY)
        elif kinds[label] == "teacher":
            colours.append(of_column[column])
        elif kinds[label] in ("weak", "agreed"):
            colours.append(hue_of[row])
        elif kinds[label] == "other":
            colours.append(theme.mixed(hue_of[row], "#e8ebee", 0.85))
        else:
            low, high = TINTS
            share = rank.get(label, 0) / max(1, in_row[row] - 1)
            colours.append(theme.mixed(hue_of[row], "#ffffff", low + (high - low) * share))
    return colours
