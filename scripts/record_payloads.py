"""Record what real instrumentations send, with its truth: `python scripts/record_payloads.py [NAME[/SCENARIO] ...]`.

Each program `tests/recordings/NAME/app.py` says which packages it needs (PEP 723) and which scenarios it knows; uv
runs each in an environment of its own against the simulated provider. What the provider got and answered is the
truth; what the program exports over OTLP is the payload, from which paths, hosts and process ids are taken out.
Out: SCENARIO.pb, SCENARIO.logs.pb and SCENARIO.expected.json beside the program.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from assay.simulate.faults import Faults
from assay.simulate.provider import provider_app

RECORDINGS = Path(__file__).parents[1] / "tests" / "recordings"
PORT = 4010
TIMEOUT_S = 180
LARGEST_BYTES = 40_000

Json = dict[str, Any]

_MACHINE = re.compile(r"^(host|process|os|container|service\.instance|thread|code)\.")
_PATH = re.compile(r"(?:/[\w.@+~-]+)+/(?=[\w.@+-]+\.py)")
_CALLS = {"chat", "text_completion", "completion", "generate_content", "embeddings", "embedding"}
_CALL_KINDS = {"LLM", "EMBEDDING"}


class Stage:
    """The provider and the collector, for one scenario at a time."""

    def __init__(self) -> None:
        self._provider: Any = provider_app(latency_scale=0)
        self.exchanges: list[Json] = []
        self.traces = ExportTraceServiceRequest()
        self.logs = ExportLogsServiceRequest()

    def set(self, scenario: str) -> None:
        """A provider that knows nothing of other scenarios, and nothing recorded yet."""
        faults = Faults(error_429=1.0) if "error_429" in scenario else Faults()
        faults = Faults(error_500=1.0) if "error_500" in scenario else faults
        self._provider = provider_app(latency_scale=0, faults=faults)
        self.exchanges, self.traces, self.logs = [], ExportTraceServiceRequest(), ExportLogsServiceRequest()

    async def provider(self, scope: Any, receive: Any, send: Any) -> None:
        """The simulated provider, with each exchange written down."""
        exchange: Json = {"path": scope.get("path"), "began_ns": time.time_ns(), "request": b"", "answer": b""}

        async def hear() -> Any:
            message = await receive()
            exchange["request"] += message.get("body", b"")
            return message

        async def say(message: Any) -> None:
            exchange["answer"] += message.get("body", b"")
            exchange["status"] = message.get("status", exchange.get("status"))
            await send(message)

        if scope["type"] == "http" and scope["method"] == "POST":
            self.exchanges.append(exchange)
        await self._provider(scope, hear, say)
        exchange["ended_ns"] = time.time_ns()

    async def collect(self, request: Request) -> Response:
        """Take in OTLP; metrics are not kept."""
        body = await request.body()
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        kept = {"traces": self.traces, "logs": self.logs}.get(request.path_params["signal"])
        if kept is not None:
            kept.MergeFromString(body)
        return Response(b"", media_type="application/x-protobuf")


@contextmanager
def serving(app: Any, port: int) -> Iterator[None]:
    """Serve an ASGI app on loopback."""
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=10)


def run(program: Path, scenario: str) -> None:
    """Run one scenario of a program to its end."""
    provider, collector = f"http://127.0.0.1:{PORT}", f"http://127.0.0.1:{PORT + 1}"
    environment = {
        **{name: os.environ[name] for name in os.environ if not name.startswith(("OTEL_", "OPENAI_", "PYTHON"))},
        "PYTHONPATH": str(RECORDINGS),
        "OPENAI_API_KEY": "sk-test",
        "OPENAI_BASE_URL": f"{provider}/v1",
        "OPENAI_API_BASE": f"{provider}/v1",
        "ANTHROPIC_API_KEY": "sk-test",
        "ANTHROPIC_BASE_URL": provider,
        "ANTHROPIC_API_BASE": provider,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_SERVICE_NAME": f"{program.parent.name}-app",
        "LITELLM_LOCAL_MODEL_COST_MAP": "true",
    }
    command = ["uv", "run", "--quiet", "--no-project", "--script", str(program), scenario]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])


def record(stage: Stage, program: Path, scenario: str) -> str:
    """Record one scenario; answers a line about it. Raises RuntimeError when the program fails."""
    stage.set(scenario)
    run(program, scenario)
    scrub(stage.traces)
    scrub(stage.logs)
    truths = [truth(exchange) for exchange in stage.exchanges]
    told = expectation(program, scenario, stage, truths)
    target = program.parent / scenario
    parts = {".pb": stage.traces, ".logs.pb": stage.logs}
    sizes = {suffix: part.ByteSize() for suffix, part in parts.items() if part.ByteSize()}
    if sum(sizes.values()) > LARGEST_BYTES:
        raise RuntimeError(f"too large: {sizes}")
    for suffix in parts:
        path = target.with_name(scenario + suffix)
        path.unlink(missing_ok=True)
        if suffix in sizes:
            path.write_bytes(parts[suffix].SerializeToString())
    target.with_name(f"{scenario}.expected.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    unmatched = sum(not call["accepted_span_ids"] for call in told["calls"])
    return f"{len(truths)} calls, {unmatched} without a span, {sizes}"


# What the provider got and answered


def truth(exchange: Json) -> Json:
    """One exchange in the terms of expected.json."""
    asked = json.loads(exchange["request"])
    failed = exchange["status"] >= 400
    api = exchange["path"].removeprefix("/v1/")
    whole, received = (None, None) if failed else _answer(api, exchange["answer"].decode())
    messages = _asked_messages(api, asked)
    system = [message["text"] for message in messages if message["role"] in ("system", "developer")]
    users = [message["text"] for message in messages if message["role"] == "user"]
    told: Json = {
        "operation": "embeddings" if api == "embeddings" else "chat",
        "api": api,
        "provider": "anthropic" if api == "messages" else "openai",
        "request_model": asked["model"],
        "streaming": bool(asked.get("stream")),
        "input_messages": messages,
        "system_prompt": "\n".join(system) or None,
        "last_user_text": users[-1] if users else None,
        "error": json.loads(exchange["answer"])["error"]["type"] if failed else None,
        "response_model": whole and whole["model"],
        "response_id": whole and whole.get("id"),
        "usage": received,
    }
    return told | (_said(api, whole) if whole else {"output_text": None, "output_tool_calls": None})


def _answer(api: str, text: str) -> tuple[Json, Json | None]:
    """The whole answer, put together from a stream where it was one, and its usage."""
    chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    if not chunks:
        whole = json.loads(text)
    elif api == "responses":
        whole = chunks[-1]["response"]
    elif api == "messages":
        whole = _message(chunks)
    else:
        whole = _completion(chunks)
    return whole, _usage(whole["usage"]) if whole.get("usage") else None


def _message(chunks: list[Json]) -> Json:
    whole = chunks[0]["message"]
    fields = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
    for chunk in chunks:
        if chunk["type"] == "content_block_start":
            whole["content"].append(chunk["content_block"])
        elif chunk["type"] == "content_block_delta" and (field := fields.get(chunk["delta"]["type"])):
            block = whole["content"][chunk["index"]]
            block[field] = block.get(field, "") + chunk["delta"][field]
        elif chunk["type"] == "message_delta":
            whole |= chunk["delta"]
            whole["usage"] |= chunk["usage"]
    for block in whole["content"]:
        if "partial_json" in block:
            block["input"] = json.loads(block.pop("partial_json"))
    return whole


def _completion(chunks: list[Json]) -> Json:
    message: Json = {"content": None, "tool_calls": []}
    whole = {**chunks[0], "usage": chunks[-1].get("usage"), "choices": [{"message": message, "finish_reason": None}]}
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        delta = choice["delta"]
        if delta.get("content") is not None:
            message["content"] = (message["content"] or "") + delta["content"]
        for call in delta.get("tool_calls") or ():
            if "id" in call:
                message["tool_calls"].append(call)
            else:
                message["tool_calls"][-1]["function"]["arguments"] += call["function"]["arguments"]
        whole["choices"][0]["finish_reason"] = choice["finish_reason"] or whole["choices"][0]["finish_reason"]
    return whole


def _usage(sent: Json) -> Json:
    """Token counts of any API: input with what was cached, output with what was reasoned."""
    given_in = sent.get("prompt_tokens_details") or sent.get("input_tokens_details") or {}
    given_out = sent.get("completion_tokens_details") or sent.get("output_tokens_details") or {}
    read, written = sent.get("cache_read_input_tokens"), sent.get("cache_creation_input_tokens")
    uncached = sent.get("prompt_tokens", sent.get("input_tokens"))
    output = sent.get("completion_tokens", sent.get("output_tokens"))
    return {
        "input_tokens": uncached + (read or 0) + (written or 0),
        "input_tokens_uncached": None if read is None else uncached,
        "output_tokens": output,
        "cache_read_tokens": given_in.get("cached_tokens") if read is None else read,
        "cache_write_tokens": given_in.get("cache_write_tokens") if written is None else written,
        "reasoning_tokens": given_out.get("reasoning_tokens", given_out.get("thinking_tokens")),
    }


def _said(api: str, whole: Json) -> Json:
    if api == "embeddings":
        return {"output_text": None, "output_tool_calls": None, "finish_reason": None}
    if api == "messages":
        text = "".join(block["text"] for block in whole["content"] if block["type"] == "text")
        calls = [(b["id"], b["name"], b["input"]) for b in whole["content"] if b["type"] == "tool_use"]
        reason = whole["stop_reason"]
    elif api == "responses":
        parts = [part for item in whole["output"] if item["type"] == "message" for part in item["content"]]
        text = "".join(part["text"] for part in parts)
        called = [item for item in whole["output"] if item["type"] == "function_call"]
        calls = [(item["call_id"], item["name"], json.loads(item["arguments"])) for item in called]
        reason = None
    else:
        message = whole["choices"][0]["message"]
        text = message["content"]
        called = message.get("tool_calls") or []
        calls = [(c["id"], c["function"]["name"], json.loads(c["function"]["arguments"])) for c in called]
        reason = whole["choices"][0]["finish_reason"]
    named = [{"id": call_id, "name": name, "arguments": arguments} for call_id, name, arguments in calls]
    return {"output_text": text or None, "output_tool_calls": named or None, "finish_reason": reason}


def _asked_messages(api: str, asked: Json) -> list[Json]:
    if api == "embeddings":
        texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
        return [{"role": "user", "text": text} for text in texts]
    items = asked.get("messages", asked.get("input"))
    items = [{"role": "user", "content": items}] if isinstance(items, str) else items
    instructed = asked.get("system") or asked.get("instructions")
    first = [{"role": "system", "content": instructed}] if instructed else []
    return [_asked_message(item) for item in (*first, *items)]


def _asked_message(item: Json) -> Json:
    content = item.get("content", item.get("output"))
    blocks = content if isinstance(content, list) else [{"text": content}]
    text = "".join(str(block.get("text") or block.get("content") or "") for block in blocks)
    is_result = item.get("type") == "function_call_output" or any(b.get("type") == "tool_result" for b in blocks)
    role = "tool" if is_result else item.get("role", "assistant")
    return {"role": role, "text": text}


# What was sent


def expectation(program: Path, scenario: str, stage: Stage, truths: list[Json]) -> Json:
    """The contents of expected.json: each exchange with the spans that tell of it."""
    spans = [
        (scope.scope.name, span)
        for resource in stage.traces.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    scenarios = _declared(program)
    session, user = scenarios.get("session_id"), scenarios.get("user_id")
    calls = []
    for i, (exchange, told) in enumerate(zip(stage.exchanges, truths, strict=True)):
        told |= {"session_id": session, "user_id": user} if "session" in scenario else {}
        telling = [(scope, span) for scope, span in spans if _tells_of(span, exchange, told)]
        calls.append({"call_index": i, **_described(telling), "truth": told, **_carried(telling, spans, stage, told)})
    usages = [call["truth"]["usage"] for call in calls if call["truth"]["usage"]]
    return {
        "instrumentation": program.parent.name,
        "scenario": scenario,
        "versions": _versions(stage.traces),
        "llm_call_count": len(truths),
        "records_expected": sum(bool(call["accepted_span_ids"]) for call in calls),
        "total_usage": {
            name: sum(usage[name] or 0 for usage in usages) for name in ("input_tokens", "output_tokens")
        },
        "calls": calls,
        "other_spans": sorted({span.name for _, span in spans if not any(_id(span) in _accepted(c) for c in calls)}),
    }


def _declared(program: Path) -> Json:
    text = program.read_text()
    return {name: match[1] for name in ("session_id", "user_id") if (match := re.search(rf'{name}.{{1,4}}"([^"]+)"', text))}


def _accepted(call: Json) -> list[str]:
    return call["accepted_span_ids"]


def _id(span: Any) -> str:
    return span.span_id.hex()


def _tells_of(span: Any, exchange: Json, told: Json) -> bool:
    """A span is a call's when it says that it is a model's call and names its answer, or else was open meanwhile."""
    values = {attribute.key: attribute.value.string_value for attribute in span.attributes}
    is_call = (
        values.get("gen_ai.operation.name") in _CALLS
        or values.get("openinference.span.kind") in _CALL_KINDS
        or values.get("llm.request.type") in _CALLS
        or "request_data" in values
    )
    if not is_call:
        return False
    if (named := values.get("gen_ai.response.id")) and told["response_id"]:
        return named == told["response_id"]
    return span.start_time_unix_nano <= exchange["began_ns"] and span.end_time_unix_nano >= exchange["began_ns"]


def _described(telling: list[tuple[str, Any]]) -> Json:
    if not telling:
        return {"span": None, "accepted_span_ids": [], "same_call_spans": []}
    named = [
        {"trace_id": span.trace_id.hex(), "span_id": _id(span), "name": span.name, "scope": scope}
        for scope, span in telling
    ]
    return {"span": named[0], "accepted_span_ids": [one["span_id"] for one in named], "same_call_spans": named[1:]}


def _carried(telling: list[tuple[str, Any]], spans: list[tuple[str, Any]], stage: Stage, told: Json) -> Json:
    """Where each true value stands in what was sent of this call; a session or user may stand anywhere in its trace."""
    own = [span for _, span in telling]
    traces = {span.trace_id for span in own}
    here = [leaf for span in own for leaf in _span_leaves(span)]
    here += [leaf for leaf in _log_leaves(stage.logs, {span.span_id for span in own})]
    around = [leaf for _, span in spans if span.trace_id in traces for leaf in _span_leaves(span)]
    usage = told["usage"] or {}
    fields = {name: told.get(name) for name in _TEXTS} | {name: usage.get(name) for name in _COUNTS}
    carried: Json = {}
    for name, value in fields.items():
        if value is not None:
            pool = around if name in ("session_id", "user_id") else here
            if place := _place(name, value, pool) or _sum_place(name, usage, pool):
                carried[name] = place
    absent = [name for name, value in fields.items() if value is not None and name not in carried]
    zero = [name for name in absent if fields[name] == 0]
    return {
        "carried_at": carried,
        "not_in_payload": [name for name in absent if name not in zero],
        "zero_in_truth_absent_in_payload": zero,
    }


_TEXTS = (
    "provider",
    "request_model",
    "response_model",
    "response_id",
    "last_user_text",
    "system_prompt",
    "output_text",
    "finish_reason",
    "session_id",
    "user_id",
)
_COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
_NEAR = {
    "cache_read_tokens": ("cache", "cached"),
    "cache_write_tokens": ("cache",),
    "reasoning_tokens": ("reason", "thinking"),
    "input_tokens": ("input", "prompt"),
    "output_tokens": ("output", "completion"),
    "provider": ("provider", "system"),
    "request_model": ("model",),
    "response_model": ("model",),
    "finish_reason": ("reason", "stop"),
    "session_id": ("session", "conversation", "thread"),
    "user_id": ("user",),
    "system_prompt": ("",),
}


def _place(name: str, value: Any, leaves: list[tuple[str, Any]]) -> str | None:
    """The first key that holds the value and whose name is near the field's."""
    for key, leaf in leaves:
        same = str(leaf).strip() == str(value).strip() if isinstance(value, str) else str(leaf) == str(value)
        if name == "finish_reason" and isinstance(leaf, str):
            same = _plain_reason(leaf) == _plain_reason(value)
        if same and any(word in key.lower() for word in _NEAR.get(name, ("",))):
            return key
    return None


