"""Which logs a drill of a chain replays, and what it compares: decisions, without a server."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest
from lifeboat.databases import OTHER_SCHEMA, Dump, Limit, LogPosition, ObjectDigest, TableDigest
from lifeboat.databases.mysql.limits import FLOAT
from lifeboat.decide import chain_drill
from lifeboat.decide.chain_drill import Span, Subject
from lifeboat.errors import ArchiveError

from tests.unit.test_recovery import D0, D12, D31, FILE, FIRST, SECOND, Held, at, dump, gtids, shelf

ALL = (*FIRST, *SECOND)


def joined(end: Held, logs: Collection[Held], dumps: Collection[Held] = (D0, D12, D31)) -> Span | str:
    held = shelf(dumps, logs)
    span = chain_drill.pair(end[0], held.archives, held.manifest)
    assert span
    return chain_drill.joined(span, held.logs, held.manifest, at(-1))


def test_the_logs_between_two_archives_are_replayed() -> None:
    span = joined(D12, ALL)
    assert isinstance(span, Span)
    assert (span.begin, span.end, span.databases) == (D0[0], D12[0], ("shop",))
    assert span.logs == tuple(archive for archive, _ in FIRST[:3])


@pytest.mark.parametrize(
    ("end", "logs", "why"),
    [
        pytest.param(D12, FIRST[:2], "", id="not there yet"),
        pytest.param(D12, (), "", id="none"),
        pytest.param(D31, ALL, f"a new chain of binary logs began after {D12[0].key}", id="another chain"),
    ],
)
def test_where_no_chain_joins_two_archives_there_is_nothing_to_prove(
    end: Held, logs: Collection[Held], why: str
) -> None:
    assert joined(end, logs) == why


@pytest.mark.parametrize("index", [0, 1])
def test_missing_logs_are_named_unless_a_clean_up_may_have_deleted_them(index: int) -> None:
    logs = [*FIRST[:index], *FIRST[index + 1 :]]
    with pytest.raises(
        ArchiveError, match=f"{FIRST[index][0].key}, which {FIRST[index + 1][0].key} continues, is missing"
    ):
        joined(D12, logs)
    held = shelf((D0, D12), logs)
    span = chain_drill.pair(D12[0], held.archives, held.manifest)
    assert span
    gone = chain_drill.joined(span, held.logs, held.manifest, at(1))
    assert gone == f"a clean-up deleted the logs behind {D0[0].key}"


def test_logs_that_do_not_continue_each_other_are_refused() -> None:
    archive, manifest = FIRST[1]
    (piece,) = manifest.logs
    altered = manifest.model_copy(update={"logs": (replace(piece, end=piece.end - 5),)})
    with pytest.raises(ArchiveError, match=f"{FIRST[2][0].key} does not continue {archive.key}: "):
        joined(D12, [FIRST[0], (archive, altered), *FIRST[2:]])


def test_after_a_reset_the_same_place_is_another_one() -> None:
    archive, manifest = D12
    position = LogPosition("here", 7, FILE, 1240, gtids(90, False), "snapshot")
    again = manifest.model_copy(update={"databases": (replace(manifest.databases[0], position=position),)})
    assert joined((archive, again), ALL, [D0, (archive, again)]) == f"the logs were reset after {D0[0].key}"


def test_only_databases_with_positions_make_a_pair() -> None:
    for dumps in ([D12, dump(1, None)], [dump(12, None), D0]):
        held = shelf(dumps, FIRST)
        assert chain_drill.pair(D12[0], held.archives, held.manifest) is None


def of(**changes: Any) -> Dump:
    tables = tuple(TableDigest(name, 5, "primary key", "rows", "definition") for name in ("orders", "users"))
    facts = {"tables": tables, "objects": (ObjectDigest("view", "dear", "select"),), "server": "9.7.4"} | changes
    return replace(D0[1].databases[0], **facts)


USERS = TableDigest("users", 5, "primary key", "rows", "definition")


def table(**changes: Any) -> dict[str, Any]:
    return {"tables": (of().tables[0], replace(USERS, **changes))}


@pytest.mark.parametrize(
    ("changes", "fatal"),
    [
        pytest.param({}, [], id="equal"),
        pytest.param(table(definition_sha256="other"), [False], id="a table in other words"),
        pytest.param(table(sha256="other"), [True], id="other rows"),
        pytest.param(table(order="none", sha256="other"), [True], id="rows that cannot be compared"),
        pytest.param({"tables": (of().tables[0],)}, [True], id="a table is missing"),
        pytest.param({"objects": (ObjectDigest("view", "dear", "other"),)}, [True], id="another view"),
        pytest.param({"objects": ()}, [True], id="a view is missing"),
    ],
)
def test_only_a_table_may_be_defined_in_other_words(changes: dict[str, Any], fatal: list[bool]) -> None:
    found = chain_drill.differences(Subject(of(), of()), of(), of(**changes), ())
    assert [each.fatal for each in found] == fatal


def test_a_view_that_no_restore_makes_may_be_missing() -> None:
    reported = of(limits=(Limit(OTHER_SCHEMA, "dear", ""),))
    assert chain_drill.differences(Subject(of(), reported), reported, of(objects=()), ()) == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"excluded_tables": ("users",)}, "excluded"),
        ({"unprotected_tables": ("users",)}, "without snapshots"),
        (table(order="none") | {"limits": (Limit(FLOAT, "users.weight", ""),)}, "of FLOAT columns without a key"),
    ],
)
def test_what_cannot_be_compared_is_named(changes: dict[str, Any], why: str) -> None:
    for subject in (Subject(of(**changes), of()), Subject(of(), of(**changes))):
        assert subject.uncompared == {"users": why}
        assert chain_drill.differences(subject, of(), of(**table(sha256="other")), ()) == []
        assert list(chain_drill.notes([subject], 1, {"user or grant": 2}, 1)) == [
            "1 database was not compared: no exact position in both archives",
            f"not compared: 1 table {why}",
            "left out of the replay: user or grant: 2",
            "not equal: the definition of 1 table",
        ]
    assert Subject(of(**changes), of()).left_out == (frozenset() if "unprotected_tables" in changes else {"users"})
