"""Databases to back up and restore: one harness for all servers, whichever client dumps them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lifeboat.airflow import connections
from lifeboat.databases import Engine, EngineName
from lifeboat.settings.config import Database

from include.demo.stand_ins import MariaDB, MariaDB118, MySQL, PostgreSQL
from tests.matrix.independent import fingerprint

TEXTS = Path(__file__).parents[1] / "servers" / "databases"
NAME = "everything"  # the database, which holds all that a dump may hold
BYSTANDER = "bystander"  # another one, in which nothing may change
CONNECTION = "subject_db"
SYSTEM = ("information_schema", "mysql", "performance_schema", "sys")

MySQLFamily = MySQL | MariaDB | MariaDB118


@dataclass(frozen=True)
class Pair:
    """A server, and the client by which it is dumped.

    :param server: name of the fixture that starts it.
    :param client: name of the fixture of the server whose client it is; its own when empty.
    """

    server: str
    client: str = ""

    def __str__(self) -> str:
        return f"{self.server} by {self.client}" if self.client else self.server

    @property
    def needs(self) -> frozenset[str]:
        """The fixtures of all servers that must be there."""
        return frozenset(filter(None, (self.server, self.client)))


# `make test` runs them
ORDINARY = (Pair("mysql"), Pair("mariadb"), Pair("postgresql_17"), Pair("sqlite"))
FURTHER_MYSQL = (
    Pair("mysql", "mariadb"),
    Pair("mysql", "mariadb_118"),
    Pair("mariadb_118"),
    Pair("mariadb_118", "mariadb"),
    Pair("mariadb", "mariadb_118"),
)
# No pg_dump reads a server newer than itself.
FURTHER_POSTGRESQL = (
    Pair("postgresql"),
    Pair("postgresql_18"),
    Pair("postgresql", "postgresql_17"),
    Pair("postgresql", "postgresql_18"),
    Pair("postgresql_17", "postgresql_18"),
)
FURTHER = FURTHER_MYSQL + FURTHER_POSTGRESQL
# Dumped here, restored there.
ACROSS_MYSQL = (Pair("mysql", "mariadb_118"), Pair("mariadb", "mariadb_118"))
ACROSS_POSTGRESQL = (
    Pair("postgresql", "postgresql_17"),
    Pair("postgresql", "postgresql_18"),
    Pair("postgresql_17", "postgresql_18"),
)
ACROSS = ACROSS_MYSQL + ACROSS_POSTGRESQL


class Subject(Protocol):
    """A server with a database of everything, and another.

    :cvar rows_of: a table with rows that other tables do not need.
    :cvar excluded: a table that a backup may leave out.
    :cvar hostile: statements that would change the other database, or what is outside of all.
    """

    engine: EngineName
    rows_of: str
    excluded: str
    hostile: Sequence[str]
    begin: str

    def make(self) -> None:
        """Make both databases, and drop all others."""
        ...

    def make_empty(self, database: str) -> None:
        """Make an empty database that can be written while it is dumped."""
        ...

    def connection(self) -> str:
        """Return the Airflow connection as JSON."""
        ...

    def run(self, sql: str, database: str) -> str:
        """Run SQL by the server's own client."""
        ...

    def connect(self, database: str) -> Any:
        """Open a DB-API connection whose transactions begin and end by statements."""
        ...

    def databases(self) -> set[str]:
        """Return the names of all databases that restores and drills may have made, and of both."""
        ...

    def fingerprint(self, database: str) -> dict[str, str]:
        """Return what a database holds, as the server says it."""
        ...


def engine_of(subject: Subject, scratch: Path) -> Engine:
    """Return Lifeboat's engine, as the settings of a test reach it."""
    return connections.engine(Database(name=NAME, engine=subject.engine, connection=CONNECTION), scratch)


_STATUS = re.compile(r" (?:ENABLE|DISABLE(?: ON \w+)?)(?= COMMENT | DO )")


