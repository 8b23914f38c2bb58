"""Restores, end to end: real archives at real destinations into real servers, and everything that may go wrong."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from lifeboat.actions import after_restore, backup, restore
from lifeboat.actions.backup import Taken
from lifeboat.airflow.site import load_site, site_of
from lifeboat.archive.read import ArchiveReader
from lifeboat.catalog import archives
from lifeboat.catalog.archives import Kind
from lifeboat.catalog.manifest import ManifestHead
from lifeboat.catalog.marker import ArchiveFile, marker_of
from lifeboat.databases.mysql import dump
from lifeboat.databases.mysql import schema as mysql_schema
from lifeboat.databases.mysql.dump import UNFINISHED
from lifeboat.decide.restore_plan import RestorePlan, RestoreRequest
from lifeboat.decide.restored import RestoredDatabase
from lifeboat.errors import (
    ArchiveError,
    DeniedError,
    DumpError,
    LifeboatError,
    MismatchError,
    RestoreError,
    SettingsError,
)
from lifeboat.settings import config
from lifeboat.staging import StagingDirectory
from lifeboat.support import clock, swap
from pyzipper import WZ_AES, AESZipFile

from include.demo.stand_ins import S3, MariaDB
from tests.conftest import ARCHIVE_PASSWORD, PROJECT, Configure, as_root, some_time_ago, staging_directory
from tests.faulty_s3 import LASTING, Fault, FaultyS3, failing

SHOP: dict[str, Any] = {"databases": [{"name": "shop", "connection": "shop_db"}]}
KEY = "Shop/database/2026-11-20-01-00-00.zip"


@pytest.fixture(autouse=True)
def only_shop(mariadb: MariaDB) -> Iterator[None]:
    """Drop what restores made."""
    yield
    for name in mariadb.run("SHOW DATABASES").splitlines():
        if name not in ("information_schema", "mysql", "performance_schema", "sys"):
            mariadb.run(f"DROP DATABASE `{name}`")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "app"
    for name, text in {
        "index.php": "<?php",
        "storage/app/invoice.txt": "Invoice",
        "storage/app/logo.png": "PNG",
        "vendor/autoload.php": "vendor",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "public").symlink_to("storage/app")
    return root


def back_up(kind: config.BackupKind = "database", tmp: str = "1") -> Taken:
    settings = config.load()
    scratch = StagingDirectory(staging_directory(settings) / tmp)
    scratch.create()
    earlier = some_time_ago(site_of(settings))
    taken = backup.take(earlier, "Shop", kind, settings.databases_of("Shop"), (), "", scratch)
    assert not taken.failed
    return taken


def plan(now: datetime | None = None, **wishes: Any) -> RestorePlan:
    return restore.select(load_site(), RestoreRequest("Shop", **wishes), now or datetime.now(UTC))


def restored(made: RestorePlan, **options: Any) -> list[RestoredDatabase]:
    """Do all steps of a restore of databases."""
    settings = config.load()
    restore.verify(site_of(settings), made)
    scratch = StagingDirectory(staging_directory(settings) / "safety")
    scratch.create()
    restore.safety_backup(site_of(settings), made, scratch)
    return [restore.restore_database(site_of(settings), made, step, **options) for step in made.databases]


def schemas(mariadb: MariaDB) -> set[str]:
    return {name for name in mariadb.run("SHOW DATABASES").splitlines() if name.startswith("shop")}


def keys(kind: Kind = "database") -> list[str]:
    (disk, _) = load_site().destinations("Shop")
    return [archive.key for archive in archives.read(disk.list()).archives if archive.kind == kind]


def checksums(mariadb: MariaDB, database: str) -> str:
    found = mariadb.run("CHECKSUM TABLE users, orders, page_views, empty_one", database)
    return found.replace(f"{database}.", "")


@pytest.mark.parametrize("destination", ["disk", "offsite"])
def test_a_database_is_restored_beside_the_original(
    project: Configure, mariadb: MariaDB, shop: str, destination: str
) -> None:
    project()
    back_up()
    before = checksums(mariadb, shop)
    mariadb.run("DELETE FROM page_views", shop)
    made = plan(destination=destination)
    assert made.destination == destination
    (done,) = restored(made)
    assert done.schema.startswith("shop_restored_20")
    assert schemas(mariadb) == {"shop", done.schema}
    assert checksums(mariadb, done.schema) == before
    assert (done.rows, done.tables, done.compared) == (3505, 4, 4)
    assert mariadb.run("SELECT count(*) FROM page_views", shop) == "0\n"
    assert mariadb.run(f"SELECT `{done.schema}`.twice(4)") == "8\n"
    assert len(keys()) == 1, "nothing was replaced, so no safety backup is needed"


def test_a_typed_name_replaces_the_original_after_a_safety_backup(
    project: Configure, mariadb: MariaDB, shop: str
) -> None:
    mariadb.run("CREATE TABLE sessions (id INT PRIMARY KEY); INSERT INTO sessions VALUES (7)", shop)
    excluding = {"name": "shop", "connection": "shop_db", "exclude_tables": ["sessions"]}
    project(applications={"Shop": {"databases": [excluding]}})
    taken = back_up()
    before = checksums(mariadb, shop)
    mariadb.run("DELETE FROM orders WHERE id > 5; CREATE TABLE made_since (id INT); CREATE VIEW v AS SELECT 1", shop)
    mariadb.run("GRANT SELECT ON shop.* TO reader@localhost IDENTIFIED BY 'x'")
    (done,) = restored(plan(overwrite=("shop",)))
    assert done.schema == "shop"
    assert checksums(mariadb, shop) == before
    tables = mariadb.run("SHOW TABLES", shop).split()
    assert "made_since" not in tables
    assert UNFINISHED not in tables
    assert mariadb.run("SELECT * FROM sessions", shop) == "7\n", "the dump does not hold it, so it stays"
    assert "reader" in mariadb.run("SHOW GRANTS FOR reader@localhost")
    mariadb.run("DROP USER reader@localhost")
    safety, first = keys()
    assert first == taken.packed.key
    (copy,) = restored(plan(archive=safety))
    assert mariadb.run("SELECT count(*) FROM orders", copy.schema) == "5\n"
    assert "made_since" in mariadb.run("SHOW TABLES", copy.schema)


def test_a_copy_is_not_blamed_for_lacking_what_the_settings_exclude(
    project: Configure, mariadb: MariaDB, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    mariadb.run("CREATE TABLE sessions (id INT PRIMARY KEY); INSERT INTO sessions VALUES (7)", shop)
    excluding = {"name": "shop", "connection": "shop_db", "exclude_tables": ["sessions"]}
    project(applications={"Shop": {"databases": [excluding]}})
    back_up()
    monkeypatch.setattr(dump.log, "warning", lambda message, *names: told.append(message % names))
    (copy,) = restored(plan())
    mariadb.run("DROP DATABASE shop")
    (again,) = restored(plan(overwrite=("shop",)))
    assert (copy.compared, again.compared) == (4, 4)
    assert told == []


def test_a_database_that_is_gone_comes_back_under_its_name(project: Configure, mariadb: MariaDB, shop: str) -> None:
    project()
    back_up()
    before = checksums(mariadb, shop)
    mariadb.run("DROP DATABASE shop")
    (done,) = restored(plan(into="shop"))
    assert done.schema == "shop"
    assert checksums(mariadb, shop) == before
    assert "DISABLE" in mariadb.run("SHOW CREATE EVENT nightly", shop), "root's, and nothing is there to tell it by"
    (told,) = [warning for warning in done.warnings if "event 'nightly' is disabled" in warning]
    mariadb.run(told.partition("then: ")[2])
    assert "ENABLE" in mariadb.run("SHOW CREATE EVENT nightly", shop)
    assert len(keys()) == 1
    (again,) = restored(plan(overwrite=("shop",)))
    assert "ENABLE" in mariadb.run("SHOW CREATE EVENT nightly", shop), "it is the original again, not a copy"
    assert not [warning for warning in again.warnings if "event" in warning]


def test_one_table(project: Configure, mariadb: MariaDB, shop: str) -> None:
    project()
    back_up()
    (done,) = restored(plan(table="users", into="shop_rescue"))
    assert mariadb.run("SHOW TABLES", "shop_rescue") == "users\n"
    assert (done.rows, done.compared) == (5, 1)
    with pytest.raises(RestoreError, match="userz"):
        restored(plan(table="userz"))


def test_what_exists_and_was_not_typed_is_refused_before_anything_happens(
    project: Configure, mariadb: MariaDB, shop: str
) -> None:
    project()
    back_up()
    with pytest.raises(SettingsError, match="has a database 'shop' already"):
        plan(into="shop")
    assert schemas(mariadb) == {"shop"}


def test_an_empty_schema_is_taken_as_one_that_a_killed_restore_left(
    project: Configure, mariadb: MariaDB, shop: str
) -> None:
    project()
    back_up()
    mariadb.run("CREATE DATABASE shop_copy")
    (done,) = restored(plan(into="shop_copy"))
    assert (done.schema, done.compared) == ("shop_copy", 4)


def test_a_schema_with_anything_in_it_is_not_empty(mariadb: MariaDB, shop: str) -> None:
    session = dump.Session(mariadb.connect(autocommit=True))
    for what in ("TABLE x (id INT)", "PROCEDURE x() SELECT 1", "EVENT x ON SCHEDULE EVERY 1 DAY DO SELECT 1"):
        mariadb.run("CREATE OR REPLACE DATABASE shop_copy")
        assert "shop_copy" in mysql_schema.vacant(session)
        mariadb.run(f"CREATE {what}", "shop_copy")
        assert "shop_copy" not in mysql_schema.vacant(session)


def test_the_mark_of_a_schema_goes_last(mariadb: MariaDB, shop: str) -> None:
    left = []

    class Watching(dump.Session):
        def execute(self, sql: bytes) -> int:
            if sql.startswith(b"DROP DATABASE"):
                left.append(mariadb.run("SHOW TABLES", shop).split())
            return super().execute(sql)

    session = Watching(mariadb.connect())
    mysql_schema.begin(session, shop, KEY, "", "", ())
    mysql_schema.drop(session, shop)
    assert left == [[UNFINISHED]]


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 1
    else:
        del content[len(content) // 2 :]
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["flipped", "cut"])
def test_a_damaged_archive_is_refused_and_nothing_is_touched(
    project: Configure, mariadb: MariaDB, shop: str, tmp_path: Path, how: str
) -> None:
    project()
    taken = back_up()
    damage(tmp_path / "disk" / taken.packed.key, how)
    before = checksums(mariadb, shop)
    with pytest.raises(LifeboatError):
        restored(plan(overwrite=("shop",), destination="disk"))
    assert schemas(mariadb) == {"shop"}
    assert checksums(mariadb, shop) == before
    assert len(keys()) == 1


def test_a_marker_that_is_denied_stops_a_restore_before_anything_is_changed(
    project: Configure, mariadb: MariaDB, shop: str, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    key = back_up().packed.key
    before = schemas(mariadb)
    chosen = plan(destination="offsite")
    deny = failing(403, "AccessDenied")
    with FaultyS3(s3.endpoint) as proxy:
        connection = json.loads(s3.connection())
        connection["extra"]["endpoint_url"] = proxy.endpoint
        monkeypatch.setenv("AIRFLOW_CONN_BACKUPS_S3", json.dumps(connection))
        proxy.inject(
            Fault(lambda forward: deny(forward) if forward.path.endswith(f"{key}.json") else forward(), times=LASTING)
        )
        with pytest.raises(RestoreError, match=rf"{key} cannot be restored as asked: Cannot look for {key}\.json"):
            plan(destination="offsite")
        with pytest.raises(DeniedError, match="As the test wants it"):
            restored(chosen)  # which was chosen before
        assert schemas(mariadb) == before
        assert plan().destination == "disk"
        (done,) = restored(plan(overwrite=("shop",)))  # no newer archive is passed over: the disk has the same
    assert done.compared == done.tables


def test_another_destination_stands_in_for_one_whose_archive_cannot_be_opened(
    project: Configure, mariadb: MariaDB, shop: str, tmp_path: Path
) -> None:
    project()
    taken = back_up()
    damage(tmp_path / "disk" / taken.packed.key, "cut")
    assert plan().destination == "offsite"


def test_a_wrong_password_is_refused_and_nothing_is_touched(
    project: Configure, mariadb: MariaDB, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    back_up()
    monkeypatch.setenv(
        "AIRFLOW_CONN_LIFEBOAT_ARCHIVE", json.dumps({"conn_type": "generic", "password": "no-word-of-a-message"})
    )
    with pytest.raises(ArchiveError, match="does not open with this password"):
        restored(plan())
    assert schemas(mariadb) == {"shop"}


def test_the_newest_archive_that_holds_what_is_wanted_is_taken(project: Configure, mariadb: MariaDB, shop: str) -> None:
    mariadb.run("CREATE DATABASE shop_stock; CREATE TABLE shop_stock.t (id INT PRIMARY KEY)")
    both = [{"name": name, "connection": "shop_db"} for name in ("shop", "shop_stock")]
    project(applications={"Shop": {"databases": both}})
    whole = back_up()
    project()
    part = back_up(tmp="2")
    assert plan().key == part.packed.key
    assert plan(databases=("shop_stock",)).key == whole.packed.key
    with pytest.raises(RestoreError, match=r"1 older one was tried, too\): it holds no dump of blog"):
        plan(databases=("blog",))


def test_a_destination_that_is_down_is_no_obstacle(
    project: Configure, shop: str, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    back_up()
    for broken in (s3.connection(password="wrong"), None):
        if broken:
            monkeypatch.setenv("AIRFLOW_CONN_BACKUPS_S3", broken)
        else:
            monkeypatch.delenv("AIRFLOW_CONN_BACKUPS_S3")
        assert plan().destination == "disk"
        with pytest.raises(LifeboatError):
            plan(destination="offsite")


def repack(path: Path, change: Any) -> None:
    """Pack an archive anew as somebody would who has the password, so that all of its checksums are right."""
    with path.open("rb") as file:
        reader = ArchiveReader(file, "it", ARCHIVE_PASSWORD)
        contents = {name: b"".join(reader.chunks(name)) for name in reader.names()}
    with AESZipFile(path) as packed:
        attributes = {info.filename: info.external_attr for info in packed.infolist()}
    manifest = json.loads(contents.pop("manifest.json"))
    change(contents, manifest)
    with AESZipFile(path, "w", encryption=WZ_AES) as archive:
        archive.setpassword(ARCHIVE_PASSWORD.encode())
        for name, content in contents.items():
            manifest["entries"][name] |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            info = archive.zipinfo_cls(name)
            info.external_attr = attributes.get(name, 0)
            archive.writestr(info, content)
        archive.writestr("manifest.json", json.dumps(manifest))
    marker = path.with_name(f"{path.name}.json")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    packed = ArchiveFile(size=path.stat().st_size, sha256=sha256, encrypted=True)
    truth = marker_of(ManifestHead.from_json(manifest), entries=len(contents), archive=packed)
    marker.write_bytes(truth.to_bytes())


def test_a_row_that_was_changed_in_the_archive_is_found(
    project: Configure, mariadb: MariaDB, shop: str, tmp_path: Path
) -> None:
    project()
    taken = back_up()

    def forge(contents: dict[str, bytes], manifest: Any) -> None:
        (name,) = [name for name in contents if name.startswith("db-dumps/")]
        forged = contents[name].replace(b"'O\\'Hara'", b"'O\\'Harm'")
        assert forged != contents[name]
        contents[name] = forged

    repack(tmp_path / "disk" / taken.packed.key, forge)
    made = plan(destination="disk")
    with pytest.raises(MismatchError, match="table 'users' holds other data in its 5 rows"):
        restored(made)
    assert made.databases[0].schema in schemas(mariadb)


def test_an_archive_that_anybody_could_have_made_is_refused(
    project: Configure, mariadb: MariaDB, shop: str, tmp_path: Path
) -> None:
    project(encryption="none")
    taken = back_up()
    project()
    with pytest.raises(ArchiveError, match="is not encrypted, so anyone could have written it"):
        restored(plan(destination="disk"))
    path = tmp_path / "disk" / taken.packed.key
    subprocess.run(["7z", "d", str(path), "manifest.json"], check=True, capture_output=True)
    with pytest.raises(RestoreError, match="holds no manifest, so nothing says what it should restore to"):
        plan(destination="disk")
    assert schemas(mariadb) == {"shop"}


def killed_midway(plan_facts: dict[str, Any], mariadb: MariaDB) -> None:
    """Restore in a process of its own, and kill it while a table is being filled."""
    script = (
        "import json, sys\n"
        "from lifeboat.actions import restore\n"
        "from lifeboat.airflow.site import load_site\n"
        "from lifeboat.decide.restore_plan import RestorePlan\n"
        "made = RestorePlan.from_json(json.loads(sys.argv[1]))\n"
        "restore.restore_database(load_site(), made, made.databases[0])\n"
    )
    schema = plan_facts["databases"][0]["schema"]
    environment = os.environ | {"PYTHONPATH": str(PROJECT / "plugins"), "_AIRFLOW_PROCESS_CONTEXT": "server"}
    process = subprocess.Popen([sys.executable, "-c", script, json.dumps(plan_facts)], env=environment)
    deadline = time.monotonic() + 60
    seen = ""
    while not (UNFINISHED in seen and "page_views" in seen) and process.poll() is None and time.monotonic() < deadline:
        seen = mariadb.run(f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{schema}'")
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("over", [(), ("shop",)])
def test_a_killed_restore_is_marked_and_running_it_again_succeeds(
    project: Configure, mariadb: MariaDB, shop: str, over: tuple[str, ...]
) -> None:
    mariadb.run("INSERT INTO page_views SELECT repeat('x', 190), NULL FROM seq_1_to_200000", shop)
    project()
    back_up()
    before = checksums(mariadb, shop)
    made = plan(overwrite=over, into="" if over else "shop_copy")
    killed_midway(made.to_json(), mariadb)
    schema = made.databases[0].schema
    assert UNFINISHED in mariadb.run("SHOW TABLES", schema)
    with pytest.raises(DumpError, match="A restore is filling the database, or was interrupted"):
        dump.dump(mariadb.connect, mariadb.server, clock.now, schema, (), lambda chunk: None)
    again = plan(overwrite=over, into="" if over else "shop_copy")
    (done,) = restored(again)
    assert checksums(mariadb, done.schema) == before
    assert done.compared == 4
    assert len(keys()) == 1, "half of a database is nothing to back up"


LEGACY = "Shop/2026-11-20-01-00-00.zip"


def legacy(path: Path, contents: dict[str, bytes], *, encrypted: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with AESZipFile(path, "w", **({"encryption": WZ_AES} if encrypted else {})) as archive:
        if encrypted:
            archive.setpassword(ARCHIVE_PASSWORD.encode())
        for name, content in contents.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("encrypted", [True, False])
@pytest.mark.parametrize("compressed", [True, False])
def test_databases_of_laravel_backups_archives(
    project: Configure, mariadb: MariaDB, shop: str, tmp_path: Path, encrypted: bool, compressed: bool
) -> None:
    project(legacy_until="2027-03-01", **({} if encrypted else {"encryption": "none"}))
    written = [b""]

    def write(chunk: bytes) -> None:
        written[0] += chunk

    dump.dump(mariadb.connect, mariadb.server, clock.now, shop, (), write)
    sql = written[0]
    name = "db-dumps/mysql-connection_name.sql" + (".gz" if compressed else "")
    path = tmp_path / "disk" / "Shop" / "2026-11-20-01-00-00.zip"
    legacy(path, {name: gzip.compress(sql) if compressed else sql}, encrypted=encrypted)
    made = plan(archive=LEGACY)
    assert any("NOBODY SIGNED IT" in line for line in made.lines())
    (done,) = restored(made)
    assert any("this archive of laravel-backup is not signed" in warning for warning in done.warnings)
    assert done.compared is None
    assert done.rows == 3505
    assert checksums(mariadb, done.schema) == checksums(mariadb, shop)
    cut = gzip.compress(sql)[:-20]
    if compressed:
        legacy(path, {name: cut}, encrypted=encrypted)
        with pytest.raises(RestoreError, match="is cut short"):
            restored(plan(archive=LEGACY, into="shop_cut"))


def test_a_database_in_use_is_not_waited_for_all_day(
    project: Configure, mariadb: MariaDB, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    back_up()
    monkeypatch.setattr(mysql_schema, "PATIENCE", 1)
    user = mariadb.connect(database=shop, autocommit=False)
    user.cursor().execute("SELECT * FROM orders LIMIT 1")
    try:
        with pytest.raises(RestoreError, match=r"Lock wait timeout exceeded.*Stop the application") as error:
            restored(plan(overwrite=("shop",)))
    finally:
        user.close()
    assert "Restore of database 'shop' on" in str(error.value)
    (done,) = restored(plan(overwrite=("shop",)))
    assert done.compared == 4


@pytest.mark.parametrize("name", ["we`ird'", 'semi;colon"%s', "line\nbreak", "emoji-é日本"])
def test_hostile_names_of_databases(project: Configure, mariadb: MariaDB, name: str) -> None:
    quoted = name.replace("`", "``")
    mariadb.run(f"CREATE OR REPLACE DATABASE `{quoted}`; CREATE TABLE `{quoted}`.t (id INT PRIMARY KEY)")
    mariadb.run(f"INSERT INTO `{quoted}`.t VALUES (1), (2)")
    project(applications={"Shop": {"databases": [{"name": name, "connection": "shop_db"}]}})
    back_up()
    mariadb.run(f"DROP TABLE `{quoted}`.t")
    beside, over = restored(plan())[0], restored(plan(overwrite=(name,)))[0]
    assert (beside.rows, over.rows) == (2, 2)
    assert (beside.compared, over.compared) == (1, 1)
    assert mariadb.run(f"SELECT count(*) FROM `{quoted}`.t") == "2\n"
    for schema in (beside.schema, name):
        mariadb.run(f"DROP DATABASE `{schema.replace('`', '``')}`")


def test_files_of_laravel_backups_archives(project: Configure, shop: str, root: Path, tmp_path: Path) -> None:
    accepted: dict[str, Any] = {"legacy_until": "2027-03-01"}
    project(applications={"Shop": SHOP | {"files": {"root": str(root)}}}, **accepted)
    above = str(root).lstrip("/")
    path = tmp_path / "disk" / "Shop" / "2026-11-20-01-00-00.zip"
    contents = {
        f"{above}/index.php": b"<?php old",
        f"{above}/manifest.json": b'{"name": "a web app"}',
        "db-dumps/mysql-shop.sql": b"",
    }
    legacy(path, contents, encrypted=True)
    made = plan(archive=LEGACY, files=True, path="index.php", into=str(tmp_path / "old"))
    done = restore.restore_files(load_site(), made)
    assert (tmp_path / "old/index.php").read_text() == "<?php old"
    assert any("no manifest" in warning for warning in done.warnings)
    legacy(path, {"index.php": b"<?php", "manifest.json": b"{}"}, encrypted=False)
    with pytest.raises(ArchiveError, match=r"'index\.php' is not encrypted, so anyone could have written it"):
        restore.verify(load_site(), plan(archive=LEGACY, files=True, into=str(tmp_path / "relative")))
    project(applications={"Shop": SHOP | {"files": {"root": str(root)}, "encryption": "none"}}, **accepted)
    restore.verify(load_site(), plan(archive=LEGACY, files=True, into=str(tmp_path / "relative")))
    restore.restore_files(load_site(), plan(archive=LEGACY, files=True, into=str(tmp_path / "relative")))
    assert sorted(each.name for each in (tmp_path / "relative").iterdir()) == ["index.php", "manifest.json"]


def test_an_application_is_restored_beside_the_original(
    project: Configure, mariadb: MariaDB, shop: str, root: Path
) -> None:
    project(applications={"Shop": SHOP | {"files": {"root": str(root)}}})
    back_up("application")
    made = plan(files=True)
    assert made.files is not None
    done = restore.restore_files(load_site(), made)
    target = Path(done.target)
    assert target.parent == root.parent
    assert target.name.startswith("app_restored_")
    assert (target / "storage/app/invoice.txt").read_text() == "Invoice"
    assert (target / "public").readlink() == Path("storage/app")
    assert not (target / "vendor").exists()
    assert (done.files, done.kept) == (3, "")


def test_an_application_is_replaced_and_the_old_tree_kept(
    project: Configure, mariadb: MariaDB, shop: str, root: Path
) -> None:
    files = {"root": str(root), "include": ["*.php", "storage/**", "public"]}
    (root / "notes.txt").write_text("not included")
    project(applications={"Shop": SHOP | {"files": files}})
    back_up("application")
    (root / "index.php").write_text("<?php broken")
    (root / "made_since.php").touch()
    made = plan(files=True, overwrite=("Shop",))
    restored(made)
    done = restore.restore_files(load_site(), made)
    assert done.target == str(root)
    assert (root / "index.php").read_text() == "<?php"
    assert not (root / "made_since.php").exists()
    assert (root / "vendor/autoload.php").read_text() == "vendor", "no archive holds it, so it is carried over"
    assert (root / "notes.txt").read_text() == "not included"
    assert (Path(done.kept) / "index.php").read_text() == "<?php broken"
    assert (Path(done.kept) / "vendor/autoload.php").exists()
    safety, _ = keys("application")
    with pytest.raises(SettingsError, match="lies in"):
        project(applications={"Shop": SHOP | {"files": files}}, staging=str(root / "staging"))
        plan(files=True, overwrite=("Shop",), archive=safety)


@pytest.mark.parametrize("step", ["take_owners", "sync_names"])
def test_a_replacement_that_was_killed_is_done_by_the_next_try(
    project: Configure, mariadb: MariaDB, shop: str, root: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Before the trees are exchanged, or after it: the task that is tried again has the same plan."""
    project(applications={"Shop": SHOP | {"files": {"root": str(root)}}})
    back_up("application")
    (root / "index.php").write_text("<?php broken")
    made = plan(files=True, overwrite=("Shop",))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(swap, step, interrupt)
        restore.restore_files(load_site(), made)
    done = restore.restore_files(load_site(), made)
    assert (root / "index.php").read_text() == "<?php"
    beside = sorted(path for path in root.parent.iterdir() if "app" in path.name and path != root)
    assert [path for path in beside if "_before_" not in path.name] == []
    assert "<?php broken" in [(path / "index.php").read_text() for path in beside]
    assert Path(done.kept) in beside


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_owners_and_the_roots_mode_are_those_of_the_tree_that_is_replaced(
    project: Configure, mariadb: MariaDB, shop: str, root: Path
) -> None:
    for path in (root, root / "storage", root / "storage/app", root / "public"):
        as_root("chown", "-h", "33:33", str(path))
    as_root("chown", "33:4", str(root / "storage/app/invoice.txt"))
    root.chmod(0o2750)
    project(applications={"Shop": SHOP | {"files": {"root": str(root)}}})
    back_up("application")
    (root / "storage/app/logo.png").unlink()
    restore.restore_files(load_site(), plan(files=True, overwrite=("Shop",)))
    owners = {
        name: (root / name).lstat()[4:6]
        for name in (".", "storage/app", "storage/app/invoice.txt", "storage/app/logo.png", "public", "index.php")
    }
    assert owners == {
        ".": (33, 33),
        "storage/app": (33, 33),
        "storage/app/invoice.txt": (33, 4),
        "storage/app/logo.png": (33, 33),
        "public": (33, 33),
        "index.php": (os.geteuid(), os.getegid()),
    }
    assert root.stat().st_mode & 0o7777 == 0o2750


