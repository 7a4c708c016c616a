"""One request to the judge's endpoint: bytes out, what came back or why nothing did, within a time.

In: a body. Out: an Outcome, never an exception of the network. Our own requests are kept out of any OpenTelemetry
instrumentation of httpx in this process.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Generator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import msgspec
from opentelemetry import context

from assay.config import Judge

MOST_BYTES = 1 << 20
"""Of an answer; a chat completion of a sentence has some thousand."""

NOT_SENT = (httpx.ConnectError, httpx.UnsupportedProtocol, httpx.ProxyError)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt gave. `status` is None where no whole answer came; `problem` then says why.

    `free` means that nothing can have been billed: the request never left, or it was refused.
    """

    status: int | None = None
    body: bytes = b""
    problem: str = ""
    free: bool = False
    retry_after: float | None = None
    latency_ms: float = 0.0

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status is None or self.status in (408, 409, 425, 429) or self.status >= 500


class Line:
    """Connections to one endpoint, on an event loop in a thread of its own: a request can be broken off at once.

    Safe to use from several threads.
    """

    def __init__(self, settings: Judge) -> None:
        key = settings.key
        self._url = f"{settings.base_url}/chat/completions"
        self._client = httpx.AsyncClient(
            headers={"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {}),
            limits=httpx.Limits(max_connections=settings.concurrency),
            timeout=settings.timeout_seconds,
        )
        self._loop = asyncio.new_event_loop()
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="assay-judge-line", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Break off what is under way and close all connections; safe to call twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def post(self, body: str, seconds: float) -> Outcome:
        """The outcome of a request that may take so many seconds in all."""
        started = time.monotonic()
        with self._lock:
            if self._closed:
                return Outcome(problem="assay is stopping", free=True)
            sending = asyncio.run_coroutine_threadsafe(self._posted(body, seconds), self._loop)
        try:
            outcome = sending.result()
        except CancelledError:
            outcome = Outcome(problem="broken off: assay is stopping")
        return msgspec.structs.replace(outcome, latency_ms=(time.monotonic() - started) * 1000)

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        waiting = asyncio.all_tasks(self._loop) - {asyncio.current_task()}
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await self._client.aclose()

    async def _posted(self, body: str, seconds: float) -> Outcome:
        try:
            async with asyncio.timeout(seconds):
                return await self._answer(body)
        except TimeoutError:
            return Outcome(problem=f"no whole answer within {seconds:.0f} s")
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            return Outcome(problem=f"the connection failed: {reason}", free=isinstance(error, NOT_SENT))

    async def _answer(self, body: str) -> Outcome:
        with _untraced():
            async with self._client.stream("POST", self._url, content=body.encode()) as response:
                received = bytearray()
                async for chunk in response.aiter_bytes():
                    received += chunk
                    if len(received) > MOST_BYTES:
                        return Outcome(problem=f"an answer of more than {MOST_BYTES:,} bytes")
        status = response.status_code
        return Outcome(
            status=status,
            body=bytes(received),
            # Behind a gateway's 500, 502 or 504 an answer may have been made and billed.
            free=300 <= status < 500 or status == 503,
            retry_after=_seconds(response.headers.get("Retry-After", "")),
        )


@contextmanager
def _untraced() -> Generator[None]:
    key = context._SUPPRESS_INSTRUMENTATION_KEY  # pyright: ignore[reportPrivateUsage]
    token = context.attach(context.set_value(key, True))
    try:
        yield
    finally:
        context.detach(token)


def _seconds(retry_after: str) -> float | None:
    """Retry-After as seconds from now: a number or an HTTP date. None where it is neither."""
    if retry_after.strip().replace(".", "", 1).isdecimal():
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max((moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)
