"""Tables of which only the structure is backed up, and patterns of excluded tables, on real servers."""

from __future__ import annotations

import io
import json
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from lifeboat.actions import drill, restore, stored_archive
from lifeboat.airflow.site import load_site
from lifeboat.archive.deflated import DeflatedText
from lifeboat.archive.read import ArchiveReader
from lifeboat.catalog.proof import Proof
from lifeboat.databases import Aside, Dump
from lifeboat.databases.mysql.engine import MySQL
from lifeboat.databases.postgresql.engine import dump_command
from lifeboat.errors import DumpError, RestoreError
from lifeboat.support import clock

from include.demo.stand_ins import MariaDB, PostgreSQL
from tests.command import lifeboat
from tests.conftest import Configure
from tests.crash import die, killed
from tests.servers.databases.test_postgresql import pg
from tests.servers.test_restore import back_up, only_shop, plan, restored

__all__ = ["only_shop", "pg"]

SHOP: dict[str, Any] = {"name": "shop", "connection": "shop_db"}
AUDITED = (
    "CREATE TABLE audit (id INT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(20), seen INT DEFAULT 0, KEY w (what));"
    "INSERT INTO audit (what) VALUES ('one'), ('two'), ('three');"
    "CREATE TRIGGER audit_seen BEFORE INSERT ON audit FOR EACH ROW SET NEW.seen = 1;"
    "CREATE VIEW recent AS SELECT what FROM audit;"
    "CREATE TABLE remarks (id INT PRIMARY KEY, audit_id INT, CONSTRAINT of_audit FOREIGN KEY (audit_id)"
    " REFERENCES audit (id)); INSERT INTO remarks VALUES (1, 2)"
)


def rehearse(key: str) -> Proof:
    (disk,) = load_site().destinations("Shop", ("disk",))
    return drill.rehearse(load_site(), "Shop", disk, key, "a test", datetime.now(UTC))


def configure(project: Configure, database: dict[str, Any], **more: Any) -> None:
    project(applications={"Shop": {"databases": [database | more]}}, drill={"production": True})


def captured(key: str) -> Dump:
    (disk,) = load_site().destinations("Shop", ("disk",))
    with stored_archive.opened(load_site(), disk, "Shop", key) as reader:
        dump = stored_archive.captured_database(reader, "shop")
    assert dump is not None
    return dump


