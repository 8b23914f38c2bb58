"""What every server must let a backup, a restore and a drill do, whichever client dumps it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from lifeboat.actions import drill, restore, stored_archive
from lifeboat.airflow.site import load_site
from lifeboat.archive.read import ArchiveReader
from lifeboat.catalog.proof import Proof
from lifeboat.decide.restore_plan import RestorePlan
from lifeboat.errors import LifeboatError, RestoreError

from tests.conftest import Configure
from tests.crash import die, killed
from tests.matrix.pairs import over
from tests.matrix.subjects import BYSTANDER, CONNECTION, FURTHER, NAME, ORDINARY, Subject
from tests.servers.test_restore import back_up, plan, repack, restored

TOUCHED = Path("/tmp/lifeboat-touched")  # by what a hostile dump runs, if it does

# What MariaDB and SQLite do is in tests/servers, too: test_restore.py, test_drill.py, databases/test_sqlite.py ...
pytestmark = over((ORDINARY[0], ORDINARY[2]), (ORDINARY[1], ORDINARY[3], *FURTHER))


@pytest.fixture
def whole(subject: Subject, project: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    """The server with a database of everything, as the settings name it."""
    subject.make()
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", subject.connection())
    configure(project, subject, tmp_path)
    return subject


def configure(project: Configure, subject: Subject, folder: Path, **options: Any) -> None:
    database = {"name": NAME, "engine": subject.engine, "connection": CONNECTION} | options
    project(
        destinations={"disk": {"type": "disk", "path": str(folder / "disk")}},
        applications={"Shop": {"databases": [database]}},
        drill={"production": True},
    )


def rehearse(key: str) -> Proof:
    (place,) = load_site().destinations("Shop", ("disk",))
    return drill.rehearse(load_site(), "Shop", place, key, "a test", datetime.now(UTC))


def differing(one: dict[str, str], other: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    return {
        name: (one.get(name), other.get(name)) for name in one.keys() | other.keys() if one.get(name) != other.get(name)
    }


def later(key: str, **wishes: Any) -> RestorePlan:
    """Plan a restore in a second of its own: names of safety backups and copies are told apart by it."""
    time.sleep(1)
    return plan(archive=key, **wishes)


def test_a_database_is_restored_beside_the_original_and_proven(whole: Subject) -> None:
    key = back_up().packed.key
    before = whole.fingerprint(NAME)
    whole.run(f"DELETE FROM {whole.rows_of}", NAME)
    after = whole.fingerprint(NAME)
    (done,) = restored(plan())
    assert differing(whole.fingerprint(done.schema), before) == {}
    assert differing(whole.fingerprint(NAME), after) == {}, "the original is left alone"
    proven = rehearse(key)
    assert proven.result == "proven"
    assert not [note for note in proven.notes if "in wording on server" in note]
    assert proven.compared.tables == done.compared
    assert whole.databases() == {NAME, BYSTANDER, done.schema}


def test_a_typed_name_replaces_the_original(whole: Subject) -> None:
    key = back_up().packed.key
    before = whole.fingerprint(NAME)
    whole.run(f"DELETE FROM {whole.rows_of}; CREATE TABLE made_since (a INT)", NAME)
    (done,) = restored(later(key, overwrite=(NAME,)))
    assert done.schema == NAME
    assert differing(whole.fingerprint(NAME), before) == {}


def test_one_table(whole: Subject) -> None:
    back_up()
    before = whole.fingerprint(NAME)
    (done,) = restored(plan(table=whole.rows_of, into="rescue"))
    assert done.compared == 1
    assert done.rows > 0
    found = whole.fingerprint("rescue")
    kept = {name for name in before if name.startswith("rows of ") and whole.rows_of in name}
    assert {found[name] for name in kept} == {before[name] for name in kept}
    with pytest.raises(RestoreError, match="no table 'gone'"):
        restored(plan(table="gone", into="rescue_2"))


def test_a_table_that_is_excluded_is_left_out_of_backups_and_left_alone_by_restores(
    whole: Subject, project: Configure, tmp_path: Path
) -> None:
    configure(project, whole, tmp_path, exclude_tables=[whole.excluded])
    key = back_up().packed.key
    whole.run(f"DELETE FROM {whole.excluded}", NAME)
    before = whole.fingerprint(NAME)
    assert rehearse(key).result == "proven"
    restored(later(key, overwrite=(NAME,)))
    assert differing(whole.fingerprint(NAME), before) == {}


@pytest.mark.parametrize("in_place", [False, True], ids=["beside", "in place"])
def test_a_restore_that_was_killed_is_done_by_the_next(
    whole: Subject, monkeypatch: pytest.MonkeyPatch, in_place: bool
) -> None:
    key = back_up().packed.key
    before = whole.fingerprint(NAME)
    wishes: dict[str, Any] = {"overwrite": (NAME,)} if in_place else {"into": "copy_of_it"}
    made = later(key, **wishes)
    genuine = stored_archive.sql_of

    def until_killed(reader: ArchiveReader, entry: str) -> Iterator[bytes]:
        sql = b"".join(genuine(reader, entry))
        yield sql[: len(sql) * 2 // 3]
        die()

    with monkeypatch.context() as patch:
        patch.setattr(stored_archive, "sql_of", until_killed)
        killed(lambda: restore.restore_database(load_site(), made, made.databases[0]))
    (done,) = restored(later(key, **wishes))
    for warning in done.warnings:  # the killed one emptied the database, so nothing tells which events ran
        if ": ALTER DEFINER=" in warning:
            whole.run(warning.partition("then: ")[2], NAME)
    assert differing(whole.fingerprint(done.schema), before) == {}
    assert not [name for name in whole.databases() if name.startswith("lifeboat_")]


def test_a_hostile_dump_is_refused_and_changes_nothing_elsewhere(whole: Subject, tmp_path: Path) -> None:
    key = back_up().packed.key
    path = tmp_path / "disk" / key
    genuine = path.read_bytes()
    bystander = whole.fingerprint(BYSTANDER)
    TOUCHED.unlink(missing_ok=True)
    for number, statement in enumerate(whole.hostile):
        repack(path, hostile(whole, statement))
        with pytest.raises(LifeboatError):
            made = plan(archive=key, into=f"hostile_{number}")
            restore.restore_database(load_site(), made, made.databases[0])
        assert whole.fingerprint(BYSTANDER) == bystander, statement
        assert not TOUCHED.exists(), statement
        path.write_bytes(genuine)


def hostile(subject: Subject, statement: str) -> Callable[[dict[str, bytes], Any], None]:
    """Return what puts a statement into the middle of a dump, where one begins."""
    entry = f"db-dumps/{subject.engine}-{NAME}.sql"

    def change(contents: dict[str, bytes], manifest: Any) -> None:
        sql = contents[entry]
        at = sql.index(b"\nCREATE TABLE ") + 1
        contents[entry] = sql[:at] + statement.encode() + b"\n" + sql[at:]

    return change
