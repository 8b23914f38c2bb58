"""Archives are read back in turn: which, when, how many, and what is kept of it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lifeboat.actions import backup, check, cleanup, drill, verify
from lifeboat.actions.drill import Choice
from lifeboat.airflow.site import site_of
from lifeboat.catalog import archives as catalog
from lifeboat.catalog import proof
from lifeboat.catalog.archives import Archive, Catalog, LastRead
from lifeboat.catalog.readback import ReadBack
from lifeboat.cli import terminal
from lifeboat.decide import rotation
from lifeboat.decide.rotation import Rotation
from lifeboat.errors import StorageError
from lifeboat.settings import config
from lifeboat.settings.config import Settings
from lifeboat.storage import Destination, StoredObject
from lifeboat.support import clock, signing
from lifeboat.text import MEGABYTE
from lifeboat.ui import archives, metrics
from lifeboat.ui.readings import Reading, read_destination

from include.demo.stand_ins import S3
from tests.command import answer, lifeboat
from tests.conftest import ARCHIVE_PASSWORD, Configure, some_time_ago
from tests.faulty_s3 import LASTING, Answer, Fault, FaultyS3, Forward, failing
from tests.records import marker_of, signed_proof
from tests.trees import as_nobody
from tests.unit.test_nights import SETTINGS

NOW = datetime(2026, 11, 24, 5, tzinfo=UTC)
DAY = timedelta(days=1)
MONTH = Rotation(budget=100, within=30 * DAY)


def archive(age: float, size: int = 40) -> Archive:
    time = NOW - age * DAY
    return Archive(catalog.archive_key("Shop", "database", time), "Shop", "database", time, size, False)


def chosen(archives: list[Archive], rotation_: Rotation = MONTH, spent: int = 0, **read: float) -> list[int]:
    """Return the ages of what is due; keywords are ages of readings, by ``a`` and the archive's age."""
    readings = {archive(float(name[1:])).key: LastRead(NOW - age * DAY, True) for name, age in read.items()}
    return [(NOW - each.captured_at).days for each in rotation.due(archives, readings, rotation_, NOW, spent)]


def test_what_is_unread_for_longest_comes_first() -> None:
    kept = [archive(age) for age in (1, 14.9, 15, 20, 60, 90)]
    assert chosen(kept) == [90, 60]
    assert chosen(kept, a90=1, a60=16) == [20, 60]
    assert chosen(kept, replace(MONTH, budget=1000)) == [90, 60, 20, 15]  # the others were stored lately
    assert chosen(kept, a90=1, a60=1, a20=1, a15=1) == []
    assert chosen(kept, a90=-1, a60=1, a20=1, a15=1) == [90]  # a reading in the future says nothing


def shipped(age: float) -> Archive:
    time = NOW - age * DAY
    return Archive(catalog.log_key("Shop", time, 1), "Shop", "log", time, 5, False)


def test_logs_are_read_once_before_they_are_deleted_and_then_as_all_others() -> None:
    limits = Rotation(1000, 30 * DAY, {"Shop": 7 * DAY})
    kept = [shipped(age) for age in (1, 3.5, 6, 8)]
    assert rotation.due([archive(14), archive(16), *kept], {}, limits, NOW) == [kept[3], kept[2], archive(16), kept[1]]
    read = {kept[3].key: LastRead(NOW - 4 * DAY, True)}
    assert rotation.due(kept, read, limits, NOW) == [kept[2], kept[1]]
    found = Catalog((archive(14),), (), readings=read, logs=tuple(kept))
    (said,) = rotation.check("Shop", "disk", found, ["Shop"], replace(limits, budget=MEGABYTE), NOW)
    assert said.verdict == "healthy"
    found = replace(found, readings={kept[0].key: LastRead(NOW - DAY, False)})
    bad, late = rotation.check("Shop", "disk", found, ["Shop"], replace(limits, budget=MEGABYTE), NOW)
    assert bad.text.startswith(f"{kept[0].key} failed when it was read back")
    assert late.text.startswith("1 archive is unread for longer than the promised 7.0 days; their turn comes within")


def test_at_least_one_is_read_and_the_budget_holds_for_all_others() -> None:
    kept = [archive(90, 5000), archive(80, 40), archive(70, 61), archive(60, 5)]
    assert chosen(kept) == [90]
    assert chosen(kept, a90=1) == [80]
    assert chosen(kept, a90=1, spent=100) == []  # a run that is tried again has what is left
    assert chosen(kept, a90=1, spent=60) == [80]
    assert chosen(kept, replace(MONTH, budget=0)) == []


