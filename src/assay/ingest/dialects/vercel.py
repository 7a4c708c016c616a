"""Vercel AI SDK 3 to 7: `ai.*` attributes; calls are the inner `.doGenerate`, `.doStream` and `.doEmbed` spans.

The outer span repeats the usage of all its steps. The newer integration writes GenAI names only (scope gen_ai).
"""

from __future__ import annotations

from typing import Any

from assay.ingest.dialects.fields import (
    Attributes,
    Table,
    blanks_filled,
    first,
    names_in,
    structured,
    text,
    to_json,
    told,
    within,
)
from assay.ingest.dialects.messages import conversation
from assay.ingest.dialects.usage import usage, usage_of
from assay.ingest.otlp import RawSpan
from assay.records import Kind

SCOPES = ()
KEYS = ("ai.operationId",)

SPAN: Table = {
    "provider": ("ai.model.provider",),
    "request_model": ("ai.model.id",),
    "response_model": ("ai.response.model",),
    "response_id": ("ai.response.id",),
    "finish_reason": ("ai.response.finishReason", "ai.finishReason", "ai.result.finishReason"),
    "time_to_first_token_ms": ("ai.response.msToFirstChunk", "ai.stream.msToFirstChunk"),
    "temperature": ("ai.settings.temperature",),
    "top_p": ("ai.settings.topP",),
    "max_tokens": ("ai.settings.maxOutputTokens", "ai.settings.maxTokens"),
    "session_id": (
        *("session.id", "ai.telemetry.metadata.sessionId", "ai.settings.context.sessionId"),
        *("ai.settings.runtimeContext.sessionId", "ai.telemetry.metadata.session_id"),
    ),
    "user_id": (
        *("user.id", "ai.telemetry.metadata.userId", "ai.settings.context.userId"),
        *("ai.settings.runtimeContext.userId", "ai.telemetry.metadata.user_id"),
    ),
}
USAGE: Table = {
    "input_tokens": ("ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens"),
    "output_tokens": ("ai.usage.outputTokens", "ai.usage.completionTokens"),
    "cache_read_tokens": ("ai.usage.inputTokenDetails.cacheReadTokens", "ai.usage.cachedInputTokens"),
    "cache_write_tokens": ("ai.usage.inputTokenDetails.cacheWriteTokens",),
    "reasoning_tokens": ("ai.usage.outputTokenDetails.reasoningTokens", "ai.usage.reasoningTokens"),
}
READ = names_in(USAGE, {name: SPAN[name] for name in ("request_model", "response_model", "response_id")})


def fields(span: RawSpan) -> dict[str, Any]:
    """The columns of the `spans` table that this span tells."""
    a = span.attributes
    operation = text(a, "ai.operationId")
    kind = _kind(operation)
    found = {**told(a, SPAN), "kind": kind, "operation": operation}
    if kind not in ("llm", "embedding"):
        return {**found, "response_id": "", **_content(a, kind)}
    tokens = told(a, USAGE)
    found |= blanks_filled(_own_usage(a), usage(*(tokens.get(name) for name in USAGE)))
    found["stream"] = operation.endswith(".doStream")
    return found | _content(a, kind)


def _own_usage(a: Attributes) -> dict[str, int | None]:
    """What the provider itself counts as input and thoughts: version 5 leaves Anthropic's cached tokens out."""
    metadata = structured(first(a, "ai.response.providerMetadata", "ai.result.providerMetadata"))
    told_by = metadata.values() if isinstance(metadata, dict) else ()
    counted = next((usage_of(within(one, "usage")) for one in told_by if within(one, "usage")), {})
    return {name: count for name, count in counted.items() if name != "output_tokens"}  # of a stream: its beginning


def _kind(operation: str) -> Kind:
    if operation.endswith((".doGenerate", ".doStream")):
        return "llm"
    if operation.endswith(".doEmbed"):
        return "embedding"
    return "tool" if operation == "ai.toolCall" else "chain"


def _content(a: Attributes, kind: Kind) -> dict[str, Any]:
    if kind == "tool":
        return {"prompt": text(a, "ai.toolCall.args"), "response": text(a, "ai.toolCall.result")}
    if kind == "embedding":
        values = first(a, "ai.values", "ai.value")
        listed = [structured(value) for value in (values if isinstance(values, list) else [values])]
        return {"prompt": "\n".join(value for value in listed if isinstance(value, str))}
    answer: dict[str, Any] = {
        "role": "assistant",
        "content": text(a, "ai.response.text", "ai.result.text", "ai.response.object", "ai.result.object"),
        "tool_calls": first(a, "ai.response.toolCalls", "ai.result.toolCalls"),
    }
    tools = first(a, "ai.prompt.tools")
    defined = [structured(tool) for tool in tools] if isinstance(tools, list) else []
    texts = conversation(
        first(a, "ai.prompt.messages", "ai.prompt"), [answer] if answer["content"] or answer["tool_calls"] else None
    )
    return {**texts._asdict(), "tool_definitions": to_json(defined) if defined else ""}
