"""Failover of real servers: the logs of a replica that was promoted continue those of its primary."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lifeboat.actions.logs import Shipped
from lifeboat.airflow.site import load_site
from lifeboat.catalog.proof import ChainProof
from lifeboat.site import Site

from include.demo.stand_ins import MariaDB, MySQL
from tests.command import answer, lifeboat
from tests.conftest import Configure
from tests.servers.databases.test_mysql_chain_drill import SHOP, _marks, rehearse
from tests.servers.databases.test_mysql_logs import back_up, ship, wait_for_next_second

SERVERS: dict[str, type[MySQL | MariaDB]] = {"mysql": MySQL, "mariadb": MariaDB}

Server = MySQL | MariaDB


@pytest.fixture(params=[pytest.param(name, marks=_marks(name)) for name in SERVERS])
def pair(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Server, Server]]:
    """A primary and its replica."""
    kind = SERVERS[request.param]
    options = ["--log-bin=log", "--binlog-format=ROW"]
    options += [] if kind is MariaDB else ["--gtid-mode=ON", "--enforce-gtid-consistency=ON"]
    updates = ("--log-slave-updates",) if kind is MariaDB else ()
    with (
        kind(tmp_path / "a", *options, "--server-id=7") as primary,
        kind(tmp_path / "b", *options, *updates, "--log-bin=other", "--server-id=8") as replica,
    ):
        if primary.path:
            monkeypatch.setenv("PATH", f"{primary.path}:{os.environ['PATH']}")
        primary.run("CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY, note VARCHAR(50))")
        follow(replica, primary)
        yield primary, replica


def follow(replica: Server, primary: Server) -> None:
    login = f"HOST = '{primary.host}', {{0}}PORT = {primary.port}, {{0}}USER = 'copy', {{0}}PASSWORD = 'Str0ng-copy'"
    primary.run("CREATE USER copy@'%' IDENTIFIED BY 'Str0ng-copy'; GRANT REPLICATION SLAVE ON *.* TO copy@'%'")
    if isinstance(replica, MySQL):
        to = "SOURCE_" + login.format("SOURCE_") + ", SOURCE_SSL = 1, SOURCE_AUTO_POSITION = 1"
        replica.run(f"CHANGE REPLICATION SOURCE TO {to}; START REPLICA")
    else:
        to = "MASTER_" + login.format("MASTER_") + ", MASTER_USE_GTID = slave_pos"
        replica.run(f"CHANGE MASTER TO {to}; START SLAVE")


def await_copy(replica: Server, count: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(RuntimeError):
            if replica.run("SELECT COUNT(*) FROM shop.orders").strip() == str(count):
                return
        time.sleep(0.1)
    raise AssertionError(replica.run("SHOW REPLICA STATUS"))


def promote(replica: Server) -> None:
    replica.run("STOP REPLICA; RESET REPLICA ALL" if isinstance(replica, MySQL) else "STOP SLAVE; RESET SLAVE ALL")


def put(server: Server, *ids: int) -> None:
    for number in ids:
        server.run(f"INSERT INTO shop.orders VALUES ({number}, 'at {number}')")


def site_at(server: Server, project: Configure, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("AIRFLOW_CONN_LOGGED_DB", server.connection())
    project(applications={"Shop": SHOP | {"logs": True}}, drill={"production": True})
    return load_site()


def test_the_logs_of_a_promoted_replica_continue_the_chain(
    pair: tuple[Server, Server], project: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    primary, replica = pair
    site = site_at(primary, project, monkeypatch)
    put(primary, 1, 2)
    back_up(site)
    put(primary, 3, 4)
    assert told(ship(site)) == (2, "")
    put(primary, 5)  # which only the replica's logs have then
    await_copy(replica, 5)
    primary.kill()
    promote(replica)
    put(replica, 6)
    wait_for_next_second(replica)
    site = site_at(replica, project, monkeypatch)
    shipped = ship(site)
    assert (shipped.new_chain, shipped.failed, shipped.keys[0][-10:]) == ("", {}, "000002.zip")
    back_up(site)
    put(replica, 7)
    assert told(ship(site)) == (1, "")
    proof = rehearse(site)
    assert isinstance(proof, ChainProof), proof
    assert proof.transactions == 4  # 3 to 6, each once
    listed = answer("logs", "Shop", "--table", "orders")
    assert len(listed["transactions"]) == 5
    for until, count in (("latest", 7), (of_row(6, "time"), 6), (of_row(5, "gtid"), 5)):
        done = lifeboat("restore", "database", "Shop", "--until", until, "--into", f"shop_{count}")
        assert done.returncode == 0, done.stderr
        assert replica.run(f"SELECT COUNT(*), MAX(id) FROM shop_{count}.orders").split() == [str(count)] * 2


def told(shipped: Shipped) -> tuple[int, str]:
    return shipped.transactions, shipped.new_chain


def of_row(number: int, fact: str) -> str:
    """Return a fact of the transaction that put a row, as the list of transactions has it."""
    found = answer("logs", "Shop", "--table", "orders")["transactions"]
    return str(found[number - 3][fact])  # the backup holds those before


@pytest.mark.matrix
def test_a_replica_that_lacks_what_was_shipped_begins_a_new_chain(
    pair: tuple[Server, Server], project: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    primary, replica = pair
    site = site_at(primary, project, monkeypatch)
    put(primary, 1)
    back_up(site)
    await_copy(replica, 1)
    promote(replica)
    put(primary, 2)
    ship(site)
    put(replica, 3)
    found = ship(site_at(replica, project, monkeypatch))
    assert "another server than before, whose log does not have transaction" in found.new_chain
