"""What each dialect's attributes mean: precedence, units, shapes of messages. Whole payloads are in test_truth.py."""

from __future__ import annotations

import json
import time
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from assay.ingest import dialects
from assay.ingest.dialects import genai
from assay.ingest.dialects.answers import response_id, response_model
from assay.ingest.dialects.fields import indexed, structured
from assay.ingest.dialects.messages import conversation, messages, messages_from_texts
from assay.ingest.dialects.models import finish_reason_named, provider_named, provider_of_model, split_model
from assay.ingest.dialects.usage import usage, usage_of
from assay.ingest.normalise import normalise
from assay.ingest.otlp import Event, RawSpan
from assay.ingest.pricing import Prices
from assay.records import Kind, Span

PRICES = Prices()
NOW = time.time_ns()


def told(scope: str = "", *, name: str = "x", failed: bool = False, events: Any = (), **attributes: Any) -> Span:
    """The span as stored, of one with these attributes."""
    return normalise(
        RawSpan(
            "a" * 32, "b" * 16, "", name, NOW - 10**9, NOW, failed, "", attributes["of"], list(events), {}, scope, ""
        ),
        PRICES,
    )


CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}


@pytest.mark.parametrize(
    ("scope", "attributes"),
    [
        ("", {"gen_ai.usage.input_tokens": 1234, "gen_ai.usage.cache_read.input_tokens": 1024}),
        ("", {"gen_ai.usage.prompt_tokens": 1234, "gen_ai.usage.cache_read_input_tokens": 1024}),
        (
            "openlit.instrumentation.anthropic",
            {
                "gen_ai.usage.input_tokens": 82,
                "gen_ai.usage.cache_read.input_tokens": 1024,
                "gen_ai.usage.cache_creation.input_tokens": 128,
            },
        ),
        ("", {"gen_ai.usage.input_tokens": 210, "gen_ai.usage.cache_read.input_tokens": 1024}),
        ("", {"gen_ai.usage.input_tokens": 1234, "gen_ai.usage.prompt_tokens": 1234}),
    ],
    ids=["current", "old", "without cached", "more cached than tokens", "two names"],
)
def test_input_tokens_include_what_was_cached_and_no_name_is_added_to_another(
    scope: str, attributes: dict[str, Any]
) -> None:
    assert told(scope, of=CHAT | attributes).input_tokens == 1234


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            {
                "input_tokens": 82,
                "cache_read_input_tokens": 1024,
                "cache_creation_input_tokens": 128,
                "output_tokens": 9,
            },
            usage(1234, 9, 1024, 128),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 3}},
            usage(10, 5, None, None, 3),
        ),
        ({"input_tokens": 10, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 4}}, usage(10, 5, 4)),
        (
            {"prompt_token_count": 10, "candidates_token_count": 5, "thoughts_token_count": 7},
            usage(10, 12, None, None, 7),
        ),
        ({"inputTokens": 10, "outputTokens": 5, "cacheReadInputTokens": 90}, usage(100, 5, 90)),
        ("{'prompt_tokens': 1, 'completion_tokens': 2, 'x': None}", usage(1, 2)),
        ("nonsense", {}),
    ],
    ids=["anthropic", "openai", "responses", "gemini", "bedrock", "python notation", "text"],
)
def test_a_providers_own_usage_object_is_read_in_its_own_sense(raw: Any, expected: dict[str, Any]) -> None:
    assert usage_of(raw) == expected


def test_zero_is_reported_and_absent_is_not() -> None:
    span = told(of=CHAT | {"gen_ai.usage.input_tokens": 0})
    assert (span.input_tokens, span.output_tokens) == (0, None)


QUESTION, ANSWER = "What is OTLP?", "A protocol."
ASKED = [{"role": "user", "parts": [{"type": "text", "content": QUESTION}]}]


