"""OpenTelemetry GenAI semantic conventions: the current names (rolling, after v1.41) and all older ones.

Sources: open-telemetry/semantic-conventions-genai for spans of inference, embeddings, retrieval, tools, agents
and workflows; open-telemetry/semantic-conventions v1.26 to v1.41 for names that were. Read last for every span,
since nearly every other dialect also sends some of these names: the first name of a row that is there is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from assay.ingest.dialects.events import CHOICE, DETAILS, ROLES, WHOLE, Said, as_attributes, said
from assay.ingest.dialects.fields import (
    Attributes,
    Table,
    first,
    indexed,
    names_in,
    number,
    objects,
    structured,
    text,
    to_json,
    told,
)
from assay.ingest.dialects.messages import conversation, messages
from assay.ingest.dialects.models import finish_reason_named, known_response_id, provider_of_model
from assay.ingest.dialects.usage import usage
from assay.ingest.otlp import RawSpan
from assay.records import Event, Kind

SCOPES = ()
KEYS = ("gen_ai.operation.name",)

KINDS: dict[str, Kind] = {
    **dict.fromkeys(("chat", "generate_content", "text_completion", "completion", "responses", "messages"), "llm"),
    **dict.fromkeys(("embeddings", "embedding"), "embedding"),
    **dict.fromkeys(("retrieval", "rerank"), "retriever"),
    "execute_tool": "tool",
    **dict.fromkeys(("create_agent", "invoke_agent"), "agent"),
    **dict.fromkeys(("invoke_workflow", "plan", "agent_step", "execute_event_loop_cycle"), "chain"),
}
"""gen_ai.operation.name to kind. Agents and workflows repeat their children's usage: never calls."""

SPAN: Table = {
    "operation": ("gen_ai.operation.name",),
    "provider": ("gen_ai.provider.name", "gen_ai.system"),
    "request_model": ("gen_ai.request.model",),
    "response_model": ("gen_ai.response.model",),
    "response_id": ("gen_ai.response.id",),
    "session_id": ("session.id", "gen_ai.conversation.id"),
    "user_id": ("user.id", "enduser.id", "gen_ai.request.user", "gen_ai.openai.request.user"),
    "stream": ("gen_ai.request.stream", "gen_ai.is_streaming", "llm.is_streaming"),
    "temperature": ("gen_ai.request.temperature",),
    "top_p": ("gen_ai.request.top_p",),
    "max_tokens": ("gen_ai.request.max_tokens",),
    "tool_definitions": ("gen_ai.tool.definitions",),
}
USAGE: Table = {
    "input_tokens": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    "output_tokens": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    "cache_read_tokens": (
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.usage.details.cache_read_tokens",
        "gen_ai.usage.details.cache_read_input_tokens",
        "gen_ai.usage.details.cached_tokens",
    ),
    "cache_write_tokens": (
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.cache_write_input_tokens",
        "gen_ai.usage.details.cache_write_tokens",
        "gen_ai.usage.details.cache_creation_input_tokens",
    ),
    "reasoning_tokens": (
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
        "gen_ai.usage.details.reasoning_tokens",
        "llm.usage.reasoning_tokens",
    ),
}
FIRST_CHUNK_SECONDS = ("gen_ai.response.time_to_first_chunk", "gen_ai.client.operation.time_to_first_chunk")
CONTENT = (
    "gen_ai.system_instructions",
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.retrieval.query.text",
    "gen_ai.retrieval.documents",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
)
READ = (
    names_in({**SPAN, "tool_definitions": ()}, USAGE) | {*CONTENT, *FIRST_CHUNK_SECONDS} | {"gen_ai.tool.definitions"}
)
"""Attributes that columns tell in full; the others stay in `attributes`."""

_TOLD_BY_EVENTS = {*ROLES, *WHOLE, CHOICE, DETAILS}
_MESSAGE_KEYS = (
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.prompt.0.role",
    "gen_ai.prompt",
    "gen_ai.completion",
)


