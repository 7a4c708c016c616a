"""Every figure that SQL answers is the one that plain Python finds in the same rows."""

from __future__ import annotations

import base64
import json
import math
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from statistics import fmean
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from assay.analytics.buckets import AIMED_AT
from assay.analytics.calls import Page, call, calls
from assay.analytics.means import GROUPS as SAMPLES
from assay.analytics.selection import Selection, moment
from assay.analytics.summaries import quality, quality_by, usage
from assay.analytics.trends import latencies, trends
from assay.errors import AssayError, NotFound
from assay.quality.intervals import mean_interval
from assay.records import FILTERS, Score, Span
from assay.store.connect import Store
from assay.store.kept import Least
from assay.store.rows import arrow_schema, arrow_table, stamped
from assay.store.scores import insert_scores

MIDNIGHT = 1_763_856_000  # 2025-11-23T00:00:00Z
HOUR, DAY = 3_600_000_000, 86_400_000_000
START = MIDNIGHT * 1_000_000

# An insert is flushed to disk, so an example costs about 0.1 s.
few = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[phase for phase in Phase if phase is not Phase.explain],
)


@pytest.fixture(scope="module", autouse=True)
def _as_it_was(store: Store) -> Iterator[None]:
    yield
    assert store.kept
    store.kept.least = Least()


def insert(store: Store, *spans: Span) -> None:
    store.insert("spans", stamped(arrow_table(spans, arrow_schema(Span)), time.time_ns() // 1000))


def chat(project: str, span_id: str = "", **fields: Any) -> Span:
    own = {"project": project, "span_id": span_id or secrets.token_hex(8), "trace_id": secrets.token_hex(16)}
    return Span(**own | {"kind": "llm", "counted": True, "started_at": START} | fields)


def model_of(span: Span) -> str:
    return span.response_model or span.request_model


class Rows(NamedTuple):
    """What an example has stored: the spans and scores that count in the end. `service` is theirs alone."""

    service: str
    spans: list[Span]
    scores: list[Score]


offsets = (
    st.sampled_from([0, 1, HOUR - 1, HOUR, HOUR + 1, DAY - 1, DAY])
    | st.integers(0, 2 * DAY)
    | st.integers(0, 48).map(lambda hours: hours * HOUR)
)
tokens = st.none() | st.integers(0, 10_000)
dollars = st.none() | st.just(0.0) | st.floats(1e-7, 2)
milliseconds = st.sampled_from([0.0, 1.0, 10.0, 100.0, 1000.0, 999.999]) | st.floats(0, 200_000)

figures = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["ok", "ok", "error"]),
        "counted": st.sampled_from([True, True, True, False]),
        "environment": st.sampled_from(["", "production", "staging"]),
        "provider": st.sampled_from(["openai", "anthropic"]),
        "request_model": st.sampled_from(["gpt-4o", "claude", ""]),
        "response_model": st.sampled_from(["", "gpt-4o", "gpt-4o-2024-08-06"]),
        "session_id": st.sampled_from(["", "one", "two"]),
        "user_id": st.sampled_from(["", "ada", "bob"]),
        "latency_ms": milliseconds,
        "time_to_first_token_ms": st.none() | milliseconds,
        "input_tokens": tokens,
        "output_tokens": tokens,
        "cache_read_tokens": tokens,
        "reasoning_tokens": tokens,
        "cost_usd": dollars,
    }
)
places = st.fixed_dictionaries(
    {"project": st.sampled_from("AB"), "kind": st.sampled_from(["llm", "llm", "embedding", "tool"]), "offset": offsets}
)
verdicts = st.lists(
    st.tuples(
        st.sampled_from(["relevance", "toxicity", "a strange `name`"]),
        st.sampled_from(["scorer", "human"]),
        st.none() | st.floats(0, 1),
    ),
    max_size=3,
)
# Each span: where it lies, its figures, those it is sent again with, and the verdicts on it in order.
histories = st.lists(st.tuples(places, figures, st.none() | figures, verdicts), max_size=20) | st.lists(
    st.tuples(places, figures, st.none() | figures, verdicts), min_size=10, max_size=20
)


