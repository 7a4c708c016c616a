"""The store on the embedded engine: its tables, its migrations, its lock, and what it promises about text."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.analytics.calls import calls
from assay.analytics.checkup import checkup
from assay.analytics.selection import Selection
from assay.config import Config
from assay.errors import StoreError, StoreUnavailable
from assay.records import Event, Score, Span
from assay.store.connect import Store, embedded_directory, open_store
from assay.store.housekeeping import Housekeeper, merge_closed_days
from assay.store.lock import StoreLock
from assay.store.mend import mend, set_aside
from assay.store.migrate import Migration, migrate, migrations
from assay.store.rows import arrow_schema, arrow_table, stamped
from assay.store.scores import insert_scores, scores_of
from conftest import Server, eventually

NOON = 1_763_899_200_000_000  # 2025-11-23T12:00:00Z


def insert(store: Store, *spans: Span, at: int | None = None) -> None:
    store.insert("spans", stamped(arrow_table(spans, arrow_schema(Span)), at or time.time_ns() // 1000))


def span(project: str, **fields: Any) -> Span:
    own = {"trace_id": secrets.token_hex(16), "span_id": secrets.token_hex(8), "started_at": NOON, "kind": "llm"}
    return Span(**own | {"project": project, "counted": True} | fields)


@pytest.fixture
def fresh(store: Store) -> Iterator[Store]:
    """A store without tables: a database of its own inside the one engine of this process."""
    name = f"fresh_{secrets.token_hex(4)}"
    store.command(f"CREATE DATABASE {name}")
    opened = Store(f"{store._dsn}?database={name}")
    yield opened
    opened.close()


def tables(store: Store) -> set[str]:
    return {row["name"] for row in store.query("SELECT name FROM system.tables WHERE database = currentDatabase()")}


def recorded(store: Store) -> list[tuple[int, str]]:
    rows = store.query("SELECT number, name FROM schema_migrations ORDER BY number")
    return [(row["number"], row["name"]) for row in rows]


@pytest.mark.parametrize(("table", "record"), [("spans", Span), ("scores", Score), ("events", Event)])
def test_a_table_has_a_column_for_each_field_of_its_record(store: Store, table: str, record: Any) -> None:
    columns = [row["name"] for row in store.query(f"DESCRIBE TABLE {table}") if row["default_type"] != "MATERIALIZED"]
    assert columns == [*record.__struct_fields__, "ingested_at", "version"]


def test_every_field_of_a_span_is_stored_as_it_was(store: Store, project: str) -> None:
    whole = Span(
        trace_id="1" * 32,
        span_id=secrets.token_hex(8),
        parent_span_id="2" * 16,
        project=project,
        environment="staging",
        service="bot",
        kind="embedding",
        name="embed",
        operation="embeddings",
        provider="openai",
        request_model="text-embedding-3",
        response_model="text-embedding-3-small",
        response_id="id-1",
        session_id="session",
        user_id="user",
        started_at=NOON + 1,
        latency_ms=0.1,
        time_to_first_token_ms=1e-9,
        stream=False,
        temperature=0.0,
        top_p=1.0,
        max_tokens=2**62,
        system="s\0",
        prompt="p\r\n\t\\'\"",
        response="\U0001f600 é",
        messages_in="[]",
        messages_out="{}",
        tool_definitions="a",
        tool_calls="b",
        documents="c",
        input_tokens=0,
        output_tokens=None,
        cache_read_tokens=3,
        cache_write_tokens=4,
        reasoning_tokens=5,
        tokens_estimated=True,
        input_cost_usd=0.0,
        output_cost_usd=None,
        cost_usd=1e-12,
        status="error",
        error_type="Timeout",
        error_message="no answer",
        finish_reason="length",
        attributes={"a": "1", "": "", "a.b\n": "é"},
        counted=True,
        scope_name="scope",
        scope_version="1.0",
    )
    insert(store, whole, at=NOON + 5)
    [row] = store.query("SELECT * FROM spans WHERE project = {project:String}", {"project": project})
    fields = {name: getattr(whole, name) for name in whole.__struct_fields__}
    fields["started_at"] = datetime(2025, 11, 23, 12, 0, 0, 1, UTC)
    assert row == fields | {"ingested_at": datetime(2025, 11, 23, 12, 0, 0, 5, UTC), "version": NOON + 5}


def test_migrations_are_applied_in_order_once_and_recorded(fresh: Store, tmp_path: Path) -> None:
    assert [migration.name for migration in migrate(fresh, directory=tmp_path)] == [
        "0001_spans.sql",
        "0002_scores.sql",
        "0003_cursors.sql",
        "0004_settle.sql",
        "0005_fits.sql",
        "0006_judgements.sql",
        "0007_incidents.sql",
        "0008_search.sql",
        "0009_embeddings.sql",
        "0010_prompt_groups.sql",
        "0011_views.sql",
        "0012_dimensions.sql",
        "0013_predictions.sql",
        "0014_samples.sql",
        "0015_full_disk.sql",
    ]
    assert tables(fresh) == {
        "schema_migrations",
        "spans",
        "scores",
        "cursors",
        "events",
        "fits",
        "judgements",
        "incident_events",
        "silences",
        "deliveries",
        "embeddings",
        "prompt_groups",
        "predictions",
        "labels",
        "calls",
        "scores_wide",
        "sessions",
    }
    assert migrate(fresh, directory=tmp_path) == []
    assert [number for number, _ in recorded(fresh)] == list(range(1, len(migrations()) + 1))


def test_migration_files_are_numbered_without_a_gap() -> None:
    assert [migration.number for migration in migrations()] == list(range(1, len(migrations()) + 1))


def test_a_migration_cut_short_is_finished_on_the_next_open(fresh: Store) -> None:
    class CutShort:
        """The store, whose process dies at the second statement of the second migration."""

        def query(self, sql: str) -> list[dict[str, Any]]:
            return fresh.query(sql)

        def command(self, sql: str, parameters: dict[str, Any] | None = None) -> None:
            if sql == second:
                raise KeyboardInterrupt
            fresh.command(sql, parameters)

    second = "CREATE TABLE IF NOT EXISTS c (x UInt8) ENGINE = Memory"
    known = [
        Migration(1, "0001_a.sql", ("CREATE TABLE IF NOT EXISTS a (x UInt8) ENGINE = Memory",)),
        Migration(2, "0002_b.sql", ("CREATE TABLE IF NOT EXISTS b (x UInt8) ENGINE = Memory", second)),
    ]
    with pytest.raises(KeyboardInterrupt):
        migrate(CutShort(), known)
    assert tables(fresh) == {"schema_migrations", "a", "b"}, "the lock is given up, too"
    assert recorded(fresh) == [(1, "0001_a.sql")]

    assert migrate(fresh, known) == known[1:]
    assert tables(fresh) == {"schema_migrations", "a", "b", "c"}
    assert recorded(fresh) == [(1, "0001_a.sql"), (2, "0002_b.sql")]


def test_a_real_migration_can_be_repeated(fresh: Store, tmp_path: Path) -> None:
    migrate(fresh, directory=tmp_path)
    insert(fresh, span("kept"))
    fresh.command("TRUNCATE TABLE schema_migrations")
    assert migrate(fresh, directory=tmp_path) == migrations()
    assert fresh.query("SELECT count() AS spans FROM spans") == [{"spans": 1}]


def test_who_finds_another_migrating_waits_and_then_has_nothing_to_do(fresh: Store, tmp_path: Path) -> None:
    migrate(fresh, directory=tmp_path)
    fresh.command("TRUNCATE TABLE schema_migrations")
    fresh.command("CREATE TABLE schema_migrations_lock (at DateTime) ENGINE = Memory")
    waits = 0

    class Waiting:
        """The other process is done after this one has been refused the lock twice."""

        def query(self, sql: str) -> list[dict[str, Any]]:
            return fresh.query(sql)

        def command(self, sql: str, parameters: dict[str, Any] | None = None) -> None:
            nonlocal waits
            if sql.startswith("CREATE TABLE schema_migrations_lock"):
                waits += 1
                if waits == 3:
                    migrate(fresh, directory=tmp_path)
                    fresh.command("DROP TABLE schema_migrations_lock")
            fresh.command(sql, parameters)

    assert migrate(Waiting()) == []
    assert waits == 3
    assert len(recorded(fresh)) == len(migrations())


def test_a_store_of_a_newer_assay_is_refused_and_left_as_it_is(fresh: Store) -> None:
    migrate(
        fresh, [*migrations(), Migration(99, "0099_future.sql", ("CREATE TABLE future (x UInt8) ENGINE = Memory",))]
    )
    fresh.command("DROP TABLE scores")
    before = tables(fresh), recorded(fresh)
    with pytest.raises(StoreError) as refusal:
        migrate(fresh)
    assert str(refusal.value) == (
        "this store was written by a newer Assay "
        f"(its tables are at version 99, this Assay knows {len(migrations())}). "
        "Nothing was changed. Upgrade with: pip install --upgrade assay"
    )
    assert (tables(fresh), recorded(fresh)) == before


def test_a_second_process_is_told_who_holds_the_store_and_how_to_ask_it(server: Server) -> None:
    directory = server.directory / "data"
    second = subprocess.run(
        [sys.executable, "-c", f"from assay.store.connect import open_store; open_store('chdb:///{directory}')"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.stderr.splitlines()[-1] == (
        f"assay.errors.StoreError: cannot open {directory}: another assay process holds it (pid {server.pid})."
        f" Use --url {server.url} to ask that one."
    )


def test_a_lock_is_free_again_once_released(tmp_path: Path) -> None:
    first = StoreLock(tmp_path, "http://127.0.0.1:1")
    with pytest.raises(StoreError, match=rf"another assay process holds it \(pid {os.getpid()}\)"):
        StoreLock(tmp_path)
    first.release()
    first.release()
    StoreLock(tmp_path).release()


@pytest.mark.parametrize(
    ("url", "directory"),
    [
        ("chdb:///./assay-data", Path("assay-data")),
        ("chdb:///../other", Path("../other")),
        ("chdb:////srv/assay", Path("/srv/assay")),
        ("chdb:///srv/assay", Path("/srv/assay")),
        ("chdb://relative/dir", Path("relative/dir")),
        ("assay-data", Path("assay-data")),
        ("./assay data", Path("assay data")),
        ("/srv/assay", Path("/srv/assay")),
        ("clickhouse://host/db", None),
        ("clickhouses://user:pw@host:8443/db", None),
        ("http://host:8123/db", None),
        ("https://host/db", None),
    ],
)
def test_a_url_names_a_directory_or_a_server(url: str, directory: Path | None) -> None:
    assert embedded_directory(url) == directory


@pytest.mark.parametrize("url", ["chdb://", "chdb:///", "chdb:////", "sqlite:///x", "postgres://u:p@h/db"])
def test_a_url_of_neither_is_refused_with_both_forms(url: str) -> None:
    with pytest.raises(StoreError, match=r"chdb:///\./directory \(embedded\) or clickhouse://"):
        embedded_directory(url)


@pytest.mark.parametrize("url", ["clickhouse://ada:secret@127.0.0.1:1/db", "clickhuose://ada:secret@127.0.0.1/db"])
def test_a_store_that_cannot_be_opened_is_named_without_its_password(url: str) -> None:
    with pytest.raises(StoreError, match="cannot open") as refusal:
        open_store(url)
    assert "ada" in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_a_span_that_is_sent_again_replaces_itself(store: Store, project: str) -> None:
    first = span(project, response="first")
    again = span(project, span_id=first.span_id, trace_id=first.trace_id, response="again")
    insert(store, first, at=NOON)
    insert(store, again, at=NOON + 1)
    insert(store, first, at=NOON - 1)
    rows = store.query("SELECT response FROM spans FINAL WHERE project = {project:String}", {"project": project})
    assert rows == [{"response": "again"}]


def test_a_scorer_that_judges_again_replaces_its_verdict_and_no_one_elses(store: Store) -> None:
    target = secrets.token_hex(8)
    for value, who in [
        (0.1, {"scorer": "local"}),
        (0.2, {"scorer": "lexical"}),
        (0.3, {"source": "human", "author": "ada"}),
        (0.4, {"source": "human", "author": "bob"}),
        (0.5, {"scorer": "local"}),
        (None, {"source": "human", "author": "ada"}),
    ]:
        insert_scores(store, [Score(target=target, name="relevance", value=value, started_at=NOON, **who)])
    verdicts = scores_of(store, [target])["default", target]
    assert {(row["source"], row["scorer"], row["author"], row["value"]) for row in verdicts} == {
        ("scorer", "local", "", 0.5),
        ("scorer", "lexical", "", 0.2),
        ("human", "", "ada", None),
        ("human", "", "bob", 0.4),
    }


def test_scores_of_no_call_are_none(store: Store) -> None:
    insert_scores(store, [])
    assert scores_of(store, []) == {}
    assert scores_of(store, ["no such span"]) == {}


def test_half_a_character_is_stored_as_a_replacement_character(store: Store, project: str) -> None:
    half, whole = "cut \ud83d off", "\ud83d\ude00"
    insert(
        store, span(project, prompt=half, response=whole, attributes={"k\udc00": half}), span(project, prompt="fine")
    )
    rows = store.query(
        "SELECT prompt, response, attributes FROM spans WHERE project = {project:String} ORDER BY prompt",
        {"project": project},
    )
    assert rows == [
        {"prompt": "cut \ufffd off", "response": "\U0001f600", "attributes": {"k\ufffd": "cut \ufffd off"}},
        {"prompt": "fine", "response": "", "attributes": {}},
    ]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_a_parameter_and_nothing_else(store: Store, text: str) -> None:
    parameters = {"one": text, "several": [text, "'", text]}
    [row] = store.query("SELECT {one:String} AS one, {several:Array(String)} AS several", parameters)
    assert row == parameters


def test_parts_of_past_days_are_merged_and_those_of_today_left(store: Store, project: str) -> None:
    day = 1_577_836_800_000_000 + secrets.randbelow(1000) * 86_400_000_000
    for number in range(2):
        insert(store, span(project, started_at=day + number), span(project, started_at=time.time_ns() // 1000))
    name = datetime.fromtimestamp(day / 1e6, UTC).strftime("%Y-%m-%d")

    def parts(partition: str) -> int:
        [row] = store.query(
            "SELECT count() AS parts FROM system.parts WHERE active AND table = 'spans' AND database = 'default'"
            " AND partition = {partition:String}",
            {"partition": partition},
        )
        return row["parts"]

    assert parts(name) == 2
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    merged = merge_closed_days(store)
    assert f"spans/{name}" in merged
    assert f"spans/{today}" not in merged
    assert parts(name) == 1
    assert f"spans/{name}" not in merge_closed_days(store)
    [row] = store.query("SELECT count() AS spans FROM spans WHERE project = {project:String}", {"project": project})
    assert row["spans"] == 4


def test_the_housekeeper_merges_now_and_then_until_it_is_stopped(store: Store, project: str) -> None:
    day = 1_500_000_000_000_000 + secrets.randbelow(800) * 86_400_000_000
    for number in range(2):
        insert(store, span(project, started_at=day + number))
    housekeeper = Housekeeper(store, every_seconds=0.02)
    housekeeper.start()
    count = "SELECT uniq(_part) AS parts FROM spans WHERE project = {project:String}"
    deadline = time.monotonic() + 10
    while store.query(count, {"project": project}) != [{"parts": 1}]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    housekeeper.stop()


def test_what_a_full_disk_left_of_a_part_is_set_aside_and_what_it_was_merged_of_comes_back(fresh: Store) -> None:
    migrate(fresh)
    for second in range(4):
        insert(fresh, span("p", started_at=1_600_000_000_000_000 + second))
    fresh.command("OPTIMIZE TABLE spans FINAL")
    [part] = fresh.query(
        "SELECT name, path FROM system.parts WHERE active AND table = 'spans' AND database = currentDatabase()"
    )
    for file in Path(part["path"]).iterdir():
        file.write_bytes(b"")
    count = "SELECT count() AS calls FROM spans FINAL WHERE project = 'p' AND status != 'none such'"
    with pytest.raises(StoreError, match=part["name"]):
        fresh.query(count)

    housekeeper = Housekeeper(fresh, every_seconds=0.02)
    housekeeper.start()
    eventually(lambda: set_aside(fresh))
    housekeeper.stop()

    assert fresh.query(count) == [{"calls": 4}]
    assert set_aside(fresh) == [f"spans/broken-on-start_{part['name']}"]
    [finding] = [one for one in checkup(fresh, Config(), {}) if one.check == "parts"]
    assert part["name"] in finding.found
    insert(fresh, span("p", started_at=1_600_000_000_000_009))
    assert fresh.query(count) == [{"calls": 5}]


def test_nothing_is_mended_while_somebody_still_reads(fresh: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.store.connect.ALONE_SECONDS", 0.05)
    migrate(fresh)
    chunks = fresh.stream("SELECT number FROM system.numbers LIMIT 10000000", {}, "CSV")
    next(iter(chunks))
    with pytest.raises(StoreUnavailable, match="others still ask the store"):
        mend(fresh)
    del chunks
    fresh.command("DETACH TABLE labels")
    assert mend(fresh) == []
    assert fresh.query("SELECT count() AS labels FROM labels") == [{"labels": 0}]


def test_a_closed_store_answers_that_it_is_closed(store: Store) -> None:
    closed = Store(store._dsn)
    closed.close()
    closed.close()
    for ask in (
        lambda: closed.query("SELECT 1"),
        lambda: closed.command("SELECT 1"),
        lambda: list(closed.stream("SELECT 1", {}, "CSV")),
        lambda: insert(closed, span("never")),
    ):
        with pytest.raises(StoreUnavailable, match="the store is closed: assay is stopping"):
            ask()
    assert store.query("SELECT 1 AS one") == [{"one": 1}], "another connection goes on"


def test_a_wrong_statement_is_a_store_error_and_leaves_the_connection_usable(store: Store) -> None:
    for _ in range(10):
        with pytest.raises(StoreError, match=r"the store cannot answer: .*nowhere"):
            store.query("SELECT * FROM nowhere")
    assert store.query("SELECT 1 AS one") == [{"one": 1}]


def test_a_write_that_fails_may_be_tried_again(store: Store) -> None:
    with pytest.raises(StoreUnavailable, match="cannot write to nowhere: "):
        store.insert("nowhere", arrow_table([span("x")], arrow_schema(Span)))


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("machine", {"one", "two"}),
        ("MACHINE Learning", {"one"}),
        ("learning machine", {"one"}),
        ("machine, learning!", {"one"}),
        ("data", {"one", "two"}),
        ("dat", set()),
        ("machine data", {"one", "two"}),
        ("learning words", set()),
        ("ärger", {"two"}),
        ("ÄRGER", {"two"}),
        ("quantum", set()),
        ("' OR 1=1 --", set()),
    ],
)
def test_a_search_finds_calls_with_all_the_words_anywhere_in_any_case(
    store: Store, searched: str, q: str, found: set[str]
) -> None:
    page = calls(store, Selection(project=searched), q=q)
    assert {call["session_id"] for call in page.calls} == found


@pytest.fixture(scope="module")
def searched(store: Store) -> str:
    project = f"test-{secrets.token_hex(4)}"
    insert(
        store,
        span(project, session_id="one", prompt="What is Machine Learning?", response="Learning from DATA."),
        span(project, session_id="two", prompt="A machine", response="makes data and Ärger"),
        span(project, session_id="three", prompt="other", response="words"),
    )
    return project


def test_a_search_for_more_words_than_any_text_has_finds_nothing(store: Store, searched: str) -> None:
    assert calls(store, Selection(project=searched), q=" ".join(f"word{n}" for n in range(300))).calls == []


def test_a_search_for_blanks_keeps_everything(store: Store, searched: str) -> None:
    assert len(calls(store, Selection(project=searched), q="  ").calls) == 3
