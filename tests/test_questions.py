"""Every answer about use is the one that plain Python finds in the same rows: any filter, dimension, zone and day."""

from __future__ import annotations

import math
import random
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from assay.analytics import top as ranking
from assay.analytics.agreement import LOWER_IS_BETTER
from assay.analytics.costs import costs
from assay.analytics.errors import errors
from assay.analytics.metrics import METRICS
from assay.analytics.selection import Selection, dimension, tag
from assay.analytics.sessions import ORDERS, session, sessions
from assay.analytics.speed import speed
from assay.analytics.summaries import usage
from assay.analytics.top import MEASURES, top
from assay.analytics.trends import trends
from assay.errors import AssayError, NotFound
from assay.ingest.pricing import Prices, Tokens
from assay.quality.intervals import mean_interval, wilson
from assay.records import FILTERS, Score, Span
from assay.store.connect import Store
from assay.store.rows import arrow_schema, arrow_table, stamped
from assay.store.scores import insert_scores

# Days on which the clocks of Berlin, New York and Cairo (there at midnight) change, and the ends of months and years.
DAYS = ["2026-01-01", "2026-03-29", "2026-04-24", "2026-11-01"]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Africa/Cairo", "Asia/Kathmandu", "Pacific/Apia"]
LENGTHS = ["1h", "90m", "1d", "3d", "1w", "2w", "1mo", "3mo"]
BY = [*FILTERS, "tag:team", "tag:nobody"]
PRICES = Prices()

properties = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


