"""
### Restore an application: its databases and its files

By hand. **select** finds the archive and decides where everything goes, **verify** reads all of it before anything is
changed, **safety_backup** backs up what will be replaced (skipped where nothing is), **restore_database** loads each
database and compares it with what was captured, **restore_files** brings the files back, **after_restore** runs the
commands that the settings name.

**Safe by default**: databases go into new schemas, files into a new directory beside the original. To replace the
application itself, type its name under *overwrite*: the old tree is swapped out by rename and kept beside the new one.
*path* brings a single file or folder back.

On a shell, without a running Airflow: `lifeboat restore application APPLICATION`. A lost server, step by step, also
without Airflow and without Lifeboat: docs/RECOVERY.md.

| failed | usually | what to do |
|---|---|---|
| `select` | no archive fits, or something exists that was not typed | read the reason, trigger again |
| `verify` | wrong archive password, damaged archive | nothing was changed; take another destination or archive |
| `approve` | nobody else approved | trigger again |
| any: "not signed" | somebody changed an XCom or a state | see the audit log, trigger again |
| `safety_backup` | what is there cannot be backed up | nothing was replaced; restore beside it instead |
| `restore_database` | rights, space, another server | see the log; clear the task; if approved, trigger it again |
| `restore_files` | space, rights | what was there is untouched; fix it; clear the task |
| `after_restore` | a command failed | everything is restored; run the commands by hand, or clear the task |
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
    description="Databases and files of an application, beside the old ones or over them",
    schedule=None,
    doc_md=__doc__,
    **dag_options("restore", "application", notice=RestoreReport(), queue=queue_of_files(settings)),
) as dag:
    compose(dag, settings, partial(restore_steps, files=True), partial(restore_params, files=True))
