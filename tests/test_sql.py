"""Users' SQL: what the views hold, what a query may not do, its limits, and how errors are said."""

from __future__ import annotations

import csv
import io
import re
import secrets
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from assay.analytics.calls import calls as page_of_calls
from assay.analytics.selection import Selection
from assay.analytics.sql import Answer, Desk
from assay.analytics.sql_guard import VIEWS
from assay.cli import app
from assay.client.monitor import Monitor
from assay.client.rows import as_csv
from assay.config import Sql
from assay.errors import AssayError, StoreUnavailable
from assay.ingest.batch import SPAN_SCHEMA
from assay.records import Score, Span
from assay.store.connect import Store
from assay.store.rows import arrow_table, stamped
from assay.store.scores import insert_scores

DOCS = Path(__file__).parents[1] / "docs" / "sql.md"
NOW = time.time_ns() // 1000


@pytest.fixture(scope="module")
def desk(store: Store) -> Desk:
    return Desk(store, Sql(max_rows=1000, max_seconds=2, max_memory_bytes=100 << 20))


def rows(answer: Answer) -> list[dict[str, Any]]:
    names = [column["name"] for column in answer.columns]
    return [dict(zip(names, row, strict=True)) for row in answer.rows]


def call(project: str, **fields: Any) -> Span:
    fixed: dict[str, Any] = {"kind": "llm", "counted": True, "status": "ok", "started_at": NOW, "request_model": "m"}
    ids = {"trace_id": secrets.token_hex(16), "span_id": secrets.token_hex(8), "session_id": "one"}
    return Span(**ids | fixed | {"project": project, "latency_ms": 5.0} | fields)


