"""From a request to rows: decoded, read in its dialect, settled within itself and priced."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa

from assay.errors import MalformedTelemetry
from assay.ingest.batch import EVENT_SCHEMA, SPAN_SCHEMA, Batch, Request
from assay.ingest.events import event
from assay.ingest.figures import figures
from assay.ingest.imported import read_lines
from assay.ingest.normalise import normalise, require_sane_start
from assay.ingest.otlp import RawLog, RawSpan, decode, decode_logs, metric_points
from assay.ingest.pricing import Prices
from assay.ingest.settle import settled_batch
from assay.records import Event, Span
from assay.store.rows import arrow_table

NO_METRICS = "tokens and durations are computed from spans, metrics are not kept"

log = logging.getLogger(__name__)


class Reader:
    """Reads requests with these prices; spans that start later than `max_future_seconds` from now are refused."""

    def __init__(self, prices: Prices, max_future_seconds: float) -> None:
        self._prices = prices
        self._max_future_seconds = max_future_seconds

    def take(self, request: Request) -> tuple[Batch, list[str]]:
        """What a request holds, ready to be written, and a reason for each item that was refused.

        Raises MalformedTelemetry where the whole request is unusable.
        """
        match request.signal:
            case "traces":
                decoded = decode(request.body, request.content_type)
                spans = _each(decoded.spans, self._span, decoded.refused)
                return Batch(request, spans=_table(self._settled(spans), SPAN_SCHEMA, decoded.refused)), decoded.refused
            case "logs":
                decoded_logs = decode_logs(request.body, request.content_type)
                events = _each(decoded_logs.logs, _event, decoded_logs.refused)
                return Batch(request, events=_table(events, EVENT_SCHEMA, decoded_logs.refused)), decoded_logs.refused
            case "import":
                found = read_lines(request.body, self._span, self._settled, self._check_start)
                spans, kept = (_table(rows, SPAN_SCHEMA, found.refused) for rows in (found.spans, found.kept))
                return Batch(request, spans=spans, kept=kept, verdicts=found.verdicts), found.refused
            case _:
                names = metric_points(request.body, request.content_type)
                return Batch(request), [f"metric {name[:80]!r}: {NO_METRICS}" for name in names]

    def _span(self, raw: RawSpan) -> Span:
        return normalise(raw, self._prices, self._max_future_seconds)

    def _settled(self, spans: Sequence[Span]) -> list[Span]:
        return settled_batch(spans, lambda span: figures(span, self._prices))

    def _check_start(self, start_ns: int) -> None:
        require_sane_start(start_ns, self._max_future_seconds)


def _each(raws: Iterable[Any], make: Callable[[Any], Any], refused: list[str]) -> list[Any]:
    """What `make` makes of each item; where it raises, the reason is added to `refused`."""
    made = list[Any]()
    for raw in raws:
        try:
            made.append(make(raw))
        except MalformedTelemetry as error:
            refused.append(f"{_shown(raw)}: {error}")
        except Exception as error:
            # A defect of ours in reading one item must cost neither its neighbours nor the answer.
            log.exception("cannot read %s", _shown(raw))
            refused.append(f"{_shown(raw)}: cannot be read: {error!r}")
    return made


def _table(rows: Sequence[Span] | Sequence[Event], schema: pa.Schema, refused: list[str]) -> pa.Table:
    try:
        return arrow_table(rows, schema)
    except (ArithmeticError, pa.ArrowException, TypeError):
        return pa.concat_tables([schema.empty_table(), *_each(rows, lambda row: arrow_table([row], schema), refused)])


def _event(raw: RawLog) -> Event:
    if kept := event(raw):
        return kept
    raise MalformedTelemetry("only GenAI events (gen_ai.*) are kept")


def _shown(item: RawSpan | Span | RawLog | Event) -> str:
    return f"span {item.span_id}" if isinstance(item, RawSpan | Span) else f"log record {item.name[:80]!r}"