def test_a_folder_and_a_file_in_place(project: Configure, mariadb: MariaDB, shop: str, root: Path) -> None:
    project(applications={"Shop": SHOP | {"files": {"root": str(root)}}})
    back_up("application")
    for path, restored_path in (("storage/app", "storage/app/invoice.txt"), ("index.php", "index.php")):
        (root / restored_path).write_text("damaged")
        untouched = root / ("index.php" if path == "storage/app" else "storage/app/logo.png")
        made = plan(files=True, path=path, overwrite=("Shop",))
        done = restore.restore_files(load_site(), made)
        assert (root / restored_path).read_text() in ("Invoice", "<?php")
        assert untouched.exists()
        assert Path(done.kept).exists()
        assert Path(done.kept).parent == (root / path).parent
    assert not list(root.parent.glob("*_restored_*")), "nothing is left beside it"


@pytest.mark.parametrize(
    ("path", "deleted"),
    [("storage/app", "storage/app"), ("storage/app", "storage"), ("index.php", "index.php"), ("", ".")],
)
def test_what_was_deleted_comes_back_in_its_place(project: Configure, root: Path, path: str, deleted: str) -> None:
    project(applications={"Shop": {"files": {"root": str(root), "exclude": []}}})
    back_up("application")
    as_root("chown", "-hR", "33:34", str(root))
    before = {each.relative_to(root): each.read_bytes() for each in root.rglob("*") if each.is_file()}
    lost = root / deleted
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    done = restore.restore_files(load_site(), plan(files=True, path=path, overwrite=("Shop",)))
    assert done.kept == ""
    after = {each.relative_to(root): each.read_bytes() for each in root.rglob("*") if each.is_file()}
    inside = {each for each in before if not path or each.is_relative_to(path)}
    assert {each: after[each] for each in inside} == {each: before[each] for each in inside}
    assert set(after) <= set(before)
    if path:
        assert {each.lstat()[4:6] for each in (root / deleted, *(root / deleted).rglob("*"))} == {(33, 34)}
    assert not [each for each in root.parent.iterdir() if "_restored_" in each.name]


