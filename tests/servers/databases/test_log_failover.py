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
from lifeboat.databases.mysql import position as positions
from lifeboat.site import Site

from include.demo.stand_ins import MariaDB, MySQL
from tests.command import answer, lifeboat
from tests.conftest import Configure
from tests.servers.databases.test_mysql_chain_drill import SHOP, _marks, rehearse
from tests.servers.databases.test_mysql_logs import back_up, ship, wait_for_next_second

SERVERS: dict[str, type[MySQL | MariaDB]] = {"mysql": MySQL, "mariadb": MariaDB}

Server = MySQL | MariaDB


ALL = [pytest.param(name, marks=_marks(name)) for name in SERVERS]


@contextlib.contextmanager
def servers(name: str, folder: Path, updates: str) -> Iterator[tuple[Server, Server]]:
    """Start two servers of a kind.

    :param updates: whether they log what they replicate.
    """
    kind = SERVERS[name]
    logs = "--log-slave-updates" if kind is MariaDB else "--log-replica-updates"
    options = ["--log-bin=log", "--binlog-format=ROW", f"{logs}={updates}"]
    options += [] if kind is MariaDB else ["--gtid-mode=ON", "--enforce-gtid-consistency=ON"]
    with (
        pytest.MonkeyPatch.context() as patch,
        kind(folder / "a", *options, "--server-id=7") as one,
        kind(folder / "b", *options, "--log-bin=other", "--server-id=8") as other,
    ):
        patch.setattr(positions, "HELD", 20)  # seconds: the machine may be busy
        yield one, other


@pytest.fixture(params=ALL)
def pair(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Server, Server]]:
    """A primary and its replica."""
    with servers(request.param, tmp_path, updates="ON") as (primary, replica):
        if primary.path:
            monkeypatch.setenv("PATH", f"{primary.path}:{os.environ['PATH']}")
        primary.run("CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY, note VARCHAR(50))")
        follow(replica, primary)
        yield primary, replica


def follow(replica: Server, primary: Server, position: str = "slave_pos") -> None:
    """Let a server replicate another one.

    :param position: of MariaDB, from which on it does.
    """
    login = f"HOST = '{primary.host}', {{0}}PORT = {primary.port}, {{0}}USER = 'copy', {{0}}PASSWORD = 'Str0ng-copy'"
    primary.run(
        "CREATE USER IF NOT EXISTS copy@'%' IDENTIFIED BY 'Str0ng-copy'; GRANT REPLICATION SLAVE ON *.* TO copy@'%'"
    )
    if isinstance(replica, MySQL):
        to = "SOURCE_" + login.format("SOURCE_") + ", SOURCE_SSL = 1, SOURCE_AUTO_POSITION = 1"
        replica.run(f"CHANGE REPLICATION SOURCE TO {to}; START REPLICA")
    else:
        to = "MASTER_" + login.format("MASTER_") + f", MASTER_USE_GTID = {position}"
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


