"""The OTLP door, knocked on over HTTP at a real server."""

from __future__ import annotations

import gzip
import json
import secrets
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from dirty_equals import IsFloat, IsPartialDict, IsStr
from google.rpc.status_pb2 import Status
from inline_snapshot import snapshot
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from starlette.applications import Starlette

from assay.client.monitor import Monitor
from assay.config import Ingest
from assay.errors import NotFound
from assay.ingest.journal import Journal
from assay.ingest.readers import Readers, Settings
from assay.ingest.receiver import Receiver
from assay.ingest.writer import Writer
from assay.server.serve import in_background
from assay.store.connect import Store
from conftest import PROTOBUF, Server, chat_attributes, eventually, key_values, messages, otlp

JSON = {"Content-Type": "application/json"}


def json_body(project: str, **span: object) -> dict[str, object]:
    attributes = [{"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}}]
    whole = {
        "traceId": secrets.token_hex(16),
        "spanId": secrets.token_hex(8),
        "name": "chat",
        "startTimeUnixNano": str(time.time_ns()),
        "endTimeUnixNano": str(time.time_ns() + 10**9),
        "attributes": attributes,
        **span,
    }
    resource = {"attributes": [{"key": "assay.project", "value": {"stringValue": project}}]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [whole]}]}]}


class Door:
    """A receiver of the test's own on a free port, over the store of this process."""

    def __init__(self, url: str, receiver: Receiver, store: Store) -> None:
        self.url = url
        self.receiver = receiver
        self._store = store

    def post(self, path: str, body: bytes, **headers: str) -> httpx.Response:
        return httpx.post(self.url + path, content=body, headers={**PROTOBUF, **headers}, timeout=30)

    def connect(self) -> socket.socket:
        host, port = self.url.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=30)

    def answer(self, sent: bytes) -> bytes:
        """All that comes back for these bytes until the server closes the connection."""
        with self.connect() as connection:
            connection.sendall(sent)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def events(self, trace_id: str) -> list[dict[str, Any]]:
        sql = "SELECT * EXCEPT (ingested_at, version) FROM events FINAL WHERE trace_id = {t:String} ORDER BY position"
        return eventually(lambda: self._store.query(sql, {"t": trace_id}))


@pytest.fixture
def door(store: Store, tmp_path: Path) -> Iterator[Door]:
    """A door whose patience ends after half a second."""
    with opened_door(store, tmp_path, body_seconds=0.5) as opened:
        yield opened


@contextmanager
def opened_door(store: Store, directory: Path, body_seconds: float) -> Iterator[Door]:
    writer = Writer(store, Journal(directory))
    receiver = Receiver(writer, Readers(Settings({}, 86_400.0), processes=0), Ingest(), body_seconds)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with in_background(Starlette(routes=receiver.routes()), listener):
            yield Door(url, receiver, store)
    writer.close()


def logs(trace_id: str, *records: dict[str, Any]) -> bytes:
    request = ExportLogsServiceRequest()
    scope_logs = request.resource_logs.add().scope_logs.add()
    scope_logs.scope.name = "tests"
    for wanted in records:
        record = scope_logs.log_records.add(
            trace_id=bytes.fromhex(trace_id),
            span_id=bytes.fromhex(wanted.get("span_id", "00000000000000a1")),
            event_name=wanted.get("name", ""),
            time_unix_nano=wanted.get("time_ns", 1_763_900_000_000_000_000),
        )
        for pair in key_values(wanted.get("body", {})):
            record.body.kvlist_value.values.append(pair)
        record.attributes.extend(key_values(wanted.get("attributes", {})))
    return request.SerializeToString()


def test_an_acknowledged_span_can_be_read_at_once(server: Server, monitor: Monitor, project: str) -> None:
    span_id = secrets.token_hex(8)
    answer = server.post(otlp({"span_id": span_id}, project=project))
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "application/x-protobuf"
    assert monitor.call(span_id)["project"] == project


