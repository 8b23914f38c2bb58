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

| failed | usually | what to do |
|---|---|---|
| `select` | no archive fits, or something already exists and was not confirmed | read the reason, trigger again |
| `verify` | wrong archive password, damaged archive | nothing was changed; use another destination or archive |
| `approve` | nobody else approved | trigger again |
| any: "not signed" | somebody changed an XCom or a state | see the audit log, trigger again |
| `safety_backup` | the existing data cannot be backed up | nothing was replaced; restore next to it instead |
| `restore_database` | privileges, space, another server | see the log; clear the task; if approved, trigger it again |
| `restore_files` | space, permissions | existing files are unchanged; fix it; clear the task |
| `after_restore` | a command failed | everything is restored; run the commands manually, or clear the task |
"""

from __future__ import annotations

from functools import partial

from airflow.sdk import DAG
from lifeboat.airflow.alerts import RestoreReport
from lifeboat.airflow.params import restore_params
from lifeboat.airflow.task_groups import compose, dag_options, queue_of_files, restore_steps
from lifeboat.settings import unreadable

settings = unreadable.read()

with DAG(
    dag_id="restore_application",
    description="Restore databases and files of an application, next to the existing ones or over them",
    schedule=None,
    doc_md=__doc__,
    **dag_options("restore", "application", notice=RestoreReport(), queue=queue_of_files(settings)),
) as dag:
    compose(dag, settings, partial(restore_steps, files=True), partial(restore_params, files=True))
