"""The way into the store: acknowledged is on disk, stored soon after, and kept whatever the store says."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest

from assay.errors import MalformedTelemetry, StoreUnavailable
from assay.ingest import writer as writing
from assay.ingest.batch import EVENT_SCHEMA, SPAN_SCHEMA, Batch, Request
from assay.ingest.journal import Journal
from assay.ingest.writer import Writer
from assay.records import Event, Span
from assay.store.connect import Row, Store
from assay.store.rows import arrow_table
from conftest import eventually

NOW = time.time_ns() // 1000


def batch(project: str, *span_ids: str) -> Batch:
    """Spans, and a request that names them: `take` reads it again."""
    body = " ".join([project, *span_ids]).encode()
    spans = [Span(trace_id="t", span_id=span_id, project=project, started_at=NOW) for span_id in span_ids]
    return Batch(Request("traces", "application/x-protobuf", body), arrow_table(spans, SPAN_SCHEMA))


def take(request: Request) -> tuple[Batch, list[str]]:
    project, *span_ids = request.body.decode().split()
    if project == "unreadable":
        raise MalformedTelemetry("no such dialect any more")
    return batch(project, *span_ids), []


@dataclass
class Away:
    """A store that can be reached or not, in front of the real one."""

    store: Store
    reachable: bool = True
    refused: int = 0
    going_on: threading.Event = field(default_factory=threading.Event)
    unusable: str = ""

    def insert(self, table: str, rows: pa.Table) -> None:
        if not self.reachable:
            self.refused += 1
            raise StoreUnavailable("the store is away")
        if self.unusable in rows.column("span_id").to_pylist():
            raise OverflowError("no column holds this")
        self.store.insert(table, rows)

    def query(self, sql: str) -> list[Row]:
        return self.store.query(sql)


@pytest.fixture
def away(store: Store) -> Away:
    return Away(store)


@pytest.fixture
def writer(away: Away, tmp_path: Path) -> Iterator[Writer]:
    opened = Writer(away, Journal(tmp_path))  # type: ignore[arg-type]
    yield opened
    away.reachable = True
    opened.close()


def stored_ids(store: Store, project: str) -> list[str]:
    rows = store.query("SELECT span_id FROM spans FINAL WHERE project = {p:String} ORDER BY span_id", {"p": project})
    return [row["span_id"] for row in rows]


def segments(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != "assay.lock")


def test_what_was_acknowledged_can_be_read_once_the_writer_has_caught_up(
    writer: Writer, store: Store, project: str
) -> None:
    before = writer.committed_at
    for span_id in "abc":
        writer.submit(batch(project, span_id)).result(10)
    assert writer.caught_up(10)
    assert (stored_ids(store, project), writer.pending_rows) == (["a", "b", "c"], 0)
    [row] = store.query(
        "SELECT toUnixTimestamp64Micro(max(ingested_at)) AS at FROM spans WHERE project = {p:String}", {"p": project}
    )
    assert before < row["at"] == writer.committed_at


def test_closing_stores_everything_and_leaves_no_segment(store: Store, tmp_path: Path, project: str) -> None:
    writer = Writer(store, Journal(tmp_path))
    done = [writer.submit(batch(project, f"{n:03}")) for n in range(100)]
    writer.close()
    assert [future.result(0) for future in done] == [None] * 100
    assert stored_ids(store, project) == [f"{n:03}" for n in range(100)]
    assert segments(tmp_path) == []
    with pytest.raises(StoreUnavailable, match="stopping"):
        writer.submit(batch(project, "late"))


def test_a_batch_without_rows_needs_no_journal(writer: Writer, tmp_path: Path, project: str) -> None:
    assert writer.submit(batch(project)).done()
    assert segments(tmp_path) == []


def test_events_and_spans_of_a_request_are_stored_together(writer: Writer, store: Store, project: str) -> None:
    event = Event(trace_id=project, span_id="a", name="gen_ai.choice", at=NOW)
    writer.submit(batch(project, "a")._replace(events=arrow_table([event], EVENT_SCHEMA))).result(10)
    assert writer.caught_up(10)
    [row] = store.query(
        """
        SELECT (SELECT max(ingested_at) FROM events WHERE trace_id = {p:String})
            = (SELECT max(ingested_at) FROM spans WHERE project = {p:String}) AS together
        """,
        {"p": project},
    )
    assert row == {"together": 1}


def test_while_the_store_is_away_requests_are_acknowledged_and_stored_when_it_is_back(
    writer: Writer, away: Away, project: str
) -> None:
    away.reachable = False
    for span_id in "abc":
        writer.submit(batch(project, span_id)).result(10)
    eventually(lambda: away.refused > 1)
    assert (writer.caught_up(10), writer.pending_rows, writer.last_error) == (False, 3, "the store is away")
    with pytest.raises(StoreUnavailable, match="the store is away"):
        writer.rewrite([Span(trace_id="t", span_id="d", project=project, started_at=NOW)])
    away.reachable = True
    eventually(lambda: writer.pending_rows == 0)
    assert (stored_ids(away.store, project), writer.last_error) == (["a", "b", "c"], "")


def test_too_many_rows_waiting_are_refused(
    writer: Writer, away: Away, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MAX_BACKLOG_ROWS", 2)
    away.reachable = False
    writer.submit(batch(project, *"abc")).result(10)
    eventually(lambda: writer.last_error)
    with pytest.raises(StoreUnavailable, match="3 rows wait to be stored: the store is away"):
        writer.submit(batch(project, "d"))


def test_a_full_journal_acknowledges_nothing(store: Store, tmp_path: Path, project: str) -> None:
    writer = Writer(store, Journal(tmp_path, max_bytes=200))
    with pytest.raises(StoreUnavailable, match="wait to be stored"):
        writer.submit(batch(project, secrets.token_hex(100))).result(10)
    writer.submit(batch(project, "a")).result(10)
    writer.close()
    assert stored_ids(store, project) == ["a"]


def test_what_a_writer_could_not_store_the_next_one_stores_before_anything_else(
    away: Away, tmp_path: Path, project: str
) -> None:
    away.reachable = False
    writer = Writer(away, Journal(tmp_path))  # type: ignore[arg-type]
    for span_id in "abc":
        writer.submit(batch(project, span_id)).result(10)
    writer.close()
    assert (stored_ids(away.store, project), segments(tmp_path)) == ([], ["0000000001.journal"])

    after = Writer(away.store, Journal(tmp_path))
    after.replay(take)
    assert (stored_ids(away.store, project), segments(tmp_path)) == (["a", "b", "c"], [])
    after.close()


def test_a_store_that_is_away_at_the_start_delays_the_replay_and_not_the_start(
    away: Away, tmp_path: Path, project: str
) -> None:
    away.reachable = False
    for span_id in "ab":
        writer = Writer(away, Journal(tmp_path))  # type: ignore[arg-type]
        writer.replay(take)
        writer.submit(batch(project, span_id)).result(10)
        writer.close()
    writer = Writer(away, Journal(tmp_path))  # type: ignore[arg-type]
    writer.replay(take)
    assert writer.pending_rows == 2
    away.reachable = True
    eventually(lambda: stored_ids(away.store, project) == ["a", "b"])
    writer.close()
    assert segments(tmp_path) == []


def test_a_request_that_cannot_be_read_again_is_set_aside_and_the_others_stored(
    store: Store, tmp_path: Path, project: str, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path)
    journal.append([batch(project, "a").request, batch("unreadable").request, batch(project, "b").request])
    journal.close()
    writer = Writer(store, Journal(tmp_path))
    with caplog.at_level(logging.ERROR):
        writer.replay(take)
    writer.close()
    assert stored_ids(store, project) == ["a", "b"]
    assert segments(tmp_path) == ["0000000001.journal.bad"]
    assert "no such dialect any more" in caplog.text


def test_rows_that_can_never_be_stored_hold_up_no_others(writer: Writer, away: Away, project: str) -> None:
    away.reachable, away.unusable = False, "x"
    for span_id in "axb":
        writer.submit(batch(project, span_id)).result(10)
    away.reachable = True
    eventually(lambda: writer.pending_rows == 0)
    assert stored_ids(away.store, project) == ["a", "b"]


def test_a_rewritten_span_replaces_the_former(writer: Writer, store: Store, project: str) -> None:
    writer.submit(batch(project, "a")).result(10)
    assert writer.caught_up(10)
    before = writer.committed_at
    writer.rewrite([Span(trace_id="t", span_id="a", project=project, started_at=NOW, name="settled")])
    rows = store.query("SELECT name FROM spans FINAL WHERE project = {p:String}", {"p": project})
    assert (rows, writer.committed_at > before) == ([{"name": "settled"}], True)


def test_many_threads_are_all_answered_and_all_stored(writer: Writer, store: Store, project: str) -> None:
    def submit(number: int) -> None:
        for n in range(20):
            writer.submit(batch(project, f"{number}-{n:02}")).result(20)

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.caught_up(20)
    assert stored_ids(store, project) == sorted(f"{number}-{n:02}" for number in range(8) for n in range(20))
