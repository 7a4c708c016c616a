"""What a rule looks at: one metric cut into buckets of time, for each group; read from the store in one question.

All SQL of the rules is here. Live evaluation and replay read the same series, and the benchmark makes the same
from simulated calls. Buckets are cut at whole multiples of their length, by the start of the call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.alerts.model_rows import model_rows
from assay.alerts.rules import ESTIMATES, MODEL_METRICS, SCALE_METRICS, AlertRule, ShiftRule, SloRule
from assay.ml.shapes import Shapes
from assay.store.connect import Row, Store
from assay.store.spans import INPUT_TOKENS, OUTPUT_TOKENS, TOTAL_TOKENS

Floats = NDArray[np.float64]

MAX_GROUPS = 100
"""Of more values of a dimension those with most calls are watched."""

MAX_CELLS = 2_500_000
"""Buckets of all groups together, some 100 MB: long histories in fine steps are kept for fewer groups."""

BINS_PER_DOUBLING = 16
"""How finely values are sorted for percentiles: a bin is 4.4% wide, and a percentile is placed within it."""

NO_BIN = -2000
"""The bin of values that are not above zero."""

NO_ROWS: NDArray[np.int64] = np.zeros(0, np.int64)
NO_BINS: NDArray[np.int64] = np.zeros((0, 3), np.int64)

WORST_CALLS = 10


class Source(msgspec.Struct, frozen=True):
    """Which figures are read: rules with the same source share one question.

    `over` and `under` count calls beyond a limit, `logarithm` takes the logarithm of each value first, `bins` also
    sorts values for percentiles.
    """

    metric: str
    filter: tuple[tuple[str, str], ...] = ()
    group_by: str | None = None
    verdicts_of: str | None = None
    over: float | None = None
    under: float | None = None
    logarithm: bool = False
    bins: bool = False


class Series(msgspec.Struct, frozen=True):
    """One group's figures by bucket: arrays of one length, a row a bucket.

    `start` is the beginning of the first bucket (Unix seconds), `step` their length in seconds. `n` counts calls with
    a known value, `total` and `squares` sum them and their squares, `largest` is -inf where there are none, `beyond`
    counts those over (under) the source's limit. `bins` holds (bucket, bin, count) rows, sorted by bucket; of drift
    they are bins of all of a model's columns, and `against` is the reference.
    """

    start: int
    step: int
    n: Floats
    total: Floats
    squares: Floats
    largest: Floats
    beyond: Floats
    bins: NDArray[np.int64]
    against: Shapes | None = None

    def __len__(self) -> int:
        return len(self.n)

    def from_bucket(self, first: int) -> Series:
        """The same without the buckets before `first`."""
        bins = self.bins[self.bins[:, 0] >= first] - np.array([first, 0, 0])
        kept = np.stack([self.n, self.total, self.squares, self.largest, self.beyond])[:, first:]
        cut = series_of(self.start + first * self.step, self.step, kept, bins)
        return msgspec.structs.replace(cut, against=self.against)

    def followed_by(self, later: Series) -> Series:
        """This series up to where the later one begins, then that one."""
        keep = (later.start - self.start) // self.step
        columns = [
            np.concatenate([getattr(self, name)[:keep], getattr(later, name)])
            for name in ("n", "total", "squares", "largest", "beyond")
        ]
        bins = np.concatenate([self.bins[self.bins[:, 0] < keep], later.bins + np.array([keep, 0, 0])])
        joined = series_of(self.start, self.step, np.stack(columns), bins)
        return msgspec.structs.replace(joined, against=later.against or self.against)


def series_of(start: int, step: int, rows: Floats, bins: NDArray[np.int64]) -> Series:
    """A series from five rows: n, total, squares, largest, beyond."""
    return Series(start, step, rows[0], rows[1], rows[2], rows[3], rows[4], bins)


def source_of(rule: AlertRule) -> Source:
    """What the rule reads."""
    shift = isinstance(rule, ShiftRule)
    return Source(
        metric=rule.metric,
        filter=tuple(sorted(rule.filter.items())),
        group_by=rule.group_by,
        verdicts_of=rule.source,
        over=rule.over,
        under=rule.under,
        logarithm=shift and rule.metric in SCALE_METRICS,
        bins=not isinstance(rule, SloRule) and rule.aggregate.startswith("p"),
    )


def sharing_calls(rules: Iterable[AlertRule]) -> list[list[AlertRule]]:
    """The rules in sets that look at the same calls, so that each set takes one pass over them."""
    together: dict[tuple[Any, ...], list[AlertRule]] = {}
    for rule in rules:
        source = source_of(rule)
        seen = "" if source.metric in _VALUES else _seen(source.metric)
        together.setdefault((source.filter, source.group_by, source.verdicts_of, seen), []).append(rule)
    return list(together.values())


def read_series(
    store: Store, rules: Sequence[AlertRule], since: int, until: int, step: int
) -> dict[Source, dict[str, Series]]:
    """The series of every group in [since, until) (Unix seconds, multiples of step), by what the rules read.

    The rules are of one set of `sharing_calls`. Raises StoreError.
    """
    sources = list(dict.fromkeys(map(source_of, rules)))
    first, size = since // step, (until - since) // step
    calls, parameters = _calls(sources)
    parameters |= {"since": since, "until": until}
    groups = [""]
    if sources[0].group_by:
        groups = _top_groups(store, calls, parameters, min(MAX_GROUPS, max(MAX_CELLS // size, 1)))
        calls, parameters["groups"] = f"SELECT * FROM ({calls}) WHERE grouped IN {{groups:Array(String)}}", groups
    figures = ", ".join(
        f"count(x{i}), ifNull(sum(x{i}), 0), ifNull(sum(x{i} * x{i}), 0), ifNull(max(x{i}), -inf),"
        f" countIf({_beyond(source, f'x{i}')})"
        for i, source in enumerate(sources)
    )
    sql = f"SELECT intDiv(at, {step}) AS bucket, grouped, {figures} FROM ({calls}) GROUP BY bucket, grouped"
    rows, (place, *columns) = _columns(store, sql, parameters)
    found: dict[Source, dict[str, Series]] = {}
    for i, source in enumerate(sources):
        bins = _bins(store, f"SELECT at, grouped, x{i} AS x FROM ({calls})", parameters, step) if source.bins else None
        found[source] = {}
        for name in groups:
            own = rows.get(name, NO_ROWS)
            values = np.zeros((5, size))
            values[3] = -np.inf
            values[:, place[own].astype(np.int64) - first] = [column[own] for column in columns[5 * i : 5 * i + 5]]
            sorted_in = bins.get(name, NO_BINS) - np.array([first, 0, 0]) if bins else NO_BINS
            found[source][name] = series_of(since, step, values, sorted_in)
    return found


def worst_calls(store: Store, rule: AlertRule, group: str, since: int, until: int, *, highest: bool) -> list[Row]:
    """The ten calls of the group in [since, until) furthest to one side: span_id, value, model, started_at."""
    calls, parameters = _calls([msgspec.structs.replace(source_of(rule), logarithm=False)])
    return store.query(
        f"SELECT span_id, x0 AS value, model, toDateTime(at, 'UTC') AS started_at FROM ({calls})"
        f" WHERE x0 IS NOT NULL AND grouped = {{group:String}} ORDER BY x0 {'DESC' if highest else 'ASC'}, at DESC"
        f" LIMIT 1 BY span_id LIMIT {WORST_CALLS}",
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


def _calls(sources: Sequence[Source]) -> tuple[str, dict[str, Any]]:
    """Each call with its time (at, seconds), group, id, model and values (x0, x1, ...; NULL where not known)."""
    if sources[0].metric in MODEL_METRICS:
        own = sources[0]
        return model_rows(own.metric, own.filter, own.group_by, lambda value: _values([value] * len(sources), sources))
    any_source, conditions, parameters = sources[0], ["counted", _WITHIN], dict[str, Any]()
    for number, (name, value) in enumerate(any_source.filter):
        conditions.append(f"{_column(name, parameters, f'key{number}')} = {{value{number}:String}}")
        parameters[f"value{number}"] = value
    group = _column(any_source.group_by, parameters, "group_key") if any_source.group_by else "''"
    if any_source.metric in _VALUES:
        values = _values([_VALUES[source.metric] for source in sources], sources)
        where = " AND ".join([*conditions, "kind = 'llm'"])
        return (
            f"SELECT {_AT}, toString({group}) AS grouped, span_id, model, {values} FROM spans FINAL WHERE {where}",
            parameters,
        )
    lag = any_source.metric == "scoring_lag_seconds"
    parameters |= {} if lag else {"score": any_source.metric, "verdicts_of": any_source.verdicts_of or ""}
    judged = "counted AND source = 'scorer'" if lag else _OF_SCORE
    raw = "greatest(date_diff('millisecond', started_at, scored_at) / 1000, 0)" if lag else "value"
    values = _values([raw] * len(sources), sources)
    named = {name for name, _ in any_source.filter} | {any_source.group_by or "project"}
    if named <= {"project", "model", "session_id"}:
        judged = " AND ".join([judged, *conditions])
        verdicts = f"SELECT *, ingested_at AS scored_at FROM scores FINAL WHERE {judged}"
        return (
            f"SELECT {_AT}, toString({group}) AS grouped, target AS span_id, model, {values} FROM ({verdicts})",
            parameters,
        )
    # A verdict knows only some of its call's dimensions.
    return (
        f"""
        SELECT {_AT}, toString({group}) AS grouped, span_id, model, {values}
        FROM (SELECT *, model FROM spans FINAL WHERE {" AND ".join(conditions)}) AS spans
        INNER JOIN (
            SELECT project, target, value, ingested_at AS scored_at FROM scores FINAL WHERE {judged} AND {_WITHIN}
        ) AS verdict ON verdict.project = spans.project AND verdict.target = spans.span_id""",
        parameters,
    )


_OF_SCORE = """
    counted AND name = {score:String} AND value IS NOT NULL AND source = if({verdicts_of:String} != '',
        {verdicts_of:String},
        (SELECT argMin(source, indexOf(['scorer', 'otel', 'judge', 'human'], source)) FROM scores
            WHERE counted AND name = {score:String} AND value IS NOT NULL))"""
"""The verdicts of one source: as in the charts, of the first that gave any where the rule names none."""

_AT = "toUnixTimestamp(started_at) AS at"
_WITHIN = "started_at >= toDateTime64({since:Int64}, 6) AND started_at < toDateTime64({until:Int64}, 6)"
"""Bounds of the column's own kind: the engine compares a DateTime to a DateTime64 wrongly within its last second."""


