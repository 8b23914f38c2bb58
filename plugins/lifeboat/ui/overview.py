"""The four questions, each answered in a line."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from lifeboat.catalog.archives import Kind
from lifeboat.decide import health, schedules
from lifeboat.decide.health import Finding
from lifeboat.decide.schedules import Schedule
from lifeboat.settings.config import Settings
from lifeboat.text import plural, size_text
from lifeboat.ui.plans import plan_view
from lifeboat.ui.readings import Reading
from lifeboat.ui.safety import Tone, findings_of, newest_proofs, worst_first
from lifeboat.ui.words import ago, as_of, duration


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
class FirstSteps:
    """Steps completed since the installation.

    :param backups: whether there is an archive of each kind that the settings ask for.
    :param proven: whether a restore has been proven.
    """

    backups: Mapping[Kind, bool]
    proven: bool


@dataclass(frozen=True)
class Overview:
    """The four answers, and whatever should be looked at.

    :param silent: destinations that have not answered so far.
    :param empty: whether there is no archive anywhere.
    :param steps: None once there is an archive of every kind, or where a destination does not answer.
    """

    answers: tuple[Answer, ...]
    troubles: tuple[Finding, ...]
    silent: tuple[str, ...]
    empty: bool
    steps: FirstSteps | None


def overview(
    settings: Settings,
    readings: Mapping[str, Reading],
    now: datetime,
    next_cleanup: datetime | None,
    paused: Collection[str] = (),
    beside: Sequence[Finding] = (),
) -> Overview:
    """Answer from what is known so far.

    :param next_cleanup: when the next clean-up runs, or None when none is due.
    :param paused: ids of DAGs.
    :param beside: findings of the check that the page does not make itself.
    """
    silent = tuple(name for name, reading in readings.items() if reading.silent)
    dags = schedules.watched(settings)
    idle = {dag_id: Schedule(is_paused=True) for dag_id in dags if dag_id in paused}
    findings = [*schedules.check(dags, idle, now), *findings_of(settings, readings, now), *beside]
    troubles = worst_first(findings)
    empty = all(reading.found is not None and not reading.found.archives for reading in readings.values())
    answers = (
        _are_we_safe(settings, findings, silent, empty),
        _what_do_we_have(settings, readings.values(), now),
        _what_will_tonight_delete(settings, readings.values(), now, next_cleanup),
        _how_do_i_get_it_back(settings, readings.values(), findings, now),
    )
    return Overview(answers, troubles, silent, empty, _first_steps(settings, readings.values()))


def _first_steps(settings: Settings, readings: Collection[Reading]) -> FirstSteps | None:
    found = [reading.found for reading in readings if reading.found is not None]
    taken = {archive.kind for catalog in found for archive in catalog.archives}
    asked: dict[Kind, None] = {
        kind: None for name in settings.applications for kind in settings.limits_of(name).longest_ages
    }
    backups = {kind: kind in taken for kind in asked}
    if len(found) < len(readings) or all(backups.values()):
        return None
    return FirstSteps(backups, bool(newest_proofs(readings)))


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


def _what_do_we_have(settings: Settings, readings: Collection[Reading], now: datetime) -> Answer:
    question, section = "What do we have?", "archives"
    found = [catalog for reading in readings if (catalog := reading.known.found)]
    if not found:
        return _not_known(question, section)
    without = _without(settings, readings, now)
    archives = [archive for catalog in found for archive in catalog.archives]
    if not archives:
        return Answer(question, "0 archives", f"Nothing is stored.{without}", "unknown", section)
    newest = max((archive.captured_at for archive in health.dated_until(now, archives)), default=None)
    text = f"{size_text(sum(archive.size for archive in archives))} stored; "
    text += f"the newest is {ago(now - newest)} old." if newest else "all are dated in the future."
    count = plural(len({archive.key for archive in archives}), "archive")
    return Answer(question, count, f"{text}{without}", "unknown", section)


def _not_known(question: str, section: str) -> Answer:
    return Answer(question, "Not known", "No destination has answered.", "unknown", section)


def _without(settings: Settings, readings: Iterable[Reading], now: datetime) -> str:
    """Name the destinations that an answer omits, and those whose last known state it uses."""
    lacking = [reading.destination for reading in readings if reading.known.found is None]
    text = f" Without {', '.join(lacking)}." if lacking else ""
    old = {reading.destination: as_of(reading.as_of, now, settings.zone) for reading in readings if reading.as_of}
    return text + "".join(f" {name} as of {moment}." for name, moment in old.items())


def _what_will_tonight_delete(
    settings: Settings, readings: Collection[Reading], now: datetime, next_cleanup: datetime | None
) -> Answer:
    question, section = "What will tonight delete?", "tonight"
    answering = [reading for reading in readings if reading.found is not None]
    views = (plan_view(settings, settings, reading, now, next_cleanup or now) for reading in answering)
    plans = [plan for plan in views if plan]
    keys = {decision.archive.key for plan in plans for decision in plan.deletions}
    deleted, freed = plural(len(keys), "archive"), sum(plan.freed for plan in plans)
    if next_cleanup is None:
        text = f"No clean-up is due. One would delete {deleted}." if keys else "No clean-up is due."
        return Answer(question, "Nothing", text, "unknown", section)
    text = (
        f"Frees {size_text(freed)} at {next_cleanup.astimezone(settings.zone):%H:%M %Z}."
        if keys
        else "Everything stays."
    )
    held = sorted({application for plan in plans for application in plan.held})
    text += f" Held where the newest archive is too old: {', '.join(held)}." if held else ""
    lacking = [reading.destination for reading in readings if reading.found is None]
    text += f" Nothing at {', '.join(lacking)}, which cannot be read." if lacking else ""
    return Answer(question, deleted if keys else "Nothing", text, "degraded" if held else "unknown", section)


def _how_do_i_get_it_back(
    settings: Settings, readings: Collection[Reading], findings: Iterable[Finding], now: datetime
) -> Answer:
    question, section = "How do I get it back?", "recovery"
    if all(reading.known.found is None for reading in readings):
        return _not_known(question, section)
    without = _without(settings, readings, now)
    about = [finding for finding in findings if finding.check.endswith((" proof", " recovery time"))]
    proofs = newest_proofs(readings)
    lacking = [
        application
        for application in settings.applications
        if any((application, kind) not in proofs for kind in settings.limits_of(application).longest_ages)
    ]
    verdict = health.verdict(about)
    tone: Tone = "degraded" if lacking and verdict == "healthy" else verdict
    if tone == "healthy" and any(reading.found is None for reading in readings):
        tone = "unknown"
    if not proofs:
        text = f"No restore has been tested yet: run a drill.{without}"
        return Answer(question, "Unproven", text, tone, section)
    (application, _), slowest = max(proofs.items(), key=lambda item: item[1].recovery)
    text = f"Slowest measured restore: {application}, {ago(now - slowest.proven_at)} ago."
    if lacking:
        text += f" Not fully tested: {len(lacking)} of {plural(len(settings.applications), 'application')}."
    return Answer(question, f"In {duration(slowest.recovery.total_seconds())}", text + without, tone, section)
