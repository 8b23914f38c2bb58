"""Proofs: who may sign one, and what becomes of an old one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lifeboat.catalog import proof
from lifeboat.errors import ArchiveError
from lifeboat.storage import Destination
from lifeboat.storage.s3 import S3Destination
from lifeboat.support.signing import SIGNATURE

from include.demo.stand_ins import S3
from tests.conftest import disk_destination

KEY = "Shop/database/2026-11-23-01-00-00.zip"
FACTS: dict[str, Any] = {"format": 1, "key": KEY, "result": "proven", "durations": {"restore": 12.5}, "by": "ünï"}


@pytest.fixture(params=["disk", "s3"])
def destination(request: pytest.FixtureRequest, tmp_path: Path) -> Destination:
    if request.param == "disk":
        return disk_destination("here", tmp_path / "root")
    server: S3 = request.getfixturevalue("s3")
    server.create_bucket("proofs")
    return S3Destination("here", server.client(), "proofs", tmp_path.name)


def test_a_proof_is_authentic_only_with_the_password_and_unchanged() -> None:
    made = proof.signed(FACTS, "secret")
    again = json.loads(json.dumps(made))
    assert proof.is_authentic(again, "secret")
    assert not proof.is_authentic(again, "Secret")
    assert not proof.is_authentic(again, None)
    for name in FACTS:
        assert not proof.is_authentic(again | {name: "other"}, "secret")
    assert not proof.is_authentic(again | {"more": 1}, "secret")
    for signature in (None, "", 1, "é"):
        assert not proof.is_authentic(again | {SIGNATURE: signature}, "secret")
    assert "secret" not in json.dumps(made)


def test_without_a_password_nothing_is_authenticated() -> None:
    assert proof.is_authentic(proof.signed(FACTS, None), None)
    assert not proof.is_authentic(proof.signed(FACTS, None), "secret")


def test_the_newest_proof_wins(destination: Destination) -> None:
    proof.record(destination, proof.signed(FACTS, "secret"))
    proof.record(destination, proof.signed(FACTS | {"by": "somebody else"}, "secret"))
    assert proof.read(destination, KEY, "secret")["by"] == "somebody else"
    proof.withdraw(destination, KEY)
    assert destination.find(KEY + ".proof.json") is None
    proof.withdraw(destination, KEY)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "is not the proof of that archive"),
        (b"[]", "is not the proof of that archive"),
        (b"\xff", "is not the proof of that archive"),
        (json.dumps(FACTS).encode(), "was not signed with the archive password"),
        (json.dumps(proof.signed(FACTS, "other")).encode(), "was not signed with the archive password"),
        (json.dumps(proof.signed(FACTS | {"key": "other"}, "secret")).encode(), "is not the proof of that archive"),
        (json.dumps(proof.signed(FACTS | {"result": "failed"}, "secret")).encode(), "is not the proof of"),
    ],
)
def test_what_is_no_proof_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    destination = disk_destination("here", tmp_path)
    destination.write(KEY + ".proof.json", content)
    with pytest.raises(ArchiveError, match=said):
        proof.read(destination, KEY, "secret")


def test_the_trend_keeps_what_it_knew() -> None:
    points = [{"proven_at": f"2026-01-{day:02}", "key": KEY, "seconds": day} for day in range(1, 4)]
    kept = proof.trend(points[:2], points[2])
    assert kept == points
    assert proof.trend(kept, points[1]) == points
    many = [{"proven_at": f"{number:05}", "key": KEY, "seconds": 1} for number in range(200)]
    assert len(proof.trend(many, points[0])) == proof.LONGEST_TREND


@pytest.mark.parametrize(
    ("compared", "told"),
    [
        ({"tables": 1, "rows": 1, "objects": 1, "files": 1}, "1 table, 1 row, 1 other object, 1 file"),
        ({"tables": 2, "rows": 0, "objects": 3, "files": 0}, "2 tables, 0 rows, 3 other objects"),
    ],
)
def test_what_was_compared_is_told_in_numbers(compared: dict[str, int], told: str) -> None:
    assert proof.compared_text(compared) == told
