"""Take a backup for a change that waits for it, and prove that very archive."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from lifeboat.airflow.compat import user_of
from lifeboat.airflow.operators.base import ApplicationOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from lifeboat.actions.backup import Taken
    from lifeboat.airflow.operators.sealed import Sealed
    from lifeboat.settings.config import BackupKind
    from lifeboat.site import Site

TAKEN = "taken"  # XCom key under which the archive is left for its proof
MOST_TAKEN = 5  # backups, one after the other, while each finds its name taken
LONGEST_PAUSE = 4.0  # seconds before the next, after at least one
LONGEST_FRESH = timedelta(hours=24)  # a proof that is cleared alone later would be about an old archive


class TakeBackupOperator(ApplicationOperator):
    """Take a backup in one go, and publish it at every destination; each attempt takes another one.

    Archives of the same second have the same name, so a backup whose name is taken is repeated.

    :param kind: of the archive.
    """

    template_fields: Sequence[str] = (*ApplicationOperator.template_fields, "kind")

    def __init__(self, *, kind: BackupKind, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kind = kind

    def step(self, context: Context) -> str:
        """Take and publish the backup; return its key, and leave it, sealed, for the proof.

        :raises StorageError: a destination does not have it.
        """
        from lifeboat.airflow.operators.sealed import seal
        from lifeboat.errors import StorageError

        site, ti = self.site(), context["ti"]
        self.sweep(context, site)
        for left in reversed(range(MOST_TAKEN)):
            taken = self._take(context, site)
            if not taken.name_taken or not left:
                break
            self.log.info("Another backup of the same second is %s: taking a new one.", taken.packed.key)
            time.sleep(1 + random.uniform(0, LONGEST_PAUSE))  # noqa: S311  # the other may do the same
        if taken.failed:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in taken.failed.items())
            have_it = ", ".join(taken.published) or "no destination"
            raise StorageError(f"{taken.packed.key} is published at {have_it}, but must be everywhere. {reasons}")
        ti.xcom_push(key=TAKEN, value=seal(context, site, _what(self.application, context), taken.packed))
        return taken.packed.key

    def _take(self, context: Context, site: Site) -> Taken:
        from lifeboat.actions import backup, servers

        run, ti = context["dag_run"], context["ti"]
        note = f"before a change: {run.dag_id}, {run.run_id}"
        # Not by application: a run may wait for several backups of one at the same time.
        scratch = site.staging().of(run.dag_id, run.run_id, f"{ti.task_id} {ti.map_index}")
        scratch.create()
        try:
            wanted = servers.wanted(site, self.application)
            return backup.take(site, self.application, self.kind, wanted.databases, (), note, scratch, wanted.listing)
        finally:
            scratch.remove()


class ProveBackupOperator(ApplicationOperator):
    """Drill the archive that `TakeBackupOperator` has just published, at every destination.

    :param archive: what it left, sealed.
    """

    template_fields: Sequence[str] = (*ApplicationOperator.template_fields, "archive")

    def __init__(self, *, archive: Sealed, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.archive = archive

    def step(self, context: Context) -> str:
        """Restore to scratch, compare and sign proofs; return the key."""
        from lifeboat.actions import drill
        from lifeboat.actions.backup import PackedArchive
        from lifeboat.airflow.operators.sealed import unseal

        site, run = self.site(), context["dag_run"]
        what = _what(self.application, context)
        packed = unseal(context, site, what, self.archive, PackedArchive, LONGEST_FRESH)
        by = user_of(run) or f"{run.dag_id} ({run.run_type})"
        for name in site.settings.destinations_of(self.application):
            (destination,) = site.destinations(self.application, (name,), deleting=True)
            drill.rehearse(site, self.application, destination, packed.key, by, site.now())
        return packed.key


def _what(application: str, context: Context) -> str:
    ti = context["ti"]
    group = ti.task_id.rpartition(".")[0]
    index = f"[{ti.map_index}]" if ti.map_index is not None and ti.map_index >= 0 else ""
    return f"fresh archive of {application} in {group}{index}"
