"""Read a request body as OpenAI's API would, refusing what it would refuse in the same words.

In: the raw bytes of a POST. Out: a ChatRequest or an EmbeddingRequest; ProviderError 400 otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from assay.simulate.faults import bad_request
from assay.simulate.models import Model

Json = dict[str, Any]

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_UNREADABLE = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP"
    " library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
)
_NUMBERS: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
}
_INTEGERS: Mapping[str, tuple[int, int]] = {
    "n": (1, 128),
    "max_tokens": (1, 1_000_000),
    "max_completion_tokens": (1, 1_000_000),
    "seed": (-(2**63), 2**63 - 1),
}


class Schema(msgspec.Struct, frozen=True):
    """As much of a JSON schema as it takes to make up a value; what it leaves out counts as a string."""

    type: str | list[str] = "string"
    properties: dict[str, Schema] = msgspec.field(default_factory=dict[str, "Schema"])
    items: Schema | None = None
    required: list[str] = msgspec.field(default_factory=list[str])
    enum: list[Any] = msgspec.field(default_factory=list[Any])


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call."""

    name: str
    description: str | None = None
    parameters: Schema = Schema("object")


class NamedTool(msgspec.Struct, frozen=True):
    """A `tool_choice` that names its function."""

    function: Tool


class ResponseFormat(msgspec.Struct, frozen=True):
    """How the answer is to be written: `text`, `json_object`, or `json_schema` with the schema."""

    class Named(msgspec.Struct, frozen=True):
        """A schema under its name."""

        schema: Schema = Schema("object")

    type: str = "text"
    json_schema: Named = Named()


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A chat completion request, with the defaults of the API filled in."""

    model: str
    messages: tuple[Json, ...]
    temperature: float = 1.0
    n: int = 1
    max_tokens: int | None = None
    has_max_tokens: bool = False
    """Whether the older parameter of that name was used, which reasoning models refuse."""
    stream: bool = False
    include_usage: bool = False
    tools: tuple[Tool, ...] = ()
    tools_text: str = ""
    tool_choice: str | NamedTool = "auto"
    response_format: ResponseFormat = ResponseFormat()
    stop: tuple[str, ...] = ()
    seed: int | None = None
    effort: str = "medium"

    @property
    def texts(self) -> list[str]:
        """The text of every message in order, tool calls included: what counts as input."""
        return [text_of(message) + _calls_of(message) for message in self.messages]

    @property
    def prompt(self) -> str:
        """The text of the last user message, or an empty string without one."""
        return next((text_of(m) for m in reversed(self.messages) if m["role"] == "user"), "")

    @property
    def tool_results(self) -> list[str]:
        """The tool results at the end of the conversation, in order; empty when it ends otherwise."""
        results: list[str] = []
        for message in reversed(self.messages):
            if message["role"] not in ("tool", "function"):
                break
            results.append(text_of(message))
        return results[::-1]


class _ToolEntry(msgspec.Struct, frozen=True):
    function: Tool | None = None


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None


class _Options(msgspec.Struct, frozen=True):
    stream_options: _StreamOptions | None = None
    tools: list[_ToolEntry] | None = None
    tool_choice: str | NamedTool | None = None
    response_format: ResponseFormat | None = None
    stop: str | list[str] | None = None
    reasoning_effort: str | None = None


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An embedding request; token lists arrive as their decimal text."""

    model: str
    texts: tuple[str, ...]
    dimensions: int | None = None
    base64: bool = False


