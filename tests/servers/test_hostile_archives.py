"""A hostile archive at a bucket and at a disk, found by a scheduled drill and by an operator's restore."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lifeboat.archive import MANIFEST_NAME
from lifeboat.catalog import archives
from lifeboat.settings import config

from include.demo.stand_ins import S3, MailSink, MariaDB, SlackSink
from tests.airflow.test_dags import LoadDag, load_dag, run
from tests.conftest import Configure
from tests.forgery import archive_of, clear, entries_of, renamed
from tests.records import manifest_facts, marker_facts
from tests.servers.test_restore import back_up

__all__ = ["load_dag"]

EVIL = b"DROP TABLE IF EXISTS `users`;\n"
DUMP = "db-dumps/mysql-shop.sql"


def _in_the_clear(archive: bytes, key: str) -> bytes:
    captured = datetime.strptime(Path(key).stem, archives.TIME).replace(tzinfo=UTC).isoformat()
    entries = {DUMP: {"size": len(EVIL), "sha256": hashlib.sha256(EVIL).hexdigest()}}
    facts = manifest_facts(entries, kind="database", captured_at=captured)
    return archive_of([clear(DUMP, EVIL), clear(MANIFEST_NAME, json.dumps(facts).encode())])


def _relabelled(archive: bytes, key: str) -> bytes:
    entries = entries_of(archive)
    return archive_of([entries[DUMP], renamed(entries[DUMP], MANIFEST_NAME)])


def _copied(archive: bytes, key: str) -> bytes:
    return archive


FORGERIES: dict[str, tuple[Callable[[bytes, str], bytes], str]] = {
    "in the clear": (_in_the_clear, "is not encrypted, so anyone could"),
    "relabelled": (_relabelled, "its manifest is another entry"),
    "copied from another time": (_copied, "holds the manifest of another archive"),
}


@pytest.fixture
def alerts(slack: SlackSink, mail: MailSink, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings that tell both channels."""
    monkeypatch.setenv("AIRFLOW_CONN_SLACK", slack.connection())
    monkeypatch.setenv("AIRFLOW_CONN_SMTP", mail.connection())
    return {"slack": {"connection": "slack"}, "email": {"connection": "smtp", "to": ["ops@example.com"]}}


@pytest.mark.parametrize("forgery", FORGERIES)
@pytest.mark.usefixtures("shop")
def test_a_hostile_archive_is_found_and_touches_nothing(
    project: Configure,
    load_dag: LoadDag,
    mariadb: MariaDB,
    s3: S3,
    slack: SlackSink,
    alerts: dict[str, Any],
    capfd: pytest.CaptureFixture[str],
    forgery: str,
) -> None:
    project(alerts=alerts, drill={"production": True, "archives": 1})
    settings = config.load()
    disk, offsite = settings.destinations["disk"].path, settings.destinations["offsite"].bucket  # type: ignore[union-attr]
    genuine = back_up().packed.key
    key = archives.archive_key("Shop", "database", datetime.now(UTC) + timedelta(seconds=-90))
    forge, said = FORGERIES[forgery]
    content = forge((disk / genuine).read_bytes(), key)
    file = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "encrypted": True}
    facts = marker_facts(key, archive=file)
    for name, body in ((key, content), (f"{key}.json", json.dumps(facts).encode())):
        (disk / name).write_bytes(body)
        s3.client().put_object(Bucket=offsite, Key=f"lifeboat/{name}", Body=body)
    before = mariadb.run("CHECKSUM TABLE users, orders, page_views", "shop")
    schemas = mariadb.run("SHOW DATABASES")

    assert run(load_dag("restore_drill"), archive=key).state == "failed"
    (told,) = slack.messages()
    assert "restore_drill failed" in str(told)
    logged = capfd.readouterr().out  # where a scheduler's callback finds the reason; `dag.test` hands it none
    assert all(f"{key} at destination {name!r}" in logged for name in ("disk", "offsite"))
    assert said in logged
    for destination in ("disk", "offsite"):
        asked = {"archive": key, "destination": destination, "overwrite": ["shop"]}
        assert run(load_dag("restore_database"), **asked).state == "failed"
        logged = capfd.readouterr().out
        assert key in logged
        assert said in logged
    assert len(slack.messages()) == 3
    assert mariadb.run("CHECKSUM TABLE users, orders, page_views", "shop") == before
    assert mariadb.run("SHOW DATABASES") == schemas
    assert not (disk / f"{key}.proof.json").exists()
