"""A decorator that makes a function a span, with its arguments and result, in the GenAI conventions."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, Literal, ParamSpec, TypeVar, cast, overload

from opentelemetry import context, trace
from opentelemetry.trace import Span, Status, StatusCode

P = ParamSpec("P")
R = TypeVar("R")
Observed = Literal["chain", "tool", "retriever", "agent"]

MAX_TEXT = 100_000
"""Arguments and results longer than this many characters of JSON are cut."""

_CONVENTIONS: dict[Observed, tuple[str, str, str, str]] = {
    # kind: operation, name attribute, input attribute, output attribute
    "chain": ("invoke_workflow", "gen_ai.workflow.name", "gen_ai.input.messages", "gen_ai.output.messages"),
    "agent": ("invoke_agent", "gen_ai.agent.name", "gen_ai.input.messages", "gen_ai.output.messages"),
    "tool": ("execute_tool", "gen_ai.tool.name", "gen_ai.tool.call.arguments", "gen_ai.tool.call.result"),
    "retriever": (
        "retrieval",
        "gen_ai.data_source.id",
        "gen_ai.retrieval.query.text",
        "gen_ai.retrieval.documents",
    ),
}


@overload
def observe(function: Callable[P, R]) -> Callable[P, R]: ...
@overload
def observe(
    function: None = None, *, name: str | None = None, kind: Observed = "chain", capture: bool = True
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def observe(
    function: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    kind: Observed = "chain",
    capture: bool = True,
) -> Any:
    """Make each call of a function a span: sync, async, generator or async generator.

    `kind` says what it stands for; a retriever's result should be a list of documents. With
    `capture=False` neither arguments nor results are recorded. The function's result and errors pass
    through untouched; a generator's span lasts until it is exhausted or closed.
    """
    if kind not in _CONVENTIONS:
        raise ValueError(f"cannot observe a {kind!r}: choose one of {', '.join(_CONVENTIONS)}")
    if function is None:
        return functools.partial(observe, name=name, kind=kind, capture=capture)
    recorder = _Recorder(function, name or function.__qualname__, kind, capture)
    if inspect.isasyncgenfunction(function):
        return _async_generator(function, recorder)
    if inspect.isgeneratorfunction(function):
        return _generator(function, recorder)
    if inspect.iscoroutinefunction(function):
        return _coroutine(function, recorder)
    return _plain(function, recorder)


class _Recorder:
    """Opens the span of one call and writes what went in and came out."""

    def __init__(self, function: Callable[..., Any], name: str, kind: Observed, capture: bool) -> None:
        self._signature = inspect.signature(function)
        self._name = name
        self._operation, self._name_key, self._input_key, self._output_key = _CONVENTIONS[kind]
        self._capture = capture

    def start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Span:
        attributes = {"gen_ai.operation.name": self._operation, self._name_key: self._name}
        span = trace.get_tracer("assay").start_span(f"{self._operation} {self._name}", attributes=attributes)
        if self._capture and span.is_recording():
            span.set_attribute(self._input_key, self._shown(self._arguments(args, kwargs), "user"))
        return span

    def result(self, span: Span, result: Any) -> None:
        if self._capture and span.is_recording():
            span.set_attribute(self._output_key, self._shown(result, "assistant"))

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            bound = self._signature.bind(*args, **kwargs).arguments
        except (TypeError, ValueError):
            return {"args": args, **kwargs}
        named = {name: value for name, value in bound.items() if name not in ("self", "cls")}
        return next(iter(named.values())) if len(named) == 1 else named

    def _shown(self, value: Any, role: str) -> str:
        if not self._input_key.endswith("messages"):
            return _text(value)
        return json.dumps([{"role": role, "parts": [{"type": "text", "content": _text(value)}]}])


def _plain(function: Callable[P, R], recorder: _Recorder) -> Callable[P, R]:
    @functools.wraps(function)
    def observed(*args: P.args, **kwargs: P.kwargs) -> R:
        span = recorder.start(args, kwargs)
        with _ended(span), _inside(span):
            result = function(*args, **kwargs)
            recorder.result(span, result)
            return result

    return observed


def _coroutine(function: Callable[P, Awaitable[R]], recorder: _Recorder) -> Callable[P, Awaitable[R]]:
    @functools.wraps(function)
    async def observed(*args: P.args, **kwargs: P.kwargs) -> R:
        span = recorder.start(args, kwargs)
        with _ended(span), _inside(span):
            result = await function(*args, **kwargs)
            recorder.result(span, result)
            return result

    return observed


def _generator(
    function: Callable[P, Generator[Any, Any, R]], recorder: _Recorder
) -> Callable[P, Generator[Any, Any, R]]:
    @functools.wraps(function)
    def observed(*args: P.args, **kwargs: P.kwargs) -> Generator[Any, Any, R]:
        span = recorder.start(args, kwargs)
        items: list[Any] = []
        with _ended(span):
            result = yield from _stepping(function(*args, **kwargs), span, items)
            recorder.result(span, _joined(items))
            return result

    return observed


def _stepping(inner: Generator[Any, Any, R], span: Span, items: list[Any]) -> Generator[Any, Any, R]:
    """Run a generator so that only its own steps, not its consumer's, happen inside the span."""
    step: Callable[[], Any] = functools.partial(next, inner)
    while True:
        try:
            with _inside(span):
                item = step()
        except StopIteration as stop:
            return cast(R, stop.value)
        items.append(item)
        try:
            step = functools.partial(inner.send, (yield item))
        except GeneratorExit:
            inner.close()
            raise
        except BaseException as error:
            step = functools.partial(inner.throw, error)


def _async_generator(
    function: Callable[P, AsyncGenerator[Any, Any]], recorder: _Recorder
) -> Callable[P, AsyncGenerator[Any, Any]]:
    @functools.wraps(function)
    async def observed(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Any, Any]:
        span = recorder.start(args, kwargs)
        items: list[Any] = []
        inner = function(*args, **kwargs)
        step: Callable[[], Awaitable[Any]] = functools.partial(anext, inner)
        with _ended(span):
            while True:
                try:
                    with _inside(span):
                        item = await step()
                except StopAsyncIteration:
                    break
                items.append(item)
                try:
                    step = functools.partial(inner.asend, (yield item))
                except GeneratorExit:
                    await inner.aclose()
                    raise
                except BaseException as error:
                    step = functools.partial(inner.athrow, error)
            recorder.result(span, _joined(items))

    return observed


@contextmanager
def _inside(span: Span) -> Generator[None]:
    token = context.attach(trace.set_span_in_context(span))
    try:
        yield
    finally:
        context.detach(token)


@contextmanager
def _ended(span: Span) -> Generator[None]:
    """End the span when the body ends, with the error if it was one. Closing a generator is none."""
    try:
        yield
    except GeneratorExit:
        raise
    except BaseException as error:
        span.record_exception(error)
        span.set_attribute("error.type", type(error).__qualname__)
        span.set_status(Status(StatusCode.ERROR, str(error)))
        raise
    finally:
        span.end()


def _joined(items: list[Any]) -> Any:
    return "".join(items) if items and all(isinstance(item, str) for item in items) else items


def _text(value: Any) -> str:
    """A value as text, whatever it is: a result that cannot be shown must not cost the application its call."""
    if isinstance(value, str):
        return value[:MAX_TEXT]
    try:
        return json.dumps(value, ensure_ascii=False, default=str)[:MAX_TEXT]
    except Exception:
        return f"<{type(value).__name__}>"
