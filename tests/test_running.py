"""How commands end, seen from outside."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

MUCH = "print('x' * 100_000)"
LITTLE = "print('x')"
RUN = "from sublabel.cli.running import run_command; import sys; sys.exit(run_command('p', [], lambda: {}))"


@pytest.mark.parametrize(
    "command",
    [
        ["-c", RUN.format(MUCH)],
        ["-c", RUN.format(LITTLE)],
        ["-m", "sublabel.cli", "strategies"],
        ["-m", "sublabel.cli", "--help"],
        ["-m", "sublabel_video.cli", "--help"],
    ],
)
def test_a_command_whose_reader_has_gone_ends_quietly(command):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, *command], stdout=writer, stderr=subprocess.PIPE, timeout=120)
    os.close(writer)
    assert done.stderr == b""
    # argparse takes no notice of a help that nobody reads.
    assert done.returncode == (0 if "--help" in command else 1)


def test_output_that_is_read_is_complete():
    command = [sys.executable, "-c", RUN.format(MUCH)]
    assert len(subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60).stdout) == 100_001
