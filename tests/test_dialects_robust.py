"""No value of any type, under any name that a dialect knows, keeps a span from being stored."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.ingest.dialects import DIALECTS, genai
from assay.ingest.dialects.fields import names_in
from assay.ingest.normalise import normalise
from assay.ingest.otlp import Event, RawSpan
from assay.ingest.pricing import Prices
from assay.records import Span

PRICES = Prices()
NOW_NS = time.time_ns()
NAMES = sorted(
    {
        *genai.READ,
        *names_in(genai.SPAN, genai.USAGE),
        *(key for dialect in DIALECTS for key in (*dialect.READ, *dialect.KEYS)),
        *("gen_ai.prompt", "gen_ai.completion", "gen_ai.prompt.0.role", "gen_ai.prompt.10.content"),
        *("gen_ai.completion.0.content", "gen_ai.completion.0.tool_calls.0.name", "gen_ai.response.finish_reasons"),
        *("llm.input_messages.0.message.role", "llm.input_messages.0.message.contents.0.message_content.text"),
        *("llm.output_messages.0.message.tool_calls.0.tool_call.function.name", "llm.tools.0.tool.json_schema"),
        *("input.value", "output.value", "llm.invocation_parameters", "openinference.span.kind", "metadata"),
        *("mlflow.spanInputs", "mlflow.spanOutputs", "mlflow.chunk.item.0", "mlflow.chat.tools"),
        *("langfuse.observation.input", "langfuse.observation.output", "langfuse.observation.model.parameters"),
        *("langfuse.observation.cost_details", "langfuse.observation.completion_start_time"),
        *("langfuse.observation.metadata.id", "langfuse.observation.level", "metadata.usage_object"),
        *("ai.prompt", "ai.prompt.messages", "ai.prompt.tools", "ai.response.text", "ai.response.toolCalls"),
        *("ai.values", "ai.value", "request_data", "response_data", "events", "all_messages_events", "duration"),
        *("pydantic_ai.all_messages", "gen_ai.usage.raw", "operation.cost", "gen_ai.usage.cost"),
        *("logfire.span_type", "gcp.vertex.agent.llm_request", "gcp.vertex.agent.llm_response"),
        *("traceloop.entity.input", "traceloop.entity.output", "error.type", "assay.project", "agent_name"),
    }
)
SCOPES = ("", "other", "openlit.instrumentation.openai", *(scope for dialect in DIALECTS for scope in dialect.SCOPES))
WORDS = st.sampled_from(
    (
        *("role", "content", "parts", "type", "text", "user", "assistant", "messages", "input", "output", "choices"),
        *("message", "tool_calls", "function", "arguments", "kwargs", "id", "usage", "input_tokens", "total", "chat"),
        *("finish_reason", "generations", "tool_result", "model", "item", "config", "contents", "toolResult"),
        *("prompt_tokens_details", "cached_tokens", "generation", "LLM", "EMBEDDING", "RETRIEVER", "call_llm"),
    )
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=8),
    WORDS,
    st.binary(max_size=4),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
SENT = st.one_of(
    VALUES,
    VALUES.map(repr),
    VALUES.map(lambda value: msgspec.json.encode(value).decode()),
    VALUES.map(lambda value: msgspec.json.encode(value).decode()[:-1]),
)
ATTRIBUTES = st.dictionaries(st.sampled_from(NAMES), SENT, max_size=8)
EVENTS = st.lists(
    st.builds(
        Event,
        name=st.sampled_from(("gen_ai.choice", "gen_ai.user.message", "exception", "gen_ai.content.prompt", "x")),
        time_ns=st.just(NOW_NS),
        attributes=st.dictionaries(
            st.sampled_from(("content", "message", "gen_ai.prompt", "gen_ai.event.content", "exception.type", "id")),
            SENT,
            max_size=3,
        ),
    ),
    max_size=3,
)


def span(scope: str, attributes: dict[str, Any], events: list[Event]) -> RawSpan:
    return RawSpan(
        trace_id="a" * 32,
        span_id="b" * 16,
        parent_span_id="",
        name="chat gpt-4o",
        start_ns=NOW_NS - 10**9,
        end_ns=NOW_NS,
        failed=False,
        status_message="",
        attributes=attributes,
        events=events,
        resource={},
        scope_name=scope,
        scope_version="",
    )


@settings(max_examples=400, deadline=None)
@given(scope=st.sampled_from(SCOPES), attributes=ATTRIBUTES, events=EVENTS)
def test_whatever_is_sent_becomes_a_valid_span(scope: str, attributes: dict[str, Any], events: list[Event]) -> None:
    stored = normalise(span(scope, attributes, events), PRICES)
    assert msgspec.convert(msgspec.structs.asdict(stored), Span) == stored
