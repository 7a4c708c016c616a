"""Alert thresholds of a project's own, since thresholds do not travel between applications.

Of each score, in this order: the threshold that was fitted to people's labels; the value that only the worst 1% of
the last week's calls pass; the lab's, where there is one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from assay.alerts.thresholds import LAB_THRESHOLDS, Severity, Threshold
from assay.store.connect import Store
from assay.store.fits import active_fits

WORST = 0.01
WEEK_SECONDS = 7 * 86_400
FEWEST_CALLS = 200
"""Scored calls below which a quantile of 1% says nothing."""

KNOWN_SECONDS = 60.0

_HIGH_IS_BAD = frozenset({"toxicity", "prompt_toxicity"})
_TYPES: dict[str, tuple[str, Severity, str]] = {
    "toxicity": ("HIGH_TOXICITY", "HIGH", "High toxicity detected: {value:.3f}"),
    "prompt_toxicity": ("TOXIC_PROMPT", "MEDIUM", "Toxic prompt: {value:.3f}"),
    "relevance": ("LOW_RELEVANCE", "MEDIUM", "Low relevance score: {value:.3f}"),
    "coherence": ("LOW_COHERENCE", "LOW", "Low coherence score: {value:.3f}"),
    "groundedness": ("LOW_GROUNDEDNESS", "MEDIUM", "Low groundedness score: {value:.3f}"),
}


class Limit(msgspec.Struct, frozen=True):
    """A threshold of one score and what it rests on; `calls` is how many scored calls of the last week there are."""

    metric: str
    basis: Literal["labels", "quantile", "lab"]
    threshold: Threshold
    calls: int


def project_limits(store: Store, project: str, *, worst: float = WORST) -> list[Limit]:
    """The limits of a project's scores; one without labels, enough calls or a threshold of the lab has none."""
    fitted = {fit.metric: fit.threshold for fit in active_fits(store).get(project, ())}
    counted = _quantiles(store, project, worst)
    lab = {threshold.metric: threshold for threshold in LAB_THRESHOLDS}
    found: list[Limit] = []
    for metric in _TYPES:
        calls, low, high = counted.get(metric, (0, 0.0, 0.0))
        if (value := fitted.get(metric)) is not None:
            found.append(Limit(metric, "labels", _threshold(metric, value), calls))
        elif calls >= FEWEST_CALLS:
            found.append(Limit(metric, "quantile", _threshold(metric, high if metric in _HIGH_IS_BAD else low), calls))
        elif metric in lab:
            found.append(Limit(metric, "lab", lab[metric], calls))
    return found


class ProjectThresholds:
    """Thresholds for `recent_alerts` by project, with the lab's of latency and cost; asked for anew after a minute."""

    def __init__(self, store: Store, now: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._now = now
        self._known: dict[str, tuple[float, Sequence[Threshold]]] = {}

    def __call__(self, project: str) -> Sequence[Threshold]:
        """The project's thresholds. Raises StoreError."""
        until, thresholds = self._known.get(project, (0.0, ()))
        if until <= self._now():
            own = {limit.metric: limit.threshold for limit in project_limits(self._store, project)}
            thresholds = [*({threshold.metric: threshold for threshold in LAB_THRESHOLDS} | own).values()]
            self._known[project] = self._now() + KNOWN_SECONDS, thresholds
        return thresholds


def _threshold(metric: str, value: float) -> Threshold:
    name, severity, message = _TYPES[metric]
    above, below = (value, None) if metric in _HIGH_IS_BAD else (None, value)
    return Threshold(name, severity, metric, above=above, below=below, message=message)


def _quantiles(store: Store, project: str, worst: float) -> dict[str, tuple[int, float, float]]:
    """Of each score: number of calls, and the values that the lowest and the highest `worst` share lie beyond."""
    rows = store.query(
        """
        SELECT name, count() AS calls, quantileExact({low:Float64})(assumeNotNull(value)) AS low,
            quantileExact({high:Float64})(assumeNotNull(value)) AS high
        FROM scores FINAL
        WHERE counted AND source = 'scorer' AND value IS NOT NULL AND project = {project:String}
            AND name IN {names:Array(String)} AND started_at >= fromUnixTimestamp64Micro({since:Int64})
        GROUP BY name
        """,
        {
            "low": worst,
            "high": 1 - worst,
            "project": project,
            "names": list(_TYPES),
            "since": round((time.time() - WEEK_SECONDS) * 1e6),
        },
    )
    return {row["name"]: (row["calls"], row["low"], row["high"]) for row in rows}
