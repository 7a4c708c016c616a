"""What people ask, by kind: each prompt group's share, cost, latency, errors and quality, and whether it got worse.

Groups are found by `quality.groups`. Figures of calls come from `embeddings`, which repeats them, and scores are
joined by call; of more than 50,000 calls a sample of the scores is read, which their intervals allow for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from assay.analytics.agreement import LOWER_IS_BETTER
from assay.analytics.compare import HIGHER_IS_BETTER, period_before
from assay.analytics.means import FIGURES, GROUP, SAMPLE, SHOWN_FIRST, SUMS, with_interval
from assay.analytics.selection import Selection
from assay.analytics.sums import Aggregates, Source, ask
from assay.analytics.together import both
from assay.errors import NotFound
from assay.quality.intervals import UNKNOWN, Interval
from assay.store.connect import Row, Store
from assay.store.prompt_groups import OTHER, Group, groups_of

SCORED_CALLS = 50_000
"""Of a selection with more calls a half, quarter, eighth ... have their scores read: this many or fewer, on average."""
WORSE_IF_BELOW = 0.05
"""Share of the groups that are called worse that may be so by chance alone (Benjamini and Hochberg, 1995)."""
_FACTS = ("error_rate", "cost_usd", "latency_ms")
_Z = 1.959964

Figures = dict[str, Row]
"""Means by metric: n, mean, low and high."""


def groups(store: Store, selection: Selection, now: datetime | None = None) -> dict[str, Any]:
    """`groups`, those with most calls first, `other` (calls in no group), and how many `calls` these are of.

    A group has `id`, `project`, `name`, `words`, `examples`; `calls` and their `share` of all calls with a prompt;
    `cost_usd` and `cost_share`; `p50_latency_ms`, `p95_latency_ms`; `error_rate`; `scores` by name with 95% intervals.
    `changes` compares error rate, mean cost, mean latency and each mean score with the period before of equal length
    (the selection needs a beginning; without one it is empty): before, after, difference with its interval, and
    `worse`. A group is `worse` where errors or scores became worse by more than chance explains, also given that so
    many are looked at. `scores_sampled` is the share of calls whose scores were read. What no call has is None.
    """
    before = _period_before(selection, now or datetime.now(UTC))
    known = {(group.project, group.id): group for group in groups_of(store, selection.project)}
    facts, totals = both(lambda: _facts(store, selection), lambda: _totals(store, selection))
    calls = sum(row["calls"] for row in totals)
    share = 0.5 ** max(0, math.ceil(math.log2(max(calls, 1) / SCORED_CALLS)))
    scores, past = both(lambda: _scores(store, selection, share), lambda: _past(store, before, share))
    present = _joined(facts, scores)
    cost = sum(row["cost_usd"] or 0.0 for row in totals)
    found = [
        {
            **_described(known.get((row["project"], row["id"])), row),
            "share": row["calls"] / calls,
            "cost_share": (row["cost_usd"] or 0.0) / cost if cost else None,
            "scores": scores.get((row["project"], row["id"]), {}),
            "changes": _changes(
                past.get((row["project"], row["id"]), {}), present.get((row["project"], row["id"]), {})
            ),
        }
        for row in totals
    ]
    _judge(found)
    return {
        "calls": calls,
        "scores_sampled": share,
        "before": before and {"since": before.since, "until": before.until},
        "fit_at": max((group.fit_at for group in known.values() if not group.gone), default=None),
        "groups": [one for one in found if one["id"] != OTHER],
        "other": [one for one in found if one["id"] == OTHER],
        "problem": _problem(known.values(), calls),
    }


def group(store: Store, selection: Selection, group_id: str) -> dict[str, Any]:
    """One group as `groups` tells it, with its most frequent `templates` in the selection. Raises NotFound."""
    group_id = group_id.lower()
    known = {one.id: one for one in groups_of(store) if selection.project in (None, one.project)}
    if group_id not in known and group_id != OTHER:
        raise NotFound(f"there is no prompt group {group_id!r}: `assay groups` lists them")
    told = groups(store, selection)
    [*found] = [one for one in (*told["groups"], *told["other"]) if one["id"] == group_id]
    templates = _templates(store, selection, group_id)
    if not found:
        empty = {"project": "", "id": group_id, "calls": 0, "cost_usd": None}
        found = [{**_described(known.get(group_id), empty), "share": None, "scores": {}, "changes": {}, "worse": False}]
    return {**found[0], "before": told["before"], "scores_sampled": told["scores_sampled"], "templates": templates}


def _problem(known: Iterable[Group], calls: int) -> str:
    if not calls:
        return "no call with a prompt was read in this range"
    if all(one.gone for one in known):
        return "no groups were fitted yet: that happens by itself within seconds of the first calls"
    return ""


def _totals(store: Store, selection: Selection) -> list[Row]:
    rows = ask(
        store,
        selection,
        Aggregates(_TOTALS, _BY, _of_embeddings),
        lambda sums: f"{sums} ORDER BY calls DESC, project, id",
    )
    return [
        {**row, "id": row["id"] or OTHER, "p50_latency_ms": p50, "p95_latency_ms": p95}
        for row in rows
        for p50, p95 in [row.pop("latency")]
    ]


_BY = {"project": "project", "id": "prompt_group"}

_TOTALS = """
    count() AS calls, uniqCombined(template) AS templates, sumOrNull(cost_usd) AS cost_usd,
    countIf(status = 'error') AS errors, errors / calls AS error_rate, quantiles(0.5, 0.95)(latency_ms) AS latency,
    max(started_at) AS last_at"""

_SUMS = """
    count() AS c_all, count(cost_usd) AS c_cost, toFloat64(countIf(status = 'error')) AS t_error,
    ifNull(sum(cost_usd), 0) AS t_cost, sum(latency_ms) AS t_latency,
    ifNull(min(cost_usd), 0) AS low_cost, ifNull(max(cost_usd), 0) AS high_cost,
    min(latency_ms) AS low_latency, max(latency_ms) AS high_latency"""


def _of_embeddings(selection: Selection) -> Source:
    where, parameters = selection.of_embeddings()
    return f"embeddings FINAL WHERE {where}", parameters


def _facts(store: Store, selection: Selection) -> dict[tuple[str, str], Figures]:
    """Means of what every call has, by project and group."""
    rows = ask(
        store,
        selection,
        Aggregates(_SUMS, {**_BY, "sample": GROUP}, _of_embeddings),
        lambda sums: (
            f"""
            SELECT project, id, metric.1 AS name, {FIGURES} FROM (
                SELECT project, id, arrayJoin(arrayZip({list(_FACTS)}, [c_all, c_cost, c_all],
                    [t_error, t_cost, t_latency], [0., low_cost, low_latency], [1., high_cost, high_latency]))
                    AS metric,
                    metric.2 AS c, metric.3 AS t, metric.4 AS lowest, metric.5 AS highest
                FROM ({sums})
            ) GROUP BY project, id, name"""
        ),
    )
    return _by_group(rows)


def _scores(store: Store, selection: Selection, share: float) -> dict[tuple[str, str], Figures]:
    """Means of scores by project and group, each of the first source that gave any, from a share of the calls."""
    rows = ask(
        store,
        selection,
        Aggregates(SUMS, {**_BY, "name": "name", "source": "source", **SAMPLE}, _of_sampled_scores(share)),
        lambda sums: f"SELECT project, id, name, source, {FIGURES} FROM ({sums}) GROUP BY project, id, name, source",
    )
    order = {source: place for place, source in enumerate(SHOWN_FIRST)}
    return _by_group(sorted(rows, key=lambda row: order.get(row["source"], len(order)), reverse=True))


def _of_sampled_scores(share: float) -> Callable[[Selection], Source]:
    # Part of both sorting keys, so it may go before FINAL: the other columns of other rows are not read.
    sampled = f"PREWHERE intHash32(toUnixTimestamp64Micro(started_at)) < {int(share * 2**32)}" if share < 1 else ""

    def rows(selection: Selection) -> Source:
        scored, parameters = selection.of_scores()
        embedded, more = selection.of_embeddings()
        source = f"""
            (
                SELECT cityHash64(project, target) AS call, project, name, source, value, sample, started_at
                FROM scores FINAL {sampled} WHERE {scored} AND value IS NOT NULL
            ) AS judged
            LEFT SEMI JOIN (
                SELECT cityHash64(project, span_id) AS call, prompt_group
                FROM embeddings FINAL {sampled} WHERE {embedded}
            ) AS asked USING call"""
        return source, parameters | more

    return rows


def _by_group(rows: Iterable[Row]) -> dict[tuple[str, str], Figures]:
    found: dict[tuple[str, str], Figures] = {}
    for row in rows:
        figures = found.setdefault((row.pop("project"), row.pop("id") or OTHER), {})
        figures[row.pop("name")] = with_interval(row)
    return found


def _past(store: Store, before: Selection | None, share: float) -> dict[tuple[str, str], Figures]:
    return {} if before is None else _joined(_facts(store, before), _scores(store, before, share))


def _joined(
    facts: dict[tuple[str, str], Figures], scores: dict[tuple[str, str], Figures]
) -> dict[tuple[str, str], Figures]:
    return {key: figures | scores.get(key, {}) for key, figures in facts.items()}


def _templates(store: Store, selection: Selection, group_id: str, limit: int = 20) -> list[Row]:
    where, parameters = selection.of_embeddings()
    return store.query(
        f"""
        SELECT any(template_text) AS template, count() AS calls, countIf(status = 'error') / calls AS error_rate,
            avgOrNull(cost_usd) AS avg_cost_usd, avg(latency_ms) AS avg_latency_ms,
            argMax(span_id, started_at) AS newest
        FROM embeddings FINAL WHERE {where} AND prompt_group = {{group:String}}
        GROUP BY project, embeddings.template ORDER BY calls DESC, template LIMIT {{limit:UInt32}}
        """,
        {**parameters, "group": "" if group_id == OTHER else group_id, "limit": limit},
    )


def _described(known: Group | None, row: Row) -> Row:
    if row["id"] == OTHER or known is None:
        name = "all other prompts" if row["id"] == OTHER else row["id"]
        return {**row, "name": name, "words": [], "examples": [], "born_at": None, "gone": False}
    return {
        **row,
        "project": known.project,
        "name": known.name,
        "words": known.words,
        "examples": known.examples,
        "born_at": known.born_at,
        "gone": known.gone,
    }


def _period_before(selection: Selection, now: datetime) -> Selection | None:
    """The period of equal length before the selection, None where that has no beginning."""
    if selection.since is None:
        return None
    return period_before(msgspec.structs.replace(selection, until=selection.until or now))


def _changes(before: Figures, after: Figures) -> dict[str, Row]:
    """What both periods have, as differences after - before with 95% intervals."""
    return {name: _change(name, before[name], after[name]) for name in after if name in before}


def _change(name: str, before: Row, after: Row) -> Row:
    difference = None if None in (before["mean"], after["mean"]) else after["mean"] - before["mean"]
    low, high = _interval(before, after)
    return {
        "before": before["mean"],
        "after": after["mean"],
        "difference": difference,
        "low": low,
        "high": high,
        "n_before": before["n"],
        "n_after": after["n"],
        "better": _better(name),
        "worse": False,
    }


def _better(name: str) -> str | None:
    """Which way is better; None of a score that nobody knows this of."""
    if name in _FACTS or name in LOWER_IS_BETTER:
        return "lower"
    return "higher" if name in HIGHER_IS_BETTER else None


def _interval(before: Row, after: Row) -> Interval:
    """Of the difference of two means with intervals of their own: MOVER (Zou and Donner, 2008)."""
    ends = before["low"], before["high"], after["low"], after["high"]
    if None in ends:
        return UNKNOWN
    one, other, (one_low, one_high, other_low, other_high) = before["mean"], after["mean"], ends
    apart = other - one
    return Interval(
        apart - math.hypot(other - other_low, one_high - one), apart + math.hypot(other_high - other, one - one_low)
    )


def _judge(found: list[dict[str, Any]]) -> None:
    """Marks which errors and scores became worse, so that of all marks at most 5% are expected to be chance."""
    looked_at = [
        (_chance(change), change)
        for one in found
        for name, change in one["changes"].items()
        if name not in ("cost_usd", "latency_ms") and change["better"] and change["low"] is not None
    ]
    looked_at.sort(key=lambda pair: pair[0])
    passing = [place for place, (p, _) in enumerate(looked_at, 1) if p <= WORSE_IF_BELOW * place / len(looked_at)]
    for _, change in looked_at[: max(passing, default=0)]:
        change["worse"] = (change["difference"] > 0) == (change["better"] == "lower")
    for one in found:
        one["worse"] = any(change["worse"] for change in one["changes"].values())


def _chance(change: Row) -> float:
    """How likely so large a difference is where nothing changed, two-sided, by the end of its interval nearer to 0."""
    apart = change["difference"]
    if not apart:
        return 1.0
    half = apart - change["low"] if apart > 0 else change["high"] - apart
    return math.erfc(abs(apart) / max(half / _Z, 1e-12) / math.sqrt(2))
