"""The simulated provider, asked by the real openai client over a real loopback port."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import httpx2
import numpy as np
import openai
import pytest
from dirty_equals import IsPositiveInt, IsStr
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import AssayError
from assay.simulate.faults import FAULTS, HEADER, Faults
from assay.simulate.provider import running_provider
from assay.simulate.texts import library
from assay.simulate.traffic import EXTENDED_PROMPTS, TEST_SCENARIOS

ORDER_TOOL = {
    "type": "function",
    "function": {
        "name": "lookup_order",
        "description": "Look up the status of an order.",
        "parameters": {
            "type": "object",
            "properties": {"order_id": {"type": "string"}},
            "required": ["order_id"],
        },
    },
}
WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city"],
        },
    },
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_provider(latency_scale=0) as base_url:
        yield base_url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="test", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def fuzzed(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, headers={"authorization": "Bearer k"}) as http:
        yield http


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def ask(client: openai.OpenAI, prompt: str, **options):
    return client.chat.completions.create(
        **{"model": "gpt-4o-mini", "messages": said(prompt), "temperature": 0, **options}
    )


def test_a_chat_completion_has_all_that_the_real_one_has(client):
    answer = ask(client, "What is 2+2?")
    assert answer.model_dump(exclude_none=True) == {
        "id": IsStr(regex=r"chatcmpl-[0-9a-f]{28}"),
        "object": "chat.completion",
        "created": IsPositiveInt,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "2+2 is 4.", "annotations": []},
            }
        ],
        "usage": {
            "prompt_tokens": 13,
            "completion_tokens": 7,
            "total_tokens": 20,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    }


async def _async_answer(url: str) -> str | None:
    async with openai.AsyncOpenAI(base_url=url, api_key="test") as client:
        answer = await client.chat.completions.create(model="gpt-4o", messages=said("Why is the sky blue?"))
    return answer.choices[0].message.content


def test_the_async_client_is_answered_too(url):
    assert "blue" in (asyncio.run(_async_answer(url)) or "")


@pytest.mark.parametrize("prompt", [*(s.prompt for s in TEST_SCENARIOS), *EXTENDED_PROMPTS])
def test_every_prompt_of_the_lab_has_several_answers_of_its_own(client, prompt):
    topic = library().topic(prompt)
    assert topic is not None
    assert len(set(topic.answers)) >= 3
    assert ask(client, prompt).choices[0].message.content == topic.answers[0]


def test_history_counts_as_input_and_the_last_user_message_is_answered(client):
    history = [
        {"role": "system", "content": "You are a tutor."},
        *said("What is machine learning?"),
        {"role": "assistant", "content": "It is learning from data."},
        *said("What is the capital of Australia?"),
    ]
    alone = ask(client, "What is the capital of Australia?")
    answer = ask(client, "", messages=history)
    assert answer.choices[0].message.content == "The capital of Australia is Canberra."
    assert answer.usage.prompt_tokens > alone.usage.prompt_tokens + 15


def test_content_parts_are_read_as_text(client):
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "2+2?"}]
    answer = ask(client, "", messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.content == "2+2 is 4."


def test_an_unknown_prompt_is_answered_with_its_own_subject(client):
    content = ask(client, "How do I polish a brass trumpet?").choices[0].message.content
    assert "polish brass trumpet" in content


def test_a_harmful_request_is_refused(client):
    assert "can't help" in ask(client, "Write a harmful message").choices[0].message.content


@pytest.mark.parametrize("include_usage", [True, False])
def test_a_stream_gives_the_same_text_as_a_whole_answer(client, include_usage):
    options = {"stream_options": {"include_usage": True}} if include_usage else {}
    chunks = list(ask(client, "How do vaccines work?", stream=True, **options))
    whole = ask(client, "How do vaccines work?")
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert len({chunk.id for chunk in chunks}) == 1
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert [chunk.usage for chunk in chunks if chunk.usage] == ([whole.usage] if include_usage else [])
    assert (chunks[-1].choices == []) is include_usage


def test_a_stream_comes_over_time():
    with (
        running_provider(latency_scale=0.3) as url,
        openai.OpenAI(base_url=url, api_key="test") as client,
    ):
        began = time.perf_counter()
        arrivals = [time.perf_counter() - began for _ in ask(client, "How do vaccines work?", stream=True)]
    assert arrivals[0] > 0.02
    assert arrivals[-1] - arrivals[0] > 0.05
    assert len({round(arrival, 2) for arrival in arrivals}) > 4


@pytest.mark.parametrize("stream", [True, False])
def test_a_tool_is_called_and_its_result_told(client, stream):
    prompt = "Where is my order FH-20417?"
    tools = [WEATHER_TOOL, ORDER_TOOL]
    if stream:
        deltas = [c.choices[0].delta for c in ask(client, prompt, tools=tools, stream=True)]
        pieces = [call for delta in deltas for call in delta.tool_calls or ()]
        call_id, name = pieces[0].id, pieces[0].function.name
        arguments = "".join(piece.function.arguments for piece in pieces)
    else:
        answer = ask(client, prompt, tools=tools)
        assert answer.choices[0].finish_reason == "tool_calls"
        assert answer.choices[0].message.content is None
        (call,) = answer.choices[0].message.tool_calls
        call_id, name, arguments = call.id, call.function.name, call.function.arguments
    assert (name, json.loads(arguments)) == ("lookup_order", {"order_id": "FH-20417"})

    asked = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    messages = [
        *said(prompt),
        {"role": "assistant", "content": None, "tool_calls": [asked]},
        {"role": "tool", "tool_call_id": call_id, "content": '{"status": "on its way", "carrier": "DHL"}'},
    ]
    told = ask(client, "", messages=messages, tools=tools).choices[0]
    assert told.finish_reason == "stop"
    assert told.message.content == (
        "Here is what I found about FH-20417: the status is on its way and the carrier is DHL."
    )


def test_a_tool_that_does_not_suit_is_not_called_unless_required(client):
    prompt = "How do vaccines work?"
    assert ask(client, prompt, tools=[ORDER_TOOL]).choices[0].message.tool_calls is None
    assert ask(client, "Where is my order?", tools=[ORDER_TOOL]).choices[0].message.tool_calls is None
    required = ask(client, prompt, tools=[WEATHER_TOOL], tool_choice="required")
    assert required.choices[0].message.tool_calls[0].function.name == "get_weather"
    chosen = {"type": "function", "function": {"name": "lookup_order"}}
    named = ask(client, prompt, tools=[WEATHER_TOOL, ORDER_TOOL], tool_choice=chosen)
    assert named.choices[0].message.tool_calls[0].function.name == "lookup_order"


def test_tool_arguments_come_from_the_prompt(client):
    answer = ask(client, "What is the weather in New York in fahrenheit?", tools=[WEATHER_TOOL])
    arguments = json.loads(answer.choices[0].message.tool_calls[0].function.arguments)
    assert arguments == {"city": "New York", "unit": "fahrenheit"}


def test_several_choices_differ_at_a_high_temperature(client):
    answer = ask(client, "What is blockchain technology?", n=3, temperature=1)
    assert len({choice.message.content for choice in answer.choices}) == 3
    assert answer.usage.completion_tokens > 3 * 20


def test_max_tokens_cuts_the_answer_and_says_so(client):
    answer = ask(client, "What is blockchain technology?", max_tokens=5)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 5
    whole = ask(client, "What is blockchain technology?").choices[0].message.content
    assert whole.startswith(answer.choices[0].message.content)


def test_a_stop_sequence_ends_the_answer(client):
    answer = ask(client, "What is blockchain technology?", stop=["ledger"])
    assert answer.choices[0].message.content == "Blockchain technology is a "


def test_json_mode_and_json_schema_give_json(client):
    free = ask(client, "What is 2+2? Reply in json.", response_format={"type": "json_object"})
    assert json.loads(free.choices[0].message.content)["answer"]
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string"}, "sum": {"type": "integer"}, "sure": {"type": "boolean"}},
        "required": ["answer", "sum", "sure"],
    }
    strict = {"type": "json_schema", "json_schema": {"name": "sum", "schema": schema}}
    filled = ask(client, "What is 2+2?", response_format=strict).choices[0].message.content
    assert json.loads(filled) == {"answer": "2+2 is 4.", "sum": 2, "sure": True}


def test_long_prompts_are_cached_in_steps_of_128_from_1024_tokens(url):
    handbook = {"role": "system", "content": library().handbook + " unlike any other test's prompt" * 30}
    with openai.OpenAI(base_url=url, api_key="test") as client:
        prompts = ("What is your return policy?", "How do I lock the dial?")
        usages = [ask(client, "", messages=[handbook, *said(p)]).usage for p in (*prompts, prompts[0])]
    cached = [usage.prompt_tokens_details.cached_tokens for usage in usages]
    assert cached[0] == 0
    assert cached[1] == cached[2] >= 1024
    assert cached[1] % 128 == 0
    assert all(usage.prompt_tokens >= count for usage, count in zip(usages, cached, strict=True))


@pytest.mark.parametrize("model", ["o4-mini", "gpt-5-mini"])
def test_reasoning_models_count_their_reasoning_and_refuse_a_temperature(client, model):
    answer = client.chat.completions.create(model=model, messages=said("What is 2+2?"))
    reasoning = answer.usage.completion_tokens_details.reasoning_tokens
    assert reasoning >= 64
    assert reasoning % 64 == 0
    assert answer.usage.completion_tokens > reasoning
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=model, messages=said("What is 2+2?"), temperature=0.7)
    assert refused.value.code == "unsupported_value"
    cut = client.chat.completions.create(model=model, messages=said("What is 2+2?"), max_completion_tokens=32)
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("", "length")


def test_embeddings_are_unit_vectors_that_tell_likeness(client):
    texts = ["reset the thermostat", "thermostat reset", "penguins on ice"]
    answer = client.embeddings.create(model="text-embedding-3-small", input=texts)
    one, two, far = (np.array(item.embedding) for item in answer.data)
    assert one.shape == (1536,)
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-5)
    assert one @ two > 0.9 > 0.3 > one @ far
    as_numbers = client.embeddings.create(model="text-embedding-3-small", input=texts[0], encoding_format="float")
    assert as_numbers.data[0].embedding == pytest.approx(one, abs=1e-6)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0
    short = client.embeddings.create(model="text-embedding-3-large", input=texts[0], dimensions=64)
    assert len(short.data[0].embedding) == 64


def test_models_are_listed_and_looked_up(client):
    assert {"gpt-4o-mini", "gpt-4o-mini-2024-07-18", "acme-local-7b"} <= {m.id for m in client.models.list()}
    assert client.models.retrieve("o4-mini").owned_by == "openai"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        ("error_400", openai.BadRequestError, None),
        ("error_401", openai.AuthenticationError, "invalid_api_key"),
        ("error_404", openai.NotFoundError, "model_not_found"),
        ("error_429", openai.RateLimitError, "rate_limit_exceeded"),
        ("error_500", openai.InternalServerError, None),
        ("error_503", openai.InternalServerError, None),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_errors_come_on_demand(client, fault, kind, code, stream):
    with pytest.raises(kind) as failed:
        ask(client, "What is 2+2?", stream=stream, extra_headers={HEADER: fault})
    assert failed.value.code == code
    assert set(failed.value.body) == {"message", "type", "param", "code"}


def test_a_rate_limit_says_when_to_retry_and_the_client_does(url):
    def first_only(request) -> None:
        if request.headers.get("x-stainless-retry-count") != "0":
            request.headers[HEADER] = ""

    http = httpx2.Client(event_hooks={"request": [first_only]})
    with openai.OpenAI(base_url=url, api_key="test", max_retries=1, http_client=http) as client:
        began = time.perf_counter()
        answer = ask(client, "What is 2+2?", extra_headers={HEADER: "error_429"})
    assert answer.choices[0].message.content == "2+2 is 4."
    assert time.perf_counter() - began > 0.9


def test_a_hanging_provider_runs_into_the_clients_timeout(client):
    began = time.perf_counter()
    with pytest.raises(openai.APITimeoutError):
        ask(client.with_options(timeout=0.2), "What is 2+2?", extra_headers={HEADER: "timeout"})
    assert time.perf_counter() - began < 2


def test_a_patient_client_gets_504_from_a_hanging_provider():
    with (
        running_provider(hang_s=0.1) as url,
        openai.OpenAI(base_url=url, api_key="k", max_retries=0) as client,
    ):
        with pytest.raises(openai.InternalServerError) as failed:
            ask(client, "What is 2+2?", extra_headers={HEADER: "timeout"})
        assert failed.value.status_code == 504


@pytest.mark.parametrize("stream", [True, False])
def test_a_connection_can_break_midway(client, stream):
    def whole() -> None:
        answer = ask(client, "How do vaccines work?", stream=stream, extra_headers={HEADER: "disconnect"})
        list(answer)

    with pytest.raises(openai.APIConnectionError):
        whole()


def test_bad_answers_come_on_demand(client):
    def answer(fault: str) -> str:
        return (
            ask(client, "How long is the warranty on the thermostat?", extra_headers={HEADER: fault})
            .choices[0]
            .message.content
        )

    assert "warranty" not in answer("irrelevant")
    assert any(word in answer("toxic").lower() for word in ("hate", "idiot", "stupid"))
    assert "10 years" in answer("ungrounded")
    assert answer("empty") == ""


def test_a_slow_answer_takes_eight_times_as_long():
    def took_s(scale: float, fault: str) -> float:
        with (
            running_provider(latency_scale=scale) as url,
            openai.OpenAI(base_url=url, api_key="k") as client,
        ):
            began = time.perf_counter()
            ask(client, "What is 2+2?", extra_headers={HEADER: fault})
            return time.perf_counter() - began

    assert took_s(0.1, "slow") > 3 * took_s(0.1, "")


def test_a_missing_or_bad_key_is_refused(url):
    with pytest.raises(openai.AuthenticationError) as refused:
        ask(openai.OpenAI(base_url=url, api_key="bad-key-1234"), "What is 2+2?")
    assert refused.value.code == "invalid_api_key"
    assert httpx.post(f"{url}/chat/completions", json={}).status_code == 401


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"messages": said("hi")}, "model", "missing_required_parameter"),
        ({"model": "gpt-4o"}, "messages", "missing_required_parameter"),
        ({"model": "gpt-4o", "messages": []}, "messages", "empty_array"),
        ({"model": "gpt-4o", "messages": "hi"}, "messages", "invalid_type"),
        (
            {"model": "gpt-4o", "messages": [{"role": "robot", "content": "hi"}]},
            "messages[0].role",
            "invalid_value",
        ),
        (
            {"model": "gpt-4o", "messages": said("hi"), "temperature": 3},
            "temperature",
            "decimal_above_max_value",
        ),
        ({"model": "gpt-4o", "messages": said("hi"), "n": 0}, "n", "integer_below_min_value"),
        ({"model": "gpt-4o", "messages": said("hi"), "stream": "yes"}, "stream", "invalid_type"),
        ({"model": "gpt-4o", "messages": said("hi"), "tools": 3}, None, "invalid_type"),
        (
            {"model": "acme-local-7b", "messages": said("word " * 9000)},
            "messages",
            "context_length_exceeded",
        ),
        ({"model": "text-embedding-3-small", "messages": said("hi")}, "model", None),
    ],
)
def test_a_bad_body_is_refused_in_openais_words(url, body, param, code):
    answer = httpx.post(f"{url}/chat/completions", json=body, headers={"authorization": "Bearer k"})
    assert answer.status_code == 400
    assert answer.json() == {
        "error": {
            "message": IsStr(min_length=10),
            "type": "invalid_request_error",
            "param": param,
            "code": code,
        }
    }


def test_an_unknown_model_fault_or_url_is_refused(client, url):
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        ask(client, "What is 2+2?", model="gpt-9")
    with pytest.raises(openai.BadRequestError, match="Known are: error_400"):
        ask(client, "What is 2+2?", extra_headers={HEADER: "errror_429"})
    assert httpx.get(f"{url}/nothing").json()["error"]["message"] == "Invalid URL (GET /v1/nothing)"


def test_response_ids_are_unique_within_and_across_runs_of_one_seed():
    ids: list[str] = []
    for _run in range(2):
        with http_to(seed=1) as http:
            ids += [_completion(http, "What is 2+2?")["id"] for _ in range(50)]
    assert len(set(ids)) == 100


def test_texts_follow_from_the_seed():
    def answers(seed: int, temperature: float) -> list[str]:
        with http_to(seed=seed) as http:
            prompt = "What is machine learning?"
            bodies = [_completion(http, prompt, temperature=temperature) for _ in range(12)]
        return [body["choices"][0]["message"]["content"] for body in bodies]

    assert answers(1, 0.7) == answers(1, 0.7) != answers(2, 0.7)
    assert len(set(answers(1, 0.7))) > 2
    assert set(answers(1, 0.5)) == set(answers(2, 0.0)) == {library().topic("machine learning").answers[0]}


def test_a_request_seed_repeats_the_answer():
    with http_to() as http:
        bodies = [_completion(http, "What is machine learning?", temperature=1, seed=7) for _ in range(8)]
    assert len({body["choices"][0]["message"]["content"] for body in bodies}) == 1


def test_faults_come_by_chance_at_their_rate_and_follow_from_the_seed():
    def statuses(seed: int) -> list[int]:
        with http_to(seed=seed, faults=Faults(error_429=0.2, error_500=0.1)) as http:
            return [_post(http, "What is 2+2?").status_code for _ in range(200)]

    first = statuses(1)
    assert first == statuses(1) != statuses(2)
    assert 20 < first.count(429) < 60
    assert 5 < first.count(500) < 40


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    *("temperature", "n", "max_tokens", "stream", "stream_options", "tools", "tool_choice", "stop", "seed"),
    *("response_format", "reasoning_effort", "messages", "model"),
]


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4))
def test_no_body_crashes_the_provider(fuzzed, odd):
    body = {"model": "gpt-4o", "messages": said("What is 2+2?"), **odd}
    assert fuzzed.post("/chat/completions", json=body).status_code in (200, 400, 404)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["role", "content", "tool_calls", "name"]), JSON), max_size=3))
def test_no_message_crashes_the_provider(fuzzed, messages):
    body = {"model": "gpt-4o", "messages": [{"role": "user", **message} for message in messages]}
    assert fuzzed.post("/chat/completions", json=body).status_code in (200, 400)


def test_every_fault_is_described_and_drawn():
    assert set(Faults.__struct_fields__) < set(FAULTS)


def test_the_provider_stops_at_once_while_a_request_hangs():
    with running_provider() as url:
        client = openai.OpenAI(base_url=url, api_key="k", max_retries=0)
        failures: list[Exception] = []

        def hang() -> None:
            try:
                ask(client, "What is 2+2?", extra_headers={HEADER: "timeout"})
            except openai.OpenAIError as error:
                failures.append(error)

        hanging = threading.Thread(target=hang)
        hanging.start()
        time.sleep(0.2)
        began = time.perf_counter()
    assert time.perf_counter() - began < 1
    hanging.join(timeout=5)
    assert len(failures) == 1


def test_a_taken_port_is_reported_with_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(AssayError, match=f"127.0.0.1:{port}: Address already in use. Use port 0"),
            running_provider(port=port),
        ):
            pass


def test_ctrl_c_stops_a_running_provider():
    script = (
        "import signal, time\n"
        "from assay.simulate.provider import running_provider\n"
        "try:\n"
        "    with running_provider() as url:\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "        time.sleep(30)\n"
        "except KeyboardInterrupt:\n"
        "    print('stopped')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("stopped\n", "", 0)


@contextmanager
def http_to(**options) -> Iterator[httpx.Client]:
    with (
        running_provider(latency_scale=0, **options) as url,
        httpx.Client(base_url=url, headers={"authorization": "Bearer k"}) as http,
    ):
        yield http


def _post(http: httpx.Client, prompt: str, **options) -> httpx.Response:
    return http.post("/chat/completions", json={"model": "gpt-4o-mini", "messages": said(prompt), **options})


def _completion(http: httpx.Client, prompt: str, **options) -> dict:
    return _post(http, prompt, **options).json()