def test_every_archive_is_read_in_time_if_the_budget_suffices() -> None:
    kept = [archive(100 + number, 10 + number * 7 % 30) for number in range(60)]
    budget = rotation.enough(kept, MONTH.within)
    assert budget == MEGABYTE
    large = [each._replace(size=each.size * MEGABYTE) for each in kept]
    limits = replace(MONTH, budget=rotation.enough(large, MONTH.within))
    assert rotation.nights(large, limits.budget) <= 30
    readings: dict[str, LastRead] = {}
    for night in range(90):
        now = NOW + night * DAY
        read = rotation.due(large, readings, limits, now)
        assert sum(each.size for each in read) <= max(limits.budget, *(each.size for each in large))
        readings |= {each.key: LastRead(now, True) for each in read}
        if night >= 30:
            assert all(now - readings[each.key].at <= MONTH.within for each in large)


def findings(archives: list[Archive], limits: Rotation, readings: dict[str, LastRead]) -> dict[str, str]:
    found = Catalog(tuple(archives), (), readings=readings)
    checked = rotation.check("Shop", "disk", found, ["Shop"], limits, NOW)
    return {each.check: f"{each.verdict}: {each.text}" for each in checked}


def test_a_promise_that_is_not_kept_is_a_finding() -> None:
    kept = [archive(age, 10 * MEGABYTE) for age in range(1, 61)]
    little = Rotation(MEGABYTE, 30 * DAY)
    (text,) = findings(kept, little, {}).values()
    assert text.startswith("degraded: reading back all 600.0 MiB here takes 60 nights at 1.0 MiB each, longer than the")
    assert "promised 30.0 days; 20.0 MiB would do: raise read_back.megabytes_per_night" in text
    limits = Rotation(20 * MEGABYTE, 30 * DAY)
    (text,) = findings(kept, limits, {}).values()
    unread = "degraded: 30 archives are unread for longer than the promised 30.0 days"
    assert text == f"{unread}: backup_verify has read none so far, so start it, and unpause it"
    (text,) = findings(kept, limits, {kept[0].key: LastRead(NOW - 9 * DAY, True)}).values()
    assert text == (
        f"degraded: 30 archives are unread for longer than the promised 30.0 days, first {kept[-1].key}:"
        " look at the last runs of backup_verify"
    )
    goes_on = {kept[-1].key: LastRead(NOW - DAY, True)}
    (text,) = findings(kept, limits, goes_on).values()
    assert text.startswith("degraded: 29 archives are unread for longer than the promised 30.0 days; their turn comes")
    all_read = {each.key: LastRead(NOW - 3 * DAY, True) for each in kept}
    (text,) = findings(kept, limits, all_read).values()
    assert text == "healthy: no archive is unread for longer than 3.0 days, of 30.0 days promised"
    bad = findings(kept, limits, all_read | {kept[0].key: LastRead(NOW - DAY, False)})
    assert bad["damaged"].startswith(f"unhealthy: {kept[0].key} failed when it was read back on 2026-11-23 05:00 UTC;")
    (text,) = findings(kept, Rotation(0, 30 * DAY), {}).values()
    assert text.startswith("healthy: archives are not read back in turn")
    assert findings([], limits, {}) == {}


def test_budgets_by_destination(project: Configure, tmp_path: Path) -> None:
    settings = config.load(project())
    assert settings.rotation_of("disk") == Rotation(20_480 * MEGABYTE, 30 * DAY)
    assert settings.rotation_of("offsite") == Rotation(1024 * MEGABYTE, 90 * DAY)
    disk = {"type": "disk", "path": str(tmp_path / "disk"), "read_back": {"megabytes_per_night": 0}}
    settings = config.load(project(destinations={"disk": disk}, read_back={"within_days": 7}))
    assert settings.rotation_of("disk") == Rotation(0, 7 * DAY)
    assert settings.rotation_of("disk") == Rotation(0, 7 * DAY)  # and no default was changed by asking


def back_up(settings: Settings) -> str:
    site = site_of(settings)
    with terminal.scratch(site, "Shop") as scratch:
        taken = backup.take(some_time_ago(site), "Shop", "database", settings.databases_of("Shop"), (), "", scratch)
    return taken.packed.key


