"""SQLite from dump to proof, on real files; and every dump that must not be loaded."""

from __future__ import annotations

import grp
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event, Thread, Timer
from typing import Any

import pytest
from lifeboat.actions import after_restore, drill, restore
from lifeboat.airflow import connections
from lifeboat.airflow.site import load_site
from lifeboat.catalog.proof import Proof
from lifeboat.databases import Dump, Engine, Load, Loaded, Target
from lifeboat.databases.sqlite import engine as sqlite
from lifeboat.databases.sqlite import text as sqlite_text
from lifeboat.decide import comparison
from lifeboat.decide.restore_plan import RestorePlan
from lifeboat.errors import DumpError, MismatchError, RestoreError, SettingsError
from lifeboat.settings import config
from lifeboat.settings.config import Database
from lifeboat.support import clock, swap

from tests.conftest import Configure, staging_directory
from tests.crash import die, killed
from tests.servers.test_restore import back_up, legacy, plan, repack, restored
from tests.servers.test_runbook import blocks, follow, runbook_variables
from tests.trees import as_nobody

EVERYTHING = (Path(__file__).parent / "everything.sqlite.sql").read_text(encoding="utf-8")
SHOP: dict[str, Any] = {"databases": [{"name": "shop", "engine": "sqlite", "connection": "shop_file"}]}
ENTRY = "db-dumps/sqlite-shop.sql"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with everything that a dump must carry."""
    path = tmp_path / "app" / "shop.sqlite"
    path.parent.mkdir()
    client(path, EVERYTHING)
    path.chmod(0o640)
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_FILE", json.dumps({"conn_type": "sqlite", "host": str(path)}))
    return path


@pytest.fixture
def shop(path: Path, project: Configure) -> Path:
    project(applications={"Shop": SHOP}, legacy_until="2099-12-31")
    return path


@pytest.fixture
def engine(path: Path, tmp_path: Path) -> Iterator[Engine]:
    yield connections.engine(Database(name="shop", engine="sqlite", connection="shop_file"), tmp_path / "scratch")
    assert not list((tmp_path / "scratch").glob("*/*"))


def client(path: Path, sql: str | bytes, encoding: str = "utf-8") -> str:
    """Run SQL through the stock client and return what it prints."""
    text = sql.encode() if isinstance(sql, str) else sql
    done = subprocess.run(["sqlite3", "-bail", path], input=text, capture_output=True, check=True)
    return done.stdout.decode(encoding)


def take(engine: Engine, database: str = "shop", excluded: tuple[str, ...] = ()) -> tuple[Dump, bytes]:
    chunks: list[bytes] = []
    dump = engine.dump(database, excluded, chunks.append)
    return dump, b"".join(chunks)


def restored_over(made: RestorePlan) -> None:
    """Restore a database without the steps before."""
    restore.restore_database(load_site(), made, made.databases[0])


def rehearse(key: str, destination: str) -> Proof:
    (place,) = load_site().destinations("Shop", (destination,))
    return drill.rehearse(load_site(), "Shop", place, key, "a test", datetime.now(UTC))


def files(path: Path) -> list[str]:
    return sorted(found.name for found in path.parent.iterdir())


@pytest.mark.parametrize("destination", ["disk", "offsite"])
def test_a_database_is_restored_beside_the_original_and_proven(shop: Path, destination: str) -> None:
    key = back_up().packed.key
    client(shop, "DELETE FROM page_views")
    made = plan(destination=destination)
    (done,) = restored(made)
    assert (done.rows, done.tables, done.compared, done.warnings) == (6046, 6, 18, ())
    assert made.databases[0].entry == ENTRY
    copy = shop.with_name(f"{done.schema}.sqlite")
    assert files(shop) == ["shop.sqlite", copy.name]
    assert client(shop, "SELECT count(*) FROM page_views") == "0\n"
    assert client(copy, "SELECT title FROM pages WHERE pages MATCH 'brown'") == "Fox\n"
    assert client(copy, "INSERT INTO notes (notes) VALUES ('integrity-check'); PRAGMA integrity_check") == "ok\n"
    assert client(copy, "SELECT rowid, hex(path), typeof(path) FROM page_views LIMIT 3").splitlines() == [
        "7|61|text",
        "9|31|integer",
        "11|312E30|real",
    ]
    count = "INSERT INTO users (name) VALUES ('n'); SELECT max(id) FROM users; PRAGMA user_version"
    assert client(copy, count) == "6\n7\n"
    proven = rehearse(key, destination)
    assert (proven.compared.tables, proven.compared.rows, proven.compared.objects) == (18, 6046, 9)
    assert proven.versions.servers[0].startswith("SQLite 3.")
    assert files(shop) == ["shop.sqlite", copy.name]
    assert not list((staging_directory(config.load()) / "sqlite").iterdir())


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_typed_name_replaces_the_original_and_keeps_it(shop: Path, mode: str) -> None:
    client(shop, f"PRAGMA journal_mode = {mode}")
    back_up()
    client(shop, "UPDATE orders SET note = 'changed'")
    (done,) = restored(plan(overwrite=("shop",)))
    (before,) = [found for found in shop.parent.iterdir() if "_before_" in found.name]
    assert before.name in done.warnings[0]
    assert files(shop) == ["shop.sqlite", before.name]
    assert client(shop, "SELECT count(*) FROM orders WHERE note = 'changed'; PRAGMA journal_mode") == f"0\n{mode}\n"
    assert client(before, "SELECT count(*) FROM orders WHERE note = 'changed'") == "3000\n"
    assert shop.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_database_in_use_is_not_replaced(shop: Path, mode: str) -> None:
    client(shop, f"PRAGMA journal_mode = {mode}")
    back_up()
    with closing(sqlite3.connect(shop, isolation_level=None)) as application:
        application.execute("BEGIN")
        application.execute("SELECT count(*) FROM orders").fetchone()
        with pytest.raises(RestoreError, match="database is locked") as error:
            restored_over(plan(overwrite=("shop",)))
    assert error.value.hint == "Stop the application, then try again."
    assert files(shop) == ["shop.sqlite"]


def test_a_dump_is_one_moment_while_others_write(engine: Engine, path: Path) -> None:
    client(path, "PRAGMA journal_mode = wal; CREATE TABLE a (n); CREATE TABLE b (n)")
    stop = Event()

    def work() -> None:
        with closing(sqlite3.connect(path, timeout=30)) as writer:
            while not stop.is_set():
                writer.execute("INSERT INTO a VALUES (1)")
                writer.execute("INSERT INTO b VALUES (1)")
                writer.commit()

    worker = Thread(target=work)
    worker.start()
    try:
        for _ in range(5):
            rows = {table.name: table.rows for table in take(engine)[0].tables}
            assert rows["a"] == rows["b"]
    finally:
        stop.set()
        worker.join()
    assert rows["a"] > 0


def test_a_dump_has_what_is_committed_whoever_reads_or_writes_beside_it(engine: Engine, path: Path) -> None:
    client(path.with_name("busy.sqlite"), "PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1)")
    connect = partial(sqlite3.connect, path.with_name("busy.sqlite"), isolation_level=None)
    with closing(connect()) as reader, closing(connect()) as writer:
        reader.execute("BEGIN")
        old = reader.execute("SELECT * FROM t").fetchall()
        writer.execute("INSERT INTO t VALUES (2)")
        writer.execute("PRAGMA cache_size = 1")
        writer.execute("BEGIN IMMEDIATE")
        writer.executemany("INSERT INTO t VALUES (?)", [("spilled " * 200,) for _ in range(2000)])
        (table,) = take(engine, "busy")[0].tables
        assert (table.rows, reader.execute("SELECT * FROM t").fetchall()) == (2, old)
        writer.execute("ROLLBACK")


def test_a_journal_that_a_dead_writer_left_is_told_and_left_to_the_application(engine: Engine, path: Path) -> None:
    file = path.with_name("dead.sqlite")
    client(file, "CREATE TABLE t (a)")
    die_writing = "import os, sqlite3; d = sqlite3.connect(os.sys.argv[1]); d.execute('PRAGMA cache_size = 1');"
    die_writing += "d.executemany('INSERT INTO t VALUES (?)', [('x' * 2000,)] * 3000); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", die_writing, file], check=False)
    with pytest.raises(DumpError, match="attempt to write a readonly database") as refused:
        take(engine, "dead")
    assert "Its last writer was killed during a transaction" in refused.value.hint
    assert client(file, "SELECT count(*) FROM t") == "0\n"
    assert take(engine, "dead")[0].rows == 0


KINDS = (
    "CREATE TABLE t (a TEXT, b INT, PRIMARY KEY (b DESC, a)) WITHOUT ROWID; INSERT INTO t VALUES ('x', 1), ('y', 2)",
    """CREATE TABLE t (a INT, b TEXT, c BLOB, d ANY, e REAL) STRICT;
    INSERT INTO t VALUES (1, 'x', x'00ff', x'01', 1e300), (2, NULL, NULL, '001', 9e999);
    CREATE TABLE w (d ANY PRIMARY KEY) STRICT, WITHOUT ROWID; INSERT INTO w VALUES ('001')""",
    """CREATE TABLE t (a INT, b INT AS (a * 2), c TEXT GENERATED ALWAYS AS (a || 'x') STORED); INSERT INTO t VALUES (1);
    CREATE UNIQUE INDEX j ON t (a + 1 DESC, c COLLATE NOCASE); CREATE INDEX i ON t (b) WHERE c > ''""",
    """CREATE VIRTUAL TABLE f USING fts5 (body, content = ''); INSERT INTO f (rowid, body) VALUES (3, 'contentless');
    CREATE VIRTUAL TABLE v USING fts5vocab (f, 'row'); CREATE VIRTUAL TABLE g USING fts4 (a, b, notindexed=b);
    INSERT INTO g VALUES ('x', 'y'); INSERT INTO g (g) VALUES ('optimize')""",
    """CREATE VIRTUAL TABLE r USING rtree (id, x0, x1, +label TEXT); INSERT INTO r VALUES (1, -1.5, 2.25, 'la''bel');
    CREATE VIRTUAL TABLE i USING rtree_i32 (id, x0, x1); INSERT INTO i VALUES (5, 1, 2147483647)""",
    """CREATE TABLE "a""b'c`d]e" ("x""y" INT, 'z' TEXT, [w w] INT, `q` INT, "se;mi" INT, "" INT);
    INSERT INTO "a""b'c`d]e" VALUES (1, '2', 3, 4, 5, 6); CREATE VIEW "v""w" AS SELECT "x""y" FROM "a""b'c`d]e";
    CREATE INDEX "in""dex" ON "a""b'c`d]e" ("x""y"); CREATE TRIGGER "t;r" AFTER INSERT ON "a""b'c`d]e" BEGIN
    SELECT ';END'; END; CREATE TABLE "new
