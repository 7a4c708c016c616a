"""SQL for means of scores that know how sure they are.

Rows are dealt into random groups by their session (a call without one by its own start); what a group sums
up to gives the mean, and the spread between groups its interval (quality/intervals.py). Scores have the number of
their group in `sample`.
"""

from __future__ import annotations

from assay.quality.intervals import UNKNOWN, mean_interval, variance_of_mean
from assay.store.connect import Row

GROUPS = 64
"""Enough that Student's t is 2% from its limit, few enough that grouping stays cheap."""

GROUP = f"if(session_id = '', intHash64(toUnixTimestamp64Micro(started_at)), cityHash64(session_id)) % {GROUPS}"

SAMPLE = {"sample": "sample"}

SUMS = "count(value) AS c, ifNull(sum(value), 0) AS t, min(value) AS lowest, max(value) AS highest"
"""What is asked of each group ..."""

FIGURES = """
    sum(c) AS n, if(n = 0, NULL, sum(t) / n) AS mean, min(lowest) AS min, max(highest) AS max,
    countIf(c > 0) AS groups, sum(t * t) AS tt, sum(t * c) AS tc, sum(toFloat64(c) * c) AS cc"""
"""... and what over all groups. Of a value that no row has the mean is NULL."""

SHOWN_FIRST = ("scorer", "otel", "judge", "human")
"""Whose figures stand for a name: those of the first source that gave any (as in `store.scores.SHOWN_FIRST`)."""


def with_interval(row: Row) -> Row:
    """The row with `low` and `high` of its mean (95%, None where unknown) instead of the sums behind them."""
    sums = {name: row.pop(name) for name in ("groups", "tt", "tc", "cc")}
    low, high = UNKNOWN
    if row["n"]:
        variance, degrees = variance_of_mean(c=row["n"], t=row["mean"] * row["n"], **sums)
        low, high = mean_interval(row["mean"], variance, degrees, unit=row["min"] >= 0 and row["max"] <= 1)
    return {**row, "low": low, "high": high}
