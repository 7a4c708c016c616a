"""OpenInference semantic conventions (Arize Phoenix), as of 2026-08: flat indexed keys, `openinference.span.kind`."""

from __future__ import annotations

from typing import Any

from assay.ingest.dialects.answers import response_id, response_model
from assay.ingest.dialects.fields import (
    Attributes,
    Table,
    blanks_filled,
    first,
    indexed,
    names_in,
    number,
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
KEYS = ("openinference.span.kind",)

KINDS: dict[str, Kind] = {
    "LLM": "llm",
    "EMBEDDING": "embedding",
    "RETRIEVER": "retriever",
    "RERANKER": "retriever",
    "TOOL": "tool",
    "AGENT": "agent",
    "CHAIN": "chain",
}
SPAN: Table = {
    "provider": ("llm.provider", "llm.system"),
    "request_model": ("llm.request.model_name",),
    "response_model": ("llm.response.model_name", "llm.response.model", "llm.model_name", "embedding.model_name"),
    "response_id": ("llm.response.id",),
    "session_id": ("session.id",),
    "user_id": ("user.id",),
    "finish_reason": ("llm.finish_reason",),
}
USAGE: Table = {
    "input_tokens": ("llm.token_count.prompt",),
    "output_tokens": ("llm.token_count.completion",),
    "cache_read_tokens": ("llm.token_count.prompt_details.cache_read",),
    "cache_write_tokens": ("llm.token_count.prompt_details.cache_write",),
    "reasoning_tokens": ("llm.token_count.completion_details.reasoning",),
}
PARAMETERS: Table = {
    "request_model": ("model", "model_name", "model_id"),
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "max_tokens": ("max_tokens", "max_completion_tokens", "max_output_tokens"),
    "stream": ("stream", "streaming"),
}
READ = names_in(SPAN, USAGE)

_FIRST_TOKEN = "First Token Stream Event"  # noqa: S105


def fields(span: RawSpan) -> dict[str, Any]:
    """The columns of the `spans` table that this span tells."""
    a = span.attributes
    kind: Kind = KINDS.get(text(a, "openinference.span.kind").upper(), "span")
    asked, answer = structured(first(a, "input.value")), structured(first(a, "output.value"))
    request = asked if isinstance(asked, dict) else {}
    response = answer if isinstance(answer, dict) else {}
    parameters = structured(first(a, "llm.invocation_parameters", "embedding.invocation_parameters"))
    found = told(a, SPAN)
    found = blanks_filled(found, told(parameters if isinstance(parameters, dict) else {}, PARAMETERS))
    if kind in ("llm", "embedding"):
        found = blanks_filled(
            found,
            {
                "request_model": text(request, "model") or text(a, "llm.model_name"),
                "response_id": response_id(answer),
            },
        )
        if "llm.response.model_name" not in a and (model := response_model(answer)):
            found["response_model"] = model  # llm.model_name may be the model that was asked for
    tokens = told(a, USAGE)
    found |= usage(*(tokens.get(name) for name in USAGE)) if tokens else usage_of(response.get("usage"))
    found["kind"] = kind
    found["reported_cost_usd"] = number(a, "llm.cost.total")
    if waited := next((event.time_ns - span.start_ns for event in span.events if event.name == _FIRST_TOKEN), 0):
        found["time_to_first_token_ms"] = waited / 1e6
    return found | _content(a, kind, asked, answer)


def _content(a: Attributes, kind: Kind, asked: Any, answer: Any) -> dict[str, Any]:
    if kind == "embedding":
        texts = [text(within(item, "embedding"), "text") for item in indexed(a, "embedding.embeddings")]
        return {"prompt": "\n".join(filter(None, texts)) or text(a, "input.value")}
    if kind == "retriever":
        documents = indexed(a, "retrieval.documents") or indexed(a, "reranker.output_documents")
        found = [_document(within(item, "document") or item) for item in documents]
        return {
            "prompt": text(a, "reranker.query", "input.value"),
            "documents": to_json(found) if found else "",
        }
    if kind not in ("llm", "agent"):
        return {"prompt": text(a, "input.value"), "response": text(a, "output.value")}
    inputs = [_message(item) for item in indexed(a, "llm.input_messages")]
    outputs = [_message(item) for item in indexed(a, "llm.output_messages")]
    tools = [structured(within(item, "tool").get("json_schema")) for item in indexed(a, "llm.tools")]
    prompts = [within(item, "prompt").get("text") for item in indexed(a, "llm.prompts")]
    choices = [within(item, "completion").get("text") for item in indexed(a, "llm.choices")]
    texts = conversation(inputs or prompts or asked, outputs or choices or answer)
    return {**texts._asdict(), "tool_definitions": to_json(tools) if tools else ""}


def _message(item: dict[str, Any]) -> dict[str, Any]:
    """An OpenInference message as OpenAI would write it."""
    message = dict(within(item, "message"))
    contents = message.pop("contents", None)
    if isinstance(contents, list):
        message["content"] = [within(content, "message_content") or content for content in contents]
    calls = message.pop("tool_calls", None)
    if isinstance(calls, list):
        message["tool_calls"] = [within(call, "tool_call") or call for call in calls]
    if name := message.pop("function_call_name", None):
        message["function_call"] = {"name": name, "arguments": message.pop("function_call_arguments_json", "")}
    return message


def _document(item: dict[str, Any]) -> dict[str, Any]:
    """A document with id and score, which some senders keep in its metadata."""
    metadata = structured(item.get("metadata"))
    found = {name: metadata[name] for name in ("id", "score") if isinstance(metadata, dict) and name in metadata}
    return found | {**item, "metadata": metadata} if metadata else item
