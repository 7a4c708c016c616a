"""Anthropic's Messages API: read a request as the chat that it is, and answer in Anthropic's JSON and stream events.

In: the body of a POST to /v1/messages, a choice and its counts. Out: a ChatRequest with the marked prefixes of its
prompt; messages, events and errors in the shapes of the anthropic client's types. Input tokens exclude the cache.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Literal, cast

import msgspec

from assay.simulate.answers import Choice
from assay.simulate.faults import ProviderError, bad_request
from assay.simulate.requests import ChatRequest, NamedTool, Schema, Tool, text_of
from assay.simulate.texts import subject
from assay.simulate.tokens import pieces
from assay.simulate.wire import Delta, Envelope, grouped

Json = dict[str, Any]

_ERROR_TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_ERROR_TEXTS = {401: "invalid x-api-key", 500: "Internal server error", 529: "Overloaded"}
_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_LONG_THINKING = 2048


class MessagesRequest(msgspec.Struct, frozen=True):
    """A Messages request as a chat; `marked` is the prompt's text up to each of its `cache_control` marks."""

    chat: ChatRequest
    marked: tuple[str, ...]
    thinks: bool


class _Message(msgspec.Struct, frozen=True):
    role: Literal["user", "assistant"]
    content: str | list[Json]


class _Tool(msgspec.Struct, frozen=True):
    name: str
    description: str | None = None
    input_schema: Schema = Schema("object")


class _ToolChoice(msgspec.Struct, frozen=True):
    type: Literal["auto", "any", "tool", "none"]
    name: str = ""


class _Thinking(msgspec.Struct, frozen=True):
    type: str
    budget_tokens: int = _LONG_THINKING


class _Sent(msgspec.Struct, frozen=True):
    model: str
    messages: list[_Message]
    max_tokens: int
    system: str | list[Json] = ""
    stream: bool = False
    temperature: float = 1.0
    stop_sequences: list[str] = msgspec.field(default_factory=list[str])
    tools: list[_Tool] = msgspec.field(default_factory=list[_Tool])
    tool_choice: _ToolChoice = _ToolChoice("auto")
    thinking: _Thinking = _Thinking("disabled")
    cache_control: Json | None = None


