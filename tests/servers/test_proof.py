"""Proofs: who may sign one, and what becomes of an old one."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lifeboat.catalog import proof
from lifeboat.catalog.proof import Compared, Point, Proof
from lifeboat.errors import ArchiveError
from lifeboat.storage import Destination
from lifeboat.storage.s3 import S3Destination
from lifeboat.support.signing import SIGNATURE, is_authentic

from include.demo.stand_ins import S3
from tests.conftest import disk_destination
from tests.records import proof_facts, signed_proof

KEY = "Shop/database/2026-11-23-01-00-00.zip"
FACTS = proof_facts(KEY)


@pytest.fixture(params=["disk", "s3"])
def destination(request: pytest.FixtureRequest, tmp_path: Path) -> Destination:
    if request.param == "disk":
        return disk_destination("here", tmp_path / "root")
    server: S3 = request.getfixturevalue("s3")
    server.create_bucket("proofs")
    return S3Destination("here", server.client(), "proofs", tmp_path.name)


def signed(**changes: Any) -> bytes:
    return signed_proof(KEY, "secret", **changes).to_bytes()


def test_a_proof_is_authentic_only_with_the_password_and_unchanged() -> None:
    again = json.loads(signed())
    assert is_authentic(again, "secret", Proof.purpose)
    assert not is_authentic(again, "Secret", Proof.purpose)
    assert not is_authentic(again, "secret", b"another purpose")
    assert not is_authentic(again, None, Proof.purpose)
    for name in FACTS:
        assert not is_authentic(again | {name: "other"}, "secret", Proof.purpose)
    assert not is_authentic(again | {"more": 1}, "secret", Proof.purpose)
    for signature in (None, "", 1, "é"):
        assert not is_authentic(again | {SIGNATURE: signature}, "secret", Proof.purpose)
    assert b"secret" not in signed()


def test_without_a_password_nothing_is_authenticated() -> None:
    made = json.loads(signed_proof(KEY, None).to_bytes())
    assert made[SIGNATURE] is None
    assert is_authentic(made, None, Proof.purpose)
    assert not is_authentic(made, "secret", Proof.purpose)


def test_the_newest_proof_wins(destination: Destination) -> None:
    proof.record(destination, signed_proof(KEY, "secret"))
    proof.record(destination, signed_proof(KEY, "secret", by="somebody else"))
    assert proof.read(destination, KEY, "secret").by == "somebody else"
    proof.withdraw(destination, KEY)
    assert destination.find(KEY + ".proof.json") is None
    proof.withdraw(destination, KEY)


NONE = "is not the proof of that archive"
UNSIGNED = "was not signed with the archive password"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"{", NONE, id="half"),
        pytest.param(b"[]", NONE, id="a-list"),
        pytest.param(b"\xff", NONE, id="no-text"),
        pytest.param(b"[" * 100_000, NONE, id="deep"),
        pytest.param(json.dumps(FACTS).encode(), UNSIGNED, id="without-signature"),
        pytest.param(signed_proof(KEY, "other").to_bytes(), UNSIGNED, id="another-password"),
        pytest.param(signed_proof("A/database/x", "secret").to_bytes(), NONE, id="another-archive"),
        pytest.param(signed().replace(b'"proven"', b'"failed"'), NONE, id="failed"),
        pytest.param(signed().replace(b'"rows": 1', b'"rows": NaN'), NONE, id="nan"),
        pytest.param(signed().replace(b'"rows": 1', b'"rows": ' + b"9" * 400), NONE, id="huge"),
        pytest.param(signed().replace(b'"rows": 1', b'"rows": true'), NONE, id="no-number"),
    ],
)
def test_what_is_no_proof_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    destination = disk_destination("here", tmp_path)
    destination.write(KEY + ".proof.json", content)
    with pytest.raises(ArchiveError, match=said) as caught:
        proof.read(destination, KEY, "secret")
    assert "pydantic" not in str(caught.value)


def test_a_proof_of_a_later_version_is_believed(tmp_path: Path) -> None:
    from lifeboat.support.signing import signed

    later = FACTS | {"compared": FACTS["compared"] | {"more": 1}, "more": {"facts": [1]}}
    destination = disk_destination("here", tmp_path)
    destination.write(KEY + ".proof.json", json.dumps(signed(later, "secret", Proof.purpose)).encode())
    assert proof.read(destination, KEY, "secret").compared == Compared.from_json(FACTS["compared"])


def test_the_trend_keeps_what_it_knew() -> None:
    day, begin = timedelta(days=1), datetime(2026, 1, 1, tzinfo=UTC)
    many = [Point(proven_at=begin + number * day, key=KEY, seconds=number) for number in range(200)]
    points = many[:3]
    kept = proof.trend(points[:2], points[2])
    assert kept == tuple(points)
    assert proof.trend(kept, points[1]) == tuple(points)
    assert proof.trend(many, points[0]) == tuple(many[-proof.LONGEST_TREND :])


@pytest.mark.parametrize(
    ("compared", "told"),
    [
        ({"tables": 1, "rows": 1, "objects": 1, "files": 1}, "1 table, 1 row, 1 other object, 1 file"),
        ({"tables": 2, "rows": 0, "objects": 3, "files": 0}, "2 tables, 0 rows, 3 other objects"),
    ],
)
def test_what_was_compared_is_told_in_numbers(compared: dict[str, int], told: str) -> None:
    assert str(Compared(databases=1, bytes=1, **compared)) == told
