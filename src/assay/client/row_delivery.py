"""Rows that follow in the background: predictions of classical models, and their labels.

In: items from the application's threads, at the price of appending to a list. Out: request bodies to the server, made
and sent by one thread; while the server is away they wait in the spool, also for a later process. Memory is bounded.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from multiprocessing import util
from typing import Any, Literal

import httpx
from opentelemetry import context

from assay.client import setup
from assay.client.spool import Spool

WAITING_BYTES = 64 * 2**20
GATHERING_SECONDS = 0.5
EXIT_SECONDS = 2.0
JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"

_LONGEST_PAUSE_SECONDS = 30.0
_LOOK_AGAIN_SECONDS = 60.0
_WAITS_STATUS = frozenset({401, 403, 408, 429, 500, 502, 503, 504})

Body = tuple[bytes, int]
"""A request's body (an Arrow stream, or JSON, which begins with a brace), and how many rows it has."""

Outcome = Literal["stored", "refused", "away"]

log = logging.getLogger("assay")


class RowSender:
    """Sends what `put` was given to `path`, as the bodies that `encode` makes of it. Never raises.

    `refused_rows` are those that the server does not take, `dropped_rows` those for which there was no room.
    """

    def __init__(self, path: str, what: str, encode: Callable[[Sequence[Any]], Iterable[Body]]) -> None:
        self.refused_rows = 0
        self.dropped_rows = 0
        self._path = path
        self._what = what
        self._encode = encode
        self._warned: set[str] = set()
        self._spool: Spool | None = None
        self._reset()
        weak = weakref.WeakMethod(self._after_fork)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=lambda: (method := weak()) and method())
        util.register_after_fork(self, RowSender._flush_at_exit)
        atexit.register(self._end)

    def put(self, item: Any, rows: int, size: int, *, wait: bool = False) -> bool:
        """Have it sent; False if it was dropped. `wait` for room, a minute at most, instead of dropping it."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._size < WAITING_BYTES, 60)
            if self._size and self._size + size > WAITING_BYTES:
                self.dropped_rows += rows
                self.warn_once("full", f"{self._what} come faster than they are taken: some are dropped")
                return False
            self._items.append(item)
            self._sizes.append(size)
            self._size += size
            self._start()
            return True

    def flush(self, timeout_seconds: float) -> bool:
        """Send all of it now; False if it could not be sent, or not in time."""
        with self._changed:
            if self._thread is None:
                return True
            wanted = self._wanted = self._wanted + 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._flushed >= wanted, timeout_seconds)
            return self._flushed >= wanted and not self._away

    def warn_once(self, topic: str, text: str) -> None:
        """Say it if nothing of that topic was said before."""
        if topic not in self._warned:
            self._warned.add(topic)
            log.warning("assay: %s", text)

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._items = deque[Any]()
        self._sizes = deque[int]()
        self._size = 0
        self._wanted = self._flushed = 0
        self._thread: threading.Thread | None = None
        self._client: httpx.Client | None = None
        self._on_its_way: Body | None = None
        self._away = False
        self._failures = 0
        self._next_look = 0.0

    def _after_fork(self) -> None:
        """The parent's thread, connection and items stay the parent's."""
        self._reset()
        if self._spool:
            self._spool.forget_memory()

    def _flush_at_exit(self) -> None:
        """A child that multiprocessing forked runs no atexit functions."""
        util.Finalize(None, self._end, exitpriority=100)

    def _end(self) -> None:
        """Send the rest; where that takes too long it goes to the spool, and what arrives twice is stored once."""
        if self._thread is not None and not self.flush(EXIT_SECONDS):
            with self._changed:
                items = list(self._items)
            hanging = [self._on_its_way] if self._on_its_way else []
            for body, rows in [*hanging, *self._encode(items)]:
                self._waiting().put(body, rows)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"assay-{self._what}", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        # Else an instrumented httpx would report our own requests.
        context.attach(context.set_value(context._SUPPRESS_INSTRUMENTATION_KEY, True))  # pyright: ignore[reportPrivateUsage]
        while True:
            try:
                self._send_what_came()
            except Exception:
                log.exception("assay: sending %s failed; the program goes on", self._what)
                time.sleep(1)

    def _send_what_came(self) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._wanted > self._flushed or self._size > WAITING_BYTES // 8, GATHERING_SECONDS
            )
            wanted = self._wanted
            items, sizes = list(self._items), sum(self._sizes)
            self._items.clear()
            self._sizes.clear()
        asked = wanted > self._flushed
        try:
            if asked or time.monotonic() >= self._next_look:
                self._drain()
            if items:
                self._deliver(items)
        finally:
            with self._changed:
                self._size -= sizes
                self._flushed = wanted
                self._changed.notify_all()

    def _deliver(self, items: Sequence[Any]) -> None:
        for body, rows in self._encode(items):
            self._on_its_way = (body, rows)
            if self._away or self._post(body, rows) == "away":
                self._waiting().put(body, rows)
            self._on_its_way = None

    def _drain(self) -> None:
        """Send what waits in the spool, oldest first, until something cannot be sent."""
        self._next_look = time.monotonic() + _LOOK_AGAIN_SECONDS
        self._away = False
        spool = self._waiting()
        with spool.claimed() as ours:
            for batch in spool.batches() if ours else ():
                if self._post(batch.body, batch.spans) == "away":
                    return
                spool.remove(batch)

    def _waiting(self) -> Spool:
        if self._spool is None:
            self._spool = setup.spool_for(self._what)
        return self._spool

    def _post(self, body: bytes, rows: int) -> Outcome:
        where = setup.server()
        headers = {"content-type": JSON if body[:1] == b"{" else ARROW, **where.headers}
        try:
            response = self._connected().post(f"{where.url}{self._path}", content=body, headers=headers)
        except httpx.HTTPError as error:
            return self._is_away(f"{error or type(error).__name__}", 0.0)
        except Exception as error:
            return self._are_refused(rows, str(error))
        if response.status_code in _WAITS_STATUS:
            wait = response.headers.get("retry-after", "")
            return self._is_away(
                f"HTTP {response.status_code} {response.text[:300]}", float(wait) if wait.isdecimal() else 0.0
            )
        if not response.is_success:
            return self._are_refused(rows, _reason(response))
        self._failures = 0
        if refused := response.json().get("refused_rows", 0):
            self._are_refused(refused, _first(response.json()))
        return "stored"

    def _is_away(self, problem: str, retry_after_seconds: float) -> Outcome:
        pause = min(2.0**self._failures, _LONGEST_PAUSE_SECONDS)
        self._next_look = time.monotonic() + max(pause, retry_after_seconds)
        self._failures += 1
        self._away = True
        directory = self._waiting().directory
        where = f"in {directory}, also for the next start" if directory else "in memory"
        self.warn_once(
            "away",
            f"{setup.server().url} does not take {self._what} ({problem}). They wait {where}, and follow when it does: "
            "start it with `assay serve`, or check URL and key.",
        )
        return "away"

    def _are_refused(self, rows: int, problem: str) -> Outcome:
        self.refused_rows += rows
        self.warn_once("refused", f"{setup.server().url} refuses {self._what}: {problem}")
        return "refused"

    def _connected(self) -> httpx.Client:
        if self._client is None:
            self._client = httpx.Client(timeout=10.0)
        return self._client


_senders: list[RowSender] = []


def row_sender(path: str, what: str, encode: Callable[[Sequence[Any]], Iterable[Body]]) -> RowSender:
    """A sender that `assay.flush` knows of."""
    _senders.append(RowSender(path, what, encode))
    return _senders[-1]


def flush_rows(timeout_seconds: float) -> bool:
    """Send what waits in every sender; False if that could not be, or not in time."""
    deadline = time.monotonic() + timeout_seconds
    sent = [sender.flush(max(deadline - time.monotonic(), 0.0)) for sender in _senders]
    return all(sent)


def _reason(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code} {response.text[:300]}"


def _first(answer: dict[str, Any]) -> str:
    first = (answer.get("refused") or [{}])[0]
    return f"row {first.get('row')}: {first.get('field')}: {first.get('reason')}"
