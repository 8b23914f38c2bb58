"""The DAGs as Airflow runs them, task by task in one process."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lifeboat.airflow.alerts.message import Failure
from lifeboat.airflow.site import load_site
from lifeboat.archive.read import ArchiveReader
from lifeboat.catalog import archives
from lifeboat.decide import health, rotation
from lifeboat.errors import StorageError
from lifeboat.settings import config
from lifeboat.staging import StagingDirectory

from include.demo.stand_ins import S3, MailSink, MariaDB, SlackSink
from tests.conftest import ARCHIVE_PASSWORD, PROJECT, Configure, staging_directory, where_it_is_noon
from tests.endpoint import Endpoint

LoadDag = Callable[..., Any]
LOOKING = ("backup_check", "doctor", "settings_watch")  # DAGs that ask Airflow for all others

SHOP: dict[str, Any] = {"databases": [{"name": "shop", "connection": "shop_db"}]}


@pytest.fixture
def load_dag(airflow_db: None, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> LoadDag:
    """Parse a DAG with the settings as they are, make it known to Airflow, and return it; it never waits.

    Those that look at the others are parsed with them. Before a run, Airflow parses the whole bundle of its DAG again,
    which takes longer than most runs: this one's has no files.
    """
    bundle = {
        "name": "testing",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(tmp_path_factory.mktemp("no-dags"))},
    }
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))

    def load(dag_id: str = "backup_database", folder: Path = PROJECT / "dags") -> Any:
        from airflow.dag_processing.bundles.manager import DagBundlesManager
        from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

        DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]
        parsed = folder if dag_id in LOOKING else folder / f"{dag_id.partition('__')[0]}.py"
        bag = DagBag(dag_folder=str(parsed), bundle_name="testing")
        assert bag.import_errors == {}
        sync_bag_to_db(bag, "testing", None)
        set_paused(False)
        dag = bag.get_dag(dag_id)
        for task in dag.tasks:
            task.retries = 0
        return dag

    return load


def set_paused(paused: bool, *dag_ids: str) -> None:
    """Pause or unpause DAGs: those of the ids, or all."""
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session
    from sqlalchemy import update

    chosen = update(DagModel).where(DagModel.dag_id.in_(dag_ids)) if dag_ids else update(DagModel)
    with create_session() as session:
        session.execute(chosen.values(is_paused=paused))


def states(run: Any) -> dict[str, list[str]]:
    """Return the states of a run's tasks, by task and in the order of mapping."""
    found: dict[str, list[str]] = {}
    for ti in sorted(run.get_task_instances(), key=lambda ti: ti.map_index):
        found.setdefault(ti.task_id, []).append(str(ti.state))
    return found


def stored(application: str = "Shop") -> dict[str, list[str]]:
    """Return the keys of the published archives at every destination."""
    return {
        destination.name: [archive.key for archive in archives.read(destination.list()).archives]
        for destination in load_site().destinations(application)
    }


def run(dag: Any, **conf: Any) -> Any:
    return dag.test(logical_date=None, run_conf=conf)


@pytest.mark.parametrize("dag_id", sorted(path.stem for path in (PROJECT / "dags").glob("*.py")))
def test_every_dag_is_documented_tagged_and_owned(
    project: Configure, load_dag: LoadDag, dag_id: str, tmp_path: Path
) -> None:
    project(applications={"Shop": SHOP | {"files": {"root": str(tmp_path)}}})
    dag = load_dag(dag_id)
    assert dag.tasks
    assert "lifeboat" in dag.tags
    assert len(dag.tags) > 1
    assert not dag.catchup
    assert dag.max_active_runs == 1
    assert all(task.owner == "data-platform" for task in dag.tasks)
    assert all(task.execution_timeout for task in dag.tasks if not task.is_teardown)
    for name in dag.params:
        field = dag.params.get_param(name)
        assert field.schema["title"] not in ("", name), name
        assert field.description.endswith("."), name
        assert field.value or "null" in field.schema["type"] or field.value is False, f"Airflow's form asks for {name}"