@pytest.mark.parametrize("clients", [1, 2])
def test_a_table_without_rows_comes_back_empty_and_is_proven(
    project: Configure, mariadb: MariaDB, shop: str, clients: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lifeboat.databases.shares.WORTH", 0)
    mariadb.run(AUDITED, shop)
    configure(project, SHOP, exclude_rows=["audit", "gone"], dump_connections=clients)
    key = back_up().packed.key
    dump = captured(key)
    assert (dump.excluded_rows, dump.excluded_tables) == (("audit",), ())
    assert "shop: exclude_rows names 'gone', which is not there" in dump.warnings
    assert [limit.name for limit in dump.limits if "of_audit" in limit.name] == ["remarks.of_audit"]
    (done,) = restored(plan())
    assert done.compared == 6
    assert "tables came back empty, because the backup left their rows out: audit" in done.warnings
    assert mariadb.run("SELECT count(*) FROM audit; SELECT count(*) FROM recent", done.schema) == "0\n0\n"
    mariadb.run("INSERT INTO audit (what) VALUES ('next')", done.schema)
    assert mariadb.run("SELECT id, seen FROM audit", done.schema) == "4\t1\n", "counter and trigger came, too"
    assert mariadb.run("SELECT count(*) FROM remarks", done.schema) == "1\n"
    made = rehearse(key)
    assert made.compared.tables == 6
    assert "1 table proven without rows, which the backup left out" in made.notes


def test_the_stock_client_loads_a_dump_with_tables_without_rows(
    project: Configure, mariadb: MariaDB, shop: str
) -> None:
    mariadb.run(AUDITED, shop)
    chunks: list[bytes] = []
    engine = MySQL(mariadb.server, mariadb.connect, clock.now)
    dump = engine.dump(shop, (), chunks.append, without_rows=("audit", "page_*"))
    mariadb.run("CREATE DATABASE shop_copy")
    mariadb.run(b"".join(chunks), "shop_copy")
    again = engine.dump("shop_copy", (), lambda chunk: None)
    assert sorted(again.tables, key=str) == sorted(dump.tables, key=str)
    assert set(again.objects) == set(dump.objects)
    assert dump.excluded_rows == ("audit", "page_views")


def test_a_restore_over_the_original_keeps_rows_that_the_archive_lacks(
    project: Configure, mariadb: MariaDB, shop: str
) -> None:
    mariadb.run(AUDITED, shop)
    configure(project, SHOP, exclude_rows=["a*"])
    back_up()
    mariadb.run(
        "INSERT INTO audit (what) VALUES ('four'); ALTER TABLE audit ADD since INT; DROP TRIGGER audit_seen;"
        "CREATE TRIGGER audit_late BEFORE INSERT ON audit FOR EACH ROW SET NEW.seen = 9; DELETE FROM orders",
        shop,
    )
    made = plan(overwrite=("shop",))
    assert any("no rows of audit" in line for line in made.lines())
    (done,) = restored(made)
    assert mariadb.run("SELECT what FROM audit ORDER BY id", shop) == "one\ntwo\nthree\nfour\n"
    assert mariadb.run("SELECT count(*) FROM orders", shop) == "3000\n"
    assert mariadb.run("SELECT trigger_name FROM information_schema.triggers WHERE event_object_table = 'audit'") == (
        "audit_seen\n"
    ), "definitions come from the archive"
    assert "tables stay as they are, because the archive lacks their rows: audit" in done.warnings
    assert done.compared == 5
    assert any("table 'audit' has a different definition, and stays as it is" in note for note in done.warnings)
    mariadb.run("SET foreign_key_checks = 0; DELETE FROM audit", shop)
    (done,) = restored(plan(archive=made.key, overwrite=("shop",)))
    assert "tables came back empty, because the backup left their rows out: audit" in done.warnings
    assert "since" not in mariadb.run("SHOW COLUMNS FROM audit", shop), "nothing was to lose, so it was made again"


def test_rows_that_the_archive_lacks_outlive_a_restore_that_is_killed(
    project: Configure, mariadb: MariaDB, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mariadb.run(AUDITED, shop)
    configure(project, SHOP, exclude_rows=["audit", "empty_one"])
    back_up()
    made = plan(overwrite=("shop",))
    genuine = stored_archive.sql_of

    def until_killed(reader: ArchiveReader, entry: str) -> Iterator[bytes]:
        sql = b"".join(genuine(reader, entry))
        yield sql[: sql.index(b"Final view structure")]
        die()

    with monkeypatch.context() as patch:
        patch.setattr(stored_archive, "sql_of", until_killed)
        killed(lambda: restore.restore_database(load_site(), made, made.databases[0]))
    mariadb.run("CREATE TABLE empty_one (half INT)", shop)  # as a restore leaves it that is killed a moment later
    (done,) = restored(plan(archive=made.key, overwrite=("shop",)))
    assert mariadb.run("SELECT count(*) FROM audit", shop) == "3\n"
    assert "tables stay as they are, because the archive lacks their rows: audit" in done.warnings
    assert "tables came back empty, because the backup left their rows out: empty_one" in done.warnings


def test_rows_of_a_restore_that_was_killed_do_not_stay(
    project: Configure, mariadb: MariaDB, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mariadb.run(f"{AUDITED}; CREATE TABLE kept (id INT); INSERT INTO kept VALUES (1)", shop)
    configure(project, SHOP, exclude_rows=["kept"])
    back_up()
    whole = plan(overwrite=("shop",))
    configure(project, SHOP, exclude_rows=["audit", "kept"], exclude_tables=["page_views"])
    back_up(tmp="2")
    with monkeypatch.context() as patch:
        patch.setattr(restore, "_compare", die)
        killed(lambda: restore.restore_database(load_site(), whole, whole.databases[0]))
    assert mariadb.run("SELECT count(*) FROM audit; SELECT count(*) > 0 FROM page_views", shop) == "3\n1\n"
    (done,) = restored(plan(overwrite=("shop",)))
    assert "tables stay as they are, because the archive lacks their rows: kept" in done.warnings
    assert "tables came back empty, because the backup left their rows out: audit" in done.warnings
    assert mariadb.run("SELECT count(*) FROM audit; SELECT count(*) FROM kept", shop) == "0\n1\n"
    assert "page_views" not in mariadb.run("SHOW TABLES", shop)


def test_one_table_without_rows_is_not_restored(project: Configure, mariadb: MariaDB, shop: str) -> None:
    mariadb.run(AUDITED, shop)
    configure(project, SHOP, exclude_rows=["audit"])
    back_up()
    with pytest.raises(RestoreError, match=r"no rows of table 'audit'.*exclude_rows"):
        restored(plan(table="audit", into="shop_rescue"))


def test_patterns_mean_what_is_there_at_the_dump(project: Configure, mariadb: MariaDB, shop: str) -> None:
    mariadb.run(
        "CREATE TABLE tmp_1 (id INT); CREATE TABLE tmp_22 (id INT); CREATE TABLE TMP_3 (id INT);"
        "CREATE TABLE `a*b` (id INT); CREATE TABLE axb (id INT); CREATE TABLE `a\\b` (id INT);"
        "CREATE TABLE `*` (id INT); INSERT INTO `*` VALUES (1); CREATE VIEW tmp_view AS SELECT 1",
        shop,
    )
    configure(project, SHOP, exclude_tables=["tmp_*", "a*b", "no_*"], exclude_rows=["\\*", "tmp_1"])
    dump = captured(back_up().packed.key)
    assert set(dump.excluded_tables) == {"tmp_1", "tmp_22", "tmp_view", "a*b"}
    assert dump.excluded_rows == ("*",)
    assert {"axb", "a\\b", "TMP_3", "*"} < {table.name for table in dump.tables}
    assert {warning.partition(": ")[2] for warning in dump.warnings} >= {
        "exclude_tables: 'a*b' is read as the name of that table; as a pattern it would also match 2 tables",
        "exclude_tables: pattern 'no_*' matches no table",
    }
    (done,) = restored(plan())
    assert mariadb.run("SELECT count(*) FROM `*`", done.schema) == "0\n"
    mariadb.run("CREATE TABLE Tmp_1 (id INT)", shop)
    with pytest.raises(DumpError, match="Excluding 'tmp_1' would also exclude 'Tmp_1'"):
        back_up(tmp="2")


@pytest.fixture
def short_commands() -> Iterator[None]:
    """Let a command have no more than the least that the system allows: 128 KiB with its environment."""
    limits = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (512 << 10, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_STACK, limits)


@pytest.mark.usefixtures("short_commands")
@pytest.mark.parametrize("clients", [1, 2])
def test_more_tables_are_excluded_than_a_command_could_name(
    mariadb: MariaDB, shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clients: int
) -> None:
    monkeypatch.setattr("lifeboat.databases.shares.WORTH", 0)
    monkeypatch.setattr("lifeboat.databases.shares.MOST_NAMED", 10 << 10)
    monkeypatch.setattr("lifeboat.databases.mysql.structure.MOST_NAMED", 10 << 10)
    views, tables = ([f"{kind}_{number:ü>58}" for number in range(count)] for kind, count in (("v", 1500), ("t", 200)))
    mariadb.run("".join(f"CREATE VIEW `{name}` AS SELECT 1;" for name in views), shop)
    mariadb.run(
        "".join(f"CREATE TABLE `{name}` (id INT) ENGINE=Aria; INSERT INTO `{name}` VALUES (1);" for name in tables),
        shop,
    )
    engine = MySQL(mariadb.server, mariadb.connect, clock.now)
    with closing(DeflatedText(io.BytesIO(), tmp_path)) as text:  # type: ignore[arg-type]
        aside = Aside(clients, text.part, text.append)
        dump = engine.dump(shop, ["v_*"], text.write, without_rows=["t_*"], aside=aside)
    assert set(dump.excluded_tables) == set(views)
    assert set(dump.excluded_rows) == set(tables)
    assert {table.name: table.rows for table in dump.tables if table.name.startswith("t_")} == dict.fromkeys(tables, 0)
    assert not {each.name for each in dump.objects} & set(views)


@pytest.mark.usefixtures("short_commands")
def test_more_tables_than_pg_dump_can_leave_out_are_refused() -> None:
    tables = [f'"public"."t_{number:é>58}"' for number in range(1500)]
    assert dump_command("dbname=shop", "UTF8", tables[:100])
    with pytest.raises(DumpError, match=r"leave out the rows of 1500 tables.*Exclude fewer"):
        dump_command("dbname=shop", "UTF8", tables)


def test_show_names_tables_without_rows(project: Configure, mariadb: MariaDB, shop: str) -> None:
    mariadb.run(AUDITED, shop)
    configure(project, SHOP, exclude_rows=["audit"], exclude_tables=["page_views"])
    back_up()
    done = lifeboat("show", "Shop")
    shown = done.stdout
    assert shown, done.stderr
    assert "structure only" in next(line for line in shown.splitlines() if line.endswith("audit (structure only)"))
    assert "not in the archive: page_views" in shown
    (database,) = json.loads(lifeboat("show", "Shop", "--json").stdout)["databases"]
    assert (database["structure_only"], database["left_out"]) == (["audit"], ["page_views"])


def test_postgresql_restores_what_refers_to_a_table_without_rows(project: Configure, pg: PostgreSQL) -> None:
    pg.run(
        'CREATE TABLE "Audit" (id serial PRIMARY KEY, what text); INSERT INTO "Audit" (what) VALUES (1), (2);'
        'CREATE TABLE remarks (id int PRIMARY KEY, audit int CONSTRAINT of_audit REFERENCES "Audit");'
        "INSERT INTO remarks VALUES (1, 2); CREATE SCHEMA old; CREATE TABLE old.audit_1 (id int);"
        "CREATE VIEW notes AS SELECT id FROM remarks; CREATE TABLE rests (id int); INSERT INTO rests VALUES (1);"
        "INSERT INTO old.audit_1 VALUES (1)",
        "shop",
        pg.user,
    )
    database = {"name": "shop", "engine": "postgresql", "connection": "shop_pg"}
    configure(project, database, exclude_rows=["A*", "old.*", "public.rests", "sales.parts", "audit_*", "notes"])
    key = back_up().packed.key
    dump = captured(key)
    assert dump.excluded_rows == ('"Audit"', "old.audit_1", "rests", "sales.parts", "sales.parts_2025")
    assert "shop: exclude_rows: pattern 'audit_*' matches no table" in dump.warnings
    assert "shop: exclude_rows names 'notes', which is a view: only tables have rows to leave out" in dump.warnings
    assert [limit.name for limit in dump.limits if "of_audit" in limit.name] == ["remarks.of_audit"]
    made = plan(overwrite=("shop",))
    assert any("no rows of" in line for line in made.lines())
    (done,) = restored(made)
    assert any(
        note.startswith("tables came back empty, because the backup left their rows out: ") for note in done.warnings
    )
    kept = next(name for name in pg.run("SELECT datname FROM pg_database").split() if name.startswith("shop_before_"))
    assert pg.run('SELECT count(*) FROM "Audit"', kept) == "2\n", "the replaced database is kept, with its rows"
    assert pg.run('SELECT nextval(\'"Audit_id_seq"\'), count(*) FROM "Audit"', "shop") == "3\t0\n"
    assert pg.run("SELECT convalidated FROM pg_constraint WHERE conname = 'of_audit'", "shop") == "f\n"
    assert "5 tables proven without rows, which the backup left out" in rehearse(key).notes


def test_sqlite_leaves_rows_out_by_names_of_any_case(
    project: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "home" / "shop.sqlite"
    path.parent.mkdir()
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_FILE", json.dumps({"conn_type": "sqlite", "host": str(path)}))
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            "CREATE TABLE Sessions (id INTEGER PRIMARY KEY AUTOINCREMENT, v); INSERT INTO Sessions (v) VALUES (1), (2);"
            "CREATE TABLE orders (id INTEGER PRIMARY KEY); INSERT INTO orders VALUES (1);"
            "CREATE VIRTUAL TABLE search USING fts5(words); INSERT INTO search VALUES ('some words');"
        )
    configure(project, {"name": "shop", "engine": "sqlite", "connection": "shop_file"}, exclude_rows=["s*"])
    key = back_up().packed.key
    assert captured(key).excluded_rows == ("Sessions",), "an index keeps its rows"
    (done,) = restored(plan())
    assert "tables came back empty, because the backup left their rows out: Sessions" in done.warnings
    with closing(sqlite3.connect(path.with_name(f"{done.schema}.sqlite"))) as copy:
        assert copy.execute("SELECT count(*) FROM Sessions").fetchone() == (0,)
        assert copy.execute("SELECT seq FROM sqlite_sequence").fetchone() == (2,)
        assert copy.execute("SELECT words FROM search WHERE search MATCH 'words'").fetchone() == ("some words",)
    assert "1 table proven without rows, which the backup left out" in rehearse(key).notes
