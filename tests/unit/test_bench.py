"""The page that the benchmarks write, and what the README says of it."""

from __future__ import annotations

from tests.bench import report
from tests.bench.contest import Result


def test_the_readme_says_what_the_benchmarks_page_says() -> None:
    _, _, rest = report.README.read_text(encoding="utf-8").partition(report.BEGIN)
    table, _, _ = rest.partition(report.END)
    assert "| **" in table
    assert table in report.PAGE.read_text(encoding="utf-8")


def test_ratios_are_taken_within_a_round() -> None:
    held = Result("a contest", "a", {"a": [1, 10, 4], "b": [2, 30, 4]}, {"a": [1, 1, 1], "b": [3, 3, 3]})
    assert held.ratio("b") == 2
    assert list(held.rows()) == [("a", "1.00", "4.0", "1.0"), ("b", "2.00", "4.0", "3.0")]


def test_a_contest_is_a_table_in_markdown() -> None:
    held = Result("a contest", "a", {"a": [2.0], "Lifeboat": [1.0]}, {"a": [2.0], "Lifeboat": [1.5]})
    assert report.contest(held).splitlines() == [
        "| a contest; 1 rounds | times a | seconds | CPU seconds |",
        "|---|---:|---:|---:|",
        "| **Lifeboat** | 0.50 | 1.0 | 1.5 |",
        "| a | 1.00 | 2.0 | 2.0 |",
    ]