def write(store: Store, *spans: Span) -> None:
    store.insert("spans", stamped(arrow_table(spans, SPAN_SCHEMA), time.time_ns() // 1000))


def score(span: Span, name: str, value: float | None, **fields: Any) -> Score:
    of = {"target": span.span_id, "project": span.project, "model": "m", "session_id": span.session_id}
    return Score(**of | {"name": name, "value": value, "source": "scorer", "started_at": span.started_at} | fields)


def test_calls_are_the_counted_ones_with_the_fields_of_the_api(store: Store, desk: Desk, project: str) -> None:
    attributes = {"service.version": "1.2"}
    told = call(project, prompt="Hi", input_tokens=3, estimated_output_tokens=4, cost_usd=0.5, attributes=attributes)
    write(store, told, call(project, counted=False))
    [row] = rows(desk.answer(f"SELECT * FROM calls WHERE project = '{project}'"))
    [api] = page_of_calls(store, Selection(project=project)).calls
    told_by_api = msgspec.to_builtins(api)
    assert row.keys() - {"release"} <= told_by_api.keys()
    # The API rebuilds message lists that the texts say in full; of moments both mean the same.
    apart = {"messages_in", "messages_out", "started_at", "release"}
    assert {name: row[name] for name in row.keys() - apart} == {name: told_by_api[name] for name in row.keys() - apart}
    assert (row["total_tokens"], row["release"]) == (7, "1.2")
    assert row["started_at"].endswith("Z")


def test_scores_stand_side_by_side_and_the_scorers_own_comes_first(store: Store, desk: Desk, project: str) -> None:
    one, other = call(project), call(project)
    write(store, one, other)
    insert_scores(store, [score(one, "relevance", 0.9, source="human", author="ann"), score(one, "relevance", 0.4)])
    insert_scores(store, [score(one, "own", 0.1), score(one, "toxicity", None), score(other, "thumb", 1.0)])
    insert_scores(store, [score(other, "relevance", 0.8, counted=False)])
    found = {row["span_id"]: row for row in rows(desk.answer(f"SELECT * FROM scores_wide WHERE project = '{project}'"))}
    first, second = found[one.span_id], found[other.span_id]
    assert (first["relevance"], first["toxicity"], first["thumb"], first["model"]) == (0.4, None, None, "m")
    assert first["scores"] == {"relevance": 0.4, "own": 0.1, "toxicity": None}
    assert (second["thumb"], second["relevance"], second["scores"]) == (1.0, None, {"thumb": 1.0})


def test_a_session_is_summed_up(store: Store, desk: Desk, project: str) -> None:
    write(
        store,
        call(project, cost_usd=0.25, input_tokens=10, user_id="ann"),
        call(project, cost_usd=0.5, status="error", started_at=NOW + 1_000_000),
        call(project, kind="embedding"),
        call(project, session_id="two", kind="embedding"),
        call(project, session_id=""),
    )
    one, two = rows(desk.answer(f"SELECT * FROM sessions WHERE project = '{project}' ORDER BY session_id"))
    assert {name: one[name] for name in ("calls", "conversations", "errors", "unpriced", "cost_usd", "user_id")} == {
        "calls": 3,
        "conversations": 2,
        "errors": 1,
        "unpriced": 1,
        "cost_usd": 0.75,
        "user_id": "ann",
    }
    assert (two["cost_usd"], two["avg_latency_ms"], two["input_tokens"], one["input_tokens"]) == (None, None, None, 10)


ATTACKS = """
INSERT INTO spans (span_id) VALUES ('x')
INSERT INTO FUNCTION file('{file}') SELECT 1
CREATE TABLE t (a Int8) ENGINE = Memory
CREATE TEMPORARY TABLE t (a Int8)
CREATE VIEW v AS SELECT 1
CREATE FUNCTION f AS x -> x
CREATE DICTIONARY d (a UInt64) PRIMARY KEY a SOURCE(FILE(path '/etc/passwd' format 'CSV')) LAYOUT(FLAT()) LIFETIME(1)
DROP TABLE spans
DROP VIEW calls
TRUNCATE TABLE spans
RENAME TABLE spans TO other
EXCHANGE TABLES spans AND scores
ALTER TABLE spans DELETE WHERE 1
ALTER TABLE spans ADD COLUMN a Int8
DELETE FROM spans WHERE 1
OPTIMIZE TABLE spans FINAL
ATTACH TABLE spans
DETACH TABLE spans
UNDROP TABLE spans
CHECK TABLE spans
BACKUP TABLE spans TO File('{file}')
RESTORE TABLE spans FROM File('{file}')
GRANT ALL ON *.* TO default
CREATE USER eve
SET readonly = 0
SET ROLE DEFAULT
USE system
KILL QUERY WHERE 1
SYSTEM FLUSH LOGS
SYSTEM SHUTDOWN
SYSTEM STOP MERGES
SHOW TABLES
SHOW GRANTS
DESCRIBE TABLE spans
EXISTS TABLE spans
EXPLAIN SELECT 1
BEGIN TRANSACTION
SELECT 1; DROP TABLE spans
SELECT 1 INTO OUTFILE '{file}'
SELECT 1 INTO OUTFILE '{file}' TRUNCATE FORMAT CSV
(SELECT 1) INTO OUTFILE '{file}'
SELECT 1 FORMAT CSV
SELECT 1 SETTINGS readonly = 0
SELECT 1 SETTINGS max_execution_time = 0
SELECT * FROM (SELECT 1 SETTINGS max_threads = 64)
SELECT * FROM (EXPLAIN SELECT 1)
SELECT file('/etc/passwd')
SELECT FILE('/etc/passwd')
SELECT * FROM (SELECT 1 UNION ALL SELECT length(file('/etc/passwd')))
SELECT count() FROM calls WHERE prompt = file('/etc/passwd')
SELECT '/etc/passwd' AS path, COLUMNS('path') APPLY(file)
SELECT arrayMap(path -> file(path), ['/etc/passwd'])
SELECT * FROM file('/etc/passwd', 'LineAsString')
SELECT * FROM `file`('/etc/passwd', 'LineAsString')
SELECT * FROM fileCluster('default', '/etc/passwd', 'LineAsString')
SELECT * FROM url('http://127.0.0.1:{port}/', 'LineAsString')
SELECT 1 IN url('http://127.0.0.1:{port}/', 'LineAsString')
SELECT 1 IN (SELECT line FROM url('http://127.0.0.1:{port}/', 'LineAsString'))
WITH (SELECT count() FROM url('http://127.0.0.1:{port}/', 'LineAsString')) AS n SELECT n
SELECT * FROM s3('http://127.0.0.1:{port}/bucket/a.csv', 'CSV')
SELECT * FROM remote('127.0.0.1', 'system', 'one')
SELECT * FROM mysql('127.0.0.1:{port}', 'a', 'b', 'c', 'd')
SELECT * FROM postgresql('127.0.0.1:{port}', 'a', 'b', 'c', 'd')
SELECT * FROM sqlite('{file}', 't')
SELECT * FROM redis('127.0.0.1:{port}', 'k', 'k String')
SELECT * FROM mongodb('127.0.0.1:{port}', 'a', 'b', 'c', 'd', 'e String')
SELECT * FROM hdfs('hdfs://127.0.0.1:{port}/x', 'CSV')
SELECT * FROM azureBlobStorage('a', 'b', 'c')
SELECT * FROM iceberg('http://127.0.0.1:{port}/bucket/')
SELECT * FROM deltaLake('http://127.0.0.1:{port}/bucket/')
SELECT * FROM executable('id', 'LineAsString', 'a String')
SELECT * FROM python(store)
SELECT * FROM merge('.*')
SELECT * FROM cluster('default', system.one)
SELECT * FROM dictionary('d')
SELECT dictGet('d', 'a', 1)
SELECT joinGet('j', 'a', 1)
SELECT * FROM view(SELECT 1)
SELECT * FROM input('a Int8')
SELECT * FROM mergeTreeIndex(currentDatabase(), 'spans')
SELECT * FROM spans
SELECT * FROM default.spans
SELECT * FROM `default`.`spans`
SELECT * FROM system.processes
SELECT * FROM information_schema.tables
SELECT 1 IN system.processes
SELECT 1 NOT IN cursors
WITH spans AS (SELECT 1) SELECT * FROM spans
SELECT hostName(), FQDN()
SELECT getServerPort('tcp_port')
SELECT getSetting('readonly')
SELECT getMacro('a')
SELECT currentUser()
SELECT serverUUID()
SELECT filesystemAvailable()
SELECT getOSKernelVersion()
SELECT addressToSymbol(1)
SELECT showCertificate()
SELECT sleep(3)
SELECT sleepEachRow(1) FROM numbers(3)
SELECT aiGenerate('a')
SELECT catboostEvaluate('/etc/passwd', 1)
SELECT evalMLMethod(1, 2)
SELECT {{name:String}}
SELECT 1 AS `a\\n TableIdentifier calls`
""".strip().splitlines()


def test_a_query_can_only_read_the_views_and_compute(store: Store, desk: Desk, tmp_path: Path) -> None:
    written = tmp_path / "written"
    before = store.query("SELECT name, total_rows FROM system.tables WHERE database = currentDatabase() ORDER BY name")
    passed = list[str]()
    for attack in ATTACKS:
        try:
            desk.answer(attack.format(file=written, port=9))
        except AssayError as error:
            assert str(error)
            assert "DB::" not in str(error), attack
        else:
            passed.append(attack)
    assert passed == []
    assert not list(tmp_path.iterdir())
    after = store.query("SELECT name, total_rows FROM system.tables WHERE database = currentDatabase() ORDER BY name")
    assert after == before


@pytest.mark.parametrize(
    "statement",
    [
        "DROP VIEW calls",
        "INSERT INTO cursors (follower) SELECT 'x'",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT 1 SETTINGS max_threads = 64",
        "SELECT * FROM url('http://127.0.0.1:9/', 'LineAsString')",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    ],
)
def test_the_connection_itself_refuses_what_the_guard_would_let_through(store: Store, statement: str) -> None:
    with pytest.raises(AssayError, match=r"READONLY|readonly|ACCESS_DENIED"):
        store.isolated(statement, {"max_threads": 1})


def test_limits_of_time_memory_and_rows_end_a_query(store: Store, desk: Desk) -> None:
    with pytest.raises(AssayError, match="took too long"):
        desk.answer("SELECT sum(cityHash64(number)) FROM numbers(1000000000000)")
    with pytest.raises(AssayError, match="too much memory"):
        desk.answer("SELECT length(groupArray(number)) FROM numbers(1000000000)")
    many = desk.answer("SELECT number FROM numbers(1000000)")
    assert (len(many.rows), many.truncated, many.rows[-1]) == (1000, True, [999])
    small = Desk(store, Sql(max_result_bytes=10_040)).answer("SELECT repeat('x', 1000) FROM numbers(100000)")
    assert (len(small.rows), small.truncated) == (10, True)


def test_one_query_runs_at_a_time_and_sql_can_be_switched_off(store: Store) -> None:
    busy = Desk(store, Sql(max_seconds=1))
    with busy._one_at_a_time, pytest.raises(StoreUnavailable, match="still running"):
        busy.answer("SELECT 1")
    with pytest.raises(AssayError, match=r"switched off here: sql\.enabled"):
        Desk(store, Sql(enabled=False)).answer("SELECT 1")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT modle FROM calls", "there is no column modle: did you mean model?"),
        ("SELECT lenght(model) FROM calls", "there is no function lenght: did you mean length?"),
        ("SELECT * FROM cals", "there is no view cals: did you mean calls?"),
        ("SELECT * FROM prices", "there is no view prices: there are calls, scores_wide, sessions"),
        ("SELECT * FROM spans", "spans cannot be read: there are calls, scores_wide, sessions"),
        ("SELECT 'ü',\n  model FRM calls", "cannot read the query at line 2, column 13: calls"),
        ("SELECT model FROM calls WHERE", "the query ends too soon, at line 1, column"),
        ("SELECT 1; SELECT 2", "one query at a time"),
        ("  ", "there is no query"),
        ("DROP TABLE calls", "only SELECT is allowed here, not DROP"),
        ("SELECT 1 FORMAT CSV", "leave FORMAT and INTO OUTFILE out"),
        ("SELECT sum(prompt) FROM calls", "Illegal type String of argument for aggregate function sum"),
        ("SELECT 1" + " " * 100_000 + "+ 1", "has 100,011 characters: 100,000 are allowed"),
    ],
)
def test_errors_are_said_in_the_words_of_the_one_who_asked(desk: Desk, query: str, said: str) -> None:
    with pytest.raises(AssayError) as refused:
        desk.answer(query)
    assert str(refused.value).startswith(said) or said in str(refused.value)
    assert "In scope" not in str(refused.value)


