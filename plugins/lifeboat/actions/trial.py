"""Try a policy on a listing: no destination, no settings, no Airflow."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from lifeboat.catalog import archives as catalog
from lifeboat.catalog.archives import Kind
from lifeboat.decide import retention
from lifeboat.decide.retention import Plan, Policy
from lifeboat.errors import SettingsError
from lifeboat.storage import StoredObject

STANDARD_INPUT = Path("-")


def plan(inventory: Path, at: str | None, timezone: str, policy: str | None, now: datetime) -> tuple[Plan, int]:
    """Plan for a listing.

    If the listing has any published markers, archives without one are unfinished uploads, as everywhere; where it
    holds none, it is a list of archives.

    :param inventory: JSON: a list of objects with ``key`` and ``size`` in bytes.
    :param at: ISO 8601, in `timezone` where it says no offset; None for `now`.
    :param policy: JSON object of retention's numbers; the others, and all where it is None, are the defaults.
    :returns: the plan, and how many objects of the listing are not archives.
    :raises SettingsError: one of them is not what it should be.
    """
    zone = _zone(timezone)
    now = now if at is None else _time(at, zone)
    policies = _policies(policy)
    objects = list(_objects(inventory))
    if len({stored.key for stored in objects}) < len(objects):
        raise SettingsError(f"{inventory} lists a key twice.", "A listing has every key once.")
    marked = any(
        stored.key.endswith(catalog.MARKER)
        and catalog.kind_of(stored.key.removesuffix(catalog.MARKER)) in catalog.OWN_KINDS
        for stored in objects
    )
    archives = catalog.read(objects, zone, need_markers=marked).archives
    try:
        found = retention.plan(archives, now, zone, lambda application, kind: policies[kind])
    except (OverflowError, ValueError) as error:
        raise SettingsError(f"--at: {at!r} is too far away to plan for.") from error
    return found, len(objects) - len(archives)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SettingsError(f"--timezone: there is no time zone {name!r}.", "Name one as in Europe/Berlin.") from error


def _time(text: str, zone: ZoneInfo) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"--at: {text!r} is not a time.", "Write it as in 2026-11-23T03:00:00.") from error
    return time if time.tzinfo else time.replace(tzinfo=zone)


def _policies(text: str | None) -> dict[Kind, Policy]:
    if text is None:
        return dict.fromkeys(catalog.KINDS, Policy())
    from lifeboat.settings import config

    try:
        numbers = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"--policy is not JSON: {error}.") from error
    return config.policies_of(numbers, "--policy")


def _objects(inventory: Path) -> Iterator[StoredObject]:
    try:
        text = sys.stdin.read() if inventory == STANDARD_INPUT else inventory.read_text(encoding="utf-8")
        listing: Any = json.loads(text)
    except OSError as error:
        raise SettingsError(f"Cannot read {inventory}: {error.strerror}.") from error
    except ValueError as error:
        raise SettingsError(f"{inventory} is not JSON: {error}.") from error
    if not isinstance(listing, list):
        raise SettingsError(f"{inventory} must hold a list of objects with 'key' and 'size'.")
    never = datetime.min.replace(tzinfo=UTC)
    for number, entry in enumerate(listing):
        try:
            key, size = entry["key"], entry["size"]
        except (TypeError, KeyError):
            key = size = None
        if not isinstance(key, str) or not isinstance(size, int) or size < 0:
            raise SettingsError(f"{inventory}: entry {number} has no 'key' (text) or no 'size' (bytes).")
        yield StoredObject(key, size, never)
