"""Compose what the simulated model says: a text, a tool call, or JSON, cut where the request asks for it.

In: a ChatRequest, the library and a seeded random source. Out: one Choice for each of the request's `n`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import msgspec

from assay.simulate.requests import ChatRequest, NamedTool, Schema, Tool
from assay.simulate.texts import Library, Manner, order_number, subject, words
from assay.simulate.tokens import pieces

FinishReason = Literal["stop", "length", "tool_calls"]

_EFFORT_STEPS: Mapping[str, tuple[int, int]] = {
    "none": (0, 0),
    "minimal": (0, 0),
    "low": (1, 3),
    "medium": (1, 10),
    "high": (4, 24),
}
_LEADS = ("Here is what I found", "I looked it up", "According to our system")


class ToolCall(msgspec.Struct, frozen=True):
    """A call of one of the request's tools; the arguments are JSON text, as on the wire."""

    name: str
    arguments: str


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. `tokens` counts what is visible and, for reasoning models, the reasoning before it."""

    text: str = ""
    tool_call: ToolCall | None = None
    finish_reason: FinishReason = "stop"
    stopped_at: str | None = None
    """The stop sequence that ended the text."""
    reasoning_tokens: int = 0

    @property
    def parts(self) -> tuple[str, ...]:
        """The visible answer in token-like pieces, in the order in which a stream sends them."""
        return pieces(self.tool_call.arguments if self.tool_call else self.text)

    @property
    def tokens(self) -> int:
        """Completion tokens: visible pieces, a tool call's name and frame, and reasoning."""
        frame = len(pieces(self.tool_call.name)) + 6 if self.tool_call else 0
        return len(self.parts) + frame + self.reasoning_tokens


def choices(
    request: ChatRequest,
    library: Library,
    rng: random.Random,
    manner: Manner = "answer",
    reasons: bool = False,
) -> list[Choice]:
    """The `n` answers to a request.

    Up to temperature 0.5 every answer is the first phrasing; above it, phrasings follow each other from a
    seeded start. Reasoning is 64 tokens times a seeded number that grows with the request's effort.
    """
    call = tool_call(request) if manner == "answer" else None
    texts = _phrasings(request, library, manner)
    varied = request.temperature > 0.5 or manner != "answer"
    start = rng.randrange(len(texts)) if varied else 0
    return [
        _limited(
            texts[(start + i * varied) % len(texts)],
            call,
            _reasoning(request, rng) if reasons else 0,
            request,
        )
        for i in range(request.n)
    ]


def tool_call(request: ChatRequest) -> ToolCall | None:
    """The call that suits the prompt best, or None when an answer in words is due.

    A tool suits when its name shares a word with the prompt, or its description two, and when the prompt
    holds the values that its required parameters need. `tool_choice` is obeyed.
    """
    choice = request.tool_choice
    if request.tool_results or not request.tools or choice == "none":
        return None
    if isinstance(choice, NamedTool):
        tool = next((tool for tool in request.tools if tool.name == choice.function.name), request.tools[0])
        return ToolCall(tool.name, _encoded(_arguments(tool, request.prompt) or {}))
    tool = max(request.tools, key=lambda tool: _suits(tool, request.prompt))
    arguments = _arguments(tool, request.prompt)
    if choice != "required" and (_suits(tool, request.prompt) < 2 or arguments is None):
        return None
    return ToolCall(tool.name, _encoded(arguments or {}))


def _phrasings(request: ChatRequest, library: Library, manner: Manner) -> Sequence[str]:
    if request.tool_results and manner == "answer":
        texts: Sequence[str] = _from_results(request)
    else:
        texts = library.phrasings(request.prompt, manner)
    kind = request.response_format.type
    if kind == "json_object":
        return [_encoded({"subject": subject(request.prompt), "answer": text}) for text in texts]
    if kind == "json_schema":
        schema = request.response_format.json_schema.schema
        return [_encoded(_value("", schema, request.prompt, text)) for text in texts]
    return texts


def _limited(text: str, call: ToolCall | None, reasoning: int, request: ChatRequest) -> Choice:
    limit = request.max_tokens
    if limit is not None and reasoning >= limit:
        return Choice(finish_reason="length", reasoning_tokens=limit)
    if call:
        return Choice(tool_call=call, finish_reason="tool_calls", reasoning_tokens=reasoning)
    stopped_at = None
    for stop in request.stop:
        if stop in text:
            text, stopped_at = text.split(stop, 1)[0], stop
    parts = pieces(text)
    if limit is not None and len(parts) > limit - reasoning:
        cut = "".join(parts[: limit - reasoning])
        return Choice(text=cut, finish_reason="length", reasoning_tokens=reasoning)
    return Choice(text=text, stopped_at=stopped_at, reasoning_tokens=reasoning)


def _reasoning(request: ChatRequest, rng: random.Random) -> int:
    return 64 * rng.randint(*_EFFORT_STEPS.get(request.effort, _EFFORT_STEPS["medium"]))


def _from_results(request: ChatRequest) -> list[str]:
    found = "; ".join(_told(result) for result in request.tool_results)
    about = order_number(request.prompt) or subject(request.prompt)
    return [f"{lead} about {about}: {found}." for lead in _LEADS]


def _told(result: str) -> str:
    try:
        fields = msgspec.json.decode(result)
    except msgspec.DecodeError:
        return result.rstrip(".")
    if not isinstance(fields, dict):
        return result.rstrip(".")
    told = [f"the {name.replace('_', ' ')} is {value}" for name, value in cast("dict[str, Any]", fields).items()]
    return " and ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told)


def _suits(tool: Tool, prompt: str) -> int:
    asked = words(prompt)
    named = words(re.sub(r"_|(?<=[a-z])(?=[A-Z])", " ", tool.name))
    return 2 * len(asked & named) + len(asked & words(tool.description or ""))


def _arguments(tool: Tool, prompt: str) -> dict[str, Any] | None:
    about = subject(prompt)
    properties = tool.parameters.properties
    filled = {name: _value(name, schema, prompt, about) for name, schema in properties.items()}
    if any(filled.get(name) is None for name in tool.parameters.required):
        return None
    return {name: value for name, value in filled.items() if value is not None}


def _value(name: str, schema: Schema, prompt: str, text: str) -> Any:
    if schema.enum:
        return next((value for value in schema.enum if str(value).lower() in prompt.lower()), schema.enum[0])
    kind = schema.type if isinstance(schema.type, str) else schema.type[0]
    if kind == "object":
        values = {key: _value(key, field, prompt, text) for key, field in schema.properties.items()}
        return {key: "" if value is None else value for key, value in values.items()}
    if kind == "array":
        return [_value(name, schema.items or Schema(), prompt, text)]
    if kind in ("integer", "number"):
        found = re.search(r"-?\d+(\.\d+)?", prompt)
        number = float(found.group()) if found else 1.0
        return int(number) if kind == "integer" else number
    return True if kind == "boolean" else _words_for(name.lower(), prompt, text)


def _words_for(name: str, prompt: str, text: str) -> str | None:
    if re.search(r"(^|_)(id|number|order|code)$", name):
        found = re.search(r"\b[A-Z]{2,}-?\d+\b|\b\d{3,}\b", prompt)
    elif re.search(r"city|place|location|country|town", name):
        found = re.search(r"(?<=\b(?:in|at|to) )[A-Z]\w+(?: [A-Z]\w+)*|(?<=\bfor )[A-Z]\w+(?: [A-Z]\w+)*", prompt)
    else:
        return text
    return found.group() if found else None


def _encoded(value: Any) -> str:
    return msgspec.json.encode(value).decode()
