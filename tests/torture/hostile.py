"""Databases of each engine in which everything has every name: what means something to SQL, shells, terminals, HTML."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import psycopg

from include.demo.stand_ins import MariaDB, PostgreSQL

QUOTES = "a`b'c\"d;e%f%%s..g/h\\i"
MARKUP = "-x\n[red]\x1b[31m<!channel>\u202e<b>&{{ 7*7 }}$(id)"
ACCENTS = " ünï *_~ \t\r\u2028.."
NAMES = (QUOTES, MARKUP, ACCENTS)
EXCLUDED = f"x{QUOTES}"
# What dumps of PostgreSQL begin and end texts, rows and comments by.
DUMPED = "$a$ COPY x FROM stdin;\n\\.\n--"


def quoted(name: str, mark: str = '"') -> str:
    """Return a name as SQL takes it."""
    return mark + name.replace(mark, mark * 2) + mark


def literal(text: str) -> str:
    """Return a text as SQL takes it."""
    return quoted(text, "'")


class Databases(Protocol):
    """Real databases of one engine.

    :ivar names: as the engine allows them.
    :ivar excluded: a table of each, as the settings name it.
    """

    names: Sequence[str]
    excluded: str

    def connection(self) -> str:
        """Return the Airflow connection as JSON."""
        ...

    def fill(self) -> None: ...

    def drop(self) -> None: ...


class OnMariaDB:
    def __init__(self, server: MariaDB) -> None:
        self._server = server
        self.names: Sequence[str] = [name.rstrip(" .") + "!" for name in NAMES]
        self.excluded = EXCLUDED
        self._before = self._databases()

    def connection(self) -> str:
        return self._server.connection()

    def _databases(self) -> list[str]:
        names = self._server.run("SELECT hex(schema_name) FROM information_schema.schemata").split()
        return [bytes.fromhex(name).decode() for name in names]

    def fill(self) -> None:
        with self._server.connect() as connection, connection.cursor() as cursor:
            for name in self.names:
                self._fill(cursor, name)

    def _fill(self, cursor: Any, database: str) -> None:
        def q(name: str) -> str:
            return quoted(name, "`")

        cursor.execute(f"DROP DATABASE IF EXISTS {q(database)}")
        cursor.execute(f"CREATE DATABASE {q(database)}")
        cursor.execute(f"USE {q(database)}")
        cursor.execute(f"CREATE TABLE {q(EXCLUDED)} (id INT PRIMARY KEY)")
        for number, name in enumerate(NAMES):
            columns = ", ".join(f"{q(column)} TEXT" for column in NAMES)
            cursor.execute(f"CREATE TABLE {q(name)} (id INT PRIMARY KEY, {columns})")
            cursor.execute(f"INSERT INTO {q(name).replace('%', '%%')} VALUES (1, %s, %s, %s)", NAMES)
            cursor.execute(f"CREATE VIEW {q(f'v{number}{name}')} AS SELECT * FROM {q(name)}")
            cursor.execute(
                f"CREATE TRIGGER {q(f't{name}')} BEFORE INSERT ON {q(name)} FOR EACH ROW SET NEW.id = NEW.id"
            )

    def drop(self) -> None:
        for name in {*self._databases()} - {*self._before}:  # others may use the server
            self._server.run(f"DROP DATABASE {quoted(name, '`')}")


class OnPostgreSQL:
    """Roles have the names as well: one of them logs in, the others own things and may do things."""

    USER = f"u{QUOTES}"
    OBJECTS = r"""
