"""The map in docs/ARCHITECTURE.md shows the tree as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import PROJECT

PACKAGE = PROJECT / "plugins" / "lifeboat"
MAP = (PROJECT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("Arrows point one way")[0]
RULES = ("operators", "cli")  # told by a rule: a module for each step, and for each verb


def name_on_map(path: Path) -> str:
    """Return how the map names a module: `config.py`, a package as `storage/`, a module of a package by its stem."""
    folder = path.parent.name
    if path.stem == "__init__":
        return f"{folder}/"
    return path.name if path.parent == PACKAGE else path.stem


@pytest.mark.parametrize(
    "path",
    [
        path.relative_to(PACKAGE)
        for path in PACKAGE.rglob("*.py")
        if path.parent.name not in RULES and path != PACKAGE / "__init__.py"
    ],
    ids=str,
)
def test_every_module_is_on_the_map(path: Path) -> None:
    assert re.search(rf"(?<![a-z_]){re.escape(name_on_map(PACKAGE / path))}(?![a-z_])", MAP)


def test_every_module_on_the_map_is_in_the_tree() -> None:
    files = {path.name for folder in ("plugins", "docs") for path in (PROJECT / folder).rglob("*.py")}
    assert set(re.findall(r"\b[a-z_\d]+\.py\b", MAP)) <= files
