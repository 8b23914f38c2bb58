"""``make bench-airflow``: the Backups page, and a night of many applications, under Airflow."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.bench import night, page

with tempfile.TemporaryDirectory(prefix="lifeboat-bench-") as folder:
    for measured in (page, night):
        scratch = Path(folder) / measured.__name__
        scratch.mkdir()
        measured.main(scratch)
