"""Run the server: in the foreground until it is told to stop, or for the length of a `with`."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import uvicorn
from starlette.types import ASGIApp

from assay.config import Config, require_safe_binding
from assay.errors import ConfigError
from assay.ingest.settler import NAME as SETTLED
from assay.quality.judge.judging import live_judge
from assay.quality.live import LiveScoring
from assay.server.app import answering, rewritten, running
from assay.store.connect import open_store
from assay.store.cursors import read_cursor

GRACE_SECONDS = 5
KEEP_ALIVE_SECONDS = 75
"""Longer than clients keep an idle connection (httpx 5 s): who closes first is never met by a request on its way."""

LISTEN_BACKLOG = 2048
_START_SECONDS = 30
_LOOK_SECONDS = 0.2


def serve(config: Config, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM. Calls `ready(url)` once connections are accepted. Raises AssayError."""
    require_safe_binding(config)
    with _bound(config) as listener:
        url = url_of(config.host, listener)
        with running(config, url) as app:
            server = _server(app)

            def stop(*_: object) -> None:
                server.should_exit = True

            # Uvicorn has handlers of its own while it runs, and raises the signal again afterwards: before,
            # between and after, a signal must lead to an orderly end and not into the middle of one.
            for ending in (signal.SIGINT, signal.SIGTERM):
                signal.signal(ending, stop)
            ready(url)
            server.run(sockets=[listener])


def follow(config: Config, ready: Callable[[], None], *, once: bool = False) -> int:
    """Score new calls of the store without serving, until SIGINT or SIGTERM, or `once` until none is left.

    Answers how many calls it scored. Raises AssayError.
    """
    stopped = threading.Event()

    def stop(*_: object) -> None:
        stopped.set()

    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, stop)
    store = open_store(config.store)
    try:

        def settled_at() -> int:
            return read_cursor(store, SETTLED)[0]

        scoring = LiveScoring(store, config.quality, settled_at)
        judge = live_judge(store, config, partial(rewritten, store), settled_at)
        parts = [part for part in (scoring, judge) if part]
        for part in parts:
            part.start()
        ready()
        while not stopped.wait(_LOOK_SECONDS):
            if once and all(part.caught_up for part in parts):
                break
        for part in parts:
            part.stop()
        return scoring.scored_calls
    finally:
        store.close()


@contextmanager
def temporary_server(config: Config) -> Generator[str]:
    """The API over the store on a free loopback port; yields its URL. Raises StoreError."""
    local = config.model_copy(update={"host": "127.0.0.1", "port": 0})
    with _bound(local) as listener:
        url = url_of(local.host, listener)
        with answering(local, url) as app, in_background(app, listener):
            yield url


@contextmanager
def in_background(app: ASGIApp, listener: socket.socket) -> Generator[None]:
    """Serve `app` in a thread while the body runs."""
    server = _server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + _START_SECONDS
    while not server.started and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def url_of(host: str, listener: socket.socket) -> str:
    """The URL of a bound socket, as a program on this machine would write it."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{name}:{listener.getsockname()[1]}"


def _server(app: ASGIApp) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            # The event loop that takes spans would do it: for every page that is drawn, of every viewer.
            ws_per_message_deflate=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )


def _bound(config: Config) -> AbstractContextManager[socket.socket]:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    # Named as TCP, or asyncio would leave Nagle on and every small answer would wait 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
        listener.listen(LISTEN_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {config.host}:{config.port}: {error.strerror or error}. If another assay runs there, "
            f"open http://{config.host}:{config.port}; else choose another port with --port or ASSAY_PORT"
        ) from error
    return listener
