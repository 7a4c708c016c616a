"""OTLP/HTTP bodies to spans: bytes in, decoded spans and the reasons for refused ones out.

Follows the OTLP specification 1.9 (opentelemetry-proto, docs/specification.md): protobuf and JSON, gzip,
hex ids in JSON, one bad span never costs its neighbours. Knows nothing of what the attributes mean; that
is the dialects' business.
"""

from __future__ import annotations

import json
import zlib
from binascii import unhexlify
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan

from assay.errors import MalformedTelemetry
from assay.store.rows import valid_unicode

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


class Decoded(NamedTuple):
    """What one body held: the good spans, and a reason for each refused one."""

    spans: list[RawSpan]
    refused: list[str]


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """The body as it was before Content-Encoding. Raises MalformedTelemetry (400, 413, 415).

    Inflates no further than `limit` bytes, so that a small body cannot fill the memory.
    """
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise MalformedTelemetry(f"Content-Encoding {encoding!r} is not supported: send gzip or none", 415)
    inflated, rest = [], body
    while rest:
        inflater = zlib.decompressobj(wbits=31)
        try:
            inflated.append(inflater.decompress(rest, limit + 1 - sum(map(len, inflated))))
        except zlib.error as error:
            raise MalformedTelemetry(f"the body is not valid gzip: {error}") from None
        if sum(map(len, inflated)) > limit:
            raise MalformedTelemetry(f"the body inflates to more than {limit} bytes: send smaller batches", 413)
        if not inflater.eof:
            raise MalformedTelemetry("the body is not valid gzip: it ends too early")
        rest = inflater.unused_data
    return b"".join(inflated)


def decode(body: bytes, content_type: str) -> Decoded:
    """The spans of an ExportTraceServiceRequest. Raises MalformedTelemetry where the whole body is unusable."""
    if content_type == PROTOBUF:
        return _spans(_parse_protobuf(body), [])
    return _decode_json(body)


def _parse_protobuf(body: bytes) -> ExportTraceServiceRequest:
    try:
        return ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        return _parse_invalid_text(body)


def _decode_json(body: bytes) -> Decoded:
    document = _parse_json(body)
    refused: list[str] = []
    request = ExportTraceServiceRequest()
    for resource_json in _list(document, "resourceSpans", "the body"):
        resource = request.resource_spans.add()
        _fill(resource.resource, resource_json.get("resource", {}))
        for scope_json in _list(resource_json, "scopeSpans", "resourceSpans"):
            scope = resource.scope_spans.add()
            _fill(scope.scope, scope_json.get("scope", {}))
            for span_json in _list(scope_json, "spans", "scopeSpans"):
                try:
                    scope.spans.append(_span_from_json(span_json))
                except (json_format.ParseError, ValueError, TypeError, AttributeError) as error:
                    refused.append(f"span {_shown(span_json)}: {str(error)[:300]}")
    return _spans(request, refused)


def _parse_json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        try:
            # The standard library bears half a surrogate pair, which JavaScript sends for a text it cut.
            text = json.dumps(json.loads(body.decode("utf-8", "replace")), ensure_ascii=False)
        except (ValueError, RecursionError):
            raise MalformedTelemetry(f"the body is not valid JSON: {error}") from None
        return json.loads(valid_unicode(text))


def _list(parent: Any, key: str, where: str) -> list[dict[str, Any]]:
    if not isinstance(parent, dict):
        raise MalformedTelemetry(f"{where} must be a JSON object, not {type(parent).__name__}")
    items = parent.get(key) or parent.get(_SNAKE[key]) or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise MalformedTelemetry(f"{key} must be a list of objects")
    return items


_SNAKE = {"resourceSpans": "resource_spans", "scopeSpans": "scope_spans", "spans": "spans"}
_HEX_IDS = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")


def _span_from_json(span_json: dict[str, Any]) -> OtlpSpan:
    plain = {key: value for key, value in span_json.items() if key not in (*_HEX_IDS, "links")}
    span = json_format.ParseDict(plain, OtlpSpan(), ignore_unknown_fields=True)
    span.trace_id = _unhex(span_json, "traceId", "trace_id")
    span.span_id = _unhex(span_json, "spanId", "span_id")
    span.parent_span_id = _unhex(span_json, "parentSpanId", "parent_span_id")
    return span


def _unhex(span_json: dict[str, Any], camel: str, snake: str) -> bytes:
    text = span_json.get(camel) or span_json.get(snake) or ""
    try:
        return unhexlify(text)
    except (ValueError, TypeError):
        raise ValueError(f"{camel} {text!r} is not hexadecimal") from None


