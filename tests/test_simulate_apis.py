"""The simulated provider's Messages and Responses APIs, asked by the real anthropic and openai clients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from dirty_equals import IsPositiveFloat, IsStr

from assay.simulate.faults import HEADER
from assay.simulate.provider import running_provider

CLAUDE = "claude-sonnet-4-5"
HANDBOOK = "Parcels that weigh more than thirty kilograms go by freight, on pallets, from Rotterdam. " * 100
ORDER = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}
WHERE = "Where is my order FH-20417?"
VACCINES = "How do vaccines work?"


@pytest.fixture
def url() -> Iterator[str]:
    with running_provider(latency_scale=0) as base_url:
        yield base_url


@pytest.fixture
def claude(url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=url.removesuffix("/v1"), api_key="test", max_retries=0) as client:
        yield client


@pytest.fixture
def gpt(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="test", max_retries=0) as client:
        yield client


def message_of(prompt: str, **options: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    return {"model": CLAUDE, "max_tokens": 2000, "messages": messages, "extra_body": {"temperature": 0}, **options}


def response_of(prompt: str, **options: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "temperature": 0, "input": prompt, **options}


def test_a_message_has_all_that_the_real_one_has(claude):
    answer = claude.messages.create(**message_of("What is 2+2?", system="You are a tutor."))
    assert answer.model_dump(exclude_none=True) == {
        "id": IsStr(regex=r"msg_[0-9a-f]{28}"),
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [{"type": "text", "text": "2+2 is 4."}],
        "stop_reason": "end_turn",
        "usage": {
            "input_tokens": 21,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": 7,
            "service_tier": "standard",
        },
    }
    assert answer._request_id


def without_ids(message: anthropic.types.Message) -> dict[str, Any]:
    record = message.model_dump(exclude={"id"})
    for block in record["content"]:
        block.pop("id", None)
    return record


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"system": "You are a tutor."},
        {"max_tokens": 5},
        {"stop_sequences": [" immune"]},
        {"tools": [{"name": "lookup_order", "description": "Look up an order.", "input_schema": ORDER}]},
    ],
    ids=lambda options: next(iter(options), "plain"),
)
def test_a_streamed_message_adds_up_to_the_whole_one(claude, options):
    prompt = WHERE if "tools" in options else VACCINES
    whole = claude.messages.create(**message_of(prompt, **options))
    with claude.messages.stream(**message_of(prompt, **options)) as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_message()
    assert without_ids(streamed) == without_ids(whole)
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")


def test_thinking_is_streamed_before_the_text(claude):
    with claude.messages.stream(**message_of(VACCINES, thinking={"type": "enabled", "budget_tokens": 1024})) as stream:
        thought, said = stream.get_final_message().content
    assert (thought.type, said.type) == ("thinking", "text")
    assert thought.signature
    assert "vaccines" in thought.thinking


@pytest.mark.parametrize(
    ("options", "reason", "sequence"),
    [
        ({}, "end_turn", None),
        ({"max_tokens": 5}, "max_tokens", None),
        ({"stop_sequences": [" immune"]}, "stop_sequence", " immune"),
    ],
)
def test_a_message_says_why_it_stopped(claude, options, reason, sequence):
    answer = claude.messages.create(**message_of(VACCINES, **options))
    assert (answer.stop_reason, answer.stop_sequence) == (reason, sequence)


def test_claude_calls_a_tool_and_tells_its_result(claude):
    tools = [{"name": "lookup_order", "description": "Look up the status of an order.", "input_schema": ORDER}]
    called = claude.messages.create(**message_of(WHERE, tools=tools))
    [call] = called.content
    assert called.stop_reason == "tool_use"
    assert (call.type, call.name, call.input) == ("tool_use", "lookup_order", {"order_id": "FH-20417"})
    messages = [
        {"role": "user", "content": WHERE},
        {"role": "assistant", "content": called.content},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": call.id, "content": '{"status": "delivered"}'}],
        },
    ]
    told = claude.messages.create(**message_of("", tools=tools, messages=messages))
    assert "the status is delivered" in told.content[0].text
    assert told.usage.input_tokens > called.usage.input_tokens


def test_a_marked_prefix_is_written_to_the_cache_once_and_read_from_then_on(claude):
    plain = claude.messages.create(**message_of("What is 2+2?", system=HANDBOOK)).usage
    marked = [{"type": "text", "text": HANDBOOK, "cache_control": {"type": "ephemeral"}}]
    first = claude.messages.create(**message_of("What is 2+2?", system=marked)).usage
    with claude.messages.stream(**message_of("What is 2+2?", system=marked)) as stream:
        second = stream.get_final_message().usage
    cached = first.cache_creation_input_tokens
    assert cached is not None
    assert cached > 1024
    assert (plain.cache_creation_input_tokens, plain.cache_read_input_tokens) == (0, 0)
    assert (first.input_tokens, first.cache_read_input_tokens) == (plain.input_tokens - cached, 0)
    assert (second.input_tokens, second.cache_creation_input_tokens, second.cache_read_input_tokens) == (
        first.input_tokens,
        0,
        cached,
    )


def test_a_longer_marked_prefix_reads_the_shorter_and_writes_the_rest(claude):
    mark = {"cache_control": {"type": "ephemeral"}}
    system = [{"type": "text", "text": HANDBOOK, **mark}]
    written = claude.messages.create(**message_of("Hi", system=system)).usage.cache_creation_input_tokens
    more = [{"role": "user", "content": [{"type": "text", "text": HANDBOOK + "Why?", **mark}]}]
    usage = claude.messages.create(**message_of("", system=system, messages=more)).usage
    assert usage.cache_read_input_tokens == written
    assert usage.cache_creation_input_tokens > 1000


def test_thinking_is_part_of_the_output_and_only_given_when_asked_for(claude):
    plain = claude.messages.create(**message_of(VACCINES)).usage
    thought = claude.messages.create(**message_of(VACCINES, thinking={"type": "enabled", "budget_tokens": 1024})).usage
    assert plain.output_tokens_details is None
    assert thought.output_tokens == plain.output_tokens + thought.output_tokens_details.thinking_tokens


@pytest.mark.parametrize(
    ("fault", "status", "kind", "raised"),
    [
        ("error_400", 400, "invalid_request_error", anthropic.BadRequestError),
        ("error_401", 401, "authentication_error", anthropic.AuthenticationError),
        ("error_404", 404, "not_found_error", anthropic.NotFoundError),
        ("error_429", 429, "rate_limit_error", anthropic.RateLimitError),
        ("error_500", 500, "api_error", anthropic.InternalServerError),
        ("error_529", 529, "overloaded_error", anthropic.APIStatusError),
    ],
)
def test_errors_on_demand_have_anthropics_shape(claude, fault, status, kind, raised):
    with pytest.raises(raised) as caught:
        claude.messages.create(**message_of("Hi"), extra_headers={HEADER: fault})
    assert caught.value.status_code == status
    assert caught.value.body == {
        "type": "error",
        "error": {"type": kind, "message": IsStr(min_length=1)},
        "request_id": caught.value.request_id,
    }


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"{", "truncated"),
        (b'{"model": "claude-haiku-4-5", "messages": []}', "max_tokens"),
        (b'{"model": "claude-haiku-4-5", "max_tokens": 5, "messages": []}', "at least one message"),
        (b'{"model": "claude-haiku-4-5", "max_tokens": 5, "messages": [{"role": "system", "content": "x"}]}', "role"),
        (
            b'{"model": "claude-haiku-4-5", "max_tokens": 0, "messages": [{"role": "user", "content": "x"}]}',
            "max_tokens",
        ),
    ],
)
def test_a_body_that_is_no_message_is_refused_in_words(url, body, complaint):
    answer = httpx.post(f"{url}/messages", content=body, headers={"x-api-key": "test"})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert complaint in answer.json()["error"]["message"]


def test_a_model_of_openai_is_not_one_of_anthropic(claude, gpt):
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(**message_of("Hi", model="gpt-4o"))
    with pytest.raises(openai.NotFoundError):
        gpt.responses.create(**response_of("Hi", model=CLAUDE))


def test_a_key_that_is_bad_is_refused(url):
    with (
        anthropic.Anthropic(base_url=url.removesuffix("/v1"), api_key="bad", max_retries=0) as claude,
        pytest.raises(anthropic.AuthenticationError),
    ):
        claude.messages.create(**message_of("Hi"))


def test_a_stream_closed_early_or_broken_off_leaves_the_provider_well(claude):
    with claude.messages.create(**message_of(VACCINES), stream=True) as stream:
        assert next(iter(stream)).type == "message_start"
    broken = claude.messages.create(**message_of(VACCINES), stream=True, extra_headers={HEADER: "disconnect"})
    with pytest.raises((httpx.HTTPError, anthropic.APIConnectionError, Exception), match=r"(?i)peer|incomplete|clos"):
        list(broken)
    assert claude.messages.create(**message_of("What is 2+2?")).content[0].text == "2+2 is 4."


def test_a_response_has_all_that_the_real_one_has(gpt):
    answer = gpt.responses.create(**response_of("What is 2+2?", instructions="You are a tutor."))
    assert answer.output_text == "2+2 is 4."
    assert answer.model_dump(exclude_none=True) == {
        "id": IsStr(regex=r"resp_[0-9a-f]{28}"),
        "object": "response",
        "created_at": IsPositiveFloat,
        "status": "completed",
        "background": False,
        "model": "gpt-4o-mini-2024-07-18",
        "output": [
            {
                "id": IsStr(regex=r"msg_[0-9a-f]{28}"),
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "2+2 is 4.", "annotations": [], "logprobs": []}],
            }
        ],
        "service_tier": "default",
        "truncation": "disabled",
        "instructions": "You are a tutor.",
        "metadata": {},
        "parallel_tool_calls": True,
        "reasoning": {},
        "store": True,
        "temperature": 0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": {
            "input_tokens": 21,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 28,
        },
    }


FUNCTION = {"type": "function", "name": "lookup_order", "description": "Look up an order.", "parameters": ORDER}


@pytest.mark.parametrize(
    "options",
    [{}, {"instructions": "You are a tutor."}, {"max_output_tokens": 5}, {"tools": [FUNCTION]}],
    ids=lambda options: next(iter(options), "plain"),
)
def test_a_streamed_response_adds_up_to_the_whole_one(gpt, options):
    prompt = WHERE if "tools" in options else VACCINES
    whole = gpt.responses.create(**response_of(prompt, **options))
    events = list(gpt.responses.create(**response_of(prompt, **options), stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kind = "response.function_call_arguments.delta" if "tools" in options else "response.output_text.delta"
    said = whole.output[0].arguments if "tools" in options else whole.output_text
    assert "".join(event.delta for event in events if event.type == kind) == said
    last = events[-1]
    assert last.type == ("response.incomplete" if "max_output_tokens" in options else "response.completed")
    assert last.response.status == whole.status
    assert last.response.usage == whole.usage
    assert [type(item) for item in last.response.output] == [type(item) for item in whole.output]
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert done == last.response.output


def test_the_clients_own_stream_helper_follows_the_events(gpt):
    with gpt.responses.stream(model="gpt-4o-mini", input=WHERE, tools=[FUNCTION]) as stream:
        final = stream.get_final_response()
    assert final.output[0].arguments == '{"order_id":"FH-20417"}'


def test_a_function_is_called_and_its_result_told(gpt):
    called = gpt.responses.create(**response_of(WHERE, tools=[FUNCTION]))
    [call] = called.output
    assert (call.type, call.name, call.arguments) == ("function_call", "lookup_order", '{"order_id":"FH-20417"}')
    result = {"type": "function_call_output", "call_id": call.call_id, "output": '{"status": "delivered"}'}
    items = [{"role": "user", "content": WHERE}, call.model_dump(exclude_none=True), result]
    told = gpt.responses.create(**response_of("", input=items, tools=[FUNCTION]))
    continued = gpt.responses.create(
        **response_of("", input=[result], tools=[FUNCTION], previous_response_id=called.id)
    )
    assert "the status is delivered" in told.output_text
    assert (continued.output_text, continued.usage.input_tokens) == (told.output_text, told.usage.input_tokens)


def test_a_response_that_is_not_known_cannot_be_continued(gpt):
    with pytest.raises(openai.BadRequestError, match="resp_none"):
        gpt.responses.create(**response_of("Hi", previous_response_id="resp_none"))


def test_cached_and_reasoning_tokens_are_parts_of_input_and_output(gpt):
    options = {"model": "o4-mini", "temperature": 1, "instructions": HANDBOOK, "reasoning": {"effort": "high"}}
    first = gpt.responses.create(**response_of("What is 2+2?", **options))
    second = list(gpt.responses.create(**response_of("What is 2+2?", **options), stream=True))[-1].response
    assert [item.type for item in first.output] == ["reasoning", "message"]
    assert first.usage.output_tokens_details.reasoning_tokens >= 256
    assert first.usage.output_tokens > first.usage.output_tokens_details.reasoning_tokens
    assert first.usage.input_tokens_details.cached_tokens == 0
    assert 1024 <= second.usage.input_tokens_details.cached_tokens < second.usage.input_tokens
    assert first.usage.input_tokens == second.usage.input_tokens
    assert second.usage.total_tokens == second.usage.input_tokens + second.usage.output_tokens


@pytest.mark.parametrize(("fault", "status"), [("error_400", 400), ("error_429", 429), ("error_500", 500)])
def test_errors_of_responses_on_demand_have_openais_shape(gpt, fault, status):
    with pytest.raises(openai.APIStatusError) as caught:
        gpt.responses.create(**response_of("Hi"), extra_headers={HEADER: fault})
    assert caught.value.status_code == status
    assert set(caught.value.body) == {"message", "type", "param", "code"}


def test_a_responses_stream_closed_early_leaves_the_provider_well(gpt):
    with gpt.responses.create(**response_of(VACCINES), stream=True) as stream:
        assert next(iter(stream)).type == "response.created"
    assert gpt.responses.create(**response_of("What is 2+2?")).output_text == "2+2 is 4."


@pytest.mark.parametrize("body", [b"[]", b'{"model": "gpt-4o"}', b'{"model": "gpt-4o", "input": [{"role": "x"}]}'])
def test_a_body_that_is_no_responses_request_is_refused(url, body):
    answer = httpx.post(f"{url}/responses", content=body, headers={"authorization": "Bearer k"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_a_json_schema_is_kept_to(gpt):
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    text = {"format": {"type": "json_schema", "name": "it", "schema": schema}}
    assert gpt.responses.create(**response_of("What is 2+2?", text=text)).output_text == '{"answer":"2+2 is 4."}'


def test_every_piece_of_a_stream_comes_as_a_named_event(url):
    body = message_of("What is 2+2?", stream=True)
    del body["extra_body"]
    text = httpx.post(f"{url}/messages", json=body, headers={"x-api-key": "k"}).text
    events = [block.split("\n", 1) for block in text.strip().split("\n\n")]
    assert events[0][0] == "event: message_start"
    assert all(data.startswith('data: {"type":"' + name.removeprefix("event: ")) for name, data in events)