class Rows:
    """What is stored under a service of its own: spans and scores as they are in the end."""

    def __init__(self, store: Store, count: int, seed: int) -> None:
        self.service = secrets.token_hex(4)
        chance = random.Random(seed)
        first = [self._span(chance, number) for number in range(count)]
        again = {span.span_id: self._span(chance, n, like=span) for n, span in enumerate(first) if n % 5 == 1}
        for spans in filter(None, (first, list(again.values()))):
            store.insert("spans", stamped(arrow_table(spans, arrow_schema(Span)), time.time_ns() // 1000))
        self.spans = [again.get(span.span_id, span) for span in first]
        self.scores = [score for span in self.spans if span.counted for score in _scores(chance, span)]
        insert_scores(store, self.scores)

    def _span(self, chance: random.Random, number: int, like: Span | None = None) -> Span:
        pick = chance.choice
        day = datetime.fromisoformat(pick(DAYS)).replace(tzinfo=UTC)
        start = day + timedelta(seconds=pick([-7200, -3600, 0, 1, 3599, 3600]) or chance.randint(-90_000, 90_000))
        own = {
            "project": f"{self.service}-{pick('AB')}",
            "kind": pick(["llm", "llm", "llm", "embedding"]),
            "started_at": round(start.timestamp() * 1e6) + chance.randint(0, 3),
            "span_id": f"{self.service}{number:08x}",
            "trace_id": f"{chance.randint(1, 9):032x}",
            "service": self.service,
        }
        if like:
            own |= {name: getattr(like, name) for name in own}
        tokens = {
            "input_tokens": pick([None, 150, 100, 250_000]),
            "estimated_input_tokens": pick([None, 95]),
            "cache_read_tokens": pick([None, None, 0, 40, 90]),
            "cache_write_tokens": pick([None, 0, 5]),
        }
        span = Span(
            **own,
            **tokens,
            status=pick(["ok", "ok", "error"]),
            counted=pick([True, True, True, False]),
            environment=pick(["", "production"]),
            provider=pick(["openai", "anthropic"]),
            operation=pick(["chat", "generate"]),
            request_model=pick(["gpt-4o", ""]),
            response_model=pick(["", "claude-sonnet-4-5", "gpt-4o-mini", "deepseek-chat", "acme"]),
            session_id=pick(["", "one", "two", "drei/vier", "five"]),
            user_id=pick(["", "ada", "bob"]),
            error_type=pick(["", "Timeout", "RateLimit"]),
            error_message=pick(["", "too many", "too slow"]),
            prompt=pick(["", "Why?", "How?", "What for?"]),
            latency_ms=pick([0.0, 10.0, chance.uniform(1, 5000)]),
            time_to_first_token_ms=pick([None, chance.uniform(1, 900)]),
            output_tokens=pick([None, 0, 7, 300]),
            cost_usd=pick([None, 0.0, chance.uniform(0.001, 2)]),
            input_cost_usd=pick([None, chance.uniform(0.001, 2)]),
            attributes={**pick([{}, {"service.version": "1.0"}]), **pick([{}, {"team": "search"}, {"team": "a:b"}])},
        )
        # More cached tokens than tokens have no price.
        cached = (span.cache_read_tokens or 0) + (span.cache_write_tokens or 0)
        return span if cached <= (sent(span) or 0) else msgspec.structs.replace(span, cost_usd=None)


def _scores(chance: random.Random, span: Span) -> list[Score]:
    own = {"project": span.project, "model": model(span), "session_id": span.session_id, "started_at": span.started_at}
    given = {name: chance.choice([None, 0.0, 1.0, chance.random()]) for name in ("relevance", "toxicity")}
    return [
        Score(target=span.span_id, name=name, source="scorer", value=value, **own)
        for name, value in given.items()
        if chance.random() < 0.8
    ]


@pytest.fixture(scope="module")
def populations(store: Store) -> list[Rows]:
    return [Rows(store, 400, 1), Rows(store, 1, 2)]


@st.composite
def asked(draw: st.DrawFn) -> Callable[[list[Rows]], tuple[Rows, Selection, list[Span]]]:
    """One population, a selection in it, and the spans that it means."""
    which = draw(st.sampled_from([0, 0, 0, 0, 1]))
    day = st.sampled_from(DAYS).map(lambda text: datetime.fromisoformat(text).replace(tzinfo=UTC))
    since, until = draw(st.none() | st.none() | day), draw(st.none() | st.none() | day)
    known = {"environment": "production", "model": "gpt-4o", "session_id": "one", "user_id": "", "status": "error"}
    known |= {"operation": "chat", "release": "1.0", "error_type": "Timeout", "provider": "openai"}
    names = draw(st.lists(st.sampled_from(list(known)), max_size=2, unique=True))
    tags = draw(st.sampled_from([(), (), (), (("team", "search"),), (("team", "a:b"),), (("team", ""),)]))
    filters = {name: known[name] for name in names}

    def of(populations: list[Rows]) -> tuple[Rows, Selection, list[Span]]:
        rows = populations[which]
        selection = Selection(since=since, until=until, service=rows.service, tags=tags, **filters)
        return rows, selection, [span for span in rows.spans if matches(span, selection)]

    return of


def matches(span: Span, selection: Selection) -> bool:
    started = moment(span)
    return (
        span.counted
        and (selection.since is None or started >= selection.since)
        and (selection.until is None or started < selection.until)
        and all(getattr(selection, name) in (None, value_of(span, name)) for name in FILTERS)
        and all(span.attributes.get(key, "") == value for key, value in selection.tags)
    )


def model(span: Span) -> str:
    return span.response_model or span.request_model


def value_of(span: Span, by: str) -> str:
    if by.startswith("tag:"):
        return span.attributes.get(by.removeprefix("tag:"), "")
    special = {"release": lambda: span.attributes.get("service.version", ""), "model": lambda: model(span)}
    return special[by]() if by in special else getattr(span, by)


def moment(span: Span) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=span.started_at)


def grouped(spans: Iterable[Span], key: Callable[[Span], Any]) -> dict[Any, list[Span]]:
    groups: dict[Any, list[Span]] = defaultdict(list)
    for span in spans:
        groups[key(span)].append(span)
    return groups


def bucket_of(span: Span, length: str, tz: str) -> datetime:
    """By the calendar alone: the local day, then whole days, weeks from Monday, or months."""
    zone, unit = ZoneInfo(tz), length.lstrip("0123456789")
    many = int(length.removesuffix(unit))
    day = moment(span).astimezone(zone).date()
    if unit in "mh":
        seconds = many * (60 if unit == "m" else 3600)
        return datetime.fromtimestamp(span.started_at // 1_000_000 // seconds * seconds, UTC)
    epoch = date(1970, 1, 5) if unit == "w" else date(1970, 1, 1)
    if unit == "mo":
        month = (day.year * 12 + day.month - 1) // many * many
        first = date(month // 12, month % 12 + 1, 1)
    else:
        days = many * (7 if unit == "w" else 1)
        first = epoch + timedelta(days=(day - epoch).days // days * days)
    return datetime.combine(first, clock(), zone).astimezone(UTC)


def sent(span: Span) -> int | None:
    return span.estimated_input_tokens if span.input_tokens is None else span.input_tokens


def figures(spans: list[Span]) -> dict[str, Any]:
    """Every metric, in plain Python."""
    told = [span for span in spans if span.kind == "llm"]
    failed = sum(span.status == "error" for span in spans)
    both = [known(map(sent, spans)), known(span.output_tokens for span in spans)]
    cached = known(span.cache_read_tokens for span in spans)
    timed = [s for s in told if s.status == "ok" and s.latency_ms > 0 and s.output_tokens]
    values = {
        "latency_ms": [span.latency_ms for span in told],
        "time_to_first_token_ms": known(span.time_to_first_token_ms for span in told),
        "output_tokens_per_second": [(s.output_tokens or 0) / s.latency_ms * 1000 for s in timed],
    }
    return {
        "calls": len(spans),
        "conversations": len(told),
        "sessions": len({span.session_id for span in spans} - {""}),
        "users": len({span.user_id for span in spans} - {""}),
        "errors": failed,
        "error_rate": ratio(failed, len(spans)),
        "cost_usd": total(span.cost_usd for span in spans),
        "input_cost_usd": total(span.input_cost_usd for span in spans),
        "output_cost_usd": total(span.output_cost_usd for span in spans),
        "unpriced": sum(span.cost_usd is None and span.status == "ok" for span in spans),
        "input_tokens": total(both[0]),
        "output_tokens": total(both[1]),
        "total_tokens": total(both[0] + both[1]),
        "cache_read_tokens": total(cached),
        "cache_hit_share": ratio(sum(cached), sum(both[0])) if cached else None,
        **{f"avg_{name}": approx(float(np.mean(own))) if own else None for name, own in values.items()},
        **{name: percentile(values[name[4:]], int(name[1:3])) for name in METRICS if name[1:3].isdigit()},
        "timed_to_first_token": len(values["time_to_first_token_ms"]),
        "timed_output": len(timed),
    }


def known(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if value is not None]


def total(values: Iterable[Any]) -> Any:
    return approx(math.fsum(own)) if (own := known(values)) else None


def ratio(part: float, whole: float) -> Any:
    return approx(part / whole) if whole else None


def percentile(values: list[float], level: int) -> Any:
    return approx(float(np.percentile(values, level))) if values else None


def approx(value: float) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-9)


@properties
@given(ask=asked(), length=st.sampled_from(LENGTHS), tz=st.sampled_from(ZONES), by=st.none() | st.sampled_from(BY))
def test_every_metric_over_time_is_what_python_counts(
    store: Store, populations: list[Rows], ask: Any, length: str, tz: str, by: str | None
) -> None:
    rows, selection, spans = ask(populations)
    found = trends(store, selection, length, by, metrics=[*METRICS, "relevance"], tz=tz)
    groups = grouped(spans, lambda span: (bucket_of(span, length, tz), value_of(span, by) if by else ""))
    relevance = {score.target: score.value for score in rows.scores if score.name == "relevance"}
    assert [(point.pop("bucket"), point.pop("group", "")) for point in found.points] == sorted(groups)
    for point, key in zip(found.points, sorted(groups), strict=True):
        judged = known(relevance.get(span.span_id) for span in groups[key])
        means = {"relevance": approx(float(np.mean(judged))) if judged else None, "relevance_n": len(judged)}
        bounds = [point.pop("relevance_low"), point.pop("relevance_high")]
        wanted = figures(groups[key])
        assert point == {name: wanted[name] for name in METRICS} | means
        assert bounds == [None, None] or bounds[0] <= float(np.mean(judged)) <= bounds[1]


@properties
@given(
    ask=asked(),
    by=st.sampled_from([*BY, "prompt"]),
    measure=st.sampled_from(list(MEASURES)),
    few=st.sampled_from([0.0, 2.0]),
)
def test_a_ranking_has_those_with_the_most_and_their_shares(
    store: Store, populations: list[Rows], ask: Any, by: str, measure: str, few: float
) -> None:
    _, selection, spans = ask(populations)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "FEW", few)
        found = top(store, selection, by, measure, limit=3)
    groups = grouped(spans, lambda span: value_of(span, by))
    name, whole = MEASURES[measure], figures(spans)
    every = {value: figures(own) for value, own in groups.items() if value}
    best = sorted(every, key=lambda value: (-amount(every[value][name]), value))[:3]
    best = [value for value in best if amount(every[value][name])]
    assert [amount(row[name]) for row in found["top"]] == [approx(amount(every[value][name])) for value in best]
    assert {key: found[key] for key in ("calls", "without", "values")} == {
        "calls": len(spans),
        "without": len(groups.get("", [])),
        "values": len(every),
    }
    additive = measure != "latency" and spans
    assert found["total"] == (whole[name] if additive else None)
    for row in found["top"]:
        wanted = every[row["group"]]
        assert {key: row[key] for key in wanted.keys() & row.keys()} == {
            key: wanted[key] for key in wanted.keys() & row.keys()
        }
        assert row["share"] == (ratio(amount(wanted[name]), amount(whole[name])) if additive else None)
        assert row["first_at"] == min(map(moment, groups[row["group"]]))
        assert row["last_at"] == max(map(moment, groups[row["group"]]))


def assert_shared(row: dict[str, Any], wanted: dict[str, Any]) -> None:
    shared = wanted.keys() & row.keys()
    assert {key: row[key] for key in shared} == {key: wanted[key] for key in shared}


def amount(figure: Any) -> float:
    return float(getattr(figure, "expected", figure) or 0)


@properties
@given(ask=asked(), order=st.sampled_from(list(ORDERS)), limit=st.integers(2, 5))
def test_pages_of_sessions_have_each_session_once_with_its_figures(
    store: Store, populations: list[Rows], ask: Any, order: str, limit: int
) -> None:
    rows, selection, spans = ask(populations)
    groups = grouped((span for span in spans if span.session_id), lambda span: (span.project, span.session_id))
    found, cursor = [], ""
    while cursor is not None:
        page = sessions(store, selection, order=order, limit=limit, cursor=cursor)
        assert len(page.sessions) <= limit
        found += page.sessions
        cursor = page.next_cursor
    assert sorted((one["project"], one["session_id"]) for one in found) == sorted(groups)
    column = {"recent": "last_at", "length": "seconds", "cost": "cost_usd", "tokens": "total_tokens"}.get(order, order)
    places = [-1 if one[column] is None else one[column] for one in found]
    assert places == sorted(places, reverse=True)
    for one in found:
        own = groups[one["project"], one["session_id"]]
        wanted = figures(own)
        assert_shared({**one, "users": len(one["users"])}, wanted)
        first, last = min(map(moment, own)), max(map(moment, own))
        ends = max(span.started_at + span.latency_ms * 1000 for span in own)
        assert (one["first_at"], one["last_at"]) == (first, last)
        assert one["seconds"] == pytest.approx((ends - min(span.started_at for span in own)) / 1e6, abs=1e-6)
        assert one["users"] == sorted({span.user_id for span in own} - {""})
        assert one["models"] == sorted({model(span) for span in own} - {""})
        newest = max((span.started_at for span in own if span.status == "error"), default=None)
        assert (one["last_error"] is None) == (newest is None)
        if one["last_error"]:
            assert one["last_error"]["span_id"] in [span.span_id for span in own if span.started_at == newest]
        assert worst_of(one["worst"]) == worst(rows, own)


def worst(rows: Rows, spans: list[Span]) -> float | None:
    targets = {span.span_id for span in spans}
    values = [good(s.name, s.value) for s in rows.scores if s.target in targets and s.value is not None]
    return approx(min(values)) if values else None


def worst_of(told: dict[str, Any] | None) -> float | None:
    return good(told["name"], told["value"]) if told else None


def good(name: str, value: float) -> float:
    return 1 - value if name in LOWER_IS_BETTER else value


def test_a_session_is_its_calls_in_order_by_trace(store: Store, populations: list[Rows]) -> None:
    rows = populations[0]
    project = f"{rows.service}-A"
    wanted = [s for s in rows.spans if s.counted and s.project == project and s.session_id == "drei/vier"]
    wanted.sort(key=lambda span: (span.started_at, span.span_id))
    traces, cursor = [], ""
    while cursor is not None:
        found = session(store, "drei/vier", project, limit=7, cursor=cursor)
        traces += found["traces"]
        cursor = found["next_cursor"]
    calls = [call for one in traces for call in one["calls"]]
    assert [call["span_id"] for call in calls] == [span.span_id for span in wanted]
    assert all({call["trace_id"] for call in one["calls"]} == {one["trace_id"]} for one in traces)
    assert len(traces) - len([*groupby(span.trace_id for span in wanted)]) <= len(wanted) // 7
    judged = {(score.target, score.name): score.value for score in rows.scores}
    assert all(call["scores"].get("relevance") == judged.get((call["span_id"], "relevance")) for call in calls)
    assert found["calls"] == len(wanted)
    with pytest.raises(AssayError, match=f"in several projects: add project= with one of .*{project}"):
        session(store, "drei/vier")
    with pytest.raises(NotFound, match="no session 'nobody' is stored"):
        session(store, "nobody", project)


@properties
@given(ask=asked(), by=st.sampled_from(BY))
def test_errors_are_counted_by_type_and_group(store: Store, populations: list[Rows], ask: Any, by: str) -> None:
    _, selection, spans = ask(populations)
    found = errors(store, selection, by)
    failed = [span for span in spans if span.status == "error"]
    assert (found["calls"], found["errors"], found["error_rate"]) == (
        len(spans),
        len(failed),
        ratio(len(failed), len(spans)),
    )
    assert found["low"] is None or 0 <= found["low"] <= found["error_rate"] <= found["high"] <= 1
    types = grouped(failed, lambda span: span.error_type)
    assert {one["error_type"] for one in found["types"]} == set(types)
    for one in found["types"]:
        own = types[one["error_type"]]
        newest = max(own, key=lambda span: (span.started_at, span.span_id))
        assert (one["errors"], one["share"]) == (len(own), ratio(len(own), len(failed)))
        assert (one["first_at"], one["last_at"]) == (min(map(moment, own)), max(map(moment, own)))
        assert moment(newest) == one["last_at"]
        assert (one["span_id"], one["message"]) in [
            (span.span_id, span.error_message) for span in own if span.started_at == newest.started_at
        ]
        by_model = {key: len(its) for key, its in grouped(own, lambda s: (s.provider, model(s))).items()}
        assert [told["errors"] for told in one["models"]] == sorted(by_model.values(), reverse=True)[:5]
        assert all(by_model[told["provider"], told["model"]] == told["errors"] for told in one["models"])
    groups = grouped(spans, lambda span: value_of(span, by))
    assert {row["group"]: (row["calls"], row["errors"]) for row in found["groups"]} == {
        value: (len(own), sum(span.status == "error" for span in own)) for value, own in groups.items()
    }


def test_the_interval_of_an_error_rate_is_wilsons_where_every_call_is_a_session(store: Store, project: str) -> None:
    spans = [
        Span(project=project, kind="llm", counted=True, span_id=secrets.token_hex(8), trace_id="0" * 32, started_at=n)
        for n in range(1_767_225_600_000_000, 1_767_225_600_000_000 + 2000)
    ]
    failed = [Span(**{**{n: getattr(s, n) for n in Span.__struct_fields__}, "status": "error"}) for s in spans[::10]]
    store.insert("spans", stamped(arrow_table([*spans, *failed], arrow_schema(Span)), time.time_ns() // 1000))
    found = errors(store, Selection(project=project))
    low, high = wilson(0.1, 2000)
    assert found["error_rate"] == 0.1
    assert (found["low"], found["high"]) == (pytest.approx(low, abs=0.006), pytest.approx(high, abs=0.006))
    assert mean_interval(0.1, 0.09 / 2000, 63).low == pytest.approx(found["low"], abs=0.006)


@properties
@given(ask=asked(), by=st.sampled_from(BY))
def test_costs_are_split_and_savings_are_those_of_each_call(
    store: Store, populations: list[Rows], ask: Any, by: str
) -> None:
    _, selection, spans = ask(populations)
    found = costs(store, PRICES, selection, by)
    assert {key: found[key] for key in split(spans)} == split(spans)
    groups = grouped(spans, lambda span: value_of(span, by))
    assert {row["group"] for row in found["groups"]} == set(groups)
    for row in found["groups"]:
        wanted = split(groups[row["group"]])
        assert {key: row[key] for key in wanted} == wanted
    unpriced = grouped((s for s in spans if s.cost_usd is None and s.status == "ok"), lambda s: (s.provider, model(s)))
    assert {(one["provider"], one["model"]): one["calls"] for one in found["unpriced_models"]} == {
        key: len(own) for key, own in unpriced.items()
    }


def split(spans: list[Span]) -> dict[str, Any]:
    whole = figures(spans)
    cached = [s for s in spans if s.cost_usd is not None and (s.cache_read_tokens or s.cache_write_tokens)]
    saved = [saving(span) for span in cached]
    told = any(s.cache_read_tokens is not None or s.cache_write_tokens is not None for s in spans)
    priced = len(known(span.cost_usd for span in spans))
    names = ("calls", "cost_usd", "input_cost_usd", "unpriced", "input_tokens", "cache_read_tokens", "cache_hit_share")
    return {name: whole[name] for name in names} | {
        "priced": priced,
        "cache_saved_usd": total(saved) if cached else 0.0 if told and priced else None,
        "cache_unknown": saved.count(None) if cached else 0 if told else None,
    }


def saving(span: Span) -> float | None:
    """What the call's own input would have cost more without any cache."""
    if model(span) == "deepseek-chat":
        return None  # its price depends on the time of day
    tokens = Tokens(sent(span) or 0, 0, span.cache_read_tokens or 0, span.cache_write_tokens or 0)
    at = span.started_at / 1e6
    plain = PRICES.cost(span.provider, model(span), at, Tokens(tokens.input))
    actual = PRICES.cost(span.provider, model(span), at, tokens)
    return plain.input - actual.input if plain and actual else None


@properties
@given(ask=asked(), by=st.sampled_from(BY))
def test_speed_is_told_for_all_and_for_each_group(store: Store, populations: list[Rows], ask: Any, by: str) -> None:
    _, selection, spans = ask(populations)
    found = speed(store, selection, by)
    groups = grouped(spans, lambda span: value_of(span, by))
    assert len(found["groups"]) == len(groups)
    for row, own in [(found, spans), *((row, groups[row["group"]]) for row in found["groups"])]:
        wanted = figures(own)
        assert {key: value for key, value in row.items() if key in wanted} == {
            key: wanted[key] for key in wanted.keys() & row.keys()
        }
        assert {"p95_latency_ms", "p50_time_to_first_token_ms", "p05_output_tokens_per_second"} <= row.keys()


def test_of_no_calls_counts_are_zero_and_figures_unknown(store: Store, project: str) -> None:
    nothing = Selection(project=project)
    assert usage(store, nothing)["total_calls"] == 0
    assert [usage(store, nothing)[name] for name in ("avg_latency_ms", "error_rate", "p95_latency_ms")] == [None] * 3
    assert speed(store, nothing)["p50_latency_ms"] is None
    assert costs(store, PRICES, nothing) | {"unpriced_models": None} == {
        **dict.fromkeys(costs(store, PRICES, nothing)),
        "calls": 0,
        "priced": 0,
        "unpriced": 0,
    }
    assert errors(store, nothing) == {
        "calls": 0,
        "errors": 0,
        "error_rate": None,
        "low": None,
        "high": None,
        "types": [],
    }
    assert top(store, nothing, "users") | {"top": [], "total": None, "calls": 0} == top(store, nothing, "users")
    assert sessions(store, nothing) == ([], None)


@pytest.mark.parametrize(
    ("question", "told"),
    [
        (
            lambda store, s: top(store, s, "colour"),
            "cannot rank 'colour': choose one of project, .*, prompt, or tag",
        ),
        (lambda store, s: top(store, s, "users", "beauty"), "cannot rank by 'beauty': choose one of cost, calls"),
        (lambda store, s: top(store, s, "users", limit=0), "limit must be between 1 and 1000, not 0"),
        (lambda store, s: speed(store, s, "tag:"), "cannot group by 'tag:': choose one of .*, or tag:KEY"),
        (lambda store, s: trends(store, s, metrics=["speed"]), "no metric 'speed': choose of calls, .*p95_latency_ms"),
        (lambda store, s: trends(store, s, metrics=["score:calls"]), "there are no scores yet"),
        (lambda store, s: trends(store, s, tz="Europe/Berln"), "no time zone 'Europe/Berln': .*Europe/Berlin"),
        (lambda store, s: sessions(store, s, order="name"), "cannot order sessions by 'name': choose one of recent"),
        (lambda store, s: sessions(store, s, cursor="WzFd"), "cursor 'WzFd' was not given by this API"),
        (lambda store, s: dimension("colour"), "cannot group by 'colour': choose one of project, .*, or tag:KEY"),
        (lambda store, s: tag("team"), "'team' is no tag: write KEY:VALUE"),
    ],
)
def test_what_is_not_known_is_refused_with_what_is(store: Store, project: str, question: Any, told: str) -> None:
    with pytest.raises(AssayError, match=told):
        question(store, Selection(project=project))
