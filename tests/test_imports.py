"""Imports: files of Assay and of other tools become calls, once each, whatever else is in them."""

from __future__ import annotations

import csv
import gzip
import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dirty_equals import IsPartialDict, IsStr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.analytics.selection import Selection
from assay.client.imports import own, sending
from assay.client.imports.sending import import_file
from assay.client.monitor import Monitor, connect
from assay.errors import AssayError, ServerError
from assay.ingest.batch import VERDICT_SCHEMA, Batch, Request
from assay.ingest.imported import NDJSON, read_lines
from assay.ingest.importing import import_lines
from assay.ingest.pricing import Prices
from assay.ingest.reader import Reader
from assay.records import Score, Span
from assay.reports.exports import FORMATS, export
from assay.store.connect import Store
from assay.store.rows import arrow_schema, arrow_table, stamped
from assay.store.scores import SCORE_SCHEMA
from conftest import Server

START = 1_763_899_200_000_000  # 2025-11-23T12:00:00Z
UTC = ZoneInfo("UTC")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that scores nothing, so that what is in it came from files."""
    server = Server(tmp_path_factory.mktemp("target"), ASSAY_QUALITY__SCORERS="off").start()
    yield server
    server.stop()


@pytest.fixture
def taker(target: Server) -> Iterator[Monitor]:
    with connect(target.url) as connected:
        yield connected


def write(path: Path, *records: Any) -> Path:
    """Records as JSON Lines; texts as they are."""
    lines = (record if isinstance(record, str) else json.dumps(record, ensure_ascii=False) for record in records)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def spans_of(monitor: Monitor, tmp_path: Path, project: str) -> list[dict[str, Any]]:
    """All that is stored of a project, in the order of the starts."""
    monitor.export(tmp_path / "all.jsonl", "jsonl", project=project)
    return [json.loads(line) for line in (tmp_path / "all.jsonl").read_text("utf-8").splitlines()]


# Assay's own exports

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["=1+1", "'", "''", "\r\n", '"', ',"', "\0", "\u2028", "ﷺ", "🧑‍🚀", "-", "NULL", "\\N", " "]
)
FIGURE = st.none() | st.floats(allow_nan=False, allow_infinity=False)
COUNT = st.none() | st.integers(0, 2**62)
BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "str": TEXT,
    "bool": st.booleans(),
    "bool | None": st.none() | st.booleans(),
    "int | None": COUNT,
    "float | None": FIGURE,
    "float": st.floats(0, 1e9),
    "dict[str, str]": st.dictionaries(TEXT.filter(bool), TEXT, max_size=3),
    "UnixMicros": st.integers(START, START + 10**10),
    "Kind": st.sampled_from(["llm", "embedding", "tool", "agent", "span"]),
}
MESSAGES = st.sampled_from(["", '[{"role":"user","parts":[{"type":"text","content":"Ä=\\n"}]}]'])


def strategy_of(field: str, type_name: str) -> st.SearchStrategy[Any]:
    if field in ("trace_id", "span_id"):
        return st.builds(lambda: secrets.token_hex(16 if field == "trace_id" else 8))
    if field in ("messages_in", "messages_out"):
        return MESSAGES
    if field == "as_sent":
        return st.sampled_from(["", '{"input_tokens":null}'])
    return BY_TYPE[type_name] if type_name in BY_TYPE else st.sampled_from(["ok", "error"])


SPANS = st.builds(Span, **{name: strategy_of(name, hint) for name, hint in Span.__annotations__.items()})
VERDICTS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["relevance", "toxicity", "a.b-c_1"]),
        "value": FIGURE,
        "source": st.sampled_from(["scorer", "judge", "human", "otel"]),
        **dict.fromkeys(("label", "comment", "scorer", "scorer_version", "author"), TEXT),
        "confidence": FIGURE,
        "counted": st.booleans(),
    }
)
CALLS = st.lists(st.tuples(SPANS, st.lists(VERDICTS, max_size=3)), min_size=1, max_size=5)


def stored(store: Store, calls: list[tuple[Span, list[dict[str, Any]]]]) -> None:
    """The spans with their verdicts as if they had come in and been judged at different times."""
    now = time.time_ns() // 1000
    store.insert("spans", stamped(arrow_table([span for span, _ in calls], arrow_schema(Span)), now))
    scores = [
        Score(
            **verdict,
            target=span.span_id,
            project=span.project,
            model=span.response_model or span.request_model,
            session_id=span.session_id,
            started_at=span.started_at,
        )
        for span, verdicts in calls
        for verdict in verdicts
    ]
    if scores:
        at = pa.array([now - n * 1000 for n in range(len(scores))])
        table = arrow_table(scores, SCORE_SCHEMA)
        moments = at.cast(pa.timestamp("us", "UTC"))
        columns = [*table.columns, moments, at.cast(pa.uint64())]
        store.insert("scores", pa.Table.from_arrays(columns, schema=VERDICT_SCHEMA))


def in_memory(batches: list[Batch]) -> Callable[[bytes], dict[str, Any]]:
    """The server's side of an import into a store that holds nothing; what it would write goes to `batches`."""
    reader = Reader(Prices({}), 86_400)

    def send(body: bytes) -> dict[str, Any]:
        batch, refused = reader.take(Request("import", NDJSON, body))
        batches.append(batch)
        counts = {"stored": batch.kept.num_rows, "known": 0, "scores": batch.verdicts.num_rows}
        return counts | {"refused": [{"line": None, "reason": reason} for reason in refused]}

    return send


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(calls=CALLS)
def test_an_export_holds_every_field_of_spans_and_verdicts_exactly(
    store: Store, tmp_path: Path, calls: list[tuple[Span, list[dict[str, Any]]]], format: str
) -> None:
    project = f"test-{secrets.token_hex(4)}"
    calls = [(msgspec.structs.replace(span, project=project, duplicate_of=""), scores) for span, scores in calls]
    stored(store, calls)
    path = tmp_path / f"calls.{format}"
    path.write_bytes(b"".join(export(store, Selection(project=project), format).pieces))
    batches = list[Batch]()
    told = import_file(in_memory(batches), path)
    assert (told["format"], told["refused"], told["reasons"]) == ("assay", 0, [])
    rows = sorted((row for batch in batches for row in batch.kept.to_pylist()), key=lambda row: row["span_id"])
    sent = arrow_table(sorted((span for span, _ in calls), key=lambda span: span.span_id), arrow_schema(Span))
    assert rows == sent.to_pylist()
    columns = ", ".join(VERDICT_SCHEMA.names)
    sql = f"SELECT {columns} FROM scores FINAL WHERE project = {{p:String}}"
    there = store.query(sql, {"p": project})
    brought = [row for batch in batches for row in batch.verdicts.to_pylist()]
    for rows in (there, brought):
        rows.sort(key=lambda row: [str(row[name]) for name in ("target", "name", "source", "scorer", "author")])
    assert brought == there


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_of_an_import_is_the_same_file_byte_for_byte(
    store: Store, taker: Monitor, project: str, tmp_path: Path, format: str
) -> None:
    agent = Span(
        trace_id=secrets.token_hex(16), span_id="0" * 15 + "a", project=project, kind="agent", started_at=START
    )
    call = msgspec.structs.replace(
        agent,
        span_id=secrets.token_hex(8),
        parent_span_id=agent.span_id,
        kind="llm",
        counted=True,
        prompt="=Ä\n'\"",
        latency_ms=1 / 3,
        cost_usd=1e-9,
        as_sent='{"input_tokens":null}',
        attributes={"b": "ü", "a": "{}"},
    )
    echo = msgspec.structs.replace(call, span_id=secrets.token_hex(8), counted=False, duplicate_of=call.span_id)
    verdicts = [
        {"name": "relevance", "value": 0.1, "source": "scorer", "scorer": "assay", "scorer_version": "3"},
        {"name": "relevance", "value": 1.0, "source": "human", "author": "ada", "comment": "gut, =1\n"},
        {"name": "toxicity", "value": None, "label": "unknown", "source": "judge", "confidence": 0.25},
    ]
    stored(store, [(agent, []), (call, verdicts), (echo, [{"name": "relevance", "value": 0.5, "counted": False}])])
    data = b"".join(export(store, Selection(project=project), format).pieces)
    path = tmp_path / f"out.{format}.gz"
    path.write_bytes(gzip.compress(data)) if format != "parquet" else path.write_bytes(data)
    told = taker.import_file(path)
    assert told == IsPartialDict(records=3, stored=3, known=0, scores=4, refused=0)
    back = tmp_path / f"back.{format}"
    taker.export(back, format, project=project)
    assert back.read_bytes() == data
    assert taker.import_file(path) == IsPartialDict(stored=0, known=3, scores=0, refused=0)
    assert taker.import_file(path, replace=True) == IsPartialDict(stored=3, known=0, scores=4)
    taker.export(back, format, project=project)
    assert back.read_bytes() == data
    usage = taker.usage(project=project)
    assert usage["total_conversations"] == 1, "only the counted span is a call"


