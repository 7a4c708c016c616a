"""Logfire's own OpenAI and Anthropic instrumentations (2 to 5).

A streamed call is two spans, often in two traces: the request, which ends early, and a log-span with the answer
that is as long as nothing and tells its `duration`. Both get one `call_key`, made of what was asked.
"""

from __future__ import annotations

import hashlib
from typing import Any

from assay.ingest.dialects.answers import response_id
from assay.ingest.dialects.fields import (
    Attributes,
    Table,
    as_text,
    blanks_filled,
    first,
    names_in,
    number,
    structured,
    text,
    told,
)
from assay.ingest.dialects.messages import conversation
from assay.ingest.dialects.pydantic_ai import content_of_events
from assay.ingest.dialects.usage import usage_of
from assay.ingest.otlp import RawSpan

SCOPES = ("logfire.",)
KEYS = ()

LONGEST_CALL_SECONDS = 86_400.0

SPAN: Table = {"session_id": ("session.id", "gen_ai.conversation.id"), "user_id": ("user.id", "enduser.id")}
READ = names_in(SPAN)


def fields(span: RawSpan) -> dict[str, Any]:
    """The columns of the `spans` table that this span tells."""
    a = span.attributes
    if text(a, "logfire.span_type") == "pending_span":
        return {"kind": "span"}
    if "request_data" not in a:
        raw = {name: value for name, value in usage_of(first(a, "gen_ai.usage.raw")).items() if value is not None}
        return {**raw, "response_id": text(a, "response_id"), **content_of_events(a, "events")}
    request, response = structured(first(a, "request_data")), structured(first(a, "response_data", "output"))
    asked = request if isinstance(request, dict) else {}
    answer = response if isinstance(response, dict) else {}
    found: dict[str, Any] = {"response_id": response_id(response)}
    found |= blanks_filled(told(a, SPAN), {"request_model": text(a, "gen_ai.request.model") or text(asked, "model")})
    raw = first(a, "gen_ai.usage.raw", "usage") or answer.get("usage")
    found |= {name: value for name, value in usage_of(raw).items() if value is not None}
    found["reported_cost_usd"] = number(a, "operation.cost")
    found |= _streamed(span)
    if "gen_ai.operation.name" not in a:
        found["kind"] = "embedding" if "input" in asked and "Embedding" in span.name else "llm"
    if not ("gen_ai.input.messages" in a or "gen_ai.output.messages" in a):
        said = content_of_events(a, "events")
        combined = answer.get("message") or answer.get("combined_chunk_content") or response
        # Of OpenAI Agents' calls the request has the answer too.
        found |= said or conversation(first(a, "input") or asked, combined)._asdict()
    if "input" in asked and found.get("kind") == "embedding":
        found["prompt"] = as_text(asked["input"])
    return found


def _streamed(span: RawSpan) -> dict[str, Any]:
    """What the two halves of a streamed call have in common, and when the second one's call really was."""
    a = span.attributes
    seconds = number(a, "duration")
    if text(a, "logfire.span_type") == "log" and seconds is not None and 0 <= seconds <= LONGEST_CALL_SECONDS:
        began = span.end_ns // 1000 - round(seconds * 1e6)
        return {"call_key": _key(span), "stream": True, "started_at": began, "latency_ms": seconds * 1000}
    answered = any(name in a for name in ("gen_ai.output.messages", "response_data", "output", "gen_ai.response.id"))
    return {} if answered or span.failed else {"call_key": _key(span)}


def _key(span: RawSpan) -> str:
    a: Attributes = span.attributes
    asked = "\n".join(text(a, name) for name in ("gen_ai.request.model", "request_data", "gen_ai.input.messages"))
    return (
        "logfire:" + hashlib.blake2b(f"{span.scope_name}\n{asked}".encode(errors="replace"), digest_size=8).hexdigest()
    )
