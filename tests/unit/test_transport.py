"""Warnings of traffic that somebody on the network could read, given once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lifeboat.airflow import connections
from lifeboat.airflow.alerts import heartbeat
from lifeboat.settings.config import Database
from lifeboat.support import transport


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is warned of in a process that has warned of nothing yet."""
    transport._warn.cache_clear()
    given: list[str] = []
    monkeypatch.setattr(transport.log, "warning", lambda text, *values: given.append(text % values))
    return given


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("[::1]", True),
        ("/run/mysqld/mysqld.sock", True),
        ("db", False),
        ("10.0.0.5", False),
        ("localhost.example.com", False),
        ("::2", False),
        ("0.0.0.0", False),  # an address to send to, not to listen on
        ("", False),
    ],
)
def test_what_stays_on_this_machine(host: str, local: bool) -> None:
    assert transport.is_local(host) == local


@pytest.mark.parametrize(
    ("host", "extra", "told"),
    [
        pytest.param("db.example.com", {}, "may not be encrypted", id="unset"),
        pytest.param("db.example.com", {"sslmode": "disable"}, "may not be encrypted", id="disabled"),
        pytest.param("db.example.com", {"sslmode": "require"}, "nothing verifies", id="not-verified"),
        pytest.param("db.example.com", {"sslmode": "verify-full"}, "", id="verified"),
        pytest.param("localhost", {}, "", id="local"),
        pytest.param("/run/postgresql", {}, "", id="socket"),
    ],
)
def test_postgresql_across_the_network(
    host: str, extra: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    facts = {"conn_type": "postgres", "host": host, "login": "u", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_FAR", json.dumps(facts))
    for _ in range(2):
        connections.engine(Database(name="x", engine="postgresql", connection="far"), Path("/unused"))
    with transport.collected() as again:
        connections.engine(Database(name="x", engine="postgresql", connection="far"), Path("/unused"))
    assert again == warnings
    assert len(warnings) == bool(told)
    assert all(told in warning and "'far' to verify-full" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("encrypted", "mode", "told"),
    [
        pytest.param(False, "", "may not be encrypted", id="clear"),
        pytest.param(True, "", "nothing verifies", id="not-verified"),
        pytest.param(True, "REQUIRED", "nothing verifies", id="required"),
        pytest.param(True, "VERIFY_CA", "", id="verified"),
    ],
)
def test_mysql_across_the_network(
    encrypted: bool, mode: str, told: str, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    from lifeboat.databases.mysql.dump import Session

    monkeypatch.setattr(connections, "_mysql_driver", lambda *_: None)
    monkeypatch.setattr(Session, "execute", lambda *_: 0)
    monkeypatch.setattr(Session, "query", lambda *_: [("Ssl_cipher", "TLS_AES_256_GCM_SHA384" if encrypted else "")])
    extra = {"ssl_mode": mode} if mode else {}
    facts = {"conn_type": "mysql", "host": "db.example.com", "login": "u", "password": "pw", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_FAR", json.dumps(facts))
    engine: Any = connections.engine(Database(name="x", connection="far"), Path("/unused"))
    for _ in range(2):
        engine._connect()
    assert len(warnings) == bool(told)
    assert all(told in warning and "'far' to VERIFY_IDENTITY" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("endpoint", "told"),
    [
        pytest.param("http://minio:9000", True, id="clear"),
        pytest.param("https://s3.example.com", False, id="https"),
        pytest.param("http://127.0.0.1:9000", False, id="local"),
        pytest.param("http://[::1]:9000", False, id="local-ipv6"),
    ],
)
def test_s3_across_the_network(endpoint: str, told: bool, monkeypatch: pytest.MonkeyPatch, warnings: list[str]) -> None:
    facts = {"conn_type": "aws", "login": "key", "password": "secret", "extra": {"endpoint_url": endpoint}}
    monkeypatch.setenv("AIRFLOW_CONN_FAR", json.dumps(facts))
    connections._s3_client("far", "a test")
    assert len(warnings) == told
    assert all("are not encrypted" in warning and "'far' begin with https://" in warning for warning in warnings)


def test_the_heartbeat_across_the_network(monkeypatch: pytest.MonkeyPatch, warnings: list[str]) -> None:
    for url in ("https://hc.example.com/s3cret", "http://localhost/s3cret", "http://hc.example.com/s3cret"):
        monkeypatch.setenv("AIRFLOW_CONN_ALIVE", json.dumps({"conn_type": "http", "password": url}))
        assert heartbeat.url_of("alive") == url
    (told,) = warnings
    assert "Requests to hc.example.com are not encrypted: the heartbeat URL" in told
    assert "s3cret" not in told


def test_mail_and_webhooks_across_the_network(warnings: list[str]) -> None:
    for host, encrypted in (("mail.example.com", True), ("localhost", False)):
        transport.warn_of_mail(host, "smtp", encrypted=encrypted)
    transport.warn_of_url("https://hooks.slack.com/services/s3cret", "the webhook", "")
    assert warnings == []
    transport.warn_of_mail("mail.example.com", "smtp", encrypted=False)
    transport.warn_of_url("http://hooks.example.com/services/s3cret", "the webhook", "")
    mail, webhook = warnings
    assert "Mail to mail.example.com is not encrypted" in mail
    assert "Requests to hooks.example.com are not encrypted: the webhook can be read" in webhook
    assert "s3cret" not in webhook
