"""A server that stores names in lower case, as on Windows and Azure: names are asked for as people write them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from lifeboat.databases import Load, Target
from lifeboat.databases.mysql.engine import MySQL as Engine
from lifeboat.decide import comparison
from lifeboat.errors import SettingsError
from lifeboat.support import clock

from include.demo.stand_ins import MariaDB, MySQL
from tests.conftest import Configure
from tests.servers.test_restore import back_up, plan, restored

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.parametrize(
        "server",
        [
            pytest.param(MariaDB, id="mariadb"),
            pytest.param(MySQL, marks=pytest.mark.needs("mysql"), id="mysql"),
        ],
        indirect=True,
    ),
]

SHOP = """
CREATE TABLE Users (id INT PRIMARY KEY); INSERT INTO Users VALUES (1);
CREATE TABLE Orders (id INT PRIMARY KEY, u INT, FOREIGN KEY (u) REFERENCES Users (id));
INSERT INTO Orders VALUES (1, 1);
CREATE VIEW Seen AS SELECT * FROM Users; CREATE PROCEDURE P() SELECT * FROM Users;
CREATE TRIGGER T BEFORE INSERT ON Users FOR EACH ROW SET @a = 1;
"""


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB | MySQL]:
    with (
        request.param(tmp_path_factory.mktemp("lower"), "--lower-case-table-names=1") as found,
        pytest.MonkeyPatch.context() as patch,
    ):
        if found.path:
            patch.setenv("PATH", f"{found.path}:{os.environ['PATH']}")
        found.run("CREATE DATABASE Shop")
        found.run(SHOP, "Shop")
        yield found


def test_a_database_is_restored_by_the_name_that_people_use(server: MariaDB | MySQL) -> None:
    engine, chunks = Engine(server.server, server.connect, clock.now), list[bytes]()
    captured = engine.dump("Shop", (), chunks.append)
    assert (captured.database, captured.limits) == ("Shop", ())
    assert engine.databases().get("Shop")
    assert "Shop" in engine.databases()
    assert [table.name for table in engine.dump("Shop", ("Orders",), lambda chunk: None).tables] == ["users"]
    for name, there in (("Shop", True), ("Shop_Copy", False)):
        with engine.target(Target(name, "a key", captured, exists=there, in_place=there)) as place:
            engine.load(place.name, chunks, Load("Shop"))
            assert comparison.differences(captured, engine.read_back(place.name, ())) == []
    server.run("DROP DATABASE Shop_Copy")


def test_a_trigger_finds_its_table_on_a_server_that_keeps_case(
    server: MariaDB | MySQL, request: pytest.FixtureRequest
) -> None:
    """The dumped server prints the table's name as it was typed, which may not be how it stores that."""
    chunks: list[bytes] = []
    captured = Engine(server.server, server.connect, clock.now).dump("Shop", (), chunks.append)
    keeping = request.getfixturevalue("mysql" if isinstance(server, MySQL) else "mariadb")
    engine = Engine(keeping.server, keeping.connect, clock.now)
    keeping.run("DROP DATABASE IF EXISTS cased_copy")
    with engine.target(Target("cased_copy", "a key", captured)) as place:
        engine.load(place.name, chunks, Load("Shop"))
        assert comparison.differences(captured, engine.read_back(place.name, ())) == []
    keeping.run("DROP DATABASE cased_copy")


def test_a_table_is_restored_with_its_triggers_however_they_spell_it(server: MariaDB | MySQL) -> None:
    engine, chunks = Engine(server.server, server.connect, clock.now), list[bytes]()
    engine.dump("Shop", (), chunks.append)
    with engine.target(Target("Shop_Users", "a key")) as place:
        engine.load(place.name, chunks, Load("Shop", table="users"))
    assert server.run("SHOW TRIGGERS IN Shop_Users").startswith("T\tINSERT\tusers\t")
    server.run("DROP DATABASE Shop_Users")