def stored(store: Store, history: list[Any]) -> Rows:
    """Write a history as it happens: everything, then what is sent again, then the verdicts.

    Of every other history what its days sum up to is kept.
    """
    assert store.kept
    store.kept.least = Least(rows=0 if len(history) % 2 else 1_000_000, rows_each=0, quiet_seconds=0)
    service = secrets.token_hex(4)
    first, again = list[Span](), list[Span]()
    for number, (place, own, changed, _) in enumerate(history):
        base = {
            "project": f"{service}-{place['project']}",
            "kind": place["kind"],
            "started_at": START + place["offset"],
            "span_id": f"{service}{number:08x}",
            "trace_id": f"{service:0>32}",
            "service": service,
        }
        first.append(Span(**base, **own))
        if changed:
            again.append(Span(**base, **changed))
    for spans in filter(None, (first, again)):
        insert(store, *spans)
    final = {span.span_id: span for span in first + again}
    scores: dict[Any, Score] = {}
    for span, (_, _, _, judged) in zip(final.values(), history, strict=True):
        for name, source, value in judged if span.counted else []:
            scores[span.span_id, name, source] = Score(
                target=span.span_id,
                name=name,
                source=source,
                value=value,
                project=span.project,
                model=model_of(span),
                session_id=span.session_id,
                started_at=span.started_at,
            )
    insert_scores(store, list(scores.values()))
    return Rows(service, list(final.values()), list(scores.values()))


FILTERED = [
    ("environment", "production"),
    ("environment", ""),
    ("provider", "openai"),
    ("provider", "nobody"),
    ("model", "gpt-4o"),
    ("model", ""),
    ("session_id", "one"),
    ("session_id", ""),
    ("user_id", "ada"),
    ("status", "ok"),
    ("status", "error"),
]


@st.composite
def questions(draw: st.DrawFn) -> Callable[[str], Selection]:
    """A selection in the rows of one example: some time range, some filters."""
    low = draw(st.sampled_from([None, None, None, 0, HOUR]) | offsets)
    high = draw(st.sampled_from([None, None, None, DAY, 2 * DAY]) | offsets)
    filters = dict(draw(st.lists(st.sampled_from(FILTERED), max_size=2)))
    in_project = draw(st.sampled_from(["", "", "A", "B"]))
    return lambda service: Selection(
        since=None if low is None else at(low),
        until=None if high is None else at(high),
        **({"project": f"{service}-{in_project}"} if in_project else {"service": service}),
        **filters,
    )


def told(
    offset: int = 0, kind: str = "llm", again: dict[str, Any] | None = None, judged: Any = (), **changes: Any
) -> Any:
    """One entry of a history: an ordinary call, but for what is named."""
    ordinary = {
        "status": "ok",
        "counted": True,
        "environment": "production",
        "provider": "openai",
        "request_model": "gpt-4o",
        "response_model": "gpt-4o-2024-08-06",
        "session_id": "one",
        "user_id": "ada",
        "latency_ms": 500.0,
        "time_to_first_token_ms": 100.0,
        "input_tokens": 100,
        "output_tokens": 10,
        "cache_read_tokens": 5,
        "reasoning_tokens": 1,
        "cost_usd": 0.5,
    }
    own = ordinary | changes
    return ({"project": "A", "kind": kind, "offset": offset}, own, {**own, **again} if again else None, judged)


EVENTFUL = [
    told(judged=[("relevance", "scorer", 0.5), ("relevance", "human", 1.0), ("toxicity", "scorer", None)]),
    told(HOUR, status="error", cost_usd=None, input_tokens=None, output_tokens=None, session_id="", user_id=""),
    told(HOUR - 1, cost_usd=None, response_model="", latency_ms=9000.0, time_to_first_token_ms=None),
    told(DAY, kind="embedding", cost_usd=0.01, latency_ms=7.0, session_id="two"),
    told(2 * HOUR, counted=False, cost_usd=9.0),
    told(3, again={"cost_usd": 2.0, "input_tokens": 7, "latency_ms": 3.0}, judged=[("relevance", "scorer", 0.0)]),
    told(DAY + 1, kind="tool", again={"counted": False}),
]
"""A history in which each figure differs from its near misses, so that no property can hold by luck alone."""


