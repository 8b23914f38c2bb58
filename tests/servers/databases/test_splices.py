"""A minute of hostile dumps, over all engines; `make torture` takes an hour."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.databases.splicing import try_splices, victim_of

SECONDS = {"mariadb": 10.0, "mysql": 10.0, "postgresql": 6.0, "sqlite": 4.0}  # make torture takes longer


@pytest.mark.parametrize("name", SECONDS)
def test_no_spliced_dump_reaches_beyond_its_database(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with victim_of(name, request, tmp_path) as victim:
        tried = try_splices(victim, SECONDS[name], first_seed=0)
    assert min(tried.refused, tried.failed, tried.loaded) > 0, tried  # each way is taken
