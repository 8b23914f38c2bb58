"""One Slack message and one email for a run that failed, whatever killed it, or that somebody wants to hear of."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from smtplib import SMTP, SMTPRecipientsRefused
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import BaseNotifier

from lifeboat.logs import logger
from lifeboat.operators.base import FAILURE

if TYPE_CHECKING:
    from airflow.sdk import Context
    from jinja2 import Environment

    from lifeboat.checkup import Examined
    from lifeboat.config import Alerts, EmailAlerts, SlackAlerts

log = logger(__name__)

# A DAG's callbacks share the 50 seconds that Airflow's DAG processor grants for one file.
SLACK_SECONDS = 5
MAIL_SECONDS = 5
DELIVERY_SECONDS = 12
LOOK_SECONDS = 6  # for the last good backups, which a dead destination must not delay
LONGEST_REASON = 500  # characters; Slack refuses sections beyond 3000, and markup may make five of one
MOST_FAILURES = 40  # Slack refuses messages of more than 50 blocks
NO_REASON = "It left no reason: it was killed, timed out, or marked failed. The task's log tells more."
ADVICE = {
    "prepare_staging": "Mend what the reason names, then clear the task.",
    "dump": "Mend what the reason names, then clear the task; its log ends with a hint.",
    "archive": "Mend what the reason names, then clear the task.",
    "upload": "When the destination is back, clear only this task: it stores again without a new dump.",
    "check": "Each finding says what is wrong; the DAG's docs say what to do about it.",
    "compare": "Clear the upload that the lagging destination missed.",
    "evaluate_retention": "Nothing was deleted there. Mend the destination, then clear the task.",
    "select": "Mend what the reason names, then trigger the restore again. Nothing was changed.",
    "verify": "Nothing was changed. Restore another archive, or take this one from another destination.",
    "approve": "Nothing was changed. Trigger the restore again and ask somebody else to approve it.",
    "safety_backup": "Nothing was replaced. Mend what the reason names, then clear the task.",
    "restore": "The reason says what state it left. Clear the task: it begins anew.",
    "restore_database": "The reason says what state it left. Clear the task: it begins anew.",
    "restore_files": "What was there is untouched. Mend what the reason names, then clear the task.",
    "after_restore": "Everything is restored. Run the commands by hand, or clear the task.",
    "choose_archives": "Nothing was rehearsed. Mend the destination, then clear the task.",
    "drill": "If the archive is damaged, or not as captured, its proof is withdrawn: verify the other copies now.",
    "send": "Mend the connection of the channel that the reason names, then send another test.",
    "delete_archives": "Mend the destination, then clear this task and evaluate_retention: the plan is made anew.",
}
TIMED_OUT = "The run took longer than its limit, and was ended."


@dataclass(frozen=True)
class Failure:
    """A failed task.

    :param subject: what it worked on: an application, a destination.
    """

    task: str
    subject: str
    reason: str

    @property
    def advice(self) -> str:
        """What to do about it."""
        return ADVICE.get(self.task.rpartition(".")[2].partition("[")[0], "")


@dataclass(frozen=True)
class Message:
    """What is told of a run.

    :param title: what happened, in a line.
    :param last_good: when the last good backups were, a line each.
    :param url: the run in Airflow's UI, or nothing when that is unknown.
    """

    title: str
    run_id: str = ""
    failures: tuple[Failure, ...] = ()
    last_good: tuple[str, ...] = ()
    note: str = ""
    url: str = ""

    def slack(self) -> list[dict[str, Any]]:
        """Return the message as Slack blocks."""
        more = len(self.failures) - MOST_FAILURES
        texts = [
            *(
                f"*{_slack(failure.task)}* {_slack(failure.subject)}\n{_slack(_short(failure.reason))}"
                f"\n_{failure.advice}_"
                for failure in self.failures[:MOST_FAILURES]
            ),
            f"... and {more} more; the run has them all." if more > 0 else "",
            _slack(_short("\n".join(self.last_good))),
            _slack(self.note),
            " ".join(filter(None, [f"Run `{_slack(self.run_id)}`." if self.run_id else "", self._slack_link()])),
        ]
        return [
            {"type": "header", "text": {"type": "plain_text", "text": self.title[:150]}},
            *(  # verbatim, so that no "@channel" in somebody's name becomes a mention
                {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}
                for text in texts
                if text
            ),
        ][:50]

    def _slack_link(self) -> str:
        return f"<{self.url}|Open the run>" if self.url else ""

    def text(self) -> str:
        """Return the message as plain text."""
        failures = [
            f"{failure.task} {failure.subject}\n{failure.reason}\n{failure.advice}".strip() for failure in self.failures
        ]
        run = f"Run {self.run_id}\n{self.url}".strip() if self.run_id else ""
        return "\n\n".join(filter(None, [self.title, *failures, "\n".join(self.last_good), self.note, run])) + "\n"

    def html(self) -> str:
        """Return the message as HTML that a phone shows well."""

        def paragraph(text: str) -> str:
            return f"<p>{html.escape(text).replace(chr(10), '<br>')}</p>" if text else ""

        failures = "".join(
            f"<h3>{html.escape(failure.task)} <small>{html.escape(failure.subject)}</small></h3>"
            f"{paragraph(failure.reason)}<p><em>{html.escape(failure.advice)}</em></p>"
            for failure in self.failures
        )
        link = f'<p><a href="{html.escape(self.url)}">Open the run</a></p>' if self.url else ""
        run = f"<p>Run <code>{html.escape(self.run_id)}</code></p>" if self.run_id else ""
        return (
            '<html><head><meta name="viewport" content="width=device-width"></head>'
            '<body style="font-family: sans-serif; max-width: 40em">'
            f"<h2>{html.escape(self.title)}</h2>{failures}{paragraph(chr(10).join(self.last_good))}"
            f"{paragraph(self.note)}{run}{link}</body></html>"
        )


class _RunNotifier(BaseNotifier):
    """Tells every channel of the settings about a run; for a DAG, not for its tasks.

    Only on the DAG it is called once a run, also when a task was killed. A channel that fails is logged and stops
    neither the other channel nor the backup.
    """

    template_fields: Sequence[str] = ()

    def render_template_fields(self, context: Context, jinja_env: Environment | None = None) -> None:
        """Render nothing: there is nothing to render, and `airflow dags test` passes a DAG that could not."""

    def notify(self, context: Context) -> None:
        """Send the message, if there is one."""
        from lifeboat import config
        from lifeboat.errors import LifeboatError

        try:
            alerts = config.load().alerts
        except LifeboatError as error:
            self.log.error("No alert was sent: %s", error)
            return
        if message := self.message(context, alerts):
            for channel, failure in send(alerts, message).items():
                if failure:
                    self.log.error("The alert by %s failed: %s", channel, failure)

    def message(self, context: Context, alerts: Alerts) -> Message | None:
        """Return what to send."""
        raise NotImplementedError


class FailureAlert(_RunNotifier):
    """Tell that a run failed, and why; for a DAG's ``on_failure_callback``."""

    def message(self, context: Context, alerts: Alerts) -> Message:
        """Return what failed, and when the last good backups were."""
        return failed_run(context)


