from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "sublabel"
# Rooms that are called from Python, from recipes and from the command line alike.
ROOMS = ("labels", "media", "teacher", "training")


@pytest.mark.parametrize("room", ROOMS)
def test_no_message_names_the_flag_of_a_command_line(room):
    for path in (ROOT / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.search(r"(^|[\s`'(])--[a-z]", node.value), f"{path}:{node.lineno}"
