"""``make bench``: Lifeboat beside its peers, on this machine, in one run."""

from __future__ import annotations

import tempfile
from pathlib import Path

from include.demo.stand_ins import MariaDB, MySQL
from tests.bench import database, listing, night, page, parsing, postgresql, restore, trees

MariaDB.unsynced = MySQL.unsynced = ()  # what a restore takes counts its syncs
with tempfile.TemporaryDirectory(prefix="lifeboat-bench-") as folder:
    for contest in (trees, database, restore, postgresql, listing, parsing, page, night):
        scratch = Path(folder) / contest.__name__
        scratch.mkdir()
        contest.main(scratch)
