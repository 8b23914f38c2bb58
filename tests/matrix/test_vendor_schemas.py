"""The schemas of the vendors' own tests, dumped, restored and compared, each twice: by Lifeboat, and independently."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from include.demo.stand_ins import MariaDB118, MySQL
from tests.matrix import vendor

SECONDS = 1200  # for each vendor; what is not reached by then is not examined


@pytest.mark.matrix
@pytest.mark.timeout(SECONDS * 2)
@pytest.mark.parametrize(
    ("name", "server"),
    [
        pytest.param("mysql", MySQL, marks=pytest.mark.needs("mysql"), id="mysql"),
        pytest.param("mariadb", MariaDB118, marks=pytest.mark.needs("mariadb_118"), id="mariadb"),
    ],
)
def test_nothing_differs_in_silence(
    name: str, server: type[MySQL] | type[MariaDB118], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts: Counter[str] = Counter()
    failures = []
    deadline = time.monotonic() + SECONDS
    with server(tmp_path, *vendor.OPTIONS) as started:
        vendor.own_clients(started, monkeypatch.setenv)
        for outcome in vendor.examine_all(name, started, until=deadline):
            verdicts[outcome.verdict] += 1
            if outcome.verdict == "failed":
                failures.append(str(outcome))
    print(f"\n{name}: {dict(verdicts)} of {len(vendor.files(name))} schemas")  # noqa: T201
    assert verdicts.total() > 0
    assert not failures, "\n".join(failures)


def test_test_files_are_read_as_statements() -> None:
    text = b"""
# a comment
--source include/x.inc
let $a= 1;
CREATE TABLE t (a INT);
if ($a)
{
  INSERT INTO t VALUES (';');
}
eval SELECT $a;
--error 1064
SELECT 'it''s; one' FROM t;
delimiter |;
CREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END|
delimiter ;|
perl;
print "no; statement\\n";
EOF
--let $b = 2
SELECT 2
"""
    assert list(vendor.statements(text)) == [
        b"CREATE TABLE t (a INT)",
        b"INSERT INTO t VALUES (';')",
        b"SELECT 'it''s; one' FROM t",
        b"CREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END",
        b"SELECT 2",
    ]