line" ("c
d" DEFAULT 'a''b'); INSERT INTO "new
line" DEFAULT VALUES""",
)


@pytest.mark.parametrize("sql", KINDS)
def test_tables_of_every_kind_come_back(engine: Engine, path: Path, sql: str) -> None:
    client(path.with_name("kinds.sqlite"), sql)
    dump, text = take(engine, "kinds")
    assert dump.limits == ()
    with engine.scratch("a key", dump) as place:
        engine.load(place, [text], Load("kinds"))
        assert comparison.differences(dump, engine.read_back(place, ())) == []


def test_one_table_comes_with_its_rows_and_the_others_empty(shop: Path) -> None:
    back_up()
    (done,) = restored(plan(table="orders", into="rescue"))
    assert (done.rows, done.compared) == (3000, 1)
    rescue = shop.with_name("rescue.sqlite")
    assert client(rescue, "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM users)") == "3000|0\n"


def test_excluded_tables_come_back_empty(engine: Engine) -> None:
    dump, sql = take(engine, excluded=("page_views", "gone"))
    assert dump.excluded_tables == ("page_views",)
    assert dump.warnings == ("shop: exclude_tables names 'gone', which is not there",)
    assert b"CREATE TABLE page_views" in sql
    assert b'INTO "page_views"' not in sql


