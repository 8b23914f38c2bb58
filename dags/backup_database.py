"""
### Back up the databases of every application

Daily at 01:00. For each application: **dump** every database in one snapshot, pack the dumps into one encrypted
**archive**, **upload** it to every destination. An archive counts once its marker `<key>.json` is next to it.

**Manually**: *Trigger* opens a form: one application, some databases, some destinations, a note for the manifest.
On a worker's shell: `lifeboat backup database`. What is stored: `lifeboat list`.

**Backfills** do not create multiple backups: a run for a past date takes one only if the newest is older than a day.

**When it fails**, one Slack message and one email say which task and why. Archives published earlier are
unaffected, and partial uploads do not count as backups. Failed tasks are retried three times; then:
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from airflow.sdk import DAG
from lifeboat.airflow.failures import documented
from lifeboat.airflow.params import backup_params
from lifeboat.airflow.task_groups import backup_groups, backup_schedule, compose, dag_options
from lifeboat.settings import unreadable

settings = unreadable.read()

with DAG(
    dag_id="backup_database",
    description="Back up the databases of every application to every destination",
    schedule=backup_schedule(settings, "database", "0 1 * * *"),
    doc_md=documented(__doc__, "prepare_staging", "dump", "archive", "upload"),
    **dag_options("backup", "database"),
) as dag:
    compose(
        dag,
        settings,
        partial(backup_groups, kind="database", interval=timedelta(days=1)),
        partial(backup_params, kind="database"),
    )
