"""Sums of days that are over are kept, and what is answered from them is what the calls themselves say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from assay.analytics.compare import compare
from assay.analytics.costs import costs
from assay.analytics.distribution import distributions
from assay.analytics.errors import errors
from assay.analytics.metrics import COUNTS, METRICS, selected
from assay.analytics.selection import Selection
from assay.analytics.speed import speed
from assay.analytics.states import in_two_steps
from assay.analytics.summaries import quality, quality_by, usage
from assay.analytics.sums import Aggregates, ask
from assay.analytics.top import top
from assay.analytics.trends import latencies, trends
from assay.ingest.pricing import Prices
from assay.records import Score, Span
from assay.store import kept as kept_module
from assay.store.connect import Store
from assay.store.kept import DATABASE, Kept, Least
from assay.store.rows import arrow_schema, arrow_table, stamped
from assay.store.scores import insert_scores

DAY = 86_400_000_000
START = 1_740_787_200_000_000  # 2025-03-01T00:00:00Z
DAYS = 6
PRICES = Prices()


@pytest.fixture
def kept(store: Store) -> Iterator[Kept]:
    """Keeps all it can, and begins with nothing."""
    assert store.kept
    before = store.kept
    store.command(f"DROP DATABASE IF EXISTS {DATABASE} SYNC")
    yield begun_again(store)
    store.command(f"DROP DATABASE IF EXISTS {DATABASE} SYNC")
    store.kept = before


def begun_again(store: Store) -> Kept:
    """As after a start of the store; but keeps all it can."""
    store.kept = Kept(store.query, store.command)
    store.kept.begin()
    store.kept.least = Least(rows=0, rows_each=0, quiet_seconds=0)
    return store.kept


def insert(store: Store, *spans: Span) -> None:
    store.insert("spans", stamped(arrow_table(spans, arrow_schema(Span)), time.time_ns() // 1000))


def chat(project: str, number: int, **fields: Any) -> Span:
    """The calls of a project lie six hours apart."""
    own = {
        "project": project,
        "span_id": f"{project}-{number}",
        "trace_id": f"{number:032x}",
        "started_at": START + number * DAY // 4,
        "request_model": ("small", "large")[number % 2],
        "session_id": f"session-{number % 5}",
        "user_id": f"user-{number}",
        "latency_ms": 100.0 + number,
        "time_to_first_token_ms": 10.0 + number if number % 3 else None,
        "input_tokens": number,
        "output_tokens": 2 * number,
        "cache_read_tokens": number % 4 or None,
        "cost_usd": number / 8 if number % 6 else None,
        "status": "error" if number % 7 == 3 else "ok",
    }
    return Span(kind="llm", counted=True, **own | fields)


def judged(span: Span, name: str, value: float | None, source: str = "scorer") -> Score:
    return Score(
        target=span.span_id,
        name=name,
        source=source,
        value=value,
        project=span.project,
        model=span.request_model,
        session_id=span.session_id,
        started_at=span.started_at,
    )


def seeded(store: Store, project: str) -> list[Span]:
    spans = [chat(project, number) for number in range(DAYS * 4)]
    insert(store, *spans)
    insert_scores(store, [judged(span, "relevance", span.latency_ms / 203) for span in spans])
    thumbs = [judged(span, "thumb", None if span.input_tokens == 8 else 1.0, "human") for span in spans[:9]]
    insert_scores(store, thumbs)
    return spans


def merge(store: Store) -> None:
    """No day changes by itself after this."""
    for table in ("spans", "scores", "embeddings"):
        store.command(f"OPTIMIZE TABLE {table} FINAL")


def week(project: str, **fields: Any) -> Selection:
    """From within the first day to within the last: four whole days lie between."""
    since = datetime.fromtimestamp(START / 1e6, UTC) + timedelta(hours=5)
    return Selection(project=project, since=since, until=since + timedelta(days=DAYS - 1), **fields)


def tables(store: Store) -> list[str]:
    rows = store.query("SELECT name FROM system.tables WHERE database = {name:String}", {"name": DATABASE})
    return sorted(row["name"] for row in rows)


def plain(found: Any) -> Any:
    """With its numbers rounded: sums of floats depend on their order."""
    return _rounded(msgspec.to_builtins(found))


def _rounded(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _rounded(value) for name, value in found.items()}
    if isinstance(found, list | tuple):
        return [_rounded(value) for value in found]
    return float(f"{found:.9g}") if isinstance(found, float) else found


QUESTIONS: dict[str, Callable[[Store, Selection], Any]] = {
    "usage": usage,
    "usage by model": lambda store, asked: usage(store, asked, "model"),
    "usage by a tag": lambda store, asked: usage(store, asked, "tag:team"),
    "quality": quality,
    "quality by model": lambda store, asked: quality_by(store, asked, "model"),
    "quality by status": lambda store, asked: quality_by(store, asked, "status"),
    "trends": lambda store, asked: trends(store, asked).points,
    "trends by model": lambda store, asked: trends(store, asked, "7h", "model").points,
    "trends in a zone": lambda store, asked: trends(store, asked, "1d", tz="Asia/Tokyo").points,
    "every metric": lambda store, asked: trends(store, asked, "1w", metrics=[*METRICS, "relevance"]).points,
    "latencies": latencies,
    "speed": speed,
    "dearest models": lambda store, asked: top(store, asked, "model"),
    "most frequent prompts": lambda store, asked: top(store, asked, "prompt", "calls"),
    "costs": lambda store, asked: costs(store, PRICES, asked, "model"),
    "errors": lambda store, asked: errors(store, asked, "model"),
    "distributions": distributions,
    "comparison": lambda store, asked: compare(store, msgspec.structs.replace(asked, model="small"), asked),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_an_answer_from_kept_sums_is_that_of_the_calls(store: Store, kept: Kept, project: str, name: str) -> None:
    seeded(store, project)
    kept.least = Least(rows=1_000_000_000)
    read = plain(QUESTIONS[name](store, week(project)))
    kept.least = Least(rows=0, rows_each=0, quiet_seconds=0)

    for _ in range(2):
        assert plain(QUESTIONS[name](store, week(project))) == read
        # A question that the engine cannot answer from sums would have been forgotten.
        assert tables(store)
    assert read


def test_every_metric_can_be_kept(store: Store, kept: Kept, project: str) -> None:
    seeded(store, project)
    for number, name in enumerate((*METRICS, *COUNTS), 1):
        ask(store, week(project, min_latency_ms=number / 100), Aggregates(selected([name])))
        assert len(tables(store)) == number, name


def test_a_list_of_aggregates_in_two_steps() -> None:
    assert in_two_steps("sum(ifNull(cost_usd, 0)) / count() AS mean, quantiles(0.5, 0.9)(x)[1], sumIf(a, b > (c))") == (
        "sumState(ifNull(cost_usd, 0)) AS state_0, countState() AS state_1, quantilesState(0.5, 0.9)(x) AS state_2,"
        " sumIfState(a, b > (c)) AS state_3",
        "sumMerge(state_0) / countMerge(state_1) AS mean, quantilesMerge(0.5, 0.9)(state_2)[1], sumIfMerge(state_3)",
    )
    assert in_two_steps("count() + count() AS twice, account(1)") == (
        "countState() AS state_0",
        "countMerge(state_0) + countMerge(state_0) AS twice, account(1)",
    )
    with pytest.raises(ValueError, match="not closed"):
        in_two_steps("sum(a")


def test_whole_quiet_days_are_kept_and_no_others(store: Store, kept: Kept, project: str) -> None:
    seeded(store, project)
    first, midnight = datetime.fromtimestamp(START / 1e6, UTC), timedelta(days=1)
    assert [*kept.days(first, first + 3 * midnight)] == ["2025-03-01", "2025-03-02", "2025-03-03"]
    second = timedelta(seconds=1)
    assert [*kept.days(first + second, first + 3 * midnight - second)] == ["2025-03-02"]
    assert not kept.days(first + second, first + 2 * second)
    kept.least = Least(rows=0, quiet_seconds=3600)
    assert not kept.days(first, first + 3 * midnight)


def test_what_is_sent_late_or_again_is_in_the_answer(store: Store, kept: Kept, project: str) -> None:
    spans = seeded(store, project)
    asked = week(project)
    calls = usage(store, asked)["total_calls"]

    late = chat(project, 9, span_id="late", cost_usd=100.0)
    insert(store, late)
    found = usage(store, asked)
    assert found["total_calls"] == calls + 1
    assert found["total_cost_usd"] > 100

    insert(store, msgspec.structs.replace(late, cost_usd=1000.0))
    assert usage(store, asked)["total_calls"] == calls + 1
    assert usage(store, asked)["total_cost_usd"] > 1000

    insert(store, msgspec.structs.replace(late, counted=False))
    assert usage(store, asked)["total_calls"] == calls

    n = quality(store, asked)["thumb"]["n"]
    insert_scores(store, [judged(spans[12], "thumb", 0.0, "human")])
    assert quality(store, asked)["thumb"]["n"] == n + 1


def test_a_day_that_is_removed_is_not_in_the_answer(store: Store, kept: Kept, project: str) -> None:
    insert(store, *(chat(project, 4 * number, started_at=START + (number - 900) * DAY) for number in range(5)))
    asked = Selection(project=project)
    assert usage(store, asked)["total_calls"] == 5
    store.command("ALTER TABLE spans DROP PARTITION '2022-09-14'")
    assert usage(store, asked)["total_calls"] == 4


def test_days_as_they_were_and_as_they_are_are_kept_apart(store: Store, kept: Kept, project: str) -> None:
    """Two ask the same while calls arrive, and the one who looked at the days first comes to sum up last."""
    seeded(store, project)
    asked = week(project)
    looked_at = [kept.days(asked.since or datetime.min, asked.until or datetime.max)]
    usage(store, asked)
    calls = usage(store, asked)["total_calls"]
    insert(store, chat(project, 9, span_id="late"))
    looked_at.append(kept.days(asked.since or datetime.min, asked.until or datetime.max))
    days = kept.days

    for place in (1, 0, 1, 0):
        kept.days = lambda since, until, found=looked_at[place]: found
        assert usage(store, asked)["total_calls"] == calls + 1
    kept.days = days
    assert usage(store, asked)["total_calls"] == calls + 1


def test_parts_that_are_merged_change_nothing(store: Store, kept: Kept, project: str) -> None:
    seeded(store, project)
    insert(store, chat(project, 9, span_id="late"))
    before = plain(usage(store, week(project)))
    store.command("OPTIMIZE TABLE spans FINAL")
    assert plain(usage(store, week(project))) == before


def test_a_question_of_too_many_groups_is_not_kept(store: Store, kept: Kept, project: str) -> None:
    seeded(store, project)
    kept.least = Least(rows=0, rows_each=1_000_000_000, quiet_seconds=0)
    for _ in range(2):
        assert len(usage(store, week(project), "user_id")["groups"]) == (DAYS - 1) * 4
        assert not tables(store)


def test_questions_not_asked_for_longest_make_room(
    store: Store, kept: Kept, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeded(store, project)
    monkeypatch.setattr(kept_module, "MOST_QUESTIONS", 2)
    every = [Selection(project=project, model=model) for model in ("small", "large", "none")]
    seen = list[str]()
    for asked in (every[0], every[1], every[0], every[2]):
        usage(store, asked)
        seen += [table for table in tables(store) if table not in seen]
    assert tables(store) == [seen[0], seen[2]]

    monkeypatch.setattr(kept_module, "MOST_BYTES", 1)
    usage(store, every[1])
    left = tables(store)
    assert len(left) == 1
    assert left[0] not in seen

    monkeypatch.setattr(kept_module, "MOST_BYTES_EACH", 1)
    usage(store, week(project))
    assert tables(store) == left


def test_many_may_ask_many_questions_while_calls_arrive(
    store: Store, kept: Kept, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeded(store, project)
    monkeypatch.setattr(kept_module, "MOST_QUESTIONS", 3)
    sent = 0

    def asked(number: int) -> tuple[int, int, int]:
        least = sent
        found = usage(store, week(project, min_latency_ms=float(number % 6)))["total_calls"]
        return least, found - (DAYS - 1) * 4, sent

    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(asked, number) for number in range(60)]
        for number in range(10):
            insert(store, chat(project, 8 + number, span_id=f"late-{number}"))
            sent += 1
        told = [answer.result() for answer in answers]
    # One that is inserted right now may be in the answer before it is counted here.
    assert all(least <= found <= most + 1 for least, found, most in told), told
    assert usage(store, week(project))["total_calls"] == (DAYS - 1) * 4 + 10
    assert len(tables(store)) <= 3


def test_sums_full_of_days_as_they_were_are_begun_anew(
    store: Store, kept: Kept, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeded(store, project)
    usage(store, week(project))
    [size] = store.query("SELECT sum(bytes_on_disk) AS own FROM system.parts WHERE active AND database = 'kept'")
    monkeypatch.setattr(kept_module, "MOST_BYTES_EACH", 2 * size["own"])
    seen = set[str]()
    for number in range(12):
        insert(store, chat(project, 9, span_id=f"late-{number}"))
        assert usage(store, week(project))["total_calls"] == (DAYS - 1) * 4 + number + 1
        seen.update(tables(store))
    usage(store, week(project))
    assert len(tables(store)) == 1
    assert len(seen | {*tables(store)}) > 1


@pytest.fixture
def inserted(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What sums are inserted from now on."""
    seen = list[str]()
    command = store.command

    def noted(sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        if sql.startswith("INSERT"):
            seen.append(sql)
        command(sql, parameters)

    monkeypatch.setattr(store, "command", noted)
    return seen


def test_sums_outlive_the_process_that_kept_them(store: Store, kept: Kept, project: str, inserted: list[str]) -> None:
    seeded(store, project)
    merge(store)
    before = [plain(usage(store, week(project))), plain(quality(store, week(project)))]
    of_before = tables(store)
    inserted.clear()
    begun_again(store)
    assert [plain(usage(store, week(project))), plain(quality(store, week(project)))] == before
    assert not inserted
    usage(store, week(project, model="small"))
    assert len(inserted) == 2  # the largest day, then the others
    assert {*of_before} < {*tables(store)}


def test_a_day_that_changed_between_two_processes_is_summed_up_again(
    store: Store, kept: Kept, project: str, inserted: list[str]
) -> None:
    seeded(store, project)
    merge(store)
    usage(store, week(project))
    insert(store, chat(project, 9, span_id="late", cost_usd=100.0))
    inserted.clear()
    for _ in range(2):
        begun_again(store)
        found = usage(store, week(project))
        assert found["total_calls"] == (DAYS - 1) * 4 + 1
        assert found["total_cost_usd"] > 100
        assert len(inserted) == 1


def test_sums_of_days_as_they_were_go_with_the_next_start(store: Store, kept: Kept, project: str) -> None:
    seeded(store, project)
    merge(store)
    before = usage(store, week(project), "user_id")
    store.command("ALTER TABLE spans DROP PARTITION '2025-03-03'")
    begun_again(store)
    assert len(usage(store, week(project), "user_id")["groups"]) == len(before["groups"]) - 4
    deadline, names = time.monotonic() + 30, tables(store)
    assert len(names) == 2
    for name in names:
        while store.query(f"SELECT 1 FROM {DATABASE}.{name} WHERE day = '2025-03-03'"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    begun_again(store)
    assert tables(store) == names
    assert len(usage(store, week(project), "user_id")["groups"]) == len(before["groups"]) - 4


@pytest.mark.parametrize(
    "harm",
    [
        "ALTER TABLE {table} DELETE WHERE day = '2025-03-04' SETTINGS mutations_sync = 1",
        "ALTER TABLE {table} MODIFY COMMENT ''",
        "ALTER TABLE {table} MODIFY COMMENT '{{\"days\": 1}}'",
        "ALTER TABLE {table} MODIFY COMMENT '{of_another_version}'",
    ],
)
def test_what_cannot_be_taken_over_is_kept_anew(store: Store, kept: Kept, project: str, harm: str) -> None:
    seeded(store, project)
    merge(store)
    before = plain(usage(store, week(project)))
    [table] = store.query("SELECT name, comment FROM system.tables WHERE database = {name:String}", {"name": DATABASE})
    comment = msgspec.json.decode(table["comment"]) | {"made_by": "26.9.1 16"}
    name = f"{DATABASE}.{table['name']}"
    store.command(harm.format(table=name, of_another_version=msgspec.json.encode(comment).decode()))
    begun_again(store)
    assert not tables(store)
    assert plain(usage(store, week(project))) == before
    assert len(tables(store)) == 1


def test_an_answer_does_not_depend_on_what_is_kept(
    store: Store, kept: Kept, project: str, caplog: pytest.LogCaptureFixture
) -> None:
    seeded(store, project)
    merge(store)
    before = plain(usage(store, week(project)))
    store.command(f"DROP TABLE {DATABASE}.{tables(store)[0]}")
    assert plain(usage(store, week(project))) == before
    assert tables(store) == []
    assert plain(usage(store, week(project))) == before
    assert len(tables(store)) == 1

    store.command(f"DROP DATABASE {DATABASE}")
    insert(store, chat(project, 9, span_id="late"))
    assert usage(store, week(project))["total_calls"] == before["total_calls"] + 1
    assert "questions are slower for now" in caplog.text
    assert usage(store, week(project))["total_calls"] == before["total_calls"] + 1
