"""What is locked in a bucket stays there, as long as the settings say."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError
from lifeboat.actions import backup, check, cleanup
from lifeboat.airflow import connections, doctor
from lifeboat.airflow.site import site_of
from lifeboat.catalog import archives, proof
from lifeboat.errors import SettingsError, StorageError
from lifeboat.settings import config
from lifeboat.settings.config import Settings
from lifeboat.staging import StagingDirectory
from lifeboat.storage import Destination
from lifeboat.storage.s3 import S3Destination

from include.demo.stand_ins import S3
from tests.conftest import PROJECT, Configure, stage
from tests.records import signed_proof

NOW = datetime.now(UTC).replace(microsecond=0)
HOLDS = ("healthy", "a locked test object could not be deleted")


def key_of(age: float) -> str:
    return archives.archive_key("Shop", "database", NOW - timedelta(days=age))


@pytest.fixture
def bucket(s3: S3, request: pytest.FixtureRequest) -> str:
    """An empty bucket with Object Lock."""
    name = f"lock-{abs(hash(request.node.nodeid)) % 10**12}"
    s3.client().create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name


def locking(
    project: Configure, bucket: str, mode: str = "compliance", connection: str = "backups_s3", **changes: str
) -> Settings:
    kept = {"type": "s3", "connection": connection, "bucket": bucket, "object_lock": {"mode": mode, "days": 10}}
    periods = ("daily_for_days", "weekly_for_weeks", "monthly_for_months", "yearly_for_years")
    retention = {"keep_all_for_days": 1} | {f"keep_{period}": 0 for period in periods}
    return config.load(project(destinations={"offsite": kept | changes}, retention=retention))


def offsite(settings: Settings) -> Destination:
    return connections.destination("offsite", settings.destinations["offsite"])


def publish(settings: Settings, tmp_path: Path, *ages: float, size: int = 7) -> list[str]:
    """Publish archives of so many days of age, as a backup does."""
    destination = offsite(settings)
    for age in ages:
        scratch = StagingDirectory(tmp_path / f"staging-{age}")
        scratch.create()
        backup.store_archive(scratch, stage(scratch, key_of(age), os.urandom(size)), destination)
    return [key_of(age) for age in ages]


@pytest.mark.parametrize("size", [7, (16 << 20) + 1])
def test_an_archive_and_its_marker_are_locked_from_the_capture_on(
    project: Configure, s3: S3, bucket: str, tmp_path: Path, size: int
) -> None:
    settings = locking(project, bucket)
    (key,) = publish(settings, tmp_path, 0.5, size=size)
    client = s3.client()
    for each in (key, f"{key}.json"):
        head = client.head_object(Bucket=bucket, Key=each)
        assert head["ObjectLockMode"] == "COMPLIANCE"
        assert head["ObjectLockRetainUntilDate"] == NOW + timedelta(days=9.5)
        with pytest.raises(ClientError, match="AccessDenied"):
            client.delete_object(Bucket=bucket, Key=each, VersionId=head["VersionId"], BypassGovernanceRetention=True)
    offsite(settings).write(f"{key}.proof.json", b"{}")  # newer proofs replace older ones
    assert "ObjectLockMode" not in client.head_object(Bucket=bucket, Key=f"{key}.proof.json")


def test_what_is_stored_when_its_lock_would_be_over_is_not_locked(
    project: Configure, s3: S3, bucket: str, tmp_path: Path
) -> None:
    (key,) = publish(locking(project, bucket), tmp_path, 11)
    assert "ObjectLockMode" not in s3.client().head_object(Bucket=bucket, Key=key)


def test_a_clean_up_leaves_what_is_locked_and_says_until_when(project: Configure, bucket: str, tmp_path: Path) -> None:
    settings = locking(project, bucket)
    destination = offsite(settings)
    newest, young, old, ancient = publish(settings, tmp_path, 0.1, 9, 11, 3000)
    evaluation = cleanup.evaluate(destination, site_of(settings), ["Shop"], NOW)
    decided = {decision.archive.key: decision for decision in evaluation.plan.decisions}
    until = NOW + timedelta(days=1)
    assert decided[young].reason == f"locked until {until:%Y-%m-%d %H:%M:%S} UTC"
    assert list(evaluation.order.archives) == [ancient, old]
    cleaned = cleanup.clean(destination, site_of(settings), ["Shop"], NOW, evaluation.order)
    assert (cleaned.deleted, cleaned.left) == ([ancient, old], {})
    assert {archive.key for archive in archives.read(destination.list()).archives} == {newest, young}
    later = cleanup.evaluate(destination, site_of(settings), ["Shop"], until, NOW)
    assert list(later.order.archives) == [young]


def lock_finding(settings: Settings) -> tuple[str, str]:
    """Return verdict and text of what the check says of the lock."""
    examined = check.examine("offsite", site_of(settings), ["Shop"], NOW)
    (finding,) = [finding for finding in examined.findings if finding.check == "object lock"]
    return finding.verdict, finding.text


def test_the_probe_finds_a_lock_that_holds(project: Configure, s3: S3, bucket: str, tmp_path: Path) -> None:
    settings = locking(project, bucket)
    publish(settings, tmp_path, 0.1)
    for _ in range(2):
        assert lock_finding(settings) == HOLDS
    head = s3.client().head_object(Bucket=bucket, Key=".lifeboat-lock-probe")
    assert head["ObjectLockRetainUntilDate"] < datetime.now(UTC) + timedelta(hours=1)


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("ObjectLockMode", lambda: "GOVERNANCE"),
        ("ObjectLockRetainUntilDate", lambda: datetime.now(UTC) + timedelta(minutes=2)),
    ],
)
def test_the_probe_finds_a_lock_that_is_not_what_was_asked(
    project: Configure, bucket: str, field: str, other: Callable[[], Any]
) -> None:
    destination = cast(S3Destination, offsite(locking(project, bucket)))
    events = destination.client.meta.events
    events.register("before-parameter-build.s3.PutObject", lambda params, **_: params.update({field: other()}))
    with pytest.raises(StorageError, match="did not lock a test object as requested"):
        destination.prove_lock(destination)


@pytest.fixture
def roles(s3: S3, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One user who may not delete, and one who may not delete versions, as docs/IMMUTABILITY.md has them."""
    denied = {"backup-role": ["s3:DeleteObject", "s3:DeleteObjectVersion"], "cleanup-role": ["s3:DeleteObjectVersion"]}
    statements = [
        {
            "Sid": name.partition("-")[0],
            "Effect": "Deny",
            "Principal": {"AWS": [f"arn:aws:iam::000000000000:user/{name}"]},
            "Action": actions,
            "Resource": f"arn:aws:s3:::{bucket}/*",
        }
        for name, actions in denied.items()
    ]
    s3.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))
    for name, secret in s3.roles.items():
        variable = f"AIRFLOW_CONN_{name.replace('-', '_').upper()}"
        monkeypatch.setenv(variable, s3.connection(login=name, password=secret))


