from __future__ import annotations

import builtins

import pytest

from sublabel.cli import main
from sublabel.report.command import report_of_study


def test_the_command_writes_the_page_and_the_charts_and_says_where(study, tmp_path, capsys):
    page, charts = tmp_path / "page.html", tmp_path / "charts"
    options = ["--charts", str(charts), "--formats", "[svg,png]", "--pictures", "0"]
    assert main(["report", str(study), "-o", str(page), *options]) == 0
    said = capsys.readouterr().out.split()
    assert str(page) in said
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert {path.suffix for path in charts.iterdir()} == {".svg", ".png"}
    assert all(str(path) in said for path in charts.iterdir())


def test_bad_input_ends_with_one_line(tmp_path, capsys):
    assert main(["report", str(tmp_path), "-o", str(tmp_path / "page.html")]) == 2
    assert "neither a study" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


@pytest.fixture
def without_altair(monkeypatch):
    real = builtins.__import__

    def refuse(name, *arguments, **options):
        if name.startswith("sublabel.report."):
            raise ModuleNotFoundError("No module named 'altair'", name="altair")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)


@pytest.mark.usefixtures("without_altair")
def test_without_the_extra_the_command_says_what_to_install(study, capsys):
    assert main(["report", str(study)]) == 2
    assert "pip install 'sublabel[report]'" in capsys.readouterr().err


@pytest.mark.usefixtures("without_altair")
def test_without_the_extra_a_recipe_ends_all_the_same(study):
    said = report_of_study(study)
    assert said.startswith(f"sublabel report {study}")
    assert "the report needs altair, which is not installed: pip install 'sublabel[report]'" in said
