"""Health: listings and what is found in them, at the exact limits."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from lifeboat.catalog import archives as catalog
from lifeboat.catalog.archives import Catalog, Kind, Proven
from lifeboat.decide import health
from lifeboat.decide.health import ARRIVING, Limits
from lifeboat.storage import StoredObject
from lifeboat.text import MEGABYTE

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
WEEK = timedelta(weeks=1)
DATABASE: dict[Kind, timedelta] = {"database": DAY}


def listing(*archives: tuple[float, int], kind: Kind = "database", proven: bool = False) -> list[StoredObject]:
    """Return what stands in a listing: archives of so many days of age and of such a size."""
    objects = []
    for age, size in archives:
        key = catalog.archive_key("Shop", kind, NOW - age * DAY)
        suffixes = [("", size), (".json", 9), *([(".proof.json", 9)] if proven else [])]
        objects += [StoredObject(key + suffix, length, NOW) for suffix, length in suffixes]
    return objects


def bad(objects: list[StoredObject], **limits: Any) -> dict[str, str]:
    """Return the findings that are not healthy, by check, as verdict and text."""
    found: Catalog = catalog.read(objects)
    findings = health.check("Shop", "disk", found, Limits(**{"longest_ages": DATABASE} | limits), NOW)
    return {each.check: f"{each.verdict}: {each.text}" for each in findings if each.verdict != "healthy"}


SECOND = 1 / 86400


@pytest.mark.parametrize(
    ("objects", "limits", "expected"),
    [
        (listing((1, 5)), {}, {}),
        (
            listing((1 + SECOND, 5)),
            {},
            {"database age": "unhealthy: the newest database archive is 24.0 hours old, more"},
        ),
        (listing(), {}, {"database age": "unhealthy: there is no database archive yet"}),
        (listing((0, 5), kind="legacy"), {}, {"database age": "unhealthy: there is no database archive yet"}),
        (listing((-1, 5)), {}, {"database age": "unhealthy: there is no", "clock": "degraded: 1 archive is dated"}),
        (listing((-1, 5), (0.5, 5)), {}, {"clock": "degraded"}),
        (listing((-300 * SECOND, 5)), {}, {}),
        (listing((-301 * SECOND, 5), (0.5, 5)), {}, {"clock": "degraded"}),
        (listing((0, MEGABYTE)), {"max_storage_megabytes": 1}, {}),
        (listing((0, MEGABYTE + 1)), {"max_storage_megabytes": 1}, {"storage": "unhealthy: 1.0 MiB stored, more"}),
        (listing((0, 20), (1, 100), (2, 100)), {}, {}),
        (listing((0, 19), (1, 100), (2, 100)), {}, {"database size": "degraded: the newest database archive is 19 B"}),
        (listing((0, 500), (1, 100), (2, 100)), {}, {}),
        (listing((0, 501), (1, 100), (2, 100)), {}, {"database size": "degraded"}),
        (listing((0, 501), (1, 100), (2, 100)), {"size_factor": None}, {}),
        (listing((0, 100), *((n, 100) for n in range(1, 6)), *((n, 1) for n in range(6, 20))), {}, {}),
        (
            listing((0, 5)),
            {"longest_proof_age": DAY},
            {"database proof": "unhealthy: no database archive is proven to restore"},
        ),
        (
            listing((0, 5)),
            {"recovery_time": HOUR},
            {"database proof": "unhealthy: no database archive is proven to restore, so nothing measured the stated"},
        ),
    ],
)
def test_findings(objects: list[StoredObject], limits: dict[str, Any], expected: dict[str, str]) -> None:
    found = bad(objects, **limits)
    assert set(found) == set(expected)
    for name, start in expected.items():
        assert found[name].startswith(start)


@pytest.mark.parametrize(
    ("proof", "limits", "expected"),
    [
        (Proven("key", NOW - DAY, HOUR), {}, {}),
        (Proven("key", NOW - DAY, HOUR), {"longest_proof_age": DAY, "recovery_time": HOUR}, {}),
        (
            Proven("key", NOW - 1.1 * DAY, HOUR),
            {"longest_proof_age": DAY},
            {"database proof": "unhealthy: the newest database proof is 26.4 hours old, more than 24.0 hours"},
        ),
        (
            Proven("key", NOW, HOUR + timedelta(seconds=1)),
            {"recovery_time": HOUR},
            {"database recovery time": "unhealthy: recovery of the proven database archive took 1.0 hours; the stated"},
        ),
        (Proven("key", NOW, HOUR, "it is forged"), {}, {"database proof": "unhealthy: it is forged"}),
        (
            Proven("key", NOW + HOUR, HOUR),
            {"longest_proof_age": DAY},
            {"database proof": "degraded: the newest database proof is dated in the future (clock skew)"},
        ),
    ],
)
def test_proofs(proof: Proven, limits: dict[str, Any], expected: dict[str, str]) -> None:
    read = catalog.read([*listing((0, 5)), *listing((1, 5), proven=True)])
    found = replace(read, newest_proofs={("Shop", "database"): proof})
    findings = health.check("Shop", "disk", found, Limits(DATABASE, **limits), NOW)
    told = {each.check: f"{each.verdict}: {each.text}" for each in findings}
    assert {check for check, text in told.items() if not text.startswith("healthy")} == set(expected)
    for check, start in expected.items():
        assert told[check].startswith(start)
    if not proof.error and proof.proven_at <= NOW:
        assert told["database coverage"] == "healthy: 1 of 2 database archives are proven"


@pytest.mark.parametrize(("hours", "found"), [(1, False), (1 + 1 / 3600, True)])
def test_an_unfinished_upload_is_named_once_it_cannot_be_under_way(hours: float, found: bool) -> None:
    key = catalog.archive_key("Shop", "database", NOW)
    half = StoredObject(key, 5, NOW - timedelta(hours=hours))
    finding = bad([*listing((0.5, 5)), half]).get("unfinished", "")
    assert (key in finding) == found
    alone = bad([half])
    assert alone["database age"] == "unhealthy: there is no database archive yet"


def test_every_finding_is_collected() -> None:
    objects = listing((3, 10 * MEGABYTE), (4, 1))
    found = set(bad(objects, max_storage_megabytes=1, longest_proof_age=DAY))
    assert found == {"database age", "database size", "storage", "database proof"}


def test_other_applications_do_not_count() -> None:
    others = [stored._replace(key=stored.key.replace("Shop/", "Shop 2/")) for stored in listing((0, 5))]
    assert set(bad(others)) == {"database age"}


def test_a_lagging_destination_is_degraded() -> None:
    limits = Limits(DATABASE, recovery_point=DAY)
    times: dict[str, health.Times] = {"disk": {"database": [NOW]}, "s3": {"database": [NOW - DAY]}, "new": {}}
    arriving = health.compare("Shop", times, limits, NOW + ARRIVING - timedelta(seconds=1), WEEK)
    assert {each.destination for each in arriving if each.verdict != "healthy"} == {"new"}  # it lacks yesterday's
    findings = health.compare("Shop", times, limits, NOW + ARRIVING, WEEK)
    assert {(each.destination, each.verdict) for each in findings} == {
        *(("s3", "degraded"), ("new", "degraded"), ("", "healthy"))
    }
    assert health.verdict(findings) == "degraded"
    del times["disk"], times["new"]
    assert [each.verdict for each in health.compare("Shop", times, limits, NOW, WEEK)] == ["healthy"]
    late = health.compare("Shop", times, limits, NOW + timedelta(seconds=1), WEEK)
    assert [each.verdict for each in late] == ["unhealthy"]
    assert health.compare("Shop", {}, limits, NOW, WEEK) == []  # nothing could be read, which is a finding of its own
    assert "no good backup at all" in health.compare("Shop", {"disk": {}}, limits, NOW, WEEK)[0].text


@pytest.mark.parametrize(
    ("disk", "told"),
    [
        pytest.param((0, 1, 2, 3), "", id="the-same"),
        pytest.param((0, 1, 3), "the database archive of 2026-11-21 04:00:00 UTC is missing here", id="a-gap"),
        pytest.param((0, 3), "2026-11-22 04:00:00 UTC, and 1 before it, is missing here", id="two-gaps"),
        pytest.param((0, 1), "", id="joined-later"),
        pytest.param((0, 1, 2, 3, 9), "", id="older-than-all-is-kept"),
    ],
)
def test_what_another_destination_has_is_missed(disk: tuple[int, ...], told: str) -> None:
    def held(*ages: int) -> health.Times:
        return {"database": [NOW - age * DAY for age in ages]}

    times = {"disk": held(*disk), "s3": held(0, 1, 2, 3, 8)}
    findings = health.compare("Shop", times, Limits(DATABASE), NOW, WEEK)
    assert [(each.destination, each.verdict) for each in findings] == ([("disk", "degraded")] if told else [])
    assert told in "".join(each.text for each in findings)


def test_an_archive_that_vanished_is_missed_by_its_marker() -> None:
    markers = [stored._replace(modified=NOW - 2 * HOUR) for stored in listing((1, 5), (2, 5)) if "json" in stored.key]
    key = catalog.archive_key("Shop", "database", NOW - DAY)
    assert bad([*listing((0.5, 5)), *markers]) == {
        "vanished": f"unhealthy: {key} and 1 older archive vanished: the marker is left, and Lifeboat always deletes"
        f" that first. Find out who deleted it; to accept the loss, delete {key}.json"
    }
    assert bad(markers)["database age"] == "unhealthy: no database archive is left"
    met_an_upload = [stored._replace(modified=NOW - HOUR) for stored in markers]
    assert bad([*listing((0.5, 5)), *met_an_upload]) == {}


def test_the_worst_finding_is_the_verdict() -> None:
    assert health.verdict([]) == "healthy"
    finding = health.unreachable("Shop", "s3", "down")
    assert health.verdict([finding]) == "unhealthy"
