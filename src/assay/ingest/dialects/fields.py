"""What every dialect needs to read attributes: counts, texts, JSON inside strings, message lists.

Senders disagree on types: a list arrives as an array or as a JSON string, a number as text. These
readers coerce to the type that is wanted and answer None (or "") for what cannot be read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

Attributes = Mapping[str, Any]

_LARGEST_COUNT = 2**53


class Texts(NamedTuple):
    """What a person would read of a conversation, out of its message lists."""

    system: str = ""
    prompt: str = ""
    response: str = ""
    tool_calls: str = ""


def first(attributes: Attributes, *names: str) -> Any:
    """The first of these attributes that is there and not empty; the order is the precedence."""
    for name in names:
        value = attributes.get(name)
        if value is not None and value != "":
            return value
    return None


def text(attributes: Attributes, *names: str) -> str:
    """The first of these attributes as text, "" where there is none."""
    value = first(attributes, *names)
    return "" if value is None else as_text(value)


def as_text(value: Any) -> str:
    """A string as it is, anything else as JSON."""
    return value if isinstance(value, str) else to_json(value)


def count(attributes: Attributes, *names: str) -> int | None:
    """The first of these attributes as a non-negative integer; None where absent or absurd. 0 stays 0."""
    value = number(attributes, *names)
    return int(value) if value is not None and 0 <= value < _LARGEST_COUNT else None


def number(attributes: Attributes, *names: str) -> float | None:
    """The first of these attributes as a finite number, None where there is none."""
    value = first(attributes, *names)
    if value is None or isinstance(value, bool | list | dict):
        return None
    try:
        parsed = float(value)
    except (TypeError, ValueError):
        return None
    return parsed if math.isfinite(parsed) else None


def flag(attributes: Attributes, *names: str) -> bool | None:
    """The first of these attributes as a truth value; "False" is false."""
    value = first(attributes, *names)
    return value.strip().lower() == "true" if isinstance(value, str) else None if value is None else bool(value)


def structured(value: Any) -> Any:
    """A value that may be JSON inside a string, as data; other strings stay as they are."""
    if isinstance(value, str) and value[:1] in ("[", "{", '"'):
        try:
            return msgspec.json.decode(value)
        except (ValueError, RecursionError):
            return _leniently_parsed(value)
    return value


def _leniently_parsed(value: str) -> Any:
    """JSON with what only the standard library bears (NaN, half surrogate pairs), else the text itself."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def to_json(value: Any) -> str:
    """Compact JSON; bytes and other strangers become text."""
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_shown)


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list that may be JSON inside a string; [] where there are none."""
    data = structured(value)
    items = data if isinstance(data, list) else [data]
    return [item for item in items if isinstance(item, dict)]


def conversation(system: Any, inputs: Any, outputs: Any) -> Texts:
    """The readable texts of message lists in the GenAI format (role, parts).

    The prompt is the last user message's text, the response the first choice's. A system prompt is
    looked for in the instructions and in messages of role system or developer.
    """
    messages, answers = objects(inputs), objects(outputs)
    instructions = [_parts_text(objects(system)) or (system if isinstance(system, str) else "")]
    instructions += [message_text(m) for m in messages if m.get("role") in ("system", "developer")]
    users = [message for message in messages if message.get("role") == "user"]
    calls = [part for answer in answers for part in _parts(answer) if part.get("type") == "tool_call"]
    return Texts(
        system="\n".join(filter(None, instructions)),
        prompt=next(filter(None, map(message_text, reversed(users))), ""),
        response=next(filter(None, map(message_text, answers)), ""),
        tool_calls=to_json(calls) if calls else "",
    )


def message_text(message: Mapping[str, Any]) -> str:
    """The text parts of one message, joined by line breaks."""
    return _parts_text(_parts(message))


def _parts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    parts = message.get("parts")
    if isinstance(parts, list):
        return [part for part in parts if isinstance(part, dict)]
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "content": content}]
    return objects(content) if content else []


def _parts_text(parts: Iterable[Mapping[str, Any]]) -> str:
    texts = (part.get("content", part.get("text")) for part in parts if part.get("type", "text") == "text")
    return "\n".join(item for item in texts if isinstance(item, str) and item)


def _shown(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
