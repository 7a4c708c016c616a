"""Two selections compared: intervals hold the truth in simulations, figures are those of usage and quality."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from assay.analytics.compare import Change, compare, period_before
from assay.analytics.differences import Estimate, bounded_mean, difference, quantile, skewed_mean, sums
from assay.analytics.selection import Selection
from assay.analytics.summaries import quality, usage
from assay.cli import app
from assay.client.monitor import Monitor
from assay.errors import AssayError
from assay.ingest.batch import SPAN_SCHEMA
from assay.quality.intervals import UNKNOWN, Interval, wilson
from assay.records import Score, Span
from assay.store.connect import Store
from assay.store.rows import arrow_table, stamped
from assay.store.scores import insert_scores
from conftest import chat_attributes, otlp

GROUPS = 64
LEVELS = np.linspace(0.9, 1, 201)
NOW = datetime.now(UTC)


def drawn(generator: np.random.Generator, shape: str, sessions: int, scale: float) -> Estimate:
    """Five calls a session, half of the variance between sessions; the true figure is a multiple of `scale`."""
    groups = generator.integers(0, GROUPS, sessions).repeat(5)
    counts = np.bincount(groups, minlength=GROUPS)
    if shape == "share":
        values = (
            generator.random(sessions * 5) < generator.beta(0.4 * scale, 4 - 0.4 * scale, sessions).repeat(5)
        ) * 1.0
    else:
        noise = generator.standard_normal(sessions).repeat(5) + generator.standard_normal(sessions * 5)
        values = scale * np.exp(0.7 * noise / np.sqrt(2))
    if shape == "p95":
        p95 = float(np.quantile(values, 0.95))
        below = sums(list(counts), list(np.bincount(groups, values <= p95, GROUPS)))
        return quantile(0.95, p95, below, LEVELS, np.quantile(values, LEVELS))
    of = sums(list(counts), list(np.bincount(groups, values, GROUPS)))
    return bounded_mean(of) if shape == "share" else skewed_mean(of)


UNIT_TRUTH = {"share": 0.1, "mean": np.exp(0.7**2 / 2), "p95": np.exp(1.644854 * 0.7)}


@pytest.mark.parametrize("shape", ["share", "mean", "p95"])
@pytest.mark.parametrize(("before", "after", "scale"), [(60, 60, 2), (60, 500, 1)])
def test_the_interval_of_a_difference_holds_the_truth(shape: str, before: int, after: int, scale: int) -> None:
    generator = np.random.default_rng(5)
    truth, held, known = UNIT_TRUTH[shape] * (scale - 1), 0, 0
    for _ in range(600):
        found = difference(drawn(generator, shape, before, 1), drawn(generator, shape, after, scale))
        if found.low is not None and found.high is not None:
            known += 1
            held += found.low <= truth <= found.high
    assert known > 580
    assert 0.93 <= held / known <= 0.975, held / known


def test_shares_of_single_cases_differ_by_newcombes_interval() -> None:
    """Newcombe (1998), table II, example a: 56/70 and 48/80 differ by 0.2, method 10 gives 0.0524 to 0.3339."""
    before = Estimate(80, 48 / 80, wilson(48 / 80, 80))
    after = Estimate(70, 56 / 70, wilson(56 / 70, 70))
    assert difference(before, after) == (pytest.approx(0.0524, abs=1e-4), pytest.approx(0.3339, abs=1e-4))


def test_what_is_not_known_of_one_side_is_not_known_of_the_difference() -> None:
    known = Estimate(10, 0.5, Interval(0.4, 0.6))
    assert difference(known, Estimate(0, None)) == UNKNOWN
    assert difference(known, bounded_mean(sums([3, 3, 3, 0], [1, 2, 3, 0]))) == UNKNOWN
    assert quantile(0.95, 1.0, sums([1] * 30, [1] * 30), LEVELS, LEVELS).interval == UNKNOWN
    assert skewed_mean(sums([1] * 9, [0] * 9)) == (9, 0.0, (0.0, 0.0))


class Calls:
    """Writes calls of a project, one a session unless told otherwise, with their scores."""

    def __init__(self, store: Store, project: str) -> None:
        self.store, self.project, self.sessions = store, project, 0

    def add(self, at: datetime, count: int = 1, scores: dict[str, Any] | None = None, **fields: Any) -> None:
        spans = [self._span(at, place, fields) for place in range(count)]
        self.store.insert("spans", stamped(arrow_table(spans, SPAN_SCHEMA), time.time_ns() // 1000))
        judged = {"source": "scorer", "scorer": "own", "scorer_version": "1"}
        insert_scores(
            self.store,
            [
                Score(**judged | ({"name": name} | (value if isinstance(value, dict) else {"value": value}) | of(span)))
                for span in spans
                for name, value in (scores or {}).items()
            ],
        )

    def _span(self, at: datetime, place: int, fields: dict[str, Any]) -> Span:
        fixed: dict[str, Any] = {"kind": "llm", "counted": True, "status": "ok", "latency_ms": 500.0 + place}
        self.sessions += 1
        ids = {"trace_id": secrets.token_hex(16), "span_id": secrets.token_hex(8), "session_id": f"s{self.sessions}"}
        start = round(at.timestamp() * 1e6) + place
        return Span(**ids | fixed | {"project": self.project, "started_at": start} | fields)


def of(span: Span) -> dict[str, Any]:
    return {
        "target": span.span_id,
        "project": span.project,
        "model": span.request_model,
        "session_id": span.session_id,
        "started_at": span.started_at,
    }


@pytest.fixture
def calls(store: Store, project: str) -> Calls:
    return Calls(store, project)


def weeks(project: str, **fields: Any) -> tuple[Selection, Selection]:
    after = Selection(project=project, since=NOW - timedelta(days=7), until=NOW, **fields)
    return period_before(after), after


def by_metric(changes: list[Change]) -> dict[str, Change]:
    return {change.metric: change for change in changes}


def test_a_week_is_compared_with_the_week_before(store: Store, calls: Calls, project: str) -> None:
    now, then = NOW - timedelta(days=2), NOW - timedelta(days=9)
    priced = {"input_tokens": 100, "output_tokens": 20}
    for tenth in range(10):
        calls.add(then, 10, {"relevance": 0.8 + tenth / 100, "own": tenth / 10}, cost_usd=0.001, **priced)
        calls.add(now, 12, {"relevance": 0.7 + tenth / 100, "own": tenth / 10}, cost_usd=0.001, **priced)
    calls.add(now, 30, latency_ms=4000.0, status="error", error_type="timeout")
    before, after = weeks(project)
    found = by_metric(compare(store, before, after))
    assert found["relevance"].sentence == "relevance fell 0.100 [0.093, 0.107]"
    assert (found["relevance"].verdict, found["relevance"].better) == ("worse", "higher")
    assert (found["relevance"].n_before, found["relevance"].n_after) == (100, 120)
    assert found["own"].verdict == "same"
    assert found["own"].sentence.startswith("own: no clear difference, 0.0")
    assert found["error_rate"].sentence.startswith("error rate rose 20 points [1")
    assert found["error_rate"].verdict == found["latency_ms"].verdict == found["latency_p95_ms"].verdict == "worse"
    assert found["total_cost_usd"].sentence == "total cost rose from $0.10 to $0.12"
    assert (found["total_cost_usd"].low, found["conversations"].verdict) == (None, "unknown")
    assert found["conversations"].sentence == "conversations rose from 100 to 150"
    assert found["first_token_ms"].sentence == "time to first token: no data in either"
    for selection, side in ((before, "before"), (after, "after")):
        used, judged = usage(store, selection), quality(store, selection)
        named = {
            "latency_ms": used["avg_latency_ms"],
            "latency_p95_ms": used["p95_latency_ms"],
            "error_rate": used["error_rate"],
            "cost_per_conversation_usd": used["avg_cost_per_conversation"],
            "total_cost_usd": used["total_cost_usd"],
            "conversations": used["total_conversations"],
            "relevance": judged["relevance"]["mean"],
        }
        assert {name: getattr(found[name], side) for name in named} == pytest.approx(named)


def test_two_models_of_one_week_are_compared_by_name(store: Store, calls: Calls, project: str) -> None:
    at = NOW - timedelta(days=1)
    calls.add(at, 40, request_model="slow", latency_ms=900.0)
    calls.add(at, 40, request_model="slow", latency_ms=950.0)
    calls.add(at, 40, request_model="fast")
    _, fast = weeks(project, model="fast")
    _, slow = weeks(project, model="slow")
    found = by_metric(compare(store, slow, fast))["latency_ms"]
    assert found.sentence == "average latency is 406 ms lower [398, 413] with model fast"
    assert found.verdict == "better"


def test_nothing_is_made_of_no_data_or_of_few_sessions(store: Store, calls: Calls, project: str) -> None:
    before, after = weeks(project)
    nothing = compare(store, before, after)
    assert {change.metric for change in nothing if change.before is not None or change.after is not None} == {
        "conversations"
    }
    assert {change.verdict for change in nothing} == {"unknown"}
    calls.add(NOW - timedelta(days=1), 3, {"toxicity": 0.1})
    found = by_metric(compare(store, before, after))
    assert found["toxicity"].sentence == "toxicity: no data before, 0.10 after"
    assert found["error_rate"].sentence == "error rate: no data before, 0.0% after"
    calls.add(NOW - timedelta(days=8), 3, {"toxicity": 0.2})
    told = by_metric(compare(store, before, after))["toxicity"]
    assert told.sentence == "toxicity: 0.20 before, 0.10 after; too few sessions to tell (3 and 3 calls)"
    assert (told.difference, told.low, told.verdict) == (pytest.approx(-0.1), None, "unknown")


def test_a_score_is_compared_by_a_source_that_both_have_and_new_scorers_are_named(
    store: Store, calls: Calls, project: str
) -> None:
    judge = {"source": "judge", "scorer": "gpt", "scorer_version": "1"}
    calls.add(NOW - timedelta(days=8), 20, {"relevance": {"value": 0.5, **judge}})
    calls.add(NOW - timedelta(days=1), 20, {"relevance": {"value": 0.5, **judge, "scorer_version": "2"}})
    calls.add(NOW - timedelta(days=1), 20, {"relevance": 0.9})
    found = by_metric(compare(store, *weeks(project)))["relevance"]
    assert (found.before, found.after) == (0.5, 0.5)
    assert found.sentence.endswith("; not judged alike: by gpt 1 before, by gpt 2 after")


def test_the_period_before_ends_where_the_period_begins() -> None:
    selection = Selection(since=NOW - timedelta(days=7), until=NOW, model="m")
    assert period_before(selection) == Selection(since=NOW - timedelta(days=14), until=selection.since, model="m")
    with pytest.raises(AssayError, match="give since"):
        period_before(Selection(until=NOW))


def test_comparisons_are_asked_over_http_and_by_the_command(server: Any, monitor: Monitor, project: str) -> None:
    at = time.time_ns() - 3 * 86_400 * 10**9
    spans = [{"gen_ai.response.model": model, "start_ns": at + n} for model in ("a", "b") for n in range(6)]
    server.post(otlp(*({**chat_attributes(), **span} for span in spans), project=project)).raise_for_status()
    found = monitor.compare(since="7d", project=project, model="a", versus_model="b")
    assert (found["after"]["model"], found["before"]["model"]) == ("a", "b")
    assert found["after"]["since"] == found["before"]["since"]
    sentences = {change["metric"]: change["sentence"] for change in found["changes"]}
    assert sentences["conversations"] == "conversations: 6 with model b, 6 with model a"
    earlier = monitor.compare(since="7d", project=project, versus_since="21d", versus_until="14d")
    assert earlier["before"]["until"] < earlier["after"]["since"]
    before = monitor.compare(since="1d", project=project)["changes"]
    assert {one["metric"]: one["before"] for one in before}["conversations"] == 0
    for wrong, said in [
        ({"since": "7d", "versus_modle": "b"}, "did you mean 'versus_model'"),
        ({}, "give since"),
        ({"since": "7d", "versus_since": "10d", "versus_until": "5d"}, "share calls"),
    ]:
        with pytest.raises(AssayError, match=said):
            monitor.compare(**wrong)
    arguments = ["compare", "--project", project, "--model", "a", "--with-model", "b", "--url", server.url]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    assert "conversations: 6 with model b, 6 with model a" in " ".join(shown.output.split())
    refused = CliRunner().invoke(app, ["compare", "--with", "model", "--url", server.url])
    assert "is no filter: write NAME=VALUE" in str(refused.exception)
