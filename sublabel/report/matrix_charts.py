"""Charts of the matrix, the label spaces and their classes, as functions that return an Altair chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from sublabel.errors import ConfigError
from sublabel.labels import Alignment, ConfusionMatrix
from sublabel.labels.alignment import AlignmentLike
from sublabel.report import theme
from sublabel.report.data import ReportData, StrategySpace
from sublabel.report.matrix import blocks, orders
from sublabel.report.spaces import space_panel

HEAT_BLOCKS = 60
"""Classes a side of a heat map that is drawn cell by cell."""
NAMED = 40
"""Classes a side that an axis still names."""
TAIL_POINTS = 300


def confusion_chart(confusion: ConfusionMatrix, alignment: AlignmentLike = None) -> Any:
    """The matrix as a heat map, weak × teacher, by clusters; large ones in blocks of neighbouring classes.

    Args:
        confusion: The counts.
        alignment: Which classes agree; default: those of equal names.
    """
    aligned = Alignment.of(alignment, confusion.weak_vocabulary, confusion.teacher_vocabulary)
    order = next(iter(orders(confusion, aligned).values()))
    summed = blocks(confusion, order, HEAT_BLOCKS)
    height, width = summed.shape
    weak = _block_names(confusion.weak_vocabulary.names, order.rows, height)
    teacher = _block_names(confusion.teacher_vocabulary.names, order.columns, width)
    total = max(1, confusion.total)
    values = [
        {
            "weak": weak[row],
            "teacher": teacher[column],
            "samples": int(summed[row, column]),
            "share": float(summed[row, column] / total),
        }
        for row, column in zip(*np.nonzero(summed), strict=True)
    ]
    named = max(height, width) <= NAMED
    step = alt.Step(22 if named else 8)
    chart = (
        theme.chart_of(values)
        .mark_rect()
        .encode(
            x=alt.X(
                "teacher:N",
                sort=teacher,
                title="teacher's prediction",
                scale=alt.Scale(domain=teacher),
                axis=alt.Axis(labels=named, ticks=named, labelAngle=-60, orient="top"),
            ),
            y=alt.Y(
                "weak:N",
                sort=weak,
                title="weak label",
                scale=alt.Scale(domain=weak),
                axis=alt.Axis(labels=named, ticks=named),
            ),
            color=alt.Color(
                "samples:Q",
                scale=alt.Scale(type="symlog", range=list(theme.RAMP[1:])),
                legend=alt.Legend(**theme.count_ticks(int(np.ptp(summed[summed > 0])) if values else 0)),
            ),
            tooltip=[
                "weak:N",
                "teacher:N",
                alt.Tooltip("samples:Q", format=","),
                alt.Tooltip("share:Q", format=".2%"),
            ],
        )
        .properties(width=step, height=step, description=f"Confusion matrix: {confusion!r}")
    )
    return theme.styled(chart)


def _block_names(names: Sequence[str], order: np.ndarray, count: int) -> list[str]:
    """A name for each block: that of its class, or of its first and last."""
    found = []
    for block in range(count):
        members = order[-(-block * len(order) // count) : -(-(block + 1) * len(order) // count)]
        first, last = names[members[0]], names[members[-1]]
        found.append(first if len(members) == 1 else f"{first} … {last} ({len(members)})")
    return found


def label_space_chart(data: ReportData, strategy: StrategySpace | None) -> Any:
    """The matrix with each cell in the colour of its class, as the paper's figure; without one: the counts.

    A hue for each weak class: strong where the teacher agrees, tints of it for its sub-concepts; dropped
    cells are crossed out. Large matrices are shown by their largest weak classes. A space with thresholds
    shows what it makes of samples that reach them.

    Args:
        data: What is reported.
        strategy: One of `data.spaces`; None for the confusion matrix itself.

    Raises:
        ConfigError: The cells of the strategy have no class of their own.
    """
    if strategy is not None and not strategy.has_cells:
        raise ConfigError(
            f"{strategy.name!r} draws the classes of its cells by chance, or has two for each: choose of "
            f"{', '.join(entry.name for entry in data.spaces if entry.has_cells)}"
        )
    panel = space_panel(data, strategy)
    # Short names keep several matrices side by side readable; the whole one is in the tooltip.
    axis = theme.names_axis(panel.teacher, ticks=False, domain=False, labelAngle=-60)
    side = theme.names_axis(panel.weak, ticks=False, domain=False)
    base = theme.chart_of(panel.values).encode(
        x=alt.X(
            "teacher:N",
            sort=panel.teacher,
            scale=alt.Scale(domain=panel.teacher, padding=0.06),
            axis=axis,
            title="teacher's prediction",
        ),
        y=alt.Y(
            "weak:N",
            sort=panel.weak,
            scale=alt.Scale(domain=panel.weak, padding=0.06),
            axis=side,
            title="weak label",
        ),
        tooltip=[
            "weak:N",
            "teacher:N",
            alt.Tooltip("class:N", title="pre-training class"),
            alt.Tooltip("samples:Q", format=","),
        ],
    )
    rects = base.mark_rect(stroke="#6b7682", strokeWidth=0.4).encode(color=alt.Color("colour:N", scale=None))
    crosses = base.transform_filter("datum.dropped").mark_text(text="×", fontSize=11, color=theme.GREY)
    title = "confusion matrix" if strategy is None else f"{strategy.name}: {len(strategy.space):,} classes"
    if strategy is not None and strategy.has_unsure:
        title += " (sure samples)"
    return theme.styled(
        alt.layer(rects, crosses).properties(
            width=panel.side, height=panel.side, title=title, description=f"{title}. {panel.caption}"
        )
    )


def label_spaces_chart(data: ReportData, names: Sequence[str] | None = None, columns: int = 3) -> Any:
    """The confusion matrix beside the spaces of the strategies, as the paper's figure.

    Args:
        data: What is reported.
        names: Strategies; default: all that give each cell a class.
        columns: Matrices side by side.
    """
    shown = [data.space(name) for name in names] if names else [e for e in data.spaces if e.has_cells]
    panels = [_without_config(label_space_chart(data, entry)) for entry in (None, *shown)]
    return theme.styled(alt.concat(*panels, columns=columns, spacing=24))


def _without_config(chart: Any) -> Any:
    """Charts within another must leave the theme to it."""
    chart.config = alt.Undefined
    return chart


def class_sizes_chart(data: ReportData) -> Any:
    """Samples of each class from the largest to the smallest, both axes logarithmic; a line at `min_count`.

    A control has the sizes of the strategy that it controls for, and is left out.

    Args:
        data: What is reported.
    """
    shown = [entry for entry in data.spaces if "sample_ids" not in entry.space.needs]
    names = [entry.name for entry in shown]
    values: list[dict[str, Any]] = []
    for entry in shown:
        sizes = np.sort(entry.outcome.size[entry.outcome.size > 0])[::-1]
        ranks: Any = (
            np.unique(np.geomspace(1, max(1, len(sizes)), TAIL_POINTS).astype(int)) if len(sizes) else []
        )
        values += [
            {"strategy": entry.name, "rank": int(rank), "samples": int(sizes[rank - 1])} for rank in ranks
        ]
    colours = theme.row_colours(names)
    lines = (
        theme.chart_of(values)
        .mark_line(interpolate="step-after", strokeWidth=2, point=alt.OverlayMarkDef(size=14))
        .encode(
            x=alt.X(
                "rank:Q",
                scale=alt.Scale(type="log"),
                title="class, from the largest",
                axis=_decades([v["rank"] for v in values]),
            ),
            y=alt.Y(
                "samples:Q",
                scale=alt.Scale(type="log"),
                title="samples",
                axis=_decades([v["samples"] for v in values]),
            ),
            color=alt.Color(
                "strategy:N",
                scale=colours,
                sort=names,
                title=None,
                legend=alt.Legend(orient="top", columns=3),
            ),
            strokeDash=alt.StrokeDash("strategy:N", sort=names, legend=None),
            tooltip=["strategy:N", "rank:Q", alt.Tooltip("samples:Q", format=",")],
        )
    )
    described = "; ".join(f"{entry.name} {len(entry.space):,} classes" for entry in shown)
    layers = [lines, *_min_count_line(data)]
    return theme.styled(
        alt.layer(*layers).properties(
            width=560, height=280, description=f"Class sizes, long tails first to last: {described}"
        )
    )


def _decades(values: Sequence[int]) -> alt.Axis:
    """An axis with ticks at 1, 10, 100, …, and at 3, 30, 300, … where there are few of them."""
    decades = range(len(str(max(values, default=1))) + 1)
    steps = (1, 3) if len(decades) < 5 else (1,)
    return alt.Axis(values=[step * 10**decade for decade in decades for step in steps], format=",d")


def _min_count_line(data: ReportData) -> list[Any]:
    least = min_count(data.chosen_space)
    if least is None or least < 2:
        return []
    base = theme.chart_of([{"samples": least, "name": f"min_count {least}"}]).encode(y="samples:Q")
    label = base.mark_text(align="left", baseline="bottom", dx=4, dy=-3).encode(text="name:N", x=alt.value(0))
    return [base.mark_rule(strokeDash=[5, 4], strokeWidth=1.5), label]


def min_count(strategy: StrategySpace) -> int | None:
    """The smallest cell that is a class of its own; None where the strategy has no such limit.

    Args:
        strategy: One of the report.
    """
    options = strategy.space.strategy
    least = options.get("min_count", (options.get("of") or {}).get("min_count"))
    return None if least is None else int(least)


def samples_chart(data: ReportData) -> Any:
    """What each strategy keeps, agreed and not, and what it drops.

    Args:
        data: What is reported.
    """
    names = [entry.name for entry in data.spaces]
    kinds = ("kept, agreed", "kept, disagreed", "dropped")
    total = max(1, data.confusion.total)
    values = []
    for entry in data.spaces:
        outcome = entry.outcome
        counts = (outcome.agreed, outcome.disagreed, int(outcome.dropped.sum()))
        values += [
            {"strategy": entry.name, "samples": count, "what": kind, "share": count / total, "order": number}
            for number, (kind, count) in enumerate(zip(kinds, counts, strict=True))
        ]
    colours = alt.Scale(domain=list(kinds), range=[theme.AGREED, theme.DISAGREED, theme.DROPPED])
    chart = (
        theme.chart_of(values)
        .mark_bar(stroke="white", strokeWidth=0.5)
        .encode(
            x=alt.X(
                "samples:Q",
                title="weak samples",
                axis=alt.Axis(**theme.count_ticks(data.confusion.total)),
            ),
            y=alt.Y("strategy:N", sort=names, title=None),
            color=alt.Color(
                "what:N",
                scale=colours,
                sort=list(kinds),
                title=None,
                legend=alt.Legend(orient="top", columns=2),
            ),
            order=alt.Order("order:Q"),
            tooltip=[
                "strategy:N",
                "what:N",
                alt.Tooltip("samples:Q", format=","),
                alt.Tooltip("share:Q", format=".1%"),
            ],
        )
    )
    described = "; ".join(f"{v['strategy']}: {v['what']} {v['samples']:,}" for v in values)
    return theme.styled(chart.properties(width=560, height=28 * len(names), description=described))


def statuses_chart(statuses: Mapping[str, int]) -> Any | None:
    """Samples that could not be used, by reason; None where all could.

    Args:
        statuses: Status → samples; `ok` is left out.
    """
    failed = sorted((-count, reason) for reason, count in statuses.items() if reason != "ok")
    values = [{"reason": reason, "samples": -count} for count, reason in failed]
    if not values:
        return None
    most = -failed[0][0]
    base = theme.chart_of(values).encode(
        x=alt.X("samples:Q", title="samples", axis=alt.Axis(**theme.count_ticks(most))),
        y=alt.Y("reason:N", sort=[reason for _, reason in failed], title=None, axis=alt.Axis(labelLimit=320)),
        tooltip=["reason:N", alt.Tooltip("samples:Q", format=",")],
    )
    bars = base.mark_bar(color=theme.DISAGREED)
    numbers = base.mark_text(align="left", dx=4).encode(text=alt.Text("samples:Q", format=","))
    described = "; ".join(f"{value['reason']}: {value['samples']:,}" for value in values)
    return theme.styled(
        alt.layer(bars, numbers).properties(
            width=480,
            height=28 * len(values),
            description=f"Samples that could not be read, by reason: {described}",
        )
    )
