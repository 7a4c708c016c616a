"""The one way into the store: requests are acknowledged once they are in the journal, and stored in big groups.

In: batches, each with the request that it came from. One thread appends requests to the journal, one fsync for all
that wait; another puts rows into the store, at once when little comes in and in groups under load, since an insert
costs about 20 ms however few its rows. What the store refuses is tried again. While the store is behind but getting
on, acknowledgements wait for it; while it refuses, they go on until the bounds are reached.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

import pyarrow as pa

from assay.errors import AssayError, StoreUnavailable
from assay.ingest.batch import SPAN_SCHEMA, Batch, Request, Tables, Take, commit
from assay.ingest.journal import Journal, Segment
from assay.records import Span
from assay.store.connect import Store
from assay.store.rows import arrow_table

GROUP_ROWS = 10_000
GROUP_BYTES = 32 << 20
GATHERING_SECONDS = 0.5
"""Under load inserts begin this far apart, unless a group is full before."""

SLOW_DOWN_ROWS = 4 * GROUP_ROWS
SLOW_DOWN_BYTES = 3 * GROUP_BYTES
MAX_BACKLOG_ROWS = 200_000
LONGEST_PAUSE_SECONDS = 5.0

log = logging.getLogger(__name__)


class _Arrival(NamedTuple):
    batch: Batch
    done: Future[None]


class _Journaled(NamedTuple):
    tables: Tables
    num_rows: int
    num_bytes: int
    segment: Segment


class Writer:
    """Batches in, rows in the store. `submit` from any thread; `close` finishes what was submitted.

    Call `replay` before the first `submit`. `last_error` is "" while the store takes rows.
    """

    def __init__(self, store: Store, journal: Journal) -> None:
        self.last_error = ""
        self._store = store
        self._journal = journal
        self._committed_at = newest_commit(store)
        self._committing = threading.Lock()
        self._changed = threading.Condition()
        self._arrivals = deque[_Arrival]()
        self._backlog = deque[_Journaled]()
        self._backlog_rows = self._backlog_bytes = 0
        self._taken = self._stored = self._wanted = 0
        self._largest_group = GROUP_ROWS
        self._closing = self._journaling_ended = False
        self._threads = [
            threading.Thread(target=self._run_journal, name="assay-journal", daemon=True),
            threading.Thread(target=self._run_store, name="assay-writer", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def committed_at(self) -> int:
        """`ingested_at` of the last group in the store (Unix microseconds): all that is older can be read."""
        return self._committed_at

    @property
    def pending_rows(self) -> int:
        """Rows that cannot be read yet."""
        with self._changed:
            return self._backlog_rows + sum(arrival.batch.num_rows for arrival in self._arrivals)

    def submit(self, batch: Batch) -> Future[None]:
        """A future that is done when the batch is on disk; it may fail with StoreUnavailable."""
        done: Future[None] = Future()
        if not batch.num_rows:
            done.set_result(None)
            return done
        with self._changed:
            if self._closing:
                raise StoreUnavailable("assay is stopping")
            if self._backlog_rows > MAX_BACKLOG_ROWS:
                raise StoreUnavailable(f"{self._backlog_rows} rows wait to be stored: {self.last_error}")
            self._arrivals.append(_Arrival(batch, done))
            self._changed.notify_all()
        return done

    def replay(self, take: Take) -> None:
        """Store what an earlier process acknowledged and could not store, and wait for it while the store takes rows.

        Requests that `take` cannot read any more are set aside in the journal's directory.
        """
        for segment, requests in self._journal.leftovers():
            log.info("storing %d requests that were acknowledged before: %s", len(requests), segment.path)
            for request in requests:
                with self._changed:
                    self._changed.wait_for(lambda: not self._behind or self.last_error)
                self._replay_one(segment, request, take)
        with self._changed:
            self._changed.wait_for(lambda: not self._backlog or self.last_error)

    def rewrite(self, spans: Sequence[Span]) -> None:
        """Store spans anew in place of their former rows; back when they can be read. Raises StoreUnavailable."""
        self._commit(Batch(_NO_REQUEST, arrow_table(spans, SPAN_SCHEMA)).tables)

    def caught_up(self, timeout_seconds: float = 5.0) -> bool:
        """Wait until all that was acknowledged before can be read; whether that is so."""
        with self._changed:
            wanted = self._wanted = self._taken
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._stored >= wanted or self.last_error, timeout_seconds)
            return self._stored >= wanted

    def close(self) -> None:
        """Store what waits, then stop; what the store refuses stays in the journal. Later submissions are refused."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._journal.close()

    @property
    def _behind(self) -> bool:
        return self._backlog_rows > SLOW_DOWN_ROWS or self._backlog_bytes > SLOW_DOWN_BYTES

    def _run_journal(self) -> None:
        while group := self._next_arrivals():
            try:
                segment = self._journal.append([arrival.batch.request for arrival in group])
            except Exception as error:
                refusal = error if isinstance(error, AssayError) else StoreUnavailable(f"cannot write: {error}")
                for arrival in group:
                    arrival.done.set_exception(refusal)
            else:
                self._await_store([arrival.batch for arrival in group], segment)
                for arrival in group:
                    arrival.done.set_result(None)
        with self._changed:
            self._journaling_ended = True
            self._changed.notify_all()

    def _next_arrivals(self) -> list[_Arrival]:
        with self._changed:
            self._changed.wait_for(
                lambda: self._closing or (self._arrivals and (not self._behind or self.last_error)),
            )
            group, size = list[_Arrival](), 0
            while self._arrivals and size < GROUP_BYTES:
                group.append(self._arrivals.popleft())
                size += len(group[-1].batch.request.body)
            return group

    def _await_store(self, batches: Sequence[Batch], segment: Segment) -> None:
        with self._changed:
            for batch in batches:
                one = _Journaled(batch.tables, batch.num_rows, len(batch.request.body), segment)
                self._backlog.append(one)
                self._backlog_rows += one.num_rows
                self._backlog_bytes += one.num_bytes
            self._taken += len(batches)
            self._changed.notify_all()

    def _replay_one(self, segment: Segment, request: Request, take: Take) -> None:
        try:
            batch, refused = take(request)
        except Exception as error:
            log.exception("cannot read an acknowledged request of %s again", segment.path, exc_info=error)
            self._journal.stored(segment, 1, spoiled=True)
            return
        if refused:
            log.warning("%s: %d parts refused: %s", segment.path, len(refused), refused[0])
        self._await_store([batch], segment)

    def _run_store(self) -> None:
        pause = 0.0
        while group := self._next_group():
            began = time.monotonic()
            try:
                spans, events, kept, verdicts = map(_joined, zip(*(one.tables for one in group), strict=True))
                self._commit((spans, events, kept, verdicts))
            except Exception as error:
                if self._closing:
                    log.warning("%d rows stay in the journal: %s", self._backlog_rows, error)
                    return
                self._refused(group, error)
                pause = min(max(2 * pause, 0.1), LONGEST_PAUSE_SECONDS)
            else:
                self._finished(group)
                pause = GATHERING_SECONDS - (time.monotonic() - began)
            self._wait_for_more(pause)

    def _wait_for_more(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._urgent, max(seconds, 0.0))

    @property
    def _urgent(self) -> bool:
        return not self.last_error and (self._stored < self._wanted or self._backlog_rows >= GROUP_ROWS)

    def _next_group(self) -> list[_Journaled]:
        """The oldest requests that wait; they leave the backlog when they are stored."""
        with self._changed:
            self._changed.wait_for(lambda: self._backlog or self._journaling_ended)
            group, rows, size = list[_Journaled](), 0, 0
            for one in self._backlog:
                rows, size = rows + one.num_rows, size + one.num_bytes
                if group and (rows > self._largest_group or size > GROUP_BYTES):
                    break
                group.append(one)
            return group

    def _finished(self, group: Sequence[_Journaled], *, spoiled: bool = False) -> None:
        for one in group:
            self._journal.stored(one.segment, 1, spoiled=spoiled)
        with self._changed:
            for one in group:
                self._backlog.popleft()
                self._backlog_rows -= one.num_rows
                self._backlog_bytes -= one.num_bytes
            self._stored += len(group)
            self._largest_group = GROUP_ROWS
            self.last_error = ""
            self._changed.notify_all()

    def _refused(self, group: Sequence[_Journaled], error: Exception) -> None:
        """Next time a smaller group, so that one request that is never taken holds up no other."""
        log.warning("%d rows wait in the journal, the store refuses: %s", self._backlog_rows, error)
        if len(group) == 1 and not isinstance(error, AssayError):
            self._finished(group, spoiled=True)
            return
        with self._changed:
            self._largest_group = sum(one.num_rows for one in group) // 2 if len(group) > 1 else GROUP_ROWS
            if len(group) == 1:
                self._backlog.rotate(-1)
            self.last_error = str(error)
            self._changed.notify_all()

    def _commit(self, tables: Tables) -> None:
        with self._committing:
            at = max(time.time_ns() // 1000, self._committed_at + 1)
            commit(self._store, tables, at)
            self._committed_at = at


_NO_REQUEST = Request("", "", b"")


def _joined(tables: Iterable[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables).combine_chunks()


def newest_commit(store: Store) -> int:
    """`ingested_at` of the newest stored span or event in Unix microseconds, 0 for an empty store."""
    [row] = store.query(
        """
        SELECT toUnixTimestamp64Micro(max(newest)) AS newest
        FROM (SELECT max(ingested_at) AS newest FROM spans UNION ALL SELECT max(ingested_at) FROM events)
        """
    )
    return int(row["newest"])
