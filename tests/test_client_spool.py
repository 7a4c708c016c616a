"""Spans of programs whose server is away: each program is a real process, each server a real one or a socket."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from assay.client.address import Address
from assay.client.delivery import SpoolingExporter
from assay.client.monitor import connect
from assay.client.spool import Spool, spool_directory
from conftest import Server, eventually, free_port, otlp

START = """
import os, sys, time, assay
from opentelemetry import trace
assay.init({url!r}, project="spooled", instrument=False)
def spans(*names):
    for name in names:
        call = {{"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini"}}
        trace.get_tracer("tests").start_span(name, attributes=call).end()
"""


def start(script: str, url: str, spool: Path, **environment: str) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ASSAY_", "OTEL_"))}
    return subprocess.Popen(
        [sys.executable, "-c", START.format(url=url) + script],
        env={**clean, "ASSAY_SPOOL_DIR": str(spool), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(script: str, url: str, spool: Path, **environment: str) -> tuple[str, str]:
    """What a program that ended well wrote to its output and its log."""
    process = start(script, url, spool, **environment)
    out, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    return out, log


def names(url: str) -> list[str]:
    with connect(url) as monitor:
        return sorted(call["name"] for call in monitor.calls(project="spooled")["calls"])


def waiting(spool: Path) -> list[str]:
    """The names of the spans on disk, oldest first."""
    bodies = [file.read_bytes() for file in sorted(spool.glob("*/*.otlp"))]
    return [name for body in bodies for name in span_names(body)]


def span_names(body: bytes) -> list[str]:
    request = ExportTraceServiceRequest.FromString(body)
    return [span.name for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]


class Recorder:
    """A server that answers each request with the next of some statuses, the last one for ever."""

    def __init__(self, *answers: tuple[int, dict[str, str]]) -> None:
        self.received: list[tuple[float, list[str]]] = []
        self.lock = threading.Lock()
        left = list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler) -> None:
                body = handler.rfile.read(int(handler.headers["content-length"]))
                plain = gzip.decompress(body) if handler.headers.get("content-encoding") == "gzip" else body
                with self.lock:
                    self.received.append((time.monotonic(), span_names(plain)))
                    status, headers = left.pop(0) if len(left) > 1 else left[0]
                handler.send_response(status)
                for name, value in {**headers, "content-length": "0"}.items():
                    handler.send_header(name, value)
                handler.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    @property
    def names(self) -> list[list[str]]:
        return [spans for _, spans in self.received]


@contextmanager
def answering(*answers: tuple[int, dict[str, str]]) -> Iterator[Recorder]:
    recorder = Recorder(*answers)
    thread = threading.Thread(target=recorder.http.serve_forever)
    thread.start()
    yield recorder
    recorder.http.shutdown()
    thread.join()
    recorder.http.server_close()


@pytest.fixture
def late_server(tmp_path: Path) -> Iterator[Server]:
    """A server that is not started yet."""
    directory = tmp_path / "late"
    directory.mkdir()
    server = Server(directory)
    yield server
    if server._process:
        server.stop()


def test_spans_of_a_killed_program_are_delivered_by_the_next_one(late_server: Server, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    first = start(
        "spans('one', 'two'); assay.flush(); print('flushed', flush=True); time.sleep(60)", late_server.url, spool
    )
    assert first.stdout
    assert first.stdout.readline() == "flushed\n"
    first.send_signal(signal.SIGKILL)
    log = first.communicate(timeout=60)[1]
    assert waiting(spool) == ["one", "two"]
    assert f"{late_server.url} does not answer" in log
    assert str(spool) in log
    assert log.count("\n") == 1
    late_server.start()
    run("spans('three'); assert assay.flush()", late_server.url, spool)
    assert waiting(spool) == []
    assert names(late_server.url) == ["one", "three", "two"]


def test_a_running_program_delivers_when_its_server_comes(late_server: Server, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    program = start("spans('one'); assert not assay.flush(); time.sleep(60)", late_server.url, spool)
    eventually(lambda: waiting(spool) == ["one"])
    late_server.start()
    eventually(lambda: waiting(spool) == [])
    program.kill()
    log = program.communicate(timeout=60)[1]
    assert log.count("\n") == 1, log
    eventually(lambda: names(late_server.url) == ["one"])


def test_two_programs_share_one_spool(late_server: Server, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    script = "[(spans(f'{sys.argv[0]}{os.getpid()}-{n}'), assay.flush()) for n in range(5)]"
    programs = [start(script, late_server.url, spool) for _ in range(2)]
    expected = sorted(f"-c{program.pid}-{n}" for program in programs for n in range(5))
    for program in programs:
        program.communicate(timeout=60)
    assert sorted(waiting(spool)) == expected
    late_server.start()
    both = [start("time.sleep(1); print(assay.flush(30))", late_server.url, spool) for _ in range(2)]
    for program in both:
        assert "Traceback" not in program.communicate(timeout=60)[1]
    assert waiting(spool) == []
    assert names(late_server.url) == expected


def test_what_waits_is_private(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    run("spans('one')", f"http://127.0.0.1:{free_port()}", spool, ASSAY_API_KEY="very-secret")
    [directory] = spool.iterdir()
    files = sorted(directory.iterdir())
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert not any(b"very-secret" in file.read_bytes() for file in files)


@pytest.mark.parametrize("environment", [{}, {"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}], ids=["plain", "gzip"])
def test_a_503_is_tried_again_after_the_time_that_it_names(tmp_path: Path, environment: dict[str, str]) -> None:
    with answering((503, {"retry-after": "3"}), (200, {})) as recorder:
        _, log = run("spans('one'); time.sleep(6)", recorder.url, tmp_path, **environment)
    assert recorder.names == [["one"], ["one"]]
    (first, _), (second, _) = recorder.received
    assert second - first >= 3
    assert "HTTP 503" in log
    assert waiting(tmp_path) == []


@pytest.mark.parametrize("status", [400, 401, 413, 500])
def test_what_is_refused_for_good_is_neither_tried_again_nor_kept(tmp_path: Path, status: int) -> None:
    with answering((status, {})) as recorder:
        _, log = run("spans('one'); print(assay.flush()); spans('two'); time.sleep(3)", recorder.url, tmp_path)
    assert recorder.names == [["one"], ["two"]]
    assert waiting(tmp_path) == []
    assert log.count(f"refuses spans: HTTP {status}") == 1


def test_a_wrong_key_does_not_destroy_what_another_program_left(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10**6)
    spool.put(otlp({"name": "left"}).SerializeToString(), 1)
    with answering((401, {})) as recorder:
        exporter = SpoolingExporter(Address(recorder.url, "wrong"), spool)
        assert not exporter.force_flush(5000)
        assert recorder.names[0] == ["left"]
    assert [span_names(batch.body) for batch in spool.batches()] == [["left"]]


def test_a_server_that_is_only_slow_is_not_called_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    exported, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    provider.get_tracer("tests").start_span("slow").end()
    with answering((200, {})) as recorder:
        exporter = SpoolingExporter(Address(recorder.url, ""), Spool(tmp_path, 10**6))
        with recorder.lock:
            assert exporter.export(exported.get_finished_spans()) is SpanExportResult.SUCCESS
        assert exporter.force_flush()
        assert recorder.names[0] == ["slow"]
        assert not exporter.away
    assert caplog.text == ""


@contextmanager
def hung() -> Iterator[str]:
    """A server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_server_that_hangs_holds_up_no_program(tmp_path: Path) -> None:
    with hung() as url:
        out, _ = run(
            "spans(*map(str, range(1500)));"
            "began = time.monotonic();"
            "assay.score('00000000000000f1', 'x', 1); trace.get_tracer_provider().shutdown();"
            "print(time.monotonic() - began)",
            url,
            tmp_path,
        )
    assert float(out) < 5
    assert sorted(waiting(tmp_path), key=int) == [str(number) for number in range(1500)]


