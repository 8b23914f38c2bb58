"""A server that stores names in lower case, as on Windows and Azure: names are asked for as people write them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lifeboat import comparison
from lifeboat.databases import Load, Target
from lifeboat.databases.mysql_engine import MySQL as Engine

from include.demo.stand_ins import MariaDB

pytestmark = pytest.mark.matrix

SHOP = """
CREATE TABLE Users (id INT PRIMARY KEY); INSERT INTO Users VALUES (1);
CREATE TABLE Orders (id INT PRIMARY KEY, u INT, FOREIGN KEY (u) REFERENCES Users (id));
INSERT INTO Orders VALUES (1, 1);
CREATE VIEW Seen AS SELECT * FROM Users; CREATE PROCEDURE P() SELECT * FROM Users;
CREATE TRIGGER T BEFORE INSERT ON Users FOR EACH ROW SET @a = 1;
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    with MariaDB(tmp_path_factory.mktemp("lower"), "--lower-case-table-names=1") as found:
        found.run("CREATE DATABASE Shop")
        found.run(SHOP, "Shop")
        yield found


@pytest.mark.parametrize("sequential", [False, True], ids=["several connections", "stock client"])
def test_a_database_is_restored_by_the_name_that_people_use(server: MariaDB, sequential: bool) -> None:
    engine, chunks = Engine(server.server, server.connect), list[bytes]()
    captured = engine.dump("Shop", (), chunks.append)
    assert (captured.database, captured.limits) == ("Shop", ())
    assert engine.databases().get("Shop")
    assert "Shop" in engine.databases()
    assert [table.name for table in engine.dump("Shop", ("Orders",), lambda chunk: None).tables] == ["users"]
    for name, there in (("Shop", True), ("Shop_Copy", False)):
        with engine.target(Target(name, "a key", captured, exists=there, in_place=there)) as place:
            engine.load(place.name, chunks, Load("Shop", in_place=there, sequential=sequential))
            assert comparison.differences(captured, engine.read_back(place.name, ())) == []
    server.run("DROP DATABASE Shop_Copy")


def test_a_drill_has_a_database_of_its_own(server: MariaDB) -> None:
    engine, chunks = Engine(server.server, server.connect), list[bytes]()
    captured = engine.dump("Shop", (), chunks.append)
    with engine.scratch("a key", captured, production=True) as place:
        engine.load(place, chunks, Load("Shop"))
        assert comparison.differences(captured, engine.read_back(place, ())) == []
