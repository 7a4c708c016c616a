"""LiteLLM's OpenTelemetry callback (1.x): `litellm_request` is the call, `raw_gen_ai_request` its echo.

Most names are GenAI ones; usage in full is only in a Python repr, tool calls only in flat keys, the
provider's own response id only on the echo. Empty texts stand for what is not known.
"""

from __future__ import annotations

from typing import Any

from assay.ingest.dialects.fields import (
    Attributes,
    Table,
    as_text,
    first,
    indexed,
    names_in,
    number,
    structured,
    text,
    told,
)
from assay.ingest.dialects.messages import conversation, messages
from assay.ingest.dialects.models import split_model
from assay.ingest.dialects.usage import usage_of
from assay.ingest.otlp import RawSpan

SCOPES = ("litellm",)
KEYS = ()

SPAN: Table = {
    "session_id": (
        *("session.id", "metadata.session_id", "metadata.litellm_session_id"),
        *("metadata.requester_metadata.session_id", "litellm.session_id"),
    ),
    "user_id": ("user.id", "llm.user", "metadata.user_api_key_end_user_id", "metadata.user_id"),
    "error_type": ("error.type",),
    "error_message": ("error.message",),
}
READ = names_in(SPAN)

_CALLS = {"completion": "llm", "embedding": "embedding", "chat": "llm", "acompletion": "llm", "aembedding": "embedding"}


def fields(span: RawSpan) -> dict[str, Any]:
    """The columns of the `spans` table that this span tells."""
    a = span.attributes
    if span.name == "raw_gen_ai_request":
        return {"kind": "span", "response_id": _echoed(a, ".id"), "finish_reason": _echoed(a, ".stop_reason")}
    if not ("gen_ai.request.model" in a or "gen_ai.operation.name" in a):
        return {"kind": "span"}
    found = told(a, SPAN)
    if kind := _CALLS.get(text(a, "llm.request.type")) or _CALLS.get(text(a, "gen_ai.operation.name")):
        found["kind"] = kind
    found["provider"] = text(a, "gen_ai.system") or split_model(text(a, "litellm.provider.model"))[0]
    details = {name: value for name, value in usage_of(a.get("metadata.usage_object")).items() if value is not None}
    found |= details
    found["reported_cost_usd"] = number(a, "gen_ai.cost.total_cost", "hidden_params.response_cost")
    return found | _content(span)


def _echoed(a: Attributes, ending: str) -> str:
    """What the provider's own answer says, in a key such as `llm.anthropic.id`."""
    told = (as_text(value) for name, value in a.items() if name.startswith("llm.") and name.endswith(ending))
    return next(filter(None, told), "")


def _content(span: RawSpan) -> dict[str, Any]:
    a = span.attributes
    answers = messages(first(a, "gen_ai.output.messages"), "assistant")
    flat = indexed(a, "gen_ai.completion")
    if flat and not any(answer["parts"] for answer in answers):
        answers = messages(flat, "assistant")
    asked = structured(first(a, "gen_ai.input.messages")) or indexed(a, "gen_ai.prompt")
    return conversation(asked, answers, first(a, "gen_ai.system_instructions"))._asdict()
