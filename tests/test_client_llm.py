"""MonitoredLLM with the real openai client, the simulated provider and a real server."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from dirty_equals import IsApprox, IsFloat, IsPartialDict
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

import assay
from assay.client import llm as llm_module
from assay.client import setup
from assay.client.monitor import Monitor
from conftest import Server, eventually, free_port

Start = Callable[..., None]

SCORES = {"coherence", "groundedness", "prompt_toxicity", "refusal", "relevance", "toxicity"}


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, project: str) -> Iterator[Start]:
    """Makes `assay.init` happen anew in this process, with a provider of the test's own."""
    provider = TracerProvider(resource=Resource.create({"assay.project": project}))
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: provider)
    monkeypatch.setattr(setup, "_started", {})
    for name in setup._CONVENTION:
        monkeypatch.setenv(name, setup._CONVENTION[name])
    instrumentor = OpenAIInstrumentor()
    before = instrumentor.is_instrumented_by_opentelemetry
    if before:
        instrumentor.uninstrument()
    yield assay.init
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()
    provider.shutdown()
    if before:
        instrumentor.instrument()


@pytest.fixture
def client(provider_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=provider_url, api_key="simulated", max_retries=0) as opened:
        yield opened


@pytest.fixture(params=[True, False], ids=["instrumented", "not instrumented"])
def llm(request: pytest.FixtureRequest, start: Start, server: Server, client: openai.OpenAI) -> assay.MonitoredLLM:
    start(server.url, instrument=request.param)
    return assay.MonitoredLLM(client, "gpt-4o-mini")


def stored_calls(monitor: Monitor, project: str) -> list[dict[str, Any]]:
    """All calls of the project in full, oldest first."""
    assert assay.flush()
    calls = monitor.calls(project=project, limit=1000)["calls"]
    return [monitor.call(call["span_id"]) for call in reversed(calls)]


def said(call: dict[str, Any]) -> list[tuple[str, str]]:
    """The messages that the model was sent."""
    return [
        (message["role"], "".join(part["content"] for part in message["parts"]))
        for message in json.loads(call["messages_in"])
    ]


def test_an_answer_has_all_its_figures_and_is_stored_once(
    llm: assay.MonitoredLLM, monitor: Monitor, project: str
) -> None:
    began = time.time()
    answer = llm.chat_completion(session_id="user_001", prompt="What is machine learning?", temperature=0.2)
    took_ms = (time.time() - began) * 1000
    assert "learn" in answer.response
    assert answer.completion.choices[0].message.content == answer.response
    usage = answer.completion.usage
    assert answer.usage == {
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }
    assert set(answer.quality) == SCORES
    assert 0 < answer.latency_ms <= took_ms
    assert all(value is None or 0 <= value <= 1 for value in answer.quality.values())
    assert answer.cost_usd == IsApprox(usage.prompt_tokens * 0.15e-6 + usage.completion_tokens * 0.6e-6, delta=1e-9)
    [call] = stored_calls(monitor, project)
    assert call == IsPartialDict(
        span_id=answer.call_id,
        kind="llm",
        operation="chat",
        provider="openai",
        request_model="gpt-4o-mini",
        model="gpt-4o-mini-2024-07-18",
        response_id=answer.completion.id,
        session_id="user_001",
        prompt="What is machine learning?",
        response=answer.response,
        temperature=0.2,
        finish_reason="stop",
        status="ok",
        cost_usd=answer.cost_usd,
        scores=answer.quality,
        latency_ms=IsFloat(gt=0, le=took_ms),
    )
    assert answer.usage == {key: call[key] for key in ("input_tokens", "output_tokens", "total_tokens")}
    assert repr(answer).startswith(f"MonitoredResponse({answer.response!r}, call_id={answer.call_id!r}")


def test_a_failed_call_reaches_the_application_untouched_and_is_stored_as_an_error(
    llm: assay.MonitoredLLM, monitor: Monitor, project: str
) -> None:
    with pytest.raises(openai.RateLimitError) as raised:
        llm.chat_completion("s1", "What is 2+2?", extra_headers={"x-simulate": "error_429"})
    assert raised.value.response.headers["retry-after"] == "1"
    assert llm.history("s1") == []
    calls = stored_calls(monitor, project)
    assert [(call["status"], call["error_type"], call["prompt"]) for call in calls] == [
        ("error", "RateLimitError", "What is 2+2?")
    ]