class RestoreReport(_RunNotifier):
    """Tell what a restore brought back; for the ``on_success_callback`` of a restore."""

    def message(self, context: Context, alerts: Alerts) -> Message:
        """Return what was restored from where, how long it took, and what was compared."""
        return restored_run(context)


class DrillReport(_RunNotifier):
    """Tell what a drill proved; for the ``on_success_callback`` of a drill."""

    def message(self, context: Context, alerts: Alerts) -> Message:
        """Return what was proven, how long recovery took, and what is still unproven."""
        return drilled_run(context)


class SuccessNotice(_RunNotifier):
    """Tell that a run succeeded, where the settings ask for it; for a DAG's ``on_success_callback``."""

    def message(self, context: Context, alerts: Alerts) -> Message | None:
        """Return the good news, or nothing for a DAG that is not asked for."""
        dag_id = context["dag"].dag_id
        if dag_id not in alerts.on_success:
            return None
        return Message(f"{dag_id} succeeded", str(context["run_id"]), last_good=last_good(), url=_url(context))


def send(alerts: Alerts, message: Message) -> dict[str, str]:
    """Send a message through every channel that is on.

    :returns: why it failed, by channel; empty where it did not.
    """
    deliveries: dict[str, Callable[[], str]] = {}
    if slack := alerts.slack:
        deliveries["Slack"] = lambda: send_slack(slack, message)
    if email := alerts.email:
        deliveries["email"] = lambda: send_email(email, message)
    # Side by side, and none longer than it may: timeouts of libraries count each read, not the whole.
    pool = ThreadPoolExecutor(max(len(deliveries), 1))
    under_way = {channel: pool.submit(deliver) for channel, deliver in deliveries.items()}
    pool.shutdown(wait=False)
    return {channel: _outcome(delivery) for channel, delivery in under_way.items()}


