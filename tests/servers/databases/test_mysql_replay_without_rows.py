"""Replays onto dumps without rows: equal where the log says all, refused where a statement would read what is gone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from lifeboat.databases.mysql.log_statements import EXCLUDED, SPREADING
from lifeboat.databases.mysql.replay import ReplayError, Stop

from include.demo.stand_ins import MySQL
from tests.servers.databases.replaying import COPY, SOURCE, Server, different, replayed, take
from tests.servers.databases.test_mysql_replay import server, started  # noqa: F401  # fixtures

SESSIONS = """
CREATE TABLE sessions (id INT PRIMARY KEY, user INT);
INSERT INTO sessions VALUES (1, 1), (2, 1);
CREATE TABLE users (id INT PRIMARY KEY, seen INT);
INSERT INTO users VALUES (1, 0);
"""
FAMILY = """
CREATE TABLE parents (id INT PRIMARY KEY);
INSERT INTO parents VALUES (1), (2);
CREATE TABLE children (id INT PRIMARY KEY, parent INT, number INT UNIQUE, FOREIGN KEY (parent) REFERENCES parents (id));
INSERT INTO children VALUES (1, 1, 1), (2, 2, 2);
CREATE TABLE grandchildren (id INT PRIMARY KEY, number INT,
    FOREIGN KEY (number) REFERENCES children (number) ON UPDATE CASCADE ON DELETE CASCADE);
