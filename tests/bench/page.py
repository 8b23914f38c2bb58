"""The Backups page in a browser: ten destinations with a thousand archives each, read for the first time and again."""

from __future__ import annotations

import json
import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lifeboat import catalog
from playwright.sync_api import Browser, expect, sync_playwright

from include.demo.browser import chromium
from include.demo.standalone import Standalone
from tests.bench.contest import console
from tests.conftest import PROJECT, disk_destination

DESTINATIONS = 10
ARCHIVES = 1000
AGED = 31  # seconds after which a reading counts no more


def fill(root: Path) -> None:
    """Put archives of four applications into a directory."""
    now = datetime.now(UTC)
    for number in range(ARCHIVES):
        captured_at = now - timedelta(hours=3 * number)
        kind = "application" if number % 7 == 0 else "database"
        path = root / catalog.archive_key(f"App {number % 4}", kind, captured_at)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"archive")
        path.with_name(f"{path.name}.json").write_bytes(b"{}")


def main(scratch: Path) -> None:
    """Time the page from its address to its verdict, and to its last piece."""
    names = [f"disk{number}" for number in range(DESTINATIONS)]
    fill(scratch / names[0])
    for name in names[1:]:
        shutil.copytree(scratch / names[0], scratch / name, copy_function=os.link)
    for name in names:
        disk_destination(name, scratch / name)
    database = {"databases": [{"name": "shop", "connection": "shop_db"}], "files": {"root": str(scratch)}}
    settings = {
        "staging": str(scratch / "staging"),
        "encryption": "none",
        "destinations": {name: {"type": "disk", "path": str(scratch / name)} for name in names},
        "applications": {f"App {number}": database for number in range(4)},
    }
    (scratch / "backup.yaml").write_text(json.dumps(settings))
    (scratch / "airflow").mkdir()
    variables = {
        "LIFEBOAT_CONFIG": str(scratch / "backup.yaml"),
        "AIRFLOW_HOME": str(scratch / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    with (
        Standalone(variables, scratch / "airflow.log") as airflow,
        sync_playwright() as playwright,
        chromium(playwright) as browser,
    ):
        visit(browser, airflow.base)
        time.sleep(AGED)
        for name in ("read anew", "read before"):
            verdict, whole = visit(browser, airflow.base)
            console.print(
                f"The page, {DESTINATIONS} destinations with {ARCHIVES} archives each, {name}:"
                f" verdict after {verdict:.2f} s, all of it after {whole:.2f} s."
            )


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
