"""From a log record to an event as stored: the GenAI events, which tell texts and verdicts of calls."""

from __future__ import annotations

from hashlib import blake2b

from assay.errors import MalformedTelemetry
from assay.ingest.dialects.fields import to_json
from assay.ingest.normalise import EARLIEST_NS
from assay.ingest.otlp import RawLog
from assay.records import Event

_LATEST_NS = 4_102_444_800 * 10**9  # 2100-01-01


def event(raw: RawLog) -> Event | None:
    """The event to store, None for a record that is no GenAI event. Raises MalformedTelemetry for an absurd time."""
    if not raw.name.startswith("gen_ai."):
        return None
    if not EARLIEST_NS <= raw.time_ns <= _LATEST_NS:
        raise MalformedTelemetry(
            f"time_unix_nano {raw.time_ns} is no time between 2000 and 2100: check that the sender sends nanoseconds"
        )
    body = "" if raw.body is None else to_json(raw.body)
    attributes = to_json(raw.attributes)
    told = (raw.trace_id, raw.span_id, raw.name, str(raw.time_ns), body, attributes)
    return Event(
        trace_id=raw.trace_id,
        span_id=raw.span_id,
        name=raw.name,
        at=raw.time_ns // 1000,
        position=raw.position,
        body=body,
        attributes=attributes,
        digest=blake2b("\0".join(told).encode("utf-8", "replace"), digest_size=12).hexdigest(),
        scope_name=raw.scope_name,
    )