def test_beyond_the_bound_the_oldest_are_dropped_and_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1000)
    for number in range(10):
        spool.put(bytes([number]) * 300, 2)
    assert [batch.body[0] for batch in spool.batches()] == [7, 8, 9]
    assert spool.dropped_spans == 14
    spool.put(bytes(1001), 5)
    assert (len(list(spool.batches())), spool.dropped_spans) == (3, 19)


def test_a_full_spool_with_a_high_bound_stays_below_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 100_000)
    for number in range(2000):
        spool.put(bytes(100), 1)
        if number % 100 == 99:
            assert sum(file.stat().st_size for file in tmp_path.glob("*.otlp")) <= 100_000
    assert len(list(spool.batches())) + spool.dropped_spans == 2000


def test_a_directory_that_cannot_be_written_is_logged_once_and_memory_serves(
    late_server: Server, tmp_path: Path
) -> None:
    occupied = tmp_path / "a-file"
    occupied.write_text("no directory")
    script = "spans('one'); assay.flush(); spans('two'); assay.flush(); print('away', flush=True); time.sleep(60)"
    program = start(script, late_server.url, occupied)
    assert program.stdout
    assert program.stdout.readline() == "away\n"
    late_server.start()
    eventually(lambda: names(late_server.url) == ["one", "two"])
    program.kill()
    assert program.communicate(timeout=60)[1].count("cannot keep spans in") == 1


