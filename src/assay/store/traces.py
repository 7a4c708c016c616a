"""What settling asks of the store: which traces to look at again, and all that they hold, as records."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from assay.records import CALL_KINDS, Event, Span
from assay.store.connect import Row, Store

Record = TypeVar("Record", Span, Event)

DAY_MICROS = 86_400 * 10**6
HOUR_MICROS = 3_600 * 10**6
KEYS = "arrayFilter(key -> key != '', [call_key, response_id])"
"""What spans of one call share across traces."""

Within = tuple[int, int]
"""First and last start of spans, in Unix microseconds."""

_NEW = (
    "ingested_at > fromUnixTimestamp64Micro({after:Int64}) AND ingested_at <= fromUnixTimestamp64Micro({until:Int64})"
)
_IN_TIME = (
    "started_at >= fromUnixTimestamp64Micro({first:Int64}) AND started_at <= fromUnixTimestamp64Micro({last:Int64})"
)


def commit_after(store: Store, after: int, until: int, rows: int) -> int:
    """The commit (Unix microseconds) up to which about this many new rows lie; `until` if there are fewer."""
    [row] = store.query(
        f"""
        SELECT count() AS rows, toUnixTimestamp64Micro(max(ingested_at)) AS reached FROM (
            SELECT ingested_at FROM spans WHERE {_NEW} ORDER BY ingested_at LIMIT {{rows:UInt32}}
        )
        """,
        {"after": after, "until": until, "rows": rows},
    )
    return int(row["reached"]) if row["rows"] == rows else until


def starts_of(store: Store, after: int, until: int) -> Within | None:
    """First and last start of the spans and log records of these commits in Unix microseconds, None without any."""
    [row] = store.query(
        f"""
        SELECT count() AS rows, toUnixTimestamp64Micro(min(at)) AS first, toUnixTimestamp64Micro(max(at)) AS last FROM (
            SELECT started_at AS at FROM spans WHERE {_NEW} UNION ALL SELECT at FROM events WHERE {_NEW}
        )
        """,
        {"after": after, "until": until},
    )
    return (int(row["first"]), int(row["last"])) if row["rows"] else None


def traces_to_settle(store: Store, after: int, until: int, starts: Within) -> list[str]:
    """Traces with something to settle among those that gained a span or a log record in these commits.

    That is: several calls, a call that lacks a session or user which another span of its trace names, a call
    whose response id another span names, a call that failed, log records, or a call that shares a key with one
    of another trace. `starts` are those of the commits' spans.
    """
    window = {"after": after, "until": until, "kinds": list(CALL_KINDS)}
    rows = store.query(_TRACES, window | _bounds(starts, DAY_MICROS))
    new_keys = f"SELECT arrayJoin({KEYS}) FROM spans WHERE {_NEW} AND kind IN {{kinds:Array(String)}}"
    return sorted({row["trace_id"] for row in rows} | _traces_sharing(store, new_keys, window, starts))


_TRACES = f"""
    WITH kind IN {{kinds:Array(String)}} AS call
    SELECT trace_id FROM spans
    WHERE trace_id IN (SELECT trace_id FROM spans WHERE {_NEW}) AND {_IN_TIME}
    GROUP BY trace_id
    HAVING uniqExactIf(span_id, call) > 1
        OR (countIf(call) > 0 AND uniqExact(span_id) > 1 AND (
            (countIf(call AND session_id = '') > 0 AND countIf(session_id != '') > 0)
            OR (countIf(call AND user_id = '') > 0 AND countIf(user_id != '') > 0)
            OR countIf(NOT call AND response_id != '') > 0
            OR countIf(call AND status = 'error') > 0))
        OR trace_id IN (SELECT trace_id FROM events WHERE {_IN_TIME.replace("started_at", "at")})
    UNION DISTINCT
    SELECT trace_id FROM events WHERE {_NEW}
