"""The report of a restore, which the command, the alert and the page show."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from lifeboat.databases import Missed
from lifeboat.decide.restore_plan import DatabaseStep, FilesStep, RestorePlan
from lifeboat.decide.restored import (
    ReplayedLogs,
    RestoredDatabase,
    RestoredFiles,
    RestoreReport,
    database_text,
    files_text,
)

BESIDE = DatabaseStep("shop", "db-dumps/mysql-shop.sql", "shop_copy")
DATABASE = RestoredDatabase("shop", "shop_copy", 3505, 4, 4, 2.06)
FILES = RestoredFiles("/srv/copy", 2, 2048, 1.0)
REPLAYED = ReplayedLogs(
    1200, 30, "0-1-4711", datetime(2026, 11, 23, 14, 31, 7, tzinfo=UTC), 2, {"user or grant": 1}, 0.9
)


@pytest.mark.parametrize(
    ("step", "facts", "text"),
    [
        pytest.param(
            BESIDE,
            DATABASE,
            "Database shop is in the new schema shop_copy: 3505 rows of 4 tables in 2.1 s; 4 tables compared, all as"
            " captured.",
            id="beside",
        ),
        pytest.param(
            replace(BESIDE, schema="shop", in_place=True),
            replace(DATABASE, compared=None),
            "Database shop is back in shop: 3505 rows of 4 tables in 2.1 s; not compared.",
            id="in place, not compared",
        ),
        pytest.param(
            replace(BESIDE, table="users"),
            replace(DATABASE, rows=5, tables=1, compared=1, limits=1),
            "Table users of database shop is in the new schema shop_copy: 5 rows of 1 table in 2.1 s; 1 table compared,"
            " all equal to the dump.",
            id="a table",
        ),
        pytest.param(
            BESIDE,
            replace(DATABASE, replayed=REPLAYED),
            "Database shop is in the new schema shop_copy: 3505 rows of 4 tables in 2.1 s; 4 tables compared, all as"
            " captured. Then 1200 transactions replayed in 0.9 s, 2 definitions among them, the last one committed at"
            " 2026-11-23 14:31:07 UTC (GTID 0-1-4711).",
            id="replayed",
        ),
        pytest.param(BESIDE, None, "Database shop is in the new schema shop_copy.", id="figures unknown"),
    ],
)
def test_a_database_is_reported(step: DatabaseStep, facts: RestoredDatabase | None, text: str) -> None:
    assert database_text(step, facts) == text


@pytest.mark.parametrize(
    ("step", "facts", "text"),
    [
        (FilesStep("/srv/copy", "now"), FILES, "The files are in the new /srv/copy: 2 files, 2.0 KiB in 1.0 s."),
        (
            FilesStep("/srv/shop/a", "now", in_place=True, path="a"),
            replace(FILES, kept="/srv/shop/a.before"),
            "a of the files are back in /srv/shop/a: 2 files, 2.0 KiB in 1.0 s;"
            " the old tree is kept at /srv/shop/a.before.",
        ),
        (FilesStep("/srv/copy", "now"), None, "The files are in the new /srv/copy."),
    ],
    ids=["beside", "in place", "figures unknown"],
)
def test_files_are_reported(step: FilesStep, facts: RestoredFiles | None, text: str) -> None:
    assert files_text(step, facts) == text


def test_a_report_says_what_was_missed_and_what_to_do() -> None:
    missed = Missed("owner", "owner is x instead of y", "ALTER x")
    warned = ("not as captured: owner is x instead of y",)
    database = replace(DATABASE, warnings=warned, missed=(missed, replace(missed, sql="")))
    files = replace(FILES, warnings=("a note",))
    plan = RestorePlan("Shop", "disk", "k", 1, "", "then", (BESIDE,), FilesStep("/srv/copy", "now"))
    assert list(RestoreReport(plan, "Shop/x.zip", (database,), files, ("restart",)).lines()) == [
        "From k at disk, captured then.",
        "Safety backup of what was there: Shop/x.zip",
        "Database shop is in the new schema shop_copy: 3505 rows of 4 tables in 2.1 s; 4 tables compared, all equal to"
        " the dump, but 2 owners, rights or settings are not.",
        "Note: not as captured: owner is x instead of y.",
        "Note: for an administrator of the server: ALTER x;",
        "The files are in the new /srv/copy: 2 files, 2.0 KiB in 1.0 s.",
        "Note: a note.",
        "Ran: restart",
    ]


def test_a_restore_that_nobody_approved_reports_its_plan_only() -> None:
    plan = RestorePlan("Shop", "disk", "k", 1, "", "then", (BESIDE,), FilesStep("/srv/copy", "now"))
    assert list(RestoreReport(plan).lines()) == ["From k at disk, captured then."]


def test_what_was_left_out_of_logs_is_told_and_travels_between_tasks() -> None:
    facts = replace(DATABASE, replayed=REPLAYED)
    assert facts.notes == (
        "30 transactions of other databases were omitted.",
        "Omitted from the logs: user or grant, 1 time.",
    )
    assert RestoredDatabase.from_json(json.loads(json.dumps(facts.to_json()))) == facts
