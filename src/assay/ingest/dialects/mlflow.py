"""MLflow tracing 3.x over OTLP: every attribute is a JSON document in a text, the request and response are whole."""

from __future__ import annotations

from typing import Any

from assay.ingest.dialects.fields import Table, blanks_filled, count, number, structured, text, to_json, told, within
from assay.ingest.dialects.messages import conversation
from assay.ingest.dialects.usage import usage, usage_of
from assay.ingest.otlp import RawSpan
from assay.records import Kind

SCOPES = ()
KEYS = ("mlflow.spanType",)

KINDS: dict[str, Kind] = {
    "LLM": "llm",
    "CHAT_MODEL": "llm",
    "EMBEDDING": "embedding",
    "CHAIN": "chain",
    "WORKFLOW": "chain",
    "AGENT": "agent",
    "TOOL": "tool",
    "RETRIEVER": "retriever",
    "RERANKER": "retriever",
}
SPAN: Table = {
    "provider": ("mlflow.llm.provider", "mlflow.message.format"),
    "request_model": ("model",),
    "response_model": ("mlflow.llm.model",),
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "max_tokens": ("max_tokens", "max_completion_tokens", "max_output_tokens"),
    "stream": ("stream",),
    "session_id": ("session.id", "mlflow.trace.session"),
    "user_id": ("user.id", "mlflow.trace.user"),
}
READ = frozenset({"mlflow.spanType", "mlflow.chat.tokenUsage", "mlflow.llm.model"})

_FIRST_CHUNK = ("mlflow.chunk.item.0", "new_token")
_LAST_CHUNKS = 3


def fields(span: RawSpan) -> dict[str, Any]:
    """The columns of the `spans` table that this span tells."""
    a = {name: structured(value) for name, value in span.attributes.items()}
    kind = KINDS.get(text(a, "mlflow.spanType"), "span")
    asked, answer = a.get("mlflow.spanInputs"), a.get("mlflow.spanOutputs")
    request = asked if isinstance(asked, dict) else {}
    response = answer if isinstance(answer, dict) else {}
    found: dict[str, Any] = {"kind": kind}
    if kind in ("llm", "embedding"):
        last = _last_of_langchain(span)
        found |= {
            "response_model": text(response, "model") or text(last, "model_name"),
            "response_id": text(response, "id"),
        }
        found = blanks_filled(found, told({**within(a, "invocation_params"), **request, **a}, SPAN))
        found |= _usage(a.get("mlflow.chat.tokenUsage"), usage_of(response.get("usage")))
        found["finish_reason"] = _finish_reason(response) or text(last, "finish_reason")
    else:
        found |= told(a, {name: SPAN[name] for name in ("session_id", "user_id")})
    cost = a.get("mlflow.llm.cost")
    found["reported_cost_usd"] = number(cost, "total_cost") if isinstance(cost, dict) else None
    if waited := next((event.time_ns - span.start_ns for event in span.events if event.name in _FIRST_CHUNK), 0):
        found |= {"time_to_first_token_ms": waited / 1e6, "stream": True}
    return found | _content(kind, asked, answer, a.get("mlflow.chat.tools") or request.get("tools"))


def _last_of_langchain(span: RawSpan) -> dict[str, Any]:
    """What the last chunks of a stream under LangChain say of the whole answer: it is not among the outputs."""
    chunks = (structured(event.attributes.get("chunk")) for event in span.events[-_LAST_CHUNKS:])
    told_last = [within(within(chunk, "kwargs"), "generation_info") for chunk in chunks]
    return next(filter(None, told_last), {})


def _usage(told_by_mlflow: Any, raw: dict[str, int | None]) -> dict[str, int | None]:
    """The provider's own usage object where it came along, else what MLflow made of it."""
    if raw.get("input_tokens") is not None or not isinstance(told_by_mlflow, dict):
        return raw
    return usage(
        count(told_by_mlflow, "input_tokens"),
        count(told_by_mlflow, "output_tokens"),
        count(told_by_mlflow, "cache_read_input_tokens"),
        count(told_by_mlflow, "cache_creation_input_tokens"),
    )


def _finish_reason(response: dict[str, Any]) -> str:
    choices = response.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    return text(choice, "finish_reason") or text(response, "stop_reason")


def _content(kind: Kind, asked: Any, answer: Any, tools: Any) -> dict[str, Any]:
    if kind in ("llm", "agent"):
        shown = "" if isinstance(answer, str) and answer.startswith("<") else answer  # repr of a stream nobody read
        return {**conversation(asked, shown)._asdict(), "tool_definitions": to_json(tools) if tools else ""}
    if kind == "embedding":
        texts = asked.get("input", asked) if isinstance(asked, dict) else asked
        listed = texts if isinstance(texts, list) else [texts]
        return {"prompt": "\n".join(item for item in listed if isinstance(item, str))}
    values = {"prompt": asked, "documents" if kind == "retriever" else "response": answer}
    return {name: value if isinstance(value, str) else to_json(value) for name, value in values.items() if value}