@pytest.mark.parametrize(
    "value",
    [
        QUESTION,
        [{"role": "user", "content": QUESTION}],
        json.dumps([{"role": "user", "content": QUESTION}]),
        json.dumps(json.dumps([{"role": "user", "content": QUESTION}])),
        str([{"role": "user", "content": QUESTION, "name": None}]),
        {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}]},
        {"model": "m", "input": QUESTION},
        {"contents": [{"role": "user", "parts": [{"text": QUESTION}]}]},
        [{"role": "user", "content": [{"text": QUESTION}]}],
        [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": QUESTION}]}],
        [[{"lc": 1, "id": ["langchain", "HumanMessage"], "kwargs": {"content": QUESTION, "type": "human"}}]],
        [{"role": "user", "parts": [{"type": "text", "content": [{"type": "text", "text": QUESTION}]}]}],
        [{"type": "human", "content": QUESTION}],
    ],
    ids=[
        *("text", "openai", "json", "json in json", "python notation", "whole request", "responses", "gemini"),
        *("bedrock", "responses items", "langchain", "nested content", "langchain roles"),
    ],
)
def test_every_senders_messages_become_one_form(value: Any) -> None:
    assert messages(value) == ASKED
    assert conversation(value, None).prompt == QUESTION


CALL = {"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Oslo"}}


@pytest.mark.parametrize(
    "message",
    [
        {
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
            ]
        },
        {"content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Oslo"}}]},
        {"content": [{"toolUse": {"toolUseId": "c1", "name": "weather", "input": {"city": "Oslo"}}}]},
        {"content": [{"type": "tool-call", "toolCallId": "c1", "toolName": "weather", "input": {"city": "Oslo"}}]},
        {"parts": [{"type": "tool_call", "id": "c1", "name": "weather", "arguments": '{"city":"Oslo"}'}]},
    ],
    ids=["openai", "anthropic", "bedrock", "vercel", "genai"],
)
def test_every_senders_tool_calls_become_one_form(message: dict[str, Any]) -> None:
    texts = conversation(ASKED, [{"role": "assistant", **message}])
    assert json.loads(texts.tool_calls) == [CALL]


@given(st.text(min_size=1), st.text())
def test_messages_that_texts_tell_in_full_are_left_out_and_can_be_made_again(prompt: str, system: str) -> None:
    listed = messages_from_texts(system, prompt)
    texts = conversation(listed, [{"role": "assistant", "parts": [{"type": "text", "content": prompt}]}])
    if texts.prompt == prompt:
        assert (texts.messages_in, texts.messages_out) == ("", "")
        assert messages_from_texts(texts.system, texts.prompt) == listed


def test_a_longer_conversation_is_kept_whole() -> None:
    listed = [*ASKED, {"role": "assistant", "parts": [{"type": "text", "content": ANSWER}]}, *ASKED]
    assert json.loads(conversation(listed, None).messages_in) == listed


def test_a_text_that_looks_like_a_list_stays_a_text() -> None:
    assert conversation([{"role": "user", "content": '["a", "b"]'}], None).prompt == '["a", "b"]'


def test_the_bytes_of_a_picture_are_not_kept() -> None:
    url = "data:image/png;base64," + "A" * 100_000
    asked = [
        {"role": "user", "content": [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": url}}]}
    ]
    assert len(conversation(asked, None).messages_in) < 500


def test_a_whole_response_with_empty_fields_is_no_picture() -> None:
    item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": ANSWER}]}
    assert conversation(ASKED, [{"object": "response", "image": None, "output": [item]}]).response == ANSWER


def test_a_stream_told_as_it_came_is_the_whole_at_its_end() -> None:
    told_as_it_came = [{"role": "assistant", "content": text} for text in ("A ", "protocol", ".", ANSWER)]
    texts = conversation(ASKED, told_as_it_came)
    assert (texts.response, texts.messages_out) == (ANSWER, "")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"id": "r1", "model": "m"}, ("r1", "m")),
        (
            {"generations": [[{"message": {"kwargs": {"response_metadata": {"id": "r1", "model_name": "m"}}}}]]},
            ("r1", "m"),
        ),
        (
            [{"id": "__fake_id__", "model": "m", "output": [{"provider_data": {"response_id": "r1"}}]}],
            ("r1", "m"),
        ),
        ({"generations": [[{"generation_info": {"model_name": "m"}}]]}, ("", "m")),
        ("text", ("", "")),
    ],
    ids=["the provider's", "langchain", "openai agents", "langchain stream", "text"],
)
def test_a_whole_answer_tells_its_id_and_its_model(answer: Any, told: tuple[str, str]) -> None:
    assert (response_id(answer), response_model(answer)) == told


