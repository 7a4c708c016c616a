"""Single calls: pages of them, newest or most expensive first, searched by their words; and one in full."""

from __future__ import annotations

import base64
import json
import time
from typing import Any, NamedTuple

from assay.analytics.highlights import highlights
from assay.analytics.query import parse
from assay.analytics.search import checked, condition
from assay.analytics.selection import Selection
from assay.analytics.together import both
from assay.errors import AssayError, NotFound
from assay.store.connect import Row, Store
from assay.store.scores import scores_of, values_by_name
from assay.store.spans import spans_of_trace, spans_with_ids
from assay.store.terms import TERMS_SQL

ORDERS = {
    "started_at": "toUnixTimestamp64Micro(started_at)",
    "cost": "ifNull(cost_usd, -1)",
    "latency": "latency_ms",
}
"""What a list of calls can be ordered by, always from the largest down."""

MAX_LIMIT = 1000

_WINDOWS_DAYS = (1, 7)
"""Newest calls are looked for in the last day, then in the week before it, then in all that is older."""

_SEARCHED_DAYS = (1,)
"""Those that say something have an index of their own, beside which a window costs more than it saves."""

_DAY_US = 86_400_000_000


class Page(NamedTuple):
    """Some calls, and the cursor that continues after them (None at the end)."""

    calls: list[Row]
    next_cursor: str | None


def calls(
    store: Store,
    selection: Selection,
    *,
    q: str = "",
    within: str = "",
    kind: str = "",
    trace_id: str = "",
    order: str = "started_at",
    limit: int = 50,
    cursor: str = "",
) -> Page:
    """A page of counted calls with their scores as {name: value}.

    `kind` keeps conversations ("llm") or embeddings ("embedding"). `q` keeps calls that say what it looks for
    (query.py), anywhere or `within` prompt, response or messages, and shows where in `highlights`. A page of a search
    may have fewer calls than `limit` and still a cursor. Raises AssayError for an unknown order or `within`, a limit
    outside 1..1000, a cursor that no page gave, or a `q` that cannot be looked for.
    """
    if order not in ORDERS:
        raise AssayError(f"cannot order by {order!r}: choose one of {', '.join(ORDERS)}")
    if not 1 <= limit <= MAX_LIMIT:
        raise AssayError(f"limit must be between 1 and {MAX_LIMIT}, not {limit}")
    where, parameters = selection.of_calls()
    if kind:
        where += " AND kind = {kind:String}"
        parameters["kind"] = kind
    if trace_id:
        where += " AND trace_id = {trace_id:String}"
        parameters["trace_id"] = trace_id.lower()
    after = _decode_cursor(cursor) if cursor else None
    query = parse(q)
    looked_for = condition(store, query, within) if query else None
    if looked_for:
        where += f" AND {looked_for.where}"
        parameters |= looked_for.parameters

    def keys(count: int, last: Row | None = None) -> list[Row]:
        place = (last["place"], last["span_id"]) if last else after
        ask = _newest if order == "started_at" else _keys
        return ask(store, where, parameters, order, count, place, searched=bool(query))

    if query and looked_for and not looked_for.exact:
        page, last = checked(store, query, within, limit, keys)
    else:
        found = keys(limit + 1)
        page = found[:limit]
        last = page[-1] if len(found) > limit else None
    rows = _with_scores(store, page)
    if query:
        rows = [{**row, "highlights": highlights(query, row, within)} for row in rows]
    by_id = {_identity(row): row for row in rows}
    return Page(
        [by_id[_identity(key)] for key in page if _identity(key) in by_id],
        _encode_cursor(last["place"], last["span_id"]) if last else None,
    )


def _newest(
    store: Store,
    where: str,
    parameters: dict[str, Any],
    order: str,
    limit: int,
    after: tuple[float, str] | None,
    *,
    searched: bool,
) -> list[Row]:
    """As `_keys` in the order of starts, a window of time after another: what is older is mostly not read."""
    top = int(after[0]) if after else time.time_ns() // 1000
    found, above = list[Row](), ""
    for days in (*(_SEARCHED_DAYS if searched else _WINDOWS_DAYS), None):
        part = {**parameters, "above": top}
        window = where + above
        if days is not None:
            part["from"] = top = top - days * _DAY_US
            window += " AND started_at >= fromUnixTimestamp64Micro({from:Int64})"
        found += _keys(store, window, part, order, limit - len(found), after, searched=searched)
        if len(found) >= limit:
            break
        above = " AND started_at < fromUnixTimestamp64Micro({above:Int64})"
    return found


def _keys(
    store: Store,
    where: str,
    parameters: dict[str, Any],
    order: str,
    limit: int,
    after: tuple[float, str] | None,
    *,
    searched: bool,
) -> list[Row]:
    """Which calls a page has, in its order: their ids, places in that order and starts."""
    if after:
        where += f" AND ({ORDERS[order]}, span_id) < ({{after:Float64}}, {{after_id:String}})"
        parameters = {**parameters, "after": after[0], "after_id": after[1]}
    return store.query(
        f"{f'WITH {TERMS_SQL} AS terms ' if searched else ''}SELECT project, span_id, {ORDERS[order]} AS place,"
        f" toUnixTimestamp64Micro(started_at) AS started FROM spans FINAL WHERE {where}"
        " ORDER BY place DESC, span_id DESC LIMIT {limit:UInt32}",
        {**parameters, "limit": limit},
    )


def call(store: Store, span_id: str) -> Row:
    """One call in full; `scores` as {name: value} and `verdicts` with who judged and why. Raises NotFound."""
    rows = spans_with_ids(store, [span_id.lower()])
    if not rows:
        raise NotFound(f"no span {span_id!r} is stored; it may still be on its way")
    started = round(rows[0]["started_at"].timestamp() * 1e6)
    verdicts = scores_of(store, [rows[0]["span_id"]], [started]).get(_identity(rows[0]), [])
    return {**rows[0], "scores": values_by_name(verdicts), "verdicts": verdicts}


def trace(store: Store, trace_id: str) -> list[Row]:
    """All spans of a trace in the order of their starts: calls and what surrounds them, counted or not.

    `duplicate_of` names the span under which a call is counted. Raises NotFound.
    """
    rows = spans_of_trace(store, trace_id.lower())
    if not rows:
        raise NotFound(f"no trace {trace_id!r} is stored; it may still be on its way")
    scores = scores_of(store, [row["span_id"] for row in rows])
    return [{**row, "scores": values_by_name(scores.get(_identity(row), []))} for row in rows]


def _with_scores(store: Store, keys: list[Row]) -> list[Row]:
    if not keys:
        return []
    ids, starts = [key["span_id"] for key in keys], [key["started"] for key in keys]
    scores, rows = both(lambda: scores_of(store, ids, starts), lambda: spans_with_ids(store, ids, starts))
    return [{**row, "scores": values_by_name(scores.get(_identity(row), []))} for row in rows]


def _identity(row: Row) -> tuple[str, str]:
    return row["project"], row["span_id"]


def _encode_cursor(place: Any, span_id: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([place, span_id]).encode()).decode()


def _decode_cursor(cursor: str) -> tuple[float, str]:
    try:
        place, span_id = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        return float(place), bytes.fromhex(span_id).hex()
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise AssayError(f"cursor {cursor[:80]!r} was not given by this API: start again without one") from None