def send_test(alerts: Alerts) -> dict[str, str]:
    """Send a test message through every channel that is on; return what `send` returns.

    :raises SettingsError: no channel is on.
    """
    from lifeboat.errors import SettingsError

    test = Message("Lifeboat: a test", note="If you can read this, alerts by this channel arrive.")
    if outcomes := send(alerts, test):
        return outcomes
    raise SettingsError("No channel is on.", "Name one under alerts in the settings.")


def _outcome(delivery: Future[str]) -> str:
    from lifeboat.errors import LifeboatError

    try:
        return delivery.result(DELIVERY_SECONDS)
    except NotYet:
        return f"no answer within {DELIVERY_SECONDS} seconds."
    except LifeboatError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  # whatever a provider raises
        # Not its text: libraries put the webhook's URL into it, which is a secret. What the system says holds none.
        cause = getattr(error, "reason", error)
        said = cause.strerror if isinstance(cause, OSError) else None
        why = said if isinstance(said, str) else type(error).__name__  # a mail server's words are bytes
        return f"{why}. Hint: Look at host, port, login and password of the Airflow connection under alerts."


def failed_run(context: Context) -> Message:
    """Collect what failed in a run, and why, from what its tasks left."""
    dag_id, run_id = context["dag"].dag_id, str(context["run_id"])
    ti = context.get("ti")
    failures: list[Failure] = []
    try:
        if ti is not None:
            states = ti.get_task_states(dag_id=dag_id, run_ids=[run_id]).get(run_id, {})
            failures = [_failure(ti, name, run_id) for name, state in states.items() if state == "failed"]
    except Exception as error:  # noqa: BLE001  # an alert without details is better than none
        log.warning("The alert has no details: %s.", error)
    reason = TIMED_OUT if context.get("reason") == "timed_out" else NO_REASON
    if not failures:
        failures = [Failure(dag_id, "", reason)]
    note = "Nothing half-done counts as a backup; what was published before is untouched."
    good = last_good([failure.subject for failure in failures])
    return Message(f"{dag_id} failed", run_id, tuple(failures), good, note, _url(context))


def restored_run(context: Context) -> Message:
    """Collect what a restore's tasks left."""
    dag_id, run_id = context["dag"].dag_id, str(context["run_id"])
    title = f"{dag_id} succeeded"
    lines: list[str] = []
    try:
        lines = list(_restored_lines(context["ti"], run_id))
        if not any(line.startswith("Restored") for line in lines):
            title = f"{dag_id} restored nothing: nobody approved it"
    except Exception as error:  # noqa: BLE001  # a report without details is better than none
        log.warning("The report has no details: %s.", error)
    return Message(title, run_id, note="\n".join(lines), url=_url(context))


