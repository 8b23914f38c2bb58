"""Pictures of the Backups page, as people see it in Airflow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from playwright.sync_api import expect, sync_playwright

from include.demo.browser import chromium

SCREEN = (1360, 1000)
PHONE = (390, 1000)
PATIENCE = 60_000.0  # milliseconds, until every destination has answered
READING = "text=Still reading"  # what the page says until then
PICTURES: tuple[tuple[str, str, tuple[int, int], Literal["light", "dark"]], ...] = (
    ("light", "/plugin/backups", SCREEN, "light"),
    ("dark", "/plugin/backups", SCREEN, "dark"),
    ("phone", "/lifeboat/", PHONE, "light"),
)


def take(base: str, folder: Path) -> Iterator[Path]:
    """Take the pictures, and yield the path of each.

    :param base: address of an Airflow that asks for no login.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, chromium(playwright) as browser:
        for name, path, (width, height), scheme in PICTURES:
            context = browser.new_context(
                base_url=base, viewport={"width": width, "height": height}, color_scheme=scheme
            )
            page = context.new_page()
            page.goto("/")
            page.get_by_role("link", name="Backups").first.wait_for()  # by then, Airflow has logged us in
            page.goto(path)
            content = page.frame_locator("iframe") if path.startswith("/plugin") else page
            content.locator(".answer").first.wait_for()
            for unfinished in ("[aria-busy=true]", READING):
                expect(content.locator(unfinished)).to_have_count(0, timeout=PATIENCE)
            picture = folder / f"backups-{name}.png"
            page.screenshot(path=picture)
            context.close()
            yield picture