@pytest.mark.parametrize("since", ["before the plan", "since the plan", "while it is restored"])
def test_nothing_is_replaced_through_a_link_below_the_root(
    project: Configure, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, since: str
) -> None:
    """Who could write to the application would choose what a restore replaces: the worker's ~/.ssh, say."""
    project(applications={"Shop": {"files": {"root": str(root)}}})
    back_up("application")
    outside = tmp_path / "outside"
    (outside / "app").mkdir(parents=True)
    (outside / "app/key").write_text("as it was")
    take_owners = swap.take_owners

    def mislead(*paths: Path) -> None:
        if paths:
            take_owners(*paths)
        (root / "storage").rename(root / "moved")
        (root / "storage").symlink_to(outside)

    if since == "before the plan":
        mislead()
        with pytest.raises(SettingsError, match=r"A link below .* leads from .* to .*outside"):
            plan(files=True, path="storage/app", overwrite=("Shop",))
    else:
        made = plan(files=True, path="storage/app", overwrite=("Shop",))
        if since == "since the plan":
            mislead()
        monkeypatch.setattr(swap, "take_owners", mislead)
        with pytest.raises(LifeboatError, match=r"A link below .* leads|no longer leads to .*; nothing"):
            restore.restore_files(load_site(), made)
    assert [str(path.relative_to(outside)) for path in outside.rglob("*")] == ["app", "app/key"]


