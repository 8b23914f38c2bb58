"""
### Watch the settings

Every quarter of an hour **settings** reads `backup.yaml`. A file that cannot be read stops every other DAG: each keeps
its schedule, and its runs fail with the reason. This DAG reports it once: later runs are skipped until the file is
repaired, or wrong in another way.

Alerts go to the channels that can still be read from the file, otherwise to those used last.

**When it fails**, the reason names the file, the key and what to do. On a worker's shell: `lifeboat check`.
"""

from __future__ import annotations

from airflow.sdk import DAG
from lifeboat.airflow.compat import CronTriggerTimetable
from lifeboat.airflow.failures import documented
from lifeboat.airflow.task_groups import dag_options, watch_settings

with DAG(
    dag_id="settings_watch",
    description="Check that the settings can be read",
    schedule=CronTriggerTimetable("*/15 * * * *", timezone="UTC"),
    doc_md=documented(__doc__, "settings"),
    **dag_options("settings"),
):
    watch_settings()
