"""The OTLP/HTTP door: requests in, stored spans and an honest answer out.

200 means that the rows are on disk. 4xx means that sending the same again is useless and says why; 503
with Retry-After means that it is not. Bodies that are being worked on are bounded in bytes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
import msgspec
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from assay.config import Ingest
from assay.errors import MalformedTelemetry, StoreUnavailable
from assay.ingest.normalise import normalise
from assay.ingest.otlp import JSON, PROTOBUF, decode, decompress
from assay.ingest.pricing import Prices
from assay.ingest.writer import Batch, Writer
from assay.ingest.writer import Request as OtlpRequest
from assay.records import Span

RETRY_AFTER_SECONDS = 5
SHOWN_REASONS = 5
# Decoding holds the GIL: more threads would only take turns.
DECODING_THREADS = 2

log = logging.getLogger(__name__)


class Counts(msgspec.Struct):
    """What came in since the server started, for /api/health."""

    stored_spans: int = 0
    refused_spans: int = 0
    refused_requests: int = 0
    deferred_requests: int = 0
    last_refusal: str = ""


class Receiver:
    """Takes OTLP requests and hands their spans to the writer."""

    def __init__(self, writer: Writer, prices: Prices, limits: Ingest) -> None:
        self.counts = Counts()
        self.pending_bytes = 0
        self._writer = writer
        self._prices = prices
        self._limits = limits
        self._decoders = anyio.CapacityLimiter(DECODING_THREADS)

    def routes(self) -> list[Route]:
        """The routes of the OTLP/HTTP specification, with and without a trailing slash."""
        return [
            Route("/v1/traces", self._answering(self._traces), methods=["POST"]),
            Route("/v1/traces/", self._answering(self._traces), methods=["POST"]),
            Route("/v1/{signal:path}", self._answering(_unknown_signal), methods=["POST"]),
        ]

    async def _traces(self, request: Request, content_type: str) -> Response:
        async with self._body(request) as body:
            batch, refused, stored = await anyio.to_thread.run_sync(
                self._submit, body, content_type, _encoding(request), limiter=self._decoders
            )
            await asyncio.wrap_future(stored)
            self.counts.stored_spans += len(batch.spans)
        if refused:
            self.counts.refused_spans += len(refused)
            self.counts.last_refusal = refused[0]
        return _message_response(_export_response(refused), content_type)

    def _submit(self, body: bytes, content_type: str, encoding: str) -> tuple[Batch, list[str], Future[None]]:
        request = OtlpRequest("traces", content_type, decompress(body, encoding, self._limits.max_body_bytes))
        batch, refused = self.take(request)
        return batch, refused, self._writer.submit(batch)

    def take(self, request: OtlpRequest) -> tuple[Batch, list[str]]:
        """What a request holds, ready to be written, and the reasons for what was refused."""
        decoded = decode(request.body, request.content_type)
        spans, refused = list[Span](), decoded.refused
        for raw in decoded.spans:
            try:
                spans.append(normalise(raw, self._prices, self._limits.max_future_seconds))
            except MalformedTelemetry as error:
                refused.append(f"span {raw.span_id}: {error}")
        return Batch(request, spans), refused

    @asynccontextmanager
    async def _body(self, request: Request) -> AsyncGenerator[bytes]:
        """The request's body, counted as pending until its spans are stored."""
        chunks, size = list[bytes](), 0
        try:
            async for chunk in request.stream():
                size += len(chunk)
                self.pending_bytes += len(chunk)
                if size > self._limits.max_body_bytes:
                    raise MalformedTelemetry(
                        f"the body is larger than {self._limits.max_body_bytes} bytes: send smaller batches",
                        413,
                    )
                if self.pending_bytes > self._limits.max_pending_bytes:
                    raise StoreUnavailable("too much is waiting to be written: slow down and send this again")
                chunks.append(chunk)
            yield b"".join(chunks)
        finally:
            self.pending_bytes -= size

    def _answering(
        self, handler: Callable[[Request, str], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """A handler whose errors become the answers that OTLP clients understand."""

        async def answer(request: Request) -> Response:
            content_type = PROTOBUF
            try:
                content_type = _content_type(request)
                return await handler(request, content_type)
            except MalformedTelemetry as error:
                self.counts.refused_requests += 1
                self.counts.last_refusal = str(error)
                return _message_response(Status(code=3, message=str(error)), content_type, error.status)
            except StoreUnavailable as error:
                self.counts.deferred_requests += 1
                log.warning("asked a client to send again: %s", error)
                status = Status(code=14, message=str(error))
                return _message_response(status, content_type, 503, {"Retry-After": str(RETRY_AFTER_SECONDS)})
            except ClientDisconnect:
                return Response(status_code=400)

        return answer


async def _unknown_signal(request: Request, content_type: str) -> Response:
    signal = request.path_params["signal"].strip("/")
    message = f"{signal!r} is not taken: this version of Assay stores traces (POST /v1/traces)"
    return _message_response(Status(code=12, message=message), content_type, 404)


def _content_type(request: Request) -> str:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in (PROTOBUF, JSON):
        raise MalformedTelemetry(f"Content-Type {content_type!r} is not supported: send {PROTOBUF} or {JSON}", 415)
    return content_type


def _encoding(request: Request) -> str:
    return request.headers.get("content-encoding", "").strip().lower()


def _export_response(refused: list[str]) -> ExportTraceServiceResponse:
    response = ExportTraceServiceResponse()
    if refused:
        more = f" (and {len(refused) - SHOWN_REASONS} more)" if len(refused) > SHOWN_REASONS else ""
        response.partial_success.rejected_spans = len(refused)
        response.partial_success.error_message = "; ".join(refused[:SHOWN_REASONS]) + more
    return response


def _message_response(
    message: Message, content_type: str, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    body = message.SerializeToString() if content_type == PROTOBUF else json_format.MessageToJson(message, indent=None)
    return Response(body, status, headers, media_type=content_type)
