"""
### Back up every application whole: its databases and its files

On Sundays at 02:00. For each application with `files` in the settings: **dump** every database in one snapshot, pack
the dumps and the files into one encrypted **archive**, **upload** it to every destination. An archive counts once its
marker `<key>.json` stands beside it.

**By hand**: *Trigger* opens a form: one application, some databases, some destinations, a note for the manifest.
On a worker's shell: `lifeboat backup application`. What would go in, and why the rest would not:
`lifeboat plan-files APPLICATION`.

**Files that change** while they are read, or vanish, do not cost the backup: they are read once more, then named in the
log of `archive` and in the manifest. `files.on_error: fail` makes them a failure.

**When it fails**, one Slack message and one email say which task and why. Archives that were published before stay
whole, and nothing half-done counts. Failed tasks try again three times by themselves; then:

| failed | usually | what to do |
|---|---|---|
| `prepare_staging` | settings, or staging cannot be written | fix `backup.yaml`; check the disk; clear the task |
| `dump` | login, grants, server down, table altered meanwhile | the log ends with a hint; clear the task |
| `archive` | root missing, a pattern that matches nothing, staging full | the log says which; fix it; clear the task |
| any: "is not on …" | workers that do not share staging | README, "Several workers" |
| `upload` | destination down or full, credentials | clear **only that task**: it stores again without a new dump |

**Backfills** never travel in time: a run of a past date takes a backup only if the newest is older than a week.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from airflow.sdk import DAG
from lifeboat.airflow.params import backup_params
from lifeboat.airflow.task_groups import backup_groups, backup_schedule, compose, dag_options
from lifeboat.settings import unreadable

settings = unreadable.read()

with DAG(
    dag_id="backup_application",
    description="Databases and files of every application, to every destination",
    schedule=backup_schedule(settings, "application", "0 2 * * 0"),
    doc_md=__doc__,
    **dag_options("backup", "application"),
) as dag:
    compose(
        dag,
        settings,
        partial(backup_groups, kind="application", interval=timedelta(days=7)),
        partial(backup_params, kind="application"),
    )
