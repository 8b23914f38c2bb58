"""Dumps loaded into a real MariaDB: all is as it was, and what is not is told."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lifeboat.airflow import connections
from lifeboat.databases import Dump, Load, Loaded
from lifeboat.databases import Target as RestoreTarget
from lifeboat.databases.mysql import dump as mysql
from lifeboat.databases.mysql import load as mysql_load
from lifeboat.databases.mysql import target as mysql_target
from lifeboat.databases.mysql.engine import MySQL as MySQLEngine
from lifeboat.databases.mysql.statements import Origin, recognise
from lifeboat.databases.mysql.target import Compatibility, Target
from lifeboat.errors import RestoreError
from lifeboat.settings.config import Database
from lifeboat.support import clock
from lifeboat.support.processes import secret_file

from include.demo.stand_ins import MariaDB

HERE = Path(__file__).parent
COPY = "copy `of` 100%s"
HEAD = b"SET NAMES utf8mb4;\nSET FOREIGN_KEY_CHECKS=0, UNIQUE_CHECKS=0, SQL_MODE='NO_AUTO_VALUE_ON_ZERO';\n"


@dataclass(frozen=True)
class Source:
    """A dumped schema."""

    name: str
    dump: Dump
    sql: bytes


def take(mariadb: MariaDB, schema: str) -> Source:
    chunks: list[bytes] = []
    dump = mysql.dump(mariadb.connect, mariadb.server, clock.now, schema, (), chunks.append)
    return Source(schema, dump, b"".join(chunks))


@pytest.fixture(scope="module")
def everything(mariadb: MariaDB) -> Iterator[Source]:
    name = "everything"
    mariadb.run(f"DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name}")
    mariadb.run((HERE / "everything.sql").read_text(), name)
    with contextlib.closing(mariadb.connect(database=name)) as connection, connection.cursor() as cursor:
        body = "-- it's ;; one\n  # another\r\n  /* ;; ' */ SELECT 1; END"
        cursor.execute(f"CREATE PROCEDURE commented() BEGIN {body}")
    yield take(mariadb, name)
    mariadb.run(f"DROP DATABASE {name}")


@pytest.fixture
def copy(mariadb: MariaDB) -> Iterator[str]:
    """An empty schema."""
    quoted = "`" + COPY.replace("`", "``") + "`"
    mariadb.run(f"DROP DATABASE IF EXISTS {quoted}; CREATE DATABASE {quoted} CHARACTER SET utf8mb4")
    yield COPY
    wait_until(lambda: connected(mariadb, COPY) == [], seconds=2)  # the server notices a farewell a little later
    assert not [thread.name for thread in threading.enumerate() if "(_work)" in thread.name]
    mariadb.run(f"DROP DATABASE IF EXISTS {quoted}")


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def connected(mariadb: MariaDB, schema: str) -> list[str]:
    """Return what connections to a schema do."""
    with contextlib.closing(mariadb.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(info, '') FROM information_schema.processlist WHERE db = %s", (schema,))
        return [info for (info,) in cursor.fetchall()]


def fetch(mariadb: MariaDB, sql: str, schema: str = COPY) -> list[tuple[Any, ...]]:
    with contextlib.closing(mariadb.connect(database=schema)) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


def load(mariadb: MariaDB, sql: bytes | Iterable[bytes], schema: str = COPY, **options: Any) -> Loaded:
    chunks = [sql[at : at + 99_999] for at in range(0, len(sql), 99_999)] if isinstance(sql, bytes) else sql
    return mysql_load.load(options.pop("connect", mariadb.connect), mariadb.server, schema, chunks, **options)


def restore(mariadb: MariaDB, sql: bytes, schema: str = COPY, **options: Any) -> Loaded:
    """Load a dump as a restore does: as an account of its own, and with owners at the end."""
    engine, source = (
        MySQLEngine(mariadb.server, options.pop("connect", mariadb.connect), clock.now),
        options.pop("source", ""),
    )
    with engine.target(RestoreTarget(schema, "a key", exists=True, **options)) as place:
        loaded = engine.load(place.name, [sql], Load(source))
    return replace(loaded, warnings=(*loaded.warnings, *place.warnings))


def definitions_of(mariadb: MariaDB, schema: str) -> dict[str, str]:
    """Return SHOW CREATE of all tables and sequences, counters included, and the schema's own name left out."""
    names = [name for (name, kind) in fetch(mariadb, "SHOW FULL TABLES", schema) if kind != "VIEW"]
    quoted = ["`" + name.replace("`", "``") + "`" for name in names]
    own = "`" + schema.replace("`", "``") + "`."
    return {name: fetch(mariadb, f"SHOW CREATE TABLE {name}", schema)[0][1].replace(own, "") for name in quoted}