def _fill(message: Message, fields: Any) -> None:
    try:
        json_format.ParseDict(fields, message, ignore_unknown_fields=True)
    except (json_format.ParseError, AttributeError, TypeError) as error:
        raise MalformedTelemetry(f"{message.DESCRIPTOR.name}: {str(error)[:300]}") from None


def _shown(span_json: dict[str, Any]) -> str:
    return repr(span_json.get("spanId") or span_json.get("span_id") or span_json.get("name"))[:80]


def _spans(request: ExportTraceServiceRequest, refused: list[str]) -> Decoded:
    spans: list[RawSpan] = []
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            scope = scope_spans.scope
            for span in scope_spans.spans:
                if reason := _unusable(span):
                    refused.append(f"span {span.span_id.hex() or repr(span.name)}: {reason}")
                else:
                    spans.append(_raw(span, resource, scope.name, scope.version))
    return Decoded(spans, refused)


def _unusable(span: OtlpSpan) -> str:
    if len(span.trace_id) != 16 or not any(span.trace_id):
        return f"trace_id must be 16 bytes, not all zero; it is {span.trace_id.hex() or 'empty'}"
    if len(span.span_id) != 8 or not any(span.span_id):
        return f"span_id must be 8 bytes, not all zero; it is {span.span_id.hex() or 'empty'}"
    return ""


def _raw(span: OtlpSpan, resource: dict[str, Value], scope_name: str, scope_version: str) -> RawSpan:
    return RawSpan(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        name=span.name,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        failed=span.status.code == span.status.STATUS_CODE_ERROR,
        status_message=span.status.message,
        attributes=_attributes(span.attributes),
        events=[Event(e.name, e.time_unix_nano, _attributes(e.attributes)) for e in span.events],
        resource=resource,
        scope_name=scope_name,
        scope_version=scope_version,
    )


def _attributes(pairs: Sequence[KeyValue]) -> dict[str, Value]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(any_value: AnyValue) -> Value:
    kind = any_value.WhichOneof("value")
    if kind == "string_value":
        return any_value.string_value
    if kind == "array_value":
        return [_value(item) for item in any_value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(any_value.kvlist_value.values)
    return getattr(any_value, kind) if kind else None


# Protobuf refuses a whole message for one string cut in the middle of a character, as attribute length
# limits do. Reading the same bytes by a schema whose strings are bytes lets us mend just those strings.

_TRACE_FILES = (
    "opentelemetry/proto/common/v1/common.proto",
    "opentelemetry/proto/resource/v1/resource.proto",
    "opentelemetry/proto/trace/v1/trace.proto",
    "opentelemetry/proto/collector/trace/v1/trace_service.proto",
)


def _parse_invalid_text(body: bytes) -> ExportTraceServiceRequest:
    texts, lenient = _lenient_request()
    try:
        lenient.MergeFromString(body)
    except DecodeError:
        raise MalformedTelemetry(
            "the body is not an OTLP ExportTraceServiceRequest in protobuf: check what the exporter sends"
        ) from None
    for message in _messages(lenient):
        for field, value in message.ListFields():
            if field.full_name in texts:
                setattr(message, field.name, value.decode("utf-8", "replace").encode())
    return ExportTraceServiceRequest.FromString(lenient.SerializeToString())


def _lenient_request() -> tuple[set[str], Message]:
    texts: set[str] = set()
    pool = descriptor_pool.DescriptorPool()
    for path in _TRACE_FILES:
        file = FileDescriptorProto()
        descriptor_pool.Default().FindFileByName(path).CopyToProto(file)
        for message in file.message_type:
            for field in message.field:
                if field.type == FieldDescriptor.TYPE_STRING and field.label != FieldDescriptor.LABEL_REPEATED:
                    field.type = FieldDescriptorProto.TYPE_BYTES
                    texts.add(f"{file.package}.{message.name}.{field.name}")
            for nested in message.nested_type:
                for field in nested.field:
                    if field.type == FieldDescriptor.TYPE_STRING:
                        field.type = FieldDescriptorProto.TYPE_BYTES
                        texts.add(f"{file.package}.{message.name}.{nested.name}.{field.name}")
        pool.Add(file)
    name = ExportTraceServiceRequest.DESCRIPTOR.full_name
    return texts, message_factory.GetMessageClass(pool.FindMessageTypeByName(name))()


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for child in value if field.is_repeated else (value,):
                yield from _messages(child)
