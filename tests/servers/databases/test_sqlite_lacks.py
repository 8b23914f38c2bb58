"""What an application brings to its SQLite databases: told when the backup is taken, and as it was after a restore."""

from __future__ import annotations

import json
import logging
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from lifeboat.airflow import connections
from lifeboat.databases import BY_HAND, Dump, Engine, Load, Target
from lifeboat.databases.sqlite.lacks import COLLATION
from lifeboat.decide import comparison
from lifeboat.errors import DumpError, RestoreError
from lifeboat.settings.config import Database

LIBRARY = sqlite3.sqlite_version


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the database of an application is going to be."""
    path = tmp_path / "app" / "shop.sqlite"
    path.parent.mkdir()
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_FILE", json.dumps({"conn_type": "sqlite", "host": str(path)}))
    return path


@pytest.fixture
def engine(path: Path, tmp_path: Path) -> Engine:
    return connections.engine(Database(name="shop", engine="sqlite", connection="shop_file"), tmp_path / "scratch")


def nocase(first: str, second: str) -> int:
    return (first.lower() > second.lower()) - (first.lower() < second.lower())


def application(path: Path) -> closing[sqlite3.Connection]:
    """Open a database as its application does."""
    database = sqlite3.connect(path, isolation_level=None)
    for collation in ("NOCASE_UTF8", "odd name"):
        database.create_collation(collation, nocase)
    for function in ("f", "regexp"):
        database.create_function(function, -1, lambda *values: str(values[-1])[:1], deterministic=True)
    return closing(database)


def fill(path: Path, sql: str) -> None:
    with application(path) as database:
        database.executescript(sql)


def take(engine: Engine, database: str = "shop") -> tuple[Dump, bytes]:
    chunks: list[bytes] = []
    dump = engine.dump(database, (), chunks.append)
    return dump, b"".join(chunks)


def reload(engine: Engine, sql: bytes) -> Dump:
    with engine.target(Target("copy", "a key")) as place:
        engine.load(place.name, [sql], Load("shop"))
        return engine.read_back(place.name, ())


COLLATED = """
CREATE TABLE users (name TEXT COLLATE NOCASE_UTF8 PRIMARY KEY, mail TEXT COLLATE "odd name" UNIQUE, note TEXT);
CREATE TABLE pages (path TEXT COLLATE NOCASE_UTF8 PRIMARY KEY, n) WITHOUT ROWID;
CREATE INDEX by_note ON users (note COLLATE nocase_utf8) WHERE note <> 'COLLATE never';
INSERT INTO users VALUES ('b', 'B', 'x'), ('Ä', 'ä', 'Y'), ('A', 'a', NULL), ('c', 'C', '');
INSERT INTO pages VALUES ('b', 1), ('A', 2), ('C', 3), ('ß', 4);
CREATE VIEW sorted AS SELECT name FROM users ORDER BY note COLLATE NOCASE_UTF8;
"""


def test_functions_of_json_come_back_in_checks_columns_and_indexes(engine: Engine, path: Path) -> None:
    fill(
        path,
        """CREATE TABLE t (data TEXT CHECK (json_valid(data) OR data IS NULL), a AS (data ->> '$.a') STORED);
        CREATE INDEX by_b ON t (json_extract(data, '$.b')); INSERT INTO t VALUES ('{"a": 1, "b": 2}')""",
    )
    dump, sql = take(engine)
    assert dump.limits == ()
    assert comparison.differences(dump, reload(engine, sql)) == []


def test_collations_of_the_application_stand_in_and_are_told(engine: Engine, path: Path) -> None:
    fill(path, COLLATED)
    dump, sql = take(engine)
    assert {(limit.kind, limit.name) for limit in dump.limits} == {(COLLATION, "NOCASE_UTF8"), (COLLATION, "odd name")}
    assert 'run REINDEX "NOCASE_UTF8" in the application' in dump.limits[0].text
    assert (dump.rows, dump.warnings) == (8, ())
    assert comparison.differences(dump, reload(engine, sql)) == []
    with application(path.with_name("copy.sqlite")) as copy:
        copy.executescript('REINDEX NOCASE_UTF8; REINDEX "odd name"')
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert copy.execute("SELECT name FROM users WHERE name = 'ä'").fetchall() == [("Ä",)]
        assert copy.execute("SELECT path FROM pages ORDER BY path").fetchall() == [("A",), ("b",), ("C",), ("ß",)]


@pytest.mark.parametrize(
    ("sql", "name", "lacked"),
    [
        ("CREATE TABLE t (a CHECK (f(a) > '')); INSERT INTO t VALUES (1)", "t", "function 'f'"),
        ("CREATE TABLE t (a CHECK (a REGEXP 'x')); INSERT INTO t VALUES (1)", "t", "function 'REGEXP'"),
        ("CREATE TABLE t (a, b AS (f(a)) STORED); INSERT INTO t VALUES (1)", "t", "function 'f'"),
        ("CREATE TABLE t (a, b AS (f(a)) NOT NULL); INSERT INTO t VALUES (1)", "t", "function 'f'"),
        ("CREATE TABLE t (a); INSERT INTO t VALUES (1); CREATE INDEX i ON t (f(a))", "i", "function 'f'"),
        ("CREATE TABLE t (a); INSERT INTO t VALUES (1); CREATE INDEX i ON t (a) WHERE f(a) > ''", "i", "function 'f'"),
    ],
)
def test_functions_that_a_restore_lacks_are_told(engine: Engine, path: Path, sql: str, name: str, lacked: str) -> None:
    fill(path, sql)
    dump, text = take(engine)
    (limit,) = dump.limits
    assert (limit.kind, limit.name) == (BY_HAND, name)
    assert f"{name!r} needs {lacked}, which SQLite {LIBRARY} of this worker lacks" in limit.text
    assert dump.rows == 1
    with pytest.raises(RestoreError, match="no such function") as refused:
        reload(engine, text)
    assert "docs/RECOVERY.md" in refused.value.hint
    with application(path.with_name("by_hand.sqlite")) as by_hand:  # the application has what it takes
        by_hand.executescript(text.decode())
        assert by_hand.execute("SELECT a FROM t").fetchall() == [(1,)]


def test_functions_that_only_run_later_are_told_and_come_back(engine: Engine, path: Path) -> None:
    fill(
        path,
        """CREATE TABLE t (a, b AS (a)); INSERT INTO t VALUES (1); CREATE VIEW v AS SELECT f(a) AS a FROM t;
        CREATE TRIGGER later AFTER DELETE ON t BEGIN INSERT INTO t SELECT regexp('x', old.a) WHERE 0; END;
        CREATE VIEW broken AS SELECT gone FROM t;""",
    )
    dump, text = take(engine)
    assert dump.limits == ()
    assert dump.warnings == (
        "shop: view 'v' needs function 'f', which the application provides",
        "shop: trigger 'later' needs function 'regexp', which the application provides",
    )
    assert comparison.differences(dump, reload(engine, text)) == []


def schema_row(database: sqlite3.Connection, kind: str, name: str, table: str, sql: str) -> None:
    database.execute("PRAGMA writable_schema = ON")
    database.execute("INSERT INTO sqlite_schema VALUES (?, ?, ?, 0, ?)", [kind, name, table, sql])


def test_modules_of_the_application_are_dumped_for_the_stock_client(engine: Engine, path: Path) -> None:
    fill(path, "CREATE TABLE t (a); CREATE TABLE vectors_chunks (a); INSERT INTO vectors_chunks VALUES (x'01')")
    fill(path, "CREATE VIRTUAL TABLE texts USING fts5(a); INSERT INTO texts VALUES ('one')")
    with application(path) as database:
        schema_row(database, "table", "vectors", "vectors", "CREATE VIRTUAL TABLE vectors USING vec0(a 'it''s')")
        mine = "CREATE VIRTUAL TABLE texts USING fts5(a, tokenize='mine')"
        database.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'texts'", [mine])
    dump, text = take(engine)
    told = {limit.name: limit.text for limit in dump.limits if limit.kind == BY_HAND}
    assert "'vectors' needs module 'vec0'" in told["vectors"]
    assert "no such tokenizer: mine" in told["texts"]
    with pytest.raises(RestoreError):
        reload(engine, text)
    by_hand = path.with_name("by_hand.sqlite")
    subprocess.run(["sqlite3", "-bail", by_hand], input=text, check=True)
    query = "SELECT type, name, sql FROM sqlite_schema ORDER BY name"
    with closing(sqlite3.connect(path)) as before, closing(sqlite3.connect(by_hand)) as after:
        assert after.execute(query).fetchall() == before.execute(query).fetchall()
        assert after.execute("SELECT count(*) FROM texts_content, vectors_chunks").fetchall() == [(1,)]


def test_what_a_newer_sqlite_wrote_is_told(engine: Engine, path: Path) -> None:
    fill(path, "CREATE TABLE t (a); INSERT INTO t VALUES (1)")
    with application(path) as database:
        trigger = "CREATE TRIGGER new AFTER INSERT ON t BEGIN NEWFANGLED 1; END"
        schema_row(database, "trigger", "new", "t", trigger)
    dump, text = take(engine)
    (limit,) = dump.limits
    assert (limit.kind, limit.name, dump.rows) == (BY_HAND, "new", 1)
    assert f"cannot be made by SQLite {LIBRARY} of this worker" in limit.text
    assert trigger.encode() in text
    with application(path) as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_schema SET sql = 'CREATE TABLE t (a) NEWFANGLED' WHERE name = 't'")
    with pytest.raises(DumpError, match="table 't' cannot be read: unknown table option: NEWFANGLED") as error:
        take(engine)
    assert f"newer SQLite than this worker's {LIBRARY}" in error.value.hint


def test_a_newer_file_format_is_told(engine: Engine, path: Path) -> None:
    fill(path, "CREATE TABLE t (a)")
    content = bytearray(path.read_bytes())
    content[47] = 5
    path.write_bytes(content)
    with pytest.raises(DumpError, match="unsupported file format") as error:
        take(engine)
    assert f"newer SQLite than this worker's {LIBRARY}" in error.value.hint


LAYOUTS = ("page_size", "auto_vacuum", "journal_mode")


@pytest.mark.parametrize("layout", [(8192, 1, "wal"), (512, 2, "delete"), (65536, 0, "wal"), (4096, 0, "delete")])
def test_the_layout_of_a_file_comes_back(engine: Engine, path: Path, layout: tuple[object, ...]) -> None:
    fill(path, "".join(f"PRAGMA {name} = {value};" for name, value in zip(LAYOUTS, layout, strict=True)))
    fill(path, "CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(100000)); PRAGMA user_version = 3")
    dump, text = take(engine)
    again = reload(engine, text)
    assert comparison.differences(dump, again) == []
    copy = path.with_name("copy.sqlite")
    assert [found.name for found in path.parent.iterdir() if "shop" not in found.name] == ["copy.sqlite"]

    def read(file: Path) -> list[object]:
        with closing(sqlite3.connect(file)) as database:
            return [database.execute(f"PRAGMA {name}").fetchone()[0] for name in LAYOUTS]

    assert read(copy) == read(path) == list(layout)
    by_hand = path.with_name("by_hand.sqlite")
    subprocess.run(["sqlite3", "-bail", by_hand], input=text, check=True, capture_output=True)
    assert read(by_hand) == list(layout)
    for old, new in ((b"page_size=8192", b"page_size=1024"), (b"auto_vacuum=1", b"auto_vacuum=2")):
        copy.unlink()
        changed = [str(each) for each in comparison.differences(dump, reload(engine, text.replace(old, new)))]
        name = old.split(b"=")[0].decode()
        assert changed == ([f"pragma {name!r} has a different definition"] if old in text else [])


@pytest.mark.parametrize(("mode", "waited"), [("delete", True), ("wal", False)])
def test_how_long_writers_waited_is_said(
    engine: Engine, path: Path, mode: str, waited: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    log = logging.getLogger("test")
    monkeypatch.setattr("lifeboat.databases.sqlite.engine.log", log)
    monkeypatch.setattr(log, "info", lambda text, *values: said.append(text % values))
    fill(path, f"PRAGMA journal_mode = {mode}; CREATE TABLE t (a)")
    take(engine)
    assert any("writers had to wait meanwhile" in line and "shop was copied in 0." in line for line in said) == waited
