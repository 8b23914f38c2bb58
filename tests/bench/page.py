"""The Backups page in a browser, read for the first time and again: many destinations, and many applications."""

from __future__ import annotations

import json
import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lifeboat.catalog import archives
from playwright.sync_api import Browser, expect, sync_playwright

from include.demo.browser import chromium
from include.demo.standalone import Standalone
from tests.bench.contest import console
from tests.conftest import PROJECT, disk_destination

SIZES = ((4, 10), (100, 2))  # applications, destinations
ARCHIVES = 1000  # at each destination
AGED = 31  # seconds after which a reading counts no more


def fill(root: Path, applications: int) -> None:
    """Put archives into a directory, of each application a few."""
    now = datetime.now(UTC)
    for number in range(ARCHIVES):
        captured_at = now - timedelta(hours=3 * number)
        kind: archives.Kind = "application" if number % 7 == 0 else "database"
        path = root / archives.archive_key(f"App {number % applications}", kind, captured_at)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"archive")
        path.with_name(f"{path.name}.json").write_bytes(b"{}")


def main(scratch: Path) -> None:
    """Time the page from its address to its verdict, and to its last piece."""
    for applications, destinations in SIZES:
        folder = scratch / f"{applications}"
        (folder / "airflow").mkdir(parents=True)
        with (
            Standalone(site(folder, applications, destinations), folder / "airflow.log") as airflow,
            sync_playwright() as playwright,
            chromium(playwright) as browser,
        ):
            visit(browser, airflow.base)
            time.sleep(AGED)
            for name in ("read anew", "read before"):
                verdict, whole = visit(browser, airflow.base)
                console.print(
                    f"The page, {applications} applications, {destinations} destinations with {ARCHIVES} archives"
                    f" each, {name}: verdict after {verdict:.2f} s, all of it after {whole:.2f} s."
                )


def site(scratch: Path, applications: int, destinations: int) -> dict[str, str]:
    """Make destinations on disk and their settings; return the variables of an Airflow that serves them."""
    names = [f"disk{number}" for number in range(destinations)]
    fill(scratch / names[0], applications)
    for name in names[1:]:
        shutil.copytree(scratch / names[0], scratch / name, copy_function=os.link)
    for name in names:
        disk_destination(name, scratch / name)
    database = {"databases": [{"name": "shop", "connection": "shop_db"}], "files": {"root": str(scratch)}}
    settings = {
        "staging": str(scratch / "staging"),
        "encryption": "none",
        "destinations": {name: {"type": "disk", "path": str(scratch / name)} for name in names},
        "applications": {f"App {number}": database for number in range(applications)},
    }
    (scratch / "backup.yaml").write_text(json.dumps(settings))
    return {
        "LIFEBOAT_CONFIG": str(scratch / "backup.yaml"),
        "AIRFLOW_HOME": str(scratch / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }


def visit(browser: Browser, base: str) -> tuple[float, float]:
    """Return the seconds from asking for the page to its verdict, and to its last piece."""
    context = browser.new_context(base_url=base)
    page = context.new_page()
    page.goto("/")
    page.get_by_role("link", name="Backups").first.wait_for()  # by then, Airflow has logged us in
    page = context.new_page()
    started = time.perf_counter()
    page.goto("/lifeboat/", wait_until="commit")
    page.locator("a.answer").first.wait_for()
    verdict = time.perf_counter() - started
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    whole = time.perf_counter() - started
    context.close()
    return verdict, whole
