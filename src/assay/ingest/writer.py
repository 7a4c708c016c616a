"""Group commit: spans of many requests in, one insert out, an answer to each once its rows are on disk.

While one insert runs, the next group gathers; so the busier the server, the larger the groups. How much
may wait is bounded where requests come in (receiver.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple

import pyarrow as pa

from assay.errors import AssayError, StoreUnavailable
from assay.records import Event, Span
from assay.store.connect import Store
from assay.store.rows import arrow_schema, arrow_table, stamped

SPAN_SCHEMA = arrow_schema(Span)
EVENT_SCHEMA = arrow_schema(Event)
MAX_GROUP_ROWS = 20_000

GATHERING_SECONDS = 0.02
"""Under load the next group gathers this long: an insert costs about 20 ms however few its rows."""


class Request(NamedTuple):
    """An OTLP request as it came, inflated: `signal` is traces or logs, `content_type` that of `body`."""

    signal: str
    content_type: str
    body: bytes


class Batch(NamedTuple):
    """What one request holds, ready to be written, and the request itself."""

    request: Request
    spans: Sequence[Span] = ()
    events: Sequence[Event] = ()


class _Waiting(NamedTuple):
    spans: pa.Table
    events: pa.Table
    done: Future[None]

    @property
    def num_rows(self) -> int:
        return self.spans.num_rows + self.events.num_rows


class Writer:
    """The one way into the `spans` table. `submit` from any thread; `close` finishes what was submitted."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[_Waiting] = []
        self._closing = False
        self._busy = False
        self._changed = threading.Condition()
        self._committed_at = newest_commit(store)
        self._thread = threading.Thread(target=self._run, name="assay-writer", daemon=True)
        self._thread.start()

    @property
    def committed_at(self) -> int:
        """`ingested_at` of the last group on disk (Unix microseconds): all that is older can be read."""
        return self._committed_at

    @property
    def pending_rows(self) -> int:
        """Rows that wait to be written."""
        with self._changed:
            return sum(waiting.num_rows for waiting in self._waiting)

    def submit(self, batch: Batch) -> Future[None]:
        """A future that is done when the batch is on disk; it may fail with StoreUnavailable."""
        done: Future[None] = Future()
        if not (batch.spans or batch.events):
            done.set_result(None)
            return done
        waiting = _Waiting(arrow_table(batch.spans, SPAN_SCHEMA), arrow_table(batch.events, EVENT_SCHEMA), done)
        with self._changed:
            if self._closing:
                raise StoreUnavailable("assay is stopping")
            self._waiting.append(waiting)
            self._changed.notify()
        return done

    def close(self) -> None:
        """Write what waits, then stop. Later submissions are refused."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while group := self._next_group():
            self._commit(group)

    def _next_group(self) -> list[_Waiting]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if self._busy and not self._closing:
                self._changed.wait_for(lambda: self._closing, timeout=GATHERING_SECONDS)
            group, rows = list[_Waiting](), 0
            while self._waiting and (not group or rows + self._waiting[0].num_rows <= MAX_GROUP_ROWS):
                group.append(self._waiting.pop(0))
                rows += group[-1].num_rows
            self._busy = len(group) > 1
            return group

    def _commit(self, group: list[_Waiting]) -> None:
        at = max(time.time_ns() // 1000, self._committed_at + 1)
        try:
            for table in ("events", "spans"):
                rows = pa.concat_tables(getattr(waiting, table) for waiting in group)
                if rows.num_rows:
                    self._store.insert(table, stamped(rows, at))
        except Exception as error:
            refusal = error if isinstance(error, AssayError) else StoreUnavailable(f"cannot write: {error}")
            for waiting in group:
                waiting.done.set_exception(refusal)
        else:
            self._committed_at = at
            for waiting in group:
                waiting.done.set_result(None)


def newest_commit(store: Store) -> int:
    """`ingested_at` of the newest stored span in Unix microseconds, 0 for an empty store."""
    [row] = store.query("SELECT toUnixTimestamp64Micro(max(ingested_at)) AS newest FROM spans")
    return int(row["newest"])
