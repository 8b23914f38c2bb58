"""
### Restore an application: its databases and its files

Manual only. **select** finds the archive and plans the restore, **verify** reads the whole archive before anything is
changed, **safety_backup** backs up the data that will be replaced (skipped if there is none), **restore_database**
loads each database and compares it with what was captured, **restore_files** restores the files, **after_restore** runs
the commands in the settings.

**Safe by default**: databases go into new schemas, files into a new directory next to the original. To replace the
application itself, type its name under *overwrite*: the old tree is renamed and kept next to the new one. *path*
restores a single file or folder.

On a shell, without a running Airflow: `lifeboat restore application APPLICATION`. docs/RECOVERY.md shows how to recover
a lost server step by step, also without Airflow and without Lifeboat.
"""

from __future__ import annotations

from functools import partial

from airflow.sdk import DAG
from lifeboat.airflow.alerts import RestoreReport
from lifeboat.airflow.failures import documented
from lifeboat.airflow.params import restore_params
from lifeboat.airflow.task_groups import compose, dag_options, queue_of_files, restore_steps
from lifeboat.settings import unreadable

settings = unreadable.read()

with DAG(
    dag_id="restore_application",
    description="Restore databases and files of an application, next to the existing ones or over them",
    schedule=None,
    doc_md=documented(
        __doc__, "select", "verify", "approve", "safety_backup", "restore_database", "restore_files", "after_restore"
    ),
    **dag_options("restore", "application", notice=RestoreReport(), queue=queue_of_files(settings)),
) as dag:
    compose(dag, settings, partial(restore_steps, files=True), partial(restore_params, files=True))
