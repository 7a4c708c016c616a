"""What differs between two selections of calls: two ranges of time, or two models, prompts or releases of one range.

Every figure is compared with a 95% interval that allows for calls of one session being alike, and put into a sentence.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from assay.analytics.agreement import LOWER_IS_BETTER
from assay.analytics.differences import Estimate, Sums, bounded_mean, difference, quantile, skewed_mean, sums
from assay.analytics.means import GROUP, SAMPLE, SHOWN_FIRST, SUMS
from assay.analytics.selection import EARLIEST, Selection
from assay.analytics.sums import Aggregates, ask, of_scores
from assay.analytics.together import both
from assay.analytics.wording import Wording
from assay.errors import AssayError
from assay.quality.intervals import UNKNOWN, Interval
from assay.store.connect import Row, Store
from assay.store.spans import TOTAL_TOKENS

Better = Literal["higher", "lower"]
Verdict = Literal["better", "worse", "same", "unknown"]

HIGHER_IS_BETTER = frozenset(
    {"relevance", "coherence", "groundedness", "factual_accuracy", "helpfulness", "thumb", "consistency"}
)
"""Scores that are high where an answer is good; of a name in neither set nobody knows which way is better."""


class Change(msgspec.Struct, frozen=True):
    """One figure in both selections, their `difference` (after - before) and its 95% interval (`low`, `high`).

    None is what is not known: a figure without data, the interval of a total or of too few sessions. `n_before` and
    `n_after` count the values behind each. `unit` is "", "ms", "usd", "share" (0..1) or "count". `verdict` is "same"
    where the interval holds zero, "unknown" where there is none, or where nobody knows which way is `better`.
    """

    metric: str
    before: float | None
    after: float | None
    difference: float | None
    low: float | None
    high: float | None
    n_before: int
    n_after: int
    unit: str
    better: Better | None
    verdict: Verdict
    sentence: str


class _Metric(NamedTuple):
    """A figure of calls: `value` of those that meet `only` and have one."""

    name: str
    words: str
    value: str
    only: str
    unit: str
    better: Better | None
    total: bool = False


_LATENCY = _Metric("latency_ms", "average latency", "latency_ms", "kind = 'llm'", "ms", "lower")
_P95 = _Metric("latency_p95_ms", "95th percentile of latency", "latency_ms", "kind = 'llm'", "ms", "lower")
_ERRORS = _Metric("error_rate", "error rate", "status = 'error'", "1", "share", "lower")
_SUMMED = (
    _LATENCY,
    _Metric("first_token_ms", "time to first token", "time_to_first_token_ms", "kind = 'llm'", "ms", "lower"),
    _ERRORS,
    _Metric("cost_per_conversation_usd", "cost per conversation", "cost_usd", "kind = 'llm'", "usd", "lower"),
    _Metric("tokens_per_conversation", "tokens per conversation", TOTAL_TOKENS, "kind = 'llm'", "count", None),
    _Metric("conversations", "conversations", "1", "kind = 'llm'", "count", None, total=True),
    _Metric("total_cost_usd", "total cost", "cost_usd", "1", "usd", None, total=True),
)

_P95_LEVEL = 0.95
_LEVELS = np.linspace(0.9, 1, 201)
"""Quantiles between which the interval of the 95th percentile is read off: beyond 0.9 it would say nothing."""


def compare(store: Store, before: Selection, after: Selection) -> list[Change]:
    """The changes of scores, latency, errors, cost, tokens and totals from `before` to `after`.

    Sessions are dealt into 64 random groups, of which the store sums up; the selections are taken as independent, so
    they should not share calls. Scores and error rates: Wilson's intervals with the effective number of cases. Costs,
    latencies and tokens: intervals of the logarithm of their mean. The 95th percentile: Woodruff's. Each pair is joined
    by MOVER (see differences.py for the sources). Averages are those of `usage` and `quality`. A score is compared by
    one source that has it in both selections. Of twenty figures that did not change, one is called changed on average.
    """
    figures = both(lambda: _figures(store, before), lambda: _figures(store, after))
    wording = Wording(before, after)
    of_calls = [_change(wording, metric, figures[0][metric.name], figures[1][metric.name]) for metric in _SHOWN]
    return _scores(store, before, after, wording) + of_calls


_SHOWN = (_LATENCY, _P95, *_SUMMED[1:])


def period_before(selection: Selection) -> Selection:
    """The same filters over the period just before, of equal length. Raises AssayError where it has no beginning."""
    if selection.since is None or selection.until is None:
        raise AssayError("a comparison with the period before needs a beginning: give since, such as 7d")
    length = max(selection.until - selection.since, timedelta())
    since = selection.since - min(length, selection.since - EARLIEST)
    return msgspec.structs.replace(selection, since=since, until=selection.since)


def _figures(store: Store, selection: Selection) -> dict[str, Estimate]:
    """The estimate of every metric of calls."""
    wanted = Aggregates(", ".join(_sums_of(metric) for metric in _SUMMED), {"sample": GROUP})
    groups, p95 = both(lambda: ask(store, selection, wanted), lambda: _p95(store, selection))
    found = {metric.name: _estimate(metric, _gathered(groups, metric.name)) for metric in _SUMMED}
    return found | {_P95.name: p95}


def _p95(store: Store, selection: Selection) -> Estimate:
    where, parameters = selection.of_calls()
    # Each value is read once: for the quantiles, and for how many in each group are below.
    [row] = store.query(
        f"""
        WITH groupArray(latencies) AS groups
        SELECT arrayReduce('quantilesExactInclusive({", ".join(f"{level:.4f}" for level in _LEVELS)})',
                arrayFlatten(groups)) AS high,
            high[{np.searchsorted(_LEVELS, _P95_LEVEL) + 1}] AS p95,
            arrayMap(group -> length(group), groups) AS calls,
            arrayMap(group -> arrayCount(latency -> latency <= p95, group), groups) AS below
        FROM (SELECT groupArrayIf(latency_ms, {_P95.only}) AS latencies FROM spans FINAL WHERE {where} GROUP BY {GROUP})
        """,
        parameters,
    )
    return quantile(_P95_LEVEL, row["p95"], sums(row["calls"], row["below"]), _LEVELS, np.array(row["high"], float))


def _sums_of(metric: _Metric) -> str:
    value, only = f"toFloat64({metric.value})", metric.only
    return (
        f"countIf({only} AND isNotNull({value})) AS c_{metric.name}, "
        f"sumIf(ifNull({value}, 0), {only}) AS t_{metric.name}"
    )


def _gathered(groups: list[Row], name: str) -> Sums:
    return sums([row[f"c_{name}"] for row in groups], [row[f"t_{name}"] for row in groups])


def _estimate(metric: _Metric, of: Sums) -> Estimate:
    if metric.total:
        return Estimate(of.n, float(of.totals.sum()) if of.n or metric.unit == "count" else None)
    return bounded_mean(of) if metric.unit == "share" else skewed_mean(of)


def _scores(store: Store, before: Selection, after: Selection, wording: Wording) -> list[Change]:
    """Each score that one of the selections has, by a source that both have if there is one."""
    sides = both(lambda: _score_groups(store, before), lambda: _score_groups(store, after))
    names = sorted({name for side in sides for name, _ in side})
    found: list[Change] = []
    for name in names:
        shared = [source for source in SHOWN_FIRST if all((name, source) in side for side in sides)]
        either = [source for source in SHOWN_FIRST if any((name, source) in side for side in sides)]
        source = (shared or either)[0]
        one, other = (side.get((name, source), []) for side in sides)
        better: Better | None = "lower" if name in LOWER_IS_BETTER else "higher" if name in HIGHER_IS_BETTER else None
        metric = _Metric(name, name, "", "", "", better)
        found.append(_change(wording, metric, _score(one), _score(other), _other_scorers(one, other)))
    return found


_BY = {name: name for name in ("name", "source", "scorer", "scorer_version")} | SAMPLE


def _score_groups(store: Store, selection: Selection) -> dict[tuple[str, str], list[Row]]:
    # First by all that is repeated, so that the names of scorers are put together once a group and not once a score.
    rows = ask(
        store,
        selection,
        Aggregates(SUMS, _BY, of_scores(None)),
        lambda sums: (
            f"""
            SELECT name, source, sum(own.c) AS c, sum(own.t) AS t, min(own.lowest) AS lowest,
                max(own.highest) AS highest,
                groupUniqArrayIf(trim(concat(scorer, ' ', scorer_version)), own.c > 0) AS scorers
            FROM ({sums}) AS own GROUP BY name, source, sample HAVING c > 0"""
        ),
    )
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["name"], row["source"]), []).append(row)
    return groups


def _score(groups: list[Row]) -> Estimate:
    unit = all(row["lowest"] >= 0 and row["highest"] <= 1 for row in groups)
    return bounded_mean(sums([row["c"] for row in groups], [row["t"] for row in groups]), unit=unit)


def _other_scorers(before: list[Row], after: list[Row]) -> str:
    """A warning where a score was not given by the same versions of scorers."""
    one, other = (sorted({scorer for row in side for scorer in row["scorers"]}) for side in (before, after))
    if not one or not other or one == other:
        return ""
    return f"; not judged alike: by {', '.join(one)} before, by {', '.join(other)} after"


def _change(wording: Wording, metric: _Metric, before: Estimate, after: Estimate, note: str = "") -> Change:
    low, high = UNKNOWN if metric.total else difference(before, after)
    apart = None if before.value is None or after.value is None else after.value - before.value
    sentence = wording.of_total if metric.total else wording.of_mean
    return Change(
        metric=metric.name,
        before=before.value,
        after=after.value,
        difference=apart,
        low=low,
        high=high,
        n_before=before.n,
        n_after=after.n,
        unit=metric.unit,
        better=metric.better,
        verdict=_verdict(metric, apart, low, high),
        sentence=sentence(metric.words, metric.unit, before, after, Interval(low, high)) + note,
    )


def _verdict(metric: _Metric, apart: float | None, low: float | None, high: float | None) -> Verdict:
    if apart is None or low is None or high is None:
        return "unknown"
    if low <= 0 <= high:
        return "same"
    if metric.better is None:
        return "unknown"
    return "better" if (apart > 0) == (metric.better == "higher") else "worse"
