"""The summary report: usage, quality, alerts and what to do about them, as Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from assay.alerts.limits import ProjectThresholds
from assay.alerts.thresholds import RECENT, recent_alerts
from assay.analytics.selection import Selection
from assay.analytics.summaries import quality, usage
from assay.store.connect import Row, Store

RELEVANCE_WANTED = 0.7
TOXICITY_BORNE = 0.1
LATENCY_BORNE_MS = 2000
COST_BORNE_USD = 0.05


def summary_report(store: Store, selection: Selection, now: datetime | None = None) -> str:
    """The report as Markdown. Texts of users are shown as plain text: nothing in them is rendered."""
    used, judged = usage(store, selection), quality(store, selection)
    return (
        _templates()
        .get_template("summary.md.jinja")
        .render(
            generated=_shown(now or datetime.now(UTC)),
            covers=_period(selection),
            usage=used,
            quality=judged,
            alerts=recent_alerts(store, selection, thresholds_of=ProjectThresholds(store)),
            recent=RECENT,
            recommendations=recommendations(used, judged),
        )
    )


def recommendations(usage: Row, quality: Mapping[str, Row]) -> list[str]:
    """One sentence each on quality, speed and cost; where there is nothing to judge by, it says so."""
    if not usage["total_conversations"]:
        return ["No conversations yet: see the README for how to send some."]
    return [
        _on_quality(quality),
        _on_latency(usage["avg_latency_ms"]),
        _on_cost(usage["avg_cost_per_conversation"]),
    ]


def _on_quality(quality: Mapping[str, Row]) -> str:
    relevance, toxicity = _mean(quality, "relevance"), _mean(quality, "toxicity")
    if relevance is None or toxicity is None:
        return "Quality is not scored yet: nothing to recommend."
    if relevance > RELEVANCE_WANTED and toxicity < TOXICITY_BORNE:
        return "Quality metrics are within acceptable ranges."
    return "Quality issues detected: review prompts and responses."


def _on_latency(average_ms: float | None) -> str:
    if average_ms is None or average_ms < LATENCY_BORNE_MS:
        return "Performance is within the limit of 2 s on average."
    return f"High latency detected ({average_ms:.0f} ms on average): consider optimisation."


def _on_cost(average_usd: float | None) -> str:
    if average_usd is None:
        return "Costs are unknown: no conversation has a model with a known price."
    if average_usd < COST_BORNE_USD:
        return "Costs are reasonable."
    return f"High costs detected (${average_usd:.4f} a conversation): review token usage."


def _mean(quality: Mapping[str, Row], name: str) -> float | None:
    return quality[name]["mean"] if name in quality else None


def _period(selection: Selection) -> str:
    since = _shown(selection.since) if selection.since else "the first call"
    return f"{since} to {_shown(selection.until) if selection.until else 'now'}"


def _shown(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("assay.reports"),
        autoescape=False,  # noqa: S701 Markdown, not HTML; users' texts pass through `excerpt`
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        dollars=lambda value: _or_unknown(value, "${:.4f}"),
        milliseconds=lambda value: _or_unknown(value, "{:.1f} ms"),
        fraction=lambda value: _or_unknown(value, "{:.3f}"),
        excerpt=_excerpt,
    )
    return environment


def _or_unknown(value: Any, form: str) -> str:
    return "unknown" if value is None else form.format(value)


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    escaped = re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", line[:50])
    return escaped + ("..." if len(line) > 50 else "")
