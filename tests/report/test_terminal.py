from __future__ import annotations

import io

from rich.console import Console

from tests.report.conftest import comparison


def test_table_and_curve_fit_into_80_columns():
    found = comparison(("weak-only", "teacher-only", "agreement", "raw SPL", "SPL-B", "matched control"))
    file = io.StringIO()
    Console(file=file, width=80).print(found.to_rich())
    said = file.getvalue()
    assert max(map(len, said.splitlines())) <= 80
    assert "…" not in said
    assert all(cell in said for row in found.table().rows for cell in row)
