"""The four questions, each answered in a line."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from lifeboat import health, schedules
from lifeboat.config import Settings
from lifeboat.health import Finding
from lifeboat.schedules import Schedule
from lifeboat.text import plural, size_text
from lifeboat.ui.plans import plan_view
from lifeboat.ui.readings import Reading
from lifeboat.ui.safety import Tone, findings_of, newest_proofs, worst_first
from lifeboat.ui.words import ago, duration


@dataclass(frozen=True)
class Answer:
    """An answer.

    :param section: id of the section that says more.
    """

    question: str
    headline: str
    text: str
    tone: Tone
    section: str


@dataclass(frozen=True)
class Overview:
    """The four answers, and whatever should be looked at.

    :param silent: destinations that have not answered so far.
    :param empty: whether there is no archive anywhere.
    """

    answers: tuple[Answer, ...]
    troubles: tuple[Finding, ...]
    silent: tuple[str, ...]
    empty: bool


def overview(
    settings: Settings,
    readings: Mapping[str, Reading],
    now: datetime,
    next_cleanup: datetime | None,
    paused: Collection[str] = (),
) -> Overview:
    """Answer from what is known so far.

    :param next_cleanup: when the next clean-up runs, or None when none is due.
    :param paused: ids of DAGs.
    """
    silent = tuple(name for name, reading in readings.items() if reading.silent)
    idle = {dag_id: Schedule(is_paused=True) for dag_id in schedules.watched(settings) if dag_id in paused}
    findings = [*schedules.check(idle, now), *findings_of(settings, readings, now)]
    troubles = worst_first(findings)
    empty = all(reading.found is not None and not reading.found.archives for reading in readings.values())
    answers = (
        _are_we_safe(settings, findings, silent, empty),
        _what_do_we_have(readings.values(), now),
        _what_will_tonight_delete(settings, readings.values(), now, next_cleanup),
        _how_do_i_get_it_back(settings, readings.values(), findings, now),
    )
    return Overview(answers, troubles, silent, empty)


def _are_we_safe(settings: Settings, findings: Sequence[Finding], silent: Sequence[str], empty: bool) -> Answer:
    question, section = "Are we safe?", "safe"
    if troubles := worst_first(findings):
        verdict = troubles[0].verdict
        text = f"{plural(len(troubles), 'finding')}, named below."
        text = f"There is no archive at any destination: {text}" if empty else text
        return Answer(question, "No" if verdict == "unhealthy" else "Not quite", text, verdict, section)
    if silent:
        waiting = f"{', '.join(silent)} {'has' if len(silent) == 1 else 'have'} not answered so far."
        return Answer(question, "Not known yet", waiting, "unknown", section)
    applications = plural(len(settings.applications), "application")
    places = plural(len(settings.destinations), "destination")
    text = f"{applications} at {places}: all {len(findings)} checks passed."
    return Answer(question, "Yes", text, "healthy", section)


def _what_do_we_have(readings: Collection[Reading], now: datetime) -> Answer:
    question, section = "What do we have?", "archives"
    found = [reading.found for reading in readings if reading.found is not None]
    if not found:
        return Answer(question, "Not known", "No destination has answered.", "unknown", section)
    archives = [archive for catalog in found for archive in catalog.archives]
    if not archives:
        return Answer(question, "0 archives", f"Nothing is stored.{_without(readings)}", "unknown", section)
    newest = max((archive.captured_at for archive in health.dated_until(now, archives)), default=None)
    text = f"{size_text(sum(archive.size for archive in archives))} stored; "
    text += f"the newest is {ago(now - newest)} old." if newest else "all are dated in the future."
    count = plural(len({archive.key for archive in archives}), "archive")
    return Answer(question, count, f"{text}{_without(readings)}", "unknown", section)


def _without(readings: Iterable[Reading]) -> str:
    """Name the destinations that an answer leaves out, because nothing is known of them."""
    lacking = [reading.destination for reading in readings if reading.found is None]
    return f" Without {', '.join(lacking)}." if lacking else ""


def _what_will_tonight_delete(
    settings: Settings, readings: Collection[Reading], now: datetime, next_cleanup: datetime | None
) -> Answer:
    question, section = "What will tonight delete?", "tonight"
    views = (plan_view(settings, settings, reading, now, next_cleanup or now) for reading in readings)
    plans = [plan for plan in views if plan]
    keys = {decision.archive.key for plan in plans for decision in plan.deletions}
    deleted, freed = plural(len(keys), "archive"), sum(plan.freed for plan in plans)
    if next_cleanup is None:
        text = f"No clean-up is due. One would delete {deleted}." if keys else "No clean-up is due."
        return Answer(question, "Nothing", text, "unknown", section)
    text = (
        f"{size_text(freed)} become free at {next_cleanup.astimezone(settings.zone):%H:%M}."
        if keys
        else "Everything stays."
    )
    held = sorted({application for plan in plans for application in plan.held})
    text += f" Held where the newest archive is too old: {', '.join(held)}." if held else ""
    text += _without(readings)
    return Answer(question, deleted if keys else "Nothing", text, "degraded" if held else "unknown", section)


def _how_do_i_get_it_back(
    settings: Settings, readings: Collection[Reading], findings: Iterable[Finding], now: datetime
) -> Answer:
    question, section = "How do I get it back?", "recovery"
    about = [finding for finding in findings if finding.check.endswith((" proof", " recovery time"))]
    proofs = newest_proofs(readings)
    lacking = [
        application
        for application in settings.applications
        if any((application, kind) not in proofs for kind in settings.limits_of(application).longest_ages)
    ]
    verdict = health.verdict(about)
    tone: Tone = "degraded" if lacking and verdict == "healthy" else verdict
    if not proofs:
        text = f"No restore has been rehearsed yet: run a drill.{_without(readings)}"
        return Answer(question, "Unproven", text, tone, section)
    (application, _), slowest = max(proofs.items(), key=lambda item: item[1].recovery)
    text = f"{application} takes longest, as a drill measured {ago(now - slowest.proven_at)} ago."
    if lacking:
        text += f" Unproven, in part or whole: {len(lacking)} of {plural(len(settings.applications), 'application')}."
    return Answer(
        question, f"In {duration(slowest.recovery.total_seconds())}", text + _without(readings), tone, section
    )
