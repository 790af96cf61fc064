"""The rows of the paper's table; without torch."""

from __future__ import annotations

from collections.abc import Mapping

from sublabel.labels import (
    SPLB,
    AgreementFilter,
    MatchedControl,
    RawSPL,
    Strategy,
    TeacherOnly,
    WeakOnly,
)

BASELINE = "weak-only"
"""The row that differences are taken to."""
ORACLE = "oracle"
"""The row that is pre-trained on the true classes of the weak samples; no method, as it needs the truth."""


def controls_of(strategies: Mapping[str, Strategy]) -> dict[str, str]:
    """Which row each matched control is of, among the rows of a study.

    Args:
        strategies: Row name → strategy.

    Example:
        >>> controls_of(default_strategies())
        {'matched control': 'raw SPL'}
    """
    return {
        name: row
        for name, strategy in strategies.items()
        if isinstance(strategy, MatchedControl)
        for row, controlled in strategies.items()
        if controlled == strategy.of
    }


def paper_strategies(raw: RawSPL | None = None) -> dict[str, Strategy]:
    """The rows of METHOD's table in its order, row name → strategy.

    Args:
        raw: Raw SPL with other options than its defaults.

    Example:
        >>> list(paper_strategies())
        ['weak-only', 'teacher-only', 'agreement', 'raw SPL', 'SPL-B']
    """
    return {
        BASELINE: WeakOnly(),
        "teacher-only": TeacherOnly(),
        "agreement": AgreementFilter(),
        "raw SPL": raw or RawSPL(),
        "SPL-B": SPLB(),
    }


def default_strategies(raw: RawSPL | None = None) -> dict[str, Strategy]:
    """The paper's rows, then the matched-cardinality control of raw SPL.

    Args:
        raw: Raw SPL with other options than its defaults; the control is of the same.
    """
    rows = paper_strategies(raw)
    return {**rows, "matched control": MatchedControl(of=rows["raw SPL"])}
