"""`lifeboat doctor` against each thing that can be broken: it names that thing, what to do, and all the rest."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lifeboat.airflow import doctor
from lifeboat.airflow.doctor import Finding, Verdict
from lifeboat.databases.mysql import dump
from lifeboat.settings import config

from include.demo.stand_ins import S3, MailSink, MariaDB, PostgreSQL, SlackSink
from tests.command import answer, lifeboat
from tests.conftest import Configure
from tests.endpoint import Endpoint
from tests.faulty_s3 import LASTING, Fault, FaultyS3, failing
from tests.servers.databases.test_mysql_grants import statements

CANARY = "wrong-secret-canary"
SHOP = {"name": "shop", "connection": "shop_db", "restore_connection": "shop_restore"}
CHANNELS = {"slack": {"connection": "slack"}, "email": {"connection": "smtp", "to": ["ops@example.com"]}}
WELL: dict[str, Any] = {
    "applications": {"Shop": {"databases": [SHOP]}},
    "alerts": CHANNELS | {"dead_man": "heartbeat"},
    "drill": {"production": True},
}


@pytest.fixture(scope="module")
def users(mariadb: MariaDB) -> Iterator[MariaDB]:
    """A server with the users of BACKUP.md and RECOVERY.md."""
    mariadb.run("DROP USER IF EXISTS lifeboat_backup, lifeboat_restore")
    mariadb.run(statements("backups", "MariaDB") + statements("restores", "MariaDB"))
    yield mariadb
    mariadb.run("DROP USER lifeboat_backup, lifeboat_restore")


def lean(folder: Path) -> dict[str, Any]:
    """The same without what takes time and is not looked for."""
    return WELL | {"destinations": {"disk": {"type": "disk", "path": str(folder / "disk")}}, "alerts": {}}


Login = Callable[..., None]


@pytest.fixture
def login(users: MariaDB, monkeypatch: pytest.MonkeyPatch) -> Login:
    """Set a connection of the server."""

    def set_connection(name: str, user: str, **changes: Any) -> None:
        facts = json.loads(users.connection()) | {"login": user, "password": "pw"} | changes
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(facts))

    return set_connection


@pytest.fixture
def installed(
    project: Configure, login: Login, shop: str, slack: SlackSink, mail: MailSink, monkeypatch: pytest.MonkeyPatch
) -> Configure:
    """An installation that is well, once it is configured by `WELL`."""
    login("SHOP_DB", "lifeboat_backup")
    login("SHOP_RESTORE", "lifeboat_restore")
    monkeypatch.setenv("AIRFLOW_CONN_SLACK", slack.connection())
    monkeypatch.setenv("AIRFLOW_CONN_SMTP", mail.connection())
    monkeypatch.setenv("AIRFLOW_CONN_HEARTBEAT", '{"conn_type": "http", "password": "https://example.com/canary"}')
    return project


def found(verdict: Verdict) -> dict[str, Finding]:
    """Examine, and return what has a verdict, by what it is about."""
    findings = doctor.examine()
    assert CANARY not in "\n".join(doctor.report(findings))
    assert len({finding.what for finding in findings}) > 7, "nothing hides the rest"
    return {finding.what: finding for finding in findings if finding.verdict == verdict}


def only(verdict: Verdict) -> Finding:
    (finding,) = found(verdict).values()
    return finding


def test_an_installation_as_readme_tells_is_well(
    installed: Configure, slack: SlackSink, mail: MailSink, tmp_path: Path
) -> None:
    path = installed(**WELL)
    findings = doctor.examine()
    assert findings[0] == Finding("settings", "well", f"{path} names 1 application, 2 destinations")
    assert {finding.what for finding in findings if finding.verdict == "well"} == {
        *("settings", "staging", "destination 'disk'", "destination 'offsite'", "backup of shop (Shop)"),
        *("restore of shop (Shop)", "drills of shop (Shop)", "encryption of Shop", "signatures of runs"),
        *("native module", "alerts", "heartbeat"),
    }
    assert doctor.summary(findings).startswith(f"Overall: well ({len(findings)} well), looked at from ")
    assert len(slack.messages()) == len(mail.messages()) == 1
    assert [each.name for each in (tmp_path / "disk").iterdir()] == [".lifeboat-destination"]
    assert [each for each in (tmp_path / "staging").rglob("*") if each.is_file()] == []


def test_wrong_settings_hide_nothing_that_the_file_still_names(installed: Configure, slack: SlackSink) -> None:
    broken = {"databases": [SHOP], "destinatons": []}
    path = installed(**WELL | {"applications": {"Shop": broken, "Blog": {"databases": [SHOP]}}, "timezone": "Moon"})
    told = answer("doctor", status=1)
    first, *others = told["findings"]
    assert (told["verdict"], first["what"], first["verdict"]) == ("broken", "settings", "broken")
    assert first["text"].startswith(f"{path}: timezone: no such time zone")
    assert {(other["what"], other["verdict"]) for other in others} == {
        (what, "well")
        for what in (
            *("staging", "destination 'disk'", "destination 'offsite'", "backup of shop (Blog)"),
            *("restore of shop (Blog)", "native module", "alerts", "heartbeat"),
        )
    }
    assert len(slack.messages()) == 1
    path.write_text("{")
    findings = doctor.examine()
    assert "is not valid YAML" in findings[0].text
    assert [finding.what for finding in findings] == ["settings", "native module", "alerts", "heartbeat"]


def test_a_login_that_the_server_refuses(installed: Configure, login: Login) -> None:
    login("SHOP_DB", "lifeboat_backup", password=CANARY)
    login("SHOP_RESTORE", "lifeboat_restore", password=CANARY)
    installed(**WELL)
    refused = found("broken")
    assert set(refused) == {f"{step} of shop (Shop)" for step in ("backup", "restore", "drills")}
    for finding in refused.values():
        assert "Access denied" in finding.text
        assert "Check login and password" in finding.advice


def test_a_database_that_is_not_there(installed: Configure) -> None:
    installed(**WELL | {"applications": {"Shop": {"databases": [SHOP | {"name": "shop2"}]}}})
    finding = only("broken")
    assert finding.what == "backup of shop2 (Shop)"
    assert "no database 'shop2', or this user is not allowed to see it" in finding.text


def test_each_whole_server_is_tried_and_names_that_both_have_are_told(
    installed: Configure, mariadb: MariaDB, postgresql: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_DB", mariadb.connection("shop"))
    monkeypatch.setenv("AIRFLOW_CONN_BOOKS_DB", postgresql.connection())
    servers = [
        {"server": "shop_db", "include": ["wn_*"]},
        {"server": "books_db", "engine": "postgresql", "include": ["wn_*"]},
    ]
    installed(**lean(tmp_path) | {"applications": {"All": {"databases": servers}}})
    mariadb.run("CREATE DATABASE wn_a; CREATE TABLE wn_a.t (id INT PRIMARY KEY)")
    postgresql.run("CREATE DATABASE wn_b", "postgres", postgresql.user)
    try:
        well = found("well")
        assert well["names of databases (All)"].text == "an archive can hold all 2 together"
        for connection in ("shop_db", "books_db"):
            assert f"with Airflow connection {connection!r}" in well[f"drills of databases of {connection} (All)"].text
        postgresql.run("ALTER DATABASE wn_b RENAME TO wn_a", "postgres", postgresql.user)
        finding = only("broken")
        assert finding.what == "names of databases (All)"
        assert "has two databases called 'wn_a', one of them on the server of Airflow connection" in finding.text
        assert finding.advice.startswith("Name it under exclude of that server")
    finally:
        mariadb.run("DROP DATABASE wn_a")
        postgresql.run("DROP DATABASE IF EXISTS wn_a; ", "postgres", postgresql.user)
        postgresql.run("DROP DATABASE IF EXISTS wn_b", "postgres", postgresql.user)


def test_a_grant_that_dumps_lack(installed: Configure, users: MariaDB, tmp_path: Path) -> None:
    installed(**lean(tmp_path))
    for right, said in {
        "SELECT ON shop.*": "is not allowed to read the rows of empty_one, invoice_numbers, orders",
        "SHOW VIEW ON shop.*": "SHOW VIEW command denied",
        "TRIGGER ON shop.*": "lacks TRIGGER",
        "EVENT ON shop.*": "denied",
        "SELECT ON mysql.proc": "is not allowed to read ",
    }.items():
        users.run(f"REVOKE {right} FROM lifeboat_backup")
        finding = only("broken")
        users.run(f"GRANT {right} TO lifeboat_backup")
        assert finding.what == "backup of shop (Shop)"
        assert said in finding.text
        assert "Grant" in finding.advice


def test_a_grant_that_restores_lack(installed: Configure, users: MariaDB, tmp_path: Path) -> None:
    installed(**lean(tmp_path))
    users.run("REVOKE CREATE USER ON *.* FROM lifeboat_restore")
    try:
        refused = found("broken")
    finally:
        users.run("GRANT CREATE USER ON *.* TO lifeboat_restore")
    assert set(refused) == {"restore of shop (Shop)", "drills of shop (Shop)"}
    assert "is not allowed to create an account for the load" in refused["restore of shop (Shop)"].text
    assert "docs/RECOVERY.md lists the grants" in refused["restore of shop (Shop)"].advice
    one = {"name": "shop", "connection": "shop_db"}
    installed(**lean(tmp_path) | {"applications": {"Shop": {"databases": [one]}}, "drill": {}})
    warned = found("warning")
    assert "no restore of shop would load by Airflow connection 'shop_db'" in warned["restore of shop (Shop)"].text
    assert warned["restore of shop (Shop)"].advice.endswith("Or name another connection as restore_connection.")
    assert "Name its connection under drill.connection" in warned["drills of shop (Shop)"].advice


def test_a_grant_that_restores_to_a_moment_lack(installed: Configure, users: MariaDB, tmp_path: Path) -> None:
    installed(**lean(tmp_path) | {"applications": {"Shop": {"databases": [SHOP], "logs": True}}})
    refused = found("broken")
    assert set(refused) == {"restore of shop (Shop) to a moment", "drills of shop (Shop)"}
    for finding in refused.values():
        assert "may not let an account replay binary logs" in finding.text
        assert "GRANT BINLOG REPLAY ON *.* TO `lifeboat_restore`@`%` WITH GRANT OPTION" in finding.advice
    users.run("GRANT BINLOG REPLAY ON *.* TO lifeboat_restore WITH GRANT OPTION")
    try:
        assert found("broken") == {}
    finally:
        users.run("REVOKE BINLOG REPLAY, GRANT OPTION ON *.* FROM lifeboat_restore")


def test_a_client_that_is_missing_or_older_than_the_server(
    installed: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.which("mariadb-dump")
    clients = tmp_path / "clients"
    clients.mkdir()
    monkeypatch.setenv("PATH", str(clients))
    installed(**lean(tmp_path))
    finding = only("broken")
    assert (finding.what, finding.advice) == ("backup of shop (Shop)", "Install mariadb-client or mysql-client.")
    old = clients / "mariadb-dump"
    old.write_text(
        f"#!/bin/sh\ncase $* in *--help) {real} --help | /bin/sed '1s/Distrib [0-9.]*/Distrib 10.1.48/' ;;"
        f' *) exec {real} "$@" ;; esac\n'
    )
    old.chmod(0o755)
    finding = found("warning")["backup of shop (Shop)"]
    assert "Distrib 10.1.48" in finding.text
    assert "is older than the server" in finding.text


def test_connections_that_are_not_there(installed: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SHOP_DB", "BACKUPS_S3", "LIFEBOAT_ARCHIVE", "HEARTBEAT"):
        monkeypatch.delenv(f"AIRFLOW_CONN_{name}")
    installed(**WELL)
    missing = found("broken")
    assert set(missing) == {
        *("backup of shop (Shop)", "destination 'offsite'", "encryption of Shop", "signatures of runs", "heartbeat")
    }
    assert all("There is no Airflow connection" in finding.text for finding in missing.values())


def test_destinations_that_do_not_take_archives(
    installed: Configure, s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BACKUPS_S3", s3.connection(password=CANARY))
    path = installed(**WELL, prepared=False)
    refused = found("broken")
    assert set(refused) == {"destination 'disk'", "destination 'offsite'"}
    assert "lifeboat init disk" in refused["destination 'disk'"].advice
    assert "access key and its secret" in refused["destination 'offsite'"].advice
    bucket = json.loads(path.read_text())["destinations"]["offsite"]["bucket"]
    who = {"AWS": ["arn:aws:iam::000000000000:user/backup-role"]}
    denied = {"Sid": "doctor", "Effect": "Deny", "Principal": who, "Resource": f"arn:aws:s3:::{bucket}/*"}
    for action, said in (("DeleteObject", "Cannot delete .lifeboat-probe-"), ("PutObject", "Cannot store .lifeboat-")):
        policy = {"Version": "2012-10-17", "Statement": [denied | {"Action": [f"s3:{action}"]}]}
        s3.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
        monkeypatch.setenv(
            "AIRFLOW_CONN_BACKUPS_S3", s3.connection(login="backup-role", password=S3.roles["backup-role"])
        )
        finding = found("broken")["destination 'offsite'"]
        assert said in finding.text
        assert "Give the key the rights" in finding.advice


def test_staging_that_is_full_or_no_directory(installed: Configure, tiny_disk: Path, tmp_path: Path) -> None:
    installed(**lean(tmp_path) | {"staging": str(tiny_disk)})
    with (tiny_disk / "other").open("wb", buffering=0) as other, pytest.raises(OSError, match="No space"):
        while other.write(bytes(4096)):
            pass
    finding = only("broken")
    assert (finding.what, "Free some space there" in finding.advice) == ("staging", True)
    (tmp_path / "file").touch()
    installed(**lean(tmp_path) | {"staging": str(tmp_path / "file")})
    finding = only("broken")
    assert finding.what == "staging"
    assert "Not a directory" in finding.text or "File exists" in finding.text


def test_channels_that_do_not_answer(installed: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(**WELL)
    monkeypatch.setenv("AIRFLOW_CONN_SMTP", '{"conn_type": "smtp", "host": "127.0.0.1", "port": 1}')
    with Endpoint(status=403, body=b"invalid_token") as endpoint:
        monkeypatch.setenv("AIRFLOW_CONN_SLACK", json.dumps({"conn_type": "slackwebhook", "password": endpoint.url}))
        told = [finding for finding in doctor.examine() if finding.what == "alerts"]
    assert [finding.verdict for finding in told] == ["broken", "broken"]
    assert [finding.text.split(" failed: ")[0] for finding in told] == [
        "the test alert by Slack",
        "the test alert by email",
    ]
    assert told[0].text.endswith("Slack answered 403: invalid_token.")
    assert told[0].advice.startswith("Make a new webhook in Slack")
    assert "webhook-canary" not in str(told)
    installed(**WELL | {"alerts": {}})
    assert {what: finding.advice != "" for what, finding in found("warning").items()} == {
        "alerts": True,
        "heartbeat": True,
    }


def test_what_does_not_answer_is_left_behind(
    project: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "LONGEST_LOOK", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_server = {"conn_type": "mysql", "host": "127.0.0.1", "port": silent.getsockname()[1], "login": "u"}
        monkeypatch.setenv("AIRFLOW_CONN_SHOP_DB", json.dumps(silent_server))
        project()
        settings = config.load()
        (database,) = settings.databases_of("Shop")
        silence = doctor.Probe("backup", partial(doctor._dump, database, tmp_path))
        other = doctor.Probe("disk", partial(doctor._destination, "disk", settings.destinations["disk"]))
        hanging, *well = doctor._look([silence, other])
    assert (hanging.what, hanging.text) == ("backup", "no answer within 1 second")
    assert {finding.verdict for finding in well} == {"well"}


def test_clocks_that_differ_are_told(installed: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed(**lean(tmp_path))
    monkeypatch.setattr(dump.Session, "ahead", lambda *_: timedelta(minutes=-7))
    finding = found("warning")["backup of shop (Shop)"]
    assert finding.text == "its clock is 7 minutes behind this machine's"


def test_postgresql_and_sqlite(
    installed: Configure, postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import sqlite3

    files = {name: tmp_path / f"{name}.sqlite" for name in ("blog", "wiki")}
    sqlite3.connect(files["blog"]).execute("CREATE TABLE t (id)").connection.close()
    postgresql.run("DROP DATABASE IF EXISTS books; DROP ROLE IF EXISTS reader")
    postgresql.run("CREATE DATABASE books OWNER lifeboat; ")
    postgresql.run("CREATE ROLE reader LOGIN PASSWORD 'pw'")
    postgresql.run("CREATE TABLE t (id serial PRIMARY KEY); CREATE TABLE own (id int)", "books", "lifeboat")
    postgresql.run("ALTER TABLE own ENABLE ROW LEVEL SECURITY; SELECT lo_create(7)", "books", "lifeboat")
    monkeypatch.setenv("AIRFLOW_CONN_BOOKS", postgresql.connection(login="reader", password="pw"))
    monkeypatch.setenv("AIRFLOW_CONN_RESTORER", postgresql.connection())
    monkeypatch.setenv("AIRFLOW_CONN_BLOG", json.dumps({"conn_type": "sqlite", "host": str(files["blog"])}))
    books = {"name": "books", "engine": "postgresql", "connection": "books", "restore_connection": "restorer"}
    others = [{"name": name, "engine": "sqlite", "connection": "blog"} for name in files]
    installed(**lean(tmp_path) | {"applications": {"Shop": {"databases": [books, *others]}}})
    try:
        refused = found("broken")
        assert set(refused) == {"backup of books (Shop)", "backup of wiki (Shop)"}
        assert "there is no such file" in refused["backup of wiki (Shop)"].text
        for said, grant in [
            ("permission denied for own, t, t_id_seq", "GRANT SELECT ON own, t TO reader"),
            ("permission denied for t_id_seq", "GRANT SELECT ON t_id_seq TO reader"),
            ("permission denied for large object 7", "GRANT SELECT ON LARGE OBJECT 7 TO reader"),
            ("row-level security hides rows of own", "ALTER ROLE reader BYPASSRLS"),
        ]:
            finding = found("broken")["backup of books (Shop)"]
            assert said in finding.text
            assert finding.advice
            postgresql.run(grant, "books")
        assert set(found("broken")) == {"backup of wiki (Shop)"}
    finally:
        postgresql.run("DROP DATABASE books")
        postgresql.run("DROP ROLE reader")


def test_a_bucket_whose_clock_differs_too_much(installed: Configure, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = "Set this machine's clock, or the server's: they differ by more than 15 minutes."
    with FaultyS3(s3.endpoint) as proxy:
        proxy.inject(Fault(failing(403, "RequestTimeTooSkewed"), times=LASTING))
        connection = json.loads(s3.connection())
        connection["extra"]["endpoint_url"] = proxy.endpoint
        monkeypatch.setenv("AIRFLOW_CONN_BACKUPS_S3", json.dumps(connection))
        installed(**WELL)
        finding = only("broken")
        assert (finding.what, finding.advice) == ("destination 'offsite'", clock)
        (unreadable,) = (each for each in answer("check", status=1)["findings"] if each["destination"] == "offsite")
    assert "RequestTimeTooSkewed" in unreadable["text"]
    assert unreadable["text"].endswith(f"Hint: {clock}")
    assert len(unreadable["text"].splitlines()) == 1


def test_a_pg_dump_older_than_the_server(
    installed: Configure, postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    postgresql.run("DROP DATABASE IF EXISTS books")
    postgresql.run("CREATE DATABASE books")
    old = tmp_path / "clients" / "pg_dump"
    old.parent.mkdir()
    old.write_text(
        "#!/bin/sh\n[ $1 = --version ] && exec echo 'pg_dump (PostgreSQL) 9.6.24'\n"
        "echo 'pg_dump: error: aborting because of server version mismatch' >&2; exit 1\n"
    )
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{old.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("AIRFLOW_CONN_BOOKS", postgresql.connection())
    books = {"name": "books", "engine": "postgresql", "connection": "books"}
    installed(**lean(tmp_path) | {"applications": {"Shop": {"databases": [books]}}})
    finding = found("broken")["backup of books (Shop)"]
    failed = lifeboat("backup", "database")
    postgresql.run("DROP DATABASE books")
    assert finding.advice == "Install the client of the server's version, or a newer one."
    assert failed.returncode == 1
    (told,) = (line for line in failed.stderr.splitlines() if line.startswith("Shop: "))
    assert "aborting because of server version mismatch" in told
    assert told.endswith(f"Hint: {finding.advice}")
    assert "Traceback" not in failed.stderr
