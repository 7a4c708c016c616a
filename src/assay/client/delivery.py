"""Sends spans to the server, and again later from the spool while it is away.

In: batches of ended spans, in OpenTelemetry's export thread. Out: OTLP over HTTP, from one thread of its own:
whoever exports waits for an answer a moment at most, so neither a hung server nor a slow name look-up can hold
up a flush or the program's end. A batch that is sent twice is stored once, for spans have ids.
"""

from __future__ import annotations

import gzip
import logging
import os
import queue
import ssl
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Sequence
from typing import Literal

import httpx
from opentelemetry import context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.util.re import parse_env_headers

from assay.client.address import Address
from assay.client.spool import Spool

ANSWER_SECONDS = 1.5
"""How long an export waits for the server's answer before its batch goes to the spool."""

_LONGEST_PAUSE_SECONDS = 30.0
_LOOK_AGAIN_SECONDS = 60.0
_AWAY_STATUS = frozenset({429, 502, 503, 504})
_AWAY_ERRORS = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError, httpx.ProxyError)
_COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}

Outcome = Literal["stored", "refused", "unauthorised", "away"]

log = logging.getLogger("assay")


class _Request:
    """A batch to send now, or (None) the wish to empty the spool; waits for what came of it."""

    def __init__(self, body: bytes | None) -> None:
        self.body = body
        self.outcome: Outcome = "away"
        self.done = threading.Event()

    def answer(self, seconds: float) -> Outcome | None:
        """None if there was none in time; it is not sent any more then, unless it is on its way."""
        if self.done.wait(seconds):
            return self.outcome
        self.done.set()
        return None