def places(settings: Settings) -> list[Destination]:
    return site_of(settings).destinations("Shop", deleting=True)


def test_a_night_at_every_destination(project: Configure, shop: str) -> None:
    settings = config.load(project())
    keys = [back_up(settings), back_up(settings)]
    later = datetime.now(UTC) + 91 * DAY
    for destination in places(settings):
        night = verify.read_night(site_of(settings), destination, ["Shop"], later, later)
        assert (night.read, night.failed) == (keys, {})
        again = verify.read_night(site_of(settings), destination, ["Shop"], later, datetime.now(UTC) + DAY)
        assert again.read == []
        path = f"{keys[0]}.read.json"
        with destination.open(path) as record:
            facts = json.loads(record.read())
        assert (facts["key"], facts["destination"], facts["result"]) == (keys[0], destination.name, "whole")
        assert signing.is_authentic(facts, ARCHIVE_PASSWORD, ReadBack.purpose)
        destination.delete(path)
        destination.write(path, json.dumps(facts | {"read_at": later.isoformat()}).encode())  # by nobody who knows it
        read = verify.read_night(site_of(settings), destination, ["Shop"], later, datetime.now(UTC) + 50 * DAY).read
        assert keys[0] in read
    assert f"{datetime.now(UTC):%Y-%m-%d}  {keys[0]}" in lifeboat("list").stdout


def test_a_damaged_archive_is_named_until_it_is_whole_again(project: Configure, shop: str, tmp_path: Path) -> None:
    settings = config.load(project())
    bad, good = back_up(settings), back_up(settings)
    later = datetime.now(UTC) + 31 * DAY
    (disk, _) = places(settings)
    path = tmp_path / "disk" / bad
    content = path.read_bytes()
    proof.record(disk, signed_proof(bad, ARCHIVE_PASSWORD))
    path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    night = verify.read_night(site_of(settings), disk, ["Shop"], later, later)
    assert night.read == [good]
    assert bad in night.failed[bad]
    assert disk.find(f"{bad}.proof.json") is None
    found = check.examine("disk", site_of(settings), ["Shop"], datetime.now(UTC)).findings
    (told,) = (each.text for each in found if each.verdict == "unhealthy")
    assert told.startswith(f"{bad} failed when it was read")
    assert [row["whole"] for row in answer("list", "--destination", "disk")["archives"]] == [True, False]
    path.write_bytes(content)
    assert all(row["ok"] for row in answer("verify", bad))
    assert not (tmp_path / "disk" / f"{bad}.damaged.json").exists()
    assert (tmp_path / "disk" / f"{bad}.read.json").exists()


