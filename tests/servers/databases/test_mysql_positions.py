"""Dumps without a binary-log position say why; looking for one holds up no writer for longer than it may."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import Event, Thread

import pytest
from lifeboat.databases import Dump, Server
from lifeboat.databases.mysql import dump as mysql_dump
from lifeboat.databases.mysql import position as positions
from lifeboat.databases.mysql import source as mysql_source
from lifeboat.databases.mysql.source import Source
from lifeboat.support import clock

from include.demo.stand_ins import MariaDB, MySQL
from tests.servers.databases.test_mysql import wait_until
from tests.servers.databases.test_mysql_grants import statements

SHOP = "positions"
USER = "lifeboat_backup"
FIRST, LAST = "accounts", "zones"  # of the tables, in the order in which LOCK TABLES takes them


@pytest.fixture
def server(mysql: MySQL, monkeypatch: pytest.MonkeyPatch) -> Iterator[MySQL]:
    """MySQL with two tables, and the documented user."""
    monkeypatch.setenv("PATH", f"{mysql.path}:{os.environ['PATH']}")
    clear = f"DROP DATABASE IF EXISTS {SHOP}; DROP USER IF EXISTS {USER};"
    mysql.run(f"{clear} CREATE DATABASE {SHOP}; {statements('backups', 'MySQL').replace('shop', SHOP)}")
    for table in (FIRST, LAST):
        mysql.run(f"CREATE TABLE {table} (id INT PRIMARY KEY); INSERT INTO {table} VALUES (1)", SHOP)
    yield mysql
    mysql.run(clear)


def take(server: MySQL, write: Callable[[bytes], object] = lambda chunk: None) -> Dump:
    """Dump as root, for an application whose logs are shipped."""
    return mysql_dump.dump(server.connect, server.server, clock.now, SHOP, (), write, may_lock=True)


def take_as_user(
    server: MySQL, write: Callable[[bytes], object] = lambda chunk: None, connect: Callable[[], object] | None = None
) -> Dump:
    """Dump as the documented user."""
    place = Server(server.host, server.port, USER, "pw", tls={"ssl-mode": "REQUIRED"})
    connect = connect or partial(server.connect, user=USER, password="pw")
    return mysql_dump.dump(connect, place, clock.now, SHOP, (), write, may_lock=True)


@contextlib.contextmanager
def writing(server: MySQL, table: str) -> Iterator[None]:
    """Hold a transaction open that has written a table."""
    with contextlib.closing(server.connect(database=SHOP, autocommit=False)) as connection:
        connection.cursor().execute(f"INSERT INTO {table} VALUES (-1)")
        yield
        connection.rollback()


@contextlib.contextmanager
def longest_write(server: MySQL) -> Iterator[list[float]]:
    """Write the first table all the time; the list says at the end how long the slowest write took."""
    stop, seconds = Event(), [0.0]

    def write() -> None:
        with contextlib.closing(server.connect(database=SHOP)) as connection:
            while not stop.is_set():
                begun = time.monotonic()
                connection.cursor().execute(f"UPDATE {FIRST} SET id = 3 - id")
                seconds[0] = max(seconds[0], time.monotonic() - begun)

    thread = Thread(target=write)
    thread.start()
    try:
        yield seconds
    finally:
        stop.set()
        thread.join()


def test_a_server_without_a_binary_log(mariadb: MariaDB, shop: str) -> None:
    dump = mysql_dump.dump(mariadb.connect, mariadb.server, clock.now, shop, (), lambda chunk: None)
    assert (dump.position, dump.no_position) == (None, "the server writes no binary log (log_bin is off)")


def test_without_logs_nothing_is_locked(server: MySQL) -> None:
    opened: list[object] = []

    def connect() -> object:
        opened.append(server.connect())
        return opened[-1]

    dump = mysql_dump.dump(connect, server.server, clock.now, SHOP, (), lambda chunk: None)
    assert (dump.position, dump.no_position) == (None, positions.NOT_ASKED_FOR)
    assert len(opened) == 1


def test_a_user_without_the_right_locks_nothing(server: MySQL) -> None:
    opened: list[object] = []

    def connect() -> object:
        opened.append(server.connect(user=USER, password="pw"))
        return opened[-1]

    assert take_as_user(server, connect=connect).no_position == positions.DENIED
    assert len(opened) == 1
    server.run(statements("positions", "MySQL"))
    found = take_as_user(server).position
    assert found
    assert found.how == "table locks"


def test_names_are_locked_whatever_the_character_set_of_the_connection(server: MySQL) -> None:
    server.run("CREATE TABLE `größen` (id INT PRIMARY KEY)", SHOP)
    connect = partial(server.connect, charset="latin1")
    dump = mysql_dump.dump(connect, server.server, clock.now, SHOP, (), lambda chunk: None, may_lock=True)
    assert dump.position, dump.no_position


def test_an_open_transaction_is_waited_for_without_a_lock(server: MySQL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "PATIENCE", 2)
    with writing(server, LAST), longest_write(server) as seconds:
        dump = take(server)
    why = "its tables could not be locked: transactions on them stayed open for 2 seconds"
    assert dump.no_position == f"{why}, and something was written during each of {positions.SNAPSHOTS} snapshots"
    assert dump.tables
    assert seconds[0] < positions.LOCK_SECONDS


def test_where_nobody_commits_during_a_snapshot_its_position_is_known_without_a_lock(
    server: MySQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(positions, "PATIENCE", 1)
    see, begun, chunks = positions._visible_end, list[int](), list[bytes]()

    def write_behind_the_first(session: mysql_dump.Session) -> mysql_source.LogEnd | None:
        end = see(session)
        begun.append(len(chunks))
        if len(begun) == 1:
            server.run(f"INSERT INTO {FIRST} VALUES (7)", SHOP)
        return end

    monkeypatch.setattr(positions, "_visible_end", write_behind_the_first)
    server.run(statements("positions", "MySQL"))
    with writing(server, LAST):
        dump = take_as_user(server, chunks.append)
        file, offset, gtids = server.run("SHOW BINARY LOG STATUS").split()
    assert dump.position, dump.no_position
    assert begun == [0, 0], "the client started again, and nothing of the first snapshot was written"
    assert (dump.position.file, dump.position.offset, dump.position.gtids) == (file, int(offset), gtids)
    assert dump.position.how == "quiet interval"
    assert [table.rows for table in dump.tables] == [2, 1]
    assert dump.sha256 == hashlib.sha256(b"".join(chunks)).hexdigest()


def test_a_user_who_may_not_lock_tables_gets_the_position_of_a_quiet_interval(server: MySQL) -> None:
    server.run(f"{statements('positions', 'MySQL')} REVOKE LOCK TABLES ON {SHOP}.* FROM {USER}")
    dump = take_as_user(server)
    assert dump.position, dump.no_position
    assert dump.position.how == "quiet interval"


def test_the_end_of_the_log_counts_once_snapshots_see_what_is_before_it(server: MySQL) -> None:
    server.run("SET GLOBAL binlog_group_commit_sync_delay = 500000")  # from the log to the tables, in microseconds
    insert = Thread(target=server.run, args=(f"INSERT INTO {FIRST} VALUES (7)", SHOP))
    try:
        with contextlib.closing(mysql_dump.Session(server.connect())) as session:
            before = mysql_source.log_end(session)
            insert.start()
            wait_until(lambda: mysql_source.log_end(session) != before)
            count = f"SELECT COUNT(*) FROM {SHOP}.{FIRST}"
            assert session.query(count) == [(1,)], "it is in the log, and not in the table"
            end = positions._visible_end(session)
            assert session.query(count) == [(2,)]
            assert end
            assert end.file
    finally:
        insert.join()
        server.run("SET GLOBAL binlog_group_commit_sync_delay = 0")


def test_a_transaction_that_comes_in_between_holds_writers_up_for_a_second(
    server: MySQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(positions, "_wait_for_each", lambda locker, tables: None)
    with writing(server, LAST), longest_write(server) as seconds:
        dump = take(server)
    assert dump.no_position.startswith("its tables could not be locked: transactions on them stayed open")
    assert positions.LOCK_SECONDS / 2 < seconds[0] < positions.HELD, "it waits with the first table locked"


def test_locks_end_in_time_whatever_the_client_does(server: MySQL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "HELD", 1)
    client = mysql_dump.find_client(for_mariadb=False)
    with contextlib.closing(mysql_dump.Session(server.connect())) as session:
        source = mysql_source.read(session, SHOP, session.version())
        begun = time.monotonic()
        with positions.finding(session, server.connect, source, client, (), may_lock=True) as finder:
            server.run(f"INSERT INTO {FIRST} VALUES (9)", SHOP)  # waits until they end
            waited = time.monotonic() - begun
            found = finder.found()
    assert found == "the dump did not begin within the 1 seconds for which its tables may be locked"
    assert waited > 0.9


def test_a_failing_dump_gives_its_locks_up(server: MySQL) -> None:
    def fail(chunk: bytes) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        take(server, fail)
    server.run(f"SET lock_wait_timeout = 1; INSERT INTO {FIRST} VALUES (9); INSERT INTO {LAST} VALUES (9)", SHOP)


def test_a_killed_dump_leaves_no_lock(server: MySQL, tmp_path: Path) -> None:
    client = shutil.which("mysqldump")
    stuck = tmp_path / "mysqldump"
    stuck.write_text(f'#!/bin/sh\ncase "$*" in *--help*) exec {client} "$@";; esac\nexec sleep 600\n')
    stuck.chmod(0o755)
    script = tmp_path / "task.py"
    place = server.server
    script.write_text(
        "import MySQLdb\nfrom lifeboat.databases import Server\nfrom lifeboat.databases.mysql import dump, position\n"
        "from lifeboat.support import clock\n"
        f"position.HELD = 600\nserver = Server({place.host!r}, {place.port}, 'root', {place.password!r})\n"
        "connect = lambda: MySQLdb.connect(host=server.host, port=server.port, user='root', password=server.password)\n"
        f"dump.dump(connect, server, clock.now, {SHOP!r}, (), lambda chunk: None, may_lock=True)\n"
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    task = subprocess.Popen([sys.executable, script], env=os.environ | {"PATH": path})
    query = "SELECT COUNT(*) FROM performance_schema.metadata_locks WHERE lock_type = 'SHARED_READ_ONLY'"
    wait_until(lambda: server.run(query).strip() == "2", 30)
    task.send_signal(signal.SIGKILL)
    task.wait()
    wait_until(lambda: server.run(query).strip() == "0")


def test_a_second_connection_that_is_refused_fails_no_dump(server: MySQL) -> None:
    server.run(f"{statements('positions', 'MySQL')} ALTER USER {USER} WITH MAX_USER_CONNECTIONS 1")
    place = Server(server.host, server.port, USER, "pw", tls={"ssl-mode": "REQUIRED"})
    connect = partial(server.connect, user=USER, password="pw")
    session = mysql_dump.Session(connect())
    with contextlib.closing(session):
        source = Source(SHOP, "9.7-MySQL", (), (), (), (), ())
        client = mysql_dump.find_client(for_mariadb=False)
        with positions.finding(session, connect, source, client, (), may_lock=True) as finder:
            found = finder.found()
    assert place.user in str(found)
    assert "max_user_connections" in str(found)