def test_one_file_beside(project: Configure, shop: str, root: Path, tmp_path: Path) -> None:
    project(applications={"Shop": SHOP | {"files": {"root": str(root)}}})
    back_up("application")
    made = plan(files=True, path="storage/app/invoice.txt", into=str(tmp_path / "rescue"))
    assert made.databases == ()
    restore.restore_files(load_site(), made)
    assert (tmp_path / "rescue/storage/app/invoice.txt").read_text() == "Invoice"
    assert [path.name for path in (tmp_path / "rescue").rglob("*") if path.is_file()] == ["invoice.txt"]


def run_after(project: Configure, root: Path, commands: list[str], **wishes: Any) -> list[str]:
    project(applications={"Shop": SHOP | {"files": {"root": str(root)}, "after_restore": commands}})
    if not keys("application"):
        back_up("application")
    made = plan(files=True, **wishes)
    if not Path(made.files.target if made.files else "").exists():
        restore.restore_files(load_site(), made)
    return after_restore.run_commands(load_site(), made)


def test_commands_run_in_the_restored_folder_in_their_order(
    project: Configure, shop: str, root: Path, tmp_path: Path
) -> None:
    commands = ["sh -c 'pwd; echo $DB_DATABASE; env' ", "touch 'a file'", "ls 'a file'"]
    commands[0] = f"sh -c 'pwd > {tmp_path}/out; echo $DB_DATABASE >> {tmp_path}/out; env > {tmp_path}/env'"
    into = tmp_path / "copy"
    assert run_after(project, root, commands, into=str(into)) == commands
    folder, database = (tmp_path / "out").read_text().split()
    assert folder == str(into)
    assert database.startswith("shop_restored_")
    assert (into / "a file").exists()
    assert "AIRFLOW" not in (tmp_path / "env").read_text()


