"""From a span as sent to a span as stored: dialect read, times and errors settled, call priced."""

from __future__ import annotations

import time
from collections.abc import Set
from typing import Any

from assay.errors import MalformedTelemetry
from assay.ingest import dialects
from assay.ingest.dialects.fields import as_text, text
from assay.ingest.otlp import RawSpan
from assay.ingest.pricing import Cost, Prices, Tokens
from assay.records import CALL_KINDS, Span

EARLIEST_NS = 946_684_800 * 10**9
"""2000-01-01: a span that claims to be older has a broken clock."""


def normalise(raw: RawSpan, prices: Prices, max_future_seconds: float = 86_400.0) -> Span:
    """The span to store. Raises MalformedTelemetry where its times are absurd."""
    _require_sane_times(raw, max_future_seconds)
    columns, consumed = dialects.read(raw)
    latency_ms = max(raw.end_ns - raw.start_ns, 0) / 1e6
    columns.update(_error(raw), **_origin(raw, columns))
    columns["time_to_first_token_ms"] = _possible_wait(columns.get("time_to_first_token_ms"), latency_ms)
    columns["counted"] = columns.get("kind") in CALL_KINDS
    if columns["counted"] and (cost := _cost(columns, raw.start_ns / 1e9, prices)):
        columns.update(input_cost_usd=cost.input, output_cost_usd=cost.output, cost_usd=cost.total)
    return Span(
        trace_id=raw.trace_id,
        span_id=raw.span_id,
        parent_span_id=raw.parent_span_id,
        name=raw.name,
        started_at=raw.start_ns // 1000,
        latency_ms=latency_ms,
        attributes=_remaining(raw.attributes, consumed),
        scope_name=raw.scope_name,
        scope_version=raw.scope_version,
        **columns,
    )


def _require_sane_times(raw: RawSpan, max_future_seconds: float) -> None:
    latest = time.time_ns() + int(max_future_seconds * 1e9)
    if not EARLIEST_NS <= raw.start_ns <= latest:
        seconds = raw.start_ns / 1e9
        raise MalformedTelemetry(
            f"start_time_unix_nano {raw.start_ns} is {_when(seconds)}: a span must start after 2000-01-01 and no "
            f"more than {max_future_seconds:.0f} s from now; check the sender's clock and that it sends nanoseconds"
        )


def _when(seconds: float) -> str:
    try:
        return time.strftime("%Y-%m-%d", time.gmtime(seconds))
    except (OverflowError, ValueError):
        return "no date"


def _origin(raw: RawSpan, columns: dict[str, Any]) -> dict[str, str]:
    resource, attributes = raw.resource, raw.attributes
    return {
        "project": text(attributes, "assay.project") or text(resource, "assay.project") or "default",
        "environment": text(resource, "deployment.environment.name", "deployment.environment"),
        "service": text(resource, "service.name"),
        "session_id": columns.get("session_id") or text(attributes, "session.id"),
        "user_id": columns.get("user_id") or text(attributes, "user.id", "enduser.id"),
    }


def _error(raw: RawSpan) -> dict[str, str]:
    exception = next((event.attributes for event in raw.events if event.name == "exception"), {})
    error_type = text(raw.attributes, "error.type")
    if not (raw.failed or error_type):
        return {"status": "ok"}
    return {
        "status": "error",
        "error_type": (error_type or text(exception, "exception.type")).rpartition(".")[2],
        "error_message": raw.status_message or text(exception, "exception.message"),
    }


def _possible_wait(time_to_first_token_ms: float | None, latency_ms: float) -> float | None:
    waited = time_to_first_token_ms
    return waited if waited is not None and 0 < waited <= latency_ms else None


def _cost(columns: dict[str, Any], at: float, prices: Prices) -> Cost | None:
    if columns["input_tokens"] is None and columns["output_tokens"] is None:
        return None
    tokens = Tokens(
        columns["input_tokens"] or 0,
        columns["output_tokens"] or 0,
        columns["cache_read_tokens"] or 0,
        columns["cache_write_tokens"] or 0,
    )
    return prices.cost(columns["provider"], columns["response_model"] or columns["request_model"], at, tokens)


_ORIGIN = frozenset({"session.id", "user.id"})


def _remaining(attributes: dict[str, Any], read: Set[str]) -> dict[str, str]:
    told = read | _ORIGIN
    return {key: as_text(value) for key, value in attributes.items() if value is not None and key not in told}
