"""Drills: what is proven, and everything that must never be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lifeboat.actions import check, drill
from lifeboat.actions.drill import Choice
from lifeboat.airflow import connections
from lifeboat.airflow.operators.fresh import RequireFreshBackup
from lifeboat.airflow.site import load_site, site_of
from lifeboat.catalog import archives as catalog
from lifeboat.catalog import proof
from lifeboat.catalog.archives import Archive, Kind
from lifeboat.catalog.proof import Proof
from lifeboat.databases import names
from lifeboat.databases.mysql.engine import MySQL
from lifeboat.decide import health
from lifeboat.errors import ArchiveError, LifeboatError, MismatchError, RestoreError, SettingsError, StorageError
from lifeboat.files import trees
from lifeboat.settings import config
from lifeboat.support import clock, signing

from include.demo.stand_ins import S3, MariaDB, MariaDB118
from tests.conftest import ARCHIVE_PASSWORD, PROJECT, Configure, staging_directory
from tests.servers.test_restore import SHOP, back_up, damage, only_shop, plan, repack, restored, root

__all__ = ["only_shop", "root"]

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
BY = "a test"


@pytest.fixture
def rehearsed(project: Configure, mariadb: MariaDB, shop: str, root: Path) -> Path:
    """An application with an archive of its database and files, a link out among them; the archive's path on disk."""
    (root / "shared").symlink_to(root.parent)
    project(
        applications={"Shop": SHOP | {"files": {"root": str(root)}}},
        drill={"production": True},
    )
    key = back_up("application").packed.key
    return Path(config.load().own_directories[1]) / key


def key_of(path: Path) -> str:
    return "/".join(path.parts[-3:])


def rehearse(path: Path, destination: str = "disk") -> dict[str, Any]:
    (place,) = load_site().destinations("Shop", (destination,))
    made = drill.rehearse(load_site(), "Shop", place, key_of(path), BY, datetime.now(UTC))
    return dict(json.loads(made.to_bytes()))


def scratch_left(mariadb: MariaDB | MariaDB118) -> list[str]:
    left = [name for name in mariadb.run("SHOW DATABASES").splitlines() if name.startswith(names.PREFIX)]
    return left + [path.name for path in (staging_directory(config.load()) / "drill").glob("*")]


def proofs(destination: str = "disk") -> list[str]:
    (place,) = load_site().destinations("Shop", (destination,))
    return list(catalog.read(place.list()).proofs)


def archive(age: float, kind: Kind = "database") -> Archive:
    captured_at = NOW - timedelta(days=age)
    return Archive(catalog.archive_key("Shop", kind, captured_at), "Shop", kind, captured_at, 5, False)


def test_a_drill_tells_what_failed_first_when_the_server_ends_its_session(mariadb: MariaDB, shop: str) -> None:
    engine = MySQL(mariadb.server, mariadb.connect, clock.now)
    captured = engine.dump(shop, (), lambda chunk: None)
    waiting = "SELECT id FROM information_schema.processlist WHERE user = 'root' AND command = 'Sleep'"
    with pytest.raises(RestoreError, match="what failed first"), engine.scratch("a key", captured):
        for session in mariadb.run(waiting).split():
            mariadb.run(f"KILL {session}")
        raise RestoreError("what failed first")
    with engine.scratch("a key", captured) as place:
        assert [name for name in mariadb.run("SHOW DATABASES").split() if name.startswith(names.PREFIX)] == [place]


def test_the_newest_is_rehearsed_and_then_what_is_unproven_for_longest() -> None:
    a, b, c, d = (archive(age) for age in (1, 2, 30, 300))
    weekly = archive(5, "application")
    legacy = archive(0, "legacy")
    chosen = drill.choose([c, a, weekly, legacy, d, b], {}, 2)
    assert chosen == [a, d, weekly]
    assert drill.choose([a, b, c, d], {d.key: NOW, a.key: NOW}, 2) == [a, c]
    assert drill.choose([a, b, c, d], {b.key: NOW, c.key: NOW - timedelta(days=9), d.key: NOW}, 3) == [a, c, b]
    assert drill.choose([a, b], {}, 1) == [a]
    assert drill.choose([], {}, 2) == []


def test_every_kept_archive_is_proven_in_turn() -> None:
    archives = [archive(age) for age in range(10)]
    proven: dict[str, datetime] = {}
    for turn in range(9):
        for chosen in drill.choose(archives, proven, 2):
            proven[chosen.key] = NOW + timedelta(days=turn)
    assert len(proven) == 10


