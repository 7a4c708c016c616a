"""What the programs share that look at the dashboard in a real browser: Chromium, its pages, and when one is drawn."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

from playwright.sync_api import Browser, BrowserContext, sync_playwright

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PATIENCE_MS = 60_000

QUIET = "document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'"
"""JavaScript: whether the server has sent all of the page."""

DRAWN = f"{QUIET} && !document.querySelector('[data-testid=stMain] [data-testid=stSkeleton]')"
"""JavaScript: whether all of that stands there."""


class Place(NamedTuple):
    """A page: its title in the navigation, and the last part of its address ("" for the first)."""

    title: str
    url: str


@contextmanager
def chromium() -> Generator[Browser]:
    """A headless Chromium that asks nobody but the server."""
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


def context_of(browser: Browser, width: int = 1280, height: int = 900, **more: Any) -> BrowserContext:
    """A reader with a window of this size, who waits a minute for anything."""
    context = browser.new_context(viewport={"width": width, "height": height}, timezone_id="UTC", **more)
    context.set_default_timeout(PATIENCE_MS)
    return context


def places(context: BrowserContext, url: str) -> list[Place]:
    """The pages that the navigation shows."""
    page = context.new_page()
    page.goto(f"{url}/?refresh=off")
    links = page.get_by_test_id("stTopNavLink")
    links.first.wait_for()
    found = [(link.inner_text().split("\n")[-1].strip(), link.get_attribute("href") or "") for link in links.all()]
    page.close()
    return [Place(title, href.rpartition("/")[2]) for title, href in found]
