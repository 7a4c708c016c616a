"""What-if pricing: the sums are those of pricing each call alone, and what is not known is told apart."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

import pytest
from genai_prices import data_snapshot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from assay.analytics.selection import Selection
from assay.analytics.what_if import what_if
from assay.cli import app
from assay.client.monitor import Monitor
from assay.config import Price
from assay.errors import AssayError
from assay.ingest.batch import SPAN_SCHEMA
from assay.ingest.figures import figures
from assay.ingest.pricing import Prices, Tokens
from assay.records import Span
from assay.store.connect import Store
from assay.store.rows import arrow_table, stamped
from conftest import Server, eventually, otlp

OWN = {"house-model": Price(input=1, output=2, cache_read=0.5, request=0.25)}
PRICES = Prices(OWN)
MIDNIGHT = 1_760_000_000 // 86_400 * 86_400
MINUTE, DAY = 60_000_000, 86_400_000_000

TARGETS = ["gpt-4o", "gemini-2.5-pro", "deepseek-chat", "claude-sonnet-4-5", "house-model", "unheard-of"]
"""Flat; with price tiers; with night tariffs; with another price above 200k tokens; with a fee; without a price."""

calls = st.fixed_dictionaries(
    {
        "response_model": st.sampled_from(["gpt-4o-mini", "gemini-2.5-pro", "nobody-knows"]),
        "started_at": st.integers(0, 3 * DAY // MINUTE).map(lambda minute: MIDNIGHT * 10**6 + minute * MINUTE),
        "input_tokens": st.none() | st.integers(0, 500) | st.integers(100_000, 400_000),
        "output_tokens": st.none() | st.integers(0, 5_000),
        "cache_read_tokens": st.none() | st.integers(0, 400),
        "cache_write_tokens": st.none() | st.integers(0, 400),
        "status": st.sampled_from(["ok", "ok", "error"]),
        "kind": st.sampled_from(["llm", "llm", "llm", "embedding"]),
    }
)


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(st.lists(calls, max_size=25), st.sampled_from(TARGETS))
def test_the_sum_is_that_of_pricing_call_by_call(store: Store, given_calls: list[dict[str, Any]], target: str) -> None:
    project = secrets.token_hex(4)
    spans = stored(store, project, *given_calls)
    conversations = [span for span in spans if span.kind == "llm"]
    alone = [(span, price_of(span, target)) for span in conversations]
    both = [(span, cost) for span, cost in alone if cost is not None and span.cost_usd is not None]
    only_then = [cost for span, cost in alone if cost is not None and span.cost_usd is None]
    only_now = [span.cost_usd for span, cost in alone if cost is None and span.cost_usd is not None]
    unbilled = [span for span in conversations if span.status == "error" and not told(span)]

    found = what_if(store, PRICES, Selection(project=project), [target])
    [answer] = found["models"]

    assert (found["calls"], found["failed"]) == (len(conversations), len(unbilled))
    assert (answer.calls, answer.only_then, answer.only_now) == (len(both), len(only_then), len(only_now))
    assert answer.calls + answer.only_then + answer.only_now + answer.unknown + found["failed"] == found["calls"]
    assert answer.then_usd == (close(sum(cost.total for _, cost in both)) if both else None)
    assert answer.input_usd == (close(sum(cost.input for _, cost in both)) if both else None)
    assert answer.now_usd == (close(sum(span.cost_usd or 0 for span, _ in both)) if both else None)
    assert answer.only_then_usd == (close(sum(cost.total for cost in only_then)) if only_then else None)
    assert sum(one.then_usd for one in answer.by_model) == close(answer.then_usd or 0)
    assert bool(answer.problem) == (target == "unheard-of")


@given(
    st.sampled_from([(one.id, model.id) for one in data_snapshot.get_snapshot().providers for model in one.models]),
    st.integers(0, 2 * DAY // 10**6),
    st.lists(st.integers(0, 300_000), min_size=1, max_size=4),
)
def test_rates_hold_for_every_call_of_their_tier_and_time(
    model: tuple[str, str], second: int, sizes: list[int]
) -> None:
    at = MIDNIGHT + second
    step = PRICES.steady_seconds(*model)
    for size in sizes:
        tier = sum(size > start for start in PRICES.tier_starts)
        largest = max(one for one in sizes if sum(one > start for start in PRICES.tier_starts) == tier)
        tokens = Tokens(size, 700, size // 3, size // 5)
        rates, exact = PRICES.rates(*model, at // step * step, largest), PRICES.cost(*model, at, tokens)
        assert (rates is None) == (exact is None)
        if rates and exact:
            assert rates.cost(tokens) == tuple(map(close, exact))


def test_a_model_without_a_price_says_what_to_do_and_nothing_is_zero(store: Store, project: str) -> None:
    stored(store, project, {"response_model": "gpt-4o-mini", "input_tokens": 1000, "output_tokens": 10})
    [answer] = what_if(store, PRICES, Selection(project=project), ["gpt-4o-minni"])["models"]
    assert (answer.calls, answer.then_usd, answer.ratio, answer.only_now) == (0, None, None, 1)
    assert "(did you mean gpt-4o-mini" in answer.problem
    assert '[prices."gpt-4o-minni"]' in answer.problem
    with pytest.raises(AssayError, match="as_model="):
        what_if(store, PRICES, Selection(project=project), [" "])


def test_it_is_asked_over_http_and_in_a_terminal(server: Server, monitor: Monitor, project: str) -> None:
    server.post(otlp({}, {}, {"gen_ai.request.model": "nobody-knows", "gen_ai.response.model": ""}, project=project))
    eventually(lambda: monitor.usage(project=project)["total_calls"] == 3)
    found = monitor.what_if("gpt-4o", "nobody-knows", project=project)
    assert [one["calls"] for one in found["models"]] == [2, 0]
    # $2.50 in and $10 out a million tokens, against $0.15 and $0.60
    assert found["models"][0]["then_usd"] == close(2 * (1000 * 2.5e-6 + 500 * 10e-6))
    assert found["models"][0]["ratio"] == close(100 / 6)
    asked = ["costs", "--what-if", "gpt-4o", "--what-if", "nobody-knows", "--project", project, "--url", server.url]
    assert json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout) == found
    shown = CliRunner().invoke(app, asked).stdout
    assert "$0.0150" in shown
    assert "Assumed: The same number of tokens" in shown
    assert "no price is known of 'nobody-knows'" in shown


def stored(store: Store, project: str, *given_calls: dict[str, Any]) -> list[Span]:
    spans = [
        figures(
            Span(
                **{
                    "trace_id": secrets.token_hex(16),
                    "span_id": secrets.token_hex(8),
                    "project": project,
                    "counted": True,
                    "kind": "llm",
                    "status": "ok",
                    "started_at": MIDNIGHT * 10**6,
                }
                | call
            ),
            PRICES,
        )
        for call in given_calls
    ]
    if spans:
        store.insert("spans", stamped(arrow_table(spans, SPAN_SCHEMA), time.time_ns() // 1000))
    return spans


def price_of(span: Span, model: str) -> Any:
    used = [
        reported if reported is not None else estimated
        for reported, estimated in (
            (span.input_tokens, span.estimated_input_tokens),
            (span.output_tokens, span.estimated_output_tokens),
        )
    ]
    if None in used:
        return None
    tokens = Tokens(*used, span.cache_read_tokens or 0, span.cache_write_tokens or 0)
    return PRICES.cost("", model, span.started_at / 1e6, tokens)


def told(span: Span) -> bool:
    """Whether it has tokens that could be billed, or a cost."""
    cached = (span.cache_read_tokens or 0) + (span.cache_write_tokens or 0)
    return span.cost_usd is not None or (
        span.output_tokens is not None and span.input_tokens is not None and span.input_tokens >= cached
    )


def close(value: float) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-12)
