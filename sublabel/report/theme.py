"""The look of the charts: colours that the colour-blind can tell apart, on light and on dark paper."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import altair as alt

# The first eight after Okabe and Ito (2008), three of them darkened to a contrast of 3:1 on white; the others
# as far as can be from these and from each other in OKLab.
PALETTE = (
    "#0072B2", "#B87F00", "#009470", "#D55E00", "#C0659A", "#3A95CC", "#7A6A4F", "#6A5ACD",
    "#C32D4B", "#5AA500", "#007800", "#A578F0", "#785A87", "#A53CA5", "#F05A69", "#5A87FF",
)  # fmt: skip
GREY = "#7f8790"
AGREED = "#0072B2"
DISAGREED = "#D55E00"
DROPPED = "#9aa3ad"
SHAPES = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "triangle-right", "stroke")
RAMP = ("#eef3f8", "#c6dbef", "#8dbbdb", "#4a90c2", "#1f66a3", "#08306b")
LABEL_LETTERS, LABEL_PIXELS = 14, 104
"""Letters and pixels of a name beside a small matrix, at most."""
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"


def config(ink: str = "#1c2733", paper: str = "#ffffff") -> dict[str, Any]:
    """Vega-Lite's config.

    Args:
        ink: Colour of all text and lines; the page passes `currentColor`, which follows its own.
        paper: Colour of the background.
    """
    text = {
        "labelColor": ink,
        "titleColor": ink,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": 600,
    }
    return {
        "font": FONT,
        "background": paper,
        "view": {"stroke": None},
        "axis": {
            **text,
            "domainColor": ink,
            "domainOpacity": 0.4,
            "tickColor": ink,
            "tickOpacity": 0.4,
            "gridColor": ink,
            "gridOpacity": 0.12,
            "labelLimit": 220,
        },
        "legend": {**text, "symbolSize": 90, "labelLimit": 220},
        "header": text,
        "title": {"color": ink, "subtitleColor": ink, "fontSize": 13, "fontWeight": 600, "anchor": "start"},
        "text": {"color": ink, "fontSize": 12},
        "rule": {"color": ink},
        "range": {"category": list(PALETTE)},
    }


def styled(chart: Any) -> Any:
    """The chart with the theme in it, so that it looks the same wherever it is shown.

    Args:
        chart: An Altair chart.
    """
    return chart.properties(config=alt.Config.from_dict(config()))


def chart_of(values: list[dict[str, Any]]) -> alt.Chart:
    """A chart with its data in it, still without marks.

    Args:
        values: A record for each mark.
    """
    return alt.Chart(alt.InlineData(values=values))


def shapes(count: int) -> list[str]:
    """Shapes of the first rows; where they come again, it is beside another colour.

    Args:
        count: How many rows.
    """
    return [SHAPES[(number + number // len(PALETTE)) % len(SHAPES)] for number in range(count)]


def count_ticks(span: int) -> dict[str, Any]:
    """Whole numbers along so many samples, each of them once.

    Vega's own `tickMinStep` allows a tick more than there are steps, and so still halves the smallest ones.

    Args:
        span: Samples from one end of the axis to the other.
    """
    return {"format": ",d", "tickCount": max(1, min(5, span))}


def names_axis(names: Sequence[str], **more: Any) -> alt.Axis:
    """An axis of names with little room: long ones are cut where most of them can still be told apart.

    Args:
        names: All that stand there.
        more: Further options of the axis.
    """

    def distinct(end: int) -> int:
        start = LABEL_LETTERS - 1 - end
        return len(
            {
                name if len(name) <= LABEL_LETTERS else (name[:start], name[len(name) - end :])
                for name in names
            }
        )

    end = max((0, LABEL_LETTERS // 2, LABEL_LETTERS - 1), key=distinct)
    start = LABEL_LETTERS - 1 - end
    cut = f"slice(datum.label, 0, {start}) + '…' + slice(datum.label, length(datum.label) - {end})"
    shown = f"length(datum.label) > {LABEL_LETTERS} ? {cut} : datum.label"
    return alt.Axis(labelExpr=shown, labelLimit=LABEL_PIXELS, **more)


def row_colours(names: Sequence[str], grey: Collection[str] = ()) -> alt.Scale:
    """The same colour for a row in every chart.

    Args:
        names: All rows, in their order.
        grey: Rows without weak pre-training, which take no colour from the others.
    """
    coloured = [name for name in names if name not in grey]
    colours = {name: PALETTE[number % len(PALETTE)] for number, name in enumerate(coloured)}
    return alt.Scale(domain=list(names), range=[colours.get(name, GREY) for name in names])


def mixed(colour: str, other: str, amount: float) -> str:
    """A colour on the way to another.

    Args:
        colour: `#rrggbb`.
        other: `#rrggbb`.
        amount: 0 (colour) to 1 (other).

    Example:
        >>> mixed("#000000", "#ffffff", 0.5)
        '#808080'
    """
    pairs = zip(bytes.fromhex(colour[1:]), bytes.fromhex(other[1:]), strict=True)
    return "#" + bytes(round(one + (two - one) * amount) for one, two in pairs).hex()
