"""How far the default alert rules can be trusted: months of simulated calls with incidents at known times.

Traffic has a daily and a weekly rhythm, heavy tails of latency and cost, and days that differ by themselves. Into it
go falls of relevance by 10% and 25%, doubled latency, toxic bursts, cost jumps, outages and silences. The rules are
replayed by the product's own code over the series these calls make. Beside them the lab's rule: five limits, each on
any of the last ten calls.
"""

from __future__ import annotations

import argparse
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from assay.alerts.replay import replayed
from assay.alerts.rules import DRIFT, MODEL_METRICS, AlertRule, default_rules
from assay.alerts.series import BINS_PER_DOUBLING, NO_BIN, NO_BINS, Series, Source, series_of, source_of
from assay.alerts.thresholds import LAB_THRESHOLDS
from measuring import show

DAY, WEEK, STEP = 86_400, 7 * 86_400, 30
START = 1_767_571_200  # Monday 2026-01-05, midnight UTC
WARM_UP = 5 * WEEK
LATE = 900
"""Seconds after the end of an incident in which it is still found."""
AFTER = 3 * 3600
"""Seconds after its end in which what fires is not false: windows still hold its calls."""


class Incident(NamedTuple):
    """What goes wrong, from when to when (Unix seconds), and the metric in which it shows."""

    kind: str
    metric: str
    start: int
    end: int


KINDS: dict[str, tuple[str, tuple[int, int]]] = {
    "relevance -10%": ("relevance", (3, 6)),
    "relevance -25%": ("relevance", (2, 6)),
    "latency x2": ("latency_ms", (2, 6)),
    "toxic burst": ("toxicity", (1, 3)),
    "cost x3": ("cost", (3, 6)),
    "errors 30%": ("error_rate", (1, 3)),
    "no calls": ("volume", (1, 3)),
}
"""Each kind with its metric, and how many hours it lasts, at least and at most."""