def test_values_of_every_kind_are_json(desk: Desk) -> None:
    query = """
        SELECT 18446744073709551615, nan, NULL, (1, 'a'), map('a', 1), [1.5], toDate('2026-01-02'), unhex('ff'), true;
    """
    [row] = desk.answer(query).rows
    assert row == [2**64 - 1, None, None, [1, "a"], {"a": 1}, [1.5], "2026-01-02", "\ufffd", True]


def test_every_query_of_the_documentation_runs_and_finds_something(store: Store, desk: Desk, project: str) -> None:
    spans = [
        call(project, user_id="ann", cost_usd=0.1 * n, status="error" if n == 1 else "ok", error_type="timeout")
        for n in range(1, 4)
    ]
    write(store, *spans)
    insert_scores(
        store, [score(span, name, 0.2) for span in spans for name in ("relevance", "toxicity", "groundedness")]
    )
    insert_scores(store, [score(spans[0], "thumb", 1.0, source="human", author="ann")])
    queries = re.findall(r"```sql\n(.+?)```", DOCS.read_text(), re.DOTALL)
    assert len(queries) >= 10
    for query in queries:
        assert desk.answer(query).rows, query


def test_the_documentation_names_every_column(desk: Desk) -> None:
    text = DOCS.read_text()
    for view in VIEWS:
        for column in desk.schema()[view]:
            assert f"`{column['name']}`" in text, (view, column)


