"""Wrong settings are refused with the file, the key and the fix."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
import yaml
from lifeboat.databases import EngineName
from lifeboat.errors import SettingsError
from lifeboat.settings import config

from tests.conftest import PROJECT

GOOD = """
staging: /var/lib/lifeboat/staging
encryption: {connection: lifeboat_archive}
destinations:
  disk: {type: disk, path: /backups}
  s3: {type: s3, connection: aws_default, bucket: backups, prefix: /eu/}
applications:
  Shop:
    databases:
      - {name: shop, connection: shop_db, exclude_tables: [sessions]}
      - {name: stock, connection: shop_db}
  Blog:
    encryption: none
    destinations: [disk]
    databases: [{name: blog, connection: blog_db}]
"""


PERIODS = ("all_for_days", "daily_for_days", "weekly_for_weeks", "monthly_for_months", "yearly_for_years")
NOTHING = "{" + ", ".join(f"keep_{period}: 0" for period in PERIODS) + "}"


def load(tmp_path: Path, text: str) -> config.Settings:
    path = tmp_path / "backup.yaml"
    path.write_text(text)
    return config.load(path)


def test_settings_of_0_1_load_unchanged() -> None:
    settings = config.load(PROJECT / "tests" / "settings_of_0_1.yaml")
    assert settings.applications["Shop"].databases[1].engine == "postgresql"


def test_logs_are_shipped_where_a_database_has_some(tmp_path: Path) -> None:
    shop = "applications:\n  Shop:\n"
    some = load(tmp_path, GOOD.replace(shop, f"{shop}    logs: {{keep_days: 3}}\n"))
    assert some.logs_of("Shop") == config.Logs(every_minutes=5, keep_days=3)
    assert some.applications_with_logs == ["Shop"]
    assert load(tmp_path, GOOD.replace(shop, f"{shop}    logs: true\n")).logs_of("Shop") == config.Logs()
    assert load(tmp_path, GOOD).logs_of("Shop") is None
    wrong = GOOD.replace("blog_db}", "blog_db, engine: sqlite}").replace("encryption: none", "logs: true")
    with pytest.raises(SettingsError, match="logs: only MySQL and MariaDB have binary logs, and none of its databases"):
        load(tmp_path, wrong)


def test_logs_that_are_shipped_in_time_are_never_too_old(tmp_path: Path) -> None:
    shop, logs = "applications:\n  Shop:\n", "    logs: {every_minutes: 11}\n"
    with pytest.raises(SettingsError, match=r"half of health\.log_max_minutes, .* set log_max_minutes to 22 or"):
        load(tmp_path, GOOD.replace(shop, shop + logs))
    for minutes in ("22", "null"):
        load(tmp_path, GOOD.replace(shop, f"{shop}{logs}    health: {{log_max_minutes: {minutes}}}\n"))


def test_several_applications_databases_and_destinations(tmp_path: Path) -> None:
    settings = load(tmp_path, GOOD)
    assert [database.name for database in settings.databases_of("Shop", ("stock",))] == ["stock"]
    assert list(settings.destinations_of("Shop")) == ["disk", "s3"]
    assert list(settings.destinations_of("Blog")) == ["disk"]
    assert settings.encryption_of("Blog") is None
    assert settings.encryption_of("Shop") == config.Encryption(connection="lifeboat_archive")
    bucket = settings.destinations["s3"]
    assert isinstance(bucket, config.S3Destination)
    assert bucket.prefix == "eu"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "connection: shop_db, ex",
            "conection: shop_db, ex",
            "applications.Shop.databases.0.conection: unknown key, did",
        ),
        ("path: /backups", "path: backups", "destinations.disk.path: must be an absolute path"),
        ("type: disk", "type: tape", "destinations.disk.type: must be 'disk' or 's3'"),
        ("type: s3, connection: aws_default,", "type: s3,", "destinations.s3.connection: is missing, add it"),
        ("destinations: [disk]", "destinations: [tape]", "no destination 'tape'; known: disk, s3"),
        ("name: stock", "name: shop", "databases named twice: shop"),
        ("  Shop:", "  ../Shop:", "must not start with a dot"),
        ("  Shop:", "  Sh/op:", "must not contain slashes"),
        ("encryption: {connection: lifeboat_archive}", "encryption: true", "encryption: must be 'none' or name"),
        ("encryption: {connection: lifeboat_archive}", "", "encryption: is missing, add it"),
        ("staging:", "timezone: Europe/Zürich\nstaging:", "timezone: no such time zone; did you mean 'Europe/Zurich'?"),
        ("staging:", "\t- staging:", "is not valid YAML"),
        ("/var/lib/lifeboat/staging", "scratch", "staging: must be an absolute path"),
        (
            "/var/lib/lifeboat/staging",
            "s3://backups/scratch",
            "staging: must be an absolute path, or a bucket in the form s3:",
        ),
        ("/var/lib/lifeboat/staging", "s3://aws_default@backups", "staging: is inside destinations.s3, or contains it"),
        (
            "/var/lib/lifeboat/staging",
            "s3://aws_default@backups/eu/x",
            "staging: is inside destinations.s3, or contains",
        ),
        ("  Blog:", "  Shop:", "'Shop' appears twice"),
        (
            "staging:",
            "retention: {keep_all_for_days: -1}\nstaging:",
            "retention.keep_all_for_days: must be at least 0",
        ),
        (
            "staging:",
            "retention: {keep_all_for_days: lots}\nstaging:",
            "retention.keep_all_for_days: must be a whole number",
        ),
        ("staging:", "retention: {keep_all_days: 1}\nstaging:", "unknown key, did you mean 'keep_all_for_days'?"),
        ("staging:", "retention: {delete_oldest_above_megabytes: 0}\nstaging:", "must be at least 1"),
        ("staging:", f"retention: {NOTHING}\nstaging:", "keeps only the newest; set one of its periods above 0"),
        ("{type: disk, path: /backups}", "{type: disk, path: /b}\n  b: {type: disk, path: /b}", "is the same place as"),
        ("    encryption: none", "    files: {root: app}", "applications.Blog.files.root: must be an absolute path"),
        (
            "    encryption: none",
            "    files: {root: /a, include: [../b]}",
            "must be relative to the root and stay below",
        ),
        ("    encryption: none", "    files: {root: /a, exclude: [/b]}", "must be relative to the root and stay below"),
        ("    encryption: none", "    files: {root: /a, include: []}", "applications.Blog.files.include:"),
        ("    encryption: none", "    files: {root: /a, on_error: stop}", "'warn' or 'fail'"),
        (
            "    databases: [{name: blog, connection: blog_db}]",
            "",
            "applications.Blog: has neither databases nor files",
        ),
    ],
)
def test_a_mistake_is_named_with_its_fix(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, GOOD.replace(old, new, 1))
    assert said in str(caught.value)
    assert str(tmp_path / "backup.yaml") in str(caught.value)


def test_what_is_merged_may_be_said_otherwise_and_is_not_said_twice(tmp_path: Path) -> None:
    text = GOOD.replace("  Blog:", "  Blog: &blog")
    more = """
  News:
    <<: *blog
    databases: [{name: news, connection: blog_db}]
  Deep:
    <<: *blog
    retention: {database: &deep {<<: &shallow {keep_all_for_days: 3}, keep_all_for_days: 4}}
  Sea:
    <<: *blog
    retention: {<<: [*deep, *shallow]}