def _plain_reason(reason: str) -> str:
    known = {"tool_call": "tool_calls", "tool-calls": "tool_calls", "tool_use": "tool_calls", "end_turn": "stop"}
    return known.get(reason.lower(), {"max_tokens": "length"}.get(reason.lower(), reason.lower()))


def _sum_place(name: str, usage: Json, leaves: list[tuple[str, Any]]) -> str | None:
    """Input without the cache, where the parts that make it whole are there too."""
    if name != "input_tokens" or usage.get("input_tokens_uncached") is None:
        return None
    parts = [("input_tokens", usage["input_tokens_uncached"])]
    parts += [(part, usage[part]) for part in ("cache_read_tokens", "cache_write_tokens") if usage[part]]
    places = [_place(part, value, leaves) for part, value in parts]
    return " + ".join(place for place in places if place) if all(places) else None


def _span_leaves(span: Any) -> Iterator[tuple[str, Any]]:
    for attribute in span.attributes:
        yield from _leaves(attribute.key, attribute.value)
    for event in span.events:
        for attribute in event.attributes:
            yield from _leaves(f"event:{event.name}.{attribute.key}", attribute.value)


def _log_leaves(logs: Any, span_ids: set[bytes]) -> Iterator[tuple[str, Any]]:
    for resource in logs.resource_logs:
        for scope in resource.scope_logs:
            for entry in (entry for entry in scope.log_records if entry.span_id in span_ids):
                yield from _leaves(f"log:{entry.event_name}.body", entry.body)
                for attribute in entry.attributes:
                    yield from _leaves(f"log:{entry.event_name}.{attribute.key}", attribute.value)


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        for i, item in enumerate(value.array_value.values):
            yield from _leaves(f"{key}[{i}]", item)
    elif kind == "kvlist_value":
        for item in value.kvlist_value.values:
            yield from _leaves(f"{key}.{item.key}", item.value)
    elif kind:
        yield from _json_leaves(key, getattr(value, kind))


