"""Exports: the same calls as the API tells, as CSV, JSON Lines and Parquet."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import secrets
import time
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any

import httpx
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dirty_equals import IsPartialDict
from hypothesis import given
from hypothesis import strategies as st

from assay.analytics.calls import calls
from assay.analytics.selection import Selection
from assay.client.exporting import Counted
from assay.client.monitor import Monitor
from assay.errors import AssayError
from assay.records import Score, Span
from assay.reports import exports
from assay.reports.exports import FORMATS, disarmed, export
from assay.store.connect import Store
from assay.store.rows import arrow_schema, arrow_table, stamped
from assay.store.scores import insert_scores
from conftest import Server, otlp

START = 1_763_899_200_000_000  # 2025-11-23T12:00:00Z
DAY = 86_400_000_000

COLUMNS = [
    *("started_at", "span_id", "trace_id", "project", "environment", "service", "session_id", "user_id", "kind"),
    *("provider", "model", "temperature", "system", "prompt", "response", "input_tokens", "output_tokens"),
    *("cache_read_tokens", "reasoning_tokens", "total_tokens", "cost_usd", "latency_ms", "time_to_first_token_ms"),
    *("status", "error_type", "error_message", "finish_reason"),
]


def span(project: str, **fields: Any) -> Span:
    own = {"trace_id": secrets.token_hex(16), "span_id": secrets.token_hex(8), "started_at": START, "kind": "llm"}
    return Span(**own | {"project": project, "counted": True} | fields)


def insert(store: Store, *spans: Span) -> None:
    store.insert("spans", stamped(arrow_table(spans, arrow_schema(Span)), time.time_ns() // 1000))


def score(call: Span, name: str, value: float | None, **more: Any) -> Score:
    return Score(target=call.span_id, name=name, value=value, project=call.project, started_at=call.started_at, **more)


def exported(store: Store, selection: Selection, format: str) -> list[dict[str, Any]]:
    """The file's rows, read by a reader of its format, in one form: None for what is empty, times as datetime."""
    data = b"".join(export(store, selection, format, "calls").pieces)
    match format:
        case "parquet":
            return pq.read_table(io.BytesIO(data)).to_pylist()
        case "jsonl":
            rows = [json.loads(line) for line in data.splitlines()]
            return [row | {"started_at": datetime.fromisoformat(row["started_at"])} for row in rows]
        case _:
            return [typed(row) for row in csv.DictReader(io.StringIO(data.decode(), newline=""))]


def typed(row: dict[str, str]) -> dict[str, Any]:
    """A row of CSV with the types that the other formats have; texts stay texts."""
    texts = {"span_id", "trace_id", "project", "environment", "service", "session_id", "user_id", "kind", "provider"}
    texts |= {"model", "system", "prompt", "response", "status", "error_type", "error_message", "finish_reason"}
    numbers = {
        name: float(value) if value else None for name, value in row.items() if name not in {*texts, "started_at"}
    }
    return row | numbers | {"started_at": datetime.fromisoformat(row["started_at"])}


def as_calls(store: Store, selection: Selection) -> list[dict[str, Any]]:
    """The same calls as the API tells them, oldest first, with scores as columns."""
    told = sorted(calls(store, selection, limit=1000).calls, key=lambda row: (row["started_at"], row["span_id"]))
    names = sorted({name for row in told for name in row["scores"]})
    return [{name: row[name] for name in COLUMNS} | {name: row["scores"].get(name) for name in names} for row in told]


