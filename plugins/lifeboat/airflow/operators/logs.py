"""Ship the binary logs of one application."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, cast

from lifeboat.airflow.compat import AirflowSkipException, AirflowTaskTimeout, trigger
from lifeboat.airflow.operators.base import ALL, ApplicationOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from lifeboat.actions.logs import Shipped
    from lifeboat.errors import LifeboatError
    from lifeboat.site import Site

AGAIN = "again"  # XCom key under which a task reports that logs are shipped again after an alert
BROKEN = "broken"  # XCom key, of the application: when the last new chain began
CALM = timedelta(hours=1)  # without a new chain, before the next one is reported
SINCE = "since"  # XCom key, of the application: since when logs are not shipped; empty where they are
PATIENCE = timedelta(minutes=20)  # where the settings name no limit
TOLD = "told"  # XCom key, of the application: the same, once an alert reported it


class ShipLogsOperator(ApplicationOperator):
    """Ship what the servers of an application wrote to their binary logs.

    What may pass by itself fails the task only once it has lasted, and only once: later runs are skipped until logs
    are shipped again. Of new chains that follow each other within `CALM`, the first fails it.
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
        except AirflowTaskTimeout as error:
            late = UnhealthyError(f"Shipping the binary logs of {self.application} takes too long: {error}.")
            self._tell_once(context, site, late, lasting=True)
            return
        self.log.info("%s: %s.", self.application, shipped)
        if shipped.new_chain:
            self._tell_new_chain(context, site, shipped.new_chain)
        if shipped.failed:
            reasons = "\n".join(f"{name}: {reason}" for name, reason in shipped.failed.items())
            self._tell_once(context, site, UnhealthyError(f"Binary logs are not published everywhere.\n{reasons}"))
            return
        self._tell_recovery(context)
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

    def _tell_new_chain(self, context: Context, site: Site, reason: str) -> None:
        """Fail, and start a backup, unless a chain began shortly before, as where servers take turns.

        :raises UnhealthyError: one did not.
        """
        from lifeboat.errors import UnhealthyError

        last = self._pull(context, BROKEN)
        self._push(context, BROKEN, site.now().isoformat())
        text = f"{self.application}: a new chain of binary logs begins: {reason}."
        if last and site.now() - datetime.fromisoformat(last) < CALM:
            self.log.warning("%s An alert told of a chain before, which began at %s.", text, last)
        else:
            raise UnhealthyError(f"{text} No moment between the chains can be reached. {self._back_up(context, site)}")

    def _back_up(self, context: Context, site: Site) -> str:
        """Start a backup, whose archive the new chain continues; return what came of it."""
        run_id = f"new_chain__{context['ti'].map_index}__{site.now().isoformat()}"
        dag_id = site.settings.dag_of(self.application, "database")
        try:
            trigger(dag_id, run_id, {"application": self.application})
        except Exception as error:  # noqa: BLE001  # whatever Airflow says, the new chain is what to report
            return f"Trigger {dag_id} now, whose archive the new chain continues: that failed here ({error})."
        return f"{dag_id} was triggered, whose archive the new chain continues."

    def _tell_once(self, context: Context, site: Site, error: LifeboatError, *, lasting: bool = False) -> None:
        """Fail if no alert said so yet; skip if one did. What may pass by itself is only logged at first.

        :param lasting: whether it will not.
        :raises LifeboatError: `error`.
        """
        now = site.now()
        since, told = self._pull(context, SINCE), self._pull(context, TOLD)
        begun = datetime.fromisoformat(since) if since else now
        self._push(context, SINCE, begun.isoformat())
        if since and told == since:
            raise AirflowSkipException(f"An earlier run reported that logs are not shipped. {error}")
        patience = site.settings.limits_of(self.application).longest_log_age or PATIENCE
        if lasting or now - begun >= patience:
            self._push(context, TOLD, begun.isoformat())
            raise error
        self.log.warning("Not all is shipped; the next run tries again. %s", error)

    def _tell_recovery(self, context: Context) -> None:
        """Leave a text for a message, if an alert reported a failure before."""
        since = self._pull(context, SINCE)
        if since and self._pull(context, TOLD) == since:
            begun = datetime.fromisoformat(since)
            text = f"{self.application}: binary logs are shipped again. They were not since {begun:%Y-%m-%d %H:%M} UTC."
            context["ti"].xcom_push(key=AGAIN, value=text)
        self._push(context, SINCE, "")

    def _pull(self, context: Context, key: str) -> str | None:
        """Return what the last run that left it did: its index may have been another application's."""
        ti, key = context["ti"], f"{key} {self.application}"
        return cast(
            "str | None",
            ti.xcom_pull(task_ids=self.task_id, key=key, map_indexes=ti.map_index, include_prior_dates=True),
        )

    def _push(self, context: Context, key: str, value: str) -> None:
        context["ti"].xcom_push(key=f"{key} {self.application}", value=value)