"""
    found = load(tmp_path, text + more).applications
    assert [name for name in found if name != "Shop"] == ["Blog", "News", "Deep", "Sea"]
    assert [database.name for database in found["News"].named] == ["news"]
    assert found["Deep"].retention.database.keep_all_for_days == found["Sea"].retention.keep_all_for_days == 4


LAST = "databases: [{name: blog, connection: blog_db}]"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        # what YAML makes of what was meant as text, or as another number
        ("  Blog:", "  no:", "applications.0: must be text, which YAML reads as false; put it in quotes"),
        ("  Blog:", "  2026:", "applications.2026: must be text; put it in quotes"),
        ("name: stock", "name: on", "databases.1.name: must be text, which YAML reads as true; put it in quotes"),
        ("[sessions]", "[off]", "exclude_tables.0: must be text, which YAML reads as false; put it in quotes"),
        (LAST, f"{LAST}\nretention: {{keep_all_for_days: 1:30}}", "column 32: YAML reads 1:30 in base"),
        (LAST, f"{LAST}\nretention: {{keep_all_for_days: 010}}", "YAML reads 010 in base 8 or 60"),
        ("  Shop:", "\tShop:", "line 8, column 1: a tab; indent by spaces"),
        ("connection: shop_db", "[a, b]: shop_db", "a list or {...} cannot be a key; put text in quotes"),
        ("  Blog:", "  Blog: !!map x\n  Other:", "expected a mapping node, but found scalar"),
        (LAST, f"{LAST}\nretention: {{<<: 3}}", "expected a mapping or list of mappings for merging"),
        (LAST, f"{LAST}\nretention: {{<<: {{keep_all_for_days: 1}}, <<: {{}}, a: 1, a: 1}}", "'a' appears twice"),
        (LAST, f"{LAST}\n---\na: b", "expected a single document in the stream but found another document"),
        (LAST, "destinations: *there", "column 19: found undefined alias"),
        (LAST, f"{LAST}\nretention: !env DAYS", "column 12: could not determine a constructor for the tag"),
        # of another type
        ("[sessions]", "sessions", "exclude_tables: must be a list, for example [one, two]"),
        (LAST, "databases:", "applications.Blog.databases: must be a list, for example [one, two]; it is empty"),
        (LAST, "databases: [blog]", "databases.0: must contain keys and values, as in docs/CONFIGURATION.md"),
        ("{type: disk, path: /backups}", "/backups", "destinations.disk: must contain keys and values"),
        ("path: /backups", "path: 5", "destinations.disk.path: must be text; put it in quotes"),
        (LAST, "files: {root: /a, follow_links: 'yes'}", "follow_links: must be true or false, without quotes"),
        (LAST, "files: {root: /a, include: [5]}", "files.include.0: must be text; put it in quotes."),
        (
            LAST,
            f"{LAST}\nhealth: {{database_max_days: true}}",
            "health.database_max_days: must be a number, for example",
        ),
        (LAST, f"{LAST}\nhealth: {{rpo_hours: '1'}}", "health.rpo_hours: must be a number, for example 7 or 0.5"),
        (LAST, f"{LAST}\nhealth: {{size_factor: .nan}}", "health.size_factor: must be above 1"),
        (LAST, f"{LAST}\nretention: {{keep_all_for_days: 7d}}", "must be a whole number, for example 7."),
        (LAST, f"{LAST}\nretention: {{keep_all_for_days: 7.5}}", "must be a whole number, for example 7."),
        (LAST, f"{LAST}\nretention: {{keep_all_for_days: }}", "must be a whole number, for example 7; it is empty"),
        (LAST, f"{LAST}\nretention: {{keep_all_for_days: 200000}}", "must be at most 100000"),
        (LAST, f"{LAST}\ndrill: {{connection: [a]}}", "drill.connection: must be the id of a connection, or one for"),
        (LAST, f"{LAST}\ndrill: true", "drill: must contain keys and values"),
        (LAST, f"{LAST}\nalerts: {{on_success: [backup]}}", "on_success.0: must be 'backup_database', 'backup_appl"),
        ("encryption: none", "encryption: off", "applications.Blog.encryption: must be 'none' or name a connection"),
        ("encryption: {connection", "encryption: {conection", "conection: unknown key, did you mean 'connection'?."),
        # keys
        ("path: /backups", "path: /backups, object_lock: {}", "disk.object_lock: unknown key here, remove it"),
        (LAST, f"{LAST}\nretention: {{databse: {{}}}}", "retention.databse: unknown key, did you mean 'database'?"),
        (LAST, f"{LAST}\n5: x", "5: must be text; put it in quotes"),
        (
            "  Blog:",
            '  "a\\nb":',
            "applications.a\\u000ab: must not contain slashes, backslashes or control characters",
        ),
        # values that cannot be
        (LAST, f"{LAST}\ndrill: {{schedule: '61 5 1 1 *'}}", "schedule: this cron expression never matches a date"),
        (LAST, f"{LAST}\ndrill: {{schedule: '0 0 30 2 *'}}", "schedule: this cron expression never matches a date"),
        (LAST, f"{LAST}\ndrill: {{schedule: '@daily'}}", "schedule: must be a cron expression of five fields"),
        (
            "bucket: backups",
            "bucket: backups, storage_class: GLACIER",
            "storage_class: must be a class with immediate access",
        ),
        (
            "bucket: backups",
            "bucket: backups, storage_class: a b",
            "storage_class: must be the name of a",
        ),
        ("bucket: backups", "bucket: backups, kms_key: k", "s3: kms_key needs server_side_encryption: aws:kms"),
        ("bucket: backups", "bucket: backups, server_side_encryption: x", "encryption: must be 'AES256' or 'aws:kms'"),
        ("bucket: backups", "bucket: s3://backups", "bucket: must be only a bucket's name"),
        ("bucket: backups", "bucket: b", "bucket: must be only a bucket's name, of 3 to 63 letters"),
        (
            LAST,
            f"{LAST}\nalerts: {{email: {{connection: a, to: [ops]}}}}",
            "email.to.0: must be one address, for example",
        ),
        (LAST, f'{LAST}\nalerts: {{email: {{connection: a, to: ["a@b.c\\nBcc: d@e.f"]}}}}', "must be one address"),
        ("destinations: [disk]", "after_restore: ['']", "after_restore.0: must not be empty"),
        (
            "destinations: [disk]",
            'after_restore: ["a \'b"]',
            "after_restore.0: is not a valid command: no closing quotation",
        ),
        *(
            ("destinations: [disk]", f"checks: [{check}]", said)
            for check, said in {
                "{sql: {database: blog, query: SELECT 1, expect: '> 0'}, command: [x]}": "either sql or command",
                "{seconds: 7}": "checks.0: must have either sql or command",
                "{command: []}": "checks.0.command: must not be empty",
                "{command: php artisan}": "checks.0.command: must be a list, for example [one, two]",
                "{command: [x], files: {../.env: null}}": "must be the path of a file, relative to the root",
                "{sql: {database: blog, query: SELECT 1, expect: many}}": "sql.expect: must be a comparison with a",
                "{sql: {database: blog, query: ';', expect: '> 0'}}": "sql.query: must be one query, for example",
                "{sql: {database: gone, query: SELECT 1, expect: '> 0'}}": "checks.0.sql.database: is not one of the",
                "{sql: {database: blog, query: SELECT 1, expect: '> 0'}, files: {a: b}}": "only a command has files",
                "{name: a, command: [x]}, {name: a, command: [y]}": "checks: two have the same name; rename one",
            }.items()
        ),
        (
            LAST,
            f"checks: [{{command: [x]}}]\n    {LAST}\ndrill: {{production: true}}",
            "Blog.checks: a command could log in to production with the application's own password",
        ),
        # places
        (
            "path: /backups",
            "path: /x/../backups",
            "path: must not contain '..': write the directory that '/x/../backups' resolves to",
        ),
        ("path: /backups", "path: /", "staging: is inside destinations.disk, or contains it"),
        ("path: /backups", "path: /var/lib/lifeboat/staging", "staging: is inside destinations.disk, or contains it"),
        ("path: /backups", "path: /var/lib/lifeboat/staging/a", "staging: is inside destinations.disk, or contains it"),
        ("/var/lib/lifeboat/staging", "'s3://a b@bucket/x'", "staging.connection: must be the id of an Airflow conn"),
        ("/var/lib/lifeboat/staging", "'s3://a@my bucket/x'", "staging.bucket: must be only a bucket's name"),
        (LAST, "files: {root: /backups/app}", "applications.Blog.files.root: is inside '/backups', where archives or"),
    ],
)
def test_a_mistake_is_one_sentence_in_words_of_ours(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, GOOD.replace(old, new, 1))
    told = str(caught.value)
    assert said in told
    assert told.startswith(str(tmp_path / "backup.yaml"))
    assert told.endswith(".")
    assert "\n" not in told
    for foreign in ("Input should", "instance of", "tuple", "dictionary", "[key]", "unicode string"):
        assert foreign not in told


@pytest.mark.parametrize("old", ["connection: shop_db", "connection: aws_default", "connection: lifeboat_archive"])
@pytest.mark.parametrize("value", ["mysql://root:canary@db/shop", "'canary password'", "''"])
def test_what_is_no_id_of_a_connection_is_refused_and_not_repeated(tmp_path: Path, old: str, value: str) -> None:
    with pytest.raises(SettingsError, match="connection: must be the id of an Airflow connection") as caught:
        load(tmp_path, GOOD.replace(old, f"connection: {value}", 1))
    assert "canary" not in "".join(traceback.format_exception(caught.value)), "an import error shows the traceback"


@pytest.mark.parametrize(
    "content", [b"", b"# nothing yet\n", b"- a\n", b"hello", b"null", GOOD.encode("utf-16"), b"\x1f\x8b\x08\0", b"\0"]
)
def test_what_is_no_settings_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "backup.yaml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"must contain keys and values|is not UTF-8|not valid YAML") as caught:
        config.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["\ufeff" + GOOD, GOOD.replace("\n", "\r\n"), GOOD + "...\n"])
def test_editors_may_write_the_file_in_their_ways(tmp_path: Path, text: str) -> None:
    path = tmp_path / "backup.yaml"
    path.write_bytes(text.encode())
    assert config.load(path) == load(tmp_path, GOOD)


def test_staging_is_a_directory_or_a_bucket(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD).staging == Path("/var/lib/lifeboat/staging")
    settings = load(tmp_path, GOOD.replace("/var/lib/lifeboat/staging", "s3://aws_default@backups/european/x/"))
    assert settings.staging == config.Bucket(connection="aws_default", bucket="backups", prefix="european/x")
    assert settings.own_directories == (Path("/backups"),)


def test_a_missing_file_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"Cannot read the settings .*No such file.*LIFEBOAT_CONFIG"):
        config.load(tmp_path / "none.yaml")


@pytest.mark.parametrize("chosen", [{"databases_of": "tock"}, {"destinations_of": "moon"}])
def test_unknown_choices_name_the_known_ones(tmp_path: Path, chosen: dict[str, str]) -> None:
    settings = load(tmp_path, GOOD)
    for method, name in chosen.items():
        with pytest.raises(SettingsError, match=r"has no .*Did you mean one of: "):
            getattr(settings, method)("Shop", (name,))


def test_the_shipped_settings_load_and_their_connections_are_in_the_example() -> None:
    settings = config.load(PROJECT / "include" / "backup.yaml")
    example = (PROJECT / ".env.example").read_text()
    text = yaml.safe_dump(settings.model_dump(mode="json"))
    connections = {line.split()[-1] for line in text.splitlines() if "connection:" in line} - {"null"}
    assert connections
    for connection in connections:
        assert f"AIRFLOW_CONN_{connection.upper()}=" in example


@pytest.mark.parametrize(
    ("engine", "name", "fits"),
    [
        ("mysql", "ñ" * 64, True),
        ("mysql", "ñ" * 65, False),
        ("postgresql", "n" * 63, True),
        ("postgresql", "ñ" * 32, False),
        ("sqlite", "n" * 200, True),
    ],
)
def test_a_name_is_as_long_as_its_engine_allows(tmp_path: Path, engine: str, name: str, fits: bool) -> None:
    text = GOOD.replace("{name: blog, connection", f"{{name: {name}, engine: {engine}, connection")
    if fits:
        assert load(tmp_path, text).databases_of("Blog")[0].name == name
    else:
        with pytest.raises(SettingsError, match=r"applications.Blog.databases.0: name: is longer than the 6\d"):
            load(tmp_path, text)


def test_each_engine_may_have_a_scratch_server(tmp_path: Path) -> None:
    one = load(tmp_path, GOOD + "drill: {connection: scratch_db}").drill
    several = load(tmp_path, GOOD + "drill: {connection: {mysql: a, postgresql: b}}").drill
    none = load(tmp_path, GOOD).drill
    engines: tuple[EngineName, ...] = ("mysql", "postgresql", "sqlite")
    assert [[drill.connection_of(engine) for engine in engines] for drill in (one, several, none)] == [
        ["scratch_db", None, None],
        ["a", "b", None],
        [None, None, None],
    ]
    with pytest.raises(SettingsError, match=r"drill\.connection"):
        load(tmp_path, GOOD + "drill: {connection: {oracle: a}}")


def test_without_the_variable_the_settings_are_those_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(config.CONFIG_VARIABLE, raising=False)
    assert config.settings_path() == PROJECT / "include" / "backup.yaml"


@pytest.mark.parametrize(
    ("entry", "covered"),
    [
        ("{server: a}", ["shop", "*", "[a]", "Tmp_1", "tmp_1", "postgres", "template0"]),
        ("{server: a, exclude: ['tmp_*', '[a]']}", ["shop", "*", "Tmp_1", "postgres", "template0"]),
        ("{server: a, include: ['[a]', '[s]*']}", ["shop", "[a]"]),
        (
            "{server: a, include: ['*', mysql, lifeboat_drill_x, shop_restored_20261123_120000], exclude: ['[!lsm]*']}",
            ["shop", "shop_restored_20261123_120000"],
        ),
        ("{server: a, engine: postgresql, include: [postgres, template0]}", ["postgres"]),
    ],
)
def test_patterns_choose_databases_of_a_server(tmp_path: Path, entry: str, covered: list[str]) -> None:
    text = GOOD.replace("[{name: blog, connection: blog_db}]", f"[{entry}]")
    blog = load(tmp_path, text).application("Blog")
    names = [
        *("shop", "*", "[a]", "Tmp_1", "tmp_1", "mysql", "SYS", "postgres", "template0", "lifeboat_drill_x"),
        *("lifeboat_filling_x", "shop_restored_20261123_120000", "", "x" * 65, "a\0b"),
    ]
    assert [name for name in names if blog.database(name)] == covered