def test_thoughts_that_adk_adds_though_they_are_in_are_taken_off_again() -> None:
    counts = {"gen_ai.usage.output_tokens": 157, "gen_ai.usage.reasoning.output_tokens": 64}
    models = {"openai/o4-mini": 93, "gemini-2.5-pro": 157}
    for model, output in models.items():
        of = {"gen_ai.operation.name": "generate_content", "gen_ai.request.model": model, **counts}
        assert told("gcp.vertex.agent", of=of).output_tokens == output


def test_of_a_span_in_several_dialects_each_fills_what_the_others_leave_out() -> None:
    span = told(
        of={
            "langfuse.observation.type": "generation",
            "langfuse.observation.input": QUESTION,
            "openinference.span.kind": "LLM",
            "llm.model_name": "gpt-4o",
            "llm.token_count.prompt": 5,
        }
    )
    assert (span.prompt, span.response_model, span.input_tokens) == (QUESTION, "gpt-4o", 5)


def test_indices_are_numbers() -> None:
    flat = {f"gen_ai.prompt.{n}.content": str(n) for n in (10, 9, 0)}
    assert [item["content"] for item in indexed(flat, "gen_ai.prompt")] == ["0", "9", "10"]


@pytest.mark.parametrize("text", ['[{"role": "user", "content": "cut', "{'a': ", "[1, 2", '"'])
def test_json_that_was_cut_stays_the_text_it_is(text: str) -> None:
    assert structured(text) == text


@pytest.mark.parametrize(
    ("scope", "attributes", "milliseconds"),
    [
        ("", {"gen_ai.response.time_to_first_chunk": 0.25}, 250),
        ("strands.telemetry.tracer", {"gen_ai.server.time_to_first_token": 250}, 250),
        ("ai", {"ai.operationId": "ai.streamText.doStream", "ai.response.msToFirstChunk": 250.0}, 250),
        ("", {"gen_ai.response.time_to_first_chunk": 2.5}, None),
        ("", {"gen_ai.response.time_to_first_chunk": -1}, None),
        ("openlit.instrumentation.openai", {"gen_ai.server.time_to_first_token": 0.003}, None),
    ],
    ids=["seconds", "whole milliseconds", "milliseconds", "longer than the call", "negative", "not trusted"],
)
def test_the_wait_for_the_first_token_is_in_milliseconds_or_unknown(
    scope: str, attributes: dict[str, Any], milliseconds: float | None
) -> None:
    assert told(scope, of=CHAT | attributes).time_to_first_token_ms == milliseconds


def test_what_was_scrubbed_is_unknown() -> None:
    assert told(of=CHAT | {"session.id": "[Scrubbed due to 'session']"}).session_id == ""


@pytest.mark.parametrize(
    ("said", "meant"),
    [("OpenAI", "openai"), ("openai.chat", "openai"), ("az.ai.openai", "azure.ai.openai"), ("strands-agents", "")],
)
def test_a_provider_has_one_name(said: str, meant: str) -> None:
    assert provider_named(said) == meant


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("claude-sonnet-4-5", "anthropic"),
        ("o3-mini", "openai"),
        ("openai/gpt-4o", "openai"),
        ("llama-3", ""),
        ("olmo", ""),
    ],
)
def test_a_provider_that_nobody_named_goes_by_the_models_name(model: str, provider: str) -> None:
    assert provider_of_model(model) == provider


