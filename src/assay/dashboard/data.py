"""What the overview page asks of the API: seven questions a refresh, aggregates and ten calls, never all rows.

An eighth, about agreement, where people have judged calls.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from assay.client.monitor import Monitor

Answer = dict[str, Any]

RANGES = ("15m", "1h", "6h", "24h", "7d", "30d", "all")
RECENT = 10
QUESTIONS_AT_A_TIME = 4


class Filter(msgspec.Struct, frozen=True):
    """The calls that the page is about: one of RANGES, and a project and a model unless all are meant."""

    range: str = "24h"
    project: str | None = None
    model: str | None = None

    def asked(self) -> dict[str, Any]:
        """The same as filters of the API."""
        since = None if self.range == "all" else self.range
        return {"since": since, "project": self.project, "model": self.model}


class Names(msgspec.Struct, frozen=True):
    """The projects and models that the store has calls of, whenever they were."""

    projects: tuple[str, ...] = ()
    models: tuple[str, ...] = ()

    def knows(self, other: Names) -> bool:
        """Whether `other` holds nothing new."""
        return set(other.projects) <= set(self.projects) and set(other.models) <= set(self.models)

    def joined(self, other: Names) -> Names:
        """All names of both, in order."""
        return Names(tuple(sorted({*self.projects, *other.projects})), tuple(sorted({*self.models, *other.models})))


class Overview(msgspec.Struct, frozen=True):
    """All that one refresh of the page shows, as the API answers it."""

    usage: Answer
    scores: dict[str, Answer]
    points: list[Answer]
    by_model: list[Answer]
    bucket_seconds: int
    latencies: list[Answer]
    calls: list[Answer]
    alerts: list[Answer]
    troubles: list[str]
    agreement: Answer | None = None

    @property
    def names(self) -> Names:
        """The projects and models of the newest calls, where new ones show first."""
        return Names(tuple({call["project"] for call in self.calls}), tuple({call["model"] for call in self.calls}))


def names(monitor: Monitor) -> Names:
    """What can be filtered by. Raises AssayError."""
    projects = monitor.usage(group_by="project")["groups"]
    models = monitor.usage(group_by="model")["groups"] if projects else []
    return Names(_groups(projects), _groups(models))


def overview(monitor: Monitor, chosen: Filter) -> Overview | None:
    """The figures of the chosen calls, or None where there is no such call. Raises AssayError."""
    asked = chosen.asked()
    # Side by side: the store answers several questions at a time.
    with ThreadPoolExecutor(QUESTIONS_AT_A_TIME) as pool:
        usage = pool.submit(monitor.usage, **asked)
        trends = pool.submit(_trends, monitor, asked)
        scores = pool.submit(monitor.quality, **asked)
        latencies = pool.submit(monitor.latencies, **asked)
        calls = pool.submit(monitor.calls, **asked, kind="llm", limit=RECENT)
        alerts = pool.submit(monitor.alerts, **asked, recent=RECENT)
        health = pool.submit(monitor.health)
    if not usage.result()["total_calls"]:
        return None
    over_time, by_model = trends.result()
    labelled = any("human" in score["by_source"] for score in scores.result()["scores"].values())
    return Overview(
        usage=usage.result(),
        scores=scores.result()["scores"],
        points=over_time["points"],
        by_model=by_model["points"],
        bucket_seconds=over_time["bucket_seconds"],
        latencies=latencies.result(),
        calls=calls.result()["calls"],
        alerts=alerts.result(),
        troubles=_troubles(health.result()),
        agreement=monitor.agreement(**asked) if labelled else None,
    )


def _trends(monitor: Monitor, asked: dict[str, Any]) -> tuple[Answer, Answer]:
    over_time = monitor.trends(**asked)
    bucket = f"{over_time['bucket_seconds']}s"
    return over_time, monitor.trends(**asked, bucket=bucket, group_by="model", scores=False)


def _troubles(health: Answer) -> list[str]:
    """What does not work in the server itself, and in its scoring."""
    quality, judge = health.get("quality") or {}, health.get("judge") or {}
    rests = (
        [f"{name} is not scored for now, it failed again and again: {why}" for name, why in quality["resting"].items()]
        if quality
        else []
    )
    return [*health["problems"], *quality.get("problems", []), *rests, *filter(None, [judge.get("notice")])]


def _groups(groups: list[Answer]) -> tuple[str, ...]:
    return tuple(sorted(group["group"] for group in groups))