def messages_request(body: bytes) -> MessagesRequest:
    """The request in a body. ProviderError 400 says what is missing or mistyped, and where."""
    try:
        sent = msgspec.json.decode(body, type=_Sent)
        raw = cast(Json, msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_request(str(error)) from None
    if not sent.messages:
        raise bad_request("messages: at least one message is required")
    if sent.max_tokens < 1:
        raise bad_request("max_tokens: Input should be greater than or equal to 1")
    if not 0 <= sent.temperature <= 1:
        raise bad_request("temperature: range: 0..1")
    system = [{"role": "system", "content": sent.system}] if sent.system else []
    thinks = sent.thinking.type != "disabled"
    chat = ChatRequest(
        model=sent.model,
        messages=(*system, *(plain for message in sent.messages for plain in _plain(message))),
        temperature=sent.temperature,
        max_tokens=sent.max_tokens,
        stream=sent.stream,
        tools=tuple(Tool(tool.name, tool.description, tool.input_schema) for tool in sent.tools),
        tools_text=msgspec.json.encode(raw["tools"]).decode() if sent.tools else "",
        tool_choice=_tool_choice(sent.tool_choice),
        stop=tuple(sent.stop_sequences),
        effort="low" if sent.thinking.budget_tokens < _LONG_THINKING else "medium",
    )
    return MessagesRequest(chat, tuple(_marked(raw)), thinks)


def usage(choice: Choice, prompt_tokens: int, read: int, written: int) -> Json:
    """The usage object: what was read from the cache and written to it is not in `input_tokens`."""
    counts: Json = {
        "input_tokens": prompt_tokens - read - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": choice.tokens,
        "service_tier": "standard",
    }
    if choice.reasoning_tokens:
        counts["output_tokens_details"] = {"thinking_tokens": choice.reasoning_tokens}
    return counts


def message(envelope: Envelope, choice: Choice, counts: Json, prompt: str) -> Json:
    """A whole message."""
    return {
        "id": envelope.id,
        "type": "message",
        "role": "assistant",
        "model": envelope.model,
        "content": _blocks(envelope, choice, prompt),
        **_stop(choice),
        "usage": counts,
    }


def events(envelope: Envelope, choice: Choice, counts: Json, prompt: str, rng: random.Random) -> Iterator[Delta]:
    """The events of a stream in order; the counts of output come at its end."""
    opening = message(envelope, choice, {**counts, "output_tokens": min(1, choice.tokens)}, prompt)
    opening["usage"].pop("output_tokens_details", None)
    opening.update(content=[], stop_reason=None, stop_sequence=None)
    yield Delta(0, {"type": "message_start", "message": opening})
    yield Delta(0, {"type": "ping"})
    for i, block in enumerate(_blocks(envelope, choice, prompt)):
        yield from _block_events(i, block, rng)
    final = {name: counts[name] for name in counts if name.endswith(("_tokens", "_details"))}
    yield Delta(0, {"type": "message_delta", "delta": _stop(choice), "usage": final})
    yield Delta(0, {"type": "message_stop"})


def error_body(error: ProviderError, request_id: str) -> Json:
    """An error in Anthropic's shape and words."""
    said = {
        "type": _ERROR_TYPES.get(error.status, "invalid_request_error"),
        "message": _ERROR_TEXTS.get(error.status, str(error)),
    }
    return {"type": "error", "error": said, "request_id": request_id}


def _plain(message: _Message) -> Iterator[Json]:
    """The message as chat completions would have it: tool results are messages of their own."""
    blocks = _as_blocks(message.content)
    text = text_of({"content": blocks})
    if message.role == "assistant":
        calls = [block for block in blocks if block.get("type") == "tool_use"]
        yield {"role": "assistant", "content": text, "tool_calls": calls}
        return
    results = [block for block in blocks if block.get("type") == "tool_result"]
    for result in results:
        yield {"role": "tool", "content": text_of(result)}
    if text or not results:
        yield {"role": "user", "content": text}


def _as_blocks(content: str | list[Json]) -> list[Json]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _tool_choice(choice: _ToolChoice) -> str | NamedTool:
    if choice.type == "tool":
        return NamedTool(Tool(choice.name))
    return "required" if choice.type == "any" else choice.type


def _marked(raw: Json) -> Iterator[str]:
    """The prompt up to each mark, in the order in which the cache sees it: tools, system, messages."""
    spoken = (block for message in raw["messages"] for block in _as_blocks(message["content"]))
    text = ""
    for block in (*raw.get("tools", ()), *_as_blocks(raw.get("system", "")), *spoken):
        marks = block.get("cache_control")
        text += block.get("text") or msgspec.json.encode({**block, "cache_control": None}).decode()
        if marks:
            yield text
    if raw.get("cache_control"):
        yield text


def _blocks(envelope: Envelope, choice: Choice, prompt: str) -> list[Json]:
    blocks: list[Json] = []
    if choice.reasoning_tokens:
        thought = f"The question is about {subject(prompt)}. I should answer it plainly."
        blocks.append({"type": "thinking", "thinking": thought, "signature": f"sig{envelope.id}"})
    if call := choice.tool_call:
        call_id = envelope.id.replace("msg_", "toolu_")
        blocks.append(
            {"type": "tool_use", "id": call_id, "name": call.name, "input": msgspec.json.decode(call.arguments)}
        )
    elif choice.text:
        blocks.append({"type": "text", "text": choice.text})
    return blocks


def _block_events(index: int, block: Json, rng: random.Random) -> Iterator[Delta]:
    kind = block["type"]
    field, delta, value = {
        "text": ("text", "text_delta", "text"),
        "thinking": ("thinking", "thinking_delta", "thinking"),
        "tool_use": ("partial_json", "input_json_delta", "input"),
    }[kind]
    text = msgspec.json.encode(block[value]).decode() if kind == "tool_use" else block[value]
    empty = {value: {} if kind == "tool_use" else ""}
    signed = {"signature": ""} if kind == "thinking" else {}
    yield Delta(0, {"type": "content_block_start", "index": index, "content_block": {**block, **empty, **signed}})
    for piece, tokens in grouped(pieces(text), rng):
        # Thinking is waited for before the first token.
        yield _block_delta(index, {"type": delta, field: piece}, 0 if kind == "thinking" else tokens)
    if signed:
        yield _block_delta(index, {"type": "signature_delta", "signature": block["signature"]})
    yield Delta(0, {"type": "content_block_stop", "index": index})


def _block_delta(index: int, delta: Json, tokens: int = 0) -> Delta:
    return Delta(tokens, {"type": "content_block_delta", "index": index, "delta": delta})


def _stop(choice: Choice) -> Json:
    reason = "stop_sequence" if choice.stopped_at else _STOP_REASONS[choice.finish_reason]
    return {"stop_reason": reason, "stop_sequence": choice.stopped_at}
