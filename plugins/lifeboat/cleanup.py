"""Clean a destination up: a plan from one listing, then exactly what it named, checked against a fresh one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

from lifeboat import catalog, health, retention
from lifeboat.catalog import Archive, Kind
from lifeboat.config import Settings
from lifeboat.retention import Plan
from lifeboat.storage import Destination, StoredObject
from lifeboat.text import size_text

log = logging.getLogger(__name__)

UNFINISHED_FOR = timedelta(days=1)  # an upload that has not finished by then never will


@dataclass(frozen=True)
class Evaluation:
    """What a clean-up would do at one destination.

    :param unfinished: remains of uploads that are old enough to be swept.
    """

    plan: Plan
    unfinished: tuple[StoredObject, ...]

    @property
    def order(self) -> Order:
        """Return what is to be deleted, small enough to travel between tasks."""
        deletions = {decision.archive.key: decision.archive.size for decision in self.plan.deletions}
        return Order(deletions, {stored.key: stored.size for stored in self.unfinished})


@dataclass(frozen=True)
class Order:
    """What is to be deleted: keys with their sizes in bytes, oldest first."""

    archives: Mapping[str, int]
    unfinished: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the order as values that JSON knows."""
        return {"archives": dict(self.archives), "unfinished": dict(self.unfinished)}

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Self:
        """Read what `to_json` returned."""
        return cls(**facts)


@dataclass
class Cleaned:
    """What a clean-up did.

    :param left: why an archive of the order was not deleted, by key.
    :param freed: bytes of what was deleted.
    """

    deleted: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    freed: int = 0


def evaluate(destination: Destination, settings: Settings, applications: Sequence[str], now: datetime) -> Evaluation:
    """Read a destination with one listing and decide about every archive of some applications.

    :raises StorageError: the listing failed; a part of it decides nothing.
    """
    found = catalog.read(destination.list(), settings.legacy_zone)
    archives = [archive for archive in found.archives if archive.application in applications]
    held = {
        name: reason
        for name in applications
        if (reason := health.staleness(_of(archives, name), settings.limits_of(name).longest_ages, now))
    }

    def policies(application: str, kind: Kind) -> retention.Policy:
        return settings.policy_of(destination.name, application, kind)

    plan = retention.plan(archives, now, settings.zone, policies, held, settings.own_caps())
    unfinished = tuple(
        stored
        for stored in found.unfinished
        if (application := stored.key.partition("/")[0]) in applications
        and application not in held
        and now - stored.modified > UNFINISHED_FOR
    )
    return Evaluation(plan, unfinished)


def _of(archives: Sequence[Archive], application: str) -> list[Archive]:
    return [archive for archive in archives if archive.application == application]


def clean(
    destination: Destination, settings: Settings, applications: Sequence[str], now: datetime, order: Order
) -> Cleaned:
    """Delete what an order names, as far as a fresh listing still says so.

    :param now: when the order was made; what is decided anew is decided for that time.
    :raises StorageError: a listing or a deletion failed; nothing after it is deleted.
    """
    fresh = evaluate(destination, settings, applications, now)
    keys = {decision.archive.key: decision for decision in fresh.plan.decisions}
    cleaned = Cleaned()
    for key, size in order.archives.items():
        decision = keys.get(key)
        if decision is None:
            continue  # an earlier try deleted it
        if decision.action == "keep":
            cleaned.left[key] = f"it is to be kept now: {decision.reason}"
        elif decision.archive.size != size:
            cleaned.left[key] = "it changed since the plan was made"
        elif lock := destination.lock_of(key):
            cleaned.left[key] = f"it is locked: {lock}"
        else:
            _delete(destination, key)
            cleaned.deleted.append(key)
            cleaned.freed += size
            log.info("Deleted %s: %s.", key, decision.reason)
    for stored in fresh.unfinished:
        if order.unfinished.get(stored.key) == stored.size:
            destination.delete(stored.key)
            cleaned.deleted.append(stored.key)
            cleaned.freed += stored.size
            log.info("Deleted %s: an upload that never finished.", stored.key)
    for key in _abort(destination, [name for name in applications if name not in fresh.plan.held], now):
        log.info("Aborted an upload of %s that never finished.", key)
    for key, reason in cleaned.left.items():
        log.warning("Left %s: %s.", key, reason)
    log.info("Deleted %s objects at %s: %s.", len(cleaned.deleted), destination, size_text(cleaned.freed))
    return cleaned


def _delete(destination: Destination, key: str) -> None:
    """Delete an archive and what stands beside it; without its marker it counts no more, whatever happens then."""
    destination.delete(key + catalog.MARKER)
    destination.delete(key)
    destination.delete(key + catalog.PROOF)


def _abort(destination: Destination, applications: Sequence[str], now: datetime) -> Iterator[str]:
    for application in applications:
        yield from destination.abort_unfinished(f"{application}/", now - UNFINISHED_FOR)


def lines(plan: Plan) -> Iterator[str]:
    """Yield the plan as a table for people, newest first."""
    for application, reason in plan.held.items():
        yield f"HELD: nothing of {application} is deleted here: {reason}."
    for decision in plan.decisions:
        archive = decision.archive
        by = f"; superseded by {decision.superseded_by}" if decision.superseded_by else ""
        yield (
            f"{decision.action:6}  {archive.captured_at:%Y-%m-%d %H:%M:%S} UTC  {size_text(archive.size):>10}"
            f"  {archive.key}  {decision.rule}: {decision.reason}{by}"
        )
    total = sum(decision.archive.size for decision in plan.decisions if decision.action == "keep")
    kept = len(plan.decisions) - len(plan.deletions)
    freed = sum(decision.archive.size for decision in plan.deletions)
    yield f"Keep {kept}, {size_text(total)}; delete {len(plan.deletions)}, {size_text(freed)}."
