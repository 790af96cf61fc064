"""Pieces of HTML for notebooks: tables and shaded grids, with all text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np

GRID = 48
"""Blocks a side of a shaded grid, at most."""
CELL_PIXELS = 6
SHADE = "#1f66a3"


def html_table(headings: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> str:
    """A table; numbers are set to the right and get thousands separators.

    Args:
        headings: Of the columns.
        rows: Cells; all text is escaped.
        caption: Above it.

    Example:
        >>> html_table(["class"], [["<b>"]])
        '<table>...<tbody><tr><td>&lt;b&gt;</td></tr></tbody></table>'
    """
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, int | np.integer):
        return f'<td style="text-align:right">{value:,}</td>'
    return f"<td>{escape(str(value))}</td>"


def shaded_grid(counts: Any, described: str) -> str:
    """A matrix of counts as an SVG of at most `GRID` × `GRID` blocks, shaded on a logarithmic scale.

    Args:
        counts: Sparse, int64 (W, T).
        described: What it shows, for screen readers.
    """
    entries = counts.tocoo()
    height, width = (min(side, GRID) for side in counts.shape)
    block = entries.row * height // counts.shape[0] * width + entries.col * width // counts.shape[1]
    summed = np.zeros(height * width, dtype=np.int64)
    np.add.at(summed, block, entries.data)
    shades = np.log1p(summed) / max(1.0, float(np.log1p(summed.max(initial=0))))
    rects = "".join(
        f'<rect x="{position % width}" y="{position // width}" width="1" height="1" fill-opacity="'
        f'{shades[position]:.2f}"><title>{summed[position]:,} samples</title></rect>'
        for position in np.flatnonzero(summed).tolist()
    )
    size = f'width="{width * CELL_PIXELS}" height="{height * CELL_PIXELS}"'
    return (
        f'<svg role="img" aria-label="{escape(described)}" {size} viewBox="0 0 {width} {height}" '
        f'fill="{SHADE}" style="border:1px solid #8888">{rects}</svg>'
    )
