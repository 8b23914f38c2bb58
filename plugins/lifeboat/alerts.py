"""One Slack message and one email for a failed run, whatever killed it."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier

from lifeboat.operators.base import FAILURE

if TYPE_CHECKING:
    from airflow.sdk import Context
    from jinja2 import Environment

    from lifeboat.config import EmailAlerts, SlackAlerts

log = logging.getLogger(__name__)

SLACK_SECONDS = 5  # Airflow grants all callbacks of a run 20 seconds together
LONGEST_SECTION = 2900  # characters; Slack refuses sections beyond 3000
NO_REASON = "It left no reason: it was killed, timed out, or marked failed. The task's log tells more."


@dataclass(frozen=True)
class FailedRun:
    """What an alert tells.

    :param failures: what failed and why, by task.
    :param url: the run in Airflow's UI, or nothing when that is unknown.
    """

    dag_id: str
    run_id: str
    failures: dict[str, str]
    url: str

    @property
    def title(self) -> str:
        """What happened, in a line."""
        return f"{self.dag_id} failed"

    def slack(self) -> list[dict[str, Any]]:
        """Return the message as Slack blocks."""
        reasons = "\n".join(f"*{_slack(task)}*: {_slack(reason)}" for task, reason in self.failures.items())
        link = f" <{self.url}|Open the run>." if self.url else ""
        texts = [reasons, f"Run `{_slack(self.run_id)}`. Nothing half-done counts as a backup.{link}"]
        return [
            {"type": "header", "text": {"type": "plain_text", "text": self.title}},
            *({"type": "section", "text": {"type": "mrkdwn", "text": text[:LONGEST_SECTION]}} for text in texts),
        ]

    def html(self) -> str:
        """Return the message as the body of an email."""
        reasons = "".join(
            f"<li><b>{html.escape(task)}</b>: {html.escape(reason)}</li>" for task, reason in self.failures.items()
        )
        link = f' <a href="{html.escape(self.url)}">Open the run</a>.' if self.url else ""
        return (
            f"<h2>{html.escape(self.title)}</h2><ul>{reasons}</ul>"
            f"<p>Run <code>{html.escape(self.run_id)}</code>. Nothing half-done counts as a backup.{link}</p>"
        )


class FailureAlert(BaseNotifier):
    """Tell every channel of the settings that a run failed; for a DAG's ``on_failure_callback``.

    It belongs on the DAG and not on its tasks: only there it is called once a run, also when a task was killed.
    A channel that fails is logged and stops neither the other channel nor the backup.
    """

    template_fields: Sequence[str] = ()

    def render_template_fields(self, context: Context, jinja_env: Environment | None = None) -> None:
        """Render nothing: there is nothing to render, and `airflow dags test` passes a DAG that could not."""

    def notify(self, context: Context) -> None:
        """Send the alert."""
        from lifeboat import config
        from lifeboat.errors import LifeboatError

        try:
            alerts = config.load().alerts
        except LifeboatError as error:
            self.log.error("No alert was sent: %s", error)
            return
        failed = failed_run(context)
        if slack := alerts.slack:
            self._send(slack.connection, lambda: send_slack(slack, failed))
        if email := alerts.email:
            self._send(email.connection, lambda: send_email(email, failed))

    def _send(self, connection: str, send: Callable[[], None]) -> None:
        try:
            send()
        except Exception as error:  # noqa: BLE001  # whatever a provider raises
            self.log.error("The alert through %s failed: %s.", connection, type(error).__name__)


def failed_run(context: Context) -> FailedRun:
    """Collect what failed in a run, and why, from what its tasks left."""
    dag_id, run_id = context["dag"].dag_id, context["run_id"]
    ti = context.get("ti")
    failures: dict[str, str] = {}
    try:
        if ti is not None:
            states = ti.get_task_states(dag_id=dag_id, run_ids=[run_id]).get(run_id, {})
            failures = {name: _reason(ti, name, run_id) for name, state in states.items() if state == "failed"}
    except Exception as error:  # noqa: BLE001  # an alert without details is better than none
        log.warning("The alert has no details: %s.", error)
    if not failures:
        failures[dag_id] = str(context.get("reason") or NO_REASON)
    return FailedRun(dag_id, run_id, failures, str(ti.log_url).partition("/tasks/")[0] if ti is not None else "")


def _reason(ti: Any, name: str, run_id: str) -> str:
    """Return the reason that a task left; mapped tasks are named ``<task id>_<map index>``."""
    task_id, _, index = name.rpartition("_")
    candidates = [(task_id, int(index)), (name, -1)] if index.isdigit() else [(name, -1)]
    for task, map_index in candidates:
        reason = ti.xcom_pull(task_ids=task, key=FAILURE, map_indexes=map_index, run_id=run_id)
        if reason:
            return str(reason)
    return NO_REASON


def send_slack(channel: SlackAlerts, failed: FailedRun) -> None:
    """Post the alert to a Slack webhook."""
    from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook

    hook = SlackWebhookHook(slack_webhook_conn_id=channel.connection, timeout=SLACK_SECONDS)
    hook.send(text=failed.title, blocks=failed.slack())


def send_email(channel: EmailAlerts, failed: FailedRun) -> None:
    """Mail the alert."""
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    with SmtpHook(smtp_conn_id=channel.connection) as hook:
        hook.send_email_smtp(
            to=list(channel.to), subject=failed.title, html_content=failed.html(), mime_subtype="alternative"
        )


def _slack(text: str) -> str:
    """Escape what Slack reads as markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
