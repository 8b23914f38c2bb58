"""Readings: one listing however many ask, kept for a while, and nobody waits for what hangs."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lifeboat.actions import survey
from lifeboat.settings import config
from lifeboat.settings.config import Settings
from lifeboat.ui.readings import Reading, Readings, read_destination

from include.demo.stand_ins import S3
from tests.airflow.ui.conftest import prove, publish, reading
from tests.conftest import Configure

KEY = "Shop/database/2026-11-20-01-00-00.zip"


class Look:
    """Counts how often a destination was looked at; each look lasts until it is released."""

    def __init__(self, *, held: bool = False) -> None:
        self.count = 0
        self.release = threading.Event()
        if not held:
            self.release.set()

    def __call__(self, name: str, settings: Settings) -> Reading:
        self.count += 1
        self.release.wait(30)
        return reading(name)


def test_however_many_ask_a_destination_is_looked_at_once(project: Configure) -> None:
    settings, look = config.load(project()), Look(held=True)
    readings = Readings(look)
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(readings.of, settings, "disk", 20) for _ in range(20)]
        time.sleep(0.2)
        look.release.set()
        assert all(each.result().found is not None for each in asked)
    assert look.count == 1


def test_a_reading_is_kept_for_a_while(project: Configure) -> None:
    settings, look = config.load(project()), Look()
    readings = Readings(look)
    for _ in range(3):
        readings.of(settings, "disk", 1)
    assert look.count == 1
    time.sleep(0.05)
    readings.of(settings, "disk", 1, max_age=0.01)
    assert look.count == 2


def test_a_destination_that_is_elsewhere_now_is_read_anew(project: Configure, tmp_path: Path) -> None:
    look = Look()
    readings = Readings(look)
    readings.of(config.load(project()), "disk", 1)
    moved = config.load(project(destinations={"disk": {"type": "disk", "path": str(tmp_path / "moved")}}))
    readings.of(moved, "disk", 1)
    assert look.count == 2


def test_what_hangs_is_waited_for_once(project: Configure) -> None:
    settings, look = config.load(project()), Look(held=True)
    readings = Readings(look)
    started = time.monotonic()
    assert readings.of(settings, "disk", 0.5).silent
    assert time.monotonic() - started >= 0.5
    started = time.monotonic()
    assert readings.of(settings, "disk", 0.5, max_age=0).silent
    assert time.monotonic() - started < 0.25
    look.release.set()
    assert not readings.of(settings, "disk", 30).silent
    assert look.count == 1


def test_what_was_read_last_is_kept_while_a_destination_is_away(project: Configure, tmp_path: Path) -> None:
    settings, readings = config.load(project()), Readings()
    publish(tmp_path / "disk", 1)
    first = readings.of(settings, "disk", 30)
    (tmp_path / "disk").rename(tmp_path / "unmounted")
    away = readings.of(settings, "disk", 30, max_age=-1)
    assert (away.found, away.known.found, away.as_of) == (None, first.found, first.read_at)
    assert "not mounted" in away.trouble
    (tmp_path / "unmounted").rename(tmp_path / "disk")
    assert readings.of(settings, "disk", 30, max_age=-1).last is None
    other = config.load(project(destinations={"disk": {"type": "disk", "path": str(tmp_path / "other")}}))
    (tmp_path / "other").rename(tmp_path / "unmounted")
    assert readings.of(other, "disk", 30).last is None, "that was another disk"


def test_destinations_are_read_side_by_side(project: Configure) -> None:
    settings = config.load(project())
    together = threading.Barrier(len(settings.destinations), timeout=10)

    def look(name: str, settings: Settings) -> Reading:
        together.wait()
        return reading(name)

    assert not any(each.silent for each in Readings(look).all(settings, 10).values())


def test_whatever_goes_wrong_is_told_in_words(
    project: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config.load(project())
    (tmp_path / "disk").rename(tmp_path / "unmounted")
    assert "its disk is not mounted" in read_destination("disk", settings).trouble
    monkeypatch.delenv("AIRFLOW_CONN_BACKUPS_S3")
    assert "There is no Airflow connection 'backups_s3'" in read_destination("offsite", settings).trouble
    monkeypatch.setattr(survey, "read", lambda *_: 1 / 0)
    odd = read_destination("disk", settings)
    assert odd.trouble == "It cannot be read: ZeroDivisionError; the API server's log tells more."
    assert not odd.silent


def test_the_newest_proof_of_every_kind_is_read(project: Configure, tmp_path: Path) -> None:
    settings = config.load(project())
    old, new = publish(tmp_path / "disk", 3, 2)
    (weekly,) = publish(tmp_path / "disk", 3, kind="application")
    for key, hour in ((old, 9), (new, 10), (weekly, 11)):
        prove(tmp_path / "disk", key, datetime(2026, 11, 22, hour, tzinfo=UTC), hour)
    proofs = read_destination("disk", settings).proofs
    assert {subject: proof.proven_at.hour for subject, proof in proofs.items()} == {
        ("Shop", "database"): 10,
        ("Shop", "application"): 11,
    }


def test_the_address_of_an_s3_server_is_known(project: Configure, s3: S3) -> None:
    settings = config.load(project())
    assert read_destination("offsite", settings).endpoint == s3.endpoint
    assert read_destination("disk", settings).endpoint == ""


def test_a_forged_proof_counts_as_none(project: Configure, tmp_path: Path) -> None:
    settings = config.load(project())
    (key,) = publish(tmp_path / "disk", 1)
    (tmp_path / "disk" / f"{key}.proof.json").write_text(json.dumps({"key": key, "result": "proven"}))
    forged = read_destination("disk", settings)
    assert forged.proofs == {}
    assert forged.found is not None
    assert not forged.found.archives[0].proven
