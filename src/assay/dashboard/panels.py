"""The parts of the overview that are aggregates: headline figures, charts and alerts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from assay.dashboard import figures
from assay.dashboard.charts import cost_bars, latency_bars, quality_lines
from assay.dashboard.data import RECENT, Answer, Overview
from assay.dashboard.inert import excerpt, inert

SEVERITIES: dict[str, Literal["red", "orange", "blue"]] = {"HIGH": "red", "MEDIUM": "orange", "LOW": "blue"}

_PANEL_HEIGHT = 372
_LONGEST_TROUBLE, _MOST_TROUBLES = 300, 4
_SCROLLS_FROM = 4
_METRIC_HEIGHT = 120


def troubles(overview: Overview) -> None:
    """What does not work in Assay itself; nothing where all does."""
    if overview.troubles:
        st.warning(
            "\n\n".join(inert(excerpt(trouble, _LONGEST_TROUBLE)) for trouble in overview.troubles[:_MOST_TROUBLES]),
            title="Not everything in Assay works",
            icon=":material/build:",
        )


def headline(overview: Overview) -> None:
    """Four figures: conversations, cost, latency and relevance, each with what qualifies it."""
    usage, relevance = overview.usage, overview.scores.get("relevance", {})
    with st.grid(4, gap="small", min_column_width=150):
        metric(
            "Total conversations",
            figures.count(usage["total_conversations"]),
            _errors(usage),
            "red" if usage["errors"] else "gray",
            "Calls to a language model, each counted once; embeddings are not among them.",
        )
        metric(
            "Total cost",
            figures.dollars(_known_cost(usage)),
            f"{figures.count(usage['unpriced'])} unpriced" if usage["unpriced"] else _tokens(usage),
            "orange" if usage["unpriced"] else "gray",
            "US dollars, of the calls whose model has a known price. Unpriced calls are not in it.",
        )
        metric(
            "Average latency",
            figures.milliseconds(usage["avg_latency_ms"]),
            f"p95 {figures.milliseconds(usage['p95_latency_ms'])}",
            "gray",
            "From the request to the end of the answer; 95 of 100 conversations took no longer than p95.",
        )
        metric(
            "Average relevance",
            figures.score(relevance.get("mean")),
            _assessed(relevance),
            "gray",
            "How much the answers are about what was asked: 0 not at all, 1 fully.",
        )


def quality(overview: Overview) -> None:
    """Mean scores over time."""
    with _panel("Quality over time"):
        chart = quality_lines(overview.points)
        if chart is None:
            st.caption("No scores yet: a conversation is scored within seconds after it is stored.")
        else:
            st.altair_chart(chart, key="quality", alt="Mean scores over time, from 0 to 1")


def cost(overview: Overview) -> None:
    """Dollars over time by model."""
    with _panel("Cost over time"):
        chart = cost_bars(overview.by_model, overview.bucket_seconds)
        if chart is None:
            st.caption("No call with a known price in this time.")
        else:
            st.altair_chart(chart, key="cost", alt="Cost in US dollars over time, stacked by model")


def latency(overview: Overview) -> None:
    """How latencies are spread."""
    with _panel("Latency distribution"):
        if not overview.latencies:
            st.caption("No conversation in this time.")
            return
        marks = {"p50": overview.usage["p50_latency_ms"], "p95": overview.usage["p95_latency_ms"]}
        chart = latency_bars(overview.latencies, marks)
        st.altair_chart(chart, key="latency", alt="Conversations by latency, on a logarithmic scale")


def alerts(overview: Overview) -> None:
    """What the newest calls have beyond the thresholds, gravest first."""
    with _panel("Alerts", "stretch" if len(overview.alerts) < _SCROLLS_FROM else _PANEL_HEIGHT):
        if not overview.alerts:
            st.success(f"All within limits in the last {RECENT} calls.", icon=":material/check_circle:")
        for severity, colour in SEVERITIES.items():
            of_severity = [alert for alert in overview.alerts if alert["severity"] == severity]
            if of_severity:
                st.badge(f"{severity} · {len(of_severity)}", color=colour)
            for alert in of_severity:
                _alert(alert)


def _alert(alert: Answer) -> None:
    when = figures.clock(alert["started_at"], st.context.timezone, datetime.now(UTC))
    prompt = excerpt(alert["prompt"]) or "(no prompt)"
    st.markdown(f"**{inert(alert['message'])}**  \n:small[:gray[{inert(f'{when} · {prompt}')}]]")


def _panel(title: str, height: int | Literal["stretch"] = _PANEL_HEIGHT) -> DeltaGenerator:
    panel = st.container(border=True, height=height)
    panel.subheader(title, anchor=False)
    return panel


def metric(
    label: str,
    value: str,
    qualifier: str,
    colour: Literal["red", "orange", "gray"] = "gray",
    meaning: str | None = None,
) -> None:
    """A headline figure in its frame, with what qualifies it below."""
    st.metric(
        label,
        inert(value),
        inert(qualifier) or None,
        delta_color=colour,
        delta_arrow="off",
        help=meaning,
        border=True,
        height=_METRIC_HEIGHT,
    )


def _known_cost(usage: Answer) -> float | None:
    total, unpriced = usage["total_cost_usd"], usage["unpriced"]
    nothing_priced = not total and unpriced and unpriced >= usage["total_calls"] - usage["errors"]
    return None if nothing_priced else total


def _errors(usage: Answer) -> str:
    errors = usage["errors"]
    if not errors:
        return "no errors"
    return f"{figures.count(errors)} {'error' if errors == 1 else 'errors'} · {figures.percent(usage['error_rate'])}"


def _tokens(usage: Answer) -> str:
    return f"{figures.count(usage['total_tokens'])} tokens"


def _assessed(score: Answer) -> str:
    if not score:
        return "none scored yet"
    unknown = f" · {figures.count(score['not_assessable'])} not assessable" if score["not_assessable"] else ""
    return f"{figures.count(score['n'])} scored{unknown}"