def _restored_lines(ti: Any, run_id: str) -> Iterator[str]:
    from lifeboat.text import size_text

    def left(task: str, key: str = "return_value") -> list[Any]:
        return [value for value in ti.xcom_pull(task_ids=[task], key=key, run_id=run_id) or [] if value]

    for plan in left("select", "plan"):
        yield f"From {plan['key']} at {plan['destination']}, captured {plan['captured_at']}."
    for key in left("safety_backup"):
        yield f"Safety backup: {key}"
    for facts in (*left("restore"), *left("restore_database")):
        compared = facts["compared"]
        same = "not compared" if compared is None else f"{compared} tables compared, all as captured"
        yield (
            f"Restored database {facts['database']} into {facts['schema']}: {facts['rows']} rows of"
            f" {facts['tables']} tables in {facts['seconds']:.0f} s; {same}."
        )
        yield from (f"Note: {warning}." for warning in facts["warnings"])
    for facts in left("restore_files"):
        kept = f"; the old tree is kept at {facts['kept']}" if facts["kept"] else ""
        yield (
            f"Restored {facts['files']} files, {size_text(facts['bytes'])}, to {facts['target']}"
            f" in {facts['seconds']:.0f} s{kept}."
        )
        yield from (f"Note: {warning}." for warning in facts["warnings"])
    for commands in left("after_restore"):
        yield f"Ran {'; '.join(commands)}."


def drilled_run(context: Context) -> Message:
    """Collect what a drill's tasks left, and what is still unproven."""
    dag_id, run_id = context["dag"].dag_id, str(context["run_id"])
    title = f"{dag_id} succeeded"
    lines: list[str] = []
    try:
        tasks = [task.task_id for task in context["dag"].tasks if task.task_id.rpartition(".")[2] == "drill"]
        proven = filter(None, context["ti"].xcom_pull(task_ids=tasks, run_id=run_id) or [])
        lines = [_drill_line(facts) for facts in proven]
        title = f"{dag_id}: {len(lines)} archives proven" if lines else f"{dag_id}: nothing to prove yet"
    except Exception as error:  # noqa: BLE001  # a report without details is better than none
        log.warning("The report has no details: %s.", error)
    return Message(title, run_id, last_good=_coverage(), note="\n".join(lines), url=_url(context))


def _drill_line(facts: dict[str, Any]) -> str:
    compared = facts["compared"]
    files = f", {compared['files']} files" if compared["files"] else ""
    notes = "".join(f" Note: {note}." for note in facts["notes"])
    return (
        f"Proven: {facts['key']} at {facts['destination']}; recovered in {facts['seconds']:.0f} s; compared"
        f" {compared['tables']} tables, {compared['rows']} rows, {compared['objects']} other objects{files}.{notes}"
    )


def _coverage() -> tuple[str, ...]:
    """Return what is proven, and what is not, as far as destinations can be read in time."""
    from lifeboat import checkup

    return tuple(
        line
        for each in _examined().values()
        for line in checkup.report(finding for finding in each.findings if finding.check.endswith(" coverage"))
    )


def _url(context: Context) -> str:
    ti = context.get("ti")
    return str(ti.log_url).partition("/tasks/")[0] if ti is not None else ""


def _failure(ti: Any, name: str, run_id: str) -> Failure:
    """Return what a failed task left; mapped tasks are named ``<task id>_<map index>``."""
    task_id, _, index = name.rpartition("_")
    candidates = [(task_id, int(index)), (name, -1)] if index.isdigit() else [(name, -1)]
    for task, map_index in candidates:
        left = ti.xcom_pull(task_ids=task, key=FAILURE, map_indexes=map_index, run_id=run_id)
        if isinstance(left, dict):
            return Failure(task if map_index < 0 else f"{task}[{map_index}]", left["subject"], left["reason"])
    return Failure(name, "", NO_REASON)


def last_good(subjects: Sequence[str] = ()) -> tuple[str, ...]:
    """Return when the newest archives of applications were captured, as far as that can be found out in time.

    :param subjects: what failed; only its applications are told of, or all where it names none.
    """
    from datetime import UTC, datetime

    from lifeboat import config
    from lifeboat.text import age_text

    try:
        settings, now = config.load(), datetime.now(UTC)
        examined = _examined()
    except Exception as error:  # noqa: BLE001  # an alert without it is better than none
        return (f"The last good backup is not known: {type(error).__name__}.",)
    silent = [name for name in settings.destinations if name not in examined or not examined[name].newest]
    lines = []
    for application in _named_by(subjects, settings.applications) or settings.applications:
        times = [time for each in examined.values() for time in each.newest.get(application, {}).values()]
        unknown = "not known" if silent else "none was found"
        when = f"{max(times):%Y-%m-%d %H:%M} UTC, {age_text(now - max(times))} ago" if times else unknown
        lines.append(f"Last good backup of {application}: {when}")
    return (*lines, *([f"Could not be read: {', '.join(silent)}."] if silent else []))