def test_fields_that_csv_cannot_type_are_known_by_name() -> None:
    def named(*types: str) -> set[str]:
        return {name for name, hint in Span.__annotations__.items() if hint in types}

    assert named("int | None") == own.WHOLE
    assert named("float | None", "float") == own.REAL
    assert named("bool", "bool | None") == own.TRUTH
    assert {*Span.__struct_fields__, "verdicts"} >= own.COLUMNS


# Once each, whatever happens


class Interrupted(Exception):
    pass


def test_what_was_interrupted_goes_on_and_neither_loses_nor_doubles(
    target: Server, taker: Monitor, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "PART_LINES", 20)
    path = write(tmp_path / "a.jsonl", *({"messages": _chat(f"question {n}")} for n in range(50)))

    def interrupt(fraction: float) -> None:
        if fraction < 1:
            raise Interrupted

    with pytest.raises(Interrupted):
        taker.import_file(path, project=project, progress=interrupt)
    target.kill()
    target.start()
    told = taker.import_file(path, project=project)
    assert told == IsPartialDict(known=20, stored=30, refused=0)
    prompts = [span["prompt"] for span in spans_of(taker, tmp_path, project)]
    assert sorted(prompts) == sorted(f"question {n}" for n in range(50))


def test_a_server_that_goes_away_is_waited_for_and_then_told_of(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    path = write(tmp_path / "a.jsonl", {"messages": _chat("q")})
    answers = iter([ServerError("503"), ServerError("503"), {"stored": 1, "known": 0, "scores": 0, "refused": []}])

    def send(body: bytes) -> dict[str, Any]:
        answer = next(answers, ServerError("no Assay answers"))
        if isinstance(answer, ServerError):
            raise answer
        return answer

    assert import_file(send, path)["stored"] == 1
    with pytest.raises(ServerError, match="0 spans are stored; the same command goes on from there"):
        import_file(send, path)


def test_a_span_that_is_stored_stays_and_a_newer_verdict_wins(store: Store, project: str) -> None:
    reader, kept = Reader(Prices({}), 86_400), list[Batch]()
    ids = {"trace_id": secrets.token_hex(16), "span_id": secrets.token_hex(8)}

    def keep(batch: Batch) -> None:
        kept.append(batch)
        stamped_spans = stamped(batch.kept, time.time_ns() // 1000)
        store.insert("spans", stamped_spans)
        store.insert("scores", batch.verdicts)

    def take(prompt: str, value: float, judged_at: int) -> dict[str, Any]:
        span = {**ids, "started_at": START, "project": project, "kind": "llm", "counted": True, "prompt": prompt}
        verdict = {"name": "helpful", "value": value, "source": "human", "judged_at": judged_at}
        line = json.dumps({"stored": span, "scores": [verdict]}).encode()
        return import_lines(store, reader.take, keep, line)

    assert take("first", 0.5, START + 5) == IsPartialDict(stored=1, known=0)
    assert take("second", 0.1, START + 4) == IsPartialDict(stored=0, known=1, scores=0)
    assert take("first", 0.9, START + 6) == IsPartialDict(stored=1, scores=1)
    rows = store.query("SELECT value FROM scores FINAL WHERE project = {p:String}", {"p": project})
    assert rows == [{"value": 0.9}]


def test_a_verdict_in_another_project_makes_none_known_here(store: Store, project: str) -> None:
    reader = Reader(Prices({}), 86_400)
    ids = {"trace_id": secrets.token_hex(16), "span_id": secrets.token_hex(8)}

    def keep(batch: Batch) -> None:
        store.insert("spans", stamped(batch.kept, time.time_ns() // 1000))
        store.insert("scores", batch.verdicts)

    def take(into: str, *judged_at: int) -> dict[str, Any]:
        span = {**ids, "started_at": START, "project": into, "kind": "llm", "counted": True}
        scores = [{"name": "helpful", "value": 0.5, "source": "human", "judged_at": at} for at in judged_at]
        return import_lines(store, reader.take, keep, json.dumps({"stored": span, "scores": scores}).encode())

    assert take(f"{project}-elsewhere", START + 5) == IsPartialDict(stored=1, scores=1)
    assert take(project) == IsPartialDict(stored=1, scores=0)
    assert take(project, START + 5) == IsPartialDict(stored=1, known=0, scores=1)


# The lab


def lab_file(path: Path, conversations: list[tuple[Any, ...]], metrics: list[tuple[Any, ...]]) -> Path:
    database = sqlite3.connect(path)
    database.execute(
        "CREATE TABLE conversations (id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT, timestamp TEXT,"
        " prompt TEXT, response TEXT, model_name TEXT, temperature REAL, input_tokens INTEGER, output_tokens INTEGER,"
        " total_tokens INTEGER, cost_usd REAL, latency_ms REAL, quality_score REAL)"
    )
    database.execute(
        "CREATE TABLE quality_metrics (id INTEGER PRIMARY KEY AUTOINCREMENT, conversation_id INTEGER,"
        " relevance_score REAL, coherence_score REAL, toxicity_score REAL, factual_accuracy REAL,"
        " FOREIGN KEY (conversation_id) REFERENCES conversations (id))"
    )
    names = "session_id, timestamp, prompt, response, model_name, temperature, input_tokens, output_tokens,"
    insert = f"INSERT INTO conversations ({names} total_tokens, cost_usd, latency_ms) VALUES ({', '.join('?' * 11)})"
    database.executemany(insert, conversations)
    database.executemany(
        "INSERT INTO quality_metrics (conversation_id, relevance_score, coherence_score, toxicity_score,"
        " factual_accuracy) VALUES (?, ?, ?, ?, ?)",
        metrics,
    )
    database.commit()
    database.close()
    return path


def test_both_tables_of_the_lab_become_calls_with_scores(taker: Monitor, project: str, tmp_path: Path) -> None:
    when = "2026-07-01T10:00:00.123456"
    asked = ("user_001", when, "What is AI?", "A field.", "gpt-3.5-turbo", 0.7, 3, 2, 5, 0.0001, 812.5)
    bare = ("user_002", "2026-07-01T11:00:00", "Hi", "Hello.", "unknown", 0.7, 0, 0, 0, 0.0, 0.0)
    wrong = ("user_002", None, "Hi", "Hello.", "gpt-4", 0.7, 1, 1, 2, 0.0, 1.0)
    path = lab_file(tmp_path / "lab.db", [asked, wrong, bare], [(1, 0.1, 0.1, 0.9, 0.1), (1, 0.25, 2 / 3, 0.0, 0.5)])
    told = taker.import_file(path, project=project, zone=ZoneInfo("Europe/Berlin"))
    assert told == IsPartialDict(format="lab", stored=2, scores=4, refused=1)
    assert told["reasons"] == [{"line": 2, "reason": "timestamp is missing"}]
    first, second = spans_of(taker, tmp_path, project)
    assert first == IsPartialDict(
        started_at="2026-07-01T08:00:00.123456Z",
        session_id="user_001",
        prompt="What is AI?",
        response="A field.",
        request_model="gpt-3.5-turbo",
        provider="openai",
        temperature=0.7,
        input_tokens=3,
        output_tokens=2,
        latency_ms=812.5,
        kind="llm",
        counted=True,
        attributes={
            "assay.reported_cost_usd": "0.0001",
            "lab.conversation_id": "1",
            "lab.quality_metrics_id": "2",
        },
    )
    assert first["cost_usd"] == pytest.approx(3 * 0.5e-6 + 2 * 1.5e-6)
    scores = {verdict["name"]: verdict["value"] for verdict in first["verdicts"]}
    assert scores == {"relevance": 0.25, "coherence": 2 / 3, "toxicity": 0.0, "factual_accuracy": 0.5}
    assert {verdict["scorer"] for verdict in first["verdicts"]} == {"lab"}
    assert second == IsPartialDict(request_model="", input_tokens=None, verdicts=[])
    assert taker.import_file(path, project=project, zone=ZoneInfo("Europe/Berlin"))["known"] == 2


def test_the_labs_csv_comes_in_from_the_lab_and_from_assay(taker: Monitor, project: str, tmp_path: Path) -> None:
    header = "timestamp,session_id,prompt,response,model_name,temperature,input_tokens,output_tokens,total_tokens"
    header += ",cost_usd,latency_ms,relevance_score,coherence_score,toxicity_score,factual_accuracy"
    row = "2026-07-01T10:00:00,u,'quoted',=1,gpt-4o,0.7,3,2,5,,100,0.5,,,"
    (tmp_path / "lab.csv").write_text(f"{header}\n{row}\n")
    assert taker.import_file(tmp_path / "lab.csv", project=project, zone=UTC)["stored"] == 1
    taker.export(tmp_path / "out.csv", "csv", "lab", project=project)
    other = f"{project}-again"
    assert taker.import_file(tmp_path / "out.csv", project=other)["stored"] == 1
    fields = ("prompt", "response", "started_at", "request_model", "input_tokens", "latency_ms", "temperature")
    [before], [after] = (spans_of(taker, tmp_path, name) for name in (project, other))
    assert [after[name] for name in fields] == [before[name] for name in fields]
    assert before["prompt"] == "'quoted'"
    assert after["verdicts"][0]["value"] == 0.5


# Other tools


PHOENIX = {
    "name": "ChatCompletion",
    "span_kind": "LLM",
    "parent_id": None,
    "start_time": "2026-07-01T10:00:00.000000+00:00",
    "end_time": "2026-07-01T10:00:01.500000+00:00",
    "status_code": "OK",
    "status_message": "",
    "events": [],
    "context.span_id": "1f6c1e6b1a2b3c4d",
    "context.trace_id": "9a6c1e6b1a2b3c4d9a6c1e6b1a2b3c4d",
    "attributes.openinference.span.kind": "LLM",
    "attributes.llm.model_name": "gpt-4o-2024-08-06",
    "attributes.llm.invocation_parameters": '{"model": "gpt-4o", "temperature": 0.2}',
    "attributes.llm.input_messages": [
        {"message.role": "system", "message.content": "Be brief."},
        {"message.role": "user", "message.content": "Wie geht es?"},
    ],
    "attributes.llm.output_messages": [{"message.role": "assistant", "message.content": "Gut."}],
    "attributes.llm.token_count.prompt": 12.0,
    "attributes.llm.token_count.completion": 3.0,
    "attributes.session.id": "s-1",
    "attributes.metadata": {"tier": "free"},
}


def phoenix_parquet(path: Path, record: dict[str, Any]) -> Path:
    index = {"context.span_id": record["context.span_id"]}
    pq.write_table(pa.Table.from_pylist([{**record, **index}]), path)
    return path


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "rest"])
def test_spans_of_phoenix_keep_their_ids_and_are_read_by_openinference(
    taker: Monitor, project: str, tmp_path: Path, ending: str
) -> None:
    record = PHOENIX | {"context.span_id": secrets.token_hex(8)}
    if ending == "parquet":
        path = phoenix_parquet(tmp_path / "spans.parquet", record)
    elif ending == "rest":
        ids = {name.removeprefix("context."): value for name, value in record.items() if name.startswith("context.")}
        attributes = {n.removeprefix("attributes."): v for n, v in record.items() if n.startswith("attributes.")}
        plain = {n: v for n, v in record.items() if not n.startswith(("attributes.", "context."))}
        path = write(tmp_path / "spans.jsonl", {**plain, "context": ids, "attributes": attributes})
    else:
        # As pandas writes times, unless it is told otherwise.
        moments = {"start_time": 1782900000000, "end_time": 1782900001500}
        path = write(tmp_path / "spans.jsonl", record | moments, {"span_kind": "LLM", "start_time": 1, "context": {}})
    told = taker.import_file(path, project=project)
    assert told == IsPartialDict(format="phoenix", stored=1, refused=1 if ending == "jsonl" else 0)
    [span] = spans_of(taker, tmp_path, project)
    assert span == IsPartialDict(
        span_id=record["context.span_id"],
        trace_id=record["context.trace_id"],
        started_at="2026-07-01T10:00:00.000000Z",
        latency_ms=1500,
        kind="llm",
        counted=True,
        request_model="gpt-4o",
        response_model="gpt-4o-2024-08-06",
        temperature=0.2,
        system="Be brief.",
        prompt="Wie geht es?",
        response="Gut.",
        input_tokens=12,
        output_tokens=3,
        session_id="s-1",
    )
    assert span["attributes"]["metadata"] == '{"tier": "free"}'
    assert taker.import_file(path, project=project)["known"] == 1


def observation(**more: Any) -> dict[str, Any]:
    return {
        "id": secrets.token_hex(8),
        "traceId": secrets.token_hex(16),
        "type": "GENERATION",
        "name": "answer",
        "startTime": "2026-07-01T10:00:00.000Z",
        "endTime": "2026-07-01T10:00:02.000Z",
        "completionStartTime": "2026-07-01T10:00:00.250Z",
        "level": "DEFAULT",
        "model": "gpt-4o-2024-08-06",
        "modelParameters": {"temperature": 0.2},
        "input": [{"role": "user", "content": "Wie geht es?"}],
        "output": {"role": "assistant", "content": "Gut."},
        "metadata": {"tier": "free"},
        "usageDetails": {"input": 12, "output": 3, "total": 15},
        "costDetails": {"total": 0.01},
        "environment": "production",
        **more,
    }


ANSWERED = IsPartialDict(
    started_at="2026-07-01T10:00:00.000000Z",
    latency_ms=2000,
    time_to_first_token_ms=250,
    kind="llm",
    counted=True,
    response_model="gpt-4o-2024-08-06",
    temperature=0.2,
    prompt="Wie geht es?",
    response="Gut.",
    input_tokens=12,
    output_tokens=3,
    environment="production",
    session_id="s-1",
    user_id="ada",
)


def test_observations_of_langfuse_come_in_as_its_interface_exports_them(
    taker: Monitor, project: str, tmp_path: Path
) -> None:
    one = observation(sessionId="s-1", userId="ada", helpful=[0.5, 1.0], traceTags=[])
    path = tmp_path / "observations.json"
    path.write_text(json.dumps([one, {"id": "x", "traceId": "y", "type": "SPAN", "startTime": None}], indent=1))
    told = taker.import_file(path, project=project)
    assert told == IsPartialDict(format="langfuse", stored=1, scores=1, refused=1)
    assert told["reasons"] == [{"line": 2, "reason": "id, traceId or startTime is missing"}]
    [span] = spans_of(taker, tmp_path, project)
    assert span == ANSWERED
    assert (span["span_id"], span["verdicts"][0]["value"]) == (one["id"], 0.75)
    assert span["attributes"] == IsPartialDict(
        {"assay.reported_cost_usd": "0.01", "langfuse.observation.metadata.tier": "free"}
    )


def test_blob_storage_and_the_api_of_langfuse_are_read_too(taker: Monitor, project: str, tmp_path: Path) -> None:
    blob = {
        own_name: json.dumps(value) if name in ("input", "output", "modelParameters") else value
        for name, value in observation(sessionId="s-1", userId="ada").items()
        for own_name in ["".join(f"_{c.lower()}" if c.isupper() else c for c in name)]
    }
    moments = {"start_time": "2026-07-01 10:00:00.000000", "end_time": "2026-07-01 10:00:02.000000"}
    blob |= {**moments, "completion_start_time": "2026-07-01 10:00:00.250000", "parent_observation_id": ""}
    page = {"data": [observation(sessionId="s-1", userId="ada")], "meta": {"page": 1}}
    for name, record in (("blob", blob), ("page", page)):
        told = taker.import_file(write(tmp_path / f"{name}.jsonl", record), project=f"{project}-{name}")
        assert told == IsPartialDict(format="langfuse", stored=1, refused=0, reasons=[])
        assert spans_of(taker, tmp_path, f"{project}-{name}") == [ANSWERED]


def test_a_trace_of_langfuse_brings_its_tree_and_its_scores(taker: Monitor, project: str, tmp_path: Path) -> None:
    trace_id = "my-own-trace-id"
    root = observation(id="root", traceId=trace_id, type="SPAN", endTime="2026-07-01T10:00:05Z", model=None)
    call = observation(traceId=trace_id, parentObservationId="root")
    scores = [
        {"name": "correct?", "value": 1, "source": "ANNOTATION", "authorUserId": "bob", "observationId": call["id"]},
        {
            "name": "tone",
            "stringValue": "kind",
            "source": "EVAL",
            "comment": "polite",
            "timestamp": "2026-07-02T00:00Z",
        },
    ]
    trace = {"id": trace_id, "timestamp": "2026-07-01T10:00:00Z", "sessionId": "s-1", "userId": "ada", "scores": scores}
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(trace | {"observations": [root, call]}, indent=2))
    assert taker.import_file(path, project=project) == IsPartialDict(format="langfuse", stored=2, scores=2, refused=0)
    spans = {span["kind"]: span for span in spans_of(taker, tmp_path, project)}
    assert spans["llm"] == ANSWERED
    assert spans["llm"]["parent_span_id"] == spans["span"]["span_id"]
    human, judged = spans["llm"]["verdicts"]
    assert human == IsPartialDict(name="correct_", value=1, source="human", author="bob")
    assert judged == IsPartialDict(name="tone", value=None, label="kind", source="judge", comment="polite")


def _chat(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": "Gut."}]


COMPLETION = {
    "id": "chatcmpl-9",
    "object": "chat.completion",
    "created": 1782900000,
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Gut."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}},
}


def test_openais_batches_logs_and_examples_become_calls(taker: Monitor, project: str, tmp_path: Path) -> None:
    batch = {"id": "b1", "custom_id": "c1", "response": {"status_code": 200, "body": COMPLETION}, "error": None}
    failed = {"id": "b2", "custom_id": "c2", "response": None, "error": {"code": "rate_limit", "message": "slow"}}
    logged = {
        "request": {"model": "gpt-4o", "temperature": 0.2, "messages": [{"role": "user", "content": "Wie geht es?"}]},
        "response": COMPLETION | {"id": "chatcmpl-10"},
    }
    example = {"messages": [{"role": "system", "content": "Be brief."}, *_chat("Und?")]}
    path = write(tmp_path / "o.jsonl", batch, failed, logged, example, {"messages": [{"role": "user"}]})
    told = taker.import_file(path, project=project)
    assert told == IsPartialDict(format="openai", stored=4, refused=1)
    spans = spans_of(taker, tmp_path, project)
    by_id = {span["response_id"] or span["status"] + span["prompt"]: span for span in spans}
    answer = {"response": "Gut.", "input_tokens": 12, "output_tokens": 3, "cache_read_tokens": 4, "kind": "llm"}
    answer |= {"finish_reason": "stop", "provider": "openai", "started_at": "2026-07-01T10:00:00.000000Z"}
    assert by_id["chatcmpl-9"] == IsPartialDict(**answer, prompt="", response_model="gpt-4o-2024-08-06")
    assert by_id["chatcmpl-9"]["attributes"]["openai.custom_id"] == "c1"
    assert by_id["chatcmpl-10"] == IsPartialDict(**answer, prompt="Wie geht es?", temperature=0.2)
    assert by_id["okUnd?"] == IsPartialDict(system="Be brief.", response="Gut.", latency_ms=0)
    assert by_id["error"] == IsPartialDict(error_type="rate_limit", error_message="slow")
    path.touch()
    assert taker.import_file(path, project=project)["known"] == 4, "the same also where the file is newer"


# Bad input


def test_bad_lines_cost_no_good_ones_and_are_told_with_their_numbers(
    taker: Monitor, project: str, tmp_path: Path
) -> None:
    good = json.dumps({"messages": _chat("Ä?")}, ensure_ascii=False).encode()
    half = b'{"messages": [{"role": "user", "content": "\\ud83d"}, {"role": "assistant", "content": "x"}]}'
    lines = [good, b'{"messages": [', '{"messages": "Ä"}'.encode("latin1"), b"[1]", half, b'{"messages": []}']
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(lines))
    told = taker.import_file(path, project=project)
    assert told == IsPartialDict(records=6, stored=2, refused=4)
    assert told["reasons"] == [
        {"line": 2, "reason": IsStr(regex="is no JSON: .*")},
        {"line": 3, "reason": IsStr(regex=r"is not UTF-8 \(byte 0xc4\): convert .*")},
        {"line": 4, "reason": "is no JSON object"},
        {"line": 6, "reason": IsStr(regex="the last of its messages is not the assistant's.*")},
    ]
    assert {span["prompt"] for span in spans_of(taker, tmp_path, project)} == {"Ä?", "\ufffd"}


def test_a_line_that_the_server_refuses_is_told_by_its_place_in_the_file(
    taker: Monitor, project: str, tmp_path: Path
) -> None:
    old = PHOENIX | {"context.span_id": secrets.token_hex(8), "start_time": "1980-01-01T00:00:00Z"}
    path = write(tmp_path / "a.jsonl", PHOENIX | {"context.span_id": secrets.token_hex(8)}, old)
    told = taker.import_file(path, project=project)
    assert told == IsPartialDict(stored=1, refused=1)
    assert told["reasons"] == [{"line": 2, "reason": IsStr(regex=".*a span must start after 2000-01-01.*")}]


@pytest.mark.parametrize("as_sent", ["no JSON", "[1]", '{"nothing": 1}', '{"input_tokens": "many"}'])
def test_what_a_sender_said_must_be_readable_or_settling_would_stop_at_it(as_sent: str) -> None:
    span = Span(trace_id=secrets.token_hex(16), span_id=secrets.token_hex(8), started_at=START, as_sent=as_sent)
    body = msgspec.json.encode({"stored": span})
    read = read_lines(body, lambda _: span, list, lambda _: None)
    assert (read.kept, read.refused) == ([], [IsStr(regex="line 1: as_sent is not what .*")])


def test_files_that_break_off_are_read_as_far_as_they_go(taker: Monitor, project: str, tmp_path: Path) -> None:
    lines = b"".join(json.dumps({"messages": _chat(secrets.token_hex(2000))}).encode() + b"\n" for _ in range(50))
    cut = tmp_path / "a.jsonl.gz"
    cut.write_bytes(gzip.compress(lines)[:-40_000])
    told = taker.import_file(cut, project=project)
    assert told["stored"] > 10
    assert "breaks off here" in told["reasons"][-1]["reason"]
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-10])
    with pytest.raises(AssayError, match=r"is no whole Parquet file .* was it copied to its end\?"):
        taker.import_file(tmp_path / "b.parquet")


