"""Message lists of every sender in one form: that of the GenAI conventions (role, parts).

In: whatever a sender calls messages: OpenAI chat, Responses items, Anthropic and Bedrock content blocks, Gemini
contents, Vercel parts, serialised LangChain, a whole request or response, JSON or a Python repr of any of these,
or plain text. Out: [{"role": ..., "parts": [...]}] and the texts a person would read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from assay.ingest.dialects.fields import as_text, structured, to_json

Message = dict[str, Any]
Part = dict[str, Any]

ROLES = {
    "human": "user",
    "HumanMessage": "user",
    "HumanMessageChunk": "user",
    "ai": "assistant",
    "AIMessage": "assistant",
    "AIMessageChunk": "assistant",
    "model": "assistant",
    "SystemMessage": "system",
    "ToolMessage": "tool",
    "function": "tool",
}
"""Names of roles that are not those of the conventions."""

SYSTEM_ROLES = ("system", "developer")
_PLAIN = ("role", "parts")
_CANONICAL_ROLES = (*SYSTEM_ROLES, "user", "assistant", "tool")
LONGEST_DATA = 2_000
"""Characters of base64 that are kept of an image or a file."""

_LISTS = ("messages", "input", "contents", "choices", "output", "generations", "prompts")


class Texts(NamedTuple):
    """What a person would read of a conversation, and its message lists as JSON where they say more."""

    system: str = ""
    prompt: str = ""
    response: str = ""
    tool_calls: str = ""
    messages_in: str = ""
    messages_out: str = ""


def conversation(inputs: Any, outputs: Any, system: Any = None) -> Texts:
    """The texts of a call: the last user text, the first answer's text, all system texts.

    A list is left out where the texts say all of it: `messages_from_texts` makes it again.
    """
    asked, answers = messages(inputs), _without_chunks(messages(outputs, role="assistant"))
    instructions = _instructions(system)
    for message in asked:
        if message["role"] in SYSTEM_ROLES and (text := message_text(message)) and text not in instructions:
            instructions.append(text)
    users = [text for message in asked if message["role"] == "user" and (text := message_text(message))]
    calls = [part for answer in answers for part in answer["parts"] if part.get("type") == "tool_call"]
    texts = Texts(
        system="\n".join(instructions),
        prompt=users[-1] if users else "",
        response=next(filter(None, map(message_text, answers)), ""),
        tool_calls=to_json(calls) if calls else "",
    )
    spoken = [message for message in asked if message["role"] not in SYSTEM_ROLES]
    return texts._replace(
        messages_in="" if _says(spoken, "user", texts.prompt) else to_json(asked),
        messages_out="" if _says(answers, "assistant", texts.response) else to_json(answers),
    )


def _without_chunks(answers: list[Message]) -> list[Message]:
    """The last of several answers alone where it is the others put together: a stream, told as it came."""
    if len(answers) > 2 and message_text(answers[-1]) == "".join(map(message_text, answers[:-1])) != "":
        return answers[-1:]
    return answers


def messages_from_texts(system: str, prompt: str) -> list[Message]:
    """The message list that `conversation` left out since its texts say all of it."""
    texts = {"system": system, "user": prompt}
    return [{"role": role, "parts": [_text(text)]} for role, text in texts.items() if text]


def messages(value: Any, role: str = "user") -> list[Message]:
    """A message list in the form of the conventions; `role` is that of texts without one.

    What is nested beyond reading is one text.
    """
    try:
        return _messages(structured(value), role)
    except RecursionError:
        return [{"role": role, "parts": [_text(as_text(value))]}]


def _messages(data: Any, role: str) -> list[Message]:
    if isinstance(data, str):
        return [{"role": role, "parts": [_text(data)]}] if data else []
    if isinstance(data, dict):
        return _messages_of_object(data, role)
    if isinstance(data, list):
        if all(map(_is_plain, data)):
            return data
        if data and all(isinstance(item, dict) and _is_part(item) for item in data):
            return [_message({"role": role, "content": data}, role)]
        return [message for item in data for message in _messages_of_item(item, role)]
    return []


def message_text(message: Mapping[str, Any]) -> str:
    """The text parts of one message, joined by line breaks."""
    parts = message.get("parts")
    return _joined(parts if isinstance(parts, list) else _parts(message.get("content")))


def _says(spoken: list[Message], role: str, text: str) -> bool:
    return not spoken or (
        len(spoken) == 1 and spoken[0]["role"] == role and spoken[0]["parts"] == [{"type": "text", "content": text}]
    )


def _is_plain(item: Any) -> bool:
    """Whether an item of a list is a message of texts just as `_message` would write it: by far the most are."""
    return (
        isinstance(item, dict)
        and (tuple(item) == _PLAIN or (tuple(item) == (*_PLAIN, "finish_reason") and _is_said(item["finish_reason"])))
        and item["role"] in _CANONICAL_ROLES
        and isinstance(item["parts"], list)
        and all(map(_is_text, item["parts"]))
    )


def _is_said(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_text(part: Any) -> bool:
    return (
        isinstance(part, dict)
        and tuple(part) == ("type", "content")
        and part["type"] == "text"
        and isinstance(part["content"], str)
    )


def _instructions(system: Any) -> list[str]:
    try:
        return _instruction_texts(structured(system))
    except RecursionError:
        return [as_text(system)]


def _instruction_texts(data: Any) -> list[str]:
    if isinstance(data, str):
        return [data] if data else []
    if isinstance(data, list) and any(isinstance(item, dict) and "role" in item for item in data):
        texts: Iterable[str] = map(message_text, messages(data, "system"))
    else:
        texts = (_joined([part]) for part in _parts(data))
    return ["\n".join(filter(None, texts))] if data else []


def _joined(parts: Iterable[Any]) -> str:
    texts = (part.get("content") for part in parts if isinstance(part, dict) and part.get("type", "text") == "text")
    return "\n".join(text for text in texts if isinstance(text, str) and text)


def _messages_of_object(data: dict[str, Any], role: str) -> list[Message]:
    if "role" in data or "parts" in data or "kwargs" in data or _is_item(data):
        return _messages_of_item(data, role)
    return _messages_within(data, role)


def _messages_within(data: dict[str, Any], role: str) -> list[Message]:
    for name in _LISTS:
        if isinstance(data.get(name), list | str | dict) and data[name]:
            leading = role == "user" and (data.get("instructions") or data.get("system"))
            texts = _instructions(leading) if leading else []
            return [{"role": "system", "parts": [_text(text)]} for text in texts] + messages(data[name], role)
    if isinstance(data.get("message"), dict | str):
        return _messages_of_item(data, role)
    if isinstance(text := data.get("prompt") or data.get("text") or data.get("content"), str | list):
        return messages(text, role)
    return []


def _messages_of_item(item: Any, role: str) -> list[Message]:
    if isinstance(item, list):
        return messages(item, role)
    if isinstance(item, str):
        return [{"role": role, "parts": [_text(item)]}] if item else []
    if not isinstance(item, dict):
        return []
    if isinstance(item.get("kwargs"), dict):  # LangChain's serialised form
        kind = item["id"][-1] if isinstance(item.get("id"), list) and item["id"] else role
        return [_message({**item["kwargs"], "role": kind}, role)]
    if "role" not in item and any(isinstance(item.get(name), list) and item[name] for name in _LISTS):
        return _messages_within(item, role)  # a whole response
    inner = structured(item.get("message"))
    if inner and "role" not in item:  # an OpenAI choice, a LangChain generation
        return _with_finish(messages(inner, "assistant"), item.get("finish_reason"))
    return [_message(item, role)]


def _with_finish(told: list[Message], reason: Any) -> list[Message]:
    return [message | {"finish_reason": reason} for message in told] if isinstance(reason, str) and reason else told


def _message(item: Mapping[str, Any], role: str) -> Message:
    if _is_item(item):
        return _item(item)
    kind = item.get("type")
    told = item.get("role") or (kind if isinstance(kind, str) and kind in ROLES else role)
    told = ROLES.get(told, told) if isinstance(told, str) else role
    content = item["parts"] if isinstance(item.get("parts"), list) else item.get("content")
    parts = _parts(content)
    if (answered := item.get("tool_call_id") or item.get("toolCallId")) and told == "tool":
        parts = [{"type": "tool_call_response", "id": answered, "response": _joined(parts) or content}]
    calls = structured(item.get("tool_calls") or item.get("toolCalls"))
    if isinstance(calls, list) and not any(part.get("type") == "tool_call" for part in parts):
        parts += [_tool_call(call) for call in calls if isinstance(call, dict)]
    if isinstance(item.get("function_call"), dict):
        parts.append(_tool_call(item["function_call"]))
    message: Message = {"role": told, "parts": parts}
    for name in ("name", "finish_reason"):
        if isinstance(item.get(name), str) and item[name]:
            message[name] = item[name]
    return message


# Items of OpenAI's Responses API, which have a type in place of a role


_ITEMS = ("function_call", "function_call_output", "reasoning", "custom_tool_call")


def _is_item(item: Mapping[str, Any]) -> bool:
    return item.get("type") in _ITEMS


def _item(item: Mapping[str, Any]) -> Message:
    if item["type"] == "function_call_output":
        part = {"type": "tool_call_response", "id": item.get("call_id"), "response": structured(item.get("output"))}
        return {"role": "tool", "parts": [part]}
    if item["type"] == "reasoning":
        return {"role": "assistant", "parts": [_reasoning(item)]}
    return {"role": "assistant", "parts": [_tool_call({**item, "id": item.get("call_id") or item.get("id")})]}


# Parts of one message


def _is_part(item: Mapping[str, Any]) -> bool:
    return "role" not in item and "message" not in item and _kind(item) in _KINDS


def _parts(content: Any) -> list[Part]:
    data = structured(content) if isinstance(content, str) and content[:1] == "[" else content
    if isinstance(data, str) or (isinstance(data, list) and not all(isinstance(item, dict | str) for item in data)):
        text = content if isinstance(content, str) else to_json(content)
        return [_text(text)] if text else []
    if isinstance(content, str) and not all(isinstance(item, dict) and _is_part(item) for item in data):
        return [_text(content)]  # a text that happens to be a JSON list
    return [part for item in (data if isinstance(data, list) else [data]) for part in _part(item)]


def _part(item: Any) -> list[Part]:
    if isinstance(item, str):
        return [_text(item)] if item else []
    if not isinstance(item, dict):
        return []
    if read := _PARTS.get(_kind(item)):
        part = read(item)
        return part if isinstance(part, list) else [part]
    return [{name: _cut(value) for name, value in item.items()}]


def _kind(item: Mapping[str, Any]) -> str:
    if isinstance(item.get("type"), str):
        return item["type"]
    if isinstance(item.get("text"), str):
        return "text"
    return next((name for name in _UNTYPED if item.get(name) is not None), "")


def _text(text: str) -> Part:
    return {"type": "text", "content": text}


def _texts(item: Mapping[str, Any]) -> list[Part]:
    value = item.get("content", item.get("text", item.get("refusal")))
    return [_text(value)] if isinstance(value, str) else _parts(value) if value else []


def _reasoning(item: Mapping[str, Any]) -> Part:
    said = item.get("content") or item.get("thinking") or item.get("text") or item.get("summary")
    said = item.get("reasoningContent", said)
    if isinstance(said, list):
        said = "\n".join(str(part.get("text", "")) for part in said if isinstance(part, dict))
    if isinstance(said, dict):
        said = said.get("reasoningText", said)
        said = said.get("text", "") if isinstance(said, dict) else said
    return {"type": "reasoning", "content": said or ""}


def _tool_call(item: Mapping[str, Any]) -> Part:
    call = next((item[name] for name in ("function", "toolUse", "functionCall", "tool_call") if name in item), item)
    call = call if isinstance(call, dict) else item
    name = call.get("name") or call.get("toolName") or call.get("tool_name")
    arguments = next((call[n] for n in ("arguments", "input", "args", "parameters") if call.get(n) is not None), None)
    call_id = next((c[n] for c in (item, call) for n in ("id", "toolCallId", "toolUseId", "call_id") if c.get(n)), None)
    part: Part = {"type": "tool_call", "name": name, "arguments": structured(arguments)}
    return part | {"id": call_id} if call_id else part


def _tool_result(item: Mapping[str, Any]) -> Part:
    result = next((item[name] for name in ("toolResult", "functionResponse") if isinstance(item.get(name), dict)), item)
    names = ("response", "result", "output", "content")
    said = structured(next((result[name] for name in names if result.get(name) is not None), None))
    if isinstance(said, dict) and set(said) == {"type", "value"}:  # Vercel's typed outputs
        said = said["value"]
    if isinstance(said, list) and all(isinstance(part, dict) and _is_part(part) for part in said):
        said = _joined(_parts(said)) or said
    ids = ("id", "tool_use_id", "toolCallId", "toolUseId", "tool_call_id", "name")
    return {
        "type": "tool_call_response",
        "id": next((result[name] for name in ids if result.get(name)), None),
        "response": said,
    }


def _media(item: Mapping[str, Any]) -> Part:
    """An image, a sound or a file: where it is, or how much of it there was; its bytes are not kept."""
    kind = _kind(item)
    modality = next((name for name in ("image", "audio", "video") if name in kind), "file")
    source = next(
        (item[name] for name in ("image_url", "source", "image", "input_audio", "inlineData") if name in item), item
    )
    if isinstance(source, dict) and isinstance(source.get("image"), dict):
        source = source["image"]
    source = source if isinstance(source, str | dict) else item
    address = source if isinstance(source, str) else source.get("url") or source.get("image_url") or source.get("data")
    if isinstance(address, dict):
        address = address.get("url")
    if isinstance(address, str) and address.startswith(("http://", "https://")):
        return {"type": "uri", "modality": modality, "uri": address}
    return {
        "type": "blob",
        "modality": modality,
        "content": _cut(address if isinstance(address, str) else to_json(source)),
    }


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > LONGEST_DATA and " " not in value[:LONGEST_DATA]:
        return f"{value[:40]}… ({len(value)} characters)"
    return value


_CANONICAL = {"text", "reasoning", "tool_call", "tool_call_response", "blob", "uri", "file", "compaction"}
_UNTYPED = (
    "toolUse",
    "toolResult",
    "functionCall",
    "functionResponse",
    "inlineData",
    "reasoningContent",
    "image",
)
_PARTS: dict[str, Any] = {
    **dict.fromkeys(("text", "input_text", "output_text", "refusal"), _texts),
    **dict.fromkeys(("reasoning", "thinking", "reasoningContent"), _reasoning),
    **dict.fromkeys(("tool_call", "tool-call", "tool_use", "toolUse", "functionCall", "function"), _tool_call),
    **dict.fromkeys(
        ("tool_call_response", "tool-result", "tool_result", "toolResult", "functionResponse", "tool_response"),
        _tool_result,
    ),
    **dict.fromkeys(("image_url", "image", "input_image", "input_audio", "inlineData", "image-url"), _media),
}
_KINDS = _PARTS.keys() | _CANONICAL
