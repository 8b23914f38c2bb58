"""Drills of chains on real servers: logs lead from one backup to the next, and a drill fails on altered ones."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from lifeboat.actions import chain_drill, check
from lifeboat.airflow.site import load_site
from lifeboat.catalog import archives as catalog
from lifeboat.catalog import proof
from lifeboat.catalog.proof import ChainProof
from lifeboat.databases import names
from lifeboat.databases.mysql import position as positions
from lifeboat.databases.mysql.binlog import MAGIC
from lifeboat.errors import ArchiveError, CheckError, MismatchError
from lifeboat.site import Site

from include.demo.stand_ins import MariaDB, MySQL
from tests.command import answer, lifeboat
from tests.conftest import ARCHIVE_PASSWORD, Configure
from tests.servers.databases import test_mysql_logs
from tests.servers.databases.test_mysql_logs import back_up, wait_for_next_second
from tests.servers.test_restore import repack

SERVERS: dict[str, type[MySQL | MariaDB]] = {"mysql": MySQL, "mariadb": MariaDB}
SHOP: dict[str, Any] = {"databases": [{"name": "shop", "connection": "logged_db"}], "destinations": ["disk"]}
HEAD = 19  # bytes
TABLE_MAP, ROWS = 19, (23, 24, 25, 30, 31, 32)  # kinds of events

Server = MySQL | MariaDB
Events = list[bytearray]


def _marks(name: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.needs(name), *([] if name == "mysql" else [pytest.mark.matrix])]


@pytest.fixture(scope="module", params=[pytest.param(name, marks=_marks(name)) for name in SERVERS])
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = ("--log-bin=log", "--server-id=7", "--binlog-format=ROW")
    with SERVERS[request.param](tmp_path_factory.mktemp(request.param), *options) as server:
        yield server


@pytest.fixture
def server(started: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server with one database, and its clients in PATH."""
    if started.path:
        monkeypatch.setenv("PATH", f"{started.path}:{os.environ['PATH']}")
    monkeypatch.setattr(positions, "HELD", 20)  # seconds: the machine may be busy
    monkeypatch.setenv("AIRFLOW_CONN_LOGGED_DB", started.connection())
    started.run("DROP DATABASE IF EXISTS shop; CREATE DATABASE shop; CREATE DATABASE IF NOT EXISTS other")
    started.run("CREATE TABLE orders (id INT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(50), price INT)", "shop")
    return started


@pytest.fixture
def site(server: Server, project: Configure) -> Site:
    project(applications={"Shop": SHOP | {"logs": True}}, drill={"production": True})
    return load_site()


def ship(site: Site) -> list[str]:
    shipped = test_mysql_logs.ship(site)
    assert (shipped.new_chain, shipped.failed) == ("", {})
    return shipped.keys


def rehearse(site: Site, key: str = "") -> ChainProof | str:
    (disk,) = site.destinations("Shop", ("disk",), deleting=True)
    return chain_drill.rehearse(site, "Shop", disk, key, "a test", datetime.now(UTC))


def chain_proofs(site: Site) -> list[str]:
    return list(catalog.read(site.destination("disk").list()).chain_proofs)


def scratch_left(server: Server) -> list[str]:
    return [name for name in server.run("SHOW DATABASES").splitlines() if name.startswith(names.PREFIX)]


DEADLOCK = 1213


@contextlib.contextmanager
def busy(server: Server) -> Iterator[None]:
    """Let three connections write to the database and to another one."""
    stop = threading.Event()

    def work(number: int) -> None:
        with contextlib.closing(server.connect()) as connection:
            for rounds in itertools.count():
                if stop.is_set():
                    return
                try:
                    change(connection, number, rounds)
                except Exception as error:
                    if error.args[0] != DEADLOCK:
                        raise

    server.run("CREATE TABLE IF NOT EXISTS log (id INT AUTO_INCREMENT PRIMARY KEY, note TEXT)", "other")
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(work, number) for number in range(3)]
        try:
            yield
        finally:
            stop.set()
        assert [each.result() for each in running] == [None] * 3