def test_what_does_not_restore_to_what_was_captured_is_neither_proven_nor_put_in_place(
    shop: Path, tmp_path: Path
) -> None:
    def change(contents: dict[str, bytes], manifest: Any) -> None:
        contents[ENTRY] = contents[ENTRY].replace(b"back\\slash", b"back/slash")

    key = back_up().packed.key
    repack(tmp_path / "disk" / key, change)
    said = "table 'users' holds other data in its 4 rows"
    with pytest.raises(MismatchError, match=said):
        rehearse(key, "disk")
    before = shop.read_bytes()
    with pytest.raises(MismatchError, match=said):
        restored_over(plan(archive=key, destination="disk", overwrite=("shop",)))
    assert shop.read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"(9,1,NULL),\n", b"", "table 'page_views' has 6 rows, and had 7"),
        (b"(9,1,NULL),\n", b"(9,1.0,NULL),\n", "table 'page_views' holds other data in its 7 rows"),
        (b"x; y", b"x; z", "table 'orders' has a different definition"),
        (b"user_version=7", b"user_version=8", "pragma 'user_version' has a different definition"),
        (b"VALUES('users',5)", b"VALUES('users',4)", "sequence 'users' has a different definition"),
        (b"WHERE total > 5", b"WHERE total > 6", "index 'orders_user' has a different definition"),
        (b"CREATE VIEW totals", b"CREATE VIEW sums", "view 'totals' is missing; view 'sums' was not captured"),
    ],
)
def test_every_change_of_a_dump_changes_its_digests(engine: Engine, old: bytes, new: bytes, said: str) -> None:
    dump, sql = take(engine)
    assert old in sql
    load_into_new(engine, sql.replace(old, new))
    assert "; ".join(map(str, comparison.differences(dump, take(engine, "copy")[0]))) == said


