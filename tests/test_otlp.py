"""Decoding OTLP: whatever bytes come, an answer; whatever spans were sent, the same spans."""

from __future__ import annotations

import base64
import gzip
import json
import math
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from assay.errors import MalformedTelemetry
from assay.ingest.normalise import normalise
from assay.ingest.otlp import JSON, PROTOBUF, Decoded, decode
from assay.ingest.pricing import Prices
from assay.ingest.wire import decompress
from assay.ingest.writer import SPAN_SCHEMA
from assay.store.rows import arrow_table

LIMIT = 1 << 20
PRICES = Prices()

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | texts | st.binary(max_size=9)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
genai_keys = st.sampled_from(
    [
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.request.model",
        "gen_ai.response.finish_reasons",
        "gen_ai.response.time_to_first_chunk",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.request.temperature",
        "gen_ai.request.stream",
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.system_instructions",
        "gen_ai.tool.definitions",
        "gen_ai.retrieval.documents",
        "session.id",
        "user.id",
        "error.type",
    ]
)
genai_values = st.sampled_from(
    [
        "chat",
        "embeddings",
        "execute_tool",
        "retrieval",
        "gpt-4o",
        "openai",
        "12",
        "[]",
        "{",
        '[{"role":"user"}]',
        '[{"role":"user","parts":[{"type":"text","content":"hi"}]}]',
        '{"parts":3}',
        '"\\ud800"',
        "NaN",
        "-1",
        "1e999",
    ]
)
attributes = st.dictionaries(texts | genai_keys, values | genai_values, max_size=8)
ids = st.binary(min_size=1, max_size=16)
times = st.integers(0, 2**64 - 1) | st.integers(1_600_000_000 * 10**9, 1_700_000_000 * 10**9)


@st.composite
def requests(draw: st.DrawFn) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    for _ in range(draw(st.integers(0, 2))):
        resource_spans = request.resource_spans.add()
        fill(resource_spans.resource.attributes, draw(attributes))
        scope_spans = resource_spans.scope_spans.add()
        scope_spans.scope.name = draw(texts)
        for _ in range(draw(st.integers(0, 3))):
            span = scope_spans.spans.add(
                trace_id=draw(st.binary(min_size=16, max_size=16) | ids),
                span_id=draw(st.binary(min_size=8, max_size=8) | ids),
                parent_span_id=draw(st.binary(min_size=8, max_size=8) | st.just(b"")),
                name=draw(texts),
                start_time_unix_nano=draw(times),
                end_time_unix_nano=draw(times),
            )
            span.status.code = draw(st.sampled_from([0, 1, 2]))
            span.status.message = draw(texts)
            fill(span.attributes, draw(attributes))
            event = span.events.add(name=draw(texts | st.just("exception")), time_unix_nano=draw(times))
            fill(event.attributes, draw(attributes))
    return request


def fill(pairs: Any, wanted: dict[str, Any]) -> None:
    for key, value in wanted.items():
        set_any(pairs.add(key=key).value, value)


def set_any(target: AnyValue, value: Any) -> None:
    match value:
        case bool():
            target.bool_value = value
        case int():
            target.int_value = value
        case float():
            target.double_value = value
        case str():
            target.string_value = value
        case bytes():
            target.bytes_value = value
        case list():
            target.array_value.SetInParent()
            for item in value:
                set_any(target.array_value.values.add(), item)
        case dict():
            target.kvlist_value.SetInParent()
            fill(target.kvlist_value.values, value)
        case _:
            pass


def as_otlp_json(request: ExportTraceServiceRequest) -> bytes:
    """The JSON encoding of the OTLP specification: ids in hex."""
    document = json_format.MessageToDict(request)
    for resource_spans in document.get("resourceSpans", []):
        for scope_spans in resource_spans.get("scopeSpans", []):
            for span in scope_spans.get("spans", []):
                for key in ("traceId", "spanId", "parentSpanId"):
                    if key in span:
                        span[key] = base64.b64decode(span[key]).hex()
    return json.dumps(document).encode()


def comparable(decoded: Decoded) -> str:
    """NaN is not equal to itself; its text is."""
    return repr(decoded.spans)


