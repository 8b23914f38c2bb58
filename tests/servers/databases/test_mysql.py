"""Dumps of a real MariaDB, and what differs between clients."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, cast

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from lifeboat.airflow import connections
from lifeboat.databases import Dump, Server
from lifeboat.databases.mysql import dump as mysql
from lifeboat.databases.mysql.digest import DumpParser
from lifeboat.databases.mysql.engine import MySQL as MySQLEngine
from lifeboat.errors import DumpError, SettingsError
from lifeboat.settings.config import Database
from lifeboat.support import clock
from lifeboat.support.processes import secret_file

from include.demo.server_roots import Root
from include.demo.stand_ins import MariaDB, MariaDB118

TEXTS = Path(__file__).with_name("reconstructed")
MYSQL_HELP = (TEXTS / "mysqldump-8.4.options.txt").read_text()


def take(mariadb: MariaDB, database: str, excluded: tuple[str, ...] = (), **changes: Any) -> tuple[Dump, bytes]:
    server = replace(mariadb.server, **changes)
    login = {"user": server.user, "password": server.password, "port": server.port}
    chunks: list[bytes] = []
    dump = mysql.dump(lambda: mariadb.connect(**login), server, clock.now, database, excluded, chunks.append)
    return dump, b"".join(chunks)


def checksums(mariadb: MariaDB, database: str) -> dict[str, str]:
    tables = ["users", "orders", "page_views", "empty_one"]
    lines = mariadb.run(f"CHECKSUM TABLE {', '.join(tables)}", database).splitlines()
    return dict(line.removeprefix(f"{database}.").split("\t") for line in lines)


def test_a_private_server_deletes_no_temporary_tables_of_others(mariadb: MariaDB) -> None:
    assert mariadb.run("SELECT @@tmpdir").strip() == str(mariadb.directory / "tmp")


def test_everything_survives_the_stock_client(mariadb: MariaDB, shop: str) -> None:
    dump, sql = take(mariadb, shop)
    assert {table.name: table.rows for table in dump.tables} == {
        "users": 5,
        "orders": 3000,
        "page_views": 500,
        "empty_one": 0,
    }
    found = {(entry.kind, entry.name) for entry in dump.objects}
    expected = {
        *(("view", "totals"), ("view", "big_totals"), ("trigger", "no_negative"), ("procedure", "tidy")),
        *(("function", "twice"), ("event", "nightly"), ("sequence", "invoice_numbers")),
    }
    assert found == expected
    mariadb.run("DROP DATABASE IF EXISTS copy; CREATE DATABASE copy")
    mariadb.run(sql, "copy")
    assert checksums(mariadb, "copy") == checksums(mariadb, shop)
    again, _ = take(mariadb, "copy")
    assert again.tables == dump.tables
    assert set(again.objects) == set(dump.objects)
    mariadb.run("DROP DATABASE copy")


def test_excluded_tables_are_left_out(mariadb: MariaDB, shop: str) -> None:
    dump, sql = take(mariadb, shop, ("page_views",))
    assert "page_views" not in {table.name for table in dump.tables}
    assert dump.excluded_tables == ("page_views",)
    assert b"CREATE TABLE `page_views`" not in sql


def test_excluding_a_table_excludes_no_other(mariadb: MariaDB, shop: str, caplog: pytest.LogCaptureFixture) -> None:
    mariadb.run("CREATE TABLE Users2 (id INT); CREATE TABLE users2 (id INT)", shop)
    with pytest.raises(DumpError, match="Excluding 'Users2' would also exclude 'users2'"):
        take(mariadb, shop, ("Users2",))
    dump, _ = take(mariadb, shop, ("sesions",))
    assert dump.warnings == ("shop: exclude_tables names 'sesions', which is not there",)
    assert "exclude_tables names 'sesions'" in caplog.text


def test_a_user_who_sees_no_triggers_fails(mariadb: MariaDB, shop: str) -> None:
    """Clients leave out silently what their user may not see."""
    take_blindly = partial(take, mariadb, shop, user="blind", password="pw")
    mariadb.run("DROP USER IF EXISTS blind@localhost; CREATE USER blind@localhost IDENTIFIED BY 'pw'")
    mariadb.run(f"GRANT SELECT, SHOW VIEW, LOCK TABLES, EVENT ON `{shop}`.* TO blind@localhost")
    with pytest.raises(DumpError, match=r"The user lacks TRIGGER and SELECT ON mysql.proc .*Grant it"):
        take_blindly()
    mariadb.run(f"GRANT TRIGGER ON `{shop}`.* TO blind@localhost; GRANT SELECT ON mysql.proc TO blind@localhost")
    dump, _ = take_blindly()
    assert {entry.kind for entry in dump.objects} >= {"trigger", "procedure", "function", "event", "view"}


@pytest.mark.parametrize(
    ("grants", "missing"),
    [
        (["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"], 0),
        (["GRANT USAGE ON *.* TO `u`@`%`", "GRANT ALL PRIVILEGES ON `shop`.* TO `u`@`%`"], 0),
        (["GRANT ALL PRIVILEGES ON `sh%`.* TO `u`@`%`"], 0),
        (["GRANT ALL PRIVILEGES ON `sh\\_p`.* TO `u`@`%`"], 2),
        (["GRANT SELECT, TRIGGER ON `shop`.* TO `u`@`%`"], 1),
        (["GRANT SELECT, TRIGGER ON `shop`.* TO `u`@`%`", "GRANT SHOW_ROUTINE ON *.* TO `u`@`%`"], 0),
        (["GRANT TRIGGER ON `shop`.* TO `u`@`%`", "GRANT SELECT ON `mysql`.`proc` TO `u`@`%`"], 0),
        (["GRANT SELECT ON *.* TO `u`@`%`"], 1),
        (["GRANT ALL PRIVILEGES ON `other`.* TO `u`@`%`"], 2),
    ],
)
def test_grants_that_a_dump_needs(grants: list[str], missing: int) -> None:
    assert len(mysql.missing_grants(grants, "shop")) == missing


def test_a_connection_that_asks_for_dictionaries(mariadb: MariaDB, shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"extra": {"cursor": "dictcursor", "charset": "utf8mb4"}}
    monkeypatch.setenv("AIRFLOW_CONN_DICTS", json.dumps(json.loads(mariadb.connection()) | extra))
    engine = connections.engine(Database(name=shop, connection="dicts"), Path("/unused"))
    assert engine.dump(shop, (), lambda chunk: None).rows == 3505


@pytest.mark.parametrize("extra", ["no JSON", "[1]", '"text"'])
def test_an_extra_that_is_no_object_is_refused(mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch, extra: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ODD", json.dumps(json.loads(mariadb.connection()) | {"extra": extra}))
    with pytest.raises(SettingsError, match="The extra of Airflow connection 'odd' is not a JSON object"):
        connections.engine(Database(name="shop", connection="odd"), Path("/unused"))


def test_writers_are_neither_locked_out_nor_seen(mariadb: MariaDB, shop: str) -> None:
    mariadb.run("CREATE TABLE pairs (id INT PRIMARY KEY, total INT); INSERT INTO pairs VALUES (1, 50), (2, 50)", shop)
    stop = False

    def write() -> None:
        connection = mariadb.connect(database=shop)
        cursor = connection.cursor()
        while not stop:
            cursor.execute("START TRANSACTION")
            cursor.execute("UPDATE pairs SET total = total - 1 WHERE id = 1")
            cursor.execute("UPDATE pairs SET total = total + 1 WHERE id = 2")
            cursor.execute("COMMIT")
        connection.close()

    writer = Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            _, sql = take(mariadb, shop)
            rows = re.search(rb"INSERT INTO `pairs` VALUES\n\(1,(-?\d+)\),\n\(2,(-?\d+)\)", sql)
            assert rows
            assert int(rows[1]) + int(rows[2]) == 100
    finally:
        stop = True
        writer.join()


def test_tables_that_no_snapshot_protects_are_named(mariadb: MariaDB, shop: str) -> None:
    mariadb.run("CREATE TABLE old (id INT) ENGINE=MyISAM; CREATE TABLE older (id INT) ENGINE=Aria", shop)
    dump, _ = take(mariadb, shop)
    assert dump.unprotected_tables == ("old", "older")
    assert f"{shop}: no snapshot protects old, older" in dump.notices


@pytest.mark.parametrize(
    ("changes", "database", "said"),
    [
        ({"password": "wrong"}, "shop", r"Access denied.*Check login and password"),
        ({}, "no_such", r"no database 'no_such'.*Check the database's name"),
        ({"port": 1}, "shop", r"Can't connect.*Check host, port"),
    ],
)
def test_what_cannot_be_dumped_is_told_in_a_sentence(
    mariadb: MariaDB, shop: str, changes: dict[str, Any], database: str, said: str
) -> None:
    with pytest.raises(DumpError, match=said) as caught:
        take(mariadb, database, **changes)
    assert f"Dump of database '{database}' on 127.0.0.1:" in str(caught.value)
    assert mariadb.password not in str(caught.value)


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """A server of its own, with TLS, for what would disturb other tests."""
    folder = tmp_path_factory.mktemp("second")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    options = (f"--ssl-ca={folder / 'ca.pem'}", f"--ssl-cert={folder / 'cert.pem'}", f"--ssl-key={folder / 'key.pem'}")
    with MariaDB(folder / "mariadb", *options) as server:
        server.run(
            "CREATE USER careful@localhost IDENTIFIED BY 'pw' REQUIRE SSL; GRANT ALL ON *.* TO careful@localhost"
        )
        yield server


@pytest.mark.parametrize("newer", [False, pytest.param(True, marks=pytest.mark.needs("mariadb_118"))])
@pytest.mark.parametrize(
    ("extra", "refused"),
    [
        ({}, ""),
        ({"ssl_mode": "REQUIRED"}, ""),
        ({"ssl": {"ca": "ca.pem"}}, ""),
        ({"ssl": {"ca": "other.pem"}}, "certificate.*Check ssl and ssl_mode"),
        ({"ssl": '{"ca": "ca.pem"}', "ssl_mode": "VERIFY_IDENTITY"}, ""),
        ({"ssl_mode": "DISABLED"}, "Access denied.*needs ssl_mode"),
        ({"ssl": {"ca": "other.pem"}, "ssl_mode": "VERIFY_CA"}, "certificate.*Check ssl and ssl_mode"),
    ],
)
def test_tls_as_the_airflow_connection_says(
    second: MariaDB,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    extra: dict[str, Any],
    refused: str,
    *,
    newer: bool,
) -> None:
    """By an older client, and by a newer one, which verifies certificates unless it is told not to."""
    if newer:
        clients = Root(MariaDB118.suite).link(MariaDB118.clients, tmp_path / "clients")
        monkeypatch.setenv("PATH", f"{clients}:{os.environ['PATH']}")
    folder = second.directory.parent
    trustme.CA().cert_pem.write_to_path(folder / "other.pem")
    text = json.dumps(extra).replace("ca.pem", str(folder / "ca.pem")).replace("other.pem", str(folder / "other.pem"))
    login = {"login": "careful", "password": "pw", "extra": json.loads(text)}
    monkeypatch.setenv("AIRFLOW_CONN_CAREFUL", json.dumps(json.loads(second.connection()) | login))
    engine = connections.engine(Database(name="mysql", connection="careful"), Path("/unused"))
    with pytest.raises(DumpError, match=refused) if refused else contextlib.nullcontext():
        engine.dump("mysql", (), lambda chunk: None)


CLIENTS = ("mysqlclient", "mysql-connector-python")


def opened(server: Any, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Any:
    """Open a connection of the driver as the engine of an Airflow connection does."""
    monkeypatch.setenv("AIRFLOW_CONN_WIRED", json.dumps(json.loads(server.connection()) | changes))
    engine = cast(MySQLEngine, connections.engine(Database(name="x", connection="wired"), Path("/unused")))
    return engine._connect()


def cipher_of(connection: Any) -> str:
    with contextlib.closing(connection), contextlib.closing(connection.cursor()) as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
        return str(cursor.fetchall()[0][1])


@pytest.mark.parametrize("server", ["mysql", "mariadb_118", "second"])
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("extra", "encrypted"),
    [
        pytest.param({}, True, id="unset"),
        pytest.param({"ssl_mode": "PREFERRED"}, True, id="preferred"),
        pytest.param({"ssl_mode": "preferred"}, True, id="small-letters"),
        pytest.param({"ssl_mode": "REQUIRED"}, True, id="required"),
        pytest.param({"ssl_mode": "DISABLED"}, False, id="disabled"),
    ],
)
def test_rows_travel_encrypted_wherever_the_server_offers_it(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    server: str,
    client: str,
    extra: dict[str, str],
    encrypted: bool,
) -> None:
    connection = opened(request.getfixturevalue(server), monkeypatch, extra=extra | {"client": client})
    assert bool(cipher_of(connection)) == encrypted


@pytest.mark.parametrize("client", CLIENTS)
def test_no_file_of_the_worker_goes_to_a_server(
    mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, client: str
) -> None:
    (tmp_path / "secret").write_text("secret")
    mariadb.run("DROP DATABASE IF EXISTS taken; CREATE DATABASE taken; CREATE TABLE taken.t (a TEXT)")
    connection = opened(mariadb, monkeypatch, extra={"client": client})
    with (
        contextlib.closing(connection),
        contextlib.closing(connection.cursor()) as cursor,
        pytest.raises(Exception, match="4166"),
    ):
        cursor.execute(f"LOAD DATA LOCAL INFILE '{tmp_path}/secret' INTO TABLE taken.t")
    mariadb.run("DROP DATABASE taken")


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("mode", ["", "PREFERRED", "DISABLED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY", "a CA"])
def test_a_server_without_tls_is_refused_where_tls_is_demanded(
    mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, client: str, mode: str
) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    asked = {"ssl": {"ca": str(tmp_path / "ca.pem")}} if mode == "a CA" else {"ssl_mode": mode}
    extra = {"client": client} | (asked if mode else {})
    if mode in ("", "PREFERRED", "DISABLED"):
        assert cipher_of(opened(mariadb, monkeypatch, extra=extra)) == ""
    else:  # a driver may refuse by itself, or go on without a word
        with pytest.raises(Exception, match=r"requires TLS, which 127\.0\.0\.1:\d+ does not offer|SSL"):
            opened(mariadb, monkeypatch, extra=extra)


@pytest.mark.parametrize("server", ["mysql", "mariadb"])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_server_that_allows_small_joins_only_is_reached(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server: str, client: str
) -> None:
    found = request.getfixturevalue(server)
    found.run("SET GLOBAL max_join_size = 1")
    try:
        opened(found, monkeypatch, extra={"client": client}).close()
    finally:
        found.run("SET GLOBAL max_join_size = DEFAULT")


def test_a_server_that_offers_only_broken_tls_is_reached_without_it(
    mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    import MySQLdb

    connect, modes = MySQLdb.connect, []

    def broken(**options: Any) -> Any:
        modes.append(options.pop("ssl_mode", ""))
        if modes[-1]:
            raise MySQLdb.OperationalError(2026, "TLS/SSL error: no shared cipher")
        return connect(**options)

    monkeypatch.setattr(MySQLdb, "connect", broken)
    assert cipher_of(opened(mariadb, monkeypatch)) == ""
    assert modes == ["REQUIRED", ""]


def test_a_unix_socket_is_used_where_the_connection_names_one(second: MariaDB, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"host": "localhost", "port": 1, "extra": {"unix_socket": str(second.socket)}}
    monkeypatch.setenv("AIRFLOW_CONN_NEAR", json.dumps(json.loads(second.connection()) | changes))
    engine = connections.engine(Database(name="mysql", connection="near"), Path("/unused"))
    assert engine.dump("mysql", (), lambda chunk: None).rows > 0


def test_a_server_that_goes_away_fails_the_dump(second: MariaDB) -> None:
    """Killed while the dump reads: neither the client's status nor the missing trailer may pass unseen."""
    second.run("CREATE DATABASE big; CREATE TABLE big.a (t LONGTEXT)")
    second.run("INSERT INTO big.a SELECT repeat('x', 100000) FROM mysql.help_topic LIMIT 300")

    def kill(_: bytes) -> None:
        second.kill()

    try:
        with pytest.raises(
            DumpError, match=r"Dump of database 'big' on .* failed: .*(The server went away|the server's log)"
        ):
            mysql.dump(second.connect, second.server, clock.now, "big", (), kill)
    finally:
        second.start()
    assert mysql.dump(second.connect, second.server, clock.now, "big", (), lambda chunk: None).rows == 300


