"""Scripted traffic: the plan, and driving a real openai client with it against the running provider."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from types import SimpleNamespace
from typing import get_args

import openai
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from assay.simulate.drive import Outcome, Totals, drive
from assay.simulate.faults import FAULTS
from assay.simulate.models import models
from assay.simulate.provider import running_provider
from assay.simulate.texts import library, subject
from assay.simulate.tools import definitions, run_tool
from assay.simulate.traffic import (
    EXTENDED_PROMPTS,
    TEST_SCENARIOS,
    Tool,
    Turn,
    Visit,
    lab_visits,
    lapsed_day,
    rhythm,
    steady,
    visits,
)

NOON = time.mktime((2026, 3, 4, 12, 0, 0, 0, 0, -1))
BAD_HOUR = NOON + 2.5 * 3600


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_provider(latency_scale=0) as base_url:
        yield base_url


def perform(url: str, planned, **options) -> tuple[Totals, list[Outcome]]:
    outcomes: list[Outcome] = []

    async def run() -> Totals:
        async with openai.AsyncOpenAI(base_url=url, api_key="test") as client:
            return await drive(client, planned, rate=math.inf, pause_scale=0, on_outcome=outcomes.append, **options)

    return asyncio.run(run()), outcomes


def visit(*turns: Turn, app: str = "fernhill-helpdesk") -> Visit:
    return Visit(session_id="s-1", user_id="ada", app=app, turns=turns)


def planned(count: int, seed: int = 0, moment: float = NOON) -> list[Visit]:
    return list(islice(visits(seed, clock=lambda: moment, run="test"), count))


def test_the_labs_scenarios_and_prompts_are_all_planned():
    assert [(s.session_id, s.expected_quality) for s in TEST_SCENARIOS] == [
        ("user_001", "high"),
        ("user_001", "high"),
        ("user_002", "medium"),
        ("user_002", "high"),
        ("user_003", "low"),
    ]
    turns = {v.session_id: [turn.prompt for turn in v.turns] for v in lab_visits()}
    assert list(turns) == ["user_001", "user_002", "user_003", "test_user_1", "test_user_2", "test_user_3"]
    assert turns["test_user_1"] == list(EXTENDED_PROMPTS[0::3])
    assert sum(map(len, turns.values())) == 15


def test_the_lab_is_performed_in_order_with_history(url):
    totals, outcomes = perform(url, lab_visits(), concurrency=1)
    assert totals == Totals(turns=15, failed=0)
    expected = [turn.prompt for v in lab_visits() for turn in v.turns]
    assert [outcome.turn.prompt for outcome in outcomes] == expected
    assert len({outcome.response_id for outcome in outcomes}) == 15


def test_the_plan_follows_from_its_seed_and_runs_never_share_sessions():
    assert planned(200) == planned(200) != planned(200, seed=1)
    one, other = (list(islice(visits(clock=lambda: NOON), 50)) for _ in range(2))
    assert not {v.session_id for v in one} & {v.session_id for v in other}
    assert [v.turns for v in one] == [v.turns for v in other]


def test_a_plan_is_as_varied_as_real_traffic():
    turns = [turn for v in planned(3000) for turn in v.turns]
    assert {turn.model for turn in turns} == {
        "gpt-4o-mini",
        "gpt-4o",
        "gpt-4.1-mini",
        "o4-mini",
        "acme-local-7b",
    }
    assert {turn.model for turn in turns} < set(models())
    assert {turn.temperature for turn in turns} == {None, 0.0, 0.2, 0.7, 1.0}
    assert {turn.context for turn in turns} == {"none", "passages", "handbook"}
    assert {(turn.stream, turn.include_usage) for turn in turns} == {
        (True, True),
        (True, False),
        (False, True),
        (False, False),
    }
    assert any(turn.tools for turn in turns)
    assert any(turn.embeds for turn in turns)
    faults = Counter(turn.fault for turn in turns)
    assert 0.85 < faults[None] / len(turns) < 0.95
    assert set(faults) - {None} <= set(FAULTS)
    assert len(faults) > 8


def test_the_provider_has_bad_hours_every_day():
    def failing(moment: float) -> float:
        turns = [turn for v in planned(1000, moment=moment) for turn in v.turns]
        return sum((turn.fault or "").startswith("error") for turn in turns) / len(turns)

    assert failing(BAD_HOUR) > 5 * failing(NOON)


def test_a_day_is_busy_at_work_and_quiet_at_night():
    hours = [rhythm(hour / 4) for hour in range(96)]
    assert all(0 < value <= 1 for value in hours)
    assert rhythm(10.5) > 0.9
    assert rhythm(3) < 0.15 < rhythm(20) < rhythm(15)
    clock = {"now": NOON}
    rate = lapsed_day(lambda: clock["now"], 60, peak=40, after=2)
    assert 20 < rate(10) <= 40
    assert rate(61) == steady(2)(0) == 2


def test_most_planned_prompts_have_a_topic_and_its_notes_are_retrieved():
    known = library()
    assert len(known.topics) > 40
    for topic in known.topics:
        assert len(topic.answers) >= 3, topic.name
        for prompt in topic.prompts:
            assert known.topic(prompt) is topic
            if topic.area == "fernhill":
                assert known.passages(prompt)[0] is topic
    assert known.topic("Please explain how neural networks learn") is known.topic("How do neural networks learn?")
    assert known.topic("How do I polish a trumpet?") is None
    assert subject("How do I polish a brass trumpet?") == "polish brass trumpet"


@pytest.mark.parametrize("stream", [True, False])
def test_a_tool_turn_calls_the_tool_and_asks_again(url, stream):
    turn = Turn(prompt="Where is my order FH-20417?", temperature=0, tools=("lookup_order",), stream=stream)
    _, (outcome,) = perform(url, [visit(turn)])
    assert outcome.answer.startswith("Here is what I found about FH-20417: the order is FH-20417, the status is")
    assert turn.calls == 2


def test_every_tool_is_defined_and_answers():
    for name in get_args(Tool):
        assert definitions([name])[0]["function"]["name"] == name
    assert run_tool("lookup_order", '{"order_id":"FH-1"}') == run_tool("lookup_order", '{"order_id":"FH-1"}')
    assert '"priority":"high"' in run_tool("open_ticket", '{"subject":"leak","priority":"high"}')


def test_context_and_history_are_sent(url):
    asked = "How long is the warranty on the thermostat?"
    turns = [
        Turn(prompt=asked, context="handbook"),
        Turn(prompt=asked, context="passages", embeds=True),
        Turn(prompt="Thanks, that helps!"),
    ]
    totals, outcomes = perform(url, [visit(*turns)])
    assert totals == Totals(turns=3, failed=0)
    assert "2 years" in outcomes[0].answer
    assert outcomes[2].answer in library().replies.thanks


def test_provider_errors_are_survived_and_the_visit_goes_on(url):
    faults = ["error_400", "error_429", "error_500", "timeout", "disconnect", None]
    turns = [Turn(prompt="What is 2+2?", fault=fault, stream=i % 2 == 0) for i, fault in enumerate(faults)]
    totals, outcomes = perform(url, [visit(*turns)], timeout_s=0.3)
    assert totals == Totals(turns=6, failed=5)
    assert [type(outcome.error) for outcome in outcomes] == [
        openai.BadRequestError,
        openai.RateLimitError,
        openai.InternalServerError,
        openai.APITimeoutError,
        openai.APIConnectionError,
        type(None),
    ]


def test_a_visit_runs_inside_its_session(url):
    open_sessions: list[tuple[str, str]] = []
    seen: list[tuple[str, ...]] = []

    @contextmanager
    def session(session_id: str, user_id: str) -> Iterator[None]:
        open_sessions.append((session_id, user_id))
        yield
        open_sessions.remove((session_id, user_id))

    async def run() -> None:
        async with openai.AsyncOpenAI(base_url=url, api_key="test") as client:
            await drive(
                client,
                [visit(Turn(prompt="What is 2+2?"))],
                session=session,
                on_outcome=lambda _outcome: seen.extend(open_sessions),
            )

    asyncio.run(run())
    assert seen == [("s-1", "ada")]
    assert open_sessions == []


def test_what_a_hook_raises_ends_the_drive(url):
    def broken(_outcome: Outcome) -> None:
        raise ZeroDivisionError

    async def run() -> None:
        async with openai.AsyncOpenAI(base_url=url, api_key="test") as client:
            await drive(client, [visit(Turn(prompt="What is 2+2?"))], on_outcome=broken)

    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(run())
    assert raised.group_contains(ZeroDivisionError)


@pytest.mark.parametrize("how", ["stop", "cancel"])
def test_a_drive_stops_at_once_with_hundreds_of_calls_under_way(how):
    async def run(url: str) -> float:
        stop = asyncio.Event()
        client = openai.AsyncOpenAI(base_url=url, api_key="test")
        driving = asyncio.create_task(drive(client, visits(clock=lambda: NOON), rate=500, stop=stop))
        await asyncio.sleep(0.5)
        began = time.perf_counter()
        stop.set() if how == "stop" else driving.cancel()
        await asyncio.wait((driving,))
        took_s = time.perf_counter() - began
        assert driving.cancelled() is (how == "cancel")
        assert len(asyncio.all_tasks()) == 1
        await client.close()
        return took_s

    with running_provider(latency_scale=20) as url:
        assert asyncio.run(run(url)) < 3


def test_the_rate_is_kept_on_average(url, monkeypatch):
    waited = list[float]()

    async def run() -> Totals:
        async with openai.AsyncOpenAI(base_url=url, api_key="test") as client:
            one_call = visit(Turn(prompt="What is 2+2?"))
            return await drive(client, [one_call] * 150, rate=100)

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("assay.simulate.drive.asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
    assert asyncio.run(run()) == Totals(turns=150, failed=0)
    assert 1.2 < sum(waited) < 1.8


def test_a_helpdesk_turn_is_one_trace_of_agent_retrieval_and_tool(url, monkeypatch):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("opentelemetry.trace.get_tracer", provider.get_tracer)
    turn = Turn(prompt="Where is my order FH-20417?", context="passages", tools=("lookup_order",))
    perform(url, [visit(turn), visit(Turn(prompt="What is 2+2?"), app="study-buddy")])
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == [
        "retrieval fernhill-handbook",
        "execute_tool lookup_order",
        "invoke_agent fernhill-helpdesk",
    ]
    assert len({span.context.trace_id for span in spans}) == 1
    assert spans[1].attributes["gen_ai.tool.call.arguments"] == '{"order_id":"FH-20417"}'
