"""docs/RECOVERY.md, followed to the letter: every command block in it is run, in its order, against real servers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lifeboat.actions import backup
from lifeboat.databases.mysql import dump
from lifeboat.files.selection import Selection
from lifeboat.staging import StagingDirectory
from lifeboat.support import clock

from include.demo import marketplace
from include.demo.stand_ins import MariaDB
from tests.conftest import ARCHIVE_PASSWORD, PROJECT, Configure
from tests.trees import make

RUNBOOK = (PROJECT / "docs" / "RECOVERY.md").read_text(encoding="utf-8")
APPLICATION = "Aimporo Marketplace"

pytestmark = pytest.mark.timeout(600)


def blocks() -> Iterator[tuple[str, str]]:
    """Yield the command blocks, each with the word behind ``bash``: example, fresh, an engine or nothing."""
    for indent, tag, text in re.findall(r"^( *)```bash ?(\w*)\n(.*?)^ *```$", RUNBOOK, re.MULTILINE | re.DOTALL):
        yield tag, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)


def follow(commands: str, variables: dict[str, str]) -> None:
    script = "set -euo pipefail\n" + commands
    done = subprocess.run(
        ["bash", "-c", script], env=os.environ | variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"


def runbook_variables(folder: Path) -> dict[str, str]:
    """Return what the runbook's example sets, for the database of the tests."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "APP": "Shop",
        "DB": "shop",
        "ROOT": str(folder / "root"),
        "ARCHIVES": str(folder / "disk"),
        "PASSWORD": ARCHIVE_PASSWORD,
    }


def lose(mariadb: MariaDB, root: Path) -> None:
    """What a lost server leaves: nothing."""
    mariadb.run(f"DROP DATABASE {marketplace.DATABASE}")
    for tree in root.parent.glob(f"{root.name}*"):
        shutil.rmtree(tree)


@pytest.fixture
def variables(
    project: Configure, mariadb: MariaDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """Give the marketplace an application and the runbook its variables."""
    root = tmp_path / "www" / "marketplace"
    marketplace.load(mariadb, rows=2000)
    marketplace.write_files(root)
    (root / "storage/app/invoices/0001.txt").touch()
    monkeypatch.setenv("AIRFLOW_CONN_MARKETPLACE_DB", mariadb.connection())
    application = {
        "databases": [{"name": marketplace.DATABASE, "connection": "marketplace_db"}],
        "files": {"root": str(root)},
        "after_restore": ["touch cache-cleared"],
    }
    settings = project(applications={APPLICATION: application}, drill={"production": True})
    home = tmp_path / "home"
    home.mkdir()
    login = dump.option_file_text(mariadb.server, dump.Client("mysql", "MariaDB", frozenset()))
    (home / ".my.cnf").touch(mode=0o600)
    (home / ".my.cnf").write_text(login)
    yield {
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "APP": APPLICATION,
        "DB": marketplace.DATABASE,
        "ROOT": str(root),
        "ARCHIVES": json.loads(settings.read_text())["destinations"]["disk"]["path"],
        "PASSWORD": ARCHIVE_PASSWORD,
    }
    mariadb.run(f"DROP DATABASE {marketplace.DATABASE}")


def test_every_command_of_the_runbook(variables: dict[str, str], mariadb: MariaDB) -> None:
    root = Path(variables["ROOT"])
    follow('lifeboat backup database "$APP"; lifeboat backup application "$APP"', variables)
    lost = False
    found = list(blocks())
    assert len(found) > 12
    for tag, commands in found:
        if tag == "example":
            names = set(re.findall(r"^(\w+)=", commands, re.MULTILINE))
            assert names == set(variables) - {"HOME", "PATH"}
            continue
        if tag in ("postgresql", "sqlite", "airflow"):
            continue  # tests/servers/databases and tests/matrix follow them
        if tag == "fresh" and not lost:
            lose(mariadb, root)
            lost = True
        follow(commands, variables)
    assert lost
    assert (root / "cache-cleared").exists()
    assert mariadb.run("SELECT count(*) FROM orders", marketplace.DATABASE) == "400\n"


CHANGES = ("nothing", "a file", "a file more", "a file less", "a link", "no signature", "the manifest")


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_unpacked_by_hand_is_checked_before_it_is_loaded(tmp_path: Path, change: str) -> None:
    root, unpacked = tmp_path / "root", tmp_path / "x-by-hand"
    make(root, "index.php", "sub/ünï code")
    (root / "link").symlink_to("sub")
    staging = StagingDirectory(tmp_path / "staging")
    staging.create()
    backup.pack_archive(
        staging, "Shop", "application", [], ARCHIVE_PASSWORD, "", Selection(root, ("**",), ()), now=clock.now()
    )
    command = ["7z", "x", f"-p{ARCHIVE_PASSWORD}", f"-o{unpacked}", str(tmp_path / "staging/archive.zip")]
    subprocess.run(command, check=True, capture_output=True)
    manifest = unpacked / "manifest.json"
    match change:
        case "a file":
            (unpacked / "index.php").write_text("another")
        case "a file more":
            make(unpacked, "db-dumps/mysql-shop.sql")
        case "a file less":
            (unpacked / "index.php").unlink()
        case "a link":
            (unpacked / "link").unlink()
            (unpacked / "link").symlink_to("index.php")
        case "no signature":
            manifest.write_text(re.sub(r',\n "hmac_sha256".*"\n', "\n", manifest.read_text()))
        case "the manifest":
            manifest.write_text(manifest.read_text().replace('"note": ""', '"note": "x"'))
    (script,) = (text for _, text in blocks() if "lifeboat manifest" in text)
    variables = {"PASSWORD": ARCHIVE_PASSWORD, "ROOT": str(tmp_path / "x")}
    done = subprocess.run(
        ["bash", "-c", script], env=os.environ | variables, capture_output=True, text=True, check=False
    )
    if change == "nothing":
        assert done.stdout.startswith("As it was captured: Shop application 20"), done.stderr
    else:
        assert done.returncode == 1
        assert done.stderr.startswith("FORGED")


def test_every_step_of_the_old_procedure_has_its_counterpart() -> None:
    table = RUNBOOK[RUNBOOK.index("## Procedures from laravel-backup") :]
    for step in ("locate the backup file", "extract it", "import it", "full application recovery", "cache:clear"):
        assert step in table
    chapters = re.findall(r"\*([A-Z][^*]+)\*", table)
    assert len(chapters) >= 5
    for chapter in chapters:
        assert f"## {chapter}\n" in RUNBOOK
