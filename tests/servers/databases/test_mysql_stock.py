"""Dumps loaded through the stock client."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from lifeboat.databases import Dump, Load, Target
from lifeboat.databases.mysql import dump as mysql
from lifeboat.databases.mysql import stock
from lifeboat.databases.mysql.engine import MySQL
from lifeboat.errors import RestoreError

from include.demo.stand_ins import MariaDB

COPY = "stock copy"
SANDBOX = b"/*M!999999\\- enable the sandbox mode */ \n"
TABLE = b"SET NAMES utf8mb4;\nCREATE TABLE `t` (`id` int PRIMARY KEY, `v` varchar(99)) ENGINE=InnoDB;\n"


@pytest.fixture
def copy(mariadb: MariaDB) -> Iterator[str]:
    mariadb.run(f"DROP DATABASE IF EXISTS `{COPY}`; CREATE DATABASE `{COPY}`")
    yield COPY
    mariadb.run(f"DROP DATABASE `{COPY}`")


def take(mariadb: MariaDB, schema: str) -> tuple[Dump, bytes]:
    chunks: list[bytes] = []
    return mysql.dump(mariadb.connect, mariadb.server, schema, (), chunks.append), b"".join(chunks)


def test_everything_is_as_it_was(mariadb: MariaDB, copy: str) -> None:
    mariadb.run("DROP DATABASE IF EXISTS everything; CREATE DATABASE everything")
    mariadb.run(Path(__file__).with_name("everything.sql").read_text(), "everything")
    with mariadb.connect(database="everything").cursor() as cursor:
        cursor.execute("CREATE PROCEDURE commented() BEGIN -- it's ;; one\n  # another\r\n  /* ;; ' */ SELECT 1; END")
    dump, sql = take(mariadb, "everything")
    loaded = stock.load_sequentially(mariadb.connect, mariadb.server, copy, [sql])
    assert (loaded.rows, loaded.tables) == (dump.rows, len(dump.tables))
    again, _ = take(mariadb, copy)
    assert set(again.objects) == set(dump.objects)
    assert set(again.tables) == set(dump.tables)
    mariadb.run("DROP DATABASE everything")


@pytest.mark.parametrize("script", ["", "[ $(grep -c sandbox) = 0 ] || exit 7"])
def test_the_sandbox_line_is_no_matter(
    mariadb: MariaDB, copy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """A client that does not know it would end with status 7."""
    if script:
        fake = tmp_path / "mariadb"
        fake.write_text(f'#!/bin/sh\n[ "$1" = --no-defaults ] && {{ echo "mysql  Ver 8.0"; exit 0; }}\n{script}\n')
        fake.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    loaded = stock.load_sequentially(
        mariadb.connect, mariadb.server, copy, [SANDBOX, TABLE, b"INSERT INTO `t` VALUES (1,'a');\n"]
    )
    assert (loaded.rows, loaded.tables) == (1, 1)


@pytest.mark.parametrize(
    ("in_place", "states", "warnings"),
    [
        pytest.param(
            False,
            "ever\tDISABLED\nnever\tDISABLED\nonce\tDISABLED\n",
            ("events are disabled here, because they run in the original: ever, once",),
            id="beside",
        ),
        pytest.param(True, "ever\tENABLED\nnever\tDISABLED\nonce\tENABLED\n", (), id="in-place"),
    ],
)
def test_events_run_where_they_take_the_place_of_the_original_only(
    mariadb: MariaDB, copy: str, in_place: bool, states: str, warnings: tuple[str, ...]
) -> None:
    mariadb.run("CREATE OR REPLACE USER runner@localhost; GRANT EVENT, INSERT ON `stock copy`.* TO runner@localhost")
    event = (
        b"CREATE DEFINER=runner@localhost EVENT `%b` ON SCHEDULE %b ON COMPLETION %b DO INSERT INTO t VALUES (1, '')"
    )
    events = (
        event % (b"ever", b"EVERY 1 SECOND STARTS '2026-01-01 00:00:00'", b"NOT PRESERVE ENABLE"),
        event % (b"once", b"AT '2036-01-01 00:00:00'", b"PRESERVE ENABLE"),
        event % (b"never", b"EVERY 1 DAY STARTS '2026-01-01 00:00:00'", b"NOT PRESERVE DISABLE"),
    )
    sql = TABLE + b"DELIMITER ;;\n" + b"".join(each + b" ;;\n" for each in events) + b"DELIMITER ;\n"
    engine = MySQL(mariadb.server, mariadb.connect)
    with engine.target(Target(copy, "a key", exists=True, in_place=in_place)) as place:
        loaded = engine.load(place.name, [sql], Load("x", sequential=True))
    assert loaded.warnings == warnings
    found = f"SELECT event_name, status FROM information_schema.events WHERE event_schema = '{copy}' ORDER BY 1"
    assert mariadb.run(found) == states


def test_options_follow_the_client() -> None:
    text = "mariadb  Ver 15.1 Distrib 10.11-MariaDB\n  --sandbox  x\n  --binary-mode  x\n  -c, --comments  x\n"
    newer = stock.command(mysql.parse_help("/usr/bin/mariadb", text), "/dev/fd/3", "shop")
    assert newer == [
        *("/usr/bin/mariadb", "--defaults-file=/dev/fd/3", "--binary-mode", "--comments", "--sandbox", "--", "shop")
    ]
    older = stock.command(mysql.parse_help("/usr/bin/mysql", "mysql  Ver 8.0\n"), "/dev/fd/3", "shop")
    assert older == ["/usr/bin/mysql", "--defaults-file=/dev/fd/3", "--", "shop"]


def test_what_leaves_the_schema_never_reaches_the_client(mariadb: MariaDB, copy: str) -> None:
    mariadb.run("DROP DATABASE IF EXISTS bystander; CREATE DATABASE bystander")
    for leaving in (b"USE bystander;\n", b"DROP DATABASE bystander;\n", b"CREATE TABLE `bystander`.`x` (`a` int);\n"):
        with pytest.raises(RestoreError, match=r"Restore of database 'stock copy' on .*The dump (says|makes)"):
            stock.load_sequentially(
                mariadb.connect, mariadb.server, copy, [TABLE, leaving, TABLE.replace(b"`t`", b"`u`")]
            )
        assert mariadb.run("SHOW TABLES FROM bystander") == ""
        mariadb.run(f"DROP TABLE IF EXISTS `{copy}`.t")
    mariadb.run("DROP DATABASE bystander")


def test_what_fails_is_told_without_the_values_of_rows(mariadb: MariaDB, copy: str) -> None:
    rows = b"INSERT INTO `t` VALUES (1,'s3cret'),('s3cret','x');\n" + b"SET @x = 1;\n" * 100_000
    duplicate = b"INSERT INTO `t` VALUES (1,'s3cret'),(1,'s3cret');\n"
    for sql, number in ((duplicate, 1062), (b"INSERT INTO `t` VALUES (1,'s3cret',);\n", 1064), (rows, 1366)):
        mariadb.run(f"DROP TABLE IF EXISTS `{copy}`.t")
        strict = b"SET SQL_MODE='STRICT_TRANS_TABLES';\n"
        with pytest.raises(RestoreError, match=f"mariadb ended with error {number} at rows 't'") as caught:
            stock.load_sequentially(mariadb.connect, mariadb.server, copy, [TABLE, strict, sql])
        assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_a_connection_that_fails_is_told(mariadb: MariaDB) -> None:
    with pytest.raises(RestoreError, match=r"1049: Unknown database 'nowhere'.*Create the schema"):
        stock.load_sequentially(mariadb.connect, mariadb.server, "nowhere", [TABLE])


def test_no_client_is_a_clear_error(mariadb: MariaDB, copy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RestoreError, match=r"Neither mariadb nor mysql is on the PATH.*Install mariadb-client"):
        stock.load_sequentially(mariadb.connect, mariadb.server, copy, [TABLE])


def test_a_stream_that_fails_ends_the_client(mariadb: MariaDB, copy: str) -> None:
    def stream() -> Iterator[bytes]:
        yield TABLE + b"SET @x = 1;\n" * 100_000
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stock.load_sequentially(mariadb.connect, mariadb.server, copy, stream())
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    assert not [pid for pid in children if re.match(rb"[^\0]*/mariadb\0", Path(f"/proc/{pid}/cmdline").read_bytes())]
