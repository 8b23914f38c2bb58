"""Archives of laravel-backup, which nobody signs: read only where the settings say so, until a day, by their key."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lifeboat.actions import drill, restore, stored_archive
from lifeboat.airflow.site import load_site, site_of
from lifeboat.catalog import archives
from lifeboat.decide.restore_plan import RestoreRequest
from lifeboat.errors import ArchiveError, LifeboatError, RestoreError, SettingsError
from lifeboat.settings import config

from tests.command import answer
from tests.conftest import Configure
from tests.records import marker_facts
from tests.servers.test_restore import legacy

TODAY = datetime.now(UTC)
KEY = "Shop/2026-11-20-01-00-00.zip"
FUTURE = f"Shop/{TODAY + timedelta(days=400):%Y-%m-%d-%H-%M-%S}.zip"
DUMP = {"db-dumps/mysql-shop.sql": b"SELECT 1;\n"}
NEVER = r"laravel-backup's archives are not accepted.*set the last day on which they are accepted"
LATER = str((TODAY + timedelta(days=30)).date())
PAST = str((TODAY - timedelta(days=1)).date())


def put(tmp_path: Path, key: str = KEY, *, encrypted: bool = True) -> Path:
    path = tmp_path / "disk" / key
    legacy(path, DUMP, encrypted=encrypted)
    return path


def asked(archive: str) -> Any:
    return restore.select(load_site(), RestoreRequest("Shop", archive=archive), TODAY)


@pytest.mark.parametrize("encrypted", [True, False])
@pytest.mark.parametrize("key", [KEY, FUTURE], ids=["past", "future"])
def test_without_the_setting_none_is_read(project: Configure, tmp_path: Path, key: str, encrypted: bool) -> None:
    project()
    path = put(tmp_path, key, encrypted=encrypted)
    settings = config.load()
    (disk,) = site_of(settings).destinations("Shop", ("disk",))
    with (
        pytest.raises(ArchiveError, match=NEVER),
        stored_archive.opened(site_of(settings), disk, "Shop", key),
    ):
        pass
    with pytest.raises(RestoreError, match=NEVER):
        asked(key)
    for archive in ("latest", "2040-01-01T00:00"):
        with pytest.raises(RestoreError, match=r"are of laravel-backup, which nobody signs.* only by their key"):
            asked(archive)
    with pytest.raises(SettingsError, match="not the key of an archive that a drill can prove"):
        drill.choices(site_of(settings), "Shop", (), key, TODAY)
    for named in (key, str(path)):
        (check, *_) = answer("verify", named, *(["--destination", "disk"] if named == key else []), status=1)
        assert "laravel-backup's archives are not accepted" in check["error"]
    listed = answer("list")["archives"]
    assert [(row["key"], row["kind"]) for row in listed] == [(key, "legacy")], "they are listed and retained as before"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"legacy_until": LATER}, ""),
        ({"legacy_until": str(TODAY.date()), "timezone": "UTC"}, ""),
        ({"legacy_until": PAST, "timezone": "UTC"}, f"archives were accepted until {PAST}: they are not signed"),
        ({"application": LATER}, ""),
        ({"legacy_until": LATER, "application": PAST}, f"archives were accepted until {PAST}"),
    ],
    ids=["until later", "until today", "until yesterday", "of one application", "no longer of one application"],
)
def test_the_setting_ends_by_itself(project: Configure, changes: dict[str, Any], error: str) -> None:
    own = {"legacy_until": until} if (until := changes.pop("application", None)) else {}
    project(applications={"Shop": {"databases": [{"name": "shop", "connection": "shop_db"}], **own}}, **changes)
    settings = config.load()
    if error:
        with pytest.raises(SettingsError, match=error):
            settings.refuse_legacy("Shop", TODAY)
    else:
        settings.refuse_legacy("Shop", TODAY)


def test_where_it_is_accepted_it_is_restored_by_key_only_and_told(project: Configure, tmp_path: Path) -> None:
    project(legacy_until=LATER)
    path = put(tmp_path)
    for archive in ("latest", "2040-01-01T00:00"):
        with pytest.raises(RestoreError, match=f"only by their key, as in {KEY}"):
            asked(archive)
    assert "NOBODY SIGNED IT" in "\n".join(asked(KEY).lines())
    for named in (["--destination", "disk", KEY], [str(path)]):
        (check,) = answer("verify", *named)
        assert "this archive of laravel-backup is not signed" in check["warning"]


def test_where_a_password_is_set_clear_entries_are_refused_all_the_same(project: Configure, tmp_path: Path) -> None:
    project(legacy_until=LATER)
    path = put(tmp_path, encrypted=False)
    for named in (["--destination", "disk", KEY], [str(path)]):
        (check,) = answer("verify", *named, status=1)
        assert "'db-dumps/mysql-shop.sql' is not encrypted, so anyone could have written it" in check["error"]
    with pytest.raises(LifeboatError, match="is not encrypted"):
        restore.verify(load_site(), asked(KEY))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("tomorrow", "legacy_until: must be a date, for example 2027-03-01"),
        ("2027-02-30", "legacy_until: must be an existing date"),
        (20270301, "legacy_until: must be a date"),
        (True, "legacy_until: must be a date"),
        ("2027-03-01T00:00:00", "legacy_until: must be a date"),
    ],
)
def test_the_setting_is_a_date(project: Configure, value: object, said: str) -> None:
    project(legacy_until=value, prepared=False)
    with pytest.raises(SettingsError, match=said):
        config.load()


def test_a_deep_check_believes_no_marker(project: Configure, tmp_path: Path) -> None:
    """Whoever writes an archive writes its marker, too; the SHA-256 in it says nothing of who that was."""
    project(destinations={"disk": {"type": "disk", "path": str(tmp_path / "disk")}})
    key = archives.archive_key("Shop", "database", TODAY)
    legacy(tmp_path / "disk" / key, DUMP | {"manifest.json": b'{"entries": {}}'}, encrypted=False)
    content = (tmp_path / "disk" / key).read_bytes()
    file = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "encrypted": True}
    (tmp_path / "disk" / f"{key}.json").write_text(json.dumps(marker_facts(key, archive=file)))
    findings = answer("check", "--deep", status=1)["findings"]
    (read_back,) = [each for each in findings if each["check"] == "read back"]
    assert read_back["verdict"] == "unhealthy"
    assert "'manifest.json' is not encrypted, so anyone could have written it" in read_back["text"]


def test_the_password_of_laravel_backup_opens_them(project: Configure, tmp_path: Path) -> None:
    project(legacy_until=LATER)
    put(tmp_path)
    assert restore.verify(load_site(), asked(KEY)).encrypted
