"""The truth of recorded exchanges in the terms of expected.json, and which parts of it a payload tells."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

Json = dict[str, Any]
Leaves = Sequence[tuple[str, str]]

SESSION, USER = "session-4711", "user-0815"
"""What every program names its session and its user in the scenario `session`."""

LONGEST_TEXT = 200
"""Characters of a message that are kept in the list of what was asked; nothing is compared with it."""

_COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
_SUMS = {"input_tokens": ("cache_read_tokens", "cache_write_tokens"), "output_tokens": ("reasoning_tokens",)}
"""Counts that some senders give without their parts, or with a part twice."""

_NEAR = {
    "request_model": ("model",),
    "response_model": ("model",),
    "provider": ("provider", "system", "format"),
    "finish_reason": ("reason", "stop"),
    "input_tokens": ("input", "prompt", "tokens"),
    "output_tokens": ("output", "completion"),
    "cache_read_tokens": ("cache",),
    "cache_write_tokens": ("cache", "write"),
    "reasoning_tokens": ("reason", "thought", "thinking"),
}
"""Words of which one is in the key of a value that is short enough to stand anywhere by chance."""

_FINISH = {"tool_call": "tool_calls", "tool-calls": "tool_calls", "tool_use": "tool_calls", "end_turn": "stop"}
_CALLS = {"chat", "text_completion", "completion", "generate_content", "embeddings", "embedding", "responses"}
_KINDS = {
    "gen_ai.operation.name": _CALLS,
    "llm.request.type": _CALLS,
    "openinference.span.kind": {"LLM", "EMBEDDING"},
    "langfuse.observation.type": {"generation", "embedding"},
    "mlflow.spanType": {'"LLM"', '"CHAT_MODEL"', '"EMBEDDING"'},
}


def expectation(
    name: str, scenario: str, traces: Any, logs: Any, exchanges: Sequence[Json], received: str | None
) -> Json:
    """The contents of expected.json: each exchange with the spans that tell of it.

    `received` is what the client had got of a stream that it closed.
    """
    spans = [
        (scope.scope.name, span) for part in traces.resource_spans for scope in part.scope_spans for span in scope.spans
    ]
    calls, ids = list[Json](), {truth(exchange)["response_id"] for exchange in exchanges}
    for i, exchange in enumerate(exchanges):
        told = truth(exchange) | ({"session_id": SESSION, "user_id": USER} if "session" in scenario else {})
        if "early_close" in scenario:
            told |= {"output_text": received, "finish_reason": None, "usage": None}
        telling = [(scope, span) for scope, span in spans if _tells_of(span, exchange, told)]
        others = ids - {told["response_id"], None}
        telling = [(scope, span) for scope, span in telling if others.isdisjoint(_answered(span))] or telling
        leaves = _around(telling, spans, logs)
        calls.append({"call_index": i, **_described(telling), "truth": told, **_carried(leaves, told)})
    usages = [call["truth"]["usage"] or {} for call in calls]
    scopes = {s.scope.name: s.scope.version for part in traces.resource_spans for s in part.scope_spans}
    return {
        "instrumentation": name,
        "scenario": scenario,
        "versions": {scope: version for scope, version in sorted(scopes.items()) if version},
        "llm_call_count": len(calls),
        "records_expected": sum(bool(call["accepted_span_ids"]) for call in calls),
        "total_usage": {count: sum(usage.get(count) or 0 for usage in usages) for count in _COUNTS[:2]},
        "calls": calls,
    }


# What the provider got and answered


def truth(exchange: Json) -> Json:
    """One exchange in the terms of expected.json."""
    asked, text = json.loads(exchange["request"]), exchange["answer"].decode()
    api = exchange["path"].removeprefix("/v1/")
    failed = exchange["status"] >= 400
    whole = {} if failed else _whole(api, text)
    messages = list(_asked(asked))
    said = {role: [m["text"] for m in messages if m["role"] == role and m["text"]] for role in ("system", "user")}
    return {
        "operation": "embeddings" if api == "embeddings" else "chat",
        "api": api,
        "provider": "anthropic" if api == "messages" else "openai",
        "request_model": asked["model"],
        "streaming": bool(asked.get("stream")),
        "input_messages": [{**message, "text": _cut(message["text"])} for message in messages],
        "system_prompt": "\n".join(said["system"]) or None,
        "last_user_text": said["user"][-1] if said["user"] and api != "embeddings" else None,
        "error": json.loads(text)["error"]["type"] if failed else None,
        "response_model": whole.get("model"),
        "response_id": whole.get("id"),
        "usage": _usage(whole["usage"]) if whole.get("usage") else None,
        **_said(api, whole),
    }


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "…"


def _whole(api: str, text: str) -> Json:
    """The answer, put together from a stream where it was one."""
    chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    if not chunks:
        return json.loads(text)
    if api == "responses":
        return next((chunk["response"] for chunk in reversed(chunks) if "response" in chunk), {})
    return _message(chunks) if api == "messages" else _completion(chunks)


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
            whole |= chunk["delta"] | {"usage": whole["usage"] | chunk["usage"]}
    for block in whole["content"]:
        if "partial_json" in block:
            block["input"] = json.loads(block.pop("partial_json"))
    return whole


def _completion(chunks: list[Json]) -> Json:
    calls, texts, reason = list[Json](), list[str](), None
    for choice in chain.from_iterable(chunk["choices"] for chunk in chunks):
        texts += filter(None, [choice["delta"].get("content")])
        for call in choice["delta"].get("tool_calls") or ():
            if "id" in call:
                calls.append(call)
            else:
                calls[-1]["function"]["arguments"] += call["function"]["arguments"]
        reason = choice["finish_reason"] or reason
    choice = {"message": {"content": "".join(texts), "tool_calls": calls}, "finish_reason": reason}
    return {**chunks[0], "usage": chunks[-1].get("usage"), "choices": [choice]}


def _usage(sent: Json) -> Json:
    """Token counts of any API: input with what was cached, output with what was reasoned."""
    given_in = sent.get("prompt_tokens_details") or sent.get("input_tokens_details") or {}
    given_out = sent.get("completion_tokens_details") or sent.get("output_tokens_details") or {}
    read, written = sent.get("cache_read_input_tokens"), sent.get("cache_creation_input_tokens")
    return {
        "input_tokens": sent.get("prompt_tokens", sent.get("input_tokens", 0)) + (read or 0) + (written or 0),
        "output_tokens": sent.get("completion_tokens", sent.get("output_tokens")),
        "cache_read_tokens": given_in.get("cached_tokens") if read is None else read,
        "cache_write_tokens": given_in.get("cache_write_tokens") if written is None else written,
        "reasoning_tokens": given_out.get("reasoning_tokens", given_out.get("thinking_tokens")),
    }


def _said(api: str, whole: Json) -> Json:
    reason, called, texts = None, list[tuple[str, str, Any]](), list[str]()
    if whole and api == "messages":
        texts = [block["text"] for block in whole["content"] if block["type"] == "text"]
        called = [(b["id"], b["name"], b["input"]) for b in whole["content"] if b["type"] == "tool_use"]
        reason = whole["stop_reason"]
    elif whole and api == "responses":
        texts = [part["text"] for item in whole["output"] if item["type"] == "message" for part in item["content"]]
        items = [item for item in whole["output"] if item["type"] == "function_call"]
        called = [(item["call_id"], item["name"], json.loads(item["arguments"])) for item in items]
    elif whole and api != "embeddings":
        [choice] = whole["choices"]
        texts, reason = [choice["message"]["content"] or ""], choice["finish_reason"]
        functions = [(call["id"], call["function"]) for call in choice["message"].get("tool_calls") or ()]
        called = [(call_id, f["name"], json.loads(f["arguments"])) for call_id, f in functions]
    named = [dict(zip(("id", "name", "arguments"), call, strict=True)) for call in called]
    return {"output_text": "".join(texts) or None, "output_tool_calls": named or None, "finish_reason": reason}


def _asked(asked: Json) -> Iterator[Json]:
    items = asked.get("messages", asked.get("input"))
    items = [
        {"content": text} if isinstance(text, str) else text for text in ([items] if isinstance(items, str) else items)
    ]
    for item in ({"role": "system", "content": asked.get("system") or asked.get("instructions") or ""}, *items):
        content = item.get("content", item.get("output"))
        blocks = content if isinstance(content, list) else [{"text": content}]
        is_result = item.get("type") == "function_call_output" or any(b.get("type") == "tool_result" for b in blocks)
        role = "assistant" if item.get("type") == "function_call" else item.get("role", "user")
        texts = (str(block.get("text") or block.get("content") or "") for block in blocks)
        role = "tool" if is_result else "system" if role == "developer" else role
        if (text := "".join(texts)) or role != "system":
            yield {"role": role, "text": text}


# What was sent


def _tells_of(span: Any, exchange: Json, told: Json) -> bool:
    """A span is a call's when it says that it is a model's call, and names its answer or was open meanwhile."""
    values = {attribute.key: attribute.value.string_value for attribute in span.attributes}
    is_call = any(values.get(key) in kinds for key, kinds in _KINDS.items())
    is_call = (
        is_call
        or "request_data" in values
        or values.get("ai.operationId", "").endswith((".doGenerate", ".doStream", ".doEmbed"))
    )
    if not is_call:
        return False
    if told["response_id"] and told["response_id"] in _answered(span):
        return True
    after = values.get("logfire.span_type") == "log" and span.end_time_unix_nano >= exchange["ended_ns"]
    return after or span.start_time_unix_nano <= exchange["began_ns"] <= span.end_time_unix_nano


def _answered(span: Any) -> set[str]:
    """What a span says of an answer; a question may hold the ids of earlier answers."""
    return {leaf for key, leaf in _leaves_of(span) if "input" not in key.lower() and "prompt" not in key}


def _described(telling: list[tuple[str, Any]]) -> Json:
    telling = sorted(telling, key=lambda one: one[0].startswith("com.anthropic.sdk"))
    named = [
        {"trace_id": span.trace_id.hex(), "span_id": span.span_id.hex(), "name": span.name, "scope": scope}
        for scope, span in telling
    ]
    ids = [one["span_id"] for one in named]
    return {"span": named[0] if named else None, "accepted_span_ids": ids, "same_call_spans": named[1:]}


def _around(telling: list[tuple[str, Any]], spans: list[tuple[str, Any]], logs: Any) -> dict[str, Leaves]:
    """What is said in these spans and their log records, and, for session and user, anywhere in their traces."""
    ids, traces = {span.span_id for _, span in telling}, {span.trace_id for _, span in telling}
    records = [r for part in logs.resource_logs for scope in part.scope_logs for r in scope.log_records]
    within = [span for _, span in spans if span.parent_span_id in ids and span.name == "raw_gen_ai_request"]
    own = [leaf for span in (*(span for _, span in telling), *within) for leaf in _leaves_of(span)]
    own += [leaf for record in records if record.span_id in ids for leaf in _leaves_of(record)]
    whole = [leaf for _, span in spans if span.trace_id in traces for leaf in _leaves_of(span)]
    whole += [leaf for record in records if record.trace_id in traces for leaf in _leaves_of(record)]
    return {"own": own, "whole": whole}


def _carried(leaves: dict[str, Leaves], told: Json) -> Json:
    """Where each true value stands in what was sent of this call."""
    usage = told["usage"] or {}
    names = ("provider", "request_model", "response_model", "response_id", "last_user_text", "system_prompt")
    fields = {name: told[name] for name in (*names, "output_text", "finish_reason")}
    fields |= {name: told.get(name) for name in ("session_id", "user_id")} | {n: usage.get(n) for n in _COUNTS}
    fields = {name: value for name, value in fields.items() if value is not None}
    anywhere = {"session_id", "user_id", *(("last_user_text", "system_prompt") if told["error"] else ())}
    places = {
        name: _place(name, value, leaves["whole" if name in anywhere else "own"]) for name, value in fields.items()
    }
    for name, parts in _SUMS.items():
        if fields.get(name) and not places[name]:
            rest = sum(usage[part] or 0 for part in parts)
            signed = (_place(name, fields[name] + sign * rest, leaves["own"]) for sign in (-1, 1))
            places[name] = next((f"{place}, with {', '.join(parts)}" for place in signed if place and rest), None)
    absent = [name for name, place in places.items() if not place]
    return {
        "carried_at": {name: place for name, place in places.items() if place},
        "not_in_payload": [name for name in absent if fields[name] != 0],
        "zero_in_truth_absent_in_payload": [name for name in absent if fields[name] == 0],
    }


def _place(name: str, value: Any, leaves: Leaves) -> str | None:
    """The first key that holds the value and whose name is near the field's."""
    near, wanted = _NEAR.get(name, ("",)), _plain(name, str(value))
    whole = (key for key, leaf in leaves if _plain(name, leaf) == wanted and any(word in key.lower() for word in near))
    return next(whole, None)


