"""A clean-up deletes exactly what its plan named, on real destinations, whatever goes wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lifeboat.actions import check, cleanup
from lifeboat.actions.cleanup import Order
from lifeboat.airflow.site import site_of
from lifeboat.catalog import archives, proof
from lifeboat.catalog.archives import Kind
from lifeboat.errors import StorageError
from lifeboat.settings import config
from lifeboat.settings.config import Settings
from lifeboat.storage import Destination, StoredObject
from lifeboat.storage.disk import DiskDestination
from lifeboat.storage.s3 import S3Destination
from lifeboat.support import clock

from include.demo.stand_ins import S3
from tests.conftest import ARCHIVE_PASSWORD, Configure, disk_destination
from tests.records import marker_of, signed_proof, totals

NOW = datetime.now(UTC).replace(microsecond=0)
APPS = ["Shop"]


def settings_of(project: Configure, **changes: Any) -> Settings:
    return config.load(project(**changes))


@pytest.fixture(params=["disk", "offsite"])
def destination(request: pytest.FixtureRequest, project: Configure) -> Destination:
    from lifeboat.airflow import connections

    settings = settings_of(project)
    return connections.destination(request.param, settings.destinations[request.param])


def put(destination: Destination, *ages: float, application: str = "Shop", kind: Kind = "database") -> list[str]:
    """Publish archives of so many days of age."""
    keys = []
    for age in ages:
        key = archives.archive_key(application, kind, NOW - timedelta(days=age))
        destination.write(key, b"archive")
        destination.write(f"{key}.json", b"{}")
        keys.append(key)
    return keys


def prove(destination: Destination, key: str) -> None:
    """Sign a proof of an archive."""
    (archive,) = [stored for stored in destination.list() if stored.key == key]
    facts = {"destination": destination.name, "archive": {"size": archive.size, "sha256": ""}}
    proof.record(destination, signed_proof(key, ARCHIVE_PASSWORD, proven_at=NOW.isoformat(), **facts))


def keys_at(destination: Destination) -> set[str]:
    return {stored.key for stored in destination.list()}


def put_logs(destination: Destination, *ages: float) -> list[str]:
    """Publish a chain of archives of logs of so many days of age."""
    keys = [archives.log_key("Shop", NOW - timedelta(days=age), number) for number, age in enumerate(ages, 1)]
    for key in keys:
        destination.write(key, b"archive")
        destination.write(f"{key}.json", b"{}")
    return keys


def test_logs_before_the_archive_that_they_continue_are_deleted(project: Configure, destination: Destination) -> None:
    shop = {"databases": [{"name": "shop", "connection": "shop_db"}], "logs": {"keep_days": 3}}
    nothing = {f"keep_{period}": 0 for period in ("daily_for_days", "weekly_for_weeks", "monthly_for_months")}
    settings = settings_of(
        project,
        applications={"Shop": shop},
        retention={"keep_all_for_days": 1, "keep_yearly_for_years": 0, **nothing},
    )
    dumps = {age: archives.archive_key("Shop", "database", NOW - timedelta(days=age)) for age in (6, 5, 4, 2, 0)}
    for age, key in dumps.items():
        destination.write(key, b"archive")
        positions = 0 if age == 4 else 1  # one without a position continues nothing
        destination.write(f"{key}.json", marker_of(key, totals=totals(positions=positions)).to_bytes())
    old = put_logs(destination, 5.9, 5.5, 5.1, 4.9, 3.5, 1, 0.01)
    site = site_of(settings)
    planned = cleanup.evaluate(destination, site, APPS, NOW)
    assert [decision.rule for decision in planned.plan.decisions] == ["newest", *["too old"] * 2, "anchor", "too old"]
    assert [decision.archive.key for decision in planned.logs] == old[:3]
    cleanup.clean(destination, site, APPS, NOW, planned.order)
    kept = {dumps[0], dumps[5], *old[3:]}
    assert keys_at(destination) - {".lifeboat-destination"} == kept | {f"{key}.json" for key in kept}
    assert not cleanup.evaluate(destination, site, APPS, NOW).order.archives


def test_what_the_plan_named_is_deleted_and_nothing_else(project: Configure, destination: Destination) -> None:
    settings = settings_of(project)
    fresh, old, ancient = put(destination, 0.1, 8, 3000)
    others = put(destination, 3000, 3001, application="Not in the settings")
    destination.write("Shop/readme.txt", b"not ours")
    prove(destination, ancient)
    destination.write(f"{old}.proof.json", json.dumps({"key": old, "result": "proven"}).encode())
    put(destination, 0.2)
    proofless = archives.archive_key("Shop", "database", NOW - timedelta(days=2000))
    destination.write(proofless, b"x")
    destination.write(f"{proofless}.json", b"{}")
    evaluation = cleanup.evaluate(destination, site_of(settings), APPS, NOW)
    assert list(evaluation.order.archives) == [proofless]  # the ancient one has the newest proof that is not forged
    cleaned = cleanup.clean(destination, site_of(settings), APPS, NOW, evaluation.order)
    assert cleaned.deleted == [proofless]
    left = keys_at(destination)
    assert {fresh, f"{fresh}.json", old, ancient, "Shop/readme.txt", *others} <= left
    assert not [key for key in left if key.startswith(proofless)]
    assert cleanup.evaluate(destination, site_of(settings), APPS, NOW).order.archives == {}


def test_a_whole_archive_is_kept_beside_a_damaged_one(project: Configure, destination: Destination) -> None:
    settings = settings_of(project, retention={"keep_all_for_days": 0, "keep_daily_for_days": 0})
    newest, *old = put(destination, 0.1, 3000, 3001)
    evaluation = cleanup.evaluate(destination, site_of(settings), APPS, NOW)
    assert list(evaluation.order.archives) == [*reversed(old)]
    destination.write(f"{newest}.damaged.json", b"{}")
    reason = f"newest whole: newest whole database archive: {newest} is damaged"
    later = cleanup.evaluate(destination, site_of(settings), APPS, NOW)
    assert any(line.endswith(f"{old[0]}  {reason}") for line in cleanup.lines(later))
    cleaned = cleanup.clean(destination, site_of(settings), APPS, NOW, evaluation.order)  # made before it was read back
    assert cleaned.deleted == old[1:]
    assert cleaned.left == {old[0]: f"retention now keeps it: {reason.partition(': ')[2]}"}


def test_what_changed_since_the_plan_is_left(project: Configure, destination: Destination) -> None:
    settings = settings_of(project)
    newest, ancient, older = put(destination, 0.1, 3000, 3001)
    order = cleanup.evaluate(destination, site_of(settings), APPS, NOW).order
    assert list(order.archives) == [older, ancient]
    destination.delete(newest)  # so that the next becomes the only good one
    destination.delete(f"{newest}.json")
    cleaned = cleanup.clean(destination, site_of(settings), APPS, NOW, order)
    assert cleaned.deleted == []
    assert set(cleaned.left) == {older, ancient}
    put(destination, 0.1)
    assert cleanup.clean(destination, site_of(settings), APPS, NOW, Order({ancient: 999}, {})).left == {
        ancient: "it changed since the plan was made"
    }
    assert cleanup.clean(destination, site_of(settings), APPS, NOW, order).deleted == [older, ancient]
    assert (
        cleanup.clean(destination, site_of(settings), APPS, NOW, order).deleted == []
    )  # a repeated try finds nothing to do


@pytest.mark.parametrize(
    ("age", "said"), [(2, "is 48.0 hours old, more than 30.0 hours"), (None, "there is no database")]
)
def test_a_destination_with_a_stale_newest_archive_is_held(
    project: Configure, destination: Destination, age: float | None, said: str
) -> None:
    settings = settings_of(project)
    put(destination, *([age] if age else []), 3000, 3001, kind="database" if age else "application")
    evaluation = cleanup.evaluate(destination, site_of(settings), APPS, NOW)
    assert said in evaluation.plan.held["Shop"]
    assert evaluation.order.archives == {}
    (first, *_) = cleanup.lines(evaluation)
    assert first.startswith("HELD: nothing of Shop is deleted here: ")
    relaxed = settings_of(project, health={"database_max_days": 4000})
    if age:
        assert len(cleanup.evaluate(destination, site_of(relaxed), APPS, NOW).order.archives) == 2


def test_old_remains_of_uploads_are_swept_and_young_ones_left(project: Configure, destination: Destination) -> None:
    settings = settings_of(project)
    put(destination, 0.1)
    unfinished = archives.archive_key("Shop", "database", NOW - timedelta(days=3))
    for key in (
        unfinished,
        "Shop/database/2020-01-01-00-00-00.zip.json",
        "Shop/database/2020-01-02-00-00-00.zip.partial",
        "Shop/database/2020-01-02-00-00-00.zip.json.0123456789abcdef.partial",
    ):
        destination.write(key, b"half")
    assert cleanup.evaluate(destination, site_of(settings), APPS, NOW).unfinished == ()
    later = NOW + timedelta(days=2)
    put(destination, -1.9)
    evaluation = cleanup.evaluate(destination, site_of(settings), APPS, later)
    assert len(evaluation.unfinished) == 4
    cleanup.clean(destination, site_of(settings), APPS, later, evaluation.order)
    assert unfinished not in keys_at(destination)
    assert not [key for key in keys_at(destination) if "/2020-" in key]


def test_the_marker_of_a_vanished_archive_stays_as_long_as_the_archive_would(
    project: Configure, destination: Destination
) -> None:
    later = NOW + timedelta(days=2)
    settings = settings_of(project)
    _, kept, due = put(destination, -1.9, 1, 3000)
    for key in (kept, due):
        destination.delete(key)
    order = cleanup.evaluate(destination, site_of(settings), APPS, later).order
    assert list(order.unfinished) == [f"{due}.json"]
    cleanup.clean(destination, site_of(settings), APPS, later, order)
    assert {f"{kept}.json", f"{due}.json"} & keys_at(destination) == {f"{kept}.json"}


def test_abandoned_multipart_uploads_are_aborted(project: Configure, s3: S3) -> None:
    settings = settings_of(project)
    s3.create_bucket("abandoned")
    client = s3.client()
    ours = archives.archive_key("Shop", "database", NOW - timedelta(days=4))
    for key in (ours, "Shop/videos/film.mp4", "Shop/database/notours.bin", "Other/database/2026-01-01-00-00-00.zip"):
        client.create_multipart_upload(Bucket="abandoned", Key=key)
    destination = S3Destination("offsite", s3.client(), "abandoned")
    put(destination, 0.1)
    assert cleanup.evaluate(destination, site_of(settings), APPS, NOW).uploads == ()  # they may be under way
    later = NOW + timedelta(days=2)
    assert (
        cleanup.evaluate(destination, site_of(settings), APPS, later).uploads == ()
    )  # nothing is touched where it is held
    put(destination, -1.9)
    evaluation = cleanup.evaluate(destination, site_of(settings), APPS, later)
    assert f"sweep   {ours}: an upload that never finished" in list(cleanup.lines(evaluation))
    assert cleanup.clean(destination, site_of(settings), APPS, later, evaluation.order).aborted == [ours]
    left = {upload["Key"] for upload in client.list_multipart_uploads(Bucket="abandoned")["Uploads"]}
    assert left == {"Shop/videos/film.mp4", "Shop/database/notours.bin", "Other/database/2026-01-01-00-00-00.zip"}


def test_what_stands_beside_legacy_archives_is_not_ours(project: Configure, destination: Destination) -> None:
    settings = settings_of(project)
    put(destination, 0.1)
    for key in ("Shop/2020-01-02-00-00-00.zip", "Shop/2020-01-01-00-00-00.zip", "Shop/2020-01-01-00-00-00.zip.json"):
        destination.write(key, b"x")
    destination.write("Shop/2019-01-01-00-00-00.zip.partial", b"x")
    later = NOW + timedelta(days=2)
    put(destination, -1.9)
    order = cleanup.evaluate(destination, site_of(settings), APPS, later).order
    assert (list(order.archives), order.unfinished) == (["Shop/2020-01-01-00-00-00.zip"], {})
    cleanup.clean(destination, site_of(settings), APPS, later, order)
    assert {"Shop/2020-01-01-00-00-00.zip.json", "Shop/2019-01-01-00-00-00.zip.partial"} <= keys_at(destination)


def test_an_order_that_waited_while_no_backup_came_deletes_nothing(
    project: Configure, destination: Destination
) -> None:
    settings = settings_of(project)
    put(destination, 0.1, 3000, 3001)
    order = cleanup.evaluate(destination, site_of(settings), APPS, NOW).order
    cleaned = cleanup.clean(destination, site_of(settings), APPS, NOW, order, NOW + timedelta(days=60))
    assert cleaned.deleted == []
    assert set(cleaned.left) == set(order.archives) != set()
    assert all("held" in reason for reason in cleaned.left.values())


def test_a_cap_counts_one_application_at_one_destination(project: Configure, tmp_path: Path) -> None:
    shop = {"databases": [{"name": "shop", "connection": "shop_db"}]}
    settings = settings_of(
        project, applications={"A": shop, "B": shop, "C": shop}, retention={"delete_oldest_above_megabytes": 1}
    )
    destination = disk_destination("disk", tmp_path / "disk")
    for application in ("A", "B"):
        put(destination, *(0.1 + number / 10 for number in range(4)), application=application)
    for path in (tmp_path / "disk").rglob("*.zip"):
        path.write_bytes(bytes(200_000))
    assert cleanup.evaluate(destination, site_of(settings), ["A", "B"], NOW).order.archives == {}
    for path in (tmp_path / "disk" / "A").rglob("*.zip"):
        path.write_bytes(bytes(400_000))
    everything = cleanup.evaluate(destination, site_of(settings), ["A", "B"], NOW).order.archives
    alone = cleanup.evaluate(destination, site_of(settings), ["A"], NOW).order.archives
    assert len(everything) == 2
    assert list(alone) == list(everything) == sorted(key for key in everything if key.startswith("A/"))
    # C is held, for it has no archive at all; what it lacks does not switch the others' cap off.
    assert cleanup.evaluate(destination, site_of(settings), ["C"], NOW).plan.held


def test_a_proof_that_cannot_be_read_is_a_finding_and_protects_its_archive(
    project: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(project)
    destination = disk_destination("disk", tmp_path / "disk")
    _, proven, older = put(destination, 0.1, 2990, 3000)
    prove(destination, older)
    prove(destination, proven)
    genuine = DiskDestination.open

    def denied(self: DiskDestination, key: str, *arguments: Any, **options: Any) -> Any:
        if key == f"{proven}.proof.json":
            raise StorageError(f"{key} at disk cannot be read: Permission denied.")
        return genuine(self, key, *arguments, **options)

    monkeypatch.setattr(DiskDestination, "open", denied)
    evaluation = cleanup.evaluate(destination, site_of(settings), APPS, NOW)
    assert [decision.archive.key for decision in evaluation.plan.deletions] == [older]
    findings = check.examine("disk", site_of(settings), APPS, NOW).findings
    (told,) = [each for each in findings if each.check == "database proof"]
    assert (told.verdict, "Permission denied" in told.text) == ("unhealthy", True)
    assert check.newest_archive(site_of(settings), "Shop", "database", NOW, timedelta(days=1), proven=True) is None
    assert check.newest_archive(site_of(settings), "Shop", "database", NOW, timedelta(days=1), proven=False)


def test_what_a_cap_deletes_of_the_promised_periods_is_told_by_plan_and_check(
    project: Configure, tmp_path: Path
) -> None:
    settings = settings_of(project)
    destination = disk_destination("disk", tmp_path / "disk")
    put(destination, 0.1, 1.1, 2.1)
    told = "the cap of 4.88 GiB keeps 1 of the promised 7 days; the policy needs about"
    for size, expected in ((1 << 20, False), (3 << 30, True)):
        for path in (tmp_path / "disk").rglob("*.zip"):
            os.truncate(path, size)
        lines = list(cleanup.lines(cleanup.evaluate(destination, site_of(settings), APPS, NOW)))
        assert any(f"CAP: Shop: {told}" in line for line in lines) == expected
        findings = check.examine("disk", site_of(settings), APPS, NOW).findings
        assert any(each.verdict == "degraded" and each.text.startswith(told) for each in findings) == expected
        # A backup says so after its upload; init of a new destination, by what others hold.
        empty = disk_destination("empty", tmp_path / "empty")
        assert cleanup.cap_notice("disk", settings, "Shop", [empty], NOW) == ""
        notice = cleanup.cap_notice("disk", settings, "Shop", [empty, destination], NOW)
        assert notice.startswith(f"Shop at disk: {told}") == expected


def test_locked_archives_are_skipped_and_reported(project: Configure, s3: S3) -> None:
    settings = settings_of(project)
    client = s3.client()
    client.create_bucket(Bucket="locked-bucket", ObjectLockEnabledForBucket=True)
    destination = S3Destination("offsite", s3.client(), "locked-bucket")
    _, held, ancient, older = put(destination, 0.1, 2998, 3000, 3001)
    until = datetime.now(UTC) + timedelta(days=1)
    client.put_object_retention(
        Bucket="locked-bucket", Key=ancient, Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until}
    )
    client.put_object_legal_hold(Bucket="locked-bucket", Key=held, LegalHold={"Status": "ON"})
    half = archives.archive_key("Shop", "database", NOW - timedelta(days=2000))
    destination.write(half, b"half")
    client.put_object_legal_hold(Bucket="locked-bucket", Key=half, LegalHold={"Status": "ON"})
    order = cleanup.evaluate(destination, site_of(settings), APPS, NOW).order
    assert list(order.archives) == [older, ancient, held]
    cleaned = cleanup.clean(destination, site_of(settings), APPS, NOW, order)
    assert cleaned.deleted == [older]
    assert cleaned.left[ancient].startswith("it is locked: object lock until ")
    assert cleaned.left[held] == "it is locked: a legal hold"
    assert {ancient, f"{ancient}.json", held} <= keys_at(destination)


class Faulty(DiskDestination):
    """A destination whose listing breaks off, or whose deletions are denied after some."""

    listed: int | None = None
    deletions: int | None = None

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        for number, stored in enumerate(super().list(prefix)):
            if number == self.listed:
                raise StorageError("page 3 of the listing failed")
            yield stored

    def delete(self, key: str) -> None:
        if self.deletions is not None:
            if self.deletions == 0:
                raise StorageError(f"Cannot delete {key}: denied.")
            self.deletions -= 1
        super().delete(key)


@pytest.fixture
def faulty(tmp_path: Path) -> Faulty:
    faulty = Faulty("disk", tmp_path / "disk")
    faulty.init(clock.now())
    put(faulty, 0.1, 3000, 3001, 3002)
    return faulty


def test_a_listing_that_breaks_off_deletes_nothing(project: Configure, faulty: Faulty) -> None:
    settings = settings_of(project)
    before = keys_at(faulty)
    order = cleanup.evaluate(faulty, site_of(settings), APPS, NOW).order
    faulty.listed = 3
    with pytest.raises(StorageError, match="page 3"):
        cleanup.evaluate(faulty, site_of(settings), APPS, NOW)
    with pytest.raises(StorageError, match="page 3"):
        cleanup.clean(faulty, site_of(settings), APPS, NOW, order)
    faulty.listed = None
    assert keys_at(faulty) == before


@pytest.mark.parametrize("done", range(6))
def test_a_denied_deletion_stops_and_leaves_no_archive_that_counts_half(
    project: Configure, faulty: Faulty, done: int
) -> None:
    settings = settings_of(project)
    order = cleanup.evaluate(faulty, site_of(settings), APPS, NOW).order
    faulty.deletions = done
    with pytest.raises(StorageError, match="denied"):
        cleanup.clean(faulty, site_of(settings), APPS, NOW, order)
    faulty.deletions = None
    found = archives.read(faulty.list())
    for archive in found.archives:
        assert {archive.key, f"{archive.key}.json"} <= keys_at(faulty)
    again = cleanup.evaluate(faulty, site_of(settings), APPS, NOW)
    cleanup.clean(faulty, site_of(settings), APPS, NOW, again.order)
    assert [archive.key for archive in archives.read(faulty.list()).archives] == [found.archives[0].key]


def test_overrides_by_destination_application_and_kind(project: Configure, tmp_path: Path) -> None:
    shop = {"databases": [{"name": "shop", "connection": "shop_db"}]}
    settings = settings_of(
        project,
        retention={"keep_all_for_days": 3, "legacy": {"keep_all_for_days": 1}},
        destinations={
            "disk": {"type": "disk", "path": str(tmp_path / "disk"), "retention": {"keep_daily_for_days": 5}},
            "b": {"type": "disk", "path": str(tmp_path / "b"), "retention": {"delete_oldest_above_megabytes": None}},
        },
        applications={"Shop": shop, "Big": shop | {"retention": {"delete_oldest_above_megabytes": 9}}},
    )
    policy = settings.policy_of("disk", "Shop", "database")
    assert (policy.keep_all_for_days, policy.keep_daily_for_days, policy.delete_oldest_above_megabytes) == (3, 5, 5000)
    assert settings.policy_of("disk", "Shop", "legacy").keep_all_for_days == 1
    assert settings.policy_of("b", "Shop", "database").delete_oldest_above_megabytes is None
    assert settings.policy_of("b", "Big", "database").delete_oldest_above_megabytes == 9


def test_thousands_of_archives(project: Configure, destination: Destination) -> None:
    settings = settings_of(project)
    keys = put(destination, *(number / 2 for number in range(1000)))
    evaluation = cleanup.evaluate(destination, site_of(settings), APPS, NOW)
    cleaned = cleanup.clean(destination, site_of(settings), APPS, NOW, evaluation.order)
    assert cleaned.deleted == list(evaluation.order.archives)
    found = archives.read(destination.list())
    assert len(found.archives) == len(keys) - len(cleaned.deleted)
    assert 40 <= len(found.archives) <= 60
    assert found.unfinished == ()
    assert json.loads(json.dumps(evaluation.order.to_json()))