def everything(service: str) -> Selection:
    return Selection(service=service)


def at(offset: int) -> datetime:
    return datetime.fromtimestamp(MIDNIGHT, UTC) + timedelta(microseconds=offset)


def selected(rows: Rows, selection: Selection) -> list[Span]:
    return [span for span in rows.spans if span.counted and matches(span, selection)]


def matches(span: Span, selection: Selection) -> bool:
    started = at(span.started_at - START)
    if (selection.since and started < selection.since) or (selection.until and started >= selection.until):
        return False
    return all(getattr(selection, name) in (None, group_value(span, name)) for name in FILTERS)


def selected_scores(rows: Rows, selection: Selection) -> list[Score]:
    targets = {span.span_id for span in selected(rows, selection)}
    return [score for score in rows.scores if score.target in targets]


def group_value(span: Span, group_by: str) -> str:
    if group_by == "release":
        return span.attributes.get("service.version", "")
    return model_of(span) if group_by == "model" else getattr(span, group_by)


def mean(values: Iterable[float | None]) -> Any:
    known = [value for value in values if value is not None]
    return approx(fmean(known)) if known else None


def total(values: Iterable[float | None]) -> float:
    return math.fsum(value for value in values if value is not None)


def quantile(values: list[float], level: float) -> Any:
    return approx(float(np.quantile(values, level))) if values else None


def approx(value: float) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-12)


def expected_usage(spans: list[Span]) -> dict[str, Any]:
    conversations = [span for span in spans if span.kind == "llm"]
    took = [span.latency_ms for span in conversations]
    errors = sum(span.status == "error" for span in spans)
    sent, received = total(span.input_tokens for span in spans), total(span.output_tokens for span in spans)
    return {
        "total_conversations": len(conversations),
        "total_calls": len(spans),
        "errors": errors,
        "error_rate": approx(errors / len(spans)) if spans else None,
        "sessions": len({span.session_id for span in spans} - {""}),
        "users": len({span.user_id for span in spans} - {""}),
        "total_cost_usd": approx(total(span.cost_usd for span in spans)),
        "unpriced": sum(span.cost_usd is None and span.status == "ok" for span in spans),
        "estimated": sum(span.tokens_estimated for span in spans),
        "avg_cost_per_conversation": mean(span.cost_usd for span in conversations),
        "input_tokens": sent,
        "output_tokens": received,
        "total_tokens": sent + received,
        "cache_read_tokens": total(span.cache_read_tokens for span in spans),
        "reasoning_tokens": total(span.reasoning_tokens for span in spans),
        "avg_latency_ms": mean(took),
        "avg_time_to_first_token_ms": mean(span.time_to_first_token_ms for span in conversations),
        "p50_latency_ms": quantile(took, 0.5),
        "p95_latency_ms": quantile(took, 0.95),
        "p99_latency_ms": quantile(took, 0.99),
    }


def expected_quality(store: Store, scores: list[Score]) -> dict[str, Any]:
    by_name: dict[str, dict[str, list[Score]]] = defaultdict(lambda: defaultdict(list))
    for score in scores:
        by_name[score.name][score.source].append(score)
    expected: dict[str, Any] = {}
    for name, by_source in by_name.items():
        told = {source: expected_score(store, own) for source, own in by_source.items()}
        shown = "scorer" if "scorer" in told else "human"
        expected[name] = {"source": shown, **told[shown], "by_source": told}
    return expected


def expected_score(store: Store, scores: list[Score]) -> dict[str, Any]:
    values = [score.value for score in scores if score.value is not None]
    return {
        "n": len(values),
        "not_assessable": len(scores) - len(values),
        "mean": mean(values),
        **expected_interval(store, scores),
        "min": min(values, default=None),
        "max": max(values, default=None),
        "p05": quantile(values, 0.05),
        "p50": quantile(values, 0.5),
        "p95": quantile(values, 0.95),
    }


