"""
### Restore databases from an archive

Manual only. **select** finds the archive and plans the restore, **verify** reads the whole archive before anything is
changed, **safety_backup** backs up the data that will be replaced (skipped if there is none), **restore** loads each
database over several connections and compares it with what was captured.

**Safe by default**: each database goes into a new schema, `<database>_restored_<time>`. To replace a database, type its
name under *overwrite*. A single *table* always goes into a new schema; docs/RECOVERY.md shows how to take rows from it.

**To a moment**: *until* replays binary logs onto the newest backup from before it, if the application ships its logs
(docs/POINT_IN_TIME.md). All logs are verified first, and replayed after the comparison. If databases were
replaced so, **back_up** starts a new backup of them.

On a shell, without a running Airflow: `lifeboat restore database APPLICATION`. docs/RECOVERY.md shows how to
restore with only the archive, 7-Zip and the stock client.

A schema left by an interrupted restore has a view `_lifeboat_restore_unfinished`; backups of it are refused.
"""

from __future__ import annotations

from functools import partial

from airflow.sdk import DAG
from lifeboat.airflow.alerts import RestoreReport
from lifeboat.airflow.failures import documented
from lifeboat.airflow.params import restore_params
from lifeboat.airflow.task_groups import compose, dag_options, restore_steps
from lifeboat.settings import unreadable

settings = unreadable.read()

with DAG(
    dag_id="restore_database",
    description="Restore databases of an application into new schemas, or over the existing ones",
    schedule=None,
    doc_md=documented(__doc__, "select", "verify", "approve", "safety_backup", "restore", "back_up"),
    **dag_options("restore", "database", notice=RestoreReport()),
) as dag:
    compose(dag, settings, partial(restore_steps, files=False), partial(restore_params, files=False))
