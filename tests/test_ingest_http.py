"""The OTLP door, knocked on over HTTP at a real server."""

from __future__ import annotations

import gzip
import json
import secrets
import time
import zlib
from collections.abc import Callable

import httpx
import pytest
from dirty_equals import IsFloat, IsPartialDict, IsStr
from google.rpc.status_pb2 import Status
from inline_snapshot import snapshot
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from assay.client.monitor import Monitor
from assay.errors import NotFound
from conftest import PROTOBUF, Server, chat_attributes, eventually, messages, otlp

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
            "messages_in": '[{"role": "user", "parts": [{"type": "text", "content": "What is machine learning?"}]}]',
            "messages_out": messages(assistant="A way to learn from data."),
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
            "attributes": {
                "gen_ai.response.finish_reasons": '["stop"]',
                "gen_ai.response.time_to_first_chunk": "0.25",
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
        (b"x", {**PROTOBUF, "Content-Encoding": "gzip"}, 400, "not valid gzip"),
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
    answer = httpx.post(f"{server.url}/v1/metrics", content=b"", headers=PROTOBUF)
    assert answer.status_code == 404
    assert "'metrics' is not taken" in Status.FromString(answer.content).message


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
    assert set(scores) == {"relevance", "coherence", "toxicity", "groundedness"}
