"""What goes from the door to the writer: a request as it came, and the rows that were read in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pyarrow as pa

from assay.records import Event, Span
from assay.store.rows import arrow_schema

SPAN_SCHEMA = arrow_schema(Span)
EVENT_SCHEMA = arrow_schema(Event)


class Request(NamedTuple):
    """An OTLP request as it came, inflated: `signal` is traces, logs or metrics, `content_type` that of `body`."""

    signal: str
    content_type: str
    body: bytes


class Batch(NamedTuple):
    """What one request holds, ready to be written, and the request itself."""

    request: Request
    spans: pa.Table = SPAN_SCHEMA.empty_table()
    events: pa.Table = EVENT_SCHEMA.empty_table()

    @property
    def num_rows(self) -> int:
        """Spans and events together."""
        return self.spans.num_rows + self.events.num_rows


Take = Callable[[Request], tuple[Batch, list[str]]]
"""What a request holds, and why parts of it were refused. Raises MalformedTelemetry where all of it is unusable."""
