"""Ship the binary logs of one application."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from lifeboat.airflow.compat import AirflowSkipException, trigger
from lifeboat.airflow.operators.base import ALL, ApplicationOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from lifeboat.actions.logs import Shipped
    from lifeboat.errors import LifeboatError
    from lifeboat.site import Site

SINCE = "since"  # XCom key: since when logs are not shipped; empty where they are
PATIENCE = timedelta(minutes=20)  # where the settings name no limit
TOLD = "told"  # XCom key: the same, once an alert reported it


class ShipLogsOperator(ApplicationOperator):
    """Ship what the servers of an application wrote to their binary logs.

    What may pass by itself fails the task only once it has lasted, and only once: later runs are skipped until logs
    are shipped again.
    """

    def step(self, context: Context) -> None:
        """Ship."""
        from lifeboat.errors import LifeboatError, UnhealthyError

        wanted = context["params"].get("application", ALL)
        if wanted not in (ALL, self.application):
            raise AirflowSkipException(f"The run was asked for {wanted} only.")
        site = self.site()
        try:
            shipped = self._ship(context, site)
        except LifeboatError as error:
            self._tell_once(context, site, error, lasting=error.lasting)
            return
        self.log.info("%s: %s.", self.application, shipped)
        if shipped.new_chain:
            text = f"{self.application}: a new chain of binary logs begins: {shipped.new_chain}."
            raise UnhealthyError(f"{text} No moment between the chains can be reached. {self._back_up(context, site)}")
        if shipped.failed:
            reasons = "\n".join(f"{name}: {reason}" for name, reason in shipped.failed.items())
            self._tell_once(context, site, UnhealthyError(f"Binary logs are not published everywhere.\n{reasons}"))
            return
        context["ti"].xcom_push(key=SINCE, value="")
        if shipped.waiting:
            raise AirflowSkipException(f"{self.application} is {shipped.waiting}.")

    def _ship(self, context: Context, site: Site) -> Shipped:
        from lifeboat.actions import logs

        self.sweep(context, site)
        staging = self.staging(context)
        staging.create()
        try:
            return logs.ship(site, self.application, staging, scheduled=context["dag_run"].run_type == "scheduled")
        finally:
            staging.remove()

    def _back_up(self, context: Context, site: Site) -> str:
        """Start a backup, whose archive the new chain continues; return what came of it."""
        run_id = f"new_chain__{context['ti'].map_index}__{site.now().isoformat()}"
        try:
            trigger("backup_database", run_id, {"application": self.application})
        except Exception as error:  # noqa: BLE001  # whatever Airflow says, the new chain is what to report
            return f"Trigger backup_database now, whose archive the new chain continues: that failed here ({error})."
        return "backup_database was triggered, whose archive the new chain continues."

    def _tell_once(self, context: Context, site: Site, error: LifeboatError, *, lasting: bool = False) -> None:
        """Fail if no alert said so yet; skip if one did. What may pass by itself is only logged at first.

        :param lasting: whether it will not.
        :raises LifeboatError: `error`.
        """
        ti, now = context["ti"], site.now()
        since, told = (
            ti.xcom_pull(task_ids=self.task_id, key=key, map_indexes=ti.map_index, include_prior_dates=True)
            for key in (SINCE, TOLD)
        )
        begun = datetime.fromisoformat(since) if since else now
        ti.xcom_push(key=SINCE, value=begun.isoformat())
        if since and told == since:
            raise AirflowSkipException(f"An earlier run reported that logs are not shipped. {error}")
        patience = site.settings.limits_of(self.application).longest_log_age or PATIENCE
        if lasting or now - begun >= patience:
            ti.xcom_push(key=TOLD, value=begun.isoformat())
            raise error
        self.log.warning("Not all is shipped; the next run tries again. %s", error)
