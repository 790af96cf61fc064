from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sublabel.errors import ArtifactError
from sublabel.study import StudyFolder, default_strategies, slug

SAFE = set("abcdefghijklmnopqrstuvwxyz0123456789._-")
# Letters that meet in one folder's name wherever something is dropped, lowered or replaced.
names = st.one_of(st.text(), st.text("aA1 -_./\\", max_size=6))


@given(name=names)
@example(name="..")
@example(name="")
@example(name="../../etc/passwd")
@example(name="C:\\con")
@example(name="x" * 5000)
@example(name="\ud800")
def test_any_name_is_a_folder_within_its_parent(name):
    found = slug(name)
    assert found
    assert {*found} <= SAFE
    assert found[0].isalnum()
    assert found[-1].isalnum()
    assert ".." not in found
    assert len(found) < 100


@given(name=names, other=names)
@example(name="raw SPL", other="raw_spl")
@example(name="raw SPL", other="raw spl")
@example(name="raw SPL", other="raw-spl")
@example(name="two heads", other="two_heads")
@example(name="two heads", other="two-heads")
@example(name="x" * 100, other="x" * 101)
def test_distinct_names_are_distinct_folders(name, other):
    assert (slug(name) == slug(other)) == (name == other)


@given(name=st.text("aA1 -_./\\", max_size=6))
def test_no_other_row_has_the_name_of_a_folder_and_lies_in_it(name):
    assert (slug(slug(name)) == slug(name)) == (slug(name) == name)


@pytest.mark.parametrize("name", ["teacher", "predictions", "clips4", "con", "nul"])
def test_a_row_never_lies_in_a_folder_of_the_study_or_of_the_system(name):
    assert slug(name).startswith(f"{name}.")


def test_the_papers_rows_read_as_they_are():
    assert [slug(name) for name in default_strategies()] == [
        "weak_only", "teacher_only", "agreement", "raw_spl", "spl_b", "matched_control",
    ]  # fmt: skip


def test_a_study_is_read_and_its_options_are_made_without_torch():
    code = (
        "import sys, sublabel.study.folder, sublabel.study.options, sublabel.report.command\n"
        "from sublabel.study import StudyOptions, StudyFolder, default_strategies\n"
        "print([name for name in ('torch', 'lightning') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_damaged_comparison_is_refused_and_none_is_none(tmp_path):
    recorded = {"backbone": "small", "strategies": {}, "seeds": 1, "pretrain": {}, "finetune": {}}
    record = {"options": recorded, "manifest": "manifest.parquet"}
    (tmp_path / "study.json").write_text(json.dumps(record), encoding="utf-8")
    folder = StudyFolder.open(tmp_path)
    assert folder.comparison() is None
    for content, why in (("[", "Expecting value"), ('{"version": 0}', "got the format and version")):
        (tmp_path / "comparison.json").write_text(content, encoding="utf-8")
        with pytest.raises(ArtifactError, match=f"comparison.json is damaged .*{why}"):
            folder.comparison()


def test_a_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"holds no study.json"):
        StudyFolder.open(tmp_path)
