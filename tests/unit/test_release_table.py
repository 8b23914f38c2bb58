"""The table of releases is written from a run in which nothing failed."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tests.installed import tested_with

CASE = """<testcase name="works"><properties><property name="airflow" value="%s"/><property name="python" value="3.12"/>
<property name="day" value="2026-01-01"/></properties>%s</testcase>"""


def report(*cases: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<testsuites>{''.join(cases)}</testsuites>")


def test_the_table_has_a_row_for_each_release() -> None:
    rows = tested_with.table(report(CASE % ("3.2", ""), '<testcase name="another"/>', CASE % ("3.1", "")))
    assert rows == tested_with.HEAD + "| 3.1 | 3.12 | 2026-01-01 |\n| 3.2 | 3.12 | 2026-01-01 |\n"


@pytest.mark.parametrize("cases", [[], [CASE % ("3.1", ""), '<testcase name="other"><failure/></testcase>']])
def test_nothing_is_written_from_a_run_that_failed(cases: list[str]) -> None:
    with pytest.raises(ValueError, match=r"^other failed$|^no test recorded a release$"):
        tested_with.table(report(*cases))
