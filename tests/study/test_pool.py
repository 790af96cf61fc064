from __future__ import annotations

import json
import shutil

import pytest

from sublabel.cli.commands import main
from sublabel.errors import ConfigError
from sublabel.evaluation import Comparison
from sublabel.study import pool_studies


@pytest.fixture
def another(finished, tmp_path):
    """The finished study as one of another draw of the data would be."""

    def made(name, **changes):
        folder = shutil.copytree(finished[0], tmp_path / name)
        record = json.loads((folder / "study.json").read_text(encoding="utf-8"))
        record["same"] |= {"manifest": f"that of {name}", **changes}
        (folder / "study.json").write_text(json.dumps(record), encoding="utf-8")
        return folder

    return made


def test_studies_of_other_data_are_pooled(finished, another, tmp_path, capsys):
    folders = [str(another("draw 0")), str(another("draw 1"))]
    assert main(["pool", *folders, "-o", str(tmp_path / "pooled")]) == 0
    pooled = Comparison.load(tmp_path / "pooled")
    assert pooled.data_sets() == ["draw 0", "draw 1"]
    assert pooled.outcomes is not None
    assert len(pooled.runs) == 2 * len(finished[1].runs)
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.startswith(" ".join(pooled.verdict().sentence.split()))
    assert (tmp_path / "pooled" / "comparison.md").read_text() == pooled.to_markdown()


def test_the_same_data_do_not_count_twice(another):
    folder = another("draw")
    with pytest.raises(ConfigError, match="are of the same data .*would count twice"):
        pool_studies([folder, folder])
    with pytest.raises(ConfigError, match="got 1 study to pool"):
        pool_studies([folder])


def test_studies_with_other_options_are_not_pooled(another):
    with pytest.raises(ConfigError, match="made with other options: head_rank .32 there, 8 here."):
        pool_studies([another("one"), another("two", head_rank=8)])
    # A teacher that was given is another for other data.
    pool_studies([another("three", teacher="aa"), another("four", teacher="bb")])


def test_a_study_that_has_not_ended_is_not_pooled(another):
    begun = another("begun")
    (begun / "comparison.json").unlink()
    with pytest.raises(ConfigError, match="begun has not ended: run it to its end first"):
        pool_studies([another("ended"), begun])


def test_data_sets_are_named_by_what_tells_their_folders_apart(another):
    pooled = pool_studies([another("a/run"), another("b/run")])
    assert pooled.data_sets() == ["a/run", "b/run"]
