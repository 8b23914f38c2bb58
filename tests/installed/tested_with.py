"""Write INSTALL's table of releases from what `make matrix` has run: python -m tests.installed.tested_with FILE

The file is pytest's report in JUnit's format; tests record the release, the Python and the day in it as properties.
"""

from __future__ import annotations

import sys
from xml.etree import ElementTree

from tests.conftest import PROJECT
from tests.matrix.tested_with import within

INSTALL = PROJECT / "docs" / "INSTALL.md"
HEAD = "| Airflow | Python | with the packages of |\n|---|---|---|\n"


def table(report: ElementTree.Element) -> str:
    """Return the table in Markdown.

    :raises ValueError: something failed, or nothing ran.
    """
    rows = []
    for case in report.iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            raise ValueError(f"{case.get('name')} failed")
        said = {found.get("name"): found.get("value") for found in case.iter("property")}
        if "airflow" in said:
            rows.append(f"| {said['airflow']} | {said['python']} | {said['day']} |\n")
    if not rows:
        raise ValueError("no test recorded a release")
    return HEAD + "".join(sorted(rows))


def main() -> None:
    """Write the table, unless something failed."""
    try:
        new = table(ElementTree.parse(sys.argv[1]).getroot())
    except ValueError as error:
        sys.exit(f"{INSTALL.name} keeps its table: {error}.")
    INSTALL.write_text(within(INSTALL.read_text(encoding="utf-8"), new), encoding="utf-8")


if __name__ == "__main__":
    main()
