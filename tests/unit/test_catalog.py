"""What a listing says, in any order, with anything in it."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from lifeboat.catalog import archives as catalog
from lifeboat.storage import StoredObject

NOW = datetime(2026, 11, 23, 4, tzinfo=UTC)
A, B = "Shop/database/2026-11-22-01-00-00.zip", "Shop/database/2026-11-23-01-00-00.zip"


def listing(*keys: str) -> list[StoredObject]:
    return [StoredObject(key, len(key), NOW) for key in keys]


def test_only_published_archives_count() -> None:
    objects = listing(
        *(A, f"{A}.json", f"{A}.proof.json", B, f"{B}.json", "Shop/application/2026-11-22-02-00-00.zip"),
        *("Shop/database/2026-11-21-01-00-00.zip.json", "Shop/database/2026-11-24-01-00-00.zip.partial"),
        *("Shop/2026-11-20-01-30-00.zip", "Shop/database/notes.txt", "x.zip", "Shop/database/2026-13-41-01-00-00.zip"),
    )
    random.Random(7).shuffle(objects)
    found = catalog.read(objects)
    assert [(archive.key, archive.kind, archive.proven) for archive in found.archives] == [
        (B, "database", False),
        (A, "database", True),
        ("Shop/2026-11-20-01-30-00.zip", "legacy", False),
    ]
    assert [stored.key for stored in found.unfinished] == [
        "Shop/application/2026-11-22-02-00-00.zip",
        "Shop/database/2026-11-21-01-00-00.zip.json",
        "Shop/database/2026-11-24-01-00-00.zip.partial",
    ]
    assert [archive.key for archive in found.of("Shop")][:2] == [B, A]
    assert found.of("Shop 2") == []


def test_archives_of_one_time_are_in_the_order_of_their_keys() -> None:
    keys = [f"{name}/database/2026-11-22-01-00-00.zip" for name in "DCBA"]
    for number in range(4):
        found = catalog.read(listing(B, *keys[number:], *keys[:number]), need_markers=False)
        assert [archive.key for archive in found.archives] == [B, *keys]


@pytest.mark.parametrize(
    ("name", "when"),
    [
        ("2026-07-01-02-30-00", (2026, 7, 1, 0, 30)),
        ("2026-11-01-02-30-00", (2026, 11, 1, 1, 30)),
        ("0001-01-01-00-00-00", None),
    ],
)
def test_names_of_laravel_backup_are_in_their_zone(name: str, when: tuple[int, int, int, int, int] | None) -> None:
    archives = catalog.read(listing(f"Shop/{name}.zip"), ZoneInfo("Europe/Berlin")).archives
    assert [archive.captured_at for archive in archives] == ([datetime(*when, tzinfo=UTC)] if when else [])


def test_keys_are_made_as_they_are_read() -> None:
    key = catalog.archive_key("Shop", "database", datetime(2026, 11, 23, 1, tzinfo=UTC))
    assert key == B
    assert catalog.kind_of(key) == "database"


@pytest.mark.parametrize(
    "key",
    [
        *(f"{A}.json", "Shop/database/now.zip", "", "a/b/c/2026-11-22-01-00-00.zip"),
        *(f"Shop/database/2026-{time}.zip" for time in ("11-22-24-00-01", "11-22-01-60-00", "11-22-01-00-60")),
        *(f"Shop/database/2026-{time}.zip" for time in ("11-22T01-00-00", "11-22-01:00:00", "W47-1-01-00-00")),
    ],
)
def test_what_is_no_archive_has_no_kind(key: str) -> None:
    assert catalog.kind_of(key) is None
