"""Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

PROGRAM = "/usr/bin/chromium"
QUIET = (
    "--headless=new",
    "--no-sandbox",  # a container's root has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextlib.contextmanager
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """Start the browser without a window; it asks no host but those that it is sent to."""
    browser = playwright.chromium.launch(executable_path=PROGRAM, args=QUIET)
    try:
        yield browser
    finally:
        browser.close()
