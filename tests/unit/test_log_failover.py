"""The logs of another server: where they continue those before, and what of them is a repetition."""

from __future__ import annotations

from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from lifeboat.catalog.logs import LogPlace
from lifeboat.databases.mysql.gtids import MariaDBGtids, MySQLGtids
from lifeboat.databases.mysql.logs import Executed
from lifeboat.decide import chain_drill, log_chains, recovery
from lifeboat.decide.log_chains import OTHER_SERVER, Resume
from lifeboat.decide.recovery import Line

from tests.unit.test_chain_drill import joined
from tests.unit.test_recovery import D0, FIRST, UUID, Held, at, dump, shelf

OLD, NEW = UUID, "11111111-0405-0607-0809-0a0b0c0d0e0f"
MYSQL = Resume("log.000003", 900, f"{OLD}:1-7", 1, LogPlace("log.000003", 900))
MARIADB = replace(MYSQL, gtids="0-7-20", state="0-8-5,0-7-20")
LACKS = f"{OTHER_SERVER}, whose log does not have transaction "
UNTOLD = f"{OTHER_SERVER}, and log.000001 does not say which transactions are before it"
LOST = f"{OTHER_SERVER}, whose logs no longer hold transaction "


@pytest.mark.parametrize(
    ("executed", "purged", "heads", "found"),
    [
        pytest.param(f"{OLD}:1-9", "", [f"{OLD}:1-8", f"{OLD}:1-5", ""], "log.000002", id="the newest that serves"),
        pytest.param(
            f"{OLD}:1-9,{NEW}:1-2", "", [f"{OLD}:1-5,{NEW}:1", ""], "log.000001", id="transactions of its own"
        ),
        pytest.param(f"{OLD}:1-7", f"{OLD}:1-7", [""], "log.000001", id="a purge of what was shipped"),
        pytest.param(f"{OLD}:1-6,{NEW}:1", "", [""], f"{LACKS}{OLD}:1-7, which was shipped", id="diverged"),
        pytest.param(
            f"{OLD}:1-9", f"{OLD}:1-8", [f"{OLD}:1-8"], f"{LOST}{OLD}:1-8, which was not shipped", id="purged"
        ),
        pytest.param(f"{OLD}:1-9", "", [None], UNTOLD, id="unknown"),
    ],
)
def test_another_server_of_mysql_continues_a_chain_if_its_gtids_lack_nothing(
    executed: str, purged: str, heads: list[str | None], found: str
) -> None:
    numbers = range(len(heads), 0, -1)
    files = [
        (f"log.{number:06}", None if head is None else MySQLGtids.of_text(head))
        for number, head in zip(numbers, heads, strict=True)
    ]
    seen = Executed(MySQLGtids.of_text(executed), MySQLGtids.of_text(purged))
    resume = log_chains.succeeded(MYSQL, "old", seen, files)
    assert (resume if isinstance(resume, str) else resume.file) == found
    if isinstance(resume, Resume):
        assert (resume.start, resume.follows) == (4, LogPlace("log.000003", 900, "old"))


@pytest.mark.parametrize(
    ("executed", "head", "found"),
    [
        pytest.param("0-7-20,0-8-21", "0-8-5,0-7-18", "other.000001", id="continues"),
        pytest.param("0-7-19,0-8-21", "", f"{LACKS}0-7-20, which was shipped", id="diverged"),
        pytest.param("0-7-20,0-8-21", "0-8-6,0-7-18", f"{LOST}0-8-6, which was not shipped", id="own ones before"),
        pytest.param("0-8-21", "", f"{LACKS}0-7-20, which was shipped", id="it does not log what it replicates"),
    ],
)
def test_another_server_of_mariadb_continues_a_chain_if_its_gtids_lack_nothing(
    executed: str, head: str, found: str
) -> None:
    seen = Executed(MariaDBGtids.of_text(executed), MariaDBGtids())
    resume = log_chains.succeeded(MARIADB, "old", seen, [("other.000001", MariaDBGtids.of_text(head))])
    assert (resume if isinstance(resume, str) else resume.file) == found


