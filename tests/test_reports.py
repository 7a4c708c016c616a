"""Reports: whole, for known calls; equal to the API; honest where little is known; inert whatever users wrote."""

from __future__ import annotations

import re
import secrets
import sys
import time
import zlib
from collections import Counter
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot
from markdown_it import MarkdownIt

from alerting import write_calls
from assay import figures
from assay.analytics.selection import Selection
from assay.analytics.worst import worst_calls
from assay.client.monitor import Monitor
from assay.errors import AssayError
from assay.records import Score, Span
from assay.reports.charts import nice_ticks
from assay.reports.content import Headline, Report
from assay.reports.making import Circumstances, report
from assay.reports.pdf import NoPdf, pdf
from assay.reports.recommend import recommendations
from assay.reports.render import changed, html, plain, render, summary
from assay.store.connect import Store
from assay.store.rows import arrow_schema, arrow_table, stamped
from assay.store.scores import insert_scores
from conftest import Server, eventually, otlp

START = 1_763_899_200_000_000  # 2025-11-23T12:00:00Z
NOW = datetime(2025, 11, 23, 13, tzinfo=UTC)
HERE = Circumstances(version="9.9.9", url="http://assay.test")


def report_call(
    store: Store, project: str, second: int = 0, *, scores: dict[str, Any] | None = None, **fields: Any
) -> str:
    own = {"span_id": secrets.token_hex(8), "trace_id": secrets.token_hex(16), "started_at": START + second * 1_000_000}
    span = Span(**own | {"project": project, "kind": "llm", "counted": True} | fields)
    store.insert("spans", stamped(arrow_table([span], arrow_schema(Span)), time.time_ns() // 1000))
    by = {"target": span.span_id, "project": project, "started_at": span.started_at, "session_id": span.session_id}
    told = [Score(name=name, value=value, comment=f"why {name}", **by) for name, value in (scores or {}).items()]
    insert_scores(store, told)
    return span.span_id


def made(store: Store, project: str, since: datetime | None = None, until: datetime | None = None) -> Report:
    return report(store, Selection(project=project, since=since, until=until), HERE, NOW)


def markdown(found: Report) -> str:
    return render(found, "md").decode()


def test_a_report_tells_how_many_answers_no_scorer_has_judged(store: Store, project: str) -> None:
    at = NOW.timestamp() - 60
    scored, failed = {"scores": {"relevance": None}}, {"status": "error", "error_type": "Timeout"}
    write_calls(store, project, [{"at": at, **more} for more in ({}, {}, scored, failed)])
    [gap] = [gap for gap in made(store, project).gaps if gap.key == "unscored"]
    assert (gap.calls, gap.of) == (2, 3)
    assert "2 of 3 calls are not scored" in markdown(made(store, project))


def test_a_report_tells_figures_against_the_period_before_and_what_to_do(store: Store, project: str) -> None:
    good = {"relevance": 0.9, "toxicity": 0.0, "groundedness": None}
    bad = {"relevance": 0.6, "toxicity": 0.5}
    report_call(store, project, -3600, cost_usd=0.02, latency_ms=500.0, input_tokens=500, scores=good)
    used = {"request_model": "gpt-4o", "user_id": "ann"}
    better = report_call(store, project, 0, cost_usd=0.01, latency_ms=500.0, input_tokens=1000, scores=good, **used)
    worst = report_call(
        store, project, 1, cost_usd=0.21, latency_ms=4500.0, prompt="Tell me a *joke*!", scores=bad, **used
    )
    report_call(store, project, 2, status="error", error_type="Timeout", error_message="gone | away", latency_ms=1000.0)
    report_call(store, project, 3, request_model="own-model", latency_ms=1000.0, output_tokens=5)
    report_call(store, project, 4, kind="embedding", cost_usd=0.0001, input_tokens=10, tokens_estimated=True)
    found = made(store, project, NOW - timedelta(hours=1), NOW)
    told = markdown(found).replace(worst, "WORST").replace(better, "BETTER").replace(project, "PROJECT")
    assert told == snapshot("""\
# LLM monitoring summary report

Covers: 2025-11-23T12:00:00Z to 2025-11-23T13:00:00Z (UTC)
Only: project PROJECT

## Headline figures

Compared with the same length of time before, from 2025-11-23T11:00:00Z.

| | now | before | change | |
|---|---:|---:|---:|---|
| Conversations | 4 | 1 | +300.0\u202f% |  |
| Cost | $0.2201 | $0.0200 | +1,000.5\u202f% | without 1 of unknown price |
| Cost a conversation | $0.1100 | $0.0200 | +450.0\u202f% |  |
| Tokens | 1,015 | 500 | +103.0\u202f% |  |
| Average latency | 1.75 s | 500 ms | +250.0\u202f% | p95 3.97 s |
| Failed calls | 20.0 % | 0.0 % | +20.0 points | 1 of 5 calls; 95% interval 1.8 % to 77.7 % |
| Relevance | 0.750 | 0.900 | −0.150 | 2 scored; 95% interval 0.028 to 0.997 |
| Toxicity | 0.250 | 0.000 | +0.250 | 2 scored; 95% interval 0.001 to 0.990 |

## What to do

- Quality is beyond its limits: relevance 0.750 (0.028 to 0.997), toxicity 0.250 (0.001 to 0.990); relevance above 0.7 and toxicity below 0.1 are wanted. Read the worst conversations below.
- Costs are high: \\$0.1100 a conversation. Look at the cost drivers below, and at the length of prompts.
- 20.0 % of calls failed, most often with Timeout (1): see the errors below.
- The model gpt-4o takes 100.0 % of the cost with 40.0 % of the calls.
- The user ann takes 100.0 % of the cost with 40.0 % of the calls.
- 1 of 5 calls have no known price: add the model's price to assay.toml, then run assay reprice.
- 1 of 5 calls have tokens estimated from their texts: ask for usage in streams: their costs are estimates too.
- 1 of 3 calls are not scored: assay doctor says why; assay quality backfill scores them.
- Speed is within the limit of 2 s on average: 1.75 s on average, 5% took longer than 3.97 s.

## Quality

| score | mean | 95% interval | before | p05 | median | p95 | scored | not assessable |
|---|---:|---|---:|---:|---:|---:|---:|---:|
| groundedness | – | – | – | – | – | – | 0 | 1 |
| relevance | 0.750 | 0.028 to 0.997 | 0.900 | 0.615 | 0.750 | 0.885 | 2 | 0 |
| toxicity | 0.250 | 0.001 to 0.990 | 0.000 | 0.025 | 0.250 | 0.475 | 2 | 0 |

## What changed

Nothing of which it is certain: there were too few sessions.

In brackets stand 95% intervals of the difference to the period before.

## Cost

| model | calls | tokens | cost | share | unpriced |
|---|---:|---:|---:|---:|---:|
| gpt-4o | 2 | 1,000 | $0.2200 | 100.0 % | 0 |
| (none given) | 2 | 10 | $0.000100 | 0.0 % | 0 |
| own-model | 1 | 5 | – | – | 1 |

| user | calls | tokens | cost | share | unpriced |
|---|---:|---:|---:|---:|---:|
| ann | 2 | 1,000 | $0.2200 | 100.0 % | 0 |
| (none given) | 3 | 15 | $0.000100 | 0.0 % | 1 |

## Speed

- Average: 1.75 s
- Half took no longer than 1.00 s, 95% no longer than 3.97 s, 99% no longer than 4.39 s

## Errors

- 1 × Timeout, last: gone \\| away

## Incidents

No alert rule fired.

## Worst conversations

- Relevance 0.600, 2025-11-23T12:00:01Z, gpt-4o: Tell me a \\*joke\\*! (why relevance) [call WORST](http://assay.test/conversations?call=WORST)
- Relevance 0.900, 2025-11-23T12:00:00Z, gpt-4o: (empty) (why relevance) [call BETTER](http://assay.test/conversations?call=BETTER)
- Toxicity 0.500, 2025-11-23T12:00:01Z, gpt-4o: Tell me a \\*joke\\*! (why toxicity) [call WORST](http://assay.test/conversations?call=WORST)

## What is not known

- 1 of 5 calls have no known price: add the model's price to assay.toml, then run assay reprice
- 1 of 5 calls have tokens estimated from their texts: ask for usage in streams: their costs are estimates too
- 1 of 1 calls could not be assessed for groundedness: their reasons stand beside each conversation
- 1 of 3 calls are not scored: assay doctor says why; assay quality backfill scores them

---

Made 2025-11-23T13:00:00Z by Assay 9.9.9 of 2025-11-23T12:00:00Z to 2025-11-23T13:00:00Z at http://assay.test. The same again:

    assay report --since=2025-11-23T12:00:00Z --until=2025-11-23T13:00:00Z --project=PROJECT --format=md
""")  # noqa: E501


def test_an_empty_range_says_so_and_shows_no_figure(store: Store) -> None:
    found = made(store, "nothing here", NOW - timedelta(days=1), NOW)
    assert markdown(found) == snapshot("""\
# LLM monitoring summary report

Covers: 2025-11-22T13:00:00Z to 2025-11-23T13:00:00Z (UTC)
Only: project nothing here

No call was recorded in this time that fits, so there is no figure to tell. Choose a longer range, or see the README for how to send calls.

---

Made 2025-11-23T13:00:00Z by Assay 9.9.9 of 2025-11-22T13:00:00Z to 2025-11-23T13:00:00Z at http://assay.test. The same again:

    assay report --since=2025-11-22T13:00:00Z --until=2025-11-23T13:00:00Z --project='nothing here' --format=md
""")  # noqa: E501
    page = html(found)
    assert "No call was recorded in this time that fits" in page
    assert "data-key" not in page
    assert "<svg" not in page
    assert "No call was recorded in this time that fits." in summary(found)


def test_without_a_period_before_nothing_is_compared(store: Store, project: str) -> None:
    report_call(store, project, 0, cost_usd=0.01, latency_ms=500.0)
    found = made(store, project, NOW - timedelta(hours=1), NOW)
    assert (found.before, found.changes) == (None, [])
    assert "There was no call in the same length of time before, so nothing is compared." in html(found)
    assert not re.search('class="change', html(found))


def test_an_open_range_begins_with_the_first_call_and_ends_now(store: Store, project: str) -> None:
    report_call(store, project, 90, latency_ms=1.0)
    found = made(store, project)
    assert (found.since, found.until) == (datetime(2025, 11, 23, 12, 1, 30, tzinfo=UTC), NOW)
    assert found.command == (
        f"assay report --since=2025-11-23T12:01:30Z --until=2025-11-23T13:00:00Z --project={project}"
    )
    assert found.usage["total_calls"] == 1


def test_the_same_range_gives_the_same_report_again(store: Store, project: str) -> None:
    values = [{"at": START / 1e6 + n, "session_id": f"s{n}", "scores": {"relevance": 0.5 + n / 100}} for n in range(20)]
    write_calls(store, project, values)
    first = made(store, project, NOW - timedelta(hours=1), NOW)
    asked = Selection(project=project, since=first.since, until=first.until)
    later = report(store, asked, HERE, NOW + timedelta(days=3))
    for one, other in zip(*([markdown(found), html(found)] for found in (first, later)), strict=True):
        assert one != other
        assert one.replace("Made 2025-11-23", "") == other.replace("Made 2025-11-26", "")


def test_what_was_certainly_worse_comes_first_with_its_interval(store: Store, project: str) -> None:
    def call(n: int) -> dict[str, Any]:
        relevance = (0.9 if n < 0 else 0.5) + n % 7 / 100
        return {"at": START / 1e6 + n, "session_id": f"s{n}", "scores": {"relevance": relevance}}

    write_calls(store, project, [call(n) for n in range(-200, 200)])
    found = made(store, project, NOW - timedelta(hours=1), NOW)
    assert re.match(r"Worse than before: relevance fell 0\.\d+ \[0\.\d+, 0\.\d+\]\. ", found.recommendations[0])
    assert '<span class="change worse">−0.4' in html(found)


def used(**more: Any) -> dict[str, Any]:
    known = {"total_calls": 1, "avg_latency_ms": 1.0, "p95_latency_ms": 2.0, "avg_cost_per_conversation": 0.0}
    return {**known, "errors": 0, "error_rate": 0.0} | more


def judged(relevance: float | None = 0.9, toxicity: float | None = 0.0) -> dict[str, dict[str, Any]]:
    row = {"low": None, "high": None}
    return {"relevance": {"mean": relevance, **row}, "toxicity": {"mean": toxicity, **row}}


def a_report(usage: dict[str, Any], scores: dict[str, Any], **more: Any) -> Report:
    span = {"made_at": NOW, "since": NOW, "until": NOW, "before_since": NOW}
    texts = {"title": "t", "version": "1", "command": "", "url": "", "filters": {}}
    return Report(**span, **texts, usage=usage, before=None, scores=scores, **more)


WELL = "Quality is within its limits: relevance 0.900, toxicity 0.000."


@pytest.mark.parametrize(
    ("usage", "scores", "said"),
    [
        (used(), judged(), WELL),
        (
            used(),
            judged(relevance=0.7),
            "Quality is beyond its limits: relevance 0.700, toxicity 0.000; relevance above",
        ),
        (
            used(),
            judged(toxicity=0.1),
            "Quality is beyond its limits: relevance 0.900, toxicity 0.100; relevance above",
        ),
        (used(), {}, "Quality is not scored yet: nothing to recommend on it."),
        (used(), judged(toxicity=None), "Quality is not scored yet: nothing to recommend on it."),
        (used(avg_latency_ms=1999.9), judged(), "Speed is within the limit of 2 s on average: 2.00 s on average, 5%"),
        (used(avg_latency_ms=2000.0), judged(), "Answers are slow: 2.00 s on average, 5% took longer than 2 ms."),
        (used(avg_latency_ms=None), judged(), "No conversation in this time: nothing to recommend on speed."),
        (
            used(avg_cost_per_conversation=0.0499),
            judged(),
            "Costs are within the limit of $0.05 a conversation: $0.0499",
        ),
        (used(avg_cost_per_conversation=0.05), judged(), "Costs are high: $0.0500 a conversation."),
        (used(avg_cost_per_conversation=None), judged(), "Costs are unknown: no conversation has a model with a known"),
    ],
)
def test_quality_speed_and_cost_are_recommended_on_by_their_figures(usage: Any, scores: Any, said: str) -> None:
    assert [one for one in recommendations(a_report(usage, scores)) if one.startswith(said)]


def test_what_failed_is_recommended_on_only_above_its_limit() -> None:
    broken = [{"error_type": "Timeout", "errors": 2}]
    said = recommendations(a_report(used(errors=2, error_rate=0.02), judged(), errors=broken))
    assert said[0] == "2.0 % of calls failed, most often with Timeout (2): see the errors below."
    assert "failed" not in " ".join(recommendations(a_report(used(error_rate=0.01), judged(), errors=broken)))


def test_a_change_is_said_in_the_figures_own_unit() -> None:
    def said(unit: Any, value: float | None, before: float | None) -> str:
        return changed(Headline(key="k", name="n", unit=unit, value=value, before=before))

    assert [
        said("count", 150, 100),
        said("usd", 0.5, 1.0),
        said("share", 0.032, 0.014),
        said("score", 0.787, 0.821),
        said("ms", 100.0, 100.01),
        said("count", 3, 0),
        said("usd", None, 1.5),
    ] == ["+50.0\u202f%", "−50.0\u202f%", "+1.8 points", "−0.034", "unchanged", "before 0", "before $1.50"]


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
    "1. list",
    "- item",
    "+ item",
    "{{ 7 * 7 }} {% raw %}",
    "\u2028# separated\u0085# lines\x0b\x0c\x1c",
    "'\" onmouseover=alert(1) x='",
    "</style></title></bdi><style>*{display:none}</style>",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_user_wrote_is_shown_and_not_rendered(text: str) -> None:
    harmless, hostile = (a_report_with(words) for words in ("harmless", text))
    one, other = (Elements.of(html(found)) for found in (harmless, hostile))
    assert other.tags == one.tags, "the text adds no element and no attribute of any kind"
    assert " ".join(text.replace("\x85", " ").split())[:40] in " ".join(other.text.split())
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    plainly, shown = (parser.parse(markdown(found)) for found in (harmless, hostile))
    assert shape(shown) == shape(plainly)


def a_report_with(text: str) -> Report:
    """A report in which a text of users stands in every place that has one."""
    from assay.analytics.worst import Worst

    known = used(
        total_calls=2,
        total_conversations=2,
        total_cost_usd=1.0,
        total_tokens=3,
        unpriced=0,
        p50_latency_ms=1.0,
        p99_latency_ms=3.0,
        avg_time_to_first_token_ms=None,
        judge_calls=0,
        group=text,
        share=1.0,
    )
    from assay.reports.content import Drivers, Gap

    incident = {"rule": text, "group": text, "severity": "HIGH", "phase": "firing", "began": NOW, "message": text}
    said = {"prompt": text, "response": text, "reason": text, "model": text, "project": text}
    point = {"bucket": NOW, "group": text, "cost_usd": 1.0, "calls": 1}
    found = a_report(
        known,
        {},
        drivers=[Drivers(dimension="model", rows=[known], others=0)],
        errors=[
            {"error_type": text, "errors": 1, "share": 1.0, "message": text, "models": [{"model": text, "errors": 1}]}
        ],
        kinds=[
            {"name": text, "calls": 1, "share": 1.0, "cost_usd": None, "error_rate": 0.0, "worse": True}
            | {"changes": {text: {"worse": True}, "relevance": {"worse": False}}}
        ],
        incidents=[incident],
        by_model=[point],
        bucket_seconds=60,
        worst=[Worst(score="relevance", value=0.1, span_id="ab", started_at=NOW, **said)],
        gaps=[Gap(key="refused", says="were refused", calls=1, of=0, fix=text)],
        recommendations=[text],
    )
    return Report(**{**{name: getattr(found, name) for name in found.__struct_fields__}, "filters": {"user_id": text}})


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags = Counter[tuple[str, ...]]()
        self.text = ""

    @classmethod
    def of(cls, page: str) -> Elements:
        found = cls()
        found.feed(page)
        return found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[(tag, *(name for name, _ in attrs))] += 1

    def handle_data(self, data: str) -> None:
        self.text += data


def shape(tokens: list[Any]) -> list[str]:
    """The kinds of all Markdown elements, those that only hold text left out."""
    inner = [child.type for token in tokens for child in token.children or []]
    return [token.type for token in tokens] + [kind for kind in inner if kind not in ("text", "text_special")]


@pytest.mark.parametrize("text", ["see https://evil.example/a", "see www.evil.example", "mail a@evil.example"])
def test_an_address_a_user_wrote_does_not_become_a_link_where_bare_addresses_do(text: str) -> None:
    # GitHub's Markdown (section 6.9) links these without any brackets.
    assert not re.search(r"https?://|www\.|\w@\w", plain(text))


@given(st.text(max_size=300))
def test_no_text_at_all_adds_anything_to_the_markdown(text: str) -> None:
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    assert shape(parser.parse(f"- {plain(text)}, last\n")) == shape(parser.parse("- harmless, last\n"))


def test_the_html_holds_no_script_and_asks_for_nothing(store: Store, project: str) -> None:
    report_call(store, project, 0, cost_usd=0.01, latency_ms=500.0, scores={"relevance": 0.2})
    page = html(made(store, project, NOW - timedelta(hours=1), NOW))
    found = Elements.of(page)
    assert {tag for tag, *_ in found.tags} & {"script", "link", "img", "iframe", "object", "form"} == set()
    assert not [
        name for _, *names in found.tags for name in names if name in ("src", "srcset") or name.startswith("on")
    ]
    assert not re.search(r"url\(|@import", page)
    assert "default-src 'none'; style-src 'unsafe-inline'" in page
    assert set(re.findall(r'href="([^"]+)/conversations[?]call=', page)) == {"http://assay.test"}
    assert page.count('<svg class="chart"') == page.count("<title>") - 1 == 3, "each chart has a title"


def test_a_pdf_is_made_of_the_same_page_and_says_whose_it_is(store: Store, project: str) -> None:
    report_call(store, project, 0, cost_usd=0.01, latency_ms=500.0, scores={"relevance": 0.2})
    found = made(store, project, NOW - timedelta(hours=1), NOW)
    try:
        content = render(found, "pdf")
    except NoPdf as error:
        pytest.skip(f"WeasyPrint cannot load here: {error}")
    assert content.startswith(b"%PDF-")
    said = b"".join(zlib.decompress(stream) for stream in re.findall(rb"stream\n(x.+?)\nendstream", content, re.DOTALL))
    assert b"pdfuaid:part" in said, "it is tagged, for screen readers"
    assert b"LLM monitoring summary report: Sun 23 Nov 2025, 12:00 to" in said


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (ImportError("no module"), r"pip install 'assay\[pdf\]'"),
        (OSError("cannot load library"), "apt-get install libpango"),
    ],
)
def test_where_pdf_cannot_be_made_it_says_what_to_install(
    missing: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Missing:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "weasyprint":
                raise missing

    monkeypatch.delitem(sys.modules, "weasyprint", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(NoPdf, match=said):
        pdf("<p>")


@given(st.floats(1e-9, 1e12))
def test_the_ticks_of_an_axis_are_few_and_reach_the_highest_bar(highest: float) -> None:
    ticks = nice_ticks(highest)
    assert ticks[0] == 0
    assert ticks[-1] >= highest * (1 - 1e-9)
    assert ticks[-2] < highest
    assert 3 <= len(ticks) <= 7


def test_the_worst_conversations_of_each_score_come_with_their_reasons(store: Store, project: str) -> None:
    ids = [
        report_call(store, project, second, scores={"relevance": relevance, "toxicity": toxicity}, prompt=f"p{second}")
        for second, (relevance, toxicity) in enumerate([(0.5, 0.0), (0.1, 0.9), (1.0, 0.2), (None, None), (0.3, 0.0)])
    ]
    found = worst_calls(store, Selection(project=project), {"toxicity": "scorer", "relevance": "scorer"}, each=2)
    assert [(one.score, one.value, one.span_id) for one in found] == [
        ("toxicity", 0.9, ids[1]),
        ("toxicity", 0.2, ids[2]),
        ("relevance", 0.1, ids[1]),
        ("relevance", 0.3, ids[4]),
    ]
    assert (found[0].reason, found[0].prompt) == ("why toxicity", "p1")
    assert worst_calls(store, Selection(project="none such"), {"relevance": "scorer"}) == []


def test_every_figure_of_a_report_is_the_apis(server: Server, monitor: Monitor, project: str) -> None:
    calls = [{}, {"gen_ai.response.model": "gpt-4o-2024-08-06"}, {"error": "Rate limit reached", "error.type": "Limit"}]
    server.post(otlp(*calls, *[{"gen_ai.conversation.id": f"s{n}"} for n in range(5)], project=project))
    eventually(lambda: monitor.quality(project=project)["scores"].get("relevance", {}).get("n") == 7)
    page = monitor.report("html", project=project, since="1h")
    span = dict(re.findall(r"--(since|until)=(\S+)", page))
    answers = {
        "usage": monitor.usage(project=project, **span),
        "scores": monitor.quality(project=project, **span)["scores"],
        "costs": monitor.costs(project=project, **span),
    }
    keys = re.findall(r'data-key="([^"]+)"[^>]*>([^<]*)<', page)
    assert len({key for key, _ in keys}) > 30
    for key, shown in keys:
        assert shown == as_shown(key, answers), key
    told = monitor.report("json", project=project, **span)
    assert told["usage"] == answers["usage"]
    assert told["costs"] == answers["costs"]
    assert told["errors"] == monitor.errors(project=project, **span)["types"]
    assert told["points"] == monitor.trends(project=project, **span)["points"]
    assert told["latencies"] == monitor.latencies(project=project, **span)


def as_shown(key: str, answers: dict[str, Any]) -> str:
    value: Any = answers
    for part in key.split("."):
        value = value[part]
    last = key.rpartition(".")[2]
    if last.endswith("_ms"):
        return figures.milliseconds(value)
    if "cost" in last:
        return figures.dollars(value)
    if last == "error_rate":
        return figures.percent(value)
    return figures.score(value) if last in ("mean", "p05", "p50", "p95") else figures.count(value)


def test_a_report_comes_over_http_in_every_format_or_says_what_is_wrong(server: Server, project: str) -> None:
    server.post(otlp({}, project=project))

    def ask(**asked: str) -> httpx.Response:
        return httpx.get(f"{server.url}/api/report", params={"project": project, **asked}, timeout=60)

    types = {format: ask(format=format).headers["content-type"] for format in ("md", "html", "json")}
    assert types == {
        "md": "text/markdown; charset=utf-8",
        "html": "text/html; charset=utf-8",
        "json": "application/json",
    }
    assert "| Conversations | 1 |" in ask().text
    assert ask(title="Weekly for <b>all</b>", format="html").text.count("Weekly for &lt;b&gt;all&lt;/b&gt;") == 2
    for asked, said in [
        ({"format": "docx"}, "cannot write a report as 'docx': choose one of md, html, pdf, json"),
        ({"since": "yesterday"}, "'yesterday' is no point in time"),
        ({"since": "1h", "until": "2h"}, "covers no time: give --since an earlier moment than --until"),
    ]:
        answer = ask(**asked)
        assert answer.status_code == 400
        assert said in answer.json()["error"]


def test_a_range_that_ends_before_it_begins_is_refused(store: Store) -> None:
    with pytest.raises(AssayError, match="covers no time"):
        made(store, "p", NOW, NOW)