class InMySQL:
    """MySQL or MariaDB.

    :param changes: SQL on the database of everything, for what the pair's client cannot dump.
    """

    engine: EngineName = "mysql"
    rows_of = "many"
    excluded = "no_key_at_all"
    begin = "START TRANSACTION"
    hostile: Sequence[str] = (
        "USE bystander;",
        "DROP DATABASE bystander;",
        "INSERT INTO `bystander`.`t` VALUES (2);",
        "CREATE TABLE `bystander`.`u` (`a` int);",
        "/*!50000 DROP TABLE bystander.t */;",
        "/*M!100000 DROP TABLE bystander.t */;",
        "CREATE TABLE `x` (`a` int); DELETE FROM bystander.t;",
        "DELIMITER ;;\nCREATE PROCEDURE p() BEGIN END ;; DELETE FROM bystander.t ;;\nDELIMITER ;",
        "GRANT ALL ON *.* TO evil@localhost;",
        "SET GLOBAL max_connections = 7;",
        "SELECT 'x' INTO OUTFILE '/tmp/lifeboat-touched';",
        "\\! touch /tmp/lifeboat-touched",
        "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE t;",
    )

    def __init__(self, server: MySQLFamily, changes: str = "") -> None:
        self.server, self._changes = server, changes

    def make(self) -> None:
        for name in self.databases():
            self.server.run(f"DROP DATABASE `{name}`")
        self.server.run(
            f"CREATE DATABASE {NAME} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci; CREATE DATABASE {BYSTANDER};"
            f"CREATE TABLE {BYSTANDER}.t (a INT PRIMARY KEY); INSERT INTO {BYSTANDER}.t VALUES (1)"
        )
        text = "everything.mysql.sql" if isinstance(self.server, MySQL) else "everything.sql"
        self.server.run((TEXTS / text).read_text(encoding="utf-8"), NAME)
        self.server.run(self._changes, NAME)
        if not isinstance(self.server, MySQL):
            self.server.run(
                "UPDATE every_type SET single = id % 1000", NAME
            )  # a FLOAT of more digits does not come back

    def make_empty(self, database: str) -> None:
        self.server.run(f"CREATE DATABASE {database}")

    def connection(self) -> str:
        return self.server.connection()

    def run(self, sql: str, database: str) -> str:
        return self.server.run(sql, database)

    def connect(self, database: str) -> Any:
        return self.server.connect(database=database)

    def databases(self) -> set[str]:
        return set(self.server.run("SHOW DATABASES").splitlines()) - set(SYSTEM)

    def fingerprint(self, database: str) -> dict[str, str]:
        with contextlib.closing(self.server.connect()) as connection:
            found = fingerprint(connection, database)
        # A view names its schema, others may, and an event of a copy does not run.
        return {
            name: _STATUS.sub("", re.sub(rf"(`?)\b{database}\1\.", "", text), count=1)
            if name.startswith(("view ", "event ", "trigger ", "table "))
            else text
            for name, text in found.items()
        }


