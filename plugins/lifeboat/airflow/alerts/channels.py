"""Send a message through every channel of the settings, each within its time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from lifeboat.airflow import compat, connections
from lifeboat.airflow.alerts import refusals
from lifeboat.airflow.alerts.message import Message
from lifeboat.errors import LifeboatError, SettingsError
from lifeboat.settings.config import Alerts, EmailAlerts, SlackAlerts
from lifeboat.support import transport

# A DAG's callbacks share the 50 seconds that Airflow's DAG processor grants for one file.
SLACK_SECONDS = 5
MAIL_SECONDS = 5
DELIVERY_SECONDS = 12

_UNHEARD = logging.Logger("slack", logging.CRITICAL + 1)  # outside of the tree of loggers: nothing is kept


def send(alerts: Alerts, message: Message) -> dict[str, str]:
    """Send a message through every channel that is on.

    :returns: why it failed, by channel; '' if it did not.
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
    except LifeboatError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  # whatever a provider raises
        if not delivery.done():  # asked this way, because a provider may raise a TimeoutError as well
            return f"no answer within {DELIVERY_SECONDS} seconds."
        return refusals.of_network(error)


def send_slack(channel: SlackAlerts, message: Message) -> str:
    """Post a message to a Slack webhook; return why Slack did not take it.

    :raises SettingsError: the connection is missing, of another type, or has no URL.
    """
    with compat.needs_extra("slack", "An alert by Slack"):
        from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook

    connection = connections.get(channel.connection, "alerts by Slack", "slackwebhook")
    if not connection.password:
        raise SettingsError(
            f"Airflow connection {channel.connection!r} holds no webhook.", "Set its password to the webhook's URL."
        )
    hint = f"Let the webhook of Airflow connection {channel.connection!r} begin with https://."
    transport.warn_of_url(connection.password, "the webhook and alerts", hint)
    # Never tried again: Slack may have taken a message whose answer was lost. Slack's client logs the webhook.
    hook = SlackWebhookHook(
        slack_webhook_conn_id=channel.connection, timeout=SLACK_SECONDS, retry_handlers=[], logger=_UNHEARD
    )
    # Not by the hook's own sending, which turns what Slack answers into an error of Airflow.
    answer = hook.client.send(text=message.title, blocks=message.slack())
    return refusals.of_slack(answer.status_code, answer.body, hook.client.url)


def send_email(channel: EmailAlerts, message: Message) -> str:
    """Mail a message; return why the server did not take it, or for which addresses.

    :raises SettingsError: the connection is missing, of another type, or names no sender.
    """
    with compat.needs_extra("smtp", "An alert by email"):
        from airflow.providers.smtp.hooks.smtp import SmtpHook

    class QuickSmtpHook(SmtpHook):
        """Gives up before Airflow ends the callback."""

        timeout = property(lambda self: MAIL_SECONDS)
        smtp_retry_limit = property(lambda self: 0)

    connection = connections.get(channel.connection, "alerts by email", "smtp")
    sender = connection.extra_dejson.get("from_email")
    if not sender:
        raise SettingsError(
            f"Airflow connection {channel.connection!r} names no sender.", 'Add "from_email" to its extra.'
        )
    login = connection.login or "", connection.password or ""
    try:
        hook = QuickSmtpHook(smtp_conn_id=channel.connection)
        # The hook's own method sends no plain text with the HTML, and hides which addresses were refused.
        with compat.smtp_client(hook) as client:
            transport.warn_of_mail(hook.host, channel.connection, encrypted=hook.use_ssl or hook.smtp_starttls)
            refused = client.send_message(_letter(message, sender, channel.to))
    except Exception as error:  # noqa: BLE001  # of the hook, of the mail server, of TLS
        return refusals.of_mail(error, *login)
    return refusals.refused(refused, *login)


def _letter(message: Message, sender: str, to: Sequence[str]) -> EmailMessage:
    letter = EmailMessage()
    letter["Subject"], letter["From"], letter["To"] = message.title, sender, ", ".join(to)
    letter["Date"], letter["Message-ID"] = formatdate(localtime=True), make_msgid(domain="lifeboat")
    letter.set_content(message.text())
    letter.add_alternative(message.html(), subtype="html")
    return letter