def test_a_file_of_another_tool_is_answered_with_what_is_expected(taker: Monitor, tmp_path: Path) -> None:
    (tmp_path / "crm.csv").write_text("customer;city\n1;Bonn\n")
    with pytest.raises(AssayError, match=r"crm.csv holds city, customer: expected an export of Assay .* --format says"):
        taker.import_file(tmp_path / "crm.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(AssayError, match=r"empty.csv is empty"):
        taker.import_file(tmp_path / "empty.csv")
    with pytest.raises(AssayError, match=r"'xls' is no format of an import: choose one of assay, lab, phoenix"):
        taker.import_file(tmp_path / "crm.csv", format="xls")
    with pytest.raises(AssayError, match=r"cannot read .*gone.csv: No such file"):
        taker.import_file(tmp_path / "gone.csv")
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE notes (a)").connection.close()
    with pytest.raises(AssayError, match=r"other.db has the tables notes: expected the lab's conversations"):
        taker.import_file(tmp_path / "other.db")


def test_an_export_that_cannot_come_back_says_so_and_one_that_was_changed_is_told(
    store: Store, taker: Monitor, project: str, tmp_path: Path
) -> None:
    span = Span(trace_id=secrets.token_hex(16), span_id=secrets.token_hex(8), project=project, started_at=START)
    stored(store, [(msgspec.structs.replace(span, kind="llm", counted=True), [])])
    some = tmp_path / "some.jsonl"
    some.write_bytes(b"".join(export(store, Selection(project=project), "jsonl", "calls").pieces))
    with pytest.raises(AssayError, match="only one with --columns all can be imported"):
        taker.import_file(some)
    data = b"".join(export(store, Selection(project=project), "csv").pieces)
    whole = tmp_path / "whole.csv"
    whole.write_bytes(data + b"\n1,2\n")
    (tmp_path / "whole.csv.meta.json").write_text('{"sha256": "0"}')
    told = taker.import_file(whole)
    assert told == IsPartialDict(stored=1, refused=1, warning=IsStr(regex="whole.csv is not as it was exported.*"))
    assert told["reasons"][0]["reason"].startswith("has 2 columns where the header has ")


def test_a_line_too_long_for_the_server_costs_no_other(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *({"messages": _chat(text)} for text in ("a", "b" * 1500, "c")))

    def send(body: bytes) -> dict[str, Any]:
        if len(body) > 1500:
            raise AssayError("the body is larger than 1500 bytes")
        return {"stored": body.count(b"sent"), "known": 0, "scores": 0, "refused": []}

    told = import_file(send, path)
    assert told["stored"] + told["refused"] == 3
    assert [reason["line"] for reason in told["reasons"]] == [2]


def test_csv_rows_with_line_breaks_are_told_by_their_first_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["timestamp", "prompt", "response", "model_name"])
        writer.writerow(["2026-07-01T10:00:00", "a\nb", "c", "gpt-4o"])
        writer.writerow(["never", "a", "b\nc", "gpt-4o"])
    told = import_file(lambda body: {"stored": 1, "known": 0, "scores": 0, "refused": []}, path, zone=UTC)
    assert told["reasons"] == [{"line": 4, "reason": IsStr(regex="timestamp 'never' is no time.*")}]
