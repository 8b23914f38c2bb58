"""A long step tells how far it has come."""

from __future__ import annotations

import logging
from threading import Event

import pytest
from lifeboat.support import progress
from lifeboat.support.progress import Progress, Reached, reported


def test_a_long_step_tells_how_far_it_is(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO, "lifeboat")
    short = Progress("Dumping shop")
    short.advance(1 << 20)
    assert caplog.messages == []
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    step = Progress("Storing a.zip", 3 << 20)
    step.advance(1 << 20)
    step.advance(1 << 19)
    assert caplog.messages == [
        "Storing a.zip: 1.0 MiB of 3.0 MiB so far.",
        "Storing a.zip: 1.5 MiB of 3.0 MiB so far.",
    ]


def test_a_step_is_reported_while_it_runs_and_what_was_never_measured_at_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "REPORT_SECONDS", 0.01)
    reports: list[Reached] = []
    heard = Event()

    def report(reached: Reached) -> None:
        reports.append(reached)
        heard.set()

    with reported(report):
        known = Progress("Storing a.zip", 30)
        known.advance(10)
        assert heard.wait(10)
        assert [(each.doing, each.done, each.total) for each in reports] == [("Storing a.zip", 10, 30)]
        Progress("Dumping shop").advance(7)
    assert reports[-1][:3] == ("Dumping shop", 7, None)
    ended = len(reports)
    with reported(report):
        pass
    assert len(reports) == ended, "what a task before this one did is not its own"


def test_no_step_waits_for_its_reports_or_fails_by_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "REPORT_SECONDS", 0.01)
    asked, never = Event(), Event()

    def hang(_: Reached) -> None:
        asked.set()
        never.wait()

    with reported(hang):
        Progress("Storing a.zip", 30).advance(10)
        assert asked.wait(10)
    never.set()

    def refuse(_: Reached) -> None:
        raise ConnectionError("no API server")

    with reported(refuse):
        Progress("Dumping shop").advance(7)
