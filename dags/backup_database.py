"""
### Back up the databases of every application

Daily at 01:00, or as `schedules` says in the settings. An application with its own schedule has its own DAG. For each
application: **list_databases** asks a server that is backed up as a whole, **dump** every database in one snapshot,
pack the dumps into one encrypted **archive**, **upload** it to every destination. An archive counts once its marker
`<key>.json` is next to it.

**Manually**: *Trigger* opens a form: one application, some databases, some destinations, a note for the manifest.
On a worker's shell: `lifeboat backup database`. What is stored: `lifeboat list`.

**Backfills** do not create multiple backups: a run for a past date takes one only if the newest is older than
a day, or than the shortest interval of its schedule.

**When it fails**, one Slack message and one email say which task and why. Archives published earlier are
unaffected, and partial uploads do not count as backups. Failed tasks are retried three times; then:
"""

from __future__ import annotations

from functools import partial

from airflow.sdk import DAG
from lifeboat.airflow.failures import documented
from lifeboat.airflow.params import backup_params
from lifeboat.airflow.task_groups import backup_dags, backup_groups, compose, dag_options
from lifeboat.settings import unreadable

settings = unreadable.read()

for one in backup_dags(settings, "database"):
    with DAG(
        dag_id=one.dag_id,
        description=f"Back up the databases of {one.whose} to every destination",
        schedule=one.schedule,
        doc_md=documented(__doc__, "prepare_staging", "list_databases", "dump", "archive", "upload"),
        **dag_options("backup", "database", team=one.team),
    ) as dag:
        compose(
            dag,
            settings,
            partial(backup_groups, kind="database", applications=one.applications),
            partial(backup_params, applications=one.applications),
        )