def load_into_new(engine: Engine, sql: bytes, size: int = 1 << 20) -> Loaded:
    with engine.target(Target("copy", "a key")) as place:
        return engine.load(place.name, [sql[i : i + size] for i in range(0, len(sql), size)], Load("shop"))


@pytest.mark.parametrize(
    "hostile",
    [
        "ATTACH 'FILE' AS other;",
        "CREATE TABLE t (a); ATTACH 'FILE' AS other;",
        "VACUUM INTO 'FILE';",
        "PRAGMA writable_schema = ON;",
        "PRAGMA journal_mode = WAL;",
        "PRAGMA temp_store_directory = 'FILE';",
        "INSERT INTO sqlite_schema VALUES ('table', 't', 't', 0, 'CREATE VIRTUAL TABLE t USING csv(FILE)');",
        "INSERT INTO sqlite_master VALUES ('table', 't', 't', 2, 'CREATE TABLE t (a)');",
        "CREATE TABLE t (a); INSERT INTO t VALUES (load_extension('FILE'));",
        "CREATE TABLE t (a); INSERT INTO t VALUES (writefile('FILE', 'x'));",
        "CREATE TABLE t (a DEFAULT (load_extension('FILE'))); INSERT INTO t (rowid) VALUES (1);",
        "CREATE TEMP TABLE t (a);",
        "CREATE TEMP TRIGGER t AFTER INSERT ON x BEGIN SELECT 1; END;",
        "CREATE TABLE temp.t (a);",
        "CREATE VIRTUAL TABLE t USING zipfile('FILE');",
        "SELECT writefile('FILE', 'x');",
        "CREATE TABLE t (a);\n.shell touch FILE\n;",
        "COMMIT; ATTACH 'FILE' AS other; BEGIN;",
        "CREATE TRIGGER t AFTER INSERT ON x BEGIN SELECT 1; END; ATTACH 'FILE' AS other;",
        "CREATE TABLE t (a /* ; */); ATTACH 'FILE' AS other;",
    ],
)
def test_a_hostile_dump_is_refused(engine: Engine, path: Path, tmp_path: Path, hostile: str) -> None:
    file = tmp_path / "touched"
    text = f"BEGIN;\nCREATE TABLE x (a);\n{hostile.replace('FILE', str(file))}\nCOMMIT;\n"
    before = path.read_bytes()
    with pytest.raises(RestoreError):
        load_into_new(engine, text.encode())
    assert files(path) == ["shop.sqlite"]
    assert path.read_bytes() == before
    assert not file.exists()


