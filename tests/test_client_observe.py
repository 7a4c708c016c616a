"""@observe: the function stays what it was, and its span tells what happened; read as the server would read it."""

from __future__ import annotations

import asyncio
import inspect
import json
import traceback
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest
from inline_snapshot import snapshot
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import assay
from assay.client.observe import MAX_TEXT
from assay.client.session import SessionProcessor
from assay.ingest.normalise import normalise
from assay.ingest.otlp import PROTOBUF, decode
from assay.ingest.pricing import Prices
from assay.records import Span


class Memory:
    """The spans that ended, as OpenTelemetry has them and as the server would store them."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SessionProcessor())
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def ended(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.ended]

    @property
    def stored(self) -> Span:
        [stored] = self.all_stored.values()
        return stored

    @property
    def all_stored(self) -> dict[str, Span]:
        decoded = decode(encode_spans(self.ended).SerializeToString(), PROTOBUF)
        assert decoded.refused == []
        return {raw.name: normalise(raw, Prices()) for raw in decoded.spans}

    def parents(self) -> dict[str, str]:
        """Each span's name and its parent's, "" where it has none."""
        names = {span.context.span_id: span.name for span in self.ended}
        return {span.name: names[span.parent.span_id] if span.parent else "" for span in self.ended}

    def span(self, name: str) -> None:
        with trace.get_tracer("tests").start_as_current_span(name):
            pass


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Memory]:
    made = Memory()
    # The real global provider can be set only once a process.
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: made.provider)
    yield made
    made.provider.shutdown()


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("not to be shown")

    __repr__ = __str__


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not to be shown")


def told(span: Span) -> dict[str, Any]:
    """What the span says of the function."""
    fields = ("kind", "name", "operation", "prompt", "response", "documents", "status", "error_type", "error_message")
    return {name: getattr(span, name) for name in fields}


# What the function gives back


def test_a_result_is_the_same_object_and_the_function_keeps_its_name_and_signature(memory: Memory) -> None:
    result = object()

    @assay.observe
    def answer(question: str, *, tries: int = 3) -> object:
        """Answer it."""
        return result

    assert answer("Why?") is result
    assert (answer.__name__, answer.__doc__) == ("answer", "Answer it.")
    assert str(inspect.signature(answer)) == "(question: 'str', *, tries: 'int' = 3) -> 'object'"
    assert memory.names == ["invoke_workflow " + answer.__qualname__]


def test_each_kind_of_function_stays_of_its_kind(memory: Memory) -> None:
    @assay.observe
    def plain() -> None: ...

    @assay.observe
    async def coroutine() -> None: ...

    @assay.observe
    def generator() -> Iterator[int]:
        yield 1

    @assay.observe
    async def async_generator() -> AsyncIterator[int]:
        yield 1

    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    functions = (plain, coroutine, generator, async_generator)
    assert [[kind(function) for kind in kinds] for function in functions] == [
        [False, False, False],
        [True, False, False],
        [False, True, False],
        [False, False, True],
    ]


def test_a_coroutine_gives_its_result_and_its_span_lasts_until_then(memory: Memory) -> None:
    @assay.observe(name="slow")
    async def answer() -> str:
        await asyncio.sleep(0.02)
        return "done"

    assert asyncio.run(answer()) == "done"
    assert memory.stored.response == "done"
    assert memory.stored.latency_ms >= 20


def test_a_generator_gives_its_items_as_they_come_and_its_return_value(memory: Memory) -> None:
    made = []

    @assay.observe(name="words")
    def words() -> Generator[str, None, int]:
        for word in ("To ", "learn ", "from data."):
            made.append(word)
            yield word
        return 3

    def consumer() -> Generator[str, None, None]:
        returned.append((yield from words()))

    returned: list[int] = []
    stream = consumer()
    assert next(stream) == "To "
    assert made == ["To "]
    assert memory.names == []
    assert list(stream) == ["learn ", "from data."]
    assert returned == [3]
    assert memory.stored.response == "To learn from data."


def test_an_async_generator_gives_its_items_as_they_come(memory: Memory) -> None:
    @assay.observe(name="words")
    async def words() -> AsyncIterator[str]:
        for word in ("To ", "learn"):
            await asyncio.sleep(0)
            yield word

    async def consume() -> list[str]:
        return [word async for word in words()]

    assert asyncio.run(consume()) == ["To ", "learn"]
    assert memory.stored.response == "To learn"


def test_items_that_are_not_all_text_are_recorded_as_a_list(memory: Memory) -> None:
    @assay.observe(name="items", kind="tool")
    def items() -> Iterator[object]:
        yield "a"
        yield {"b": 2}

    assert list(items()) == ["a", {"b": 2}]
    assert memory.stored.response == '["a", {"b": 2}]'


# Errors


def plain_failing(error: BaseException) -> None:
    @assay.observe(name="failing")
    def fail() -> None:
        raise error

    fail()


def coroutine_failing(error: BaseException) -> None:
    @assay.observe(name="failing")
    async def fail() -> None:
        await asyncio.sleep(0)
        raise error

    asyncio.run(fail())


def generator_failing(error: BaseException) -> None:
    @assay.observe(name="failing")
    def fail() -> Iterator[int]:
        yield 1
        raise error

    list(fail())


def async_generator_failing(error: BaseException) -> None:
    @assay.observe(name="failing")
    async def fail() -> AsyncIterator[int]:
        yield 1
        raise error

    async def consume() -> None:
        async for _ in fail():
            pass

    asyncio.run(consume())


FAILING = pytest.mark.parametrize(
    "failing", [plain_failing, coroutine_failing, generator_failing, async_generator_failing]
)


@FAILING
def test_an_error_passes_through_as_the_same_object_and_is_told(
    memory: Memory, failing: Callable[[BaseException], None]
) -> None:
    error = LookupError("no such order")
    with pytest.raises(LookupError) as raised:
        failing(error)
    assert raised.value is error
    assert error.__cause__ is None
    assert error.__context__ is None
    assert traceback.extract_tb(error.__traceback__)[-1].name == "fail"
    span = memory.stored
    assert (span.status, span.error_type, span.error_message) == ("error", "LookupError", "no such order")


@FAILING
def test_an_error_that_cannot_be_printed_passes_through_too(
    memory: Memory, failing: Callable[[BaseException], None]
) -> None:
    error = UnprintableError()
    with pytest.raises(UnprintableError) as raised:
        failing(error)
    assert raised.value is error
    assert (memory.stored.status, memory.stored.error_type) == ("error", "UnprintableError")


def test_stop_iteration_of_a_plain_function_stays_stop_iteration(memory: Memory) -> None:
    error = StopIteration("empty")
    with pytest.raises(StopIteration) as raised:
        plain_failing(error)
    assert raised.value is error


@assay.observe(name="two arguments")
def plain(a: int, b: int) -> None: ...


@assay.observe(name="two arguments")
async def coroutine(a: int, b: int) -> None: ...


@assay.observe(name="two arguments")
def generator(a: int, b: int) -> Iterator[int]:
    yield a + b


@assay.observe(name="two arguments")
async def async_generator(a: int, b: int) -> AsyncIterator[int]:
    yield a + b


async def gathered(items: Any) -> None:
    async for _ in items:
        pass


@pytest.mark.parametrize(
    "call",
    [
        lambda: plain(1),
        lambda: asyncio.run(coroutine(1)),
        lambda: list(generator(1)),
        lambda: asyncio.run(gathered(async_generator(1))),
    ],
    ids=["plain", "coroutine", "generator", "async generator"],
)
def test_a_call_with_wrong_arguments_gets_pythons_own_error_and_a_span(
    memory: Memory, call: Callable[[], object]
) -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'b'"):
        call()
    assert memory.stored.error_type == "TypeError"


def test_a_cancelled_coroutine_is_cancelled_and_its_span_ends(memory: Memory) -> None:
    @assay.observe(name="patient")
    async def wait() -> None:
        await asyncio.sleep(60)

    async def cancel() -> None:
        task = asyncio.create_task(wait())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(cancel())
    assert memory.names == ["invoke_workflow patient"]


# Who is whose child


def test_what_a_function_calls_is_its_child_and_what_follows_is_not(memory: Memory) -> None:
    @assay.observe(name="inner", kind="tool")
    def inner() -> None: ...

    @assay.observe(name="outer")
    def outer() -> None:
        inner()
        memory.span("call")

    outer()
    memory.span("after")
    assert memory.parents() == {
        "execute_tool inner": "invoke_workflow outer",
        "call": "invoke_workflow outer",
        "invoke_workflow outer": "",
        "after": "",
    }


def test_concurrent_coroutines_keep_their_own_children(memory: Memory) -> None:
    async def ask(name: str) -> None:
        @assay.observe(name=name)
        async def step() -> None:
            for i in range(3):
                await asyncio.sleep(0)
                memory.span(f"{name}/{i}")

        await step()

    async def everyone() -> None:
        await asyncio.gather(*(ask(f"c{i}") for i in range(5)))

    asyncio.run(everyone())
    expected = {f"c{i}/{step}": f"invoke_workflow c{i}" for i in range(5) for step in range(3)}
    assert memory.parents() == {**expected, **{f"invoke_workflow c{i}": "" for i in range(5)}}


def test_only_a_generators_own_steps_happen_inside_its_span(memory: Memory) -> None:
    @assay.observe(name="stream")
    def stream() -> Iterator[int]:
        for i in range(2):
            memory.span(f"step {i}")
            yield i
        memory.span("last step")

    for i in stream():
        memory.span(f"consumer {i}")
    memory.span("after")
    own = dict.fromkeys(("step 0", "step 1", "last step"), "invoke_workflow stream")
    others = dict.fromkeys(("invoke_workflow stream", "consumer 0", "consumer 1", "after"), "")
    assert memory.parents() == {**own, **others}


def test_only_an_async_generators_own_steps_happen_inside_its_span(memory: Memory) -> None:
    @assay.observe(name="stream")
    async def stream() -> AsyncIterator[int]:
        for i in range(2):
            await asyncio.sleep(0)
            memory.span(f"step {i}")
            yield i

    async def consume() -> None:
        async for i in stream():
            memory.span(f"consumer {i}")
        memory.span("after")

    asyncio.run(consume())
    own = dict.fromkeys(("step 0", "step 1"), "invoke_workflow stream")
    others = dict.fromkeys(("invoke_workflow stream", "consumer 0", "consumer 1", "after"), "")
    assert memory.parents() == {**own, **others}


def test_what_a_generator_holds_open_over_its_steps_stays_open_for_it(memory: Memory) -> None:
    @assay.observe(name="stream")
    def stream() -> Iterator[int]:
        with assay.session("s1"), trace.get_tracer("tests").start_as_current_span("held open"):
            for i in range(2):
                memory.span(f"step {i}")
                yield i

    for i in stream():
        memory.span(f"consumer {i}")
    memory.span("after")
    assert memory.parents() == {
        "step 0": "held open",
        "consumer 0": "",
        "step 1": "held open",
        "consumer 1": "",
        "held open": "invoke_workflow stream",
        "invoke_workflow stream": "",
        "after": "",
    }
    sessions = {name: span.session_id for name, span in memory.all_stored.items() if span.session_id}
    assert sessions == {"step 0": "s1", "step 1": "s1", "held open": "s1"}


def test_what_an_async_generator_holds_open_over_its_steps_stays_open_for_it(memory: Memory) -> None:
    @assay.observe(name="stream")
    async def stream() -> AsyncIterator[int]:
        with trace.get_tracer("tests").start_as_current_span("held open"):
            for i in range(2):
                await asyncio.sleep(0)
                memory.span(f"step {i}")
                yield i

    async def consume() -> None:
        async for i in stream():
            memory.span(f"consumer {i}")

    asyncio.run(consume())
    assert memory.parents() == {
        "step 0": "held open",
        "consumer 0": "",
        "step 1": "held open",
        "consumer 1": "",
        "held open": "invoke_workflow stream",
        "invoke_workflow stream": "",
    }


# Generators that are talked to


def test_send_and_throw_reach_the_generator_and_its_answer_comes_back(memory: Memory) -> None:
    @assay.observe(name="echo")
    def echo() -> Generator[str, str, str]:
        said = ""
        while said != "end":
            try:
                said = yield f"heard {said}"
            except KeyError as error:
                said = f"caught {error}"
        return "over"

    talk = echo()
    assert next(talk) == "heard "
    assert talk.send("hello") == "heard hello"
    assert talk.throw(KeyError(1)) == "heard caught 1"
    with pytest.raises(StopIteration) as stopped:
        talk.send("end")
    assert stopped.value.value == "over"
    assert memory.stored.status == "ok"


def test_asend_and_athrow_reach_the_async_generator_and_its_answer_comes_back(memory: Memory) -> None:
    @assay.observe(name="echo")
    async def echo() -> Any:
        said = ""
        while said != "end":
            try:
                said = yield f"heard {said}"
            except KeyError as error:
                said = f"caught {error}"

    async def converse() -> list[str]:
        talk = echo()
        heard = [await anext(talk), await talk.asend("hello"), await talk.athrow(KeyError(1))]
        with pytest.raises(StopAsyncIteration):
            await talk.asend("end")
        return heard

    assert asyncio.run(converse()) == ["heard ", "heard hello", "heard caught 1"]
    assert memory.stored.status == "ok"


def test_an_error_thrown_into_a_generator_that_does_not_catch_it_comes_back_as_it_is(memory: Memory) -> None:
    @assay.observe(name="numbers")
    def numbers() -> Iterator[int]:
        yield 1
        yield 2

    error = KeyError("thrown")
    stream = numbers()
    next(stream)
    with pytest.raises(KeyError) as raised:
        stream.throw(error)  # type: ignore[attr-defined]
    assert raised.value is error
    assert memory.stored.error_type == "KeyError"


def test_a_generator_closed_early_cleans_up_inside_its_span_and_is_no_error(memory: Memory) -> None:
    @assay.observe(name="endless")
    def endless() -> Iterator[str]:
        try:
            while True:
                yield "more "
        finally:
            memory.span("clean-up")

    stream = endless()
    assert [next(stream), next(stream)] == ["more ", "more "]
    stream.close()  # type: ignore[attr-defined]
    assert memory.all_stored["invoke_workflow endless"].status == "ok"
    assert memory.parents() == {"clean-up": "invoke_workflow endless", "invoke_workflow endless": ""}


def test_an_async_generator_closed_early_cleans_up_inside_its_span_and_is_no_error(memory: Memory) -> None:
    @assay.observe(name="endless")
    async def endless() -> Any:
        try:
            while True:
                yield "more "
        finally:
            await asyncio.sleep(0)
            memory.span("clean-up")

    async def consume() -> None:
        stream = endless()
        await anext(stream)
        await stream.aclose()

    asyncio.run(consume())
    assert memory.all_stored["invoke_workflow endless"].status == "ok"
    assert memory.parents() == {"clean-up": "invoke_workflow endless", "invoke_workflow endless": ""}


@pytest.mark.parametrize("is_async", [False, True])
def test_what_an_early_closed_stream_said_until_then_is_recorded(memory: Memory, is_async: bool) -> None:
    @assay.observe(name="endless")
    def endless() -> Iterator[str]:
        while True:
            yield "more "

    @assay.observe(name="endless")
    async def async_endless() -> Any:
        while True:
            yield "more "

    async def consume() -> None:
        stream = async_endless()
        await anext(stream)
        await anext(stream)
        await stream.aclose()

    if is_async:
        asyncio.run(consume())
    else:
        stream = endless()
        next(stream)
        next(stream)
        stream.close()  # type: ignore[attr-defined]
    assert memory.stored.response == "more more "


def test_an_error_while_closing_is_an_error(memory: Memory) -> None:
    @assay.observe(name="clumsy")
    def clumsy() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise LookupError("lost")

    stream = clumsy()
    next(stream)
    with pytest.raises(LookupError):
        stream.close()  # type: ignore[attr-defined]
    assert (memory.stored.status, memory.stored.error_message) == ("error", "lost")


# What is recorded


def test_a_chain_tells_its_question_and_answer(memory: Memory) -> None:
    @assay.observe(name="answer")
    def answer(question: str) -> str:
        return "A way to learn from data."

    answer("What is machine learning?")
    assert told(memory.stored) == snapshot(
        {
            "kind": "chain",
            "name": "invoke_workflow answer",
            "operation": "invoke_workflow",
            "prompt": "What is machine learning?",
            "response": "A way to learn from data.",
            "documents": "",
            "status": "ok",
            "error_type": "",
            "error_message": "",
        }
    )


def test_an_agent_tells_its_arguments_by_name(memory: Memory) -> None:
    @assay.observe(name="helpdesk", kind="agent")
    def helpdesk(question: str, *, tries: int) -> dict[str, str]:
        return {"answer": "über"}

    helpdesk("Where is it?", tries=2)
    span = memory.stored
    assert (span.kind, span.operation) == ("agent", "invoke_agent")
    assert json.loads(span.prompt) == {"question": "Where is it?", "tries": 2}
    assert json.loads(span.response) == {"answer": "über"}


def test_a_tool_tells_its_arguments_and_its_result(memory: Memory) -> None:
    @assay.observe(name="lookup_order", kind="tool")
    def lookup_order(order: str, carrier: str) -> dict[str, str]:
        return {"status": "sent"}

    lookup_order("FH-1", "post")
    assert told(memory.stored) == snapshot(
        {
            "kind": "tool",
            "name": "execute_tool lookup_order",
            "operation": "execute_tool",
            "prompt": '{"order": "FH-1", "carrier": "post"}',
            "response": '{"status": "sent"}',
            "documents": "",
            "status": "ok",
            "error_type": "",
            "error_message": "",
        }
    )


def test_a_retriever_tells_its_query_and_its_documents(memory: Memory) -> None:
    @assay.observe(name="handbook", kind="retriever")
    def search(query: str) -> list[dict[str, str]]:
        return [{"id": "returns", "content": "Thirty days."}]

    search("How long?")
    assert told(memory.stored) == snapshot(
        {
            "kind": "retriever",
            "name": "retrieval handbook",
            "operation": "retrieval",
            "prompt": "How long?",
            "response": "",
            "documents": '[{"id": "returns", "content": "Thirty days."}]',
            "status": "ok",
            "error_type": "",
            "error_message": "",
        }
    )


def test_an_observed_function_is_never_counted_as_a_call(memory: Memory) -> None:
    for kind in ("chain", "agent", "tool", "retriever"):
        assay.observe(name=kind, kind=kind)(lambda: "x")()  # type: ignore[arg-type]
    spans = memory.all_stored.values()
    assert {span.kind: span.counted for span in spans} == dict.fromkeys(("chain", "agent", "tool", "retriever"), False)


def test_arguments_are_recorded_as_they_were_when_the_call_began(memory: Memory) -> None:
    @assay.observe(name="emptied", kind="tool")
    def emptied(items: list[int]) -> None:
        items.clear()

    emptied([1, 2])
    assert memory.stored.prompt == "[1, 2]"


class Desk:
    """Every kind of method."""

    @assay.observe(kind="tool")
    def ask(self, question: str) -> str:
        return question.upper()

    @classmethod
    @assay.observe(kind="tool")
    def of_class(cls, question: str) -> str:
        return cls.__name__

    @staticmethod
    @assay.observe(kind="tool")
    def of_none(question: str) -> str:
        return question


def test_methods_are_observed_without_their_self(memory: Memory) -> None:
    assert [Desk().ask("a?"), Desk.of_class("b?"), Desk.of_none("c?")] == ["A?", "Desk", "c?"]
    assert {name: span.prompt for name, span in memory.all_stored.items()} == {
        "execute_tool Desk.ask": "a?",
        "execute_tool Desk.of_class": "b?",
        "execute_tool Desk.of_none": "c?",
    }


def test_without_capture_neither_arguments_nor_results_are_recorded(memory: Memory) -> None:
    @assay.observe(name="secret", capture=False)
    def plain(secret: str) -> str:
        return secret

    @assay.observe(name="secret stream", kind="tool", capture=False)
    def stream(secret: str) -> Iterator[str]:
        yield secret

    plain("hunter2")
    list(stream("hunter2"))
    assert len(memory.ended) == 2
    assert b"hunter2" not in encode_spans(memory.ended).SerializeToString()


@pytest.mark.parametrize("kind", ["chain", "tool", "retriever", "agent"])
@pytest.mark.parametrize(
    "value",
    [Unprintable(), [Unprintable()], {Unprintable(): 1}, b"\xff", float("nan"), {1: {2}}, object()],
    ids=["unprintable", "inside a list", "as a key", "bytes", "nan", "set", "object"],
)
def test_values_that_cannot_be_shown_never_break_the_call(memory: Memory, kind: Any, value: object) -> None:
    assay.observe(name="given", kind=kind)(lambda given: given)(value)
    assert assay.observe(name="back", kind=kind)(lambda given: given)(value) is value
    for span in memory.all_stored.values():
        assert span.status == "ok"
        assert span.prompt


def test_a_text_that_is_no_valid_unicode_is_recorded_as_far_as_it_goes(memory: Memory) -> None:
    assert assay.observe(name="given", kind="tool")(lambda given: given)("before \ud800 after") == "before \ud800 after"
    assert memory.stored.prompt.startswith("before ")
    assert memory.stored.response.endswith(" after")


def test_a_value_that_contains_itself_never_breaks_the_call(memory: Memory) -> None:
    endless: list[object] = []
    endless.append(endless)
    assert assay.observe(name="given")(lambda given: given)(endless) is endless
    assert memory.stored.prompt == "<list>"


def test_long_texts_are_cut(memory: Memory) -> None:
    assay.observe(name="given", kind="tool")(lambda given: given * 2)("x" * MAX_TEXT)
    assert (len(memory.stored.prompt), len(memory.stored.response)) == (MAX_TEXT, MAX_TEXT)


def test_a_kind_that_there_is_not_is_refused_when_the_function_is_decorated() -> None:
    with pytest.raises(ValueError, match="cannot observe a 'llm': choose one of chain, agent, tool, retriever"):
        assay.observe(kind="llm")  # type: ignore[call-overload]


def test_an_object_that_can_be_called_is_observed_like_a_function(memory: Memory) -> None:
    class Doubler:
        def __call__(self, number: int) -> int:
            return 2 * number

    assert assay.observe(Doubler())(4) == 8
    assert memory.stored.response == "8"


def test_without_a_tracer_provider_the_function_works_as_ever() -> None:
    assert assay.observe(lambda given: given)("x") == "x"
