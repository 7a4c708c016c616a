"""OpenAI's Responses API: read a request as the chat that it is, and answer in its JSON and stream events.

In: the body of a POST to /v1/responses, a choice and its counts. Out: a ChatRequest; response objects and numbered
events in the shapes of the openai client's types.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, cast

import msgspec

from assay.simulate.answers import Choice
from assay.simulate.faults import bad_request
from assay.simulate.requests import ChatRequest, NamedTool, ResponseFormat, Schema, Tool
from assay.simulate.wire import Delta, Envelope, grouped

Json = dict[str, Any]


class ResponsesRequest(msgspec.Struct, frozen=True):
    """A Responses request as a chat, and its fields that the answer repeats."""

    chat: ChatRequest
    previous_response_id: str | None
    repeated: Json


class _Tool(msgspec.Struct, frozen=True):
    type: str
    name: str = ""
    description: str | None = None
    parameters: Schema | None = None


class _ToolChoice(msgspec.Struct, frozen=True):
    type: str
    name: str = ""


class _Reasoning(msgspec.Struct, frozen=True):
    effort: str | None = None
    summary: str | None = None


class _Format(msgspec.Struct, frozen=True):
    type: str = "text"
    schema: Schema = Schema("object")


class _Text(msgspec.Struct, frozen=True):
    format: _Format = _Format()


class _Sent(msgspec.Struct, frozen=True):
    model: str
    input: str | list[Json]
    instructions: str | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _ToolChoice | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    stream: bool | None = None
    reasoning: _Reasoning | None = None
    text: _Text | None = None
    previous_response_id: str | None = None


def responses_request(body: bytes) -> ResponsesRequest:
    """The request in a body. ProviderError 400 says what is missing or mistyped, and where."""
    try:
        sent = msgspec.json.decode(body, type=_Sent)
        raw = cast(Json, msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_request(f"Invalid request: {error}.", code="invalid_type") from None
    items = [{"role": "user", "content": sent.input}] if isinstance(sent.input, str) else sent.input
    instructions = [{"role": "system", "content": sent.instructions}] if sent.instructions else []
    answer_format = (sent.text or _Text()).format
    chat = ChatRequest(
        model=sent.model,
        messages=(*instructions, *(plain for item in items for plain in _plain(item))),
        temperature=1.0 if sent.temperature is None else sent.temperature,
        max_tokens=sent.max_output_tokens,
        stream=bool(sent.stream),
        tools=tuple(
            Tool(tool.name, tool.description, tool.parameters or Schema("object"))
            for tool in sent.tools or ()
            if tool.type == "function"
        ),
        tools_text=msgspec.json.encode(raw["tools"]).decode() if sent.tools else "",
        tool_choice=_tool_choice(sent.tool_choice),
        response_format=ResponseFormat(answer_format.type, ResponseFormat.Named(answer_format.schema)),
        effort=(sent.reasoning and sent.reasoning.effort) or "medium",
    )
    return ResponsesRequest(chat, sent.previous_response_id, _repeated(raw))


def usage(choice: Choice, prompt_tokens: int, cached_tokens: int) -> Json:
    """The usage object; cached and reasoning tokens are parts of input and output, never added to them."""
    return {
        "input_tokens": prompt_tokens,
        "input_tokens_details": {"cached_tokens": cached_tokens, "cache_write_tokens": 0},
        "output_tokens": choice.tokens,
        "output_tokens_details": {"reasoning_tokens": choice.reasoning_tokens},
        "total_tokens": prompt_tokens + choice.tokens,
    }


def response(envelope: Envelope, choice: Choice, counts: Json, repeated: Json) -> Json:
    """A whole response object."""
    cut = choice.finish_reason == "length"
    return {
        "id": envelope.id,
        "object": "response",
        "created_at": envelope.created,
        "status": "incomplete" if cut else "completed",
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "model": envelope.model,
        "output": _items(envelope, choice),
        "service_tier": "default",
        "truncation": "disabled",
        **repeated,
        "usage": counts,
    }


def events(envelope: Envelope, choice: Choice, counts: Json, repeated: Json, rng: random.Random) -> Iterator[Delta]:
    """The events of a stream in order, numbered; the last holds the whole response with its counts."""
    for number, event in enumerate(_events(response(envelope, choice, counts, repeated), choice, rng)):
        event.chunk["sequence_number"] = number
        yield event


def answered(choice: Choice, envelope: Envelope) -> Json:
    """The answer as a message of the conversation, for requests that continue it."""
    message: Json = {"role": "assistant", "content": choice.text}
    if choice.tool_call:
        message["tool_calls"] = [item for item in _items(envelope, choice) if item["type"] == "function_call"]
    return message


def _plain(item: Json) -> Iterator[Json]:
    """The item as a chat message; reasoning and references to earlier items count as nothing."""
    match item.get("type", "message"):
        case "message":
            if item.get("role") not in ("user", "assistant", "system", "developer"):
                raise bad_request(f"Invalid value: '{item.get('role')}'.", "input", "invalid_value")
            yield {"role": item["role"], "content": _text(item.get("content"))}
        case "function_call":
            yield {"role": "assistant", "content": "", "tool_calls": [item]}
        case "function_call_output":
            yield {"role": "tool", "content": _text(item.get("output"))}
        case _:
            return


def _text(content: Any) -> str:
    if not isinstance(content, list):
        return str(content or "")
    parts = cast("list[Json]", content)
    return "".join(str(part.get("text", "")) for part in parts if part.get("type") in ("input_text", "output_text"))


def _tool_choice(choice: str | _ToolChoice | None) -> str | NamedTool:
    if isinstance(choice, _ToolChoice):
        return NamedTool(Tool(choice.name)) if choice.type == "function" else "auto"
    return choice or "auto"


def _repeated(raw: Json) -> Json:
    defaults: Json = {
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "user": None,
    }
    return {name: default if raw.get(name) is None else raw[name] for name, default in defaults.items()}


def _items(envelope: Envelope, choice: Choice) -> list[Json]:
    own_id = envelope.id.removeprefix("resp_")
    items: list[Json] = []
    if choice.reasoning_tokens:
        items.append({"id": f"rs_{own_id}", "type": "reasoning", "summary": []})
    if call := choice.tool_call:
        called = {"call_id": f"call_{own_id}", "name": call.name, "arguments": call.arguments}
        items.append({"id": f"fc_{own_id}", "type": "function_call", "status": "completed", **called})
    elif choice.text or not items:
        items.append(_message_item(f"msg_{own_id}", choice))
    return items


def _message_item(item_id: str, choice: Choice) -> Json:
    status = "incomplete" if choice.finish_reason == "length" else "completed"
    content = [{"type": "output_text", "text": choice.text, "annotations": [], "logprobs": []}]
    return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": content}


def _events(whole: Json, choice: Choice, rng: random.Random) -> Iterator[Delta]:
    opening = {**whole, "status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
    yield Delta(0, {"type": "response.created", "response": opening})
    yield Delta(0, {"type": "response.in_progress", "response": opening})
    for i, item in enumerate(whole["output"]):
        at = {"item_id": item["id"], "output_index": i}
        pieces = list(grouped(choice.parts, rng))
        empty = {**item, **{name: type(item[name])() for name in ("content", "arguments") if name in item}}
        if "status" in item:
            empty["status"] = "in_progress"
        yield Delta(0, {"type": "response.output_item.added", "output_index": i, "item": empty})
        if item["type"] == "message":
            yield from _text_events(item["content"][0], {**at, "content_index": 0}, pieces)
        elif item["type"] == "function_call":
            yield from _argument_events(item, at, pieces)
        yield Delta(0, {"type": "response.output_item.done", "output_index": i, "item": item})
    yield Delta(0, {"type": f"response.{whole['status']}", "response": whole})


def _text_events(part: Json, at: Json, pieces: Sequence[tuple[str, int]]) -> Iterator[Delta]:
    yield Delta(0, {"type": "response.content_part.added", **at, "part": {**part, "text": ""}})
    for piece, tokens in pieces:
        yield Delta(tokens, {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []})
    yield Delta(0, {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []})
    yield Delta(0, {"type": "response.content_part.done", **at, "part": part})


def _argument_events(item: Json, at: Json, pieces: Sequence[tuple[str, int]]) -> Iterator[Delta]:
    kind = "response.function_call_arguments"
    for piece, tokens in pieces:
        yield Delta(tokens, {"type": f"{kind}.delta", **at, "delta": piece})
    yield Delta(0, {"type": f"{kind}.done", **at, "name": item["name"], "arguments": item["arguments"]})