@pytest.mark.matrix
def test_the_logs_of_the_first_server_continue_the_chain_when_it_takes_over_again(
    pair: tuple[Server, Server], project: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    site = site_at(first, project, monkeypatch)
    put(first, 1, 2)
    back_up(site)
    wait_for_next_second(first)
    put(first, 3)
    assert told(ship(site)) == (1, "")
    put(first, 4)
    await_copy(second, 4)
    promote(second)
    put(second, 5)
    site = site_at(second, project, monkeypatch)
    assert ship(site).new_chain == ""
    put(second, 6)
    wait_for_next_second(second)
    follow(first, second, "current_pos")
    await_copy(first, 6)
    promote(first)
    put(first, 7)
    wait_for_next_second(first)
    site = site_at(first, project, monkeypatch)
    shipped = ship(site)
    assert (shipped.new_chain, shipped.failed, shipped.keys[0][-10:]) == ("", {}, "000003.zip")
    put(first, 8)
    wait_for_next_second(first)
    assert told(ship(site)) == (1, "")
    back_up(site)
    assert ship(site) is not None
    proof = rehearse(site)
    assert isinstance(proof, ChainProof), proof
    listed = answer("logs", "Shop", "--table", "orders")["transactions"]
    assert [each["changes"]["shop.orders"]["insert_events"] for each in listed] == [1] * 6, listed  # 3 to 8, each once
    for until, count in (("latest", 8), (of_row(7, "gtid"), 7), (of_row(6, "time"), 6), (of_row(5, "gtid"), 5)):
        done = lifeboat("restore", "database", "Shop", "--until", until, "--into", f"shop_{count}")
        assert done.returncode == 0, done.stderr
        assert first.run(f"SELECT COUNT(*), MAX(id) FROM shop_{count}.orders").split() == [str(count)] * 2


@pytest.mark.matrix
@pytest.mark.parametrize("name", ALL)
def test_a_replica_that_logs_nothing_of_what_it_replicates_does_not_continue_the_chain(
    name: str, tmp_path: Path, project: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    with servers(name, tmp_path, updates="OFF") as (primary, replica):
        if primary.path:
            monkeypatch.setenv("PATH", f"{primary.path}:{os.environ['PATH']}")
        primary.run("CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY, note VARCHAR(50))")
        follow(replica, primary)
        site = site_at(primary, project, monkeypatch)
        put(primary, 1)
        back_up(site)
        put(primary, 2)
        assert told(ship(site)) == (1, "")
        put(primary, 3)  # which no log has that is still read
        await_copy(replica, 3)
        promote(replica)
        put(replica, 4)
        site = site_at(replica, project, monkeypatch)
        found = ship(site)
        assert "another server than before, whose log" in found.new_chain
        wait_for_next_second(replica)
        back_up(site)
        put(replica, 5)
        wait_for_next_second(replica)
        assert told(ship(site)) == (1, "")
        done = lifeboat("restore", "database", "Shop", "--until", "latest", "--into", "shop_5")
        assert done.returncode == 0, done.stderr
        assert replica.run("SELECT COUNT(*) FROM shop_5.orders").strip() == "5"


@pytest.mark.matrix
@pytest.mark.parametrize("name", ALL)
def test_an_application_on_two_servers(
    name: str, tmp_path: Path, project: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    with servers(name, tmp_path, updates="ON") as (one, other):
        if one.path:
            monkeypatch.setenv("PATH", f"{one.path}:{os.environ['PATH']}")
        databases = []
        for schema, server in (("shop", one), ("stock", other)):
            server.run(f"CREATE DATABASE {schema}; CREATE TABLE {schema}.t (id INT PRIMARY KEY)")
            monkeypatch.setenv(f"AIRFLOW_CONN_{schema.upper()}_DB", server.connection())
            databases.append({"name": schema, "connection": f"{schema}_db"})
        project(applications={"Shop": SHOP | {"databases": databases, "logs": True}}, drill={"production": True})
        site = load_site()
        back_up(site)
        for number in (1, 2, 3):
            one.run(f"INSERT INTO shop.t VALUES ({number})")
            other.run(f"INSERT INTO stock.t VALUES ({number}), (-{number})")
            wait_for_next_second(one)
            if number == 2:
                middle = one.run("SELECT UTC_TIMESTAMP()").strip().replace(" ", "T") + "Z"
                wait_for_next_second(one)
                ship(site)
        done = ship(site)
        assert (done.new_chain, done.failed, done.transactions) == ("", {}, 2)
        gtid = next(each["gtid"] for each in answer("logs", "Shop", "--table", "stock.t")["transactions"])
        for until, counts in ((middle, ["2", "4"]), ("latest", ["3", "6"])):
            restored = lifeboat("restore", "database", "Shop", "--until", until)
            assert restored.returncode == 0, restored.stderr
            found = [
                server.run(f"SELECT COUNT(*) FROM {copy}.t").strip()
                for server, schema in ((one, "shop"), (other, "stock"))
                for copy in server.run(f"SHOW DATABASES LIKE '{schema}\\_%'").split()
            ]
            assert found == counts
            for server in (one, other):
                for copy in server.run("SHOW DATABASES LIKE 's%\\_%'").split():
                    server.run(f"DROP DATABASE {copy}")
        refused = lifeboat("restore", "database", "Shop", "--until", gtid)
        assert refused.returncode == 1
        assert f"No transaction {gtid} is in the logs behind" in refused.stderr
        assert "The databases are on several servers, and a transaction is of one" in refused.stderr
        chosen = ("--database", "stock", "--into", "stock_1")
        restored = lifeboat("restore", "database", "Shop", "--until", gtid, *chosen)
        assert restored.returncode == 0, restored.stderr
        assert other.run("SELECT COUNT(*) FROM stock_1.t").strip() == "2"
        back_up(site)
        for server in (one, other):
            server.run("FLUSH LOGS")
        ship(site)
        proof = rehearse(site)
        assert isinstance(proof, ChainProof), proof
        assert proof.transactions == 6
