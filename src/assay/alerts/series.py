"""What a rule looks at: one metric cut into buckets of time, for each group; read from the store in one question.

All SQL of the rules is here. Live evaluation and replay read the same series, and the benchmark makes the same
from simulated calls. Buckets are cut at whole multiples of their length, by the start of the call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.alerts.rules import SCALE_METRICS, AlertRule, ShiftRule, SloRule
from assay.store.connect import Row, Store
from assay.store.spans import INPUT_TOKENS, OUTPUT_TOKENS, TOTAL_TOKENS

Floats = NDArray[np.float64]

MAX_GROUPS = 100
"""Of more values of a dimension those with most calls are watched."""

BINS_PER_DOUBLING = 16
"""How finely values are sorted for percentiles: a bin is 4.4% wide, and a percentile is placed within it."""

NO_BIN = -2000
"""The bin of values that are not above zero."""

WORST_CALLS = 10


class Source(msgspec.Struct, frozen=True):
    """Which figures are read: rules with the same source share one question.

    `over` and `under` count calls beyond a limit, `logarithm` takes the logarithm of each value first, `bins` also
    sorts values for percentiles.
    """

    metric: str
    filter: tuple[tuple[str, str], ...] = ()
    group_by: str | None = None
    over: float | None = None
    under: float | None = None
    logarithm: bool = False
    bins: bool = False


class Series(msgspec.Struct, frozen=True):
    """One group's figures by bucket: arrays of one length, a row a bucket.

    `start` is the beginning of the first bucket (Unix seconds), `step` their length in seconds. `n` counts calls with
    a known value, `total` and `squares` sum them and their squares, `largest` is -inf where there are none, `beyond`
    counts those over (under) the source's limit. `bins` holds (bucket, bin, count) rows, sorted by bucket.
    """

    start: int
    step: int
    n: Floats
    total: Floats
    squares: Floats
    largest: Floats
    beyond: Floats
    bins: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.n)

    def from_bucket(self, first: int) -> Series:
        """The same without the buckets before `first`."""
        bins = self.bins[self.bins[:, 0] >= first] - np.array([first, 0, 0])
        kept = [column[first:] for column in (self.n, self.total, self.squares, self.largest, self.beyond)]
        return Series(self.start + first * self.step, self.step, *kept, bins)

    def followed_by(self, later: Series) -> Series:
        """This series up to where the later one begins, then that one."""
        keep = (later.start - self.start) // self.step
        columns = [
            np.concatenate([getattr(self, name)[:keep], getattr(later, name)])
            for name in ("n", "total", "squares", "largest", "beyond")
        ]
        bins = np.concatenate([self.bins[self.bins[:, 0] < keep], later.bins + np.array([keep, 0, 0])])
        return Series(self.start, self.step, *columns, bins)


def source_of(rule: AlertRule) -> Source:
    """What the rule reads."""
    shift = isinstance(rule, ShiftRule)
    return Source(
        metric=rule.metric,
        filter=tuple(sorted(rule.filter.items())),
        group_by=rule.group_by,
        over=rule.over,
        under=rule.under,
        logarithm=shift and rule.metric in SCALE_METRICS,
        bins=not isinstance(rule, SloRule) and rule.aggregate.startswith("p"),
    )


def read_series(store: Store, source: Source, since: int, until: int, step: int) -> dict[str, Series]:
    """The series of every group in [since, until) (Unix seconds, multiples of step). Raises StoreError."""
    size = (until - since) // step
    calls, parameters = _calls(source)
    parameters |= {"since": since, "until": until}
    top = _top_groups(store, source, calls, parameters) if source.group_by else [""]
    if not top:
        return {}
    if source.group_by:
        calls, parameters["groups"] = f"{calls} AND grouped IN {{groups:Array(String)}}", top
    columns = {group: np.zeros((5, size)) for group in top}
    for group in top:
        columns[group][3] = -np.inf
    figures = f"count(), sum(x), sum(x * x), max(x), countIf({_beyond(source)})"
    sql = f"SELECT intDiv(at, {step}) AS bucket, grouped, {figures} FROM ({calls}) GROUP BY bucket, grouped"
    for bucket, group, *values in _rows(store, sql, parameters):
        columns[group][:, bucket - since // step] = values
    bins = _bins(store, source, calls, parameters, since // step, step)
    none = np.zeros((0, 3), np.int64)
    return {group: Series(since, step, *columns[group], bins.get(group, none)) for group in top}


def worst_calls(store: Store, rule: AlertRule, group: str, since: int, until: int, *, highest: bool) -> list[Row]:
    """The ten calls of the group in [since, until) that were furthest to one side: span_id, value, model, started_at."""
    source = msgspec.structs.replace(source_of(rule), logarithm=False)
    calls, parameters = _calls(source)
    return store.query(
        f"SELECT span_id, x AS value, model, toDateTime(at, 'UTC') AS started_at FROM ({calls} AND grouped = {{group:String}})"
        f" ORDER BY x {'DESC' if highest else 'ASC'}, at DESC LIMIT 1 BY span_id LIMIT {WORST_CALLS}",
        {**parameters, "since": since, "until": until, "group": group},
    )


_VALUES = {
    "cost": "cost_usd",
    "tokens": TOTAL_TOKENS,
    "input_tokens": INPUT_TOKENS,
    "output_tokens": OUTPUT_TOKENS,
    "latency_ms": "latency_ms",
    "first_token_ms": "time_to_first_token_ms",
    "error_rate": "toFloat64(status = 'error')",
    "unpriced": "if(status = 'ok', toFloat64(cost_usd IS NULL), NULL)",
    "volume": "1.0",
}
"""Each metric's value of one call; NULL where it is not known, which counts nowhere."""


