"""Faults are counted by their kind, and a table of them ends the report."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.demo.stand_ins import MariaDB
from tests.conftest import Configure
from tests.torture.world import World, settings_of


class Faults:
    """What was injected, and what of it was withstood.

    :ivar measured: sentences with figures, printed below the table.
    """

    def __init__(self) -> None:
        self.injected: Counter[str] = Counter()
        self.withstood: Counter[str] = Counter()
        self.measured: list[str] = []

    @contextlib.contextmanager
    def one(self, kind: str) -> Iterator[None]:
        """Count a fault that the block injects: withstood when the block ends without an exception."""
        self.injected[kind] += 1
        yield
        self.withstood[kind] += 1

    def lines(self) -> Iterator[str]:
        """Return the table in Markdown, then what was measured."""
        if self.injected:
            yield from ("| fault | injected | withstood |", "|---|---:|---:|")
        for kind, count in sorted(self.injected.items()):
            yield f"| {kind} | {count} | {self.withstood[kind]} |"
        yield from self.measured


_FAULTS = Faults()


@pytest.fixture(scope="session")
def faults() -> Faults:
    """The faults of this session."""
    return _FAULTS


@pytest.fixture
def world(project: Configure, mariadb: MariaDB, tmp_path: Path) -> World:
    """The application with one published archive of each kind."""
    project(**settings_of(tmp_path))
    world = World(tmp_path, mariadb)
    world.build()
    world.remember()
    world.succeed("backup", "application", "Shop")
    world.succeed("backup", "database", "Shop")
    world.baseline = world.published()
    world.change()
    world.remember()
    return world


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _FAULTS.lines():
        terminalreporter.write_line(line)
