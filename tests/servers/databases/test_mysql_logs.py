"""Binary logs of real servers, shipped by the stock client."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import struct
import subprocess
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lifeboat.actions import backup, check, logs, stored_archive, verify
from lifeboat.actions.logs import Shipped
from lifeboat.airflow.site import load_site
from lifeboat.catalog import archives
from lifeboat.catalog import marker as markers
from lifeboat.catalog.archives import number_of
from lifeboat.catalog.logs import LogPiece, LogPlace
from lifeboat.databases import Server as Address
from lifeboat.databases.mysql import binlog
from lifeboat.databases.mysql import position as positions
from lifeboat.databases.mysql.binlog import MAGIC, PAYLOAD, TAGGED, Walk
from lifeboat.databases.mysql.dump import Client, option_file_text
from lifeboat.databases.mysql.gtids import MySQLGtids
from lifeboat.databases.mysql.logs import ANONYMOUS, GRANTS, NO_GTIDS, Logs, find_client
from lifeboat.errors import LogError
from lifeboat.site import Site
from lifeboat.storage.disk import DiskDestination
from lifeboat.support import clock

from include.demo.stand_ins import MariaDB, MariaDB118, MySQL, free_port
from tests.command import answer, lifeboat
from tests.conftest import ARCHIVE_PASSWORD, PROJECT, Configure, some_time_ago
from tests.crash import die, killed

SERVERS: dict[str, type[MySQL | MariaDB | MariaDB118]] = {
    "mysql": MySQL,
    "mariadb": MariaDB,
    "mariadb_118": MariaDB118,
}
PAGE = (PROJECT / "docs" / "POINT_IN_TIME.md").read_text(encoding="utf-8")
FORMAT_EVENT = {True: 256, False: 127}  # where it ends
LONGEST = 20_000  # bytes of an event, where a test says so

Server = MySQL | MariaDB | MariaDB118


def _marks(name: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.needs(name), *([] if name == "mysql" else [pytest.mark.matrix])]


@pytest.fixture(scope="module", params=[pytest.param(name, marks=_marks(name)) for name in SERVERS])
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose logs are purged and reset."""
    with SERVERS[request.param](tmp_path_factory.mktemp(request.param), "--log-bin=log", "--server-id=7") as server:
        yield server