def test_a_call_is_told_whole(server: Server, monitor: Monitor, project: str) -> None:
    start = 1_763_900_000_000_000_000
    attributes = {
        **chat_attributes(),
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be brief."}]),
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.7,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.usage.cache_read.input_tokens": 200,
        "gen_ai.usage.reasoning.output_tokens": 50,
        "session.id": "user_001",
        "user.id": "ada",
        "server.address": "api.openai.com",
    }
    server.post(
        otlp(
            {"span_id": "00000000000000a1", "trace_id": "0" * 31 + "1", "start_ns": start, "attributes": attributes},
            project=project,
        )
    )
    call = monitor.call("00000000000000a1")
    call["project"] = "own"
    for volatile in ("scores", "verdicts"):
        del call[volatile]
    assert call == snapshot(
        {
            "span_id": "00000000000000a1",
            "trace_id": "00000000000000000000000000000001",
            "parent_span_id": "",
            "started_at": "2025-11-23T12:13:20Z",
            "project": "own",
            "environment": "",
            "service": "tests",
            "session_id": "user_001",
            "user_id": "ada",
            "kind": "llm",
            "name": "chat gpt-4o-mini",
            "operation": "chat",
            "provider": "openai",
            "model": "gpt-4o-mini-2024-07-18",
            "request_model": "gpt-4o-mini",
            "response_id": "chatcmpl-1",
            "system": "Be brief.",
            "prompt": "What is machine learning?",
            "response": "A way to learn from data.",
            "messages_in": '[{"role":"system","parts":[{"type":"text","content":"Be brief."}]},'
            '{"role":"user","parts":[{"type":"text","content":"What is machine learning?"}]}]',
            "messages_out": '[{"role":"assistant","parts":[{"type":"text","content":"A way to learn from data."}]}]',
            "tool_definitions": "",
            "tool_calls": "",
            "documents": "",
            "input_tokens": 1000,
            "output_tokens": 500,
            "total_tokens": 1500,
            "cache_read_tokens": 200,
            "cache_write_tokens": None,
            "reasoning_tokens": 50,
            "tokens_estimated": False,
            "estimated_input_tokens": None,
            "estimated_output_tokens": None,
            "input_cost_usd": 0.00013499999999999997,
            "output_cost_usd": 0.0003,
            "cost_usd": 0.00043499999999999995,
            "latency_ms": 800.0,
            "time_to_first_token_ms": 250.0,
            "stream": True,
            "temperature": 0.7,
            "top_p": None,
            "max_tokens": 100,
            "status": "ok",
            "error_type": "",
            "error_message": "",
            "finish_reason": "stop",
            "counted": True,
            "duplicate_of": "",
            "attributes": {
                "gen_ai.response.finish_reasons": '["stop"]',
                "server.address": "api.openai.com",
            },
        }
    )


def test_a_resent_span_replaces_itself(server: Server, monitor: Monitor, project: str) -> None:
    request = otlp({}, {}, project=project)
    assert server.post(request).status_code == 200
    assert server.post(request).status_code == 200
    usage = monitor.usage(project=project)
    assert (usage["total_conversations"], usage["total_tokens"]) == (2, 3000)


def test_only_model_calls_are_counted(server: Server, monitor: Monitor, project: str) -> None:
    agent = {"attributes": {**chat_attributes(), "gen_ai.operation.name": "invoke_agent"}, "name": "invoke_agent"}
    server.post(otlp(agent, {}, {"attributes": {}, "name": "GET /"}, project=project))
    usage = monitor.usage(project=project)
    assert (usage["total_conversations"], usage["total_tokens"]) == (1, 1500)


def test_the_good_spans_of_a_partly_bad_batch_are_stored(server: Server, monitor: Monitor, project: str) -> None:
    future = time.time_ns() + 3 * 86_400 * 10**9
    answer = server.post(
        otlp({}, {"trace_id": "00" * 16, "span_id": "00000000000000b1"}, {"start_ns": future}, {}, project=project)
    )
    assert answer.status_code == 200
    partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert partial.rejected_spans == 2
    assert "span 00000000000000b1: trace_id must be 16 bytes" in partial.error_message
    assert "must start after 2000-01-01" in partial.error_message
    assert monitor.usage(project=project)["total_conversations"] == 2


def test_text_cut_inside_a_character_is_mended_and_stored(server: Server, monitor: Monitor, project: str) -> None:
    span_id = secrets.token_hex(8)
    attributes = chat_attributes(prompt="caf\u00e9 MARK")
    attributes["gen_ai.input.messages"] = messages(user="MARK")
    body = otlp({"span_id": span_id, "attributes": attributes}, project=project).SerializeToString()
    assert server.post(body.replace(b"MARK", b"MAR\xc3")).status_code == 200
    assert monitor.call(span_id)["prompt"] == "MAR\ufffd"