def test_a_providers_name_before_a_model_is_taken_off() -> None:
    assert split_model("openai/gpt-4o") == ("openai", "gpt-4o")
    assert split_model("meta-llama/Llama-3") == ("", "meta-llama/Llama-3")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("tool-calls", "tool_calls"),
        ("end_turn", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("odd", "odd"),
    ],
)
def test_a_finish_reason_has_one_name(said: str, meant: str) -> None:
    assert finish_reason_named(said) == meant


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        (
            {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 9, "gen_ai.request.model": "m"},
            "agent",
        ),
        ({"gen_ai.request.model": "m", "gen_ai.usage.prompt_tokens": 9}, "llm"),
        ({"gen_ai.usage.input_tokens": 9}, "span"),
        ({"openinference.span.kind": "CHAIN", "llm.token_count.prompt": 9}, "chain"),
        ({"ai.operationId": "ai.generateText", "ai.usage.inputTokens": 9}, "chain"),
        ({"ai.operationId": "ai.generateText.doGenerate"}, "llm"),
        ({"langfuse.observation.type": "generation"}, "llm"),
        ({"mlflow.spanType": '"CHAT_MODEL"'}, "llm"),
    ],
    ids=["agent", "old writer", "usage alone", "chain", "outer", "inner", "generation", "json text"],
)
def test_only_a_request_to_a_model_is_a_call(attributes: dict[str, Any], kind: Kind) -> None:
    span = told(of=attributes)
    assert (span.kind, span.counted) == (kind, kind == "llm")


def test_a_cost_that_the_sender_reports_is_kept_beside_ours() -> None:
    span = told(of={"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o", "llm.cost.total": 0.5})
    assert span.attributes["assay.reported_cost_usd"] == "0.5"
    assert "assay.reported_cost_usd" not in told(of=CHAT | {"gen_ai.usage.cost": 0}, scope="openlit").attributes


def test_messages_in_span_events_are_read_like_those_in_attributes() -> None:
    events = [
        Event("gen_ai.user.message", NOW, {"content": json.dumps([{"text": QUESTION}])}),
        Event("gen_ai.choice", NOW, {"message": json.dumps([{"text": ANSWER}]), "finish_reason": "end_turn"}),
    ]
    span = told(of=CHAT, events=events)
    assert (span.prompt, span.response, span.finish_reason) == (QUESTION, ANSWER, "stop")


