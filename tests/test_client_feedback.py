"""assay.score: scores that follow their call to a real server, in the background."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from dirty_equals import IsPartialDict
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import assay
from assay.client import feedback, setup
from assay.client.address import Address
from assay.client.monitor import Monitor
from conftest import Server, eventually, free_port, otlp


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch, server: Server, project: str) -> Iterator[TracerProvider]:
    """A program that sends to the server, as `assay.init` would have set it up."""
    made = TracerProvider(resource=Resource.create({"assay.project": project}))
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: made)
    monkeypatch.setattr(setup, "_started", {})
    monkeypatch.setattr(feedback, "_senders", [])
    assay.init(server.url, instrument=False)
    yield made
    made.shutdown()


@pytest.fixture
def llm(provider: TracerProvider, provider_url: str) -> assay.MonitoredLLM:
    return assay.MonitoredLLM(openai.OpenAI(base_url=provider_url, api_key="simulated"), "gpt-4o-mini")


def human(monitor: Monitor, span_id: str) -> list[dict[str, Any]]:
    """The people's verdicts on a call."""
    return [verdict for verdict in monitor.call(span_id)["verdicts"] if verdict["source"] == "human"]


def test_an_answer_is_scored_by_any_name_it_goes_by(llm: assay.MonitoredLLM, monitor: Monitor) -> None:
    answer = llm.chat_completion("s1", "What is machine learning?")
    assay.score(answer.call_id, "by_span_id", 0.25)
    assay.score(answer, "by_response", 0.5, label="fair", comment="too short", author="ada")
    assay.score(answer.completion, "by_completion", 1)
    assert assay.flush()
    verdicts = {verdict["name"]: verdict for verdict in human(monitor, answer.call_id)}
    assert verdicts == {
        "by_span_id": IsPartialDict(value=0.25),
        "by_response": IsPartialDict(value=0.5, label="fair", comment="too short", author="ada"),
        "by_completion": IsPartialDict(value=1.0),
    }


def test_none_means_the_span_that_is_open(provider: TracerProvider, monitor: Monitor) -> None:
    with provider.get_tracer("tests").start_as_current_span("step") as span:
        assay.score(None, "inside", 0.5)
    assert assay.flush()
    span_id = format(span.get_span_context().span_id, "016x")
    scores = eventually(lambda: human(monitor, span_id))
    assert [(verdict["name"], verdict["value"]) for verdict in scores] == [("inside", 0.5)]


def test_a_thumb_is_a_truth_value(llm: assay.MonitoredLLM, monitor: Monitor) -> None:
    answer = llm.chat_completion("s1", "What is 2+2?")
    assay.score(answer, "up", True)
    assay.score(answer, "down", False)
    assert assay.flush()
    assert {verdict["name"]: verdict["value"] for verdict in human(monitor, answer.call_id)} == {"up": 1.0, "down": 0.0}


def test_a_label_or_a_comment_alone_is_a_score_too(llm: assay.MonitoredLLM, monitor: Monitor) -> None:
    answer = llm.chat_completion("s1", "What is 2+2?")
    assay.score(answer, "topic", label="arithmetic")
    assert assay.flush()
    assert human(monitor, answer.call_id) == [IsPartialDict(name="topic", value=None, label="arithmetic")]


def test_a_score_that_comes_before_its_call_waits_for_it(
    provider: TracerProvider, server: Server, monitor: Monitor, project: str
) -> None:
    assay.score("00000000000000f1", "early", 1)
    assert not assay.flush(0.5)
    server.post(otlp({"span_id": "00000000000000f1"}, project=project))
    assert assay.flush(10)
    assert [verdict["name"] for verdict in human(monitor, "00000000000000f1")] == ["early"]


def test_scores_come_in_the_order_in_which_they_were_given(llm: assay.MonitoredLLM, monitor: Monitor) -> None:
    answer = llm.chat_completion("s1", "What is 2+2?")
    for value in (0, 1, 0.5):
        assay.score(answer, "helpfulness", value)
    assert assay.flush()
    [last] = human(monitor, answer.call_id)
    assert last["value"] == 0.5


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), "high", object(), 10**400, 1 + 2j, [1]],
    ids=["nan", "inf", "text", "object", "huge", "complex", "list"],
)
def test_a_value_that_is_no_number_is_logged_and_not_raised(
    provider: TracerProvider, caplog: pytest.LogCaptureFixture, value: Any
) -> None:
    assay.score("00000000000000f2", "helpfulness", value)
    assert "assay.score('helpfulness'): the value must be a finite number" in caplog.text
    assert assay.flush(1)


@pytest.mark.parametrize("call", ["", None, object(), 7, {}])
def test_a_call_that_is_none_is_logged_and_not_raised(
    provider: TracerProvider, caplog: pytest.LogCaptureFixture, call: Any
) -> None:
    assert not trace.get_current_span().get_span_context().is_valid
    assay.score(call, "helpfulness", 1)
    assert "names no call" in caplog.text
    assert assay.flush(1)


def test_what_the_server_refuses_is_logged_with_its_reason_and_the_next_score_still_goes(
    llm: assay.MonitoredLLM, monitor: Monitor, caplog: pytest.LogCaptureFixture
) -> None:
    answer = llm.chat_completion("s1", "What is 2+2?")
    with caplog.at_level(logging.WARNING, "assay"):
        assay.score(answer, "no name at all!", 1)
        assay.score(answer, "helpfulness", 1)
        assert assay.flush()
    assert "no name at all! was not stored" in caplog.text
    assert [verdict["name"] for verdict in human(monitor, answer.call_id)] == ["helpfulness"]


def test_with_the_server_away_a_score_costs_no_time(
    provider: TracerProvider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(setup, "_started", {"address": Address(f"http://127.0.0.1:{free_port()}", "")})
    monkeypatch.setattr(feedback, "PATIENCE_SECONDS", 0.5)
    began = time.monotonic()
    for _ in range(100):
        assay.score("00000000000000f3", "helpfulness", 1)
    assert time.monotonic() - began < 0.5
    assert not assay.flush(0.2)
    assert time.monotonic() - began < 2
    eventually(lambda: "helpfulness was not stored" in caplog.text)


def test_a_queue_that_is_full_drops_the_score_and_says_so(
    provider: TracerProvider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(setup, "_started", {"address": Address(f"http://127.0.0.1:{free_port()}", "")})
    monkeypatch.setattr(feedback, "WAITING_SCORES", 3)
    for _ in range(5):
        assay.score("00000000000000f4", "helpfulness", 1)
    assert "3 scores wait already; one was dropped" in caplog.text


def test_flush_also_sends_the_spans(provider: TracerProvider, monitor: Monitor) -> None:
    assert any(isinstance(p, BatchSpanProcessor) for p in provider._active_span_processor._span_processors)
    with provider.get_tracer("tests").start_as_current_span("step") as span:
        pass
    assert assay.flush()
    assert monitor.call(format(span.get_span_context().span_id, "016x"))["name"] == "step"


def test_a_program_that_ends_at_once_still_delivers_its_score(server: Server, provider_url: str, project: str) -> None:
    script = f"""
import assay, openai
assay.init({server.url!r}, project={project!r})
llm = assay.MonitoredLLM(openai.OpenAI(base_url={provider_url!r}, api_key="simulated"), model="gpt-4o-mini")
assay.score(llm.chat_completion("s1", "What is 2+2?"), "helpfulness", 1)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    with assay.connect(server.url) as monitor:
        [call] = monitor.calls(project=project)["calls"]
        assert json.dumps(call["scores"].get("helpfulness")) == "1.0"