def test_json_means_the_same_as_protobuf(server: Server, monitor: Monitor, project: str) -> None:
    span_id = secrets.token_hex(8).upper()
    body = json_body(project, spanId=span_id, unknownField=1)
    answer = httpx.post(f"{server.url}/v1/traces", json=body)
    assert (answer.status_code, answer.json()) == (200, {})
    assert monitor.call(span_id.lower())["latency_ms"] == IsFloat(approx=1000, delta=50)


def test_a_bad_span_in_json_is_refused_by_name_in_json(server: Server, project: str) -> None:
    answer = httpx.post(f"{server.url}/v1/traces", json=json_body(project, spanId="xyz"))
    assert answer.json() == {
        "partialSuccess": {
            "rejectedSpans": "1",
            "errorMessage": "span 'xyz': spanId 'xyz' is not hexadecimal",
        }
    }


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        (b"hello", PROTOBUF, 400, "not an OTLP ExportTraceServiceRequest"),
        (b"{", JSON, 400, "not valid JSON"),
        (b"[]", JSON, 400, "must be a JSON object"),
        (b'{"resourceSpans": 3}', JSON, 400, "resourceSpans must be a list of objects"),
        (b"x", {"Content-Type": "text/plain"}, 415, "Content-Type 'text/plain' is not supported"),
        (b"x", {}, 415, "Content-Type '' is not supported"),
        (b"x", {**PROTOBUF, "Content-Encoding": "br"}, 415, "Content-Encoding 'br' is not supported"),
        (b"x", {**PROTOBUF, "Content-Encoding": "br"}, 415, "send gzip, deflate, zstd or none"),
        (b"x", {**PROTOBUF, "Content-Encoding": "gzip"}, 400, "not valid gzip"),
        (b"\xff\xff", {**PROTOBUF, "Content-Encoding": "deflate"}, 400, "not valid deflate"),
        (zlib.compress(b"x")[:-1], {**PROTOBUF, "Content-Encoding": "deflate"}, 400, "ends too early"),
        (b"xxxxx", {**PROTOBUF, "Content-Encoding": "zstd"}, 400, "not valid zstd"),
        (pa.compress(b"x", "zstd", asbytes=True)[:-1], {**PROTOBUF, "Content-Encoding": "zstd"}, 400, "not valid zstd"),
        (gzip.compress(b"x" * 99, mtime=0)[:-9], {**PROTOBUF, "Content-Encoding": "gzip"}, 400, "ends too early"),
    ],
)
def test_what_can_never_be_accepted_is_refused_with_the_reason(
    server: Server, body: bytes, headers: dict[str, str], status: int, reason: str
) -> None:
    answer = httpx.post(f"{server.url}/v1/traces", content=body, headers=headers)
    assert answer.status_code == status
    if headers.get("Content-Type") == JSON["Content-Type"]:
        assert reason in answer.json()["message"]
    else:
        assert reason in Status.FromString(answer.content).message


def test_refusals_are_counted_in_health(server: Server, monitor: Monitor) -> None:
    before = monitor.health()["ingest"]["refused_requests"]
    server.post(b"hello")
    after = monitor.health()["ingest"]
    assert after == IsPartialDict(refused_requests=before + 1, last_refusal=IsStr(regex=".*not an OTLP.*"))


def test_gzip_is_taken(server: Server, monitor: Monitor, project: str) -> None:
    body = gzip.compress(otlp({}, project=project).SerializeToString())
    assert server.post(body, **{"Content-Encoding": "gzip"}).status_code == 200
    assert monitor.usage(project=project)["total_conversations"] == 1


def test_a_gzip_bomb_is_refused_before_it_goes_off(server: Server) -> None:
    deflate = zlib.compressobj(9, wbits=31)
    bomb = b"".join([deflate.compress(bytes(1 << 20)) for _ in range(512)]) + deflate.flush()
    assert len(bomb) < 1 << 20
    answer = server.post(bomb, **{"Content-Encoding": "gzip"})
    assert answer.status_code == 413
    assert "inflates to more than" in Status.FromString(answer.content).message


def test_too_large_a_body_is_refused(own_server: Callable[..., Server]) -> None:
    server = own_server(ASSAY_INGEST__MAX_BODY_BYTES="1000")
    assert server.post(otlp(*[{}] * 9)).status_code == 413