@pytest.mark.parametrize("action", ["ATTACH 'FILE' AS other", "VACUUM INTO 'FILE'", "PRAGMA writable_schema = ON"])
def test_what_reached_the_library_would_be_refused_by_it(tmp_path: Path, action: str) -> None:
    file = tmp_path / "touched"
    with closing(sqlite3.connect(tmp_path / "x.sqlite", isolation_level=None)) as database:
        database.set_authorizer(sqlite._authorize)
        with pytest.raises(sqlite3.DatabaseError, match="authoriz"):
            database.execute(action.replace("FILE", str(file)))
    assert not file.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda sql: sql[: len(sql) // 2], "middle of a statement"),
        (lambda sql: sql.removesuffix(b"COMMIT;\n"), "does not end with COMMIT"),
        (lambda sql: sql.replace(b"'back", b"'O", 1).replace(b"(3,", b"(1,", 1), "UNIQUE constraint failed"),
    ],
)
def test_a_damaged_dump_leaves_nothing(engine: Engine, path: Path, change: Any, said: str) -> None:
    with pytest.raises(RestoreError, match=said):
        load_into_new(engine, change(take(engine)[1]))
    assert files(path) == ["shop.sqlite"]


def test_the_stock_client_makes_the_same_of_a_dump(engine: Engine, path: Path) -> None:
    dump, sql = take(engine)
    client(path.with_name("hand.sqlite"), sql)
    by_hand, _ = take(engine, "hand")
    assert (by_hand.tables, by_hand.objects, by_hand.sha256) == (dump.tables, dump.objects, dump.sha256)
    assert load_into_new(engine, sql, size=7).rows == dump.rows


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
def test_texts_keep_their_encoding(engine: Engine, path: Path, encoding: str) -> None:
    client(
        path.with_name("wide.sqlite"),
        f"PRAGMA encoding = '{encoding}'; CREATE TABLE t (a);"
        "INSERT INTO t VALUES ('ñ'), ('a' || char(0) || 'ñ'), (CAST(X'D8D8' AS TEXT));",
    )
    dump, text = take(engine, "wide")
    assert dump.character_set == encoding
    load_into_new(engine, text)
    again, _ = take(engine, "copy")
    assert (again.character_set, comparison.differences(dump, again)) == (encoding, [])
    values = "SELECT hex(a), typeof(a) FROM t"
    assert client(path.with_name("copy.sqlite"), values) == client(path.with_name("wide.sqlite"), values)


