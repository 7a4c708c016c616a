"""Who is talking: a session and a user that reach every span inside, whichever instrumentation makes it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Mapping
from contextlib import ContextDecorator, contextmanager
from contextvars import Token
from typing import Any, ParamSpec, TypeVar, cast

from opentelemetry import context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

P = ParamSpec("P")
R = TypeVar("R")

_ATTRIBUTES = context.create_key("assay-session")
_CALLS = context.create_key("assay-calls")

_CALL_MARKS = (
    ("gen_ai.operation.name", ("chat", "generate_content", "text_completion", "embeddings")),
    ("openinference.span.kind", ("LLM", "EMBEDDING")),
    ("llm.request.type", ("chat", "completion", "embedding")),
)
"""Attributes by which an instrumentation's span of a model call is known."""


class session(ContextDecorator):
    """Mark every span made inside with `session.id`, `user.id` and any further attributes.

    A context manager, or a decorator of functions and coroutine functions. Reaches across `await`, into
    threads that carry OpenTelemetry's context, and nests: the inner one wins.
    """

    def __init__(self, session_id: str, user_id: str | None = None, **attributes: str) -> None:
        self._own = {"session.id": session_id, **attributes}
        if user_id is not None:
            self._own["user.id"] = user_id
        self._tokens: list[Token[context.Context]] = []

    def __enter__(self) -> None:
        self._tokens.append(context.attach(context.set_value(_ATTRIBUTES, {**_inherited(), **self._own})))

    def __exit__(self, *_: object) -> None:
        context.detach(self._tokens.pop())

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        if not inspect.iscoroutinefunction(function):
            return super().__call__(function)

        @functools.wraps(function)
        async def marked(*args: P.args, **kwargs: P.kwargs) -> Any:
            with self._again():
                return await function(*args, **kwargs)

        return cast(Callable[P, R], marked)

    def _recreate_cm(self) -> session:
        return self._again()

    def _again(self) -> session:
        """One of its own for each call of a decorated function: calls may overlap."""
        again = session("")
        again._own = self._own
        return again


@contextmanager
def calls_made() -> Generator[list[str]]:
    """The span ids of the model calls that end inside, in that order; it fills as they end."""
    span_ids: list[str] = []
    token = context.attach(context.set_value(_CALLS, span_ids))
    try:
        yield span_ids
    finally:
        context.detach(token)


class SessionProcessor(SpanProcessor):
    """Writes the session's attributes onto each new span, and notes the model calls that end."""

    def on_start(self, span: Span, parent_context: context.Context | None = None) -> None:
        for name, value in _inherited(parent_context).items():
            span.set_attribute(name, value)

    def on_end(self, span: ReadableSpan) -> None:
        noted = context.get_value(_CALLS)
        if isinstance(noted, list) and span.context and _is_call(span):
            noted.append(format(span.context.span_id, "016x"))


def _inherited(parent: context.Context | None = None) -> Mapping[str, str]:
    value = context.get_value(_ATTRIBUTES, parent)
    return value if isinstance(value, dict) else {}


def _is_call(span: ReadableSpan) -> bool:
    attributes = span.attributes or {}
    return any(attributes.get(name) in values for name, values in _CALL_MARKS)
