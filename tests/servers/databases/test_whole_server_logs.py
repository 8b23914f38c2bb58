"""Binary logs of a whole server: what came after the last backup, and what was dropped since, is in them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lifeboat.actions import stored_archive
from lifeboat.airflow.site import load_site

from tests.command import answer
from tests.conftest import Configure
from tests.servers.databases.test_mysql_logs import (  # noqa: F401  # fixtures
    Server,
    server,
    started,
    wait_for_next_second,
    write,
)


@pytest.fixture(autouse=True)
def no_others(server: Server) -> Iterator[None]:  # noqa: F811
    yield
    for name in ("shop_then", "stock", "stock_then"):
        server.run(f"DROP DATABASE IF EXISTS {name}")


def shipped_schemas() -> set[str]:
    site = load_site()
    (key,) = answer("backup", "logs")[0]["keys"]
    with stored_archive.opened(site, site.destination("disk"), "All", key) as reader:
        manifest = reader.manifest()
        assert manifest
        return {schema for piece in manifest.logs for schema in piece.schemas or ()}


def test_a_dropped_database_is_restored_to_the_moment_before(server: Server, project: Configure) -> None:  # noqa: F811
    server.run("CREATE DATABASE stock; CREATE TABLE stock.items (id INT PRIMARY KEY)")
    whole = {"server": "logged_db", "include": ["s*"]}
    project(applications={"All": {"databases": [whole], "logs": True, "destinations": ["disk"]}})
    answer("backup", "database")
    write(server, 3)
    server.run("INSERT INTO stock.items VALUES (1), (2)")
    assert {"shop", "stock"} <= shipped_schemas()
    server.run("INSERT INTO stock.items VALUES (3)")
    wait_for_next_second(server)
    moment = server.run("SELECT UTC_TIMESTAMP()").strip().replace(" ", "T") + "Z"
    wait_for_next_second(server)
    server.run("DROP DATABASE stock")
    assert "stock" in shipped_schemas()
    answer("restore", "database", "All", "--database", "stock", "--until", moment, "--into", "stock_then")
    assert server.run("SELECT count(*) FROM stock_then.items") == "3\n"
    answer("restore", "database", "All", "--database", "shop", "--until", "latest", "--into", "shop_then")
    assert server.run("SELECT count(*) FROM shop_then.orders") == "3\n"
    assert answer("logs", "All")
    assert answer("check", "All", status=1)