def _named_by(subjects: Sequence[str], applications: Iterable[str]) -> list[str]:
    """Return the applications whose name or key begins a subject."""
    starts = [subject + "," for subject in subjects]
    return [name for name in applications if any(start.startswith((f"{name},", f"{name}/")) for start in starts)]


def _examined() -> dict[str, Examined]:
    """Look at every destination that answers in time; return what was found, by name."""
    from datetime import UTC, datetime

    from lifeboat import checkup, config

    settings, now = config.load(), datetime.now(UTC)
    names = list(settings.applications)
    pool = ThreadPoolExecutor(len(settings.destinations))
    looks = {name: pool.submit(checkup.examine, name, settings, names, now) for name in settings.destinations}
    pool.shutdown(wait=False)
    done, _ = wait(looks.values(), LOOK_SECONDS)
    return {name: look.result() for name, look in looks.items() if look in done}


def send_slack(channel: SlackAlerts, message: Message) -> str:
    """Post a message to a Slack webhook; return what is wrong with its answer.

    :raises SettingsError: the connection is missing, of another type, or has no URL.
    """
    from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook

    from lifeboat import connections
    from lifeboat.errors import SettingsError

    if not connections.get(channel.connection, "alerts by Slack", "slackwebhook").password:
        raise SettingsError(
            f"Airflow connection {channel.connection!r} holds no webhook.", "Set its password to the webhook's URL."
        )
    # Never tried again: Slack may have taken a message whose answer was lost.
    hook = SlackWebhookHook(slack_webhook_conn_id=channel.connection, timeout=SLACK_SECONDS, retry_handlers=[])
    answer = hook.send(text=message.title, blocks=message.slack())
    return "" if answer is None or answer.body.strip() == "ok" else f"Slack answered {answer.body[:100]!r}."


def send_email(channel: EmailAlerts, message: Message) -> str:
    """Mail a message; return which addresses the server refused.

    :raises SettingsError: the connection is missing, of another type, or names no sender.
    """
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    from lifeboat import connections
    from lifeboat.errors import SettingsError

    class QuickSmtpHook(SmtpHook):
        """Gives up before Airflow ends the callback."""

        timeout = property(lambda self: MAIL_SECONDS)
        smtp_retry_limit = property(lambda self: 0)

    connections.get(channel.connection, "alerts by email", "smtp")
    with QuickSmtpHook(smtp_conn_id=channel.connection) as hook:
        if not hook.from_email:
            raise SettingsError(
                f"Airflow connection {channel.connection!r} names no sender.", 'Add "from_email" to its extra.'
            )
        letter = EmailMessage()
        letter["Subject"], letter["From"], letter["To"] = message.title, hook.from_email, ", ".join(channel.to)
        letter["Date"], letter["Message-ID"] = formatdate(localtime=True), make_msgid(domain="lifeboat")
        letter.set_content(message.text())
        letter.add_alternative(message.html(), subtype="html")
        try:
            # The hook's own sending knows no text beside HTML, and hides which addresses were refused.
            refused = cast(SMTP, hook._smtp_client).send_message(letter)
        except SMTPRecipientsRefused as error:
            refused = error.recipients
    return f"The mail server refused {', '.join(refused)}." if refused else ""


def _short(text: str) -> str:
    """Cut a text at the end of a line, and say so."""
    if len(text) <= LONGEST_REASON:
        return text
    cut = text[:LONGEST_REASON]
    return f"{cut[: cut.rfind(chr(10))] if chr(10) in cut else cut}\n... the log has the rest."


def _slack(text: str) -> str:
    """Escape what Slack reads as markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
