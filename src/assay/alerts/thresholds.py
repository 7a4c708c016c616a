"""The lab's thresholds over the last calls: which of them is too toxic, off the point, slow or dear.

A verdict of None never raises an alert: what is not known is neither good nor bad.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from assay.analytics.calls import calls
from assay.analytics.selection import Selection
from assay.store.connect import Row, Store

Severity = Literal["HIGH", "MEDIUM", "LOW"]
RECENT = 10


class Threshold(msgspec.Struct, frozen=True):
    """A limit on one figure of one call. `metric` is a score's name, latency_ms or cost_usd."""

    type: str
    severity: Severity
    metric: str
    above: float | None = None
    below: float | None = None
    message: str = "{value:.3f}"


class Alert(msgspec.Struct, frozen=True):
    """One call beyond one threshold."""

    type: str
    severity: Severity
    message: str
    span_id: str
    prompt: str
    started_at: datetime
    metric: str
    value: float
    threshold: float


LAB_THRESHOLDS = (
    Threshold("HIGH_TOXICITY", "HIGH", "toxicity", above=0.1, message="High toxicity detected: {value:.3f}"),
    Threshold("LOW_RELEVANCE", "MEDIUM", "relevance", below=0.7, message="Low relevance score: {value:.3f}"),
    Threshold("HIGH_LATENCY", "MEDIUM", "latency_ms", above=2000, message="High latency: {value:.0f} ms"),
    Threshold("HIGH_COST", "LOW", "cost_usd", above=0.10, message="High cost: ${value:.4f}"),
    Threshold("LOW_COHERENCE", "LOW", "coherence", below=0.6, message="Low coherence score: {value:.3f}"),
)


_FIGURES = ("latency_ms", "cost_usd")


def recent_alerts(
    store: Store,
    selection: Selection,
    *,
    recent: int = RECENT,
    thresholds_of: Callable[[str], Sequence[Threshold]] = lambda _: LAB_THRESHOLDS,
) -> list[Alert]:
    """Alerts on the `recent` newest conversations of the selection, gravest first, newest first among equals.

    `thresholds_of` a project are those that its calls are held against.
    """
    newest = calls(store, selection, kind="llm", limit=recent).calls
    limits = {project: thresholds_of(project) for project in {call["project"] for call in newest}}
    alerts = [alert for call in newest for limit in limits[call["project"]] if (alert := _exceeds(call, limit))]
    return sorted(alerts, key=lambda alert: ("HIGH", "MEDIUM", "LOW").index(alert.severity))


def _exceeds(call: Row, threshold: Threshold) -> Alert | None:
    value = call[threshold.metric] if threshold.metric in _FIGURES else call["scores"].get(threshold.metric)
    limit, beyond = _limit(threshold)
    if value is None or not beyond(value, limit):
        return None
    return Alert(
        type=threshold.type,
        severity=threshold.severity,
        message=threshold.message.format(value=value),
        span_id=call["span_id"],
        prompt=call["prompt"],
        started_at=call["started_at"],
        metric=threshold.metric,
        value=value,
        threshold=limit,
    )


def _limit(threshold: Threshold) -> tuple[float, Callable[[float, float], bool]]:
    if threshold.above is not None:
        return threshold.above, operator.gt
    if threshold.below is not None:
        return threshold.below, operator.lt
    raise ValueError(f"threshold {threshold.type} has neither above nor below")