def test_a_key_that_may_lift_locks_is_found(project: Configure, bucket: str) -> None:
    assert "Remove s3:BypassGovernanceRetention from the key" in lock_finding(locking(project, bucket, "governance"))[1]


def test_a_governance_lock_holds_for_who_may_not_lift_it(project: Configure, bucket: str, roles: None) -> None:
    settings = locking(project, bucket, "governance", connection="backup_role", cleanup_connection="cleanup_role")
    assert lock_finding(settings) == HOLDS
    tried = doctor.examine_destination("offsite", settings.destinations["offsite"])
    assert {finding.verdict for finding in tried} == {"well"}
    # Whose key may lift locks counts, be it the one that only deletes.
    settings = locking(project, bucket, "governance", connection="backup_role", cleanup_connection="backups_s3")
    assert lock_finding(settings)[0] == "unhealthy"
    tried = doctor.examine_destination("offsite", settings.destinations["offsite"])
    assert [finding.verdict for finding in tried] == ["well", "well", "broken"]


def test_a_bucket_without_object_lock_is_found(project: Configure, s3: S3) -> None:
    s3.create_bucket("lockless")
    verdict, text = lock_finding(locking(project, "lockless"))
    assert verdict == "unhealthy"
    assert "Enable Object Lock on the bucket: docs/IMMUTABILITY.md" in text