@pytest.fixture
def varied(store: Store, project: str) -> Selection:
    """Three days of calls: whole, bare and failed ones, some scored, one that is not counted."""
    whole = span(
        project,
        environment="production",
        service="bot",
        session_id="s",
        user_id="ada",
        provider="openai",
        request_model="gpt-4o",
        response_model="gpt-4o-2024-08-06",
        temperature=0.7,
        system="Be brief.",
        prompt="What is\r\n\"AI\"?\tA 'field', or\\n more\\",
        response="Ein Fach.\n\nÄ \U0001f600; a,b",
        input_tokens=2**53 - 1,
        output_tokens=0,
        cache_read_tokens=1,
        reasoning_tokens=2,
        cost_usd=1e-9,
        latency_ms=1 / 3,
        time_to_first_token_ms=0.1,
        finish_reason="stop",
        started_at=START + 123_456,
    )
    failed = span(project, status="error", error_type="Timeout", error_message="no answer", started_at=START + DAY)
    bare = span(project, started_at=START - DAY)
    half = span(project, kind="embedding", input_tokens=5, started_at=START + 200_000)
    uncounted = span(project, counted=False)
    insert(store, whole, failed, bare, half, uncounted)
    insert(store, whole)
    insert_scores(
        store,
        [
            score(whole, "relevance", 0.25),
            score(whole, "toxicity", None, comment="not assessable"),
            score(bare, "relevance", 1 / 3),
            score(half, "helpful", 1.0, source="human"),
        ],
    )
    return Selection(project=project)


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_holds_what_the_api_tells(store: Store, varied: Selection, format: str) -> None:
    told, rows = as_calls(store, varied), exported(store, varied, format)
    assert len(told) == 4
    totals = [[row.pop("total_tokens") for row in table] for table in (told, rows)]
    assert rows == told
    assert totals[1] == totals[0] == [None, 2**53 - 1, 5, None], "unknown is empty, and never zero"


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_holds_the_score_that_the_api_tells_where_several_judged(
    store: Store, project: str, format: str
) -> None:
    call = span(project)
    insert(store, call)
    insert_scores(
        store,
        [
            score(call, "relevance", 0.2, scorer="local"),
            score(call, "relevance", 1.0, source="human", author="ada"),
            score(call, "toxicity", None, scorer="local"),
            score(call, "toxicity", 1.0, source="human", author="ada"),
        ],
    )
    [told] = as_calls(store, Selection(project=project))
    [row] = exported(store, Selection(project=project), format)
    assert (row["relevance"], row["toxicity"]) == (told["relevance"], told["toxicity"]) == (0.2, None)


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_call_in_another_project_lends_no_score(store: Store, project: str, format: str) -> None:
    call = span(project)
    elsewhere = msgspec.structs.replace(call, project=f"{project}-elsewhere")
    insert(store, call, elsewhere)
    insert_scores(store, [score(call, "relevance", 0.2), score(elsewhere, "relevance", 0.9)])
    insert_scores(store, [score(elsewhere, "relevance", 1.0, source="human", author="ada")])
    [row] = exported(store, Selection(project=project), format)
    assert row["relevance"] == 0.2
    whole = b"".join(export(store, Selection(project=project), "jsonl").pieces)
    assert [verdict["value"] for verdict in json.loads(whole)["verdicts"]] == [0.2]


@pytest.mark.parametrize("format", FORMATS)
def test_filters_and_range_hold_for_files_too(store: Store, varied: Selection, format: str) -> None:
    noon = datetime(2025, 11, 23, 12, tzinfo=UTC)
    project = varied.project
    for selection, count in [
        (Selection(project=project, status="error"), 1),
        (Selection(project=project, since=noon), 3),
        (Selection(project=project, until=noon), 1),
        (Selection(project=project, since=noon, until=noon + timedelta(days=1)), 2),
        (Selection(project=project, since=noon, until=noon), 0),
        (Selection(project=project, model="gpt-4o-2024-08-06"), 1),
    ]:
        rows = exported(store, selection, format)
        told = as_calls(store, selection)
        assert len(rows) == count
        assert [row["span_id"] for row in rows] == [row["span_id"] for row in told]


NAMES = [
    "a `strange` 'name' with \"quotes\", \\ and %s",
    "{project:String}",
    "ünïcode",
    "prompt",
    "calls",
    "scored",
    "target",
    "verdicts",
    "request_model",
    "response_model",
    "counted",
    "kind_of_magic",
]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", NAMES)
def test_a_score_of_any_name_is_a_column_of_its_own(store: Store, project: str, format: str, name: str) -> None:
    call = span(project, prompt="the prompt", request_model="asked", input_tokens=1, output_tokens=1)
    insert(store, call, span(project, started_at=START + 1))
    insert_scores(store, [score(call, name, 0.5), score(call, "relevance", 0.25)])
    first, second = exported(store, Selection(project=project), format)
    column = "score_prompt" if name == "prompt" else name
    assert (first[column], first["relevance"]) == (0.5, 0.25)
    assert (second[column], second["relevance"]) == (None, None)
    assert (first["prompt"], first["model"]) == ("the prompt", "asked")


@pytest.mark.parametrize("format", FORMATS)
def test_no_two_scores_share_a_column(store: Store, project: str, format: str) -> None:
    call = span(project)
    insert(store, call)
    insert_scores(store, [score(call, "prompt", 0.25), score(call, "score_prompt", 0.75)])
    [row] = exported(store, Selection(project=project), format)
    assert sorted(value for name, value in row.items() if name not in COLUMNS) == [0.25, 0.75]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("=HYPERLINK(\"http://evil.example\",'x')", "'=HYPERLINK(\"http://evil.example\",'x')"),
        ("1=1", "1=1"),
        ("'=1", "''=1"),
        ("a\n=1", "a\n=1"),
        ("", ""),
    ],
)
def test_a_formula_is_disarmed_in_csv_and_unchanged_elsewhere(
    store: Store, project: str, text: str, shown: str
) -> None:
    texts = dict.fromkeys(("prompt", "response", "session_id", "response_model", "error_message"), text)
    insert(store, span(project, **texts))
    columns = ("prompt", "response", "session_id", "model", "error_message")
    [row] = exported(store, Selection(project=project), "csv")
    assert [row[name] for name in columns] == [shown] * 5
    for format in ("jsonl", "parquet"):
        [row] = exported(store, Selection(project=project), format)
        assert [row[name] for name in columns] == [text] * 5


