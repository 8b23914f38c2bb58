"""Exactly one Slack message and one email for a failed run, whatever killed it; nothing secret in them."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import subprocess
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from lifeboat.airflow.alerts import channels as alert_channels
from lifeboat.airflow.alerts import reports
from lifeboat.airflow.alerts.message import Failure, Message
from lifeboat.settings import config

from include.demo.stand_ins import MailSink, SlackSink, free_port
from include.demo.standalone import Standalone
from tests.airflow.test_scheduler import wait_for
from tests.command import lifeboat
from tests.conftest import Configure
from tests.endpoint import Endpoint

TO = ["ops@example.com", "second@example.com"]
CHANNELS = {"slack": {"connection": "slack"}, "email": {"connection": "smtp", "to": TO}}
FAILING = ["error", "killed", "lost", "too_long", "run_too_long", "marked", "mapped"]
MESSAGE = Message(
    "backup_database failed",
    "manual__2026-11-23",
    (Failure("Shop.upload[1]", "Shop, destination off<site>", "a & b <script>"),),
    ("Last good backup of Shop: 2026-11-22",),
    url="https://airflow.example.com/dags/x/runs/y",
)


@pytest.fixture
def channels(
    project: Configure, slack: SlackSink, mail: MailSink, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., config.Alerts]:
    def configure(applications: dict[str, Any] | None = None, **changes: Any) -> config.Alerts:
        monkeypatch.setenv("AIRFLOW_CONN_SLACK", slack.connection())
        monkeypatch.setenv("AIRFLOW_CONN_SMTP", mail.connection())
        named = {"applications": applications} if applications else {}
        return config.load(project(alerts=CHANNELS | changes, **named)).alerts

    return configure


@pytest.fixture
def shop_slack(tmp_path: Path) -> Iterator[SlackSink]:
    with SlackSink(tmp_path / "slack of Shop") as sink:
        yield sink


@pytest.mark.parametrize(
    ("applications", "told"),
    [
        ({""}, ["Bread, Ltd.", "Shop", "Shop 2"]),
        ({"Shop"}, ["Shop"]),
        ({"Shop 2", "Bread, Ltd."}, ["Bread, Ltd.", "Shop 2"]),
    ],
)
def test_the_last_good_backup_is_told_of_what_failed(
    project: Configure, applications: set[str], told: list[str]
) -> None:
    shop = {"databases": [{"name": "shop", "connection": "shop_db"}]}
    settings = config.load(project(applications={"Bread, Ltd.": shop, "Shop": shop, "Shop 2": shop}))
    lines = [text for _, text in reports.last_good(settings, applications)]
    assert [re.findall("Last good backup of (.*): ", line) for line in lines if "Last" in line] == [[n] for n in told]


@pytest.mark.timeout(900)
def test_every_way_to_fail_sends_exactly_one_of_each(
    channels: Callable[..., config.Alerts],
    slack: SlackSink,
    mail: MailSink,
    shop_slack: SlackSink,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    airflow_database: dict[str, str],
) -> None:
    """They fail in the task group of an application, whose own channel hears of it as the common ones do."""
    databases = [{"name": "shop", "connection": "shop_db"}]
    own = {"slack": {"connection": "slack_shop"}, "common": True}
    channels(applications={"Shop": {"databases": databases, "alerts": own}})
    monkeypatch.setenv("AIRFLOW_CONN_SLACK_SHOP", shop_slack.connection())
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    (folder := tmp_path / "dags").mkdir()
    (folder / "rows.py").symlink_to(Path(__file__).with_name("rows.py"))  # alone: Airflow would parse the tests, too
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(folder))
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION", "False")
    monkeypatch.setenv("AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT", "20")
    monkeypatch.setenv("AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL", "5")
    monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "2")
    at_once = {"AIRFLOW__CORE__PARALLELISM": "16"}  # some hang until they are ended
    names = [*FAILING, "once", "good"]
    with Standalone(airflow_database | at_once, tmp_path / "airflow.log") as airflow:
        wait_for(lambda: airflow.api("GET", "dags")["total_entries"] == len(names))
        runs = {
            name: airflow.api("POST", f"dags/row_{name}/dagRuns", logical_date=None)["dag_run_id"] for name in names
        }

        def state(name: str) -> str:
            return str(airflow.api("GET", f"dags/row_{name}/dagRuns/{runs[name]}")["state"])

        task = f"dags/row_marked/dagRuns/{runs['marked']}/taskInstances/Shop.end"
        wait_for(lambda: airflow.api("GET", task)["state"] == "running")
        airflow.api("PATCH", task, new_state="failed")
        wait_for(lambda: all(state(name) in ("success", "failed") for name in names), 240)
        good = dict.fromkeys(("once", "good"), "success")
        assert {name: state(name) for name in names} == dict.fromkeys(FAILING, "failed") | good
        wait_for(lambda: len(slack.messages()) >= len(FAILING) and len(mail.messages()) >= len(FAILING))
        time.sleep(10)  # for what should not come
    expected = Counter(f"row_{name} failed" for name in FAILING)
    for each in (slack, shop_slack):
        assert Counter(message["blocks"][0]["text"]["text"] for message in each.messages()) == expected
    assert Counter(letter["Subject"] for letter in mail.messages()) == expected
    (mapped,) = [text for message in slack.messages() if "row_mapped" in (text := json.dumps(message))]
    assert mapped.count("went away") == 3
    assert "&lt;b&gt;server" in mapped
    assert any("took longer than its limit" in json.dumps(message) for message in slack.messages())


def test_a_message_in_every_form() -> None:
    blocks = json.dumps(MESSAGE.slack())
    assert "off&lt;site&gt;" in blocks
    assert "a &amp; b &lt;script&gt;" in blocks
    assert "<https://airflow.example.com/dags/x/runs/y|Open the run>" in blocks
    page = MESSAGE.html()
    assert "<script>" not in page
    assert "a &amp; b &lt;script&gt;" in page
    for text in (blocks, page, MESSAGE.text()):
        assert "clear only this task" in text
        assert "Last good backup of Shop" in text
    long = Message("x", "run", tuple(Failure(f"t{n}", "", "<" * 9000) for n in range(99)), url="https://a.example")
    assert len(long.slack()) <= 50
    assert "and 59 more" in json.dumps(long.slack())
    assert "Open the run" in json.dumps(long.slack())
    assert "the log has the rest" in json.dumps(long.slack())
    assert all(len(block["text"]["text"]) <= 3000 for block in long.slack())


def test_a_letter_has_text_beside_html(channels: Callable[..., config.Alerts], mail: MailSink) -> None:
    assert alert_channels.send(channels(slack=None), MESSAGE) == {"email": ""}
    (letter,) = mail.messages()
    assert letter["Date"]
    assert letter["Message-ID"]
    assert letter["To"] == "ops@example.com, second@example.com"
    plain, rich = letter.get_body(("plain",)), letter.get_body(("html",))
    assert isinstance(plain, EmailMessage)
    assert isinstance(rich, EmailMessage)
    assert "a & b <script>" in plain.get_content()
    assert "&lt;script&gt;" in rich.get_content()


@pytest.fixture
def endpoint() -> Iterator[Callable[..., Endpoint]]:
    opened: list[Endpoint] = []

    def make(*arguments: Any) -> Endpoint:
        opened.append(Endpoint(*arguments))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, b"no_service"), "^Slack answered 404: no_service. Hint: Make a new webhook"),
        ((403, b"invalid_token\n"), "^Slack answered 403: invalid_token. Hint: Make a new webhook"),
        ((410, b"channel_is_archived"), "^Slack answered 410: channel_is_archived. Hint: Unarchive the channel"),
        ((429, b""), "^Slack answered 429. Hint: Slack takes about one message a second"),
        ((200, b"no"), "^Slack answered 200: no. Hint: Look at the webhook"),
        ((502, b"no\x1bway\n" * 99), r"^Slack answered 502: no\\u001bway no.* \.\.\.\. Hint: Try again later"),
        ((404, b"no /services/T/B/webhook-canary"), "^Slack answered 404. Hint: Look at the webhook"),
        ((200, b"ok", 30), "no answer in time"),
    ],
)
def test_a_broken_slack_does_not_stop_the_email(
    channels: Callable[..., config.Alerts],
    mail: MailSink,
    monkeypatch: pytest.MonkeyPatch,
    endpoint: Callable[..., Endpoint],
    answer: tuple[Any, ...],
    said: str,
) -> None:
    settings = channels()
    url = endpoint(*answer).url
    monkeypatch.setenv("AIRFLOW_CONN_SLACK", json.dumps({"conn_type": "slackwebhook", "password": url}))
    started = time.monotonic()
    outcomes = alert_channels.send(settings, MESSAGE)
    assert time.monotonic() - started < 20  # what Airflow grants
    assert re.search(said, outcomes["Slack"])
    assert "webhook-canary" not in outcomes["Slack"]
    assert outcomes["email"] == ""
    assert len(mail.messages()) == 1


class Refusing:
    """A mail server's answers: to a sender, to recipients, to a login."""

    def __init__(self, sender: str = "250 OK", recipient: str = "250 OK", login: str = "") -> None:
        self._sender, self._recipient, self._login = sender, recipient, login

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        envelope.mail_from = address
        return self._sender

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if address == TO[0]:
            return self._recipient
        envelope.rcpt_tos.append(address)
        return "250 OK"

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=False, handled=False, message=self._login)