def fields(span: RawSpan) -> dict[str, Any]:
    """The columns of the `spans` table that this span tells."""
    heard = [Said(event.name, None, event.attributes) for event in span.events if event.name in _TOLD_BY_EVENTS]
    return columns({**as_attributes(heard), **span.attributes} if heard else span.attributes)


def told_by_events(events: Iterable[Event], kind: Kind) -> dict[str, Any]:
    """The columns that the log records of a span of this kind tell."""
    attributes = as_attributes(said(events))
    found = columns(attributes, content_of="llm")
    if kind == "embedding":
        found = without_texts(found)
    provider = provider_of_model(found.get("response_model", ""))
    found["response_id"] = known_response_id(found.get("response_id", ""), provider)
    found |= {
        "error_type": text(attributes, "error.type", "exception.type").rpartition(".")[2],
        "error_message": text(attributes, "exception.message"),
    }
    return {name: value for name, value in found.items() if value not in ("", None) and name != "kind"}


def columns(a: Attributes, content_of: Kind | None = None) -> dict[str, Any]:
    """The columns that attributes under these names tell; `content_of` is their span's kind if it is known."""
    found = told(a, SPAN)
    tokens = told(a, USAGE)
    found |= usage(*(tokens.get(name) for name in USAGE))
    found["kind"] = kind = _kind(found, a)
    if (seconds := number(a, *FIRST_CHUNK_SECONDS)) is not None:
        found["time_to_first_token_ms"] = seconds * 1000
    answers = structured(first(a, "gen_ai.output.messages"))
    found["finish_reason"] = _finish_reason(a, answers)
    if "tool_definitions" not in found and "llm.request.functions.0.name" in a:
        found["tool_definitions"] = to_json(indexed(a, "llm.request.functions"))
    return found | _content(a, answers, content_of or kind)


TEXTS = ("system", "prompt", "response", "tool_calls", "messages_in", "messages_out")


def without_texts(columns: dict[str, Any]) -> dict[str, Any]:
    """The columns of an embedding: what is embedded is no question, and vectors are no answer."""
    texts = columns.get("prompt")
    asked = columns.get("messages_in") or (to_json(messages(texts)) if texts else "")
    return {**columns, **dict.fromkeys(TEXTS, ""), "messages_in": asked}


def _kind(found: Mapping[str, Any], a: Attributes) -> Kind:
    if operation := found.get("operation", ""):
        return KINDS.get(operation, "span")
    # Old writers name no operation; an agent's own summary names no model.
    spoken = found.get("input_tokens") is not None or any(key in a for key in _MESSAGE_KEYS)
    return "llm" if "request_model" in found and spoken else "span"


def _content(a: Attributes, answers: Any, kind: Kind) -> dict[str, Any]:
    if kind == "tool":
        return {
            "prompt": text(a, "gen_ai.tool.call.arguments"),
            "response": text(a, "gen_ai.tool.call.result"),
        }
    if kind == "retriever":
        return {
            "prompt": text(a, "gen_ai.retrieval.query.text"),
            "documents": text(a, "gen_ai.retrieval.documents"),
        }
    asked = first(a, "gen_ai.input.messages") or indexed(a, "gen_ai.prompt") or first(a, "gen_ai.prompt")
    answers = answers or indexed(a, "gen_ai.completion") or first(a, "gen_ai.completion")
    return conversation(asked, answers, first(a, "gen_ai.system_instructions"))._asdict()


def _finish_reason(a: Attributes, answers: Any) -> str:
    reasons = structured(first(a, "gen_ai.response.finish_reasons", "gen_ai.completion.0.finish_reason"))
    if isinstance(reasons, list):
        reasons = next((reason for reason in reasons if reason), None)
    if not reasons:
        told = (answer.get("finish_reason") for answer in objects(answers))
        reasons = next(filter(None, told), None)
    return finish_reason_named(reasons) if isinstance(reasons, str) else ""