def test_a_table_that_vanishes_fails_the_dump(mariadb: MariaDB, shop: str) -> None:
    mariadb.run("CREATE TABLE a (t LONGTEXT); INSERT INTO a SELECT repeat('x', 100000) FROM seq_1_to_100", shop)
    mariadb.run("CREATE TABLE zz (id INT PRIMARY KEY)", shop)
    with pytest.raises(DumpError, match=r"(?s)zz.*1146.*A table vanished"):
        mysql.dump(
            mariadb.connect,
            mariadb.server,
            clock.now,
            shop,
            (),
            lambda _: mariadb.run("DROP TABLE IF EXISTS zz", shop) and None,
        )


def test_no_client_is_a_clear_error(mariadb: MariaDB, shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DumpError, match=r"neither mariadb-dump nor mysqldump.*Install mariadb-client"):
        take(mariadb, shop)


def test_the_newest_client_of_the_other_family_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, version in (("mysqldump", "10.11.2"), ("mariadb-dump", "11.8.1")):
        client = tmp_path / name
        client.write_text(f'#!/bin/sh\necho "{name} from {version}-MariaDB, client 10.19"\n')
        client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/nowhere")
    assert mysql.find_client(for_mariadb=False).path == str(tmp_path / "mariadb-dump")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo '-- half'; exit 0", "without its completion line"),
        ("echo '-- Dump completed'; exit 3", "ended with status 3"),
        ("echo half; kill -9 $$", "was killed by SIGKILL"),
        ("exit 0", "without its completion line"),
    ],
)
def test_a_client_that_breaks_off_never_counts(
    mariadb: MariaDB, shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    fake = tmp_path / "mariadb-dump"
    fake.write_text(f'#!/bin/sh\n[ "$1" = --no-defaults ] && {{ echo "mariadb-dump MariaDB"; exit 0; }}\n{script}\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(DumpError, match=said):
        take(mariadb, shop)


def test_an_altered_table_fails_the_dump(mariadb: MariaDB, shop: str) -> None:
    """The snapshot is taken, then a table that comes late in the dump is altered."""
    altered = False

    def alter(_: bytes) -> None:
        nonlocal altered
        if not altered:
            altered = True
            mariadb.run("ALTER TABLE zz ADD COLUMN extra INT, ALGORITHM=COPY", shop)

    mariadb.run("CREATE TABLE zz (id INT PRIMARY KEY); INSERT INTO zz SELECT seq FROM seq_1_to_10", shop)
    mariadb.run("CREATE TABLE a (t LONGTEXT); INSERT INTO a SELECT repeat('x', 100000) FROM seq_1_to_100", shop)
    with pytest.raises(DumpError, match=r"1412.*A table was altered while it was dumped"):
        mysql.dump(mariadb.connect, mariadb.server, clock.now, shop, (), alter)


def test_two_dumps_of_one_database_stay_apart(mariadb: MariaDB, shop: str) -> None:
    holder = mysql.Session(mariadb.connect())
    other = mysql.Session(mariadb.connect())
    with holder.lock(shop):
        with pytest.raises(DumpError, match="is being dumped or restored by connection"), other.lock(shop, patience=0):
            pass
        with other.lock("another", patience=0):
            pass
    with other.lock(shop, patience=0):
        pass


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_killed_task_leaves_neither_dump_nor_lock(mariadb: MariaDB, shop: str, tmp_path: Path) -> None:
    """A dump that waits for a table lock writes nothing, so no broken pipe ends it: only its parent's death can."""
    blocker = mariadb.connect(database=shop)
    blocker.cursor().execute("LOCK TABLES orders WRITE")
    script = tmp_path / "task.py"
    server = mariadb.server
    script.write_text(
        "import MySQLdb\nfrom lifeboat.databases import Server\nfrom lifeboat.databases.mysql import dump\n"
        "from lifeboat.support import clock\n"
        f"server = Server({server.host!r}, {server.port}, {server.user!r}, {server.password!r})\n"
        "connect = lambda: MySQLdb.connect(host=server.host, port=server.port, user='root', password=server.password)\n"
        f"dump.dump(connect, server, clock.now, {shop!r}, (), lambda chunk: None)\n"
    )

    task = subprocess.Popen([sys.executable, script])
    children = Path(f"/proc/{task.pid}/task/{task.pid}/children")

    def dumper() -> list[str]:
        return [pid for pid in children.read_text().split() if b"dump" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    wait_until(lambda: bool(dumper()))
    (pid,) = dumper()
    command = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    assert server.password.encode() not in command
    task.send_signal(signal.SIGKILL)
    task.wait()
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])
    blocker.close()
    session = mysql.Session(mariadb.connect())
    wait_until(lambda: session.query("SELECT IS_FREE_LOCK(%s)", f"lifeboat:{shop}") == [(1,)])


def test_any_password_survives_the_option_file(mariadb: MariaDB) -> None:
    client = mysql.Client("mariadb-dump", "MariaDB", frozenset())

    @given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30))
    def check(password: str) -> None:
        text = mysql.option_file_text(Server("h", 1, "u", password), client)
        with secret_file(text) as (descriptor, path):
            assert stat.S_IMODE(os.fstat(descriptor).st_mode) == 0o600
            read = subprocess.run(
                ["my_print_defaults", f"--defaults-file={path}", "client"],
                pass_fds=[descriptor],
                capture_output=True,
                check=True,
            )
        assert f"--password={password}\n".encode() in read.stdout

    check()


