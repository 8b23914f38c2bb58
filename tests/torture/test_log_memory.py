"""A transaction of a gigabyte passes through shipping, listing and replay in bounded memory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from lifeboat.site import Site

from tests.bench.contest import peak_megabytes
from tests.servers.databases import test_mysql_logs
from tests.servers.databases.test_mysql_logs import Server, back_up
from tests.torture.conftest import Faults

pytestmark = [pytest.mark.torture, pytest.mark.timeout(7200)]
started = test_mysql_logs.started
server = test_mysql_logs.server
site = test_mysql_logs.site

COMMAND = str(Path(sys.executable).parent / "lifeboat")
MOST = 200  # MiB, of which Airflow takes 150
ROW = 1 << 20  # bytes
VERBS = {
    "ship": ("backup", "logs", "Shop"),
    "list": ("logs", "Shop"),
    "replay": ("restore", "database", "Shop", "--until", "latest", "--into", "shop_large"),
}


def change(server: Server, megabytes: int) -> None:
    """Run a transaction of so many megabytes, a fifth of them in another database."""
    statements = ["SET binlog_format = ROW", "BEGIN"]
    for table, count in (("orders", megabytes * 4 // 5), ("other.large", megabytes // 5)):
        numbers = "SELECT 1 AS id" + "".join(f" UNION ALL SELECT {number}" for number in range(2, count + 1))
        statements.append(f"INSERT INTO {table} (note) SELECT repeat(sha2(id, 256), {ROW} / 64) FROM ({numbers}) AS r")
    server.run("; ".join([*statements, "COMMIT"]), "shop")


@pytest.mark.parametrize("megabytes", [pytest.param(100, id="small"), pytest.param(1280, id="large")])
def test_a_large_transaction_takes_little_memory(server: Server, site: Site, megabytes: int, faults: Faults) -> None:
    server.run("ALTER TABLE orders MODIFY note LONGTEXT", "shop")
    server.run("DROP DATABASE IF EXISTS other; CREATE DATABASE other; CREATE TABLE other.large LIKE shop.orders")
    back_up(site)
    change(server, megabytes)
    peaks = {name: peak_megabytes([COMMAND, *arguments], {}) for name, arguments in VERBS.items()}
    found = ", ".join(f"{name} {peak:.0f} MiB" for name, peak in peaks.items())
    faults.measured.append(f"A transaction of {megabytes} MB on {type(server).__name__}: {found}.")
    tables = ("shop.orders", "shop_large.orders")
    one, other = (server.run(f"CHECKSUM TABLE {table}").split()[1] for table in tables)
    assert one == other
    server.run("DROP DATABASE shop_large; DROP DATABASE other")
    assert max(peaks.values()) < MOST, found