Calls = dict[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weeks", type=int, default=26)
    parser.add_argument("--calls-a-day", type=int, default=10_000)
    parser.add_argument("--each", type=int, default=10, help="how many incidents of each kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    incidents = _incidents(rng, options.weeks, options.each)
    calls = _calls(rng, options.weeks, options.calls_a_day, incidents)
    since, until = START + WARM_UP, START + options.weeks * WEEK
    fired = {rule.name: (rule, _fired(rule, calls, since, until)) for rule in _rules_of_calls()}
    weeks = (until - since) / WEEK
    facts = {"weeks": weeks, "calls": len(calls["at"]), "incidents": len(incidents), "seed": options.seed}
    show("incidents found by the default rules", _found(incidents, fired, calls), **facts)
    show("pages of each rule", _pages(incidents, fired, weeks), **facts)
    show("the lab's rule on the same calls", _lab(incidents, calls, weeks), **facts)


def _incidents(rng: np.random.Generator, weeks: int, each: int) -> list[Incident]:
    """At times by chance, a day's part apart, so that each is found or missed on its own."""
    kinds = rng.permutation([kind for kind in KINDS for _ in range(each)])
    room = (weeks * WEEK - WARM_UP) / len(kinds)
    if room < 12 * 3600:
        raise SystemExit("too many incidents for so few weeks: give more --weeks or fewer --each")
    found = list[Incident]()
    for place, kind in enumerate(kinds.tolist()):
        metric, (least, most) = KINDS[kind]
        length = int(rng.uniform(least, most) * 3600)
        start = START + WARM_UP + int(place * room + rng.uniform(0, room - 10 * 3600))
        found.append(Incident(kind, metric, start, start + length))
    return found


def _calls(rng: np.random.Generator, weeks: int, calls_a_day: int, incidents: list[Incident]) -> Calls:
    """Every call's time and figures, in order of time."""
    at = _times(rng, weeks, calls_a_day)
    hour, day = (at % DAY) / 3600, ((at - START) // DAY).astype(int)
    busy = _busy(hour)
    of_day = {name: rng.normal(0, 1, weeks * 7)[day] for name in ("relevance", "coherence", "latency", "cost")}
    n = len(at)
    calls: Calls = {
        "at": at,
        "relevance": np.clip(_beta(rng, 0.84, 0.13, n) * (1 + 0.006 * of_day["relevance"] - 0.01 * busy), 0, 1),
        "coherence": np.clip(_beta(rng, 0.86, 0.10, n) * (1 + 0.005 * of_day["coherence"]), 0, 1),
        "groundedness": _beta(rng, 0.80, 0.18, n),
        "toxicity": np.where(rng.random(n) < 0.002, rng.uniform(0.5, 1, n), rng.beta(1, 60, n)),
        "latency_ms": 600 * np.exp(0.7 * rng.standard_normal(n) + 0.03 * of_day["latency"]) * (1 + 0.25 * busy),
        "cost": 0.002 * np.exp(1.0 * rng.standard_normal(n) + 0.06 * of_day["cost"]),
        "error_rate": (rng.random(n) < 0.003).astype(float),
        "unpriced": (rng.random(n) < 0.01).astype(float),
        "volume": np.ones(n),
    }
    keep = np.ones(n, bool)
    for one in incidents:
        within = slice(*np.searchsorted(at, [one.start, one.end]))
        _go_wrong(rng, calls, keep, one.kind, within)
    return {name: values[keep] for name, values in calls.items()}


def _go_wrong(rng: np.random.Generator, calls: Calls, keep: np.ndarray, kind: str, within: slice) -> None:
    chance = rng.random(within.stop - within.start)
    match kind:
        case "relevance -10%":
            calls["relevance"][within] *= 0.90
        case "relevance -25%":
            calls["relevance"][within] *= 0.75
        case "latency x2":
            calls["latency_ms"][within] *= 2
        case "toxic burst":
            calls["toxicity"][within] = np.where(chance < 0.3, 0.5 + chance, calls["toxicity"][within])
        case "cost x3":
            calls["cost"][within] *= 3
        case "errors 30%":
            calls["error_rate"][within] = chance < 0.3
        case _:
            keep[within] = False


def _times(rng: np.random.Generator, weeks: int, calls_a_day: int) -> np.ndarray:
    """Starts of calls: four times as many at noon as at night, six in ten of that on a day of the weekend."""
    minutes = np.arange(weeks * 7 * 1440)
    rate = 1 + 3 * _busy(minutes % 1440 / 60)
    rate *= np.where(minutes // 1440 % 7 >= 5, 0.6, 1.0)
    counts = rng.poisson(rate * calls_a_day / 1440 / 2.27)
    starts = np.repeat(minutes * 60, counts) + rng.uniform(0, 60, counts.sum())
    return START + np.sort(starts)


def _busy(hour: np.ndarray) -> np.ndarray:
    """0 at two in the morning, 1 at two in the afternoon."""
    return (1 - np.cos((hour - 2) / 24 * 2 * np.pi)) / 2


def _beta(rng: np.random.Generator, mean: float, deviation: float, n: int) -> np.ndarray:
    weight = mean * (1 - mean) / deviation**2 - 1
    return rng.beta(mean * weight, (1 - mean) * weight, n)


def _rules_of_calls() -> list[AlertRule]:
    """The default rules without those of classical models, which have a benchmark of their own (drift.py)."""
    return [rule for rule in default_rules().rules.values() if rule.metric not in (DRIFT, *MODEL_METRICS)]


def _fired(rule: AlertRule, calls: Calls, since: int, until: int) -> list[int]:
    """When the rule fired, by the code that replays it over a store."""
    series = _series(source_of(rule), calls, until)
    found = replayed(rule, {"": series}, since, until, 1.0, shown=1_000_000)
    return [int(episode.fired_at.timestamp()) for episode in found.episodes]


def _series(source: Source, calls: Calls, until: int) -> Series:
    size = (until - START) // STEP
    place = ((calls["at"] - START) // STEP).astype(np.int64)
    x = calls[source.metric]
    x = np.log(x) if source.logarithm else x
    sums = [np.bincount(place, weights, size)[:size] for weights in (np.ones(len(x)), x, x * x)]
    largest = np.full(size, -np.inf)
    np.maximum.at(largest, place, x)
    bins = NO_BINS
    if source.bins:
        number = np.where(x > 0, np.floor(np.log2(np.maximum(x, 1e-300)) * BINS_PER_DOUBLING), NO_BIN).astype(np.int64)
        pairs, counts = np.unique(np.stack([place, number], axis=1), axis=0, return_counts=True)
        bins = np.column_stack([pairs, counts])
    return series_of(START, STEP, np.stack([*sums, largest, np.zeros(size)]), bins)


Fired = dict[str, tuple[AlertRule, list[int]]]


def _found(incidents: list[Incident], fired: Fired, calls: Calls) -> list[dict[str, Any]]:
    """By kind of incident: how many were found, how soon, and by which rules."""
    rows = list[dict[str, Any]]()
    for kind, (metric, _) in KINDS.items():
        times, first = list[tuple[float, float]](), dict[str, int]()
        of_kind = [one for one in incidents if one.kind == kind]
        for one in of_kind:
            hits = {
                name: min(moments)
                for name, (rule, all_moments) in fired.items()
                if rule.metric == metric
                and (moments := [at for at in all_moments if one.start <= at <= one.end + LATE])
            }
            if hits:
                at = min(hits.values())
                between = np.searchsorted(calls["at"], at) - np.searchsorted(calls["at"], one.start)
                times.append(((at - one.start) / 60, float(between)))
                for name in hits:
                    first[name] = first.get(name, 0) + 1
        rows.append(
            {
                "incident": kind,
                "found": f"{len(times)} of {len(of_kind)}",
                "minutes": median(minutes for minutes, _ in times) if times else float("nan"),
                "calls": median(count for _, count in times) if times else float("nan"),
                "most calls": max((count for _, count in times), default=float("nan")),
                "rules": ", ".join(f"{name} {count}" for name, count in sorted(first.items())),
            }
        )
    total = sum(int(row["found"].split()[0]) for row in rows)
    share = f"{total} of {len(incidents)} ({total / len(incidents):.0%})"
    return [*rows, {"incident": "all", "found": share, "minutes": "", "calls": "", "most calls": "", "rules": ""}]


def _pages(incidents: list[Incident], fired: Fired, weeks: float) -> list[dict[str, Any]]:
    """By rule: pages, and those at which nothing was wrong."""
    rows = list[dict[str, Any]]()
    for name, (rule, moments) in fired.items():
        false = [at for at in moments if not any(one.start <= at <= one.end + AFTER for one in incidents)]
        rows.append(
            {
                "rule": name,
                "kind": rule.kind,
                "pages": len(moments),
                "false": len(false),
                "false a week": len(false) / weeks,
            }
        )
    false = sum(row["false"] for row in rows)
    every = sum(row["pages"] for row in rows)
    return [*rows, {"rule": "all", "kind": "", "pages": every, "false": false, "false a week": false / weeks}]


def _lab(incidents: list[Incident], calls: Calls, weeks: float) -> list[dict[str, Any]]:
    """A page whenever one of the last ten calls is newly beyond a limit, told once until none of the ten is."""
    columns = {"latency_ms": "latency_ms", "cost_usd": "cost"}
    rows = list[dict[str, Any]]()
    begins = np.searchsorted(calls["at"], START + WARM_UP)
    for limit in LAB_THRESHOLDS:
        metric = columns.get(limit.metric, limit.metric)
        values = calls[metric][begins:]
        beyond = values > limit.above if limit.above is not None else values < (limit.below or 0)
        sums = np.cumsum(np.concatenate([[0], beyond]))
        active = sums[1:] - sums[np.maximum(np.arange(1, len(sums)) - 10, 0)] > 0
        onsets = calls["at"][begins:][np.flatnonzero(np.diff(active.astype(int), prepend=0) == 1)]
        own = [one for one in incidents if one.metric == metric]
        found = [one for one in own if np.any((onsets >= one.start) & (onsets <= one.end + LATE))]
        spans = np.array([(one.start, one.end + AFTER) for one in incidents])
        inside = np.zeros(len(onsets), bool)
        for start, end in spans:
            inside |= (onsets >= start) & (onsets <= end)
        rows.append(
            {
                "rule": limit.type,
                "found": f"{len(found)} of {len(own)}",
                "pages": len(onsets),
                "false a week": float((~inside).sum() / weeks),
                "alarmed, share of calls": float(active.mean()),
            }
        )
    return rows


if __name__ == "__main__":
    main()
