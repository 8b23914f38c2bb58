"""
### Watch the settings

Every quarter of an hour **settings** reads `backup.yaml`. A file that cannot be read stops every other DAG: each keeps
its schedule, and its runs fail with the reason. This one tells of it at once, and once: later runs are skipped until
the file is repaired, or wrong in another way.

Alerts go to the channels that the file still names, or else to those that were used last.

**When it fails**, the reason names the file, the key and what to do. Repair the file; every DAG has its tasks again
within a minute. On a worker's shell: `lifeboat check`.
"""

from __future__ import annotations

from airflow.sdk import DAG
from lifeboat.airflow.compat import CronTriggerTimetable
from lifeboat.airflow.task_groups import dag_options, watch_settings

with DAG(
    dag_id="settings_watch",
    description="Whether the settings can be read",
    schedule=CronTriggerTimetable("*/15 * * * *", timezone="UTC"),
    doc_md=__doc__,
    **dag_options("settings"),
):
    watch_settings()
