"""Send a message through every channel of the settings, each within its time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextvars import copy_context
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from smtplib import SMTP, SMTPRecipientsRefused
from typing import cast

from lifeboat import connections, transport
from lifeboat.alerts.message import Message
from lifeboat.config import Alerts, EmailAlerts, SlackAlerts
from lifeboat.errors import LifeboatError, SettingsError

# A DAG's callbacks share the 50 seconds that Airflow's DAG processor grants for one file.
SLACK_SECONDS = 5
MAIL_SECONDS = 5
DELIVERY_SECONDS = 12


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
    under_way = {channel: pool.submit(copy_context().run, deliver) for channel, deliver in deliveries.items()}
    pool.shutdown(wait=False)
    return {channel: _outcome(delivery) for channel, delivery in under_way.items()}


def send_test(alerts: Alerts) -> dict[str, str]:
    """Send a test message through every channel that is on; return what `send` returns.

    :raises SettingsError: no channel is on.
    """
    test = Message("Lifeboat: a test", note="If you can read this, alerts by this channel arrive.")
    if outcomes := send(alerts, test):
        return outcomes
    raise SettingsError("No channel is on.", "Name one under alerts in the settings.")


def _outcome(delivery: Future[str]) -> str:
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


def send_slack(channel: SlackAlerts, message: Message) -> str:
    """Post a message to a Slack webhook; return what is wrong with its answer.

    :raises SettingsError: the connection is missing, of another type, or has no URL.
    """
    from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook

    connection = connections.get(channel.connection, "alerts by Slack", "slackwebhook")
    if not connection.password:
        raise SettingsError(
            f"Airflow connection {channel.connection!r} holds no webhook.", "Set its password to the webhook's URL."
        )
    hint = f"Let the webhook of Airflow connection {channel.connection!r} begin with https://."
    transport.warn_of_url(connection.password, "the webhook and alerts", hint)
    # Never tried again: Slack may have taken a message whose answer was lost.
    hook = SlackWebhookHook(slack_webhook_conn_id=channel.connection, timeout=SLACK_SECONDS, retry_handlers=[])
    answer = hook.send(text=message.title, blocks=message.slack())
    return "" if answer is None or answer.body.strip() == "ok" else f"Slack answered {answer.body[:100]!r}."


def send_email(channel: EmailAlerts, message: Message) -> str:
    """Mail a message; return which addresses the server refused.

    :raises SettingsError: the connection is missing, of another type, or names no sender.
    """
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    class QuickSmtpHook(SmtpHook):
        """Gives up before Airflow ends the callback."""

        timeout = property(lambda self: MAIL_SECONDS)
        smtp_retry_limit = property(lambda self: 0)

    connections.get(channel.connection, "alerts by email", "smtp")
    with QuickSmtpHook(smtp_conn_id=channel.connection) as hook:
        transport.warn_of_mail(hook.host, channel.connection, encrypted=hook.use_ssl or hook.smtp_starttls)
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
