"""Group commit: what comes in together is inserted together, and every sender learns when its rows are on disk."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

import pyarrow as pa

from assay.errors import StoreUnavailable

GROUP_ROWS = 100_000
MAX_WAITING_ROWS = 1_000_000

Insert = Callable[[pa.Table, int], object]
"""Puts rows into the store as of a moment (Unix microseconds); back when they are on disk. Raises StoreUnavailable."""


class _Arrival(NamedTuple):
    rows: pa.Table
    done: Future[None]


class Committer:
    """Rows of one table in, from any thread; one insert for all that wait. `close` finishes what was submitted."""

    def __init__(self, insert: Insert, name: str) -> None:
        self._insert = insert
        self._changed = threading.Condition()
        self._arrivals = deque[_Arrival]()
        self._waiting_rows = 0
        self._at = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"assay-{name}", daemon=True)
        self._thread.start()

    @property
    def waiting_rows(self) -> int:
        """Rows that are not stored yet."""
        return self._waiting_rows

    def submit(self, rows: pa.Table) -> Future[None]:
        """A future that is done when the rows are on disk; it, or this, may fail with StoreUnavailable."""
        done: Future[None] = Future()
        if not rows.num_rows:
            done.set_result(None)
            return done
        with self._changed:
            if self._closing:
                raise StoreUnavailable("assay is stopping")
            if self._waiting_rows > MAX_WAITING_ROWS:
                raise StoreUnavailable(f"{self._waiting_rows} rows wait to be stored: send this again later")
            self._arrivals.append(_Arrival(rows, done))
            self._waiting_rows += rows.num_rows
            self._changed.notify_all()
        return done

    def close(self) -> None:
        """Store what waits, then stop; later submissions are refused."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while group := self._next_group():
            self._commit(group)
            with self._changed:
                self._waiting_rows -= sum(arrival.rows.num_rows for arrival in group)

    def _next_group(self) -> list[_Arrival]:
        with self._changed:
            self._changed.wait_for(lambda: self._arrivals or self._closing)
            group, rows = list[_Arrival](), 0
            while self._arrivals and rows < GROUP_ROWS:
                group.append(self._arrivals.popleft())
                rows += group[-1].rows.num_rows
            return group

    def _commit(self, group: Sequence[_Arrival]) -> None:
        self._at = max(time.time_ns() // 1000, self._at + 1)
        try:
            self._insert(pa.concat_tables([arrival.rows for arrival in group]).combine_chunks(), self._at)
        except Exception as error:
            if len(group) > 1:
                # One that the store does not take must not cost the others their answer.
                for arrival in group:
                    self._commit([arrival])
                return
            refusal = error if isinstance(error, StoreUnavailable) else StoreUnavailable(f"cannot write: {error}")
            group[0].done.set_exception(refusal)
        else:
            for arrival in group:
                arrival.done.set_result(None)
