"""How figures move over time, and how latencies are spread."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

from assay.analytics.means import FIGURES, GROUP, SHOWN_FIRST, SUMS, with_interval
from assay.analytics.selection import Selection
from assay.analytics.summaries import GROUPS, SCORE_GROUPS, dimension
from assay.errors import AssayError
from assay.store.connect import Row, Store
from assay.store.spans import INPUT_TOKENS, OUTPUT_TOKENS

BUCKETS = (1, 5, 10, 30, 60, 300, 900, 1800, 3600, 10_800, 21_600, 86_400, 604_800)
"""Bucket lengths in seconds that are chosen from when none is asked for."""

AIMED_AT = 60
"""About this many buckets make a readable line."""

MAX_POINTS = 10_000

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Trends(NamedTuple):
    """`points` in time order, each with its `bucket` (start, UTC); `bucket_seconds` is their length."""

    bucket_seconds: int
    points: list[Row]


def trends(
    store: Store,
    selection: Selection,
    bucket: str | None = None,
    group_by: str | None = None,
    *,
    scores: bool = True,
) -> Trends:
    """Calls, cost, tokens, latency, errors and mean scores in each bucket of time.

    `scores` has the mean by name, `intervals` its n and 95% interval (low, high; None where unknown), both of
    the source that `quality` shows.

    `bucket` is a length such as "5m", "1h", "1d", chosen to give about 60 points if None. With `group_by`
    there is one point a bucket and group; scores are given where they carry that dimension. Buckets
    without calls are left out; of more than 10,000 points the newest are kept. Raises AssayError.
    """
    group = dimension(group_by, GROUPS) if group_by else "''"
    seconds = _bucket_seconds(bucket) if bucket else _fitting_bucket(store, selection)
    where, parameters = selection.of_calls()
    points = store.query(
        f"""
        SELECT {_start_of(seconds)} AS bucket, {group} AS group,
            countIf(kind = 'llm') AS conversations, count() AS calls, countIf(status = 'error') AS errors,
            sum(ifNull(spans.cost_usd, 0)) AS cost_usd, countIf(spans.cost_usd IS NULL AND status = 'ok') AS unpriced,
            sum(ifNull({INPUT_TOKENS}, 0) + ifNull({OUTPUT_TOKENS}, 0)) AS total_tokens,
            avgOrNullIf(latency_ms, kind = 'llm') AS avg_latency_ms,
            quantileOrNullIf(0.95)(latency_ms, kind = 'llm') AS p95_latency_ms
        FROM spans FINAL WHERE {where}
        GROUP BY bucket, group ORDER BY bucket DESC, group DESC LIMIT {MAX_POINTS}
        """,
        parameters,
    )
    points.reverse()
    known = _score_means(store, selection, seconds, group_by) if scores else {}
    for point in points:
        figures = known.get((point["bucket"], point["group"]), {})
        point["scores"] = {name: row["mean"] for name, row in figures.items()}
        point["intervals"] = {name: {key: row[key] for key in ("n", "low", "high")} for name, row in figures.items()}
        if not group_by:
            del point["group"]
    return Trends(seconds, points)


def latencies(store: Store, selection: Selection) -> list[Row]:
    """How many conversations took how long: bins of `from_ms`, `to_ms` and `conversations`, six to a factor of ten."""
    where, parameters = selection.of_calls()
    return store.query(
        f"""
        SELECT pow(10, bin / 6) AS from_ms, pow(10, (bin + 1) / 6) AS to_ms, count() AS conversations
        FROM (
            SELECT floor(log10(greatest(latency_ms, 1)) * 6) AS bin
            FROM spans FINAL WHERE {where} AND kind = 'llm'
        )
        GROUP BY bin ORDER BY bin
        """,
        parameters,
    )


def _score_means(
    store: Store, selection: Selection, seconds: int, group_by: str | None
) -> dict[tuple[datetime, str], dict[str, Row]]:
    if group_by and group_by not in SCORE_GROUPS:
        return {}
    where, parameters = selection.of_scores()
    rows = store.query(
        f"""
        SELECT bucket, group, name, source, {FIGURES}
        FROM (
            SELECT {_start_of(seconds)} AS bucket, {group_by or "''"} AS group, name, source, {GROUP} AS sample, {SUMS}
            FROM scores FINAL WHERE {where}
            GROUP BY bucket, group, name, source, sample
        )
        GROUP BY bucket, group, name, source
        """,
        parameters,
    )
    shown: dict[str, str] = {}
    for row in rows:
        shown[row["name"]] = min(shown.get(row["name"], row["source"]), row["source"], key=SHOWN_FIRST.index)
    means: dict[tuple[datetime, str], dict[str, Row]] = {}
    for row in rows:
        if row["n"] and row["source"] == shown[row["name"]]:
            means.setdefault((row["bucket"], row["group"]), {})[row["name"]] = with_interval(row)
    return means


def _start_of(seconds: int) -> str:
    return f"toDateTime(intDiv(toUnixTimestamp(started_at), {seconds}) * {seconds}, 'UTC')"


def _bucket_seconds(bucket: str) -> int:
    match = re.fullmatch(r"(\d{1,6})([smhdw])", bucket.strip())
    if not match or not int(match[1]):
        raise AssayError(f"{bucket!r} is no length of time: write for example 30s, 5m, 1h or 1d")
    return int(match[1]) * _UNITS[match[2]]


def _fitting_bucket(store: Store, selection: Selection) -> int:
    """From the first call of the selection on, so that a young store fills the chart too."""
    where, parameters = selection.of_calls()
    [row] = store.query(f"SELECT count() AS calls, min(started_at) AS first FROM spans WHERE {where}", parameters)
    until = selection.until or datetime.now(UTC)
    span = max((until - row["first"]).total_seconds(), 1) if row["calls"] else 1
    return min(BUCKETS, key=lambda seconds: abs(span / seconds - AIMED_AT))