"""


def traces_of_keys(store: Store, spans: Sequence[Span]) -> set[str]:
    """Traces that share a call with these spans."""
    calls = [span for span in spans if span.kind in CALL_KINDS]
    keys = {key for span in calls for key in (span.call_key, span.response_id)} - {""}
    if not keys:
        return set()
    starts = [span.started_at for span in calls]
    return _traces_sharing(
        store, "{keys:Array(String)}", {"keys": list(keys), "kinds": list(CALL_KINDS)}, (min(starts), max(starts))
    )


def _traces_sharing(store: Store, keys: str, parameters: dict[str, Any], starts: Within) -> set[str]:
    """Traces that have one of these keys (an SQL set) in common with another trace, at about the same time."""
    rows = store.query(
        f"""
        SELECT arrayJoin(traces) AS trace_id FROM (
            SELECT groupUniqArray(trace_id) AS traces FROM spans ARRAY JOIN {KEYS} AS shared
            WHERE shared IN ({keys}) AND kind IN {{kinds:Array(String)}} AND {_IN_TIME}
            GROUP BY shared HAVING length(traces) > 1
        )
        """,
        parameters | _bounds(starts, HOUR_MICROS),
    )
    return {row["trace_id"] for row in rows}


def _bounds(starts: Within, margin: int) -> dict[str, int]:
    return {"first": starts[0] - margin, "last": starts[1] + margin}


def spans_of(store: Store, trace_ids: Iterable[str], starts: Within) -> list[Span]:
    """All spans of these traces that started within a day of `starts`."""
    rows = store.query(
        f"""
        SELECT {_columns(Span)} FROM spans WHERE trace_id IN {{ids:Array(String)}} AND {_IN_TIME}
        ORDER BY version DESC LIMIT 1 BY project, trace_id, span_id
        """,
        {"ids": list(trace_ids), **_bounds(starts, DAY_MICROS)},
    )
    return [_record(Span, row, "started_at") for row in rows]


def span_of_response(store: Store, response_id: str) -> Span | None:
    """The span of the call that a provider answered with this response id, the counted one if there are several."""
    rows = store.query(
        f"""
        SELECT {_columns(Span)} FROM spans FINAL WHERE response_id = {{id:String}} AND response_id != ''
        ORDER BY counted DESC, started_at LIMIT 1
        """,
        {"id": response_id},
    )
    return _record(Span, rows[0], "started_at") if rows else None


def events_of(store: Store, trace_ids: Iterable[str]) -> list[Event]:
    """All log records of these traces in the order of their times; of those without a trace the newest."""
    rows = store.query(
        f"""
        SELECT {_columns(Event)} FROM events FINAL
        WHERE trace_id IN {{ids:Array(String)}} AND (trace_id != '' OR ingested_at > now() - INTERVAL 10 MINUTE)
        ORDER BY at, position
        """,
        {"ids": list(trace_ids)},
    )
    return [_record(Event, row, "at") for row in rows]


def _columns(record: type[msgspec.Struct]) -> str:
    return ", ".join(record.__struct_fields__)


def _record(record: type[Record], row: Row, time_field: str) -> Record:
    values: dict[str, Any] = {**row, time_field: _micros(row[time_field])}
    return record(**values)


def _micros(moment: Any) -> int:
    return round(moment.timestamp() * 1e6)


def calls_in_blocks(store: Store, since: int, until: int | None, project: str, block: int) -> Generator[list[Span]]:
    """Counted calls that started in [since, until) (Unix microseconds) in the order of their starts, block by block."""
    after, after_id = since, ("", "")
    while True:
        rows = store.query(
            f"""
            SELECT {_columns(Span)} FROM spans FINAL
            WHERE counted AND started_at >= fromUnixTimestamp64Micro({{after:Int64}})
                AND started_at < fromUnixTimestamp64Micro({{until:Int64}})
                AND (started_at, span_id, trace_id) >
                    (fromUnixTimestamp64Micro({{after:Int64}}), {{span_id:String}}, {{trace_id:String}})
                AND ({{project:String}} = '' OR project = {{project:String}})
            ORDER BY started_at, span_id, trace_id LIMIT {{block:UInt32}}
            """,
            {
                "after": after,
                "span_id": after_id[0],
                "trace_id": after_id[1],
                "until": until or _FOR_EVER,
                "project": project,
                "block": block,
            },
        )
        if not rows:
            return
        spans = [_record(Span, row, "started_at") for row in rows]
        yield spans
        after, after_id = spans[-1].started_at, (spans[-1].span_id, spans[-1].trace_id)


_FOR_EVER = 4_102_444_800 * 10**6