@pytest.fixture
def server(started: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server with an empty database, and its clients in PATH."""
    if started.path:
        monkeypatch.setenv("PATH", f"{started.path}:{os.environ['PATH']}")
    monkeypatch.setattr(positions, "HELD", 20)  # seconds: the machine may be busy
    monkeypatch.setenv("AIRFLOW_CONN_LOGGED_DB", started.connection())
    started.run("DROP DATABASE IF EXISTS shop; CREATE DATABASE shop")
    started.run("CREATE TABLE orders (id INT AUTO_INCREMENT PRIMARY KEY, note TEXT)", "shop")
    return started


@pytest.fixture
def site(server: Server, project: Configure) -> Site:
    """An application whose logs are shipped, after its first backup."""
    databases = [{"name": "shop", "connection": "logged_db"}]
    project(applications={"Shop": {"databases": databases, "logs": True}})
    return load_site()


def back_up(site: Site) -> str:
    """Back up the databases; return the key of the archive."""
    scratch = site.staging().of("test", "run", "Shop")
    scratch.create()
    taken = backup.take(site, "Shop", "database", site.settings.databases_of("Shop"), (), "", scratch)
    scratch.remove()
    assert not taken.failed
    return taken.packed.key


def ship(site: Site, **options: Any) -> Shipped:
    scratch = site.staging().of("test", "run", "Shop")
    scratch.create()
    try:
        return logs.ship(site, "Shop", scratch, **options)
    finally:
        scratch.remove()


def write(server: Server, count: int = 1) -> None:
    for number in range(count):
        server.run(f"INSERT INTO orders (note) VALUES ('{number}')", "shop")


def pieces(site: Site, keys: list[str], destination: str = "disk") -> Iterator[tuple[LogPiece, bytes]]:
    """Yield the pieces of archives of logs with their contents."""
    for key in keys:
        with stored_archive.opened(site, site.destination(destination), "Shop", key) as reader:
            manifest = reader.manifest()
            assert manifest
            for piece in manifest.logs:
                yield piece, b"".join(reader.chunks(piece.entry))


def folder_of(server: Server) -> Path:
    return Path(server.run("SELECT @@log_bin_basename").strip()).parent


def reset(server: Server) -> None:
    server.run("RESET BINARY LOGS AND GTIDS" if isinstance(server, MySQL) else "RESET MASTER")


def test_pieces_joined_are_the_servers_own_files(server: Server, site: Site) -> None:
    back_up(site)
    keys: list[str] = []
    for _ in range(3):
        write(server, 3)
        keys += ship(site).keys
    server.run("FLUSH LOGS")
    write(server)
    server.run("FLUSH LOGS")
    keys += ship(site).keys
    files: dict[str, bytes] = defaultdict(bytes)
    begins: dict[str, int] = {}
    transactions = 0
    for piece, content in pieces(site, keys):
        head = FORMAT_EVENT[piece.server.family == "mariadb"] if piece.start > 4 else 4
        begins.setdefault(piece.file, piece.start)
        assert piece.start == begins[piece.file] + len(files[piece.file])
        files[piece.file] += content[head:]
        transactions += piece.transactions
    assert transactions == 10
    *closed, _ = sorted(files)
    assert len(closed) == 2
    for file in closed:
        assert files[file] == (folder_of(server) / file).read_bytes()[begins[file] :]


def test_rotations_while_others_write_begin_no_new_chain(server: Server, site: Site) -> None:
    server.run("CREATE DATABASE IF NOT EXISTS other; CREATE TABLE IF NOT EXISTS other.busy (id INT)")
    keys: list[str] = []
    with writers(server, 6):
        back_up(site)
        for _ in range(4):
            shipped = ship(site)
            assert shipped.new_chain == ""
            keys += shipped.keys
            server.run("FLUSH LOGS")
    keys += ship(site).keys
    before = ""
    ends: dict[str, int] = {}
    for piece, content in pieces(site, keys):
        assert piece.gtids_before
        assert before in ("", piece.gtids_before)
        before = piece.gtids_after or ""
        head = FORMAT_EVENT[piece.server.family == "mariadb"] if piece.start > 4 else 4
        assert ends.get(piece.file, piece.start) + len(content) - head + piece.left_out.bytes == piece.end
        ends[piece.file] = piece.end
    *closed, _ = sorted(ends)
    assert len(closed) > 2
    assert {file: ends[file] for file in closed} == {file: (folder_of(server) / file).stat().st_size for file in closed}
    if isinstance(server, MySQL):
        executed = "".join(server.run("SELECT @@gtid_executed").replace("\\n", "").split())
        assert str(MySQLGtids.of_text(executed)) == before


@pytest.mark.needs("mysql")
def test_a_server_whose_transactions_need_no_gtids_is_refused_until_they_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with MySQL(tmp_path / "mysql", "--gtid-mode=OFF_PERMISSIVE") as server:
        monkeypatch.setenv("PATH", f"{server.path}:{os.environ['PATH']}")
        server.run("CREATE DATABASE shop")
        found = Logs(server.server, server.connect)
        with pytest.raises(LogError, match=r"gtid_mode=OFF_PERMISSIVE") as refused, found.session() as session:
            found.read(session)
        assert refused.value.hint == NO_GTIDS
        assert refused.value.lasting
        server.run("SET GLOBAL enforce_gtid_consistency = ON; SET GLOBAL gtid_mode = ON_PERMISSIVE")
        server.run("SET GLOBAL gtid_mode = ON; CREATE DATABASE further")
        with found.session() as session:
            state = found.read(session)
        assert state.files


@contextlib.contextmanager
def writers(server: Server, count: int) -> Iterator[None]:
    """Write to another database over several connections at once."""
    stop = threading.Event()

    def insert() -> None:
        with contextlib.closing(server.connect()) as connection, connection.cursor() as cursor:
            while not stop.is_set():
                cursor.execute("INSERT INTO other.busy VALUES (1)")
                connection.commit()

    with ThreadPoolExecutor(count) as pool:
        running = [pool.submit(insert) for _ in range(count)]
        try:
            yield
        finally:
            stop.set()
        assert [each.result() for each in running] == [None] * count


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE PROCEDURE begins() START TRANSACTION",
        "CREATE TABLE copied AS SELECT 1 AS id",
        "CREATE TABLE noted (id INT) COMMENT 'START TRANSACTION'",
    ],
)
def test_a_statement_that_only_ends_like_a_begin_is_whole(server: Server, site: Site, sql: str) -> None:
    back_up(site)
    server.run(f"USE shop; {sql}")
    first = ship(site)
    write(server)
    second = ship(site)
    assert [(each.transactions, each.new_chain) for each in (first, second)] == [(1, ""), (1, "")]


def test_a_log_that_cannot_be_read_begins_a_new_chain_behind_it(
    server: Server, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(site)
    write(server)
    ship(site)
    server.run(f"SET SESSION binlog_format = ROW; INSERT INTO orders (note) VALUES (repeat('x', {LONGEST}))", "shop")
    with monkeypatch.context() as patch:  # as if the server wrote an event of an impossible length
        patch.setattr(binlog, "LONGEST_EVENT", LONGEST)
        new = ship(site)
        assert re.search(r"cannot be read at position \d+: an event of kind \d+ cannot be", new.new_chain)
        assert new.keys[0].endswith("-000001.zip")
        write(server)
        assert (ship(site).transactions, ship(site).new_chain) == (1, "")


def test_nothing_is_shipped_before_a_backup_with_a_position(server: Server, site: Site) -> None:
    write(server)
    assert ship(site) == Shipped(waiting=logs.WAITING)


def test_nothing_new_makes_no_archive_until_the_newest_is_old(server: Server, site: Site) -> None:
    back_up(site)
    assert len(ship(site).keys) == 1
    assert ship(site) == Shipped()
    idle = ship(replace(site, clock=lambda: clock.now() + timedelta(minutes=15)))
    assert (len(idle.keys), idle.transactions) == (1, 0)


def test_purged_logs_begin_a_new_chain(server: Server, site: Site) -> None:
    back_up(site)
    write(server)
    first = ship(site)
    write(server)
    server.run("FLUSH LOGS")
    while len(files := server.run("SHOW BINARY LOGS").splitlines()) > 1:
        server.run(f"PURGE BINARY LOGS TO '{files[-1].split()[0]}'")
        write(server)  # MariaDB keeps an older file until what it holds is on the disk
    new = ship(site)
    assert "it was purged, or all logs were reset" in new.new_chain
    assert new.keys[0].endswith("-000001.zip")
    assert new.keys > first.keys
    write(server)
    assert ship(site).keys[0].endswith("-000002.zip")


def test_a_purge_of_what_was_shipped_ends_no_chain(server: Server, site: Site) -> None:
    back_up(site)
    write(server)
    first = ship(site)
    (piece, _), *_ = pieces(site, first.keys)
    while piece.file in server.run("SHOW BINARY LOGS"):  # MariaDB keeps it until what it holds is on the disk
        server.run("FLUSH LOGS")
        server.run(f"PURGE BINARY LOGS TO '{server.run('SHOW BINARY LOGS').splitlines()[-1].split()[0]}'")
    write(server, 2)
    second = ship(site)
    assert (second.transactions, second.new_chain) == (2, "")
    (after, content), *_ = pieces(site, second.keys)
    assert after.follows == LogPlace(piece.file, piece.end)
    assert (after.start, after.gtids_before) == (4, piece.gtids_after)
    assert content.startswith(MAGIC)
    write(server)
    assert (ship(site).transactions, ship(site).new_chain) == (1, "")


@pytest.mark.needs("mysql")
def test_the_logs_of_several_servers_are_shipped_together(
    server: Server, mysql: MySQL, project: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{mysql.path}:{os.environ['PATH']}")
    monkeypatch.setenv("AIRFLOW_CONN_SECOND_DB", mysql.connection())
    mysql.run("DROP DATABASE IF EXISTS second; CREATE DATABASE second; CREATE TABLE second.t (id INT PRIMARY KEY)")
    names = {"shop": "logged_db", "second": "second_db"}
    databases = [{"name": name, "connection": connection} for name, connection in names.items()]
    project(applications={"Shop": {"databases": databases, "logs": True}})
    site = load_site()
    back_up(site)
    keys: list[str] = []
    for number in range(2):
        write(server)
        mysql.run(f"INSERT INTO second.t VALUES ({number}); FLUSH LOGS")
        shipped = ship(site)
        assert (shipped.transactions, shipped.new_chain, len(shipped.keys)) == (2, "", 1)
        keys += shipped.keys
    ends: dict[str, LogPlace] = {}
    for piece, _ in pieces(site, keys):
        assert piece.follows == ends.get(piece.server.uid)
        ends[piece.server.uid] = LogPlace(piece.file, piece.end)
    assert len(ends) == 2
    assert ship(site) == Shipped()


@pytest.mark.needs("mysql")
@pytest.mark.parametrize(
    ("setting", "kind"),
    [
        pytest.param("SESSION binlog_transaction_compression = ON", PAYLOAD, id="compressed"),
        pytest.param("gtid_next = 'AUTOMATIC:orders'", TAGGED, id="tagged"),
    ],
)
def test_newer_forms_of_transactions_are_shipped(
    tmp_path: Path, setting: str, kind: int, project: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    with MySQL(tmp_path / "mysql") as server:
        site = of_its_own(server, project, monkeypatch)
        back_up(site)
        keys: list[str] = []
        for number in range(2):
            server.run(f"SET {setting}; INSERT INTO orders (note) VALUES (repeat('x', 999)), ('{number}')", "shop")
            shipped = ship(site)
            assert (shipped.transactions, shipped.new_chain) == (1, "")
            server.run("FLUSH LOGS")
            keys += shipped.keys
        contents = [content for _, content in pieces(site, keys)]
        assert sum(kind in kinds_of(content) for content in contents) == 2


def of_its_own(server: Server, project: Configure, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Return an application of one database on a server that no other test uses."""
    monkeypatch.setenv("PATH", f"{server.path}:{os.environ['PATH']}")
    monkeypatch.setenv("AIRFLOW_CONN_LOGGED_DB", server.connection())
    server.run("CREATE DATABASE shop; CREATE TABLE shop.orders (id INT AUTO_INCREMENT PRIMARY KEY, note TEXT)")
    project(applications={"Shop": {"databases": [{"name": "shop", "connection": "logged_db"}], "logs": True}})
    return load_site()


def kinds_of(content: bytes) -> Iterator[int]:
    """Yield the kinds of the events of a piece."""
    at = len(MAGIC)
    while at < len(content):
        _, kind, _, size = struct.unpack_from("<IBII", content, at)
        yield kind
        at += size


@pytest.mark.needs("mysql")
def test_transactions_without_gtids_begin_a_new_chain_behind_them(
    tmp_path: Path, project: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    with MySQL(tmp_path / "mysql") as server:
        site = of_its_own(server, project, monkeypatch)
        back_up(site)
        write(server)
        ship(site)
        for mode in ("ON_PERMISSIVE", "OFF_PERMISSIVE"):
            server.run(f"SET GLOBAL gtid_mode = {mode}")
        write(server)
        with pytest.raises(LogError, match="gtid_mode=OFF_PERMISSIVE"):
            ship(site)
        for mode in ("ON_PERMISSIVE", "ON"):
            server.run(f"SET GLOBAL gtid_mode = {mode}")
        write(server)
        new = ship(site)
        assert ANONYMOUS in new.new_chain
        assert new.keys[0].endswith("-000001.zip")
        write(server)
        assert (ship(site).transactions, ship(site).new_chain) == (1, "")


def test_reset_logs_begin_a_new_chain_although_the_file_has_grown_again(server: Server, site: Site) -> None:
    reset(server)
    back_up(site)
    write(server)
    (piece, _), *_ = pieces(site, ship(site).keys)
    reset(server)
    server.run(f"INSERT INTO orders (note) VALUES (repeat('x', {piece.end}))", "shop")
    new = ship(site)
    assert re.search("another file than the one of that name|cannot be read at position|impossible", new.new_chain)
    assert ship(site) == Shipped()


def test_a_new_chain_restores_nothing_until_a_backup_continues_it(server: Server, site: Site) -> None:
    back_up(site)
    write(server)
    ship(site)
    assert bad_findings(site) == {}
    reset(server)
    write(server)
    new = ship(site)
    found = bad_findings(site)
    assert found["log anchor"][0] == "unhealthy"
    assert found["new log chain"][0] == "degraded"
    assert new.new_chain in found["new log chain"][1]
    marker = markers.read(site.destination("disk"), new.keys[0])
    assert marker
    assert marker.chain
    assert marker.chain.reason == markers.NEW_CHAIN
    wait_for_next_second(server)
    back_up(site)
    assert bad_findings(site).keys() == {"new log chain"}


def test_a_deep_check_finds_an_archive_that_was_cut_short(server: Server, site: Site, tmp_path: Path) -> None:
    back_up(site)
    write(server)
    (key,) = ship(site).keys
    path = tmp_path / "disk" / key
    os.truncate(path, path.stat().st_size - 1)
    found = check.examine("disk", site, ["Shop"], site.now(), deep=True).findings
    assert [finding.text.partition(" has ")[0] for finding in found if finding.check == "log size"] == [key]


def test_a_damaged_archive_is_found_when_it_is_read_back_in_turn(server: Server, site: Site, tmp_path: Path) -> None:
    back_up(site)
    write(server)
    whole = ship(site).keys
    write(server)
    (key,) = ship(site).keys
    path = tmp_path / "disk" / key
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (disk,) = site.destinations("Shop", ("disk",), deleting=True)
    later = site.now() + timedelta(days=4)
    night = verify.read_night(site, disk, ["Shop"], later, later)
    assert (night.read, list(night.failed)) == (whole, [key])
    found = check.examine("disk", site, ["Shop"], site.now()).findings
    assert [finding.text.partition(" failed ")[0] for finding in found if finding.check == "damaged"] == [key]


def bad_findings(site: Site) -> dict[str, tuple[str, str]]:
    """Return what a check says of logs that are not as they should be."""
    found = check.examine("disk", site, ["Shop"], site.now()).findings
    bad = {finding.check: (finding.verdict, finding.text) for finding in found if finding.verdict != "healthy"}
    return {name: said for name, said in bad.items() if "log" in name}


def test_a_server_that_crashed_goes_on_with_its_next_file(server: Server, site: Site) -> None:
    back_up(site)
    write(server)
    first = ship(site)
    write(server)
    server.kill()
    server.start()
    write(server)
    second = ship(site)
    assert (second.transactions, second.new_chain) == (3, "")  # its start sets a password
    files = [piece.file for piece, _ in pieces(site, second.keys)]
    assert len(files) == len(set(files)) == 2
    assert number_of(second.keys[0]) == number_of(first.keys[0]) + 1


def test_a_file_that_a_crash_ended_within_an_event_is_shipped_up_to_there(server: Server, site: Site) -> None:
    back_up(site)
    write(server)
    ship(site)
    write(server, 2)
    newest = folder_of(server) / server.run("SHOW BINARY LOGS").splitlines()[-1].split()[0]
    server.kill()
    os.truncate(newest, newest.stat().st_size - 10)
    server.start()
    write(server)
    shipped = ship(site)
    assert (shipped.transactions, shipped.new_chain) == (
        3,
        "",
    )  # one of the two, the password of the start, and the next
    *_, (cut, _), (after, _) = pieces(site, shipped.keys)
    assert (cut.transactions, after.start, after.follows) == (1, 4, LogPlace(cut.file, cut.end))
    write(server)
    assert (ship(site).transactions, ship(site).new_chain) == (1, "")


def test_a_destination_that_was_down_is_caught_up(server: Server, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    back_up(site)
    connection = os.environ["AIRFLOW_CONN_BACKUPS_S3"]
    nobody = re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{free_port()}", connection)
    assert nobody != connection
    write(server)
    monkeypatch.setenv("AIRFLOW_CONN_BACKUPS_S3", nobody)
    alone = ship(site)
    assert list(alone.failed) == ["offsite"]
    monkeypatch.setenv("AIRFLOW_CONN_BACKUPS_S3", connection)
    assert ship(site) == Shipped()
    there = {name: [content for _, content in pieces(site, alone.keys, name)] for name in ("disk", "offsite")}
    assert there["disk"] == there["offsite"] != []


@pytest.mark.parametrize("step", ["feed", "store", "write"])
def test_a_killed_run_leaves_nothing_that_counts_and_the_next_one_ships_all(
    server: Server, site: Site, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(site)
    write(server, 3)
    with monkeypatch.context() as patch:
        patch.setattr({"feed": Walk}.get(step, DiskDestination), step, die)
        killed(lambda: ship(some_time_ago(site)))
    catalog = archives.read(site.destination("disk").list())
    assert not catalog.logs
    shipped = ship(site)
    assert (shipped.transactions, shipped.new_chain, shipped.failed) == (3, "", {})
    assert [key.key for key in archives.read(site.destination("disk").list()).logs] == shipped.keys


def test_another_run_that_ships_keeps_this_one_away(server: Server, site: Site) -> None:
    back_up(site)
    found = Logs(server.server, server.connect)
    with found.session() as session:
        found.keep_others_away(session, "Shop")
        with pytest.raises(LogError, match=r"^Another run is shipping the binary logs of Shop"):
            ship(site)


def test_a_transaction_larger_than_memory_should_be_passes_through(server: Server, site: Site) -> None:
    back_up(site)
    server.run("SET SESSION binlog_format = ROW; CREATE TABLE large (id INT PRIMARY KEY, text LONGBLOB)", "shop")
    rows = "SELECT 1 AS id" + "".join(f" UNION SELECT {number}" for number in range(2, 25))
    server.run(
        f"SET SESSION binlog_format = ROW; INSERT INTO large SELECT id, repeat('x', 8000000) FROM ({rows}) AS r", "shop"
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    shipped = ship(site)
    assert shipped.transactions == 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 << 10  # KiB, of 192 MB
    assert max(len(content) for _, content in pieces(site, shipped.keys)) > 192_000_000


def test_asking_for_what_is_new_takes_little_time(server: Server, project: Configure) -> None:
    databases = [{"name": "shop", "connection": "logged_db"}]
    project(applications={"Shop": {"databases": databases, "logs": True, "destinations": ["disk"]}})
    site = load_site()
    back_up(site)
    ship(site)
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    before = sum(sum(resource.getrusage(kind)[:2]) for kind in kinds)
    assert ship(site) == Shipped()
    assert sum(sum(resource.getrusage(kind)[:2]) for kind in kinds) - before < 0.3


def test_the_grants_of_the_page_are_enough_and_less_is_refused(server: Server, tmp_path: Path) -> None:
    family = "MySQL" if isinstance(server, MySQL) else "MariaDB"
    (grants,) = re.findall(rf"    -- {family}: logs\n((?:    [^\n]+\n)+)", PAGE)
    server.run("DROP USER IF EXISTS lifeboat_backup; CREATE USER lifeboat_backup IDENTIFIED BY 'pw'")
    address = replace(server.server, user="lifeboat_backup", password="pw")
    found = Logs(address, lambda: server.connect(user=address.user, password=address.password))
    with pytest.raises(LogError, match="1227") as refused, found.session() as session:
        found.read(session)
    assert refused.value.hint == GRANTS
    server.run(grants)
    with found.session() as session:
        state = found.read(session)
    client = find_client(for_mariadb=state.is_mariadb)
    assert b"".join(found.fetch(client, state.file, 4, tmp_path)).startswith(MAGIC)
    with pytest.raises(LogError, match=r"Fetching binary log log\.999999 of .* Could not find first log file"):
        list(found.fetch(client, "log.999999", 4, tmp_path))


def test_the_command_ships_lists_and_verifies(server: Server, site: Site) -> None:
    assert "waiting for the first database backup" in lifeboat("backup", "logs", "Shop").stdout
    back_up(site)
    write(server)
    (shipped,) = answer("backup", "logs")
    assert (shipped["transactions"], shipped["failed"]) == (1, {})
    (key,) = shipped["keys"]
    assert [row["key"] for row in answer("list")["logs"]] == [key, key]
    assert re.search(
        r"^binary logs at disk: Shop, 1 archive, .*; without a gap from", lifeboat("list").stdout, re.MULTILINE
    )
    assert [place["ok"] for place in answer("verify", key)] == [True, True]
    assert f"{key} holds binary logs: docs/POINT_IN_TIME.md" in lifeboat("show", key).stderr
    cleaned = answer("cleanup", "--dry-run")
    assert key not in str(cleaned)


def test_stock_clients_recover_to_a_moment_by_the_lines_of_the_page(
    server: Server, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(server, 2)
    back_up(site)
    write(server, 3)
    ship(site)
    server.run("ALTER TABLE orders ADD price INT DEFAULT 7; UPDATE orders SET price = id", "shop")
    server.run("FLUSH LOGS; CREATE TABLE further (id INT PRIMARY KEY); INSERT INTO further VALUES (1)", "shop")
    wanted = server.run("CHECKSUM TABLE orders, further", "shop")
    wait_for_next_second(server)
    until = server.run("SELECT now()").strip()
    server.run("DELETE FROM orders", "shop")
    ship(site)
    server.run("DROP DATABASE shop")
    (key,) = (archive.key for archive in archives.read(site.destination("disk").list()).archives)
    with stored_archive.opened(site, site.destination("disk"), "Shop", key) as reader:
        manifest = reader.manifest()
        assert manifest
        position = manifest.databases[0].position
        assert position
    family = "mysql" if isinstance(server, MySQL) else "mariadb"
    follow(server, tmp_path, family, KEY=key, GTIDS=position.gtids, UNTIL=until)
    assert server.run("CHECKSUM TABLE orders, further", "shop") == wanted


def follow(server: Server, folder: Path, family: str, **variables: str) -> None:
    """Run the command blocks of the page's recovery."""
    programs = folder / "programs"
    programs.mkdir()
    client = Client(server._own_client, "", frozenset())
    options = folder / "options.cnf"
    options.touch(mode=0o600)
    options.write_text(option_file_text(Address("", 0, server.user, server.password, str(server.socket)), client))
    (programs / "mysql").write_text(f'#!/bin/sh\nexec {server._own_client} --defaults-file={options} "$@"\n')
    (programs / "mysql").chmod(0o755)
    own = {"ARCHIVES": str(folder / "disk"), "PASSWORD": ARCHIVE_PASSWORD}
    environment = os.environ | variables | own | {"PATH": f"{programs}:{os.environ['PATH']}"}
    for tag, block in re.findall(r"^```bash ?(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        if tag in ("", family):
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block], cwd=folder, env=environment, capture_output=True, check=False
            )
            assert done.returncode == 0, (block, done.stderr)


def wait_for_next_second(server: Server) -> None:
    """Let the server's clock reach the next second: logs count whole ones."""
    server.run("SELECT sleep(1.1 - microsecond(now(6)) / 1000000)")