def test_the_sessions_history_is_sent_with_each_question(
    llm: assay.MonitoredLLM, monitor: Monitor, project: str
) -> None:
    first = llm.chat_completion("s1", "What is machine learning?")
    other = llm.chat_completion("s2", "What is 2+2?")
    second = llm.chat_completion("s1", "How do neural networks learn?")
    assert {call["session_id"]: said(call) for call in stored_calls(monitor, project)} == {
        "s1": [
            ("user", "What is machine learning?"),
            ("assistant", first.response),
            ("user", "How do neural networks learn?"),
        ],
        "s2": [("user", "What is 2+2?")],
    }
    assert llm.history("s1")[-1] == {"role": "assistant", "content": second.response}
    assert [message["content"] for message in llm.history("s2")] == ["What is 2+2?", other.response]
    assert llm.history("never seen") == []


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("error_400", openai.BadRequestError),
        ("error_401", openai.AuthenticationError),
        ("error_500", openai.InternalServerError),
        ("disconnect", openai.APIConnectionError),
        ("timeout", openai.APITimeoutError),
    ],
)
def test_what_the_provider_raises_is_raised_and_not_remembered(
    start: Start, server: Server, client: openai.OpenAI, fault: str, error: type[Exception]
) -> None:
    start(server.url)
    llm = assay.MonitoredLLM(client, "gpt-4o-mini")
    good = llm.chat_completion("s1", "What is 2+2?")
    with pytest.raises(error) as raised:
        llm.chat_completion("s1", "And 3+3?", extra_headers={"x-simulate": fault}, timeout=0.3)
    assert type(raised.value) is error
    assert [message["content"] for message in llm.history("s1")] == ["What is 2+2?", good.response]


def test_the_system_prompt_comes_first_and_is_no_part_of_the_history(
    start: Start, server: Server, client: openai.OpenAI, monitor: Monitor, project: str
) -> None:
    start(server.url)
    llm = assay.MonitoredLLM(client, "gpt-4o-mini", system="Be brief.")
    llm.chat_completion("s1", "What is 2+2?")
    llm.chat_completion("s1", "What is machine learning?")
    first, second = stored_calls(monitor, project)
    assert [first["system"], second["system"]] == ["Be brief.", "Be brief."]
    assert [role for role, _ in said(second) if role != "system"] == ["user", "assistant", "user"]
    assert [message["role"] for message in llm.history("s1")] == ["user", "assistant"] * 2


def test_further_keywords_go_to_the_client_and_may_choose_another_model(
    start: Start, server: Server, client: openai.OpenAI, monitor: Monitor, project: str
) -> None:
    start(server.url)
    llm = assay.MonitoredLLM(client, "gpt-4o-mini")
    answer = llm.chat_completion("s1", "What is machine learning?", model="gpt-4o", max_tokens=5)
    assert answer.completion.choices[0].finish_reason == "length"
    [call] = stored_calls(monitor, project)
    assert call == IsPartialDict(request_model="gpt-4o", max_tokens=5, finish_reason="length", output_tokens=5)


def test_a_session_around_it_gives_the_user(
    start: Start, server: Server, client: openai.OpenAI, monitor: Monitor, project: str
) -> None:
    start(server.url)
    llm = assay.MonitoredLLM(client, "gpt-4o-mini")
    with assay.session("outer", "ada"):
        llm.chat_completion("s1", "What is 2+2?")
    [call] = stored_calls(monitor, project)
    assert (call["session_id"], call["user_id"]) == ("s1", "ada")


def test_a_call_inside_an_observed_function_is_its_child(
    start: Start, server: Server, client: openai.OpenAI, monitor: Monitor, project: str
) -> None:
    start(server.url)
    llm = assay.MonitoredLLM(client, "gpt-4o-mini")

    @assay.observe(name="answer")
    def answer(question: str) -> assay.MonitoredResponse:
        return llm.chat_completion("s1", question)

    call_id = answer("What is 2+2?").call_id
    [call] = stored_calls(monitor, project)
    chain = monitor.call(call["parent_span_id"])
    assert call["span_id"] == call_id
    assert (chain["kind"], chain["trace_id"], chain["prompt"]) == ("chain", call["trace_id"], "What is 2+2?")


def test_a_model_without_a_known_price_costs_none_and_not_zero(
    start: Start, server: Server, client: openai.OpenAI
) -> None:
    start(server.url)
    answer = assay.MonitoredLLM(client, "acme-local-7b").chat_completion("s1", "What is 2+2?")
    assert answer.cost_usd is None
    assert set(answer.quality) == SCORES


class Stub:
    """A client of another make: it answers without usage, id or model, and no instrumentation knows it."""

    def __init__(self) -> None:
        self.chat = SimpleNamespace(completions=self)

    def create(self, **request: Any) -> SimpleNamespace:
        said = f"echo of {request['messages'][-1]['content']}"
        return SimpleNamespace(choices=[SimpleNamespace(message=SimpleNamespace(content=said))])


