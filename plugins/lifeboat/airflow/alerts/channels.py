"""Send messages through the channels of the settings, each within its time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from lifeboat.airflow import compat, connections
from lifeboat.airflow.alerts import refusals
from lifeboat.airflow.alerts.message import Message
from lifeboat.errors import LifeboatError, SettingsError
from lifeboat.settings.config import Channels, EmailAlerts, Settings, SlackAlerts
from lifeboat.settings.unreadable import Unreadable
from lifeboat.support import transport

# A DAG's callbacks share the 50 seconds that Airflow's DAG processor grants for one file.
SLACK_SECONDS = 5
MAIL_SECONDS = 5
DELIVERY_SECONDS = 12

KINDS = {SlackAlerts: "Slack", EmailAlerts: "email"}
_UNHEARD = logging.Logger("slack", logging.CRITICAL + 1)  # outside of the tree of loggers: nothing is kept


def send(alerts: Channels, message: Message) -> dict[str, str]:
    """Send a message through every channel that is on.

    :returns: why it failed, by channel; '' if it did not.
    """
    named = _named(alerts)
    return dict(
        zip(named, (failure for _, failure in deliver([(each, message) for each in named.values()])), strict=True)
    )


def deliver(messages: Sequence[tuple[SlackAlerts | EmailAlerts, Message]]) -> list[tuple[str, str]]:
    """Send messages, each through its channel.

    :returns: of each, the channel, and why it failed; '' if it did not.
    """
    # Side by side, and none longer than it may: timeouts of libraries count each read, not the whole.
    pool = ThreadPoolExecutor(max(len(messages), 1))
    under_way = [pool.submit(copy_context().run, _send, channel, message) for channel, message in messages]
    pool.shutdown(wait=False)
    wait(under_way, DELIVERY_SECONDS)
    return [
        (f"{KINDS[type(channel)]} with connection {channel.connection!r}", _outcome(delivery))
        for (channel, _), delivery in zip(messages, under_way, strict=True)
    ]


def send_test(settings: Settings | Unreadable) -> dict[str, str]:
    """Send a test message through every channel of the settings; return what `send` returns.

    :raises SettingsError: no channel is on.
    """
    test = Message("Lifeboat: a test", note="If you can read this, alerts by this channel arrive.")
    named = _named(settings.alerts)
    for application, team in settings.teams.items():
        own = {f"{name} of {application}": channel for name, channel in _named(team.alerts).items()}
        named |= {name: channel for name, channel in own.items() if channel not in named.values()}
    outcomes = deliver([(channel, test) for channel in named.values()])
    if named:
        return dict(zip(named, (failure for _, failure in outcomes), strict=True))
    raise SettingsError("No channel is on.", "Name one under alerts in the settings.")


def _named(channels: Channels | None) -> dict[str, SlackAlerts | EmailAlerts]:
    """Return the channels that are on, by what they are."""
    found = {"Slack": channels.slack, "email": channels.email} if channels else {}
    return {name: channel for name, channel in found.items() if channel}


def _send(channel: SlackAlerts | EmailAlerts, message: Message) -> str:
    return send_slack(channel, message) if isinstance(channel, SlackAlerts) else send_email(channel, message)


def _outcome(delivery: Future[str]) -> str:
    try:
        return delivery.result(0)
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