@given(requests())
def test_every_span_that_was_sent_is_decoded_or_refused(request: ExportTraceServiceRequest) -> None:
    decoded = decode(request.SerializeToString(), PROTOBUF)
    sent = [span for r in request.resource_spans for s in r.scope_spans for span in s.spans]
    usable = [s for s in sent if len(s.trace_id) == 16 and any(s.trace_id) and len(s.span_id) == 8 and any(s.span_id)]
    assert [(s.span_id, s.name, s.start_ns, s.end_ns) for s in decoded.spans] == [
        (s.span_id.hex(), s.name, s.start_time_unix_nano, s.end_time_unix_nano) for s in usable
    ]
    assert len(decoded.refused) == len(sent) - len(usable)


@given(requests())
def test_json_and_protobuf_decode_to_the_same_spans(request: ExportTraceServiceRequest) -> None:
    assert comparable(decode(as_otlp_json(request), JSON)) == comparable(decode(request.SerializeToString(), PROTOBUF))


@given(requests())
def test_every_decoded_span_becomes_a_row_or_a_reason(request: ExportTraceServiceRequest) -> None:
    spans = []
    for raw in decode(request.SerializeToString(), PROTOBUF).spans:
        try:
            spans.append(normalise(raw, PRICES))
        except MalformedTelemetry as error:
            assert "start_time_unix_nano" in str(error)
    rows = arrow_table(spans, SPAN_SCHEMA)
    rows.validate(full=True)
    assert rows.num_rows == len(spans)
    for span in spans:
        assert span.latency_ms >= 0
        assert span.cost_usd is None or (math.isfinite(span.cost_usd) and span.counted)
        assert span.input_tokens is None or span.input_tokens >= 0


@given(st.binary(max_size=300), st.sampled_from([PROTOBUF, JSON]))
def test_any_bytes_are_decoded_or_refused_as_malformed(body: bytes, content_type: str) -> None:
    try:
        decode(body, content_type)
    except MalformedTelemetry as error:
        assert str(error)
        assert error.status == 400


@given(requests(), st.data())
def test_damaged_bodies_are_decoded_or_refused_as_malformed(
    request: ExportTraceServiceRequest, data: st.DataObject
) -> None:
    body = bytearray(request.SerializeToString())
    for _ in range(data.draw(st.integers(0, 4)) if body else 0):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        for raw in decode(bytes(body), PROTOBUF).spans:
            normalise(raw, PRICES)
    except MalformedTelemetry as error:
        assert str(error)


json_documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            texts
            | st.sampled_from(["resourceSpans", "scopeSpans", "spans", "resource", "scope", "attributes", "traceId"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(json_documents)
def test_any_json_is_decoded_or_refused_as_malformed(document: Any) -> None:
    try:
        decode(json.dumps(document).encode(), JSON)
    except MalformedTelemetry as error:
        assert str(error)


@given(st.binary(max_size=5000))
def test_gzip_is_undone(body: bytes) -> None:
    assert decompress(gzip.compress(body), "gzip", LIMIT) == body
    assert decompress(body, "identity", LIMIT) == body


@settings(max_examples=20)
@given(st.integers(LIMIT - 2, LIMIT + 2))
def test_a_body_may_inflate_to_the_limit_and_no_further(size: int) -> None:
    body = gzip.compress(bytes(size))
    if size <= LIMIT:
        assert len(decompress(body, "gzip", LIMIT)) == size
    else:
        with pytest.raises(MalformedTelemetry, match="inflates to more than"):
            decompress(body, "gzip", LIMIT)


def test_members_of_a_gzip_file_are_all_read() -> None:
    assert decompress(gzip.compress(b"one ") + gzip.compress(b"two"), "gzip", LIMIT) == b"one two"


def test_a_cut_character_in_json_text_costs_nothing() -> None:
    lone = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"%s","spanId":"%s","name":"a\\ud83d"}]}]}]}'
    [span] = decode(lone % (b"ab" * 16, b"cd" * 8), JSON).spans
    assert span.name == "a\ufffd"