@pytest.mark.parametrize("version", ["8.0", "8.4", "9"])
def test_dumps_of_oracles_client_are_understood(version: str) -> None:
    dump = (TEXTS / f"mysql-{version}.dump.sql").read_bytes()
    found = set()
    for size in (1, 7, 1 << 20):
        parser = DumpParser()
        for start in range(0, len(dump), size):
            parser.feed(dump[start : start + size])
        found.add(parser.finish())
    (digest,) = found
    assert digest.complete
    rows = {table.name: table.rows for table in digest.tables}
    expected = {"audit_log": 4, "empty_one": 0, "order_lines": 3, "users": 5}
    assert {name: rows[name] for name in expected} == expected
    assert {table.name for table in digest.tables if table.order == "none"} == {"audit_log"}
    objects = {(entry.kind, entry.name) for entry in digest.objects}
    assert {("trigger", "users_ai"), ("event", "nightly"), ("event", "weekly"), ("view", "spent")} <= objects
    assert {("function", "greeting"), ("procedure", "tidy")} <= objects


@pytest.mark.parametrize("version", ["8.0", "8.4", "9"])
def test_options_follow_the_client(version: str) -> None:
    oracle = mysql.parse_help("/usr/bin/mysqldump", (TEXTS / f"mysqldump-{version}.options.txt").read_text())
    assert not oracle.is_mariadb
    command = mysql.dump_command(oracle, "/dev/fd/3", "shop")
    assert command[:2] == ["/usr/bin/mysqldump", "--defaults-file=/dev/fd/3"]
    assert {"--set-gtid-purged=OFF", "--column-statistics=0", "--routines", "--events", "--hex-blob"} <= set(command)
    assert command[-2:] == ["--", "shop"]
    installed = mysql.find_client(for_mariadb=True)
    assert installed.is_mariadb
    command = mysql.dump_command(installed, "/dev/fd/3", "shop")
    assert "--single-transaction" in command
    assert not any("gtid" in option or "column-statistics" in option for option in command)


