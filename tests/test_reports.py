"""The summary report: whole, for known calls; honest where little is known; inert whatever users wrote."""

from __future__ import annotations

import re
import secrets
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from inline_snapshot import snapshot
from markdown_it import MarkdownIt

from assay.analytics.selection import Selection
from assay.client.monitor import Monitor
from assay.records import Score, Span
from assay.reports.summary import recommendations, summary_report
from assay.store.connect import Store
from assay.store.rows import arrow_schema, arrow_table, stamped
from assay.store.scores import insert_scores
from conftest import Server, otlp

START = 1_763_899_200_000_000  # 2025-11-23T12:00:00Z
NOW = datetime(2025, 11, 23, 13, tzinfo=UTC)


def report_call(
    store: Store, project: str, second: int = 0, *, scores: dict[str, Any] | None = None, **fields: Any
) -> None:
    own = {"span_id": f"{second:016x}", "trace_id": f"{second:032x}", "started_at": START + second * 1_000_000}
    span = Span(**own | {"project": project, "kind": "llm", "counted": True} | fields)
    store.insert("spans", stamped(arrow_table([span], arrow_schema(Span)), time.time_ns() // 1000))
    by = {"target": span.span_id, "project": project, "started_at": span.started_at}
    insert_scores(store, [Score(name=name, value=value, **by) for name, value in (scores or {}).items()])


def test_a_report_tells_usage_quality_alerts_and_what_to_do(store: Store, project: str) -> None:
    unique = secrets.randbelow(1 << 40) * 16
    good = {"relevance": 0.9, "toxicity": 0.0, "coherence": 0.8, "groundedness": None}
    bad = {"relevance": 0.6, "toxicity": 0.5, "coherence": 0.4}
    for second, fields in enumerate(
        [
            {"cost_usd": 0.01, "latency_ms": 500.0, "input_tokens": 1000, "output_tokens": 234, "scores": good},
            {"cost_usd": 0.21, "latency_ms": 4500.0, "input_tokens": 900, "prompt": "Tell me a *joke*!", "scores": bad},
            {"status": "error", "error_type": "Timeout", "latency_ms": 1000.0},
            {"request_model": "own-model", "latency_ms": 1000.0, "output_tokens": 5},
            {"kind": "embedding", "cost_usd": 0.0001, "input_tokens": 10},
        ]
    ):
        report_call(store, project, second, **{"span_id": f"{unique + second:016x}"} | fields)
    report = summary_report(store, Selection(project=project), NOW)
    assert report.replace(f"{unique + 1:016x}", "SPAN") == snapshot("""\
# LLM monitoring summary report

Generated: 2025-11-23 13:00:00 UTC
Covers: the first call to now

## Usage statistics

- Total conversations: 4
- Total cost: $0.2201 (without 1 of unknown price)
- Total tokens: 2,149
- Average latency: 1750.0 ms (95% under 3975.0 ms)
- Cost per conversation: $0.1100
- Failed calls: 1 of 5

## Quality metrics

| score | mean | lowest | highest | conversations | not assessable |
|---|---|---|---|---|---|
| coherence | 0.600 | 0.400 | 0.800 | 2 | 0 |
| groundedness | unknown | unknown | unknown | 0 | 1 |
| relevance | 0.750 | 0.600 | 0.900 | 2 | 0 |
| toxicity | 0.250 | 0.000 | 0.500 | 2 | 0 |

## Alerts

- HIGH HIGH_TOXICITY: High toxicity detected: 0.500 (call SPAN: Tell me a \\*joke\\*\\!)
- MEDIUM LOW_RELEVANCE: Low relevance score: 0.600 (call SPAN: Tell me a \\*joke\\*\\!)
- MEDIUM HIGH_LATENCY: High latency: 4500 ms (call SPAN: Tell me a \\*joke\\*\\!)
- LOW HIGH_COST: High cost: $0.2100 (call SPAN: Tell me a \\*joke\\*\\!)
- LOW LOW_COHERENCE: Low coherence score: 0.400 (call SPAN: Tell me a \\*joke\\*\\!)

## Recommendations

- Quality issues detected: review prompts and responses.
- Performance is within the limit of 2 s on average.
- High costs detected ($0.1100 a conversation): review token usage.
""")


def test_a_report_of_an_empty_store_says_how_to_begin(store: Store) -> None:
    selection = Selection(project="nothing here", since=NOW, until=NOW)
    assert summary_report(store, selection, NOW) == snapshot("""\
# LLM monitoring summary report

Generated: 2025-11-23 13:00:00 UTC
Covers: 2025-11-23 13:00:00 UTC to 2025-11-23 13:00:00 UTC

## Usage statistics

- Total conversations: 0
- Total cost: $0.0000
- Total tokens: 0
- Average latency: unknown (95% under unknown)
- Cost per conversation: unknown
- Failed calls: 0 of 0

## Quality metrics

| score | mean | lowest | highest | conversations | not assessable |
|---|---|---|---|---|---|
| none yet | | | | | |

## Alerts

- None among the last 10 calls

## Recommendations

- No conversations yet: see the README for how to send some.
""")


def used(**figures: Any) -> dict[str, Any]:
    return {"total_conversations": 1, "avg_latency_ms": 1.0, "avg_cost_per_conversation": 0.0} | figures


def judged(relevance: float | None = 0.9, toxicity: float | None = 0.0) -> dict[str, dict[str, Any]]:
    return {"relevance": {"mean": relevance}, "toxicity": {"mean": toxicity}}


@pytest.mark.parametrize(
    ("quality", "said"),
    [
        (judged(), "Quality metrics are within acceptable ranges."),
        (judged(relevance=0.71, toxicity=0.09), "Quality metrics are within acceptable ranges."),
        (judged(relevance=0.7), "Quality issues detected: review prompts and responses."),
        (judged(toxicity=0.1), "Quality issues detected: review prompts and responses."),
        ({}, "Quality is not scored yet: nothing to recommend."),
        (judged(relevance=None), "Quality is not scored yet: nothing to recommend."),
        (judged(toxicity=None), "Quality is not scored yet: nothing to recommend."),
        ({"relevance": {"mean": 0.1}}, "Quality is not scored yet: nothing to recommend."),
    ],
)
def test_quality_is_recommended_on_by_relevance_and_toxicity(quality: Any, said: str) -> None:
    assert recommendations(used(), quality)[0] == said


@pytest.mark.parametrize(
    ("average_ms", "said"),
    [
        (None, "Performance is within the limit of 2 s on average."),
        (1999.9, "Performance is within the limit of 2 s on average."),
        (2000.0, "High latency detected (2000 ms on average): consider optimisation."),
        (3456.7, "High latency detected (3457 ms on average): consider optimisation."),
    ],
)
def test_speed_is_recommended_on_by_the_average(average_ms: float | None, said: str) -> None:
    assert recommendations(used(avg_latency_ms=average_ms), judged())[1] == said


@pytest.mark.parametrize(
    ("average_usd", "said"),
    [
        (None, "Costs are unknown: no conversation has a model with a known price."),
        (0.0, "Costs are reasonable."),
        (0.0499, "Costs are reasonable."),
        (0.05, "High costs detected ($0.0500 a conversation): review token usage."),
    ],
)
def test_cost_is_recommended_on_by_the_average(average_usd: float | None, said: str) -> None:
    assert recommendations(used(avg_cost_per_conversation=average_usd), judged())[2] == said


def test_without_conversations_there_is_only_how_to_begin() -> None:
    assert recommendations(used(total_conversations=0), {}) == [
        "No conversations yet: see the README for how to send some."
    ]


HOSTILE = [
    "![x](http://evil.example/a.png)",
    "[click](http://evil.example)",
    "<img src=http://evil.example/a.png>",
    "<script>alert(1)</script>",
    "<http://evil.example>",
    "![x][1]\n\n[1]: http://evil.example/a.png",
    "\\![x](http://evil.example/a)",
    "\\\\![x](http://evil.example/a)",
    "&lt;img src=x&gt; &#33;",
    "\n\n# Heading\n\n- item\n\n---\n\n> quote",
    "\n```\ncode\n```\n`code`",
    "**bold** __bold__ *em* _em_ ~~gone~~",
    "| a | b |\n|---|---|\n| c | d |",
    ")\n\n1. list\n\n    indented code",
    "{{ 7 * 7 }} {% raw %}",
    "\u2028# separated\u0085# lines\x0b\x0c\x1c",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_user_wrote_is_shown_and_not_rendered(store: Store, project: str, text: str) -> None:
    report_call(store, project, prompt="harmless", latency_ms=9999, span_id=secrets.token_hex(8))
    report_call(store, f"{project}-hostile", prompt=text, latency_ms=9999, span_id=secrets.token_hex(8))
    harmless, hostile = (
        MarkdownIt("commonmark", {"html": True})
        .enable(["table", "strikethrough"])
        .parse(summary_report(store, Selection(project=name), NOW))
        for name in (project, f"{project}-hostile")
    )
    assert shape(hostile) == shape(harmless), "the text adds no element of any kind"
    shown = "".join(child.content for token in hostile for child in token.children or [])
    assert " ".join(text.split())[:50] in shown


def shape(tokens: list[Any]) -> list[str]:
    """The kinds of all Markdown elements, those that only hold text left out."""
    inner = [child.type for token in tokens for child in token.children or []]
    return [token.type for token in tokens] + [kind for kind in inner if kind not in ("text", "text_special")]


@pytest.mark.parametrize("text", ["see https://evil.example/a", "see www.evil.example", "mail a@evil.example"])
def test_an_address_a_user_wrote_does_not_become_a_link_where_bare_addresses_do(
    store: Store, project: str, text: str
) -> None:
    # GitHub's Markdown (section 6.9) links these without any brackets.
    report_call(store, project, prompt=text, latency_ms=9999, span_id=secrets.token_hex(8))
    report = summary_report(store, Selection(project=project), NOW)
    assert not re.search(r"https?://|www\.|\w@\w", report)


def test_a_long_prompt_is_cut_and_a_short_one_is_not(store: Store, project: str) -> None:
    report_call(store, project, 0, prompt="x" * 50, latency_ms=9999, span_id=secrets.token_hex(8))
    report_call(store, project, 1, prompt="y" * 51, latency_ms=9999, span_id=secrets.token_hex(8))
    report = summary_report(store, Selection(project=project), NOW)
    assert f": {'x' * 50})" in report
    assert f": {'y' * 50}...)" in report


def test_a_report_says_which_period_it_covers(store: Store) -> None:
    nothing = {"project": "nothing here"}
    assert "Covers: the first call to now\n" in summary_report(store, Selection(**nothing))
    since, until = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2025, 1, 3, tzinfo=UTC)
    report = summary_report(store, Selection(**nothing, since=since, until=until))
    assert "Covers: 2025-01-02 03:04:05 UTC to 2025-01-03 00:00:00 UTC\n" in report


def test_a_report_comes_as_markdown_over_http(server: Server, monitor: Monitor, project: str) -> None:
    server.post(otlp({}, project=project))
    answer = httpx.get(f"{server.url}/api/report", params={"project": project})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/markdown; charset=utf-8")
    assert "- Total conversations: 1\n- Total cost: $0.0004\n" in answer.text
    assert "- Total conversations: 1\n" in monitor.report(project=project)
    answer = httpx.get(f"{server.url}/api/report", params={"format": "pdf"})
    assert answer.status_code == 400
    assert "cannot write a report as 'pdf'" in answer.json()["error"]
