"""Sessions: whose marks reach which spans. Spans are read from an exporter in memory, before any sending."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import assay
from assay.client.session import SessionProcessor, calls_made


class Marks:
    """Makes spans, and tells what the session wrote onto them."""

    def __init__(self) -> None:
        self.memory = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SessionProcessor())
        self.provider.add_span_processor(SimpleSpanProcessor(self.memory))

    def span(self, name: str, **attributes: str) -> None:
        with trace.get_tracer("tests").start_as_current_span(name, attributes=attributes):
            pass

    @property
    def told(self) -> dict[str, dict[str, object]]:
        return {span.name: dict(span.attributes or {}) for span in self.memory.get_finished_spans()}


@pytest.fixture
def marks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Marks]:
    made = Marks()
    # The real global provider can be set only once a process.
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: made.provider)
    yield made
    made.provider.shutdown()


def test_session_user_and_further_attributes_reach_every_span_inside_and_none_outside(marks: Marks) -> None:
    marks.span("before")
    with assay.session("s1", "ada", tier="gold"):
        with trace.get_tracer("tests").start_as_current_span("outer"):
            marks.span("inner")
        marks.span("second")
    marks.span("after")
    whole = {"session.id": "s1", "user.id": "ada", "tier": "gold"}
    assert marks.told == {"before": {}, "inner": whole, "outer": whole, "second": whole, "after": {}}


def test_without_a_user_only_the_session_is_marked(marks: Marks) -> None:
    with assay.session("s1"):
        marks.span("call")
    assert marks.told == {"call": {"session.id": "s1"}}


def test_of_nested_sessions_the_inner_one_wins_and_the_outer_one_comes_back(marks: Marks) -> None:
    with assay.session("outer", "ada", tier="gold"):
        with assay.session("inner"):
            marks.span("in both")
        with assay.session("inner", "bob"):
            marks.span("other user")
        marks.span("in outer")
    assert marks.told == {
        "in both": {"session.id": "inner", "user.id": "ada", "tier": "gold"},
        "other user": {"session.id": "inner", "user.id": "bob", "tier": "gold"},
        "in outer": {"session.id": "outer", "user.id": "ada", "tier": "gold"},
    }


def test_a_session_ends_with_the_error_that_leaves_it(marks: Marks) -> None:
    error = LookupError("no")
    with pytest.raises(LookupError) as raised, assay.session("s1"):
        raise error
    marks.span("after")
    assert raised.value is error
    assert marks.told == {"after": {}}


def test_a_session_lasts_across_await(marks: Marks) -> None:
    async def talk() -> None:
        with assay.session("s1"):
            await asyncio.sleep(0)
            marks.span("after await")
        await asyncio.sleep(0)
        marks.span("outside")

    asyncio.run(talk())
    assert marks.told == {"after await": {"session.id": "s1"}, "outside": {}}


def test_tasks_of_different_sessions_that_take_turns_do_not_mix(marks: Marks) -> None:
    async def talk(name: str) -> None:
        with assay.session(name, f"user of {name}"):
            for step in range(5):
                await asyncio.sleep(0)
                marks.span(f"{name}/{step}")

    async def everyone() -> None:
        await asyncio.gather(*(talk(f"s{i}") for i in range(10)))

    asyncio.run(everyone())
    assert marks.told == {
        f"s{i}/{step}": {"session.id": f"s{i}", "user.id": f"user of s{i}"} for i in range(10) for step in range(5)
    }


def test_a_task_started_inside_keeps_the_session_after_it_was_left(marks: Marks) -> None:
    async def later() -> None:
        await asyncio.sleep(0.01)
        marks.span("task")

    async def talk() -> None:
        with assay.session("s1"):
            task = asyncio.create_task(later())
        marks.span("outside")
        await task

    asyncio.run(talk())
    assert marks.told == {"outside": {}, "task": {"session.id": "s1"}}


def test_a_thread_with_a_copied_context_is_inside_and_a_bare_one_is_not(marks: Marks) -> None:
    with assay.session("s1"):
        copied = contextvars.copy_context()
        threads = [
            threading.Thread(target=copied.run, args=(marks.span, "copied")),
            threading.Thread(target=marks.span, args=("bare",)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        asyncio.run(asyncio.to_thread(marks.span, "to_thread"))
    assert marks.told == {"copied": {"session.id": "s1"}, "bare": {}, "to_thread": {"session.id": "s1"}}


def test_threads_of_a_pool_keep_their_sessions_apart(marks: Marks) -> None:
    def talk(number: int) -> None:
        with assay.session(f"s{number}"):
            marks.span(str(number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(talk, range(100)))
    assert marks.told == {str(number): {"session.id": f"s{number}"} for number in range(100)}


def test_a_session_decorates_a_function_as_often_as_it_is_called(marks: Marks) -> None:
    @assay.session("s1", "ada")
    def talk(name: str) -> str:
        marks.span(name)
        return name

    assert [talk("first"), talk("second")] == ["first", "second"]
    assert talk.__name__ == "talk"
    marks.span("after")
    whole = {"session.id": "s1", "user.id": "ada"}
    assert marks.told == {"first": whole, "second": whole, "after": {}}


def test_a_session_decorates_a_coroutine_function(marks: Marks) -> None:
    @assay.session("s1")
    async def talk() -> str:
        await asyncio.sleep(0)
        marks.span("call")
        return "said"

    assert asyncio.run(talk()) == "said"
    assert marks.told == {"call": {"session.id": "s1"}}


def test_the_calls_made_inside_are_noted_in_the_order_in_which_they_end(marks: Marks) -> None:
    with calls_made() as noted:
        marks.span("chain", **{"gen_ai.operation.name": "invoke_workflow"})
        marks.span("chat", **{"gen_ai.operation.name": "chat"})
        marks.span("openinference", **{"openinference.span.kind": "LLM"})
        marks.span("tool", **{"openinference.span.kind": "TOOL"})
        marks.span("traceloop", **{"llm.request.type": "chat"})
    marks.span("outside", **{"gen_ai.operation.name": "chat"})
    ids = {span.name: format(span.context.span_id, "016x") for span in marks.memory.get_finished_spans()}
    assert noted == [ids["chat"], ids["openinference"], ids["traceloop"]]
