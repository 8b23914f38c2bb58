"""README's table of servers and clients: what the suite runs, and nothing else."""

from __future__ import annotations

import re
from collections import Counter
from xml.etree import ElementTree

from tests.matrix import tested_with
from tests.matrix.subjects import ACROSS, FURTHER, ORDINARY, Pair

KINDS = {
    "mysql": "MySQL",
    "mariadb": "MariaDB",
    "mariadb_118": "MariaDB",
    "postgresql": "PostgreSQL",
    "postgresql_17": "PostgreSQL",
    "postgresql_18": "PostgreSQL",
    "sqlite": "SQLite",
}
CLIENTS = {"MySQL": "mysqldump", "MariaDB": "mariadb-dump", "PostgreSQL": "pg_dump", "SQLite": "Lifeboat"}
REPORT = """<testsuites><testsuite>
<testcase name="a"><properties><property name="server" value="S 1"/><property name="client" value="c 2"/></properties>
</testcase>
<testcase name="b"><properties><property name="server" value="S 1"/><property name="client" value="c 2"/></properties>
</testcase>
<testcase name="c"><properties><property name="server" value="S 1"/><property name="client" value="c 2"/>
<property name="restored to" value="T 3"/></properties>%s</testcase>
<testcase name="d"/>
</testsuite></testsuites>"""


def kinds(server: str, client: str, restored: str) -> tuple[str, str, str]:
    """Return a row without versions, which change with Debian's suites."""
    return tuple(re.sub(r" [0-9.]+$", "", name) for name in (server, client, restored))  # type: ignore[return-value]


def row_of(pair: Pair, restored: str = "") -> tuple[str, str, str]:
    server = KINDS[pair.server]
    return server, CLIENTS[KINDS[pair.client or pair.server]], restored or server


def test_readme_names_the_pairs_of_the_suite() -> None:
    found = Counter(kinds(*run) for run in tested_with.rows(tested_with.README.read_text(encoding="utf-8")))
    own = [row_of(pair) for pair in (*ORDINARY, *FURTHER)]
    assert found == Counter([*own, *(row_of(Pair(pair.server), KINDS[pair.client]) for pair in ACROSS)])


def test_tests_that_passed_become_the_table() -> None:
    passed, failed = tested_with.runs(ElementTree.fromstring(REPORT % ""))
    assert not failed
    text = tested_with.within(f"before\n{tested_with.BEGIN}old\n{tested_with.END}after\n", tested_with.table(passed))
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| S 1 | c 2 | S 1 |\n| S 1 | c 2 | T 3 |\n" in text
    assert list(tested_with.rows(text)) == [("S 1", "c 2", "S 1"), ("S 1", "c 2", "T 3")]


def test_what_failed_is_no_row() -> None:
    passed, failed = tested_with.runs(ElementTree.fromstring(REPORT % "<failure/>"))
    assert passed == {("S 1", "c 2", "S 1")}
    assert failed == {("S 1", "c 2", "T 3")}
