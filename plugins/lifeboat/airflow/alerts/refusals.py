"""Reasons why Slack or a mail server refused a message, with advice; never a webhook or a password."""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Iterable, Mapping
from smtplib import (
    SMTPAuthenticationError,
    SMTPException,
    SMTPRecipientsRefused,
    SMTPResponseException,
    SMTPSenderRefused,
)
from urllib.parse import urlsplit

from lifeboat.text import one_line

LONGEST = 200  # characters of an answer; a proxy answers with whole pages
SHORTEST_TOKEN = 8  # characters; a shorter part of a webhook's path, such as "services", is not a secret

_NEW_WEBHOOK = "Make a new webhook in Slack, and set it as the password of the Airflow connection."
_ASK_ADMIN = "Ask an administrator of the Slack workspace to allow it, or make a webhook for another channel."
_REPORT = "Lifeboat sent something that Slack does not take: report this."
_SLACK = {
    "action_prohibited": _ASK_ADMIN,
    "channel_is_archived": "Unarchive the channel, or make a webhook for another one.",
    "channel_not_found": _NEW_WEBHOOK,
    "invalid_blocks": _REPORT,
    "invalid_payload": _REPORT,
    "invalid_token": _NEW_WEBHOOK,
    "no_active_hooks": _NEW_WEBHOOK,
    "no_service": _NEW_WEBHOOK,
    "no_service_id": _NEW_WEBHOOK,
    "no_team": _NEW_WEBHOOK,
    "posting_to_general_channel_denied": _ASK_ADMIN,
    "team_disabled": "The Slack workspace is disabled: make a webhook in another one.",
    "user_not_found": _NEW_WEBHOOK,
}
_SLACK_STATUS = {
    429: "Slack takes about one message a second for each webhook: find out what else posts by this one.",
    **dict.fromkeys((500, 502, 503, 504), "Try again later; https://slack-status.com says whether Slack is down."),
}
_WEBHOOK = "Look at the webhook in the password of the Airflow connection under alerts.slack."

_LOGIN = "Look at login and password of the Airflow connection; many providers want an app password or API key."
_SENDER = "Set from_email in the extra of the Airflow connection to an address that its login may send from."
_RECIPIENTS = "Look at alerts.email.to; a server that relays only for users needs login and password in the connection."
_STARTTLS = 'Take "disable_tls" out of the extra of the Airflow connection.'
_KIND_OF_TLS = (
    'For a port with TLS from the start (465) put "disable_tls": true in the extra of the Airflow connection, for one'
    ' with STARTTLS (587) "disable_ssl": true, for one without TLS both.'
)
_LATER = "Try again later; its administrator knows why."
_ADMIN = "Ask the administrator of the mail server."
_CERTIFICATE = "Name the host as its certificate does, and let the worker trust who signed it (SSL_CERT_FILE)."
_ANYWHERE = "Look at host, port, login and password of the Airflow connection under alerts."


def of_slack(status: int, body: str, webhook: str) -> str:
    """Return why Slack did not accept a message; '' if it did.

    :param status: of its answer.
    :param body: of its answer.
    :param webhook: the URL, which the answer may repeat.
    """
    word = body.strip()
    if status == 200 and word == "ok":
        return ""
    token = [part for part in urlsplit(webhook).path.split("/") if len(part) >= SHORTEST_TOKEN]
    said = _without(word, token)
    hint = _SLACK.get(word) or _SLACK_STATUS.get(status) or _WEBHOOK
    return f"Slack answered {status}{said and ': ' + said}. Hint: {hint}"


def of_mail(error: Exception, login: str, password: str) -> str:
    """Return why a mail server did not accept a message.

    :param error: what `smtplib`, or Airflow's hook around it, raised.
    :param login: name used to log in.
    :param password: of the login; servers may repeat either, encoded as they were sent.
    """
    # Airflow's hook raises its own error, without a word, in the place of a lost connection.
    error = error.__context__ if isinstance(error.__context__, SMTPException) else error
    if isinstance(error, SMTPRecipientsRefused):
        return refused(error.recipients, login, password)
    if isinstance(error, SMTPResponseException):
        answer = _answer(error.smtp_code, error.smtp_error, login, password)
        return f"The mail server answered {answer}. Hint: {_mail_hint(error)}"
    if isinstance(error, SMTPException):
        return f"The mail server cannot be used: {str(error).rstrip('.')}. Hint: {_KIND_OF_TLS}"
    return of_network(error)


def refused(recipients: Mapping[str, tuple[int, bytes]], login: str, password: str) -> str:
    """Return which addresses a mail server refused, and why; '' if none."""
    answers: dict[str, list[str]] = {}
    for address, (code, text) in recipients.items():
        answers.setdefault(_answer(code, text, login, password), []).append(address)
    texts = [f"The mail server refused {', '.join(addresses)}: {answer}." for answer, addresses in answers.items()]
    return f"{' '.join(texts)} Hint: {_RECIPIENTS}" if texts else ""


def of_network(error: Exception) -> str:
    """Return why nobody answered, according to the system and TLS.

    Not by the error's text: libraries put the webhook's URL into it.
    """
    reason = getattr(error, "reason", None)
    cause = reason if isinstance(reason, OSError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"TLS: {cause.verify_message.rstrip('.')}. Hint: {_CERTIFICATE}"
    if isinstance(cause, ssl.SSLError):
        what = (cause.reason or "it failed").replace("_", " ").lower()
        return f"TLS: {what}. Hint: {_KIND_OF_TLS if cause is error else _ANYWHERE}"
    if isinstance(cause, TimeoutError):
        return f"no answer in time. Hint: {_ANYWHERE}"
    said = cause.strerror if isinstance(cause, OSError) else None
    return f"{said if isinstance(said, str) else type(error).__name__}. Hint: {_ANYWHERE}"


def _mail_hint(error: SMTPResponseException) -> str:
    if error.smtp_code == 530 and b"STARTTLS" in _bytes(error.smtp_error).upper():
        return _STARTTLS
    if 400 <= error.smtp_code < 500:
        return _LATER
    if isinstance(error, SMTPAuthenticationError) or error.smtp_code == 530:
        return _LOGIN
    return _SENDER if isinstance(error, SMTPSenderRefused) else _ADMIN


def _answer(code: int, text: bytes | str, login: str, password: str) -> str:
    plain = [f"\0{login}\0{password}", password]
    encoded = [b64encode(each.encode()).decode().rstrip("=") for each in plain]
    said = _without(_bytes(text).decode(errors="replace"), [password, *encoded] if password else [])
    return f"{code} {said}".strip()


def _bytes(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def _without(text: str, secrets: Iterable[str]) -> str:
    """Return an answer in one short line; '' if it repeats a secret."""
    if any(secret in text for secret in secrets):
        return ""
    line = one_line(" ".join(text.split())).rstrip(".")
    return f"{line[:LONGEST]} ..." if len(line) > LONGEST else line
