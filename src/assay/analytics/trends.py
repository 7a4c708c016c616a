"""How figures move over time, and how latencies are spread."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from assay.analytics.buckets import Buckets, buckets
from assay.analytics.means import FIGURES, SAMPLE, SHOWN_FIRST, SUMS, with_interval
from assay.analytics.metrics import INPUT, METRICS, OUTPUT, SCORE, selected, unknown
from assay.analytics.selection import EARLIEST, Dimension, Selection, dimension
from assay.analytics.sums import Aggregates, ask, of_scores
from assay.store.connect import Row, Store

MAX_POINTS = 10_000

_ALWAYS = f"""
    countIf(spans.kind = 'llm') AS conversations, count() AS calls, countIf(spans.status = 'error') AS errors,
    sum(ifNull(spans.cost_usd, 0)) AS cost_usd, countIf(spans.cost_usd IS NULL AND spans.status = 'ok') AS unpriced,
    sum(ifNull({INPUT}, 0) + ifNull({OUTPUT}, 0)) AS total_tokens,
    {selected(("avg_latency_ms", "p50_latency_ms", "p95_latency_ms", "p99_latency_ms"))}"""

Key = tuple[datetime, str]


class Trends(NamedTuple):
    """`points` in time order, each with the start of its `bucket` in the zone `tz`.

    `bucket_seconds` is their length by the clock, None for months; `cut` says that older points were left out.
    """

    bucket_seconds: int | None
    points: list[Row]
    tz: str
    cut: bool


def trends(
    store: Store,
    selection: Selection,
    bucket: str | None = None,
    group_by: str | None = None,
    *,
    scores: bool = True,
    metrics: Sequence[str] = (),
    tz: str = "",
) -> Trends:
    """Figures in each bucket of time: `metrics`, or else calls, cost, tokens, latency, errors and mean scores.

    Metrics are those of metrics.METRICS and the names of scores; a score's mean stands beside its n and 95% interval
    (`relevance`, `relevance_n`, `relevance_low`, `relevance_high`; None where unknown). Without metrics `scores` has
    the means by name and `intervals` their n, low and high. Scores are of the source that `quality` shows of the time
    of the points.

    `bucket` is a length such as "5m", "1h", "1d", "1mo", chosen to give about 60 points if None; days, weeks and
    months are those of the zone `tz` (UTC if empty). With `group_by` there is one point a bucket and group.
    Buckets without calls are left out; of more than 10,000 points the newest are kept. Raises AssayError.
    """
    by = dimension(group_by) if group_by else None
    parts = buckets(store, selection, bucket, tz)
    own = list(dict.fromkeys(name for name in metrics if name in METRICS))
    asked = [name.removeprefix(SCORE) for name in metrics if name not in METRICS]
    figures = selected(dict.fromkeys(["calls", *own])) if metrics else _ALWAYS
    points = _points(store, selection, parts, by, figures)
    cut = len(points) > MAX_POINTS
    points = points[-MAX_POINTS:]
    shown = replace(selection, since=max(points[0]["bucket"], selection.since or EARLIEST)) if cut else selection
    means = _score_means(store, shown, parts, by, asked) if asked or (scores and not metrics) else {}
    if missing := set(asked).difference(*means.values()):
        # Only now: to tell a name that no call here has from a misspelt one, all scores are looked through.
        _check_scores(store, selection, sorted(missing))
    for point in points:
        known = means.get((point["bucket"], point["group"]), {})
        point.update(_flat(known, asked) if metrics else _nested(known))
        if by is None:
            del point["group"]
    return Trends(parts.seconds, points, parts.tz, cut)


def latencies(store: Store, selection: Selection) -> list[Row]:
    """How many conversations took how long: bins of `from_ms`, `to_ms` and `conversations`, six to a factor of ten."""
    return ask(
        store,
        selection,
        Aggregates("countIf(kind = 'llm') AS conversations", {"bin": "floor(log10(greatest(latency_ms, 1)) * 6)"}),
        lambda sums: (
            f"""
            SELECT pow(10, bin / 6) AS from_ms, pow(10, (bin + 1) / 6) AS to_ms, conversations
            FROM ({sums}) WHERE conversations > 0 ORDER BY bin"""
        ),
    )


def _points(store: Store, selection: Selection, parts: Buckets, by: Dimension | None, figures: str) -> list[Row]:
    keys = {"bucket": parts.start, "group": by.sql if by else "''"}
    points = ask(
        store,
        selection,
        Aggregates(figures, keys, parameters={**parts.parameters, **(by.parameters if by else {})}),
        lambda sums: f"{sums} ORDER BY bucket DESC, group DESC LIMIT {MAX_POINTS + 1}",
    )
    points.reverse()
    return points


def _check_scores(store: Store, selection: Selection, asked: list[str]) -> None:
    """Raises AssayError unless each is the name of a score of the selected project, or of any."""
    where, parameters = Selection(project=selection.project).of_scores()
    rows = store.query(f"SELECT DISTINCT name FROM scores WHERE {where} ORDER BY name", parameters)
    names = [row["name"] for row in rows]
    for name in asked:
        if name not in names:
            raise unknown(name, names)


def _score_means(
    store: Store, selection: Selection, parts: Buckets, by: Dimension | None, names: list[str]
) -> dict[Key, dict[str, Row]]:
    """By bucket and group, then by name of a score (all if none are named): n, mean and interval."""
    group = selection.scores_by(by, names)[1]
    keys = {"bucket": parts.start, "group": group, "name": "name", "source": "source", **SAMPLE}
    rows = ask(
        store,
        selection,
        Aggregates(SUMS, keys, of_scores(by, names), parts.parameters),
        lambda sums: (
            f"SELECT bucket, group, name, source, {FIGURES} FROM ({sums}) GROUP BY bucket, group, name, source"
        ),
    )
    shown: dict[str, str] = {}
    for row in rows:
        shown[row["name"]] = min(shown.get(row["name"], row["source"]), row["source"], key=SHOWN_FIRST.index)
    means: dict[Key, dict[str, Row]] = {}
    for row in rows:
        if row["n"] and row["source"] == shown[row["name"]]:
            means.setdefault((row["bucket"], row["group"]), {})[row["name"]] = with_interval(row)
    return means


def _nested(known: dict[str, Row]) -> Row:
    return {
        "scores": {name: row["mean"] for name, row in known.items()},
        "intervals": {name: {key: row[key] for key in ("n", "low", "high")} for name, row in known.items()},
    }


def _flat(known: dict[str, Row], asked: list[str]) -> Row:
    flat: Row = {}
    for name in asked:
        row = known.get(name, {"mean": None, "n": 0, "low": None, "high": None})
        flat |= {name: row["mean"], **{f"{name}_{key}": row[key] for key in ("n", "low", "high")}}
    return flat