def test_an_empty_request_succeeds(server: Server) -> None:
    assert server.post(b"").status_code == 200


def test_other_signals_are_refused_by_name(server: Server) -> None:
    answer = httpx.post(f"{server.url}/v1/profiles", content=b"", headers=PROTOBUF)
    assert answer.status_code == 404
    assert "'profiles' is not taken" in Status.FromString(answer.content).message


def test_genai_events_are_stored_and_other_log_records_refused_by_name(door: Door) -> None:
    trace_id = secrets.token_hex(16)
    body = logs(
        trace_id,
        {"name": "gen_ai.user.message", "body": {"content": "hi"}, "attributes": {"gen_ai.system": "openai"}},
        {"name": "app.started"},
        {"attributes": {"event.name": "gen_ai.choice", "n": 1}, "span_id": ""},
        {"name": "gen_ai.choice", "span_id": "abcd"},
        {"name": "gen_ai.choice", "time_ns": 7},
    )
    answer = door.post("/v1/logs", body)
    assert answer.status_code == 200
    partial = ExportLogsServiceResponse.FromString(answer.content).partial_success
    assert partial.rejected_log_records == 3
    assert partial.error_message == (
        "log record 'gen_ai.choice': span_id must be 8 bytes or absent; it is abcd; "
        "log record 'app.started': only GenAI events (gen_ai.*) are kept; "
        "log record 'gen_ai.choice': time_unix_nano 7 is no time between 2000 and 2100: "
        "check that the sender sends nanoseconds"
    )
    told = [
        (event["position"], event["span_id"], event["name"], event["body"], event["attributes"])
        for event in door.events(trace_id)
    ]
    assert told == [
        (0, "00000000000000a1", "gen_ai.user.message", '{"content":"hi"}', '{"gen_ai.system":"openai"}'),
        (2, "", "gen_ai.choice", "", '{"event.name":"gen_ai.choice","n":1}'),
    ]
    counts = door.receiver.counts
    assert (counts.stored_events, counts.refused_events) == (2, 3)


def test_a_log_record_sent_again_replaces_itself(door: Door) -> None:
    trace_id = secrets.token_hex(16)
    body = logs(trace_id, {"name": "gen_ai.choice", "body": {"content": "one"}}, {"name": "gen_ai.choice"})
    for _ in range(2):
        assert door.post("/v1/logs", body).content == b""
    eventually(lambda: door.receiver.counts.stored_events == 4)
    assert len(door.events(trace_id)) == 2


def test_log_records_in_json_mean_the_same_as_in_protobuf(door: Door) -> None:
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    record = {
        "trace_id": trace_id.upper(),
        "spanId": span_id,
        "eventName": "gen_ai.choice",
        "observed_time_unix_nano": 1_763_900_000_000_000_000,
        "severityNumber": "SEVERITY_NUMBER_INFO",
        "body": {"kvlist_value": {"values": [{"key": "index", "value": {"int_value": "3"}}]}},
        "attributes": [{"key": "bytes", "value": {"bytesValue": "aGk="}}, {"key": "no", "value": {}}],
    }
    bad = {**record, "traceId": "xyz", "trace_id": ""}
    answer = httpx.post(f"{door.url}/v1/logs", json={"resourceLogs": [{"scope_logs": [{"logRecords": [bad, record]}]}]})
    assert answer.json() == {
        "partialSuccess": {
            "rejectedLogRecords": "1",
            "errorMessage": f"log record '{span_id}': traceId 'xyz' is not hexadecimal",
        }
    }
    [stored] = door.events(trace_id)
    assert (stored["span_id"], stored["name"], stored["body"], stored["attributes"]) == (
        span_id,
        "gen_ai.choice",
        '{"index":3}',
        '{"bytes":"aGk=","no":null}',
    )


def test_metrics_are_accepted_and_refused_by_name(server: Server) -> None:
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    metrics.add(name="gen_ai.client.token.usage").histogram.data_points.add()
    points = metrics.add(name="requests").sum.data_points
    points.add()
    points.add()
    answer = httpx.post(f"{server.url}/v1/metrics", content=request.SerializeToString(), headers=PROTOBUF)
    assert answer.status_code == 200
    partial = ExportMetricsServiceResponse.FromString(answer.content).partial_success
    assert partial.rejected_data_points == 3
    assert partial.error_message.split("; ") == [
        "metric 'gen_ai.client.token.usage': tokens and durations are computed from spans, metrics are not kept",
        "metric 'requests': tokens and durations are computed from spans, metrics are not kept",
    ]
    assert httpx.post(f"{server.url}/v1/metrics", content=b"hello", headers=PROTOBUF).status_code == 400


