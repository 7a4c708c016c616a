"""Settle what is new: read spans after a cursor kept in the store, count each call once, write what changed.

Looks again at every trace that gained a span or a log record, and at every trace that shares a call with it,
whenever they came. Rows that change are written anew and are therefore read, and found settled, once more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from assay.errors import traced
from assay.ingest.dialects.events import evaluations
from assay.ingest.settle import settled, told_apart
from assay.records import Event, Score, Span
from assay.store.connect import Store
from assay.store.cursors import read_cursor, write_cursor
from assay.store.scores import insert_scores, move_scores, of_span
from assay.store.traces import (
    Within,
    commit_after,
    events_of,
    span_of_response,
    spans_of,
    starts_of,
    traces_of_keys,
    traces_to_settle,
)

NAME = "settle"
MAX_ROWS = 50_000
TRACES_AT_ONCE = 500
LONGEST_PAUSE_SECONDS = 30.0
BREATHER = 2.0
"""A pause lasts this many times as long as the step before it, so that settling takes a third of a core at most."""

Finish = Callable[[Span], Span]
Write = Callable[[Sequence[Span]], None]

log = logging.getLogger(__name__)


class Settler:
    """Settles new spans in a thread of its own until `stop`.

    `committed_at` tells up to which commit (Unix microseconds) the store may be read as whole, `write` stores
    spans anew, `finish` counts missing tokens and prices. `last_error` is "" while all goes well.
    """

    def __init__(
        self, store: Store, write: Write, finish: Finish, committed_at: Callable[[], int], poll_seconds: float = 0.5
    ) -> None:
        self.last_error = ""
        self._store = store
        self._write = write
        self._finish = finish
        self._committed_at = committed_at
        self._poll_seconds = poll_seconds
        self._settled_at = read_cursor(store, NAME)[0]
        self._began_at = time.time_ns() // 1000
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="assay-settle", daemon=True)

    @property
    def settled_at(self) -> int:
        """Everything up to this commit (Unix microseconds) has been settled."""
        return self._settled_at

    @property
    def lag_seconds(self) -> float:
        """How far the newest commit is ahead of the newest settled one, in seconds of arrival."""
        return max(self._committed_at() - (self._settled_at or self._began_at), 0) / 1e6

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the step in hand, then end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def step(self) -> bool:
        """Settle the next commits; answers whether there were any. Raises StoreError."""
        until = self._committed_at()
        if until <= self._settled_at:
            return False
        reached = commit_after(self._store, self._settled_at, until, MAX_ROWS)
        if starts := starts_of(self._store, self._settled_at, reached):
            traces = traces_to_settle(self._store, self._settled_at, reached, starts)
            for first in range(0, len(traces), TRACES_AT_ONCE):
                chunk = traces[first : first + TRACES_AT_ONCE]
                settle_traces(self._store, chunk, starts, self._write, self._finish)
        self._settled_at = reached
        write_cursor(self._store, NAME, (reached, ""))
        return True

    def _run(self) -> None:
        pause = self._poll_seconds
        while not self._stopping.wait(pause):
            began = time.monotonic()
            try:
                self.step()
                pause = max(self._poll_seconds, BREATHER * (time.monotonic() - began))
                self.last_error = ""
            except Exception as error:
                self.last_error = f"settling: {error}"
                pause = min(max(pause, self._poll_seconds) * 2, LONGEST_PAUSE_SECONDS)
                log.warning("settling tries again in %.1f s: %s", pause, error, exc_info=traced(error))


class _Traces(NamedTuple):
    spans: list[Span]
    events: list[Event]


def settle_traces(store: Store, trace_ids: Iterable[str], starts: Within, write: Write, finish: Finish) -> list[Span]:
    """Settle these traces and those that share calls with them; answers the spans that changed.

    `starts` are the first and last start of the spans that led to them.
    """
    traces = _linked_traces(store, trace_ids, starts)
    return [span for spans in told_apart(traces.spans) for span in _settle(store, spans, traces.events, write, finish)]


def _settle(store: Store, spans: Sequence[Span], events: Sequence[Event], write: Write, finish: Finish) -> list[Span]:
    result = settled(spans, events, finish)
    changed = [new for old, new in zip(spans, result, strict=True) if new != old]
    if changed:
        write(changed)
        move_scores(store, _moved(spans, result))
    insert_scores(store, _verdicts(store, events, result))
    return changed


def _linked_traces(store: Store, trace_ids: Iterable[str], starts: Within) -> _Traces:
    wanted, known, spans = set(trace_ids), set[str](), list[Span]()
    while new := wanted - known:
        found = spans_of(store, new, starts)
        spans += found
        known |= new
        wanted |= set(traces_of_keys(store, found))
    return _Traces(spans, events_of(store, known))


def _moved(before: Sequence[Span], after: Sequence[Span]) -> dict[tuple[str, str], Span]:
    """By project and id of each span that is counted no more: the span that stands for it now."""
    by_id = {span.span_id: span for span in after}
    return {
        (old.project, old.span_id): by_id[new.duplicate_of]
        for old, new in zip(before, after, strict=True)
        if old.counted and new.duplicate_of in by_id
    }


def _verdicts(store: Store, events: Iterable[Event], spans: Iterable[Span]) -> list[Score]:
    """Evaluations that came as events, as scores of the calls they judge; a response id outranks a span id."""
    by_id = {span.span_id: span for span in spans}
    by_response = {span.response_id: span for span in by_id.values() if span.counted and span.response_id}
    scores = list[Score]()
    for told in evaluations(list(events)):
        judged = by_response.get(told.response_id) or span_of_response(store, told.response_id)
        judged = judged or by_id.get(told.span_id)
        judged = by_id.get(judged.duplicate_of, judged) if judged else None
        if judged:
            score = Score(
                target=judged.span_id,
                name=told.name,
                value=told.value,
                label=told.label,
                comment=told.comment,
                source="otel",
                started_at=judged.started_at,
            )
            scores.append(of_span(score, judged))
    return scores
