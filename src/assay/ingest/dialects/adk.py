"""Google's Agent Development Kit: GenAI names now, whole requests and responses in JSON before (`call_llm`)."""

from __future__ import annotations

from typing import Any

from assay.ingest.dialects.fields import Attributes, Table, count, first, names_in, structured, text, told, within
from assay.ingest.dialects.messages import conversation
from assay.ingest.dialects.models import split_model
from assay.ingest.dialects.usage import usage_of
from assay.ingest.otlp import RawSpan

SCOPES = ("gcp.vertex.agent",)
KEYS = ("gcp.vertex.agent.llm_request",)

SPAN: Table = {"session_id": ("session.id", "gen_ai.conversation.id", "gcp.vertex.agent.session_id")}
TOOL: Table = {"prompt": ("gcp.vertex.agent.tool_call_args",), "response": ("gcp.vertex.agent.tool_response",)}
READ = names_in(SPAN)


def fields(span: RawSpan) -> dict[str, Any]:
    """The columns of the `spans` table that this span tells."""
    a = span.attributes
    found = told(a, SPAN) | told(a, TOOL) | _output(a)
    request = structured(first(a, "gcp.vertex.agent.llm_request"))
    response = structured(first(a, "gcp.vertex.agent.llm_response"))
    if not isinstance(request, dict) or not request:
        return found
    answer = response if isinstance(response, dict) else {}
    found |= {name: value for name, value in usage_of(answer.get("usage_metadata")).items() if value is not None}
    if "gen_ai.operation.name" not in a:
        found |= {"kind": "llm", "operation": "generate_content"}
    found["request_model"] = text(a, "gen_ai.request.model") or text(request, "model")
    system = within(request, "config").get("system_instruction")
    return found | conversation(request.get("contents"), answer.get("content"), system)._asdict()


def _output(a: Attributes) -> dict[str, int]:
    """The tokens of an answer. To those of models that are not Google's, thoughts are added though they are in."""
    output, thoughts = (count(a, f"gen_ai.usage.{name}output_tokens") for name in ("", "reasoning."))
    provider, _ = split_model(text(a, "gen_ai.request.model"))
    if not provider or provider.startswith("gcp.") or not output or not thoughts or output < 2 * thoughts:
        return {}
    return {"output_tokens": output - thoughts}