CREATE TYPE {t} AS ENUM ({text})
CREATE DOMAIN {d} AS text CHECK (VALUE <> {text})
CREATE TABLE {name} (id int PRIMARY KEY, {columns}, {k} {t} DEFAULT {text}, CONSTRAINT {c} CHECK ({k} = {text}))
INSERT INTO {name} VALUES (1, {texts})
CREATE VIEW {v} AS SELECT * FROM {name}
CREATE MATERIALIZED VIEW {m} AS SELECT * FROM {name}
CREATE INDEX {i} ON {name} ({k})
CREATE SEQUENCE {s}
SELECT setval({sequence}, 7)
CREATE FUNCTION {f}() RETURNS trigger LANGUAGE plpgsql AS $b$ BEGIN PERFORM {text}; RETURN NEW; END $b$
CREATE PROCEDURE {p}({a} text DEFAULT {text}) LANGUAGE sql AS 'SELECT 1'
CREATE TRIGGER {t} BEFORE INSERT ON {name} FOR EACH ROW WHEN (NEW.id > 0) EXECUTE FUNCTION {f}()
CREATE RULE {r} AS ON DELETE TO {name} DO INSTEAD NOTHING
CREATE POLICY {p} ON {name} TO {role}
CREATE STATISTICS {z} ON id, {k} FROM {name}
CREATE SCHEMA {x}
CREATE TABLE {x}.{name} (id int)
COMMENT ON TABLE {name} IS {text}
COMMENT ON COLUMN {name}.{k} IS {text}
COMMENT ON CONSTRAINT {c} ON {name} IS {text}
GRANT SELECT ON {name} TO {role}
GRANT SELECT ({k}) ON {name} TO {role}
GRANT USAGE ON SEQUENCE {s} TO {role}
GRANT EXECUTE ON FUNCTION {f}() TO {role}
ALTER TABLE {v} OWNER TO {role}
ALTER DEFAULT PRIVILEGES FOR ROLE {role} GRANT SELECT ON TABLES TO {user}"""

    def __init__(self, server: PostgreSQL) -> None:
        self._server = server
        self.names: Sequence[str] = (*NAMES, DUMPED)
        self.excluded = quoted(EXCLUDED)
        self._before = self._databases()

    def connection(self) -> str:
        return self._server.connection(login=self.USER)

    def _databases(self) -> list[str]:
        names = self._server.run("SELECT encode(convert_to(datname, 'UTF8'), 'hex') FROM pg_database").split()
        return [bytes.fromhex(name).decode() for name in names]

    def _run(self, statements: Sequence[str], database: str = "postgres", user: str = "postgres") -> None:
        server = self._server
        with psycopg.connect(
            host=server.host, port=server.port, user=user, password=server.password, dbname=database, autocommit=True
        ) as session:
            for statement in statements:
                session.execute(statement.encode())

    def fill(self) -> None:
        user = quoted(self.USER)
        self._run([f"CREATE ROLE {user} LOGIN CREATEDB CREATEROLE PASSWORD {literal(self._server.password)}"])
        for name in self.names:
            database = role = quoted(name)
            self._run([f"CREATE ROLE {role}", f"GRANT {role} TO {user}", f"CREATE DATABASE {database} OWNER {role}"])
            self._run(
                [f"COMMENT ON DATABASE {database} IS {literal(name)}", f"GRANT ALL ON DATABASE {database} TO {role}"]
            )
            self._run(["GRANT ALL ON SCHEMA public TO PUBLIC"], name)
        for name in self.names:
            self._run([f"CREATE TABLE {self.excluded} (id int)"], name, self.USER)
            for each in self.names:
                self._run(self._objects(each), name, self.USER)

    def _objects(self, name: str) -> list[str]:
        letters = {letter: quoted(letter + name) for letter in "acdfikmprstvxz"}
        columns = ", ".join(f"{quoted(column)} text" for column in self.names)
        texts = ", ".join(map(literal, self.names))
        own = {"name": quoted(name), "role": quoted(name), "text": literal(name), "sequence": literal(letters["s"])}
        objects = self.OBJECTS.strip().splitlines()
        return [line.format(**letters, **own, columns=columns, texts=texts, user=quoted(self.USER)) for line in objects]

    def drop(self) -> None:
        for name in {*self._databases()} - {*self._before}:  # others may use the server
            self._server.run(f"DROP DATABASE {quoted(name)}")
        for name in (*self.names, self.USER):
            self._server.run(f"DROP ROLE {quoted(name)}")


class OnSQLite:
    """Files of a directory that has such a name itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / MARKUP
        self.names: Sequence[str] = [name.replace("/", "|") for name in (*NAMES, DUMPED)]
        self.excluded = EXCLUDED

    def connection(self) -> str:
        return json.dumps({"conn_type": "sqlite", "host": str(self._folder / "any.sq'[l]*")})

    def fill(self) -> None:
        self._folder.mkdir()
        for database in self.names:
            with closing(sqlite3.connect(self._folder / f"{database}.sq'[l]*", isolation_level=None)) as file:
                file.execute(f"CREATE TABLE {quoted(EXCLUDED)} (id INTEGER PRIMARY KEY)")
                for name in self.names:
                    columns = ", ".join(f"{quoted(column)} TEXT DEFAULT {literal(name)}" for column in self.names)
                    file.execute(f"CREATE TABLE {quoted(name)} (id INTEGER PRIMARY KEY AUTOINCREMENT, {columns})")
                    file.execute(f"INSERT INTO {quoted(name)} VALUES (1, {', '.join(map(literal, self.names))})")
                    file.execute(f"CREATE VIEW {quoted(f'v{name}')} AS SELECT * FROM {quoted(name)}")
                    file.execute(f"CREATE INDEX {quoted(f'i{name}')} ON {quoted(name)} ({quoted(name)})")
                    file.execute(
                        f"CREATE TRIGGER {quoted(f't{name}')} AFTER INSERT ON {quoted(name)}"
                        f" BEGIN UPDATE {quoted(name)} SET {quoted(name)} = {literal(name)}; END"
                    )

    def drop(self) -> None:
        """Leave the files to the test's directory."""
