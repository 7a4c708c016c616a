"""Let a demo's day pass in a minute: an exporter that moves traces in time and leaves their durations alone.

In: spans as they really happened. Out: the same spans, shifted, to the exporter behind. What really began
t seconds after the start appears to begin at origin + t x scale, until that clock has caught up with the real
one; from then on nothing is shifted.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable, Sequence

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

_SESSION_KEYS = ("session.id", "gen_ai.conversation.id")
_REMEMBERED = 20_000


class TimeLapse(SpanExporter):
    """Shift spans and hand them to `exporter`; times are Unix nanoseconds.

    `origin_ns` is where the simulated clock starts and `scale` how fast it runs (1440: a day in a minute). It
    starts now, or at `begin()`; spans that began earlier stay where they are. All spans of a trace move by
    the offset of the span that was seen first, and so do all traces of a session: the pauses of a
    conversation stay as long as they were. Raises ValueError for a scale of 1 or less, or an origin after the
    start.
    """

    def __init__(self, exporter: SpanExporter, origin_ns: int, scale: float, *, start_ns: int | None = None) -> None:
        if scale <= 1:
            raise ValueError(f"a time lapse needs a scale above 1, not {scale}")
        self._exporter = exporter
        self._origin_ns = origin_ns
        self._scale = scale
        self._offsets: OrderedDict[Hashable, int] = OrderedDict()
        self._lock = threading.Lock()
        self.begin(start_ns)

    def begin(self, start_ns: int | None = None) -> None:
        """Start the simulated clock at its origin, now or at a given real time."""
        start_ns = time.time_ns() if start_ns is None else start_ns
        if start_ns < self._origin_ns:
            raise ValueError(f"the origin {self._origin_ns} lies after the start {start_ns}")
        self._start_ns = start_ns

    @property
    def end_ns(self) -> int:
        """The real time at which the simulated clock meets the real one."""
        return self._start_ns + round((self._start_ns - self._origin_ns) / (self._scale - 1))

    def simulated_ns(self, real_ns: int) -> int:
        """What the simulated clock shows at a real time; the same time before the start and after the end."""
        if not self._start_ns <= real_ns < self.end_ns:
            return real_ns
        return self._origin_ns + round((real_ns - self._start_ns) * self._scale)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Shift the spans and export them."""
        with self._lock:
            offsets = self._offsets_of(spans)
        return self._exporter.export([_shifted(span, offset) for span, offset in zip(spans, offsets, strict=True)])

    def shutdown(self) -> None:
        """Shut the exporter behind down."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the exporter behind."""
        return self._exporter.force_flush(timeout_millis)

    def _offsets_of(self, spans: Sequence[ReadableSpan]) -> list[int]:
        for span in sorted(spans, key=_began):
            trace, session = _trace(span), _session(span)
            offset = self._offsets.get(trace, self._offsets.get(session))
            if offset is None:
                offset = self.simulated_ns(_began(span)) - _began(span)
            for key in (trace, session):
                if key is not None and key not in self._offsets:
                    self._offsets[key] = offset
        offsets = [self._offsets[_trace(span)] for span in spans]
        while len(self._offsets) > _REMEMBERED:
            self._offsets.popitem(last=False)
        return offsets


class _ShiftedSpan(ReadableSpan):
    """A copy at another time. What the SDK dropped is still told by the span it was made from."""

    def __init__(self, span: ReadableSpan, offset_ns: int) -> None:
        super().__init__(
            name=span.name,
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=span.attributes,
            events=[_shifted_event(event, offset_ns) for event in span.events],
            links=span.links,
            kind=span.kind,
            status=span.status,
            start_time=None if span.start_time is None else span.start_time + offset_ns,
            end_time=None if span.end_time is None else span.end_time + offset_ns,
            instrumentation_scope=span.instrumentation_scope,
        )
        self._original = span

    @property
    def dropped_attributes(self) -> int:
        return self._original.dropped_attributes

    @property
    def dropped_events(self) -> int:
        return self._original.dropped_events

    @property
    def dropped_links(self) -> int:
        return self._original.dropped_links


def _shifted(span: ReadableSpan, offset_ns: int) -> ReadableSpan:
    return _ShiftedSpan(span, offset_ns) if offset_ns else span


def _shifted_event(event: Event, offset_ns: int) -> Event:
    return Event(event.name, event.attributes, event.timestamp + offset_ns)


def _began(span: ReadableSpan) -> int:
    return span.start_time or 0


def _trace(span: ReadableSpan) -> Hashable:
    return span.context.trace_id if span.context else None


def _session(span: ReadableSpan) -> str | None:
    attributes = span.attributes or {}
    return next((str(attributes[key]) for key in _SESSION_KEYS if key in attributes), None)