def test_a_server_of_the_other_kind_continues_nothing() -> None:
    seen = Executed(MariaDBGtids.of_text("0-7-20"), MariaDBGtids())
    assert "of the other kind" in str(log_chains.succeeded(MYSQL, "old", seen, []))


def test_states_of_mariadb_keep_the_last_of_each_server() -> None:
    found = MariaDBGtids.of_text("0-7-20,0-8-5,1-7-3")
    found.learn(MariaDBGtids.of_text("0-9-2,0-7-4"))
    assert (str(found), found.state()) == ("0-8-5,1-7-3", "0-7-20,0-9-2,0-8-5,1-7-3")
    again = MariaDBGtids.of_text(found.state())
    assert (str(again), again.has("0-7-20"), again.has("0-7-21"), again.has("")) == (str(found), True, False, False)


def promoted(before: str = f"{UUID}:1-115") -> list[Held]:
    """Return the chain of FIRST, whose second half another server wrote.

    :param before: GTIDs before its first file.
    """
    made = list(FIRST)
    for index in (2, 3):
        archive, manifest = made[index]
        (piece,) = manifest.logs
        here = replace(piece, server=replace(piece.server, uid="there"), file="other.000001")
        follows = LogPlace("other.000001", piece.start)
        if index == 2:
            (end,) = made[1][1].logs
            follows = LogPlace(end.file, end.end, end.server.uid)
            here = replace(here, start=4, created=9, gtids_before=before)
        made[index] = archive, manifest.model_copy(update={"logs": (replace(here, follows=follows, created=9),)})
    return made


def on_new_server(gtids: str) -> Held:
    archive, manifest = dump(12, 1240)
    position = replace(manifest.databases[0].position, server="there", file="other.000001", gtids=gtids)  # type: ignore[type-var]
    return archive, manifest.model_copy(update={"databases": (replace(manifest.databases[0], position=position),)})


def test_a_drill_follows_the_logs_across_a_failover() -> None:
    end = on_new_server(f"{UUID}:1-124")
    span = joined(end, promoted(), [D0, end])
    assert isinstance(span, chain_drill.Span)
    assert span.logs == tuple(archive for archive, _ in FIRST[:3])
    early = on_new_server(f"{UUID}:1-118")
    assert "before its server had all" in str(joined(early, promoted(), [D0, early]))


def test_moments_on_both_sides_of_a_failover_can_be_reached() -> None:
    held = shelf([D0], promoted())
    assert list(recovery.windows(held, ("shop",))) == [recovery.Window(at(0), at(20))]
    for point in (recovery.Point(time=at(8)), recovery.Point(time=at(18)), recovery.Point(gtid=f"{UUID}:138")):
        reached = recovery.reach([held], ("shop",), point, ZoneInfo("UTC"))
        assert reached.anchor == D0[0]
        assert reached.logs[-1] == promoted()[1 if point.time == at(8) else 3][0]


def test_transactions_between_two_servers_may_not_be_missing() -> None:
    ends = recovery.ends_of(FIRST[1][1])
    for before, why in ((f"{UUID}:1-115", ""), (f"{UUID}:1-121", "are missing")):
        found = recovery.why_not_next(FIRST[1][1], ends, promoted(before)[2][1])
        assert found.endswith(why)
        assert bool(found) == bool(why)


def test_what_the_server_before_has_logged_is_skipped_by_who_begins_there() -> None:
    logged = [piece for _, manifest in promoted() for piece in manifest.logs]
    line, later = Line("here"), Line("there")
    skips = [part and part.skips for part in map(line.part, logged)]
    assert skips == ["", "", f"{UUID}:1-120", f"{UUID}:1-120"]
    assert [part and part.skips for part in map(later.part, logged)] == [None, None, "", ""]