def test_no_password_says_nothing_about_an_archive(
    project: Configure, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config.load(project())
    key = back_up(settings)
    wrong = {"conn_type": "generic", "password": "another"}
    monkeypatch.setenv("AIRFLOW_CONN_LIFEBOAT_ARCHIVE", json.dumps(wrong))
    (disk, _) = places(settings)
    later = datetime.now(UTC) + 31 * DAY
    assert "does not open" in verify.read_night(site_of(settings), disk, ["Shop"], later, later).failed[key]
    assert disk.find(f"{key}.damaged.json") is None


def test_a_record_that_stands_beside_nothing_is_swept() -> None:
    for suffix in (".read.json", ".damaged.json"):
        left = StoredObject(archive(3).key + suffix, 9, NOW)
        assert catalog.read([left]).unfinished == (left,)


def test_a_reading_goes_with_its_archive(project: Configure, tmp_path: Path) -> None:
    settings = config.load(project())
    for destination in places(settings):
        now = datetime.now(UTC)
        keys = [catalog.archive_key("Shop", "database", now - age * DAY) for age in (0.1, 3000)]
        for key in keys:
            destination.write(key, b"archive")
            destination.write(f"{key}.json", b"{}")
            destination.write(f"{key}.chain.json", b"{}")
            verify.note_whole(site_of(settings), destination, "Shop", key)
        order = cleanup.evaluate(destination, site_of(settings), ["Shop"], now).order
        assert list(order.archives) == keys[1:]
        cleanup.clean(destination, site_of(settings), ["Shop"], now, order)
        kept = {keys[0] + suffix for suffix in ("", ".json", ".chain.json", ".read.json")}
        assert {each.key for each in destination.list()} == kept


def test_a_destination_that_fails_ends_the_night_and_nothing_is_called_damaged(
    project: Configure, shop: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = config.load(project())
    keys = [back_up(settings), back_up(settings)]
    (disk, _) = places(settings)
    later = datetime.now(UTC) + 31 * DAY

    def unplugged(*arguments: Any) -> Any:
        (tmp_path / "disk" / ".lifeboat-destination").unlink(missing_ok=True)
        raise StorageError("the disk is gone")

    with monkeypatch.context() as broken:
        broken.setattr(verify, "verify", unplugged)
        night = verify.read_night(site_of(settings), disk, ["Shop"], later, later)
    assert list(night.failed) == keys[:1]
    disk.init(clock.now())
    assert verify.read_night(site_of(settings), disk, ["Shop"], later, later).read == keys


GARBAGE = {
    "truncated": b'{"archive": {"sha',
    "types": b'{"archive": 5, "key": [], "read_at": 7, "proven_at": {}, "totals": [1], "hmac_sha256": 1}',
    "list": b"[1, 2]",
    "large": b"\xff\x00garbage" * (10 * MEGABYTE // 9),
    "nul": b"\x00" * 500,
    "utf-16": json.dumps("ñ").encode("utf-16"),
    "latin-1": '{"key": "ñ"}'.encode("latin-1"),
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize(("place", "variants"), [("disk", [*GARBAGE]), ("offsite", ["types", "large"])])
def test_unreadable_files_beside_an_archive_end_nothing(project: Configure, place: str, variants: list[str]) -> None:
    settings = config.load(project())
    (destination,) = site_of(settings).destinations("Shop", (place,), deleting=True)
    now = datetime.now(UTC)
    ages = (0.1, 0.2, 3000, 3001)
    newest, whole, older, oldest = (catalog.archive_key("Shop", "database", now - age * DAY) for age in ages)
    for key in (newest, whole, older, oldest):
        destination.write(key, b"archive")
        destination.write(f"{key}.json", marker_of(key).to_bytes())
    for variant in variants:
        for suffix in (".json", ".proof.json", ".read.json", ".damaged.json"):
            destination.delete(newest + suffix)
            destination.write(newest + suffix, GARBAGE[variant])
        found = check.examine(place, site_of(settings), ["Shop"], now).findings
        named = {each.check for each in found if each.verdict == "unhealthy" and newest in each.text}
        assert named == {"database limits", "database proof", "damaged"}, variant
    evaluation = cleanup.evaluate(destination, site_of(settings), ["Shop"], now)
    assert list(evaluation.order.archives) == [oldest, older]
    assert Choice(place, newest) in drill.choices(site_of(settings), "Shop", (place,), "", now)
    later = now + 91 * DAY
    failed = verify.read_night(site_of(settings), destination, ["Shop"], later, later).failed
    assert set(failed) == {newest, whole, older, oldest}  # none is an archive, and each is named
    assert cleanup.clean(destination, site_of(settings), ["Shop"], now, evaluation.order).deleted == [oldest, older]
    assert {each.key for each in destination.list()} == {
        *(f"{newest}{s}" for s in ("", ".json", ".proof.json", ".damaged.json")),
        *(f"{whole}{s}" for s in ("", ".json", ".damaged.json")),
    }


BESIDE = (".json", ".proof.json", ".read.json", ".damaged.json")


def what_goes_on(settings: Settings, place: str, newest: str, oldest: str) -> None:
    """Expect that check, page, plan, drill and reading go on where nothing beside the newest archive may be read."""
    now = datetime.now(UTC)
    (destination,) = site_of(settings).destinations("Shop", (place,), deleting=True)
    found = check.examine(place, site_of(settings), ["Shop"], now).findings
    named = {each.check for each in found if each.verdict == "unhealthy" and newest in each.text}
    assert named == {"database limits", "database proof", "damaged"}
    assert read_destination(place, settings).found
    order = cleanup.evaluate(destination, site_of(settings), ["Shop"], now).order
    assert list(order.archives) == [oldest]
    assert Choice(place, newest) in drill.choices(site_of(settings), "Shop", (place,), "", now)
    later = now + 91 * DAY
    assert {newest, oldest} <= set(verify.read_night(site_of(settings), destination, ["Shop"], later, later).failed)
    assert cleanup.clean(destination, site_of(settings), ["Shop"], now, order).deleted == [oldest]


def kept_two(settings: Settings, place: str) -> tuple[str, str]:
    """Store an archive that stays and one that is too old; return their keys."""
    (destination,) = site_of(settings).destinations("Shop", (place,))
    now = datetime.now(UTC)
    newest, whole, oldest = (catalog.archive_key("Shop", "database", now - age * DAY) for age in (0.1, 0.2, 3001))
    beside = [newest + suffix for suffix in BESIDE]
    for name in (newest, whole, oldest, *beside, f"{whole}.json", f"{oldest}.json"):
        destination.write(name, marker_of(newest).to_bytes())
    return newest, oldest


def test_what_nobody_may_read_on_a_disk_ends_nothing(
    project: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config.load(project())
    newest, oldest = kept_two(settings, "disk")
    for suffix in BESIDE:
        (tmp_path / "disk" / f"{newest}{suffix}").chmod(0)
    as_nobody(lambda: what_goes_on(settings, "disk", newest, oldest), tmp_path)


def test_what_a_bucket_denies_ends_nothing(project: Configure, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config.load(project())
    newest, oldest = kept_two(settings, "offsite")
    deny = failing(403, "AccessDenied")
    with FaultyS3(s3.endpoint) as proxy:
        connection = json.loads(s3.connection())
        connection["extra"]["endpoint_url"] = proxy.endpoint
        monkeypatch.setenv("AIRFLOW_CONN_BACKUPS_S3", json.dumps(connection))

        def some(forward: Forward) -> Answer | None:
            beside = newest in forward.path and not forward.path.endswith(".zip")
            return deny(forward) if beside else forward()

        proxy.inject(Fault(some, times=LASTING))
        what_goes_on(settings, "offsite", newest, oldest)


def stored_beside_a_large_one(settings: Settings, place: str) -> tuple[str, str]:
    """Store an archive, and one that is older, larger than the budget of a night, and proven; return their keys."""
    whole = back_up(settings)
    (destination,) = site_of(settings).destinations("Shop", (place,))
    verify.verify(site_of(settings), destination, "Shop", whole)  # loads what another user may not reach
    large = catalog.archive_key("Shop", "database", datetime.now(UTC) - 300 * DAY)
    destination.write(large, b"x" * 2 * MEGABYTE)
    destination.write(f"{large}.json", marker_of(large).to_bytes())
    destination.write(f"{large}.proof.json", b"{}")
    return whole, large


def expect_no_judgement(settings: Settings, place: str, whole: str, large: str) -> None:
    """Expect that a night names the large archive, reads the other all the same, and records nothing of the large."""
    (destination,) = site_of(settings).destinations("Shop", (place,), deleting=True)
    later = datetime.now(UTC) + 91 * DAY
    night = verify.read_night(site_of(settings), destination, ["Shop"], later, later)
    assert (night.read, list(night.failed)) == ([whole], [large])
    kept = {each.key.removeprefix(large) for each in destination.list() if each.key.startswith(large)}
    assert kept == {"", ".json", ".proof.json"}


SMALL_BUDGET = {"read_back": {"megabytes_per_night": 1}}


@pytest.mark.parametrize("suffix", ["", ".json"])
def test_what_may_not_be_read_on_a_disk_is_not_called_damaged(
    project: Configure, shop: str, tmp_path: Path, suffix: str
) -> None:
    settings = config.load(project(**SMALL_BUDGET))
    whole, large = stored_beside_a_large_one(settings, "disk")
    (tmp_path / "disk" / (large + suffix)).chmod(0)
    as_nobody(lambda: expect_no_judgement(settings, "disk", whole, large), tmp_path)


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidObjectState"])
def test_what_a_bucket_refuses_to_show_is_not_called_damaged(
    project: Configure, shop: str, s3: S3, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    settings = config.load(project(**SMALL_BUDGET))
    whole, large = stored_beside_a_large_one(settings, "offsite")
    refuse = failing(403, code)
    with FaultyS3(s3.endpoint) as proxy:
        connection = json.loads(s3.connection())
        connection["extra"]["endpoint_url"] = proxy.endpoint
        monkeypatch.setenv("AIRFLOW_CONN_BACKUPS_S3", json.dumps(connection))
        proxy.inject(
            Fault(lambda forward: refuse(forward) if forward.path.endswith(large) else forward(), times=LASTING)
        )
        expect_no_judgement(settings, "offsite", whole, large)


def test_an_archive_of_a_lost_password_holds_up_no_other(
    project: Configure, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config.load(project(**SMALL_BUDGET))
    lost = back_up(settings)
    (disk, _) = places(settings)
    monkeypatch.setenv("AIRFLOW_CONN_LIFEBOAT_ARCHIVE", json.dumps({"conn_type": "generic", "password": "another"}))
    whole = back_up(settings)
    later = datetime.now(UTC) + 31 * DAY
    night = verify.read_night(site_of(settings), disk, ["Shop"], later, later)
    assert (night.read, list(night.failed)) == ([whole], [lost])


def test_a_deletion_that_is_denied_holds_up_no_other(
    project: Configure, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config.load(project())
    _, oldest = kept_two(settings, "offsite")
    (destination,) = site_of(settings).destinations("Shop", ("offsite",), deleting=True)
    now = datetime.now(UTC)
    other = catalog.archive_key("Shop", "database", now - 3000 * DAY)
    for name in (other, f"{other}.json"):
        destination.write(name, b"x")
    order = cleanup.evaluate(destination, site_of(settings), ["Shop"], now).order
    deny = failing(403, "AccessDenied")
    with FaultyS3(s3.endpoint) as proxy:
        connection = json.loads(s3.connection())
        connection["extra"]["endpoint_url"] = proxy.endpoint
        monkeypatch.setenv("AIRFLOW_CONN_BACKUPS_S3", json.dumps(connection))
        proxy.inject(Fault(lambda forward: deny(forward) if oldest in forward.path else forward(), times=LASTING))
        (watched,) = site_of(settings).destinations("Shop", ("offsite",), deleting=True)
        with pytest.raises(StorageError, match=f"Deleted: 1 of 2; left: {oldest}"):
            cleanup.clean(watched, site_of(settings), ["Shop"], now, order)
    assert destination.find(other) is None


@pytest.mark.parametrize("suffix", [".json", ".proof.json", ".read.json", ".damaged.json"])
def test_a_directory_in_the_place_of_a_file_ends_nothing_either(
    project: Configure, tmp_path: Path, suffix: str
) -> None:
    settings = config.load(project())
    (disk,) = site_of(settings).destinations("Shop", ("disk",), deleting=True)
    now = datetime.now(UTC)
    newest, oldest = (catalog.archive_key("Shop", "database", now - age * DAY) for age in (0.1, 3001))
    for key in (newest, oldest):
        for each in ("", *{".json", suffix}):
            disk.write(key + each, marker_of(key).to_bytes())
    path = tmp_path / "disk" / (newest + suffix)
    later = now + 91 * DAY
    path.unlink()
    path.mkdir()
    found = check.examine("disk", site_of(settings), ["Shop"], now).findings
    assert "storage" in {each.check for each in found}
    due = [] if suffix == ".json" else [oldest]  # without its marker the newest counts no more
    assert list(cleanup.evaluate(disk, site_of(settings), ["Shop"], now).order.archives) == due
    assert drill.choices(site_of(settings), "Shop", ("disk",), "", now)
    assert oldest in verify.read_night(site_of(settings), disk, ["Shop"], later, later).failed


def test_the_page_and_the_metrics_say_when_each_was_read() -> None:
    kept = (archive(1), archive(2), archive(3))
    readings = {kept[0].key: LastRead(NOW - 5 * DAY / 24, True), kept[1].key: LastRead(NOW, False)}
    shown = {"disk": Reading("disk", Catalog(kept, (), readings=readings))}
    rows = archives.rows(SETTINGS, shown.values(), NOW)
    assert [(row.last_read, row.damaged) for row in rows] == [("5 hours", False), ("", True), ("", False)]
    text = metrics.exposition(SETTINGS, shown, {}, NOW).decode()
    subject = 'application="Shop",destination="disk",kind="database"'
    assert f"lifeboat_damaged_archives{{{subject}}} 1.0" in text
    oldest = next(line for line in text.splitlines() if line.startswith("lifeboat_oldest_reading"))
    assert float(oldest.split()[-1]) == (NOW - 3 * DAY).timestamp()
