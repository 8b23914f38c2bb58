"""Clean a destination up: a plan from one listing, then exactly what it named, checked against a fresh one."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableSequence, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from lifeboat.actions import survey
from lifeboat.catalog import archives as catalog
from lifeboat.catalog.archives import Archive, Catalog, Kind, LastRead
from lifeboat.decide import capacity, health, log_retention, retention
from lifeboat.decide.capacity import Shortfall
from lifeboat.decide.retention import Decision, Plan
from lifeboat.errors import DeniedError, StorageError
from lifeboat.storage import Destination, StoredObject
from lifeboat.support.formats import Format, Moment, Text
from lifeboat.support.logs import logger
from lifeboat.text import plural, size_text

if TYPE_CHECKING:
    from lifeboat.settings.config import Settings
    from lifeboat.site import Site

log = logger(__name__)

LONGEST_LIST = 5  # keys in a message
UNFINISHED_FOR = timedelta(days=1)  # an upload that has not finished by then never will


@dataclass(frozen=True)
class Evaluation:
    """The plan of a clean-up at one destination.

    :param unfinished: remains of uploads that are old enough to be swept.
    :param uploads: multipart uploads that are old enough to be aborted.
    :param proofs: when archives were proven, by key.
    :param chain_proofs: the same of the proofs that logs lead to them.
    :param readings: when archives were read back last, by key.
    :param short: what a cap deletes within the promised periods, by application.
    :param logs: which archives of binary logs are deleted, oldest first.
    """

    plan: Plan
    unfinished: tuple[StoredObject, ...]
    uploads: tuple[StoredObject, ...]
    proofs: Mapping[str, datetime] = field(default_factory=dict)
    readings: Mapping[str, LastRead] = field(default_factory=dict)
    short: Mapping[str, Shortfall] = field(default_factory=dict)
    logs: tuple[Decision, ...] = ()
    chain_proofs: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def order(self) -> Order:
        """Return what is to be deleted, small enough to travel between tasks."""
        return Order(
            {decision.archive.key: decision.archive.size for decision in (*self.plan.deletions, *self.logs)},
            {stored.key: stored.size for stored in self.unfinished},
            tuple(upload.key for upload in self.uploads),
        )


@dataclass(frozen=True)
class Order(Format):
    """The objects to delete, oldest first.

    :param archives: sizes in bytes by key; so is the next.
    :param uploads: keys.
    """

    archives: dict[Text, int]
    unfinished: dict[Text, int]
    uploads: tuple[Text, ...] = ()


@dataclass(frozen=True)
class DatedOrder(Format):
    """An order, and the time for which it was decided."""

    now: Moment
    order: Order


@dataclass
class Cleaned:
    """The result of a clean-up.

    :param aborted: keys of uploads.
    :param left: why something of the order was not deleted, by key.
    :param freed: bytes of what was deleted.
    """

    deleted: list[str] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    freed: int = 0


def evaluate(
    destination: Destination,
    site: Site,
    applications: Sequence[str],
    now: datetime,
    clock: datetime | None = None,
) -> Evaluation:
    """Read a destination with one listing and decide about every archive of some applications.

    :param now: the time for which archives are decided about.
    :param clock: the time by which the newest are too old; default: `now`.
    :raises StorageError: the listing failed; a part of it decides nothing.
    """
    found = survey.read(destination, site)
    return decide(destination.name, found, site.settings, applications, now, clock)


def decide(
    destination: str,
    found: Catalog,
    settings: Settings,
    applications: Sequence[str],
    now: datetime,
    clock: datetime | None = None,
) -> Evaluation:
    """Decide about every archive of some applications that a destination was found to hold.

    :param destination: its name in the settings; `now` and `clock` are those of `evaluate`.
    """
    held = {
        name: reason
        for name in applications
        if (reason := health.staleness(found.of(name), settings.limits_of(name).longest_ages, clock or now))
    }

    def policies(application: str, kind: Kind) -> retention.Policy:
        return settings.policy_of(destination, application, kind)

    archives = [archive for archive in found.archives if archive.application in applications]
    damaged = {key for key, last in found.readings.items() if not last.whole}
    anchors = {archive.key for archive in found.anchors.values()}
    plan = retention.plan(archives, now, settings.zone, policies, held, damaged, anchors)
    missed = _missed(found.vanished, archives, lambda all_of: retention.plan(all_of, now, settings.zone, policies))

    def is_due(stored: StoredObject) -> bool:
        application = stored.key.partition("/")[0]
        old = now - stored.modified > UNFINISHED_FOR
        return old and application in applications and application not in held and stored.key not in missed

    unfinished, uploads = (tuple(filter(is_due, remains)) for remains in (found.unfinished, found.uploads))
    short = {name: cut for name in applications if (cut := cut_short(destination, found, settings, name, now))}
    logs = _logs(found, settings, [name for name in applications if name not in held], plan, now)
    return Evaluation(plan, unfinished, uploads, found.proofs, found.readings, short, logs, found.chain_proofs)


def _logs(
    found: Catalog, settings: Settings, applications: Iterable[str], plan: Plan, now: datetime
) -> tuple[Decision, ...]:
    """Return which archives of binary logs are deleted: none whose anchor is about to be."""
    leaving = {decision.archive.key for decision in plan.deletions}
    decisions: list[Decision] = []
    for name in applications:
        anchor = found.anchors.get(name)
        if (asked := settings.logs_of(name)) and not (anchor and anchor.key in leaving):
            decisions += log_retention.deletions(found.logs_of(name), anchor, now, asked.keep_days)
    return tuple(decisions)


def _missed(
    vanished: Sequence[Archive], archives: Sequence[Archive], plan_of: Callable[[Sequence[Archive]], Plan]
) -> set[str]:
    """Return the markers of vanished archives that would be kept: a check names them as long as that."""
    if not vanished:
        return set()
    due = {decision.archive.key for decision in plan_of([*archives, *vanished]).deletions}
    return {archive.key + catalog.MARKER for archive in vanished if archive.key not in due}


def cut_short(
    destination: str, found: Catalog, settings: Settings, application: str, now: datetime
) -> Shortfall | None:
    """Return what the cap deletes of what the periods promise an application at a destination, if anything.

    :param destination: its name in the settings.
    """
    present = health.dated_until(now, found.of(application))
    return capacity.shortfall(
        present, now, settings.zone, functools.partial(settings.policy_of, destination, application)
    )


def cap_notice(name: str, settings: Settings, application: str, holding: Iterable[Destination], now: datetime) -> str:
    """Return what the cap of a destination deletes of the promised periods, or '' if nothing or unknown.

    :param name: of the destination in the settings.
    :param holding: where archives may be that tell how large backups are; the first place that has any counts.
    """
    try:
        for destination in holding:
            found = catalog.read(destination.list(f"{application}/"), settings.legacy_zone)
            if found.archives:
                short = cut_short(name, found, settings, application, now)
                return f"{application} at {name}: {short}" if short else ""
    except StorageError as error:  # which fails no backup
        log.warning("Not compared with the cap: %s", error)
    return ""


def clean(
    destination: Destination,
    site: Site,
    applications: Sequence[str],
    now: datetime,
    order: Order,
    clock: datetime | None = None,
) -> Cleaned:
    """Delete what an order names, as far as a fresh listing still says so.

    :param now: when the order was made; decisions are repeated for that time.
    :param clock: the time by now, which decides whether anything is held.
    :raises StorageError: a listing or a deletion failed. The message says what is left: only what was denied, or all
        that came after it.
    """
    fresh = evaluate(destination, site, applications, now, clock)
    cleaned = Cleaned()
    denied: list[DeniedError] = []
    try:
        _delete_archives(destination, fresh, order, cleaned, denied, site.now())
        _sweep(destination, fresh, order, cleaned, denied, site.now())
        if denied:
            raise denied[0]
    except StorageError as error:
        raise StorageError(f"{error.message} {_remaining(order, cleaned)}", error.hint) from error
    for key, reason in cleaned.left.items():
        log.warning("Left %s: %s.", key, reason)
    deleted = plural(len(cleaned.deleted), "object")
    log.info("Deleted %s at %s: %s.", deleted, destination, size_text(cleaned.freed))
    return cleaned


@contextlib.contextmanager
def _going_on(denied: MutableSequence[DeniedError]) -> Iterator[None]:
    """Continue with the other objects when deleting one is denied."""
    try:
        yield
    except DeniedError as error:
        log.error("%s", error)
        denied.append(error)


def _remaining(order: Order, cleaned: Cleaned) -> str:
    ordered = [*order.archives, *order.unfinished, *order.uploads]
    done = {*cleaned.deleted, *cleaned.aborted, *cleaned.left}
    left = [key for key in ordered if key not in done]
    more = f" and {len(left) - LONGEST_LIST} more" if len(left) > LONGEST_LIST else ""
    return f"Deleted: {len(cleaned.deleted)} of {len(ordered)}; left: {', '.join(left[:LONGEST_LIST])}{more}."


def _sweep(
    destination: Destination,
    fresh: Evaluation,
    order: Order,
    cleaned: Cleaned,
    denied: MutableSequence[DeniedError],
    now: datetime,
) -> None:
    for stored in fresh.unfinished:
        if order.unfinished.get(stored.key) != stored.size:
            continue
        with _going_on(denied):
            if _is_published(destination, stored.key):
                cleaned.left[stored.key] = "it is published: the listing lagged behind"
            elif not _is_locked(destination, stored.key, cleaned, now):
                destination.delete(stored.key)
                cleaned.deleted.append(stored.key)
                cleaned.freed += stored.size
                log.info("Deleted %s: an upload that never finished.", stored.key)
    for upload in fresh.uploads:
        if upload.key in order.uploads:
            with _going_on(denied):
                destination.abort(upload.key)
                cleaned.aborted.append(upload.key)


def _is_published(destination: Destination, key: str) -> bool:
    """Return whether an archive and its marker exist, of which a listing showed only one."""
    for suffix in (*catalog.RECORDS, catalog.MARKER):
        key = key.removesuffix(suffix)
    return destination.find(key) is not None and destination.find(key + catalog.MARKER) is not None


def _delete_archives(
    destination: Destination,
    fresh: Evaluation,
    order: Order,
    cleaned: Cleaned,
    denied: MutableSequence[DeniedError],
    now: datetime,
) -> None:
    is_there = functools.cache(lambda key: destination.find(key) is not None)
    decisions = {decision.archive.key: decision for decision in (*fresh.plan.decisions, *fresh.logs)}
    for key, size in order.archives.items():
        decision = decisions.get(key)
        if decision is None:
            continue  # an earlier try deleted it
        if decision.action == "keep":
            cleaned.left[key] = f"retention now keeps it: {decision.reason}"
        elif decision.archive.size != size:
            cleaned.left[key] = "it changed since the plan was made"
        else:
            with _going_on(denied):
                if not is_there(decision.superseded_by):  # a listing may show what is gone already
                    cleaned.left[key] = f"{decision.superseded_by}, which superseded it, is gone"
                elif not _is_locked(destination, key, cleaned, now):
                    _delete(destination, decision.archive, fresh)
                    cleaned.deleted.append(key)
                    cleaned.freed += size
                    log.info("Deleted %s: %s.", key, decision.reason)


def _is_locked(destination: Destination, key: str, cleaned: Cleaned, now: datetime) -> bool:
    lock = destination.lock_description(key, now)
    if lock:
        cleaned.left[key] = f"it is locked: {lock}"
    return bool(lock)


def _delete(destination: Destination, archive: Archive, fresh: Evaluation) -> None:
    """Delete an archive and its records; the marker first, so that a crash leaves no published archive."""
    if archive.kind != "legacy":
        destination.delete(archive.key + catalog.MARKER)
    destination.delete(archive.key)
    if archive.proven:
        destination.delete(archive.key + catalog.PROOF)
    if archive.key in fresh.chain_proofs:
        destination.delete(archive.key + catalog.CHAIN_PROOF)
    for suffix in (catalog.READ, catalog.DAMAGED) if archive.key in fresh.readings else ():
        destination.delete(archive.key + suffix)


def lines(evaluation: Evaluation) -> Iterator[str]:
    """Yield a plan as a table for people, newest first."""
    for application, shortfall in evaluation.short.items():
        yield f"CAP: {application}: {shortfall}."
    yield from plan_lines(evaluation.plan)
    if evaluation.logs:
        last = evaluation.logs[-1]
        archives = plural(len(evaluation.logs), "archive")
        yield f"delete  {archives} of binary logs, up to {last.archive.key}: {last.reason}"
    for stored in (*evaluation.unfinished, *evaluation.uploads):
        yield f"sweep   {stored.key}: an upload that never finished"


def plan_lines(plan: Plan) -> Iterator[str]:
    """Yield a plan as a table for people, newest first."""
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