class InPostgreSQL:
    """PostgreSQL."""

    engine: EngineName = "postgresql"
    rows_of = "orders"
    excluded = "page_views"
    begin = "BEGIN"
    hostile: Sequence[str] = (
        "\\connect bystander",
        "DROP DATABASE bystander;",
        "\\! touch /tmp/lifeboat-touched",
        "COPY t TO PROGRAM 'touch /tmp/lifeboat-touched';",
        "CREATE ROLE evil;",
        "DO $$ BEGIN DROP DATABASE bystander; END $$;",
        "ALTER DATABASE bystander RENAME TO gone;",
    )

    def __init__(self, server: PostgreSQL) -> None:
        self.server = server

    def make(self) -> None:
        for name in self.databases():
            self.server.run(f'ALTER DATABASE "{name}" IS_TEMPLATE false')
            self.server.run(f'DROP DATABASE "{name}" WITH (FORCE)')
        for name in (NAME, BYSTANDER):
            self.server.run(f"CREATE DATABASE {name} OWNER {self.server.user}")
        self.server.run((TEXTS / "everything.postgresql.sql").read_text(encoding="utf-8"), NAME, self.server.user)
        self.server.run("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)", BYSTANDER, self.server.user)

    def make_empty(self, database: str) -> None:
        self.server.run(f"CREATE DATABASE {database} OWNER {self.server.user}")

    def connection(self) -> str:
        return self.server.connection()

    def run(self, sql: str, database: str) -> str:
        return self.server.run(sql, database, self.server.user)

    def connect(self, database: str) -> Any:
        import psycopg
        from psycopg.conninfo import make_conninfo

        server = self.server
        login = make_conninfo(host=server.host, port=server.port, user=server.user, password=server.password)
        return psycopg.connect(login, dbname=database, autocommit=True)

    def databases(self) -> set[str]:
        return set(
            self.server.run(
                "SELECT datname FROM pg_database WHERE datname <> 'postgres' AND datname !~ '^template'"
            ).splitlines()
        )

    def fingerprint(self, database: str) -> dict[str, str]:
        run = self.server.run
        tables = run(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname !~ '^(pg_|information_schema)'",
            database,
        ).splitlines()
        found = run(
            ";".join(
                f"SELECT {number}, count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t"
                for number, table in enumerate(tables)
            ),
            database,
        )
        rows = {table: line.partition("\t")[2] for table, line in zip(tables, found.splitlines(), strict=True)}
        kinds = {
            "columns": "SELECT table_name, column_name, data_type, column_default FROM information_schema.columns"
            " WHERE table_schema IN ('public', 'sales') ORDER BY 1, 2",
            "indexes": "SELECT indexdef FROM pg_indexes WHERE schemaname IN ('public', 'sales') ORDER BY 1",
            "views": "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public' ORDER BY 1",
            "triggers": "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1",
            "sequences": "SELECT sequencename, last_value FROM pg_sequences ORDER BY 1",
            "large objects": "SELECT loid, md5(data) FROM pg_largeobject ORDER BY loid, pageno",
        }
        return rows | {kind: run(sql, database) for kind, sql in kinds.items()}


class InSQLite:
    """SQLite, in a directory."""

    engine: EngineName = "sqlite"
    rows_of = "orders"
    excluded = "page_views"
    begin = "BEGIN IMMEDIATE"
    hostile: Sequence[str] = (
        "ATTACH 'bystander.sqlite' AS other;",
        "VACUUM INTO '/tmp/lifeboat-touched';",
        "PRAGMA writable_schema = ON;",
        "SELECT writefile('/tmp/lifeboat-touched', 'x');",
        ".shell touch /tmp/lifeboat-touched",
    )

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self) -> None:
        self.folder.mkdir(exist_ok=True)
        for path in self.folder.iterdir():
            path.unlink()
        self.run((TEXTS / "everything.sqlite.sql").read_text(encoding="utf-8"), NAME)
        self.run("CREATE TABLE t (a INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)", BYSTANDER)

    def make_empty(self, database: str) -> None:
        self.folder.mkdir(exist_ok=True)
        self.run("PRAGMA journal_mode = wal", database)

    def connection(self) -> str:
        return json.dumps({"conn_type": "sqlite", "host": str(self._path(NAME))})

    def run(self, sql: str, database: str) -> str:
        command = ["sqlite3", "-bail", str(self._path(database))]
        return subprocess.run(command, input=sql.encode(), capture_output=True, check=True).stdout.decode("latin-1")

    def connect(self, database: str) -> Any:
        return sqlite3.connect(self._path(database), isolation_level=None, timeout=60)

    def databases(self) -> set[str]:
        return {path.name.removesuffix(".sqlite") for path in self.folder.glob("*.sqlite")}

    def fingerprint(self, database: str) -> dict[str, str]:
        return {"dump": self.run(".dump", database), "pragmas": self.run("PRAGMA user_version", database)}

    def _path(self, database: str) -> Path:
        return self.folder / f"{database}.sqlite"


def clients_first(folder: Path, clients: Path) -> str:
    """Return a PATH in which a server's dump client and client come first, whatever a worker calls them."""
    folder.mkdir()
    for name, program in {"mysqldump": "mariadb-dump", "mysql": "mariadb"}.items():
        for link in (name, program):
            (folder / link).symlink_to(clients / program)
    return f"{folder}:{os.environ['PATH']}"