def test_a_number_below_zero_is_no_formula(store: Store, project: str) -> None:
    insert(store, span(project, cost_usd=-0.5))
    [row] = exported(store, Selection(project=project), "csv")
    assert row["cost_usd"] == -0.5


def test_an_export_of_nothing_is_a_valid_file_without_rows(store: Store) -> None:
    nothing = Selection(project="nothing here")
    assert b"".join(export(store, nothing, "csv", "calls").pieces).decode() == ",".join(COLUMNS) + "\n"
    assert b"".join(export(store, nothing, "jsonl", "calls").pieces) == b""
    table = pq.read_table(io.BytesIO(b"".join(export(store, nothing, "parquet", "calls").pieces)))
    assert (table.num_rows, table.column_names) == (0, COLUMNS)


def test_parquet_columns_have_their_types_even_where_all_are_null(store: Store, project: str) -> None:
    call = span(project)
    insert(store, call)
    insert_scores(store, [score(call, "relevance", None)])
    table = pq.read_table(io.BytesIO(b"".join(export(store, Selection(project=project), "parquet", "calls").pieces)))
    types = {field.name: field.type for field in table.schema}
    assert types.pop("started_at") == pa.timestamp("us", "UTC")
    whole = {"input_tokens", "output_tokens", "cache_read_tokens", "reasoning_tokens", "total_tokens"}
    real = {"temperature", "cost_usd", "latency_ms", "time_to_first_token_ms", "relevance"}
    assert types == {
        name: pa.int64() if name in whole else pa.float64() if name in real else pa.string()
        for name in [*COLUMNS[1:], "relevance"]
    }


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_of_many_days_is_complete_and_in_order(store: Store, project: str, format: str) -> None:
    spans = [span(project, started_at=START + n * DAY // 20) for n in range(5 * 20)]
    insert(store, *spans)
    insert_scores(store, [score(call, "number", n) for n, call in enumerate(spans)])
    rows = exported(store, Selection(project=project), format)
    assert [(row["span_id"], row["number"]) for row in rows] == [(s.span_id, n) for n, s in enumerate(spans)]


@pytest.mark.parametrize("format", FORMATS)
def test_a_large_day_comes_in_pieces(store: Store, project: str, format: str) -> None:
    text = secrets.token_hex(2000)
    insert(store, *(span(project, prompt=f"{n} {text}", started_at=START + n) for n in range(300)))
    assert [row["prompt"].split()[0] for row in exported(store, Selection(project=project), format)] == [
        str(n) for n in range(300)
    ]
    if format != "parquet":
        assert len(list(export(store, Selection(project=project), format).pieces)) > 2


def test_an_unknown_format_is_refused_before_the_first_byte(store: Store) -> None:
    with pytest.raises(AssayError, match="cannot export 'xlsx': choose one of csv, jsonl, parquet"):
        export(store, Selection(), "xlsx")


@pytest.mark.parametrize(
    ("format", "media_type"),
    [
        ("csv", "text/csv; charset=utf-8"),
        ("jsonl", "application/x-ndjson"),
        ("parquet", "application/vnd.apache.parquet"),
    ],
)
def test_a_file_is_downloaded_under_a_name(server: Server, project: str, format: str, media_type: str) -> None:
    assert server.post(otlp({}, {}, project=project)).status_code == 200
    answer = httpx.get(f"{server.url}/api/export", params={"format": format, "project": project})
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    assert answer.headers["content-disposition"] == f'attachment; filename="assay-export.{format}"'
    read = {"csv": lambda data: len(data.splitlines()) - 1, "jsonl": lambda data: len(data.splitlines())}
    rows = read.get(format, lambda data: pq.read_table(io.BytesIO(data)).num_rows)
    assert rows(answer.content) == 2


def test_an_unknown_format_is_refused_over_http(server: Server) -> None:
    answer = httpx.get(f"{server.url}/api/export", params={"format": "xlsx"})
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "cannot export 'xlsx': choose one of csv, jsonl, parquet"},
    )


