"""OTLP in JSON to protobuf messages: what proto3 JSON is, and where OTLP differs from it.

Ids are hexadecimal in any case; keys are lowerCamelCase or snake_case, enums integers or names, 64-bit
integers strings or numbers; unknown fields are ignored. An item that cannot be read is refused alone.
"""

from __future__ import annotations

import json
import re
from binascii import unhexlify
from typing import Any

import msgspec
from google.protobuf import json_format
from google.protobuf.message import Message
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from assay.errors import MalformedTelemetry
from assay.store.rows import valid_unicode

_LISTS = {
    "ExportTraceServiceRequest": ("resourceSpans", "scopeSpans", "spans", "span", Span),
    "ExportLogsServiceRequest": ("resourceLogs", "scopeLogs", "logRecords", "log record", LogRecord),
    "ExportMetricsServiceRequest": ("resourceMetrics", "scopeMetrics", "metrics", "metric", Metric),
}
_IDS = {"traceId": "trace_id", "spanId": "span_id", "parentSpanId": "parent_span_id"}
# Links hold ids too, and nothing of ours reads them.
_READ_APART = {*_IDS, *_IDS.values(), "links"}
_UNREADABLE = (json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError)


def parse(body: bytes, request_type: Any) -> tuple[Any, list[str]]:
    """The request of this type, and a reason for each item that was refused.

    Raises MalformedTelemetry where the whole body is unusable.
    """
    by_resource, by_scope, items, kind, item_type = _LISTS[request_type.DESCRIPTOR.name]
    request, refused = request_type(), list[str]()
    for resource_json in _objects(_document(body), by_resource, "the body"):
        resource = getattr(request, _snake(by_resource)).add()
        resource_fault = _fill(resource.resource, resource_json)
        for scope_json in _objects(resource_json, by_scope, by_resource):
            scope = getattr(resource, _snake(by_scope)).add()
            fault = resource_fault or _fill(scope.scope, scope_json)
            wanted = getattr(scope, _snake(items))
            for item_json in _list(scope_json, items, by_scope):
                try:
                    item = _item(item_json, item_type(), fault)
                except _UNREADABLE as error:
                    refused.append(f"{kind} {_shown(item_json)}: {str(error)[:300]}")
                else:
                    wanted.append(item)
    return request, refused


def _document(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        try:
            # The standard library bears half a surrogate pair, which JavaScript sends for a text it cut.
            text = json.dumps(json.loads(body.decode("utf-8", "replace")), ensure_ascii=False)
            return json.loads(valid_unicode(text))
        except (ValueError, RecursionError):
            raise MalformedTelemetry(f"the body is not valid JSON: {error}") from None


def _objects(parent: Any, key: str, where: str) -> list[dict[str, Any]]:
    items = _list(parent, key, where)
    if not all(isinstance(item, dict) for item in items):
        raise MalformedTelemetry(f"{key} must be a list of objects")
    return items


def _list(parent: Any, key: str, where: str) -> list[Any]:
    if not isinstance(parent, dict):
        raise MalformedTelemetry(f"{where} must be a JSON object, not {type(parent).__name__}")
    items = parent.get(key) or parent.get(_snake(key)) or []
    if not isinstance(items, list):
        raise MalformedTelemetry(f"{key} must be a list of objects")
    return items


def _fill(message: Message, parent: dict[str, Any]) -> str:
    """Read a resource or scope; answers what is wrong with it, which its items are then refused for."""
    name = message.DESCRIPTOR.name
    try:
        json_format.ParseDict(parent.get("resource" if name == "Resource" else "scope") or {}, message, True)
    except _UNREADABLE as error:
        message.Clear()
        return f"{name}: {str(error)[:300]}"
    return ""


def _item(item_json: dict[str, Any], item: Message, fault: str) -> Message:
    if fault:
        raise ValueError(fault)
    plain = {key: value for key, value in item_json.items() if key not in _READ_APART}
    json_format.ParseDict(plain, item, ignore_unknown_fields=True)
    for camel, snake in _IDS.items():
        if text := item_json.get(camel) or item_json.get(snake):
            setattr(item, snake, _unhex(text, camel))
    return item


def _unhex(text: Any, name: str) -> bytes:
    try:
        return unhexlify(text)
    except (ValueError, TypeError):
        raise ValueError(f"{name} {str(text)[:80]!r} is not hexadecimal") from None


def _shown(item_json: Any) -> str:
    if not isinstance(item_json, dict):
        return f"of type {type(item_json).__name__}"
    names = ("spanId", "span_id", "name", "eventName", "event_name")
    return repr(next((item_json[name] for name in names if isinstance(item_json.get(name), str)), ""))[:80]


def _snake(camel: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", camel)
