"""
### Restore databases from an archive

By hand. **select** finds the archive and decides where everything goes, **verify** reads all of it before anything is
changed, **safety_backup** backs up what will be replaced (skipped where nothing is), **restore** loads each database by
several connections and compares it with what was captured.

**Safe by default**: each database goes into a new schema, `<database>_restored_<time>`. To replace a database, type its
name under *overwrite*. A single *table* always goes into a new schema; docs/RECOVERY.md shows how to take rows from it.

On a shell, without a running Airflow: `lifeboat restore database APPLICATION`. With nothing but the archive, 7-Zip and
the stock client: docs/RECOVERY.md.

| failed | usually | what to do |
|---|---|---|
| `select` | no archive fits, or a schema exists that was not typed | read the reason, trigger again |
| `verify` | wrong archive password, damaged archive | nothing was changed; take another destination or archive |
| `approve` | nobody else approved | trigger again |
| any: "not signed" | somebody changed an XCom or a state | see the audit log, trigger again |
| `safety_backup` | what is there cannot be dumped | nothing was replaced; restore into a new schema instead |
| `restore` | rights, space, another server | see the log; clear the task; if approved, trigger it again |

A schema that a restore left half-way holds a view `_lifeboat_restore_unfinished`; backups of it are refused.
"""

from __future__ import annotations

from functools import partial

from airflow.sdk import DAG
from lifeboat import unreadable
from lifeboat.alerts import RestoreReport
from lifeboat.params import restore_params
from lifeboat.pipelines import compose, dag_options, restore_steps

settings = unreadable.read()

with DAG(
    dag_id="restore_database",
    description="Databases of an application, into new schemas or over the old ones",
    schedule=None,
    doc_md=__doc__,
    **dag_options("restore", "database", notice=RestoreReport()),
) as dag:
    compose(dag, settings, partial(restore_steps, files=False), partial(restore_params, files=False))