@pytest.mark.parametrize("dag_id", sorted(path.stem for path in (PROJECT / "dags").glob("*.py")))
def test_the_docs_of_a_dag_and_the_alerts_say_the_same_of_every_task(
    project: Configure, load_dag: LoadDag, dag_id: str, tmp_path: Path
) -> None:
    approved = {"require_approval": True}
    databases = [*SHOP["databases"], {"server": "shop_db"}]
    shop = {"databases": databases, "files": {"root": str(tmp_path)}, "logs": True}
    project(restore=approved, applications={"Shop": shop})
    dag = load_dag(dag_id)
    rows = re.findall(r"^\| `(\w+)` \| .+ \| (.+) \|$", dag.doc_md.partition("| failed |")[2], re.MULTILINE)
    tasks = {task.task_id for task in dag.tasks if not task.is_teardown}
    assert dict(rows) == {task.rpartition(".")[2]: Failure(task, "", "").advice for task in tasks}


def test_a_run_publishes_one_archive_at_every_destination(project: Configure, load_dag: LoadDag, shop: str) -> None:
    project()
    done = run(load_dag(), note="before the migration")
    assert done.state == "success"
    found = stored()
    assert len(found["disk"]) == 1
    assert found["disk"] == found["offsite"]
    assert [path for path in staging_directory(config.load()).rglob("*") if path.is_file()] == []


def test_a_run_stages_in_a_bucket(project: Configure, load_dag: LoadDag, shop: str, s3: S3, tmp_path: Path) -> None:
    s3.create_bucket("scratch")
    client = s3.client()
    client.put_object(Bucket="scratch", Key="runs/backup_database/manual__deleted/Shop/archive.zip", Body=b"left")
    project(staging="s3://backups_s3@scratch/runs")
    assert run(load_dag()).state == "success"
    found = stored()
    assert len(found["disk"]) == 1
    assert found["disk"] == found["offsite"]
    assert "Contents" not in client.list_objects_v2(Bucket="scratch")
    assert not (tmp_path / "staging").exists()


