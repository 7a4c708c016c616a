"""How quick each page is over a big store, in real Chromium, and whether viewers slow the spans that come in.

Of each page: the time until its first figures stand there and until all of it does, until one interaction is drawn, and
its questions to the API: how many they are, and how long one of them is under way. Then ten viewers look at pages that
are drawn anew every five seconds, while 1,000 spans a second are sent: the time until an acknowledgement, without and
with them. Those viewers speak the page's own protocol but draw nothing: the machines of real ones do that. The spans
stay in the store; `--seconds 0` sends none.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from unittest.mock import patch

import httpx
from playwright.sync_api import BrowserContext, Page
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from assay.store.connect import open_store
from browsing import DRAWN, QUIET, Place, chromium, context_of
from browsing import places as pages_of
from measuring import chat_batch, server, show
from seed import seed

KINDS = ("Metric", "DataFrame", "VegaLiteChart", "IFrame", "Code", "Alert", "CaptionContainer", "Expander")
_ANY = f"[data-testid=stMain] :is({', '.join(f'[data-testid=st{kind}]' for kind in KINDS)})"
FIGURES = f"[...document.querySelectorAll('{_ANY}')].some(one => one.checkVisibility())"
"""What a reader can begin to read: a figure, a table, a chart, a report, or the words that there is nothing."""

WATCH = f"""() => {{
    window.__drawn = 0;
    const counted = () => {{ if ({QUIET}) window.__drawn += 1; }};
    new MutationObserver(counted).observe(document.querySelector('[data-testid=stApp]'), {{attributes: true}});
}}"""

SPANS_PER_S, BATCH, TEXT_BYTES = 1000, 50, 2000
REDRAWN_SECONDS = 5.0

Asked = tuple[float, float]
"""When a question was asked, and when it was answered, in seconds of one clock."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--text-bytes", type=int, default=2000)
    parser.add_argument("--range", default="24h", help="the time range of the pages: 24h, 7d, 30d, all")
    parser.add_argument("--then", default="7d", help="the range that the interaction chooses")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--viewers", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=30, help="how long spans are sent; 0 leaves that out")
    parser.add_argument("--only", default="", help="only pages whose title has this in it")
    parser.add_argument("--directory", type=Path, help="keep the store here, and use it if it is there already")
    options = parser.parse_args()
    load = os.getloadavg()
    logging.disable(logging.WARNING)  # Streamlit's, of a page that is drawn without a browser
    with ExitStack() as stack:
        directory: Path = options.directory or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if not (directory / "data").exists():
            store = open_store(str(directory / "data"))
            seed(store, options.calls, options.days, options.text_bytes)
            store.close()
        url, _ = stack.enter_context(server(directory, ASSAY_QUALITY__SCORERS="off"))
        with chromium() as browser:
            context = context_of(browser)
            places = [one for one in pages_of(context, url) if options.only.lower() in one.title.lower()]
            rows = list[dict[str, Any]]()
            for place in places:
                print(place.title, file=sys.stderr, flush=True)
                rows.append(_page_row(context, url, place, options))
        show("dashboard", rows, range=options.range, load_before=load, load_after=os.getloadavg())
        if options.seconds:
            waits, drawn = _acknowledged(url, places, options)
            show("acknowledgements", waits, pages_drawn=len(drawn), page_drawn_s=median(drawn) if drawn else None)


def _page_row(context: BrowserContext, url: str, place: Place, options: argparse.Namespace) -> dict[str, Any]:
    """One page: the medians of some visits, each in a tab of its own; the browser has Streamlit's own files already."""
    visits = [_visit(context, url, place, options) for _ in range(options.repeat)]
    asked = [_questions(url, place, options.range) for _ in range(options.repeat + 1)][1:]
    return {
        "page": place.title,
        "first figures s": median(visit[0] for visit in visits),
        "all of it s": median(visit[1] for visit in visits),
        "interaction": visits[0][2],
        "drawn after s": median(visit[3] for visit in visits),
        "questions": len(asked[0]),
        "answered within ms": median(map(_waited, asked)),
        "slowest": max(asked[-1], key=lambda name: _took(asked[-1][name]), default="-"),
        "slowest ms": median(max(map(_took, one.values()), default=0.0) for one in asked),
    }


def _visit(
    context: BrowserContext, url: str, place: Place, options: argparse.Namespace
) -> tuple[float, float, str, float]:
    """Seconds until the first figures and until all, what was done then, and seconds until that was drawn."""
    page = context.new_page()
    try:
        began = time.perf_counter()
        page.goto(f"{url}/{place.url}?refresh=off&range={options.range}", wait_until="commit")
        page.wait_for_function(f"({FIGURES}) || ({DRAWN})")
        first = time.perf_counter() - began
        page.wait_for_function(DRAWN)
        whole = time.perf_counter() - began
        page.evaluate(WATCH)
        began = time.perf_counter()
        done = _interaction(page, options.then)
        page.wait_for_function(f"window.__drawn > 0 && {DRAWN}")
        return first, whole, done, time.perf_counter() - began
    finally:
        page.close()


