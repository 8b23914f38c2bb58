"""Databases of PostgreSQL as their users have them: what is below a table, and what a reload puts in another order."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from lifeboat.actions import check, drill, restore, survey
from lifeboat.airflow import connections
from lifeboat.airflow.site import load_site, site_of
from lifeboat.catalog import archives as catalog
from lifeboat.databases import BY_HAND, EXCLUDED_PARENT, Dump, Engine, Load, Loaded
from lifeboat.databases.postgresql.digest import digest
from lifeboat.databases.postgresql.limits import LEFT_OUT, SUBSCRIPTION
from lifeboat.databases.postgresql.statements import read
from lifeboat.decide import comparison
from lifeboat.errors import DumpError, RestoreError
from lifeboat.settings import config
from lifeboat.settings.config import Database
from lifeboat.ui import archives

from include.demo.stand_ins import PostgreSQL
from tests.command import lifeboat
from tests.conftest import Configure
from tests.test_restore import back_up, plan, restored

RECOVERY = (Path(__file__).parents[2] / "docs" / "RECOVERY.md").read_text(encoding="utf-8")

SHOP: dict[str, Any] = {"name": "shop", "engine": "postgresql", "connection": "kinds_pg"}


@pytest.fixture
def pg(postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgreSQL]:
    """The server, with an empty database."""
    monkeypatch.setenv("AIRFLOW_CONN_KINDS_PG", postgresql.connection())
    postgresql.run(f"CREATE DATABASE shop OWNER {postgresql.user}")
    yield postgresql
    for name in postgresql.run("SELECT datname FROM pg_database WHERE datname ~ '^(shop|lifeboat)'").splitlines():
        postgresql.run(f'ALTER DATABASE "{name}" IS_TEMPLATE false')
        postgresql.run(f'DROP DATABASE "{name}" WITH (FORCE)')


def fill(pg: PostgreSQL, sql: str) -> None:
    pg.run(sql, "shop", pg.user)


def engine() -> Engine:
    return connections.engine(Database(**SHOP), Path("/unused"))


def take(*excluded: str) -> tuple[Dump, bytes]:
    chunks: list[bytes] = []
    dump = engine().dump("shop", excluded, chunks.append)
    return dump, b"".join(chunks)


def reload(dump: Dump, sql: bytes) -> tuple[Loaded, Dump]:
    """Load a dump, and return what a dump of the copy holds."""
    loading = engine()
    with loading.scratch("a key", dump) as place:
        loaded = loading.load(place, [sql], Load("shop"))
        return loaded, loading.read_back(place, ())


PARTITIONED = """
CREATE SCHEMA old; CREATE TABLE m (d date, n int) PARTITION BY RANGE (d); CREATE TABLE m_def PARTITION OF m DEFAULT;
CREATE TABLE old."m 25" PARTITION OF m FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY LIST (n);
CREATE TABLE old.a PARTITION OF old."m 25" FOR VALUES IN (1); CREATE TABLE old.b (n int, d date);
ALTER TABLE old."m 25" ATTACH PARTITION old.b FOR VALUES IN (2);
CREATE TABLE p (a int); CREATE TABLE heir (b int) INHERITS (p); CREATE TABLE grandson () INHERITS (heir);
CREATE TABLE apart (a int);
INSERT INTO m VALUES ('2027-01-01', 1), ('2025-05-05', 1), ('2025-05-05', 2);
INSERT INTO p VALUES (1); INSERT INTO heir VALUES (2, 2); INSERT INTO grandson VALUES (3, 3);
INSERT INTO apart VALUES (4);
"""
BELOW_M = ("m", "m_def", 'old."m 25"', "old.a", "old.b")


@pytest.mark.parametrize(
    ("excluded", "left_out"),
    [
        ("m", set(BELOW_M)),
        ('old."m 25"', {'old."m 25"', "old.a", "old.b"}),
        ("old.b", {"old.b"}),
        ("p", {"p", "heir", "grandson"}),
        ("heir", {"heir", "grandson"}),
    ],
)
def test_an_excluded_table_takes_all_below_it_along(pg: PostgreSQL, excluded: str, left_out: set[str]) -> None:
    fill(pg, PARTITIONED)
    dump, _ = take(excluded)
    assert dump.excluded_tables[0] == excluded
    assert set(dump.excluded_tables) == left_out
    held = {table.name for table in dump.tables if table.rows}
    assert held == {"m_def", "old.a", "old.b", "p", "heir", "grandson", "apart"} - left_out


@pytest.mark.parametrize(
    ("table", "came", "rows"),
    [("m", BELOW_M, 3), ("old.a", ("old.a",), 1), ("p", ("p", "heir", "grandson"), 3), ("apart", ("apart",), 1)],
)
def test_one_table_comes_with_all_below_it(
    pg: PostgreSQL, project: Configure, table: str, came: tuple[str, ...], rows: int
) -> None:
    fill(pg, PARTITIONED)
    project(applications={"Shop": {"databases": [SHOP]}})
    back_up()
    (done,) = restored(plan(table=table, into="shop_rescue"))
    assert (done.rows, done.compared, done.warnings) == (rows, len(came), ())
    counts = "SELECT (SELECT count(*) FROM m), (SELECT count(*) FROM p), (SELECT count(*) FROM apart)"
    assert pg.run(counts, "shop_rescue").split() == [
        str(each) for each in (rows * (came[0] in BELOW_M), rows * (table == "p"), rows * (table == "apart"))
    ]


def test_one_table_whose_rows_are_not_there_is_refused_or_told(pg: PostgreSQL, project: Configure) -> None:
    fill(pg, PARTITIONED)
    project(applications={"Shop": {"databases": [SHOP | {"exclude_tables": ['old."m 25"']}]}})
    back_up()
    made = plan(table="old.b", into="shop_rescue")
    with pytest.raises(RestoreError, match=r"has no rows of table 'old\.b' of 'shop': the backup left them out"):
        restore.restore_database(load_site(), made, made.databases[0])
    (done,) = restored(plan(table="m", into="shop_rescue"))
    assert done.rows == 1
    assert done.warnings == tuple(
        f"{name} came back empty: the backup left its rows out" for name in sorted(('old."m 25"', "old.a", "old.b"))
    )


INHERITED = {
    "a column that the parent got later": """
        CREATE TABLE p (a int); CREATE TABLE c (b int) INHERITS (p); ALTER TABLE p ADD COLUMN d text;
        INSERT INTO c (a, b, d) VALUES (1, 2, 'x'), (3, 4, 'y');""",
    "a column that child and parent have": """
        CREATE TABLE p (a int); CREATE TABLE c (b int DEFAULT 1, d text CHECK (d <> ',(')) INHERITS (p);
        ALTER TABLE p ADD COLUMN d text; INSERT INTO c (a, b, d) VALUES (1, 2, E'x\\ty'), (3, 4, NULL);""",
    "a parent that came later": """
        CREATE TABLE p (a int, b numeric(4, 2)); CREATE TABLE c ("b" numeric(4, 2), z text DEFAULT '), (', a int);
        ALTER TABLE c INHERIT p; INSERT INTO c VALUES (2, 'z', 1);""",
    "several parents, and a dropped column": """
        CREATE TABLE p (a int, gone int); CREATE TABLE q (x int, a int); CREATE TABLE c ("c, (" int) INHERITS (q, p);
        ALTER TABLE p DROP COLUMN gone; ALTER TABLE q ADD COLUMN y int; INSERT INTO c VALUES (1, 2, 3, 4);
        CREATE TABLE d () INHERITS (c); ALTER TABLE p ADD COLUMN late text;
        INSERT INTO d VALUES (5, 6, 7, 8, 'nine');""",
    "a partition with another order": """
        CREATE TABLE m (a int, b text) PARTITION BY LIST (a); CREATE TABLE m1 (b text, gone int, a int);
        ALTER TABLE m1 DROP COLUMN gone; ALTER TABLE m ATTACH PARTITION m1 FOR VALUES IN (1);
        ALTER TABLE m ADD COLUMN c int; INSERT INTO m VALUES (1, 'b', 3);""",
    "options of a child": """
        CREATE TABLE p (a int); CREATE UNLOGGED TABLE c (b int) INHERITS (p) WITH (fillfactor = 50);
        ALTER TABLE p ADD COLUMN d text; INSERT INTO c (a, b, d) VALUES (1, 2, 'x');""",
}


@pytest.mark.parametrize("sql", INHERITED.values(), ids=INHERITED)
def test_the_order_of_inherited_columns_does_not_count(pg: PostgreSQL, sql: str) -> None:
    fill(pg, sql)
    dump, text = take()
    loaded, again = reload(dump, text)
    assert loaded.rows == dump.rows
    assert [str(each) for each in comparison.differences(dump, again)] == []


@pytest.mark.parametrize("change", [("\t2\tx", "\t3\tx"), ("b integer", "b bigint")])
def test_the_values_of_inherited_columns_count(pg: PostgreSQL, change: tuple[str, str]) -> None:
    fill(pg, INHERITED["a column that the parent got later"])
    dump, text = take()
    old, new = (each.encode() for each in change)
    assert old in text
    _, again = reload(dump, text.replace(old, new))
    (difference,) = comparison.differences(dump, again)
    assert (difference.name, difference.fatal) == ("c", True)


def test_inherited_rows_are_the_same_in_pieces_of_any_size(pg: PostgreSQL) -> None:
    fill(pg, INHERITED["a column that child and parent have"])
    dump, text = take()
    for size in (1, 7, 4096):
        held = digest(text[i : i + size] for i in range(0, len(text), size))
        assert (held.tables, held.objects) == (dump.tables, dump.objects)


FOREIGN = """
CREATE FOREIGN DATA WRAPPER other; CREATE SERVER there FOREIGN DATA WRAPPER other OPTIONS (host 'there; \\ x');
CREATE FOREIGN TABLE far (a int) SERVER there; COMMENT ON FOREIGN TABLE far IS 'away'; GRANT SELECT ON far TO PUBLIC;
ALTER FOREIGN TABLE far ALTER COLUMN a OPTIONS (name 'x'); GRANT USAGE ON FOREIGN SERVER there TO PUBLIC;
GRANT USAGE ON FOREIGN DATA WRAPPER other TO PUBLIC; CREATE USER MAPPING FOR PUBLIC SERVER there;
CREATE VIEW through AS SELECT a FROM far; COMMENT ON SERVER there IS 'there';
"""
BY_HAND_ONLY = {
    "foreign": (FOREIGN, {"far", "there", "other"}),
    "C": ("CREATE FUNCTION half(int) RETURNS int LANGUAGE internal AS 'int4abs' STRICT", {"half"}),
    "leakproof": ("CREATE FUNCTION calm(n int) RETURNS int LANGUAGE sql IMMUTABLE LEAKPROOF AS 'SELECT n'", {"calm"}),
    "setting": ("CREATE FUNCTION loud() RETURNS int LANGUAGE sql SET log_statement TO 'all' AS 'SELECT 1'", {"loud"}),
    "type": (
        """CREATE TYPE pair;
        CREATE FUNCTION pair_in(cstring) RETURNS pair LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
        CREATE FUNCTION pair_out(pair) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';
        CREATE TYPE pair (INPUT = pair_in, OUTPUT = pair_out, INTERNALLENGTH = 4, PASSEDBYVALUE);
        CREATE TABLE p (a pair); INSERT INTO p VALUES ('7')""",
        {"pair", "pair_in", "pair_out"},
    ),
    "operators": ("CREATE OPERATOR FAMILY kin USING btree", {"kin"}),
    "cast": ("CREATE DOMAIN d AS int; CREATE TYPE e AS (a int); CREATE CAST (e AS text) WITH INOUT", set()),
    "binary cast": ("CREATE CAST (date AS oid) WITHOUT FUNCTION", {"date"}),
    "language": (
        """CREATE FUNCTION odd_handler() RETURNS language_handler LANGUAGE c
        AS '$libdir/plpgsql', 'plpgsql_call_handler';
        CREATE LANGUAGE odd HANDLER odd_handler""",
        {"odd", "odd_handler"},
    ),
    "access method": ("CREATE ACCESS METHOD slow TYPE TABLE HANDLER heap_tableam_handler", {"slow"}),
    "aggregate": ("CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0')", set()),
    "support": (
        """CREATE FUNCTION few() RETURNS SETOF int LANGUAGE sql AS 'SELECT 1';
        ALTER FUNCTION few() SUPPORT generate_series_int4_support""",
        {"few"},
    ),
    "range types bring theirs": ("CREATE TYPE span AS RANGE (SUBTYPE = float8, SUBTYPE_DIFF = float8mi)", set()),
    "extensions bring theirs": ("CREATE EXTENSION citext; CREATE EXTENSION hstore", set()),
}


@pytest.mark.parametrize("case", BY_HAND_ONLY)
def test_what_no_restore_loads_is_dumped_and_says_so(pg: PostgreSQL, case: str) -> None:
    sql, names = BY_HAND_ONLY[case]
    pg.run(f"CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2); {sql}", "shop")
    pg.run(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {pg.user}", "shop")
    dump, text = take()
    assert {limit.name for limit in dump.limits if limit.kind == BY_HAND} == names
    assert len(dump.by_hand) == len(set(dump.by_hand))
    assert next(table.rows for table in dump.tables if table.name == "t") == 2
    pg.run("CREATE DATABASE shop_by_hand")
    pg.run(text.decode(), "shop_by_hand")
    assert pg.run("SELECT count(*) FROM t", "shop_by_hand") == "2\n"
    if not names:
        reload(dump, text)
        return
    with pytest.raises(RestoreError):  # the limit is no false alarm
        reload(dump, text)


def test_a_dump_that_is_loaded_by_hand_only_is_kept_and_told_everywhere(pg: PostgreSQL, project: Configure) -> None:
    pg.run(f"CREATE TABLE t (a int); ALTER TABLE t OWNER TO {pg.user}; {FOREIGN}", "shop")
    pg.run(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {pg.user}", "shop")
    project(applications={"Shop": {"databases": [SHOP]}}, drill={"production": True})
    said = lifeboat("backup", "database", "Shop", "--destination", "disk")
    assert said.returncode == 0, said.stderr
    reason = "The dump makes foreign table far, which reaches beyond its database"
    assert "shop comes back by hand only" in said.stdout
    assert reason in said.stdout
    assert f"shop: {reason}" in said.stderr
    assert "shop comes back BY HAND ONLY" in said.stderr

    settings, now = config.load(), datetime.now(UTC)
    (destination,) = site_of(settings).destinations("Shop", ("disk",))
    (archive,) = survey.read(destination, site_of(settings)).archives
    marker = catalog.read_marker(destination, archive.key)
    assert marker is not None
    assert (marker["totals"]["by_hand"], "far" in str(marker)) == (1, False)
    assert ("Restored by hand only", "1") in archives.contents(marker).facts
    for known in (0, 99):
        health = settings.health.model_copy(update={"known_limits": known})
        checked = check.examine("disk", site_of(settings.model_copy(update={"health": health})), ["Shop"], now).findings
        (finding,) = [each for each in checked if each.check == "database by hand"]
        assert finding.verdict == "degraded"
        assert "1 database that no restore loads and no drill proves" in finding.text

    with pytest.raises(RestoreError, match=f"The dump of 'shop' is loaded by hand only: .*{reason}") as refused:
        restore.verify(site_of(settings), plan())
    assert "'By hand only' in docs/RECOVERY.md has the lines by which psql loads it" in refused.value.hint
    assert "### By hand only" in RECOVERY
    made = plan(into="shop_copy")
    with pytest.raises(RestoreError, match="is loaded by hand only"):
        restore.restore_database(site_of(settings), made, made.databases[0])
    with pytest.raises(RestoreError, match="is loaded by hand only"):
        drill.rehearse(site_of(settings), "Shop", destination, archive.key, "a test", now)
    assert survey.read(destination, site_of(settings)).proofs == {}
    assert "shop_copy" not in pg.run("SELECT datname FROM pg_database")


def test_what_lifeboat_cannot_read_is_dumped_if_its_client_completed_it(
    pg: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a client of tomorrow writes."""
    fill(pg, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
    client, strange = shutil.which("pg_dump"), tmp_path / "strange"
    fake = tmp_path / "pg_dump"
    fake.write_text(f'#!/bin/sh\n{client} "$@" | sed "$(cat {strange})"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    told = {
        "s/^COPY /CREATE NEWFANGLED THING;\\n&/": "or that pg_dump does not write: CREATE NEWFANGLED THING",
        "s/^COPY /SELECT 1 \\\\gexec\\n;\\n&/": "a command of psql, or a comment that pg_dump does not write",
        "s/^COPY /\\\\echo x\\n&/": "a command of psql, which pg_dump does not write: psql would obey it",
        "s/^COPY /SELECT 'x;\\n&/": "ends in the middle of a statement",
    }
    for script, reason in told.items():
        strange.write_text(script)
        dump, text = take()
        (limit,) = dump.limits
        assert reason in limit.text
        with pytest.raises(RestoreError):
            list(read([text]))
        strange.write_text(f"{script}; s/^-- PostgreSQL database dump complete/--/")
        with pytest.raises(DumpError, match="without its completion line: the dump is cut short"):
            take()


def test_what_a_restore_leaves_out_is_told_at_the_backup(pg: PostgreSQL) -> None:
    pg.run(
        """CREATE FUNCTION noted() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
        CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION noted(); ALTER EVENT TRIGGER watch DISABLE;
        CREATE PUBLICATION all_of_it FOR ALL TABLES; CREATE PUBLICATION of_schema FOR TABLES IN SCHEMA public;
        CREATE SUBSCRIPTION other CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false);
        CREATE TABLE t (a int); CREATE PUBLICATION of_table FOR TABLE t;""",
        "shop",
    )
    pg.run(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {pg.user}", "shop")
    dump, text = take()
    pg.run("ALTER SUBSCRIPTION other SET (slot_name = NONE); DROP SUBSCRIPTION other", "shop")
    assert {(limit.kind, limit.name) for limit in dump.limits} == {
        (LEFT_OUT, "watch"),
        (LEFT_OUT, "all_of_it"),
        (LEFT_OUT, "of_schema"),
        (SUBSCRIPTION, "other"),
    }
    _, again = reload(dump, text)
    assert comparison.differences(dump, again) == []


def test_what_is_said_of_an_optional_object_is_optional_like_it(pg: PostgreSQL) -> None:
    pg.run(
        f"""CREATE FUNCTION noted() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
        CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION noted(); COMMENT ON EVENT TRIGGER watch IS 'x';
        CREATE PUBLICATION pa FOR ALL TABLES; COMMENT ON PUBLICATION pa IS 'x'; COMMENT ON LANGUAGE plpgsql IS 'mine';
        CREATE TABLE t (a int); CREATE PUBLICATION pt FOR TABLE t; COMMENT ON PUBLICATION pt IS 'of t';
        ALTER PUBLICATION pt OWNER TO {pg.user}; COMMENT ON EXTENSION plpgsql IS 'mine, too';
        GRANT USAGE ON LANGUAGE plpgsql TO {pg.user}; ALTER TABLE t OWNER TO {pg.user};""",
        "shop",
    )
    dump, text = take()
    assert dump.by_hand == []
    loading = engine()
    with loading.scratch("a key", dump) as place:
        loaded = loading.load(place, [text], Load("shop"))
        assert pg.run("SELECT pubname, obj_description(oid) FROM pg_publication", place) == "pt\tof t\n"
        assert comparison.differences(dump, loading.read_back(place, ())) == []
        assert loaded.warnings == ()
        assert all("could not be run" in each.text for each in loading.rehearse(place))


def test_rights_that_somebody_else_granted_come_back(pg: PostgreSQL) -> None:
    pg.run("DROP ROLE IF EXISTS clerk, guest; CREATE ROLE clerk; CREATE ROLE guest")
    fill(pg, "CREATE TABLE t (a int); GRANT SELECT ON t TO clerk WITH GRANT OPTION")
    pg.run("SET ROLE clerk; GRANT SELECT ON t TO guest", "shop")
    dump, text = take()
    assert b"SET SESSION AUTHORIZATION" in text
    loading = engine()
    with loading.scratch("a key", dump) as place:
        assert loading.load(place, [text], Load("shop")).warnings == ()
        assert pg.run("SELECT has_table_privilege('guest', 't', 'SELECT')", place) == "t\n"
    pg.run("DROP OWNED BY clerk CASCADE; DROP OWNED BY guest", "shop")
    pg.run("DROP ROLE clerk, guest")


MISLEADING = """
CREATE FUNCTION begin(x int) RETURNS int LANGUAGE sql AS 'select 1'; CREATE TABLE t (a int); INSERT INTO t VALUES (1);
CREATE SCHEMA begin; CREATE TYPE begin.begin AS (atomic int, "end" int, "case" text);
CREATE TABLE begin.commit (begin int);
CREATE FUNCTION atomic() RETURNS begin.begin LANGUAGE sql AS 'select 1, 2, $q$;$q$'; CREATE TABLE begin (begin int);
CREATE FUNCTION begin.atomic(begin int, atomic int DEFAULT 1) RETURNS begin.begin LANGUAGE sql
  BEGIN ATOMIC SELECT begin AS atomic, CASE WHEN begin > 0 THEN begin ELSE CASE atomic WHEN 1 THEN 2 END END AS "end",
    'BEGIN ATOMIC; END;' AS "case" FROM begin.commit; SELECT 1, 2, (CASE WHEN true THEN 'x;' END); END;
CREATE PROCEDURE "end"() LANGUAGE sql BEGIN ATOMIC INSERT INTO begin VALUES (1); DELETE FROM begin; END;
CREATE PROCEDURE nothing() LANGUAGE sql BEGIN ATOMIC END;
CREATE FUNCTION "case"(begin text) RETURNS TABLE (begin2 int) LANGUAGE plpgsql AS $$ BEGIN RETURN; END $$;
CREATE FUNCTION "BEGIN ATOMIC"() RETURNS int LANGUAGE sql SET search_path TO 'begin', 'end' AS 'SELECT 1';
CREATE TABLE "BEGIN ATOMIC; COPY x FROM stdin;" ("; END" text DEFAULT 'BEGIN ATOMIC;');
CREATE VIEW "create function" AS SELECT begin FROM begin;
COMMENT ON FUNCTION begin(int) IS 'BEGIN; IS ''x'' BEGIN ATOMIC';
CREATE TABLE quoted (id int PRIMARY KEY, "FOREIGN KEY" int,
  CONSTRAINT "my FOREIGN KEY (x)" FOREIGN KEY ("FOREIGN KEY") REFERENCES quoted, note text DEFAULT
  ' ADD CONSTRAINT x FOREIGN KEY (y) REFERENCES z;
-- PostgreSQL database dump complete
\\.
BEGIN;'); INSERT INTO quoted VALUES (1, NULL), (2, 1);
"""


def test_names_and_texts_that_look_like_sql_mislead_nobody(pg: PostgreSQL) -> None:
    fill(pg, MISLEADING)
    dump, text = take()
    assert dump.limits == ()
    loaded, again = reload(dump, text)
    assert loaded.rows == dump.rows == 3
    assert comparison.differences(dump, again) == []
    names = {(each.kind, each.name) for each in dump.objects}
    assert {("function", "begin"), ("function", "begin.atomic"), ("procedure", '"end"'), ("schema", "begin")} <= names
    loading = engine()
    with loading.scratch("a key", dump) as place:
        assert loading.load(place, [text], Load("shop", table="quoted")).rows == 2
    with loading.scratch("a key", dump) as place:
        assert loading.load(place, [text], Load("shop", table="t")).rows == 1


def test_row_level_security_that_binds_owners_comes_back(pg: PostgreSQL) -> None:
    fill(
        pg,
        """CREATE SCHEMA s; CREATE TABLE s."T t" (a int); INSERT INTO s."T t" VALUES (1); CREATE TABLE u (a int);
        CREATE MATERIALIZED VIEW seen AS SELECT * FROM s."T t";
        ALTER TABLE s."T t" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; ALTER TABLE u FORCE ROW LEVEL SECURITY;
        CREATE POLICY mine ON s."T t" USING (a > 1)""",
    )
    with pytest.raises(DumpError, match="row-level security") as error:
        take()
    assert "only BYPASSRLS helps where a table has FORCE ROW LEVEL SECURITY" in error.value.hint
    pg.run(f"ALTER ROLE {pg.user} BYPASSRLS")
    try:
        dump, text = take()
    finally:
        pg.run(f"ALTER ROLE {pg.user} NOBYPASSRLS")
    loading, forced = engine(), "SELECT relname FROM pg_class WHERE relforcerowsecurity ORDER BY 1"
    with loading.scratch("a key", dump) as place:
        loading.load(place, [text], Load("shop"))
        assert comparison.differences(dump, loading.read_back(place, ())) == []
        assert pg.run(forced, place) == "T t\nu\n"
        assert pg.run("SELECT a FROM seen", place) == "1\n"
        pg.run("ALTER TABLE u NO FORCE ROW LEVEL SECURITY", place)
        (difference,) = comparison.differences(dump, loading.read_back(place, ()))
        assert str(difference) == "table 'u' is defined otherwise"


def test_large_objects_of_others_are_read_by_members_of_their_owner(pg: PostgreSQL) -> None:
    pg.run("DROP ROLE IF EXISTS clerk; CREATE ROLE clerk")
    pg.run("SELECT lo_from_bytea(4711, 'x'); ALTER LARGE OBJECT 4711 OWNER TO clerk", "shop")
    pg.run(f"GRANT pg_read_all_data TO {pg.user}")
    with pytest.raises(DumpError, match="permission denied for large object 4711") as error:
        take()
    assert "a member of the role that owns it" in error.value.hint
    pg.run(f"REVOKE pg_read_all_data FROM {pg.user}; GRANT clerk TO {pg.user}")
    dump, _ = take()
    assert [(each.kind, each.name) for each in dump.objects] == [("large object", "4711")]
    pg.run("DROP OWNED BY clerk", "shop")
    pg.run("DROP ROLE clerk")


TO_EXCLUDED = """
CREATE TABLE sessions (id int PRIMARY KEY); CREATE TABLE ev (sid int REFERENCES sessions);
CREATE SCHEMA "s 1"; CREATE TABLE "s 1"."e v" (sid int, CONSTRAINT "to; ()" FOREIGN KEY (sid) REFERENCES sessions
  ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO sessions VALUES (1); INSERT INTO ev VALUES (1); INSERT INTO "s 1"."e v" VALUES (1);
"""


def test_a_foreign_key_to_an_excluded_table_is_told_and_not_checked(pg: PostgreSQL, project: Configure) -> None:
    fill(pg, TO_EXCLUDED)
    project(applications={"Shop": {"databases": [SHOP | {"exclude_tables": ["sessions"]}]}}, drill={"production": True})
    taken = back_up()
    names = {"ev.ev_sid_fkey", '"s 1"."e v"."to; ()"'}
    assert {(limit.kind, limit.name) for limit in taken.limits["shop"]} == {(EXCLUDED_PARENT, name) for name in names}
    (done,) = restored(plan(into="shop_copy"))
    assert (done.rows, done.compared) == (2, 3)
    assert {"not brought back exactly" in warning for warning in done.warnings} == {True}
    keys = "SELECT conname, convalidated FROM pg_constraint WHERE contype = 'f' ORDER BY 1"
    assert pg.run(keys, "shop_copy") == "ev_sid_fkey\tf\nto; ()\tf\n"
    (destination,) = load_site().destinations("Shop", ("disk",))
    made = drill.rehearse(load_site(), "Shop", destination, taken.packed.key, "a test", datetime.now(UTC))
    assert f"not restored exactly: {EXCLUDED_PARENT}: 2" in made["notes"]


def test_rows_without_parents_come_back_and_are_named(pg: PostgreSQL) -> None:
    fill(pg, TO_EXCLUDED)
    pg.run("SET session_replication_role = replica; INSERT INTO ev VALUES (7)", "shop")
    dump, text = take()
    loaded, again = reload(dump, text)
    assert loaded.orphans == ("foreign key ev.ev_sid_fkey asks for",)
    assert "rows lack the parents that foreign key ev.ev_sid_fkey asks for" in loaded.warnings
    assert comparison.differences(dump, again) == []


def test_a_partitioned_table_with_a_key_to_an_excluded_one_is_loaded_by_hand(pg: PostgreSQL) -> None:
    fill(
        pg,
        """CREATE TABLE sessions (id int PRIMARY KEY); INSERT INTO sessions VALUES (1);
        CREATE TABLE m (sid int REFERENCES sessions) PARTITION BY LIST (sid); CREATE TABLE m1 PARTITION OF m DEFAULT;
        INSERT INTO m VALUES (1);""",
    )
    dump, text = take("sessions")
    ((kind, name),) = {(limit.kind, limit.name) for limit in dump.limits}
    assert (kind, name) == (BY_HAND, "m.m_sid_fkey")
    with pytest.raises(RestoreError):
        reload(dump, text)


@pytest.mark.matrix
@pytest.mark.parametrize(
    "server", [pytest.param(name, marks=pytest.mark.needs(name)) for name in ("postgresql_17", "postgresql_18")]
)
def test_newer_servers_tell_the_same(
    server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer: PostgreSQL = request.getfixturevalue(server)
    monkeypatch.setenv("AIRFLOW_CONN_KINDS_PG", newer.connection())
    monkeypatch.setenv("PATH", f"{newer.path}:{os.environ['PATH']}")
    newer.run(f"CREATE DATABASE shop OWNER {newer.user}")
    try:
        fill(newer, PARTITIONED + MISLEADING)
        for number, sql in enumerate((TO_EXCLUDED, *INHERITED.values())):
            fill(newer, f"CREATE SCHEMA x{number}; SET search_path = x{number}; {sql}")
        dump, text = take("x0.sessions")
        assert {limit.kind for limit in dump.limits} == {EXCLUDED_PARENT}
        loading = engine()
        with loading.scratch("a key", dump) as place:
            loading.load(place, [text], Load("shop", unchecked=dump.unchecked))
            assert comparison.differences(dump, loading.read_back(place, ())) == []
        for case in ("type", "setting", "operators", "leakproof"):
            newer.run(f"CREATE SCHEMA {case}; SET search_path = {case}; {BY_HAND_ONLY[case][0]}", "shop")
            newer.run(f"GRANT ALL ON SCHEMA {case} TO {newer.user}", "shop")
            newer.run(f"GRANT ALL ON ALL TABLES IN SCHEMA {case} TO {newer.user}", "shop")
        by_hand = {limit.name for limit in take()[0].limits if limit.kind == BY_HAND}
        assert by_hand == {"pair", "pair_in", "pair_out", "loud", "kin", "calm"}
    finally:
        newer.run("DROP DATABASE shop WITH (FORCE)")