def test_a_monitor_writes_a_file_whole_or_not_at_all(
    server: Server, monitor: Monitor, project: str, tmp_path: Any
) -> None:
    server.post(otlp({}, project=project))
    path = tmp_path / "calls.csv"
    told = monitor.export(path, "csv", project=project)
    sidecar = tmp_path / "calls.csv.meta.json"
    assert json.loads(sidecar.read_text()) == told
    assert told == IsPartialDict(
        schema_version=1,
        assay_version=version("assay"),
        format="csv",
        filters={"project": project},
        rows=1,
        bytes=path.stat().st_size,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    before = path.read_bytes()
    with pytest.raises(AssayError, match="cannot export 'xlsx'"):
        monitor.export(path, "xlsx")
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["calls.csv", "calls.csv.meta.json"]


@given(st.text(st.sampled_from("'=+-@\t\r\n＝a1 \"é"), max_size=6))
def test_what_csv_disarms_no_spreadsheet_takes_for_a_formula_and_one_apostrophe_less_gives_it_back(
    store: Store, text: str
) -> None:
    [row] = store.query(f"SELECT {disarmed('{text:String}')} AS shown", {"text": text})
    assert row["shown"][:1] not in {*"=+-@\t\r\n＝"}
    assert row["shown"].removeprefix("'") == text


@given(st.lists(st.lists(st.text(st.sampled_from('ab,"\n\r'), max_size=5), min_size=2, max_size=2)), st.integers(1, 9))
def test_rows_of_csv_are_counted_while_they_pass_in_pieces_of_any_size(rows: list[list[str]], size: int) -> None:
    file = io.StringIO()
    csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([["a", "b"], *rows])
    data, counted = file.getvalue().encode(), Counted("csv")
    assert b"".join(counted.of(data[n : n + size]) for n in range(0, len(data), size)) == data
    assert counted.facts["rows"] == len(rows)


def test_the_labs_columns_are_those_of_its_own_export(store: Store, project: str) -> None:
    call = span(project, prompt="What?", response="That.", request_model="gpt-4o", input_tokens=3, session_id="s")
    insert(store, call)
    insert_scores(store, [score(call, "relevance", 0.5), score(call, "toxicity", 0.0)])
    data = b"".join(export(store, Selection(project=project), "csv", "lab").pieces).decode()
    assert data.splitlines() == [
        "timestamp,session_id,prompt,response,model_name,temperature,input_tokens,output_tokens,total_tokens,cost_usd,"
        "latency_ms,relevance_score,coherence_score,toxicity_score,factual_accuracy",
        '"2025-11-23T12:00:00.000000Z","s","What?","That.","gpt-4o",,3,,3,,0,0.5,,0,',
    ]


def test_columns_are_chosen_by_name_and_an_unknown_one_is_answered_with_those_that_are_known(
    store: Store, project: str
) -> None:
    call = span(project, prompt="What?")
    insert(store, call)
    insert_scores(store, [score(call, "relevance", 0.5)])
    data = b"".join(export(store, Selection(project=project), "csv", "prompt, relevance,total_tokens").pieces)
    assert data.decode() == 'prompt,relevance,total_tokens\n"What?",0.5,\n'
    with pytest.raises(AssayError, match=r"no column is called 'promt': choose all, calls, lab, or some of .*prompt"):
        export(store, Selection(project=project), "csv", "promt")


def test_an_export_without_any_filter_holds_everything(store: Store, project: str) -> None:
    call = span(project)
    insert(store, call)
    assert call.span_id in b"".join(export(store, Selection(), "jsonl").pieces).decode()


def test_with_all_columns_a_filter_of_calls_keeps_their_whole_traces(store: Store, project: str) -> None:
    agent = span(project, kind="agent", counted=False)
    call = span(project, trace_id=agent.trace_id, parent_span_id=agent.span_id, request_model="gpt-4o")
    echo = span(project, counted=False, duplicate_of=call.span_id, request_model="gpt-4o")
    other = span(project, request_model="o3")
    insert(store, agent, call, echo, other)

    def ids(**filters: Any) -> set[str]:
        pieces = export(store, Selection(project=project, **filters), "jsonl").pieces
        return {json.loads(line)["span_id"] for line in b"".join(pieces).splitlines()}

    assert ids() == {agent.span_id, call.span_id, echo.span_id, other.span_id}
    assert ids(model="gpt-4o") == {agent.span_id, call.span_id, echo.span_id}


@pytest.mark.parametrize("format", FORMATS)
def test_slices_of_time_leave_nothing_out_and_give_nothing_twice(
    store: Store, project: str, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "SLICE_ROWS", dict.fromkeys(exports.FORMATS, 7))
    hour = 3_600_000_000
    starts = [START + n * hour for n in range(5)] + [START + n * hour // 60 - 1 for n in range(60)]
    spans = sorted((span(project, started_at=at) for at in starts), key=lambda s: (s.started_at, s.span_id))
    insert(store, *spans)
    rows = exported(store, Selection(project=project), format)
    assert [row["span_id"].removeprefix("'") for row in rows] == [one.span_id for one in spans]
