"""A table as text, and the same in Markdown, on the terminal and in a notebook."""

from __future__ import annotations

from typing import NamedTuple

from rich import box
from rich.table import Table

from sublabel.html import html_table

LATEX = {
    **{character: rf"\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "Δ": r"$\Delta$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "†": r"$\dagger$",
    "<": "$<$",
}


class TextTable(NamedTuple):
    """Rows of text under headings; the first column names the rows, the others hold figures.

    Example:
        >>> print(TextTable(("pre-training", "top-1"), (("weak-only", "70.5"),)).to_markdown())
        | pre-training | top-1 |
        |---|---:|
        | weak-only | 70.5 |
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def records(self) -> list[dict[str, str]]:
        """Each row as heading → text, for JSON."""
        return [dict(zip(self.headings, row, strict=True)) for row in self.rows]

    def to_markdown(self) -> str:
        """The table in Markdown, without a line break at its end."""
        rule = "|---|" + "---:|" * (len(self.headings) - 1)
        named, *rows = ("| " + " | ".join(cells) + " |" for cells in (self.headings, *self.rows))
        return "\n".join([named, rule, *rows])

    def to_latex(self) -> str:
        r"""The table as LaTeX, for the package booktabs.

        Example:
            >>> print(TextTable(("row", "Δ top-1"), (("raw_spl", "+1.4"),)).to_latex())
            \begin{tabular}{lr}
            \toprule
            row & $\Delta$ top-1 \\
            \midrule
            raw\_spl & +1.4 \\
            \bottomrule
            \end{tabular}
        """
        named, *rows = (" & ".join(map(_latex, cells)) + r" \\" for cells in (self.headings, *self.rows))
        columns = "l" + "r" * (len(self.headings) - 1)
        begin = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", named, r"\midrule"]
        return "\n".join([*begin, *rows, r"\bottomrule", r"\end{tabular}"])

    def to_rich(self) -> Table:
        """The table for the terminal; only the first column may break its lines."""
        table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
        for index, heading in enumerate(self.headings):
            table.add_column(heading, justify="left" if index == 0 else "right", no_wrap=index > 0)
        for row in self.rows:
            table.add_row(*row)
        return table

    def to_html(self, caption: str = "") -> str:
        """The table for a notebook, all text escaped.

        Args:
            caption: Text above it.
        """
        return html_table(self.headings, self.rows, caption)


def _latex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)
