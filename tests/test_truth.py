"""What instrumentations sent, with its truth: every recorded case is posted to a real server and read from its API.

The cases were recorded from real client libraries against a server whose answers are known. Whatever order
their spans and log records arrive in, each call must be there once, with everything the payload tells.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from conftest import PROTOBUF, Server

HERE = Path(__file__).parent
EXPECTATIONS = sorted(
    path for place in ("otlp_cases", "recordings") for path in (HERE / place).rglob("*.expected.json")
)

Requests = Iterator[tuple[str, bytes]]


def logs_first(case: Path) -> Requests:
    for signal, suffix in (("logs", "logs.pb"), ("traces", "pb"), ("metrics", "metrics.pb")):
        if (recorded := case.with_name(case.name.replace("expected.json", suffix))).exists():
            yield signal, recorded.read_bytes()


def logs_last(case: Path) -> Requests:
    return reversed(list(logs_first(case)))


def span_by_span_the_last_first(case: Path) -> Requests:
    for signal, body in logs_last(case):
        if signal != "traces":
            yield signal, body
            continue
        whole = ExportTraceServiceRequest.FromString(body)
        for resource in reversed(whole.resource_spans):
            for scope in reversed(resource.scope_spans):
                for span in reversed(scope.spans):
                    part = ExportTraceServiceRequest()
                    part.resource_spans.add(resource=resource.resource).scope_spans.add(scope=scope.scope, spans=[span])
                    yield signal, part.SerializeToString()


@pytest.fixture(scope="module", params=[logs_first, span_by_span_the_last_first], ids=lambda order: order.__name__)
def calls(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, Any]]]:
    """All counted calls of a server that got every case, each once settled."""
    server = Server(tmp_path_factory.mktemp("truth"), ASSAY_QUALITY__SCORERS="off").start()
    with httpx.Client(base_url=server.url, timeout=60) as client:

        def send(case: Path) -> None:
            for signal, body in request.param(case):
                client.post(f"/v1/{signal}", content=body, headers=PROTOBUF).raise_for_status()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(send, EXPECTATIONS))
        wait_until_settled(client)
        yield list(counted_calls(client))
    server.stop()


def wait_until_settled(client: httpx.Client) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        health = client.get("/api/health").json()
        if not health["settle"]["lag_seconds"] and not health["ingest"]["pending_spans"]:
            return
        time.sleep(0.2)
    raise AssertionError(f"settling did not end: {health}")


def counted_calls(client: httpx.Client) -> Iterator[dict[str, Any]]:
    cursor = ""
    while True:
        page = client.get("/api/calls", params={"limit": 500, "cursor": cursor}).json()
        yield from page["calls"]
        cursor = page["next_cursor"]
        if not cursor:
            return


@pytest.mark.parametrize("case", EXPECTATIONS, ids=lambda path: f"{path.parent.name}/{path.name[:-14]}")
def test_a_recorded_case_is_told_as_it_was(calls: list[dict[str, Any]], case: Path) -> None:
    expected = json.loads(case.read_text())
    by_trace: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for call in calls:
        by_trace[call["trace_id"]].append(call)
    traces = {wanted["span"]["trace_id"] for wanted in expected["calls"] if wanted.get("span")}
    found = [call for trace in traces for call in by_trace[trace]]
    assert len(found) == expected["records_expected"]
    problems = []
    for wanted in expected["calls"]:
        if accepted := wanted.get("accepted_span_ids"):
            [call] = [call for call in found if call["span_id"] in accepted]
            problems += differences(call, wanted)
    assert problems == []


SAME = ("provider", "request_model", "response_id", "finish_reason", "session_id", "user_id")
RENAMED = {"model": "response_model", "prompt": "last_user_text", "system": "system_prompt", "response": "output_text"}
TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
FALLBACK_IS_WELCOME = {"model", "request_model", "prompt", "finish_reason", "provider"}
FINISH = {
    "tool_call": "tool_calls",
    "tool-calls": "tool_calls",
    "tool_use": "tool_calls",
    "end_turn": "stop",
    "max_tokens": "length",
}


def differences(call: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Fields of a call that are not as the truth has them, as far as the payload tells it."""
    truth = wanted["truth"]
    usage = truth.get("usage") or {}
    true = {name: truth.get(RENAMED.get(name, name)) for name in (*SAME, *RENAMED)}
    true |= {name: usage.get(name) for name in TOKENS}
    problems = [
        f"{name}: {call.get(name)!r}, in truth {value!r}"
        for name, value in true.items()
        if not acceptable(name, call, value, wanted)
    ]
    if bool(truth.get("error")) != (call["status"] == "error"):
        problems.append(f"status: {call['status']!r}, in truth {truth.get('error')!r}")
    return problems


def acceptable(name: str, call: dict[str, Any], value: Any, wanted: dict[str, Any]) -> bool:
    got, blank = call.get(name), call.get(name) in (None, "", 0)
    told_as = RENAMED.get(name, name)
    if told_as in wanted["not_in_payload"]:
        return blank or name in FALLBACK_IS_WELCOME or (name in TOKENS and call["tokens_estimated"])
    if value is None:
        return blank or name in ("system", "session_id", "user_id", "finish_reason", "model", "response_id")
    if value == 0 or told_as in wanted["zero_in_truth_absent_in_payload"]:
        return got in (None, 0, value)
    if str(got) in {str(told[1]) for told in wanted.get("payload_contradicts_truth", [])}:
        return True
    if name == "finish_reason":
        return FINISH.get(str(got), got) == FINISH.get(value, value)
    return str(got or "").strip() == value.strip() if isinstance(value, str) else bool(got == value)
