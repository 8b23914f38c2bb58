"""Replays on servers that fold names, with transactions of several domains, and prepared across the end of a replay."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import pytest
from lifeboat.databases.mysql import position as positions
from lifeboat.databases.mysql.replay import Stop

from tests.servers.databases.replaying import SOURCE, Server, different, logs_of, replayed, take
from tests.servers.databases.test_mysql_replay import OPTIONS, SERVERS

FOLDED = """
INSERT INTO Shop.Orders VALUES (2, 'b')
CREATE TABLE SHOP.Further LIKE Orders
INSERT INTO further SELECT * FROM ORDERS
CREATE VIEW Seen AS SELECT id FROM Shop.ORDERS
RENAME TABLE SEEN TO Viewed
RENAME TABLE Older TO Newer
ALTER TABLE shop.FURTHER ADD price INT DEFAULT 3
CREATE TRIGGER Told BEFORE INSERT ON Orders FOR EACH ROW SET NEW.note = 'told'
INSERT INTO orders VALUES (3, 'c')
"""

KINDS = [pytest.param(kind, marks=pytest.mark.needs(kind)) for kind in ("mysql", "mariadb")]

pytestmark = pytest.mark.matrix


@pytest.fixture(params=KINDS)
def start(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Server]]:
    """Start a server with further options; its clients are in PATH, and it has a schema with one table."""
    with contextlib.ExitStack() as opened:

        def started(*options: str) -> Server:
            server = SERVERS[request.param](tmp_path_factory.mktemp("server"), *OPTIONS, *options)
            opened.enter_context(server)
            if server.path:
                monkeypatch.setenv("PATH", f"{server.path}:{os.environ['PATH']}")
            server.run(f"CREATE DATABASE {SOURCE}")
            server.run(
                "CREATE TABLE orders (id INT PRIMARY KEY, note TEXT); INSERT INTO orders VALUES (1, 'a')", SOURCE
            )
            return server

        yield started


def test_names_that_the_server_folds(start: Callable[..., Server]) -> None:
    server = start("--lower-case-table-names=1")
    server.run("CREATE VIEW older AS SELECT note FROM orders", SOURCE)
    first = take(server)
    with contextlib.closing(server.connect(database=SOURCE)) as connection:
        for sql in filter(None, FOLDED.splitlines()):
            connection.cursor().execute(sql)
    last, pieces = take(server), logs_of(server)
    replayed(server, first, Stop(position=last.dump.position), pieces, SOURCE)
    assert different(server, last.dump, SOURCE) == []
    owners = "SELECT DISTINCT definer FROM information_schema.{} WHERE {}_schema = 'shop'"
    assert server.run(owners.format("views", "table")) == "root@localhost\n"
    assert server.run(owners.format("triggers", "trigger")) == "root@localhost\n"


@pytest.mark.parametrize("start", KINDS[1:], indirect=True)
def test_transactions_of_several_domains_that_interleave(start: Callable[..., Server]) -> None:
    server = start()
    states, number = [], 10

    def write(domain: int) -> None:
        nonlocal number
        number += 1
        server.run(f"SET gtid_domain_id = {domain}; INSERT INTO orders VALUES ({number}, 'domain {domain}')", SOURCE)

    for domain in (2, 0, 1):
        write(domain)
    first = take(server)
    for domain in (1, 2, 2, 0, 1):
        write(domain)
        gtids = {each.split("-")[0]: each for each in server.run("SELECT @@gtid_binlog_pos").strip().split(",")}
        states.append((gtids[str(domain)], take(server).dump))
    for gtid, dump in states:
        replayed(server, first, Stop(gtid=gtid))
        assert different(server, dump) == [], gtid
        replayed(server, first, Stop(position=dump.position))
        assert different(server, dump) == [], gtid


def test_transactions_that_are_prepared_on_one_side_of_an_end_and_committed_on_the_other(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(positions, "PATIENCE", 1)
    server = start()
    first = take(server)
    for name, number in (("kept", 50), ("lost", 51)):
        with contextlib.closing(server.connect(database=SOURCE)) as connection:
            for sql in ("XA START {}", f"INSERT INTO orders VALUES ({number}, 'x')", "XA END {}", "XA PREPARE {}"):
                connection.cursor().execute(sql.format(f"'{name}'"))
    server.run("INSERT INTO orders VALUES (60, 'between')", SOURCE)
    between = take(server)
    server.run("XA COMMIT 'kept'; XA ROLLBACK 'lost'")
    last = take(server)
    for begin, end in ((first, between), (first, last), (between, last)):
        replayed(server, begin, Stop(position=end.dump.position))
        assert different(server, end.dump) == []