def _interaction(page: Page, then: str) -> str:
    """Choose another time range; or run the query, or come to the page again by the navigation."""
    if (choice := page.get_by_role("radio", name=then, exact=True)).count():
        choice.click()
        return f"range {then}"
    if (run := page.get_by_role("button", name="Run", exact=False)).count():
        run.first.click()
        return "run a query"
    page.locator("[data-testid=stTopNavLink][aria-current=page], [data-testid=stTopNavLink]").last.click()
    return "navigate"


def _questions(url: str, place: Place, span: str) -> dict[str, Asked]:
    """The questions that drawing the page asks of the API, by path and a number if asked again."""
    test = AppTest.from_file(str(files("assay.dashboard") / "app.py"), default_timeout=120)
    test.secrets["assay_url"], test.secrets["assay_key"] = url, ""
    test.query_params.update({"range": span, "refresh": "off"})
    test._page_hash = calc_hash(place.url)
    with _timed_questions() as times:
        test.run()
    return {name: asked for name, asked in times.items() if not name.startswith("/api/names")}


def _took(asked: Asked) -> float:
    return (asked[1] - asked[0]) * 1000


def _waited(asked: dict[str, Asked]) -> float:
    """Milliseconds in which a question was under way: several are asked side by side."""
    waited = until = 0.0
    for began, ended in sorted(asked.values()):
        waited += max(ended - max(began, until), 0.0)
        until = max(until, ended)
    return waited * 1000


@contextmanager
def _timed_questions() -> Generator[dict[str, Asked]]:
    times, send = dict[str, Asked](), httpx.Client.send

    def timed(client: httpx.Client, request: httpx.Request, **more: Any) -> httpx.Response:
        began = time.perf_counter()
        answer = send(client, request, **more)
        name = request.url.path
        times[name if name not in times else f"{name} {len(times)}"] = began, time.perf_counter()
        return answer

    with patch.object(httpx.Client, "send", timed):
        yield times


def _acknowledged(
    url: str, places: list[Place], options: argparse.Namespace
) -> tuple[list[dict[str, Any]], list[float]]:
    """Milliseconds until spans are acknowledged, first without viewers and then with them; and how pages were drawn."""
    alone = _sent(url, options.seconds)
    ended, drawn = threading.Event(), list[float]()
    viewers = [
        threading.Thread(target=_look, args=(url, place, options.range, ended, drawn))
        for place in itertools.islice(itertools.cycle(places), options.viewers)
    ]
    for viewer in viewers:
        viewer.start()
    time.sleep(REDRAWN_SECONDS)
    watched = _sent(url, options.seconds)
    ended.set()
    for viewer in viewers:
        viewer.join()
    rows = [
        {"viewers": many, "p50 ms": waits[49], "p99 ms": waits[98], "longest ms": longest}
        for many, (waits, longest) in ((0, alone), (options.viewers, watched))
    ]
    return rows, drawn


def _sent(url: str, seconds: int) -> tuple[list[float], float]:
    """Percentiles 1 to 99, and the longest, of the waits at 1,000 spans a second."""
    rng, waits, due = random.Random(time.time_ns()), list[float](), time.perf_counter()
    bodies = [chat_batch(BATCH, TEXT_BYTES, rng) for _ in range(SPANS_PER_S * seconds // BATCH)]
    with httpx.Client(timeout=60, headers={"Content-Type": "application/x-protobuf"}) as client:
        due = time.perf_counter()
        for body in bodies:
            time.sleep(max(due - time.perf_counter(), 0.0))
            due += BATCH / SPANS_PER_S
            began = time.perf_counter()
            client.post(f"{url}/v1/traces", content=body).raise_for_status()
            waits.append((time.perf_counter() - began) * 1000)
    return quantiles(waits, n=100), max(waits)


def _look(url: str, place: Place, span: str, ended: threading.Event, drawn: list[float]) -> None:
    """A viewer: has the page drawn anew every few seconds, and takes all that is sent."""
    message = BackMsg()
    message.rerun_script.query_string = f"range={span}&refresh=off"
    message.rerun_script.page_script_hash = calc_hash(place.url)
    address = f"{url.replace('http', 'ws', 1)}/_stcore/stream"
    with connect(address, subprotocols=[Subprotocol("streamlit")], max_size=None) as socket:
        while not ended.is_set():
            began = time.perf_counter()
            socket.send(message.SerializeToString())
            _until_finished(socket)
            drawn.append(time.perf_counter() - began)
            ended.wait(max(REDRAWN_SECONDS - (time.perf_counter() - began), 0.0))


def _until_finished(socket: ClientConnection) -> None:
    while True:
        told = ForwardMsg.FromString(bytes(socket.recv(timeout=120)))
        if told.WhichOneof("type") == "script_finished":
            return


if __name__ == "__main__":
    main()
