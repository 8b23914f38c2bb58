"""``make bench``: Lifeboat beside its peers, on this machine, in one run; writes docs/BENCH.md and README's summary."""

from __future__ import annotations

import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from lifeboat.archive import encryption

from include.demo.stand_ins import MariaDB, MySQL
from tests.bench import database, listing, parsing, postgresql, replaying, report, restore, start, trees
from tests.bench.contest import Report

MariaDB.unsynced = MySQL.unsynced = ()  # what a restore takes counts its syncs
found, began, loads = Report(), time.monotonic(), []
with tempfile.TemporaryDirectory(prefix="lifeboat-bench-") as folder:
    for contest in (trees, database, restore, replaying, postgresql, start, listing, parsing):
        loads.append(os.getloadavg()[0])
        scratch = Path(folder) / contest.__name__
        scratch.mkdir()
        found |= contest.main(scratch)
facts = {
    "when": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    "minutes": f"{(time.monotonic() - began) / 60:.0f}",
    "machine": report.machine(),
    "load": f"the load between the contests was {min(loads):.0f} to {max(loads):.0f}, some of it their own",
    "derives": encryption.derives_by(),
}
report.PAGE.write_text(report.page(found, facts), encoding="utf-8")
readme = report.README.read_text(encoding="utf-8")
report.README.write_text(report.in_readme(readme, report.summary(found)), encoding="utf-8")
