"""MonitoredLLM: a chat with memory around an OpenAI-compatible client, with its figures beside each answer."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import OrderedDict
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind

from assay.client import setup
from assay.client.api.connection import Answer
from assay.client.monitor import connect
from assay.client.observe import record_error
from assay.client.session import calls_made, session
from assay.errors import AssayError, NotFound

KEPT_MESSAGES = 100
KEPT_SESSIONS = 10_000
SCORES_WITHIN_SECONDS = 15.0

Message = dict[str, str]

log = logging.getLogger(__name__)


class MonitoredResponse:
    """One answer: `response`, `call_id` (the span id), `usage`, `latency_ms` at once; the rest from the server.

    `usage` has input_tokens, output_tokens and total_tokens, None where the provider reported none;
    `completion` is the client's own response object. `quality` ({score: value, None where not assessable})
    and `cost_usd` (None where the model has no known price) wait for the server when first read, up to 15 s.
    If it has not stored the call by then, that is logged and they are {} and None.
    """

    def __init__(self, completion: Any, call_id: str, latency_ms: float) -> None:
        self.completion = completion
        self.response: str = completion.choices[0].message.content or ""
        self.call_id = call_id
        self.latency_ms = latency_ms
        self.usage = _usage(completion)
        self._call: Answer = {}

    @property
    def quality(self) -> dict[str, float | None]:
        """Every score of this answer by name."""
        return self._stored().get("scores", {})

    @property
    def cost_usd(self) -> float | None:
        """What the call cost, None if its model has no known price."""
        return self._stored().get("cost_usd")

    def __repr__(self) -> str:
        return f"MonitoredResponse({self.response!r}, call_id={self.call_id!r}, latency_ms={self.latency_ms:.0f})"

    def _stored(self) -> Answer:
        if not self._call:
            try:
                setup.flush()
                self._call = _scored_call(self.call_id)
            except AssayError as error:
                log.warning("quality and cost of call %s are not known yet: %s", self.call_id, error)
        return self._call


class MonitoredLLM:
    """Chats with one model through any client that has `chat.completions.create`. Thread-safe.

    Remembers each session's last 100 messages and sends them along; the 10,000 sessions used last are
    remembered. `system` is put before every conversation.
    """

    def __init__(self, client: Any, model: str, *, system: str = "") -> None:
        setup.init()
        self._client = client
        self._model = model
        self._system: list[Message] = [{"role": "system", "content": system}] if system else []
        self._histories: OrderedDict[str, list[Message]] = OrderedDict()
        self._lock = threading.Lock()

    def chat_completion(
        self, session_id: str, prompt: str, temperature: float = 0.7, **request: Any
    ) -> MonitoredResponse:
        """Ask, with the session's history. Further keywords go to the client as they are.

        The client's errors pass through, and then the exchange is not remembered. Raises ValueError for
        `stream=True`: for streams, call the client itself inside `assay.session`.
        """
        if request.get("stream"):
            raise ValueError("MonitoredLLM answers whole: for a stream, call the client inside assay.session(...)")
        asked: Message = {"role": "user", "content": prompt}
        messages = [*self._system, *self.history(session_id), asked]
        request = {"model": self._model, "messages": messages, "temperature": temperature, **request}
        started_ns, clock = time.time_ns(), time.perf_counter()
        with session(session_id), calls_made() as reported:
            try:
                completion = self._client.chat.completions.create(**request)
            except Exception as error:
                if not reported:
                    _report(request, started_ns, error=error)
                raise
            latency_ms = (time.perf_counter() - clock) * 1000
            call_id = reported[-1] if reported else _report(request, started_ns, completion)
        answer = MonitoredResponse(completion, call_id, latency_ms)
        self._remember(session_id, asked, {"role": "assistant", "content": answer.response})
        return answer

    def history(self, session_id: str) -> list[Message]:
        """The session's messages so far, oldest first, without the system prompt."""
        with self._lock:
            return list(self._histories.get(session_id, ()))

    def _remember(self, session_id: str, *messages: Message) -> None:
        with self._lock:
            history = self._histories.setdefault(session_id, [])
            history += messages
            del history[:-KEPT_MESSAGES]
            self._histories.move_to_end(session_id)
            while len(self._histories) > KEPT_SESSIONS:
                self._histories.popitem(last=False)


def _report(request: dict[str, Any], started_ns: int, completion: Any = None, error: Exception | None = None) -> str:
    """Write the span of a call that no instrumentation reported; answers its id."""
    asked = [_message(message["role"], message["content"]) for message in request["messages"]]
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": request["model"],
        "gen_ai.request.temperature": request["temperature"],
        "gen_ai.input.messages": _json(asked),
        **({} if completion is None else _answered(completion)),
    }
    span = trace.get_tracer("assay").start_span(
        f"chat {request['model']}",
        kind=SpanKind.CLIENT,
        attributes={name: value for name, value in attributes.items() if value is not None},
        start_time=started_ns,
    )
    if error is not None:
        record_error(span, error)
    span.end()
    return format(span.get_span_context().span_id, "016x")


def _answered(completion: Any) -> dict[str, Any]:
    usage, choice = _usage(completion), completion.choices[0]
    return {
        "gen_ai.provider.name": "openai" if type(completion).__module__.startswith("openai.") else None,
        "gen_ai.response.model": getattr(completion, "model", None),
        "gen_ai.response.id": getattr(completion, "id", None),
        "gen_ai.response.finish_reasons": [str(getattr(choice, "finish_reason", "") or "")],
        "gen_ai.usage.input_tokens": usage["input_tokens"],
        "gen_ai.usage.output_tokens": usage["output_tokens"],
        "gen_ai.output.messages": _json([_message("assistant", choice.message.content or "")]),
    }


def _message(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": content}]}


def _json(messages: list[dict[str, Any]]) -> str:
    return json.dumps(messages, default=str)


def _usage(completion: Any) -> dict[str, int | None]:
    usage = getattr(completion, "usage", None)
    return {
        "input_tokens": getattr(usage, "prompt_tokens", None),
        "output_tokens": getattr(usage, "completion_tokens", None),
        "total_tokens": getattr(usage, "total_tokens", None),
    }


def _scored_call(call_id: str) -> Answer:
    where = setup.server()
    deadline = time.monotonic() + SCORES_WITHIN_SECONDS
    with connect(where.url, api_key=where.api_key) as monitor:
        while True:
            try:
                call = monitor.call(call_id)
                if any(verdict["source"] == "scorer" for verdict in call["verdicts"]):
                    return call
            except NotFound:
                call = None
            if time.monotonic() > deadline:
                if call:
                    return call
                raise AssayError(f"the server has not stored it within {SCORES_WITHIN_SECONDS:.0f} s")
            time.sleep(0.1)
