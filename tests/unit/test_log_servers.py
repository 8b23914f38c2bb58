"""What servers of any release say of their binary logs, by the names that they have for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from lifeboat.databases.mysql.dump import Session
from lifeboat.databases.mysql.logs import read
from MySQLdb import ProgrammingError

MYSQL = {
    "log_bin": "ON",
    "server_uuid": "here",
    "server_id": "7",
    "binlog_format": "ROW",
    "binlog_row_image": "FULL",
    "gtid_mode": "ON",
}
MARIADB = {name: value for name, value in MYSQL.items() if name not in ("gtid_mode", "server_uuid")}
MARIADB |= {"server_uid": "here"}
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


class Answers(Session):
    """A server that knows only some statements."""

    def __init__(self, version: str, variables: dict[str, str], status: str, row: tuple[object, ...]) -> None:
        self._rows: dict[str, list[tuple[Any, ...]]] = {
            "SELECT UTC_TIMESTAMP(6), VERSION()": [(NOW.replace(tzinfo=None), version)],
            "SHOW GLOBAL VARIABLES": list(variables.items()),
            "SHOW BINARY LOGS": [("log.000001", 900)],
            status: [row],
        }

    def query(self, sql: str | bytes, *values: object) -> list[tuple[Any, ...]]:
        if str(sql) not in self._rows:
            raise ProgrammingError(1064, "You have an error in your SQL syntax")
        return self._rows[str(sql)]


@pytest.mark.parametrize(
    ("version", "variables", "status", "keeps"),
    [
        ("9.7.4", {"binlog_expire_logs_seconds": "60", "binlog_expire_logs_auto_purge": "OFF"}, "BINARY LOG", 0),
        ("8.4.3", {"binlog_expire_logs_seconds": "60", "binlog_expire_logs_auto_purge": "ON"}, "BINARY LOG", 60),
        ("8.0.28", {"binlog_expire_logs_seconds": "60", "expire_logs_days": "0"}, "MASTER", 60),
        ("8.0.28", {"binlog_expire_logs_seconds": "0", "expire_logs_days": "2"}, "MASTER", 172800),
        ("10.5.8-MariaDB", {"expire_logs_days": "2"}, "MASTER", 172800),
        ("11.8.1-MariaDB", {"expire_logs_days": "0.5", "binlog_expire_logs_seconds": "43200"}, "MASTER", 43200),
    ],
)
def test_every_release_says_where_its_log_ends_and_how_long_it_is_kept(
    version: str, variables: dict[str, str], status: str, keeps: int
) -> None:
    is_mariadb = "MariaDB" in version
    row = ("log.000001", 900, "", "") if is_mariadb else ("log.000001", 900, "", "", "here:1-5")
    own = MARIADB if is_mariadb else MYSQL
    found = read(Answers(version, own | variables, f"SHOW {status} STATUS", row))
    assert (found.is_mariadb, found.uid, found.file, found.position) == (is_mariadb, "here", "log.000001", 900)
    assert (found.keeps, found.now) == (keeps, NOW)
