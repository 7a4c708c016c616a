"""The OTLP/gRPC door, knocked on by the real exporter and by hand."""

from __future__ import annotations

import gzip
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult

from assay.config import Ingest
from assay.errors import ConfigError
from assay.ingest.grpc import grpc_server
from assay.ingest.journal import Journal
from assay.ingest.readers import Readers, Settings
from assay.ingest.receiver import Receiver
from assay.ingest.writer import Writer
from assay.store.connect import Store
from conftest import chat_attributes, eventually, otlp

SERVICE = "/opentelemetry.proto.collector.{}/Export"
TRACES = SERVICE.format("trace.v1.TraceService")
LOGS = SERVICE.format("logs.v1.LogsService")
METRICS = SERVICE.format("metrics.v1.MetricsService")


@contextmanager
def opened_door(store: Store, directory: Path, keys: tuple[str, ...], limits: Ingest) -> Iterator[tuple[str, Receiver]]:
    writer = Writer(store, Journal(directory))
    receiver = Receiver(writer, Readers(Settings({}, 86_400.0), processes=0), limits)
    with grpc_server(receiver, "127.0.0.1", 0, keys) as port:
        yield f"127.0.0.1:{port}", receiver
    writer.close()


@pytest.fixture
def address(store: Store, tmp_path: Path) -> Iterator[str]:
    with opened_door(store, tmp_path, (), Ingest()) as (address, _):
        yield address


def send(address: str, method: str, body: bytes, compression: Any = None, **metadata: str) -> bytes:
    """The answer's bytes. Raises grpc.RpcError."""
    with grpc.insecure_channel(address) as channel:
        pairs = [(name.replace("_", "-"), value) for name, value in metadata.items()]
        return channel.unary_unary(method)(body, metadata=pairs, compression=compression, timeout=30)


def refusal(address: str, method: str, body: bytes, compression: Any = None, **metadata: str) -> Any:
    with pytest.raises(grpc.RpcError) as raised:
        send(address, method, body, compression, **metadata)
    return raised.value


def stored_names(store: Store, project: str) -> list[str]:
    sql = "SELECT name FROM spans FINAL WHERE project = {p:String} ORDER BY name"
    return [row["name"] for row in store.query(sql, {"p": project})]


