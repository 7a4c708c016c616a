"""OTLP bodies to spans and log records: bytes in, decoded items and the reasons for refused ones out.

Follows the OTLP specification 1.9 (opentelemetry-proto, docs/specification.md): protobuf and JSON, one bad
item never costs its neighbours. Knows nothing of what the attributes mean; that is the dialects' business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan

from assay.ingest import otlp_json
from assay.ingest.otlp_text import parse

PROTOBUF = "application/x-protobuf"
JSON = "application/json"

Value = Any
"""An attribute's value in Python: str, bool, int, float, bytes, None, or lists and dicts of these."""


class Event(NamedTuple):
    """A span event: its name, its time in Unix nanoseconds and its attributes."""

    name: str
    time_ns: int
    attributes: dict[str, Value]


class RawSpan(NamedTuple):
    """A span as sent, in Python types, before any dialect has read it. Times are Unix nanoseconds."""

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    start_ns: int
    end_ns: int
    failed: bool
    status_message: str
    attributes: dict[str, Value]
    events: list[Event]
    resource: dict[str, Value]
    scope_name: str
    scope_version: str


class RawLog(NamedTuple):
    """A log record as sent. Ids are "" where it belongs to no span; `position` is its place in the request."""

    trace_id: str
    span_id: str
    name: str
    time_ns: int
    position: int
    body: Value
    attributes: dict[str, Value]
    resource: dict[str, Value]
    scope_name: str
    scope_version: str


class Decoded(NamedTuple):
    """What one body held: the good spans, and a reason for each refused one."""

    spans: list[RawSpan]
    refused: list[str]


class DecodedLogs(NamedTuple):
    """What one body held: the good log records, and a reason for each refused one."""

    logs: list[RawLog]
    refused: list[str]


def decode(body: bytes, content_type: str) -> Decoded:
    """The spans of an ExportTraceServiceRequest. Raises MalformedTelemetry where the whole body is unusable."""
    request, refused = _request(body, content_type, ExportTraceServiceRequest)
    spans = list[RawSpan]()
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            scope_name, scope_version = scope_spans.scope.name, scope_spans.scope.version
            for span in scope_spans.spans:
                if reason := _unusable(span):
                    refused.append(f"span {span.span_id.hex()[:80] or repr(span.name[:80])}: {reason}")
                else:
                    spans.append(_span(span, resource, scope_name, scope_version))
    return Decoded(spans, refused)


def decode_logs(body: bytes, content_type: str) -> DecodedLogs:
    """The records of an ExportLogsServiceRequest. Raises MalformedTelemetry where the whole body is unusable."""
    request, refused = _request(body, content_type, ExportLogsServiceRequest)
    logs, position = list[RawLog](), 0
    for resource_logs in request.resource_logs:
        resource = _attributes(resource_logs.resource.attributes)
        for scope_logs in resource_logs.scope_logs:
            scope_name, scope_version = scope_logs.scope.name, scope_logs.scope.version
            for record in scope_logs.log_records:
                log = _log(record, position, resource, scope_name, scope_version)
                position += 1
                if reason := _unusable_ids(record):
                    refused.append(f"log record {log.name[:80]!r}: {reason}")
                else:
                    logs.append(log)
    return DecodedLogs(logs, refused)


def metric_points(body: bytes, content_type: str) -> list[str]:
    """The metric's name for every data point of an ExportMetricsServiceRequest. Raises MalformedTelemetry."""
    request, refused = _request(body, content_type, ExportMetricsServiceRequest)
    names = list[str](refused)
    for resource_metrics in request.resource_metrics:
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                kind = metric.WhichOneof("data")
                names += [metric.name] * (len(getattr(metric, kind).data_points) if kind else 0)
    return names


def _request(body: bytes, content_type: str, request_type: Any) -> tuple[Any, list[str]]:
    if content_type == PROTOBUF:
        return parse(body, request_type), []
    return otlp_json.parse(body, request_type)


def _unusable(span: OtlpSpan) -> str:
    if len(span.trace_id) != 16 or not any(span.trace_id):
        return f"trace_id must be 16 bytes, not all zero; it is {span.trace_id.hex()[:80] or 'empty'}"
    if len(span.span_id) != 8 or not any(span.span_id):
        return f"span_id must be 8 bytes, not all zero; it is {span.span_id.hex()[:80] or 'empty'}"
    return ""


def _unusable_ids(record: LogRecord) -> str:
    if len(record.trace_id) not in (0, 16):
        return f"trace_id must be 16 bytes or absent; it is {record.trace_id.hex()[:80]}"
    if len(record.span_id) not in (0, 8):
        return f"span_id must be 8 bytes or absent; it is {record.span_id.hex()[:80]}"
    return ""


def _span(span: OtlpSpan, resource: dict[str, Value], scope_name: str, scope_version: str) -> RawSpan:
    status = span.status
    return RawSpan(
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.name,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        status.code == status.STATUS_CODE_ERROR,
        status.message,
        _attributes(span.attributes),
        [Event(e.name, e.time_unix_nano, _attributes(e.attributes)) for e in span.events],
        resource,
        scope_name,
        scope_version,
    )


def _log(record: LogRecord, position: int, resource: dict[str, Value], scope_name: str, scope_version: str) -> RawLog:
    attributes = _attributes(record.attributes)
    return RawLog(
        trace_id=_id(record.trace_id),
        span_id=_id(record.span_id),
        name=record.event_name or str(attributes.get("event.name") or ""),
        time_ns=record.time_unix_nano or record.observed_time_unix_nano,
        position=position,
        body=_value(record.body),
        attributes=attributes,
        resource=resource,
        scope_name=scope_name,
        scope_version=scope_version,
    )


def _id(raw: bytes) -> str:
    return raw.hex() if any(raw) else ""


def _attributes(pairs: Sequence[KeyValue]) -> dict[str, Value]:
    return {pair.key: pair.value.string_value or _value(pair.value) for pair in pairs}


def _value(any_value: AnyValue) -> Value:
    kind = any_value.WhichOneof("value")
    if kind == "string_value":
        return any_value.string_value
    if kind == "array_value":
        return [_value(item) for item in any_value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(any_value.kvlist_value.values)
    return getattr(any_value, kind) if kind else None
