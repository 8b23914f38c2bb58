"""Open staging for a run, and remove it at the end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lifeboat.airflow.compat import AirflowSkipException
from lifeboat.airflow.operators.base import ALL, ApplicationOperator, chosen

if TYPE_CHECKING:
    from airflow.sdk import Context

    from lifeboat.settings.config import BackupKind
    from lifeboat.site import Site

KEPT_FOR_CLEARING = ("failed", "upstream_failed")


class PrepareStagingOperator(ApplicationOperator):
    """Decide whether the application is backed up in this run, and open its staging.

    Skips the application when the trigger form chose another, and when a backfilled run is not due: a database cannot
    be dumped as of last week, so a backfill takes one backup where the newest is older than the shortest interval of
    the application's schedule.

    :param kind: kind of the archives.
    """

    template_fields: Sequence[str] = (*ApplicationOperator.template_fields, "kind")

    def __init__(self, *, kind: BackupKind, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kind = kind

    def step(self, context: Context) -> str:
        """Skip, or sweep what earlier runs left and open staging; return the name of the machine that did."""
        from lifeboat.airflow.operators.archive import note_of
        from lifeboat.staging import machine

        site = self.site()
        note_of(context)  # before any work
        dag_id = site.settings.dag_of(self.application, self.kind)
        if self.application == next(iter(site.settings.backup_dags(self.kind)[dag_id])):
            self.tell_missing_alerts(site)
        self._check_choice(context, site)
        others = self.sweep(context, site)
        if context["dag_run"].run_type == "backfill":
            self._skip_unless_due(context, site, others)
        self.staging(context).create()
        return machine()

    def _check_choice(self, context: Context, site: Site) -> None:
        wanted = context["params"].get("application", ALL)
        if wanted not in (ALL, self.application):
            raise AirflowSkipException(f"The run was asked for {wanted} only.")
        databases, destinations = chosen(context, "databases"), chosen(context, "destinations")
        if wanted == ALL:
            # A name that some other application has is meant for that one; one that none has is a mistake.
            own = site.settings.application(self.application)
            of_own = [name for name in databases if own.database(name)]
            others = [
                name for name in databases if not any(app.database(name) for app in site.settings.applications.values())
            ]
            if databases and not of_own and not others:
                raise AirflowSkipException(f"The run was asked for {', '.join(databases)}, which is elsewhere.")
            databases = (*of_own, *others)
        site.settings.databases_of(self.application, databases)
        site.settings.destinations_of(self.application, destinations)

    def _skip_unless_due(self, context: Context, site: Site, others: list[str]) -> None:
        from lifeboat.catalog import archives
        from lifeboat.decide import cron, health
        from lifeboat.errors import StorageError

        if others:
            raise AirflowSkipException(f"No backup: run {others[0]} is taking one.")
        now = site.now()
        newest: list[Sequence[datetime]] = []
        for destination in site.destinations(self.application, chosen(context, "destinations")):
            try:
                found = archives.read(destination.list(f"{self.application}/")).of(self.application)
            except StorageError as error:
                self.log.warning("%s", error)
                continue
            newest.append(health.newest_times(found, now).get(self.kind, ()))
        ages = [now - times[0] for times in newest if times]
        interval, _ = cron.gaps(site.settings.cron_of(self.application, self.kind))
        if len(ages) == len(newest) > 0 and max(ages) < interval:
            raise AirflowSkipException(
                f"No backup: a backfill cannot back up the past, and the newest {self.kind} archive is only"
                f" {max(ages).total_seconds() / 3600:.1f} hours old."
            )


class RemoveStagingOperator(ApplicationOperator):
    """Remove the run's staging once everything that was staged is published.

    After a failure it stays, so that a failed step can be cleared alone; the next run of the DAG removes it.
    """

    def step(self, context: Context) -> None:
        """Remove it unless a task of the application failed."""
        run = context["dag_run"]
        states = context["ti"].get_task_states(
            dag_id=run.dag_id, run_ids=[run.run_id], task_group_id=self.task_group.group_id if self.task_group else None
        )
        failed = sorted(task for task, state in states.get(run.run_id, {}).items() if state in KEPT_FOR_CLEARING)
        staging = self.staging(context)
        if failed:
            self.log.warning("Keeping %s: clear %s to continue from here.", staging, ", ".join(failed))
        else:
            staging.remove()