def test_a_text_of_any_bytes_comes_back_from_a_dump_of_the_stock_client(engine: Engine, path: Path) -> None:
    hand = path.with_name("hand.sqlite")
    client(
        hand,
        """CREATE TABLE "it's [so]" (a, b, c); INSERT INTO "it's [so]" VALUES
        (CAST(X'FF' AS TEXT), 'it''s', CAST(X'276127E92727' AS TEXT)), ('ñ', X'FF', CAST(X'E90A2D2D27' AS TEXT))""",
    )
    load_into_new(engine, client(hand, ".dump", "latin-1").encode("latin-1"))
    values = """SELECT hex(a), typeof(a), hex(b), typeof(b), hex(c), typeof(c) FROM "it's [so]" """
    assert client(path.with_name("copy.sqlite"), values) == client(hand, values)


def test_a_dump_of_the_stock_client_comes_back_without_statistics(engine: Engine, path: Path) -> None:
    hand = path.with_name("hand.sqlite")
    client(hand, "CREATE TABLE t (a); CREATE INDEX i ON t (a); INSERT INTO t VALUES (1), (2); ANALYZE")
    sql = client(hand, ".dump").encode()
    assert b"INSERT INTO sqlite_stat1 " in sql
    assert load_into_new(engine, sql).rows == 2


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (b"CREATE TABLE t (a DEFAULT '\xff');", 'table has something that is not UTF-8: "CREATE TABLE t'),
        (b"INSERT INTO t VALUES (\xff);", "rows of table 't' name something that is not UTF-8"),
        (b'INSERT INTO "\xff" VALUES (1);', "rows of table '\ufffd' name something that is not UTF-8"),
    ],
)
def test_what_is_not_utf8_outside_of_texts_is_refused_by_a_sentence(
    engine: Engine, statement: bytes, said: str
) -> None:
    with pytest.raises(RestoreError, match=said) as error:
        load_into_new(engine, b"BEGIN;\n" + statement + b"\nCOMMIT;\n")
    assert error.value.hint == "Load it manually with sqlite3."


def test_why_a_dump_failed(engine: Engine, path: Path) -> None:
    with pytest.raises(DumpError, match=r"Dump of '.*/gone.sqlite' failed: there is no such file") as error:
        take(engine, "gone")
    assert "name is its file's name" in error.value.hint
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 3 + 100] = bytes(100)
    path.with_name("broken.sqlite").write_bytes(content)
    with pytest.raises(DumpError, match=r"broken.sqlite' failed: (it is damaged|database disk image is malformed)"):
        take(engine, "broken")
    path.with_name("text.sqlite").write_text("no database, but long enough to be one " * 40)
    with pytest.raises(DumpError, match="file is not a database"):
        take(engine, "text")
    client(
        path.with_name("latin.sqlite"),
        "CREATE VIEW v AS SELECT 'x'; PRAGMA writable_schema = ON;"
        " UPDATE sqlite_schema SET sql = CAST(replace(CAST(sql AS BLOB), X'78', X'E9') AS TEXT);",
    )
    with pytest.raises(DumpError, match=r"latin.sqlite' failed: the name or definition .* is not UTF-8"):
        take(engine, "latin")