def test_the_backup_role_cannot_delete_and_the_clean_up_role_can(
    project: Configure, s3: S3, bucket: str, roles: None, tmp_path: Path
) -> None:
    settings = locking(project, bucket, connection="backup_role", cleanup_connection="cleanup_role")
    *_, older, oldest = publish(settings, tmp_path, 0.1, 2999, 3000)
    with pytest.raises(StorageError, match=r"Cannot delete .* from destination 'offsite'.*AccessDenied"):
        offsite(settings).delete(older)
    deleting = connections.destination("offsite", settings.destinations["offsite"].for_cleanup)
    order = cleanup.evaluate(deleting, site_of(settings), ["Shop"], NOW).order
    assert cleanup.clean(deleting, site_of(settings), ["Shop"], NOW, order).deleted == [oldest, older]
    versions = s3.client().list_object_versions(Bucket=bucket, Prefix=older)
    assert {version["Key"] for version in versions["Versions"]} == {older, f"{older}.json"}, "hidden, not destroyed"
    assert {marker["Key"] for marker in versions["DeleteMarkers"]} == {older, f"{older}.json"}
    first = versions["Versions"][0]
    assert isinstance(deleting, S3Destination)
    with pytest.raises(ClientError, match="AccessDenied"):
        deleting.client.delete_object(Bucket=bucket, Key=first["Key"], VersionId=first["VersionId"])


def test_a_proof_is_replaced_where_archives_are_locked(project: Configure, bucket: str, roles: None) -> None:
    settings = locking(project, bucket, connection="backup_role", cleanup_connection="cleanup_role")
    (deleting,) = site_of(settings).destinations("Shop", deleting=True)
    for by in ("one", "another"):
        proof.record(deleting, signed_proof(key_of(1), "secret", by=by))
    assert proof.read(offsite(settings), key_of(1), "secret").by == "another"


@pytest.mark.parametrize(
    ("lock", "said"),
    [
        ({"mode": "governance", "days": 6}, "6 are fewer than the 7 days for which retention keeps all of Shop"),
        ({"mode": "strict", "days": 7}, "object_lock.mode: must be 'governance' or 'compliance'"),
        ({"mode": "compliance"}, "object_lock.days: is missing"),
        ({"mode": "compliance", "days": 0}, "object_lock.days: must be at least 1"),
        ({"mode": "compliance", "days": 36501}, "object_lock.days: must be at most 36500"),
        ({"mode": "compliance", "days": 30, "hours": 1}, "object_lock.hours: unknown key"),
    ],
)
def test_a_lock_must_make_sense(project: Configure, lock: dict[str, Any], said: str) -> None:
    kept = {"type": "s3", "connection": "backups_s3", "bucket": "bucket", "object_lock": lock}
    with pytest.raises(SettingsError, match=re.escape(said)):
        config.load(project(destinations={"offsite": kept}))


def test_a_lock_outlasts_what_is_all_kept_of_any_application(project: Configure, tmp_path: Path) -> None:
    shop = {"databases": [{"name": "shop", "connection": "shop_db"}]}
    lock = {"mode": "compliance", "days": 10}
    destinations = {
        "offsite": {"type": "s3", "connection": "backups_s3", "bucket": "bucket", "object_lock": lock},
        "disk": {"type": "disk", "path": str(tmp_path / "disk")},
    }
    long = shop | {"retention": {"application": {"keep_all_for_days": 30}}}
    with pytest.raises(SettingsError, match="retention keeps all of Long, kind application; lock for 30 or more"):
        config.load(project(destinations=destinations, applications={"Shop": shop, "Long": long}))
    elsewhere = {"Shop": shop, "Long": long | {"destinations": ["disk"]}}
    settings = config.load(project(destinations=destinations, applications=elsewhere))
    locked = {
        (name, kind): settings.policy_of(name, "Shop", kind).locked_for_days
        for name in destinations
        for kind in archives.KINDS
    }
    assert {place for place, days in locked.items() if days == 10} == {
        ("offsite", "database"),
        ("offsite", "application"),
    }


def test_the_documents_of_the_bucket_are_what_a_server_takes(s3: S3, bucket: str) -> None:
    text = (PROJECT / "docs" / "IMMUTABILITY.md").read_text(encoding="utf-8").replace("my-company-backups", bucket)
    blocks = re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lifecycle, backup_role, cleanup_role, bound = map(json.loads, blocks)
    s3.client().put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=lifecycle)
    s3.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps(bound))
    actions = [
        {action for statement in role["Statement"] for action in statement["Action"]}
        for role in (backup_role, cleanup_role)
    ]
    deleting = [{action for action in allowed if "Delete" in action or "Bypass" in action} for allowed in actions]
    assert deleting == [set(), {"s3:DeleteObject"}]