def test_csv_disarms_formulas_and_keeps_numbers() -> None:
    told = as_csv(["a", "=b"], [["=1+1", -1], ["plain, text", None], [["x"], 1.5]])
    assert list(csv.reader(io.StringIO(told))) == [["a", "'=b"], ["'=1+1", "-1"], ["plain, text", ""], ['["x"]', "1.5"]]


def test_the_command_and_the_client_ask_the_server(monitor: Monitor, server: Any) -> None:
    found = monitor.sql("SELECT number AS n, '[bold]x' AS text FROM numbers(2)")
    assert (found["rows"], found["truncated"]) == ([[0, "[bold]x"], [1, "[bold]x"]], False)
    assert monitor.sql_frame("SELECT number AS n FROM numbers(2)")["n"].tolist() == [0, 1]
    assert set(monitor.sql_schema()) == set(VIEWS)
    run = CliRunner()
    shown = run.invoke(app, ["sql", "-", "--url", server.url], input="SELECT '[bold]x' AS text")
    assert shown.exit_code == 0, shown.output
    assert "[bold]x" in shown.output
    written = run.invoke(app, ["sql", "SELECT '=1' AS text", "--csv", "--url", server.url])
    assert written.output == "text\n'=1\n"
    with pytest.raises(AssayError, match="did you mean model"):
        monitor.sql("SELECT modle FROM calls")
