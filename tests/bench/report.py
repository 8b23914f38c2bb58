"""The page that the benchmarks write, and the summary of it in the README."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Template

from tests.bench import database, postgresql, restore, trees
from tests.bench.contest import Report, Result
from tests.conftest import PROJECT

PAGE = PROJECT / "docs" / "BENCH.md"
README = PROJECT / "README.md"
TEMPLATE = Path(__file__).with_name("template.md")
BEGIN, END = "<!-- written by make bench -->\n", "<!-- end -->\n"

DUMPS = {"zstd and openssl": database.ZSTD, "borg": database.BORG, "restic": database.RESTIC}
FILES = {"restic": "restic", "borg": "borg"}
OUT = {"restic": "restic restore, then sync", "borg": "borg extract, then sync"}
LOADS = {"myloader": restore.MYLOADER}
# What the summary shows, each line with its contest, Lifeboat's name in it, and the peers there.
SUMMARY: tuple[tuple[str, str, str, Mapping[str, str]], ...] = (
    ("backup of MariaDB, times the bare dump", "backup MariaDB", database.TASKS, DUMPS),
    ("backup of MySQL, times the bare dump", "backup MySQL", database.TASKS, DUMPS),
    ("backup of PostgreSQL, times `pg_dump`", "backup PostgreSQL 1", postgresql.TASKS, {}),
    ("restore to MariaDB, times `mariadb <`", "restore MariaDB", restore.LIFEBOAT, LOADS),
    ("restore to MySQL, times `mysql <`", "restore MySQL", restore.LIFEBOAT, {}),
    ("many small files packed, times 7-Zip", "pack small_files", trees.PACKED, FILES),
    ("many small files extracted, times 7-Zip", "extract small_files", trees.EXTRACTED, OUT),
    ("few large files packed, times 7-Zip", "pack large_files", trees.PACKED, FILES),
    ("few large files extracted, times 7-Zip", "extract large_files", trees.EXTRACTED, OUT),
)


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown, with its numbers to the right."""
    first, *others = headings
    lines = [(first, *others), ("---", *("---:" for _ in others)), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("| --- |", "|---|").replace(" ---: ", "---:") for line in lines)


def contest(held: Result) -> str:
    """Return the table of a contest."""
    rounds = len(held.seconds[held.base])
    return table((f"{held.title}; {rounds} rounds", f"times {held.base}", "seconds", "CPU seconds"), held.rows())


def summary(report: Report) -> str:
    """Return the ratios that the README shows."""
    rows = []
    for what, name, own, peers in SUMMARY:
        held = report.contests[name]
        others = ", ".join(f"{peer} {held.ratio(contestant):.1f}" for peer, contestant in peers.items())
        rows.append((what, f"**{held.ratio(own):.1f}**", others))
    return table(("", "Lifeboat", "others"), rows)


def page(report: Report, facts: Mapping[str, str]) -> str:
    """Return the page.

    :param facts: of the run, for the template.
    """
    contests = {name.replace(" ", "_"): contest(held) for name, held in report.contests.items()}
    peaks = table(("", "MiB"), [(what, f"{peak:.0f}") for what, peak in report.peaks.items()])
    short = table(("", "CPU seconds"), [(what, f"{seconds:.2f}") for what, seconds in report.short.items()])
    text = Template(TEMPLATE.read_text(encoding="utf-8"))
    return text.substitute(contests, peaks=peaks, short=short, summary=summary(report), **facts)


def in_readme(text: str, new: str) -> str:
    """Put a summary between the marks of the README."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{new}\n\n{END}{after}"


def machine() -> str:
    """Return what this machine is."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = next(iter(models), os.uname().machine)
    return f"{os.cpu_count()} cores, {model}"
