"""Binary-log positions in the text of a dump, and what makes them doubtful."""

from __future__ import annotations

from datetime import UTC, datetime

from lifeboat.databases import Dump, LogPosition, TableDigest
from lifeboat.databases.mysql import position as positions
from lifeboat.databases.mysql.digest import DumpParser
from lifeboat.databases.mysql.source import BinaryLog, Source, Table

LOG = BinaryLog(is_on=True, server="uid", server_id=7, tells_snapshot=True)


def test_a_table_that_came_meanwhile_makes_the_position_doubtful() -> None:
    source = Source("s", "9.7", (), (Table("old", "BASE TABLE", "InnoDB", None, "YES"),), (), (), ())
    finder = told(b"-- CHANGE MASTER TO MASTER_LOG_FILE='log.000001', MASTER_LOG_POS=4;\n")
    assert isinstance(positions.position_of(finder, source, ["old"]), LogPosition)
    assert positions.position_of(finder, source, ["new", "old"]) == "tables were created while the dump began: new"


def told(dump: bytes) -> positions.Finder:
    """Return what was found in a dump of MariaDB's client."""
    finder = positions.InSnapshot(LOG)
    parser = DumpParser(remark=finder.remark)
    parser.feed(dump)
    parser.finish()
    return finder


def test_only_comments_of_the_client_tell_a_position() -> None:
    lines = b"-- CHANGE MASTER TO MASTER_LOG_FILE='%b', MASTER_LOG_POS=%d;\n-- SET GLOBAL gtid_slave_pos='%b';\n"
    body = b"DELIMITER ;;\nCREATE PROCEDURE `p`()\nBEGIN\n" + lines % (b"evil", 1, b"9-9-9") + b"END ;;\nDELIMITER ;\n"
    assert told(body).found() == "the client wrote none into the dump"
    found = told(lines % (b"log.000007", 1234, b"0-1-5,1-1-6") + body).found()
    assert found == LogPosition("uid", 7, "log.000007", 1234, "0-1-5,1-1-6", "snapshot")
    assert str(found) == "log.000007:1234 (exact, by snapshot; GTID 0-1-5,1-1-6)"


def test_facts_of_older_dumps_have_no_position() -> None:
    table = TableDigest("t", 1, "none", "a", "b")
    names = ("server", "client", "character_set", "collation")
    dump = Dump("d", "mysql", *names, datetime.now(UTC), 1, "c", (table,), (), (), ())
    facts = {name: value for name, value in dump.to_json().items() if "position" not in name}
    assert Dump.from_json(facts) == dump
    assert (dump.position, dump.no_position) == (None, "")
