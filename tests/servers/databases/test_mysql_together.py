"""A database that several stock clients dump in one snapshot: the text, its digests, what it asks of writers."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import random
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from lifeboat.archive.deflated import DeflatedText
from lifeboat.databases import Aside, Dump, shares
from lifeboat.databases.mysql import dump as mysql_dump
from lifeboat.databases.mysql import locks, together
from lifeboat.errors import DumpError
from lifeboat.support import clock
from lifeboat.support.processes import Child

from include.demo.stand_ins import MariaDB, MySQL
from tests.conftest import SCHEMA

HERE = Path(__file__).parent
LIMITS = {name: getattr(locks, name) for name in ("HELD_SECONDS", "IDLE_SECONDS", "GRANT_SECONDS")}
SHOP = "everything"  # as the file names it
ODD_NAMES = ("`a b`", "`größe`", "`50%_off`", "`--table`", "`Case`", "`case`", "`quo``te`", "`quo'te`", "`back\\slash`")


class Taken(NamedTuple):
    """A dump, and its text as it is staged."""

    dump: Dump
    sql: bytes

    @property
    def contents(self) -> tuple[set[object], set[object]]:
        """Everything that its digests say."""
        return set(self.dump.tables), set(self.dump.objects)


@pytest.fixture(params=["mariadb", "mysql"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[MariaDB | MySQL]:
    """A server with an empty schema whose tables are all worth a client, and a machine that may be busy."""
    server: MariaDB | MySQL = request.getfixturevalue(request.param)
    if server.path:
        monkeypatch.setenv("PATH", f"{server.path}:{os.environ['PATH']}")
    monkeypatch.setattr(shares, "WORTH", 0)
    monkeypatch.setattr(locks, "HELD_SECONDS", 20)
    monkeypatch.setattr(locks, "IDLE_SECONDS", 20)
    monkeypatch.setattr(locks, "GRANT_SECONDS", 1)
    server.run(f"DROP DATABASE IF EXISTS {SHOP}; CREATE DATABASE {SHOP} CHARACTER SET utf8mb4")
    yield server
    server.run(f"DROP DATABASE IF EXISTS {SHOP}")


def take(server: MariaDB | MySQL, clients: int = 3, excluded: tuple[str, ...] = ()) -> Taken:
    """Dump by several clients, into a file as it is staged."""
    file = io.BytesIO()
    with contextlib.closing(DeflatedText(file, Path(tempfile.gettempdir()))) as text:  # type: ignore[arg-type]
        aside = Aside(clients, text.part, text.append)
        dump = mysql_dump.dump(server.connect, server.server, clock.now, SHOP, excluded, text.write, aside=aside)
        text.end()
    sql = gzip.decompress(file.getvalue())
    assert (dump.sql_bytes, dump.sha256) == (len(sql), hashlib.sha256(sql).hexdigest())
    return Taken(dump, sql)


def by_one(server: MariaDB | MySQL) -> Taken:
    """Dump by one client."""
    chunks: list[bytes] = []
    dump = mysql_dump.dump(server.connect, server.server, clock.now, SHOP, (), chunks.append)
    return Taken(dump, b"".join(chunks))


def lines(sql: bytes) -> list[bytes]:
    """Return the lines of a dump that say anything, in any order, without the time."""
    return sorted(line for line in sql.splitlines() if line and not line.startswith(b"-- Dump completed"))


def add_odd_tables(server: MariaDB | MySQL) -> None:
    """Make tables with odd names, whose rows look like comments."""
    for name in ODD_NAMES:
        server.run(f"CREATE TABLE {name} (id INT PRIMARY KEY, t TEXT); INSERT INTO {name} VALUES (1, '\\n-- x')", SHOP)


def test_the_text_is_what_one_client_writes(server: MariaDB | MySQL, caplog: pytest.LogCaptureFixture) -> None:
    of_family = "everything.mysql.sql" if isinstance(server, MySQL) else "everything.sql"
    server.run((HERE / of_family).read_text(), SHOP)
    add_odd_tables(server)
    one, taken = by_one(server), take(server)
    assert not [record for record in caplog.records if "One client" in record.message]
    assert taken.contents == one.contents
    assert lines(taken.sql) == lines(one.sql)


def test_the_stock_client_restores_the_text(server: MariaDB | MySQL) -> None:
    # Not everything of MariaDB: its own client does not load some of that.
    server.run((HERE / "everything.mysql.sql").read_text() if isinstance(server, MySQL) else SCHEMA, SHOP)
    add_odd_tables(server)
    one, taken = by_one(server), take(server)
    server.run(f"DROP DATABASE {SHOP}; CREATE DATABASE {SHOP} CHARACTER SET utf8mb4")
    server.run(taken.sql, SHOP)
    assert by_one(server).contents == one.contents


@contextlib.contextmanager
def moving_money(server: MariaDB | MySQL) -> Iterator[list[float]]:
    """Move money between two tables all the time; the list says at the end how long each transaction took."""
    server.run("CREATE TABLE giving (id INT PRIMARY KEY, euros INT); CREATE TABLE taking LIKE giving", SHOP)
    for table in ("giving", "taking"):
        server.run(f"INSERT INTO {table} VALUES {', '.join(f'({n}, 1000)' for n in range(50))}", SHOP)
    stop, seconds = Event(), [0.0]

    def move() -> None:
        with contextlib.closing(server.connect(database=SHOP, autocommit=False)) as connection:
            cursor = connection.cursor()
            while not stop.is_set():
                begun, number = time.monotonic(), random.randrange(50)
                cursor.execute(f"UPDATE giving SET euros = euros - 1 WHERE id = {number}")
                cursor.execute(f"UPDATE taking SET euros = euros + 1 WHERE id = {number}")
                connection.commit()
                seconds.append(time.monotonic() - begun)

    thread = Thread(target=move)
    thread.start()
    try:
        yield seconds
    finally:
        stop.set()
        thread.join()


def test_all_clients_see_one_moment(server: MariaDB | MySQL, caplog: pytest.LogCaptureFixture) -> None:
    with moving_money(server) as seconds:
        for _ in range(5):
            taken = take(server, clients=2)
            server.run("DROP DATABASE IF EXISTS together_copy; CREATE DATABASE together_copy")
            server.run(taken.sql, "together_copy")
            total = "SELECT (SELECT SUM(euros) FROM giving) + (SELECT SUM(euros) FROM taking)"
            assert server.run(total, "together_copy") == "100000\n"
    server.run("DROP DATABASE together_copy")
    assert not [record for record in caplog.records if "One client" in record.message]
    assert len(seconds) > 20


@pytest.mark.parametrize("is_stuck", [False, True], ids=["usual", "stuck client"])
def test_no_writer_waits_long(server: MariaDB | MySQL, monkeypatch: pytest.MonkeyPatch, is_stuck: bool) -> None:
    for name, seconds in LIMITS.items():
        monkeypatch.setattr(locks, name, seconds)
    if is_stuck:
        monkeypatch.setattr(Child, "go", lambda self: None)
    longest = []
    for _ in range(5):  # this machine may let anybody wait, so what counts is the best of some tries
        with moving_money(server) as seconds:
            take(server, clients=2)
        server.run("DROP TABLE giving, taking", SHOP)
        longest.append(max(seconds))
    assert min(longest) < 0.2, longest
    assert not is_stuck or max(longest) > locks.HELD_SECONDS / 2, longest  # somebody did wait


def test_a_transaction_that_stays_open_leaves_the_dump_to_one_client(
    server: MariaDB | MySQL, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 1)
    server.run("CREATE TABLE a (id INT PRIMARY KEY); CREATE TABLE b (id INT PRIMARY KEY)", SHOP)
    with contextlib.closing(server.connect(database=SHOP, autocommit=False)) as writer:
        writer.cursor().execute("INSERT INTO b VALUES (1)")
        assert [table.rows for table in take(server).dump.tables] == [0, 0]
    assert "One client dumps everything instead of 2: its tables could not be locked" in caplog.text


def test_locks_that_end_too_early_leave_the_dump_to_one_client(
    server: MariaDB | MySQL, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(locks, "HELD_SECONDS", 0.3)
    server.run("CREATE TABLE a (id INT PRIMARY KEY); CREATE TABLE b (id INT PRIMARY KEY)", SHOP)
    monkeypatch.setattr(Child, "go", lambda self: None)  # a client that is stuck
    assert len(take(server).dump.tables) == 2
    assert "they had no snapshot within the 0.3 seconds" in caplog.text
    server.run("SET lock_wait_timeout = 1; INSERT INTO a VALUES (1)", SHOP)


@pytest.mark.parametrize("killed", [0, 1], ids=["first", "other"])
def test_a_killed_client_fails_the_dump(server: MariaDB | MySQL, monkeypatch: pytest.MonkeyPatch, killed: int) -> None:
    for table in ("a", "b"):  # each more than its client can write before it is killed
        server.run(f"CREATE TABLE {table} (id INT PRIMARY KEY, t LONGTEXT)", SHOP)
        server.run(f"INSERT INTO {table} VALUES (1, REPEAT('x', 8000000))", SHOP)
    pump = together.pump
    running: list[Child] = []

    def kill(task: mysql_dump.Task, group: together.Started, *others: object) -> object:
        running.extend(group.clients)
        group.clients[killed].stop()
        return pump(task, group, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(together, "pump", kill)
    with pytest.raises(DumpError, match="killed by SIGKILL"):
        take(server)
    assert len(running) == 2
    assert all(client.wait() is not None for client in running)


def test_excluded_tables_and_few_tables(server: MariaDB | MySQL) -> None:
    assert not take(server).dump.tables
    server.run("CREATE TABLE a (id INT PRIMARY KEY)", SHOP)
    assert [table.name for table in take(server).dump.tables] == ["a"]
    server.run("CREATE TABLE b (id INT PRIMARY KEY); CREATE TABLE c (id INT PRIMARY KEY)", SHOP)
    assert {table.name for table in take(server, excluded=("b",)).dump.tables} == {"a", "c"}


def test_the_documented_user_may(server: MariaDB | MySQL, caplog: pytest.LogCaptureFixture) -> None:
    from tests.servers.databases.test_mysql_grants import statements

    family = "MySQL" if isinstance(server, MySQL) else "MariaDB"
    clear = "DROP USER IF EXISTS lifeboat_backup;"
    server.run(f"{clear} {statements('backups', family).replace('shop', SHOP)}")
    server.run("CREATE TABLE a (id INT PRIMARY KEY); CREATE TABLE b (id INT PRIMARY KEY)", SHOP)
    place = partial(type(server.server), server.host, server.port, "lifeboat_backup", "pw")
    tls = {"ssl-mode": "REQUIRED"} if family == "MySQL" else {}
    login = {"user": "lifeboat_backup", "password": "pw"}
    as_user = SimpleNamespace(connect=partial(server.connect, **login), server=place(tls=tls))
    dump = take(as_user).dump  # type: ignore[arg-type]
    server.run(clear)
    assert len(dump.tables) == 2
    assert "One client" not in caplog.text
