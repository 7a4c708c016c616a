"""A decorator that makes a function a span, with its arguments and result, in the GenAI conventions."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
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
    "retriever": ("retrieval", "gen_ai.data_source.id", "gen_ai.retrieval.query.text", "gen_ai.retrieval.documents"),
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
    through untouched; a generator's span lasts until it is exhausted or closed, and only its own steps,
    not its consumer's, happen inside it.
    """
    if kind not in _CONVENTIONS:
        raise ValueError(f"cannot observe a {kind!r}: choose one of {', '.join(_CONVENTIONS)}")
    if function is None:
        return functools.partial(observe, name=name, kind=kind, capture=capture)
    shown = name or getattr(function, "__qualname__", type(function).__name__)
    recorder = _Recorder(function, shown, kind, capture)
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

    @contextmanager
    def span(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Generator[Span]:
        """The span of one call, ended with the error if there was one. Closing a generator is none."""
        attributes = {"gen_ai.operation.name": self._operation, self._name_key: self._name}
        span = trace.get_tracer("assay").start_span(f"{self._operation} {self._name}", attributes=attributes)
        if self._capture and span.is_recording():
            span.set_attribute(self._input_key, self._shown(self._arguments(args, kwargs), "user"))
        try:
            yield span
        except GeneratorExit:
            raise
        except BaseException as error:
            record_error(span, error)
            raise
        finally:
            span.end()

    def result(self, span: Span, result: Any) -> None:
        if self._capture and span.is_recording():
            span.set_attribute(self._output_key, self._shown(result, "assistant"))

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            bound = self._signature.bind(*args, **kwargs).arguments
        except TypeError:
            return {"args": args, **kwargs}
        named = {name: value for name, value in bound.items() if name not in ("self", "cls")}
        return next(iter(named.values())) if len(named) == 1 else named

    def _shown(self, value: Any, role: str) -> str:
        if not self._input_key.endswith("messages"):
            return _text(value)
        return json.dumps([{"role": role, "parts": [{"type": "text", "content": _text(value)}]}])


class _Inside:
    """Makes a span current for one step after another, with whatever context the steps themselves leave open."""

    def __init__(self, span: Span) -> None:
        self._context = trace.set_span_in_context(span)

    @contextmanager
    def __call__(self) -> Generator[None]:
        token = context.attach(self._context)
        try:
            yield
        finally:
            self._context = context.get_current()
            context.detach(token)


def _plain(function: Callable[P, R], recorder: _Recorder) -> Callable[P, R]:
    @functools.wraps(function)
    def observed(*args: P.args, **kwargs: P.kwargs) -> R:
        with recorder.span(args, kwargs) as span, _Inside(span)():
            result = function(*args, **kwargs)
            recorder.result(span, result)
            return result

    return observed


def _coroutine(function: Callable[P, Awaitable[R]], recorder: _Recorder) -> Callable[P, Awaitable[R]]:
    @functools.wraps(function)
    async def observed(*args: P.args, **kwargs: P.kwargs) -> R:
        with recorder.span(args, kwargs) as span, _Inside(span)():
            result = await function(*args, **kwargs)
            recorder.result(span, result)
            return result

    return observed


def _generator(
    function: Callable[P, Generator[Any, Any, R]], recorder: _Recorder
) -> Callable[P, Generator[Any, Any, R]]:
    @functools.wraps(function)
    def observed(*args: P.args, **kwargs: P.kwargs) -> Generator[Any, Any, R]:
        items: list[Any] = []
        with recorder.span(args, kwargs) as span:
            try:
                return (yield from _stepping(function(*args, **kwargs), _Inside(span), items))
            finally:
                recorder.result(span, _joined(items))

    return observed


def _stepping(inner: Generator[Any, Any, R], inside: _Inside, items: list[Any]) -> Generator[Any, Any, R]:
    step: Callable[[], Any] = functools.partial(next, inner)
    while True:
        try:
            with inside():
                item = step()
        except StopIteration as stop:
            return cast(R, stop.value)
        items.append(item)
        try:
            step = functools.partial(inner.send, (yield item))
        except GeneratorExit:
            with inside():
                inner.close()
            raise
        except BaseException as error:
            step = functools.partial(inner.throw, error)


def _async_generator(
    function: Callable[P, AsyncGenerator[Any, Any]], recorder: _Recorder
) -> Callable[P, AsyncGenerator[Any, Any]]:
    @functools.wraps(function)
    async def observed(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Any, Any]:
        items: list[Any] = []
        with recorder.span(args, kwargs) as span:
            inside = _Inside(span)
            inner = function(*args, **kwargs)
            step: Callable[[], Awaitable[Any]] = functools.partial(anext, inner)
            try:
                while True:
                    try:
                        with inside():
                            item = await step()
                    except StopAsyncIteration:
                        return
                    items.append(item)
                    try:
                        step = functools.partial(inner.asend, (yield item))
                    except GeneratorExit:
                        with inside():
                            await inner.aclose()
                        raise
                    except BaseException as error:
                        step = functools.partial(inner.athrow, error)
            finally:
                recorder.result(span, _joined(items))

    return observed


def record_error(span: Span, error: BaseException) -> None:
    """Write an error onto its span. An error that cannot even be shown must still reach the application as it is."""
    span.set_attribute("error.type", type(error).__qualname__)
    span.set_status(Status(StatusCode.ERROR))
    with suppress(Exception):
        span.set_status(Status(StatusCode.ERROR, str(error)))
        span.record_exception(error)


def _joined(items: list[Any]) -> Any:
    return "".join(items) if items and all(isinstance(item, str) for item in items) else items


def _text(value: Any) -> str:
    """A value as text, whatever it is: a result that cannot be shown must not cost the application its call."""
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    except Exception:
        return f"<{type(value).__name__}>"
    # Half a surrogate pair would cost the exporter the whole attribute.
    return text[:MAX_TEXT].encode("utf-8", "replace").decode()
