"""How a command ends: with its exit code, and with one line where something is wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from sublabel.cli.rendering import console
from sublabel.errors import SublabelError


def run_command(program: str, arguments: Sequence[str], command: Callable[[], object]) -> int:
    """Run a command to its exit code.

    Bad input ends with one message and 2, Ctrl-C with one and 130. Where the reader of the output has gone,
    as `head` has after its lines, the command ends quietly with 1.

    Args:
        program: Name of the program; messages begin with it and the first argument.
        arguments: What stands after the program's name on the command line.
        command: Does all the work, the parsing of the command line included.
    """
    name = " ".join([program, *arguments[:1]])
    try:
        try:
            command()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more on its way out, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (SublabelError, OSError) as error:
        console(stderr=True).print(f"{name}: error: {error}", soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        console(stderr=True).print(f"{name}: interrupted", soft_wrap=True)
        return 130
    return 0
