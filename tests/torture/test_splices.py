"""An hour of hostile dumps against real servers."""

from __future__ import annotations

import os
import time

import pytest

from tests.databases.splicing import try_splices, victims
from tests.torture.conftest import Faults

SECONDS = float(os.environ.get("SPLICING_SECONDS", "3600"))  # on all servers


@pytest.mark.torture
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", ["mariadb", "mysql"])
def test_no_spliced_dump_reaches_beyond_its_schema(name: str, request: pytest.FixtureRequest, faults: Faults) -> None:
    server = request.getfixturevalue(name)
    first_seed = int(time.time()) * 1000
    with victims(server) as dump, faults.one(f"spliced dumps, {name}"):
        tried = try_splices(server, dump, SECONDS / 2, first_seed)
    faults.measured.append(f"Spliced dumps on {name}, seeds from {first_seed}: {tried}.")