def expected_interval(store: Store, scores: list[Score]) -> dict[str, Any]:
    """From the spread between random groups of whole sessions."""
    known = [(score, score.value) for score in scores if score.value is not None]
    places = groups_of(store, [score for score, _ in known])
    center = fmean(value for _, value in known) if known else 0.0
    off: dict[int, float] = defaultdict(float)
    for place, (_, value) in zip(places, known, strict=True):
        off[place] += value - center
    if len(off) < 2:
        return {"low": None, "high": None}
    variance = len(off) / (len(off) - 1) * sum(one**2 for one in off.values()) / len(known) ** 2
    low, high = mean_interval(center, variance, len(off) - 1)
    return {"low": pytest.approx(low, abs=1e-6), "high": pytest.approx(high, abs=1e-6)}


def groups_of(store: Store, scores: list[Score]) -> list[int]:
    starts = [f"{at(score.started_at - START):%Y-%m-%d %H:%M:%S.%f}" for score in scores]
    keys = [score.session_id or start for score, start in zip(scores, starts, strict=True)]
    [row] = store.query(
        f"SELECT arrayMap(key -> cityHash64(key) % {SAMPLES}, {{keys:Array(String)}}) AS g", {"keys": keys}
    )
    return list(row["g"])


@few
@example(history=EVENTFUL, question=everything)
@given(history=histories, question=questions())
def test_usage_is_what_python_counts(store: Store, history: list[Any], question: Callable[[str], Selection]) -> None:
    rows = stored(store, history)
    selection = question(rows.service)
    judge = {"judge_calls": 0, "judge_cost_usd": 0}
    assert usage(store, selection) == expected_usage(selected(rows, selection)) | judge


@few
@example(history=EVENTFUL, question=everything, group_by="model")
@given(history=histories, question=questions(), group_by=st.sampled_from(FILTERS))
def test_usage_a_dimension_is_the_usage_of_each_of_its_values(
    store: Store, history: list[Any], question: Callable[[str], Selection], group_by: str
) -> None:
    rows = stored(store, history)
    selection = question(rows.service)
    groups: dict[str, list[Span]] = defaultdict(list)
    for span in selected(rows, selection):
        groups[group_value(span, group_by)].append(span)
    found = usage(store, selection, group_by)["groups"]
    assert {row["group"]: row for row in found} == {
        value: {"group": value} | expected_usage(spans) for value, spans in groups.items()
    }
    costs = [(row["total_cost_usd"], row["total_calls"]) for row in found]
    assert costs == sorted(costs, reverse=True)


@few
@example(history=EVENTFUL, question=everything)
@given(history=histories, question=questions())
def test_quality_is_what_python_counts(store: Store, history: list[Any], question: Callable[[str], Selection]) -> None:
    rows = stored(store, history)
    selection = question(rows.service)
    assert quality(store, selection) == expected_quality(store, selected_scores(rows, selection))


@few
@example(history=EVENTFUL, question=everything, group_by="session_id")
@given(history=histories, question=questions(), group_by=st.sampled_from(FILTERS))
def test_quality_by_a_dimension_is_the_quality_of_each_of_its_values(
    store: Store, history: list[Any], question: Callable[[str], Selection], group_by: str
) -> None:
    rows = stored(store, history)
    selection = question(rows.service)
    called = {span.span_id: span for span in rows.spans}
    groups: dict[str, list[Score]] = defaultdict(list)
    for score in selected_scores(rows, selection):
        groups[group_value(called[score.target], group_by)].append(score)
    assert quality_by(store, selection, group_by) == {
        value: expected_quality(store, scores) for value, scores in groups.items()
    }