def test_a_worker_that_does_not_share_staging_says_which_one_does(
    project: Configure, load_dag: LoadDag, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    dag = load_dag()
    names = iter(["worker-1"])
    monkeypatch.setattr(StagingDirectory, "create", lambda _: None)  # it was made, where nobody else sees it
    monkeypatch.setattr("lifeboat.staging.machine", lambda: next(names, "worker-2"))
    failed = run(dag)
    assert states(failed)["Shop.dump"] == ["failed"]
    (dump,) = [ti for ti in failed.get_task_instances() if ti.task_id == "Shop.dump"]
    reason = dump.xcom_pull(task_ids="Shop.dump", key="failure", map_indexes=0)["reason"]
    assert "/Shop is not on worker-2, where this step runs: staging was opened on worker-1. Hint: Let all" in reason


def test_an_application_is_backed_up_with_its_files(
    project: Configure, load_dag: LoadDag, shop: str, tmp_path: Path
) -> None:
    root = tmp_path / "app"
    (root / "vendor").mkdir(parents=True)
    for name in ("index.php", "vendor/lib.php"):
        (root / name).write_text("<?php")
    files = {"root": str(root)}
    project(applications={"Shop": SHOP | {"files": files}, "Site": {"files": files}, "Books": SHOP})
    done = run(load_dag("backup_application"), note="before the move")
    assert done.state == "success"
    assert not any(task.startswith("Books") for task in states(done))
    assert "Site.dump" not in states(done)
    for application, names in (("Shop", ["db-dumps/mysql-shop.sql", "index.php"]), ("Site", ["index.php"])):
        (key,) = [key for key in stored()["offsite"] if key.startswith(f"{application}/application/")]
        with (tmp_path / "disk" / key).open("rb") as file:
            reader = ArchiveReader(file, key, ARCHIVE_PASSWORD)
            assert reader.names() == [*names, "manifest.json"]
            manifest = reader.manifest()
        assert manifest is not None
        assert (manifest.kind, manifest.note) == ("application", "before the move")


def test_what_needs_the_files_runs_where_they_are(project: Configure, load_dag: LoadDag, tmp_path: Path) -> None:
    files = {"root": str(tmp_path), "queue": "web"}

    def queues(dag_id: str) -> set[str]:
        return {f"{task.task_id} in {task.queue}" for task in load_dag(dag_id).tasks if task.queue != "default"}

    project(applications={"Shop": SHOP | {"files": files}, "Books": SHOP})
    assert queues("backup_application") == {"Shop.archive in web"}
    assert queues("backup_database") == set()
    assert {"select in web", "restore_files in web", "after_restore in web"} < queues("restore_application")
    project(applications={"Shop": SHOP | {"files": files}, "Site": {"files": files | {"queue": "other"}}})
    assert queues("backup_application") == {"Shop.archive in web", "Site.archive in other"}
    assert queues("restore_application") == set()


def test_files_that_cannot_be_captured_fail_the_run(
    project: Configure, load_dag: LoadDag, shop: str, tmp_path: Path
) -> None:
    root = tmp_path / "app"
    root.mkdir()
    (root / "x").touch()
    project(applications={"Shop": SHOP | {"files": {"root": str(root), "include": ["nothing/*"]}}})
    failed = run(load_dag("backup_application"))
    assert failed.state == "failed"
    assert states(failed)["Shop.archive"] == ["failed"]
    assert states(failed)["Shop.dump"] == ["success"]
    assert stored() == {"disk": [], "offsite": []}


def test_a_cleanup_deletes_at_every_destination_that_is_up(
    project: Configure, load_dag: LoadDag, shop: str, s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project(applications={"Shop": SHOP})
    assert run(load_dag()).state == "success"
    ancient = [archives.archive_key("Shop", "database", datetime(year, 1, 1, tzinfo=UTC)) for year in (2001, 2002)]
    for destination in load_site().destinations("Shop"):
        for key in ancient:
            destination.write(key, b"x")
            destination.write(f"{key}.json", b"{}")
    tried = run(load_dag("backup_cleanup"), dry_run=True)
    assert tried.state == "success"
    assert states(tried)["disk.delete_archives"] == ["skipped"]
    assert [len(keys) for keys in stored().values()] == [3, 3]
    with monkeypatch.context() as broken:
        broken.setenv("AIRFLOW_CONN_BACKUPS_S3", s3.connection(password="wrong"))
        failed = run(load_dag("backup_cleanup"))
    assert failed.state == "failed"
    assert states(failed)["disk.delete_archives"] == ["success"]
    assert states(failed)["offsite.evaluate_retention"] == ["failed"]
    assert [len(keys) for keys in stored().values()] == [1, 3]
    assert run(load_dag("backup_cleanup"), destination="offsite").state == "success"
    assert [len(keys) for keys in stored().values()] == [1, 1]


ALERTS = {"slack": {"connection": "slack"}, "dead_man": "alive"}


@pytest.fixture
def heartbeat(slack: SlackSink, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """Serve the address that a healthy check pings, beside the channel of the others."""
    monkeypatch.setenv("AIRFLOW_CONN_SLACK", slack.connection())
    with Endpoint() as endpoint:
        monkeypatch.setenv("AIRFLOW_CONN_ALIVE", json.dumps({"conn_type": "http", "password": endpoint.url}))
        yield endpoint


def compared(check: Any, key: str) -> Any:
    """Return what the last task of a failed check says."""
    assert states(check)["compare"] == ["failed"]
    (task,) = [ti for ti in check.get_task_instances() if ti.task_id == "compare"]
    return task.xcom_pull(task_ids="compare", key=key)


def test_a_healthy_check_pings_the_heartbeat_url(
    project: Configure, load_dag: LoadDag, shop: str, s3: S3, slack: SlackSink, heartbeat: Endpoint
) -> None:
    project(timezone=where_it_is_noon(), applications={"Shop": SHOP}, alerts=ALERTS)
    empty = run(load_dag("backup_check"))
    assert empty.state == "failed"
    assert states(empty)["disk.check"] == states(empty)["offsite.check"] == ["failed"]
    (message,) = slack.messages()
    assert "Last good backup of Shop: none was found" in str(message)
    assert heartbeat.requests == 0
    assert run(load_dag()).state == "success"
    assert run(load_dag("backup_check"), deep=True).state == "success"
    assert heartbeat.requests == 1


def test_a_check_names_paused_dags(
    project: Configure, load_dag: LoadDag, shop: str, s3: S3, heartbeat: Endpoint
) -> None:
    project(timezone=where_it_is_noon(), applications={"Shop": SHOP}, alerts=ALERTS)
    assert run(load_dag()).state == "success"
    check = load_dag("backup_check")
    set_paused(True, "backup_database", "settings_watch")
    unprotected = run(check)
    assert states(unprotected)["disk.check"] == ["success"]
    assert compared(unprotected, "failure")["reason"].splitlines() == [
        "unhealthy  Everything: backup_database is paused; unpause it in Airflow: no database is backed up",
        "unhealthy  Everything: settings_watch is paused; unpause it in Airflow: broken settings are not reported",
    ]
    assert heartbeat.requests == 0


def test_a_check_names_what_a_destination_lacks_and_neglected_databases(
    project: Configure,
    load_dag: LoadDag,
    shop: str,
    mariadb: MariaDB,
    s3: S3,
    heartbeat: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    project(timezone=where_it_is_noon(), applications={"Shop": SHOP}, alerts=ALERTS, ignore_databases=["[!l]*"])
    assert run(load_dag()).state == "success"
    for key in stored()["disk"]:
        (tmp_path / "disk" / f"{key}.json").unlink()
    monkeypatch.setattr(health, "ARRIVING", timedelta())
    mariadb.run("CREATE DATABASE lonely_dag; CREATE TABLE lonely_dag.t (id INT)")
    lagging = run(load_dag("backup_check"))
    mariadb.run("DROP DATABASE lonely_dag")
    assert lagging.state == "failed"
    assert states(lagging)["offsite.check"] == ["success"]
    (neglected,) = compared(lagging, "neglected")
    assert "lonely_dag" in neglected
    assert heartbeat.requests == 0


def test_archives_are_read_back_and_the_damaged_one_is_named(
    project: Configure, load_dag: LoadDag, shop: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project(applications={"Shop": SHOP})
    assert run(load_dag()).state == "success"
    assert run(load_dag("backup_verify")).state == "success"  # whose turn has not come yet
    (key,) = stored()["disk"]
    assert not (tmp_path / "disk" / f"{key}.read.json").exists()
    monkeypatch.setattr(rotation, "known_whole", lambda *_: datetime.min.replace(tzinfo=UTC))
    path = tmp_path / "disk" / key
    path.write_bytes(path.read_bytes()[:-30])
    damaged = run(load_dag("backup_verify"))
    assert states(damaged) == {"disk.read_back": ["failed"], "offsite.read_back": ["success"]}
    reading = {ti.task_id: ti for ti in damaged.get_task_instances()}["disk.read_back"]
    assert key in reading.xcom_pull(task_ids="disk.read_back", key="failure")["reason"]
    assert (tmp_path / "disk" / f"{key}.damaged.json").exists()


def test_a_test_alert_arrives_or_says_why_not(
    project: Configure, load_dag: LoadDag, slack: SlackSink, mail: MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SLACK", slack.connection())
    monkeypatch.setenv("AIRFLOW_CONN_SMTP", mail.connection())
    project(alerts={"slack": {"connection": "slack"}, "email": {"connection": "smtp", "to": ["ops@example.com"]}})
    dag = load_dag("alert_test")
    assert run(dag).state == "success"
    assert "Lifeboat: a test" in str(slack.messages())
    assert [letter["Subject"] for letter in mail.messages()] == ["Lifeboat: a test"]
    monkeypatch.setenv("AIRFLOW_CONN_SMTP", '{"conn_type": "smtp", "host": "127.0.0.1", "port": 1}')
    assert run(dag).state == "failed"
    assert "alert_test failed" in str(slack.messages()[-1])
    project()
    assert run(dag).state == "failed"


def test_an_installation_is_prepared_and_tried_from_the_forms(
    project: Configure, load_dag: LoadDag, shop: str, slack: SlackSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SLACK", slack.connection())
    project(prepared=False, alerts={"slack": {"connection": "slack"}})
    with pytest.raises(StorageError, match="its disk is not mounted, or it was never prepared"):
        stored()
    assert run(load_dag("init_destination"), destination="disk").state == "success"
    assert stored() == {"disk": [], "offsite": []}
    assert run(load_dag("doctor")).state == "success"
    assert "Lifeboat: a test" in str(slack.messages()[-1])
    monkeypatch.delenv("AIRFLOW_CONN_SHOP_DB")
    assert run(load_dag("doctor")).state == "failed"
    assert "doctor failed" in str(slack.messages()[-1])


def test_a_success_is_told_where_the_settings_ask_for_it(
    project: Configure, load_dag: LoadDag, shop: str, slack: SlackSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SLACK", slack.connection())
    project(alerts={"slack": {"connection": "slack"}, "on_success": ["backup_database"]})
    assert run(load_dag()).state == "success"
    (message,) = slack.messages()
    assert "backup_database succeeded" in str(message)
    assert run(load_dag("backup_cleanup")).state == "success"
    assert len(slack.messages()) == 1


def test_a_database_is_restored_from_the_form_and_reported(
    project: Configure,
    load_dag: LoadDag,
    shop: str,
    mariadb: MariaDB,
    slack: SlackSink,
    mail: MailSink,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SLACK", slack.connection())
    monkeypatch.setenv("AIRFLOW_CONN_SMTP", mail.connection())
    project(alerts={"slack": {"connection": "slack"}, "email": {"connection": "smtp", "to": ["ops@example.com"]}})
    assert run(load_dag()).state == "success"
    beside = run(load_dag("restore_database"), into="shop_copy")
    assert beside.state == "success"
    assert states(beside) == {
        "select": ["success"],
        "verify": ["success"],
        "safety_backup": ["skipped"],
        "restore": ["success"],
    }
    assert mariadb.run("SELECT count(*) FROM orders", "shop_copy") == "3000\n"
    (message,), (letter,) = slack.messages(), mail.messages()
    text = letter.get_body(("plain",))
    assert text is not None
    for told in (str(message), text.get_content()):
        assert "restore_database succeeded" in told
    refused = run(load_dag("restore_database"), into="shop_copy")
    assert refused.state == "failed"
    assert states(refused)["restore"] == ["upstream_failed"]
    mariadb.run("DELETE FROM orders", shop)
    over = run(load_dag("restore_database"), overwrite=["shop"])
    assert over.state == "success"
    assert states(over)["safety_backup"] == ["success"]
    assert mariadb.run("SELECT count(*) FROM orders", shop) == "3000\n"
    assert len(stored()["disk"]) == 2
    assert len(slack.messages()) == len(mail.messages()) == 3
    assert [path for path in staging_directory(config.load()).rglob("*") if path.is_file()] == []
    mariadb.run("DROP DATABASE shop_copy")


def test_a_restore_that_no_archive_can_serve_changes_nothing(
    project: Configure, load_dag: LoadDag, shop: str, mariadb: MariaDB, tmp_path: Path
) -> None:
    project()
    assert run(load_dag()).state == "success"
    (key,) = stored()["disk"]
    content = bytearray((tmp_path / "disk" / key).read_bytes())
    content[len(content) // 3] ^= 1
    (tmp_path / "disk" / key).write_bytes(content)
    failed = run(load_dag("restore_database"), overwrite=["shop"], destination="disk")
    assert states(failed)["verify"] == ["failed"]
    assert states(failed)["safety_backup"] == states(failed)["restore"] == ["upstream_failed"]
    assert len(stored()["offsite"]) == 1
    assert mariadb.run("SELECT count(*) FROM orders", shop) == "3000\n"


def test_an_application_is_restored_and_its_commands_run(
    project: Configure, load_dag: LoadDag, shop: str, mariadb: MariaDB, tmp_path: Path
) -> None:
    root = tmp_path / "app"
    root.mkdir()
    (root / "index.php").write_text("<?php")
    commands = ["touch cleared", "sh -c 'echo $DB_DATABASE > database'"]
    project(applications={"Shop": SHOP | {"files": {"root": str(root)}, "after_restore": commands}, "Books": SHOP})
    assert run(load_dag("backup_application")).state == "success"
    done = run(load_dag("restore_application"), application="Shop", into=str(tmp_path / "copy"))
    assert done.state == "success"
    assert (tmp_path / "copy/index.php").read_text() == "<?php"
    assert (tmp_path / "copy/cleared").exists()
    database = (tmp_path / "copy/database").read_text().strip()
    assert mariadb.run("SELECT count(*) FROM orders", database) == "3000\n"
    mariadb.run(f"DROP DATABASE `{database}`")
    (root / "index.php").write_text("damaged")
    part = run(load_dag("restore_application"), application="Shop", path="index.php", overwrite="Shop")
    assert part.state == "success"
    assert states(part)["restore_database"] == ["skipped"]
    assert states(part)["after_restore"] == ["skipped"]
    assert (root / "index.php").read_text() == "<?php"
    project(applications={"Shop": SHOP | {"files": {"root": str(root)}, "after_restore": ["false"]}})
    failed = run(load_dag("restore_application"), into=str(tmp_path / "copy2"))
    assert failed.state == "failed"
    assert states(failed)["after_restore"] == ["failed"]
    assert (tmp_path / "copy2/index.php").exists()
    for name in mariadb.run("SHOW DATABASES LIKE 'shop\\_restored%'").splitlines():
        mariadb.run(f"DROP DATABASE `{name}`")


def test_a_drill_proves_tells_and_emits_assets(
    project: Configure,
    load_dag: LoadDag,
    shop: str,
    slack: SlackSink,
    mail: MailSink,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    monkeypatch.setenv("AIRFLOW_CONN_SLACK", slack.connection())
    monkeypatch.setenv("AIRFLOW_CONN_SMTP", mail.connection())
    alerts = {"slack": {"connection": "slack"}, "email": {"connection": "smtp", "to": ["ops@example.com"]}}
    project(alerts=alerts, drill={"production": True})
    empty = run(load_dag("restore_drill"))
    assert empty.state == "success"
    assert run(load_dag()).state == "success"
    done = run(load_dag("restore_drill"))
    assert done.state == "success"
    assert states(done)["Shop.drill"] == ["success", "success"]
    told = str(slack.messages()[-1])
    assert "restore_drill succeeded" in told
    assert "1 of 1 database archives are proven" in told
    with create_session() as session:
        events = [event.extra for event in session.query(AssetEvent).filter_by(source_run_id=done.run_id)]
    assert sorted(event["destination"] for event in events) == ["disk", "offsite"]
    (key,) = stored()["disk"]
    (tmp_path / "disk" / key).write_bytes(b"damaged")
    failed = run(load_dag("restore_drill"))
    assert failed.state == "failed"
    assert states(failed)["Shop.drill"] == ["failed", "success"]
    assert len(slack.messages()) == len(mail.messages()) == 3


def test_a_second_person_is_asked_before_anything_changes(project: Configure, load_dag: LoadDag) -> None:
    project(restore={"require_approval": True})
    for dag_id in ("restore_database", "restore_application"):
        dag = load_dag(dag_id)
        assert "verify" in dag.get_task("approve").upstream_task_ids
        assert dag.get_task("safety_backup").upstream_task_ids >= {"approve"}


def test_no_backup_is_due_where_no_application_has_any(project: Configure, load_dag: LoadDag, tmp_path: Path) -> None:
    project(applications={"Shop": SHOP})
    assert load_dag("backup_application").schedule is None
    assert load_dag("backup_database").schedule.expression == "0 1 * * *"
    project(applications={"Site": {"files": {"root": str(tmp_path)}}})
    assert load_dag("backup_application").schedule.expression == "0 2 * * 0"
    assert load_dag("backup_database").schedule is None


def test_drills_follow_a_schedule_or_backups(project: Configure, load_dag: LoadDag) -> None:
    from airflow.sdk import AssetAny

    project()
    assert load_dag("restore_drill").schedule.expression == "0 5 1 1,4,7,10 *"
    project(drill={"schedule": "after backup"})
    dag = load_dag("restore_drill")
    assert isinstance(dag.timetable.asset_condition, AssetAny)
    uploads = load_dag("backup_database").get_task("Shop.upload")
    assert [asset.name for asset in uploads.outlets] == ["lifeboat/archive/Shop"]


def test_names_that_look_alike_get_groups_of_their_own(project: Configure, load_dag: LoadDag) -> None:
    project(applications=dict.fromkeys(("A B", "A_B", "A_B_2", "é"), SHOP))
    groups = {task.task_id.partition(".")[0] for task in load_dag().tasks}
    assert len(groups) == 4


def test_what_a_deleted_run_left_is_swept(project: Configure, load_dag: LoadDag, shop: str) -> None:
    project()
    left = staging_directory(config.load()) / "backup_database" / "manual__deleted" / "Shop"
    left.mkdir(parents=True)
    (left / "shop.sql.gz").write_bytes(b"half")
    assert run(load_dag()).state == "success"
    assert not left.parent.exists()


def test_several_applications_and_a_choice_in_the_form(
    project: Configure, load_dag: LoadDag, mariadb: MariaDB, shop: str
) -> None:
    mariadb.run("DROP DATABASE IF EXISTS stock; CREATE DATABASE stock; CREATE TABLE stock.t (id INT PRIMARY KEY)")
    databases = [{"name": name, "connection": "shop_db"} for name in ("shop", "stock")]
    project(applications={"Shop": {"databases": databases}, "Blog é": {"databases": databases[:1]}})
    # A DAG that was tested once keeps the form's choices, so each run gets a fresh one.
    done = run(load_dag(), application="Shop", databases=["stock"], destinations=["disk"])
    assert done.state == "success"
    assert states(done)["Shop.dump"] == ["skipped", "success"]
    assert states(done)["Shop.upload"] == ["success", "skipped"]
    assert states(done)["Blog.prepare_staging"] == ["skipped"]
    assert states(done)["Blog.archive"] == ["skipped"]
    assert [len(keys) for keys in stored().values()] == [1, 0]
    time.sleep(1)  # keys are told apart by the second
    both = run(load_dag())
    assert both.state == "success"
    assert len(stored()["disk"]) == 3
    unknown = run(load_dag(), databases=["stok"])
    assert unknown.state == "failed"


def test_a_failed_upload_can_be_repeated_without_a_dump(
    project: Configure, load_dag: LoadDag, shop: str, s3: S3, mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    dag = load_dag()
    with monkeypatch.context() as broken:
        broken.setenv("AIRFLOW_CONN_BACKUPS_S3", s3.connection(password="wrong"))
        failed = run(dag)
    assert failed.state == "failed"
    assert states(failed)["Shop.upload"] == ["success", "failed"]
    assert [len(keys) for keys in stored().values()] == [1, 0]
    mariadb.run("DROP DATABASE shop")  # so that a dump would fail
    upload(dag, failed, 1)
    found = stored()
    assert found["disk"] == found["offsite"]


def test_an_upload_without_staging_comes_from_another_destination(
    project: Configure, load_dag: LoadDag, shop: str, tmp_path: Path
) -> None:
    project()
    dag = load_dag()
    done = run(dag)
    (key,) = stored()["disk"]
    (tmp_path / "disk" / key).unlink()
    upload(dag, done, 0)
    assert (tmp_path / "disk" / key).is_file()
    assert stored()["disk"] == [key]


def upload(dag: Any, dag_run: Any, index: int) -> None:
    """Execute one upload of a run again, as Airflow does when the task is cleared."""
    from lifeboat.airflow.operators.upload import UploadArchiveOperator

    (archive,) = [ti for ti in dag_run.get_task_instances() if ti.task_id == "Shop.archive"]
    operator = UploadArchiveOperator(
        task_id="again",
        application="Shop",
        archive=archive.xcom_pull(task_ids="Shop.archive"),
        destination=["disk", "offsite"][index],
    )
    operator.step({"dag_run": dag_run, "params": {}, "ti": archive})


def test_a_failed_run_sends_one_slack_message_and_one_email(
    project: Configure,
    load_dag: LoadDag,
    shop: str,
    mail: MailSink,
    slack: SlackSink,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project(
        applications={
            "Shop": {"databases": [{"name": name, "connection": "shop_db"} for name in ("no<such>", "none")]}
        },
        alerts={"slack": {"connection": "slack"}, "email": {"connection": "smtp", "to": ["ops@example.com"]}},
    )
    monkeypatch.setenv("AIRFLOW_CONN_SLACK", slack.connection())
    monkeypatch.setenv("AIRFLOW_CONN_SMTP", mail.connection())
    done = run(load_dag())
    assert done.state == "failed"
    (message,) = slack.messages()
    (letter,) = mail.messages()
    assert "backup_database failed" in str(message)
    assert letter["Subject"] == "backup_database failed"
    assert letter["To"] == "ops@example.com"


def test_a_dead_slack_does_not_stop_the_email(
    project: Configure, load_dag: LoadDag, shop: str, mail: MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(
        applications={"Shop": {"databases": [{"name": "none", "connection": "shop_db"}]}},
        alerts={"slack": {"connection": "slack"}, "email": {"connection": "smtp", "to": ["ops@example.com"]}},
    )
    monkeypatch.setenv("AIRFLOW_CONN_SLACK", '{"conn_type": "slackwebhook", "password": "http://127.0.0.1:1/x"}')
    monkeypatch.setenv("AIRFLOW_CONN_SMTP", mail.connection())
    assert run(load_dag()).state == "failed"
    assert len(mail.messages()) == 1


def test_a_dump_that_takes_too_long_is_stopped(
    project: Configure, load_dag: LoadDag, mariadb: MariaDB, shop: str
) -> None:
    project()
    dag = load_dag()
    dag.get_task("Shop.dump").partial_kwargs["execution_timeout"] = timedelta(seconds=3)
    blocker = mariadb.connect(database=shop)
    blocker.cursor().execute("LOCK TABLES orders WRITE")
    try:
        failed = run(dag)
    finally:
        blocker.close()
    assert states(failed)["Shop.dump"] == ["failed"]
    assert [len(keys) for keys in stored().values()] == [0, 0]
    assert mariadb.run("SELECT IS_FREE_LOCK('lifeboat:shop')").strip() == "1"
    assert not mariadb.run("SELECT 1 FROM information_schema.processlist WHERE db = 'shop'")


def test_tries_are_spaced_ever_wider(project: Configure, load_dag: LoadDag) -> None:
    project()
    task = load_dag().get_task("Shop.prepare_staging")
    growth, first, longest = task.retry_exponential_backoff, task.retry_delay, task.max_retry_delay
    assert [first * growth**number for number in range(3)] == [timedelta(minutes=minutes) for minutes in (2, 4, 8)]
    assert longest == timedelta(minutes=30)


def test_a_backfilled_run_takes_a_backup_only_when_one_is_due(
    project: Configure, load_dag: LoadDag, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    project()
    dag = load_dag()
    manual = run(dag)
    prepare = dag.get_task("Shop.prepare_staging")

    class Backfilled:
        dag_id, run_id, run_type = manual.dag_id, "backfill__2026-01-01", "backfill"

    class Ti:
        @staticmethod
        def get_dr_count(dag_id: str, run_ids: list[str], states: list[str]) -> int:
            return len(run_ids)

    context: Any = {"dag_run": Backfilled, "params": {}, "ti": Ti}
    with pytest.raises(
        AirflowSkipException, match="a backfill cannot back up the past, and the newest database archive"
    ):
        prepare.step(context)
    staging = staging_directory(config.load()) / "backup_database"
    assert not (staging / "backfill__2026-01-01").exists()
    for keys in stored().values():  # the newest archive becomes two days old
        (key,) = keys
        old = archives.archive_key("Shop", "database", datetime(2026, 1, 1, tzinfo=UTC))
        for destination in load_site().destinations("Shop"):
            if destination.find(key):
                destination.delete(key)
                destination.write(old, b"x")
                destination.write(f"{old}.json", b"{}")
                ahead = archives.archive_key("Shop", "database", datetime.now(UTC) + timedelta(days=9))
                destination.write(ahead, b"x")  # some clock was wrong
                destination.write(f"{ahead}.json", b"{}")
    prepare.step(context)
    (staging / "manual__other" / "Shop").mkdir(parents=True)
    with pytest.raises(AirflowSkipException, match="run manual__other is taking one"):
        prepare.step(context)


def test_parsing_is_fast_and_imports_nothing_heavy(project: Configure) -> None:
    project()
    script = (
        "import sys, time, airflow.sdk, pydantic, yaml\n"
        "start = time.perf_counter()\n"
        f"import {', '.join(path.stem for path in (PROJECT / 'dags').glob('*.py'))}\n"
        "print(time.perf_counter() - start)\n"
        "print([name for name in ('boto3', 'pyzipper', 'MySQLdb', 'fastapi') if name in sys.modules])\n"
    )
    paths = f"{PROJECT / 'dags'}:{PROJECT / 'plugins'}"
    import os

    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, heavy = done.stdout.splitlines()[-2:]
    assert heavy == "[]"
    assert float(seconds) < 2, "the DAG file takes too long to parse"