def test_a_failing_command_is_told_with_its_last_words_and_stops_the_rest(
    project: Configure, shop: str, root: Path, tmp_path: Path
) -> None:
    with pytest.raises(RestoreError, match=r"ended with status 3:\nno such table") as error:
        run_after(project, root, ["sh -c 'echo no such table; exit 3'", "touch never"], into=str(tmp_path / "copy"))
    assert "Everything is restored" in str(error.value)
    assert not (tmp_path / "copy/never").exists()
    with pytest.raises(RestoreError, match=r"phpp artisan cannot be run in .*: No such file"):
        run_after(project, root, ["phpp artisan"], into=str(tmp_path / "copy2"))


def test_what_a_command_leaves_running_is_not_waited_for(
    project: Configure, shop: str, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    started = time.monotonic()
    run_after(project, root, ["sh -c 'echo started; sleep 60 & echo $! > pid'"], into=str(tmp_path / "copy"))
    os.kill(int((tmp_path / "copy/pid").read_text()), signal.SIGKILL)
    assert time.monotonic() - started < 50
    assert "  started" in caplog.messages


def test_a_safety_backup_that_cannot_be_taken_stops_the_restore(
    project: Configure, mariadb: MariaDB, shop: str, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    back_up()
    monkeypatch.setenv("AIRFLOW_CONN_BACKUPS_S3", s3.connection(password="wrong"))
    made = plan(overwrite=("shop",))
    blocked = tmp_path / "disk/Shop/database"
    store = dump.dump

    def and_close(*arguments: Any, **options: Any) -> Any:
        found = store(*arguments, **options)
        (tmp_path / "disk").rename(tmp_path / "away")  # the disk vanishes while the dump runs
        (tmp_path / "disk").touch()
        return found

    monkeypatch.setattr(dump, "dump", and_close)
    with pytest.raises(RestoreError, match="The safety backup is published nowhere"):
        restored(made)
    assert not blocked.exists()
    assert mariadb.run("SELECT count(*) FROM orders", shop) == "3000\n"
    assert UNFINISHED not in mariadb.run("SHOW TABLES", shop)


def test_a_safety_backup_comes_back_only_by_its_key(project: Configure, mariadb: MariaDB, shop: str) -> None:
    project()
    taken = back_up()
    mariadb.run("DELETE FROM orders", shop)
    restored(plan(overwrite=("shop",)))
    safety = keys()[0]
    assert safety != taken.packed.key
    assert plan(into="shop_a").key == taken.packed.key
    (undone,) = restored(plan(archive=safety, into="shop_b"))
    assert mariadb.run("SELECT count(*) FROM orders", undone.schema) == "0\n"


def test_a_safety_backup_holds_what_backups_exclude(project: Configure, mariadb: MariaDB, shop: str) -> None:
    project()
    back_up()
    mariadb.run("INSERT INTO empty_one VALUES (42)", shop)
    excluding = {"name": "shop", "connection": "shop_db", "exclude_tables": ["empty_one"]}
    project(applications={"Shop": {"databases": [excluding]}})
    restored(plan(overwrite=("shop",)))
    assert mariadb.run("SELECT count(*) FROM empty_one", shop) == "0\n"
    (undone,) = restored(plan(archive=keys()[0]))
    assert mariadb.run("SELECT id FROM empty_one", undone.schema) == "42\n"


def test_what_laravel_backup_made_stands_behind_what_is_ours(
    project: Configure, mariadb: MariaDB, shop: str, tmp_path: Path
) -> None:
    project()
    taken = back_up()
    legacy(tmp_path / "disk/Shop/2026-11-24-23-00-00.zip", {"db-dumps/mysql-shop.sql": b"SELECT 1;"}, encrypted=False)
    assert plan(archive="2036-01-01").key == taken.packed.key


def test_older_data_overwrites_only_when_its_key_was_typed(
    project: Configure, mariadb: MariaDB, shop: str, tmp_path: Path
) -> None:
    project(destinations={"disk": {"type": "disk", "path": str(tmp_path / "disk")}})
    old = back_up().packed.key
    new = back_up(tmp="2").packed.key
    damage(tmp_path / "disk" / new, "cut")
    assert plan().key == old
    with pytest.raises(RestoreError, match=f"{new} cannot be used") as error:
        plan(overwrite=("shop",))
    assert old in str(error.value)
    assert plan(overwrite=("shop",), archive=old).key == old


def test_an_archive_under_another_name_is_refused(
    project: Configure, mariadb: MariaDB, shop: str, tmp_path: Path
) -> None:
    project()
    old = back_up().packed.key
    new = back_up(tmp="2").packed.key
    for suffix in ("", ".json"):
        (tmp_path / "disk" / (new + suffix)).write_bytes((tmp_path / "disk" / (old + suffix)).read_bytes())
    with pytest.raises(ArchiveError, match="holds the manifest of another archive"):
        restored(plan(archive=new, destination="disk"))


def test_a_table_with_foreign_keys_comes_back_by_itself(project: Configure, mariadb: MariaDB, shop: str) -> None:
    project()
    back_up()
    (done,) = restored(plan(table="orders", into="shop_rescue"))
    assert done.rows == 3000
    assert any("was left out" in warning for warning in done.warnings)
    with pytest.raises(RestoreError, match="has no table 'order'") as error:
        restored(plan(table="order", into="shop_never"))
    assert "'orders'" in str(error.value)
    assert "shop_never" not in schemas(mariadb)


def test_an_application_of_files_only(project: Configure, root: Path, tmp_path: Path) -> None:
    project(applications={"Shop": {"files": {"root": str(root)}}})
    back_up("application")
    made = plan(files=True, into=str(tmp_path / "copy"))
    assert restored(made) == []
    restore.restore_files(load_site(), made)
    assert (tmp_path / "copy/index.php").exists()


def test_nothing_is_carried_over_through_a_link(project: Configure, root: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    (shared / "framework").mkdir(parents=True)
    (shared / "framework/x").write_text("shared")
    live = root / "storage"
    kept = root.with_name("kept")
    live.rename(kept)
    live.symlink_to(shared)
    (root / "public").unlink()
    project(applications={"Shop": {"files": {"root": str(root), "exclude": ["storage/framework"]}}})
    back_up("application")
    live.unlink()
    (live / "framework").mkdir(parents=True)
    (live / "framework/x").write_text("live")
    restore.restore_files(load_site(), plan(files=True, overwrite=("Shop",)))
    assert (shared / "framework/x").read_text() == "shared"
    assert live.is_symlink()


def test_commands_are_not_run_in_a_copy_that_could_reach_the_original(
    project: Configure, mariadb: MariaDB, shop: str, root: Path, tmp_path: Path
) -> None:
    mariadb.run("CREATE DATABASE shop_two; CREATE TABLE shop_two.t (id INT PRIMARY KEY)")
    both = [{"name": name, "connection": "shop_db"} for name in ("shop", "shop_two")]
    project(applications={"Shop": {"databases": both, "files": {"root": str(root)}, "after_restore": ["touch ran"]}})
    back_up("application")
    made = plan(files=True, into=str(tmp_path / "copy"))
    restore.restore_files(load_site(), made)
    assert after_restore.run_commands(load_site(), made) == []
    assert not (tmp_path / "copy/ran").exists()
    over = plan(files=True, overwrite=("Shop",))
    restore.restore_files(load_site(), over)
    assert after_restore.run_commands(load_site(), over) == ["touch ran"]
    assert (root / "ran").exists()


def test_a_server_without_case_has_the_last_word(
    tmp_path: Path, project: Configure, mariadb: MariaDB, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    back_up()
    with MariaDB(tmp_path / "caseless", "--lower-case-table-names=1") as caseless:
        monkeypatch.setenv("AIRFLOW_CONN_SHOP_DB", caseless.connection())
        made = plan(into="Other")
        caseless.run(
            "CREATE DATABASE other; CREATE TABLE other.precious (id INT); INSERT INTO other.precious VALUES (1)"
        )
        with pytest.raises(
            RestoreError, match="Database 'other' was created after this restore was planned; it was not changed"
        ):
            restored(made)
        assert caseless.run("SELECT * FROM other.precious") == "1\n"