@few
@example(history=EVENTFUL, question=everything, bucket=("1h", 3600), group_by=None)
@given(
    history=histories,
    question=questions(),
    bucket=st.sampled_from([("1h", 3600), ("30m", 1800), ("7h", 25_200), ("1d", 86_400), ("2w", 1_209_600)]),
    group_by=st.none() | st.sampled_from(FILTERS),
)
def test_trends_are_the_figures_of_each_bucket_of_time(
    store: Store,
    history: list[Any],
    question: Callable[[str], Selection],
    bucket: tuple[str, int],
    group_by: str | None,
) -> None:
    rows = stored(store, history)
    selection = question(rows.service)
    length, seconds = bucket
    points: dict[tuple[datetime, str], list[Span]] = defaultdict(list)
    for span in selected(rows, selection):
        # Weeks begin on Mondays; the first was the fifth day of the epoch.
        first = 4 * 86_400 if length.endswith("w") else 0
        start = (span.started_at // 1_000_000 - first) // seconds * seconds + first
        points[datetime.fromtimestamp(start, UTC), group_value(span, group_by) if group_by else ""].append(span)
    scores = selected_scores(rows, selection)
    found = trends(store, selection, length, group_by)
    assert found.bucket_seconds == seconds
    assert found.points == [
        {"bucket": start}
        | ({"group": group} if group_by else {})
        | expected_point(points[start, group])
        | expected_scores(store, scores, {span.span_id for span in points[start, group]})
        for start, group in sorted(points)
    ]
    all_of_it = usage(store, selection)
    for name, whole in [("calls", "total_calls"), ("conversations", "total_conversations"), ("errors", "errors")]:
        assert sum(point[name] for point in found.points) == all_of_it[whole]
    assert sum(point["cost_usd"] for point in found.points) == approx(all_of_it["total_cost_usd"])


def expected_point(spans: list[Span]) -> dict[str, Any]:
    used = expected_usage(spans)
    return {
        "conversations": used["total_conversations"],
        "calls": used["total_calls"],
        "errors": used["errors"],
        "cost_usd": used["total_cost_usd"],
        "unpriced": used["unpriced"],
        "total_tokens": used["total_tokens"],
        **{f"{name}_latency_ms": used[f"{name}_latency_ms"] for name in ("avg", "p50", "p95", "p99")},
    }


def expected_scores(store: Store, scores: list[Score], targets: set[str]) -> dict[str, Any]:
    """Means and intervals of one point; which source is shown is the same for all points."""
    by_scorers = {score.name for score in scores if score.source == "scorer"}
    by_name: dict[str, list[Score]] = defaultdict(list)
    for score in scores:
        shown = "scorer" if score.name in by_scorers else "human"
        if score.target in targets and score.value is not None and score.source == shown:
            by_name[score.name].append(score)
    return {
        "scores": {name: mean(score.value for score in own) for name, own in by_name.items()},
        "intervals": {name: {"n": len(own), **expected_interval(store, own)} for name, own in by_name.items()},
    }


@few
@example(history=EVENTFUL, question=everything)
@given(history=histories, question=questions())
def test_latency_bins_hold_every_conversation_once(
    store: Store, history: list[Any], question: Callable[[str], Selection]
) -> None:
    rows = stored(store, history)
    selection = question(rows.service)
    bins: dict[int, int] = defaultdict(int)
    for span in selected(rows, selection):
        if span.kind == "llm":
            bins[math.floor(math.log10(max(span.latency_ms, 1)) * 6)] += 1
    assert latencies(store, selection) == [
        {"from_ms": approx(10 ** (bin / 6)), "to_ms": approx(10 ** ((bin + 1) / 6)), "conversations": bins[bin]}
        for bin in sorted(bins)
    ]


def test_a_range_holds_its_start_and_not_its_end(store: Store, project: str) -> None:
    insert(store, *(chat(project, started_at=START + offset) for offset in (-1, 0, 1, 9, 10, 11)))
    assert usage(store, Selection(project=project, since=at(0), until=at(10)))["total_calls"] == 3
    assert usage(store, Selection(project=project, since=at(10), until=at(0)))["total_calls"] == 0


def test_trends_over_thousands_of_buckets_hold_every_call(store: Store, project: str) -> None:
    insert(store, *(chat(project, started_at=START + second * 1_000_000) for second in range(2500)))
    points = trends(store, Selection(project=project), "1s").points
    assert [point["calls"] for point in points] == [1] * 2500


def test_of_too_many_points_the_newest_are_kept_in_order_with_their_scores(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = [chat(project, started_at=START + n * 1_000_000, user_id="zoe" if n in (0, 4) else "ada") for n in range(5)]
    insert(store, *spans)
    of = [{"target": span.span_id, "project": project, "started_at": span.started_at} for span in spans]
    insert_scores(store, [Score(name="tone", source="scorer", value=n / 10, **own) for n, own in enumerate(of)])
    every = trends(store, Selection(project=project), "1s")
    monkeypatch.setattr("assay.analytics.trends.MAX_POINTS", 3)
    newest = trends(store, Selection(project=project), "1s")
    assert (every.cut, newest.cut) == (False, True)
    assert newest.points == every.points[2:]
    assert [point["bucket"] for point in newest.points] == [at(second * 1_000_000) for second in (2, 3, 4)]
    assert [point["scores"] for point in newest.points] == [{"tone": 0.2}, {"tone": 0.3}, {"tone": 0.4}]

    # All points may be of one bucket, which begins before the range does.
    monkeypatch.setattr("assay.analytics.trends.MAX_POINTS", 1)
    [last] = trends(store, Selection(project=project, since=at(500_000)), "1h", "user_id", metrics=["tone"]).points
    assert (last["group"], last["calls"], last["tone_n"]) == ("zoe", 1, 1)


def test_calls_of_one_kind_can_be_asked_for(store: Store, project: str) -> None:
    chats, embedding = chat(project), chat(project, kind="embedding")
    insert(store, chats, embedding)
    for kind, expected in [("", [chats, embedding]), ("llm", [chats]), ("embedding", [embedding]), ("tool", [])]:
        found = {row["span_id"] for row in calls(store, Selection(project=project), kind=kind).calls}
        assert found == {span.span_id for span in expected}


def test_a_score_counts_under_every_filter_or_none(store: Store, project: str) -> None:
    counted, repeated = chat(project, status="ok"), chat(project, status="ok", counted=False)
    insert(store, counted, repeated)
    insert_scores(
        store,
        [
            Score(
                target=span.span_id,
                name="relevance",
                value=0.5,
                counted=span.counted,
                project=project,
                started_at=START,
            )
            for span in (counted, repeated)
        ],
    )
    assert quality(store, Selection(project=project))["relevance"]["n"] == 1
    assert quality(store, Selection(project=project)) == quality(store, Selection(project=project, status="ok"))


@pytest.mark.parametrize(
    "seconds", [120, 300, 3600, 6 * 3600, 86_400, 7 * 86_400, 30 * 86_400, 90 * 86_400, 365 * 86_400]
)
def test_a_bucket_is_chosen_that_makes_a_readable_line(store: Store, project: str, seconds: int) -> None:
    insert(store, chat(project, started_at=START))
    found = trends(store, Selection(project=project, since=at(0), until=at(seconds * 1_000_000)))
    assert len(found.points) == 1
    assert AIMED_AT / 2.5 <= seconds / found.bucket_seconds <= AIMED_AT * 2


def test_a_range_that_ends_before_it_begins_has_no_points(store: Store) -> None:
    assert trends(store, Selection(project="nothing here", since=at(HOUR), until=at(0))).points == []


def test_without_a_range_the_bucket_fits_the_calls_there_are(store: Store, project: str) -> None:
    insert(store, chat(project, started_at=START))
    whole_range = Selection(project=project, since=at(0), until=at(HOUR))
    fitting = trends(store, Selection(project=project, until=at(HOUR)))
    assert fitting.bucket_seconds == trends(store, whole_range).bucket_seconds
    assert trends(store, Selection(project="nothing here")).points == []


@pytest.mark.parametrize("bucket", ["0m", "5", "m", "-1h", "1y", "1.5h", "1h; DROP TABLE spans", "9999999d"])
def test_a_bucket_that_is_no_length_of_time_is_refused(store: Store, bucket: str) -> None:
    with pytest.raises(AssayError, match="is no length of time: write for example 30s, 5m, 1h, 1d, 1w or 1mo"):
        trends(store, Selection(), bucket)


def test_an_unknown_dimension_is_refused_with_the_choices(store: Store) -> None:
    for ask in (usage, quality_by, lambda *args: trends(args[0], args[1], None, args[2])):
        with pytest.raises(AssayError, match=r"cannot group by 'name\) FROM spans --': choose one of .*model"):
            ask(store, Selection(), "name) FROM spans --")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("30m", "2025-11-23T11:30:00Z"),
        (" 7d ", "2025-11-16T12:00:00Z"),
        ("2w", "2025-11-09T12:00:00Z"),
        ("0s", "2025-11-23T12:00:00Z"),
        ("2025-01-02", "2025-01-02T00:00:00Z"),
        ("2025-01-02T03:04", "2025-01-02T03:04:00Z"),
        ("2025-01-02 03:04:05", "2025-01-02T03:04:05Z"),
        ("2025-01-02T03:04:05Z", "2025-01-02T03:04:05Z"),
        ("2025-01-02T03:04:05+02:00", "2025-01-02T01:04:05Z"),
        ("2025-01-02T03:04:05 02:00", "2025-01-02T01:04:05Z"),
    ],
)
def test_a_moment_is_an_age_or_a_time_in_utc_unless_it_says_otherwise(text: str, meant: str) -> None:
    assert moment(text, datetime(2025, 11, 23, 12, tzinfo=UTC)) == datetime.fromisoformat(meant)