INSERT INTO grandchildren VALUES (1, 1), (2, 2);
"""


@pytest.fixture
def statements(server: Server) -> Iterator[None]:  # noqa: F811
    """Statements are logged as such; MySQL logs rows wherever another server may compute others."""
    server.run("SET GLOBAL binlog_format = MIXED, GLOBAL log_bin_trust_function_creators = 1")
    yield
    server.run("SET GLOBAL binlog_format = ROW, GLOBAL log_bin_trust_function_creators = 0")


@pytest.mark.parametrize(
    ("code", "change", "why"),
    [
        ("", "CREATE TABLE chosen AS SELECT * FROM sessions", "the name of a table that the backup excludes"),
        ("CREATE VIEW seen AS SELECT * FROM sessions", "INSERT INTO users SELECT id + 9, 1 FROM seen", "a view, code"),
        (
            "CREATE FUNCTION seen() RETURNS INT READS SQL DATA RETURN (SELECT count(*) FROM sessions)",
            "UPDATE users SET seen = seen()",
            "a view, code",
        ),
        (
            "CREATE TRIGGER seen BEFORE INSERT ON users FOR EACH ROW SET NEW.seen = (SELECT count(*) FROM sessions)",
            "INSERT INTO users (id) VALUES (7)",
            "a view, code",
        ),
        (
            "CREATE TRIGGER seen AFTER INSERT ON sessions FOR EACH ROW UPDATE users SET seen = seen + 1",
            "INSERT INTO sessions VALUES (3, 1)",
            "triggers of a table",
        ),
    ],
    ids=["rows", "view", "function", "trigger that reads", "trigger that writes"],
)
@pytest.mark.parametrize("started", ["mariadb"], indirect=True)
@pytest.mark.usefixtures("statements")
def test_statements_that_need_rows_which_are_not_there_are_refused(
    server: Server,  # noqa: F811
    code: str,
    change: str,
    why: str,
) -> None:
    server.run(SESSIONS + code, SOURCE)
    first = take(server, without_rows=["sessions"])
    server.run(change, SOURCE)
    with pytest.raises(ReplayError, match=why):
        replayed(server, first, Stop())


@pytest.mark.parametrize("started", ["mariadb"], indirect=True)
@pytest.mark.usefixtures("statements")
def test_triggers_that_write_a_table_without_rows_run(server: Server) -> None:  # noqa: F811
    noted = "CREATE TRIGGER noted AFTER UPDATE ON users FOR EACH ROW INSERT INTO sessions VALUES (NEW.seen, 1);"
    set_ = "CREATE TRIGGER set_ BEFORE INSERT ON sessions FOR EACH ROW SET NEW.user = 2;"
    server.run(SESSIONS + noted + set_, SOURCE)
    first = take(server, without_rows=["sessions"])
    server.run("UPDATE users SET seen = 5; INSERT INTO sessions VALUES (9, 9)", SOURCE)
    replayed(server, first, Stop())
    assert server.run("SELECT seen FROM users", COPY) == "5\n"


def test_changed_keys_are_passed_on_though_parents_are_missing(server: Server) -> None:  # noqa: F811
    server.run(FAMILY, SOURCE)
    first = take(server, without_rows=["parents"])
    server.run("UPDATE children SET number = 10 WHERE id = 1", SOURCE)
    server.run("REPLACE INTO children VALUES (3, 1, 2), (4, 2, 4)", SOURCE)
    replayed(server, first, Stop())
    held = "SELECT * FROM children ORDER BY id; SELECT * FROM grandchildren ORDER BY id"
    assert (now := server.run(held, COPY)) == server.run(held, SOURCE)
    assert now.startswith("1\t1\t10\n3\t1\t2\n4\t2\t4\n1\t10\n")  # REPLACE does not cascade alike everywhere


@pytest.mark.parametrize("started", ["mariadb"], indirect=True)
@pytest.mark.usefixtures("statements")
def test_a_temporary_table_from_before_the_dump_is_not_taken_for_another(server: Server) -> None:  # noqa: F811
    server.run(SESSIONS, SOURCE)
    with contextlib.closing(server.connect(database=SOURCE)) as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TEMPORARY TABLE sessions (id INT, user INT)")
        first = take(server)
        cursor.execute("INSERT INTO users SELECT id + 9, 1 FROM sessions")
        with pytest.raises(ReplayError, match="a temporary table that was made before the backup"):
            replayed(server, first, Stop())
    server.run("SET GLOBAL binlog_format = ROW")
    with contextlib.closing(server.connect(database=SOURCE)) as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TEMPORARY TABLE chosen AS SELECT * FROM sessions")
        first = take(server)
        for sql in ("CREATE TABLE kept LIKE chosen", "CREATE TABLE copied AS SELECT * FROM chosen", "DROP TABLE kept"):
            cursor.execute(sql)
        replayed(server, first, Stop())
    assert server.run("SELECT count(*) FROM copied", COPY) == "2\n"


@pytest.mark.parametrize("how", ["excluded", "without_rows"])
def test_changes_of_excluded_tables_tell_where_foreign_keys_changed_others(server: Server, how: str) -> None:  # noqa: F811
    server.run(FAMILY.replace("parents (id))", "parents (id) ON DELETE CASCADE)"), SOURCE)
    first = take(server, **{how: ["parents"]})  # type: ignore[arg-type]
    server.run("INSERT INTO parents VALUES (3)", SOURCE)
    server.run("DELETE FROM parents WHERE id = 1", SOURCE)
    logs_it = isinstance(server, MySQL)  # since 9.6
    done = replayed(server, first, Stop())
    assert done.left_out == ({EXCLUDED: 1} if logs_it else {EXCLUDED: 1, SPREADING: 1})
    assert server.run("SELECT count(*) FROM children", COPY) == ("1\n" if logs_it else "2\n")


@pytest.mark.parametrize("started", ["mariadb"], indirect=True)
@pytest.mark.usefixtures("statements")
def test_statements_on_tables_of_whose_triggers_nothing_is_known_are_told(server: Server) -> None:  # noqa: F811
    server.run(SESSIONS, SOURCE)
    server.run("CREATE TRIGGER seen AFTER INSERT ON sessions FOR EACH ROW UPDATE users SET seen = seen + 1", SOURCE)
    first = take(server, excluded=["sessions"])
    server.run("INSERT INTO sessions VALUES (3, 1); TRUNCATE TABLE sessions", SOURCE)
    assert replayed(server, first, Stop()).left_out == {EXCLUDED: 1, SPREADING: 1}


@pytest.mark.parametrize("started", ["mariadb"], indirect=True)
@pytest.mark.usefixtures("statements")
def test_a_crash_of_the_server_ends_its_temporary_tables(server: Server) -> None:  # noqa: F811
    server.run(SESSIONS, SOURCE)
    first = take(server)
    connection = server.connect(database=SOURCE)
    for sql in ("CREATE TEMPORARY TABLE passing (id INT)", "INSERT INTO passing VALUES (1)"):
        connection.cursor().execute(sql)
    server.kill()
    server.start()
    server.run("SET GLOBAL binlog_format = MIXED, GLOBAL log_bin_trust_function_creators = 1")
    server.run("CREATE TABLE passing (id INT PRIMARY KEY); INSERT INTO passing VALUES (7)", SOURCE)
    server.run("INSERT INTO users SELECT id, id FROM passing; UPDATE passing SET id = 8", SOURCE)
    second = take(server)
    replayed(server, first, Stop(position=second.dump.position))
    assert different(server, second.dump) == []
