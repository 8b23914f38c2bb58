"""One message by each channel for a run that failed for any reason, or whose success is to be reported.

This module holds what a DAG is given, and imports the rest only when a run has ended: DAG files must parse fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow.sdk import BaseNotifier

if TYPE_CHECKING:
    from airflow.sdk import Context
    from jinja2 import Environment

    from lifeboat.airflow.alerts.message import Told
    from lifeboat.settings.config import Settings
    from lifeboat.settings.unreadable import Unreadable


class _RunNotifier(BaseNotifier):
    """Notifies the channels of the settings of a run; for a DAG, not for its tasks.

    Only on the DAG it is called once a run, also when a task was killed. A channel that fails is logged and stops
    neither the other channel nor the backup.
    """

    template_fields: Sequence[str] = ()

    def render_template_fields(self, context: Context, jinja_env: Environment | None = None) -> None:
        """Render nothing: there is nothing to render, and `airflow dags test` passes a DAG that could not."""

    def notify(self, context: Context) -> None:
        """Send the message, if there is one."""
        from lifeboat.airflow.alerts import channels, routes
        from lifeboat.settings import unreadable

        settings = unreadable.read()
        if isinstance(settings, unreadable.Unreadable):
            self.log.error("%s", settings.reason)
        else:
            unreadable.remember(settings)
        if told := self.told(context, settings):
            hearers = routes.hearers(told.applications, settings.channels_of)
            messages = [(channel, told.about(applications)) for channel, applications in hearers]
            for channel, failure in channels.deliver(messages):
                if failure:
                    self.log.error("The alert by %s failed: %s", channel, failure)

    def told(self, context: Context, settings: Settings | Unreadable) -> Told | None:
        """Return what to tell."""
        raise NotImplementedError


class FailureAlert(_RunNotifier):
    """Report that a run failed, and why; for a DAG's ``on_failure_callback``."""

    def told(self, context: Context, settings: Settings | Unreadable) -> Told:
        """Return what failed, and when the last good backups were."""
        from lifeboat.airflow.alerts import reports

        return reports.failed_run(context, settings)


class RestoreReport(_RunNotifier):
    """Report what a restore brought back; for the ``on_success_callback`` of a restore."""

    def told(self, context: Context, settings: Settings | Unreadable) -> Told:
        """Return what was restored from where, how long it took, and what was compared."""
        from lifeboat.airflow.alerts import reports

        return reports.restored_run(context)


class DrillReport(_RunNotifier):
    """Report what a drill proved; for the ``on_success_callback`` of a drill."""

    def told(self, context: Context, settings: Settings | Unreadable) -> Told:
        """Return what was proven, how long recovery took, and what is still unproven."""
        from lifeboat.airflow.alerts import reports

        return reports.drilled_run(context)


class ShippingReport(_RunNotifier):
    """Report that logs are shipped again after an alert; for the ``on_success_callback`` of shipping."""

    def told(self, context: Context, settings: Settings | Unreadable) -> Told | None:
        """Return what is shipped again; None where nothing was reported before, unless all successes are."""
        from lifeboat.airflow.alerts import reports

        return reports.recovered_run(context, settings) or SuccessNotice().told(context, settings)


class SuccessNotice(_RunNotifier):
    """Report that a run succeeded, if the settings ask for it or it has news; for a DAG's ``on_success_callback``."""

    def told(self, context: Context, settings: Settings | Unreadable) -> Told | None:
        """Return the good news, or None for a DAG whose successes are not reported and which has no news."""
        from lifeboat.airflow.alerts import reports

        pipeline = context["dag"].dag_id.partition("__")[0]  # an application's own DAG counts as the common one
        news = reports.new_databases(context, settings)
        is_asked_for = pipeline in settings.alerts.on_success
        if not news and not is_asked_for:
            return None
        return reports.succeeded_run(context, settings, news, is_asked_for=is_asked_for)