def chat_request(body: bytes) -> ChatRequest:
    """The chat request in a body. ProviderError 400 names the parameter that is missing or wrong."""
    sent = _object(body)
    model = _required(sent, "model", str, "a string")
    messages = _messages(_required(sent, "messages", list, "an array of objects"))
    for name, limits in (*_NUMBERS.items(), *_INTEGERS.items()):
        _check_number(sent, name, *limits, whole=name in _INTEGERS)
    stream = _boolean(sent, "stream")
    options = _options(sent)
    stop = options.stop or ()
    temperature = sent.get("temperature")
    request = ChatRequest(
        model=model,
        messages=messages,
        temperature=1.0 if temperature is None else temperature,
        n=sent.get("n") or 1,
        max_tokens=sent.get("max_completion_tokens") or sent.get("max_tokens"),
        stream=stream,
        has_max_tokens=sent.get("max_tokens") is not None,
        include_usage=bool(options.stream_options and options.stream_options.include_usage),
        tools=tuple(entry.function for entry in options.tools or () if entry.function),
        tools_text=msgspec.json.encode(sent["tools"]).decode() if options.tools else "",
        tool_choice=options.tool_choice or "auto",
        response_format=options.response_format or ResponseFormat(),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        seed=sent.get("seed"),
        effort=options.reasoning_effort or "medium",
    )
    if options.stream_options and not stream:
        raise bad_request("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
    _check_json_mode(request)
    return request


def check_reasoning(request: ChatRequest, model: Model) -> None:
    """Refuse what reasoning models refuse: `max_tokens`, and any temperature other than 1."""
    if not model.reasons:
        return
    if request.has_max_tokens:
        raise bad_request(
            "Unsupported parameter: 'max_tokens' is not supported with this model."
            " Use 'max_completion_tokens' instead.",
            "max_tokens",
            "unsupported_parameter",
        )
    if request.temperature != 1:
        raise bad_request(
            f"Unsupported value: 'temperature' does not support {request.temperature} with this model."
            " Only the default (1) value is supported.",
            "temperature",
            "unsupported_value",
        )


def embedding_request(body: bytes) -> EmbeddingRequest:
    """The embedding request in a body; ProviderError 400 for an empty or mistyped input."""
    sent = _object(body)
    model = _required(sent, "model", str, "a string")
    if (given := sent.get("input")) is None:
        raise _missing("input")
    if not given or given == [""]:
        raise bad_request("Invalid 'input': input cannot be an empty string.", "input", "invalid_value")
    if not isinstance(given, str | list):
        raise _wrong_type("input", "a string or an array", given)
    _check_number(sent, "dimensions", 1, 3072, whole=True)
    encoding = sent.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise bad_request(
            f"Invalid value: '{encoding}'. Supported values are: 'float' and 'base64'.", "encoding_format"
        )
    return EmbeddingRequest(
        model=model,
        texts=_inputs(cast("str | list[Any]", given)),
        dimensions=sent.get("dimensions"),
        base64=encoding == "base64",
    )


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message, whether given as a string or as content parts; other parts count as nothing."""
    content = message.get("content")
    if isinstance(content, list):
        parts = cast("list[Json]", content)
        return "".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")
    return content or ""


def _calls_of(message: Json) -> str:
    calls = message.get("tool_calls")
    return msgspec.json.encode(calls).decode() if calls else ""


def _options(sent: Json) -> _Options:
    try:
        return msgspec.convert(sent, _Options)
    except msgspec.ValidationError as error:
        raise bad_request(f"Invalid request: {error}.", code="invalid_type") from None


def _object(body: bytes) -> Json:
    try:
        sent = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise bad_request(_UNREADABLE) from None
    if not isinstance(sent, dict):
        raise bad_request(_UNREADABLE)
    return cast(Json, sent)


def _required(sent: Json, name: str, kind: type, expected: str) -> Any:
    if sent.get(name) is None:
        raise _missing(name)
    if not isinstance(sent[name], kind):
        raise _wrong_type(name, expected, sent[name])
    return sent[name]


def _missing(name: str) -> Exception:
    return bad_request(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")


def _wrong_type(name: str, expected: str, value: object) -> Exception:
    names: dict[object, str] = {str: "a string", int: "an integer", float: "a decimal", bool: "a boolean"}
    given = "an array" if isinstance(value, list) else names.get(type(value), "an object")
    return bad_request(
        f"Invalid type for '{name}': expected {expected}, but got {given} instead.", name, "invalid_type"
    )


def _messages(sent: list[Any]) -> tuple[Json, ...]:
    if not sent:
        raise bad_request(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            "messages",
            "empty_array",
        )
    for i, message in enumerate(sent):
        _check_message(message, f"messages[{i}]")
    return tuple(sent)


def _check_message(message: Any, name: str) -> None:
    if not isinstance(message, dict):
        raise _wrong_type(name, "an object", message)
    fields = cast(Json, message)
    role, content = fields.get("role"), fields.get("content")
    if role is None:
        raise _missing(f"{name}.role")
    if not isinstance(role, str) or role not in _ROLES:
        known = ", ".join(f"'{known}'" for known in sorted(_ROLES))
        raise bad_request(f"Invalid value: '{role}'. Supported values are: {known}.", f"{name}.role", "invalid_value")
    if content is None and role != "assistant":
        raise bad_request(f"Invalid value for 'content': expected a string, got null. ({name}.content)", name)
    if not isinstance(content, str | list | None):
        raise _wrong_type(f"{name}.content", "one of a string or array of objects", content)
    if isinstance(content, list) and not all(isinstance(part, dict) for part in cast("list[Any]", content)):
        raise _wrong_type(f"{name}.content", "an array of objects", "")


def _check_number(sent: Json, name: str, low: float, high: float, whole: bool) -> None:
    value = sent.get(name)
    if value is None:
        return
    kinds = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise _wrong_type(name, "an integer" if whole else "a decimal", value)
    kind = "integer" if whole else "decimal"
    if value > high:
        raise bad_request(
            f"Invalid '{name}': {kind} above maximum value. Expected a value <= {high}, but got {value} instead.",
            name,
            f"{kind}_above_max_value",
        )
    if value < low:
        raise bad_request(
            f"Invalid '{name}': {kind} below minimum value. Expected a value >= {low}, but got {value} instead.",
            name,
            f"{kind}_below_min_value",
        )


def _boolean(sent: Json, name: str) -> bool:
    value = sent.get(name)
    if value is not None and not isinstance(value, bool):
        raise _wrong_type(name, "a boolean", value)
    return bool(value)


def _check_json_mode(request: ChatRequest) -> None:
    asks = request.response_format.type == "json_object"
    if asks and not any("json" in text.lower() for text in request.texts):
        raise bad_request(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
            "messages",
        )


def _inputs(given: str | list[Any]) -> tuple[str, ...]:
    if isinstance(given, str):
        return (given,)
    if all(isinstance(item, int) for item in given):
        return (" ".join(map(str, given)),)
    return tuple(item if isinstance(item, str) else " ".join(map(str, item)) for item in given)
