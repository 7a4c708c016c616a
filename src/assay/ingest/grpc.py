"""The OTLP/gRPC door, an extra (`pip install assay[grpc]`): the same requests and answers as over HTTP.

OK means that the rows are on disk. UNAVAILABLE with RetryInfo asks to send again; INVALID_ARGUMENT and
RESOURCE_EXHAUSTED say that sending the same again is useless.
"""

from __future__ import annotations

import hmac
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NoReturn

from google.protobuf.message import Message
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from assay.errors import ConfigError, MalformedTelemetry, StoreUnavailable
from assay.ingest.batch import Request
from assay.ingest.otlp import PROTOBUF
from assay.ingest.receiver import RETRY_AFTER_SECONDS, Receiver
from assay.ingest.wire import decompress, has_zlib_header

try:
    import grpc
except ImportError:
    grpc: Any = None

_NEEDS_KEY = "an API key is needed: send authorization: Bearer KEY, or x-api-key: KEY"

# Most of them wait for a commit; each may hold one message.
THREADS = 16
GRACE_SECONDS = 5

_SERVICES = {
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
}


@contextmanager
def grpc_server(receiver: Receiver, host: str, port: int, keys: Sequence[str]) -> Generator[int]:
    """Serve OTLP/gRPC while the body runs; yields the port, which is a free one for 0. Raises ConfigError."""
    if grpc is None:
        raise ConfigError("grpc_port is set, but gRPC is not installed: pip install 'assay[grpc]', or unset it")
    server = grpc.server(
        ThreadPoolExecutor(THREADS, "assay-grpc"),
        options=[
            ("grpc.max_receive_message_length", receiver.limits.max_body_bytes),
            # gRPC would inflate without bounds; we do it ourselves.
            ("grpc.per_message_decompression", 0),
            ("grpc.so_reuseport", 0),
        ],
    )
    server.add_generic_rpc_handlers([_handler(receiver, signal, keys) for signal in _SERVICES])
    try:
        bound = server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except RuntimeError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port} for gRPC: {error}; choose another port with ASSAY_GRPC_PORT"
        ) from None
    server.start()
    try:
        yield bound
    finally:
        server.stop(GRACE_SECONDS).wait()


def _handler(receiver: Receiver, signal: str, keys: Sequence[str]) -> Any:
    def export(message: bytes, context: Any) -> Message:
        if keys and not _offers_a_key(context.invocation_metadata(), keys):
            _refuse(context, "UNAUTHENTICATED", _NEEDS_KEY)
        try:
            return _stored(receiver, signal, message)
        except MalformedTelemetry as error:
            receiver.refused(error)
            _refuse(context, "RESOURCE_EXHAUSTED" if error.status == 413 else "INVALID_ARGUMENT", str(error))
        except StoreUnavailable as error:
            receiver.deferred(error)
            status = Status(code=14, message=str(error))
            status.details.add().Pack(RetryInfo(retry_delay={"seconds": RETRY_AFTER_SECONDS}))
            context.set_trailing_metadata([("grpc-status-details-bin", status.SerializeToString())])
            _refuse(context, "UNAVAILABLE", str(error))

    method = grpc.unary_unary_rpc_method_handler(export, response_serializer=_serialized)
    return grpc.method_handlers_generic_handler(_SERVICES[signal], {"Export": method})


def _stored(receiver: Receiver, signal: str, message: bytes) -> Message:
    try:
        receiver.hold(len(message))
        body = decompress(message, _encoding(message), receiver.limits.max_body_bytes)
        answer, stored = receiver.submit(Request(signal, PROTOBUF, body))
        stored.result()
        return answer
    finally:
        receiver.release(len(message))


def _serialized(answer: Message) -> bytes:
    return answer.SerializeToString()


def _encoding(message: bytes) -> str:
    """How a message was compressed, which gRPC does not tell: no OTLP request begins with these bytes."""
    if message[:2] == b"\x1f\x8b":
        return "gzip"
    return "deflate" if has_zlib_header(message) else ""


def _offers_a_key(metadata: Iterable[tuple[str, str | bytes]], keys: Sequence[str]) -> bool:
    offered = dict(metadata)
    scheme, _, credentials = _text(offered.get("authorization")).partition(" ")
    candidates = (_text(offered.get("x-api-key")), credentials.strip() if scheme.lower() == "bearer" else "")
    return any(hmac.compare_digest(each.encode(), key.encode()) for each in candidates for key in keys)


def _text(value: str | bytes | None) -> str:
    return value if isinstance(value, str) else ""


def _refuse(context: Any, code: str, reason: str) -> NoReturn:
    context.abort(getattr(grpc.StatusCode, code), reason)
    raise AssertionError("abort raises")