def test_rows_that_the_archive_lacks_stay_however_their_table_is_spelled(
    server: MariaDB | MySQL, request: pytest.FixtureRequest
) -> None:
    keeping = request.getfixturevalue("mysql" if isinstance(server, MySQL) else "mariadb")
    keeping.run("DROP DATABASE IF EXISTS cased; CREATE DATABASE cased")
    keeping.run("CREATE TABLE Audit (id INT); CREATE TABLE Tmp_1 (id INT); CREATE TABLE Kept (id INT)", "cased")
    chunks: list[bytes] = []
    taking = Engine(keeping.server, keeping.connect, clock.now)
    assert taking.dump("cased", ("tmp_*",), len, without_rows=("a*",)).without_rows == ()
    captured = taking.dump("cased", ("T*",), chunks.append, without_rows=("A*",))
    assert (captured.excluded_tables, captured.excluded_rows) == (("Tmp_1",), ("Audit",))
    server.run("CREATE DATABASE Cased")
    server.run("CREATE TABLE Audit (id INT); INSERT INTO Audit VALUES (7); CREATE TABLE Tmp_1 (id INT)", "Cased")
    engine = Engine(server.server, server.connect, clock.now)
    assert engine.dump("Cased", ("T*",), len, without_rows=("AUD*",)).without_rows == ("tmp_1", "audit")
    with engine.target(Target("Cased", "a key", captured, exists=True, in_place=True)) as place:
        assert place.staying == {"Audit", "Tmp_1"}
        engine.load(place.name, chunks, Load("cased", staying=place.staying))
    assert server.run("SELECT * FROM Audit; SELECT count(*) FROM Kept", "Cased") == "7\n0\n"
    server.run("DROP DATABASE Cased")
    keeping.run("DROP DATABASE cased")


def test_a_drill_has_a_database_of_its_own(server: MariaDB | MySQL) -> None:
    engine, chunks = Engine(server.server, server.connect, clock.now), list[bytes]()
    captured = engine.dump("Shop", (), chunks.append)
    with engine.scratch("a key", captured, production=True) as place:
        engine.load(place, chunks, Load("Shop"))
        assert comparison.differences(captured, engine.read_back(place, ())) == []


def test_a_name_in_another_case_is_the_same_name(
    server: MariaDB | MySQL, project: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_DB", server.connection())
    project(
        destinations={"disk": {"type": "disk", "path": str(tmp_path / "disk")}},
        applications={"Shop": {"databases": [{"name": "Shop", "connection": "shop_db"}]}},
    )
    key = back_up().packed.key
    server.run("CREATE DATABASE other; CREATE TABLE other.t (a INT PRIMARY KEY)")
    for name in ("Other", "SHOP"):
        with pytest.raises(SettingsError, match=f"The server has a database '{name}' already"):
            plan(archive=key, into=name)
    server.run("DROP TABLE other.t")  # so that there is nothing to lose in it
    for made in (
        plan(archive=key, into="Other"),
        plan(archive=key, overwrite=("Shop",)),
        plan(archive=key, into="shop", overwrite=("shop",)),
    ):
        (done,) = restored(made)
        assert (done.compared, server.run(f"SELECT count(*) FROM {done.schema}.USERS").strip()) == (2, "1")
    server.run("DROP DATABASE other")


def test_what_becomes_of_names_is_told_when_a_dump_is_taken(server: MariaDB | MySQL, mariadb: MariaDB) -> None:
    mariadb.run("DROP DATABASE IF EXISTS cased; CREATE DATABASE cased")
    mariadb.run("CREATE TABLE Users (id INT); CREATE TABLE users (id INT); CREATE TABLE Skipped (id INT)", "cased")
    mariadb.run("CREATE VIEW Seen AS SELECT * FROM Users", "cased")
    taker = Engine(server.server, server.connect, clock.now)
    limits = (
        Engine(mariadb.server, mariadb.connect, clock.now, taker.taker)
        .dump("cased", ("Skipped",), lambda chunk: None)
        .limits
    )
    texts = {limit.name: limit.text for limit in limits}
    assert "table 'Users' takes the place of another" in texts["Users"]
    assert "stores names in lower case, so 'Seen', 'Users' would not come back" in texts["lower_case_table_names"]
    mariadb.run("DROP DATABASE cased")
