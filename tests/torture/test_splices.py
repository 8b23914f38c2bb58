"""An hour of hostile dumps against each engine."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.servers.databases.splicing import try_splices, victim_of
from tests.torture.conftest import Faults

NAMES = ("mariadb", "mysql", "postgresql", "sqlite")
SECONDS = float(os.environ.get("SPLICING_SECONDS", "3600"))  # on all engines


@pytest.mark.torture
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", NAMES)
def test_no_spliced_dump_reaches_beyond_its_database(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, faults: Faults
) -> None:
    first_seed = int(time.time()) * 1000
    with victim_of(name, request, tmp_path) as victim, faults.one(f"spliced dumps, {name}"):
        tried = try_splices(victim, SECONDS / len(NAMES), first_seed)
    faults.measured.append(f"Spliced dumps on {name}, seeds from {first_seed}: {tried}.")
