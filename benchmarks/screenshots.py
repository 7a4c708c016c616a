"""Pictures of every page, light, dark and narrow, to be looked at by a person: PNG files in a folder.

Of a running server (`--url`), or else of a demo that is started for it and driven by the simulated provider.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, NamedTuple

from playwright.sync_api import BrowserContext

from assay.client.monitor import connect
from assay.errors import AssayError
from browsing import DRAWN, Place, chromium, context_of, places

ENOUGH_CALLS, SEEDING_SECONDS = 900, 240
SETTLED_SECONDS = 1.5
"""Charts and tables move into their places after they are there."""
LONGEST = 6000


class Look(NamedTuple):
    """How the pages are looked at."""

    name: str
    width: int
    scheme: Literal["light", "dark"]


LOOKS = (Look("light", 1280, "light"), Look("dark", 1280, "dark"), Look("narrow", 390, "light"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="the folder; it is made if it is not there")
    parser.add_argument("--url", help="a running server; left out, a demo is started and takes two minutes")
    parser.add_argument("--range", default="24h")
    parser.add_argument("--only", default="", help="only pages whose title has this in it")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    failed = 0
    with nullcontext(options.url) if options.url else _demo() as url, chromium() as browser:
        # Of a wide window: in a narrow one the navigation is folded away.
        pages = [one for one in [*places(context_of(browser), url), *_calls(url)] if options.only in one.title.lower()]
        for look in LOOKS:
            context = context_of(browser, look.width, color_scheme=look.scheme)
            for place in pages:
                failed += _picture(context, url, place, options.range, options.output / _file(place, look))
            context.close()
    sys.exit(f"{failed} pages showed an error" if failed else 0)


def _file(place: Place, look: Look) -> str:
    return f"{place.title.lower().replace(' ', '-')}-{look.name}.png"


def _calls(url: str) -> list[Place]:
    """The newest call that was answered, in full."""
    with connect(url) as monitor:
        calls = monitor.calls(limit=1, kind="llm", status="ok")["calls"]
    return [Place("One call", f"conversations?call={call['span_id']}") for call in calls]


def _picture(context: BrowserContext, url: str, place: Place, span: str, to: Path) -> bool:
    """Write the page in its full height; answers whether an error stands on it."""
    page = context.new_page()
    try:
        page.goto(f"{url}/{place.url}{'&' if '?' in place.url else '?'}refresh=off&range={span}")
        page.wait_for_function(DRAWN)
        time.sleep(SETTLED_SECONDS)
        height: int = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
        width = page.evaluate("innerWidth")
        page.set_viewport_size({"width": width, "height": min(height + 20, LONGEST)})
        time.sleep(SETTLED_SECONDS)
        page.screenshot(path=to)
        wide: int = page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth - innerWidth")
        broken = page.get_by_test_id("stException").count() > 0
        told = ["an error stands on it"] * broken + [f"{wide} px wider than the window"] * (wide > 0)
        print(f"{to}  {height} px high  {', '.join(told)}".rstrip(), flush=True)
        return broken
    finally:
        page.close()


@contextmanager
def _demo() -> Generator[str]:
    """The address of a demo with a day of calls behind it."""
    with tempfile.TemporaryDirectory() as directory, socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        listener.close()
        settings: dict[str, Any] = {"ASSAY_PORT": str(port), "ASSAY_STORE": f"{directory}/data"}
        command = [sys.executable, "-m", "assay", "demo"]
        demo = subprocess.Popen(command, env={**os.environ, **settings}, cwd=directory, stdout=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + SEEDING_SECONDS
            while _calls_stored(url) < ENOUGH_CALLS and time.monotonic() < deadline:
                time.sleep(2)
            yield url
        finally:
            demo.terminate()
            demo.wait(30)


def _calls_stored(url: str) -> int:
    try:
        with connect(url) as monitor:
            return monitor.usage()["total_calls"]
    except AssayError:
        return 0


if __name__ == "__main__":
    main()
