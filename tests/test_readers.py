"""Reading in processes of its own: the same rows, more of them at a time, and nothing lost when one dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from assay.config import Price
from assay.errors import MalformedTelemetry, StoreUnavailable
from assay.ingest import reader
from assay.ingest import readers as reading
from assay.ingest.batch import Batch, Request
from assay.ingest.otlp import RawSpan
from assay.ingest.readers import ReaderProcess, Readers, Settings
from assay.records import Span
from conftest import chat_attributes, otlp

SETTINGS = Settings({"gpt-4o-mini*": Price(input=1.0, output=2.0)}, 3600.0)
PROTOBUF = "application/x-protobuf"


def request_of(*spans: dict[str, Any]) -> Request:
    return Request("traces", PROTOBUF, otlp(*spans).SerializeToString())


def chats(n: int) -> Request:
    return request_of(*({"attributes": chat_attributes()} for _ in range(n)))


@pytest.fixture
def process() -> Iterator[ReaderProcess]:
    started = ReaderProcess(SETTINGS)
    yield started
    started.close()


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Readers]:
    monkeypatch.setattr(reading, "WINDOW_SECONDS", 0.01)
    monkeypatch.setattr(reading, "BUSY_SHARE", 0.01)
    opened = Readers(SETTINGS, processes=1)
    yield opened
    opened.close()


def grown(pool: Readers) -> int:
    """The process id of the pool's second reader, which it starts when there is much to read."""
    until = time.monotonic() + 30
    while not pool.process_ids and time.monotonic() < until:
        pool.take(chats(20))
    [pid] = pool.process_ids
    return pid


def test_a_process_reads_the_same_rows_with_the_same_prices(process: ReaderProcess) -> None:
    request = chats(3)
    batch, refused = process.take(request)
    assert (batch, refused) == Readers(SETTINGS, processes=0).take(request)
    assert batch.spans.column("cost_usd").null_count == 0


def test_what_is_refused_and_what_is_unusable_is_told_by_a_process_too(process: ReaderProcess) -> None:
    batch, [reason] = process.take(request_of({"start_ns": 1}, {"attributes": chat_attributes()}))
    assert batch.num_rows == 1
    assert "1970-01-01" in reason
    with pytest.raises(MalformedTelemetry, match="protobuf") as error:
        process.take(Request("traces", PROTOBUF, b"\xff\xff"))
    assert error.value.status == 400
    assert process.take(chats(1))[0].num_rows == 1


def test_a_row_that_no_column_holds_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(raw: RawSpan, *_: Any) -> Span:
        tokens = 1 << 70 if raw.name == "bad" else 1
        return Span(trace_id=raw.trace_id, span_id=raw.span_id, started_at=1, input_tokens=tokens)

    monkeypatch.setattr(reader, "normalise", too_large)
    batch, [reason] = Readers(SETTINGS, processes=0).take(request_of({}, {"name": "bad", "span_id": "ab" * 8}, {}))
    assert batch.spans.column("input_tokens").to_pylist() == [1, 1]
    assert reason.startswith("span abababababababab: cannot be read: OverflowError")


def test_an_empty_request_holds_nothing(process: ReaderProcess) -> None:
    assert process.take(Request("traces", PROTOBUF, b"")) == (Batch(Request("traces", PROTOBUF, b"")), [])


def test_a_quiet_server_has_no_process_of_its_own_for_reading() -> None:
    pool = Readers(SETTINGS, processes=1)
    for _ in range(5):
        pool.take(chats(1))
    assert pool.process_ids == []
    pool.close()


def test_under_load_a_process_joins_and_both_read(pool: Readers) -> None:
    grown(pool)
    with ThreadPoolExecutor(4) as threads:
        rows = [batch.num_rows for batch, _ in threads.map(pool.take, [chats(5)] * 40)]
    assert rows == [5] * 40


def test_a_process_that_is_killed_refuses_one_request_for_now_and_is_replaced(pool: Readers) -> None:
    killed = grown(pool)
    os.kill(killed, signal.SIGKILL)
    with pytest.raises(StoreUnavailable, match=f"process {killed} ended"):
        pool.take(chats(1))
    assert pool.take(chats(1))[0].num_rows == 1
    assert grown(pool) != killed


def test_a_process_ends_with_the_pool_and_with_whoever_started_it(pool: Readers) -> None:
    pid = grown(pool)
    pool.close()
    assert not alive(pid)
    assert pool.take(chats(1))[0].num_rows == 1


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_pool_that_is_closed_starts_no_process(pool: Readers) -> None:
    pool.close()
    for _ in range(5):
        pool.take(chats(20))
        time.sleep(0.02)
    assert not [thread for thread in threading.enumerate() if thread.name == "assay-reader-start"]
    assert pool.process_ids == []
