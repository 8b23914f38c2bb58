"""A long step tells how far it has come."""

from __future__ import annotations

import logging

import pytest
from lifeboat import progress
from lifeboat.progress import Progress


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