def _plain(name: str, value: str) -> str:
    plain = value.strip()
    if name == "provider":
        return plain.lower().partition(".")[0]
    if name.endswith("model"):
        return plain.rpartition("/")[2]
    return _FINISH.get(plain, plain) if name == "finish_reason" else plain


def _leaves_of(item: Any) -> Iterator[tuple[str, str]]:
    for attribute in item.attributes:
        yield from _leaves(attribute.key, attribute.value)
    for event in getattr(item, "events", ()):
        for attribute in event.attributes:
            yield from _leaves(f"event:{event.name}.{attribute.key}", attribute.value)
    if hasattr(item, "body"):
        yield from _leaves(f"log:{item.event_name}", item.body)


def _leaves(key: str, value: Any) -> Iterator[tuple[str, str]]:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        for i, item in enumerate(value.array_value.values):
            yield from _leaves(f"{key}[{i}]", item)
    elif kind == "kvlist_value":
        for item in value.kvlist_value.values:
            yield from _leaves(f"{key}.{item.key}", item.value)
    elif kind:
        yield from _json_leaves(key, getattr(value, kind))


def _json_leaves(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str) and value[:1] in ("{", "[", '"'):
        with suppress(ValueError):
            yield from _json_leaves(f"{key}(json)", json.loads(value))
        yield key, value
    elif isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _json_leaves(f"{key}.{name}", item)
    else:
        yield key, str(value)
