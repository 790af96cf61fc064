from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import warnings

import pytest
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning

from sublabel.errors import ConfigError
from sublabel.jobs import job_map
from sublabel.labels import Vocabulary


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_one_job_is_a_call():
    with job_map(1) as run_all:
        assert list(run_all(lambda number: number + 1, [1, 2])) == [2, 3]


def test_jobs_keep_order_share_the_cores_and_log_where_we_do(threads, caplog):
    caplog.set_level(logging.INFO)
    quiet = logging.getLogger("lightning.pytorch")
    before = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with job_map(2) as run_all:
            assert list(run_all(pow, [2, 3, 4], [5, 6, 7])) == [32, 729, 16384]
            assert list(run_all(eval, ["__import__('torch').get_num_threads()"])) == [2]
            list(run_all(logging.getLogger("sublabel.here").info, ["told %s"], ["twice"]))
            list(run_all(quiet.warning, ["not wanted"]))
    finally:
        quiet.setLevel(before)
    assert "told twice" in caplog.messages
    assert "not wanted" not in caplog.messages


def test_an_error_in_a_job_reaches_us():
    with pytest.raises(ConfigError, match="one of 2 processes died"), job_map(2) as run_all:
        list(run_all(os._exit, [1]))
    with pytest.raises(ValueError, match="at least one name"), job_map(2) as run_all:
        list(run_all(Vocabulary, [[]]))


def test_what_no_other_process_can_import_is_said_so():
    def local(_):
        return 1

    with pytest.raises(ConfigError, match=r"2 jobs.*local.*in a module.*one job"), job_map(2) as run_all:
        list(run_all(local, [1]))
    with pytest.raises(ConfigError, match=r"2 jobs.*local.*in a module"), job_map(2) as run_all:
        list(run_all(print, [local]))
    with pytest.raises(TypeError, match="no integer"), job_map(2) as run_all:
        list(run_all(_refuse, [1]))


def _refuse(value):
    raise TypeError(f"{value} is no integer")


def test_a_job_takes_over_filters_of_libraries_that_import_torchvision():
    # Each job is given them before anything else of ours has been imported there.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PossibleUserWarning)
        with job_map(2) as run_all:
            assert list(run_all(eval, ["__import__('torchvision').__name__"])) == ["torchvision"]


def test_jobs_end_when_their_parent_is_killed():
    script = """
from sublabel.jobs import job_map
if __name__ == "__main__":
    with job_map(2) as run_all:
        list(run_all(exec, ["import os, time; print(os.getpid(), flush=True); time.sleep(600)"]))
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        job = int(parent.stdout.readline())
        parent.kill()
        try:
            # The jobs hold the other end of the pipe while they live.
            parent.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.kill(job, signal.SIGKILL)
            raise