@pytest.mark.parametrize("text", ["", "soon", "24", "h", "1y", "-1h", "2025-13-01", "2025-01-01T25:00", "999999w", "T"])
def test_what_is_no_moment_is_refused_with_both_forms(text: str) -> None:
    with pytest.raises(AssayError, match="write an age such as 30m, 24h or 7d, or a date such as 2026-11-23T08:00:00Z"):
        moment(text, datetime(2025, 11, 23, tzinfo=UTC))


listed = st.lists(
    st.fixed_dictionaries(
        {
            "offset": st.sampled_from([0, 1, DAY]),
            "cost_usd": st.sampled_from([None, 0.0, 0.1, 1e-9, 1 / 3]),
            "latency_ms": st.sampled_from([0.0, 0.1, 1e5, 2 / 3]),
            "kind": st.sampled_from(["llm", "embedding"]),
        }
    ),
    max_size=14,
)


@few
@example(fields=[{"offset": 0, "cost_usd": None, "latency_ms": 0.1, "kind": "llm"}] * 6, order="cost", limit=2)
@given(fields=listed, order=st.sampled_from(["started_at", "cost", "latency"]), limit=st.integers(1, 5))
def test_pages_show_every_call_once_in_order_also_among_equals(
    store: Store, fields: list[dict[str, Any]], order: str, limit: int
) -> None:
    project = f"test-{secrets.token_hex(4)}"
    spans = [
        chat(project, f"{project[5:]}{n:08x}", **own | {"started_at": START + own.pop("offset")})
        for n, own in enumerate(dict(one) for one in fields)
    ]
    if spans:
        insert(store, *spans)
    place = {
        "started_at": lambda span: span.started_at,
        "cost": lambda span: -1 if span.cost_usd is None else span.cost_usd,
        "latency": lambda span: span.latency_ms,
    }[order]
    seen, cursor, pages = list[str](), "", 0
    while cursor is not None:
        page = calls(store, Selection(project=project), order=order, limit=limit, cursor=cursor)
        assert len(page.calls) <= limit
        assert len(page.calls) == limit or page.next_cursor is None
        seen += [row["span_id"] for row in page.calls]
        cursor, pages = page.next_cursor, pages + 1
    ordered = sorted(spans, key=lambda span: (place(span), span.span_id), reverse=True)
    assert seen == [span.span_id for span in ordered]
    assert pages == max(1, -(-len(spans) // limit)), "no empty page at the end"


def test_a_new_call_does_not_shift_the_pages_that_follow(store: Store, project: str) -> None:
    old = [chat(project, started_at=START + n) for n in range(4)]
    insert(store, *old)
    first = calls(store, Selection(project=project), limit=2)
    insert(store, chat(project, started_at=START + 10))
    second = calls(store, Selection(project=project), limit=2, cursor=first.next_cursor or "")
    assert [row["span_id"] for row in first.calls + second.calls] == [span.span_id for span in reversed(old)]


@few
@example(history=EVENTFUL, question=everything)
@given(history=histories, question=questions())
def test_calls_are_those_that_usage_counts(
    store: Store, history: list[Any], question: Callable[[str], Selection]
) -> None:
    rows = stored(store, history)
    selection = question(rows.service)
    found = {row["span_id"]: row for row in calls(store, selection).calls}
    assert found.keys() == {span.span_id for span in selected(rows, selection)}
    for span in selected(rows, selection):
        row = found[span.span_id]
        assert (row["cost_usd"], row["latency_ms"], row["status"]) == (span.cost_usd, span.latency_ms, span.status)
        assert row["model"] == model_of(span)
        own = (span.input_tokens, span.output_tokens)
        assert row["total_tokens"] == (None if own == (None, None) else total(own))
        assert row["scores"] == shown_scores(rows, span.span_id)


def shown_scores(rows: Rows, span_id: str) -> dict[str, float | None]:
    """Of several verdicts by one name that of a scorer is shown."""
    own = [score for score in rows.scores if score.target == span_id]
    return {score.name: score.value for score in sorted(own, key=lambda score: score.source == "scorer")}


def test_calls_of_one_trace_are_found_whatever_the_case_of_its_id(store: Store, project: str) -> None:
    insert(store, chat(project, trace_id="ab" * 16), chat(project))
    for trace_id in ("ab" * 16, "AB" * 16):
        assert len(calls(store, Selection(project=project), trace_id=trace_id).calls) == 1
    assert calls(store, Selection(project=project), trace_id="a").calls == []


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_limit_out_of_range_is_refused(store: Store, limit: int) -> None:
    with pytest.raises(AssayError, match=f"limit must be between 1 and 1000, not {limit}"):
        calls(store, Selection(), limit=limit)


def test_an_unknown_order_is_refused_with_the_choices(store: Store) -> None:
    with pytest.raises(AssayError, match="cannot order by 'span_id': choose one of started_at, cost, latency"):
        calls(store, Selection(), order="span_id")


def forged(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "é",
        "....",
        forged("not json"),
        forged([1]),
        forged([1, "a", 2]),
        forged({"a": 1, "b": 2}),
        forged(["a", "b"]),
        forged([None, "b"]),
        forged([[], "b"]),
        forged("[1" + "0" * 400 + ', "a"]'),
        forged("[" * 5000),
        forged('[1, "\\ud800"]'),
    ],
)
def test_a_forged_cursor_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(AssayError, match="was not given by this API: start again without one"):
        calls(store, Selection(), cursor=cursor)


def test_a_span_that_two_projects_hold_is_told_by_each_as_its_own(store: Store, project: str) -> None:
    here = chat(project, prompt="ours")
    there = msgspec.structs.replace(here, project=f"{project}-other", prompt="theirs")
    insert(store, here, there)
    for span in (here, there):
        [row] = calls(store, Selection(project=span.project)).calls
        assert (row["project"], row["prompt"]) == (span.project, span.prompt)


def test_a_call_tells_who_judged_it_and_why(store: Store, project: str) -> None:
    span = chat(project, span_id=secrets.token_hex(8))
    insert(store, span)
    by = {"target": span.span_id, "project": project, "started_at": START}
    insert_scores(
        store,
        [
            Score(name="relevance", value=0.75, comment="close", scorer="local", scorer_version="v1", **by),
            Score(name="relevance", value=0.0, source="human", author="ada", label="off", **by),
            Score(name="toxicity", value=None, comment="empty", scorer="local", confidence=0.5, **by),
        ],
    )
    told = call(store, span.span_id.upper())
    assert told["scores"] == {"relevance": 0.75, "toxicity": None}
    blank = {"label": "", "comment": "", "scorer": "", "scorer_version": "", "author": "", "confidence": None}
    assert told["verdicts"] == [
        blank | {"name": "relevance", "value": 0.0, "source": "human", "author": "ada", "label": "off"},
        blank
        | {
            "name": "relevance",
            "value": 0.75,
            "source": "scorer",
            "comment": "close",
            "scorer": "local",
            "scorer_version": "v1",
        },
        blank
        | {
            "name": "toxicity",
            "value": None,
            "source": "scorer",
            "comment": "empty",
            "scorer": "local",
            "confidence": 0.5,
        },
    ]


def test_a_call_that_is_not_stored_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match="no span 'abc' is stored; it may still be on its way"):
        call(store, "abc")
    assert calls(store, Selection(project="nothing here")) == Page([], None)
