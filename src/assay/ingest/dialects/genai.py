"""OpenTelemetry GenAI semantic conventions: the current names (rolling, after v1.41).

Source: open-telemetry/semantic-conventions-genai, docs for inference, embeddings, retrieval, tool,
agent and workflow spans. Read last for every span, since nearly every other dialect also sends some of
these names.
"""

from __future__ import annotations

from typing import Any

from assay.ingest.dialects.fields import conversation, count, first, flag, number, objects, structured, text
from assay.ingest.otlp import RawSpan
from assay.records import Kind

KINDS: dict[str, Kind] = {
    "chat": "llm",
    "generate_content": "llm",
    "text_completion": "llm",
    "embeddings": "embedding",
    "retrieval": "retriever",
    "execute_tool": "tool",
    "create_agent": "agent",
    "invoke_agent": "agent",
    "invoke_workflow": "chain",
    "plan": "chain",
}
"""gen_ai.operation.name to kind. Agents and workflows repeat their children's usage: never calls."""

READ = frozenset(
    {
        "gen_ai.conversation.id",
        "gen_ai.input.messages",
        "gen_ai.operation.name",
        "gen_ai.output.messages",
        "gen_ai.provider.name",
        "gen_ai.request.max_tokens",
        "gen_ai.request.model",
        "gen_ai.request.stream",
        "gen_ai.request.temperature",
        "gen_ai.request.top_p",
        "gen_ai.response.id",
        "gen_ai.response.model",
        "gen_ai.retrieval.documents",
        "gen_ai.retrieval.query.text",
        "gen_ai.system_instructions",
        "gen_ai.tool.call.arguments",
        "gen_ai.tool.call.result",
        "gen_ai.tool.definitions",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.reasoning.output_tokens",
    }
)
"""Attributes that columns tell in full; the others stay in `attributes`."""


def matches(span: RawSpan) -> bool:
    """Whether the span follows these conventions."""
    return "gen_ai.operation.name" in span.attributes


def fields(span: RawSpan) -> dict[str, Any]:
    """The columns of the `spans` table that this span tells."""
    a = span.attributes
    operation = text(a, "gen_ai.operation.name")
    return {
        "kind": KINDS.get(operation, "span"),
        "operation": operation,
        "provider": text(a, "gen_ai.provider.name"),
        "request_model": text(a, "gen_ai.request.model"),
        "response_model": text(a, "gen_ai.response.model"),
        "response_id": text(a, "gen_ai.response.id"),
        "session_id": text(a, "session.id", "gen_ai.conversation.id"),
        "finish_reason": _finish_reason(a),
        "time_to_first_token_ms": _milliseconds(number(a, "gen_ai.response.time_to_first_chunk")),
        "stream": flag(a, "gen_ai.request.stream"),
        "temperature": number(a, "gen_ai.request.temperature"),
        "top_p": number(a, "gen_ai.request.top_p"),
        "max_tokens": count(a, "gen_ai.request.max_tokens"),
        "input_tokens": count(a, "gen_ai.usage.input_tokens"),
        "output_tokens": count(a, "gen_ai.usage.output_tokens"),
        "cache_read_tokens": count(a, "gen_ai.usage.cache_read.input_tokens"),
        "cache_write_tokens": count(
            a, "gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation.input_tokens"
        ),
        "reasoning_tokens": count(a, "gen_ai.usage.reasoning.output_tokens"),
        "tool_definitions": text(a, "gen_ai.tool.definitions"),
        **_content(span, operation),
    }


def _content(span: RawSpan, operation: str) -> dict[str, Any]:
    a = span.attributes
    if operation == "execute_tool":
        return {
            "prompt": text(a, "gen_ai.tool.call.arguments"),
            "response": text(a, "gen_ai.tool.call.result"),
        }
    if operation == "retrieval":
        return {
            "prompt": text(a, "gen_ai.retrieval.query.text"),
            "documents": text(a, "gen_ai.retrieval.documents"),
        }
    inputs, outputs = (
        structured(first(a, "gen_ai.input.messages")),
        structured(first(a, "gen_ai.output.messages")),
    )
    texts = conversation(structured(first(a, "gen_ai.system_instructions")), inputs, outputs)
    return {
        **texts._asdict(),
        "messages_in": text(a, "gen_ai.input.messages"),
        "messages_out": text(a, "gen_ai.output.messages"),
    }


def _finish_reason(attributes: dict[str, Any]) -> str:
    reasons = structured(first(attributes, "gen_ai.response.finish_reasons"))
    if isinstance(reasons, list) and reasons:
        return str(reasons[0])
    if isinstance(reasons, str):
        return reasons
    answers = objects(first(attributes, "gen_ai.output.messages")) if reasons is None else []
    return next((str(answer["finish_reason"]) for answer in answers if answer.get("finish_reason")), "")


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None or seconds < 0 else seconds * 1000
