"""The report of a restore, which the command, the alert and the page show."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lifeboat.databases import Missed
from lifeboat.decide.restore_plan import DatabaseStep, FilesStep, RestorePlan
from lifeboat.decide.restored import RestoredDatabase, RestoredFiles, RestoreReport, database_text, files_text

BESIDE = DatabaseStep("shop", "db-dumps/mysql-shop.sql", "shop_copy")
DATABASE = RestoredDatabase("shop", "shop_copy", 3505, 4, 4, 2.06)
FILES = RestoredFiles("/srv/copy", 2, 2048, 1.0)


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
