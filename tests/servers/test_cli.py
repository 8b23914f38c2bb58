"""The command as its users run it: a program of its own, real servers, good and bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lifeboat.catalog.archives import archive_key

from include.demo.stand_ins import S3, MariaDB
from tests.command import answer, lifeboat
from tests.conftest import ARCHIVE_PASSWORD, Configure, as_root

PERIODS = [
    f"keep_{period}"
    for period in ("all_for_days", "daily_for_days", "weekly_for_weeks", "monthly_for_months", "yearly_for_years")
]


def test_a_drill_without_archives_proves_nothing(project: Configure) -> None:
    project(drill={"production": True})
    done = lifeboat("drill")
    assert (done.returncode, done.stdout) == (1, "")
    assert "not proven: Shop has no archive to test. Take one: lifeboat backup database Shop" in done.stderr
    assert answer("drill", status=1) == {"proofs": [], "failed": {}}
    assert "no chain to prove" in lifeboat("drill", "--chain").stderr


def test_back_up_list_verify_and_restore_by_hand(
    project: Configure, mariadb: MariaDB, shop: str, tmp_path: Path
) -> None:
    project()
    (made,) = answer("backup", "database", "Shop", "--note", "by hand")
    assert made["published"] == ["disk", "offsite"]
    assert made["totals"]["rows"] == 3505
    heading, *rows = lifeboat("list").stdout.splitlines()
    assert (heading.split(), len(rows)) == (
        ["destination", "captured", "at", "size", "proof", "last", "read", "key"],
        2,
    )
    archives = answer("list")["archives"]
    assert {(archive["destination"], archive["key"]) for archive in archives} == {
        ("disk", made["key"]),
        ("offsite", made["key"]),
    }
    checks = answer("verify", made["key"])
    assert [check["sha256"] for check in checks] == [made["sha256"]] * 2
    stored = tmp_path / "disk" / made["key"]
    assert answer("verify", str(stored))[0]["ok"]
    out = tmp_path / "out"
    subprocess.run(["7z", "x", f"-p{ARCHIVE_PASSWORD}", f"-o{out}", str(stored)], check=True, capture_output=True)
    assert json.loads((out / "manifest.json").read_text())["note"] == "by hand"
    mariadb.run("DROP DATABASE IF EXISTS copy; CREATE DATABASE copy")
    mariadb.run((out / "db-dumps" / "mysql-shop.sql").read_bytes(), "copy")
    tables = "users, orders, page_views, empty_one"
    before, after = (mariadb.run(f"CHECKSUM TABLE {tables}", name) for name in (shop, "copy"))
    assert before == after.replace("copy.", "shop.")
    mariadb.run("DROP DATABASE copy")
    assert [path.name for path in (tmp_path / "staging").rglob("*") if path.is_file()] == [".lock"]


def test_the_public_manifest_names_no_table(project: Configure, shop: str, tmp_path: Path) -> None:
    project()
    (made,) = answer("backup", "database")
    marker = (tmp_path / "disk" / f"{made['key']}.json").read_text()
    assert json.loads(marker)["totals"]["rows"] == 3505
    for name in ("users", "page_views", "no_negative", "shop.sql"):
        assert name not in marker


def test_a_failed_destination_does_not_stop_the_other(
    project: Configure, s3: S3, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    monkeypatch.setenv("AIRFLOW_CONN_BACKUPS_S3", s3.connection(password="wrong-secret-canary"))
    (made,) = answer("backup", "database", status=1)
    assert made["published"] == ["disk"]
    assert "access key and its secret" in made["failed"]["offsite"]
    assert "wrong-secret-canary" not in json.dumps(made)
    listed = answer("list", status=1)
    assert len(listed["archives"]) == 1
    assert list(listed["failed"]) == ["offsite"]


def test_an_application_with_its_files(project: Configure, shop: str, tmp_path: Path) -> None:
    root = tmp_path / "app"
    (root / "vendor").mkdir(parents=True)
    (root / "index.php").write_text("<?php")
    (root / "vendor" / "lib.php").write_text("<?php lib")
    (root / os.fsdecode(b"latin-\xe9")).touch()
    (tmp_path / "shared" / "storage").mkdir(parents=True)
    (root / "storage").symlink_to("../shared/storage")
    shop_with_files = {"databases": [{"name": "shop", "connection": "shop_db"}], "files": {"root": str(root)}}
    project(applications={"Shop": shop_with_files})
    plan = answer("plan-files", "Shop")
    assert plan["goes_in"] == {"count": 3, "bytes": 5}
    assert plan["links_out"] == ["storage"]
    assert plan["left_out"] == {"count": 1, "bytes": 9}
    assert [row["reason"] for row in plan["files"] if row["path"] == "vendor"] == ["excluded by 'vendor'"]
    shown = lifeboat("plan-files", "Shop").stdout
    assert "+        5 B  index.php" in shown
    assert "-        9 B  vendor  (excluded by 'vendor')" in shown
    assert "+        0 B  storage  (a link out of the root; its target is not included)" in shown
    assert "not in the archive: 'storage'. files.follow_links: true includes it" in shown
    (made,) = answer("backup", "application", "Shop")
    assert made["published"] == ["disk", "offsite"]
    assert made["totals"]["file_count"] == 3
    assert made["totals"]["limits"] == 1
    found = answer("check", status=1)["findings"]
    limits = [finding["text"] for finding in found if finding["check"] == "application limits"]
    assert [text.endswith("To accept them: health.known_limits: 1") for text in limits] == [True, True]
    assert made["totals"]["rows"] == 3505
    assert all(check["ok"] for check in answer("verify", made["key"]))
    assert [archive["kind"] for archive in answer("list")["archives"]] == ["application"] * 2
    marker = (tmp_path / "disk" / f"{made['key']}.json").read_text()
    assert "index.php" not in marker


def test_a_failed_application_does_not_stop_the_next(project: Configure, shop: str) -> None:
    databases = {name: [{"name": name, "connection": "shop_db"}] for name in ("none", "shop")}
    project(applications={name: {"databases": found} for name, found in databases.items()})
    made, failed = answer("backup", "database", "-d", "disk", status=1)
    assert made["published"] == ["disk"]
    assert failed["application"] == "none"
    assert "no database 'none'" in failed["error"]


def test_a_destination_without_its_connection_does_not_stop_the_other(
    project: Configure, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    monkeypatch.delenv("AIRFLOW_CONN_BACKUPS_S3")
    (made,) = answer("backup", "database", status=1)
    assert made["published"] == ["disk"]
    assert "There is no Airflow connection 'backups_s3'" in made["failed"]["offsite"]
    listed = answer("list", status=1)
    assert len(listed["archives"]) == 1


def test_names_with_brackets_are_printed_whole(project: Configure, shop: str) -> None:
    project(applications={"Shop [beta] & co": {"databases": [{"name": "shop", "connection": "shop_db"}]}})
    (made,) = answer("backup", "database", "-d", "disk", "--note", "[bold]")
    for arguments in (["verify", made["key"], "-d", "disk"], ["list", "-d", "disk"]):
        assert made["key"] in " ".join(lifeboat(*arguments).stdout.split())


def test_databases_of_one_application_among_several(project: Configure, shop: str) -> None:
    own = {name: {"databases": [{"name": name, "connection": "shop_db"}]} for name in ("none", "shop")}
    project(applications=own)
    (made,) = answer("backup", "database", "--database", "shop", "-d", "disk")
    assert made["application"] == "shop"


def test_long_names_of_any_script(project: Configure, mariadb: MariaDB) -> None:
    application, database = "Интернет-магазин детской одежды и обуви «Солнышко Юг»", "база_" * 12
    mariadb.run(f"CREATE OR REPLACE DATABASE `{database}`")
    project(applications={application: {"databases": [{"name": database, "connection": "shop_db"}]}})
    (made,) = answer("backup", "database")
    assert made["published"] == ["disk", "offsite"]
    mariadb.run(f"DROP DATABASE `{database}`")


def test_living_commands_never_sweep_each_other(project: Configure, tmp_path: Path) -> None:
    project()
    script = (
        "from lifeboat.airflow.site import load_site\n"
        "from lifeboat.cli import terminal\n"
        "for _ in range(30):\n"
        "    with terminal.scratch(load_site(), 'Shop') as scratch:\n"
        "        (scratch.path / 'x').touch()\n"
        "        assert (scratch.path / 'x').exists()\n"
    )
    commands = [subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE) for _ in range(4)]
    for command in commands:
        _, errors = command.communicate()
        assert command.returncode == 0, errors.decode()


def test_one_flipped_byte_is_found(project: Configure, shop: str, tmp_path: Path) -> None:
    project()
    (made,) = answer("backup", "database", "--destination", "disk")
    stored = tmp_path / "disk" / made["key"]
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.write_bytes(content)
    (check,) = answer("verify", made["key"], "--destination", "disk", status=1)
    assert not check["ok"]
    assert "is damaged" in check["error"]


def test_a_wrong_archive_password_is_told(project: Configure, shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    project()
    (made,) = answer("backup", "database", "--destination", "disk")
    monkeypatch.setenv(
        "AIRFLOW_CONN_LIFEBOAT_ARCHIVE", json.dumps({"conn_type": "generic", "password": "no-word-of-a-message"})
    )
    (check,) = answer("verify", made["key"], "--destination", "disk", status=1)
    assert "does not open with this password" in check["error"]


def test_encryption_none_stores_in_the_clear(project: Configure, shop: str, tmp_path: Path) -> None:
    project(encryption="none")
    (made,) = answer("backup", "database", "--destination", "disk")
    subprocess.run(["unzip", "-tq", tmp_path / "disk" / made["key"]], check=True, capture_output=True)
    assert answer("verify", made["key"], "-d", "disk")[0]["ok"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["backup", "database", "Shopp"],
            "There is no application 'Shopp' in the settings. Hint: Did you mean one of: Shop?",
        ),
        (
            ["backup", "database", "--database", "x"],
            "Application 'Shop' has no database 'x'. Hint: Did you mean one of: shop?",
        ),
        (["backup", "database", "-d", "x"], "has no destination 'x'. Hint: Did you mean one of: disk, offsite?"),
        (["verify", "nonsense"], "'nonsense' is neither a file nor the key of an archive."),
        (["list", "-d", "moon"], "There is no destination 'moon'"),
        (["backup", "application"], "No application in the settings has files."),
        (["backup", "application", "Shop"], "Application 'Shop' has no files in the settings."),
        (["plan-files", "Shop"], "Hint: Name their root under applications.Shop.files."),
        (["fly"], "No such command 'fly'"),
        (["backup", "database", ""], "There is no application ''"),
        (["verify", "x" * 300], "is not a path: File name too long."),
        (["backup", "database", "--note", os.fsdecode(b"caf\xe9")], "it is not UTF-8 text"),
    ],
)
def test_wrong_use_exits_2_with_one_sentence(project: Configure, arguments: list[str], said: str) -> None:
    project()
    done = lifeboat(*arguments)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "status", "said"),
    [
        ("AIRFLOW_CONN_SHOP_DB", None, 2, "There is no Airflow connection 'shop_db', which database 'shop' needs."),
        ("AIRFLOW_CONN_SHOP_DB", '{"conn_type": "http"}', 2, "has the type 'http', not 'mysql'"),
        ("AIRFLOW_CONN_LIFEBOAT_ARCHIVE", None, 2, "There is no Airflow connection 'lifeboat_archive'"),
        ("AIRFLOW_CONN_LIFEBOAT_ARCHIVE", '{"conn_type": "generic"}', 2, "holds no password, so archives cannot be"),
        (
            "AIRFLOW_CONN_SHOP_DB",
            '{"conn_type": ',
            2,
            "cannot be read from AIRFLOW_CONN_SHOP_DB: it is neither JSON nor",
        ),
        ("AIRFLOW_CONN_SHOP_DB", '{"conn_type": "mysql", "extra": {"ssl": "/ca.pem"}}', 2, "is not a JSON object"),
        ("AIRFLOW_CONN_SHOP_DB", '{"conn_type": "mysql", "login": "u", "extra": [1]}', 2, "is not a JSON object"),
        (
            "AIRFLOW_CONN_SHOP_DB",
            '{"conn_type": "mysql", "login": "u", "extra": {"ssl": {"ca": "/ca.pem"}}}',
            2,
            "names a ca that is not a file here. Hint: Put the file on every worker",
        ),
        (
            "AIRFLOW_CONN_SHOP_DB",
            '{"conn_type": "mysql", "login": "u", "extra": {"ssl_mode": "MAYBE"}}',
            2,
            "Set it to one of DISABLED, PREFERRED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY.",
        ),
        (
            "AIRFLOW_CONN_LIFEBOAT_ARCHIVE",
            '{"conn_type": "generic", "password": "x", "extra": [1]}',
            2,
            "is not a JSON",
        ),
        ("AIRFLOW_CONN_BACKUPS_S3", '{"conn_type": "mysql"}', 1, "has the type 'mysql', not 'aws'. Hint: Name another"),
        ("AIRFLOW_CONN_BACKUPS_S3", '{"conn_type": "aws", "extra": [1]}', 1, "is not a JSON object"),
        ("LIFEBOAT_CONFIG", "/nowhere.yaml", 2, "Cannot read the settings /nowhere.yaml"),
    ],
)
def test_missing_settings_are_told(
    project: Configure,
    shop: str,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str | None,
    status: int,
    said: str,
) -> None:
    project()
    if value is None:
        monkeypatch.delenv(variable)
    else:
        monkeypatch.setenv(variable, value)
    done = lifeboat("backup", "database")
    assert done.returncode == status
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_the_settings_file_may_be_named(project: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project()
    monkeypatch.setenv("LIFEBOAT_CONFIG", "/nowhere.yaml")
    assert lifeboat("list").returncode == 2
    done = lifeboat("--config", str(path), "list")
    assert (done.returncode, done.stdout) == (0, "No archives yet. Take one: lifeboat backup database\n")


def test_a_full_staging_disk_fails_and_the_next_run_succeeds(project: Configure, shop: str, tmp_path: Path) -> None:
    mount = tmp_path / "tiny"
    mount.mkdir()
    as_root("mount", "-t", "tmpfs", "-o", f"size=16k,uid={os.getuid()}", "tmpfs", str(mount))
    try:
        project(staging=str(mount / "staging"))
        done = lifeboat("backup", "database")
        assert done.returncode == 1
        assert "No space left on device" in " ".join(done.stderr.split())
        assert [path.name for path in (tmp_path / "disk").iterdir()] == [".lifeboat-destination"]
    finally:
        as_root("umount", "-l", str(mount))
    project()
    assert answer("backup", "database")[0]["failed"] == {}


def test_commands_stage_in_a_bucket_too(project: Configure, shop: str, s3: S3) -> None:
    s3.create_bucket("staged")
    client, old = s3.client(), "cli/2026-01-01-00-00-00-1-dead/Shop/"
    young = f"cli/{datetime.now(UTC):%Y-%m-%d-%H-%M-%S}-1-other/Shop/"
    for folder in (old, young):
        client.put_object(Bucket="staged", Key=f"{folder}shop.sql.gz", Body=b"half")
    project(staging="s3://backups_s3@staged")
    (made,) = answer("backup", "database")
    assert made["failed"] == {}
    assert all(check["ok"] for check in answer("verify", made["key"]))
    left = client.list_objects_v2(Bucket="staged")["Contents"]
    assert [entry["Key"] for entry in left] == [f"{young}shop.sql.gz"]


def test_what_a_killed_command_left_is_swept(project: Configure, shop: str, tmp_path: Path) -> None:
    project()
    dead = tmp_path / "staging" / "cli" / "2026-01-01-00-00-00-1" / "Shop"
    dead.mkdir(parents=True)
    (dead.parent / "lock").touch()
    (dead / "shop.sql.gz").write_bytes(b"half")
    answer("backup", "database", "-d", "disk")
    assert not dead.parent.exists()


def test_plan_and_cleanup(project: Configure, shop: str, tmp_path: Path) -> None:
    project()
    answer("backup", "database")
    old = tmp_path / "disk" / "Shop" / "database" / "2001-01-01-00-00-00.zip"
    for path in (old, old.with_name("2001-01-02-00-00-00.zip")):
        path.touch()
        path.with_name(f"{path.name}.json").write_text("{}")
    disk, offsite = answer("plan")["destinations"]
    assert [archive["action"] for archive in disk["archives"]] == ["keep", "delete", "delete"]
    assert [archive["rule"] for archive in offsite["archives"]] == ["newest"]
    shown = lifeboat("plan", "-d", "disk").stdout
    assert "delete  2001-01-01 00:00:00 UTC         0 B  Shop/database/2001-01-01-00-00-00.zip  too old" in shown
    assert "Keep 1, " in shown
    assert lifeboat("cleanup", "--dry-run").returncode == 0
    assert old.exists()
    disk, _ = answer("cleanup", "Shop")["destinations"]
    assert disk["deleted"] == ["Shop/database/2001-01-01-00-00-00.zip", "Shop/database/2001-01-02-00-00-00.zip"]
    assert not old.exists()


def test_check(project: Configure, s3: S3, shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project()
    empty = answer("check", status=1)
    assert empty["verdict"] == "unhealthy"
    (made,) = answer("backup", "database")
    assert answer("check", "--deep")["verdict"] == "healthy"
    assert "Overall: healthy." in lifeboat("check", "Shop").stdout
    path = tmp_path / "disk" / made["key"]
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    assert answer("check")["verdict"] == "healthy"  # which only reading everything could deny
    found = answer("check", "--deep", status=1)["findings"]
    (differs,) = [each for each in found if each["verdict"] != "healthy"]
    assert (differs["destination"], differs["check"]) == ("disk", "read back")
    monkeypatch.setenv("AIRFLOW_CONN_BACKUPS_S3", s3.connection(password="wrong-canary"))
    down = answer("check", status=1)
    assert [each["destination"] for each in down["findings"] if each["check"] == "reachable"] == ["offsite"]
    bad = [each["check"] for each in down["findings"] if each["destination"] == "disk" and each["verdict"] != "healthy"]
    assert bad == ["damaged"]  # as the deep check found, until somebody verifies a whole one
    assert "wrong-canary" not in json.dumps(down)


def test_a_policy_is_tried_on_an_inventory(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.json"
    keys = ["Shop/database/2026-11-22-01-00-00.zip", "Shop/database/2026-11-12-02-00-00.zip"]
    keys += ["Shop/database/2026-11-12-01-00-00.zip", "Shop/2020-01-01-00-00-00.zip", "Shop/photo.zip", "x.txt"]
    inventory.write_text(json.dumps([{"key": key, "size": 5} for key in keys]))
    at = ["plan", "--inventory", str(inventory), "--at", "2026-11-23T03:00:00", "--timezone", "Europe/Berlin"]
    assert [(line["key"], line["action"], line["rule"]) for line in answer(*at)] == [
        (keys[0], "keep", "newest"),
        (keys[1], "keep", "daily"),
        (keys[2], "delete", "daily"),
        (keys[3], "keep", "newest"),
    ]
    shown = lifeboat(*at)
    assert "Ignored 2 objects of the listing" in shown.stderr
    kinds = answer(*at, "--policy", '{"database": {"keep_all_for_days": 30}}')
    assert [line["action"] for line in kinds] == ["keep"] * 4
    alone = lifeboat("plan", "--at", "2026-11-23")
    assert (alone.returncode, "name it with --inventory" in alone.stderr) == (2, True)
    keep_all = answer(*at, "--policy", '{"keep_all_for_days": 30, "delete_oldest_above_megabytes": null}')
    assert [line["action"] for line in keep_all] == ["keep"] * 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--at", "tomorrow"], "--at: 'tomorrow' is not a time."),
        (["--timezone", "Mars/Base"], "--timezone: there is no time zone 'Mars/Base'."),
        (["--policy", "{"], "--policy is not JSON"),
        (["--policy", '{"keep_all": 1}'], "--policy: keep_all: unknown key"),
        (["--policy", '{"keep_all_for_days": -1}'], "--policy: keep_all_for_days: must be at least 0"),
        (["--inventory", "/nowhere"], "Cannot read /nowhere: No such file or directory."),
        (["--policy", '{"keep_yearly_for_years": 9999}'], "must be at most 200"),
        (["--policy", '{"keep_all_for_days": null}'], "--policy: keep_all_for_days: must be a whole number"),
        (["--policy", f"{json.dumps(dict.fromkeys(PERIODS, 0))}"], "--policy: keeps only the newest."),
        (["--at", "9999-12-31T23:59:59", "--timezone", "America/New_York"], "is too far away to plan for."),
        (["Shop"], "--inventory plans for a listing; it takes no application"),
    ],
)
def test_a_wrong_trial_is_told(tmp_path: Path, arguments: list[str], said: str) -> None:
    inventory = tmp_path / "inventory.json"
    inventory.write_text('[{"key": "a", "size": 1}]')
    done = lifeboat("plan", "--inventory", str(inventory), *arguments)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())


@pytest.mark.parametrize("count", [1000, 1001, 2500])
def test_a_long_plan_is_printed_whole(tmp_path: Path, count: int) -> None:
    newest = datetime(2026, 11, 23, tzinfo=UTC)
    keys = [archive_key("Shop", "database", newest - timedelta(hours=number)) for number in range(count)]
    inventory = tmp_path / "inventory.json"
    inventory.write_text(json.dumps([{"key": key, "size": 5} for key in reversed(keys)]))
    decisions = answer("plan", "--inventory", str(inventory), "--at", "2026-11-23T03:00:00")
    assert [decision["key"] for decision in decisions] == keys
    assert {tuple(decision) for decision in decisions} == {("key", "action", "reason", "rule", "superseded_by", "size")}


def test_a_plan_names_what_is_no_utf_8_as_the_listing_did(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.json"
    key = os.fsdecode(b"caf\xe9/database/2026-11-22-01-00-00.zip")
    inventory.write_text(json.dumps([{"key": key, "size": 5}]))
    (decision,) = answer("plan", "--inventory", str(inventory))
    assert decision["key"] == key
    assert "caf\\udce9/database" in lifeboat("plan", "--inventory", str(inventory)).stdout


@pytest.mark.parametrize(
    ("content", "said"),
    [("{}", "must hold a list"), ('[{"key": 1}]', "entry 0 has no 'key'"), ("[", "is not JSON")],
)
def test_a_wrong_inventory_is_told(tmp_path: Path, content: str, said: str) -> None:
    inventory = tmp_path / "inventory.json"
    inventory.write_text(content)
    done = lifeboat("plan", "--inventory", str(inventory))
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())


def test_the_command_starts_without_what_only_some_verbs_need(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.json"
    inventory.write_text("[]")
    script = (
        "import contextlib, sys\n"
        "from lifeboat import cli\n"
        "with contextlib.suppress(SystemExit):\n"
        "    cli.main()\n"
        "heavy = 'airflow', 'boto3', 'isal', 'lifeboat.settings.config', 'pyzipper', 'wcmatch', 'yaml'\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", script, "plan", "--inventory", str(inventory), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "[]\n")


def test_help_needs_no_settings() -> None:
    assert "verify" in lifeboat("--help").stdout
    assert os.environ.get("LIFEBOAT_CONFIG") is None
