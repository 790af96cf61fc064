"""Charts of the result table and of the curve, as functions that return an Altair chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from sublabel.evaluation import Comparison, Interval, RunMetrics, mean_interval, wilson_interval
from sublabel.report import theme


def results_chart(comparison: Comparison) -> Any:
    """Top-1 of every row with its 95% interval, and the single runs as ticks.

    Over several seeds the interval is Student's t of the mean; with one seed it is Wilson's of a single test,
    which says nothing about the spread of training.

    Args:
        comparison: A study's.
    """
    names = comparison.names()
    rows = [_row(name, comparison.runs_of(name), comparison.test_samples) for name in names]
    runs = [
        {"pre-training": run.row, "top-1": 100 * run.primary, "seed": run.seed}
        for run in comparison.runs
        if run.clips_per_video is None
    ]
    y = alt.Y("pre-training:N", sort=names, title=None)
    colour = alt.Color("pre-training:N", scale=_colours(comparison, names), legend=None)
    scale = alt.Scale(zero=False, nice=False, padding=12)
    base = theme.chart_of(rows)
    whiskers = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", scale=scale, title="top-1 on the test set (%)"), x2="high:Q", y=y, color=colour
    )
    tooltip = [
        alt.Tooltip("pre-training:N"),
        alt.Tooltip("mean:Q", title="top-1 (%)", format=".1f"),
        alt.Tooltip("interval:N", title="95% interval"),
        alt.Tooltip("seeds:Q"),
    ]
    means = base.mark_point(filled=True, size=110, opacity=1).encode(
        x="mean:Q", y=y, color=colour, tooltip=tooltip
    )
    ticks = theme.chart_of(runs).mark_tick(thickness=1.5, size=12, opacity=0.6)
    ticks = ticks.encode(
        x="top-1:Q",
        y=y,
        color=colour,
        tooltip=["pre-training:N", "seed:Q", alt.Tooltip("top-1:Q", format=".1f")],
    )
    described = "; ".join(f"{row['pre-training']} {row['mean']:.1f} ({row['interval']})" for row in rows)
    return theme.styled(
        alt.layer(whiskers, ticks, means).properties(
            width=560, height=30 * len(rows), description=f"Top-1 in percent with 95% intervals: {described}"
        )
    )


def differences_chart(comparison: Comparison) -> Any | None:
    """The difference of every row to the baseline in points, with the corrected interval of the table.

    Args:
        comparison: A study's.

    Returns:
        The chart; None where no row was compared with a baseline, or with one run, which has no interval.
    """
    rows = [
        {
            "pre-training": name,
            "difference": 100 * found.difference.mean,
            "low": 100 * interval.low,
            "high": 100 * interval.high,
            "shown": "better" if found.is_above else "worse" if found.is_below else "neither is shown",
            "p": found.p_value,
        }
        for name, found in comparison.corrected.items()
        if (interval := found.interval) is not None
    ]
    if not rows:
        return None
    y = alt.Y("pre-training:N", sort=list(comparison.corrected), title=None)
    colour = alt.Color("pre-training:N", scale=_colours(comparison, comparison.names()), legend=None)
    title = f"top-1 beyond {comparison.baseline} (points)"
    base = theme.chart_of(rows)
    whiskers = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", title=title), x2="high:Q", y=y, color=colour
    )
    tooltip = [
        alt.Tooltip("pre-training:N"),
        *(alt.Tooltip(f"{name}:Q", format="+.1f") for name in ("difference", "low", "high")),
        alt.Tooltip("p:Q", format=".2g"),
        alt.Tooltip("shown:N"),
    ]
    means = base.mark_point(filled=True, size=110, opacity=1).encode(
        x="difference:Q", y=y, color=colour, tooltip=tooltip
    )
    zero = theme.chart_of([{"zero": 0}]).mark_rule(strokeDash=[4, 3], opacity=0.6).encode(x="zero:Q")
    described = "; ".join(
        f"{row['pre-training']} {row['difference']:+.1f} ({row['low']:+.1f} to {row['high']:+.1f})"
        for row in rows
    )
    return theme.styled(
        alt.layer(zero, whiskers, means).properties(
            width=560,
            height=30 * len(rows),
            description=f"Points beyond {comparison.baseline} with corrected 95% intervals: {described}",
        )
    )


def curve_chart(comparison: Comparison) -> Any | None:
    """Top-1 by clips per video, a line for each strategy; None where the study has no curve.

    Args:
        comparison: A study's.
    """
    points = comparison.points()
    if not points:
        return None
    names = comparison.names(of_curve=True)
    steps = [*points, None]
    rows = [
        {
            **_row(name, runs, comparison.test_samples),
            "clips per video": "all" if step is None else str(step),
        }
        for name in names
        for step in steps
        if (runs := comparison.runs_of(name, step))
    ]
    colours = _colours(comparison, list(dict.fromkeys([*comparison.names(), *names])))
    kept = {name: colour for name, colour in zip(colours.domain, colours.range, strict=True) if name in names}
    base = theme.chart_of(rows).encode(
        x=alt.X(
            "clips per video:O", sort=[str(step) for step in points] + ["all"], axis=alt.Axis(labelAngle=0)
        ),
        color=alt.Color(
            "pre-training:N",
            scale=alt.Scale(domain=list(kept), range=list(kept.values())),
            title=None,
            legend=alt.Legend(orient="top", symbolOpacity=1),
        ),
    )
    y = alt.Y("mean:Q", scale=alt.Scale(zero=False), title="top-1 (%)")
    band = base.mark_area(opacity=0.13).encode(
        y=alt.Y("low:Q", title="top-1 (%)", scale=alt.Scale(zero=False)), y2="high:Q"
    )
    lines = base.mark_line(strokeWidth=2.5).encode(y=y)
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(
        y=y,
        shape=alt.Shape(
            "pre-training:N",
            scale=alt.Scale(domain=list(kept), range=theme.shapes(len(kept))),
            title=None,
            legend=alt.Legend(orient="top", symbolOpacity=1),
        ),
        tooltip=[
            "pre-training:N",
            "clips per video:O",
            alt.Tooltip("mean:Q", title="top-1 (%)", format=".1f"),
            alt.Tooltip("interval:N", title="95% interval"),
        ],
    )
    described = "; ".join(
        f"{row['pre-training']} at {row['clips per video']} {row['mean']:.1f}" for row in rows
    )
    return theme.styled(
        alt.layer(band, lines, dots).properties(
            width=560, height=280, description=f"Top-1 in percent by clips per video: {described}"
        )
    )


def _colours(comparison: Comparison, names: Sequence[str]) -> alt.Scale:
    return theme.row_colours(names, grey={run.row for run in comparison.without_pretraining()})


def _row(name: str, runs: Sequence[RunMetrics], test_samples: int) -> dict[str, Any]:
    """Mean and 95% interval of top-1 in percent, between 0 and 100."""
    found = mean_interval([run.primary for run in runs]) or _of_one_test(runs[0], test_samples)
    low, high = max(0.0, found.low), min(1.0, found.high)
    return {
        "pre-training": name,
        "mean": 100 * found.mean,
        "low": 100 * low,
        "high": 100 * high,
        "interval": f"{100 * low:.1f} to {100 * high:.1f}",
        "seeds": len(runs),
    }


def _of_one_test(run: RunMetrics, test_samples: int) -> Interval:
    tested = max(1, test_samples)
    low, high = wilson_interval(run.primary * tested, tested)
    return Interval(run.primary, float(low), float(high))