@pytest.mark.parametrize("seconds", [1e305, 1e12, -5.0])
def test_an_absurd_duration_of_a_streams_tail_does_not_move_the_call(seconds: float) -> None:
    span = told("logfire.openai", of={"request_data": "{}", "logfire.span_type": "log", "duration": seconds})
    assert (span.started_at, span.latency_ms) == ((NOW - 10**9) // 1000, 1000.0)


def test_a_number_too_large_for_a_count_leaves_the_rest_readable() -> None:
    assert usage_of({"prompt_tokens": 10**400, "completion_tokens": 2}) == usage(None, 2)


def test_an_endless_index_in_a_flat_key_is_no_index() -> None:
    assert indexed({f"gen_ai.prompt.{'1' * 5000}.content": "x"}, "gen_ai.prompt") == []


NESTED = {
    "lists": ("[", "]"),
    "objects": ('{"message":', "}"),
    "responses": ('{"choices":[', "]}"),
    "contents": ('[{"role":"user","content":', "}]"),
    "python notation": ("{'message':", "}"),
    "cut": ("[", ""),
}


@pytest.mark.parametrize("depth", [300, 900, 100_000])
@pytest.mark.parametrize("shape", NESTED)
def test_a_call_whose_texts_are_nested_beyond_reading_stays_a_call(shape: str, depth: int) -> None:
    opening, closing = NESTED[shape]
    deep = opening * depth + '"x"' + closing * depth
    for name in DEEP:
        span = told(of={**CHAT, **DEEP[name], "gen_ai.usage.input_tokens": 7, name: deep})
        assert (span.kind, span.counted, span.request_model) == ("llm", True, "gpt-4o"), name


DEEP: dict[str, dict[str, Any]] = {
    "gen_ai.input.messages": {},
    "gen_ai.output.messages": {},
    "gen_ai.system_instructions": {},
    "input.value": {"openinference.span.kind": "LLM"},
    "langfuse.observation.output": {"langfuse.observation.type": "generation"},
    "mlflow.spanInputs": {"mlflow.spanType": '"LLM"', "model": "gpt-4o"},
    "ai.prompt.messages": {"ai.operationId": "ai.generateText.doGenerate"},
    "llm.input_messages.0.message.content": {"openinference.span.kind": "LLM"},
}

KNOWN = sorted(
    {name for dialect in (*dialects.DIALECTS, genai) for name in (*dialect.READ, *dialect.KEYS)}
    | {"request_data", "response_data", "events", "metadata", "mlflow.spanInputs", "mlflow.spanOutputs", "input.value"}
    | {"output.value", "ai.prompt.messages", "ai.response.toolCalls", "pydantic_ai.all_messages", "duration"}
    | {"langfuse.observation.input", "langfuse.observation.output", "langfuse.observation.cost_details"}
    | {"llm.input_messages.0.message", "llm.input_messages.0.message.role", "llm.tools.0.tool", "gen_ai.prompt.0.role"}
    | {"gcp.vertex.agent.llm_request", "gcp.vertex.agent.llm_response", "metadata.usage_object", "gen_ai.usage.raw"}
)
SCOPES = ["", "ai", *(scope for dialect in dialects.DIALECTS for scope in dialect.SCOPES)]
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4)
words = st.sampled_from(
    [
        "role",
        "content",
        "parts",
        "type",
        "text",
        "messages",
        "message",
        "tool_calls",
        "function",
        "usage",
        "choices",
        "kwargs",
        "id",
    ]
)
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4), max_leaves=8
)
attributes = st.dictionaries(
    st.sampled_from(KNOWN), values | values.map(lambda value: json.dumps(value, default=str)), max_size=8
)


@given(
    st.sampled_from(SCOPES),
    attributes,
    st.lists(st.tuples(st.sampled_from(["gen_ai.choice", "gen_ai.user.message", "exception"]), attributes), max_size=2),
)
@example("", {"gen_ai.output.messages": {"kwargs": None, "messages": []}}, [])
@example("", {"gen_ai.output.messages": [{"parts": None, "message": {"output": []}, "output": []}]}, [])
def test_no_value_of_any_type_is_too_much(scope: str, given: dict[str, Any], heard: list[tuple[str, Any]]) -> None:
    events = [Event(name, NOW, attributes) for name, attributes in heard]
    dialects.read(RawSpan("a" * 32, "b" * 16, "", "x", NOW - 10**9, NOW, False, "", given, events, {}, scope, ""))
    span = told(scope, of=given, events=events)
    assert msgspec.convert(msgspec.structs.asdict(span), Span) == span or "nan" in repr(span)
    assert span.kind in get_args(Kind)


parts = st.fixed_dictionaries({"type": st.sampled_from(["text", "reasoning"]), "content": st.text(max_size=5)})
plain_messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool", "ai", ""]), "parts": st.lists(parts, max_size=2)},
    optional={"finish_reason": st.sampled_from(["stop", ""]), "name": st.just("Ada")},
)


@given(st.lists(plain_messages, max_size=3))
def test_plain_messages_are_what_the_long_way_makes_of_them(told_plainly: list[dict[str, Any]]) -> None:
    the_long_way = [message for each in told_plainly for message in messages({"messages": [{**each, "id": 1}]})]
    assert messages(told_plainly) == the_long_way


def test_a_span_that_cannot_be_understood_is_stored_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(span: RawSpan) -> dict[str, Any]:
        raise KeyError(span.name)

    monkeypatch.setattr(genai, "fields", broken)
    span = told(of=CHAT)
    assert (span.kind, span.attributes) == ("span", CHAT)
