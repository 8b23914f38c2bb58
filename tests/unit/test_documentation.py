"""What the pages for strangers name is there: files, commands and their options, keys of the settings, old settings."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from lifeboat.cli import app
from lifeboat.settings import config
from pydantic import BaseModel
from typer.core import TyperGroup

from docs.site_links import on_page_markdown
from tests.conftest import PROJECT

PAGES = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md")])
# What config/backup.php of laravel-backup 10.2 takes, and the files beside it, and its commands.
LARAVEL_BACKUP = re.findall(
    r"\S+",
    """
    backup.name backup.source.files.include backup.source.files.exclude backup.source.files.follow_links
    backup.source.files.ignore_unreadable_directories backup.source.files.relative_path backup.source.databases
    backup.database_dump_compressor backup.database_dump_file_timestamp_format backup.database_dump_filename_base
    backup.database_dump_file_extension backup.destination.compression_method backup.destination.compression_level
    backup.destination.filename_prefix backup.destination.disks backup.destination.continue_on_failure
    backup.temporary_directory backup.password backup.encryption backup.verify_backup backup.tries backup.retry_delay
    notifications.notifications notifications.notifiable notifications.mail.to notifications.mail.from
    notifications.slack.webhook_url notifications.slack.channel notifications.slack.username notifications.slack.icon
    notifications.discord notifications.webhook log_channel monitor_backups IsReachable MaximumAgeInDays
    MaximumStorageInMegabytes cleanup.strategy cleanup.tries cleanup.retry_delay
    cleanup.default_strategy.keep_all_backups_for_days cleanup.default_strategy.keep_daily_backups_for_days
    cleanup.default_strategy.keep_weekly_backups_for_weeks cleanup.default_strategy.keep_monthly_backups_for_months
    cleanup.default_strategy.keep_yearly_backups_for_years
    cleanup.default_strategy.delete_oldest_backups_when_using_more_megabytes_than
    dump.dump_binary_path dump.timeout dump.use_single_transaction dump.skip_lock_tables dump.use_quick
    dump.exclude_tables dump.include_tables dump.exclude_tables_data dump.include_routines dump.skip_auto_increment
    dump.do_not_use_column_statistics dump.do_not_create_tables dump.do_not_dump_data dump.do_not_skip_comments
    dump.do_not_use_extended_inserts dump.default_character_set dump.mysql_gtid_purged dump.skip_ssl dump.set_ssl_flag
    dump.add_extra_option dump.add_extra_option_after_db_name dump.use_append_mode dump.without_sandbox_mode
    dump.use_inserts dump.mongodb_user_auth read unix_socket connect_via_database filesystems.disks.X.backup_options
    --only-db --only-files --db-name --only-to-disk --exclude --filename --filename-suffix --destination-path
    --disable-notifications --timeout --tries --config --isolated
    backup:run backup:clean backup:list backup:monitor
    """,
)


def code_of(page: Path) -> Iterator[str]:
    """Yield what a page sets as code, a line or a quotation at a time."""
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"^ *```.*?\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        yield from block.splitlines()
    plain = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    yield from (line for line in plain.splitlines() if line.startswith("    "))
    yield from (" ".join(quoted.split()) for quoted in re.findall(r"(?<!`)`([^`]+)`(?!`)", plain))


def anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        name, _, fragment = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        assert found.exists(), target
        if fragment:
            headings = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert fragment in map(anchor, headings), target


def test_every_command_and_option_that_a_page_names_is_there() -> None:
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    seen = set()
    for page in PAGES:
        for code in code_of(page):
            for call in re.findall(r"(?:^|[\s(`/])(?<!from )lifeboat ((?!verify \|)[a-z][\w |-]*.*)", code):
                command: Any = root
                words = re.split(r" [|#>;&] |\s#", call)[0].replace("|", " ").split()
                while words and isinstance(command, TyperGroup) and (named := re.fullmatch(r"[a-z-]+", words[0])):
                    assert named[0] in command.commands, f"{page.name}: lifeboat {call}"
                    command = command.commands[words.pop(0)]
                known = {name for param in command.params for name in param.opts} | {"--help"}
                if isinstance(command, TyperGroup):
                    known |= {name for one in command.commands.values() for param in one.params for name in param.opts}
                used = set(re.findall(r"(?<![\w-])--[a-z-]+", " ".join(words)))
                assert used <= known, f"{page.name}: lifeboat {call}"
                seen.add(command.name)
    assert seen >= set(root.commands) - {"backup", "restore"}, "each verb is told somewhere"


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield every key that a model takes, with dots; names that users choose are NAME."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        yield key
        for inner, text in models_in(field.annotation):
            yield from keys_of(inner, f"{key}.NAME." if text else f"{key}.")


def models_in(annotation: object) -> Iterator[tuple[type[BaseModel], bool]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, False
        return
    origin = getattr(annotation, "__origin__", None)
    arguments = getattr(annotation, "__args__", ())
    for argument in arguments:
        for model, named in models_in(argument):
            yield model, named or origin is dict


def test_every_key_of_the_settings_that_a_page_names_is_there() -> None:
    known = {key.replace(".NAME", "") for key in keys_of(config.Settings)}
    assert "applications.databases.exclude_tables" in known
    assert "destinations.object_lock.days" in known
    sections = {key for key in known if any(other.startswith(f"{key}.") for other in known)}
    heads = {section.split(".")[-1] for section in sections}
    seen = set()
    for page in PAGES:
        for code in code_of(page):
            for named in re.findall(
                r"(?<![\w./-])(?:[a-z_]+\.)+(?:NAME\.)?[a-z_]+(?![\w.(/-])(?<!\.py)(?<!\.sql)", code
            ):
                key = named.replace(".NAME", "")
                if key.split(".")[0] in heads:
                    assert any(f".{other}".endswith(f".{key}") for other in known), f"{page.name}: {named}"
                    seen.add(key)
    assert len(seen) > 15


@pytest.mark.parametrize("setting", LARAVEL_BACKUP)
def test_every_setting_of_laravel_backup_has_its_place_here(setting: str) -> None:
    rows = re.findall(r"^\| (.+?) \| .+ \|$", (PROJECT / "docs" / "LARAVEL-BACKUP.md").read_text(), re.MULTILINE)
    assert [row for row in rows if re.search(rf"(?<![\w.-]){re.escape(setting)}(?![\w.-])", row)] != []


TESTS_NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (PROJECT / "docs/SECURITY.md").read_text())


@pytest.mark.parametrize(("path", "name"), TESTS_NAMED)
def test_every_test_that_the_threat_model_names_is_there(path: str, name: str) -> None:
    defined = re.findall(r"^def (test_\w+)", (PROJECT / path).read_text(), re.MULTILINE)
    assert defined
    assert not name or name in defined


def test_the_threat_model_names_tests() -> None:
    assert len(TESTS_NAMED) > 15


def test_links_that_leave_the_pages_lead_to_the_repository_on_the_site() -> None:
    site = yaml.safe_load((PROJECT / "mkdocs.yml").read_text())
    repository = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["urls"]["Homepage"]
    assert site["repo_url"] == repository
    assert site["hooks"] == ["docs/site_links.py"]
    text = "".join(page.read_text() for page in PAGES if page.parent.name == "docs")
    built = on_page_markdown(text, config=site)
    assert "](../" in text
    assert "](../" not in built
    left = re.findall(rf"\]\({re.escape(repository)}/blob/main/([^)#]+)", built)
    assert left
    assert all((PROJECT / name).exists() for name in left)
