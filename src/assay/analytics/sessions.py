"""Sessions: lists of them with what they cost and how they went, and one as its thread of calls."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec

from assay.analytics.agreement import LOWER_IS_BETTER
from assay.analytics.metrics import METRICS, selected
from assay.analytics.selection import Selection
from assay.analytics.together import both
from assay.errors import AssayError, NotFound
from assay.store.connect import Row, Store
from assay.store.scores import scores_of, values_by_name
from assay.store.spans import spans_with_ids

_STARTED = "toUnixTimestamp64Micro(spans.started_at)"
_SECONDS = f"(max({_STARTED} + spans.latency_ms * 1000) - min({_STARTED})) / 1e6"

ORDERS = {
    "recent": f"toFloat64(max({_STARTED}))",
    "cost": f"ifNull({METRICS['cost_usd']}, -1)",
    "calls": "toFloat64(count())",
    "tokens": f"toFloat64(ifNull({METRICS['total_tokens']}, -1))",
    "length": _SECONDS,
    "errors": "toFloat64(countIf(spans.status = 'error'))",
}
"""What a list of sessions can be ordered by, always from the largest down."""

MAX_LIMIT = 500

_MANY = 20
"""So many users and models of a session are named."""

_FIGURES = (
    "calls",
    "conversations",
    "errors",
    "cost_usd",
    "unpriced",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "avg_latency_ms",
)


_ENDS = "min(spans.started_at) AS first, max(spans.started_at) AS last"

_IN = "session_id IN {ids:Array(String)}"

Key = tuple[str, str]
"""Project and session id."""


class Page(NamedTuple):
    """Some sessions, and the cursor that continues after them (None at the end)."""

    sessions: list[Row]
    next_cursor: str | None


def sessions(store: Store, selection: Selection, *, order: str = "recent", limit: int = 50, cursor: str = "") -> Page:
    """A page of sessions; a session id in two projects is two sessions. Calls without one are left out.

    Each with its figures over the selected calls; `first_at` and `last_at`, the starts of its first and last call;
    `seconds` from the first call's start to the end of the one that ended last; `users` and `models` (up to 20 each);
    `last_error`, the newest error's type and message; and `worst`, its worst score: the `name` and `value` with the
    least of value, or of 1 - value where lower is better. None where there is none. Raises AssayError for an
    unknown order, a limit outside 1..500 or a cursor that no page gave.
    """
    if order not in ORDERS:
        raise AssayError(f"cannot order sessions by {order!r}: choose one of {', '.join(ORDERS)}")
    _check_limit(limit)
    where, parameters = selection.of_calls()
    after = ""
    if cursor:
        after = "HAVING (place, its_project, its_id) < ({after:Float64}, {after_project:String}, {after_id:String})"
        names = ("after", "after_project", "after_id")
        parameters |= dict(zip(names, _decoded(cursor, float, str, str), strict=True))
    # Grouped by a hash: two thirds of the time of grouping by the texts.
    keys = store.query(
        f"""
        SELECT any(project) AS its_project, any(session_id) AS its_id, {ORDERS[order]} AS place, {_ENDS}
        FROM spans FINAL WHERE {where} AND session_id != '' GROUP BY cityHash64(project, session_id) {after}
        ORDER BY place DESC, its_project DESC, its_id DESC LIMIT {{limit:UInt32}}
        """,
        {**parameters, "limit": limit + 1},
    )
    page = keys[:limit]
    told = _told(store, _within(selection, page), [key["its_id"] for key in page])
    found = [told[key["its_project"], key["its_id"]] for key in page if (key["its_project"], key["its_id"]) in told]
    last = page[-1] if len(keys) > limit else None
    return Page(found, _encoded(last["place"], last["its_project"], last["its_id"]) if last else None)


def session(
    store: Store, session_id: str, project: str | None = None, *, limit: int = 200, cursor: str = ""
) -> dict[str, Any]:
    """One session: its figures as in `sessions`, and its thread: calls in the order of their starts.

    `traces` has them by trace: `trace_id` and `calls`, whole and with scores, a new entry whenever the trace changes.
    `next_cursor` continues after the first `limit` calls. Raises NotFound, and AssayError where the session is in
    several projects and none is named.
    """
    _check_limit(limit)
    selection = Selection(session_id=session_id, project=project)
    where, parameters = selection.of_calls()
    rows = store.query(f"SELECT project, {_ENDS} FROM spans FINAL WHERE {where} GROUP BY project", parameters)
    projects = sorted(row["project"] for row in rows)
    if not projects or not session_id:
        raise NotFound(f"no session {session_id!r} is stored; its calls may still be on their way")
    if len(projects) > 1:
        known = ", ".join(projects)
        raise AssayError(f"session {session_id!r} is in several projects: add project= with one of {known}")
    selection = _within(selection, rows)
    (calls, next_cursor), told = both(
        lambda: _thread(store, selection, limit, cursor), lambda: _told(store, selection, [session_id])
    )
    return {**told[projects[0], session_id], "traces": _by_trace(calls), "next_cursor": next_cursor}


def _within(selection: Selection, rows: list[Row]) -> Selection:
    """The selection, narrowed to the time in which these sessions lie: the rest of the store is not read."""
    if not rows:
        return selection
    first, last = min(row["first"] for row in rows), max(row["last"] for row in rows)
    return msgspec.structs.replace(selection, since=first, until=last + timedelta(microseconds=1))


def _thread(store: Store, selection: Selection, limit: int, cursor: str) -> tuple[list[Row], str | None]:
    where, parameters = selection.of_calls()
    if cursor:
        where += " AND (toUnixTimestamp64Micro(started_at), span_id) > ({after:Int64}, {after_id:String})"
        parameters |= dict(zip(("after", "after_id"), _decoded(cursor, int, str), strict=True))
    keys = store.query(
        f"SELECT project, span_id, toUnixTimestamp64Micro(started_at) AS started FROM spans FINAL WHERE {where}"
        " ORDER BY started, span_id LIMIT {limit:UInt32}",
        {**parameters, "limit": limit + 1},
    )
    page = keys[:limit]
    if not page:
        return [], None
    ids, starts = [key["span_id"] for key in page], [key["started"] for key in page]
    scores, spans = both(lambda: scores_of(store, ids, starts), lambda: spans_with_ids(store, ids, starts))
    rows = {(row["project"], row["span_id"]): row for row in spans}
    own = [(key["project"], key["span_id"]) for key in page]
    told = [rows[key] | {"scores": values_by_name(scores.get(key, []))} for key in own if key in rows]
    return told, _encoded(page[-1]["started"], page[-1]["span_id"]) if len(keys) > limit else None


def _by_trace(calls: list[Row]) -> list[Row]:
    traces: list[Row] = []
    for call in calls:
        if not traces or traces[-1]["trace_id"] != call["trace_id"]:
            traces.append({"trace_id": call["trace_id"], "calls": []})
        traces[-1]["calls"].append(call)
    return traces


def _told(store: Store, selection: Selection, ids: list[str]) -> dict[Key, Row]:
    """All about the sessions with these ids, by project and id."""
    if not ids:
        return {}
    rows, worst = both(lambda: _figures(store, selection, ids), lambda: _worst(store, selection, ids))
    return {(row["project"], row["session_id"]): _session(row, worst) for row in rows}


def _figures(store: Store, selection: Selection, ids: list[str]) -> list[Row]:
    where, parameters = selection.of_calls()
    starts, _ = selection.of_starts(_IN)
    some = f"groupUniqArrayIf({_MANY})"
    return store.query(
        f"""
        SELECT project, session_id, {selected(_FIGURES)},
            min(spans.started_at) AS first_at, max(spans.started_at) AS last_at,
            {_SECONDS} AS seconds,
            arraySort({some}(user_id, user_id != '')) AS users, arraySort({some}(model, model != '')) AS models,
            argMaxIf((error_type, substringUTF8(error_message, 1, 500), span_id), started_at, status = 'error') AS error
        FROM spans FINAL PREWHERE {starts} WHERE {where} AND {_IN}
        GROUP BY project, session_id
        """,
        {**parameters, "ids": ids},
    )


def _session(row: Row, worst: dict[Key, Row]) -> Row:
    last_error = dict(zip(("error_type", "message", "span_id"), row.pop("error"), strict=True))
    return row | {
        "last_error": last_error if row["errors"] else None,
        "worst": worst.get((row["project"], row["session_id"])),
    }


def _worst(store: Store, selection: Selection, ids: list[str]) -> dict[Key, Row]:
    where, parameters = selection.of_scores()
    starts, of_calls = selection.of_starts(_IN)
    rows = store.query(
        f"""
        SELECT project, session_id,
            argMin((name, value), (if(name IN {{lower:Array(String)}}, 1 - value, value), name)) AS worst
        FROM scores FINAL PREWHERE {starts} WHERE {where} AND value IS NOT NULL AND {_IN}
        GROUP BY project, session_id
        """,
        {**parameters, **of_calls, "ids": ids, "lower": sorted(LOWER_IS_BETTER)},
    )
    return {
        (row["project"], row["session_id"]): dict(zip(("name", "value"), row["worst"], strict=True)) for row in rows
    }


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_LIMIT:
        raise AssayError(f"limit must be between 1 and {MAX_LIMIT}, not {limit}")


def _encoded(*place: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def _decoded(cursor: str, *types: type) -> list[Any]:
    try:
        place = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        if len(place) != len(types):
            raise ValueError
        return [of(part) for of, part in zip(types, place, strict=True)]
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise AssayError(f"cursor {cursor[:80]!r} was not given by this API: start again without one") from None
