"""Debian's Chromium by Playwright: found or said to be missing, never downloaded."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = "no Chromium is installed here: apt-get install chromium"


@contextmanager
def browser() -> Iterator[Any]:
    """Run the browser without a window."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only where a browser is

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield running
        finally:
            running.close()


def sign_in(page: Any, url: str, token: str) -> None:
    """Sign in as a person does."""
    page.goto(f"{url}/sign-in")
    page.fill("#token", token)
    page.click("main form button")
    page.wait_for_url(f"{url}/")
