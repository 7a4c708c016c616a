"""Decoding OTLP: whatever bytes come, an answer; whatever spans were sent, the same spans."""

from __future__ import annotations

import base64
import gzip
import json
import math
import zlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from assay.errors import MalformedTelemetry
from assay.ingest.batch import SPAN_SCHEMA
from assay.ingest.events import event
from assay.ingest.normalise import normalise
from assay.ingest.otlp import JSON, PROTOBUF, Decoded, RawLog, decode, decode_logs, metric_points
from assay.ingest.pricing import Prices
from assay.ingest.wire import decompress
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


decoders = st.sampled_from([decode, decode_logs, metric_points])


@given(st.binary(max_size=300), st.sampled_from([PROTOBUF, JSON]), decoders)
def test_any_bytes_are_decoded_or_refused_as_malformed(
    body: bytes, content_type: str, decoder: Callable[[bytes, str], Any]
) -> None:
    try:
        decoder(body, content_type)
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
            | st.sampled_from(["resource_spans", "scopeSpans", "spans", "resource", "scope", "attributes", "traceId"])
            | st.sampled_from(
                ["resourceLogs", "scope_logs", "logRecords", "resourceMetrics", "scopeMetrics", "metrics"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(json_documents, decoders)
def test_any_json_is_decoded_or_refused_as_malformed(document: Any, decoder: Callable[[bytes, str], Any]) -> None:
    try:
        decoder(json.dumps(document).encode(), JSON)
    except MalformedTelemetry as error:
        assert str(error)


def raw_deflate(body: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(body) + deflate.flush()


def zstd(body: bytes) -> bytes:
    return pa.compress(body, "zstd", asbytes=True)


compressions = pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("identity", bytes),
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("zstd", zstd),
    ],
)


@compressions
@given(body=st.binary(max_size=5000))
def test_compression_is_undone(encoding: str, compress: Callable[[bytes], bytes], body: bytes) -> None:
    assert decompress(compress(body), encoding, LIMIT) == body


@compressions
def test_a_body_may_inflate_to_the_limit_and_no_further(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    assert len(decompress(compress(bytes(LIMIT)), encoding, LIMIT)) == LIMIT
    for size in (LIMIT + 1, 2 * LIMIT):
        if encoding != "identity":
            with pytest.raises(MalformedTelemetry, match="inflates to more than") as refused:
                decompress(compress(bytes(size)), encoding, LIMIT)
            assert refused.value.status == 413


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstd)])
def test_all_members_are_read_and_bounded_together(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    assert decompress(compress(b"one ") + compress(b"two"), encoding, LIMIT) == b"one two"
    with pytest.raises(MalformedTelemetry, match="inflates to more than"):
        decompress(compress(bytes(LIMIT)) + compress(b"x"), encoding, LIMIT)


@compressions
def test_a_compressed_body_that_ends_too_early_is_refused(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    whole = compress(b"some text that is long enough")
    if encoding != "identity":
        for length in range(1, len(whole)):
            with pytest.raises(MalformedTelemetry) as refused:
                decompress(whole[:length], encoding, LIMIT)
            assert refused.value.status == 400


def test_one_bad_span_in_json_costs_no_other() -> None:
    def span(name: str, **other: Any) -> dict[str, Any]:
        return {"trace_id": "AB" * 16, "spanId": "cd" * 8, "name": name, **other}

    scopes = [
        {"spans": [3, span("id", spanId="xyz"), span("time", startTimeUnixNano="soon"), span("kind", kind=[])]},
        {"spans": [span("good", kind="SPAN_KIND_CLIENT", start_time_unix_nano=7, endTimeUnixNano="8", new=[{}])]},
        {"scope": {"name": {}}, "spans": [span("scope")]},
    ]
    bad_resource = {"resource": 3, "scopeSpans": [{"spans": [span("resource")]}]}
    decoded = decode(json.dumps({"resource_spans": [bad_resource, {"scopeSpans": scopes}]}).encode(), JSON)
    assert [(s.name, s.trace_id, s.start_ns, s.end_ns) for s in decoded.spans] == [("good", "ab" * 16, 7, 8)]
    assert [reason.partition(":")[0] for reason in decoded.refused] == [
        "span 'cdcdcdcdcdcdcdcd'",
        "span of type int",
        "span 'xyz'",
        *["span 'cdcdcdcdcdcdcdcd'"] * 3,
    ]


def test_json_values_of_every_kind_are_read() -> None:
    values = [
        {"intValue": "9007199254740993"},
        {"int_value": 5},
        {"doubleValue": "NaN"},
        {"doubleValue": "-Infinity"},
        {"doubleValue": 1},
        {"bytesValue": "aGk="},
        {"boolValue": True},
        {"arrayValue": {"values": [{"string_value": "a"}, {}]}},
        {"kvlist_value": {"values": [{"key": "k", "value": {"stringValue": ""}}]}},
    ]
    attributes = [{"key": str(n), "value": value} for n, value in enumerate(values)]
    record = {"body": {"stringValue": "text"}, "attributes": attributes}
    [log] = decode_logs(json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).encode(), JSON).logs
    assert log.body == "text"
    assert repr(list(log.attributes.values())) == repr(
        [9007199254740993, 5, math.nan, -math.inf, 1.0, b"hi", True, ["a", None], {"k": ""}]
    )


def test_a_log_record_is_decoded_whole() -> None:
    request = ExportLogsServiceRequest()
    resource_logs = request.resource_logs.add()
    fill(resource_logs.resource.attributes, {"service.name": "shop"})
    scope_logs = resource_logs.scope_logs.add()
    scope_logs.scope.name, scope_logs.scope.version = "openai", "2.4"
    first = scope_logs.log_records.add(
        trace_id=b"t" * 16, span_id=b"s" * 8, event_name="gen_ai.choice", time_unix_nano=5
    )
    set_any(first.body, {"index": 0})
    fill(first.attributes, {"gen_ai.system": "openai"})
    second = scope_logs.log_records.add(trace_id=bytes(16), observed_time_unix_nano=6)
    fill(second.attributes, {"event.name": "gen_ai.user.message"})
    scope_logs.log_records.add(trace_id=b"short")
    shared = ({"service.name": "shop"}, "openai", "2.4")
    named = {"event.name": "gen_ai.user.message"}
    decoded = decode_logs(request.SerializeToString(), PROTOBUF)
    assert decoded.logs == [
        RawLog("74" * 16, "73" * 8, "gen_ai.choice", 5, 0, {"index": 0}, {"gen_ai.system": "openai"}, *shared),
        RawLog("", "", "gen_ai.user.message", 6, 1, None, named, *shared),
    ]
    assert decoded.refused == ["log record '': trace_id must be 16 bytes or absent; it is 73686f7274"]


def test_only_what_was_sent_twice_has_the_same_digest() -> None:
    now = 1_763_900_000_000_000_000
    raw = RawLog("t", "s", "gen_ai.choice", now, 0, {"index": 0}, {}, {}, "openai", "")
    others = [
        raw._replace(time_ns=now + 1),
        raw._replace(body={"index": 1}),
        raw._replace(span_id="other"),
        raw._replace(attributes={"a": 1}),
    ]
    kept = [event(each) for each in (raw, raw._replace(position=9, resource={"host": "b"}), *others)]
    digests = [each.digest for each in kept if each]
    assert len(digests) == 6
    assert digests[0] == digests[1]
    assert len(set(digests)) == 5


def test_cut_characters_in_log_records_are_mended() -> None:
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add(event_name="gen_ai.choice")
    record.body.string_value = "MARK"
    request.resource_logs[0].resource.entity_refs.add(type="host", id_keys=["MARK"])
    [log] = decode_logs(request.SerializeToString().replace(b"MARK", b"MAR\xc3"), PROTOBUF).logs
    assert log.body == "MAR\ufffd"


def test_a_cut_character_in_json_text_costs_nothing() -> None:
    lone = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"%s","spanId":"%s","name":"a\\ud83d"}]}]}]}'
    [span] = decode(lone % (b"ab" * 16, b"cd" * 8), JSON).spans
    assert span.name == "a\ufffd"