def _values(raw: Sequence[str], sources: Sequence[Source]) -> str:
    logarithm = "log(greatest({}, 1e-9))"
    return ", ".join(
        f"{logarithm.format(value) if source.logarithm else f'toFloat64({value})'} AS x{i}"
        for i, (value, source) in enumerate(zip(raw, sources, strict=True))
    )


def _seen(metric: str) -> str:
    """What tells rows of one set apart from those of another: models are read metric by metric, estimates together."""
    return "estimate" if metric in ESTIMATES else metric


def _column(name: str, parameters: dict[str, Any], key: str) -> str:
    if not name.startswith("tag:"):
        return name
    parameters[key] = name.removeprefix("tag:")
    return f"attributes[{{{key}:String}}]"


def _beyond(source: Source, x: str) -> str:
    if source.over is not None:
        return f"{x} > {source.over!r}"
    return f"{x} < {source.under!r}" if source.under is not None else "0"


def _top_groups(store: Store, calls: str, parameters: Mapping[str, Any], most: int) -> list[str]:
    sql = f"SELECT grouped FROM ({calls}) GROUP BY grouped ORDER BY count() DESC, grouped LIMIT {most}"
    return [row["grouped"] for row in store.query(sql, parameters)]


def _bins(store: Store, calls: str, parameters: Mapping[str, Any], step: int) -> dict[str, NDArray[np.int64]]:
    sql = f"""
        SELECT intDiv(at, {step}) AS bucket, grouped,
            if(x > 0, toInt64(floor(log2(x) * {BINS_PER_DOUBLING})), {NO_BIN}) AS bin, count()
        FROM ({calls}) WHERE x IS NOT NULL GROUP BY bucket, grouped, bin ORDER BY bucket, bin"""
    rows, columns = _columns(store, sql, parameters)
    figures = np.stack(columns, axis=1).astype(np.int64)
    return {name: figures[own] for name, own in rows.items()}


def _columns(
    store: Store, sql: str, parameters: Mapping[str, Any]
) -> tuple[dict[str, NDArray[np.int64]], list[NDArray[Any]]]:
    """Which rows each group has, and the other columns."""
    table = store.arrow(sql, parameters).combine_chunks()
    names: Any = table.column("grouped").combine_chunks().dictionary_encode()
    codes: NDArray[np.int64] = names.indices.to_numpy(zero_copy_only=False)
    rows = {name: np.flatnonzero(codes == code) for code, name in enumerate(names.dictionary.to_pylist())}
    columns = zip(table.column_names, table.columns, strict=True)
    return rows, [column.to_numpy(zero_copy_only=False) for name, column in columns if name != "grouped"]