@pytest.mark.parametrize("destination", ["disk", "offsite"])
def test_a_whole_archive_is_proven(rehearsed: Path, mariadb: MariaDB, destination: str) -> None:
    made = rehearse(rehearsed, destination)
    assert made["compared"] | {"bytes": 0} == {
        "databases": 1,
        "tables": 4,
        "rows": 3505,
        "objects": 7,
        "files": 7,
        "bytes": 0,
    }
    assert set(made["durations"]) == {"verify", "restore", "compare"}
    assert "not in the archive: what links out of the root lead to: 1" in made["notes"]
    assert made["by"] == BY
    assert made["destination"] == destination
    assert made["versions"]["servers"][0].startswith("10.")
    (place,) = load_site().destinations("Shop", (destination,))
    assert json.loads(proof.read(place, key_of(rehearsed), ARCHIVE_PASSWORD).to_bytes()) == made
    for name in ("users", "page_views", "invoice.txt", "no_negative"):
        assert name not in json.dumps(made)
    assert scratch_left(mariadb) == []
    again = rehearse(rehearsed, destination)
    assert [point["key"] for point in again["trend"]] == [key_of(rehearsed)] * len(again["trend"])
    assert again["digest"] == made["digest"]
    (found,) = [a for a in catalog.read(place.list()).archives if a.kind == "application"]
    assert found.proven


def changed_row(contents: dict[str, bytes], manifest: Any) -> None:
    contents["db-dumps/mysql-shop.sql"] = contents["db-dumps/mysql-shop.sql"].replace(b"O\\'Hara", b"O\\'Harm")


def lost_table(contents: dict[str, bytes], manifest: Any) -> None:
    lines = contents["db-dumps/mysql-shop.sql"].split(b"\n")
    kept = [line for line in lines if b"empty_one" not in line and line != b"  `id` int(11) NOT NULL,"]
    start = next(i for i, line in enumerate(lines) if line.startswith(b"CREATE TABLE `empty_one`"))
    end = next(i for i in range(start, len(lines)) if lines[i].endswith(b";"))
    kept = [line for i, line in enumerate(lines) if not start <= i <= end and b"empty_one" not in line]
    contents["db-dumps/mysql-shop.sql"] = b"\n".join(kept)


def lost_trigger(contents: dict[str, bytes], manifest: Any) -> None:
    sql = contents["db-dumps/mysql-shop.sql"]
    start = sql.index(b"DELIMITER ;;\n", sql.index(b"no_negative") - 400)
    end = sql.index(b"DELIMITER ;\n", start) + len(b"DELIMITER ;\n")
    assert b"no_negative" in sql[start:end]
    contents["db-dumps/mysql-shop.sql"] = sql[:start] + sql[end:]


def lost_database(contents: dict[str, bytes], manifest: Any) -> None:
    del contents["db-dumps/mysql-shop.sql"]
    del manifest["entries"]["db-dumps/mysql-shop.sql"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed_row, r"table 'users' holds other data"),
        (lost_table, r"table 'empty_one' is missing"),
        (lost_trigger, r"trigger 'no_negative' is missing"),
        (lost_database, r"mysql-shop.sql"),
    ],
)
def test_what_does_not_restore_to_what_was_captured_is_never_proven(
    rehearsed: Path, mariadb: MariaDB, change: Any, said: str
) -> None:
    rehearse(rehearsed)
    assert proofs() == [key_of(rehearsed)]
    repack(rehearsed, change)
    with pytest.raises(LifeboatError, match=said):
        rehearse(rehearsed)
    assert proofs() == [], "the proof that it had holds no more"
    assert scratch_left(mariadb) == []


def test_a_manifest_of_another_archive_is_noticed(rehearsed: Path) -> None:
    def swap(contents: dict[str, bytes], manifest: Any) -> None:
        manifest["captured_at"] = "2026-01-01T00:00:00+00:00"

    repack(rehearsed, swap)
    with pytest.raises(ArchiveError, match="holds the manifest of another archive"):
        rehearse(rehearsed)


@pytest.mark.parametrize("how", ["flipped", "cut"])
def test_a_damaged_archive_is_never_proven(rehearsed: Path, how: str) -> None:
    damage(rehearsed, how)
    with pytest.raises(ArchiveError):
        rehearse(rehearsed)
    assert proofs() == []