def test_any_client_with_chat_completions_will_do(start: Start, server: Server, monitor: Monitor, project: str) -> None:
    start(server.url)
    answer = assay.MonitoredLLM(Stub(), "my-model").chat_completion("s1", "Hello")
    assert answer.response == "echo of Hello"
    assert answer.usage == {"input_tokens": None, "output_tokens": None, "total_tokens": None}
    [call] = stored_calls(monitor, project)
    assert call == IsPartialDict(
        span_id=answer.call_id,
        kind="llm",
        provider="",
        model="my-model",
        session_id="s1",
        prompt="Hello",
        response="echo of Hello",
        input_tokens=None,
        cost_usd=None,
    )


def test_histories_keep_the_last_messages_of_the_sessions_used_last(
    start: Start, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(server.url, instrument=False)
    monkeypatch.setattr(llm_module, "KEPT_MESSAGES", 4)
    monkeypatch.setattr(llm_module, "KEPT_SESSIONS", 2)
    llm = assay.MonitoredLLM(Stub(), "my-model")
    for number in range(3):
        llm.chat_completion("a", str(number))
    assert [message["content"] for message in llm.history("a")] == ["1", "echo of 1", "2", "echo of 2"]
    for session in ("b", "a", "c"):
        llm.chat_completion(session, "again")
    assert [bool(llm.history(session)) for session in ("a", "b", "c")] == [True, False, True]


def test_threads_keep_each_exchange_of_a_session_whole(
    start: Start, server: Server, client: openai.OpenAI, monitor: Monitor, project: str
) -> None:
    start(server.url)
    llm = assay.MonitoredLLM(client, "gpt-4o-mini")
    asked = [(f"s{number % 3}", f"What is {number}+1?") for number in range(30)]
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda turn: llm.chat_completion(*turn), asked))
    exchanged = {(session, prompt, answer.response) for (session, prompt), answer in zip(asked, answers, strict=True)}
    for session in ("s0", "s1", "s2"):
        history = llm.history(session)
        assert [message["role"] for message in history] == ["user", "assistant"] * 10
        pairs = zip(history[::2], history[1::2], strict=True)
        assert {(session, user["content"], reply["content"]) for user, reply in pairs} == {
            exchange for exchange in exchanged if exchange[0] == session
        }
    stored = {call["span_id"]: call["prompt"] for call in stored_calls(monitor, project)}
    assert stored == {answer.call_id: prompt for (_, prompt), answer in zip(asked, answers, strict=True)}


def test_with_the_server_away_the_answer_comes_at_once_and_the_figures_are_unknown(
    start: Start, client: openai.OpenAI, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The exporter's own patience is OpenTelemetry's affair; here it would only make the test slow.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    start(f"http://127.0.0.1:{free_port()}")
    llm = assay.MonitoredLLM(client, "gpt-4o-mini")
    began = time.monotonic()
    answer = llm.chat_completion("s1", "What is 2+2?")
    assert time.monotonic() - began < 2
    assert answer.response
    assert len(answer.call_id) == 16
    with caplog.at_level(logging.WARNING, "assay"):
        assert answer.quality == {}
        assert answer.cost_usd is None
    assert f"quality and cost of call {answer.call_id} are not known yet" in caplog.text


def test_figures_that_were_not_known_are_asked_for_again(
    start: Start, server: Server, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(server.url)
    answer = assay.MonitoredLLM(client, "gpt-4o-mini").chat_completion("s1", "What is 2+2?")
    with monkeypatch.context() as away:
        away.setattr(setup, "_started", {"address": setup.address(f"http://127.0.0.1:{free_port()}")})
        assert answer.quality == {}
    assert set(answer.quality) == SCORES


def test_a_persons_score_does_not_pass_for_the_scorers(
    start: Start, server: Server, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(server.url)
    answer = assay.MonitoredLLM(client, "gpt-4o-mini").chat_completion("s1", "What is 2+2?")
    really = Monitor.call
    early = {"scores": {"helpfulness": 1.0}, "verdicts": [{"name": "helpfulness", "source": "human"}], "cost_usd": 0.1}
    answers = [early]
    # What the server answers when a person is quicker than the scorers.
    monkeypatch.setattr(Monitor, "call", lambda *asked: answers.pop() if answers else really(*asked))
    assert set(answer.quality) >= SCORES


def test_a_program_that_only_uses_monitored_llm_needs_no_init(server: Server, provider_url: str, project: str) -> None:
    script = f"""
import assay, openai
llm = assay.MonitoredLLM(openai.OpenAI(base_url={provider_url!r}, api_key="simulated"), model="gpt-4o-mini")
print(llm.chat_completion("s1", "What is 2+2?").call_id)
"""
    environment = {"ASSAY_URL": server.url, "OTEL_RESOURCE_ATTRIBUTES": f"assay.project={project}"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=30, check=True
    )
    with assay.connect(server.url) as monitor:
        calls = eventually(lambda: monitor.calls(project=project)["calls"])
    assert [call["span_id"] for call in calls] == [done.stdout.strip()]