def change(connection: Any, number: int, rounds: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO other.log (note) VALUES ('elsewhere')")
        cursor.execute("INSERT INTO shop.orders (note, price) VALUES (%s, %s)", (str(number), rounds % 90))
        cursor.execute("UPDATE shop.orders SET price = price + 1 WHERE id %% 7 = %s", (number,))
        cursor.execute("DELETE FROM shop.orders WHERE price > 80 LIMIT 3")
    if rounds % 5:
        connection.commit()
    else:
        connection.rollback()


CHANGES = """
CREATE TABLE items (id INT PRIMARY KEY, name VARCHAR(20), weight FLOAT, UNIQUE (name));
INSERT INTO items VALUES (1, 'one', 1.23456789), (2, 'two', 2);
ALTER TABLE orders ADD status VARCHAR(9) DEFAULT 'new', ADD INDEX (price);
CREATE VIEW dear AS SELECT id, price FROM orders WHERE price > 30;
CREATE TRIGGER noted BEFORE INSERT ON items FOR EACH ROW SET NEW.name = upper(NEW.name);
CREATE TRIGGER dropped BEFORE UPDATE ON items FOR EACH ROW SET NEW.weight = 1;
DROP TRIGGER dropped;
CREATE PROCEDURE more() INSERT INTO items VALUES (9, 'nine', 9);
CALL more();
CREATE TABLE copied (id INT PRIMARY KEY) AS SELECT id, name FROM items;
RENAME TABLE copied TO moved;
CREATE TABLE short (id INT PRIMARY KEY);
INSERT INTO short VALUES (1);
DROP TABLE short;
UPDATE items SET weight = weight * 2;
TRUNCATE TABLE moved;
INSERT INTO moved VALUES (5, 'five');
"""


def test_a_chain_is_proven_under_a_workload_with_definitions(server: Server, site: Site) -> None:
    with busy(server):
        begin = back_up(site)
        keys = ship(site)
        for statement in filter(None, CHANGES.splitlines()):
            server.run(statement, "shop")
            if "VIEW" in statement:
                keys += ship(site)
                server.run("FLUSH LOGS")
        end = back_up(site)
        assert rehearse(site, end) == chain_drill.NO_PAIR  # the logs do not reach it yet
        keys += ship(site)
    made = rehearse(site)
    assert isinstance(made, ChainProof)
    assert (made.key, made.begin.key, made.end.key) == (end, begin, end)
    assert (made.logs.first, made.logs.last, made.logs.archives) == (keys[0], keys[-1], len(keys))
    assert made.transactions > 15
    assert (made.compared.databases, made.compared.tables, made.uncompared) == (1, 3, 0)
    disk = site.destination("disk")
    assert proof.read_chain(disk, end, ARCHIVE_PASSWORD) == made
    assert "orders" not in made.to_bytes().decode()
    assert scratch_left(server) == []
    found = check.examine("disk", site, ["Shop"], site.now()).findings
    assert [each.verdict for each in found if each.check == "chain proof"] == ["healthy"]


def test_a_restore_in_place_is_in_the_logs_and_they_lead_beyond_it(server: Server, site: Site) -> None:
    for statement in filter(None, CHANGES.splitlines()):
        server.run(statement, "shop")
    begin = back_up(site)
    server.run("INSERT INTO orders (note, price) VALUES ('kept', 5)", "shop")
    ship(site)
    done = lifeboat("restore", "database", "Shop", "--until", "latest", "--overwrite", "shop")
    assert done.returncode == 0, done.stderr
    server.run("INSERT INTO orders (note, price) VALUES ('later', 9)", "shop")
    wait_for_next_second(server)
    end = back_up(site)
    ship(site)
    made = rehearse(site)
    assert isinstance(made, ChainProof), made
    assert made.end.key == end
    assert "left out of the replay: mark of an unfinished restore: 2" in made.notes
    assert not any("excluded" in note for note in made.notes)
    arguments = ("--until", "latest", "--archive", begin, "--into", "shop_twice")
    done = lifeboat("restore", "database", "Shop", *arguments)
    assert done.returncode == 0, done.stderr
    assert "_lifeboat" not in server.run("SHOW TABLES", "shop_twice")
    both = server.run("CHECKSUM TABLE shop.orders, shop.items, shop_twice.orders, shop_twice.items").split()[1::2]
    assert both[:2] == both[2:]
    server.run("DROP DATABASE shop_twice")


@pytest.fixture
def chain(server: Server, site: Site, tmp_path: Path) -> list[Path]:
    """The archives of logs between two backups, oldest first, after a proof."""
    back_up(site)
    shipped: list[str] = []
    for statements in (
        ["INSERT INTO orders (note) VALUES ('first'), ('other')"],
        [
            *(f"UPDATE orders SET note = '{note}' WHERE id = 1" for note in ("aaaaa", "bbbbb")),
            "DELETE FROM orders WHERE id = 2",
        ],
        ["INSERT INTO orders (note) VALUES ('last')"],
    ):
        for statement in statements:
            server.run(statement, "shop")
        shipped += ship(site)
    wait_for_next_second(server)
    end = back_up(site)
    server.run("INSERT INTO orders (note) VALUES ('later')", "shop")
    ship(site)
    made = rehearse(site)
    assert isinstance(made, ChainProof)
    assert (made.key, chain_proofs(site)) == (end, [end])
    return [tmp_path / "disk" / key for key in shipped]


def events_of(piece: bytes) -> Events:
    events, at = [], len(MAGIC)
    while at < len(piece):
        (size,) = struct.unpack_from("<I", piece, at + 9)
        events.append(bytearray(piece[at : at + size]))
        at += size
    return events


def altered(path: Path, alter: Callable[[Events], None]) -> None:
    """Alter the events of an archive as somebody would who has the password; every checksum is right then."""

    def forge(contents: dict[str, bytes], manifest: Any) -> None:
        (name,) = contents
        events = events_of(contents[name])
        alter(events[1:])
        for event in events[1:]:  # the first has a flag that its checksum does not count
            event[-4:] = struct.pack("<I", zlib.crc32(event[:-4]))
        forged = MAGIC + b"".join(events)
        assert forged != contents[name]
        assert len(forged) == len(contents[name])
        contents[name] = forged

    repack(path, forge)


def without_a_transaction(events: Events) -> None:
    """Let the rows of a transaction be another database's; its GTID stays."""
    *_, table = (event for event in events if event[4] == TABLE_MAP)
    table[:] = table.replace(b"\x04shop\0", b"\x04shoq\0")


def in_another_order(events: Events) -> None:
    """Let two transactions that update a row change their places; their GTIDs stay in order."""
    first, second, *_ = (event for event in events if event[4] in ROWS)
    assert (b"aaaaa" in first, b"bbbbb" in second, len(first)) == (True, True, len(second))
    first[HEAD:], second[HEAD:] = second[HEAD:], first[HEAD:]


def with_a_bit_flipped(events: Events) -> None:
    (row,) = (event for event in events if b"last" in event and event[4] in ROWS)
    row[:] = row.replace(b"last", b"lasu")


@pytest.mark.parametrize(
    ("index", "alter"),
    [
        pytest.param(1, without_a_transaction, id="left out"),
        pytest.param(1, in_another_order, id="reordered"),
        pytest.param(2, with_a_bit_flipped, id="flipped"),
    ],
)
def test_whoever_alters_a_transaction_is_found_out(
    server: Server, site: Site, chain: list[Path], index: int, alter: Callable[[Events], None]
) -> None:
    altered(chain[index], alter)
    with pytest.raises(MismatchError, match=r"do not lead to database 'shop'.* table 'orders' "):
        rehearse(site)
    assert chain_proofs(site) == []
    assert scratch_left(server) == []


def swapped(paths: list[Path]) -> None:
    for suffix in ("", ".json"):
        one, other = (path.with_name(path.name + suffix) for path in paths[:2])
        content = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(content)


def missing(paths: list[Path]) -> None:
    for suffix in ("", ".json"):
        paths[1].with_name(paths[1].name + suffix).unlink()


def forged_marker(paths: list[Path]) -> None:
    marker = paths[1].with_name(f"{paths[1].name}.json")
    facts = json.loads(marker.read_bytes())
    facts["totals"]["transactions"] += 1
    marker.write_text(json.dumps(facts))


def damaged(paths: list[Path]) -> None:
    content = bytearray(paths[0].read_bytes())
    content[len(content) // 2] ^= 1
    paths[0].write_bytes(content)


@pytest.mark.parametrize(
    ("meddle", "said"),
    [
        pytest.param(swapped, "holds the manifest of another archive", id="swapped"),
        pytest.param(missing, "-000002.zip, which .*-000003.zip continues, is missing", id="missing"),
        pytest.param(forged_marker, "is not as its marker says: totals differ", id="forged marker"),
        pytest.param(damaged, "-000001.zip at destination 'disk' .* is damaged: ", id="damaged"),
    ],
)
def test_archives_that_are_not_what_was_shipped_are_found_out(
    server: Server, site: Site, chain: list[Path], meddle: Callable[[list[Path]], None], said: str
) -> None:
    meddle(chain)
    with pytest.raises(ArchiveError, match=said):
        rehearse(site)
    assert chain_proofs(site) == []
    assert scratch_left(server) == []


def test_a_forged_proof_of_a_chain_is_a_finding(site: Site, chain: list[Path], tmp_path: Path) -> None:
    (key,) = chain_proofs(site)
    path = tmp_path / "disk" / f"{key}.chain.json"
    facts = json.loads(path.read_bytes())
    for change in ({"transactions": 7}, {"destination": "offsite"}):
        path.write_text(json.dumps(facts | change))
        found = check.examine("disk", site, ["Shop"], site.now()).findings
        (said,) = (each for each in found if each.check == "chain proof")
        assert said.verdict == "unhealthy"
        assert "was not signed with the archive password: it is forged" in said.text


def test_the_command_proves_a_chain(site: Site, chain: list[Path]) -> None:
    (made,) = answer("drill", "--chain")["proofs"]
    assert [made["key"]] == chain_proofs(site)
    assert f"proven: {made['key']} at disk is what " in lifeboat("drill", "--chain", "Shop").stdout
    said = lifeboat("drill", "--chain", "--archive", made["begin"]["key"]).stdout
    assert f"nothing to prove of Shop at disk: {chain_drill.NO_PAIR}" in said


@pytest.mark.needs("mysql")
def test_chains_of_several_servers_are_proven_together(
    server: Server, mysql: MySQL, project: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{mysql.path}:{os.environ['PATH']}")
    monkeypatch.setenv("AIRFLOW_CONN_SECOND_DB", mysql.connection())
    mysql.run("DROP DATABASE IF EXISTS second; CREATE DATABASE second; CREATE TABLE second.t (id INT PRIMARY KEY)")
    databases = [*SHOP["databases"], {"name": "second", "connection": "second_db"}]
    project(applications={"Shop": SHOP | {"databases": databases, "logs": True}}, drill={"production": True})
    site = load_site()
    back_up(site)
    for number in range(2):
        server.run(f"INSERT INTO orders (price) VALUES ({number})", "shop")
        mysql.run(f"INSERT INTO second.t VALUES ({number}); FLUSH LOGS")
        ship(site)
    back_up(site)
    ship(site)
    made = rehearse(site)
    assert isinstance(made, ChainProof)
    assert (made.compared.databases, made.compared.rows, made.transactions) == (2, 4, 4)


def test_what_a_replay_cannot_follow_is_not_compared_and_named(server: Server, project: Configure) -> None:
    database = SHOP["databases"][0] | {"exclude_tables": ["sessions"]}
    project(applications={"Shop": SHOP | {"databases": [database], "logs": True}}, drill={"production": True})
    site = load_site()
    server.run("CREATE TABLE loose (f FLOAT); INSERT INTO loose VALUES (1.23456789)", "shop")
    server.run(
        "CREATE TABLE sessions (id INT PRIMARY KEY); CREATE TABLE mine (id INT PRIMARY KEY) ENGINE=MyISAM", "shop"
    )
    back_up(site)
    ship(site)
    for table, value in (("loose", 2), ("sessions", 3), ("mine", 4), ("orders (price)", 5)):
        server.run(f"INSERT INTO {table} VALUES ({value})", "shop")
    server.run("UPDATE loose SET f = f + 1; DELETE FROM loose WHERE f > 2.5", "shop")
    server.run("CREATE VIEW sight AS SELECT * FROM sessions; CREATE VIEW dear AS SELECT id FROM orders", "shop")
    wait_for_next_second(server)
    back_up(site)
    ship(site)
    made = rehearse(site)
    assert isinstance(made, ChainProof)
    assert made.uncompared == 4
    assert "left out of the replay: view or code that lacks something: 1" in made.notes
    assert all(note in str(made) for note in made.notes)
    assert {note for note in made.notes if note.startswith("not compared: ")} == {
        "not compared: 2 tables excluded",  # with the view that reads one
        "not compared: 1 table without snapshots",
        "not compared: 1 table of FLOAT columns without a key",
    }


def test_a_replay_leaves_tables_without_rows_as_they_are(server: Server, project: Configure) -> None:
    database = SHOP["databases"][0] | {"exclude_rows": ["audit*"]}
    project(applications={"Shop": SHOP | {"databases": [database], "logs": True}}, drill={"production": True})
    site = load_site()
    server.run(
        "CREATE TABLE audit (id INT PRIMARY KEY, what VARCHAR(9)); INSERT INTO audit VALUES (1, 'one');"
        "CREATE TRIGGER seen BEFORE INSERT ON audit FOR EACH ROW SET NEW.what = 'seen';"
        "CREATE TABLE remarks (id INT PRIMARY KEY, audit_id INT,"
        " CONSTRAINT of_audit FOREIGN KEY (audit_id) REFERENCES audit (id)); INSERT INTO remarks VALUES (1, 1)",
        "shop",
    )
    back_up(site)
    ship(site)
    server.run("INSERT INTO audit VALUES (2, 'two'); INSERT INTO orders (price) VALUES (5)", "shop")
    server.run("INSERT INTO remarks VALUES (2, 2); UPDATE remarks SET audit_id = 2 WHERE id = 1", "shop")
    server.run("CREATE VIEW sight AS SELECT * FROM audit; ALTER TABLE audit ADD more INT", "shop")
    server.run("CREATE TRIGGER late BEFORE UPDATE ON audit FOR EACH ROW SET NEW.what = 1", "shop")
    wait_for_next_second(server)
    back_up(site)
    ship(site)
    made = rehearse(site)
    assert isinstance(made, ChainProof)
    assert made.uncompared == 1
    assert "not compared: 1 table without rows" in made.notes
    assert any(note.startswith("left out of the replay: change of an excluded table: ") for note in made.notes)


def test_the_checks_of_the_application_try_what_was_replayed(
    server: Server, project: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SCRATCH_DB", server.connection())
    query = {"database": "shop", "query": "SELECT count(*) FROM orders", "expect": "= 2"}
    checks: list[dict[str, Any]] = [
        {"name": "ordered", "sql": query},
        {"name": "artisan", "command": ["php", "artisan", "about"]},
    ]
    project(applications={"Shop": SHOP | {"logs": True, "checks": checks}}, drill={"connection": "scratch_db"})
    site = load_site()
    for price in (1, 2):
        server.run(f"INSERT INTO orders (price) VALUES ({price})", "shop")
        wait_for_next_second(server)
        back_up(site)
        ship(site)
    made = rehearse(site)
    assert isinstance(made, ChainProof)
    assert "checks passed: ordered" in made.notes
    assert "not run: 1 check by commands, or of other databases; a drill of an archive runs them" in made.notes
    query["expect"] = "> 2"
    project(applications={"Shop": SHOP | {"logs": True, "checks": checks}}, drill={"connection": "scratch_db"})
    with pytest.raises(CheckError, match=r"1 check of what Shop/database/.* lead to did not pass: ordered: "):
        rehearse(load_site())
