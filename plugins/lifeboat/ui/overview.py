"""The four questions, each answered in a line."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from lifeboat.config import Settings
from lifeboat.health import Finding
from lifeboat.text import size_text
from lifeboat.ui.plans import plan_view
from lifeboat.ui.readings import Reading
from lifeboat.ui.safety import Tone, findings_of, newest_proof, worst_first
from lifeboat.ui.words import ago, duration, plural


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
    :param empty: whether there is no archive anywhere yet.
    """

    answers: tuple[Answer, ...]
    troubles: tuple[Finding, ...]
    silent: tuple[str, ...]
    empty: bool


def overview(settings: Settings, readings: Mapping[str, Reading], now: datetime, tonight: datetime | None) -> Overview:
    """Answer from what is known so far.

    :param tonight: when the next clean-up runs, or None when none is due.
    """
    silent = tuple(name for name, reading in readings.items() if reading.silent)
    findings = findings_of(settings, readings, now)
    troubles = worst_first(findings)
    empty = all(reading.found is not None and not reading.found.archives for reading in readings.values())
    answers = (
        _no_backup_yet() if empty else _are_we_safe(settings, findings, troubles, silent),
        _what_do_we_have(readings.values(), now),
        _what_will_tonight_delete(settings, readings.values(), now, tonight),
        _how_do_i_get_it_back(readings.values(), now),
    )
    return Overview(answers, troubles, silent, empty)


def _no_backup_yet() -> Answer:
    return Answer("Are we safe?", "Not yet", "No backup has been taken so far.", "unknown", "safe")


def _are_we_safe(
    settings: Settings, findings: Sequence[Finding], troubles: Sequence[Finding], silent: Sequence[str]
) -> Answer:
    question, section = "Are we safe?", "safe"
    if troubles:
        headline = "No" if troubles[0].verdict == "unhealthy" else "Not quite"
        return Answer(
            question, headline, f"{plural(len(troubles), 'finding')}, named below.", troubles[0].verdict, section
        )
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
    captured = {archive.key: archive.captured_at for catalog in found for archive in catalog.archives}
    size = sum(archive.size for catalog in found for archive in catalog.archives)
    age = ago(now - max(captured.values())) if captured else ""
    text = f"{size_text(size)} stored; the newest is {age} old." if captured else "Nothing is stored."
    return Answer(question, plural(len(captured), "archive"), f"{text}{_without(readings)}", "unknown", section)


def _without(readings: Iterable[Reading]) -> str:
    """Name the destinations that an answer leaves out, because nothing is known of them."""
    lacking = [reading.destination for reading in readings if reading.found is None]
    return f" Without {', '.join(lacking)}." if lacking else ""


def _what_will_tonight_delete(
    settings: Settings, readings: Collection[Reading], now: datetime, tonight: datetime | None
) -> Answer:
    question, section = "What will tonight delete?", "tonight"
    views = (plan_view(settings, settings, reading, now, tonight or now) for reading in readings)
    plans = [plan for plan in views if plan]
    doomed = plural(len({decision.archive.key for plan in plans for decision in plan.deletions}), "archive")
    freed = sum(plan.freed for plan in plans)
    if tonight is None:
        text = f"No clean-up is due. One would delete {doomed}." if freed else "No clean-up is due."
        return Answer(question, "Nothing", text, "unknown", section)
    text = (
        f"{size_text(freed)} become free at {tonight.astimezone(settings.zone):%H:%M}."
        if freed
        else "Everything stays."
    )
    held = sorted({application for plan in plans for application in plan.held})
    text += f" Held where the newest archive is too old: {', '.join(held)}." if held else ""
    text += _without(readings)
    return Answer(question, doomed if freed else "Nothing", text, "degraded" if held else "unknown", section)


def _how_do_i_get_it_back(readings: Iterable[Reading], now: datetime) -> Answer:
    question, section = "How do I get it back?", "recovery"
    proof = newest_proof(readings)
    if proof is None:
        return Answer(question, "Unproven", "No restore has been rehearsed yet: run a drill.", "degraded", section)
    headline = f"In {duration(proof.recovery.total_seconds())}"
    return Answer(question, headline, f"Measured by a drill {ago(now - proof.proven_at)} ago.", "healthy", section)