@pytest.fixture(params=["few rows", "many rows"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Tables are made in two ways, by how many rows they have."""
    if request.param == "many rows":
        monkeypatch.setattr(mysql_load, "LARGE", 1)
    return str(request.param)


@pytest.mark.usefixtures("size")
def test_everything_is_as_it_was(mariadb: MariaDB, everything: Source, copy: str) -> None:
    loaded = load(mariadb, everything.sql)
    assert (loaded.rows, loaded.tables) == (everything.dump.rows, len(everything.dump.tables))
    again = take(mariadb, copy)
    assert {table.name: table for table in again.dump.tables} == {table.name: table for table in everything.dump.tables}
    assert set(again.dump.objects) == set(everything.dump.objects)
    assert definitions_of(mariadb, copy) == definitions_of(mariadb, everything.name)
    for value in ("next_not_cached_value FROM invoice_numbers", "next_not_cached_value FROM `odd ``seq;`"):
        assert fetch(mariadb, f"SELECT {value}") == fetch(mariadb, f"SELECT {value}", everything.name)


def test_a_copy_says_what_still_means_the_original(mariadb: MariaDB, everything: Source, copy: str) -> None:
    loaded = load(mariadb, everything.sql)
    assert loaded.warnings == (
        "procedure 'reach' names schema everything, and still refers to it",
        "events are disabled here, because they run in the original: ENABLE DO, nightly",
    )
    assert fetch(mariadb, "SELECT DISTINCT status FROM information_schema.events WHERE event_schema = database()") == [
        ("DISABLED",)
    ]
    assert fetch(
        mariadb, "SELECT DISTINCT trigger_schema FROM information_schema.triggers WHERE trigger_schema = database()"
    )


def test_in_place_events_are_as_they_were(mariadb: MariaDB, everything: Source, copy: str) -> None:
    reach, *asleep = restore(mariadb, everything.sql, in_place=True, source=everything.name).warnings
    for warning in asleep:  # root's, and new here
        assert re.match(r"event '(nightly|ENABLE DO)' is disabled", warning)
        mariadb.run(warning.partition("then: ")[2])
    again = restore(mariadb, everything.sql, in_place=True, source=everything.name)
    assert again.warnings == (reach,) == ("procedure 'reach' names schema everything, and still refers to it",)
    states = "SELECT event_name, status FROM information_schema.events WHERE event_schema = database()"
    assert dict(fetch(mariadb, states)) == {
        "nightly": "ENABLED",
        "ENABLE DO": "ENABLED",
        "asleep": "DISABLED",
        "elsewhere": "SLAVESIDE_DISABLED",
    }


def test_a_huge_row_and_rows_over_several_connections(mariadb: MariaDB, copy: str) -> None:
    mariadb.run("DROP DATABASE IF EXISTS huge; CREATE DATABASE huge")
    mariadb.run("CREATE TABLE blobs (id INT PRIMARY KEY, b LONGBLOB); INSERT INTO blobs VALUES (1, 'x')", "huge")
    mariadb.run("INSERT INTO blobs SELECT 2, repeat(x'0027293B0A5C', 5000000)", "huge")
    mariadb.run("CREATE TABLE rows_ (id INT PRIMARY KEY, v INT, t VARCHAR(200), KEY (v), UNIQUE KEY (t))", "huge")
    mariadb.run("INSERT INTO rows_ SELECT seq, seq % 99, concat(repeat('x', 90), seq) FROM seq_1_to_100000", "huge")
    source = take(mariadb, "huge")
    loaded = load(mariadb, source.sql)
    assert loaded.rows == 100_002
    assert take(mariadb, copy).dump.tables == source.dump.tables
    mariadb.run("DROP DATABASE huge")


def test_as_many_connections_insert_as_the_server_has_cores(mariadb: MariaDB, copy: str) -> None:
    opened: list[Any] = []

    def connect() -> Any:
        opened.append(mariadb.connect())
        return opened[-1]

    ((cores,),) = fetch(mariadb, "SELECT @@thread_pool_size")
    load(mariadb, b"CREATE TABLE t (i INT);\nINSERT INTO t VALUES (1);\n", connect=connect)
    assert len(opened) == 2 + min(max(cores, 2), 4)


@pytest.mark.parametrize(
    "extra", [{"cursor": "dictcursor"}, {"cursor": "sscursor"}, {"client": "mysql-connector-python"}]
)
def test_connections_of_every_kind(
    mariadb: MariaDB, everything: Source, copy: str, monkeypatch: pytest.MonkeyPatch, extra: dict[str, str]
) -> None:
    monkeypatch.setattr(mysql_load, "LARGE", 1)
    login = {"user": "any", "password": "pw"}
    mariadb.run("CREATE OR REPLACE USER any@localhost IDENTIFIED BY 'pw'")
    mariadb.run("GRANT ALL ON *.* TO any@localhost WITH GRANT OPTION")
    settings = json.loads(mariadb.connection()) | {
        "login": login["user"],
        "password": login["password"],
        "extra": extra,
    }
    monkeypatch.setenv("AIRFLOW_CONN_ANY", json.dumps(settings))
    engine = connections.engine(Database(name="x", connection="any"), Path("/unused"))
    with engine.target(RestoreTarget(copy, "a key", exists=True)) as place:
        assert engine.load(place.name, [everything.sql], Load(everything.name)).rows == everything.dump.rows
    assert set(take(mariadb, copy).dump.tables) == set(everything.dump.tables)


WHOLE = ["--order-by-primary", "--routines", "--dump-history"]
CLIENT_OPTIONS = {
    "one row per INSERT": ["--skip-comments", "--skip-extended-insert"],
    "nothing around": ["--skip-comments", "--skip-add-locks", "--skip-disable-keys", "--skip-add-drop-table"],
    "all columns named": ["--skip-comments", "--complete-insert", "--no-autocommit", "--hex-blob"],
}


def client_dump(mariadb: MariaDB, schema: str, *options: str) -> bytes:
    client = mysql.find_client(for_mariadb=True)
    with secret_file(mysql.option_file_text(mariadb.server, client)) as (descriptor, path):
        command = [client.path, f"--defaults-file={path}", *options, *WHOLE, schema]
        return subprocess.run(command, pass_fds=[descriptor], capture_output=True, check=True).stdout


@pytest.mark.parametrize("options", CLIENT_OPTIONS.values(), ids=list(CLIENT_OPTIONS))
def test_dumps_that_others_have_made(
    mariadb: MariaDB, copy: str, everything: Source, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mysql_load, "LARGE", 1)
    load(mariadb, client_dump(mariadb, everything.name, *options), load=Load(everything.name))
    tables = {table.name: table for table in take(mariadb, copy).dump.tables}
    assert tables == {table.name: table for table in everything.dump.tables}


def test_the_settings_of_a_dump_hold_for_its_rows(mariadb: MariaDB, copy: str) -> None:
    mariadb.run("DROP DATABASE IF EXISTS old; CREATE DATABASE old")
    mariadb.run("CREATE TABLE words (w VARCHAR(9) PRIMARY KEY, t TIMESTAMP NULL)", "old")
    mariadb.run("SET time_zone = '+05:00'; INSERT INTO words VALUES ('café', '2026-01-01 05:00:00')", "old")
    sql = client_dump(mariadb, "old", "--default-character-set=latin1")
    assert b"caf\xe9" in sql
    load(mariadb, sql)
    assert take(mariadb, copy).dump.tables == take(mariadb, "old").dump.tables
    mariadb.run("DROP DATABASE old")


def test_triggers_do_not_run_while_rows_come(mariadb: MariaDB, copy: str) -> None:
    table = b"CREATE TABLE t (id int PRIMARY KEY) ENGINE=InnoDB;\nINSERT INTO t VALUES (1),(2);\n"
    trigger = (
        b"DELIMITER ;;\nCREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET NEW.id = NEW.id + 100 ;;\nDELIMITER ;\n"
    )
    more = b"INSERT INTO t VALUES (3);\n"  # no client writes rows behind triggers, but nothing forbids it
    load(mariadb, HEAD + table + trigger + more)
    assert fetch(mariadb, "SELECT id FROM t") == [(1,), (2,), (3,)]


ORPHANS = b"""CREATE TABLE `child` (
  `id` int PRIMARY KEY, `a` int, `b` int, `boss` int, KEY (`a`, `b`), KEY `boss` (`boss`),
  CONSTRAINT `pair` FOREIGN KEY (`a`, `b`) REFERENCES `parent` (`a`, `b`),
  CONSTRAINT `boss` FOREIGN KEY (`boss`) REFERENCES `child` (`id`)) ENGINE=InnoDB;
INSERT INTO `child` VALUES (1,1,1,NULL),(2,NULL,9,1),(3,9,NULL,2),(4,1,2,3)%b;
CREATE TABLE `parent` (`a` int, `b` int, PRIMARY KEY (`a`, `b`)) ENGINE=InnoDB;
INSERT INTO `parent` VALUES (1,1),(1,2);
"""


@pytest.mark.usefixtures("size")
def test_rows_without_a_parent_are_found(mariadb: MariaDB, copy: str) -> None:
    load(mariadb, HEAD + ORPHANS % b"")
    assert fetch(mariadb, "SELECT count(*) FROM information_schema.referential_constraints"
                 " WHERE constraint_schema = database()") == [(2,)]  # fmt: skip
    mariadb.run("DROP DATABASE `copy ``of`` 100%s`; CREATE DATABASE `copy ``of`` 100%s`")
    loaded = load(mariadb, HEAD + ORPHANS % b",(5,2,1,NULL),(6,2,2,77)")
    assert loaded.orphans == (
        "foreign key 'boss' of table 'child' names: 1 row",
        "foreign key 'pair' of table 'child' names: 2 rows",
    )
    assert loaded.warnings == tuple(f"rows lack the parents that {orphans}" for orphans in loaded.orphans)
    assert loaded.rows == 8
    assert fetch(mariadb, "SELECT count(*) FROM information_schema.referential_constraints"
                 " WHERE constraint_schema = database()") == [(2,)]  # fmt: skip


def test_a_foreign_key_to_a_table_that_was_left_out_is_kept_and_told(mariadb: MariaDB, copy: str) -> None:
    sql = HEAD + b"\n".join(line for line in (ORPHANS % b"").splitlines() if b"`parent` (`a` int" not in line)
    sql = sql.replace(b"INSERT INTO `parent` VALUES (1,1),(1,2);", b"")
    loaded = load(mariadb, sql)
    assert loaded.warnings == ("foreign key 'pair' of table 'child' was not checked: table 'parent' does not exist",)
    assert "CONSTRAINT `pair`" in fetch(mariadb, "SHOW CREATE TABLE child")[0][1]


VIEW = b"""/*!50001 DROP VIEW IF EXISTS `v%d`*/;
SET @saved_cs_client = @@character_set_client;
SET character_set_client = utf8mb4;
/*!50001 CREATE VIEW `v%d` AS SELECT 1 AS `n` */;
SET character_set_client = @saved_cs_client;
/*!50001 DROP VIEW IF EXISTS `v%d`*/;
SET @saved_cs_client = @@character_set_client;
SET character_set_client = utf8mb4;
/*!50001 CREATE ALGORITHM=UNDEFINED */
/*!50001 VIEW `v%d` AS select 1 AS `n` */;
SET character_set_client = @saved_cs_client;
"""


def test_a_view_costs_the_server_few_statements(mariadb: MariaDB, copy: str) -> None:
    """Each is made once, with its own settings, on one connection: some databases have thousands."""

    def asked(count: int) -> int:
        before = int(mariadb.run("SHOW GLOBAL STATUS LIKE 'Questions'").split()[1])
        load(mariadb, HEAD + b"".join(VIEW % ((number,) * 4) for number in range(count)))
        return int(mariadb.run("SHOW GLOBAL STATUS LIKE 'Questions'").split()[1]) - before

    few = asked(1)
    mariadb.run("DROP VIEW v0", COPY)
    assert asked(11) - few <= 10 * 8  # seven of the dump, and what is not of this test


SECRET = "s3cret-of-a-row"
TWICE = f"(1,'{SECRET}'),(2,'{SECRET}')".encode()


@pytest.mark.usefixtures("size")
@pytest.mark.parametrize(
    ("clauses", "rows", "said"),
    [
        (
            b"`id` int, `v` varchar(99), PRIMARY KEY (`id`), UNIQUE KEY `u` (`v`)",
            TWICE,
            "error 1062.*holds a key twice",
        ),
        (b"`id` int NOT NULL, `v` varchar(99) NOT NULL, UNIQUE KEY `u` (`v`)", TWICE, "error 1062"),
        (b"`id` int, `v` varchar(99), PRIMARY KEY (`v`)", TWICE, "error 1062"),
        (b"`id` int, `v` varchar(99)", TWICE + b",(3,,'s3cret-of-a-row')", "error 1064"),
        (b"`id` int", TWICE, "error 1136"),
    ],
)
def test_what_fails_is_told_without_the_values_of_rows(
    mariadb: MariaDB, copy: str, clauses: bytes, rows: bytes, said: str
) -> None:
    sql = (
        HEAD
        + b"CREATE TABLE `things` (\n"
        + clauses
        + b") ENGINE=InnoDB;\nINSERT INTO `things` VALUES "
        + rows
        + b";\n"
    )
    with pytest.raises(RestoreError, match=said) as caught:
        load(mariadb, sql)
    assert "Restore of database 'copy `of` 100%s' on 127.0.0.1:" in str(caught.value)
    assert re.search("(Inserting rows|Building keys) of table 'things'", str(caught.value))
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (
            b"CREATE TABLE `t` (`a` nonsense) ENGINE=InnoDB",
            "Making table 't' failed with error 4161: Unknown data type",
        ),
        (b"CREATE TABLE `t` (`a` int) ENGINE=RocksDB", "needs the storage engine RocksDB.*Install the storage engine"),
        (b"SET no_such_variable = 1", "The dump says SET, which"),
        (b"SET time_zone = 'Mars'", "A setting of the dump failed with error 1298"),
        (
            b"CREATE ALGORITHM=UNDEFINED VIEW `v` AS select no_such_function(1)",
            r"Making view 'v' failed with error 1305: .*does not exist. Hint: The dump refers to a routine",
        ),
        (b"INSERT INTO `t` VALUES (1)", "Inserting rows of table 't' failed with error 1146"),
        (  # in Latin 1, the driver would crash on that message
            b"SET NAMES latin1;\nCREATE ALGORITHM=UNDEFINED VIEW `v` AS select `\xe9`(1)",
            "Making view 'v' failed with error 1305: .*é does not exist",
        ),
    ],
)
def test_what_the_server_refuses_is_named(mariadb: MariaDB, copy: str, sql: bytes, said: str) -> None:
    with pytest.raises(RestoreError, match=said):
        load(mariadb, HEAD + sql + b";\n")


def test_a_schema_that_is_not_empty_keeps_what_it_has(mariadb: MariaDB, copy: str) -> None:
    sql = b"DROP TABLE IF EXISTS `t`;\nCREATE TABLE `t` (`a` int) ENGINE=InnoDB;\nINSERT INTO `t` VALUES (1);\n"
    load(mariadb, sql)
    with pytest.raises(RestoreError, match=r"Making table 't' failed with error 1050.*Restore into an empty schema"):
        load(mariadb, sql)
    assert fetch(mariadb, "SELECT * FROM t") == [(1,)]


def test_a_schema_that_is_not_there_is_told(mariadb: MariaDB) -> None:
    with pytest.raises(RestoreError, match=r"Restore of database 'nowhere' on .*1049.*Create the schema"):
        load(mariadb, HEAD, "nowhere")


class Stop(BaseException):
    """What Airflow raises at a time limit is no Exception, either."""


def stop(*_: object) -> None:
    raise Stop


def blocked_load(mariadb: MariaDB, holder: Any, then: Callable[[], bytes]) -> Iterator[bytes]:
    """Yield a dump; when its rows wait for a lock that `holder` has taken, go on with `then`."""
    rows = b"INSERT INTO `t` VALUES\n" + b",\n".join([b"(1,'" + b"x" * 900 + b"')"] * 1500) + b";\n"
    yield HEAD + b"CREATE TABLE `t` (`id` int, `t` varchar(999)) ENGINE=InnoDB;\n"
    while not fetch(mariadb, "SHOW TABLES"):
        yield rows
    holder.cursor().execute("LOCK TABLES t WRITE")
    while not any(info.startswith("INSERT") for info in connected(mariadb, COPY)):
        yield rows
    yield then()
    yield rows


def bad_statement() -> bytes:
    return b"CREATE TABLE `c` (`id` nonsense);\n"


def nothing_more() -> bytes:
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    return b""


@pytest.mark.parametrize(
    ("then", "raised"), [(bad_statement, RestoreError), (stop, Stop), (nothing_more, Stop)], ids=lambda it: it.__name__
)
def test_whatever_ends_a_load_ends_it_on_all_connections_at_once(
    mariadb: MariaDB, copy: str, monkeypatch: pytest.MonkeyPatch, then: Callable[[], bytes], raised: type[BaseException]
) -> None:
    """A connection that waits for a lock would wait for a day; the fixture `copy` looks for what is left over."""
    monkeypatch.setattr(mysql_load, "CHECKED_AHEAD", 0)
    before = signal.signal(signal.SIGALRM, stop)
    with contextlib.closing(mariadb.connect(database=copy)) as holder:
        try:
            with pytest.raises(raised):
                load(mariadb, blocked_load(mariadb, holder, then))
            still_running = connected(mariadb, copy)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    assert [info for info in still_running if info] == []


def test_a_load_ends_though_its_control_connection_is_gone(
    mariadb: MariaDB, copy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill_the_idle() -> bytes:
        numbers = "SELECT id FROM information_schema.processlist WHERE db = database() AND info IS NULL AND id <> %d"
        for (number,) in fetch(mariadb, numbers % holder.thread_id()):
            mariadb.run(f"KILL {number}")
        return bad_statement()

    monkeypatch.setattr(mysql_load, "CHECKED_AHEAD", 0)
    with contextlib.closing(mariadb.connect(database=copy)) as holder:
        with pytest.raises(RestoreError, match=r"failed with error (2006|2013).*The server went away"):
            load(mariadb, blocked_load(mariadb, holder, kill_the_idle))
        assert not [thread.name for thread in threading.enumerate() if "(_work)" in thread.name]


DEFINED = rb"""CREATE TABLE `t` (`id` int) ENGINE=InnoDB;
DELIMITER ;;
/*!50003 CREATE*/ /*!50017 DEFINER=`gone`@`10.%`*/ /*!50003 TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET @a = 1 */;;
CREATE DEFINER=`gone`@`10.%` PROCEDURE `p`()
SELECT 1 ;;
CREATE DEFINER=`here`@`%` PROCEDURE `q`()
SELECT 1 ;;
DELIMITER ;
/*!50001 CREATE ALGORITHM=UNDEFINED */
/*!50013 DEFINER=`gone`@`10.%` SQL SECURITY DEFINER */
/*!50001 VIEW `v` AS select `t`.`id` AS `id` from `t` */;
"""


def test_definers_that_are_not_here_are_dropped_and_named(mariadb: MariaDB, copy: str) -> None:
    sql = HEAD + DEFINED
    mariadb.run("CREATE OR REPLACE USER here; CREATE OR REPLACE USER restorer@localhost IDENTIFIED BY 'pw'")
    mariadb.run("GRANT ALL ON `copy ``of`` 100\\%s`.* TO restorer@localhost")
    definers = "SELECT routine_name, definer FROM information_schema.routines WHERE routine_schema = database()"

    loaded = restore(mariadb, sql)
    gone = "definer gone@10.% was dropped: the server has no such account; its code has rights on this database only"
    assert loaded.warnings == (gone,)
    ((left,),) = fetch(mariadb, "SELECT definer FROM information_schema.views WHERE table_schema = database()")
    assert left.startswith("lifeboat_load_")
    assert dict(fetch(mariadb, definers)) == {"p": left, "q": "here@%"}
    views = "SELECT definer, security_type FROM information_schema.views WHERE table_schema = database()"
    assert fetch(mariadb, views) == [(left, "DEFINER")]
    triggers = "SELECT definer FROM information_schema.triggers WHERE trigger_schema = database()"
    assert fetch(mariadb, triggers) == [(left,)]

    mariadb.run("DROP DATABASE `copy ``of`` 100%s`; CREATE DATABASE `copy ``of`` 100%s`")
    loaded = restore(mariadb, sql, connect=partial(mariadb.connect, user="restorer", password="pw"))
    assert [warning.partition(" was")[0] for warning in loaded.warnings] == ["definer gone@10.%", "definer here@%"]
    assert dict(fetch(mariadb, definers)) == {"p": "restorer@localhost", "q": "restorer@localhost"}


MYSQL_8 = (HERE / "reconstructed" / "mysql-8.0.dump.sql").read_bytes()


def test_an_unknown_collation_is_refused_before_anything_is_made(mariadb: MariaDB, copy: str) -> None:
    said = (
        r"table 'audit_log' needs collation utf8mb4_0900_ai_ci, which the server \(10.11.* does not know.*Restore to a"
    )
    with pytest.raises(RestoreError, match=said):
        load(mariadb, MYSQL_8)
    late = HEAD + b"CREATE TABLE `t` (`id` int) ENGINE=InnoDB;\n" + MYSQL_8
    with pytest.raises(RestoreError, match=said):
        load(mariadb, late)
    assert fetch(mariadb, "SHOW TABLES") == []


def test_a_dump_of_mysql_loads_once_its_collations_are_known(mariadb: MariaDB, copy: str) -> None:
    loaded = load(mariadb, MYSQL_8.replace(b"utf8mb4_0900_ai_ci", b"utf8mb4_unicode_ci"))
    assert loaded.rows == 12
    assert loaded.warnings[0].startswith("the dump is of 8.0.36, the server is 10.11.")
    assert fetch(mariadb, "SELECT name FROM users WHERE id = 1") == [("Ada O'Neil",)]
    assert fetch(mariadb, "SELECT total FROM order_lines WHERE id = 1") == [(Decimal("29.70"),)]


def test_a_dump_of_mariadb_is_refused_by_mysql_where_it_must_be(mariadb: MariaDB) -> None:
    target = Target("8.0.36-MySQL", 1 << 20)
    sequence = recognise(b"CREATE SEQUENCE `s` start with 1")
    assert sequence
    with contextlib.closing(mariadb.connect()) as connection:
        compatibility = Compatibility(target, mysql.Session(connection))
        with pytest.raises(RestoreError, match="sequence 's' needs a sequence, which MySQL does not have"):
            compatibility.check(sequence)


@pytest.mark.parametrize(
    ("dumped", "client", "server", "said"),
    [
        ("10.11.6-MariaDB", "MariaDB dump 10.19", "10.11.19-MariaDB", ""),
        ("11.4.2-MariaDB", "MariaDB dump 10.19", "10.11.19-MariaDB", "the server (10.11.19-MariaDB) is older"),
        ("8.4.7", "MySQL dump 10.13", "8.0.36-MySQL", "the server (8.0.36-MySQL) is older"),
        ("8.0.36", "MySQL dump 10.13", "8.4.1-MySQL", ""),
        ("8.0.36", "MySQL dump 10.13", "10.11.19-MariaDB", "the dump is of 8.0.36, the server is 10.11.19-MariaDB"),
        ("", "", "10.11.19-MariaDB", ""),
    ],
)
def test_older_and_other_servers_are_told(dumped: str, client: str, server: str, said: str) -> None:
    found = list(mysql_target.differences(Origin("shop", dumped, client), Target(server, 1)))
    assert [said in warning for warning in found] == ([True] if said else [])


def test_one_table_alone(mariadb: MariaDB, everything: Source, copy: str) -> None:
    loaded = load(mariadb, everything.sql, load=Load("", "a_child"))
    assert (loaded.tables, loaded.rows) == (1, 12)
    left_out = "foreign key '{}' of table 'a_child' was left out: table 'z_parent' does not exist"
    assert loaded.warnings == tuple(left_out.format(name) for name in ("by_code", "pair", "round"))
    assert fetch(mariadb, "SHOW FULL TABLES") == [("a_child", "BASE TABLE")]
    assert (
        "CONSTRAINT `boss` FOREIGN KEY (`boss`) REFERENCES `a_child`"
        in fetch(mariadb, "SHOW CREATE TABLE a_child")[0][1]
    )


def test_one_table_with_its_triggers(mariadb: MariaDB, everything: Source, copy: str) -> None:
    load(mariadb, everything.sql, load=Load("", "orders"))
    triggers = (
        "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = database() ORDER BY action_order"
    )
    assert fetch(mariadb, triggers) == [("first",), ("second",), ("third",)]
    assert fetch(mariadb, "SHOW FULL TABLES") == [("orders", "BASE TABLE")]


def test_a_table_that_the_dump_does_not_have(mariadb: MariaDB, everything: Source, copy: str) -> None:
    with pytest.raises(
        RestoreError, match=r"(?s)The dump has no table 'oders'; it has 100%s, .*, odd_counter and 13 more"
    ):
        load(mariadb, everything.sql, load=Load("", "oders"))
    with pytest.raises(RestoreError, match="'b_first' is a view, which has no rows of its own"):
        load(mariadb, everything.sql, load=Load("", "b_first"))
    assert fetch(mariadb, "SHOW TABLES") == []


@pytest.fixture
def small_packets(mariadb: MariaDB) -> Iterator[None]:
    mariadb.run("SET GLOBAL max_allowed_packet = 1048576")
    yield
    mariadb.run("SET GLOBAL max_allowed_packet = 268435456")


@pytest.mark.usefixtures("small_packets")
@pytest.mark.parametrize("between", [b",\n", b","])
def test_statements_are_cut_to_what_the_server_takes(mariadb: MariaDB, copy: str, between: bytes) -> None:
    rows = [b"(%d,'%s')" % (number, b"x" * 1000) for number in range(3000)]
    sql = HEAD + b"CREATE TABLE `t` (`id` int PRIMARY KEY, `t` text) ENGINE=InnoDB;\nINSERT INTO `t` VALUES "
    assert load(mariadb, sql + between.join(rows) + b";\n").rows == 3000
    row = b"(9999,'" + b"x" * 1_100_000 + b"');\n"
    mariadb.run("DROP DATABASE `copy ``of`` 100%s`; CREATE DATABASE `copy ``of`` 100%s`")
    with pytest.raises(
        RestoreError, match=r"A row of table 't' is longer than the 1023.9 KiB .*Raise max_allowed_packet"
    ):
        load(mariadb, sql + row)


def test_values_that_the_server_changes_are_told(mariadb: MariaDB, copy: str) -> None:
    sql = HEAD + b"CREATE TABLE `t` (`id` tinyint, `twice` int AS (`id` * 2)) ENGINE=InnoDB;\n"
    loaded = load(mariadb, sql + b"INSERT INTO `t` VALUES (1,2),(300,4);\n")
    assert loaded.warnings == ("table 't': the server changed values while storing them (warning 1264)",)


def test_the_collation_of_the_schema_is_that_of_the_copy(mariadb: MariaDB, copy: str) -> None:
    """Clients change the dumped schema's own while they make a routine that was made under another."""
    mariadb.run("DROP DATABASE IF EXISTS original; CREATE DATABASE original COLLATE utf8mb4_bin")
    mariadb.run("CREATE PROCEDURE p() SELECT 1; ALTER DATABASE original COLLATE utf8mb4_general_ci", "original")
    source = take(mariadb, "original")
    assert b"ALTER DATABASE `original`" in source.sql
    load(mariadb, source.sql)
    collation = "SELECT database_collation FROM information_schema.routines WHERE routine_schema = database()"
    assert fetch(mariadb, collation) == [("utf8mb4_bin",)]
    default = "SELECT default_collation_name FROM information_schema.schemata WHERE schema_name = database()"
    assert fetch(mariadb, default) == fetch(mariadb, default, "original") == [("utf8mb4_general_ci",)]
    mariadb.run("DROP DATABASE original")


def test_an_event_whose_time_has_passed_is_missed(mariadb: MariaDB, copy: str) -> None:
    event = (
        b"CREATE DEFINER=root@localhost EVENT `%b` ON SCHEDULE AT '%b-01-01 00:00:00' ON COMPLETION NOT PRESERVE"
        b" ENABLE DO SELECT 1 ;;\n"
    )
    sql = HEAD + b"DELIMITER ;;\n" + event % (b"gone", b"2020") + event % (b"coming", b"2036") + b"DELIMITER ;\n"
    loaded = restore(mariadb, sql, in_place=True)
    assert loaded.warnings[0] == "event 'gone' was left out: its time has passed"
    assert loaded.left_out == (("event", "gone"),)