@pytest.mark.parametrize("end", ["", "/"])
@pytest.mark.parametrize("prefix", ["", "/api/public/otel"])
def test_traces_are_taken_at_every_known_address(
    server: Server, monitor: Monitor, project: str, prefix: str, end: str
) -> None:
    body = otlp({}, project=project).SerializeToString()
    assert httpx.post(f"{server.url}{prefix}/v1/traces{end}", content=body, headers=PROTOBUF).status_code == 200
    assert monitor.usage(project=project)["total_conversations"] == 1


def zlib_compressed(body: bytes, window_bits: int) -> bytes:
    deflate = zlib.compressobj(wbits=window_bits)
    return deflate.compress(body) + deflate.flush()


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib_compressed(body, -15)),
        ("zstd", lambda body: pa.compress(body, "zstd", asbytes=True)),
        ("GZIP", gzip.compress),
    ],
)
def test_every_compression_is_undone(
    server: Server, monitor: Monitor, project: str, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    body = compress(otlp({}, project=project).SerializeToString())
    assert server.post(body, **{"Content-Encoding": encoding}).status_code == 200
    assert monitor.usage(project=project)["total_conversations"] == 1


def head(length: object, *more: str) -> bytes:
    lines = ["POST /v1/traces HTTP/1.1", "Host: x", "Content-Type: application/x-protobuf", *more]
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


def test_a_body_that_never_ends_is_given_up_and_its_bytes_are_freed(door: Door) -> None:
    answer = door.answer(head(1000) + b"x" * 10)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"did not come within 0.5 s" in answer
    assert door.receiver.pending_bytes == 0


def test_half_a_body_is_forgotten(store: Store, tmp_path: Path) -> None:
    with opened_door(store, tmp_path, body_seconds=600) as door:
        with door.connect() as connection:
            connection.sendall(head(1000) + b"x" * 10)
            eventually(lambda: door.receiver.pending_bytes == 10)
        eventually(lambda: door.receiver.pending_bytes == 0)
        assert door.post("/v1/traces", b"").status_code == 200


def test_pipelined_requests_are_answered_in_order(door: Door) -> None:
    answers = door.answer(head(0) + head(5) + b"hello" + head(0, "Connection: close"))
    assert [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]] == [200, 400, 200]


def test_a_body_may_come_in_chunks(server: Server, monitor: Monitor, project: str) -> None:
    body = otlp({}, project=project).SerializeToString()
    chunks = (body[i : i + 100] for i in range(0, len(body), 100))
    assert httpx.post(f"{server.url}/v1/traces", content=chunks, headers=PROTOBUF).status_code == 200
    assert monitor.usage(project=project)["total_conversations"] == 1


@pytest.mark.parametrize("length", ["3", "-1", "x", "5, 6"])
def test_a_wrong_content_length_ends_the_connection(door: Door, length: str) -> None:
    answer = door.answer(head(length) + b"hello")
    assert answer.split(b"HTTP/1.1 ")[-1].startswith(b"400 ")
    assert door.post("/v1/traces", b"").status_code == 200


def test_long_headers_are_borne(door: Door) -> None:
    assert door.post("/v1/traces", b"", **{"x-long": "y" * 10_000}).status_code == 200


def test_a_full_queue_asks_to_send_again(own_server: Callable[..., Server]) -> None:
    server = own_server(ASSAY_INGEST__MAX_PENDING_BYTES="500")
    answer = server.post(otlp({}))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert server.post(b"").status_code == 200


def test_a_span_that_never_came_is_not_found(monitor: Monitor) -> None:
    with pytest.raises(NotFound, match="no span 'ffff' is stored"):
        monitor.call("ffff")


def test_scores_follow_within_seconds(server: Server, monitor: Monitor, project: str) -> None:
    span_id = secrets.token_hex(8)
    server.post(otlp({"span_id": span_id}, project=project))
    scores = eventually(lambda: monitor.call(span_id)["scores"])
    assert set(scores) == {"coherence", "groundedness", "prompt_toxicity", "refusal", "relevance", "toxicity"}
