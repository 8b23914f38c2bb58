"""Loads hostile dumps into each engine, and watches what a load must never touch."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from lifeboat.databases import Load, Server, Target
from lifeboat.databases.mysql import dump as mysql
from lifeboat.databases.mysql import load as mysql_load
from lifeboat.databases.mysql.statements import StatementReader
from lifeboat.databases.postgresql import statements
from lifeboat.databases.postgresql.engine import PostgreSQL as PostgreSQLEngine
from lifeboat.databases.sqlite import text as sqlite_text
from lifeboat.databases.sqlite.engine import SQLite
from lifeboat.errors import LifeboatError
from lifeboat.support import clock

from include.demo.stand_ins import MariaDB, MySQL, PostgreSQL
from tests.fuzz.splices import MYSQL, POSTGRESQL, SQLITE, Language, hostile_dump, statements_of

SCHEMA = "spliced"
LONGEST = 16 << 20
MADE = Path("/tmp/made_by_a_dump")
SMALL = b"""CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(30) DEFAULT 'it''s', KEY (v)) COMMENT 'x';
INSERT INTO a VALUES (1, 'one'), (2, 'tw\\'o');
CREATE TABLE b (id INT PRIMARY KEY, a INT, FOREIGN KEY (a) REFERENCES a (id));
INSERT INTO b VALUES (1, 1);
CREATE TABLE c (n INT) PARTITION BY HASH (n) PARTITIONS 2;
CREATE VIEW v AS SELECT id FROM a;
CREATE TRIGGER tr BEFORE INSERT ON b FOR EACH ROW SET NEW.a = NEW.a;
CREATE PROCEDURE p() SELECT 1;
CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1;
CREATE EVENT e ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01' DO DELETE FROM b;
"""
WATCHED = (
    f"SELECT schema_name, default_collation_name FROM information_schema.schemata WHERE schema_name <> '{SCHEMA}'",
    "SELECT table_schema, table_name, table_type FROM information_schema.tables WHERE table_schema = 'victim'",
    "SELECT * FROM victim.t",
    "SELECT routine_name, routine_definition FROM information_schema.routines WHERE routine_schema = 'victim'",
    "SELECT event_name FROM information_schema.events WHERE event_schema = 'victim' OR status = 'ENABLED'",
    "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = 'victim'",
    "SELECT user, host, authentication_string FROM mysql.user WHERE user NOT LIKE 'lifeboat\\_load\\_%'",
    "SELECT @@general_log_file, @@global.sql_mode, @@event_scheduler, @@global.general_log",
)


@dataclass
class Tried:
    """How many dumps the reader refused, how many the server did not take, and how many were loaded."""

    refused: int = 0
    failed: int = 0
    loaded: int = 0


@dataclass(frozen=True)
class Victim:
    """What hostile dumps are tried on.

    :param dump: statements of an honest one.
    :param watched: returns what no load may change.
    :param read: reads a dump as a load does before it runs any of it.
    :param load: loads a dump, and uses what it made.
    """

    language: Language
    dump: list[bytes]
    watched: Callable[[], object]
    read: Callable[[bytes], Iterable[object]]
    load: Callable[[bytes], None]


@contextlib.contextmanager
def mysql_victim(server: MariaDB | MySQL) -> Iterator[Victim]:
    """Make the schema that is watched."""
    server.run("DROP DATABASE IF EXISTS victim; CREATE DATABASE victim; CREATE TABLE victim.t (a INT)")
    server.run("INSERT INTO victim.t VALUES (1), (2); CREATE PROCEDURE victim.tidy() DELETE FROM t")
    server.run(f"DROP DATABASE IF EXISTS {SCHEMA}; CREATE DATABASE {SCHEMA}; DROP DATABASE IF EXISTS source")
    server.run("CREATE DATABASE source")
    server.run(SMALL, "source")
    chunks: list[bytes] = []
    mysql.dump(server.connect, server.server, clock.now, "source", (), chunks.append)
    server.run("DROP DATABASE source")

    def watched() -> object:
        with contextlib.closing(server.connect()) as connection, connection.cursor() as cursor:
            seen: list[object] = []
            for query in WATCHED:
                cursor.execute(query)
                seen.append(sorted(map(str, cursor.fetchall())))
        return seen

    def load(sql: bytes) -> None:
        try:
            mysql_load.load(server.connect, server.server, SCHEMA, [sql], Load("source"), connections=1)
        finally:
            server.run(f"DROP DATABASE {SCHEMA}; CREATE DATABASE {SCHEMA}")

    dump = statements_of(b"".join(chunks))
    yield Victim(MYSQL, dump, watched, lambda sql: StatementReader([sql], LONGEST, "source"), load)
    server.run(f"DROP DATABASE victim; DROP DATABASE {SCHEMA}")


# Its functions try by themselves, and say nothing when they may not.
SMALL_POSTGRESQL = r"""
CREATE FUNCTION attack() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $_$ DECLARE x text;
BEGIN
  FOREACH x IN ARRAY ARRAY['ALTER ROLE lifeboat PASSWORD ''made''', 'CREATE ROLE made_by_a_dump', 'GRANT app TO reader',
    'ALTER ROLE lifeboat SET work_mem TO ''7MB''', 'COMMENT ON DATABASE victim IS ''made''',
    'ALTER DATABASE victim SET work_mem TO ''7MB''', 'COPY (SELECT 1) TO ''/tmp/made_by_a_dump''']
  LOOP BEGIN EXECUTE x; EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP;
  RETURN true;
END $_$;
CREATE FUNCTION safe() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM public.attack(); RETURN true; END';
CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM attack(); RETURN NEW; END$$;
CREATE FUNCTION atomic(n int) RETURNS int BEGIN ATOMIC SELECT CASE WHEN n > 0 THEN 1 ELSE 2 END; SELECT 3; END;
CREATE TYPE e AS ENUM ('a', 'it''s');
CREATE DOMAIN d AS integer CHECK (safe());
CREATE TABLE a (id d PRIMARY KEY, v text DEFAULT 'it''s', w text DEFAULT E'\\', feeling e, CHECK (safe()));
INSERT INTO a VALUES (1, E'x\\.\n\\', NULL, 'it''s'), (2, '$$;', E'\t', 'a');
CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a ON DELETE CASCADE);
INSERT INTO b VALUES (1, 1);
CREATE INDEX i ON a (v, (safe()));
CREATE STATISTICS s ON safe(), v FROM a;
CREATE VIEW v AS SELECT id, attack() FROM a;
CREATE MATERIALIZED VIEW m AS SELECT attack();
CREATE TRIGGER t BEFORE INSERT OR DELETE ON b FOR EACH ROW EXECUTE FUNCTION fires();
CREATE RULE r AS ON DELETE TO a DO ALSO SELECT attack();
ALTER TABLE b ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON b USING (attack());
SELECT lo_from_bytea(4711, '\x00');
COMMENT ON TABLE a IS 'it''s; --';
GRANT SELECT ON a TO PUBLIC;
"""
WATCHED_POSTGRESQL = (
    "SELECT datname, datdba::regrole, datacl::text, shobj_description(oid, 'pg_database') FROM pg_database"
    f" WHERE datname !~ '^lifeboat_|^{SCHEMA}$' ORDER BY 1",
    "SELECT a.*, shobj_description(oid, 'pg_authid') FROM pg_authid a WHERE rolname !~ '^lifeboat_load' ORDER BY 1",
    "SELECT member::regrole, roleid::regrole FROM pg_auth_members WHERE roleid::regrole::text !~ 'lifeboat_load'"
    " ORDER BY 1, 2",
    "SELECT setdatabase, setrole, setconfig FROM pg_db_role_setting ORDER BY 1, 2",
    "SELECT name, setting FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf'",
)


@contextlib.contextmanager
def postgresql_victim(server: PostgreSQL) -> Iterator[Victim]:
    """Make the database that is watched, of the login that restores, and roles that a dump may name."""
    server.run("CREATE ROLE app; CREATE ROLE reader LOGIN; GRANT app TO lifeboat")
    server.run("CREATE DATABASE victim OWNER lifeboat")
    server.run("CREATE TABLE t (a integer); INSERT INTO t VALUES (1)", "victim", "lifeboat")
    server.run("CREATE DATABASE source OWNER app")
    server.run(f"SET ROLE app; {SMALL_POSTGRESQL}", "source")
    engine = PostgreSQLEngine(Server(server.host, server.port, server.user, server.password), clock.now)
    chunks: list[bytes] = []
    captured = engine.dump("source", (), chunks.append)

    def connect(database: str) -> psycopg.Connection[tuple[object, ...]]:
        login = {"user": "postgres", "password": server.password, "dbname": database, "autocommit": True}
        return psycopg.connect(host=server.host, port=server.port, **login)  # type: ignore[arg-type]

    def watched() -> object:
        with connect("victim") as session:
            rows = session.execute("SELECT * FROM t").fetchall()
            return rows, [session.execute(query.encode()).fetchall() for query in WATCHED_POSTGRESQL]

    def use() -> None:
        """Do what applications and the server itself do with a database."""
        with connect(SCHEMA) as session:
            session.execute("ANALYZE")
            session.execute("SET ROLE reader")
            for query in ("SELECT attack()", "SELECT safe()", "SELECT * FROM v", "DELETE FROM b", "DELETE FROM a"):
                with contextlib.suppress(psycopg.Error):
                    session.execute(query.encode())

    def load(sql: bytes) -> None:
        try:
            with engine.target(Target(SCHEMA, "a key", captured)) as place:
                engine.load(place.name, [sql], Load("source"))
            use()
        finally:
            server.run(f"DROP DATABASE IF EXISTS {SCHEMA} WITH (FORCE)")

    named = b"ALTER FUNCTION public.attack() OWNER TO %b;"  # the dump of somebody hostile names who restores
    dump = statements_of(b"".join(chunks).replace(named % b"app", named % b"lifeboat"))
    yield Victim(POSTGRESQL, dump, watched, lambda sql: statements.read([sql]), load)
    server.run("DROP DATABASE victim")
    server.run("DROP DATABASE source")
    server.run("DROP ROLE app, reader")


SMALL_SQLITE = """
CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT DEFAULT 'it''s', w BLOB CHECK (w IS NULL OR length(w)));
INSERT INTO a (v, w) VALUES ('one', X'00'), ('tw''o; --', NULL);
CREATE TABLE "b c" ([x y] TEXT, `z` REFERENCES a (id));
INSERT INTO "b c" VALUES ('END;', 1);
CREATE VIRTUAL TABLE f USING fts5(body);
INSERT INTO f VALUES ('some words');
CREATE INDEX i ON a (lower(v)) WHERE id > 0;
CREATE VIEW v AS SELECT id, CASE WHEN id THEN 1 END FROM a;
CREATE TRIGGER t AFTER INSERT ON a BEGIN UPDATE a SET v = CASE WHEN 1 THEN v END; SELECT 1; END;
"""


@contextlib.contextmanager
def sqlite_victim(folder: Path) -> Iterator[Victim]:
    """Make the file that is watched, beside that which is filled, in the directory where programs look first."""
    for name, text in (("victim", "CREATE TABLE t (a); INSERT INTO t VALUES (1)"), ("source", SMALL_SQLITE)):
        with contextlib.closing(sqlite3.connect(folder / f"{name}.sqlite")) as file:
            file.executescript(text)
    engine = SQLite(folder / "source.sqlite", folder / "scratch", clock.now)
    chunks: list[bytes] = []
    captured = engine.dump("source", (), chunks.append)
    filled = folder / f"{SCHEMA}.sqlite"

    def watched() -> object:
        files = sorted(path for path in folder.iterdir() if path.name not in (filled.name, "scratch"))
        return files, [path.read_bytes() for path in files if path.suffix == ".sqlite"]

    def load(sql: bytes) -> None:
        try:
            with engine.target(Target(SCHEMA, "a key", captured)) as place:
                engine.load(place.name, [sql], Load("source"))
            engine.dump(SCHEMA, (), lambda chunk: None)
        finally:
            filled.unlink(missing_ok=True)

    with contextlib.chdir(folder):
        yield Victim(SQLITE, statements_of(b"".join(chunks)), watched, lambda sql: sqlite_text.read([sql]), load)


@contextlib.contextmanager
def victim_of(name: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[Victim]:
    """Make what is watched, by the name of a server's fixture, or in a folder for ``sqlite``."""
    if name == "sqlite":
        made = sqlite_victim(folder)
    else:
        server = request.getfixturevalue(name)
        made = postgresql_victim(server) if isinstance(server, PostgreSQL) else mysql_victim(server)
    with made as victim:
        yield victim


def try_splices(victim: Victim, seconds: float, first_seed: int) -> Tried:
    """Load hostile dumps for a while.

    :raises AssertionError: something was touched; it names the seed.
    """
    tried, before = Tried(), victim.watched()
    deadline, seed = time.monotonic() + seconds, first_seed
    while time.monotonic() < deadline:
        seed += 1
        sql = hostile_dump(victim.dump, seed, victim.language)
        try:
            list(victim.read(sql))
        except LifeboatError:
            tried.refused += 1  # what runs of it before is a dump of its own, cut short
            continue
        try:
            victim.load(sql)
            tried.loaded += 1
        except LifeboatError:
            tried.failed += 1
        after = victim.watched()
        assert after == before, f"seed {seed}: {before} became {after}"
        assert not MADE.exists(), f"seed {seed}"
    return tried
