"""What the overview asks of the API: nine questions a refresh, aggregates and ten calls, never all rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from assay.client.monitor import Monitor
from assay.dashboard.data import Answer, Filter, Names
from assay.dashboard.side_by_side import side_by_side

RECENT = 10
INCIDENTS = 50


class Overview(msgspec.Struct, frozen=True):
    """All that one refresh of the page shows, as the API answers it."""

    usage: Answer
    points: list[Answer]
    bucket_seconds: int
    by_model: list[Answer]
    model_bucket_seconds: int
    latencies: list[Answer]
    calls: list[Answer]
    alerts: list[Answer]
    incidents: list[Answer]
    compared: Answer
    troubles: list[str]

    @property
    def changes(self) -> dict[str, Answer]:
        """Those against the period before, by metric; none where the time has no beginning."""
        return {change["metric"]: change for change in self.compared["changes"]}

    @property
    def names(self) -> Names:
        """The names of the newest calls, where new ones show first."""
        projects, models, environments = (
            tuple({call[name] for call in self.calls}) for name in ("project", "model", "environment")
        )
        return Names(projects, models, environments)


def overview(monitor: Monitor, chosen: Filter, compared: Answer | None = None) -> Overview | None:
    """The figures of the chosen calls, or None where there is no such call. Raises AssayError.

    `compared` is the comparison of a refresh not long ago: the dearest question, whose answer moves slowest.
    """
    asked = chosen.asked()
    # Those that take longest first.
    found = side_by_side(
        points=partial(monitor.trends, **asked),
        compared=_comparison(monitor, asked, compared),
        by_model=partial(monitor.trends, **asked, group_by="model", metric="cost_usd"),
        usage=partial(monitor.usage, **asked),
        calls=partial(monitor.calls, **asked, kind="llm", limit=RECENT),
        latencies=partial(monitor.latencies, **asked),
        alerts=partial(monitor.alerts, **asked, recent=RECENT),
        incidents=partial(monitor.incidents, phase=["firing", "resolved"], since=asked["since"], limit=INCIDENTS),
        health=monitor.health,
    )
    if not found["usage"]["total_calls"]:
        return None
    return Overview(
        usage=found["usage"],
        points=found["points"]["points"],
        bucket_seconds=found["points"]["bucket_seconds"],
        by_model=found["by_model"]["points"],
        model_bucket_seconds=found["by_model"]["bucket_seconds"],
        latencies=found["latencies"],
        calls=found["calls"]["calls"],
        alerts=found["alerts"],
        incidents=found["incidents"],
        compared=found["compared"],
        troubles=_troubles(found["health"]),
    )


def mean_score(points: list[Answer], name: str) -> tuple[float | None, int]:
    """A score's mean over all buckets, and how many calls it is of: the same as over the whole time at once."""
    told = [(point["scores"][name], point["intervals"][name]["n"]) for point in points if name in point["scores"]]
    n = sum(calls for mean, calls in told if mean is not None)
    return (sum(mean * calls for mean, calls in told if mean is not None) / n if n else None), n


def _comparison(monitor: Monitor, asked: dict[str, Any], known: Answer | None) -> Callable[[], Answer]:
    if known is not None or not asked["since"]:
        return lambda: known or {"before": {}, "changes": []}
    return partial(monitor.compare, **asked)


def _troubles(health: Answer) -> list[str]:
    """What does not work in the server itself, and in its scoring."""
    quality, judge = health.get("quality") or {}, health.get("judge") or {}
    rests = (
        [f"{name} is not scored for now, it failed again and again: {why}" for name, why in quality["resting"].items()]
        if quality
        else []
    )
    return [*health["problems"], *quality.get("problems", []), *rests, *filter(None, [judge.get("notice")])]