def test_a_time_limit_ends_a_statement_that_never_would(engine: Engine) -> None:
    def end(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGUSR1, end)
    timer = Timer(0.5, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    endless = b"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
    try:
        with pytest.raises(RestoreError, match="interrupted"):
            load_into_new(engine, b"BEGIN;\nCREATE TABLE t (a);\nINSERT INTO t VALUES ((" + endless + b"));\nCOMMIT;\n")
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(("host", "schema"), [("{}", ""), ("", "{}")])
def test_a_connection_names_its_file(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, schema: str
) -> None:
    address = f"sqlite://{host or '/'}{schema}" if schema else None
    login = {"conn_type": "sqlite", "host": host.format(path)}
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_FILE", address.format(path) if address else json.dumps(login))
    database = Database(name="shop", engine="sqlite", connection="shop_file")
    assert connections.engine(database, tmp_path).databases() == {"shop": True}
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_FILE", json.dumps({"conn_type": "sqlite", "host": "shop.sqlite"}))
    with pytest.raises(SettingsError, match="does not name the absolute path"):
        connections.engine(database, tmp_path)
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_FILE", json.dumps({"conn_type": "sqlite", "host": str(path.parent)}))
    with pytest.raises(SettingsError, match=f"names '{path.parent}', which is a directory"):
        connections.engine(database, tmp_path)


def test_what_is_no_file_of_a_database_is_refused_and_not_waited_for(engine: Engine, path: Path) -> None:
    os.mkfifo(path.with_name("pipe.sqlite"))
    path.with_name("folder.sqlite").mkdir()
    path.with_name("device.sqlite").symlink_to("/dev/zero")
    path.with_name("dangling.sqlite").symlink_to("nowhere")
    names = ("pipe", "folder", "device", "dangling")
    for name in names:
        with pytest.raises(DumpError, match=rf"{name}.sqlite' failed: it is not a regular file") as error:
            take(engine, name)
        assert "without suffix" in error.value.hint
        with (
            pytest.raises(RestoreError, match=rf"{name}.sqlite' failed: it was created"),
            engine.target(Target(name, "a key")),
        ):
            pass
    for name in (str(path), f"/{path.stem}", "../app/shop", ".shop"):
        with pytest.raises(
            SettingsError, match=f"is not a valid database name: files must be directly in '{path.parent}'"
        ):
            take(engine, name)
    assert engine.databases() == {"shop": True}
    with pytest.raises(ValueError, match="contains a NUL"):
        Database(name="a\0b", engine="sqlite", connection="shop_file")


def test_a_file_that_vanishes_is_not_made(engine: Engine, path: Path) -> None:
    _, sql = take(engine)
    replaced = Target("shop", "a key", exists=True, in_place=True)
    with pytest.raises(RestoreError, match="unable to open database file"), engine.target(replaced) as place:
        engine.load(place.name, [sql], Load("shop"))
        path.unlink()
    assert files(path) == []
    with pytest.raises(RestoreError, match="it is gone since this restore was planned"), engine.target(replaced):
        pass
    assert files(path) == []


def test_a_suffix_of_any_letters_tells_the_databases(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = path.rename(path.with_name("shop.s[q]*"))
    path.with_name("other.sq").touch()
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_FILE", json.dumps({"conn_type": "sqlite", "host": str(named)}))
    database = Database(name="shop", engine="sqlite", connection="shop_file")
    assert connections.engine(database, tmp_path).databases() == {"shop": True}


def test_a_database_that_may_not_be_read_says_what_it_takes(engine: Engine, path: Path, tmp_path: Path) -> None:
    client(path, "PRAGMA journal_mode = wal")
    path.parent.chmod(0o555)
    home = tmp_path / "home"
    home.mkdir()
    path.chmod(0o644)

    def dump() -> None:
        with pytest.raises(DumpError, match=r"Hint: Let the worker's user read the file"):
            sqlite.SQLite(path, home, clock.now).dump("shop", (), lambda chunk: None)

    as_nobody(dump, home)
    path.parent.chmod(0o755)
    path.chmod(0o600)
    as_nobody(dump, home)


def test_a_folder_that_may_not_be_read_says_what_it_takes(path: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()

    def databases() -> None:
        with pytest.raises(
            RestoreError, match=r"Listing of .* failed: Permission denied. Hint: Give the user that runs this"
        ):
            sqlite.SQLite(path, home, clock.now).databases()

    path.parent.chmod(0o711)
    as_nobody(databases, home)


def test_a_worker_of_another_user_never_keeps_the_application_from_writing(path: Path, tmp_path: Path) -> None:
    client(path, "PRAGMA journal_mode = wal")
    path.chmod(0o644)
    home = tmp_path / "home"
    home.mkdir()
    group = grp.getgrnam("nogroup").gr_gid

    def dump() -> None:
        sqlite.SQLite(path, home, clock.now).dump("shop", (), lambda chunk: None)

    def refused() -> None:
        with pytest.raises(DumpError, match=r"keep its owner from writing.*Run the worker as the application's user"):
            dump()

    path.parent.chmod(0o777)
    as_nobody(refused, home)
    assert files(path) == ["shop.sqlite"]
    with closing(sqlite3.connect(path)) as application:  # it has made them itself
        application.execute("SELECT count(*) FROM orders").fetchone()
        as_nobody(dump, home)
    os.chown(path, -1, group)
    path.chmod(0o664)
    as_nobody(dump, home)
    left = [path.with_name(f"{path.name}-{end}").stat() for end in ("wal", "shm")]
    assert [(status.st_gid, stat.S_IMODE(status.st_mode)) for status in left] == [(group, 0o664)] * 2
    dump()  # root makes what its owner may write


def test_blanks_behind_a_definition_do_not_count(engine: Engine, path: Path) -> None:
    client(path, "CREATE INDEX last ON orders (total) -- a comment\n \n;")
    dump, sql = take(engine)
    load_into_new(engine, sql)
    assert comparison.differences(dump, take(engine, "copy")[0]) == []


def test_a_killed_restore_is_begun_anew(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = back_up().packed.key
    made = plan(overwrite=("shop",))
    with monkeypatch.context() as patch:
        patch.setattr(swap, "replace", die)
        killed(lambda: restored_over(made))
    assert files(shop) == [".shop.sqlite.unfinished", "shop.sqlite"]
    restored_over(plan(archive=key, overwrite=("shop",)))
    assert ".shop.sqlite.unfinished" not in files(shop)
    assert client(shop, "SELECT count(*) FROM orders") == "3000\n"


def test_an_archive_of_laravel_backup_is_restored(shop: Path, tmp_path: Path) -> None:
    client(shop, "DROP TABLE notes; DROP TABLE pages; DROP TABLE areas; DELETE FROM users WHERE id = 4")
    key = "Shop/2026-11-20-01-00-00.zip"
    dump = client(shop, ".dump").encode()
    legacy(tmp_path / "disk" / key, {"db-dumps/sqlite-sqlite-database.sql": dump}, encrypted=True)
    (copy,) = restored(plan(archive=key))
    assert (copy.rows, copy.compared) == (3014, None)
    query = "SELECT * FROM orders; SELECT hex(name) FROM users; SELECT * FROM totals"
    assert client(shop.with_name(f"{copy.schema}.sqlite"), query) == client(shop, query)


def test_commands_after_a_restore_find_the_restored_file(path: Path, project: Configure, tmp_path: Path) -> None:
    root = tmp_path / "code"
    root.mkdir()
    (root / "artisan").touch()
    command = f"sh -c 'echo $DB_DATABASE > {tmp_path}/told'"
    project(applications={"Shop": SHOP | {"files": {"root": str(root)}, "after_restore": [command]}})
    back_up("application")
    made = plan(files=True, into=str(tmp_path / "copy"))
    restored_over(made)
    restore.restore_files(load_site(), made)
    after_restore.run_commands(load_site(), made)
    told = Path((tmp_path / "told").read_text().strip())
    assert told == path.with_name(f"{made.databases[0].schema}.sqlite")
    assert client(told, "SELECT count(*) FROM orders") == "3000\n"


def test_statements_end_where_the_library_ends_them(path: Path, engine: Engine) -> None:
    _, sql = take(engine)
    statements = [statement.sql.decode() for statement in sqlite_text.read([sql])]
    assert len(statements) > 10
    assert all(map(sqlite3.complete_statement, statements))


def test_every_command_of_the_runbook(shop: Path, tmp_path: Path) -> None:
    back_up()
    for commands in [text for tag, text in blocks() if tag == "sqlite"]:
        follow(commands, runbook_variables(tmp_path))
    by_hand = tmp_path / "root-by-hand.sqlite"
    assert client(by_hand, "SELECT count(*) FROM orders; PRAGMA integrity_check") == "3000\nok\n"
