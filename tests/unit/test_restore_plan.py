"""What is restored from which archive and where to: decisions, without a server."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from lifeboat.archive import database_of_entry, dump_entry_name
from lifeboat.catalog import archives as catalog
from lifeboat.catalog.archives import Archive, Catalog, Kind
from lifeboat.decide import restore_plan
from lifeboat.decide.restore_plan import Content, RestorePlan, RestoreRequest, Surroundings
from lifeboat.errors import RestoreError, SettingsError

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ZONE = ZoneInfo("Europe/Berlin")
ROOT = Path("/var/www/shop")
STAMP = "20261123_120000"
CONTENT = Content({"shop": "db-dumps/mysql-shop.sql", "stock": "db-dumps/mysql-stock.sql"}, has_files=True)


def archive(hours: float, kind: Kind = "database") -> Archive:
    captured_at = NOW - timedelta(hours=hours)
    return Archive(catalog.archive_key("Shop", kind, captured_at), "Shop", kind, captured_at, 5, False)


def found(**places: list[Archive]) -> dict[str, Catalog]:
    return {name: Catalog(tuple(archives), ()) for name, archives in places.items()}


def picked(wanted: RestoreRequest, **places: list[Archive]) -> list[tuple[str, str]]:
    fitting = restore_plan.candidates(found(**places), wanted, NOW, ZONE)
    return [(name, archive.captured_at.strftime("%dT%H")) for name, archive in fitting]


def plan(content: Content = CONTENT, around: dict[str, Any] | None = None, **wishes: Any) -> RestorePlan:
    there = Surroundings(["shop", "stock"], {"shop", "stock"}, exists=lambda path: path == ROOT, root=ROOT)
    wanted = RestoreRequest("Shop", **wishes)
    return restore_plan.plan(wanted, content, ("disk", archive(5)), "abc", replace(there, **(around or {})), NOW)


def schemas(made: RestorePlan) -> list[tuple[str, bool, bool]]:
    return [(step.schema, step.in_place, step.exists) for step in made.databases]


def test_the_newest_archive_comes_first_and_the_first_destination_that_has_it() -> None:
    day, week = archive(11), archive(58, "application")
    assert picked(RestoreRequest("Shop"), disk=[week], s3=[day, week]) == [
        ("s3", "23T01"),
        ("disk", "21T02"),
        ("s3", "21T02"),
    ]


def test_a_time_picks_the_newest_until_then_on_the_wall_clock_of_the_settings() -> None:
    archives = [archive(1), archive(10), archive(11)]
    assert picked(RestoreRequest("Shop", "2026-11-23T03:00"), disk=archives) == [("disk", "23T02"), ("disk", "23T01")]
    assert picked(RestoreRequest("Shop", "2026-11-23T01:59Z"), disk=archives) == [("disk", "23T01")]


def test_a_key_picks_one_archive_wherever_it_is() -> None:
    one, other = archive(1), archive(2)
    assert picked(RestoreRequest("Shop", other.key), disk=[one], s3=[one, other]) == [("s3", "23T10")]


def test_an_archive_dated_in_the_future_is_not_the_latest() -> None:
    assert picked(RestoreRequest("Shop"), disk=[archive(-2), archive(1)]) == [("disk", "23T11")]


@pytest.mark.parametrize(
    ("wanted", "error", "said"),
    [
        (
            RestoreRequest("Shop", "yesterday"),
            SettingsError,
            "'yesterday' is neither the key of an archive nor a time.",
        ),
        (
            RestoreRequest("Shop", "2026-01-01"),
            RestoreError,
            "captured at or before 2026-01-01; the oldest is of 2026-11-23 11:00",
        ),
        (RestoreRequest("Shop", archive(2).key), RestoreError, "is not published at disk"),
        (RestoreRequest("Blog"), RestoreError, "No archive of 'Blog' is published at disk."),
    ],
)
def test_what_no_archive_fits_is_told(wanted: RestoreRequest, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        restore_plan.candidates(found(disk=[archive(1)]), wanted, NOW, ZONE)


@pytest.mark.parametrize("name", ["shop", "a/b", "a\\b", "50%", "%41", "new\nline", "ü`'\"", "x.sql", "-"])
def test_the_name_of_a_dump_tells_its_database(name: str) -> None:
    assert database_of_entry(dump_entry_name("mysql", name)) == name


@pytest.mark.parametrize("name", ["db-dumps", "db-dumps/shop.sql", "db-dumps/mysql-a/b.sql", "x/db-dumps/mysql-a.sql"])
def test_other_names_are_no_dumps(name: str) -> None:
    assert database_of_entry(name) is None


def test_content_of_our_own_archives() -> None:
    names = ["db-dumps/mysql-shop.sql", "public/", "public/index.php", "manifest.json"]
    assert restore_plan.content_of(names, "application", []) == Content({"shop": names[0]}, True)
    assert restore_plan.content_of([names[0], names[3]], "database", []) == Content({"shop": names[0]}, False)


def test_content_of_archives_of_laravel_backup() -> None:
    dumps = ["db-dumps/mysql-shop.sql", "db-dumps/mariadb-stock.sql.gz", "db-dumps/postgresql-log.sql"]
    others = ["db-dumps/mongodb-old.archive", "db-dumps/mysql-old.sql.bz2"]
    held = restore_plan.content_of([*dumps, "var/www/shop/", *others], "legacy", ["shop"])
    assert held == Content({"shop": dumps[0], "stock": dumps[1], "log": dumps[2]}, False, tuple(others))
    named_after_its_connection = restore_plan.content_of(["db-dumps/mysql-tenant1.sql", "app/x"], "legacy", ["shop"])
    assert named_after_its_connection == Content({"shop": "db-dumps/mysql-tenant1.sql"}, True)


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({}, ""),
        ({"files": True}, "it holds no files"),
        ({"databases": ("stock", "blog")}, "it holds no dump of blog; its databases: shop, stock (and x.sql, which"),
    ],
)
def test_what_an_archive_lacks_is_told(wishes: dict[str, Any], said: str) -> None:
    content = Content(CONTENT.dumps, False, ("x.sql",))
    assert restore_plan.lacks(content, RestoreRequest("Shop", **wishes)).startswith(said)
    assert bool(restore_plan.lacks(content, RestoreRequest("Shop", **wishes))) == bool(said)


def test_by_default_everything_is_restored_beside_what_exists() -> None:
    made = plan(files=True)
    assert schemas(made) == [(f"shop_restored_{STAMP}", False, False), (f"stock_restored_{STAMP}", False, False)]
    assert made.files is not None
    assert (made.files.target, made.files.in_place) == (f"/var/www/shop_restored_{STAMP}", False)
    assert made.overwrites == []


def test_a_typed_name_restores_in_place() -> None:
    made = plan(databases=("shop",), overwrite=("shop",))
    assert schemas(made) == [("shop", True, True)]
    assert made.overwrites == ["database shop"]
    gone = plan(databases=("shop",), overwrite=("shop",), around={"schemas": {"stock"}})
    assert schemas(gone) == [("shop", True, False)]
    assert gone.overwrites == []
    whole = plan(files=True, overwrite=("Shop",))
    assert schemas(whole) == [("shop", True, True), ("stock", True, True)]
    assert whole.overwrites == ["database shop", "database stock", "/var/www/shop"]


def test_a_database_that_is_gone_needs_no_confirmation() -> None:
    made = plan(databases=("shop",), into="shop", around={"schemas": set()})
    assert schemas(made) == [("shop", True, False)]


def test_what_a_restore_left_half_way_is_nothing_to_overwrite() -> None:
    made = plan(databases=("shop",), overwrite=("shop",), around={"vacant": {"shop"}})
    assert schemas(made) == [("shop", True, False)]


def test_one_file_needs_no_database() -> None:
    made = plan(files=True, path="storage/app/invoices/")
    assert made.databases == ()
    assert made.files is not None
    assert made.files.path == "storage/app/invoices"
    both = plan(files=True, path="x", databases=("shop",))
    assert len(both.databases) == 1


def test_a_folder_in_place_replaces_only_itself() -> None:
    made = plan(files=True, path="storage/app", overwrite=("Shop",), around={"exists": lambda path: True})
    assert made.files is not None
    assert (made.files.target, made.files.in_place) == ("/var/www/shop/storage/app", True)


def test_long_names_are_cut() -> None:
    name = "ä" * 64
    (step,) = plan(Content({name: "x"}, False)).databases
    assert len(step.schema) == 64
    assert step.schema.endswith(f"_restored_{STAMP}")


def test_a_plan_travels_as_json() -> None:
    for made in (plan(files=True), plan(table="orders", databases=("shop",))):
        assert RestorePlan.from_json(json.loads(json.dumps(made.to_json()))) == made


@pytest.mark.parametrize(
    ("wishes", "around", "said"),
    [
        ({"into": "stock", "databases": ("shop",)}, {}, "has a database 'stock' already, and nothing is overwritten"),
        ({"overwrite": ("shopp",)}, {}, "'shopp' was confirmed for overwriting, but this restore does not write it"),
        ({"overwrite": ("Shop",)}, {}, "'Shop' was confirmed for overwriting, but this restore does not write it"),
        ({"overwrite": ("x",), "files": True}, {}, "It could be: Shop, shop, stock."),
        ({"into": "x"}, {}, "A new name is for one database, and several are restored."),
        ({"into": "x/y", "databases": ("shop",)}, {}, "'x/y' is not a valid name for a schema"),
        ({"into": "x" * 65, "databases": ("shop",)}, {}, "is not a valid name for a schema: 1 to 64 characters"),
        *(
            (
                {"into": name, "databases": ("shop",)},
                {"schemas": {name}, "vacant": {name}},
                f"'{name}' begins like what drills and restores fill, and drop",
            )
            for name in ("lifeboat_filling_0123456789abcdef", "lifeboat_drill_shop", "Lifeboat_Drill_shop")
        ),
        ({"table": "orders"}, {}, "A table is restored from one database. Hint: Choose one of shop, stock."),
        ({"table": "t", "databases": ("shop",), "overwrite": ("shop",)}, {}, "only restored beside the original"),
        (
            {"into": "other", "databases": ("shop",), "overwrite": ("other",)},
            {"schemas": {"other"}},
            "is none of the application's databases, so no safety backup",
        ),
        ({"files": True, "path": "../etc"}, {}, "leaves the application's root"),
        ({"files": True, "into": "x"}, {}, "'x' is not an absolute path."),
        ({"files": True, "into": "/srv/x"}, {"exists": lambda path: True}, "/srv/x exists already"),
        ({"files": True}, {"root": None}, "name no files of 'Shop', so there is no place to restore beside"),
        ({"files": True, "overwrite": ("Shop",)}, {"root": None}, "name no files of 'Shop' to overwrite"),
        ({"files": True, "overwrite": ("Shop",), "into": "/x"}, {}, "Hint: Drop one."),
        (
            {"files": True, "overwrite": ("Shop",)},
            {"own_directories": (ROOT / "storage/app/backups",)},
            "/var/www/shop/storage/app/backups lies in /var/www/shop",
        ),
    ],
)
def test_wishes_that_do_not_fit_are_refused(wishes: dict[str, Any], around: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as error:
        plan(around=around, **wishes)
    assert said in str(error.value)


LINKS: dict[Path, Path] = {
    Path("/var/www/link"): Path("/opt/airflow/dags"),
    Path("/safe/out"): Path("/etc"),
    Path("/beside"): Path("/var/www"),
}
PLACES = Surroundings(
    exists=lambda path: path == ROOT,
    root=ROOT,
    own_directories=(Path("/srv/staging"), Path("/var/www/backups")),
    code_directories=(Path("/opt/airflow/dags"), Path("/var/www/plugins")),
    real=lambda path: LINKS.get(path, path),
)


@pytest.mark.parametrize(
    ("into", "directory"),
    [
        ("/var/www/copy", None),
        ("/beside/copy", None),
        ("/safe/copy", "/safe"),
        ("/safe/a/b", "/safe"),
        ("/var/www/copy", "/safe"),
        ("/anywhere/at/all", "/"),
    ],
)
def test_files_go_beside_the_original_or_below_the_directory_of_the_settings(into: str, directory: str | None) -> None:
    allowed = replace(PLACES, directory=Path(directory) if directory else None)
    restore_plan.refuse_place(Path(into), allowed)


@pytest.mark.parametrize(
    ("into", "directory", "said"),
    [
        ("/opt/airflow/dags/x", None, "is not a place for restored files"),
        ("/opt/airflow/plugins", None, "is not a place"),
        ("/var/www/shop/public/x", None, "is not a place"),
        ("/etc/cron.d/x", None, "is not a place"),
        ("/new", None, "is not a place"),
        ("/", None, "is not a place"),
        ("/safe", "/safe", "is not a place"),
        ("/safer/x", "/safe", "is not a place"),
        ("/safe/out/x", "/safe", "is not a place"),
        ("/safe/../etc/x", "/safe", "holds '..'"),
        ("/var/www/../../etc", None, "holds '..'"),
        ("/var/www/link/x", None, "is not a place"),
        ("/var/www/backups", None, "which Lifeboat or Airflow uses"),
        ("/var/www/plugins", None, "which Lifeboat or Airflow uses"),
        ("/opt/airflow/dags", "/opt", "which Lifeboat or Airflow uses"),
        ("/opt/airflow/dags/x", "/", "which Lifeboat or Airflow uses"),
        ("/opt/airflow", "/", "which Lifeboat or Airflow uses"),
        ("/var/www/backups/Shop/x", "/", "which Lifeboat or Airflow uses"),
        ("/srv", "/", "which Lifeboat or Airflow uses"),
        ("/var/www/link/x", "/", "which Lifeboat or Airflow uses"),
    ],
)
def test_files_go_nowhere_else(into: str, directory: str | None, said: str) -> None:
    around = replace(PLACES, directory=Path(directory) if directory else None)
    with pytest.raises(SettingsError, match=said) as error:
        restore_plan.refuse_place(Path(into), around)
    assert error.value.hint
    with pytest.raises(SettingsError, match=said):
        plan(files=True, into=into, around={name: getattr(around, name) for name in PLACE_FIELDS})


PLACE_FIELDS = ("own_directories", "code_directories", "directory", "real")


def test_without_a_root_files_go_below_the_directory_of_the_settings_only() -> None:
    with pytest.raises(SettingsError, match="may be none, for its files have no root"):
        restore_plan.refuse_place(Path("/var/www/copy"), replace(PLACES, root=None))
    restore_plan.refuse_place(Path("/safe/copy"), replace(PLACES, root=None, directory=Path("/safe")))


def test_a_link_in_the_application_leads_to_no_code() -> None:
    around = {name: getattr(PLACES, name) for name in PLACE_FIELDS} | {"root": Path("/var/www")}
    with pytest.raises(SettingsError, match="A link below /var/www leads from /var/www/link to /opt/airflow/dags"):
        plan(files=True, path="link", overwrite=("Shop",), around=around)
    with pytest.raises(SettingsError, match="which Lifeboat or Airflow uses"):
        plan(files=True, path="link", overwrite=("Shop",), around=around | {"follows_links": True})


@pytest.mark.parametrize("into", ["mysql", "MySQL", "sys", "information_schema", "Performance_Schema", "airflow"])
def test_no_database_of_the_server_or_of_airflow_is_filled(into: str) -> None:
    with pytest.raises(SettingsError, match="is a database of the server itself, or of Airflow"):
        plan(databases=("shop",), into=into, around={"metadata_database": "airflow"})


@pytest.mark.parametrize("into", ["postgres", "template0", "template1"])
def test_no_database_of_postgresql_itself_is_filled(into: str) -> None:
    content = Content({"shop": "db-dumps/postgresql-shop.sql"}, has_files=False)
    with pytest.raises(SettingsError, match="is a database of the server itself"):
        plan(content, into=into)
