"""What a judge would say of all calls, when it has read only a sample of them: prediction-powered inference.

A judge's verdicts on a sample are right but few, a scorer's on all calls many but perhaps biased. Joined (PPI++:
Angelopoulos, Duchi and Zrnic, 2023, arXiv 2311.01453; after Angelopoulos et al., Science 382, 2023) they give a mean
that is as unbiased as the judge's own, with an interval that is the narrower the better the scorer foretells the
judge, and never much wider. It holds where the judged calls are a uniform sample, as the judge's choice by hash
makes them. People's flags are none (who is annoyed complains), so people's means are never extended this way.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.analytics.means import GROUPS
from assay.analytics.selection import Selection
from assay.quality.intervals import mean_interval
from assay.store.connect import Row, Store

Floats = NDArray[np.float64]

FEWEST = 30
"""With fewer judged calls nothing is said."""

_FEWEST_GROUPS = 10


class Sums(msgspec.Struct, frozen=True):
    """Sums of random groups of calls, an array of them each: `n` judged calls with the judge's total `y` and the
    scorer's `f`; `others` calls that were not judged, with the scorer's total `g`."""

    n: Floats
    y: Floats
    f: Floats
    others: Floats
    g: Floats


class Estimate(msgspec.Struct, frozen=True):
    """The judge's mean over all calls with its 95% interval, beside the sample's own.

    `gain` says how many times as many judged calls the sample's own mean would need to be as sure (1 = no gain).
    """

    n: int
    N: int
    mean: float
    low: float | None
    high: float | None
    classical_mean: float
    classical_low: float | None
    classical_high: float | None
    gain: float


def with_judged(store: Store, selection: Selection, scores: dict[str, Row]) -> dict[str, Row]:
    """The answer of `summaries.quality`, with `judged` at each score that a judge gave to a sample of the calls.

    `judged` has the fields of an Estimate and the names of both sides. Calls before the judge's first and after
    its last verdict are left out of it: there was no sampling then.
    """
    return {name: _with_judged(store, selection, name, row) for name, row in scores.items()}


def _with_judged(store: Store, selection: Selection, name: str, row: Row) -> Row:
    by_source = row["by_source"]
    if by_source.get("judge", {"n": 0})["n"] < FEWEST or "scorer" not in by_source:
        return row
    found = _judged(store, selection, name)
    return {**row, "judged": found} if found else row


def _judged(store: Store, selection: Selection, name: str) -> Row | None:
    where, parameters = selection.of_scores()
    where, parameters = f"{where} AND name = {{judged:String}} AND value IS NOT NULL", {**parameters, "judged": name}
    by_judge = f"{where} AND source = 'judge'"
    pairs = store.query(
        f"""
        SELECT scorer, sample, count() AS n, sum(judgement) AS y, sum(value) AS f,
            toUnixTimestamp64Micro(min(started_at)) AS first, toUnixTimestamp64Micro(max(started_at)) AS last
        FROM (
            SELECT project, target, scorer, value, started_at, sample FROM scores FINAL
            WHERE {where} AND source = 'scorer' AND target IN (SELECT target FROM scores FINAL WHERE {by_judge})
        ) AS scored
        INNER JOIN (
            SELECT project, target, avg(value) AS judgement FROM scores FINAL WHERE {by_judge} GROUP BY project, target
        ) AS judged USING (project, target)
        GROUP BY scorer, sample
        """,
        parameters,
    )
    scorers = {row["scorer"] for row in pairs}
    if not scorers:
        return None
    scorer = max(scorers, key=lambda one: (sum(row["n"] for row in pairs if row["scorer"] == one), one))
    pairs = [row for row in pairs if row["scorer"] == scorer]
    if sum(row["n"] for row in pairs) < FEWEST:
        return None
    bounds = {"first": min(row["first"] for row in pairs), "last": max(row["last"] for row in pairs)}
    scored = store.query(
        f"""
        SELECT sample, count() AS n, sum(value) AS f FROM scores FINAL
        WHERE {where} AND source = 'scorer' AND scorer = {{scorer:String}}
            AND started_at >= fromUnixTimestamp64Micro({{first:Int64}})
            AND started_at <= fromUnixTimestamp64Micro({{last:Int64}})
        GROUP BY sample
        """,
        {**parameters, "scorer": scorer, **bounds},
    )
    n, y, f = (_by_group(pairs, figure) for figure in ("n", "y", "f"))
    sums = Sums(n, y, f, _by_group(scored, "n") - n, _by_group(scored, "f") - f)
    return {"source": "judge", "scorer": scorer, **msgspec.to_builtins(estimate(sums))}


def _by_group(rows: list[Row], figure: str) -> Floats:
    totals = np.zeros(GROUPS)
    for row in rows:
        totals[row["sample"]] = row[figure]
    return totals


def estimate(sums: Sums, *, unit: bool = True) -> Estimate:
    """The power-tuned estimate. `unit` says that values lie within 0..1.

    With the shares of each group in the errors of the judge's and the scorer's means, the tuning that
    makes the variance least is the slope of the former on the latter; so sums of groups suffice, and calls of
    one session, which lie in one group, may be alike. With fewer than 10 groups, or where nothing is left
    unjudged, the slope is 0: the sample's own mean.
    """
    n, others = float(sums.n.sum()), float(sums.others.sum())
    groups = int(np.count_nonzero(sums.n))
    mean, foretold = float(sums.y.sum()) / n, float(sums.f.sum()) / n
    own = (sums.y - sums.n * mean) / n
    variance = float(own @ own) * groups / max(groups - 1, 1)
    low, high = mean_interval(mean, variance, groups - 1, unit=unit)
    alone = Estimate(int(n), int(others), mean, low, high, mean, low, high, gain=1.0)
    if groups < _FEWEST_GROUPS or others < 1:
        return alone
    on_all = float(sums.g.sum()) / others
    lent = (sums.f - sums.n * foretold) / n - (sums.g - sums.others * on_all) / others
    slope = float(own @ lent) / max(float(lent @ lent), 1e-18)
    left = own - slope * lent
    powered = float(left @ left) * groups / (groups - 2)
    tuned = mean - slope * (foretold - on_all)
    tuned = min(max(tuned, 0.0), 1.0) if unit else tuned
    low, high = mean_interval(tuned, powered, groups - 2, unit=unit)
    gain = max(variance / powered, 1.0) if powered > 0 else 1.0
    return msgspec.structs.replace(alone, mean=tuned, low=low, high=high, gain=gain)
