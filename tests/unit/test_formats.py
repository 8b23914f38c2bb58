"""Formats of stored files: what was ever written is read, and written again as it was; what is none is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from lifeboat.actions.backup import StagedArchive
from lifeboat.archive import MANIFEST_NAME
from lifeboat.archive.read import ArchiveReader
from lifeboat.catalog import marker
from lifeboat.catalog.manifest import Manifest
from lifeboat.catalog.marker import Marker
from lifeboat.catalog.proof import Proof
from lifeboat.catalog.readback import ReadBack
from lifeboat.errors import StorageError
from lifeboat.support.formats import LONGEST_NAME
from lifeboat.support.stored import Stored

from docs import configuration
from tests.conftest import disk_destination
from tests.records import manifest_facts, marker_facts, proof_facts, signed_proof

OLD = Path(__file__).parents[1] / "servers" / "old_archives"
PASSWORD = "an old password; 'x' ñ"
KEY = "Shop/database/2026-11-23-01-00-00.zip"
READING = {"format": 1, "result": "whole", "key": KEY, "destination": "disk", "read_at": "2026-11-23T02:00:00+00:00"}

archives = pytest.mark.parametrize("path", sorted(OLD.rglob("*.zip")), ids=lambda path: path.parts[-3])


def wrong(name: str, facts: object) -> list[str]:
    """Return how facts differ from the published schema of their format."""
    schema = json.loads((configuration.SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return [error.message for error in Draft202012Validator(schema).iter_errors(facts)]


@archives
def test_an_old_manifest_is_read_whole(path: Path) -> None:
    with path.open("rb") as file:
        reader = ArchiveReader(file, str(path), PASSWORD)
        facts = json.loads(b"".join(reader.chunks(MANIFEST_NAME)))
        manifest = reader.manifest()
    assert wrong("manifest", facts) == []
    assert manifest
    written = json.loads(json.dumps(manifest.to_json()))
    databases, old = written.pop("databases"), facts.pop("databases")
    assert all(before.items() <= now.items() for before, now in zip(old, databases, strict=True))
    if files := facts.pop("files", None):
        assert files.items() <= written.pop("files").items()
    assert written == facts


@archives
def test_an_old_marker_is_written_again_as_it_was(path: Path) -> None:
    content = path.with_name(f"{path.name}.json").read_bytes()
    assert wrong("marker", json.loads(content)) == []
    assert Marker.from_bytes(content).to_bytes() == content


@archives
def test_a_marker_passes_through_staging_as_it_is(path: Path) -> None:
    content = path.with_name(f"{path.name}.json").read_bytes()
    staged = StagedArchive("key", Marker.from_bytes(content))
    again = StagedArchive.from_json(json.loads(json.dumps(staged.to_json())))
    assert again.marker.to_bytes() == content


def test_an_old_proof_is_written_and_signed_again_as_it_was() -> None:
    (path,) = OLD.rglob("*.proof.json")
    content = path.read_bytes()
    assert wrong("proof", json.loads(content)) == []
    proof = Proof.from_bytes_signed(content, [PASSWORD])
    assert proof.to_bytes() == proof.signed(PASSWORD).to_bytes() == content


def test_what_is_written_today_fits_the_schemas() -> None:
    assert wrong("proof", json.loads(signed_proof(KEY, "secret").to_bytes())) == []
    assert wrong("readback", json.loads(ReadBack.from_json(READING).signed(None).to_bytes())) == []
    assert wrong("marker", marker_facts(KEY)) == []


MODELS: list[tuple[type[Stored], dict[str, Any]]] = [
    (Manifest, manifest_facts({"a": {"size": 1, "sha256": "00"}})),
    (Marker, marker_facts(KEY)),
    (Proof, proof_facts(KEY)),
    (ReadBack, READING),
]
models = pytest.mark.parametrize(("model", "facts"), MODELS, ids=lambda each: getattr(each, "__name__", ""))


@models
def test_what_a_later_version_adds_is_left_alone(model: type[Stored], facts: dict[str, Any]) -> None:
    assert model.from_json({**facts, "more": {"facts": [1]}}) == model.from_json(facts)


@models
@pytest.mark.parametrize("value", [float("nan"), 10**400, None], ids=["nan", "huge", "null"])
def test_a_fact_of_another_kind_is_named_in_a_sentence(model: type[Stored], facts: dict[str, Any], value: Any) -> None:
    for name in facts:
        with pytest.raises(ValueError, match=rf"^{name} is missing or wrong$"):
            model.from_json({**facts, name: value})
        with pytest.raises(ValueError, match=rf"^{name} is missing or wrong$"):
            model.from_json({other: fact for other, fact in facts.items() if other != name})


HOSTILE_TOTALS = [None, "many", True, -1, 10**400, 1 << 63, float("nan"), 1.5]


@pytest.mark.parametrize("name", ["rows", "file_bytes", "limits"])
@pytest.mark.parametrize("total", HOSTILE_TOTALS, ids=lambda total: repr(total)[:9])
def test_a_marker_whose_totals_are_no_numbers_is_none(tmp_path: Path, name: str, total: Any) -> None:
    destination = disk_destination("here", tmp_path)
    totals = marker_facts(KEY)["totals"] | {name: total}
    destination.write(f"{KEY}.json", json.dumps(marker_facts(KEY, totals=totals)).encode())
    with pytest.raises(StorageError, match="is not the marker of an archive") as caught:
        marker.read(destination, KEY)
    assert "pydantic" not in str(caught.value)


@pytest.mark.parametrize(
    "time",
    [
        "2026-11-23",
        "2026-11-23T01:00:00",
        "2026-11-23 01:00:00+00:00",
        "2026-11-23T01:00:00Z",
        "0001-01-01T00:00:00+14:00",
        1700000000,
    ],
)
def test_a_time_is_told_in_one_way(time: Any) -> None:
    with pytest.raises(ValueError, match="captured_at is missing or wrong"):
        Marker.from_json(marker_facts(KEY, captured_at=time))


def test_a_sentence_is_no_longer_than_we_choose() -> None:
    totals = marker_facts(KEY)["tools"] | {"x" * 1_000_000: 1}
    with pytest.raises(ValueError, match=r"^tools\.x+ is missing or wrong$") as caught:
        Marker.from_json(marker_facts(KEY, tools=totals))
    assert len(str(caught.value)) < LONGEST_NAME + 30
