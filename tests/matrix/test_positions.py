"""The binary-log position of a dump is exact: what follows it in the log leads from the dump to the present."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lifeboat.databases import Dump, Engine, Load, LogPosition, Target
from lifeboat.databases.mysql.limits import CLIENT

from include.demo.stand_ins import MariaDB, MariaDB118, MySQL
from tests.matrix.pairs import over
from tests.matrix.subjects import CONNECTION, FURTHER_MYSQL, ORDINARY, InMySQL, Pair, engine_of
from tests.matrix.test_consistency import ACCOUNTS, BANK, DUMPS, EACH, TABLES, Transfers

ALONE = Pair("mariadb_118")
LOGGED = ("--log-bin=log", "--server-id=7", "--binlog-format=ROW")

pytestmark = over((*ORDINARY[:2], ALONE), tuple(pair for pair in FURTHER_MYSQL if pair != ALONE))


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """MariaDB with a binary log, which it does not have by default."""
    with MariaDB(tmp_path_factory.mktemp("mariadb"), *LOGGED) as server:
        yield server


@pytest.fixture(scope="module")
def mariadb_118(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB118]:
    with MariaDB118(tmp_path_factory.mktemp("mariadb-118"), *LOGGED) as server:
        yield server


@pytest.fixture
def engine(subject: InMySQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The engine of a server that has a bank, in which every row of the log counts: none can be replayed twice."""
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", subject.connection())
    subject.make_empty(BANK)
    values = ", ".join(f"({number}, {EACH})" for number in range(1, ACCOUNTS + 1))
    subject.run("CREATE TABLE transfers (id INT AUTO_INCREMENT PRIMARY KEY, account INT, balance INT)", BANK)
    for table in TABLES:
        subject.run(
            f"CREATE TABLE {table} (id INT PRIMARY KEY, balance INT); INSERT INTO {table} VALUES {values};"
            f"CREATE TRIGGER of_{table} AFTER UPDATE ON {table} FOR EACH ROW"
            " INSERT INTO transfers (account, balance) VALUES (NEW.id, NEW.balance)",
            BANK,
        )
    return engine_of(subject, tmp_path / "scratch")


def take(engine: Engine, database: str = BANK) -> tuple[Dump, list[bytes]]:
    chunks: list[bytes] = []
    return engine.dump(database, (), chunks.append, position=True), chunks


def position(dump: Dump) -> LogPosition:
    assert dump.position, dump.no_position
    return dump.position


def replay(subject: InMySQL, begin: LogPosition, end: LogPosition, copy: str) -> None:
    """Replay what the log has on the bank into a copy, with the server's own program."""
    server = subject.server
    assert begin.file == end.file
    log = Path(server.run("SELECT @@log_bin_basename").strip()).parent / begin.file
    if isinstance(server, MySQL):
        own = ["--skip-gtids", f"--database={copy}"]  # the new name
    else:
        own = ["--skip-gtid-strict-mode", f"--database={BANK}"]
    program = shutil.which("mysqlbinlog" if isinstance(server, MySQL) else "mariadb-binlog", path=server.path)
    assert program
    places = [f"--start-position={begin.offset}", f"--stop-position={end.offset}", f"--rewrite-db={BANK}->{copy}"]
    command = [program, "--no-defaults", *own, *places, str(log)]
    sql = subprocess.run(command, capture_output=True, check=True).stdout
    server.run(b"SET sql_log_bin = 0;\n" + sql)


def test_a_replay_from_the_position_leads_to_the_present(subject: InMySQL, engine: Engine) -> None:
    with Transfers(subject) as transfers:
        dumps = [take(engine) for _ in range(DUMPS)]
    assert all(transfers.done)
    present, _ = take(engine)
    positions = [position(dump) for dump, _ in dumps]
    how = "table locks" if isinstance(subject.server, MySQL) else "snapshot"
    assert {each.how for each in positions} == {how}
    assert len({each.gtids for each in positions}) == DUMPS
    for number, (dump, chunks) in enumerate(dumps):
        copy = f"copy_{number}"
        with engine.target(Target(copy, "a key", dump)) as place:
            engine.load(place.name, chunks, Load(BANK))
        assert take(engine, copy)[0].tables == dump.tables != present.tables
        replay(subject, positions[number], position(present), copy)
        assert take(engine, copy)[0].tables == present.tables


def test_a_position_says_what_the_server_says(subject: InMySQL, engine: Engine) -> None:
    dump, _ = take(engine)
    assert {limit.kind for limit in dump.limits} <= {CLIENT}, "the client's comments are none"
    found = position(dump)
    if isinstance(subject.server, MySQL):
        (file, offset, gtids), server = subject.run("SHOW BINARY LOG STATUS", BANK).split(), "@@server_uuid"
    else:
        (file, offset), server = subject.run("SHOW MASTER STATUS", BANK).split(), "@@server_uid"
        gtids = subject.run("SELECT @@gtid_binlog_pos", BANK).strip()
    assert (found.file, found.offset, found.gtids) == (file, int(offset), gtids)
    assert subject.run(f"SELECT {server}, @@server_id", BANK).split() == [found.server, str(found.server_id)]


def test_no_lock_stops_readers_or_other_databases(subject: InMySQL, engine: Engine) -> None:
    subject.run("SET GLOBAL log_output = 'TABLE', general_log = 1; TRUNCATE mysql.general_log", "mysql")
    position(take(engine)[0])
    subject.run("SET GLOBAL general_log = 0", "mysql")
    said = subject.run("SELECT argument FROM mysql.general_log WHERE argument REGEXP '^(FLUSH|LOCK)'", "mysql")
    locked = [line for line in said.splitlines() if "general_log" not in line]
    assert all(line.startswith("LOCK TABLES `bank`.") and "WRITE" not in line for line in locked)
    assert bool(locked) == isinstance(subject.server, MySQL)