def test_without_a_spool_nothing_is_written(tmp_path: Path) -> None:
    _, log = run("spans('one')", f"http://127.0.0.1:{free_port()}", tmp_path, ASSAY_SPOOL_MB="0")
    assert list(tmp_path.iterdir()) == []
    assert "1 spans were lost" in log


FORKS: dict[str, str] = {
    "os.fork": """
child = os.fork()
if not child:
    spans("child")
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
""",
    "os.fork, without an exit handler": """
child = os.fork()
if not child:
    spans("child")
    os._exit(0 if assay.flush() else 1)
assert os.waitpid(child, 0)[1] == 0
""",
    "multiprocessing": """
import multiprocessing
child = multiprocessing.get_context("fork").Process(target=spans, args=("child",))
child.start()
child.join()
assert child.exitcode == 0
""",
}


@pytest.mark.parametrize("fork", FORKS.values(), ids=FORKS)
def test_a_forked_child_sends_its_own_spans_and_the_parent_its_own(tmp_path: Path, fork: str) -> None:
    with answering((200, {})) as recorder:
        _, log = run(f"spans('before'){fork}spans('after')", recorder.url, tmp_path)
    assert log == ""
    assert sorted(name for spans in recorder.names for name in spans) == ["after", "before", "child"]


@pytest.mark.parametrize("fork", FORKS.values(), ids=FORKS)
def test_a_forked_child_spools_its_own_spans(tmp_path: Path, fork: str) -> None:
    fork = fork.replace("0 if assay.flush() else 1", "1 if assay.flush() else 0")
    run(f"spans('before'){fork}spans('after')", f"http://127.0.0.1:{free_port()}", tmp_path)
    assert sorted(waiting(tmp_path)) == ["after", "before", "child"]


def test_a_forked_child_scores_after_its_parent_did(own_server: Callable[..., Server], tmp_path: Path) -> None:
    server = own_server()
    server.post(otlp({"span_id": "00000000000000a1"}))
    script = """
assay.score("00000000000000a1", "parent", 1)
assert assay.flush()
child = os.fork()
if not child:
    assay.score("00000000000000a1", "child", 1)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    run(script, server.url, tmp_path)
    with connect(server.url) as monitor:
        verdicts = monitor.call("00000000000000a1")["verdicts"]
    assert sorted(verdict["name"] for verdict in verdicts if verdict["source"] == "human") == ["child", "parent"]


def test_a_streamed_answer_passes_through_and_may_be_closed_early(tmp_path: Path, provider_url: str) -> None:
    script = f"""
from importlib.metadata import entry_points
import openai
from assay.client.setup import _instrument
_instrument(entry_points(group="opentelemetry_instrumentor"))
def chunks(limit):
    client = openai.OpenAI(base_url={provider_url!r}, api_key="simulated")
    question = [{{"role": "user", "content": "What is machine learning?"}}]
    stream = client.chat.completions.create(model="gpt-4o-mini", messages=question, stream=True)
    texts = [chunk.choices[0].delta.content for _, chunk in zip(range(limit), stream) if chunk.choices]
    stream.close()
    return texts
assert len(chunks(1000)) > 3 and len(chunks(3)) == 3
"""
    run(script, f"http://127.0.0.1:{free_port()}", tmp_path)
    assert waiting(tmp_path) == ["chat gpt-4o-mini", "chat gpt-4o-mini"]


def test_each_url_has_a_directory_of_its_own_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASSAY_SPOOL_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    one, other = spool_directory("http://me:secret@there:4318"), spool_directory("http://there:4319")
    assert one != other
    assert one.name.startswith("there-4318-")
    assert sys.platform != "linux" or one.parent == Path("/cache/assay/spool")
    assert spool_directory("http://there:4319", "/chosen").parent == Path("/chosen")