@pytest.mark.parametrize(
    "compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate]
)
def test_spans_of_the_real_exporter_are_stored(
    address: str, store: Store, project: str, compression: grpc.Compression
) -> None:
    exporter = OTLPSpanExporter(f"http://{address}", insecure=True, compression=compression)
    provider = TracerProvider(resource=Resource({"assay.project": project}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.get_tracer("tests").start_span("chat", attributes=chat_attributes(prompt="word " * 2000)).end()
    provider.shutdown()
    assert eventually(lambda: stored_names(store, project)) == ["chat"]


def test_the_exporter_is_told_of_failure(store: Store, tmp_path: Path) -> None:
    with opened_door(store, tmp_path, ("secret",), Ingest()) as (address, _):
        exporter = OTLPSpanExporter(f"http://{address}", insecure=True)
        span = TracerProvider().get_tracer("tests").start_span("x")
        span.end()
        assert exporter.export([span]) is SpanExportResult.FAILURE  # type: ignore[list-item]
        exporter.shutdown()


def test_a_bad_span_is_refused_by_name_and_its_neighbour_stored(address: str, store: Store, project: str) -> None:
    request = otlp({"name": "good"}, {"span_id": "00" * 8, "name": "bad"}, project=project)
    partial = ExportTraceServiceResponse.FromString(send(address, TRACES, request.SerializeToString())).partial_success
    assert partial.rejected_spans == 1
    assert "span 0000000000000000: span_id must be 8 bytes" in partial.error_message
    assert eventually(lambda: stored_names(store, project)) == ["good"]


def test_genai_events_are_stored_and_metrics_refused_by_name(address: str, store: Store) -> None:
    trace_id = secrets.token_bytes(16)
    logs = ExportLogsServiceRequest()
    records = logs.resource_logs.add().scope_logs.add().log_records
    records.add(trace_id=trace_id, event_name="gen_ai.choice", time_unix_nano=time.time_ns())
    records.add(trace_id=trace_id, event_name="other", time_unix_nano=time.time_ns())
    answer = ExportLogsServiceResponse.FromString(send(address, LOGS, logs.SerializeToString()))
    assert answer.partial_success.rejected_log_records == 1
    sql = "SELECT name FROM events FINAL WHERE trace_id = {t:String}"
    assert eventually(lambda: store.query(sql, {"t": trace_id.hex()})) == [{"name": "gen_ai.choice"}]

    metrics = ExportMetricsServiceRequest()
    metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="m").gauge.data_points.add()
    refused = ExportMetricsServiceResponse.FromString(send(address, METRICS, metrics.SerializeToString()))
    assert refused.partial_success.rejected_data_points == 1
    assert "metric 'm'" in refused.partial_success.error_message


def test_an_empty_request_succeeds(address: str) -> None:
    assert [send(address, method, b"") for method in (TRACES, LOGS, METRICS)] == [b"", b"", b""]


@pytest.mark.parametrize("body", [b"hello", b"\x1f\x8bhello", gzip.compress(b"x" * 99, mtime=0)[:-9]])
def test_bad_data_is_an_invalid_argument(address: str, body: bytes) -> None:
    assert refusal(address, TRACES, body).code() is grpc.StatusCode.INVALID_ARGUMENT


def test_too_large_a_message_is_refused(store: Store, tmp_path: Path) -> None:
    with opened_door(store, tmp_path, (), Ingest(max_body_bytes=1000)) as (address, receiver):
        for compression in (None, grpc.Compression.Gzip, grpc.Compression.Deflate):
            error = refusal(address, TRACES, bytes(100_000), compression)
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "grpc-status-details-bin" not in dict(error.trailing_metadata())
        assert receiver.pending_bytes == 0


def test_a_message_may_be_larger_than_what_grpc_allows_by_default(address: str, store: Store, project: str) -> None:
    request = otlp({"attributes": {"gen_ai.prompt": "x" * (6 << 20)}}, project=project)
    assert send(address, TRACES, request.SerializeToString()) == b""
    assert len(eventually(lambda: stored_names(store, project))) == 1


def test_who_comes_too_fast_is_asked_to_send_again(store: Store, tmp_path: Path) -> None:
    with opened_door(store, tmp_path, (), Ingest(max_pending_bytes=500)) as (address, receiver):
        error = refusal(address, TRACES, otlp({}).SerializeToString())
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        status = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
        retry = RetryInfo()
        assert status.details[0].Unpack(retry)
        assert (status.message, retry.retry_delay.seconds) == (error.details(), 5)
        assert (receiver.pending_bytes, receiver.counts.deferred_requests) == (0, 1)


def test_a_key_is_needed_where_keys_are_set(store: Store, tmp_path: Path) -> None:
    with opened_door(store, tmp_path, ("s\u00e9cret", "other"), Ingest()) as (address, _):
        for metadata in ({}, {"authorization": "Bearer wrong"}, {"authorization": "other"}, {"x_api_key": ""}):
            assert refusal(address, TRACES, b"", **metadata).code() is grpc.StatusCode.UNAUTHENTICATED
        assert send(address, TRACES, b"", authorization="Bearer other") == b""
        assert send(address, TRACES, b"", x_api_key="other") == b""


def test_a_port_in_use_is_told(address: str, store: Store, tmp_path: Path) -> None:
    port = int(address.rpartition(":")[2])
    writer = Writer(store, Journal(tmp_path / "second"))
    receiver = Receiver(writer, Readers(Settings({}, 86_400.0), processes=0), Ingest())
    with (
        pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port} for gRPC"),
        grpc_server(receiver, "127.0.0.1", port, ()),
    ):
        pass
    writer.close()
