"""The lab's five thresholds over the newest calls."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from dirty_equals import IsDatetime

from assay.alerts.thresholds import Alert, Threshold, recent_alerts
from assay.analytics.selection import Selection
from assay.records import Score, Span
from assay.store.connect import Store
from assay.store.rows import arrow_schema, arrow_table, stamped
from assay.store.scores import insert_scores

START = 1_763_899_200_000_000  # 2025-11-23T12:00:00Z

Report = Callable[..., str]


@pytest.fixture
def reported(store: Store, project: str) -> Report:
    """Stores one call with these figures and scores, a second after the one before; answers its span id."""
    seconds = iter(range(1000))

    def report(*, latency_ms: float = 100.0, cost_usd: float | None = 0.01, **scores: float | None) -> str:
        span = Span(
            trace_id=secrets.token_hex(16),
            span_id=secrets.token_hex(8),
            project=project,
            kind="llm",
            counted=True,
            prompt="What is AI?",
            started_at=START + next(seconds) * 1_000_000,
            latency_ms=latency_ms,
            cost_usd=cost_usd,
        )
        store.insert("spans", stamped(arrow_table([span], arrow_schema(Span)), time.time_ns() // 1000))
        by = {"target": span.span_id, "project": project, "started_at": span.started_at, "scorer": "test"}
        insert_scores(store, [Score(name=name, value=value, **by) for name, value in scores.items()])
        return span.span_id

    return report


@pytest.mark.parametrize(
    ("metric", "limit", "beyond", "type", "severity", "message"),
    [
        ("toxicity", 0.1, 1, "HIGH_TOXICITY", "HIGH", "High toxicity detected: 0.100"),
        ("relevance", 0.7, 0, "LOW_RELEVANCE", "MEDIUM", "Low relevance score: 0.700"),
        ("latency_ms", 2000.0, math.inf, "HIGH_LATENCY", "MEDIUM", "High latency: 2000 ms"),
        ("cost_usd", 0.1, 1, "HIGH_COST", "LOW", "High cost: $0.1000"),
        ("coherence", 0.6, 0, "LOW_COHERENCE", "LOW", "Low coherence score: 0.600"),
    ],
)
def test_a_threshold_fires_just_beyond_its_limit_and_not_at_it(
    store: Store,
    project: str,
    reported: Report,
    metric: str,
    limit: float,
    beyond: float,
    type: str,
    severity: Any,
    message: str,
) -> None:
    reported(**{metric: limit})
    assert recent_alerts(store, Selection(project=project)) == []
    value = math.nextafter(limit, beyond)
    span_id = reported(**{metric: value})
    assert recent_alerts(store, Selection(project=project)) == [
        Alert(
            type=type,
            severity=severity,
            message=message,
            span_id=span_id,
            prompt="What is AI?",
            started_at=datetime(2025, 11, 23, 12, 0, 1, tzinfo=UTC),
            metric=metric,
            value=value,
            threshold=limit,
        )
    ]


def test_what_is_not_known_never_alarms(store: Store, project: str, reported: Report) -> None:
    reported(cost_usd=None, toxicity=None, relevance=None, coherence=None)
    reported(cost_usd=None)
    assert recent_alerts(store, Selection(project=project)) == []


def test_a_good_call_never_alarms(store: Store, project: str, reported: Report) -> None:
    reported(cost_usd=0.0, latency_ms=0.0, toxicity=0.0, relevance=1.0, coherence=1.0, groundedness=0.0)
    assert recent_alerts(store, Selection(project=project)) == []


def test_the_gravest_come_first_and_the_newest_among_equals(store: Store, project: str, reported: Report) -> None:
    first = reported(cost_usd=1.0, latency_ms=9000.0)
    second = reported(toxicity=0.9)
    third = reported(relevance=0.1, coherence=0.1, toxicity=0.2)
    fourth = reported(latency_ms=3000.0)
    alerts = recent_alerts(store, Selection(project=project))
    assert [(alert.severity, alert.type, alert.span_id) for alert in alerts] == [
        ("HIGH", "HIGH_TOXICITY", third),
        ("HIGH", "HIGH_TOXICITY", second),
        ("MEDIUM", "HIGH_LATENCY", fourth),
        ("MEDIUM", "LOW_RELEVANCE", third),
        ("MEDIUM", "HIGH_LATENCY", first),
        ("LOW", "LOW_COHERENCE", third),
        ("LOW", "HIGH_COST", first),
    ]


def test_only_the_newest_calls_are_looked_at(store: Store, project: str, reported: Report) -> None:
    reported(latency_ms=9999.0)
    for _ in range(9):
        reported()
    assert len(recent_alerts(store, Selection(project=project))) == 1, "ten calls by default"
    assert recent_alerts(store, Selection(project=project), recent=9) == []
    reported()
    assert recent_alerts(store, Selection(project=project)) == []
    assert len(recent_alerts(store, Selection(project=project), recent=11)) == 1


def test_calls_of_others_raise_no_alarm(store: Store, project: str, reported: Report) -> None:
    reported(latency_ms=9999.0)
    for selection in (
        Selection(project=f"{project}-other"),
        Selection(project=project, status="error"),
        Selection(project=project, until=datetime(2025, 11, 23, 12, tzinfo=UTC)),
    ):
        assert recent_alerts(store, selection) == []


def test_one_may_bring_thresholds_of_ones_own(store: Store, project: str, reported: Report) -> None:
    reported(groundedness=0.25)
    own = (
        Threshold("UNGROUNDED", "HIGH", "groundedness", below=0.3),
        Threshold("SLOWER", "LOW", "latency_ms", above=99, message="{value}"),
        Threshold("UNKNOWN", "LOW", "never scored", above=0),
    )
    alerts = recent_alerts(store, Selection(project=project), thresholds_of=lambda _: own)
    assert [(alert.type, alert.message, alert.started_at) for alert in alerts] == [
        ("UNGROUNDED", "0.250", IsDatetime),
        ("SLOWER", "100.0", IsDatetime),
    ]


def test_a_threshold_without_a_limit_is_a_mistake_of_its_author(store: Store, project: str, reported: Report) -> None:
    reported()
    with pytest.raises(ValueError, match="threshold T has neither above nor below"):
        recent_alerts(store, Selection(project=project), thresholds_of=lambda _: (Threshold("T", "LOW", "latency_ms"),))
