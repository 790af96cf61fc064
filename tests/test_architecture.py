"""The house keeps to its plan: private names stay at home, and no import runs in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import grimp
import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("sublabel", "sublabel_image", "sublabel_video")


class Use(NamedTuple):
    user: str
    """The module that uses a name."""
    name: str
    """In full, `sublabel.labels._arrays.CHUNK`."""


@cache
def modules() -> dict[str, Path]:
    """Every module of the library, the domains, recipes and benchmarks, and its file."""
    found = {}
    for base, packages in ((ROOT, ("sublabel", "recipes", "benchmarks")), (ROOT / "domains", PACKAGES[1:])):
        for package in packages:
            for path in (base / package).rglob("*.py"):
                parts = path.relative_to(base).with_suffix("").parts
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room(name: str) -> str:
    """The package that a name lies in: one within `sublabel`, `sublabel` itself, or a domain's."""
    top, *inner = name.split(".")
    is_package = top == "sublabel" and inner and (ROOT / top / inner[0]).is_dir()
    return f"{top}.{inner[0]}" if is_package else top


def uses(user: str) -> Iterator[Use]:
    """What a module imports of ours, and what it takes out of the modules that it imports."""
    tree = ast.parse(modules()[user].read_text(encoding="utf-8"))
    bound: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield Use(user, full)
                bound[alias.asname or alias.name] = full
        elif isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                if top in PACKAGES:
                    yield Use(user, alias.name)
                    bound[alias.asname or top] = alias.name if alias.asname else top
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            full = dotted(node, bound)
            if full is not None:
                yield Use(user, full)


def dotted(node: ast.expr, bound: dict[str, str]) -> str | None:
    """`sl.labels._x` in full where `sl` is a name that was imported; None of any other expression."""
    if isinstance(node, ast.Name):
        return bound.get(node.id)
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value, bound)
        return None if inner is None else f"{inner}.{node.attr}"
    return None


def private_part(name: str) -> str | None:
    """A private name up to its first private part, `sublabel.labels._arrays`; None of a public one."""
    parts = name.split(".")
    for place, part in enumerate(parts, start=1):
        if part.startswith("_") and not part.startswith("__"):
            return ".".join(parts[:place])
    return None


def is_at_home(private: str, user: str) -> bool:
    """Whether a private name lies in its user's own package."""
    return room(private.rpartition(".")[0]) == room(user)


def test_the_check_sees_private_names_however_they_are_used(tmp_path, monkeypatch):
    path = tmp_path / "user.py"
    path.write_text(
        "import sublabel as sl\nimport sublabel.tables\nfrom sublabel.labels import _arrays as arrays\n"
        "from sublabel.tables._decode import DICTIONARIES\nfrom sublabel import distributed\n"
        "x = sl.labels._hashing\ny = distributed._patient_group\nself._own = sublabel.tables.io.public\n"
    )
    monkeypatch.setitem(modules(), "sublabel.study.user", path)
    found = {private_part(use.name) for use in uses("sublabel.study.user")} - {None}
    assert found == {
        "sublabel.labels._arrays",
        "sublabel.tables._decode",
        "sublabel.labels._hashing",
        "sublabel.distributed._patient_group",
    }
    assert not any(is_at_home(name, "sublabel.study.user") for name in found)
    assert is_at_home("sublabel.labels._arrays", "sublabel.labels.strategies.base")
    assert is_at_home("sublabel_video._media.seek", "sublabel_video.reading")
    assert not is_at_home("sublabel._files", "sublabel.tables.io")


def test_a_private_name_is_used_in_its_own_package_only():
    private = ((user, private_part(use.name)) for user in modules() for use in uses(user))
    found = {(user, name) for user, name in private if name is not None and not is_at_home(name, user)}
    assert not found


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, cache_dir=None)


def circles(graph: grimp.ImportGraph) -> list[set[str]]:
    """Groups of modules of which each reaches each, by repeatedly taking away what leads nowhere."""
    left = {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}
    while ends := {module for module, imported in left.items() if not imported & left.keys()}:
        left = {module: imported for module, imported in left.items() if module not in ends}
    while starts := left.keys() - {name for imported in left.values() for name in imported}:
        left = {module: imported for module, imported in left.items() if module not in starts}
    return [set(left)] if left else []


def test_no_import_runs_in_a_circle(graph):
    assert not circles(graph)