def _json_leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            yield from _json_leaves(f"{key}(json)", json.loads(value))
        except ValueError:
            yield key, value
        else:
            yield key, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _json_leaves(f"{key}.{name}", item)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _json_leaves(f"{key}[{i}]", item)
    else:
        yield key, value


def _versions(traces: Any) -> Json:
    scopes = {
        scope.scope.name: scope.scope.version for resource in traces.resource_spans for scope in resource.scope_spans
    }
    return {name: version for name, version in sorted(scopes.items()) if version}


def scrub(message: Any) -> None:
    """Take out of a payload what names the machine: host, process, paths."""
    for field, value in message.ListFields():
        if field.name == "attributes":
            kept = [attribute for attribute in value if not _MACHINE.match(attribute.key)]
            del value[:]
            value.extend(kept)
        if field.type == field.TYPE_STRING and not field.is_repeated:
            setattr(message, field.name, _PATH.sub("", value))
        elif field.type == field.TYPE_MESSAGE:
            for item in value if field.is_repeated else [value]:
                scrub(item)


def scenarios_of(program: Path) -> list[str]:
    """The scenarios that a program knows: its public functions."""
    return re.findall(r"^(?:async )?def ([a-z]\w*)\(\)", program.read_text(), re.MULTILINE)


def main() -> int:
    """Record what the command line asks for, all without a name; 1 when any failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="*", help="an instrumentation, or one scenario of it")
    asked = parser.parse_args().name
    stage, failed = Stage(), 0
    collector = Starlette(routes=[Route("/v1/{signal}", stage.collect, methods=["POST"])])
    with serving(stage.provider, PORT), serving(collector, PORT + 1):
        for program in sorted(RECORDINGS.glob("*/app.py")):
            for scenario in scenarios_of(program):
                name = f"{program.parent.name}/{scenario}"
                if asked and not {name, program.parent.name} & set(asked):
                    continue
                try:
                    print(name, record(stage, program, scenario), flush=True)
                except (RuntimeError, subprocess.TimeoutExpired, LookupError, ValueError) as error:
                    failed += 1
                    print(name, "FAILED:", error, flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
