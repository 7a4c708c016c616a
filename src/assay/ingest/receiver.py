"""The OTLP/HTTP door: requests in, stored spans and events and an honest answer out.

200 means that the rows are on disk. 4xx means that sending the same again is useless and says why; 503
with Retry-After means that it is not. Bodies that are being worked on are bounded in bytes and in time.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
import msgspec
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from assay.config import Ingest
from assay.errors import MalformedTelemetry, StoreUnavailable
from assay.ingest.batch import Batch
from assay.ingest.batch import Request as OtlpRequest
from assay.ingest.otlp import JSON, PROTOBUF
from assay.ingest.readers import Readers
from assay.ingest.wire import decompress
from assay.ingest.writer import Writer

RETRY_AFTER_SECONDS = 5
BODY_SECONDS = 60.0
SHOWN_REASONS = 5

# The second is where the Langfuse SDK sends.
PREFIXES = ("", "/api/public/otel")

_ANSWERS: dict[str, tuple[Any, str]] = {
    "traces": (ExportTraceServiceResponse, "rejected_spans"),
    "logs": (ExportLogsServiceResponse, "rejected_log_records"),
    "metrics": (ExportMetricsServiceResponse, "rejected_data_points"),
}

log = logging.getLogger(__name__)


class Counts(msgspec.Struct):
    """What came in since the server started, for /api/health."""

    stored_spans: int = 0
    refused_spans: int = 0
    stored_events: int = 0
    refused_events: int = 0
    refused_requests: int = 0
    deferred_requests: int = 0
    last_refusal: str = ""


class Receiver:
    """Takes OTLP requests and hands what they hold to the writer. A body must have come within `body_seconds`."""

    def __init__(self, writer: Writer, readers: Readers, limits: Ingest, body_seconds: float = BODY_SECONDS) -> None:
        self.counts = Counts()
        self.pending_bytes = 0
        self.limits = limits
        self._writer = writer
        self._readers = readers
        self._body_seconds = body_seconds
        self._counting = threading.Lock()
        self._threads = anyio.CapacityLimiter(readers.at_once + 1)

    def routes(self) -> list[Route]:
        """The routes of the OTLP/HTTP specification, with and without a trailing slash."""
        return [Route(f"{prefix}/v1/{{signal:path}}", self._answer, methods=["POST"]) for prefix in PREFIXES]

    def submit(self, request: OtlpRequest) -> tuple[Message, Future[None]]:
        """The answer to a request, and a future that is done when the answer is true. From any thread.

        Raises MalformedTelemetry and StoreUnavailable, and so may the future.
        """
        batch, refused = self._readers.take(request)
        stored = self._writer.submit(batch)
        stored.add_done_callback(lambda done: self._count(batch, refused) if not done.exception() else None)
        return _export_response(request.signal, refused), stored

    def hold(self, size: int) -> None:
        """Count bytes as pending, until `release`. Raises StoreUnavailable where too many are; they count too."""
        with self._counting:
            self.pending_bytes += size
            if self.pending_bytes > self.limits.max_pending_bytes:
                raise StoreUnavailable("too much is waiting to be written: slow down and send this again")

    def release(self, size: int) -> None:
        """These bytes are pending no more."""
        with self._counting:
            self.pending_bytes -= size

    def refused(self, error: MalformedTelemetry) -> None:
        """Count a request that can never be accepted."""
        with self._counting:
            self.counts.refused_requests += 1
            self.counts.last_refusal = str(error)

    def deferred(self, error: StoreUnavailable) -> None:
        """Count a request that was asked to come again."""
        with self._counting:
            self.counts.deferred_requests += 1
        log.warning("asked a client to send again: %s", error)

    def _count(self, batch: Batch, refused: list[str]) -> None:
        with self._counting:
            self.counts.stored_spans += batch.spans.num_rows
            self.counts.stored_events += batch.events.num_rows
            if batch.request.signal == "traces":
                self.counts.refused_spans += len(refused)
            elif batch.request.signal == "logs":
                self.counts.refused_events += len(refused)
            if refused:
                self.counts.last_refusal = refused[0]

    async def _answer(self, request: Request) -> Response:
        content_type = PROTOBUF
        try:
            content_type, signal = _content_type(request), _signal(request)
            async with self._body(request) as body:
                answer, stored = await anyio.to_thread.run_sync(
                    self._inflate_and_submit, signal, content_type, body, _encoding(request), limiter=self._threads
                )
                # Shielded: what the writer has in hand must not be cancelled under it.
                await asyncio.shield(asyncio.wrap_future(stored))
            return _message_response(answer, content_type)
        except MalformedTelemetry as error:
            self.refused(error)
            status = Status(code=12 if error.status == 404 else 3, message=str(error))
            headers = {"Connection": "close"} if error.status == 408 else None
            return _message_response(status, content_type, error.status, headers)
        except StoreUnavailable as error:
            self.deferred(error)
            status = Status(code=14, message=str(error))
            return _message_response(status, content_type, 503, {"Retry-After": str(RETRY_AFTER_SECONDS)})
        except ClientDisconnect:
            return Response(status_code=400)

    def _inflate_and_submit(
        self, signal: str, content_type: str, body: bytes, encoding: str
    ) -> tuple[Message, Future[None]]:
        return self.submit(OtlpRequest(signal, content_type, decompress(body, encoding, self.limits.max_body_bytes)))

    @asynccontextmanager
    async def _body(self, request: Request) -> AsyncGenerator[bytes]:
        """The request's body, counted as pending until what it holds is stored."""
        chunks, size = list[bytes](), 0
        try:
            try:
                async with asyncio.timeout(self._body_seconds):
                    async for chunk in request.stream():
                        size += len(chunk)
                        self.hold(len(chunk))
                        if size > self.limits.max_body_bytes:
                            raise _too_large(self.limits.max_body_bytes)
                        chunks.append(chunk)
            except TimeoutError:
                raise MalformedTelemetry(f"the body did not come within {self._body_seconds:g} s", 408) from None
            yield b"".join(chunks)
        finally:
            self.release(size)


def _too_large(limit: int) -> MalformedTelemetry:
    return MalformedTelemetry(f"the body is larger than {limit} bytes: send smaller batches", 413)


def _signal(request: Request) -> str:
    signal = request.path_params["signal"].rstrip("/")
    if signal not in _ANSWERS:
        raise MalformedTelemetry(f"{signal!r} is not taken: send traces, logs or metrics (POST /v1/traces)", 404)
    return signal


def _content_type(request: Request) -> str:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in (PROTOBUF, JSON):
        raise MalformedTelemetry(f"Content-Type {content_type!r} is not supported: send {PROTOBUF} or {JSON}", 415)
    return content_type


def _encoding(request: Request) -> str:
    return request.headers.get("content-encoding", "").strip().lower()


def _export_response(signal: str, refused: list[str]) -> Message:
    response_type, rejected = _ANSWERS[signal]
    response = response_type()
    if refused:
        reasons = list(dict.fromkeys(refused))
        more = f" (and {len(reasons) - SHOWN_REASONS} more)" if len(reasons) > SHOWN_REASONS else ""
        setattr(response.partial_success, rejected, len(refused))
        response.partial_success.error_message = "; ".join(reasons[:SHOWN_REASONS]) + more
    return response


def _message_response(
    message: Message, content_type: str, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    body = message.SerializeToString() if content_type == PROTOBUF else json_format.MessageToJson(message, indent=None)
    return Response(body, status, headers, media_type=content_type)
