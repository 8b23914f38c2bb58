"""Names that mean something to somebody: SQL, shells, terminals, Slack, HTML, rich. Right everywhere, or refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lifeboat.airflow.alerts.message import Failure, Message
from lifeboat.errors import SettingsError
from lifeboat.settings import config
from prometheus_client.parser import text_string_to_metric_families

from include.demo.stand_ins import MailSink, MariaDB, SlackSink
from tests import command
from tests.airflow.test_dags import LoadDag, load_dag, run
from tests.airflow.ui.conftest import Login, airflow, login
from tests.conftest import Configure
from tests.torture.conftest import Faults
from tests.torture.hostile import MARKUP, NAMES, QUOTES, Databases, OnMariaDB, OnPostgreSQL, OnSQLite

__all__ = ["airflow", "load_dag", "login"]

APPLICATION = "[red]S`h'o\"p; <!channel> $(id) {{ 7*7 }} %s & <b>"
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def lifeboat(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = command.lifeboat(*arguments)
    assert "Traceback" not in done.stderr, done.stderr
    for shown in (done.stdout, done.stderr):
        assert not CONTROL.search(shown), repr(CONTROL.search(shown)) + repr(shown)
    return done


@pytest.fixture(params=[*(pytest.param(name, marks=pytest.mark.torture) for name in ("mysql", "postgresql")), "sqlite"])
def databases(request: pytest.FixtureRequest, mariadb: MariaDB, tmp_path: Path) -> Iterator[Databases]:
    """Databases of each engine."""
    made: Databases
    match request.param:
        case "mysql":
            made = OnMariaDB(mariadb)
        case "postgresql":
            made = OnPostgreSQL(request.getfixturevalue("postgresql"))
        case _:
            made = OnSQLite(tmp_path)
    made.fill()
    yield made
    made.drop()


@pytest.fixture
def hostile(
    project: Configure,
    databases: Databases,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Path:
    """Settings of an application all of whose names are hostile; the root of its files."""
    root = tmp_path / "app"
    for name in NAMES:
        folder = root / name.replace("/", "|")
        folder.mkdir(parents=True)
        (folder / name.replace("/", "|")).write_bytes(name.encode())
        (folder / "link").symlink_to(name.replace("/", "|"))
    (root / os.fsdecode(b"\xff\xfe")).write_text("no UTF-8")
    monkeypatch.setenv("AIRFLOW_CONN_HOSTILE", databases.connection())
    (engine,) = request.node.callspec.params.values()
    kept = {"engine": engine, "connection": "hostile", "exclude_tables": [databases.excluded]}
    application = {"databases": [{"name": name} | kept for name in databases.names], "files": {"root": str(root)}}
    project(applications={APPLICATION: application}, drill={"production": True})
    return root


def test_everything_that_may_have_a_name_comes_back(
    hostile: Path, databases: Databases, tmp_path: Path, faults: Faults
) -> None:
    """Drills and restores compare every digest; what is stored twice is the same from the disk and from the bucket."""
    note = "".join(NAMES)
    made = lifeboat("backup", "application", APPLICATION, "--note", note, "--json")
    assert made.returncode == 0, made.stderr
    (facts,) = json.loads(made.stdout)
    assert facts["published"] == ["disk", "offsite"]
    marker = json.loads((tmp_path / "disk" / f"{facts['key']}.json").read_text())
    assert (marker["application"], marker["note"]) == (APPLICATION, note)
    key = facts["key"]
    for arguments in (("list",), ("verify", key), ("plan",), ("plan-files", APPLICATION), ("drill", APPLICATION)):
        with faults.one("hostile names: command line"):
            done = lifeboat(*arguments)
            assert done.returncode == 0, (arguments, done.stderr)
    assert lifeboat("check").returncode == 1, "there is no archive of its databases alone"
    copy = tmp_path / "copy"
    done = lifeboat("restore", "application", APPLICATION, "--destination", "offsite", "--into", str(copy), "--json")
    assert done.returncode == 0, done.stderr
    restored = json.loads(done.stdout)["databases"]
    assert [found["database"] for found in restored] == list(databases.names)
    assert all(found["compared"] >= len(NAMES) for found in restored)
    for name in NAMES:
        with faults.one("hostile names: files"):
            assert (copy / name.replace("/", "|") / "link").read_bytes() == name.encode()
    assert (copy / os.fsdecode(b"\xff\xfe")).read_text() == "no UTF-8"


def no_markup_was_sent(slack: SlackSink, mail: MailSink) -> None:
    """Look into the messages of a restore and of a run that failed."""
    restored, failed = slack.messages()
    assert all("<!channel>" not in json.dumps(message) for message in (restored, failed))
    assert "&lt;!channel&gt;" in json.dumps(failed)
    assert all(block["text"]["verbatim"] for block in failed["blocks"] if block["text"]["type"] == "mrkdwn")
    letters = mail.messages()
    assert len(letters) == 2
    for letter in letters:
        page = letter.get_body(("html",))
        assert page is not None
        assert "<b>" not in page.get_content()
        assert not CONTROL.search(letter["Subject"])


def test_runs_of_airflow_and_what_they_tell(
    hostile: Path,
    load_dag: LoadDag,
    login: Login,
    slack: SlackSink,
    mail: MailSink,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    faults: Faults,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SLACK", slack.connection())
    monkeypatch.setenv("AIRFLOW_CONN_SMTP", mail.connection())
    path = Path(os.environ["LIFEBOAT_CONFIG"])
    channels = {"slack": {"connection": "slack"}, "email": {"connection": "smtp", "to": ["ops@example.com"]}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"alerts": channels}))
    assert run(load_dag("backup_application"), note="".join(NAMES)).state == "success"
    into = str(hostile.with_name("copy"))
    assert run(load_dag("restore_application"), application=APPLICATION, into=into).state == "success"
    broken = json.loads(path.read_text())
    broken["applications"][APPLICATION]["databases"][1]["name"] = "gone" + MARKUP
    path.write_text(json.dumps(broken))
    with faults.one("hostile names: Airflow, alerts, page"):
        assert run(load_dag("backup_application")).state == "failed"
        shown = capfd.readouterr()
        lines = (shown.out + shown.err).splitlines()
        assert not any(line.startswith("[red]") for line in lines), "a name forged a line of the log"
        assert not any(MARKUP.partition("\n")[2][:8] in line for line in lines)
        no_markup_was_sent(slack, mail)
        for piece in ("", "answers", "archives", "recovery"):
            answer = login().get(piece)
            assert answer.status_code == 200
            assert "<!channel>" not in answer.text
            assert "& <b>" not in answer.text
        samples = [s for family in text_string_to_metric_families(login().get("metrics").text) for s in family.samples]
        assert {sample.labels.get("application", APPLICATION) for sample in samples} == {APPLICATION}


@pytest.mark.parametrize("name", [MARKUP, QUOTES, "a\u202eb", "a\x1b[31m", "a\u2028b", "..", "a\0b"])
def test_application_names_that_no_folder_can_have_are_refused(project: Configure, name: str, faults: Faults) -> None:
    path = project(applications={name: {"databases": [{"name": "shop", "connection": "shop_db"}]}})
    with faults.one("hostile names: refused in the settings"), pytest.raises(SettingsError, match=r"must not|NUL"):
        config.load(path)


def test_no_name_becomes_markup_in_a_message(faults: Faults) -> None:
    for name in (*NAMES, "<http://evil.example|click>", "</p><script>alert(1)</script>", "@channel"):
        message = Message("backup failed", "run", (Failure(f"{name}.dump", name, name),), (name,), note=name)
        with faults.one("hostile names: messages"):
            told = json.dumps(message.slack())
            assert "<" not in told.replace("<https://", "")
            assert "<script>" not in message.html()