def _calls(source: Source) -> tuple[str, dict[str, Any]]:
    """Each call with its time (at, seconds), group, id, model and value (x, never NULL), as a statement to add to."""
    conditions, parameters = list[str](), dict[str, Any]()
    for number, (name, value) in enumerate(source.filter):
        conditions.append(f"{_column(name, parameters, f'key{number}')} = {{value{number}:String}}")
        parameters[f"value{number}"] = value
    group = _column(source.group_by, parameters, "group_key") if source.group_by else "''"
    value = _VALUES.get(source.metric)
    if value is None:
        return _scores(source, group, conditions, parameters)
    where = " AND ".join(["counted", "kind = 'llm'", _WITHIN, *conditions])
    calls = f"SELECT toUnixTimestamp(started_at) AS at, {group} AS grouped, span_id, model, {value} AS raw FROM spans FINAL WHERE {where}"
    return _known(calls, source), parameters


def _scores(source: Source, group: str, conditions: list[str], parameters: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The same for a score, every verdict of its name as in the charts, or for the time until a call was scored."""
    named = {name for name, _ in source.filter} | {source.group_by or "project"}
    if source.metric == "scoring_lag_seconds":
        verdicts = f"""
            SELECT project, target, min(ingested_at) AS scored_at
            FROM scores FINAL WHERE counted AND source = 'scorer' AND {_WITHIN} GROUP BY project, target"""
        raw = "greatest(date_diff('millisecond', spans.ingested_at, verdict.scored_at) / 1000, 0)"
        return _known(_joined(verdicts, raw, group, conditions), source), parameters
    parameters["score"] = source.metric
    where = " AND ".join(["counted", "name = {score:String}", "value IS NOT NULL", _WITHIN])
    if named <= {"project", "model", "session_id"}:
        calls = f"""
            SELECT toUnixTimestamp(started_at) AS at, {group} AS grouped, target AS span_id, model, value AS raw
            FROM scores FINAL WHERE {" AND ".join([where, *conditions])}"""
        return _known(calls, source), parameters
    verdicts = f"SELECT project, target, value FROM scores FINAL WHERE {where}"
    return _known(_joined(verdicts, "verdict.value", group, conditions), source), parameters


def _joined(verdicts: str, raw: str, group: str, conditions: list[str]) -> str:
    where = " AND ".join(["counted", _WITHIN, *conditions])
    return f"""
        SELECT toUnixTimestamp(started_at) AS at, {group} AS grouped, span_id, model, {raw} AS raw
        FROM (SELECT *, model FROM spans FINAL WHERE {where}) AS spans
        INNER JOIN ({verdicts}) AS verdict ON verdict.project = spans.project AND verdict.target = spans.span_id"""


_WITHIN = "started_at >= fromUnixTimestamp({since:Int64}) AND started_at < fromUnixTimestamp({until:Int64})"


def _known(calls: str, source: Source) -> str:
    x = "log(greatest(raw, 1e-9))" if source.logarithm else "toFloat64(raw)"
    return f"SELECT at, grouped, span_id, model, assumeNotNull({x}) AS x FROM ({calls}) WHERE raw IS NOT NULL"


def _column(name: str, parameters: dict[str, Any], key: str) -> str:
    if not name.startswith("tag:"):
        return name
    parameters[key] = name.removeprefix("tag:")
    return f"attributes[{{{key}:String}}]"


def _beyond(source: Source) -> str:
    if source.over is not None:
        return f"x > {source.over!r}"
    return f"x < {source.under!r}" if source.under is not None else "0"


def _top_groups(store: Store, source: Source, calls: str, parameters: Mapping[str, Any]) -> list[str]:
    rows = store.query(f"SELECT grouped FROM ({calls}) GROUP BY grouped ORDER BY count() DESC LIMIT {MAX_GROUPS}", parameters)
    return [row["grouped"] for row in rows]


def _bins(
    store: Store, source: Source, calls: str, parameters: Mapping[str, Any], first: int, step: int
) -> dict[str, NDArray[np.int64]]:
    if not source.bins:
        return {}
    sql = f"""
        SELECT grouped, intDiv(at, {step}) AS bucket,
            if(x > 0, toInt32(floor(log2(x) * {BINS_PER_DOUBLING})), {NO_BIN}) AS bin, count()
        FROM ({calls}) GROUP BY grouped, bucket, bin ORDER BY bucket, bin"""
    by_group: dict[str, list[tuple[int, int, int]]] = {}
    for group, bucket, number, count in _rows(store, sql, parameters):
        by_group.setdefault(group, []).append((bucket - first, number, count))
    return {group: np.array(rows, np.int64) for group, rows in by_group.items()}


def _rows(store: Store, sql: str, parameters: Mapping[str, Any]) -> Any:
    for block in store.stream_blocks(sql, parameters):
        yield from zip(*block.values(), strict=True)
