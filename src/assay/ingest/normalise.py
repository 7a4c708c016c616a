"""From a span as sent to a span as stored: dialect read, times and errors settled, call priced."""

from __future__ import annotations

import logging
import time
from collections.abc import Set
from functools import lru_cache
from typing import Any

from assay.errors import MalformedTelemetry
from assay.ingest import dialects
from assay.ingest.dialects.events import EXCEPTIONS
from assay.ingest.dialects.fields import as_text, text
from assay.ingest.dialects.models import (
    finish_reason_named,
    known_response_id,
    provider_named,
    provider_of_model,
    split_model,
)
from assay.ingest.figures import figures
from assay.ingest.otlp import RawSpan
from assay.ingest.pricing import Prices
from assay.records import CALL_KINDS, SDK_SCOPES, Span

log = logging.getLogger(__name__)

REPORTED_COST = "assay.reported_cost_usd"
"""The attribute that keeps what the sender says the call cost."""

RELEASE = "service.version"
"""The resource's attribute, kept with the call's own, that tells which release of the application called."""

EARLIEST_NS = 946_684_800 * 10**9
"""2000-01-01: a span that claims to be older has a broken clock."""


def normalise(raw: RawSpan, prices: Prices, max_future_seconds: float = 86_400.0) -> Span:
    """The span to store. Raises MalformedTelemetry where its times are absurd."""
    require_sane_start(raw.start_ns, max_future_seconds)
    columns, consumed = _read(raw)
    attributes = _release(raw) | _remaining(raw.attributes, consumed)
    columns.setdefault("started_at", raw.start_ns // 1000)
    latency_ms = columns.setdefault("latency_ms", max(raw.end_ns - raw.start_ns, 0) / 1e6)
    columns.update(_error(raw, columns), **_origin(raw, columns), **_model(columns))
    columns["time_to_first_token_ms"] = _possible_wait(columns.get("time_to_first_token_ms"), latency_ms)
    if key := _key_across_traces(raw, columns):
        columns.setdefault("call_key", key)
    columns["counted"] = columns["kind"] in CALL_KINDS
    reported = columns.pop("reported_cost_usd", None)
    if reported and columns["status"] == "ok":
        attributes[REPORTED_COST] = f"{reported:.12g}"
    return figures(
        Span(
            trace_id=raw.trace_id,
            span_id=raw.span_id,
            parent_span_id=raw.parent_span_id,
            name=raw.name,
            attributes=attributes,
            scope_name=raw.scope_name,
            scope_version=raw.scope_version,
            **columns,
        ),
        prices,
    )


def _read(raw: RawSpan) -> tuple[dict[str, Any], Set[str]]:
    try:
        return dialects.read(raw)
    except Exception as error:
        # A span that nobody has seen the like of is stored with all its attributes rather than lost.
        log.warning(
            "span %s of %r is stored as it is, its attributes cannot be read (%s)",
            raw.span_id,
            raw.scope_name,
            type(error).__name__,
        )
        return {"kind": "span"}, frozenset()


def require_sane_start(start_ns: int, max_future_seconds: float) -> None:
    """Raises MalformedTelemetry where a span claims to start (Unix nanoseconds) when none of ours can."""
    latest = time.time_ns() + int(max_future_seconds * 1e9)
    if not EARLIEST_NS <= start_ns <= latest:
        seconds = start_ns / 1e9
        raise MalformedTelemetry(
            f"start_time_unix_nano {start_ns} is {_when(seconds)}: a span must start after 2000-01-01 and no "
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


def _release(raw: RawSpan) -> dict[str, str]:
    release = text(raw.resource, RELEASE)
    return {RELEASE: release} if release else {}


def _model(columns: dict[str, Any]) -> dict[str, str]:
    """Provider and models as the conventions spell them, and what is known by them."""
    get = columns.get
    provider, request_model, response_model = _named(
        get("provider", ""), get("request_model", ""), get("response_model", "")
    )
    return {
        "provider": provider,
        "response_id": known_response_id(get("response_id", ""), provider),
        "request_model": request_model,
        "response_model": response_model,
        "finish_reason": finish_reason_named(get("finish_reason", "")),
    }


@lru_cache(maxsize=4096)
def _named(provider: str, request_model: str, response_model: str) -> tuple[str, str, str]:
    """A provider that nobody named goes by the model's name."""
    prefixes, models = zip(split_model(request_model), split_model(response_model), strict=True)
    inferred = next(filter(None, map(provider_of_model, (models[1], models[0]))), "")
    return provider_named(provider) or prefixes[0] or prefixes[1] or inferred, *models


def _key_across_traces(raw: RawSpan, columns: dict[str, Any]) -> str:
    """What a call and its echo from the provider's own SDK, in a trace of its own, have in common; "" for none.

    That is so of calls to Anthropic whose id the other does not know: failed ones, and streams under a framework.
    Both start within milliseconds, so nearly always in one second or minute.
    """
    if columns["provider"] != "anthropic" or columns["kind"] not in CALL_KINDS:
        return ""
    model, start = columns["request_model"], columns["started_at"] // 10**6
    by_sdk = raw.scope_name.startswith(SDK_SCOPES) and columns.get("stream") and not raw.parent_span_id
    if columns["response_id"] and not by_sdk:
        return ""
    if columns["status"] == "error":
        return "" if columns["response_id"] else f"failed:{model}:{start}"
    used = (columns.get("input_tokens"), columns.get("output_tokens"))
    return "" if None in used else f"used:{model}:{used[0]}:{used[1]}:{start // 60}"


def _error(raw: RawSpan, columns: dict[str, Any]) -> dict[str, str]:
    """Status, class and message. Of a dotted class name the last part is kept."""
    exception = next((event.attributes for event in raw.events if event.name in EXCEPTIONS), {})
    error_type = text(raw.attributes, "error.type") or columns.pop("error_type", "")
    message = columns.pop("error_message", "")
    if not (raw.failed or error_type or text(raw.attributes, "langfuse.observation.level") == "ERROR"):
        return {"status": "ok"}
    return {
        "status": "error",
        "error_type": (error_type or text(exception, "exception.type")).rpartition(".")[2],
        "error_message": raw.status_message
        or text(exception, "exception.message")
        or message
        or text(raw.attributes, "langfuse.observation.status_message"),
    }


def _possible_wait(time_to_first_token_ms: float | None, latency_ms: float) -> float | None:
    waited = time_to_first_token_ms
    return waited if waited is not None and 0 < waited <= latency_ms else None


_ORIGIN = frozenset({"session.id", "user.id"})


def _remaining(attributes: dict[str, Any], read: Set[str]) -> dict[str, str]:
    return {
        key: as_text(value)
        for key, value in attributes.items()
        if value is not None and key not in read and key not in _ORIGIN and not key.endswith(".embedding.vector")
    }