PASSWORD = "mail-canary"  # and as it is sent
SENT = [PASSWORD, b64encode(PASSWORD.encode()).decode().rstrip("="), b64encode(b"\0me\0mail-canary").decode()]


@pytest.mark.parametrize(
    ("answers", "extra", "said"),
    [
        (
            {"login": "535 5.7.8 Bad credentials"},
            {},
            "answered 535 5.7.8 Bad credentials. Hint: Look at login",
        ),
        ({"login": f"535 no {SENT[0]}"}, {}, "answered 535. Hint: Look at login"),
        ({"login": f"535 no {SENT[1]}="}, {}, "answered 535. Hint: Look at login"),
        ({"login": f"535 no {SENT[2]}"}, {}, "answered 535. Hint: Look at login"),
        ({"login": "454 4.7.0 Busy"}, {}, "answered 454 4.7.0 Busy. Hint: Try again later"),
        ({"sender": "530 5.7.0 Must issue a STARTTLS command first"}, None, 'first. Hint: Take "disable_tls" out'),
        ({"sender": "553 5.7.1 Not your address"}, None, "answered 553 5.7.1 Not your address. Hint: Set from_email"),
        (
            {"recipient": "554 5.7.1 Relay access denied"},
            None,
            "refused ops@example.com: 554 5.7.1 Relay access denied",
        ),
        ({}, {"disable_tls": False}, "cannot be used: STARTTLS extension not supported by server. Hint: For a port"),
        ({}, {"disable_ssl": False}, "TLS: wrong version number. Hint: For a port with TLS from the start (465)"),
    ],
)
def test_a_mail_server_is_quoted(
    channels: Callable[..., config.Alerts],
    slack: SlackSink,
    monkeypatch: pytest.MonkeyPatch,
    answers: dict[str, str],
    extra: dict[str, Any] | None,
    said: str,
) -> None:
    """In its own words, with a hint, and never with the password that it repeats.

    :param extra: of the connection that logs in; None where it does not.
    """
    settings = channels()
    handler = Refusing(**answers)
    server = Controller(
        handler, hostname="127.0.0.1", port=free_port(), auth_require_tls=False, authenticator=handler.authenticate
    )
    server.start()
    try:
        connection: dict[str, Any] = {"conn_type": "smtp", "host": "127.0.0.1", "port": server.port}
        connection["extra"] = {"disable_ssl": True, "disable_tls": True, "from_email": "a@b.c"} | (extra or {})
        login = {} if extra is None else {"login": "me", "password": PASSWORD}
        monkeypatch.setenv("AIRFLOW_CONN_SMTP", json.dumps(connection | login))
        outcomes = alert_channels.send(settings, MESSAGE)
        left_open = [one for one in psutil.Process().net_connections() if one.raddr and one.raddr.port == server.port]
    finally:
        server.stop()
    assert said in outcomes["email"]
    assert not [secret for secret in SENT if secret in outcomes["email"]]
    assert outcomes["Slack"] == ""
    assert not left_open


