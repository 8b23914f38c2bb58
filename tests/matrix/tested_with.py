"""Write README's table of servers and clients from what `make matrix` has run: python -m tests.matrix.tested_with FILE

The file is pytest's report in JUnit's format; tests record their servers and clients in it as properties.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- written by make matrix -->\n", "<!-- end -->\n"
HEAD = "| server | dumped by | restored to |\n|---|---|---|\n"

Run = tuple[str, str, str]  # server, client, and the server that was restored to


def runs(report: ElementTree.Element) -> tuple[set[Run], set[Run]]:
    """Return the pairs of which tests passed, and those of which some failed."""
    passed: set[Run] = set()
    failed: set[Run] = set()
    for case in report.iter("testcase"):
        said = {found.get("name", ""): found.get("value", "") for found in case.iter("property")}
        if "server" in said:
            broken = case.find("failure") is not None or case.find("error") is not None
            run = (said["server"], said["client"], said.get("restored to", said["server"]))
            (failed if broken else passed).add(run)
    return passed, failed


def table(passed: Iterable[Run]) -> str:
    """Return the table in Markdown."""
    return HEAD + "".join(f"| {' | '.join(run)} |\n" for run in sorted(passed))


def within(text: str, new: str) -> str:
    """Put a table between the marks of a text."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n" + new + "\n" + END + after


def rows(text: str) -> Iterable[Run]:
    """Yield the rows that a text has between its marks."""
    _, _, rest = text.partition(BEGIN)
    for line in rest.partition(END)[0].splitlines()[3:]:
        if line.startswith("|"):
            server, client, restored = (cell.strip() for cell in line.strip("|").split("|"))
            yield server, client, restored


def main() -> None:
    """Write the table, unless something failed."""
    passed, failed = runs(ElementTree.parse(sys.argv[1]).getroot())
    if failed or not passed:
        what = ", ".join(" / ".join(run) for run in sorted(failed)) or "everything: no test recorded a server"
        sys.exit(f"README.md keeps its table, for this failed: {what}.")
    README.write_text(within(README.read_text(encoding="utf-8"), table(passed)), encoding="utf-8")


if __name__ == "__main__":
    main()
