"""Half a minute of hostile dumps against each real server; `make torture` takes an hour."""

from __future__ import annotations

import pytest

from tests.databases.splicing import try_splices, victims

SECONDS = 30.0


@pytest.mark.parametrize("name", ["mariadb", "mysql"])
def test_no_spliced_dump_reaches_beyond_its_schema(name: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue(name)
    with victims(server) as dump:
        tried = try_splices(server, dump, SECONDS, first_seed=0)
    assert min(tried.refused, tried.failed, tried.loaded) > 0, tried  # each way is taken