def test_a_drill_that_cannot_run_leaves_the_proof_that_was(
    rehearsed: Path, project: Configure, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearse(rehearsed)
    project(applications={"Shop": SHOP | {"files": {"root": str(root)}}})
    with pytest.raises(SettingsError, match="name no server on which a drill may restore"):
        rehearse(rehearsed)
    project(applications={"Shop": SHOP | {"files": {"root": str(root)}}}, drill={"production": True})
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_DB", '{"conn_type": "mysql", "host": "127.0.0.1", "port": 1, "login": "x"}')
    with pytest.raises(RestoreError, match="Drill of database 'shop' of"):
        rehearse(rehearsed)
    assert proofs() == [key_of(rehearsed)]


def test_a_wrong_password_proves_nothing(rehearsed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_LIFEBOAT_ARCHIVE", json.dumps({"conn_type": "generic", "password": "no-word-of-a-message"})
    )
    with pytest.raises(ArchiveError, match="does not open with this password"):
        rehearse(rehearsed)


def test_after_a_new_password_the_old_archives_are_read_and_their_proofs_believed(
    rehearsed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearse(rehearsed)

    def proven() -> Archive | None:
        return check.newest_archive(
            load_site(), "Shop", "application", datetime.now(UTC), timedelta(days=1), proven=True
        )

    assert proven()

    def rotate(**extra: Any) -> None:
        connection = {"conn_type": "generic", "password": "the new one", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_LIFEBOAT_ARCHIVE", json.dumps(connection))

    rotate()
    assert not proven()
    with pytest.raises(SettingsError, match=r"'previous_passwords' of Airflow connection .* is not a list"):
        rotate(previous_passwords=ARCHIVE_PASSWORD)
        rehearse(rehearsed)
    rotate(previous_passwords=["an older one", ARCHIVE_PASSWORD])
    assert proven()
    time.sleep(1)  # drills are told apart by the second
    made = rehearse(rehearsed)
    assert signing.is_authentic(made, "the new one", Proof.purpose)
    assert len(made["trend"]) == 2, "what proofs of the old password told is carried on"


def test_files_that_differ_are_named(rehearsed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lifeboat.files import extract

    genuine = extract.extract

    def and_meddle(reader: Any, target: Path, **options: Any) -> Any:
        done = genuine(reader, target, **options)
        (target / "index.php").chmod(0o600)
        (target / "storage/app/invoice.txt").write_text("Invoicf")
        (target / "storage/app/logo.png").unlink()
        (target / "extra").touch()
        (target / "public").unlink()
        (target / "public").symlink_to("elsewhere")
        return done

    monkeypatch.setattr(extract, "extract", and_meddle)
    with pytest.raises(MismatchError) as error:
        rehearse(rehearsed)
    for said in (
        "file 'index.php' has mode 0600, and had 0644",
        "file 'storage/app/invoice.txt' holds other data",
        "file 'storage/app/logo.png' is missing",
        "file 'extra' was not captured",
        "link 'public' leads elsewhere",
    ):
        assert said in str(error.value)


def test_a_tree_of_other_kinds(rehearsed: Path, tmp_path: Path) -> None:
    from lifeboat.actions import stored_archive
    from lifeboat.files import extract

    settings = config.load()
    (place,) = site_of(settings).destinations("Shop", ("disk",))
    with stored_archive.opened(site_of(settings), place, "Shop", key_of(rehearsed)) as reader:
        extract.extract(reader, tmp_path / "tree")
        (tmp_path / "tree/index.php").unlink()
        (tmp_path / "tree/index.php").mkdir()
        (tmp_path / "tree/storage/app/logo.png").write_text("longer than it was")
        found = [str(each) for each in trees.differences(tmp_path / "tree", reader.files())]
    assert found == ["file 'index.php' is a directory", "file 'storage/app/logo.png' has 18 bytes, and had 3"]


def test_what_has_the_prefix_and_is_not_ours_stops_the_drill(rehearsed: Path, mariadb: MariaDB) -> None:
    mariadb.run(f"CREATE DATABASE {names.PREFIX}precious; CREATE TABLE {names.PREFIX}precious.t (id INT)")
    with pytest.raises(RestoreError, match="that no drill created: it lacks a drill's mark"):
        rehearse(rehearsed)
    assert mariadb.run("SHOW TABLES", f"{names.PREFIX}precious") == "t\n"
    mariadb.run(f"DROP DATABASE {names.PREFIX}precious")


def test_a_scratch_server_without_room_is_told_before_anything_is_made(
    rehearsed: Path, mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "INDEXES", 10**9)
    with pytest.raises(RestoreError, match=r"The scratch server has .* free in"):
        rehearse(rehearsed)
    assert scratch_left(mariadb) == []


def test_a_killed_drill_is_swept_by_the_next(rehearsed: Path, mariadb: MariaDB) -> None:
    script = (
        "import sys\n"
        "from lifeboat.actions import drill\n"
        "from lifeboat.airflow.site import load_site\n"
        "site = load_site()\n"
        "(place,) = site.destinations('Shop', ('disk',))\n"
        "drill.rehearse(site, 'Shop', place, sys.argv[1], 'a test', site.now())\n"
    )
    environment = os.environ | {"PYTHONPATH": str(PROJECT / "plugins"), "_AIRFLOW_PROCESS_CONTEXT": "server"}
    process = subprocess.Popen([sys.executable, "-c", script, key_of(rehearsed)], env=environment)
    deadline = time.monotonic() + 60
    while not any(names.PREFIX in name for name in scratch_left(mariadb)) and time.monotonic() < deadline:
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert scratch_left(mariadb)
    rehearse(rehearsed)
    assert scratch_left(mariadb) == []


def test_a_drill_killed_before_its_first_mark_is_swept_by_the_next(rehearsed: Path, mariadb: MariaDB) -> None:
    mariadb.run(f"CREATE DATABASE {names.PREFIX}20261123_120000_shop")
    rehearse(rehearsed)
    assert scratch_left(mariadb) == []


def findings(**limits: Any) -> dict[str, tuple[str, str]]:
    settings = config.load()
    examined = check.examine("disk", site_of(settings), ["Shop"], datetime.now(UTC))
    return {each.check: (each.verdict, each.text) for each in examined.findings}


def test_the_check_tells_proof_age_recovery_time_and_coverage(rehearsed: Path, project: Configure, root: Path) -> None:
    before = findings()
    assert before["application proof"] == ("healthy", "no application archive is proven to restore")
    rehearse(rehearsed)
    time.sleep(1)
    back_up("application", tmp="2")
    found = findings()
    assert found["application proof"][0] == "healthy"
    assert "the newest application proof is " in found["application proof"][1]
    assert found["application coverage"] == ("healthy", "1 of 2 application archives are proven")
    assert found["application recovery time"][1].startswith("recovery of the proven application archive took")
    path = project(
        applications={"Shop": SHOP | {"files": {"root": str(root)}}}, health={"rto_hours": 1e-5, "proof_max_days": 1e-5}
    )
    path.write_text(path.read_text().replace("1e-05", "0.00001"))  # to JSON a number, to YAML a text
    strict = findings()
    assert strict["application proof"][0] == "unhealthy"
    assert strict["application recovery time"][0] == "unhealthy"
    assert "the stated RTO is" in strict["application recovery time"][1]


def test_a_forged_proof_is_noticed(rehearsed: Path) -> None:
    made = rehearse(rehearsed)
    path = rehearsed.with_name(f"{rehearsed.name}.proof.json")
    path.write_text(json.dumps(made | {"proven_at": "2036-01-01T00:00:00+00:00"}))
    verdict, text = findings()["application proof"]
    assert verdict == "unhealthy"
    assert "was not signed with the archive password: it is forged" in text
    assert health.verdict(check.examine("disk", load_site(), ["Shop"], datetime.now(UTC)).findings) == "unhealthy"


def test_a_fresh_or_proven_backup_can_be_required(rehearsed: Path) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    def poke(**wishes: Any) -> bool:
        day = timedelta(days=1)
        sensor = RequireFreshBackup(
            task_id="fresh", application="Shop", kind="application", **{"max_age": day} | wishes
        )
        return sensor.poke({})

    assert poke()
    with pytest.raises(AirflowFailException, match=r"No proven application archive of Shop is .* old; there is none"):
        poke(proven=True)
    with pytest.raises(
        AirflowFailException, match=r"No application archive of Shop is at most 0 seconds old; the newest is "
    ):
        poke(max_age=timedelta(0))
    assert not poke(proven=True, wait=timedelta(hours=1))
    rehearse(rehearsed)
    assert poke(proven=True)
    with pytest.raises(AirflowFailException, match="There is no application 'Blog'"):
        RequireFreshBackup(task_id="x", application="Blog", max_age=timedelta(days=1)).poke({})


def test_a_gate_counts_neither_another_application_nor_a_date_in_the_future(
    rehearsed: Path, project: Configure, root: Path
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    def poke(application: str, **wishes: Any) -> bool:
        return RequireFreshBackup(
            task_id="fresh", application=application, kind="application", **{"max_age": timedelta(days=1)} | wishes
        ).poke({})

    with_files = SHOP | {"files": {"root": str(root)}, "destinations": ["disk"]}
    project(applications={"Shop": with_files, "Blog": with_files})
    assert poke("Shop")
    with pytest.raises(AirflowFailException, match=r"No application archive of Blog is .* old; there is none"):
        poke("Blog")
    ahead = key_of(rehearsed).replace(key_of(rehearsed)[-23:-19], "2099")
    place = connections.destination("disk", config.load().destinations["disk"])
    for suffix in ("", ".json"):
        copy = rehearsed.with_name(ahead.rpartition("/")[2] + suffix)
        copy.write_bytes(rehearsed.with_name(rehearsed.name + suffix).read_bytes())
        rehearsed.with_name(rehearsed.name + suffix).unlink()
    assert place.find(ahead)
    with pytest.raises(AirflowFailException, match=r"No application archive of Shop is .* old; there is none"):
        poke("Shop")


def test_an_archive_proves_nothing_of_another_application(
    rehearsed: Path, project: Configure, root: Path, mariadb: MariaDB
) -> None:
    settings = config.load()
    project(applications={"Shop": SHOP | {"files": {"root": str(root)}}, "Blog": SHOP}, drill={"production": True})
    settings = config.load()
    key = key_of(rehearsed)
    assert drill.choices(site_of(settings), "Blog", (), key, NOW) == []
    assert drill.choices(site_of(settings), "Shop", ("disk",), key, NOW) == [Choice("disk", key)]
    (place,) = site_of(settings).destinations("Blog", ("disk",))
    with pytest.raises(ArchiveError, match="is not an archive of Blog"):
        drill.rehearse(site_of(settings), "Blog", place, key, BY, datetime.now(UTC))
    assert proofs() == []


def test_only_what_drills_made_is_removed(rehearsed: Path) -> None:
    scratch = staging_directory(config.load()) / "drill"
    precious = scratch / "precious"
    precious.mkdir(parents=True)
    (precious / "x").touch()
    dead = scratch / f"{names.PREFIX}dead"
    (dead / "locked").mkdir(parents=True)
    (dead / "locked").chmod(0o500)
    rehearse(rehearsed)
    assert [path.name for path in scratch.iterdir()] == ["precious"]


def test_a_destination_that_is_down_stops_no_other(rehearsed: Path, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BACKUPS_S3", s3.connection(password="wrong"))
    found = drill.choices(load_site(), "Shop", (), "", datetime.now(UTC))
    assert found == [Choice("disk", key_of(rehearsed)), Choice("offsite", "")]
    (place,) = load_site().destinations("Shop", ("offsite",))
    with pytest.raises(StorageError, match="could not be read, so nothing there was tested"):
        drill.rehearse(load_site(), "Shop", place, "", BY, datetime.now(UTC))


def test_a_proof_of_another_copy_or_size_proves_nothing(rehearsed: Path) -> None:
    made = rehearse(rehearsed, "offsite")
    rehearsed.with_name(f"{rehearsed.name}.proof.json").write_text(json.dumps(made))
    assert "is the proof of a copy elsewhere" in findings()["application proof"][1]
    rehearse(rehearsed)
    assert findings()["application proof"][0] == "healthy"
    damage(rehearsed, "cut")
    assert "is not the archive that was proven: its size differs" in findings()["application proof"][1]
    rehearsed.with_name(f"{rehearsed.name}.proof.json").write_text("[" * 200_000)
    assert "is not the proof of that archive" in findings()["application proof"][1]


@pytest.mark.parametrize("family", ["mariadb", "mysql"])
def test_rows_without_parents_are_restored_and_prove_nothing(
    family: str, project: Configure, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = request.getfixturevalue(family)
    if server.path:
        monkeypatch.setenv("PATH", f"{server.path}:{os.environ['PATH']}")
    server.run("DROP DATABASE IF EXISTS shop; CREATE DATABASE shop")
    server.run("CREATE TABLE p (id INT PRIMARY KEY);"
               "CREATE TABLE c (id INT PRIMARY KEY, p INT, CONSTRAINT k FOREIGN KEY (p) REFERENCES p (id));"
               "SET foreign_key_checks = 0; INSERT INTO c VALUES (1, 99)", "shop")  # fmt: skip
    project(drill={"production": True})
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_DB", server.connection())
    key = back_up().packed.key
    place, *_ = load_site().destinations("Shop", ("disk",))
    lacking = "rows lack the parents that foreign key 'k' of table 'c' names: 1 row"
    with pytest.raises(MismatchError, match=f"restores to what was captured, but breaks its own rules: {lacking}"):
        drill.rehearse(load_site(), "Shop", place, key, BY, datetime.now(UTC))
    assert proofs() == []
    (done,) = restored(plan())
    assert lacking in done.warnings
    server.run(f"DROP DATABASE shop; DROP DATABASE {done.schema}")
