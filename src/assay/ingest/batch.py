"""What goes from the door to the writer: a request as it came, and the rows that were read in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pyarrow as pa

from assay.records import Event, Score, Span
from assay.store.connect import Store
from assay.store.rows import arrow_schema, stamped

SPAN_SCHEMA = arrow_schema(Span)
EVENT_SCHEMA = arrow_schema(Event)
VERDICT_SCHEMA = (
    arrow_schema(Score)
    .append(pa.field("ingested_at", pa.timestamp("us", "UTC")))
    .append(pa.field("version", pa.uint64()))
)
"""Scores that bring the time of their verdict."""


class Request(NamedTuple):
    """A request as it came, inflated: `content_type` is that of `body`.

    `signal` is traces, logs or metrics of OTLP, or import: lines as `ingest.imported` reads them.
    """

    signal: str
    content_type: str
    body: bytes


Tables = tuple[pa.Table, pa.Table, pa.Table, pa.Table]
"""Spans, events, spans that are kept as they are, verdicts."""


class Batch(NamedTuple):
    """What one request holds, ready to be written, and the request itself.

    `kept` are spans of history, which are stored as they are, and `verdicts` the scores that came with spans.
    """

    request: Request
    spans: pa.Table = SPAN_SCHEMA.empty_table()
    events: pa.Table = EVENT_SCHEMA.empty_table()
    kept: pa.Table = SPAN_SCHEMA.empty_table()
    verdicts: pa.Table = VERDICT_SCHEMA.empty_table()

    @property
    def tables(self) -> Tables:
        """The rows, in the order in which `commit` takes them."""
        return self.spans, self.events, self.kept, self.verdicts

    @property
    def num_rows(self) -> int:
        """Rows of all tables together."""
        return sum(table.num_rows for table in self.tables)


def commit(store: Store, tables: Tables, at: int) -> None:
    """Put the rows of batches into the store, as of this moment (Unix microseconds). Raises StoreUnavailable."""
    spans, events, kept, verdicts = tables
    if events.num_rows:
        store.insert("events", stamped(events, at))
    if verdicts.num_rows:
        store.insert("scores", verdicts)
    if kept.num_rows:
        store.insert("spans", stamped(kept, at, ingested_at=0))
    if spans.num_rows:
        store.insert("spans", stamped(spans, at))


Take = Callable[[Request], tuple[Batch, list[str]]]
"""What a request holds, and why parts of it were refused. Raises MalformedTelemetry where all of it is unusable."""
