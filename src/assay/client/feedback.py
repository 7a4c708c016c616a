"""Scores that people or the application give to a call, sent in the background."""

from __future__ import annotations

import atexit
import logging
import math
import os
import queue
import threading
import time
from typing import Any

import httpx
from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider

from assay.client import setup

WAITING_SCORES = 10_000
PATIENCE_SECONDS = 60.0
EXIT_SECONDS = 5.0

log = logging.getLogger(__name__)


def score(
    call: Any,
    name: str,
    value: float | bool | None = None,
    *,
    label: str = "",
    comment: str = "",
    author: str = "",
) -> None:
    """Give a call a score: `assay.score(response, "helpfulness", 1, comment="solved it")`.

    `call` is a span id, what MonitoredLLM returned, a provider's response object (its `id` is looked up),
    or None for the span that is open now. Returns at once; the score follows in the background, after the
    call itself, and is tried again for a minute if the server is away. Never raises; what is wrong with a
    score is logged.
    """
    target = _target(call)
    if not target:
        log.warning("assay.score(): %r names no call: give a span id, a response or None inside a span", call)
        return
    number = None if value is None else _finite(value)
    if value is not None and number is None:
        log.warning("assay.score(%r): the value must be a finite number, not %r", name, value)
        return
    _sender().send({**target, "name": name, "value": number, "label": label, "comment": comment, "author": author})


def flush_scores(timeout_seconds: float) -> bool:
    """Wait until all scores are sent or given up; False if that took longer."""
    return _sender().flush(timeout_seconds) if _senders else True


def _target(call: Any) -> dict[str, str]:
    if call is None:
        span = trace.get_current_span().get_span_context()
        return {"span_id": format(span.span_id, "016x")} if span.is_valid else {}
    if isinstance(call, str):
        return {"span_id": call} if call else {}
    if span_id := getattr(call, "call_id", ""):
        return {"span_id": span_id}
    response_id = getattr(call, "id", "")
    return {"response_id": response_id} if isinstance(response_id, str) and response_id else {}


def _finite(value: Any) -> float | None:
    try:
        number = float(value) if not isinstance(value, str | bytes) else math.nan
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


class _Sender:
    """One thread that sends scores in order."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[dict[str, Any]] = queue.Queue(WAITING_SCORES)
        threading.Thread(target=self._run, name="assay-scores", daemon=True).start()

    def send(self, body: dict[str, Any]) -> None:
        try:
            self._waiting.put_nowait(body)
        except queue.Full:
            log.warning("assay.score(): %d scores wait already; one was dropped", WAITING_SCORES)

    def flush(self, timeout_seconds: float) -> bool:
        deadline = time.monotonic() + timeout_seconds
        while self._waiting.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self._waiting.unfinished_tasks

    def _run(self) -> None:
        # Else an instrumented httpx would report our own requests.
        context.attach(context.set_value(context._SUPPRESS_INSTRUMENTATION_KEY, True))  # pyright: ignore[reportPrivateUsage]
        while True:
            body = self._waiting.get()
            try:
                self._deliver(body)
            except Exception:
                log.exception("assay.score(): a score was lost")
            finally:
                self._waiting.task_done()

    def _deliver(self, body: dict[str, Any]) -> None:
        where = setup.server()
        provider = trace.get_tracer_provider()
        if isinstance(provider, TracerProvider):
            provider.force_flush(5000)
        deadline, pause = time.monotonic() + PATIENCE_SECONDS, 0.2
        while True:
            problem, final = _post(f"{where.url}/api/scores", body, where.headers)
            if not problem:
                return
            if final or time.monotonic() + pause > deadline:
                log.warning("assay.score(): %s was not stored: %s", body["name"], problem)
                return
            time.sleep(pause)
            pause = min(pause * 2, 5.0)


def _post(url: str, body: dict[str, Any], headers: dict[str, str]) -> tuple[str, bool]:
    """What went wrong ("" if nothing), and whether trying again is useless."""
    try:
        response = httpx.post(url, json=body, headers=headers, timeout=10)
    except httpx.HTTPError as error:
        return f"{url}: {error}", False
    if response.is_success:
        return "", True
    # 404 is a call that has not arrived yet.
    return response.text[:500], response.status_code not in (404, 429, 500, 502, 503, 504)


_senders: list[_Sender] = []
_senders_lock = threading.Lock()
_process_hooks: list[str] = []


def _sender() -> _Sender:
    with _senders_lock:
        if not _senders:
            _senders.append(_Sender())
            _hook_into_process()
        return _senders[0]


def _hook_into_process() -> None:
    if not _process_hooks:
        _process_hooks.append("set")
        atexit.register(_finish)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_forget_parent)


def _forget_parent() -> None:
    """In the child of a fork: the parent sends its own scores, and its thread is not here."""
    global _senders_lock
    _senders_lock = threading.Lock()
    _senders.clear()


def _finish() -> None:
    """Wait for the last scores, but not for a server that is away."""
    deadline = time.monotonic() + EXIT_SECONDS
    while not flush_scores(0.05) and time.monotonic() < deadline and not setup.server_is_away():
        pass
