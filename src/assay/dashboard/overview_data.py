"""What the overview asks of the API: nine questions a refresh, aggregates and ten calls, never all rows."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

from assay.client.monitor import Monitor
from assay.dashboard.data import Answer, Filter, Names
from assay.dashboard.side_by_side import Take, asked

RECENT = 10
INCIDENTS = 50


class Overview:
    """All that one refresh of the page shows, as the API answers it; what is not answered yet is waited for.

    Each property raises AssayError where its question has no answer.
    """

    def __init__(self, take: Take) -> None:
        self._take = take

    @property
    def usage(self) -> Answer:
        """The totals."""
        return self._take("usage")

    @property
    def points(self) -> list[Answer]:
        """What happened in each bucket of time."""
        return self._take("points")["points"]

    @property
    def bucket_seconds(self) -> int:
        """How long a bucket of `points` is; 0 where all is one."""
        return self._take("points")["bucket_seconds"]

    @property
    def by_model(self) -> list[Answer]:
        """The cost of each model in each bucket."""
        return self._take("by_model")["points"]

    @property
    def model_bucket_seconds(self) -> int:
        """How long a bucket of `by_model` is."""
        return self._take("by_model")["bucket_seconds"]

    @property
    def latencies(self) -> list[Answer]:
        """How many calls took how long."""
        return self._take("latencies")

    @property
    def calls(self) -> list[Answer]:
        """The newest conversations."""
        return self._take("calls")["calls"]

    @property
    def alerts(self) -> list[Answer]:
        """What the newest calls have beyond limits."""
        return self._take("alerts")

    @property
    def incidents(self) -> list[Answer]:
        """Those of this time."""
        return self._take("incidents")

    @property
    def compared(self) -> Answer:
        """The comparison with the period before."""
        return self._take("compared")

    @property
    def changes(self) -> dict[str, Answer]:
        """Those against the period before, by metric; none where the time has no beginning."""
        return {change["metric"]: change for change in self.compared["changes"]}

    @property
    def troubles(self) -> list[str]:
        """What does not work in the server itself, and in its scoring."""
        return _troubles(self._take("health"))

    @property
    def names(self) -> Names:
        """The names of the newest calls, where new ones show first."""
        projects, models, environments = (
            tuple({call[name] for call in self.calls}) for name in ("project", "model", "environment")
        )
        return Names(projects, models, environments)


@contextmanager
def overview(monitor: Monitor, chosen: Filter, compared: Answer | None = None) -> Generator[Overview]:
    """The figures of the chosen calls, each once it is answered.

    `compared` is the comparison of a refresh not long ago: the dearest question, whose answer moves slowest.
    """
    of = chosen.asked()
    questions = {
        "points": partial(monitor.trends, **of),
        "usage": partial(monitor.usage, **of),
        "calls": partial(monitor.calls, **of, kind="llm", limit=RECENT),
        "compared": _comparison(monitor, of, compared),
        "by_model": partial(monitor.trends, **of, group_by="model", metric="cost_usd"),
        "incidents": partial(monitor.incidents, phase=["firing", "resolved"], since=of["since"], limit=INCIDENTS),
        "latencies": partial(monitor.latencies, **of),
        "alerts": partial(monitor.alerts, **of, recent=RECENT),
        "health": monitor.health,
    }
    with asked(questions) as take:
        yield Overview(take)


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
    quality, judge = health.get("quality") or {}, health.get("judge") or {}
    rests = (
        [f"{name} is not scored for now, it failed again and again: {why}" for name, why in quality["resting"].items()]
        if quality
        else []
    )
    return [*health["problems"], *quality.get("problems", []), *rests, *filter(None, [judge.get("notice")])]