def test_a_lost_connection_and_a_certificate_nobody_signed(
    channels: Callable[..., config.Alerts], slack: SlackSink, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = channels()
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    made = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=127.0.0.1", *made],
        check=True,
        capture_output=True,
    )
    encryption = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    encryption.load_cert_chain(certificate, key)

    def accept(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for turn in range(2):  # hangs up, then shows its certificate
                line, _ = server.accept()
                with line:
                    if turn:
                        encryption.wrap_socket(line, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as server:
        Thread(target=accept, args=[server], daemon=True).start()
        connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": server.getsockname()[1]}
        for extra, said in (
            ({"disable_ssl": True}, "cannot be used: Connection unexpectedly closed. Hint: For a port with TLS"),
            ({"disable_tls": True}, "TLS: self-signed certificate. Hint: Name the host as its certificate does"),
        ):
            given = json.dumps(connection | {"extra": {"from_email": "a@b.c"} | extra})
            monkeypatch.setenv("AIRFLOW_CONN_SMTP", given)
            assert said in alert_channels.send(settings, MESSAGE)["email"]


def test_a_slack_that_drips_delays_nothing(
    channels: Callable[..., config.Alerts], mail: MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each read is in time, the whole never: a limit for the whole ends it."""
    settings = channels()
    monkeypatch.setattr(alert_channels, "DELIVERY_SECONDS", 4)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            line, _ = server.accept()
            with line, contextlib.suppress(OSError):
                for _ in range(10):
                    line.sendall(b"H")
                    time.sleep(1)

        Thread(target=drip, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/webhook-canary"
        monkeypatch.setenv("AIRFLOW_CONN_SLACK", json.dumps({"conn_type": "slackwebhook", "password": url}))
        started = time.monotonic()
        outcomes = alert_channels.send(settings, MESSAGE)
    assert time.monotonic() - started < 10
    assert outcomes == {"Slack": "no answer within 4 seconds.", "email": ""}
    assert len(mail.messages()) == 1


def test_a_dead_mail_server_does_not_stop_slack(
    channels: Callable[..., config.Alerts], slack: SlackSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = channels()
    dead = {"conn_type": "smtp", "host": "127.0.0.1", "port": 1, "extra": {"disable_ssl": True, "from_email": "a@b.c"}}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP", json.dumps(dead))
    outcomes = alert_channels.send(settings, MESSAGE)
    assert outcomes["Slack"] == ""
    assert outcomes["email"]
    assert len(slack.messages()) == 1


@pytest.mark.parametrize(
    ("variable", "connection", "channel", "said"),
    [
        (
            "SLACK",
            {"conn_type": "http", "password": "http://127.0.0.1:1/canary"},
            "Slack",
            "has the type 'http', not 'sl",
        ),
        (
            "SLACK",
            {"conn_type": "slackwebhook"},
            "Slack",
            "holds no webhook. Hint: Set its password to the webhook's URL.",
        ),
        (
            "SLACK",
            {"conn_type": "slackwebhook", "password": "http://127.0.0.1:1/canary"},
            "Slack",
            "Connection refused. H",
        ),
        (
            "SLACK",
            {"conn_type": "slackwebhook", "password": "http://127.0.0.1:1/can ary-canary"},
            "Slack",
            "InvalidURL. Hint: Look at host",
        ),
        ("SMTP", {"conn_type": "smtp", "host": "127.0.0.1"}, "email", 'names no sender. Hint: Add "from_email"'),
        ("SMTP", {"conn_type": "http", "host": "127.0.0.1"}, "email", "has the type 'http', not 'smtp'"),
        (
            "SMTP",
            {"conn_type": "smtp", "host": "127.0.0.1", "port": 1, "extra": {"from_email": "a@b.c"}},
            "email",
            "Connection refused. Hint: Look at host",
        ),
    ],
)
def test_a_wrong_connection_says_what_to_do(
    channels: Callable[..., config.Alerts],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variable: str,
    connection: dict[str, Any],
    channel: str,
    said: str,
) -> None:
    settings = channels()
    monkeypatch.setenv(f"AIRFLOW_CONN_{variable}", json.dumps(connection))
    outcomes = alert_channels.send(settings, MESSAGE)
    assert said in outcomes[channel]
    assert "canary" not in outcomes[channel] + caplog.text
    assert [name for name, outcome in outcomes.items() if outcome] == [channel]


def test_the_command_sends_a_test(
    channels: Callable[..., config.Alerts],
    slack: SlackSink,
    mail: MailSink,
    monkeypatch: pytest.MonkeyPatch,
    endpoint: Callable[..., Endpoint],
) -> None:
    channels()
    done = lifeboat("alert-test")
    assert done.returncode == 0, done.stderr
    assert "sent by Slack" in done.stdout
    assert "sent by email" in done.stdout
    assert (len(slack.messages()), len(mail.messages())) == (1, 1)
    gone = {"conn_type": "slackwebhook", "password": endpoint(404, b"no_service").url}
    monkeypatch.setenv("AIRFLOW_CONN_SLACK", json.dumps(gone))
    failed = lifeboat("alert-test", "--json")
    assert failed.returncode == 1
    said = json.loads(failed.stdout)
    assert {name: each["sent"] for name, each in said.items()} == {"Slack": False, "email": True}
    assert "no_service" in said["Slack"]["error"]
    assert "canary" not in failed.stdout + failed.stderr
    channels(slack=None, email=None)
    off = lifeboat("alert-test")
    assert off.returncode == 2
    assert "No channel is on." in off.stderr