class SpoolingExporter(SpanExporter):
    """Delivers spans to `where` at once or from the spool. Never raises; what is lost is counted and logged once.

    Spans that the server refuses for good count in `refused_spans`, those for which the spool had no room in
    its `dropped_spans`. Heeds OTEL_EXPORTER_OTLP_(TRACES_)TIMEOUT, COMPRESSION, HEADERS, CERTIFICATE,
    CLIENT_CERTIFICATE and CLIENT_KEY.
    """

    def __init__(self, where: Address, spool: Spool) -> None:
        self.refused_spans = 0
        self.spool = spool
        self._where = where
        self._warned: set[str] = set()
        self._reset()
        if hasattr(os, "register_at_fork"):
            weak = weakref.WeakMethod(self._after_fork)
            os.register_at_fork(after_in_child=lambda: (method := weak()) and method())
        self._start()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """SUCCESS if the spans are stored or wait in the spool, FAILURE if the server will never take them."""
        body = encode_spans(spans).SerializePartialToString()
        self._start()
        if not self.away:
            request = _Request(body)
            self._requests.put(request)
            outcome = request.answer(ANSWER_SECONDS)
            if outcome == "stored":
                return SpanExportResult.SUCCESS
            if outcome in ("refused", "unauthorised"):
                self.refused_spans += len(spans)
                return SpanExportResult.FAILURE
            if outcome is None:
                # Whether it is away or only slow, the thread will know: it still waits for the answer.
                self.away, self._next_look = True, time.monotonic()
        self.spool.put(body, len(spans))
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what waits in the spool; False if it could not be sent, or not in time."""
        if self._thread is None:
            return True
        request = _Request(None)
        self._requests.put(request)
        return request.answer(timeout_millis / 1000) == "stored"

    def shutdown(self) -> None:
        """Say what is lost now; what waits on disk is not."""
        if lost := self.spool.waiting_in_memory() + self.spool.dropped_spans:
            log.warning("assay: %d spans were lost because %s was away", lost, self._where.url)

    def _reset(self) -> None:
        self._requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._connected: httpx.Client | None = None
        self.away = False
        self._failures = 0
        self._next_look = time.monotonic()

    def _after_fork(self) -> None:
        """The parent's thread, connections and batches in memory stay the parent's."""
        self._reset()
        self.spool.forget_memory()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="assay-spans", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        # Else an instrumented httpx would report our own requests.
        context.attach(context.set_value(context._SUPPRESS_INSTRUMENTATION_KEY, True))  # pyright: ignore[reportPrivateUsage]
        while True:
            try:
                self._serve()
            except Exception:
                log.exception("assay: sending spans failed; the program goes on")
                time.sleep(1)

    def _serve(self) -> None:
        try:
            request = self._requests.get(timeout=1.0)
        except queue.Empty:
            request = None
        if request and not request.done.is_set():
            request.outcome = self._drain() if request.body is None else self._post(request.body)
            request.done.set()
        elif time.monotonic() >= self._next_look:
            self._drain()

    def _drain(self) -> Outcome:
        """Send the spool's batches until one cannot be sent; "stored" if none is left."""
        self._next_look = time.monotonic() + _LOOK_AGAIN_SECONDS
        with self.spool.claimed() as ours:
            for batch in self.spool.batches() if ours else ():
                outcome = self._post(batch.body)
                if outcome in ("away", "unauthorised"):
                    # Another program, with a key that is right, may have left it.
                    return outcome
                if outcome == "refused":
                    self.refused_spans += batch.spans
                self.spool.remove(batch)
                self._serve_those_who_wait()
        self.away = False
        return "stored" if ours else "away"

    def _serve_those_who_wait(self) -> None:
        """Batches of now go before those of yesterday."""
        for _ in range(self._requests.qsize()):
            request = self._requests.get()
            if request.body is None:
                self._requests.put(request)
            elif not request.done.is_set():
                request.outcome = self._post(request.body)
                request.done.set()

    def _post(self, body: bytes) -> Outcome:
        try:
            response = self._client().post("/v1/traces", content=_compressed(body))
        except _AWAY_ERRORS as error:
            return self._is_away(str(error) or type(error).__name__, 0.0)
        except Exception as error:
            return self._is_refused("refused", str(error))
        if response.status_code in _AWAY_STATUS:
            return self._is_away(f"HTTP {response.status_code}", _seconds(response.headers.get("retry-after", "")))
        if not response.is_success:
            problem = f"HTTP {response.status_code} {response.text[:300]}"
            return self._is_refused("unauthorised" if response.status_code in (401, 403) else "refused", problem)
        self._failures, self.away = 0, False
        return "stored"

    def _is_away(self, problem: str, retry_after_seconds: float) -> Outcome:
        pause = min(2.0**self._failures, _LONGEST_PAUSE_SECONDS)
        self._next_look = time.monotonic() + max(pause, retry_after_seconds)
        self._failures += 1
        self.away = True
        where = f"in {self.spool.directory}, also for the next start" if self.spool.directory else "in memory"
        self._warn_once(
            "away",
            f"{self._where.url} does not answer ({problem}). Spans wait {where}, and follow when it is back: "
            "start it with `assay serve`, or check the URL.",
        )
        return "away"

    def _is_refused(self, outcome: Outcome, problem: str) -> Outcome:
        self._warn_once(outcome, f"{self._where.url} refuses spans: {problem}")
        return outcome

    def _warn_once(self, topic: str, text: str) -> None:
        if topic not in self._warned:
            self._warned.add(topic)
            log.warning("assay: %s", text)

    def _client(self) -> httpx.Client:
        if self._connected is None:
            own = {"content-type": "application/x-protobuf", **self._where.headers}
            if (encoding := _setting("COMPRESSION").lower()) in _COMPRESSIONS:
                own["content-encoding"] = encoding
            self._connected = httpx.Client(
                base_url=self._where.url,
                headers={**parse_env_headers(_setting("HEADERS"), liberal=True), **own},
                timeout=_seconds(_setting("TIMEOUT")) or 10.0,
                verify=_tls(),
            )
        return self._connected


def _setting(name: str) -> str:
    return os.environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or os.environ.get(f"OTEL_EXPORTER_OTLP_{name}", "")


def _tls() -> ssl.SSLContext | bool:
    authority, certificate = _setting("CERTIFICATE"), _setting("CLIENT_CERTIFICATE")
    if not authority and not certificate:
        return True
    tls = ssl.create_default_context(cafile=authority or None)
    if certificate:
        tls.load_cert_chain(certificate, _setting("CLIENT_KEY") or None)
    return tls


def _compressed(body: bytes) -> bytes:
    compress = _COMPRESSIONS.get(_setting("COMPRESSION").lower())
    return compress(body) if compress else body


def _seconds(text: str) -> float:
    """Seconds as a header or the environment gives them; 0 if it gives none."""
    return float(text) if text.replace(".", "", 1).isdecimal() else 0.0
