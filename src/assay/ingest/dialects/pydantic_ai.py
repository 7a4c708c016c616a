"""Pydantic AI, data formats 1 to 6: GenAI names, with messages of older versions in `events` attributes."""

from __future__ import annotations

from typing import Any

from assay.ingest.dialects.events import Said, as_attributes
from assay.ingest.dialects.fields import Table, first, names_in, number, objects, structured, text, told
from assay.ingest.dialects.messages import conversation
from assay.ingest.dialects.usage import usage_of
from assay.ingest.otlp import RawSpan

SCOPES = ("pydantic-ai",)
KEYS = ()

SPAN: Table = {
    "session_id": ("session.id",),
    "user_id": ("user.id",),
}
READ = names_in(SPAN)


def fields(span: RawSpan) -> dict[str, Any]:
    """The columns of the `spans` table that this span tells."""
    a = span.attributes
    found = told(a, SPAN)
    metadata = structured(first(a, "metadata"))
    if isinstance(metadata, dict):
        found = {
            "session_id": text(metadata, "session_id", "sessionId", "conversation_id"),
            "user_id": text(metadata, "user_id", "userId"),
        } | found
    if "gen_ai.operation.name" not in a and ("agent_name" in a or span.name.startswith("agent")):
        found["kind"] = "agent"
    found["reported_cost_usd"] = number(a, "operation.cost")
    if "gen_ai.usage.raw" in a:
        found |= {name: value for name, value in usage_of(a["gen_ai.usage.raw"]).items() if value is not None}
    return found | content_of_events(a, "events", "all_messages_events") | _all_messages(a)


def content_of_events(a: dict[str, Any], *names: str) -> dict[str, Any]:
    """The texts in an attribute that lists the per-message events of the older conventions as JSON."""
    listed = objects(first(a, *names))
    heard = [
        Said(text(item, "event.name") or f"gen_ai.{item.get('role', 'user')}.message", None, item) for item in listed
    ]
    attributes = as_attributes(heard) if listed else {}
    if not attributes:
        return {}
    asked, answers = (attributes.get(f"gen_ai.{side}.messages", []) for side in ("input", "output"))
    if not answers and asked and asked[-1]["role"] == "assistant":
        asked, answers = asked[:-1], asked[-1:]
    return conversation(asked, answers)._asdict()


def _all_messages(a: dict[str, Any]) -> dict[str, Any]:
    """An agent's whole conversation: its last answer is the agent's."""
    listed = objects(first(a, "pydantic_ai.all_messages"))
    if not listed:
        return {}
    answers = listed[-1:] if listed[-1].get("role") == "assistant" else []
    asked = listed[: len(listed) - len(answers)]
    return conversation(asked, answers, first(a, "gen_ai.system_instructions"))._asdict()
