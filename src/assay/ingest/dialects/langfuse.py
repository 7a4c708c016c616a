"""Langfuse SDK 3 to 5, which writes OpenTelemetry spans with `langfuse.observation.*`; values are often JSON texts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from assay.ingest.dialects.fields import (
    Attributes,
    Table,
    blanks_filled,
    count,
    first,
    names_in,
    number,
    structured,
    text,
    to_json,
    told,
)
from assay.ingest.dialects.messages import conversation
from assay.ingest.dialects.usage import usage, usage_of
from assay.ingest.otlp import RawSpan
from assay.records import Kind

SCOPES = ()
KEYS = ("langfuse.observation.type",)

KINDS: dict[str, Kind] = {
    "generation": "llm",
    "embedding": "embedding",
    "agent": "agent",
    "tool": "tool",
    "chain": "chain",
    "retriever": "retriever",
}
SPAN: Table = {
    # The SDK writes the answer's model over the request's as soon as it is known.
    "response_model": ("langfuse.observation.model.name",),
    "session_id": (
        *("session.id", "langfuse.session.id", "langfuse.trace.metadata.langfuse_session_id"),
        *("langfuse.observation.metadata.langfuse_session_id", "langfuse.observation.metadata.session_id"),
    ),
    "user_id": (
        *("user.id", "langfuse.user.id", "langfuse.trace.metadata.langfuse_user_id"),
        *("langfuse.observation.metadata.langfuse_user_id", "langfuse.observation.metadata.user_id"),
    ),
    # Under LangChain the request's model and its provider are kept beside it.
    "request_model": ("langfuse.observation.metadata.ls_model_name", "langfuse.observation.model.name"),
    "provider": ("langfuse.observation.metadata.ls_provider",),
    "response_id": ("langfuse.observation.metadata.id", "langfuse.observation.metadata.response_id"),
    "finish_reason": ("langfuse.observation.metadata.finish_reason",),
}
PARAMETERS: Table = {"temperature": ("temperature",), "top_p": ("top_p",), "max_tokens": ("max_tokens",)}
READ = names_in({"session_id": SPAN["session_id"], "user_id": SPAN["user_id"]}) | {
    "langfuse.observation.type",
    "langfuse.observation.model.name",
    "langfuse.observation.usage_details",
}


def fields(span: RawSpan) -> dict[str, Any]:
    """The columns of the `spans` table that this span tells."""
    a = span.attributes
    kind = KINDS.get(text(a, "langfuse.observation.type"), "span")
    plain = {name: structured(value) for name, value in a.items() if name.startswith("langfuse.observation.metadata.")}
    found: dict[str, Any] = {"kind": kind, **told({**a, **plain}, SPAN)}
    parameters = structured(first(a, "langfuse.observation.model.parameters"))
    found = blanks_filled(found, told(parameters if isinstance(parameters, dict) else {}, PARAMETERS))
    found |= _usage(structured(first(a, "langfuse.observation.usage_details")))
    costs = structured(first(a, "langfuse.observation.cost_details"))
    found["reported_cost_usd"] = number(costs, "total") if isinstance(costs, dict) else None
    if waited := _waited(span):
        found |= {"time_to_first_token_ms": waited, "stream": True}
    return found | _content(a, kind)


def _usage(details: Any) -> dict[str, int | None]:
    """Usage as the provider gave it, or in Langfuse's own buckets, which add up."""
    if not isinstance(details, dict):
        return {}
    if "input" not in details and "output" not in details:
        return usage_of(details)
    read = count(
        details, "input_cached_tokens", "input_cache_read", "cache_read_input_tokens", "input_cache_read_tokens"
    )
    write = count(details, "input_cache_creation", "input_cache_write", "cache_creation_input_tokens")
    reasoning = count(details, "output_reasoning_tokens", "output_reasoning")
    output = count(details, "output")
    return usage(
        count(details, "input"),
        output + reasoning if output is not None and reasoning else output,
        read,
        write,
        reasoning,
        without_cached=True,
    )


def _waited(span: RawSpan) -> float | None:
    moment = structured(span.attributes.get("langfuse.observation.completion_start_time"))
    try:
        began = datetime.fromisoformat(moment).timestamp() if isinstance(moment, str) else None
    except (ValueError, OverflowError):
        return None
    return began * 1000 - span.start_ns / 1e6 if began else None


def _content(a: Attributes, kind: Kind) -> dict[str, Any]:
    asked, answer = first(a, "langfuse.observation.input"), first(a, "langfuse.observation.output")
    if kind not in ("llm", "agent"):
        found = {"prompt": text(a, "langfuse.observation.input"), "response": text(a, "langfuse.observation.output")}
        return found if kind != "retriever" else {"prompt": found["prompt"], "documents": found["response"]}
    data = structured(asked)
    tools = data.get("tools") if isinstance(data, dict) else None
    return {**conversation(asked, answer)._asdict(), "tool_definitions": to_json(tools) if tools else ""}