@pytest.mark.parametrize(
    ("tls", "for_oracle", "for_mariadb"),
    [
        ({}, "", 'ssl-verify-server-cert="0"\n'),
        ({"ssl-mode": "DISABLED"}, 'ssl-mode="DISABLED"\nget-server-public-key="1"\n', 'ssl="0"\n'),
        (
            {"ssl-mode": "REQUIRED", "ssl-ca": "/ca"},
            'ssl-ca="/ca"\nssl-mode="REQUIRED"\n',
            'ssl-ca="/ca"\nssl="1"\nssl-verify-server-cert="0"\n',
        ),
        ({"ssl-mode": "VERIFY_CA"}, 'ssl-mode="VERIFY_CA"\n', 'ssl="1"\nssl-verify-server-cert="1"\n'),
    ],
)
def test_tls_options_follow_the_client(tls: dict[str, str], for_oracle: str, for_mariadb: str) -> None:
    server = Server("db", 3307, "u", "p", tls=tls)
    clients = {mysql.parse_help("mysqldump", MYSQL_HELP): for_oracle}
    clients[mysql.Client("mariadb-dump", "MariaDB", frozenset())] = for_mariadb
    for client, expected in clients.items():
        _, _, after = mysql.option_file_text(server, client).partition('protocol="tcp"\n')
        assert after == expected
