"""JSON Lines of OpenAI: output of batches, stored chat completions, logged request and response, fine-tuning examples.

Written against its API reference of 2026-10. Examples have no time: their calls start when the file was written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from assay.client.imports.telling import Context, Line, Refused, given, made_id, told_span, unix_ns

NAME = "openai"
KINDS = {"chat.completion": "chat", "text_completion": "text_completion", "response": "chat"}

Body = dict[str, Any]


def recognises(names: set[str]) -> bool:
    """Whether a record with these fields is of OpenAI."""
    return (
        {"custom_id", "response"} <= names
        or {"object", "choices"} <= names
        or {"request", "response"} <= names
        or "messages" in names
    )


def lines(record: Body, context: Context) -> Iterator[Line]:
    """The one call of a record. Raises Refused."""
    request, answer = _body(record.get("request")), _body(record.get("response"))
    if "custom_id" in record:
        yield _batched(record, answer, context)
    elif "choices" in record:
        yield _call(given({"messages": record.get("messages")}) | _asked(record), record, context, {})
    elif request:
        yield _call(request, answer, context, {})
    elif isinstance(record.get("messages"), list):
        yield _example(record, context)
    else:
        raise Refused("holds neither an answer (choices) nor messages")


def _batched(record: Body, answer: Body, context: Context) -> Line:
    """A line of a batch's output. Its request is in another file, so its prompt is not known."""
    attributes = given({"openai.custom_id": record.get("custom_id"), "openai.batch_request_id": record.get("id")})
    error = record.get("error") or answer.get("error")
    if isinstance(error, dict) and error:
        return _call({}, {}, context, attributes, error, identity=record)
    return _call(_asked(answer), answer, context, attributes)


def _example(record: Body, context: Context) -> Line:
    """An example to learn from: its last message, if it is the assistant's, is the answer."""
    messages: list[Any] = record["messages"]
    last = messages[-1] if messages and isinstance(messages[-1], dict) else {}
    if last.get("role") != "assistant":
        raise Refused("the last of its messages is not the assistant's: there is no answer")
    request = {"messages": messages[:-1]} | given({"tools": record.get("tools"), "model": record.get("model")})
    return _call(request, {"choices": [{"message": last}]}, context, {})


def _call(
    request: Body, answer: Body, context: Context, more: Body, error: Body | None = None, identity: Body | None = None
) -> Line:
    whole = identity or {"request": request, "response": answer}
    start = unix_ns(answer.get("created") or answer.get("created_at"), None, "created")
    end = unix_ns(answer.get("completed_at"), None, "completed_at")
    failed = {"failed": True, "status_message": str(error.get("message") or "")} if error else {}
    attributes = _attributes(request, answer) | more
    if error:
        attributes["error.type"] = str(error.get("code") or error.get("type") or "error")
    return told_span(
        context,
        scope="assay.import.openai",
        trace_id=made_id(32, NAME, whole),
        span_id=made_id(16, NAME, whole),
        name="chat",
        start_ns=start,
        end_ns=end,
        attributes=attributes,
        **failed,
    )


def _attributes(request: Body, answer: Body) -> Body:
    usage = _body(answer.get("usage"))
    details = _body(usage.get("prompt_tokens_details")) or _body(usage.get("input_tokens_details"))
    reasoning = _body(usage.get("completion_tokens_details")) or _body(usage.get("output_tokens_details"))
    choices = [choice for choice in answer.get("choices") or () if isinstance(choice, dict)]
    answers = [choice["message"] for choice in choices if isinstance(choice.get("message"), dict)]
    said = answers or [choice.get("text") for choice in choices] or answer.get("output")
    asked = request.get("messages") or request.get("input") or request.get("prompt")
    metadata = _body(answer.get("metadata")) | _body(request.get("metadata"))
    user = request.get("user") or answer.get("user")
    reasons = [choice.get("finish_reason") for choice in choices if choice.get("finish_reason")]
    found = {
        "gen_ai.operation.name": KINDS.get(str(answer.get("object")), "chat"),
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": request.get("model") or answer.get("model"),
        "gen_ai.response.model": answer.get("model"),
        "gen_ai.response.id": answer.get("id"),
        "gen_ai.request.temperature": request.get("temperature"),
        "gen_ai.request.top_p": request.get("top_p"),
        "gen_ai.request.max_tokens": request.get("max_completion_tokens") or request.get("max_tokens"),
        "gen_ai.usage.input_tokens": usage.get("prompt_tokens", usage.get("input_tokens")),
        "gen_ai.usage.output_tokens": usage.get("completion_tokens", usage.get("output_tokens")),
        "gen_ai.usage.cache_read.input_tokens": details.get("cached_tokens"),
        "gen_ai.usage.reasoning.output_tokens": reasoning.get("reasoning_tokens"),
        "gen_ai.response.finish_reasons": reasons or None,
        "gen_ai.input.messages": _json(asked),
        "gen_ai.output.messages": _json(said),
        "gen_ai.system_instructions": request.get("instructions") or answer.get("instructions"),
        "gen_ai.tool.definitions": _json(request.get("tools")),
        "user.id": user,
    }
    return given(found) | {f"openai.metadata.{name}": value for name, value in metadata.items()}


def _asked(answer: Body) -> Body:
    """What an answer repeats of its request."""
    return given({name: answer.get(name) for name in ("temperature", "top_p", "max_completion_tokens", "tools")})


def _body(value: Any) -> Body:
    """An object; of one with a status and a body, the body."""
    if not isinstance(value, dict):
        return {}
    return value["body"] if isinstance(value.get("body"), dict) else value


def _json(value: Any) -> str | None:
    return json.dumps(value, ensure_ascii=False) if value else None
