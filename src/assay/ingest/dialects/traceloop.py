"""Traceloop's OpenLLMetry, both generations: up to 0.5x with flat `gen_ai.prompt.N`, 0.6x with GenAI messages.

Nearly all of its names are old or current GenAI ones (genai.py); here is what is its own.
"""

from __future__ import annotations

from typing import Any

from assay.ingest.dialects.fields import Table, first, names_in, structured, text, told
from assay.ingest.dialects.messages import conversation
from assay.ingest.otlp import RawSpan
from assay.records import Kind

SCOPES = ()
KEYS = ("traceloop.span.kind", "llm.request.type", "traceloop.workflow.name", "gen_ai.prompt.0.role")

KINDS: dict[str, Kind] = {
    **dict.fromkeys(("chat", "completion"), "llm"),
    "embedding": "embedding",
    "rerank": "retriever",
    **dict.fromkeys(("workflow", "task"), "chain"),
    "agent": "agent",
    "tool": "tool",
}
"""llm.request.type or traceloop.span.kind to kind."""

_PROPERTIES = "traceloop.association.properties."
SPAN: Table = {
    "session_id": (
        "session.id",
        *(f"{_PROPERTIES}{name}" for name in ("session_id", "conversation_id", "thread_id", "chat_id")),
    ),
    "user_id": ("user.id", f"{_PROPERTIES}user_id", "llm.user", f"{_PROPERTIES}customer_id"),
    "max_tokens": ("llm.request.max_tokens",),
}
READ = names_in(SPAN) | {"llm.request.type", "llm.headers"}

_CHUNKS = ("gen_ai.content.completion.chunk", "llm.content.completion.chunk")


def fields(span: RawSpan) -> dict[str, Any]:
    """The columns of the `spans` table that this span tells."""
    a = span.attributes
    found = told(a, SPAN)
    kind = KINDS.get(text(a, "llm.request.type"), "")
    if not kind and "gen_ai.operation.name" not in a:
        kind = KINDS.get(text(a, "traceloop.span.kind"), "")
    if kind:
        found["kind"] = kind
    if waited := next((event.time_ns - span.start_ns for event in span.events if event.name in _CHUNKS), 0):
        found["time_to_first_token_ms"] = waited / 1e6
    if "traceloop.span.kind" in a:
        asked, answer = (structured(first(a, f"traceloop.entity.{name}")) for name in ("input", "output"))
        asked = asked.get("inputs", asked.get("args", asked)) if isinstance(asked, dict) else asked
        found |= {"prompt": _plain(asked), "response": _plain(answer)}
    return found


def _plain(value: Any) -> str:
    texts = conversation(value, None)
    return texts.prompt or (text({"value": value}, "value") if value else "")
